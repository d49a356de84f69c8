"""Say what is on a picture.

python vgg_vs_resnet/predict.py photo.jpg another.png
python vgg_vs_resnet/predict.py holiday_pictures/ --model vgg16c --json
find . -name "*.jpg" | python vgg_vs_resnet/predict.py -
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import recognition
from common.config import cli
from common.recognition import Config, Prediction, Recogniser

from torch import nn

from vgg_vs_resnet import recogniser
from vgg_vs_resnet.model import SETTINGS, make


def make_model(name: str, classes: int, settings: Mapping[str, Any]) -> nn.Module:
    return make(name, classes, **{each: settings[each] for each in SETTINGS})


def load(config: Config) -> Recogniser:
    """The trained model that the settings name.

    Raises:
        UserError: there is no such run, or it has no such model.
    """
    return recogniser.load("vgg_vs_resnet", config, make_model)


def predict(config: Config) -> Iterator[Prediction]:
    """The predictions one by one, in the order of the files."""
    return recognition.predict(config, load)


def main(config: Config) -> None:
    """Print a line for each picture, its likeliest classes first."""
    recognition.show(predict(config), config.json)


if __name__ == "__main__":
    cli(Config, main)
