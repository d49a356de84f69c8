"""What is on the pictures that a user names: what the predict.py of picture projects share.

A project brings the trained network, as a `Recogniser`; here are the settings, the names of the
pictures and what is printed.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from common.errors import UserError
from common.images import decode, find_images
from common.runs import file_name

import numpy as np
import torch
import tyro
from torch import Tensor

BATCH = 32  # pictures
SHOWN = 3  # classes of a picture
NO_PICTURE = "there is no picture: name one, or a folder of them, or - to read names"


@dataclass
class Config:
    """Classify pictures with a trained run."""

    images: tyro.conf.Positional[tuple[str, ...]] = ()  # pictures, folders; - reads their names
    run: str = ""  # folder or name of a run; empty = the latest finished one
    model: str = ""  # which of the run's models; empty = the best on validation
    json: bool = False  # an object a line in place of the table
    out: str = ""  # folder of the runs; empty = runs/ in the repository
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...


@dataclass
class Prediction:
    """One picture: its classes and their probabilities, the likeliest first, or an error."""

    file: str
    classes: dict[str, float]
    error: str = ""


@dataclass
class Recogniser:
    """A trained network, ready for new pictures.

    classes: their names, in the network's order. size: side of the square pictures, in pixels.
    probabilities: uint8 (batch, 3, size, size), on the CPU -> (batch, classes).
    """

    classes: Sequence[str]
    size: int
    probabilities: Callable[[Tensor], Tensor]

    @torch.inference_mode()
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
            rows = self.probabilities(torch.from_numpy(np.stack(pixels)))
            values, order = rows.sort(1, descending=True)
            for prediction, own, places in zip(
                readable, values.tolist(), order.tolist(), strict=True
            ):
                names = [self.classes[place] for place in places]
                prediction.classes = dict(zip(names, own, strict=True))
        return found


def main(load: Callable[[Config], Recogniser], config: Config) -> None:
    """Print a line for each picture, its likeliest classes first; `load` as for `predict`."""
    show(predict(load, config), config.json)


def predict(load: Callable[[Config], Recogniser], config: Config) -> Iterator[Prediction]:
    """The predictions one by one, in the order of the files.

    Args:
        load: makes the network that the settings name; raises UserError where there is none.

    Raises:
        UserError: there is nothing to predict, or no trained run.
    """
    if not config.images:
        raise UserError(NO_PICTURE)
    recognise = load(config)
    files = find_files(config.images)
    count = 0
    while batch := list(islice(files, BATCH)):
        count += len(batch)
        yield from recognise(batch)
    if not count:
        raise UserError(NO_PICTURE)


def show(predictions: Iterable[Prediction], as_json: bool) -> None:
    """Print a line for each picture; one that cannot be read goes to standard error.

    Raises:
        SystemExit: with code 1, at the end, where there was such a one.
    """
    failed = False
    for made in predictions:
        if made.error:
            print(made.error, file=sys.stderr, flush=True)
            failed = True
            continue
        top = list(islice(made.classes.items(), SHOWN))
        if as_json:
            shown = [{"class": name, "probability": value} for name, value in top]
            print(json.dumps({"file": made.file, "top": shown}), flush=True)
        else:
            width = max(map(len, made.classes))
            cells = [f"{name:<{width}} {value:.3f}" for name, value in top]
            print("  ".join([*cells, made.file]), flush=True)
    if failed:
        sys.exit(1)


def choose_model(run: Path, name: str) -> tuple[str, Path]:
    """The run's model of that name, or its best on validation: its name and its folder.

    Raises:
        UserError: the run has no such model.
    """
    measured = json.loads((run / "results.json").read_text(encoding="utf-8"))["metrics"]
    folders = {each: run / file_name(each) for each in measured}
    scores = {
        each: measured[each]["val_accuracy"]
        for each, folder in folders.items()
        if (folder / "best.pt").is_file()
    }
    if not scores:
        raise UserError(f"the run in {run} has no model: name another with --run")
    if name and name not in scores:
        raise UserError(f"--model {name}: the run in {run} has {', '.join(scores)}")
    name = name or max(scores, key=scores.__getitem__)
    return name, folders[name]


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
