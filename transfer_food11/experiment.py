"""Every way of training every network, alike and measured alike."""

import copy
import dataclasses
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import checkpoints, device, distributed, metrics, training
from common.images import Images
from common.runs import Run

import torch
from torch import Tensor

from transfer_food11 import data, inputs, probe, tuning, weights
from transfer_food11.model import Classifier, Name, probabilities
from transfer_food11.settings import Config, Mode

WORDS: dict[Mode, str] = {"probe": "probe", "finetune": "finetuned", "scratch": "scratch"}
TOP = 3


@dataclass(frozen=True)
class Variant:
    """A network and a way of training it, on so many pictures of each class (0 = all)."""

    name: Name
    mode: Mode
    per_class: int

    @property
    def way(self) -> str:
        return f"{self.name} {WORDS[self.mode]}"

    @property
    def title(self) -> str:
        return f"{self.way} {self.per_class}" if self.per_class else self.way


@dataclass
class Outcome:
    """What came of a variant.

    images: how many it was trained on. metrics: its figures by name. rows: of its epochs. report:
    see `metrics.classification`, and probabilities (pictures, classes): of the test split.
    """

    variant: Variant
    images: int
    model: Classifier
    metrics: dict[str, Any]
    rows: list[dict[str, Any]]
    report: dict[str, Any]
    probabilities: Tensor


@dataclass(frozen=True)
class Task:
    """What all networks of a run have in common."""

    found: data.FoodSet
    config: Config
    run: Run
    cache: Path

    def new(self, name: Name) -> Classifier:
        """A network with random weights, the same for the same seed, on the CPU."""
        device.seed_everything(self.config.seed)
        made = Classifier(name, len(self.found.classes), self.config.dropout)
        return made.to(memory_format=torch.channels_last)

    def class_weights(self, labels: Tensor) -> Tensor | None:
        if not self.config.class_weights:
            return None
        return tuning.balanced(labels, len(self.found.classes)).to(self.run.device)

    def begin(self, variant: Variant, model: Classifier, phrase: str) -> Run:
        """A folder for the variant, with what predict.py must know; describe the model."""
        part, side = self.run.part(variant.title), self.config.stored_size
        example = torch.zeros(1, 3, side, side, device=self.run.device)
        self.run.describe_model(model, (example,), variant.title)
        self.run.models[variant.title]["weights"] = phrase
        known = {
            "name": model.name,
            "variant": variant.title,
            "classes": self.found.classes,
            "side": side,
            "mean": model.preprocessing.mean,
            "std": model.preprocessing.std,
            "stride_in": model.stride_in,
            "flip": self.config.test_flip,
            "weights": phrase,
        }
        if part.is_main:
            checkpoints.write_text(part.folder / "model.json", json.dumps(known, indent=1) + "\n")
        return part

    def measured(
        self,
        variant: Variant,
        images: int,
        model: Classifier,
        figures: Mapping[str, Any],
        rows: list[dict[str, Any]],
        probabilities: Mapping[str, Tensor],
    ) -> Outcome:
        """Add what the probabilities, (pictures, classes), of val and test say."""
        made: dict[str, Any] = {}
        for split, sure in probabilities.items():
            labels = self.found.splits[split].labels
            report = metrics.classification(labels, sure, self.found.classes)
            made[f"{split}_accuracy"] = report["accuracy"]
        top = sure.topk(min(TOP, sure.shape[1])).indices
        made |= {
            "macro_f1": report["macro_f1"],
            "test_top3": float((top == labels[:, None]).any(1).float().mean()),
            "flops": self.run.models[variant.title]["flops"],
            "parameters": self.run.models[variant.title]["parameters"],
        }
        return Outcome(variant, images, model, {**made, **figures}, rows, report, sure)


