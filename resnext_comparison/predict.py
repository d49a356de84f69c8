"""Say what is on a picture.

python resnext_comparison/predict.py photo.jpg another.png
python resnext_comparison/predict.py holiday_pictures/ --model resnext29 --json
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

from resnext_comparison.model import SETTINGS, make
from vgg_vs_resnet import model as shared_model
from vgg_vs_resnet import recogniser


def make_model(name: str, classes: int, settings: Mapping[str, Any]) -> nn.Module:
    name, *_ = name.split(" rate ")  # of the study of learning rates
    if name in shared_model.NAMES:
        chosen = {each: settings[each] for each in shared_model.SETTINGS}
        return shared_model.make(name, classes, **chosen)
    return make(name, classes, **{each: settings[each] for each in SETTINGS})


def load(config: Config) -> Recogniser:
    """The trained model that the settings name.

    Raises:
        UserError: there is no such run, or it has no such model.
    """
    return recogniser.load("resnext_comparison", config, make_model)


def predict(config: Config) -> Iterator[Prediction]:
    """The predictions one by one, in the order of the files."""
    return recognition.predict(config, load)


def main(config: Config) -> None:
    """Print a line for each picture, its likeliest classes first."""
    recognition.show(predict(config), config.json)


if __name__ == "__main__":
    cli(Config, main)
