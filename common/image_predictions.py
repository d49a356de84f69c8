"""Predictions for the images that a user names: what the predict.py of image projects share."""

import codecs
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from common import checkpoints, device
from common.image_folders import decode, explained, printable, walk
from common.images import Normalise, load
from common.runs import csv_row
from common.settings import Settings, UserError, from_saved, warn
from common.trained import Trained

PREDICTED_TOGETHER = 32  # images
SHOWN = 3  # classes of an image in a printed line


@dataclass
class PredictConfig:
    """Classify images with a trained run."""

    images: tyro.conf.Positional[tuple[str, ...]] = ()  # images, folders; - reads their names
    run: str = ""  # folder or name of a run; empty = the latest that is complete
    model: str = ""  # which of the run's models; empty = the best on validation
    output: Path | None = None  # also write a CSV: file, class, probability
    json: bool = False  # print an object a line in place of the table
    out: Path | None = None  # folder of the runs; default runs/
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    max_megapixels: int = 500  # larger images are refused (a JPEG counts as decoded, scaled down)


@dataclass(frozen=True)
class Prediction:
    """One image: its classes and their probabilities, the likeliest first, or an error."""

    file: str
    classes: dict[str, float]
    error: str = ""


def restore(
    trained: Trained, config_class: type[Settings], build: Callable[..., nn.Module]
) -> nn.Module:
    """The trained network, on the CPU: `build(name, settings, classes)` with its weights."""
    kept = trained.preprocessing
    model = build(kept["network"], from_saved(config_class, trained.settings), len(kept["classes"]))
    checkpoints.load_weights(model, trained.weights[0], str(trained.folder))
    return model.eval()


def predict(trained: Trained, model: nn.Module, config: PredictConfig) -> Iterator[Prediction]:
    """The predictions of a run's model one by one; the run kept `ImageSet.preprocessing`."""
    kept = trained.preprocessing
    place = device.choose(config.device)
    model = model.to(place).eval()
    normalise = Normalise(kept["mean"].to(place), kept["std"].to(place))

    def classify(pixels: Tensor) -> Tensor:
        return model(normalise(pixels.to(place))).softmax(1)

    return predict_files(config, kept["size"], kept["bits"], classify, kept["classes"])


def example_batches(trained: Trained) -> list[tuple[Tensor]]:
    """Batches of several sizes of the run's own images, as its model's forward takes them."""
    kept = trained.preprocessing
    own, root = (Path(p) if p else None for p in map(trained.settings.get, ("images", "data_dir")))
    _, dataset = load(kept["size"], images=own, data_dir=root, per_class=20, skip_small=True)
    pixels = Normalise(kept["mean"], kept["std"])(dataset.splits["train"].pixels[:9])
    return [(part,) for part in pixels.split([5, 3, 1])]


@torch.inference_mode()
def predict_files(
    config: PredictConfig,
    size: int,
    bits: int,
    classify: Callable[[Tensor], Tensor],
    classes: Sequence[str],
) -> Iterator[Prediction]:
    """The predictions one by one, in the order of the files; one that cannot be read has an error.

    Args:
        size, bits: as `decode` takes them.
        classify: uint8 (images, 3, size, size) -> (images, classes) probabilities.

    Raises:
        UserError: there is nothing to predict.
    """
    files = named_files(config.images)
    count = 0
    while batch := list(islice(files, PREDICTED_TOGETHER)):
        count += len(batch)
        arrays, errors = [], {}
        for place, file in enumerate(batch):
            try:
                if isinstance(file, UserError):
                    raise file
                arrays.append(decode(file, size, bits=bits, max_megapixels=config.max_megapixels))
            except UserError as error:
                errors[place] = str(error)
        rows = iter(classify(torch.from_numpy(np.stack(arrays))) if arrays else ())
        for place, file in enumerate(batch):
            if place in errors:
                yield Prediction(str(file), {}, errors[place])
                continue
            values, order = next(rows).sort(descending=True)  # (classes,)
            names = [classes[number] for number in order.tolist()]
            yield Prediction(str(file), dict(zip(names, values.tolist(), strict=True)))
    if not count:
        raise UserError("there is no image: name one, or a folder of them, or - to read names")


def named_files(names: Iterable[str]) -> Iterator[Path | UserError]:
    """The files named, for a folder all the images below it, for - what standard input names.

    In place of a folder without images comes an error; what else a folder holds is a note.
    """
    for name in names:
        if name == "-":
            given = sys.stdin.buffer if sys.stdin else ()  # None where it is closed
            yield from named_files(listed(given))
            continue
        path = Path(os.path.expanduser(name))  # Path's own raises on ~nobody
        if not name.strip():
            yield UserError("a name is empty: name an image, or . for the folder you are in")
        elif os.path.isdir(path):  # Path's own raises on a long name
            found, notes = walk(path)
            shown = printable(str(path))
            if found:
                for note in notes:
                    warn(f"{shown}: {note}")
            else:
                yield explained(f"{shown} holds no images: name another folder", notes)
            yield from (path / file for file in found)
        else:
            yield path


def listed(stream: Iterable[bytes]) -> Iterator[str]:
    """The names in a list of files: one a line, in quotes or not, or each before a NUL (-print0).

    UTF-16 is recognised, as PowerShell writes it.
    """
    lines = iter(stream)
    for line in lines:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            names = b"".join([line, *lines]).decode("utf-16", "replace").splitlines()
        elif b"\0" in line:
            names = map(os.fsdecode, b"".join([line, *lines]).split(b"\0"))
        else:
            names = [os.fsdecode(line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n"))]
        for name in names:
            if bare := re.sub(r"""^(["'])(.+)\1$""", r"\2", name):
                yield bare


def show(predictions: Iterable[Prediction], config: PredictConfig, sample: bool) -> None:
    """Print a line for each image, and write --output; what cannot be read goes to stderr.

    Args:
        sample: the model learned from the generated sample, which every line says.

    Raises:
        UserError: --output cannot be written.
        SystemExit: with code 1, at the end, where an image could not be read.
    """
    if config.output:
        check_output(config.output)
    failed = False
    lines = [["file", "class", "probability"]]
    for made in predictions:
        if made.error:
            print(made.error, file=sys.stderr, flush=True)
            failed = True
            continue
        top = list(islice(made.classes.items(), SHOWN))
        if config.json:
            shown = [{"class": name, "probability": value} for name, value in top]
            print(json.dumps({"file": made.file, "top": shown, "sample": sample}), flush=True)
        else:
            width = min(40, max(map(len, made.classes)))
            cells = [f"{name:<{width}} {value:.3f}" for name, value in top]
            print("  ".join([*["SAMPLE"] * sample, *cells, printable(made.file)]), flush=True)
        lines.append([made.file, top[0][0], f"{top[0][1]:.4f}"])
    if config.output:
        checkpoints.write_text(config.output, "".join(map(csv_row, lines)))
    if failed:
        sys.exit(1)


def check_output(path: Path) -> None:
    """Raise UserError, before any work, on an --output that is no file or cannot be written."""
    above = next(folder for folder in path.absolute().parents if os.path.exists(folder))
    is_other = os.path.exists(path) and not os.path.isfile(path)
    if is_other or above == Path("/dev") or not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(
            f"--output {printable(str(path))} cannot be written: name a file, such as "
            "predictions.csv, in a folder of your own"
        )
