"""Say which dish is on a photograph.

python transfer_food11/predict.py photo.jpg another.png
python transfer_food11/predict.py holiday_photos/ --json
find . -name "*.jpg" | python transfer_food11/predict.py - --output predictions.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from common import device
from common.checkpoints import load_weights
from common.image_predictions import PredictConfig, predict_files, show
from common.settings import cli
from common.trained import Trained, find_trained
from transfer_food11 import data
from transfer_food11.loaders import channels_last, normaliser
from transfer_food11.model import Classifier, class_probabilities


def load(trained: Trained) -> Classifier:
    """The trained network, on the CPU."""
    known = trained.preprocessing
    model = Classifier(known["name"], len(known["classes"]))
    load_weights(model.network, trained.weights[0], str(trained.folder))
    model.place_strides(known["strides"])
    return model.eval()


def exported(trained: Trained) -> tuple[list[Classifier], list[tuple[Tensor, ...]]]:
    """For common/export.py: the network, and batches of test images for its forward."""
    images, root = (
        Path(p) if p else None for p in map(trained.settings.get, ("images", "data_dir"))
    )
    side = trained.preprocessing["side"]
    _, dataset = data.load(side, images=images, data_dir=root, skip_small=True)
    normalise = normaliser(trained.preprocessing["name"], torch.device("cpu"))
    pixels = dataset.splits["test"].pixels[:9]
    return [load(trained)], [(normalise(part),) for part in pixels.split([5, 3, 1])]


def main(config: PredictConfig) -> None:
    """Print a line for each image, its likeliest classes first."""
    place = device.choose(config.device)
    trained = find_trained("transfer_food11", config.run, config.out, config.model)
    known, model = trained.preprocessing, load(trained)
    model.to(place, memory_format=torch.channels_last)
    normalise = normaliser(model.name, place)

    def classify(pixels: Tensor) -> Tensor:
        """uint8 (batch, 3, side, side) -> probabilities (batch, classes)."""
        images = channels_last(normalise(pixels.to(place)))
        return class_probabilities(model, images, known["flip"])

    made = predict_files(config, known["side"], known["bits"], classify, known["classes"])
    show(made, config, trained.sample)


if __name__ == "__main__":
    cli(PredictConfig, main)
