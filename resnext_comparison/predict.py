"""Say what is in an image.

python resnext_comparison/predict.py photo.jpg another.png
python resnext_comparison/predict.py holiday_images/ --model resnext29 --json
find . -name "*.jpg" | python resnext_comparison/predict.py - --output predictions.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.image_predictions import PredictConfig, example_batches, predict, restore, show
from common.settings import cli
from common.trained import Trained, find_trained
from resnext_comparison.train import Config, build


def exported(trained: Trained) -> tuple[list[nn.Module], list[tuple[Tensor]]]:
    """For common/export.py: the network, and batches of real images for its forward."""
    return [restore(trained, Config, build)], example_batches(trained)


def main(config: PredictConfig) -> None:
    """Print a line for each image, its likeliest classes first."""
    trained = find_trained("resnext_comparison", config.run, config.out, config.model)
    model = restore(trained, Config, build)
    show(predict(trained, model, config), config, trained.sample)


if __name__ == "__main__":
    cli(PredictConfig, main)
