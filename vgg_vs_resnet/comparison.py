"""Train several image classifiers alike and measure each: what vgg_vs_resnet and
resnext_comparison share.

Every model gets the same splits, the same order of batches and the same number of epochs; random
numbers start anew from the seed for each, so that none depends on which were trained before it.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from common import checkpoints, device, metrics, report, training
from common.augmentation import Augmentation, Normalise, image_loader
from common.batches import Loader
from common.config import Settings, flag
from common.downloads import Source
from common.errors import require
from common.images import Images, ImageSet
from common.runs import Run

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgg_vs_resnet.model import REDUCTION, SETTINGS, Name, Stem, make

# The plain recipe: no augmentation, no BatchNorm in VGG, weight decay on everything, and a learning
# rate that falls when validation stalls (Simonyan & Zisserman, section 3.1; He et al., 3.4).
BASE = {
    "schedule": "plateau", "warmup_epochs": 0.0, "ema_decay": 0.0, "label_smoothing": 0.0,
    "padding": 0, "flip": False, "jitter": 0.0, "erase": 0.0, "batch_norm": False,
    "decay_all": True, "vgg_lr": 0.01,
}  # fmt: skip
CPU_FLOPS = 5e10  # a second, of two cores
LONG_HOURS = 2


@dataclass
class ImageSettings(Settings):
    """Settings of the image projects that are trained from scratch."""

    # Training
    recipe: Literal["improved", "base"] = "improved"  # base: the papers' plain recipe, see BASE
    epochs: int = 40  # passes over the training split
    batch_size: int = 128  # images a step, over all processes
    lr: float = 0.1  # learning rate, at its highest, of the residual networks
    vgg_lr: float = 0.02  # the same of VGG, whose linear layers have no BatchNorm
    momentum: float = 0.9  # of the gradient
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    warmup_epochs: float = 2.0  # epochs over which the learning rate rises from zero
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
    stem: Stem = "small"  # of the residual networks: full resolution, or as for ImageNet
    width: int = 64  # channels of the first stage of every network
    hidden: int = 4096  # units of VGG's two hidden linear layers
    dropout: float = 0.5  # share of these units dropped

    # Data
    images: str = ""  # your own image folder: one folder for each class
    size: int = 64  # images are resized to this side, in pixels; a multiple of 32
    per_class: int = 0  # images used of each class, at most; 0 = all

    def __post_init__(self) -> None:
        for name, value in BASE.items() if self.recipe == "base" else ():
            if getattr(self, name) == getattr(type(self), name):
                setattr(self, name, value)

    def check(self) -> None:
        super().check()
        for name in ("width", "hidden"):
            value = getattr(self, name)
            require(value >= 1, f"--{flag(name)} must be at least 1, not {value}")
        require(
            self.size >= REDUCTION and self.size % REDUCTION == 0,
            f"--size must be a multiple of {REDUCTION}, and {self.size} is none",
        )
        require(self.vgg_lr > 0, f"--vgg-lr must be above 0, not {self.vgg_lr}")
        for name in ("momentum", "label_smoothing", "dropout", "jitter"):
            value = getattr(self, name)
            require(0 <= value < 1, f"--{flag(name)} must lie in 0 <= x < 1, not {value}")
        require(0 <= self.erase <= 1, f"--erase must lie in 0 <= x <= 1, not {self.erase}")
        for name in ("padding", "per_class"):
            value = getattr(self, name)
            require(value >= 0, f"--{flag(name)} must not be negative, and is {value}")
        require(
            not self.images or self.data != "sample",
            "--images names your own pictures: leave --data sample out",
        )


@dataclass(frozen=True)
class Candidate:
    """A model to be trained: how it is made, and its highest learning rate."""

    name: str
    make: Callable[[], nn.Module]
    lr: float


def candidate(name: Name, classes: int, config: ImageSettings) -> Candidate:
    """One of vgg_vs_resnet's models and its learning rate."""
    chosen = {setting: getattr(config, setting) for setting in SETTINGS}
    lr = config.vgg_lr if name == "vgg16c" else config.lr
    return Candidate(name, partial(make, name, classes, **chosen), lr)


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate: figures by name, the epochs' rows, and what it says of the test."""

    metrics: dict[str, Any]
    rows: list[dict[str, Any]]
    report: dict[str, Any]  # of metrics.classification
    probabilities: Tensor  # (test images, classes)


def prepare(run: Run, source: Source, found: ImageSet, config: ImageSettings) -> dict[str, Loader]:
    """Describe the data, keep what prediction needs, and put the splits on the device.

    `train again` holds as many training images as there are for validation, without augmentation:
    on them the accuracy in training is measured.
    """
    run.describe_data(source, {name: len(part) for name, part in found.splits.items()})
    for note in found.notes:
        run.print(f"          {note}")
    if run.is_main:
        kept = {"classes": list(found.classes), "mean": found.mean, "std": found.std}
        checkpoints.save(run.folder / "images.pt", kept)
    train, val = found.splits["train"], found.splits["val"]
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(val)]
    again = Images(train.pixels[rows], train.labels[rows], [])
    normalise = Normalise(found.mean, found.std)
    how = Augmentation(config.padding, config.flip, config.jitter, config.erase)

    def loader(images: Images, **options: Any) -> Loader:
        return image_loader(images, normalise, config.batch_size, run.device, **options)

    return {
        "train": loader(train, augmentation=how, shuffle=True, seed=config.seed),
        "train again": loader(again),
        "val": loader(val),
        "test": loader(found.splits["test"]),
    }


