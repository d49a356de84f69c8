"""Settings of the image projects trained from scratch: recipe, augmentation, model, data."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from common.config import Settings
from common.errors import require

from vgg_vs_resnet.model import REDUCTION, Stem

# The plain recipe: no augmentation, no BatchNorm in VGG, weight decay on everything, and a learning
# rate that falls when validation stalls (Simonyan & Zisserman, section 3.1; He et al., 3.4).
BASE = {
    "schedule": "plateau", "warmup_epochs": 0.0, "ema_decay": 0.0, "label_smoothing": 0.0,
    "padding": 0, "flip": False, "jitter": 0.0, "erase": 0.0, "batch_norm": False,
    "decay_all": True, "vgg_lr": 0.01,
}  # fmt: skip


@dataclass
class ImageSettings(Settings):
    """Settings of the image projects that are trained from scratch."""

    RECIPES: ClassVar = {"base": BASE}

    # Training
    recipe: Literal["improved", "base"] = "improved"  # base: the papers' plain recipe, see BASE
    epochs: int = 10  # passes over the training split
    batch_size: int = 128  # images a step, over all processes
    lr: float = 0.1  # learning rate, at its highest, of the residual networks
    vgg_lr: float = 0.02  # the same of VGG, whose linear layers have no BatchNorm
    momentum: float = 0.9  # of the gradient
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    warmup_epochs: float = 1.0  # epochs over which the learning rate rises from zero
    weight_decay: float = 5e-4  # on weight matrices; see --decay-all
    decay_all: bool = False  # weight decay on biases and norms too, as in the papers
    ema_decay: float = 0.99  # averaged weights: decay a step; 0 = no averaging
    label_smoothing: float = 0.1  # share of each target spread over all classes

    # Augmentation
    padding: int = 6  # pixels by which a training image is shifted, at most
    flip: bool = True  # mirror every second training image
    jitter: float = 0.2  # brightness, contrast and saturation change by up to this share
    erase: float = 0.25  # share of the training images that lose a rectangle

    # Model
    batch_norm: bool = True  # BatchNorm after every convolution of VGG
    stem: Stem = "imagenet"  # of the residual networks: as for ImageNet, or small: full resolution
    width: int = 32  # channels of the first stage of every network; 64 in the papers
    hidden: int = 512  # units of VGG's two hidden linear layers; 4096 in the paper
    dropout: float = 0.5  # share of these units dropped

    # Data
    images: str = ""  # your own image folder: one folder for each class
    size: int = 64  # images are resized to this side, in pixels; a multiple of 32
    per_class: int = 0  # images used of each class, at most; 0 = all

    def check(self) -> None:
        super().check()
        self.check_at_least(1, "width", "hidden")
        require(
            self.size >= REDUCTION and self.size % REDUCTION == 0,
            f"--size must be a multiple of {REDUCTION}, and {self.size} is none",
        )
        self.check_positive("vgg_lr")
        self.check_share("momentum", "label_smoothing", "dropout", "jitter")
        require(0 <= self.erase <= 1, f"--erase must lie in 0 <= x <= 1, not {self.erase}")
        self.check_at_least(0, "padding", "per_class")
        require(
            not self.images or self.data != "sample",
            "--images names your own pictures: leave --data sample out",
        )
