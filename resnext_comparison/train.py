"""ResNeXt beside ResNet-18 and VGG-16, trained from scratch on the same images.

python resnext_comparison/train.py                                  the three models
python resnext_comparison/train.py --study cardinality --width 64   1 to 32 paths, as in table 2
python resnext_comparison/train.py --study rate                     a short sweep of learning rates
"""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch loads: see device.set_threads

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import checkpoints, distributed, images, metrics, plots
from common.batches import Loader
from common.device import seed_everything
from common.downloads import cache_folder
from common.images import Augmentation, ImageSet
from common.runs import History, Run, start
from common.settings import Diverged, Settings, above, at_least, cli, fraction, require
from common.summary import format_table, number
from common.training import decay_groups, evaluate, fit, predict
from resnext_comparison import figures
from resnext_comparison.model import ResNeXt, Stem, equal_width
from vgg_vs_resnet.model import VGG16C, ResNet18

Name = Literal["vgg16c", "resnet18", "resnext29"]
# With --width 64 the paths are as wide as in the paper's table 2, which leaves out 16.
CARDINALITIES = (1, 2, 4, 8, 16, 32)
# A plain recipe: SGD whose rate falls when validation stalls, as in the papers of VGG and ResNet,
# but without their augmentation; no BatchNorm in VGG, weight decay on everything.
BASE = {
    "schedule": "plateau", "warmup_epochs": 0.0, "ema_decay": 0.0, "label_smoothing": 0.0,
    "padding": 0, "flip": False, "jitter": 0.0, "erase": 0.0, "batch_norm": False,
    "decay_all": True, "lr": 0.1, "vgg_lr": 0.01,
}  # fmt: skip
PUBLISHED = {
    "VGG-16": {
        "train_accuracy": 0.9944, "val_accuracy": 0.894, "train_loss": 0.0352, "val_loss": 1.2873,
    },
    "ResNet-18": {
        "train_accuracy": 0.8097, "val_accuracy": 0.8989, "train_loss": 0.4212, "val_loss": 0.5344,
    },
    "ResNeXt": {"train_accuracy": 0.87, "val_accuracy": 0.9061, "val_loss": 0.4661},
}  # fmt: skip


@dataclass
class Config(Settings):
    RECIPES: ClassVar = {"base": BASE}
    # Images a second on two cores with AMX, in float32 and in bfloat16: ResNet-18 536 and 945,
    # VGG-16 C 124 and 369.
    BFLOAT16_ON_CPU: ClassVar = True

    # Study
    study: Literal["models", "cardinality", "rate"] = "models"  # what is compared
    models: tuple[Name, ...] = ("vgg16c", "resnet18", "resnext29")  # which to train, in this order
    cardinalities: tuple[int, ...] = CARDINALITIES  # paths, at as many weights a block
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)  # learning rates
    study_epochs: int = 12  # passes over the training split, in the studies of cardinality and rate

    # Training
    recipe: Literal["improved", "base"] = "improved"  # base: a plain recipe, see BASE
    epochs: int = 10  # passes over the training split
    batch_size: int = 128  # images a step, over all processes
    lr: float = 0.2  # peak learning rate of the residual networks
    vgg_lr: float = 0.04  # the same of VGG, whose linear layers have no BatchNorm
    momentum: float = 0.9  # of the gradient (Nesterov)
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    warmup_epochs: float = 1.0  # epochs over which the learning rate rises from zero
    weight_decay: float = 5e-4  # on weight matrices; see --decay-all
    decay_all: bool = False  # weight decay on biases and norms too, as in the papers
    ema_decay: float = 0.99  # averaged weights: decay a step; 0 = no averaging
    label_smoothing: float = 0.1  # fraction of each target that is spread over all classes
    weights: Path | None = None  # start from these weights (model.pt, or a file of a state dict)

    # Augmentation
    padding: int = 6  # pixels by which a training image is shifted, at most
    flip: bool = True  # mirror each training image with probability 1/2
    jitter: float = 0.2  # brightness, contrast and saturation change by up to this fraction
    erase: float = 0.25  # fraction of the training images that lose a rectangle

    # Model
    cardinality: int = 32  # paths of each block of ResNeXt-29
    path_width: float = 4  # channels of each path in the first stage
    stem: Stem = "imagenet"  # of the residual networks: as for ImageNet, or small: full resolution
    width: int = 32  # channels of the first stage of every network; 64 in the papers
    batch_norm: bool = True  # BatchNorm after every convolution of VGG
    hidden: int = 512  # units of VGG's two hidden linear layers; 4096 in the paper
    dropout: float = 0.5  # fraction of these units dropped

    # Data
    images: Path | None = None  # your own image folder: one folder for each class
    size: int = 64  # images are resized to this side, in pixels; a multiple of 32
    per_class: int = 0  # images used of each class, at most; 0 = all
    skip_small: bool = False  # leave out classes with fewer than 10 different images
    max_megapixels: int = 500  # larger images are skipped (a JPEG counts as decoded, scaled down)

    def check(self) -> None:
        super().check()
        for name in ("models", "cardinalities", "rates"):
            values = getattr(self, name)
            require(bool(values), f"--{name} is empty: give at least one")
            require(len(set(values)) == len(values), f"--{name} names one twice")
        at_least(1, cardinalities=min(self.cardinalities), study_epochs=self.study_epochs)
        at_least(1, epochs=self.epochs, batch_size=self.batch_size)
        at_least(1, cardinality=self.cardinality, width=self.width, hidden=self.hidden)
        at_least(0, padding=self.padding, warmup_epochs=self.warmup_epochs)
        at_least(0, weight_decay=self.weight_decay)
        above(0, rates=min(self.rates), lr=self.lr, vgg_lr=self.vgg_lr)
        fraction(momentum=self.momentum, ema_decay=self.ema_decay, dropout=self.dropout)
        fraction(label_smoothing=self.label_smoothing, jitter=self.jitter)
        require(0 <= self.erase <= 1, f"--erase must lie in 0 <= x <= 1, not {self.erase}")
        require(
            self.path_width > 0 and float(2 * self.path_width).is_integer(),
            f"--path-width must be a multiple of 1/2 above 0, not {self.path_width}",
        )
        require(
            self.size >= 32 and self.size % 32 == 0,
            f"--size must be a multiple of 32, by which VGG reduces it, not {self.size}",
        )
        require(
            self.weights is None or len(planned(self)) == 1,
            "--weights are those of one network: name it with --models",
        )
        require(
            self.study == "models" or self.warmup_epochs < self.study_epochs,
            "--warmup-epochs must be shorter than --study-epochs: lower it, or train longer",
        )
        images.check_settings(self)


