"""A folder of images: what it holds, its pixels in one file, its near-duplicates, its splits.

The folder has one folder for each class, or split folders (train, val, test) that do. The decoded
pixels of all files lie in one file of the cache that is mapped into memory. Its name is made of all
that they depend on, so that it never needs to be replaced.
"""

import hashlib
import inspect
import json
import os
import re
import struct
import sys
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from common import checkpoints
from common.distributed import in_main
from common.settings import UserError

SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "vld", "dev"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout"),
}
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")
# What Pillow raises on damaged files, by format.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error)
FLOATS = -1  # in place of the bits that an image uses: its levels are floating-point numbers
LARGE_PIXELS = 50_000_000  # images from here on are decoded one at a time, to save memory
BAND = 4  # rows of a reduced image that are made together
DECODED_TOGETHER = 256  # images that wait in memory until they are written
HASH_BITS = 10  # near-duplicates: at most so many of the 64 bits of their hashes differ,
THUMBNAIL_LEVELS = 12.0  # and their 16 x 16 thumbnails by so many of 255 levels on average
NEIGHBOURS = 16  # in the order of a hash, among which near-duplicates are looked for
SPLIT_SEED = 0  # fixed: runs of different seeds are measured on the same test images
FEWEST = 10  # different images of a class that is to be split

Listing = dict[str, list[str]]  # class -> files, relative to the folder

warnings.filterwarnings("ignore", module="PIL")  # on damaged EXIF data and the like


def walk(folder: Path) -> tuple[list[str], list[str]]:
    """The files below `folder` that Pillow reads, relative to it and sorted, and notes on the rest.

    They are told by their endings. Links are followed; hidden files and folders are left out.
    """
    with suppress(ImportError):  # optional: photographs of iPhones
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    endings = tuple(end for end, kind in Image.EXTENSION.items() if kind in Image.OPEN)
    files: list[str] = []
    others: Counter[str] = Counter()
    empty = []
    above = {str(folder): (os.path.realpath(folder),)}  # the folders on the way to each
    closed = []
    for top, folders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: closed.append(os.fspath(error.filename))
    ):
        known = above.pop(top)
        for name in list(folders):
            real = os.path.realpath(os.path.join(top, name))
            # A link to a folder on the way to it would never end.
            is_round = any(f"{each}{os.sep}".startswith(real + os.sep) for each in known)
            if name.startswith(".") or name in SYSTEM_FOLDERS or is_round:
                folders.remove(name)
            else:
                above[os.path.join(top, name)] = (*known, real)
        inner = "" if top == str(folder) else Path(top).relative_to(folder).as_posix() + "/"
        names = [name for name in names if not name.startswith(".")]
        images = [name for name in names if name.lower().endswith(endings)]
        files += [inner + name for name in images]
        others.update(Path(name).suffix.lower() or name for name in set(names) - set(images))
        if inner and not folders and not images:
            empty.append(inner.rstrip("/"))
    notes = []
    if others:
        notes.append("ignored: " + some([f"{n:,} {end}" for end, n in others.most_common()], 12))
        if others.keys() & {".heic", ".heif"}:
            notes[0] += " (convert .heic to .jpg, or install pillow-heif)"
        if ".csv" in others:
            notes[0] += " (labels in a .csv are not read)"
    if closed:
        notes.append(f"warning: folders that may not be read: {some(sorted(closed))}")
    if empty:
        notes.append(f"folders without images: {some(sorted(empty))}")
    return sorted(files), notes


