"""A folder of images, decoded once into tensors and split without leaks.

An image folder has one folder for each class, with images of any size and format that Pillow
reads, nested as deep as one likes. Each image is turned upright, cut to its central square and
resized; all of them make one uint8 tensor, which a cache keeps.
"""

import hashlib
import os
import struct
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cache import cached, fingerprint
from common.errors import UserError
from common.splitting import (
    FEWEST,
    HASH_BITS,
    SPLIT_SEED,
    THUMBNAIL_LEVELS,
    near_duplicates,
    split,
)

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

_DECODED_VERSION = 2  # raise it when decoding or comparing changes: older caches are built again
# What Pillow raises on damaged files, by format.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error)
_DAMAGED += (Image.DecompressionBombError,)


@dataclass(frozen=True)
class Decoded:
    """Images of one size.

    pixels: uint8 (images, 3, size, size). groups: int64 (images,), see `near_duplicates`. files:
    relative to the folder; damaged: those of the files that could not be read. key: the cache's,
    of all that the pixels depend on.
    """

    pixels: Tensor
    groups: Tensor
    files: list[str]
    damaged: list[str]
    key: dict[str, Any]


@dataclass(frozen=True)
class Images:
    """Images of one split.

    pixels: uint8 (images, 3, size, size). labels: int64 (images,). files: relative to the folder.
    """

    pixels: Tensor
    labels: Tensor
    files: list[str]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet:
    """Splits train, val and test, and what describes them.

    mean, std: (3,) of the training split's channels, in units of full brightness.
    notes: sentences about what was found: damaged images, near-duplicates, counts by class.
    """

    classes: tuple[str, ...]
    splits: dict[str, Images]
    mean: Tensor
    std: Tensor
    notes: list[str]


def load_folder(folder: Path, size: int, cache: Path, per_class: int = 0) -> ImageSet:
    """Decode the image folder and split it, by class and with near-duplicates kept together.

    Args:
        size: side of the square images, in pixels.
        cache: folder in which the decoded images are kept for the next call.
        per_class: at most so many images of each class, drawn with a fixed seed; 0 = all.

    Raises:
        UserError: no such folder, fewer than two classes, a class with too few images.
    """
    listed = find_classes(folder)
    if per_class:
        draw = np.random.default_rng(SPLIT_SEED)
        listed = {
            name: [files[i] for i in sorted(draw.permutation(len(files))[:per_class])]
            for name, files in listed.items()
        }
    decoded = read_images(folder, [file for own in listed.values() for file in own], size, cache)
    classes = tuple(listed)
    number = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([number[file.split("/", 1)[0]] for file in decoded.files])
    for name, label in number.items():
        if (usable := int((labels == label).sum())) < FEWEST:
            raise UserError(
                f"class {name} in {folder} has {usable} usable images, and at least {FEWEST} are "
                "needed: add some, or remove its folder"
            )
    rows = split(labels, decoded.groups, classes)
    splits = {
        name: Images(decoded.pixels[own], labels[own], [decoded.files[i] for i in own.tolist()])
        for name, own in rows.items()
    }
    key = {"images": decoded.key, "rows": hashlib.sha256(rows["train"].numpy()).hexdigest()}
    held = cached(cache, "statistics", key, lambda: channel_statistics(splits["train"].pixels))
    notes = [*damaged_notes(decoded.damaged), *duplicates_notes(decoded.groups)]
    for name, images in splits.items():
        counts = zip(classes, images.labels.bincount(minlength=len(classes)).tolist(), strict=True)
        notes.append(f"{name}: " + ", ".join(f"{count:,} {each}" for each, count in counts))
    mean, std = torch.from_numpy(held["mean"]), torch.from_numpy(held["std"])
    return ImageSet(classes, splits, mean, std, notes)


