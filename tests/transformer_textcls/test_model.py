"""The encoder against the paper's formulas and torch.nn.TransformerEncoderLayer."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transformer_textcls.model import (
    EncoderLayer,
    TransformerClassifier,
    is_real,
    pair_numbers,
    positions,
)

REAL = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [True] + [False] * 6])


def small(**settings) -> TransformerClassifier:
    torch.manual_seed(0)
    sizes = {"d_model": 20, "d_ff": 32, "layers": 2, "heads": 4, "train_embedding": True}
    return TransformerClassifier(50, 3, **sizes | settings)


def batch(lengths=(7, 4, 1)):
    torch.manual_seed(1)
    lengths = torch.tensor(lengths)
    ids = torch.randint(2, 50, (len(lengths), int(lengths.max())))
    return ids.masked_fill(torch.arange(ids.shape[1]) >= lengths[:, None], 0), lengths


def test_parameter_counts_are_the_published_ones(parameters):
    model = TransformerClassifier(102_016, 4)
    assert parameters(model) == 12_012_196
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1_810_596


def copy_weights(ours: EncoderLayer, theirs: nn.TransformerEncoderLayer) -> None:
    own, attention = ours.attention, theirs.self_attn
    with torch.no_grad():
        for part in theirs.parameters():
            part.uniform_(-0.3, 0.3)
        own.query_key_value.weight.copy_(attention.in_proj_weight)
        own.query_key_value.bias.copy_(attention.in_proj_bias)
    own.output.load_state_dict(attention.out_proj.state_dict())
    ours.expand.load_state_dict(theirs.linear1.state_dict())
    ours.contract.load_state_dict(theirs.linear2.state_dict())
    ours.norm_attention.load_state_dict(theirs.norm1.state_dict())
    ours.norm_feed_forward.load_state_dict(theirs.norm2.state_dict())


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("attention", ["written", "fused"])
@pytest.mark.parametrize("masked", [False, True])
def test_layer_equals_torchs(norm, attention, masked):
    torch.manual_seed(0)
    ours = EncoderLayer(100, 5, 64, norm=norm, attention=attention).double()
    theirs = nn.TransformerEncoderLayer(
        100, 5, 64, dropout=0.0, batch_first=True, norm_first=norm == "pre", dtype=torch.float64
    )
    copy_weights(ours, theirs)
    x = torch.randn(3, 7, 100, dtype=torch.float64)
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    real = REAL if masked else torch.ones(3, 7, dtype=torch.bool)
    out_ours = ours(x_ours, real)[real]
    out_theirs = theirs(x_theirs, src_key_padding_mask=~real if masked else None)[real]
    torch.testing.assert_close(out_ours, out_theirs)

    target = torch.randn_like(out_ours)
    (out_ours * target).sum().backward()
    (out_theirs * target).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad)
    for own, other in (
        (ours.attention.query_key_value.weight, theirs.self_attn.in_proj_weight),
        (ours.attention.query_key_value.bias, theirs.self_attn.in_proj_bias),
        (ours.attention.output.weight, theirs.self_attn.out_proj.weight),
        (ours.expand.weight, theirs.linear1.weight),
        (ours.contract.bias, theirs.linear2.bias),
        (ours.norm_attention.weight, theirs.norm1.weight),
        (ours.norm_feed_forward.bias, theirs.norm2.bias),
    ):
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_fused_attention_equals_the_written_one(norm):
    ids, lengths = batch()
    written, fused = (small(norm=norm, attention=kind) for kind in ("written", "fused"))
    fused.load_state_dict(written.state_dict())
    out = [model(ids, lengths) for model in (written, fused)]
    torch.testing.assert_close(*out)
    for logits in out:
        logits.square().sum().backward()
    for own, other in zip(written.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_positions_are_the_papers():
    table = positions(50, 20)
    for pos, i in ((0, 0), (1, 0), (7, 3), (49, 9)):
        angle = pos / 10000 ** (2 * i / 20)
        assert table[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert positions(3, 7).shape == (3, 7)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("attention", ["written", "fused"])
def test_padding_never_changes_the_logits(norm, attention):
    model = small(norm=norm, attention=attention)
    ids, lengths = batch()
    together = model(ids, lengths)
    alone = torch.cat(
        [model(ids[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths)]
    )
    torch.testing.assert_close(together, alone)
    # whatever stands in the padding
    noise = ids + (ids == 0) * 7
    torch.testing.assert_close(model(noise, lengths), together)


def test_a_pair_is_a_word_and_the_one_before_it():
    keys = torch.tensor([0 * 50 + 4, 4 * 50 + 5, 5 * 50 + 4])  # (start, 4), (4, 5), (5, 4)
    ids = torch.tensor([[4, 5, 4, 4], [5, 4, 5, 6]])
    assert pair_numbers(ids, keys, 50).tolist() == [[1, 2, 3, 0], [0, 3, 2, 0]]
    model, plain = small(pair_keys=keys), small()
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(model.embed(ids), plain.embed(ids))  # pairs start at nothing
    nn.init.normal_(model.pairs.weight)
    moved = (model.embed(ids) - plain.embed(ids)) / math.sqrt(20)
    torch.testing.assert_close(moved[0, :3], model.pairs.weight[1:])


def test_padding_is_no_part_of_a_pair():
    model = small(pair_keys=torch.arange(0, 2500, 3))
    nn.init.normal_(model.pairs.weight)
    ids, lengths = batch()
    together = model(ids, lengths)
    alone = [model(ids[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_order_matters_through_the_positions_alone():
    ids, lengths = batch((7, 7))
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    without = small(use_positions=False)
    torch.testing.assert_close(without(ids[:, order], lengths), without(ids, lengths))
    with_positions = small()
    assert not torch.allclose(with_positions(ids[:, order], lengths), with_positions(ids, lengths))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_gradient_reaches_every_parameter(norm, unreached):
    model = small(norm=norm, vectors=torch.randn(50, 8), pair_keys=torch.arange(2500))
    ids, lengths = batch()
    assert unreached(model, model(ids, lengths).square().sum()) == set()


def test_a_keys_bias_adds_the_same_to_all_scores_of_a_softmax():
    model = small()
    ids, lengths = batch()
    before = model(ids, lengths)
    with torch.no_grad():
        model.layers[0].attention.query_key_value.bias[20:40] += 1
    torch.testing.assert_close(model(ids, lengths), before)


def test_frozen_embedding_starts_from_the_vectors_and_stays():
    vectors = torch.randn(50, 20)
    model = small(vectors=vectors, train_embedding=False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    ids, lengths = batch()
    model(ids, lengths).sum().backward()
    optimizer.step()
    assert torch.equal(model.embedding.weight[1:], vectors[1:])
    assert not model.embedding.weight[0].any()


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_one_batch_overfits(norm, learn):
    model = small(norm=norm)
    ids, lengths = batch((7, 4, 1, 6, 5, 2))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    losses = learn(model, lambda: F.cross_entropy(model(ids, lengths), labels), 3e-3, 60)
    assert losses[-1] < 0.05


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_attention_maps_are_what_the_model_uses(norm):
    model = small(norm=norm)
    ids, lengths = batch()
    maps = model.attention_maps(ids, lengths)  # (layers, batch, heads, tokens, tokens)
    assert maps.shape == (2, 3, 4, 7, 7)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 3, 4, 7))
    assert not maps[:, 1, :, :, 4:].any()  # nothing looks at the padding
    # the first layer's output, made from the map by hand, is the layer's own
    layer, x = model.layers[0], model.embed(ids)
    attended = layer.norm_attention(x) if norm == "pre" else x
    value = layer.attention.split(attended)[2]
    by_hand = layer.attention.output((maps[0] @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer.attention(attended, is_real(ids, lengths)), by_hand)


def test_each_square_map_starts_from_glorots_bound():
    weight = small(d_model=40).layers[0].attention.query_key_value.weight
    for square in weight.chunk(3):
        assert square.abs().max() <= math.sqrt(6 / 80)
        assert square.abs().max() > 0.9 * math.sqrt(6 / 80)


def test_heads_must_divide_d_model():
    with pytest.raises(ValueError, match="must divide"):
        small(heads=3)
