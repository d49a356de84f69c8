"""Food-11: photographs of eleven kinds of food, in the three splits of its publisher.

Singla, Yuan and Ebrahimi 2016, "Food/Non-food Image Classification and Food Categorization using
Pre-Trained GoogLeNet Model". Two layouts are in circulation, and both are read:
`training/CLASS_ID.jpg` (the publisher's, CLASS from 0 to 10) and `training/Class name/*.jpg`
(Kaggle's). Ten dishes of Food-101 in the same folders may stand in for it; to build them:

    python -m transfer_food11.data food-101.tar.gz
"""

import dataclasses
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from common.downloads import DataSet, Source, cache_folder, data_root, obtain, own_source
from common.images import Images, ImageSet, load_folder
from common.settings import UserError, cli

CLASSES = (
    "Bread", "Dairy product", "Dessert", "Egg", "Fried food", "Meat", "Noodles-Pasta", "Rice",
    "Seafood", "Soup", "Vegetable-Fruit",
)  # fmt: skip
NUMBERS = tuple(map(str, range(len(CLASSES))))  # what the publisher's file names call them
COUNTS = {"train": 9866, "val": 3430, "test": 3347}  # of Food-11
KAGGLE = "trolukovich/food11-image-dataset"

SAMPLE_COUNTS = {"training": 16, "validation": 6, "evaluation": 6}  # of each class
SAMPLE_SIDE = 72  # pixels, of the shorter side
SAMPLE_ODD = 0.05  # fraction of the images that show the pattern of another class

FOOD10 = Path(__file__).with_name("food10.txt")
FOOD10_SIDE = 160  # pixels, of the shorter side
FOOD10_QUALITY = 85  # of the JPEGs


def make_sample(folder: Path) -> None:
    """Draw a folder for each class in each of the three splits."""
    draw = np.random.default_rng(11)
    for split, count in SAMPLE_COUNTS.items():
        for number, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                odd = draw.random() < SAMPLE_ODD
                dish = int(draw.integers(len(CLASSES))) if odd else number
                image = Image.fromarray(draw_plate(dish, draw))
                image.save(folder / split / name / f"{i}.jpg", quality=88)


def draw_plate(number: int, draw: np.random.Generator) -> np.ndarray:
    """uint8 (height, width, 3): a plate on a table, seen from above, with dish `number` on it."""
    height, width = SAMPLE_SIDE, SAMPLE_SIDE + int(draw.integers(0, 25))
    y, x = np.mgrid[:height, :width] / SAMPLE_SIDE
    table, rim = draw.uniform(30, 200, 3), draw.uniform(205, 245)
    y = y - draw.uniform(0.44, 0.56)
    x = x - width / SAMPLE_SIDE / 2 + draw.uniform(-0.06, 0.06)
    radius = np.hypot(x, y)
    turn = draw.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    # The class decides hue, grain and kind of pattern; draws vary all three.
    hue = (number / 11 + draw.normal(0, 0.02)) * 2 * np.pi
    body = 130 + 90 * np.cos(hue + np.array([0, 2.1, 4.2])) + draw.normal(0, 12, 3)
    grain = (14 + 6 * (number % 4)) * draw.uniform(0.85, 1.15)
    pattern = (
        np.sin(u * grain) > 0.2,  # slices
        np.sin(u * grain) * np.sin(v * grain) > 0.1,  # pieces
        np.sin(np.hypot(u - 0.05, v) * 1.5 * grain) > 0,  # rings
    )[number % 3]
    pixels = np.where((radius < 0.45)[:, :, None], rim, table)
    dish = np.where(pattern[:, :, None], body, 0.55 * body)
    pixels = np.where((radius < draw.uniform(0.28, 0.38))[:, :, None], dish, pixels)
    light = 1 + draw.normal(0, 0.15) * x + draw.normal(0, 0.15) * y
    noisy = pixels * light[:, :, None] + draw.normal(0, 8, pixels.shape)
    return noisy.clip(0, 255).astype(np.uint8)


FOOD11 = DataSet(
    name="Food-11",
    folder="food11",
    needs=(".",),  # any of its layouts, even without the test part
    help=(
        "put its folders training, validation and evaluation there. With a Kaggle account or "
        'without: pip install kagglehub, then python -c "import kagglehub; '
        f"print(kagglehub.dataset_download('{KAGGLE}'))\" prints the folder that holds them; "
        "copy it there, or name it with --images"
    ),
    make_sample=make_sample,
)
STAND_IN = dataclasses.replace(FOOD11, name="Ten dishes of Food-101", folder="food10")


