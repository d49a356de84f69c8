"""VGG-Deep: a VGG of 40 or more 3 x 3 convolutions, and five remedies for what ails it.

The plain stack follows Simonyan & Zisserman 2014 (3 x 3 convolutions, ReLU, max pooling between
stages, no BatchNorm), with as many layers as one likes and one linear layer at the end. Its
variants have the same convolutions:

- plain: PyTorch's default initialisation of a convolution: weights and biases uniform, of variance
  1 / (3 fan-in).
- glorot: uniform weights of variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010, equation 16),
  biases as PyTorch draws them.
- kaiming: weights of variance 2 / fan-in, biases zero (He et al. 2015, "Delving Deep into
  Rectifiers", section 2.2).
- batch_norm: kaiming, and BatchNorm after every convolution (Ioffe & Szegedy 2015).
- residual: kaiming, and a shortcut around each pair of convolutions, without BatchNorm. The second
  of a pair starts smaller by the square root of the number of pairs, so that all of them together
  add little more than one layer would (Hayou et al. 2021, "Stable ResNet"; Zhang et al. 2019,
  "Fixup", scale by depth as well).
- resnet: kaiming, BatchNorm and shortcuts (He et al. 2015, "Deep Residual Learning", section 3).
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Variant = Literal["plain", "glorot", "kaiming", "batch_norm", "residual", "resnet"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
NORMED = ("batch_norm", "resnet")  # with BatchNorm, and so without biases
FACTORS = (1, 2, 2, 2)  # channels of each stage, in units of the first one's
REDUCTION = 8  # an image's side to that of the last stage


def stages(depth: int, width: int) -> list[tuple[int, int]]:
    """For each of the four stages its pairs of convolutions and its channels.

    The first two stages have one pair each, for their maps are large; the last two share the rest.

    Args:
        depth: number of convolutions, a multiple of 4 and at least 8.
        width: channels of the first stage.
    """
    rest = (depth // 2 - 2) // 2
    return [(p, f * width) for p, f in zip((1, 1, rest, rest), FACTORS, strict=True)]


class Block(nn.Module):
    """Two 3 x 3 convolutions; in the residual variants beside a shortcut.

    The shortcut is the identity, with channels of zeros where the convolutions make more of them
    (He et al., option A): it has no parameters.
    """

    def __init__(self, channels: int, width: int, variant: Variant):
        super().__init__()
        normed = variant in NORMED
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=not normed)
        self.norm1 = nn.BatchNorm2d(width) if normed else nn.Identity()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=not normed)
        self.norm2 = nn.BatchNorm2d(width) if normed else nn.Identity()
        self.new_channels = width - channels
        self.has_shortcut = variant in ("residual", "resnet")

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, h, w) -> (batch, width, h, w)."""
        inner = torch.relu(self.norm1(self.conv1(maps)))  # (batch, width, h, w)
        inner = self.norm2(self.conv2(inner))
        if self.has_shortcut:
            inner = inner + F.pad(maps, (0, 0, 0, 0, 0, self.new_channels))
        return torch.relu(inner)


class VGGDeep(nn.Module):
    """Four stages of pairs of convolutions, max pooling between them, one linear layer.

    A convolution of c to d channels has 9 c d + d parameters; with BatchNorm 9 c d + 2 d. At the
    defaults and 3 classes there are 349,683 in all (350,931 with BatchNorm), in every other
    variant alike.

    Args:
        classes: number of classes.
        depth, width: see `stages`.
        variant: see the module's docstring.
        bias_scale: by which the biases of plain's and glorot's convolutions are multiplied.
    """

    def __init__(
        self,
        classes: int,
        depth: int = 40,
        width: int = 16,
        variant: Variant = "plain",
        bias_scale: float = 1.0,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage, (pairs, stage_width) in enumerate(stages(depth, width)):
            if stage > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(pairs):
                layers.append(Block(channels, stage_width, variant))
                channels = stage_width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)
        initialise(self, variant, bias_scale)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> logits (batch, classes)."""
        maps = self.features(images)  # (batch, 2 width, size/8, size/8)
        features = maps.mean((2, 3))  # (batch, 2 width)
        return self.classifier(features)  # (batch, classes)

    def convolutions(self) -> list[nn.Conv2d]:
        """All of them, from the image to the head: layer 1, layer 2, ..."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]


@torch.no_grad()
def initialise(model: VGGDeep, variant: Variant, bias_scale: float) -> None:
    """Draw the weights again as the variant has them, and scale or clear the biases."""
    convolutions = model.convolutions()
    if variant in ("plain", "glorot"):
        for convolution in convolutions:
            convolution.bias *= bias_scale
        if variant == "glorot":
            for layer in (*convolutions, model.classifier):
                nn.init.xavier_uniform_(layer.weight)
        return
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    nn.init.kaiming_normal_(model.classifier.weight, nonlinearity="linear")
    nn.init.zeros_(model.classifier.bias)
    if variant == "residual":
        blocks = [module for module in model.modules() if isinstance(module, Block)]
        for block in blocks:
            block.conv2.weight /= math.sqrt(len(blocks))
