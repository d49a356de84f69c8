"""What ImageNet weights are worth on photographs of food: a new head, fine-tuning, from scratch.

python transfer_food11/train.py                           ResNet-50: new head, then fine-tuned
python transfer_food11/train.py --modes probe             the new head alone: minutes on a CPU
python transfer_food11/train.py --models all              the three with published figures
python transfer_food11/train.py --models efficientnet_lite0 --modes probe finetune scratch
python transfer_food11/train.py --images DIR              your own images
"""

import copy
import os
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch loads: see device.set_threads

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.device import seed_everything
from common.downloads import cache_folder
from common.images import ImageSet, linear_baselines
from common.metrics import classification
from common.runs import Run, start
from common.settings import Settings, above, at_least, cli, flag, fraction, require
from common.training import decay_groups, fit, predict
from transfer_food11 import data, figures, loaders, probe, weights
from transfer_food11.figures import Result
from transfer_food11.loaders import Crops, Mix, Policy
from transfer_food11.model import NETWORKS, Classifier, Name, class_probabilities
from transfer_food11.probe import Features

PUBLISHED = {
    "EfficientNet-B0 on Food-11, accuracy 90.43, split not named": {"accuracy": 0.9043},
    "MobileNetV3-Large on Food-11, accuracy 90.55, split not named": {"accuracy": 0.9055},
    "ResNet-50 on Food-11": {"val_accuracy": 0.9215, "test_accuracy": 0.936},
}
ALL: tuple[Name, ...] = ("efficientnet_b0", "mobilenet_v3_large", "resnet50")  # the published

Mode = Literal["probe", "finetune", "scratch"]
TITLES: dict[Mode, str] = {"probe": "probe", "finetune": "finetuned", "scratch": "scratch"}
SMALLEST = 32  # pixels: all of the networks halve their maps five times


@dataclass
class Config(Settings):
    # Comparison
    models: tuple[Name | Literal["all"], ...] = ("resnet50",)  # all = the published three
    modes: tuple[Mode, ...] = ("probe", "finetune")  # fine-tuning starts from the probe's head
    per_class: tuple[int, ...] = (0,)  # training images a class; several = learning curve; 0 = all
    weights: Literal["auto", "none"] | Path = "auto"  # published weights, or a file of weights

    # Training
    epochs: int = 4  # passes over the training split
    batch_size: int = 32  # images a step, over all processes
    lr: float = 2e-3  # peak learning rate of the head in fine-tuning
    layer_decay: float = 0.75  # by which the rate falls from each stage to the one before it
    scratch_lr: float = 0.05  # peak learning rate from scratch, of all stages
    momentum: float = 0.9  # of the gradient (Nesterov)
    warmup_epochs: float = 0.5  # epochs over which the rate rises; then it falls as a cosine
    weight_decay: float = 1e-4  # on weight matrices only; never on biases and norms
    ema_decay: float = 0.99  # averaged weights: decay a step; 0 = no averaging
    label_smoothing: float = 0.1  # fraction of each target spread over all classes
    class_weights: bool = False  # every class weighs the same in the loss, however many images
    freeze: int = 2  # first stages that fine-tuning leaves as they are
    fixed_statistics: bool = True  # fine-tuning keeps the BatchNorm statistics of the weights
    accumulate: int = 1  # parts in which a batch goes through the network, to save memory
    epoch_steps: int = 25  # steps of an epoch, at least: few images are gone through several times

    # Probe
    strengths: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)  # L2 penalties; validation chooses

    # Augmentation
    crop: float = 0.5  # least fraction of a stored image's area that a training crop has
    flip: bool = True  # mirror images with probability 1/2, and predict from both orientations
    jitter: float = 0.2  # brightness, contrast and saturation change by up to this fraction
    policy: Policy = "none"  # TrivialAugment or RandAugment
    mix: Mix = "none"  # mixup or cutmix: each training image is mixed with another

    # Model
    dropout: float = 0.2  # fraction of the features dropped before the head

    # Data
    images: Path | None = None  # your own image folder: with splits, or with a folder a class
    size: int = 224  # side of the training crops, in pixels
    stored_size: int = 224  # side of the stored images, which validation and test see, in pixels
    skip_small: bool = False  # leave out classes with fewer than 10 different images
    max_megapixels: int = 500  # larger images are skipped (a JPEG counts as decoded, scaled down)

    @property
    def networks(self) -> tuple[Name, ...]:
        return ALL if "all" in self.models else self.models

    @property
    def BFLOAT16_ON_CPU(self) -> bool:  # --precision auto asks for it
        """ResNet-50 is 3.6 times as fast in it, networks of depthwise convolutions are slower."""
        return not all(NETWORKS[name].depthwise for name in self.networks)

    @property
    def crops(self) -> Crops:
        """How the training images are varied."""
        return Crops(self.size, self.crop, self.flip, self.jitter, self.policy)

    def check(self) -> None:
        super().check()
        for name in ("models", "modes", "per_class", "strengths"):
            values = getattr(self, name)
            require(bool(values), f"--{flag(name)} is empty: name at least one")
            require(len(set(values)) == len(values), f"--{flag(name)} names one twice")
        at_least(1, epochs=self.epochs, batch_size=self.batch_size, accumulate=self.accumulate)
        at_least(1, epoch_steps=self.epoch_steps, max_megapixels=self.max_megapixels)
        at_least(0, warmup_epochs=self.warmup_epochs, weight_decay=self.weight_decay)
        at_least(0, freeze=self.freeze, per_class=min(self.per_class))
        above(0, lr=self.lr, scratch_lr=self.scratch_lr, strengths=min(self.strengths))
        fraction(ema_decay=self.ema_decay, label_smoothing=self.label_smoothing)
        fraction(dropout=self.dropout, jitter=self.jitter, momentum=self.momentum)
        for name in ("layer_decay", "crop"):
            value = getattr(self, name)
            require(0 < value <= 1, f"--{flag(name)} must lie in 0 < x <= 1, not {value}")
        at_least(SMALLEST, size=self.size)
        at_least(self.size, stored_size=self.stored_size)
        require(
            self.weights in ("auto", "none") or len(self.networks) == 1,
            f"--weights {self.weights} is a file for one model: name that one with --models",
        )
        require(
            self.images is None or self.data != "sample",
            "--images names your own images: leave --data sample out",
        )


