"""What is measured of an untrained network, against autograd and against theory."""

import itertools
import math
import statistics

import pytest
import torch
from torch.nn import functional as F

from vanishing_gradients import theory
from vanishing_gradients.measure import PUBLISHED, Recorder, at_start
from vanishing_gradients.model import VGGDeep


def batches(count, size, images=16):
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(images, 3, size, size, generator=draw), torch.arange(images) % 3)
        for _ in range(count)
    ]


def measured(variant, depth, width, size, bias_scale=1.0, seed=0):
    torch.manual_seed(seed)
    return at_start(VGGDeep(3, depth, width, variant, bias_scale), batches(1, size))


def test_measurements_are_autograds_means_over_batches():
    torch.manual_seed(0)
    model = VGGDeep(3, 8, 4, "batch_norm")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    parts = batches(2, 16)
    start = at_start(model, parts)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    norms = []
    for images, labels in parts:
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        norms.append([c.weight.grad.norm().item() for c in model.convolutions()])
    means = [statistics.mean(pair) for pair in zip(*norms, strict=True)]
    assert start.gradient == pytest.approx(means, rel=1e-4)
    weights = [c.weight.norm().item() for c in model.convolutions()]
    ratios = [mean / weight for mean, weight in zip(means, weights, strict=True)]
    assert start.ratio == pytest.approx(ratios, rel=1e-4)
    first = model.convolutions()[0]
    outputs = [first(images) for images, _ in parts]
    assert start.variance[0] == pytest.approx(statistics.mean(o.var().item() for o in outputs))
    assert start.signal[0] == pytest.approx(
        statistics.mean(o.var(0).mean().item() for o in outputs)
    )
    inputs = statistics.mean(images.norm().item() for images, _ in parts)
    assert start.forward[0] == pytest.approx(inputs, rel=1e-5)


def test_backward_is_the_gradient_by_the_outputs():
    """Of one layer on one position: the weights' gradient is the product of both."""
    torch.manual_seed(0)
    ((images, labels),) = batches(1, 8, images=1)
    twice = [(images.repeat(2, 1, 1, 1), labels.repeat(2))]
    start = at_start(VGGDeep(3, 8, 4, "kaiming"), twice)
    assert len(start.backward) == 8
    # The last stage has maps of 1 x 1, where a kernel's centre alone meets an image.
    for layer in (6, 7):
        product = start.forward[layer] * start.backward[layer]
        assert start.gradient[layer] == pytest.approx(product, rel=1e-4)


def test_the_defaults_vanish_plain_and_stay_within_100_residual():
    starts = {variant: measured(variant, 40, 16, 32) for variant in ("plain", "residual")}
    assert starts["plain"].spread > 1e12
    assert starts["residual"].spread < 100
    metrics = starts["plain"].metrics()
    powers = [metrics[f"log10_gradient_layer_{layer}"] for layer in (3, 15, 27, 38)]
    assert all(above - below > 2 for below, above in itertools.pairwise(powers))
    assert metrics["log10_gradient_38_over_3"] == pytest.approx(powers[3] - powers[0])
    assert metrics["log10_from_published"] == pytest.approx(
        max(abs(p - math.log10(n)) for p, n in zip(powers, PUBLISHED.values(), strict=True))
    )
    assert metrics["layers_below_1e-6"] == sum(norm < 1e-6 for norm in starts["plain"].gradient)
    assert metrics["layers_below_1e-6"] > 20
    assert starts["residual"].metrics()["layers_below_1e-6"] == 0
    # What depends on the image fades by about 6 a layer; what the biases make stays.
    signal, variance = starts["plain"].signal, starts["plain"].variance
    assert signal[3] / signal[9] > 1e3
    assert variance[3] / variance[9] < 6


def test_glorot_with_default_biases_is_near_the_published_norms():
    """Mean over seeds of the powers of ten; one seed differs by a factor of 2 or 3."""
    starts = [measured("glorot", 40, 16, 32, seed=seed) for seed in range(4)]
    for layer, norm in PUBLISHED.items():
        powers = [start.metrics()[f"log10_gradient_layer_{layer}"] for start in starts]
        assert statistics.mean(powers) == pytest.approx(math.log10(norm), abs=1.5)


def test_zero_biases_make_glorots_gradient_flat():
    start = measured("glorot", 40, 16, 32, bias_scale=0.0)
    assert start.spread < 10
    assert start.forward[2] / start.forward[37] > 1e4
    assert start.backward[37] / start.backward[2] > 1e4


@pytest.mark.parametrize(
    ("variant", "first", "last", "tolerance"),
    [("plain", 8, 14, 0.15), ("plain", 15, 24, 0.1), ("glorot", 15, 24, 0.15)],
)
def test_gradients_shrink_as_theory_says(variant, first, last, tolerance):
    """From the end of a stage to its beginning, as a logarithm, in a wide network.

    Where the stages meet, theory leaves out that max pooling raises what goes forward; with
    Glorot's gain of 1/2 that is felt throughout the stage before the last.
    """
    start = measured(variant, 24, 64, 16)
    _, norms = theory.expected(variant, 24, 64, 16)
    decay = math.log(start.gradient[last - 1] / start.gradient[first - 1])
    expected = math.log(norms[last - 1] / norms[first - 1])
    assert decay == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("variant", theory.COVERED)
def test_variance_forward_is_that_of_theory(variant):
    """In a wide network, before the first pooling (theory leaves its effect out)."""
    start = measured(variant, 24, 64, 16)
    variances, _ = theory.expected(variant, 24, 64, 16)
    assert start.variance[:2] == pytest.approx(variances[:2], rel=0.2)
    if variant == "plain":  # the level at which the biases hold it
        assert start.variance[6:] == pytest.approx(variances[6:], rel=0.35)


def test_theory_by_hand():
    with pytest.raises(ValueError, match="theory covers plain, glorot, kaiming, not residual"):
        theory.expected("residual", 8, 4, 16)
    # Far from borders the plain network's biases hold q = q/6 + 1/(3n), so q = 2/(5n).
    variances, norms = theory.expected("plain", 40, 16, 512)
    assert variances[15] == pytest.approx(2 / (5 * 9 * 32), rel=0.01)
    assert norms[20] / norms[10] == pytest.approx(6**5, rel=0.05)
    # Glorot's gain is 1/2, so q = q/2 + 1/(3n).
    variances, norms = theory.expected("glorot", 40, 16, 512)
    assert variances[19] == pytest.approx(2 / (3 * 9 * 32), rel=0.02)
    assert norms[38] / norms[28] == pytest.approx(2**5, rel=0.05)
    _, level = theory.expected("kaiming", 40, 16, 512)
    assert level[20] / level[10] == pytest.approx(1, rel=0.02)


def test_recorder_keeps_every_nth_step_and_goes_on_from_its_file(tmp_path):
    torch.manual_seed(0)
    model = VGGDeep(3, 8, 4, "kaiming")
    ((images, labels),) = batches(1, 16)
    recorder = Recorder(model, 3, tmp_path)
    for step in range(5):
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        recorder.after_backward(step)
    assert list(recorder.norms) == [0, 3]
    expected = [c.weight.grad.norm().item() for c in model.convolutions()]
    assert recorder.norms[3] == pytest.approx(expected, rel=1e-5)
    assert Recorder(model, 3, tmp_path).norms == recorder.norms
