"""What is measured of an untrained network, against autograd and against theory."""

import itertools
import math
import statistics

import pytest
import torch
from torch.nn import functional as F

from vanishing_gradients import theory
from vanishing_gradients.measure import Recorder, at_start
from vanishing_gradients.model import VARIANTS, VGGDeep


def batches(count, size, images=16):
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(images, 3, size, size, generator=draw), torch.arange(images) % 3)
        for _ in range(count)
    ]


def measured(variant, depth, width, size, count=1):
    torch.manual_seed(0)
    return at_start(VGGDeep(3, depth, width, variant), batches(count, size))


def test_gradients_and_ratios_are_autograds_means_over_batches():
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


def test_the_defaults_vanish_plain_and_stay_within_100_residual():
    starts = {variant: measured(variant, 40, 16, 32) for variant in VARIANTS}
    assert starts["plain"].spread > 1e12
    assert starts["residual"].spread < 100
    figures = starts["plain"].figures()
    powers = [figures[f"log10_gradient_layer_{layer}"] for layer in (3, 15, 27, 38)]
    assert all(above - below > 2 for below, above in itertools.pairwise(powers))
    assert figures["layers_below_1e-6"] == sum(norm < 1e-6 for norm in starts["plain"].gradient)
    assert figures["layers_below_1e-6"] > 20
    assert starts["residual"].figures()["layers_below_1e-6"] == 0
    # What comes from the picture fades by about 6 a layer; what the biases make stays.
    signal, variance = starts["plain"].signal, starts["plain"].variance
    assert signal[3] / signal[9] > 1e3
    assert variance[3] / variance[9] < 6


@pytest.mark.parametrize(("first", "last", "tolerance"), [(8, 14, 0.1), (15, 24, 0.05)])
def test_plain_gradients_shrink_as_theory_says(first, last, tolerance):
    """From the end of a stage to its beginning, as a logarithm, in a wide network.

    Where the stages meet, theory leaves out that max pooling raises what goes forward.
    """
    start = measured("plain", 24, 64, 16)
    _, norms = theory.expected("plain", 24, 64, 16)
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
    assert theory.gain("plain") == pytest.approx(1 / 6)
    assert theory.gain("kaiming") == pytest.approx(1)
    with pytest.raises(ValueError, match="theory covers plain and kaiming, not residual"):
        theory.expected("residual", 8, 4, 16)
    # Far from borders the plain network's biases hold q = q/6 + 1/(3n), so q = 2/(5n).
    variances, norms = theory.expected("plain", 40, 16, 512)
    assert variances[15] == pytest.approx(2 / (5 * 9 * 32), rel=0.01)
    assert norms[20] / norms[10] == pytest.approx(6**5, rel=0.05)
    _, level = theory.expected("kaiming", 40, 16, 512)
    assert level[20] / level[10] == pytest.approx(1, rel=0.02)


def test_recorder_keeps_every_nth_step_and_goes_on_from_its_file(tmp_path):
    torch.manual_seed(0)
    model = VGGDeep(3, 8, 4, "kaiming")
    ((images, labels),) = batches(1, 16)
    recorder = Recorder(model, 3, tmp_path)
    for step in range(5):
        recorder.begin(step)
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()
    assert list(recorder.norms) == [0, 3]
    expected = [c.weight.grad.norm().item() for c in model.convolutions()]
    assert recorder.norms[3] == pytest.approx(expected, rel=1e-5)
    assert Recorder(model, 3, tmp_path).norms == recorder.norms
