"""Networks pre-trained on ImageNet on photographs of food: a new head, fine-tuned, from scratch.

python transfer_food11/train.py                                  the published three, all ways
python transfer_food11/train.py --modes probe                    new heads alone: minutes on a CPU
python transfer_food11/train.py --models resnet50 --size 224 --stored-size 256 --epochs 20
python transfer_food11/train.py --images DIR                     your own pictures
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import runs
from common.config import cli
from common.downloads import data_root

from transfer_food11 import baselines, data, experiment, figures, tuning
from transfer_food11.settings import Config

PUBLISHED = {
    "EfficientNet-B0 on Food-11": {"val_accuracy": 0.9043},
    "MobileNetV3-Large on Food-11": {"val_accuracy": 0.9055},
    "ResNet-50 on Food-11": {"val_accuracy": 0.9215, "test_accuracy": 0.936},
}


def main(config: Config) -> dict[str, Any]:
    """Train every model in every way, one after the other, and compare them on the test split."""
    run = runs.start("transfer_food11", config)
    tuning.check_processes(config)
    source, found = data.load(
        config.stored_size, images=config.images, data=config.data, data_dir=config.data_dir
    )
    run.describe_data(source, {name: len(part) for name, part in found.splits.items()})
    for note in found.notes:
        run.print(f"          {note}")
    task = experiment.Task(found, config, run, data_root(config.data_dir) / "cache")
    outcomes = {}
    for name in config.models:
        outcomes |= {each.variant.title: each for each in experiment.compare(task, name)}
    run.print("\n" + figures.table(outcomes))
    figures.save_all(run, outcomes, found)
    return run.finish(
        {variant: outcome.metrics for variant, outcome in outcomes.items()},
        baselines.evaluate(found),
        PUBLISHED,
        {"reports": {variant: outcome.report for variant, outcome in outcomes.items()}},
    )


if __name__ == "__main__":
    cli(Config, main)