def make_step(label_smoothing: float) -> training.Step:
    """Cross-entropy; its targets are smoothed in training alone."""

    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int, dict]:
        images, labels = batch  # (batch, 3, size, size), (batch,)
        logits = model(images)  # (batch, classes)
        smoothing = label_smoothing if model.training else 0.0
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        return loss, len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}

    return step


def make_optimizer(model: nn.Module, lr: float, config: ImageSettings) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum."""
    if config.decay_all:
        groups = [{"params": list(model.parameters()), "weight_decay": config.weight_decay}]
    else:
        groups = training.parameter_groups(model, config.weight_decay)
    return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=config.momentum > 0)


def train(
    candidate: Candidate,
    loaders: Mapping[str, Loader],
    found: ImageSet,
    config: ImageSettings,
    run: Run,
) -> Outcome:
    """Train a candidate in a part of the run, choose its best epoch, and measure it."""
    part = run.part(candidate.name)
    device.seed_everything(config.seed)
    on_gpu = run.device.type == "cuda"
    model = candidate.make().to(run.device)
    if on_gpu:
        model.to(memory_format=torch.channels_last)
        torch.cuda.reset_peak_memory_stats(run.device)
    example = torch.zeros(1, 3, config.size, config.size, device=run.device)
    run.describe_model(model, (example,), candidate.name)
    known = run.models[candidate.name]
    warn_if_long(known["flops"], loaders["train"].samples, config, run)
    step = make_step(config.label_smoothing)
    optimizer = make_optimizer(model, candidate.lr, config)
    history = training.fit(
        model, loaders["train"], loaders["val"], step, optimizer, config, part,
        monitor="val_accuracy", mode="max",
    )  # fmt: skip
    if min(row["train_loss"] for row in history.rows) > 0.98 * math.log(len(found.classes)):
        run.print(
            f"{candidate.name} learnt nothing: its loss stayed at that of guessing; use another "
            "learning rate, or --batch-norm True for VGG"
        )
    again = training.evaluate(model, loaders["train again"], step, config.precision)
    probabilities = training.predict(
        model, loaders["test"], lambda model, batch: model(batch[0])
    ).softmax(1)
    measured = metrics.classification(found.splits["test"].labels, probabilities, found.classes)
    best, rows = history.best, history.rows
    warm = rows[1:] or rows  # the first epoch also warms up and compiles
    figures = {
        "parameters": known["parameters"],
        "flops": known["flops"],
        "val_accuracy": best["val_accuracy"],
        "test_accuracy": measured["accuracy"],
        "macro_f1": measured["macro_f1"],
        "best_epoch": best["epoch"],
        "train_accuracy": again["accuracy"],
        "train_loss": again["loss"],
        "val_loss": best["val_loss"],
        "gap": again["accuracy"] - best["val_accuracy"],
        "fluctuation": fluctuation(rows),
        "seconds_per_epoch": statistics.median(row["seconds"] for row in warm),
        "images_per_second": statistics.median(row["samples_per_second"] for row in warm),
        "train_seconds": history.seconds,
    }
    if on_gpu:
        figures["peak_memory_mb"] = report.peak_memory_mb(run.device)
    return Outcome(figures, rows, measured, probabilities)


def warn_if_long(flops: int, samples: int, config: ImageSettings, run: Run) -> None:
    """Say it before the first step if a CPU will need hours: backward costs twice forward."""
    hours = 3 * flops * samples * config.epochs / CPU_FLOPS / 3600
    if run.device.type == "cpu" and not config.limit_batches and hours > LONG_HOURS:
        run.print(
            f"          on this CPU it may take {hours:,.0f} hours; shorter: --size 32 "
            "--stem imagenet --per-class 2000 --epochs 10"
        )


def fluctuation(rows: Sequence[Mapping[str, float]]) -> float:
    """Mean change of the validation loss from an epoch to the next, as a share of its mean."""
    losses = [row["val_loss"] for row in rows]
    changes = [abs(after - before) for before, after in pairwise(losses)]
    return statistics.mean(changes) / statistics.mean(losses) if changes else 0.0


def table(outcomes: Mapping[str, Outcome]) -> str:
    """One line for each model, with all its figures, in two blocks to fit the screen."""
    names = list(next(iter(outcomes.values())).metrics)
    label = max(map(len, outcomes)) + 2
    lines = []
    for part in (names[:8], names[8:]):
        lines.append(" " * label + " ".join(f"{name:>{max(11, len(name))}}" for name in part))
        for title, outcome in outcomes.items():
            cells = [
                f"{report.number(outcome.metrics[name]):>{max(11, len(name))}}" for name in part
            ]
            lines.append(f"{title:<{label}}" + " ".join(cells))
    return "\n".join(lines)


def accuracy_by_origin(
    origins: Mapping[str, str], found: ImageSet, outcomes: Mapping[str, Outcome]
) -> dict[str, dict[str, float]]:
    """Test accuracy of each model on the pictures of each origin."""
    test = found.splits["test"]
    names = [origins.get(file, "") for file in test.files]
    shares: dict[str, dict[str, float]] = {}
    for title, outcome in outcomes.items():
        right = (outcome.probabilities.argmax(1) == test.labels).tolist()
        for origin in sorted(set(names) - {""}):
            own = [hit for hit, name in zip(right, names, strict=True) if name == origin]
            shares.setdefault(title, {})[origin] = statistics.mean(map(float, own))
    return shares
