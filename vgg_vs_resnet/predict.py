"""Say what is in an image.

python vgg_vs_resnet/predict.py photo.jpg another.png
python vgg_vs_resnet/predict.py holiday_images/ --model vgg16c --json
find . -name "*.jpg" | python vgg_vs_resnet/predict.py - --output predictions.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.image_predictions import PredictConfig, example_batches, predict, restore, show
from common.settings import cli
from common.trained import Trained, find_trained
from vgg_vs_resnet.train import Config, build


def exported(trained: Trained) -> tuple[list[nn.Module], list[tuple[Tensor]]]:
    """For common/export.py: the network, and batches of real images for its forward."""
    return [restore(trained, Config, build)], example_batches(trained)


def main(config: PredictConfig) -> None:
    """Print a line for each image, its likeliest classes first."""
    trained = find_trained("vgg_vs_resnet", config.run, config.out, config.model)
    model = restore(trained, Config, build)
    show(predict(trained, model, config), config, trained.sample)


if __name__ == "__main__":
    cli(PredictConfig, main)
