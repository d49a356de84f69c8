"""Dogs, food and vehicles: three classes of 64 x 64 pictures, shared by the three image projects.

The set is a folder for each class under `dogs_food_vehicles/`. Where it is absent it is built from
Tiny ImageNet (200 classes of 550 labelled pictures; Stanford CS231n): 6 breeds of dogs, 17 foods
and 15 vehicles. Any other image folder does as well (`--images`).
"""

import csv
import dataclasses
import shutil
import zipfile
from pathlib import Path

from common import distributed
from common.cache import fingerprint
from common.downloads import DataSet, RemoteFile, Source, data_root, obtain
from common.errors import UserError
from common.images import ImageSet, load_folder
from common.locks import alone

import numpy as np
from PIL import Image

CLASSES = ("dogs", "food", "vehicles")
# WordNet numbers of Tiny ImageNet's classes.
WNIDS = {
    "dogs": "n02085620 n02094433 n02099601 n02099712 n02106662 n02113799",
    "food": (
        "n07579787 n07583066 n07614500 n07615774 n07695742 n07711569 n07715103 n07720875 n07734744 "
        "n07747607 n07749582 n07753592 n07768694 n07871810 n07873807 n07875152 n07920052"
    ),
    "vehicles": (
        "n02814533 n02917067 n03100240 n03393912 n03444034 n03447447 n03599486 n03662601 n03670208 "
        "n03796401 n03977966 n04146614 n04285008 n04465501 n04487081"
    ),
}
ARCHIVE = "tiny-imagenet-200.zip"
SETTINGS = ("size", "images", "data", "data_dir", "per_class")  # of a training, for `load`
SAMPLE_COUNT = 300  # pictures of each class
SAMPLE_WRONG = 0.06  # share of them that show the shape of another class


def make_sample(folder: Path) -> None:
    """Draw the sample: a shape and a texture for each class, in any colours, under noise."""
    draw = np.random.default_rng(4)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(SAMPLE_COUNT):
            shape = number if draw.random() >= SAMPLE_WRONG else draw.integers(len(CLASSES))
            picture = Image.fromarray(draw_shape(int(shape), draw))
            picture.save(folder / name / f"{name}_{i:04}.jpg", quality=90)


