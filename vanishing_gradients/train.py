"""Why does a plain network of 40 convolutions not learn, and what does each remedy do about it?

python vanishing_gradients/train.py                     both studies, 18 networks
python vanishing_gradients/train.py --study variants    six networks of 40 layers, by layer
python vanishing_gradients/train.py --study depth       training accuracy at 8, 24 and 56 layers

The study of depth with the best of four learning rates for each network, 48 trainings:

python vanishing_gradients/train.py --study depth --rates 0.006 0.02 0.06 0.2
"""

import sys
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any, ClassVar, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import images
from common.batches import Loader
from common.device import seed_everything
from common.downloads import cache_folder
from common.runs import Run, start
from common.settings import Diverged, Settings, above, at_least, cli, flag, fraction, require
from common.training import fit, predict
from vanishing_gradients import figures
from vanishing_gradients.measure import PUBLISHED, Outcome, Recorder, Start, at_start, log10
from vanishing_gradients.model import NORMED, REDUCTION, VARIANTS, Variant, VGGDeep

PROBE_BATCHES = 4  # training batches over which an untrained network is measured
DEPTH_VARIANTS: tuple[Variant, ...] = ("plain", "kaiming", "residual", "resnet")


@dataclass
class Config(Settings):
    # On 2 idle cores a second thread makes training 1.3 times as fast, beside a program that keeps
    # one core busy 0.3 times.
    ONE_THREAD: ClassVar = True

    # Studies
    study: Literal["all", "variants", "depth"] = "all"  # what is compared; all = both
    variants: tuple[Variant, ...] = VARIANTS  # networks of --depth layers, measured by layer
    depth_variants: tuple[Variant, ...] = DEPTH_VARIANTS  # networks of the study of depth
    depths: tuple[int, ...] = (8, 24, 56)  # convolutions of each of them
    rates: tuple[float, ...] = (0.02,)  # their learning rates: of several, validation chooses one

    # Training
    epochs: int = 5  # passes over the training split
    batch_size: int = 32  # images a step, over all processes
    lr: float = 0.02  # learning rate, at its highest, of the networks measured by layer
    momentum: float = 0.9  # of the gradient
    warmup_epochs: float = 0.5  # epochs over which the learning rate rises; then it falls (cosine)
    clip_norm: float = 1.0  # largest gradient norm of a step without BatchNorm; 0 = no clipping
    precision: Literal["auto", "float32", "bfloat16"] = "float32"  # bfloat16 rounds the signal away
    measure_every: int = 10  # steps from one measurement of the gradients to the next

    # Model
    depth: int = 40  # convolutions, a multiple of 4
    width: int = 16  # channels of the first stage; the others have twice as many
    bias_scale: float = 1.0  # by which the first biases of plain and glorot are multiplied

    # Data
    images: Path | None = None  # your own image folder: one folder for each class
    size: int = 32  # images are resized to this side, in pixels; a multiple of 8
    per_class: int = 1500  # images used of each class, at most; 0 = all
    skip_small: bool = False  # leave out classes with fewer than 10 different images
    max_megapixels: int = 500  # larger images are skipped (a JPEG counts as decoded, scaled down)

    def check(self) -> None:
        super().check()
        for name in ("variants", "depths", "depth_variants", "rates"):
            values = getattr(self, name)
            require(bool(values), f"--{flag(name)} is empty: give at least one")
            require(len(set(values)) == len(values), f"--{flag(name)} has one twice")
        for name, depth in [("depth", self.depth), *product(["depths"], self.depths)]:
            require(
                depth >= 8 and depth % 4 == 0,
                f"--{name} must be a multiple of 4 and at least 8, not {depth}: four stages, the "
                "last two alike, of pairs of convolutions",
            )
        require(
            self.size >= REDUCTION and self.size % REDUCTION == 0,
            f"--size must be a multiple of {REDUCTION}, not {self.size}",
        )
        above(0, lr=self.lr, rates=min(self.rates))
        fraction(momentum=self.momentum)
        at_least(1, epochs=self.epochs, batch_size=self.batch_size, width=self.width)
        at_least(1, measure_every=self.measure_every)
        at_least(0, warmup_epochs=self.warmup_epochs, clip_norm=self.clip_norm)
        at_least(0, bias_scale=self.bias_scale)
        images.check_settings(self)


def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
    """Cross-entropy and the number of correct predictions."""
    pixels, labels = batch  # (batch, 3, size, size), (batch,)
    logits = model(pixels)  # (batch, classes)
    loss = F.cross_entropy(logits, labels)
    return loss, len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}


def measure(
    variant: Variant, depth: int, classes: int, loader: Loader, run: Run, bias_scale: float
) -> tuple[VGGDeep, Start]:
    """An untrained network, the same at each call, and what is measured of it by layer."""
    seed_everything(run.config.seed)
    model = VGGDeep(classes, depth, run.config.width, variant, bias_scale).to(run.device)
    return model, at_start(model, islice(loader.whole(), PROBE_BATCHES))


