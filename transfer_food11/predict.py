"""Say which dish is on a photograph.

python transfer_food11/predict.py photo.jpg another.png
python transfer_food11/predict.py holiday_pictures/ --json
find . -name "*.jpg" | python transfer_food11/predict.py -
"""

import json
import os
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

from transfer_food11.model import Classifier, probabilities

BATCH = 32  # pictures
SHOWN = 3  # classes of a picture


@dataclass
class Prediction:
    """One picture: its classes and their probabilities, the likeliest first, or an error."""

    file: str
    classes: dict[str, float]
    error: str = ""


@dataclass
class Config:
    """Classify photographs with a trained run."""

    images: tyro.conf.Positional[tuple[str, ...]] = ()  # pictures, folders; - reads their names
    run: str = ""  # folder or name of a run; empty = the latest finished one
    model: str = ""  # which of the run's models; empty = the best on validation
    json: bool = False  # an object a line in place of the table
    out: str = ""  # folder of the runs; empty = runs/ in the repository
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...


class Predictor:
    """A trained model, ready for new pictures."""

    def __init__(self, folder: Path, place: torch.device):
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.classes, self.side, self.flip = about["classes"], about["side"], about["flip"]
        self.place = place
        mean, std = torch.tensor(about["mean"]), torch.tensor(about["std"])
        self.normalise = Normalise(mean.to(place), std.to(place))
        model = Classifier(about["name"], len(self.classes), stride_in=about["stride_in"])
        path = folder / "best.pt"
        checkpoints.load_weights(model, checkpoints.load(path)["model"], str(path))
        self.model = model.to(place, memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def __call__(self, files: Sequence[Path]) -> list[Prediction]:
        """The predictions, in order; a picture that cannot be read has an error instead."""
        found = [Prediction(str(file), {}) for file in files]
        readable, pixels = [], []
        for prediction, file in zip(found, files, strict=True):
            try:
                pixels.append(decode(file, self.side))
                readable.append(prediction)
            except UserError as error:
                prediction.error = str(error)
        if pixels:
            images = self.normalise(torch.from_numpy(np.stack(pixels)).to(self.place))
            values, order = probabilities(self.model, images, self.flip).sort(1, descending=True)
            for prediction, own, places in zip(
                readable, values.tolist(), order.tolist(), strict=True
            ):
                names = [self.classes[place] for place in places]
                prediction.classes = dict(zip(names, own, strict=True))
        return found


def choose_model(folder: Path, name: str) -> Path:
    """The folder of the run's model of that name, or of its best on validation."""
    measured = json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
    scores = {
        key: figures["val_accuracy"]
        for key, figures in measured.items()
        if isinstance(figures, dict) and (model_folder(folder, key) / "model.json").is_file()
    }
    if name and name not in scores:
        raise UserError(f"--model {name}: the run in {folder} has {', '.join(scores)}")
    return model_folder(folder, name or max(scores, key=scores.__getitem__))


def model_folder(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "-")


def find_files(images: Sequence[str]) -> Iterator[Path]:
    """The files named, for a folder all the pictures below it, for - what standard input names.

    Raises:
        UserError: a folder without pictures.
    """
    for name in images:
        if name == "-":
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from find_files([line for line in lines if line])
            continue
        path = Path(name).expanduser()
        if path.is_dir():
            found = find_images(path)
            if not found:
                raise UserError(f"{path} holds no pictures: name another folder")
            yield from (path / file for file in found)
        else:
            yield path


def predict(config: Config) -> Iterator[Prediction]:
    """The predictions one by one, in the order of the files.

    Raises:
        UserError: there is nothing to predict, or no trained run.
    """
    if not config.images:
        raise UserError("there is no picture: name one, or a folder of them, or - to read names")
    folder = runs.find_trained("transfer_food11", config.run, config.out, "results.json")
    predictor = Predictor(choose_model(folder, config.model), device.choose(config.device))
    files = find_files(config.images)
    while batch := list(islice(files, BATCH)):
        yield from predictor(batch)


def main(config: Config) -> None:
    """Print a line for each picture; one that cannot be read goes to standard error.

    Raises:
        SystemExit: with code 1, at the end, where there was such a one.
    """
    failed = False
    for made in predict(config):
        if made.error:
            print(made.error, file=sys.stderr, flush=True)
            failed = True
            continue
        top = list(islice(made.classes.items(), SHOWN))
        if config.json:
            shown = [{"class": name, "probability": value} for name, value in top]
            print(json.dumps({"file": made.file, "top": shown}), flush=True)
        else:
            cells = [f"{name:<18} {value:.3f}" for name, value in top]
            print("  ".join([*cells, made.file]), flush=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    cli(Config, main)
