"""VGG-16 in configuration C and ResNet-18, from their papers.

Simonyan & Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
table 1; He et al. 2015, "Deep Residual Learning for Image Recognition", section 3.3 and table 1.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Stem = Literal["imagenet", "small"]

# Convolutions of each block of configuration C: the kernel's side.
KERNELS = ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))
WIDTHS = (1, 2, 4, 8, 8)  # channels of each block, in units of the first one's
REDUCTION = 32  # an image's side to that of the last block's output


class VGG16C(nn.Module):
    """Thirteen convolutions, the third of blocks 3, 4 and 5 being 1 x 1, and three linear layers.

    133,638,952 parameters at 224 x 224 pixels, 1,000 classes and without BatchNorm (the paper's
    table 2 says 134 million).

    Args:
        classes: number of classes.
        size: side of the square images, a multiple of 32.
        width: channels of the first block.
        hidden: units of the two hidden linear layers.
        dropout: fraction of the hidden units dropped (section 3.1: 0.5).
        batch_norm: normalise after every convolution, which the paper did not.
    """

    def __init__(
        self,
        classes: int,
        size: int = 224,
        *,
        width: int = 64,
        hidden: int = 4096,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for kernels, factor in zip(KERNELS, WIDTHS, strict=True):
            for kernel in kernels:
                layers.append(
                    nn.Conv2d(
                        channels, factor * width, kernel, padding=kernel // 2, bias=not batch_norm
                    )
                )
                channels = factor * width
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU(inplace=True))
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * (size // REDUCTION) ** 2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        initialise(self)
        nn.init.normal_(self.classifier[-1].weight, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> logits (batch, classes)."""
        maps = self.features(images)  # (batch, 8 width, size/32, size/32)
        return self.classifier(maps.flatten(1))  # (batch, classes)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (figure 2); a projection where shapes differ."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = projection(channels, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, h, w) -> (batch, width, h/stride, w/stride)."""
        residual = torch.relu(self.norm1(self.conv1(maps)))  # (batch, width, h/stride, w/stride)
        residual = self.norm2(self.conv2(residual))
        return torch.relu(residual + self.shortcut(maps))


def projection(channels: int, width: int, stride: int) -> nn.Module:
    """The shortcut of a residual block: identity, or where shapes differ a 1 x 1 convolution."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
    )  # option B of section 3.3


def make_stem(stem: Stem, width: int) -> nn.Sequential:
    """The first layers, 3 -> `width` channels.

    imagenet: 7 x 7 with stride 2 and max pooling, which leave a quarter of the side; small: 3 x 3
    at full resolution, as in section 4.2 for images of 32 x 32.
    """
    if stem == "small":
        first, pool = nn.Conv2d(3, width, 3, padding=1, bias=False), []
    else:
        first = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        pool = [nn.MaxPool2d(3, stride=2, padding=1)]
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(inplace=True), *pool)


class ResNet18(nn.Module):
    """Four stages of two basic blocks, 64 to 512 channels, and global average pooling.

    11,689,512 parameters at 1,000 classes with the ImageNet stem.

    Args:
        classes: number of classes.
        stem: see `make_stem`.
        width: channels of the first stage; each further one doubles them.
    """

    def __init__(self, classes: int, stem: Stem = "imagenet", *, width: int = 64):
        super().__init__()
        self.stem = make_stem(stem, width)
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> logits (batch, classes)."""
        maps = self.stem(images)  # (batch, width, size/s, size/s), s = 1 or 4
        maps = self.blocks(maps)  # (batch, 8 width, size/8s, size/8s)
        features = maps.mean((2, 3))  # (batch, 8 width)
        return self.classifier(features)  # (batch, classes)


def initialise(model: nn.Module) -> None:
    """He et al. 2015, "Delving Deep into Rectifiers": variance 2 / fan-out; biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
