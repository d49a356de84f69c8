"""Pictures decoded once into one file of uint8 pixels, which is mapped into memory and not read.

Of 16,643 pictures of 256 x 256 (3.3 GB) only what a batch needs comes into memory.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import checkpoints
from common.cache import fingerprint
from common.errors import UserError
from common.images import decode_all
from common.locks import alone
from common.splitting import HASH_BITS, THUMBNAIL_LEVELS, near_duplicates

import numpy as np
import torch
from torch import Tensor

VERSION = 2  # raise it when decoding or comparing changes: older stores are made again
COMPARED = 128  # pictures compared at a time: as floats they take 100 MB at 256 x 256


@dataclass(frozen=True)
class Stored:
    """Pictures of one size.

    pixels: uint8 (pictures, 3, side, side), mapped from the file; writing to it changes no file.
    groups: int64 (pictures,), see `near_duplicates`. files: relative to the folder; damaged: those
    that could not be read, with the reason. key: stands for all of it.
    """

    pixels: Tensor
    groups: Tensor
    files: list[str]
    damaged: dict[str, str]
    key: str


def store(folder: Path, files: Sequence[str], side: int, cache: Path) -> Stored:
    """Decode the files in parallel, or map what an earlier call with the same files decoded.

    The store is two files in `cache`: the pixels, and as JSON what describes them, which is
    written last and whole. Pixels of another length than it says are made again.

    Raises:
        UserError: no file can be read, or `cache` cannot be written.
    """
    described = {
        "version": VERSION,
        "side": side,
        "near": [HASH_BITS, THUMBNAIL_LEVELS],
        "files": list(files),
        "contents": fingerprint([folder / file for file in files]),
    }
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    raw, description = cache / f"pictures-{key}.raw", cache / f"pictures-{key}.json"
    with writable(cache), alone(raw):
        found = read_description(raw, description, side)
        if found is None:
            found = make(folder, files, side, raw)
            checkpoints.write_text(description, json.dumps(found))
    good = [file for file in files if file not in found["damaged"]]
    pixels = mapped(raw, "c", len(good), side)
    groups = torch.tensor(found["groups"])
    return Stored(torch.from_numpy(pixels), groups, good, found["damaged"], key)


@contextlib.contextmanager
def writable(cache: Path):
    """Say in one sentence that the folder cannot be written."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"{cache} cannot be written ({error.strerror}): free some space, or choose another "
            "folder of data with --data-dir"
        ) from error


def read_description(raw: Path, description: Path, side: int) -> dict | None:
    """What an earlier call wrote, if the pixels are as long as it says."""
    try:
        found = json.loads(description.read_text(encoding="utf-8"))
        whole = raw.stat().st_size == len(found["groups"]) * 3 * side * side
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole else None


def mapped(raw: Path | str, mode: Literal["c", "w+"], count: int, side: int) -> np.ndarray:
    """The file as uint8 (count, 3, side, side), channels last: a CPU resizes that twice as fast."""
    return np.memmap(raw, np.uint8, mode, shape=(count, side, side, 3)).transpose(0, 3, 1, 2)


def make(folder: Path, files: Sequence[str], side: int, raw: Path) -> dict:
    """Decode into a file beside `raw` that takes its name when it is complete."""
    handle, temporary = tempfile.mkstemp(dir=raw.parent, prefix=f".{raw.name}.")
    os.close(handle)
    try:
        pixels = mapped(temporary, "w+", len(files), side)
        damaged = decode_all(folder, files, pixels)
        if len(damaged) == len(files):
            raise UserError(f"no picture in {folder} can be read: {next(iter(damaged.values()))}")
        good = [row for row, file in enumerate(files) if file not in damaged]
        for place, row in enumerate(good if damaged else ()):
            pixels[place] = pixels[row]
        pixels.flush()
        groups = near_duplicates(torch.from_numpy(pixels[: len(good)]), COMPARED)
        os.truncate(temporary, len(good) * 3 * side * side)
        os.chmod(temporary, 0o644)
        os.replace(temporary, raw)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return {"groups": groups.tolist(), "damaged": dict(sorted(damaged.items()))}
