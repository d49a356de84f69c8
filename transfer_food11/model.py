"""Four networks trained on ImageNet, with a head for one's own classes.

Tan & Le 2019, "EfficientNet" (table 1); Howard et al. 2019, "Searching for MobileNetV3" (table 1);
He et al. 2015, "Deep Residual Learning for Image Recognition" (table 1). All but the last are
torchvision's own; EfficientNet-Lite0 is torchvision's EfficientNet with what its authors changed
for small devices (Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite"): no
squeeze-and-excitation, and ReLU6 for SiLU.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.efficientnet import EfficientNet, MBConv, MBConvConfig

Name = Literal["efficientnet_b0", "mobilenet_v3_large", "resnet50", "efficientnet_lite0"]


@dataclass(frozen=True)
class Network:
    """What must be known of a network.

    parameters: with ImageNet's 1,000 classes. stages: where its stages begin in `layers()`.
    depthwise: whether it consists of depthwise convolutions, which bfloat16 makes slower on CPUs.
    mean, std: of red, green and blue, in units of full brightness, that its published weights were
    trained with; all of them at 224 x 224 pixels.
    """

    parameters: int
    stages: tuple[int, ...]
    depthwise: bool = True
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


NETWORKS: dict[Name, Network] = {
    "efficientnet_b0": Network(5_288_548, (0, 2, 3, 4, 5, 6, 7)),
    "mobilenet_v3_large": Network(5_483_032, (0, 2, 4, 7, 11, 13, 16)),
    "resnet50": Network(25_557_032, (0, 4, 5, 6, 7), depthwise=False),
    "efficientnet_lite0": Network(
        4_652_008, (0, 2, 3, 4, 5, 6, 7), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    ),
}

# Expansion, kernel, stride, channels in and out, blocks: EfficientNet's table 1, rows 2 to 8.
LITE_STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


class Classifier(nn.Module):
    """A network by its name, its last linear layer made for `classes` classes.

    Parameters at 1,000 classes: efficientnet_b0 5,288,548, mobilenet_v3_large 5,483,032, resnet50
    25,557,032, efficientnet_lite0 4,652,008.

    Args:
        dropout: fraction of the features dropped before the head.

    Attributes:
        network: torchvision's, so that its weights have torchvision's names.
        strides: see `place_strides`; resnet50 only.
        origin: where its weights come from, in words.
        fixed_statistics: whether BatchNorm uses its running statistics in training too, and leaves
            them as they are; its scale and shift are trained all the same.
    """

    def __init__(self, name: Name, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.name = name
        if name == "efficientnet_lite0":
            self.network = efficientnet_lite0(classes)
        else:
            self.network = models.get_model(name, weights=None, num_classes=classes)
        self.head.reset_parameters()  # EfficientNet's own are ten times too large for ten classes
        self.dropout = nn.Dropout(dropout)
        self.strides: Literal["conv1", "conv2"] = "conv2"
        self.origin = "random numbers"
        self.frozen = 0  # stages
        self.fixed_statistics = False
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # MobileNetV3's own 0.01 lags hundreds of steps behind, as long as a short training.
                module.momentum = 0.1

    @property
    def head(self) -> nn.Linear:
        """The last linear layer: features -> classes."""
        return self.network.fc if self.name == "resnet50" else self.network.classifier[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (batch, 3, h, w) -> logits (batch, classes)."""
        return self.head(self.dropout(self.features(images)))

    def features(self, images: Tensor) -> Tensor:
        """Normalised images (batch, 3, h, w) -> (batch, features): what the head sees."""
        return self.pool(self.feature_map(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """(batch, 3, h, w) -> (batch, channels, h/32, w/32), sides rounded up: the last map."""
        for layer in self.layers():
            images = layer(images)
        return images

    def pool(self, maps: Tensor) -> Tensor:
        """The map averaged over its positions, (batch, features); MobileNetV3 adds a layer."""
        features = self.network.avgpool(maps).flatten(1)  # (batch, channels)
        if self.name == "mobilenet_v3_large":
            linear, hardswish = self.network.classifier[:2]
            features = hardswish(linear(features))  # (batch, 1280)
        return features

    def layers(self) -> list[nn.Module]:
        """Torchvision's layers from the image to the last map."""
        if self.name == "resnet50":
            return [*self.network.children()][:-2]
        return [*self.network.features]

    def stages(self) -> list[nn.Module]:
        """The network without its head, from input to output, in 5 (resnet50) or 7 groups."""
        layers, starts = self.layers(), NETWORKS[self.name].stages
        groups = [layers[start:end] for start, end in pairwise((*starts, len(layers)))]
        if self.name == "mobilenet_v3_large":
            groups[-1].append(self.network.classifier[0])
        return [nn.Sequential(*group) for group in groups]

    def freeze(self, stages: int) -> None:
        """Let training change all but the first `stages` stages.

        A frozen stage computes one fixed function: its BatchNorm uses the running statistics and
        leaves them as they are, whatever mode the model is put into.
        """
        self.frozen = stages
        for number, group in enumerate(self.stages()):
            group.requires_grad_(number >= self.frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode, for what is not frozen."""
        super().train(mode)
        for group in self.stages()[: self.frozen]:
            group.eval()
        if self.fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def place_strides(self, where: Literal["conv1", "conv2"]) -> None:
        """Say which convolution of a stage's first block halves the sides in a resnet50.

        conv1, the 1 x 1, as in the paper and in Keras' ResNet50, or conv2, the 3 x 3, as in
        torchvision's, which is the default. Weights are right for one of them only.
        """
        self.strides = where
        if self.name != "resnet50":
            return
        for stage in (self.network.layer2, self.network.layer3, self.network.layer4):
            stage[0].conv1.stride = (2, 2) if where == "conv1" else (1, 1)
            stage[0].conv2.stride = (2, 2) if where == "conv2" else (1, 1)


class SameConv2d(nn.Conv2d):
    """Pads as TensorFlow's "same": if the sum is odd, right and bottom get the larger part."""

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, h, w) -> (batch, out_channels, h/stride, w/stride), rounded up."""
        padding = []
        for side, kernel, stride in zip(
            maps.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max(kernel - (stride if side % stride == 0 else side % stride), 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(maps, padding))


def efficientnet_lite0(classes: int) -> EfficientNet:
    """EfficientNet-Lite0, on torchvision's EfficientNet; 4,652,008 parameters at 1,000 classes."""
    block = partial(MBConv, se_layer=nn.Identity)
    network = EfficientNet(
        [MBConvConfig(*stage, block=block) for stage in LITE_STAGES],
        dropout=0.2,
        num_classes=classes,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
    )
    make_lite(network)
    return network


def make_lite(module: nn.Module) -> None:
    """Replace SiLU and the padding of strided convolutions, at any depth."""
    for name, child in module.named_children():
        if isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6(inplace=True))
        elif isinstance(child, nn.Conv2d) and child.stride != (1, 1):
            conv = SameConv2d(
                child.in_channels,
                child.out_channels,
                child.kernel_size,
                child.stride,
                groups=child.groups,
                bias=False,
            )
            conv.weight = child.weight
            setattr(module, name, conv)
        else:
            make_lite(child)


def class_probabilities(model: Classifier, images: Tensor, flip: bool) -> Tensor:
    """(batch, 3, h, w) -> (batch, classes); with `flip` averaged with those of mirror images."""
    result = model(images).float().softmax(1)
    if flip:
        result = (result + model(images.flip(3)).float().softmax(1)) / 2
    return result