def draw_shape(number: int, draw: np.random.Generator, size: int = 64) -> np.ndarray:
    """uint8 (size, size, 3): a striped oval (0), a ringed disc (1) or a box on wheels (2)."""
    y, x = np.mgrid[:size, :size] / size
    back, body, detail = draw.uniform(40, 215, (3, 3))
    slope = draw.normal(0, 40, 2)
    picture = back + (slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[:, :, None]
    height, across = draw.uniform(0.38, 0.62, 2)
    scale, turn = draw.uniform(0.22, 0.3), draw.uniform(-0.4, 0.4)
    u = (x - across) * np.cos(turn) + (y - height) * np.sin(turn)
    v = (y - height) * np.cos(turn) - (x - across) * np.sin(turn)
    if number == 0:
        inside = (u / 1.5) ** 2 + v**2 < scale**2
        marks = np.sin(u * draw.uniform(40, 60)) > 0.3
    elif number == 1:
        radius = np.hypot(u, v)
        inside = radius < 1.2 * scale
        marks = np.sin(radius * draw.uniform(40, 60)) > 0.3
    else:
        inside = (abs(u) < 1.4 * scale) & (abs(v) < 0.6 * scale)
        wheels = np.hypot(abs(u) - 0.8 * scale, v - 0.6 * scale)
        marks = wheels < 0.35 * scale
        inside |= marks
    picture = np.where(inside[:, :, None], np.where(marks[:, :, None], detail, body), picture)
    noisy = picture + draw.normal(0, 12, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)


DATASET = DataSet(
    name="Dogs, food, vehicles",
    folder="dogs_food_vehicles",
    needs=CLASSES,
    remote=(),
    help="put pictures into its folders dogs, food and vehicles, or name a folder with --images",
    make_sample=make_sample,
)
TINY_IMAGENET = DataSet(
    name="Tiny ImageNet",
    folder="tiny-imagenet-200",
    needs=(ARCHIVE,),
    remote=(
        RemoteFile(
            ARCHIVE,
            (f"http://cs231n.stanford.edu/{ARCHIVE}", f"https://cs231n.stanford.edu/{ARCHIVE}"),
            md5="90528d7ca1a48142e341f4ef8d21d0de",
        ),
    ),
    help=f"put {ARCHIVE} of Stanford's CS231n there, or name an image folder with --images",
    make_sample=make_sample,
)


def load(
    size: int, *, images: str = "", data: str = "auto", data_dir: str = "", per_class: int = 0
) -> tuple[Source, ImageSet]:
    """The pictures, decoded to `size` pixels a side and split.

    Args:
        images: an image folder to be used instead of the three-class set.
        data, data_dir: as in `Settings`.
        per_class: at most so many pictures of each class; 0 = all.

    Raises:
        UserError: the set cannot be had, or an image folder is not usable.
    """
    if images:
        folder = Path(images).expanduser().absolute()
        source = Source(folder.name, "real", folder)
    else:
        source = find(data, data_dir)
    found = load_folder(source.folder, size, data_root(data_dir) / "cache", per_class)
    if images:
        files = [folder / file for part in found.splits.values() for file in part.files]
        source = dataclasses.replace(source, checksum=fingerprint(files)[:16])
    if per_class:
        note = f"{source.note}; " if source.note else ""
        source = dataclasses.replace(source, note=f"{note}at most {per_class:,} a class")
    return source, found


def find(data: str, data_dir: str) -> Source:
    """The three-class set: as it lies there, else built from Tiny ImageNet, else the sample."""
    dataset = DATASET
    folder = data_root(data_dir) / dataset.folder
    # One answer in all of a job's processes: another may be building the folder by now.
    if data != "sample" and not distributed.share(folder.exists()):
        try:
            build(obtain(TINY_IMAGENET, "real", data_dir).folder / ARCHIVE, folder)
        except UserError as error:
            if data == "real":
                raise
            dataset = dataclasses.replace(dataset, help=f"{dataset.help}. {error}")
    return obtain(dataset, data, data_dir)


def build(archive: Path, folder: Path) -> None:
    """Copy the pictures of the three classes out of Tiny ImageNet's zip, all of them or none.

    Raises:
        UserError: the archive is damaged, or lacks one of the classes.
    """
    staging = folder.with_name(f".{folder.name}.new")
    with alone(folder):
        if folder.exists():  # another process was faster
            return
        shutil.rmtree(staging, ignore_errors=True)
        try:
            with zipfile.ZipFile(archive) as package:
                copy_classes(package, staging)
            staging.rename(folder)
        except (zipfile.BadZipFile, EOFError, KeyError, UnicodeDecodeError) as error:
            raise UserError(f"{archive} is damaged ({error}): delete it, to get it anew") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def copy_classes(package: zipfile.ZipFile, folder: Path) -> None:
    """Training and validation pictures; the test pictures of Tiny ImageNet have no labels."""
    top = ARCHIVE.removesuffix(".zip")
    classes = {wnid: name for name in CLASSES for wnid in WNIDS[name].split()}
    table = package.read(f"{top}/val/val_annotations.txt").decode("utf-8")
    rows = [line.split("\t")[:2] for line in table.splitlines() if "\t" in line]
    wanted = {f"{top}/val/images/{file}": wnid for file, wnid in rows if wnid in classes}
    for member in package.namelist():
        parts = member.split("/")  # tiny-imagenet-200/train/WNID/images/WNID_0.JPEG
        if parts[:2] == [top, "train"] and parts[2] in classes and member.endswith(".JPEG"):
            wanted[member] = parts[2]
    if missing := sorted(set(classes) - set(wanted.values())):
        raise UserError(f"{package.filename} lacks the class {missing[0]}: it is not Tiny ImageNet")
    for member, wnid in wanted.items():
        stem = Path(member).stem.removeprefix(f"{wnid}_")  # 0 of a training picture, or val_0
        target = folder / classes[wnid] / f"{wnid}_{stem}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(package.read(member))


def origins(folder: Path) -> dict[str, str]:
    """For each file of the set where it came from, if the set has a manifest that says it."""
    path = folder / "manifest.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {f"{row['class']}/{row['file']}": row["source"] for row in csv.DictReader(file)}