def load(
    side: int,
    *,
    images: Path | None = None,
    data: str = "auto",
    data_dir: Path | None = None,
    per_class: int = 0,
    seed: int = 0,
    skip_small: bool = False,
    max_megapixels: int = 500,
) -> tuple[Source, ImageSet]:
    """The images, as squares of `side` pixels, in splits train, val and test.

    Args:
        images: a folder to be used instead of Food-11: one with splits, or one with a folder for
            each class, which is then split.
        data, data_dir: as in `Settings`.
        per_class, seed: as in `drawn`, of the training split.
        skip_small, max_megapixels: as in `load_folder`.

    Raises:
        UserError: the set cannot be had or cannot be used.
    """
    source = Source(images.name, "real", images) if images else find(data, data_dir)
    dataset = load_folder(
        source.folder,
        side,
        cache_folder(data_dir),
        skip_small=skip_small,
        max_megapixels=max_megapixels,
    )
    if dataset.classes == NUMBERS:
        note = "the classes 0 to 10 are named as Food-11's"
        dataset = dataclasses.replace(dataset, classes=CLASSES, notes=[*dataset.notes, note])
    if images:
        files = [images / file for part in dataset.splits.values() for file in part.files]
        source = own_source(images, files, data_dir)
    elif source.name == FOOD11.name and source.kind == "real" and dataset.counts != COUNTS:
        whole = ", ".join(f"{count:,} {split}" for split, count in COUNTS.items())
        source = dataclasses.replace(source, note=f"not the whole Food-11, which has {whole}")
    if per_class:
        train = dataset.splits["train"]
        splits = {**dataset.splits, "train": subset(train, drawn(train.labels, per_class, seed))}
        note = f"of the training images {per_class} of each class, drawn with seed {seed}"
        key = f"{dataset.key}, {note}"
        notes = [*dataset.notes, note]
        dataset = dataclasses.replace(dataset, splits=splits, notes=notes, key=key)
    return source, dataset


def find(data: str, data_dir: Path | None) -> Source:
    """Food-11, else what stands in for it, else the sample."""
    root = data_root(data_dir)
    stands_in = not (root / FOOD11.folder).exists() and (root / STAND_IN.folder).exists()
    if data == "sample" or not stands_in:
        return obtain(FOOD11, data, data_dir)
    note = f"STANDS IN FOR FOOD-11, which is not in {FOOD11.folder}/: no figure of Food-11"
    return dataclasses.replace(obtain(STAND_IN, "real", data_dir), note=note)


def drawn(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Rows of at most so many images of each class, in order; 0 = all.

    The seed decides the draw, of which a larger number holds a smaller one's.
    """
    if not per_class:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    own = [order[labels[order] == label][:per_class] for label in labels.unique()]
    return torch.cat(own).sort().values


def subset(images: Images, rows: Tensor) -> Images:
    """These images of a split, copied into memory; all of them are no copy."""
    if len(rows) == len(images):
        return images
    return Images(images.pixels[rows], images.labels[rows], [images.files[i] for i in rows])


@dataclass
class BuildConfig:
    """Build data/food10, ten dishes of Food-101, from its archive."""

    archive: tyro.conf.Positional[Path]  # food-101.tar.gz, 5 GB
    data_dir: Path | None = None  # folder of the data sets; default $DATA_DIR, else data/


def build_food10(config: BuildConfig) -> None:
    """Write food10/SPLIT/CLASS/NAME.jpg for every image that food10.txt lists.

    Each line of food10.txt is SPLIT/CLASS and the names that Food-101 gives its images.

    Raises:
        UserError: the archive cannot be read, or lacks some of them.
    """
    lines = [line.split() for line in FOOD10.read_text(encoding="utf-8").splitlines()]
    wanted = {
        f"{PurePosixPath(place).name}/{name}.jpg": f"{place}/{name}.jpg"
        for place, *names in lines
        for name in names
    }
    count, folder = len(wanted), data_root(config.data_dir) / STAND_IN.folder
    try:
        with tarfile.open(config.archive) as tar:
            for member in tqdm(tar, unit="files", disable=None):
                path = wanted.pop("/".join(PurePosixPath(member.name).parts[-2:]), None)
                if path:
                    shrink(tar.extractfile(member), folder / path)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(
            f"{config.archive} cannot be read to its end ({error}): get it again"
        ) from error
    if wanted:
        raise UserError(
            f"{config.archive} lacks {len(wanted):,} of {count:,} images ({min(wanted)}): take "
            "food-101.tar.gz as ETH Zurich publishes it"
        )
    print(f"{count:,} images written to {folder}")


def shrink(file, path: Path) -> None:
    """Write the image with a shorter side of FOOD10_SIDE pixels."""
    with Image.open(file) as image:
        scale = FOOD10_SIDE / min(image.size)
        small = image.convert("RGB").resize([round(side * scale) for side in image.size])
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(path, quality=FOOD10_QUALITY)


if __name__ == "__main__":
    cli(BuildConfig, build_food10)
