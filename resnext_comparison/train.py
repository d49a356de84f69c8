"""ResNeXt beside ResNet-18 and VGG-16, trained from scratch on the same pictures.

python resnext_comparison/train.py                                 the three models
python resnext_comparison/train.py --study cardinality --width 64   1 to 32 paths, equal complexity
python resnext_comparison/train.py --study rate                     a short sweep of learning rates
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import distributed, plots, runs
from common.batches import Loader
from common.config import cli
from common.errors import LostLoss, require
from common.images import ImageSet
from common.runs import Run

from resnext_comparison import data, figures
from resnext_comparison.model import SETTINGS, make
from vgg_vs_resnet import baselines, comparison
from vgg_vs_resnet import figures as shared_figures
from vgg_vs_resnet.comparison import Candidate, Outcome
from vgg_vs_resnet.model import NAMES
from vgg_vs_resnet.settings import ImageSettings

Name = Literal["vgg16c", "resnet18", "resnext29"]
COLUMNS = ("train_accuracy", "val_accuracy", "train_loss", "val_loss", "test_accuracy")
PUBLISHED = {
    "VGG-16": {"train_accuracy": 0.9944, "val_accuracy": 0.894},
    "ResNet-18": {"train_accuracy": 0.8097, "val_accuracy": 0.8989},
    "ResNeXt": {"train_accuracy": 0.87, "val_accuracy": 0.9061},
}


@dataclass
class Config(ImageSettings):
    """Settings of resnext_comparison."""

    study: Literal["models", "cardinality", "rate"] = "models"  # what is compared
    models: tuple[Name, ...] = ("vgg16c", "resnet18", "resnext29")  # which to train, in this order

    # ResNeXt
    cardinality: int = 32  # paths of each block
    path_width: float = 4  # channels of each path in the first stage

    # Studies
    study_epochs: int = 12  # passes over the training split, for each training of the two studies
    cardinalities: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # each as complex as the model above
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)  # learning rates

    def check(self) -> None:
        super().check()
        for name in ("models", "cardinalities", "rates"):
            values = getattr(self, name)
            require(bool(values), f"--{name} is empty: give at least one")
            require(len(set(values)) == len(values), f"--{name} has one twice")
        self.check_at_least(1, "cardinality")
        require(
            self.path_width > 0 and float(2 * self.path_width).is_integer(),
            f"--path-width must be a multiple of 1/2 above 0, not {self.path_width}",
        )
        require(min(self.cardinalities) >= 1, "--cardinalities must be at least 1")
        require(min(self.rates) > 0, "--rates must be above 0")
        if self.study != "models":
            super(Config, self.for_study()).check()

    def for_study(self) -> "Config":
        """The same settings with the budget of a study."""
        return replace(self, epochs=self.study_epochs)


def candidate(name: str, classes: int, config: Config) -> Candidate:
    """A model by its name, and its learning rate."""
    if name in NAMES:
        return comparison.candidate(name, classes, config)
    return Candidate(name, partial(make, name, classes, **config.chosen(SETTINGS)), config.lr)


def candidates(config: Config, classes: int) -> dict[str, Candidate]:
    """What the study compares, by the names of the parts of the run."""
    if config.study == "models":
        chosen = [candidate(name, classes, config) for name in config.models]
    elif config.study == "rate":
        chosen = [
            replace(each, name=f"{each.name} rate {lr:g}", lr=lr, rate="rates")
            for each in (candidate(name, classes, config) for name in config.models)
            for lr in config.rates
        ]
    else:
        chosen = [candidate(f"cardinality {c}", classes, config) for c in config.cardinalities]
    return {each.name: each for each in chosen}


def main(config: Config) -> dict[str, Any]:
    """Train what the study compares, one after the other, and show the comparison."""
    run = runs.start("resnext_comparison", config)
    source, found = data.load(config)
    loaders = comparison.prepare(run, source, found, config)
    outcomes = train_all(config, loaders, found, run)
    measured: dict[str, dict[str, Any]] = {name: each.metrics for name, each in outcomes.items()}
    run.print("\n" + comparison.table(outcomes))
    draw(run, config, outcomes, found)
    is_main_study = config.study == "models"
    if is_main_study:
        run.print("\n" + figures.published_table({**measured, **prefixed(PUBLISHED)}, COLUMNS))
    return run.finish(
        measured,
        baselines.evaluate(found) if is_main_study else {},
        PUBLISHED if is_main_study else {},
        {"reports": {name: each.report for name, each in outcomes.items()}},
    )


def train_all(
    config: Config, loaders: Mapping[str, Loader], found: ImageSet, run: Run
) -> dict[str, Outcome]:
    """Train what the study compares.

    In a study of rates a lost loss is a finding: that rate is left out, and the next one follows.
    Not so with several processes, which would not all notice it at the same step.
    """
    is_rates = config.study == "rate"
    budget = config if config.study == "models" else config.for_study()
    outcomes = {}
    for name, each in candidates(config, len(found.classes)).items():
        try:
            outcomes[name] = comparison.train(
                each, loaders, found, budget, run, with_test=not is_rates
            )
        except LostLoss as error:
            if not is_rates or distributed.world_size() > 1:
                raise
            run.print(f"{name} is left out: {error}")
    if not outcomes:
        raise LostLoss("every rate of the study lost the loss: lower --rates")
    return outcomes


def prefixed(published: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    return {f"published, {name}": each for name, each in published.items()}


def draw(run: Run, config: Config, outcomes: Mapping[str, Outcome], found: ImageSet) -> None:
    """Save the plots of the study."""
    measured = {name: each.metrics for name, each in outcomes.items()}
    histories = {name: each.rows for name, each in outcomes.items()}
    if config.study == "rate":
        by_rate = {
            name: {
                rate: measured[title]["val_accuracy"]
                for rate in config.rates
                if (title := f"{name} rate {rate:g}") in measured
            }
            for name in config.models
        }
        run.save_plot(figures.by_rate(by_rate), "rates.png")
        return
    run.save_plot(plots.curves(histories, ("loss", "accuracy")), f"curves-{config.study}.png")
    if config.study == "cardinality":
        by_paths = {c: measured[f"cardinality {c}"] for c in config.cardinalities}
        run.save_plot(figures.by_cardinality(by_paths), "cardinality.png")
        return
    run.save_plot(shared_figures.fluctuation(histories), "fluctuation.png")
    run.save_plot(shared_figures.trade_off(measured), "trade_off.png")
    for name, each in outcomes.items():
        matrix = plots.confusion(each.report["confusion"], found.classes, name)
        run.save_plot(matrix, f"confusion-{name}.png")
    sure = {name: each.probabilities for name, each in outcomes.items()}
    test = found.splits["test"]
    run.save_plot(shared_figures.mistakes(test, sure, found.classes), "mistakes.png")


if __name__ == "__main__":
    cli(Config, main)
