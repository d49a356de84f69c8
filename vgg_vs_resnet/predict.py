"""Say what is on a picture.

python vgg_vs_resnet/predict.py photo.jpg another.png
python vgg_vs_resnet/predict.py holiday_pictures/ --model vgg16c
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import checkpoints, device, runs
from common.augmentation import Normalise
from common.config import cli
from common.errors import UserError
from common.images import decode, find_images

import numpy as np
import torch
import tyro

from vgg_vs_resnet.model import SETTINGS, make

BATCH = 64  # pictures


@dataclass
class Prediction:
    """One picture: its probabilities by class, or why it could not be read."""

    file: str
    probabilities: dict[str, float]
    error: str = ""

    @property
    def label(self) -> str:
        """The most likely class; empty if the picture could not be read."""
        return max(self.probabilities, key=self.probabilities.__getitem__, default="")


@dataclass
class Config:
    """Classify pictures with a trained run."""

    images: tyro.conf.Positional[tuple[str, ...]] = ()  # pictures, and folders of pictures
    run: str = ""  # folder or name of a run; empty = the latest finished one
    model: str = ""  # which of the run's models; empty = the best on validation
    out: str = ""  # folder of the runs; empty = runs/ in the repository
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...


class Predictor:
    """A trained model, ready for new pictures."""

    def __init__(self, folder: Path, name: str, place: torch.device):
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kept = checkpoints.load(folder / "images.pt")
        self.classes, self.size, self.place = kept["classes"], settings["size"], place
        self.normalise = Normalise(kept["mean"].to(place), kept["std"].to(place))
        chosen = {setting: settings[setting] for setting in SETTINGS}
        self.model = make(name, len(self.classes), **chosen)
        path = folder / name / "best.pt"
        checkpoints.load_weights(self.model, checkpoints.load(path)["model"], str(path))
        self.model.to(place).eval()

    @torch.no_grad()
    def __call__(self, files: Sequence[Path]) -> list[Prediction]:
        """The predictions, in order; a picture that cannot be read has an error instead."""
        found = [Prediction(str(file), {}) for file in files]
        readable, pixels = [], []
        for prediction, file in zip(found, files, strict=True):
            try:
                pixels.append(decode(file, self.size))
                readable.append(prediction)
            except UserError as error:
                prediction.error = str(error)
        if pixels:
            batch = torch.from_numpy(np.stack(pixels)).to(self.place)
            for prediction, row in zip(
                readable, self.model(self.normalise(batch)).softmax(1).tolist(), strict=True
            ):
                prediction.probabilities = dict(zip(self.classes, row, strict=True))
        return found


def choose_model(folder: Path, name: str) -> str:
    """The run's model of that name, or its best on validation."""
    measured = json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
    models = {key: value for key, value in measured.items() if isinstance(value, dict)}
    if name and name not in models:
        raise UserError(f"--model {name}: the run in {folder} has {', '.join(models)}")
    return name or max(models, key=lambda key: models[key]["val_accuracy"])


def find_files(images: Sequence[str]) -> Iterator[Path]:
    """The files named, and for a folder all the pictures below it."""
    for name in images:
        path = Path(name).expanduser()
        if path.is_dir():
            yield from (path / file for file in find_images(path))
        else:
            yield path


def main(config: Config) -> list[Prediction]:
    """Print a line for each picture, and return the predictions."""
    files = find_files(config.images)
    if not config.images:
        raise UserError("there is no picture: name one, or a folder of them")
    folder = runs.find_trained("vgg_vs_resnet", config.run, config.out, "results.json")
    name = choose_model(folder, config.model)
    predictor = Predictor(folder, name, device.choose(config.device))
    predictions: list[Prediction] = []
    while batch := list(islice(files, BATCH)):
        for made in predictor(batch):
            sure = made.probabilities.get(made.label, 0.0)
            print(made.error or f"{made.label:<12} {sure:.3f}  {made.file}", flush=True)
            predictions.append(made)
    if not predictions:
        raise UserError(f"{', '.join(config.images)} holds no pictures: name others")
    return predictions


if __name__ == "__main__":
    cli(Config, main)