def compare(task: Task, name: Name) -> list[Outcome]:
    """Train one network in every way."""
    config, run, found = task.config, task.run, task.found
    outcomes = []
    published = task.new(name)
    phrase, strides = distributed.in_main(
        lambda: (weights.load(published, config.weights, config.data_dir), published.stride_in)
    )
    run.print(f"\n{name}: {phrase}")
    published.place_strides(strides)
    published.to(run.device)
    distributed.copy_main(published.state_dict().values())
    train = found.splits["train"]
    features = {}
    if set(config.modes) != {"scratch"}:
        features = probe.extract(published, found.splits, found.key, config, run, task.cache)
    for per_class in config.per_class:
        rows = data.drawn(train.labels, per_class, config.seed)
        images = train if per_class == 0 else data.subset(train, rows)
        if features:  # fine-tuning starts from the probe's head
            probed = run_probe(
                task, Variant(name, "probe", per_class), published, phrase, features, rows
            )
            outcomes.append(probed)
        if "finetune" in config.modes:
            variant, model = Variant(name, "finetune", per_class), copy.deepcopy(probed.model)
            model.fixed_statistics = config.fixed_statistics
            model.freeze(config.freeze)
            rates = ("lr", config.layer_decay)
            outcomes.append(run_network(task, variant, model, phrase, images, *rates))
        if "scratch" in config.modes:
            variant, model = Variant(name, "scratch", per_class), task.new(name).to(run.device)
            rates = ("scratch_lr", 1.0)
            outcomes.append(run_network(task, variant, model, "from scratch", images, *rates))
    return outcomes


def run_probe(
    task: Task,
    variant: Variant,
    published: Classifier,
    phrase: str,
    features: Mapping[str, probe.Features],
    rows: Tensor,
) -> Outcome:
    """A linear head on the frozen network, trained on some rows of the training split."""
    config, splits = task.config, task.found.splits
    model = copy.deepcopy(published)
    model.freeze(-1)
    part = task.begin(variant, model, phrase)
    whole = features["train"]
    seen = {**features, "train": dataclasses.replace(whole, views=whole.views[:, rows])}
    labels = {name: images.labels for name, images in splits.items()}
    labels["train"] = labels["train"][rows]
    device.seed_everything(config.seed)  # whatever was trained before
    history, strength = probe.train(
        model, seen, labels, task.class_weights(labels["train"]), config, part
    )
    task.run.print(f"          penalty of strength {strength:g}, chosen on validation")
    if part.is_main:  # in place of what the loop wrote, which is all the heads and nothing else
        checkpoints.save(part.folder / "best.pt", {"model": model.state_dict()})
    spent = whole.seconds * len(rows) / len(splits["train"]) + features["val"].seconds
    part.train_seconds = history.seconds + spent
    figures = {
        "strength": strength,
        "best_epoch": history.best["epoch"],
        "images_per_second": whole.images_per_second(),
        "predict_images_per_second": len(labels["test"]) / features["test"].seconds,
        "train_seconds": part.train_seconds,
    }
    head = copy.deepcopy(model.head).cpu()
    with torch.no_grad():
        sure = {name: features[name].probabilities(head) for name in ("val", "test")}
    return task.measured(variant, len(rows), model, figures, history.rows, sure)


def run_network(
    task: Task,
    variant: Variant,
    model: Classifier,
    phrase: str,
    images: Images,
    rate: str,
    layer_decay: float,
) -> Outcome:
    """Train all stages of the network that are not frozen, at the setting `rate` and below."""
    config, run, splits = task.config, task.run, task.found.splits
    lr = getattr(config, rate)
    part = task.begin(variant, model, phrase)
    normalise = inputs.normaliser(model.preprocessing, run.device)
    optimizer = tuning.make_optimizer(model, lr, layer_decay, config.weight_decay)
    device.seed_everything(config.seed)
    history = training.fit(
        model,
        inputs.train_loader(
            images, normalise, config, run.device, inputs.repeated(len(images), config)
        ),
        inputs.eval_loader(splits["val"], normalise, run.device),
        tuning.make_step(config, task.class_weights(images.labels)),
        optimizer,
        dataclasses.replace(config, lr=lr),
        part,
        monitor="val_accuracy",
        mode="max",
        rate=rate,
    )
    warm = history.rows[1:] or history.rows  # the first epoch also warms up and compiles
    figures = {
        "best_epoch": history.best["epoch"],
        "images_per_second": statistics.median(row["samples_per_second"] for row in warm),
        "train_seconds": history.seconds,
    }

    def forward(model: Classifier, batch: tuple[Tensor, Tensor]) -> Tensor:
        return probabilities(model, batch[0], config.test_flip)

    sure = {}
    for name in ("val", "test"):
        began = time.monotonic()
        loader = inputs.eval_loader(splits[name], normalise, run.device)
        sure[name] = training.predict(model, loader, forward, config.precision)
        figures["predict_images_per_second"] = len(sure[name]) / (time.monotonic() - began)
    return task.measured(variant, len(images), model, figures, history.rows, sure)
