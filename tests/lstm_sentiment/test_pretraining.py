"""Vectors from reviews without labels: the loss against a plain sum, what they learn, the cache."""

import math
from types import SimpleNamespace

import pytest
import torch

from common.text import Ragged, pair_keys
from lstm_sentiment import data
from lstm_sentiment.pretraining import TwoView, learn, sum_around


@pytest.mark.parametrize("radius", [2, 3, 20])
def test_sums_leave_out_the_region_itself(radius):
    values = torch.randn(9, 2, 3, dtype=torch.float64)
    made = sum_around(values, radius)
    for t in range(9):
        around = [j for j in range(9) if abs(j - t) <= radius and j not in (t - 1, t)]
        torch.testing.assert_close(made[t], values[around].sum(0))


def test_loss_is_the_softmax_of_the_words_around():
    torch.manual_seed(0)
    tokens = Ragged.of([[2, 3, 4, 5, 6, 7]] * 3)
    model = TwoView(8, torch.tensor([2 * 8 + 3, 4 * 8 + 5]), 4, tokens)
    torch.nn.init.normal_(model.pairs.weight)
    model.frequency.fill_(1e-9)  # nothing is thinned out
    ids = torch.tensor([[2, 3, 4, 5, 6, 7]]).T  # (tokens, batch)
    words, pairs, predicted = (table.weight.detach() for table in model.children())
    total = count = 0
    for t in range(6):
        region = words[ids[t, 0]].clone()
        region += pairs[{1: 1, 3: 2}.get(t, 0)] * (t in (1, 3))
        scores = predicted[ids[:, 0]] @ region
        partition = scores.exp().mean().log()
        around = [j for j in range(6) if j not in (t - 1, t) and abs(j - t) <= 3]
        total += sum(partition - scores[j] for j in around)
        count += len(around)
    # the drawn words are a sample of the six
    losses = [model(ids, 3).item() for _ in range(20)]
    assert sum(losses) / 20 == pytest.approx((total / count).item(), abs=0.02)
    assert not math.isnan(losses[0])


def test_a_batch_without_known_words_changes_nothing():
    tokens = Ragged.of([[1, 1, 1], [2, 3, 4]])  # 1 = <unk>
    model = TwoView(5, torch.tensor([2 * 5 + 3]), 4, tokens)
    optimizer = torch.optim.SparseAdam(list(model.parameters()), 0.1)
    before = [parameter.clone() for parameter in model.parameters()]
    loss = model(torch.ones(3, 2, dtype=torch.int64), 2)
    loss.backward()
    optimizer.step()
    assert loss.item() == 0
    assert all(map(torch.equal, before, model.parameters()))


def test_words_of_one_kind_come_to_lie_together():
    torch.manual_seed(1)
    kinds = torch.randint(2, (400,))
    rows = [(torch.randint(4, (30,)) + 2 + 4 * kind).tolist() for kind in kinds]
    tokens = Ragged.of(rows)
    model = TwoView(10, torch.tensor([1]), 8, tokens)
    optimizer = torch.optim.SparseAdam(list(model.parameters()), 0.02)
    model.frequency.fill_(1e-4)
    ids = tokens.tokens.view(400, 30).T.long()
    for step in range(30):
        loss = model(ids[:, step * 10 : step * 10 + 40], 5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned = torch.nn.functional.normalize(model.words.weight.detach()[2:])
    likeness = learned @ learned.T
    assert likeness[:4, :4].min() > likeness[:4, 4:].max()


def test_vectors_are_learned_once(tmp_path):
    reviews = data.load("sample", tmp_path, unlabelled=True)
    keys, printed = pair_keys(reviews.learnable, len(reviews.vocabulary), 50), []
    run = SimpleNamespace(device=torch.device("cpu"), print=printed.append)
    first, second = (
        learn(reviews, keys, size=4, epochs=1, lr=0.02, radius=5, run=run) for _ in range(2)
    )
    assert [len(table) for table in first] == [len(reviews.vocabulary), 51]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert printed[0] == "pretraining on 1,464 reviews, whose labels it does not read"
    assert printed[1].startswith("pretraining, epoch 1 of 1: loss ")
    assert len(printed) == 2  # the second came from the cache
