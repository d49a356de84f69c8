"""Say which dish is on a photograph.

python transfer_food11/predict.py photo.jpg another.png
python transfer_food11/predict.py holiday_pictures/ --json
find . -name "*.jpg" | python transfer_food11/predict.py -
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import checkpoints, device, recognition, runs
from common.augmentation import Normalise
from common.config import cli
from common.recognition import Config, Recogniser

import torch
from torch import Tensor

from transfer_food11 import model


def load(config: Config) -> Recogniser:
    """The trained model that the settings name.

    Raises:
        UserError: there is no such run, or it has no such model.
    """
    run = runs.find_trained("transfer_food11", config.run, config.out, "results.json")
    _, folder = recognition.choose_model(run, config.model)
    place = device.choose(config.device)
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    mean, std = (torch.tensor(about[name], device=place) for name in ("mean", "std"))
    normalise = Normalise(mean, std)
    classifier = model.Classifier(
        about["name"], len(about["classes"]), stride_in=about["stride_in"]
    )
    path = folder / "best.pt"
    checkpoints.load_weights(classifier, checkpoints.load(path)["model"], str(path))
    classifier.to(place, memory_format=torch.channels_last).eval()

    def probabilities(pixels: Tensor) -> Tensor:
        return model.probabilities(classifier, normalise(pixels.to(place)), about["flip"])

    return Recogniser(about["classes"], about["side"], probabilities)


predict = partial(recognition.predict, load)  # settings -> the predictions one by one
main = partial(recognition.main, load)

if __name__ == "__main__":
    cli(Config, main)