def printable(name: str) -> str:
    """A file's name as one line: bytes that are not UTF-8 and control characters are escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text.translate({code: f"\\x{code:02x}" for code in (*range(32), 127)})


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(map(printable, names[:shown])) + more


def explained(sentence: str, notes: Sequence[str]) -> UserError:
    """An error that the notes may explain, with them."""
    return UserError(f"{sentence} ({'; '.join(notes)})" if notes else sentence)


def list_folder(folder: Path) -> tuple[dict[str, Listing], list[str]]:
    """The files of each class by split, under "" where the folder has no split folders; notes.

    Raises:
        UserError: no such folder, or fewer than two classes with images in it.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{folder} is not a folder: name one that holds a folder for each class")
    files, notes = walk(folder)
    prefix, files, loose = outermost(files, "")
    tops = by_top(files, prefix)
    notes += [f"the folder that is read: {printable(prefix)}"] if prefix else []
    notes += [f"left out, beside it: {loose:,}"] if loose else []
    listed: dict[str, Listing] = {}
    folders = roles(tops)
    for role, name in (folders or {"": ""}).items():
        inner, images = prefix, files
        if name:
            inner, images, _ = outermost(tops[name], f"{prefix}{name}/", listed.get("train", ()))
        own, own_notes = by_class(images, inner)
        known = listed.get("train", own)
        names = same_names(own, known)
        if spelt := [f"{name}/{each} as {names[each]}" for each in own if names[each] != each]:
            own_notes.append(f"read as classes of training, though spelt otherwise: {some(spelt)}")
        own = {names[each]: files for each, files in own.items()}
        if role in ("val", "test") and not own.keys() & known.keys():
            count = f"{len(images):,} in {printable(name)}"
            notes.append(f"warning: left out, of no class that training has: {count}")
            continue
        notes += own_notes
        if strange := [each for each in own if each not in known]:
            notes.append(f"left out of {name}, for training lacks them: {some(strange)}")
        listed[role] = {each: own.get(each, []) for each in known}
    if folders and (others := [name or "files" for name in tops if name not in folders.values()]):
        read = some(list(folders.values()))
        notes.append(f"left out: {some(others)} (the splits that are read: {read})")
    classes = next(iter(listed.values()))
    if len(classes) < 2:
        raise explained(
            f"{printable(str(folder))} holds images of {'one' if classes else 'no'} class, and two "
            "are needed: make a folder for each class there, and put its images into it",
            notes,
        )
    if not folders:
        inside = [by_top(own, f"{prefix}{name}/").keys() - {""} for name, own in classes.items()]
        shared = sorted(set.intersection(*map(set, inside)))
        if all(map(roles, inside)):
            notes.append(
                "warning: train and test folders inside the classes are not used as splits"
            )
        elif len(shared) > 1:
            notes.append(
                f"warning: {some(list(classes))} are taken as the classes, though each holds "
                f"{some(shared)}: if they are splits, name them train, val and test"
            )
    return listed, notes


def outermost(
    files: list[str], prefix: str, classes: Container[str] = ()
) -> tuple[str, list[str], int]:
    """Go into a folder around all, as archives have it, that is no class of `classes`.

    One named like the folder that it is in is a second shell of it: train/train.

    Returns:
        Its prefix, its files, and how many lie beside it.
    """
    count = len(files)
    while True:
        tops = by_top(files, prefix)
        names = [name for name in tops if name]
        if len(names) != 1 or names[0] in classes:
            break
        inner = f"{prefix}{names[0]}/"
        is_shell = f"/{inner}".endswith(f"/{names[0]}/{names[0]}/")
        if not is_shell and (roles(names) or set(by_top(tops[names[0]], inner)) == {""}):
            break
        prefix, files = inner, tops[names[0]]
    return prefix, files, count - len(files)


def by_top(files: Iterable[str], prefix: str) -> Listing:
    """The files by their first folder behind `prefix`, under "" those in none."""
    tops: Listing = {}
    for file in files:
        top, slash, _ = file.removeprefix(prefix).partition("/")
        tops.setdefault(top if slash else "", []).append(file)
    return tops