def train(
    variant: Variant, depth: int, lr: float, classes: int, loaders: dict[str, Loader], run: Run,
    lr_flag: str = "--lr",
) -> Outcome:  # fmt: skip
    """Measure an untrained network, then train it while its gradients are measured."""
    config = run.config
    model, before = measure(variant, depth, classes, loaders["train"], run, config.bias_scale)
    example = torch.zeros(1, 3, config.size, config.size, device=run.device)
    run.describe_model(model, (example,), run.title)
    run.print(figures.start_text(before))
    recorder = Recorder(model, config.measure_every, run.folder)
    history = fit(
        model,
        torch.optim.SGD(model.parameters(), lr, config.momentum),
        step,
        loaders["train"],
        loaders["val"],
        run,
        epochs=config.epochs,
        schedule="cosine",
        warmup_epochs=config.warmup_epochs,
        # With BatchNorm gradients start in the hundreds: clipped to 1 it would stand still.
        clip_norm=0.0 if variant in NORMED else config.clip_norm,
        monitor="val_accuracy",
        after_backward=recorder.after_backward,
        lr_flag=lr_flag,
    )
    return Outcome(model, lr, before, recorder.norms, history)


def train_at_best_rate(
    variant: Variant, depth: int, classes: int, loaders: dict[str, Loader], run: Run
) -> Outcome:
    """Train at each of --rates; the outcome that is best on validation.

    Raises:
        Diverged: the loss is not finite at any of them.
    """
    outcomes, errors = [], []
    for lr in run.config.rates:
        part = run.part(f"{variant} depth {depth} lr {lr:g}")
        try:
            outcomes.append(train(variant, depth, lr, classes, loaders, part, "--rates"))
        except Diverged as error:
            run.print(f"          left out: {error}")
            errors.append(error)
    if not outcomes:
        raise errors[0]
    return max(outcomes, key=lambda outcome: outcome.history.best["val_accuracy"])


def main(config: Config) -> dict[str, Any]:
    """Measure and train every network, and show what is the matter with the plain one."""
    run = start("vanishing_gradients", config)
    source, dataset = images.load(
        config.size, images=config.images, data=config.data, data_dir=config.data_dir,
        per_class=config.per_class, skip_small=config.skip_small,
        max_megapixels=config.max_megapixels,
    )  # fmt: skip
    run.begin(source, dataset.counts, dataset.notes)
    # Nothing is augmented: the question is whether a network can be optimised at all.
    loaders = images.make_loaders(dataset, config.batch_size, run.device, seed=config.seed)
    classes = len(dataset.classes)

    by_variant: dict[str, Outcome] = {}
    if config.study != "depth":
        for name in config.variants:
            part = run.part(name)
            by_variant[name] = train(name, config.depth, config.lr, classes, loaders, part)
    by_depth: dict[tuple[Variant, int], Outcome] = {}
    if config.study != "variants":
        for variant, depth in product(config.depth_variants, config.depths):
            best = train_at_best_rate(variant, depth, classes, loaders, run)
            by_depth[variant, depth] = best

    run.phase("evaluation")
    outcomes = by_variant | {f"{v} depth {d}": outcome for (v, d), outcome in by_depth.items()}
    starts = {name: outcome.start for name, outcome in outcomes.items()}
    metrics = {name: outcome.metrics() for name, outcome in outcomes.items()}
    labels = dataset.splits["test"].labels
    predictions = {}
    for name, outcome in outcomes.items():
        logits = predict(outcome.model, loaders["test"], lambda m, b: m(b[0]), run.precision)
        predictions[name] = logits.argmax(1)  # (test images,)
        right = predictions[name] == labels
        metrics[name]["test_accuracy"] = right.double().mean().item()
    if "glorot" in by_variant:
        _, without = measure("glorot", config.depth, classes, loaders["train"], run, 0.0)
        starts["glorot zero biases"] = without
        metrics["glorot zero biases"] = without.metrics()
    run.print("\n" + figures.norms_table(starts, metrics))

    run.phase("baselines")
    baselines, their_predictions = images.linear_baselines(dataset, cache_folder(config.data_dir))

    def draw() -> None:
        if by_variant:
            figures.draw_variants(by_variant, run)
        if "glorot" in by_variant:
            run.save_plot(figures.biases(starts["glorot"], without), "biases.png")
        if by_depth:
            guessing = baselines["largest class"]["test_accuracy"]
            run.save_plot(figures.depth(by_depth, guessing), "depth.png")

    published = {f"log10_gradient_layer_{k}": log10(norm) for k, norm in PUBLISHED.items()}
    published["log10_gradient_38_over_3"] = log10(PUBLISHED[38] / PUBLISHED[3])
    if by_variant:
        metrics["default"] = {f"gradient_ratio_{v}": starts[v].spread for v in by_variant}
    return run.finish(
        metrics,
        baselines,
        {} if config.images else {"plain network": published},
        labels=labels,
        predictions=predictions | their_predictions,
        extra={"by_layer": {name: vars(start) for name, start in starts.items()}},
        plots=draw,
    )


if __name__ == "__main__":
    cli(Config, main)
