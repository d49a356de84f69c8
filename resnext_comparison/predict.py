"""Say what is in an image.

python resnext_comparison/predict.py photo.jpg another.png
python resnext_comparison/predict.py holiday_images/ --model resnext29 --json
find . -name "*.jpg" | python resnext_comparison/predict.py - --output predictions.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.checkpoints import load_weights
from common.image_predictions import PredictConfig, example_batches, predict, show
from common.settings import cli, from_saved
from common.trained import Trained, find_trained
from resnext_comparison.train import Config, build


def load(trained: Trained) -> nn.Module:
    """The trained network, on the CPU."""
    kept = trained.preprocessing
    model = build(kept["network"], from_saved(Config, trained.settings), len(kept["classes"]))
    load_weights(model, trained.weights[0], str(trained.folder))
    return model.eval()


def exported(trained: Trained) -> tuple[list[nn.Module], list[tuple[Tensor]]]:
    """For common/export.py: the network, and batches of real images for its forward."""
    return [load(trained)], example_batches(trained)


def main(config: PredictConfig) -> None:
    """Print a line for each image, its likeliest classes first."""
    trained = find_trained("resnext_comparison", config.run, config.out, config.model)
    show(predict(trained, load(trained), config), config, trained.sample)


if __name__ == "__main__":
    cli(PredictConfig, main)
