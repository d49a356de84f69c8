"""Food-11: photographs of eleven kinds of food, in the three splits of its publisher.

Singla, Yuan and Ebrahimi 2016, "Food/Non-food Image Classification and Food Categorization using
Pre-Trained GoogLeNet Model". Two layouts are in circulation, and both are read:
`training/CLASS_ID.jpg` (the publisher's, CLASS from 0 to 10) and `training/Class name/*.jpg`
(Kaggle's). Ten dishes of Food-101 in the same folders may stand in for it.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cache import fingerprint
from common.downloads import DataSet, Source, data_root, obtain
from common.errors import UserError
from common.images import Images, find_classes, find_images
from common.splitting import split

import torch
from torch import Tensor

from transfer_food11.sample import make_sample
from transfer_food11.store import Stored, store

CLASSES = (
    "Bread", "Dairy product", "Dessert", "Egg", "Fried food", "Meat", "Noodles-Pasta", "Rice",
    "Seafood", "Soup", "Vegetable-Fruit",
)  # fmt: skip
FOLDERS = {"train": "training", "val": "validation", "test": "evaluation"}
COUNTS = {"train": 9866, "val": 3430, "test": 3347}  # of Food-11
NUMBERED = re.compile(r"(\d+)_")
KAGGLE = "trolukovich/food11-image-dataset"

FOOD11 = DataSet(
    name="Food-11",
    folder="food11",
    needs=tuple(FOLDERS.values()),
    remote=(),
    help=(
        "put its folders training, validation and evaluation there. With a Kaggle account or "
        'without: pip install kagglehub, then python -c "import kagglehub; '
        f"print(kagglehub.dataset_download('{KAGGLE}'))\" prints the folder that holds them; "
        "copy it there, or name it with --images"
    ),
    make_sample=make_sample,
)
STAND_IN = dataclasses.replace(FOOD11, name="Ten dishes of Food-101", folder="food10")


@dataclass(frozen=True)
class FoodSet:
    """Splits train, val and test, and what describes them.

    notes: sentences about what was found. key: stands for the pictures, their size and order.
    """

    classes: tuple[str, ...]
    splits: dict[str, Images]
    notes: list[str]
    key: str


def load(
    side: int, *, images: str = "", data: str = "auto", data_dir: str = ""
) -> tuple[Source, FoodSet]:
    """The pictures, as squares of `side` pixels.

    Args:
        images: a folder to be used instead of Food-11: one with the three splits, or one with a
            folder for each class, which is then split.
        data, data_dir: as in `Settings`.

    Raises:
        UserError: the set cannot be had, its splits differ in their classes, or a split has no
            picture that can be read.
    """
    if images:
        folder = Path(images).expanduser().absolute()
        source = Source(folder.name, "real", folder)
    else:
        source = find(data, data_dir)
    cache = data_root(data_dir) / "cache"
    if all((source.folder / name).is_dir() for name in FOLDERS.values()):
        found = load_splits(source.folder, side, cache)
    else:
        found = load_classes(source.folder, side, cache)
    if images:
        files = [folder / file for part in found.splits.values() for file in part.files]
        source = dataclasses.replace(source, checksum=fingerprint(files)[:16])
    elif source.name == FOOD11.name and source.kind == "real":
        found.notes.extend(count_notes(found.splits))
    return source, found


def find(data: str, data_dir: str) -> Source:
    """Food-11, else what stands in for it, else the sample."""
    root = data_root(data_dir)
    stands_in = not (root / FOOD11.folder).exists() and (root / STAND_IN.folder).exists()
    if data == "sample" or not stands_in:
        return obtain(FOOD11, data, data_dir)
    note = f"STANDS IN FOR FOOD-11, which is not in {FOOD11.folder}/: no figure of Food-11"
    return dataclasses.replace(obtain(STAND_IN, "real", data_dir), note=note)


def load_splits(folder: Path, side: int, cache: Path) -> FoodSet:
    """A folder of the three splits, taken as they are.

    Near-duplicates across them are counted and stay: published figures are of these splits.
    """
    listed = {name: list_split(folder / inner) for name, inner in FOLDERS.items()}
    classes = tuple(listed["train"])
    for name, own in listed.items():
        if different := sorted(set(own) ^ set(classes)):
            here, there = ("has", "lacks") if different[0] in own else ("lacks", "has")
            raise UserError(
                f"{folder / FOLDERS[name]} {here} the class {different[0]} and "
                f"{FOLDERS['train']} {there} it: give every split the same classes"
            )
    label = {
        f"{FOLDERS[name]}/{file}": number
        for name, own in listed.items()
        for number, each in enumerate(classes)
        for file in own[each]
    }
    stored = store(folder, list(label), side, cache)
    splits, groups, first = {}, {}, 0
    for name, inner in FOLDERS.items():  # slices, which stay mapped, and no copies
        last = first + sum(file.startswith(f"{inner}/") for file in stored.files)
        if first == last:
            raise UserError(f"{folder / inner} holds no picture that can be read: add some")
        files = stored.files[first:last]
        labels = torch.tensor([label[file] for file in files])
        splits[name] = Images(stored.pixels[first:last], labels, files)
        groups[name] = stored.groups[first:last]
        first = last
    notes = notes_of(stored, classes, splits)
    for name in ("val", "test"):
        if repeated := int(torch.isin(groups[name], groups["train"]).sum()):
            notes.append(f"near-duplicates of training pictures in {name}: {repeated}, left there")
    return FoodSet(classes, splits, notes, stored.key)


def list_split(folder: Path) -> dict[str, list[str]]:
    """The picture files of each class of one split, in either layout.

    Raises:
        UserError: fewer than two classes.
    """
    numbered: dict[int, list[str]] = {}
    for file in find_images(folder):
        found = NUMBERED.match(file)
        if "/" not in file and found and int(found[1]) < len(CLASSES):
            numbered.setdefault(int(found[1]), []).append(file)
    if len(numbered) < 2:
        return find_classes(folder)
    return {CLASSES[number]: numbered[number] for number in sorted(numbered)}


def load_classes(folder: Path, side: int, cache: Path) -> FoodSet:
    """A folder of classes, split here; this copies the pixels into memory."""
    listed = find_classes(folder)
    stored = store(folder, [file for own in listed.values() for file in own], side, cache)
    classes = tuple(listed)
    labels = torch.tensor([classes.index(file.split("/", 1)[0]) for file in stored.files])
    splits = {
        name: Images(stored.pixels[rows], labels[rows], [stored.files[i] for i in rows.tolist()])
        for name, rows in split(labels, stored.groups, classes).items()
    }
    return FoodSet(classes, splits, notes_of(stored, classes, splits), stored.key)


def notes_of(stored: Stored, classes: Sequence[str], splits: Mapping[str, Images]) -> list[str]:
    """Damaged pictures and the counts by class."""
    notes = [f"skipped: {reason}" for reason in list(stored.damaged.values())[:5]]
    if len(stored.damaged) > 5:
        notes.append(f"skipped: {len(stored.damaged) - 5} more that cannot be read")
    for name, part in splits.items():
        counts = zip(classes, part.labels.bincount(minlength=len(classes)).tolist(), strict=True)
        notes.append(f"{name}: " + ", ".join(f"{count:,} {each}" for each, count in counts))
    return notes


def count_notes(splits: Mapping[str, Images]) -> list[str]:
    """A sentence for each split that is not as large as Food-11's; none for the whole set."""
    return [
        f"warning: {len(splits[name]):,} pictures in {FOLDERS[name]}, and Food-11 has {count:,}"
        for name, count in COUNTS.items()
        if len(splits[name]) != count
    ]


def drawn(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Rows of at most so many pictures of each class, in order; 0 = all.

    The seed decides the draw, of which a larger number holds a smaller one's.
    """
    if not per_class:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    own = [order[labels[order] == label][:per_class] for label in labels.unique()]
    return torch.cat(own).sort().values


def subset(images: Images, rows: Tensor) -> Images:
    """These pictures of a split, copied into memory."""
    return Images(images.pixels[rows], images.labels[rows], [images.files[i] for i in rows])
