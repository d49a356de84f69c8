"""VGG-16 against ResNet-18, both trained from scratch on the same images.

python vgg_vs_resnet/train.py                     improved recipe (the defaults)
python vgg_vs_resnet/train.py --recipe base       a plain recipe, without augmentation
python vgg_vs_resnet/train.py --images DIR        your own images, a folder for each class
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

from common import checkpoints, images, metrics, plots
from common.batches import Loader
from common.device import seed_everything
from common.downloads import cache_folder
from common.images import Augmentation, ImageSet
from common.runs import History, Run, start
from common.settings import Settings, above, at_least, cli, fraction, require
from common.summary import format_table, number
from common.training import decay_groups, evaluate, fit, predict
from vgg_vs_resnet import figures
from vgg_vs_resnet.model import REDUCTION, VGG16C, ResNet18, Stem

Name = Literal["vgg16c", "resnet18"]
# A plain recipe: SGD whose rate falls when validation stalls, as in the papers (Simonyan &
# Zisserman, section 3.1; He et al., 3.4), but without their augmentation; no BatchNorm in VGG,
# weight decay on everything.
BASE = {
    "schedule": "plateau", "warmup_epochs": 0.0, "ema_decay": 0.0, "label_smoothing": 0.0,
    "padding": 0, "flip": False, "jitter": 0.0, "erase": 0.0, "batch_norm": False,
    "decay_all": True, "lr": 0.1, "vgg_lr": 0.01,
}  # fmt: skip
PUBLISHED = {
    "VGG-16 C": {"val_accuracy": 0.894},
    "ResNet-18": {"val_accuracy": 0.8989},
    "goal of the published work, base": {"val_accuracy": 0.75},
    "goal of the published work, improved": {"val_accuracy": 0.80},
}


@dataclass
class Config(Settings):
    RECIPES: ClassVar = {"base": BASE}
    # Images a second on two cores with AMX, in float32 and in bfloat16: ResNet-18 536 and 945,
    # VGG-16 C 124 and 369.
    BFLOAT16_ON_CPU: ClassVar = True

    # Training
    recipe: Literal["improved", "base"] = "improved"  # base: a plain recipe, see BASE
    models: tuple[Name, ...] = ("vgg16c", "resnet18")  # which to train, in this order
    epochs: int = 10  # passes over the training split
    batch_size: int = 128  # images a step, over all processes
    lr: float = 0.2  # peak learning rate of ResNet-18
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
    batch_norm: bool = True  # BatchNorm after every convolution of VGG
    stem: Stem = "imagenet"  # of ResNet-18: as for ImageNet, or small: full resolution
    width: int = 32  # channels of the first stage of either network; 64 in the papers
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
        require(bool(self.models), "--models is empty: name vgg16c, resnet18 or both")
        require(len(set(self.models)) == len(self.models), "--models names one model twice")
        require(
            self.size >= REDUCTION and self.size % REDUCTION == 0,
            f"--size must be a multiple of {REDUCTION}, not {self.size}",
        )
        require(
            self.weights is None or len(self.models) == 1,
            "--weights are those of one network: name it with --models",
        )
        at_least(1, epochs=self.epochs, batch_size=self.batch_size)
        at_least(1, width=self.width, hidden=self.hidden)
        at_least(0, padding=self.padding, warmup_epochs=self.warmup_epochs)
        at_least(0, weight_decay=self.weight_decay)
        above(0, lr=self.lr, vgg_lr=self.vgg_lr)
        fraction(momentum=self.momentum, ema_decay=self.ema_decay, dropout=self.dropout)
        fraction(label_smoothing=self.label_smoothing, jitter=self.jitter)
        require(0 <= self.erase <= 1, f"--erase must lie in 0 <= x <= 1, not {self.erase}")
        images.check_settings(self)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0
) -> tuple[Tensor, int, dict[str, Tensor]]:
    """Cross-entropy, whose targets are smoothed in training alone, and the correct predictions."""
    pixels, labels = batch  # (batch, 3, size, size), (batch,)
    logits = model(pixels)  # (batch, classes)
    smoothing = label_smoothing if model.training else 0.0
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return loss, len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}


def build(name: Name, config: Config, classes: int) -> nn.Module:
    """An untrained network."""
    if name == "resnet18":
        return ResNet18(classes, config.stem, width=config.width)
    return VGG16C(
        classes, config.size, width=config.width, hidden=config.hidden, dropout=config.dropout,
        batch_norm=config.batch_norm,
    )  # fmt: skip


def train(
    name: Name, config: Config, dataset: ImageSet, loaders: dict[str, Loader], run: Run
) -> tuple[nn.Module, History]:
    """Train one network in its part of the run; returns it with the weights of its best epoch."""
    seed_everything(config.seed)  # whatever was trained before
    model = build(name, config, len(dataset.classes))
    if config.weights:
        checkpoints.load_foreign(model, config.weights, head="classifier")
    # Convolutions run faster channels last, on GPUs and on CPUs.
    model = model.to(run.device, memory_format=torch.channels_last)
    example = torch.zeros(1, 3, config.size, config.size, device=run.device)
    run.describe_model(model, (example,), name)
    groups = decay_groups(model, config.weight_decay)  # on matrices alone
    if config.decay_all:
        groups = [{"params": model.parameters(), "weight_decay": config.weight_decay}]
    optimizer = torch.optim.SGD(
        groups,
        lr=config.vgg_lr if name == "vgg16c" else config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )
    history = fit(
        model,
        optimizer,
        partial(step, label_smoothing=config.label_smoothing),
        loaders["train"],
        loaders["val"],
        run,
        epochs=config.epochs,
        schedule=config.schedule,
        warmup_epochs=config.warmup_epochs,
        ema_decay=config.ema_decay,
        monitor="val_accuracy",
        lr_flag="--vgg-lr" if name == "vgg16c" else "--lr",
    )
    run.save_model(model, network=name, **dataset.preprocessing)
    return model, history


def main(config: Config) -> dict[str, Any]:
    """Train the networks one after the other on the same images; compare them on the test split."""
    run = start("vgg_vs_resnet", config)
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
    for name in config.models:
        networks[name], histories[name] = train(name, config, dataset, loaders, run.part(name))

    run.phase("evaluation")
    test, classes = dataset.splits["test"], dataset.classes
    results, reports, probabilities = {}, {}, {}
    for (name, model), part in zip(networks.items(), run.parts, strict=True):
        plain = evaluate(model, loaders["train plain"], step, run.precision)
        logits = predict(model, loaders["test"], lambda net, batch: net(batch[0]), run.precision)
        probabilities[name] = logits.softmax(1)  # (test images, classes)
        reports[name] = metrics.classification(test.labels, probabilities[name], classes)
        part.save_mistakes(test.files, test.labels, probabilities[name], classes)
        images.print_confused(run, reports[name]["confusion"], classes)
        results[name] = {
            **images.training_metrics(histories[name], plain),
            "parameters": run.models[name]["parameters"],
            "flops": run.models[name]["flops"],
            "test_accuracy": reports[name]["accuracy"],
            "macro_f1": reports[name]["macro_f1"],
        }
    run.phase("baselines")
    baselines, predictions = images.linear_baselines(dataset, cache_folder(config.data_dir))
    predictions |= {name: own.argmax(1) for name, own in probabilities.items()}

    def draw() -> None:
        rows = {name: history.rows for name, history in histories.items()}
        run.save_plot(plots.curves(rows, ("loss", "accuracy")), "curves.png")
        run.save_plot(figures.fluctuation(rows), "fluctuation.png")
        run.save_plot(images.draw_mistakes(test, probabilities, classes), "mistakes.png")
        for name, report in reports.items():
            matrix = plots.confusion(report["confusion"], classes, name)
            run.save_plot(matrix, f"confusion-{name}.png")

    keys = next(iter(results.values()))
    table = [[key, *(number(own[key]) for own in results.values())] for key in keys]
    run.print("\n" + format_table(["", *results], table))
    return run.finish(
        results,
        baselines,
        {} if config.images else PUBLISHED,
        labels=test.labels,
        predictions=predictions,
        extra={"reports": reports},
        plots=draw,
    )


if __name__ == "__main__":
    cli(Config, main)
