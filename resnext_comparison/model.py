"""ResNeXt: residual blocks of many parallel paths.

Xie et al. 2016, "Aggregated Residual Transformations for Deep Neural Networks". Its new dimension
is the cardinality: the number of paths of a block. The paper writes 32x4d for cardinality 32 and
paths 4 channels wide (in the first stage; each further stage doubles the width).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Stem = Literal["imagenet", "small"]
PUBLISHED_WIDTHS = {1: 64, 2: 40, 4: 24, 8: 14, 32: 4}  # table 2: equal complexity
BLOCK_CHANNELS = 256  # of a block's output in the first stage


class ResNeXtBlock(nn.Module):
    """Figure 3c: 1 x 1, grouped 3 x 3 and 1 x 1 convolutions beside a shortcut.

    Args:
        channels, out_channels: of the input and the output.
        cardinality: number of groups.
        path_width: channels of one group.
        stride: of the 3 x 3 convolution.
    """

    def __init__(
        self, channels: int, out_channels: int, cardinality: int, path_width: int, stride: int = 1
    ):
        super().__init__()
        inner = cardinality * path_width
        self.reduce = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.transform = nn.Conv2d(
            inner, inner, 3, stride, padding=1, groups=cardinality, bias=False
        )
        self.norm2 = nn.BatchNorm2d(inner)
        self.expand = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.shortcut = projection(channels, out_channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, h, w) -> (batch, out_channels, h/stride, w/stride)."""
        inner = torch.relu(self.norm1(self.reduce(maps)))  # (batch, cardinality path_width, h, w)
        inner = torch.relu(self.norm2(self.transform(inner)))  # (.., h/stride, w/stride)
        residual = self.norm3(self.expand(inner))  # (batch, out_channels, h/stride, w/stride)
        return torch.relu(residual + self.shortcut(maps))


class SplitTransformMerge(nn.Module):
    """Figure 3a: the same block written as separate paths whose outputs are added (equation 2).

    Slow, and only there to show, and to test, that the grouped form computes the same.
    """

    def __init__(
        self, channels: int, out_channels: int, cardinality: int, path_width: int, stride: int = 1
    ):
        super().__init__()
        self.paths = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, path_width, 1, bias=False),
                nn.BatchNorm2d(path_width),
                nn.ReLU(),
                nn.Conv2d(path_width, path_width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(path_width),
                nn.ReLU(),
                nn.Conv2d(path_width, out_channels, 1, bias=False),
            )
            for _ in range(cardinality)
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.shortcut = projection(channels, out_channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, h, w) -> (batch, out_channels, h/stride, w/stride)."""
        merged = sum(path(maps) for path in self.paths)  # (batch, out_channels, h/stride, ..)
        return torch.relu(self.norm(merged) + self.shortcut(maps))


class ResNeXt(nn.Module):
    """Stages of ResNeXt blocks; each further stage halves the side and doubles the channels.

    Parameters at 1,000 classes: ResNeXt-50 32x4d 25,028,904. At 10 classes: ResNeXt-29 8x64d
    34,426,698 (the paper's table 7: 34.4 million).

    Args:
        classes: number of classes.
        depths: blocks of each stage: (3, 4, 6, 3) for ResNeXt-50, (3, 3, 3) for ResNeXt-29.
        cardinality: paths of each block.
        path_width: channels of a path in the first stage; half a channel is allowed, for it
            doubles.
        stem: as for ResNet.
        width: channels of the first stage's input; its blocks give four times as many.
    """

    def __init__(
        self,
        classes: int,
        depths: Sequence[int] = (3, 3, 3),
        *,
        cardinality: int = 32,
        path_width: float = 4,
        stem: Stem = "small",
        width: int = BLOCK_CHANNELS // 4,
    ):
        super().__init__()
        self.stem = make_stem(stem, width)
        blocks: list[nn.Module] = []
        before, after = width, 4 * width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                path = math.ceil(path_width * 2**stage)
                blocks.append(ResNeXtBlock(before, after, cardinality, path, stride))
                before = after
            after *= 2
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(before, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> logits (batch, classes)."""
        maps = self.stem(images)  # (batch, width, size/s, size/s), s = 1 or 4
        maps = self.blocks(maps)  # (batch, 4 width 2^(stages-1), ...)
        features = maps.mean((2, 3))  # (batch, 4 width 2^(stages-1))
        return self.classifier(features)  # (batch, classes)


def projection(channels: int, width: int, stride: int) -> nn.Module:
    """The shortcut: identity, or where shapes differ a 1 x 1 convolution."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))


def make_stem(stem: Stem, width: int) -> nn.Sequential:
    """The first layers, 3 -> `width` channels: 3 x 3 at full resolution (small), or as for
    ImageNet 7 x 7 with stride 2 and max pooling, which leave a quarter of the side."""
    if stem == "small":
        first, pool = nn.Conv2d(3, width, 3, padding=1, bias=False), []
    else:
        first = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        pool = [nn.MaxPool2d(3, stride=2, padding=1)]
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(inplace=True), *pool)


def initialise(model: nn.Module) -> None:
    """He et al. 2015: variance 2 / fan-out of convolutions, 2 / fan-in of linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


def block_weights(cardinality: int, path_width: float, channels: int = BLOCK_CHANNELS) -> float:
    """Weights of a block's convolutions (equation 4): C (256 d + 9 d^2 + d 256)."""
    return cardinality * (2 * channels * path_width + 9 * path_width**2)


def equal_width(
    cardinality: int, channels: int = BLOCK_CHANNELS, like: tuple[int, float] = (1, 64)
) -> float:
    """The path width at which a block has as many weights as one of `like`, (cardinality, width).

    A whole number if that keeps within 3 %, as in the paper's table 2, else a multiple of 1/2,
    which gives whole numbers of channels from the second stage on.
    """
    budget = block_weights(*like, channels) / cardinality
    exact = (math.sqrt(channels**2 + 9 * budget) - channels) / 9  # of 9 d^2 + 2 channels d = budget
    whole = max(1, round(exact))
    target = block_weights(*like, channels)
    error = abs(block_weights(cardinality, whole, channels) / target - 1)
    return whole if error <= 0.03 else max(1, round(2 * exact) / 2)
