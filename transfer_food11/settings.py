"""Settings of transfer_food11."""

from dataclasses import dataclass
from typing import Literal

from common.config import Settings, flag
from common.errors import require

from transfer_food11.model import NAMES, Name

Mode = Literal["probe", "finetune", "scratch"]
SMALLEST = 32  # pixels: all of the networks halve their maps five times


@dataclass
class Config(Settings):
    """Settings of transfer_food11."""

    # What is compared
    models: tuple[Name, ...] = NAMES[:3]  # which to train, in this order
    modes: tuple[Mode, ...] = ("probe", "finetune", "scratch")  # how to train each of them
    per_class: tuple[int, ...] = (0,)  # training images a class; several = learning curve; 0 = all
    weights: str = "auto"  # published weights: auto, none, or a file for a single model

    # Training of whole networks
    epochs: int = 4  # passes over the training split
    batch_size: int = 32  # images a step, over all processes
    lr: float = 2e-3  # learning rate of fine-tuning, at its highest, of the head
    layer_decay: float = 0.75  # by which the rate falls from each stage to the one before it
    scratch_lr: float = 0.05  # learning rate, at its highest, from scratch, of all stages
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    warmup_epochs: float = 0.5  # epochs over which the learning rate rises from zero
    weight_decay: float = 1e-4  # on weight matrices only; never on biases and norms
    ema_decay: float = 0.99  # averaged weights: decay a step; 0 = no averaging
    label_smoothing: float = 0.1  # share of each target spread over all classes
    class_weights: bool = False  # every class weighs the same in the loss, however many images
    freeze: int = 0  # first stages that keep their weights and BatchNorm in fine-tuning; -1 = all
    fixed_statistics: bool = True  # fine-tuning keeps the BatchNorm statistics of the weights
    accumulate: int = 1  # parts in which a batch goes through the network, to save memory
    epoch_steps: int = 25  # steps of an epoch at least: fewer images are passed over repeatedly

    # Training of the head alone
    probe_epochs: int = 15  # passes over the features of the frozen network
    probe_lr: float = 1e-3  # learning rate, at its highest
    probe_parts: int = 2  # varied parts of each picture that it sees, besides the whole
    strengths: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)  # L2 penalties; validation chooses

    # Augmentation
    crop: float = 0.5  # a training image is a part of the picture, of this share at least
    flip: bool = True  # mirror every second training image
    jitter: float = 0.2  # brightness, contrast and saturation change by up to this share
    erase: float = 0.0  # share of the training images that lose a rectangle
    policy: Literal["none", "trivial", "rand"] = "none"  # TrivialAugment or RandAugment
    mix: Literal["none", "mixup", "cutmix"] = "none"  # each training image is mixed with another
    test_flip: bool = True  # predict from the picture and its mirror image together

    # Model
    dropout: float = 0.2  # share of the features dropped before the head

    # Data
    images: str = ""  # your own folder, with the three splits or with a folder for each class
    size: int = 224  # side of the training images, in pixels
    stored_size: int = 224  # side of the stored pictures, which validation and test see, in pixels

    def check(self) -> None:
        super().check()
        for name in ("models", "modes", "per_class", "strengths"):
            values = getattr(self, name)
            require(bool(values), f"--{flag(name)} is empty: name at least one")
            require(len(set(values)) == len(values), f"--{flag(name)} names one twice")
        self.check_at_least(1, "probe_epochs", "accumulate", "epoch_steps")
        self.check_at_least(0, "probe_parts")
        self.check_positive("scratch_lr", "probe_lr")
        for name in ("layer_decay", "crop"):
            value = getattr(self, name)
            require(0 < value <= 1, f"--{flag(name)} must lie in 0 < x <= 1, not {value}")
        self.check_share("label_smoothing", "dropout", "jitter")
        require(0 <= self.erase <= 1, f"--erase must lie in 0 <= x <= 1, not {self.erase}")
        require(self.freeze >= -1, f"--freeze must be -1 or more, not {self.freeze}")
        for name in ("per_class", "strengths"):
            least = min(getattr(self, name))
            require(least >= 0, f"--{flag(name)} must not be negative, and holds {least}")
        require(self.size >= SMALLEST, f"--size must be at least {SMALLEST}, not {self.size}")
        require(
            self.stored_size >= self.size,
            f"--stored-size {self.stored_size} must not be smaller than --size {self.size}",
        )
        require(
            self.weights in ("auto", "none") or len(self.models) == 1,
            f"--weights {self.weights} is a file for one model: name that one with --models",
        )
        require(
            not self.images or self.data != "sample",
            "--images names your own pictures: leave --data sample out",
        )
