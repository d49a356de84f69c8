"""The models against torch.nn.LSTM on packed sequences; padding, gradients, learning."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lstm_sentiment.model import SentimentLSTM, region_numbers, reverse

BASE = {"layers": 3, "bidirectional": False, "pooling": "last"}
IMPROVED = {"layers": 3, "bidirectional": True, "pooling": "last"}

LENGTHS = torch.tensor([7, 1, 4, 7, 2])
POOLINGS = ("last", "mean", "max", "attention")


def ragged_batch(lengths=LENGTHS, words=30):
    ids = torch.randint(1, words, (len(lengths), int(lengths.max())))
    return ids.masked_fill(torch.arange(ids.shape[1]) >= lengths[:, None], 0)


def small(**settings):
    torch.manual_seed(1)
    return SentimentLSTM(30, embedding_size=6, hidden_size=5, **settings)


def test_parameter_counts(parameters):
    assert parameters(SentimentLSTM(20_000, hidden_size=64, **BASE)) == 2_109_121
    assert parameters(SentimentLSTM(20_000, hidden_size=64, **IMPROVED)) == 2_283_777
    # 4 gates of (input + hidden) weights and torch's two biases each
    assert 2_109_121 == 2_000_000 + 4 * 64 * (164 + 2) + 2 * 4 * 64 * (128 + 2) + 65
    regions = SentimentLSTM(20_000, hidden_size=64, **IMPROVED, region_keys=torch.arange(999))
    assert parameters(regions) == 2_283_777 + 1000 * 100


def copy_into(model, reference):
    """Give torch's stacked LSTM the weights of our layers."""
    for number, layer in enumerate(model.layers):
        for suffix, lstm in zip(("", "_reverse"), layer.directions, strict=False):
            for name, weight in lstm.named_parameters():
                getattr(reference, f"{name[:-1]}{number}{suffix}").data.copy_(weight)


@pytest.mark.parametrize("settings", [BASE, IMPROVED], ids=["base", "improved"])
def test_equals_torch_lstm_on_packed_sequences(settings):
    model, ids = small(**settings, dropout=0.0), ragged_batch()
    reference = nn.LSTM(6, 5, 3, bidirectional=settings["bidirectional"])
    copy_into(model, reference)
    packed = pack_padded_sequence(model.embedding(ids.T), LENGTHS, enforce_sorted=False)
    outputs, (hidden, _) = reference(packed)
    final = torch.cat([*hidden[-2:]], 1) if settings["bidirectional"] else hidden[-1]
    expected = model.head(final).squeeze(1)
    actual = model(ids, LENGTHS)
    torch.testing.assert_close(actual, expected)

    weights = [model.embedding.weight, model.layers[0].directions[-1].weight_hh_l0]
    suffix = "_reverse" if settings["bidirectional"] else ""
    others = [model.embedding.weight, getattr(reference, f"weight_hh_l0{suffix}")]
    ours = torch.autograd.grad(actual.square().sum(), weights)
    theirs = torch.autograd.grad(expected.square().sum(), others)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)

    states = model.embed(ids.T)
    for layer in model.layers:
        states = layer(states, LENGTHS)
    unpacked, _ = pad_packed_sequence(outputs)
    real = torch.arange(7)[:, None] < LENGTHS
    torch.testing.assert_close(states[real], unpacked[real])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_and_company_have_no_effect(pooling, bidirectional):
    keys = torch.arange(0, 900, 3)
    model = small(layers=2, bidirectional=bidirectional, pooling=pooling, region_keys=keys).eval()
    nn.init.normal_(model.regions.weight)
    ids = ragged_batch()
    logits = model(ids, LENGTHS)
    torch.testing.assert_close(model(F.pad(ids, (0, 9)), LENGTHS), logits)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(model(ids[order], LENGTHS[order]), logits[order])
    alone = [model(ids[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS.tolist())]
    torch.testing.assert_close(torch.cat(alone), logits)


def test_reverse_and_its_gradient():
    states = torch.randn(7, 5, 3, dtype=torch.float64, requires_grad=True)
    turned = reverse(states, LENGTHS)
    for text, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(turned[:length, text], states[:length, text].flip(0))
        torch.testing.assert_close(turned[length:, text], states[length:, text])
    torch.testing.assert_close(reverse(turned, LENGTHS), states)
    assert torch.autograd.gradcheck(lambda rows: reverse(rows, LENGTHS), states)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_reach_every_parameter(pooling, unreached):
    model = small(layers=3, bidirectional=True, pooling=pooling, dropout=0.0,
                  embedding_dropout=0.2, region_keys=torch.arange(900))  # fmt: skip
    assert not unreached(model, model(ragged_batch(), LENGTHS).square().sum())


@pytest.mark.parametrize(
    "settings",
    [BASE, IMPROVED, *({"layers": 1, "pooling": p, "bidirectional": True} for p in POOLINGS[1:])],
)
def test_one_batch_overfits(settings, learn):
    model, ids = small(**settings, dropout=0.0), ragged_batch()
    labels = torch.tensor([1.0, 0, 1, 0, 1])
    losses = learn(
        model, lambda: F.binary_cross_entropy_with_logits(model(ids, LENGTHS), labels), 0.03, 60
    )
    assert losses[-1] < 0.05


def test_regions_number_the_pairs_of_words():
    keys = torch.tensor([0 * 30 + 4, 4 * 30 + 5, 5 * 30 + 4])  # (start, 4), (4, 5), (5, 4)
    model = small(layers=1, region_keys=keys)
    ids = torch.tensor([[4, 5, 4, 4], [5, 4, 5, 6]]).T
    assert region_numbers(ids, keys, 30).T.tolist() == [[1, 2, 3, 0], [0, 3, 2, 0]]
    plain = small(layers=1)
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(model.embed(ids), plain.embed(ids))  # regions start at nothing


def test_initialisation():
    lstm = small(layers=1, forget_bias=1.0).layers[0].directions[0]
    recurrent = lstm.weight_hh_l0.view(4, 5, 5)
    torch.testing.assert_close(recurrent @ recurrent.mT, torch.eye(5).expand(4, 5, 5))
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).view(4, 5)
    assert bias.sum(1).tolist() == [0, 5, 0, 0]


def test_dropouts_draw_once_a_text_or_batch_and_only_in_training():
    model = small(layers=1, bidirectional=True, embedding_dropout=0.5)
    ids, lengths = torch.full((1, 4), 3), torch.tensor([4])
    seen = torch.stack([model.embed(ids.T).abs().sum() > 0 for _ in range(40)])
    assert 5 < seen.sum() < 35  # a word is there for the whole batch, or not at all
    assert len({model(ids, lengths).item() for _ in range(9)}) > 1
    model.eval()
    torch.testing.assert_close(model(ids, lengths), model(ids, lengths))