def roles(tops: Iterable[str]) -> dict[str, str]:
    """Which folder is which split: there is one to train on, and another or no other folder.

    Other words and numbers may stand beside, the same in all: seg_train, seg_test; train, test1.
    Words may be joined: TrainSet, testdata.
    """
    by_rest: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name in sorted(tops):
        spaced = re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower()
        words = [re.sub("(?<=.)(set|data)$", "", word) for word in re.findall("[a-z]+", spaced)]
        for role, known in SPLIT_NAMES.items():
            if any(word in known for word in words):
                rest = tuple(word for word in words if word not in known)
                by_rest.setdefault(rest, {}).setdefault(role, []).append(name)
    for rest, found in sorted(by_rest.items()):
        is_all = not rest and sum(map(len, found.values())) == len(set(tops))
        if "train" not in found or not (len(found) > 1 or is_all):
            continue
        for role, names in found.items():
            if len(names) > 1:
                raise UserError(f"{names[0]} and {names[1]} are both the {role} split: rename one")
        return {role: found[role][0] for role in SPLIT_NAMES if role in found}
    return {}


def by_class(files: Sequence[str], prefix: str) -> tuple[Listing, list[str]]:
    """The files by the class whose folder they are in; where there are no folders, by what stands
    before the last number of their names (3_17.jpg, cat.12.jpg); and notes."""
    place = prefix.rstrip("/") or "the folder"
    classes = by_top(files, prefix)
    loose = classes.pop("", [])
    notes = []
    if not classes:
        for file in loose:
            if named := re.fullmatch(r"(.+?)(?:[ _.-]+\(?|(?<=\D))\d+\)?", Path(file).stem):
                classes.setdefault(named[1], []).append(file)
        if classes:
            notes.append(
                f"the classes of {place} are taken from the names of its files: make a folder for "
                "each class if they are others"
            )
    if count := len(files) - sum(map(len, classes.values())):
        notes.append(f"left out, in {place} but of no class: {count:,}")

    def natural(name: str) -> list[Any]:  # 2 before 10
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]

    return {name: classes[name] for name in sorted(classes, key=natural)}, notes


