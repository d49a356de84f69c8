"""Say what is on a picture.

python vgg_vs_resnet/predict.py photo.jpg another.png
python vgg_vs_resnet/predict.py holiday_pictures/ --model vgg16c --json
find . -name "*.jpg" | python vgg_vs_resnet/predict.py -
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import checkpoints, device, recognition, runs
from common.augmentation import Normalise
from common.config import cli
from common.recognition import Config, Prediction, Recogniser

from torch import Tensor

from vgg_vs_resnet.model import SETTINGS, make


def load(config: Config) -> Recogniser:
    """The trained model that the settings name.

    Raises:
        UserError: there is no such run, or it has no such model.
    """
    run = runs.find_trained("vgg_vs_resnet", config.run, config.out, "results.json")
    folder = recognition.choose_model(run, config.model)
    place = device.choose(config.device)
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    kept = checkpoints.load(run / "images.pt")
    normalise = Normalise(kept["mean"].to(place), kept["std"].to(place))
    chosen = {setting: settings[setting] for setting in SETTINGS}
    model = make(folder.name, len(kept["classes"]), **chosen)
    path = folder / "best.pt"
    checkpoints.load_weights(model, checkpoints.load(path)["model"], str(path))
    model.to(place).eval()

    def probabilities(pixels: Tensor) -> Tensor:
        return model(normalise(pixels.to(place))).softmax(1)

    return Recogniser(kept["classes"], settings["size"], probabilities)


def predict(config: Config) -> Iterator[Prediction]:
    """The predictions one by one, in the order of the files."""
    return recognition.predict(config, load)


def main(config: Config) -> None:
    """Print a line for each picture, its likeliest classes first."""
    recognition.show(predict(config), config.json)


if __name__ == "__main__":
    cli(Config, main)