def step(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    *,
    mix: Mix = "none",
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> tuple[Tensor, int, dict[str, Any]]:
    """Cross-entropy and the number of right answers; the options act in training alone."""
    images, labels = batch  # (batch, 3, size, size), (batch,)
    if not model.training:
        mix, label_smoothing, class_weights = "none", 0.0, None
    images, partner, own = loaders.mixed(images, mix)
    logits = model(images)  # (batch, classes)
    cross_entropy = partial(
        F.cross_entropy, logits, weight=class_weights, label_smoothing=label_smoothing
    )
    loss = own * cross_entropy(labels) + (1 - own) * cross_entropy(labels[partner])
    return loss, len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}


def make_optimizer(
    model: Classifier, lr: float, layer_decay: float, weight_decay: float, momentum: float
) -> torch.optim.SGD:
    """SGD, whose rate is `lr` at the head and falls by `layer_decay` with each stage before it.

    As Clark et al. 2020 (ELECTRA, section 3.1). Frozen stages are left out; the head comes first.
    """
    groups = []
    for depth, part in enumerate([model.head, *reversed(model.stages())]):
        rate = lr * layer_decay**depth
        groups += [{**g, "lr": rate} for g in decay_groups(part, weight_decay) if g["params"]]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)


def balanced(labels: Tensor, classes: int) -> Tensor:
    """A weight for each class, inverse to its count, of mean 1 over the images."""
    counts = labels.bincount(minlength=classes)  # (classes,)
    return len(labels) / (classes * counts.clamp(min=1)).float()


def new_model(name: Name, classes: int, run: Run) -> Classifier:
    """A network with random weights, the same for the same seed."""
    seed_everything(run.config.seed)
    model = Classifier(name, classes, run.config.dropout)
    return model.to(run.device, memory_format=torch.channels_last)


def precision_of(name: Name, run: Run) -> str:
    """The run's, but float32 for depthwise convolutions that share a CPU's run with ResNet-50."""
    is_slower = NETWORKS[name].depthwise and run.config.BFLOAT16_ON_CPU
    return "float32" if is_slower and run.device.type == "cpu" else run.precision