def same_names(own: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """For each name of `own` the one of `known` that differs at most in case, Unicode's form and
    blanks; where two of either could be meant, or there is none, itself."""

    def plain(name: str) -> str:
        return " ".join(unicodedata.normalize("NFC", name).casefold().split())

    meant = {plain(name): name for name in known}
    ours, theirs = Counter(map(plain, own)), Counter(map(plain, known))
    return {
        name: meant[plain(name)] if ours[plain(name)] == theirs[plain(name)] == 1 else name
        for name in own
    }


def decode(path: Path, size: int, *, bits: int = 0, max_megapixels: int = 500) -> np.ndarray:
    """One image as uint8 (3, size, size): upright, RGB, its central square.

    bits: depth by which an image of 16 bits is scaled; 0 = the depth that it uses itself.

    Raises:
        UserError: the file is damaged, not an image, or too large; says which and why.
    """
    return decode_deep(path, size, bits, max_megapixels)[0].transpose(2, 0, 1)


one_large = threading.Lock()


def decode_deep(path: Path, size: int, bits: int, max_megapixels: int) -> tuple[np.ndarray, int]:
    """As `decode`, but (size, size, 3); and the bits that a deep grey image uses, FLOATS, or 0.

    A JPEG much larger than `size` is decoded at a lower scale, which is several times as fast;
    other very large images are reduced as soon as they are decoded.
    """
    Image.MAX_IMAGE_PIXELS = None  # `max_megapixels` takes the place of Pillow's limit
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a file")  # a pipe would wait for ever
        with Image.open(path) as image:
            image.draft("RGB", (2 * size, 2 * size))
            pixels = image.width * image.height
            if pixels > 1e6 * max_megapixels:
                raise ValueError(
                    f"{pixels / 1e6:,.0f} megapixels: more than --max-megapixels {max_megapixels}"
                )
            if pixels < LARGE_PIXELS:
                return to_square(image, size, bits)
            with one_large:
                factor = min(image.size) // (4 * size)
                if factor > 1 and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
                    image = image.reduce(factor)
                elif factor > 1 and image.mode in ("1", "P"):
                    image = reduce_bands(image, factor)
                return to_square(image, size, bits)
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = reason.splitlines()[0].partition(" '")[0]  # the name is there already
        name = printable(str(path))
        raise UserError(f"{name} cannot be read as an image ({printable(reason)})") from error


def reduce_bands(image: Image.Image, factor: int) -> Image.Image:
    """A bilevel image or one with a palette, reduced; only a band at a time is expanded to RGB."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    small = Image.new(mode, [-(-side // factor) for side in image.size])
    for top in range(0, small.height, BAND):
        box = (0, top * factor, image.width, min((top + BAND) * factor, image.height))
        small.paste(image.crop(box).convert(mode).reduce(factor), (0, top))
    small.info = image.info  # its EXIF data say what is up
    return small


def to_square(image: Image.Image, size: int, bits: int) -> tuple[np.ndarray, int]:
    """The central square, upright: transparent parts turn white, deep greys are scaled.

    Floating-point levels go from 0 or the lowest to 1 or the highest, what is no number is lowest.
    """
    image = ImageOps.exif_transpose(image)
    used = 0
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion would clip them to white
        levels = np.asarray(image, np.float32)
        finite = levels[np.isfinite(levels)]
        lowest, highest = float(finite.min(initial=0.0)), float(finite.max(initial=1.0))
        used = FLOATS
        if image.mode.startswith("I"):  # cameras store 12 bits in 16
            used = max(8, int(highest).bit_length())
            lowest, highest = 0.0, 2 ** (bits or used) - 1
        levels = np.nan_to_num(levels, nan=lowest).clip(lowest, highest) - lowest
        image = Image.fromarray((levels * (255 / (highest - lowest))).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)), used


@dataclass(frozen=True)
class Decoded:
    """Images of one size.

    pixels: uint8 (images, 3, size, size), mapped from the cache's file. files: those that could be
    read. bits: depth by which 16-bit images were scaled, 0 where there are none. notes: on both.
    key: stands for all that the pixels depend on.
    """

    pixels: Tensor
    files: list[str]
    bits: int
    notes: list[str]
    key: str


def read_images(
    folder: Path, files: Sequence[str], size: int, cache: Path, max_megapixels: int = 500
) -> Decoded:
    """Decode the files in parallel into one file of the cache, or map what was decoded before.

    Raises:
        UserError: not one of the files can be read, or there is no space for the pixels.
    """

    def prepare() -> tuple[str, list[int], dict[str, str]]:
        there = [os.path.join(folder, file) for file in files]
        there = [path for path in there if os.path.isfile(path) and os.access(path, os.R_OK)]
        key = digest(
            code=inspect.getsource(sys.modules[__name__]),
            pillow=PIL.__version__,
            size=size,
            max_megapixels=max_megapixels,
            files=list(files),
            contents=checkpoints.content_digest(there, folder, cache),
        )
        raw, description = cache / f"images-{key}.raw", cache / f"images-{key}.json"
        with suppress(OSError, ValueError):
            depths, damaged = json.loads(description.read_text(encoding="utf-8"))
            if raw.stat().st_size == (len(files) - len(damaged)) * size * size * 3:
                return key, depths, damaged
        depths, damaged = write_pixels(raw, folder, files, size, max_megapixels)
        checkpoints.write_text(description, json.dumps([depths, damaged]))
        return key, depths, damaged

    key, depths, damaged = in_main(prepare)
    bits = max([0, *depths])
    good = [file for file in files if file not in damaged]
    raw = np.memmap(cache / f"images-{key}.raw", np.uint8, "c", shape=(len(good), size, size, 3))
    pixels = torch.from_numpy(raw).permute(0, 3, 1, 2)  # in memory as Pillow gives it
    notes = [f"skipped: {reason}" for reason in list(damaged.values())[:5]]
    if len(damaged) > 5:
        notes.append(f"skipped: {len(damaged) - 5:,} more that cannot be read")
    if bits:
        notes.append(f"16-bit images are scaled by the {bits} bits that they use")
    if FLOATS in depths:
        notes.append("floating-point images: each is scaled, from 0 or its lowest to its highest")
    return Decoded(pixels, good, bits, notes, key)


def digest(**what: Any) -> str:
    """16 hexadecimal digits that stand for all of it."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def write_pixels(
    raw: Path, folder: Path, files: Sequence[str], size: int, max_megapixels: int
) -> tuple[list[int], dict[str, str]]:
    """Write the pixels of all files that can be read, one behind the other.

    Returns:
        What `decode_deep` says of the images' bits, and why the other files cannot be read.
    """
    depths: set[int] = set()
    damaged = {}

    def write(output: IO[bytes], scaled_by: int) -> None:
        for file, result in decode_all(folder, files, size, scaled_by, max_megapixels):
            if isinstance(result, UserError):
                damaged[file] = str(result)
            else:
                output.write(result[0].tobytes())
                depths.add(result[1])

    def fill(output: IO[bytes]) -> None:
        write(output, 16)
        bits = max(depths, default=0)
        if bits > 0 and bits != 16:  # again, now that it is known how many bits are used
            output.seek(0)
            write(output, bits)

    checkpoints.write_atomically(raw, fill)
    if len(damaged) == len(files):
        raw.unlink()
        raise UserError(f"no image in {folder} can be used: {next(iter(damaged.values()))}")
    return sorted(depths), damaged