def planned(config: Config) -> dict[str, float]:
    """What the study trains: for each title the highest learning rate."""
    if config.study == "cardinality":
        return {f"cardinality {count}": config.lr for count in config.cardinalities}
    if config.study == "rate":
        return {f"{name} rate {lr:g}": lr for name in config.models for lr in config.rates}
    return {name: config.vgg_lr if name == "vgg16c" else config.lr for name in config.models}


def build(title: str, config: Config, classes: int) -> nn.Module:
    """An untrained network, by its title in the study.

    ResNeXt-29 is that of the paper's section 5.3, narrower by default; `cardinality C` has C paths
    and as many weights a block.
    """
    name, *_ = title.split(" rate ")
    if name == "vgg16c":
        return VGG16C(
            classes, config.size, width=config.width, hidden=config.hidden, dropout=config.dropout,
            batch_norm=config.batch_norm,
        )  # fmt: skip
    if name == "resnet18":
        return ResNet18(classes, config.stem, width=config.width)
    cardinality, path_width = config.cardinality, config.path_width
    if name != "resnext29":
        cardinality = int(name.removeprefix("cardinality "))
        like = (config.cardinality, config.path_width)
        path_width = equal_width(cardinality, 4 * config.width, like)
    return ResNeXt(
        classes,
        cardinality=cardinality,
        path_width=path_width,
        stem=config.stem,
        width=config.width,
    )


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0
) -> tuple[Tensor, int, dict[str, Tensor]]:
    """Cross-entropy, whose targets are smoothed in training alone, and the correct predictions."""
    pixels, labels = batch  # (batch, 3, size, size), (batch,)
    logits = model(pixels)  # (batch, classes)
    smoothing = label_smoothing if model.training else 0.0
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return loss, len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}


