"""Say what is on a picture.

python resnext_comparison/predict.py photo.jpg another.png
python resnext_comparison/predict.py holiday_pictures/ --model resnext29 --json
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import recognition
from common.config import cli
from common.recognition import Config

from torch import nn

from resnext_comparison.model import SETTINGS, make
from vgg_vs_resnet import recogniser
from vgg_vs_resnet.model import NAMES


def make_model(name: str, classes: int, settings: Mapping[str, Any]) -> nn.Module:
    name, *_ = name.split(" rate ")  # of the study of learning rates
    if name in NAMES:
        return recogniser.make_model(name, classes, settings)
    return make(name, classes, **{each: settings[each] for each in SETTINGS})


load = partial(recogniser.load, "resnext_comparison", make_model)
predict = partial(recognition.predict, load)  # settings -> the predictions one by one
main = partial(recognition.main, load)

if __name__ == "__main__":
    cli(Config, main)
