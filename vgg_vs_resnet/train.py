"""VGG-16 against ResNet-18, both trained from scratch on the same pictures.

python vgg_vs_resnet/train.py                     improved recipe (the defaults)
python vgg_vs_resnet/train.py --recipe base       the papers' plain recipe
python vgg_vs_resnet/train.py --images DIR        your own image folder, one folder a class
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import plots, runs
from common.config import cli
from common.errors import require

from vgg_vs_resnet import baselines, comparison, data, figures
from vgg_vs_resnet.model import Name
from vgg_vs_resnet.settings import ImageSettings

PUBLISHED = {
    "VGG-16 C": {"val_accuracy": 0.894},
    "ResNet-18": {"val_accuracy": 0.8989},
    "goal, base": {"val_accuracy": 0.75},
    "goal, improved": {"val_accuracy": 0.80},
}


@dataclass
class Config(ImageSettings):
    """Settings of vgg_vs_resnet."""

    models: tuple[Name, ...] = ("vgg16c", "resnet18")  # which to train, in this order

    def check(self) -> None:
        super().check()
        require(bool(self.models), "--models is empty: name vgg16c, resnet18 or both")
        require(len(set(self.models)) == len(self.models), "--models names one model twice")


def main(config: Config) -> dict[str, Any]:
    """Train the models one after the other, compare them on the test split."""
    run = runs.start("vgg_vs_resnet", config)
    source, found = data.load(**config.chosen(data.SETTINGS))
    loaders = comparison.prepare(run, source, found, config)
    outcomes = {
        name: comparison.train(
            comparison.candidate(name, len(found.classes), config), loaders, found, config, run
        )
        for name in config.models
    }
    run.print("\n" + comparison.table(outcomes))
    histories = {name: outcome.rows for name, outcome in outcomes.items()}
    run.save_plot(plots.curves(histories, ("loss", "accuracy")), "curves.png")
    run.save_plot(figures.fluctuation(histories), "fluctuation.png")
    for name, outcome in outcomes.items():
        matrix = plots.confusion(outcome.report["confusion"], found.classes, name)
        run.save_plot(matrix, f"confusion-{name}.png")
    sure = {name: outcome.probabilities for name, outcome in outcomes.items()}
    run.save_plot(figures.mistakes(found.splits["test"], sure, found.classes), "mistakes.png")
    return run.finish(
        {name: outcome.metrics for name, outcome in outcomes.items()},
        baselines.evaluate(found),
        PUBLISHED,
        {
            "reports": {name: outcome.report for name, outcome in outcomes.items()},
            "accuracy_by_origin": comparison.accuracy_by_origin(
                data.origins(source.folder), found, outcomes
            ),
        },
    )


if __name__ == "__main__":
    cli(Config, main)