def find_classes(folder: Path) -> dict[str, list[str]]:
    """The image files of each class, as paths relative to `folder`, in a fixed order.

    Raises:
        UserError: no such folder, or fewer than two classes with images in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one that holds a folder for each class")
    classes = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("."):
            found = find_images(Path(entry.path))
            if found:
                classes[entry.name] = [f"{entry.name}/{file}" for file in found]
    if len(classes) < 2:
        raise UserError(
            f"{folder} holds images of {len(classes)} classes, and two are needed: put the images "
            "of each class into a folder of its own there"
        )
    return classes


def find_images(folder: Path) -> list[str]:
    """The files below `folder` whose names end as images do, relative to it and sorted."""
    Image.init()
    endings = tuple(end for end, kind in Image.EXTENSION.items() if kind in Image.OPEN)
    found = []
    for top, _, names in os.walk(folder):
        inner = Path(top).relative_to(folder)
        for name in names:
            if name.lower().endswith(endings) and not name.startswith("."):
                found.append((inner / name).as_posix())
    return sorted(found)


def decode(path: Path, size: int) -> np.ndarray:
    """One image as uint8 (3, size, size): upright, RGB, its central square.

    A JPEG much larger than `size` is decoded at a lower scale, which is several times as fast.

    Raises:
        UserError: the file is damaged or no image; says which and why.
    """
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * size, 2 * size))
            upright = to_rgb(ImageOps.exif_transpose(opened))
            square = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
    except _DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as an image ({reason})") from error
    return np.asarray(square).transpose(2, 0, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB: transparent parts turn white, deep greys are scaled to 8 bits."""
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion would clip them to white
        levels = np.asarray(image, np.float32)
        full = 65535 if image.mode.startswith("I") else max(float(levels.max()), 1.0)
        image = Image.fromarray((levels * (255 / full)).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def decode_all(folder: Path, files: Sequence[str], pixels: np.ndarray) -> dict[str, str]:
    """Decode the files in parallel into the rows of `pixels`, uint8 (files, 3, size, size).

    Returns:
        Why, for each file that could not be read; its row holds anything.
    """
    damaged: dict[str, str] = {}

    def fill(row: int) -> None:
        try:
            pixels[row] = decode(folder / files[row], pixels.shape[3])
        except UserError as error:
            damaged[files[row]] = str(error)

    # Pillow lets other threads run while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(fill, range(len(files)))
        quiet = not sys.stderr.isatty()
        for _ in tqdm(rows, "decoding", len(files), leave=False, disable=quiet, unit="images"):
            pass
    return damaged


def read_images(folder: Path, files: Sequence[str], size: int, cache: Path) -> Decoded:
    """Decode the files in parallel, find near-duplicates; or read both from the cache."""

    def build() -> dict[str, np.ndarray | list[str]]:
        pixels = np.empty((len(files), 3, size, size), np.uint8)
        unread = decode_all(folder, files, pixels)
        damaged = [file for file in files if file in unread]
        if damaged:
            pixels = pixels[[file not in unread for file in files]]
        groups = near_duplicates(torch.from_numpy(pixels)).numpy()
        return {"pixels": pixels, "groups": groups, "damaged": damaged}

    key = {
        "version": _DECODED_VERSION,
        "size": size,
        "near": [HASH_BITS, THUMBNAIL_LEVELS],
        "files": hashlib.sha256("\n".join(files).encode()).hexdigest(),
        "contents": fingerprint([folder / file for file in files]),
    }
    held = cached(cache, "images", key, build)
    damaged = set(held["damaged"])
    return Decoded(
        torch.from_numpy(held["pixels"]),
        torch.from_numpy(held["groups"]),
        [file for file in files if file not in damaged],
        held["damaged"],
        key,
    )


def channel_statistics(pixels: Tensor) -> dict[str, np.ndarray]:
    """The `mean` and `std` of each channel, (3,), in units of full brightness."""
    total, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for part in pixels.split(256):  # a float copy of all would be four times as large
        values = part.float() / 255
        total += values.sum((0, 2, 3))
        squares += values.square_().sum((0, 2, 3))
    count = pixels[:, 0].numel()
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    return {"mean": mean.float().numpy(), "std": std.float().numpy()}


def damaged_notes(damaged: Sequence[str]) -> list[str]:
    """What to say of damaged images; nothing if there are none."""
    more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
    named = ", ".join(damaged[:5])
    return [f"damaged, skipped: {len(damaged)} ({named}{more})"] if damaged else []


def duplicates_notes(groups: Tensor) -> list[str]:
    """How many near-duplicates there are; nothing if there are none."""
    sizes = groups.bincount()
    repeated = sizes[sizes > 1]
    found = f"near-duplicates: {len(repeated)} groups of {int(repeated.sum())} images in all"
    return [f"{found}, each group kept in one split"] if len(repeated) else []
