"""What theory says of a stack of convolutions and ReLU before its first step.

He et al. 2015, "Delving Deep into Rectifiers", section 2.2; Glorot & Bengio 2010 for the idea. In a
wide layer with random weights of variance s and n = fan-in, ReLU halves the mean square of what a
convolution puts out, and half of the gradients that come back. So both change by the same factor
from layer to layer, the gain n s / 2: 1 for Kaiming's initialisation, 1/2 for Glorot's, 1/6 for
PyTorch's default. Forward, the biases (variance b) add to it:

    Var[y_l] = n s E[x_(l-1)^2] + b,    E[x_l^2] = Var[y_l] / 2        (equations 7 and 8)
    D_(l-1) = n s / 2 D_l               D: sum of squares of the gradient by y  (equation 12)
    |dL/dW_l|^2 proportional to D_l E[x_(l-1)^2]

What the papers leave out and is done here: at the borders a part of a 3 x 3 window lies on the zero
padding, which costs a quarter of the gain on maps of 4 x 4; so variances are kept by position. Left
out here too is that max pooling raises activations, and that gradients of neighbouring positions,
which biases make alike, add up rather than average out.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vanishing_gradients.model import Variant, stages

COVERED = ("plain", "glorot", "kaiming")  # variants


def variances(
    variant: Variant, inputs: int, outputs: int, bias_scale: float = 1.0
) -> tuple[float, float]:
    """Variance of the weights and of the biases of a 3 x 3 convolution before training.

    Args:
        inputs, outputs: its channels.

    Raises:
        ValueError: there is no such theory of the variant here.
    """
    default = 1 / (3 * 9 * inputs)  # uniform in +-1/sqrt(fan-in)
    if variant == "plain":
        return default, bias_scale**2 * default
    if variant == "glorot":
        return 2 / (9 * inputs + 9 * outputs), bias_scale**2 * default
    if variant == "kaiming":
        return 2 / (9 * inputs), 0.0
    raise ValueError(f"theory covers {', '.join(COVERED)}, not {variant}")


def around(maps: Tensor) -> Tensor:
    """Sum over the 3 x 3 neighbours of each position; beyond the border there is nothing."""
    return 9 * F.avg_pool2d(maps, 3, stride=1, padding=1)


def expected(
    variant: Variant, depth: int, width: int, size: int, bias_scale: float = 1.0
) -> tuple[list[float], list[float]]:
    """By layer: the variance of each convolution's output, and the norm of its weights' gradient.

    The norms are in units of the last layer's: its size depends on the labels and the head. Inputs
    have mean square 1.

    Args:
        variant: one of COVERED.
        depth, width: see `model.stages`.
        size: side of the images.
    """
    power = torch.ones(1, 1, size, size, dtype=torch.float64)  # E[x^2] by position
    channels = 3
    layers = []  # of each its input channels, variance of its weights, E[x^2] of its input
    output_variances = []
    for stage, (pairs, stage_width) in enumerate(stages(depth, width)):
        if stage > 0:
            power = F.avg_pool2d(power, 2)
        for _ in range(2 * pairs):
            weight, bias = variances(variant, channels, stage_width, bias_scale)
            layers.append((channels, weight, power))
            output = channels * weight * around(power) + bias
            output_variances.append(output.mean().item())
            power, channels = output / 2, stage_width
    norms = []
    back = torch.ones_like(power)  # sum over channels of squared gradients, by position
    for inputs, weight, power in reversed(layers):
        if power.shape != back.shape:  # pooling hands each gradient to one of four positions
            back = F.interpolate(back, scale_factor=2, mode="nearest") / 4
        norms.append((inputs * (back * around(power)).sum()).sqrt().item())
        back = inputs * weight / 2 * around(back)
    norms.reverse()
    return output_variances, [norm / norms[-1] for norm in norms]