def train(
    title: str, lr: float, config: Config, dataset: ImageSet, loaders: dict[str, Loader], run: Run
) -> tuple[nn.Module, History]:
    """Train one network in its part of the run; returns it with the weights of its best epoch."""
    seed_everything(config.seed)  # whatever was trained before
    model = build(title, config, len(dataset.classes))
    if config.weights:
        checkpoints.load_foreign(model, config.weights, head="classifier")
    # Convolutions run faster channels last, on GPUs and on CPUs.
    model = model.to(run.device, memory_format=torch.channels_last)
    example = torch.zeros(1, 3, config.size, config.size, device=run.device)
    run.describe_model(model, (example,), title)
    groups = decay_groups(model, config.weight_decay)  # on matrices alone
    if config.decay_all:
        groups = [{"params": model.parameters(), "weight_decay": config.weight_decay}]
    optimizer = torch.optim.SGD(
        groups,
        lr=lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )
    lr_flag = "--vgg-lr" if title == "vgg16c" else "--lr"
    history = fit(
        model,
        optimizer,
        partial(step, label_smoothing=config.label_smoothing),
        loaders["train"],
        loaders["val"],
        run,
        epochs=config.epochs if config.study == "models" else config.study_epochs,
        schedule=config.schedule,
        warmup_epochs=config.warmup_epochs,
        ema_decay=config.ema_decay,
        monitor="val_accuracy",
        lr_flag="--rates" if config.study == "rate" else lr_flag,
    )
    run.save_model(model, network=title, **dataset.preprocessing)
    return model, history


def main(config: Config) -> dict[str, Any]:
    """Train what the study compares, one after the other, and show the comparison."""
    run = start("resnext_comparison", config)
    source, dataset = images.load(
        config.size, images=config.images, data=config.data, data_dir=config.data_dir,
        per_class=config.per_class, skip_small=config.skip_small,
        max_megapixels=config.max_megapixels,
    )  # fmt: skip
    run.begin(source, dataset.counts, dataset.notes)
    augmentation = Augmentation(config.padding, config.flip, config.jitter, config.erase)
    loaders = images.make_loaders(
        dataset, config.batch_size, run.device, seed=config.seed, augmentation=augmentation
    )
    networks, histories = {}, {}
    for title, lr in planned(config).items():
        part = run.part(title)
        try:
            networks[title], histories[title] = train(title, lr, config, dataset, loaders, part)
        except Diverged as error:  # of a study of rates that is a result
            if config.study != "rate" or distributed.world_size() > 1:  # not all would notice it
                raise
            run.print(f"{title} is left out: {error}")
    if not networks:
        raise Diverged("every rate of the study diverged: lower --rates")

    run.phase("evaluation")
    test, classes = dataset.splits["test"], dataset.classes
    results, reports, probabilities = {}, {}, {}
    for title, model in networks.items():
        plain = evaluate(model, loaders["train plain"], step, run.precision)
        results[title] = {
            **images.training_metrics(histories[title], plain),
            "parameters": run.models[title]["parameters"],
            "flops": run.models[title]["flops"],
        }
        if config.study == "rate":  # chooses a rate: the test split stays unread
            continue
        logits = predict(model, loaders["test"], lambda net, batch: net(batch[0]), run.precision)
        probabilities[title] = logits.softmax(1)  # (test images, classes)
        reports[title] = metrics.classification(test.labels, probabilities[title], classes)
        results[title]["test_accuracy"] = reports[title]["accuracy"]
        results[title]["macro_f1"] = reports[title]["macro_f1"]
        images.print_confused(run, reports[title]["confusion"], classes)
    for part in run.parts:
        if part.title in probabilities:
            part.save_mistakes(test.files, test.labels, probabilities[part.title], classes)

    predictions = {title: own.argmax(1) for title, own in probabilities.items()}
    baselines, published = {}, {}
    if config.study == "models":
        run.phase("baselines")
        baselines, linear = images.linear_baselines(dataset, cache_folder(config.data_dir))
        predictions |= linear
        published = {} if config.images else PUBLISHED

    def draw() -> None:
        if config.study == "rate":
            run.save_plot(figures.by_rate(results, config.models, config.rates), "rates.png")
            return
        rows = {title: history.rows for title, history in histories.items()}
        run.save_plot(plots.curves(rows, ("loss", "accuracy")), f"curves-{config.study}.png")
        if config.study == "cardinality":
            run.save_plot(figures.by_cardinality(results), "cardinality.png")
            return
        run.save_plot(plots.trade_off(results), "trade_off.png")
        run.save_plot(images.draw_mistakes(test, probabilities, classes), "mistakes.png")
        for title, report in reports.items():
            matrix = plots.confusion(report["confusion"], classes, title)
            run.save_plot(matrix, f"confusion-{title}.png")

    keys = next(iter(results.values()))
    table = [[key, *(number(own[key]) for own in results.values())] for key in keys]
    run.print("\n" + format_table(["", *results], table))
    return run.finish(
        results,
        baselines,
        published,
        labels=test.labels,
        predictions=predictions,
        extra={"reports": reports},
        plots=draw,
    )


if __name__ == "__main__":
    cli(Config, main)
