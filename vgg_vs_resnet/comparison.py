"""Train several image classifiers alike and measure each: what vgg_vs_resnet and
resnext_comparison share.

Every model gets the same splits, the same order of batches and the same number of epochs; random
numbers start anew from the seed for each, so that none depends on which were trained before it.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from common import checkpoints, device, metrics, report, training
from common.augmentation import Augmentation, Normalise, image_loader
from common.batches import Loader
from common.downloads import Source
from common.images import Images, ImageSet
from common.progress import History
from common.runs import Run

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgg_vs_resnet.model import SETTINGS, Name, make
from vgg_vs_resnet.settings import ImageSettings

CPU_FLOPS = 5e10  # a second, of two cores
LONG_HOURS = 2


@dataclass(frozen=True)
class Candidate:
    """A model to be trained: how it is made, its highest learning rate, the setting of that."""

    name: str
    make: Callable[[], nn.Module]
    lr: float
    rate: str = "lr"


def candidate(name: Name, classes: int, config: ImageSettings) -> Candidate:
    """One of vgg_vs_resnet's models and its learning rate."""
    chosen = config.chosen(SETTINGS)
    rate = "vgg_lr" if name == "vgg16c" else "lr"
    return Candidate(name, partial(make, name, classes, **chosen), getattr(config, rate), rate)


@dataclass
class Outcome:
    """What came of a candidate.

    metrics: its figures by name. rows: of its epochs. report: see `metrics.classification`, and
    probabilities (test images, classes): of the test split, where it is measured.
    """

    metrics: dict[str, Any]
    rows: list[dict[str, Any]]
    report: dict[str, Any] = field(default_factory=dict)
    probabilities: Tensor = field(default_factory=lambda: torch.empty(0))


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
    normalise = Normalise(found.mean.to(run.device), found.std.to(run.device))
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
    with_test: bool = True,
) -> Outcome:
    """Train a candidate in a part of the run, choose its best epoch, and measure it."""
    part = run.part(candidate.name)
    device.seed_everything(config.seed)
    # Convolutions run faster channels last, on GPUs and on CPUs.
    model = candidate.make().to(run.device, memory_format=torch.channels_last)
    if run.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(run.device)
    example = torch.zeros(1, 3, config.size, config.size, device=run.device)
    run.describe_model(model, (example,), candidate.name)
    flops = run.models[candidate.name]["flops"]
    warn_if_long(flops, loaders["train"].samples, config, run)
    step = make_step(config.label_smoothing)
    optimizer = make_optimizer(model, candidate.lr, config)
    history = training.fit(
        model, loaders["train"], loaders["val"], step, optimizer, config, part,
        monitor="val_accuracy", mode="max", rate=candidate.rate,
    )  # fmt: skip
    if min(row["train_loss"] for row in history.rows) > 0.98 * math.log(len(found.classes)):
        run.print(
            f"{candidate.name} has learnt nothing yet: its loss in training is still that of "
            "guessing; train longer, with another learning rate, or VGG with --batch-norm True"
        )
    again = training.evaluate(model, loaders["train again"], step, config.precision)
    outcome = Outcome(figures_of(history, again), history.rows)
    outcome.metrics |= {"parameters": run.models[candidate.name]["parameters"], "flops": flops}
    if run.device.type == "cuda":
        outcome.metrics["peak_memory_mb"] = report.peak_memory_mb(run.device)
    if with_test:
        test(outcome, model, loaders["test"], found, config.precision)
    return outcome


def figures_of(history: History, again: Mapping[str, float]) -> dict[str, float]:
    """What the epochs say, and the best model's figures on training images (`again`)."""
    best = history.best
    warm = history.rows[1:] or history.rows  # the first epoch also warms up and compiles
    return {
        "val_accuracy": best["val_accuracy"],
        "best_epoch": best["epoch"],
        "train_accuracy": again["accuracy"],
        "gap": again["accuracy"] - best["val_accuracy"],
        "train_loss": again["loss"],
        "val_loss": best["val_loss"],
        "fluctuation": fluctuation(history.rows),
        "seconds_per_epoch": statistics.median(row["seconds"] for row in warm),
        "images_per_second": statistics.median(row["samples_per_second"] for row in warm),
        "train_seconds": history.seconds,
    }


def test(
    outcome: Outcome, model: nn.Module, loader: Loader, found: ImageSet, precision: str
) -> None:
    """Add what the best model does on the test split."""
    logits = training.predict(model, loader, lambda model, batch: model(batch[0]), precision)
    outcome.probabilities = logits.softmax(1)
    labels = found.splits["test"].labels
    outcome.report = metrics.classification(labels, outcome.probabilities, found.classes)
    outcome.metrics["test_accuracy"] = outcome.report["accuracy"]
    outcome.metrics["macro_f1"] = outcome.report["macro_f1"]


def warn_if_long(flops: int, samples: int, config: ImageSettings, run: Run) -> None:
    """Say it before the first step if a CPU will need hours: backward costs twice forward."""
    hours = 3 * flops * samples * config.epochs / CPU_FLOPS / 3600
    if run.device.type == "cpu" and not config.limit_batches and hours > LONG_HOURS:
        run.print(
            f"          on this CPU it may take {hours:,.0f} hours; shorter: --width 16 "
            "--per-class 1500"
        )


def fluctuation(rows: Sequence[Mapping[str, float]]) -> float:
    """Mean change of the validation loss from an epoch to the next, as a share of its mean."""
    losses = [row["val_loss"] for row in rows]
    changes = [abs(after - before) for before, after in pairwise(losses)]
    return statistics.mean(changes) / statistics.mean(losses) if changes else 0.0


COLUMNS = (
    ("parameters", "flops", "seconds_per_epoch", "images_per_second", "peak_memory_mb"),
    ("val_accuracy", "best_epoch", "test_accuracy", "macro_f1", "train_accuracy", "gap"),
    ("train_loss", "val_loss", "fluctuation", "train_seconds"),
)


def table(outcomes: Mapping[str, Outcome]) -> str:
    """The models' figures, in blocks that fit the screen."""
    label = max(map(len, outcomes)) + 2
    lines = []
    for block in COLUMNS:
        lines.append(" " * label + " ".join(f"{name:>17}" for name in block))
        for title, outcome in outcomes.items():
            cells = [f"{report.number(outcome.metrics.get(name)):>17}" for name in block]
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