def decode_all(
    folder: Path, files: Sequence[str], size: int, bits: int, max_megapixels: int
) -> Iterator[tuple[str, tuple[np.ndarray, int] | UserError]]:
    """Each file and what `decode_deep` gives or raises, in their order, by several threads."""

    def one(file: str) -> tuple[np.ndarray, int] | UserError:
        try:
            return decode_deep(folder / file, size, bits, max_megapixels)
        except UserError as error:
            return error

    bar = tqdm(files, "decoding", leave=False, disable=not sys.stderr.isatty(), unit="images")
    # Pillow lets other threads run while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        for start in range(0, len(files), DECODED_TOGETHER):
            together = files[start : start + DECODED_TOGETHER]
            for result in zip(together, pool.map(one, together), strict=True):
                bar.update()
                yield result


def compare(decoded: Decoded, labels: np.ndarray, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """For each image the number of its group of near-duplicates, and that of its exact copies."""

    def build() -> dict[str, np.ndarray | list[str]]:
        numbers: dict[bytes, int] = {}
        contents = (hashlib.blake2b(image.tobytes()).digest() for image in decoded.pixels.numpy())
        copies = [numbers.setdefault(content, len(numbers)) for content in contents]
        return {
            "groups": near_duplicates(decoded.pixels, labels),
            "copies": np.array(copies),
        }

    key = {"images": decoded.key, "labels": labels.tolist()}
    kept = checkpoints.cached(cache, "duplicates", key, build)
    return kept["groups"], kept["copies"]


def repeated(labels: np.ndarray, groups: np.ndarray, copies: np.ndarray) -> list[str]:
    """Notes on what `compare` gives."""
    notes = []
    sizes = np.bincount(groups)
    if several := int((sizes > 1).sum()):
        count = int(sizes[sizes > 1].sum())
        notes.append(f"near-duplicates: {several:,} groups of {count:,} images in all")
    of_copies = np.unique(np.stack([copies, labels]), axis=1)[0]
    if torn := int((np.bincount(of_copies) > 1).sum()):
        notes.append(f"warning: {torn:,} images lie in more than one class")
    return notes


def near_duplicates(pixels: Tensor, labels: np.ndarray) -> np.ndarray:
    """A group number for each image, int64 (images,); near-duplicates of a class share theirs.

    Two images are near-duplicates if their difference hashes (64 comparisons of neighbours in an
    8 x 9 grey thumbnail) and their 16 x 16 colour thumbnails hardly differ; so is what such pairs
    connect. Pairs are looked for among neighbours in the order of the hash, turned by 4 bits each
    time (the sorted neighbourhood of Hernandez & Stolfo 1995), so that time grows with the number
    of images and not with its square. On the published set that finds what comparing all finds.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(pixels)
    hashes, thumbnails = fingerprints(pixels)
    brightness = thumbnails.mean(1)
    pairs = []
    for turn in range(0, 64, 4):
        turned = (hashes << np.uint64(turn)) | (hashes >> np.uint64((64 - turn) % 64))
        order = np.lexsort((brightness, turned, labels))
        for distance in range(1, NEIGHBOURS + 1):
            one, other = order[:-distance], order[distance:]
            is_near = np.bitwise_count(hashes[one] ^ hashes[other]) <= HASH_BITS
            is_near &= labels[one] == labels[other]
            both = np.sort([one[is_near], other[is_near]], axis=0)
            pairs.append(both[0] * count + both[1])
    pairs = np.unique(np.concatenate(pairs))
    links = []
    for part in np.array_split(pairs, len(pairs) // 10_000 + 1):
        one, other = np.divmod(part, count)
        difference = np.abs(thumbnails[one].astype(np.int16) - thumbnails[other])  # (part, 768)
        links.append(part[difference.mean(1) <= THUMBNAIL_LEVELS])
    one, other = np.divmod(np.concatenate(links), count)
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def fingerprints(pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Difference hashes, uint64 (images,), and thumbnails, uint8 (images, 768)."""
    hashes, thumbnails = [], []
    for part in pixels.split(max(1, 2**22 // pixels[0, 0].numel())):  # 50 MB as floats
        part = part.float()
        grey = F.interpolate(part.mean(1, keepdim=True), (8, 9), mode="area")  # (part, 1, 8, 9)
        bits = grey.diff(dim=3).flatten(1) > 0  # (part, 64)
        hashes.append(np.packbits(bits.numpy(), axis=1).view(np.uint64)[:, 0])
        small = F.interpolate(part, (16, 16), mode="area").flatten(1)  # (part, 768)
        thumbnails.append(small.round().byte().numpy())
    return np.concatenate(hashes), np.concatenate(thumbnails)


def stratified(
    labels: np.ndarray, groups: np.ndarray, copies: np.ndarray, fractions: Sequence[float]
) -> tuple[np.ndarray, list[int], dict[int, int]]:
    """Split the images of each class, the same way for the same images.

    A group of near-duplicates stays whole; groups of several images go to the last part as long as
    there are others, so that nothing is measured twice. A class that is so alike that its groups
    cannot be divided is split by exact copies.

    Args:
        labels, groups, copies: (images,), the class, and the numbers of `compare`.
        fractions: of each part but the last, which takes the rest.

    Returns:
        The part of each image; the classes split by exact copies; of classes with too few
        different images, which are in the last part, how many they have.
    """
    draw = np.random.default_rng(SPLIT_SEED)
    parts = np.full(len(labels), len(fractions))
    alike, small = [], {}
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        placed = divide(groups[rows], fractions, draw)
        if placed is None:
            placed = divide(copies[rows], fractions, draw)
            if placed is None:
                small[label] = len(np.unique(copies[rows]))
                continue
            alike.append(label)
        parts[rows] = placed
    return parts, alike, small


def divide(
    groups: np.ndarray, fractions: Sequence[float], draw: np.random.Generator
) -> np.ndarray | None:
    """The part of each image, or None if there are too few groups or one is too large."""
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = draw.permutation(len(sizes))
    order = order[np.argsort(sizes[order], kind="stable")]
    before = sizes[order].cumsum() - sizes[order]
    place = np.empty(len(sizes), np.int64)
    place[order] = np.searchsorted(np.cumsum(fractions) * len(groups), before, side="right")
    parts = place[number]
    counts = np.bincount(parts, minlength=len(fractions) + 1)
    is_divided = len(sizes) >= FEWEST and counts.min() > 0 and counts[-1] >= len(groups) / 2
    return parts if is_divided else None