def train_network(
    part: Run,
    model: Classifier,
    mode: Mode,
    rows: Tensor,
    dataset: ImageSet,
    class_weights: Tensor | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Fine-tuning, or training from scratch: all stages learn that are not frozen.

    Returns:
        What was measured, and the probabilities (images, classes) of val and test.
    """
    config: Config = part.config
    normalise = loaders.normaliser(model.name, part.device)
    train = data.subset(dataset.splits["train"], rows)
    plan = loaders.repeated(len(train), config.batch_size, config.epoch_steps, config.seed)
    whole = {
        split: loaders.eval_loader(dataset.splits[split], normalise, part.device)
        for split in ("val", "test")
    }
    lr, layer_decay, lr_flag = config.scratch_lr, 1.0, "--scratch-lr"
    if mode == "finetune":
        lr, layer_decay, lr_flag = config.lr, config.layer_decay, "--lr"
    options = {"label_smoothing": config.label_smoothing, "class_weights": class_weights}
    training_step = partial(step, mix=config.mix, **options)
    seed_everything(config.seed)
    history = fit(
        model,
        make_optimizer(model, lr, layer_decay, config.weight_decay, config.momentum),
        training_step,
        loaders.train_loader(train, normalise, config.crops, plan, part.device),
        whole["val"],
        part,
        epochs=config.epochs,
        schedule="cosine",
        warmup_epochs=config.warmup_epochs,
        ema_decay=config.ema_decay,
        monitor="val_accuracy",
        accumulate=config.accumulate,
        lr_flag=lr_flag,
    )
    part.phase("evaluation")

    def forward(model: Classifier, batch: tuple[Tensor, Tensor]) -> Tensor:
        return class_probabilities(model, batch[0], config.flip)

    began = time.monotonic()
    probabilities = {
        split: predict(model, whole[split], forward, part.precision) for split in whole
    }
    seconds = time.monotonic() - began
    warm = history.rows[1:] or history.rows  # the first epoch also warms up and compiles
    metrics = {
        "best_epoch": history.best["epoch"],
        "images_per_second": statistics.median(row["samples_per_second"] for row in warm),
        "predict_images_per_second": sum(map(len, probabilities.values())) / seconds,
        "train_seconds": history.seconds,
    }
    return metrics, probabilities


def train_one(
    mode: Mode,
    per_class: int,
    model: Classifier,
    features: dict[str, Features],
    dataset: ImageSet,
    run: Run,
) -> Result:
    """Train one network in one way on some images of each class; keep it, and what it reaches."""
    config: Config = run.config
    train, val, test = (dataset.splits[split] for split in ("train", "val", "test"))
    classes, side = dataset.classes, config.stored_size
    title = f"{model.name} {TITLES[mode]}" + (f" {per_class}" if per_class else "")
    part = run.part(title, precision_of(model.name, run))
    run.describe_model(model, (torch.zeros(1, 3, side, side, device=run.device),), title)
    sizes = run.models[title]
    sizes |= {"weights": model.origin, "precision": part.precision}
    run.print(f"          {part.precision}, weights: {model.origin}")

    rows = data.drawn(train.labels, per_class, config.seed)
    weighting = None
    if config.class_weights:
        weighting = balanced(train.labels[rows], len(classes)).to(run.device)
    if mode == "probe":
        metrics, probabilities = probe.train_head(
            part, model.head, features, rows, dataset, weighting
        )
    else:
        metrics, probabilities = train_network(part, model, mode, rows, dataset, weighting)

    part.save_model(
        model.network,
        name=model.name,
        strides=model.strides,
        classes=classes,
        side=side,
        bits=dataset.bits,
        flip=config.flip,
    )
    part.save_mistakes(test.files, test.labels, probabilities["test"], classes)
    report = classification(test.labels, probabilities["test"], classes)
    top = probabilities["test"].topk(min(3, len(classes))).indices  # (images, 3)
    metrics |= {
        "val_accuracy": classification(val.labels, probabilities["val"], classes)["accuracy"],
        "test_accuracy": report["accuracy"],
        "macro_f1": report["macro_f1"],
        "test_top3": float((top == test.labels[:, None]).any(1).float().mean()),
        "flops": sizes["flops"],
        "parameters": sizes["parameters"],
    }
    epochs = part.history.rows if part.history else []
    return Result(title, len(rows), model, metrics, epochs, report, probabilities["test"])


def train_every_way(name: Name, dataset: ImageSet, run: Run) -> list[Result]:
    """One network by a new head, fine-tuned and from scratch, on few images and on all."""
    config: Config = run.config
    classes, features = len(dataset.classes), {}
    if set(config.modes) != {"scratch"}:
        pretrained = new_model(name, classes, run)
        weights.load(pretrained, config.weights, config.data_dir)
        precision, cache = precision_of(name, run), cache_folder(config.data_dir)
        features = probe.extract(pretrained, dataset, config.crops, config.seed, precision, cache)
    results = []
    for per_class in config.per_class:
        if features:  # fine-tuning starts from its head, so the probe is reported for that too
            model = copy.deepcopy(pretrained)
            model.freeze(len(model.stages()))
            results.append(train_one("probe", per_class, model, features, dataset, run))
        if "finetune" in config.modes:
            model = copy.deepcopy(model)  # with the probe's head
            model.fixed_statistics = config.fixed_statistics
            model.freeze(config.freeze)
            results.append(train_one("finetune", per_class, model, features, dataset, run))
        if "scratch" in config.modes:
            model = new_model(name, classes, run)
            results.append(train_one("scratch", per_class, model, features, dataset, run))
    return results


def main(config: Config) -> dict[str, Any]:
    """Train every network in every way and compare them on the test split."""
    run = start("transfer_food11", config)
    source, dataset = data.load(
        config.stored_size,
        images=config.images,
        data=config.data,
        data_dir=config.data_dir,
        per_class=0 if 0 in config.per_class else max(config.per_class),
        seed=config.seed,
        skip_small=config.skip_small,
        max_megapixels=config.max_megapixels,
    )
    run.begin(source, dataset.counts, dataset.notes)
    results: dict[str, Result] = {}
    for name in config.networks:
        results |= {result.title: result for result in train_every_way(name, dataset, run)}
    run.phase("baselines")
    baselines, predictions = linear_baselines(dataset, cache_folder(config.data_dir))
    predictions |= {title: result.probabilities.argmax(1) for title, result in results.items()}
    run.print("\n" + figures.summary(results))
    shows_published = not config.images or dataset.classes == data.CLASSES
    return run.finish(
        {title: result.metrics for title, result in results.items()},
        baselines,
        PUBLISHED if shows_published else {},
        labels=dataset.splits["test"].labels,
        predictions=predictions,
        extra={"reports": {title: result.report for title, result in results.items()}},
        plots=partial(figures.save_all, run, results, dataset),
    )


if __name__ == "__main__":
    cli(Config, main)
