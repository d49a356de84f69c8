"""The adversarial loss against its first-order value, and the labels of self-training."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from lstm_sentiment import baselines, data, self_training
from lstm_sentiment.model import SentimentLSTM
from lstm_sentiment.train import step

LENGTHS = torch.tensor([7, 1, 4, 7, 2])


@pytest.fixture
def model():
    torch.manual_seed(1)
    regions = torch.tensor([2 * 30 + 3])
    model = SentimentLSTM(30, regions, embedding_size=6, hidden_size=5, layers=1, dropout=0.0)
    return model.double()


def batch():
    ids = torch.randint(2, 30, (5, 7)).masked_fill(torch.arange(7) >= LENGTHS[:, None], 0)
    return ids, LENGTHS, torch.tensor([1.0, 0, 1, 0, 1]).double()


def test_adversarial_inputs_raise_the_loss_by_the_length_of_its_gradient(model):
    ids, lengths, labels = batch()
    shift = torch.zeros(7, 5, 6, dtype=torch.float64, requires_grad=True)
    plain = F.binary_cross_entropy_with_logits(model(ids, lengths, shift), labels)
    torch.testing.assert_close(model(ids, lengths, shift), model(ids, lengths))
    (gradient,) = torch.autograd.grad(plain, shift)
    rise = 1e-4 * gradient.square().sum((0, 2)).sqrt().sum()  # each review moves against itself
    loss, count, totals = step(model, (ids, lengths, labels), 0.0, 1e-4, 6)
    assert count == 5
    assert totals["accuracy"] <= 5
    torch.testing.assert_close(2 * (loss - plain), rise, rtol=1e-2, atol=0)


def test_adversarial_training_is_for_training_alone(model):
    model.eval()
    reviews = batch()
    torch.testing.assert_close(step(model, reviews, 0.0, 5.0, 6)[0], step(model, reviews)[0])


def test_soft_labels_count_as_the_class_that_they_favour(model):
    ids, lengths, _ = batch()
    logits = model.eval()(ids, lengths)
    soft = torch.where(logits > 0, 0.6, 0.4).double()
    assert step(model, (ids, lengths, soft))[2]["accuracy"] == 5


def test_teachers_label_what_has_no_label(tmp_path):
    reviews = data.load("sample", tmp_path, unlabelled=True, max_len=20)
    torch.manual_seed(0)
    models = [
        SentimentLSTM(len(reviews.vocabulary), embedding_size=6, hidden_size=5) for _ in range(2)
    ]
    printed = []
    run = SimpleNamespace(device=torch.device("cpu"), precision="float32", print=printed.append)
    taught = self_training.label(reviews, models, max_len=20, keep="both", batch_size=64, run=run)
    known = reviews.labels["train"]
    assert taught.labels["train"][: len(known)].equal(known)
    assert len(taught.labels["train"]) == len(reviews.learnable) == len(taught.tokens["train"])
    assert taught.tokens["train"].lengths.max() == 20
    # An untrained LSTM says nearly nothing: what the labels say is the linear model's, halved.
    words = len(reviews.vocabulary)
    keys = baselines.frequent_grams([reviews.whole["train"]], words)
    counts = [
        baselines.gram_counts(tokens, words, keys)
        for tokens in (reviews.whole["train"], reviews.learnable)
    ]
    train, every = baselines.scaled_by_ratio(counts[0], known.numpy(), counts[1])
    linear = baselines.nb_logistic(train, known.numpy(), every)[len(known) :]
    lstms = 2 * taught.labels["train"][len(known) :] - torch.from_numpy(linear).sigmoid()
    assert lstms.min() > 0.2
    assert lstms.max() < 0.8
    assert "600 reviews more" in printed[0]
