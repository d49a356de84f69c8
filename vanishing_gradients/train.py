"""Why a plain network of 40 convolutions does not learn, and what each remedy does about it.

python vanishing_gradients/train.py                     all of it, minutes on a CPU
python vanishing_gradients/train.py --study variants    four networks of 40 layers, by layer
python vanishing_gradients/train.py --study depth       training accuracy at 8 to 56 layers
"""

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import device, runs, training
from common.config import Settings, cli, flag
from common.errors import require
from common.images import ImageSet
from common.runs import Run

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vanishing_gradients import data, report
from vanishing_gradients.measure import Recorder, at_start
from vanishing_gradients.model import REDUCTION, VARIANTS, Variant, VGGDeep
from vgg_vs_resnet import baselines
from vgg_vs_resnet import data as pictures


@dataclass
class Config(Settings):
    """Settings of vanishing_gradients."""

    study: Literal["all", "variants", "depth"] = "all"  # what is compared; all = both
    variants: tuple[Variant, ...] = VARIANTS  # networks of --depth layers to be looked into
    depths: tuple[int, ...] = (8, 16, 24, 40, 56)  # convolutions, for the study of depth
    depth_variants: tuple[Variant, ...] = ("plain", "kaiming", "residual")  # for the same

    # Training
    epochs: int = 5  # passes over the training split
    batch_size: int = 32  # pictures a step, over all processes
    lr: float = 0.02  # learning rate, at its highest, of every network
    momentum: float = 0.9  # of the gradient
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    warmup_epochs: float = 0.5  # epochs over which the learning rate rises from zero
    clip_norm: float = 1.0  # largest gradient norm of a step without BatchNorm; 0 = no clipping

    # Measuring
    probe_batches: int = 4  # training batches over which an untrained network is measured
    measure_every: int = 10  # steps from one measurement in training to the next

    # Model
    depth: int = 40  # convolutions, a multiple of 4
    width: int = 16  # channels of the first stage; the others have twice as many

    # Data
    images: str = ""  # your own image folder: one folder for each class
    size: int = 32  # pictures are resized to this side, in pixels; a multiple of 8
    per_class: int = 1500  # pictures used of each class, at most; 0 = all

    def check(self) -> None:
        super().check()
        for name in ("variants", "depths", "depth_variants"):
            values = getattr(self, name)
            require(bool(values), f"--{flag(name)} is empty: give at least one")
            require(len(set(values)) == len(values), f"--{flag(name)} has one twice")
        for name, depth in [("depth", self.depth), *(("depths", d) for d in self.depths)]:
            require(
                depth >= 8 and depth % 4 == 0,
                f"--{name} must be a multiple of 4 and at least 8, not {depth}: four stages, the "
                "last two alike, of pairs of convolutions",
            )
        require(
            self.size >= REDUCTION and self.size % REDUCTION == 0,
            f"--size must be a multiple of {REDUCTION}, and {self.size} is none",
        )
        self.check_share("momentum")
        self.check_at_least(1, "width", "probe_batches", "measure_every")
        self.check_at_least(0, "per_class")
        require(
            not self.images or self.data != "sample",
            "--images names your own pictures: leave --data sample out",
        )

    def networks(self) -> dict[str, tuple[Variant, int]]:
        """What is trained: for each name the variant and its depth."""
        chosen: dict[str, tuple[Variant, int]] = {}
        if self.study != "depth":
            chosen = {variant: (variant, self.depth) for variant in self.variants}
        if self.study != "variants":
            for variant, depth in itertools.product(self.depth_variants, self.depths):
                name = variant if depth == self.depth else f"{variant} depth {depth}"
                chosen[name] = (variant, depth)
        return chosen


def step(model: nn.Module, batch: data.Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
    """Cross-entropy and the number of right answers."""
    _, images, labels = batch
    logits = model(images)  # (batch, classes)
    loss = F.cross_entropy(logits, labels)
    return loss, len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}


def learn(
    name: str,
    variant: Variant,
    depth: int,
    loaders: Mapping[str, data.Numbered],
    found: ImageSet,
    config: Config,
    run: Run,
) -> report.Outcome:
    """Measure an untrained network, train it while measuring, and test its best epoch."""
    part = run.part(name)
    device.seed_everything(config.seed)
    model = VGGDeep(len(found.classes), depth, config.width, variant).to(run.device)
    example = torch.zeros(1, 3, config.size, config.size, device=run.device)
    run.describe_model(model, (example,), name)
    probes = itertools.islice(loaders["train"].whole(), config.probe_batches)
    start = at_start(model, probes)
    run.print(report.start_text(start))
    recorder = Recorder(model, config.measure_every, part.folder)

    def measured_step(model: nn.Module, batch: data.Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        if model.training:
            recorder.begin(batch[0])
        return step(model, batch)

    optimizer = torch.optim.SGD(
        training.parameter_groups(model, config.weight_decay), config.lr, config.momentum
    )
    if variant == "batch_norm":
        # Its gradients are in the hundreds at the start: clipped to 1 it would stand still.
        config = replace(config, clip_norm=0.0)
    history = training.fit(
        model, loaders["train"], loaders["val"], measured_step, optimizer, config, part,
        monitor="val_accuracy", mode="max",
    )  # fmt: skip
    test = training.evaluate(model, loaders["test"], step, config.precision)
    return report.Outcome(variant, depth, start, recorder.norms, history, test["accuracy"])


def main(config: Config) -> dict[str, Any]:
    """Measure and train every network, and show what is the matter with the plain one."""
    run = runs.start("vanishing_gradients", config)
    source, found = pictures.load(**config.chosen(pictures.SETTINGS))
    run.describe_data(source, {name: len(part) for name, part in found.splits.items()})
    loaders = data.loaders(found, config.batch_size, config.seed, run.device)
    outcomes = {
        name: learn(name, variant, depth, loaders, found, config, run)
        for name, (variant, depth) in config.networks().items()
    }
    run.print("\n" + report.table(outcomes))
    if "plain" in outcomes:
        run.print(report.steps_text(outcomes["plain"].start))
    if config.study != "depth":
        chosen = {variant: outcomes[variant] for variant in config.variants}
        report.draw_variants(chosen, config.width, config.size, run)
    if config.study != "variants":
        chosen = {k: each for k, each in outcomes.items() if each.variant in config.depth_variants}
        report.draw_depth(chosen, found.splits["train"], run)
    return run.finish(
        report.metrics(outcomes),
        baselines.evaluate(found),
        report.PUBLISHED,
        {"by_layer": report.by_layer(outcomes)},
    )


if __name__ == "__main__":
    cli(Config, main)
