"""Images: a folder -> splits as uint8 tensors, batches augmented on the device, baselines.

What varies images handles a whole batch in a few tensor operations, with random numbers of its own
for every sample (torchvision's transforms draw one set of them for all of a batch), so that no
worker processes are needed on a CPU and no copies on a GPU.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from common import checkpoints, image_folders, metrics, plots
from common.batches import Loader, in_order, shuffled
from common.downloads import DataSet, RemoteFile, Source, cache_folder, obtain, own_source
from common.image_folders import FEWEST, SPLIT_NAMES, SPLIT_SEED, explained, printable, some
from common.runs import History, Run
from common.settings import at_least, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = ("dogs", "food", "vehicles")
SAMPLE_COUNT = 300  # images of each class
SAMPLE_WRONG = 0.06  # fraction of them that show the shape of another class
FRACTIONS = {"test": 0.15, "val": 0.15}  # of each class; the rest trains
LISTED = 12  # classes that are counted one by one
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in brightness (ITU-R BT.601)
ERASED_AREA = (0.02, 0.25)  # fraction of the image, smallest and largest
ERASED_ASPECT = 3.0  # height to width, at most, and at least its inverse
CELLS = 8  # of the histograms of gradients, a side
COLOUR_CELLS = 4
ORIENTATIONS = 9


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

    notes: sentences on what was found in the folder. bits: bit depth by which 16-bit images were
    scaled, 0 where there are none. key: stands for the images, their size and their splits.
    """

    classes: tuple[str, ...]
    splits: dict[str, Images]
    notes: list[str]
    bits: int
    key: str

    @property
    def counts(self) -> dict[str, int]:
        """The images of each split."""
        return {name: len(part) for name, part in self.splits.items()}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What a trained model keeps, so that predictions see images as the training did."""
        mean, std = self.statistics
        size = self.splits["train"].pixels.shape[-1]
        return {
            "classes": self.classes, "size": size, "bits": self.bits, "mean": mean, "std": std,
        }  # fmt: skip

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel of the training split, see below."""
        return channel_statistics(self.splits["train"].pixels)


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (3,), in units of full brightness."""
    total, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for part in pixels.split(256):  # a float copy of all would be four times as large
        values = part.contiguous().float() / 255
        total += values.sum((0, 2, 3))
        squares += values.square_().sum((0, 2, 3))
    count = pixels[:, 0].numel()
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    return mean.float(), std.float()


def load_folder(
    folder: Path,
    size: int,
    cache: Path,
    *,
    per_class: int = 0,
    skip_small: bool = False,
    max_megapixels: int = 500,
) -> ImageSet:
    """Decode a folder of images; split it where it is not, with near-duplicates kept together.

    Args:
        size: side of the square images, in pixels.
        cache: folder in which the decoded images are kept for the next call.
        per_class: at most so many images of each class, drawn with a fixed seed; 0 = all.
        skip_small: leave out classes with too few images instead of raising.
        max_megapixels: larger images are skipped, with a note.

    Raises:
        UserError: no such folder, fewer than two classes, a class with too few images.
    """
    listed, notes = image_folders.list_folder(folder)
    draw = np.random.default_rng(SPLIT_SEED)
    where: dict[str, tuple[str, str]] = {}  # file -> split, "" where that is open; class
    for split, by_class in listed.items():
        for name, files in by_class.items():
            if per_class:
                files = [files[i] for i in sorted(draw.permutation(len(files))[:per_class])]
            where |= dict.fromkeys(files, (split, name))
    decoded = image_folders.read_images(folder, list(where), size, cache, max_megapixels)
    notes += decoded.notes
    splits, names = np.array([where[file] for file in decoded.files], dtype=object).T
    classes = list(next(iter(listed.values())))
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[name] for name in names])
    groups, copies = image_folders.compare(decoded, labels, cache)
    notes += image_folders.repeated(labels, groups, copies)

    missing = [split for split in FRACTIONS if split not in listed]
    pool = np.flatnonzero((splits == "") | (splits == "train"))
    small: dict[int, int] = {}
    if missing:
        parts, alike, small = image_folders.stratified(
            labels[pool], groups[pool], copies[pool], [FRACTIONS[name] for name in missing]
        )
        splits[pool] = np.array([*missing, "train"], dtype=object)[parts]
        if alike:
            notes.append(
                f"warning: the images of {some([classes[label] for label in alike])} are so alike "
                "that only exact copies are kept in one split; test may be easy"
            )
        if "" not in listed:  # small classes stay in training
            notes.append(f"there is no folder for {' and '.join(missing)}: cut from training")
            if len(small) == len(np.unique(labels[pool])):
                raise explained(
                    f"{' and '.join(missing)} cannot be cut from training, for every class has "
                    f"fewer than {FEWEST} different images there: add images, or folders for "
                    f"{' and '.join(missing)}",
                    notes,
                )
            small = {}
    given = np.setdiff1d(np.arange(len(labels)), pool)
    if known := int(np.isin(groups[given], groups[pool]).sum()):
        notes.append(f"near-duplicates of training images in val and test, left there: {known}")
    for label in set(range(len(classes))) - set(labels[pool].tolist()):
        small[label] = 0  # all are damaged
    if small:
        few = some([f"{classes[label]} ({count})" for label, count in small.items()], 20)
        can_skip = len(classes) - len(small) >= 2
        if not (skip_small and can_skip):
            remedy = "add some" + can_skip * ", or leave such classes out with --skip-small"
            if 0 < per_class < FEWEST:
                remedy = f"raise --per-class {per_class}"
            raise explained(
                f"a class needs {FEWEST} different images that can be read for three splits, and "
                f"these have fewer: {few}; {remedy}",
                notes,
            )
        notes.append(f"left out, fewer than {FEWEST} different images: {few}")

    kept = [label for label in range(len(classes)) if label not in small]
    shown = tuple(printable(classes[label]) for label in kept)
    parts = {}
    for split in SPLIT_NAMES:
        rows = np.flatnonzero((splits == split) & np.isin(labels, kept))
        if len(rows) == 0:
            sentence = f"{printable(str(folder))} has no image for {split} that can be read"
            raise explained(f"{sentence}: add some", notes)
        own = torch.from_numpy(np.searchsorted(kept, labels[rows]))
        files = [decoded.files[row] for row in rows]
        parts[split] = Images(rows_of(decoded.pixels, rows), own, files)
        counts = own.bincount(minlength=len(kept)).tolist()
        if absent := [name for n, name in zip(counts, shown, strict=True) if not n]:
            notes.append(f"warning: no images in {split} of {some(absent)}")
        counted = f"{min(counts):,} to {max(counts):,} of each of {len(kept):,} classes"
        if len(kept) <= LISTED:
            counted = ", ".join(f"{n:,} {name}" for n, name in zip(counts, shown, strict=True))
        notes.append(f"{split}: {counted}")
    key = image_folders.digest(images=decoded.key, files=[part.files for part in parts.values()])
    return ImageSet(shown, parts, notes, decoded.bits, key)


def rows_of(pixels: Tensor, rows: np.ndarray) -> Tensor:
    """These images: a slice, which stays mapped, where they follow each other, else a copy."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return pixels[rows[0] : rows[-1] + 1]
    return pixels[torch.from_numpy(rows)].contiguous()


def load(
    size: int,
    *,
    images: Path | None = None,
    data: str = "auto",
    data_dir: Path | None = None,
    per_class: int = 0,
    **how: Any,
) -> tuple[Source, ImageSet]:
    """The three-class set, or the user's own folder `images`.

    data, data_dir: as in `Settings`. The others: as for `load_folder`.

    Raises:
        UserError: the set cannot be had, or an image folder is not usable.
    """
    source = None if images else obtain(DOGS_FOOD_VEHICLES, data, data_dir)
    folder = source.folder if source else images
    image_set = load_folder(folder, size, cache_folder(data_dir), per_class=per_class, **how)
    if not source:
        files = [images / file for part in image_set.splits.values() for file in part.files]
        source = own_source(images, files, data_dir)
    if per_class:
        notes = [note for note in (source.note, f"at most {per_class:,} a class") if note]
        source = replace(source, note="; ".join(notes))
    return source, image_set


def check_settings(config: Any) -> None:
    """Raise SettingError on what a Config says of its images that cannot be."""
    at_least(0, per_class=config.per_class)
    at_least(1, max_megapixels=config.max_megapixels)
    require(
        not config.images or config.data != "sample",
        "--images names your own images: leave --data sample out",
    )


def make_sample(folder: Path) -> None:
    """Draw the sample: a shape and a texture for each class, in any colours, under noise."""
    draw = np.random.default_rng(4)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(SAMPLE_COUNT):
            shape = number if draw.random() >= SAMPLE_WRONG else draw.integers(len(CLASSES))
            image = Image.fromarray(draw_shape(int(shape), draw))
            image.save(folder / name / f"{name}_{i:04}.jpg", quality=90)


def draw_shape(number: int, draw: np.random.Generator, size: int = 64) -> np.ndarray:
    """uint8 (size, size, 3): a striped oval (0), a ringed disc (1) or a box on wheels (2)."""
    y, x = np.mgrid[:size, :size] / size
    back, body, detail = draw.uniform(40, 215, (3, 3))
    slope = draw.normal(0, 40, 2)
    image = back + (slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[:, :, None]
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
    image = np.where(inside[:, :, None], np.where(marks[:, :, None], detail, body), image)
    noisy = image + draw.normal(0, 12, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


DOGS_FOOD_VEHICLES = DataSet(
    name="Dogs, food, vehicles",
    folder="dogs_food_vehicles",
    needs=CLASSES,
    remote=(
        RemoteFile(
            "images.zip",
            (
                "https://github.com/madhusikha/cat_dog_food_images_classification_and_googleSVHN/"
                "archive/9c231c720120d7aace28c1f2ec148a68f5e8ac65.zip",
            ),
            unpack=True,
            inside="*/cnn_dataset",
        ),
    ),
    help="put images into its folders dogs, food and vehicles, or name a folder with --images",
    make_sample=make_sample,
    files=30_000,
    digest="ea8257fa6c7f9a35de58f72aac6973ede00f5656605fab14287d850965363ec6",
)


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied; all zero leaves them as they are.

    padding: pixels added on each side before a crop of the old size is taken anywhere.
    flip: whether each image is mirrored with probability 1/2.
    jitter: brightness, contrast and saturation are multiplied by 1 - jitter to 1 + jitter.
    erase: fraction of the images that lose a rectangle (Zhong et al. 2017, "Random Erasing").
    """

    padding: int = 0
    flip: bool = False
    jitter: float = 0.0
    erase: float = 0.0


class Normalise:
    """uint8 pixels -> what the network sees: mean 0 and standard deviation 1 by channel.

    Evaluation and prediction call it with pixels alone, training with an augmentation. `mean` and
    `std`, (3,), lie on the device of the pixels.
    """

    def __init__(self, mean: Tensor, std: Tensor):
        self.mean, self.std = mean[:, None, None], std[:, None, None]  # (3, 1, 1)
        self.grey = torch.tensor(GREY, device=mean.device)
        self.fill = round(255 * float(mean.mean()))  # level of what a shift brings into view

    def __call__(self, pixels: Tensor, augmentation: Augmentation | None = None) -> Tensor:
        """uint8 (batch, 3, height, width) -> float32 of the same shape."""
        if augmentation is None:
            return self.colours(pixels, 0.0)
        if augmentation.padding:
            pixels = random_crop(pixels, augmentation.padding, self.fill)
        if augmentation.flip:
            pixels = random_flip(pixels)
        images = self.colours(pixels, augmentation.jitter)
        return random_erase(images, augmentation.erase) if augmentation.erase else images

    def colours(self, pixels: Tensor, jitter: float) -> Tensor:
        """Change the colours and normalise.

        Brightness b, contrast c about the mean grey m, and saturation s turn a colour x into
        c b (s x + (1 - s) grey(x)) + (1 - c) b m: with the normalisation that is one 3 x 3 matrix
        and one shift for each sample. Values are not clipped to the range of an image.
        """
        if not jitter:
            return pixels.float().div_(255).sub_(self.mean).div_(self.std)
        flat = pixels.flatten(2).float().div_(255)  # (batch, 3, height x width)
        count, place = len(flat), flat.device
        factors = torch.empty(3, count, 1, 1, device=place).uniform_(1 - jitter, 1 + jitter)
        brightness, contrast, saturation = factors  # (batch, 1, 1) each
        colour = torch.eye(3, device=place)
        matrix = brightness * contrast * (saturation * colour + (1 - saturation) * self.grey)
        level = (flat.mean(2) @ self.grey).view(count, 1, 1)  # (batch, 1, 1)
        shift = (1 - contrast) * brightness * level - self.mean[:, 0]  # (batch, 3, 1)
        std = self.std[:, 0]  # (3, 1)
        return torch.baddbmm(shift / std, matrix / std, flat).view_as(pixels)


def random_crop(pixels: Tensor, padding: int, fill: int) -> Tensor:
    """Shift each image by up to `padding` pixels; what enters has the level `fill`."""
    count, _, height, width = pixels.shape
    padded = F.pad(pixels, [padding] * 4, value=fill)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (batch, 3, y, x, height, width)
    places = torch.randint(2 * padding + 1, (2, count), device=pixels.device)
    return windows[torch.arange(count, device=pixels.device), :, places[0], places[1]]


def random_flip(pixels: Tensor) -> Tensor:
    """Mirror each image with probability 1/2."""
    mirrored = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < 0.5
    return torch.where(mirrored, pixels.flip(3), pixels)


def random_erase(images: Tensor, fraction: float) -> Tensor:
    """Set a rectangle of a `fraction` of the images to 0, the mean colour, in place."""
    count, _, height, width = images.shape
    draw = torch.rand(5, count, device=images.device)  # chosen, area, aspect, y, x
    area = ERASED_AREA[0] + draw[1] * (ERASED_AREA[1] - ERASED_AREA[0])
    aspect = ERASED_ASPECT ** (2 * draw[2] - 1)
    tall = (height * (area * aspect).sqrt()).clamp(max=height).round()
    wide = (width * (area / aspect).sqrt()).clamp(max=width).round()
    top, left = (draw[3] * (height - tall + 1)).floor(), (draw[4] * (width - wide + 1)).floor()
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    rows = (y >= top[:, None]) & (y < (top + tall)[:, None])  # (batch, height)
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])  # (batch, width)
    inside = rows[:, :, None] & columns[:, None, :] & (draw[0] < fraction)[:, None, None]
    return images.masked_fill_(inside[:, None], 0.0)


def image_loader(
    images: Images,
    normalise: Normalise,
    batch_size: int,
    device: torch.device,
    *,
    seed: int | None = None,
    augmentation: Augmentation | None = None,
) -> Loader:
    """Batches (float32 (batch, 3, size, size), int64 (batch,)) of a split that lives on `device`.

    With a seed they are shuffled, for training; without one they come in order. The images are
    laid out channels last, which convolutions prefer on GPUs and on CPUs.
    """
    pixels, labels = images.pixels.to(device), images.labels.to(device)

    def fetch(indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = indices.to(device)
        batch = normalise(pixels[indices], augmentation)
        return batch.contiguous(memory_format=torch.channels_last), labels[indices]

    if seed is None:
        return Loader(in_order(len(images), batch_size), fetch)
    return Loader(shuffled(len(images), batch_size, seed), fetch, least=2)  # for BatchNorm


def make_loaders(
    image_set: ImageSet,
    batch_size: int,
    device: torch.device,
    *,
    seed: int,
    augmentation: Augmentation | None = None,
) -> dict[str, Loader]:
    """Loaders of the splits; `train` is shuffled and augmented.

    `train plain` has as many training images as there are for validation, and like those they are
    not augmented: on them the accuracy in training is measured.
    """
    normalise = Normalise(*(values.to(device) for values in image_set.statistics))
    train, val, test = (image_set.splits[name] for name in SPLIT_NAMES)
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(val)]
    plain = Images(train.pixels[rows], train.labels[rows], [])
    make = partial(image_loader, normalise=normalise, batch_size=batch_size, device=device)
    return {
        "train": make(train, seed=seed, augmentation=augmentation),
        "train plain": make(plain),
        "val": make(val),
        "test": make(test),
    }


def training_metrics(history: History, plain: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a training that its epochs give.

    `fluctuation` is the mean change of the validation loss from an epoch to the next, as a fraction
    of its mean.

    Args:
        plain: accuracy and loss of the best weights on `train plain`.
    """
    best = history.best
    warm = history.rows[1:] or history.rows  # the first epoch also warms up and compiles
    losses = [row["val_loss"] for row in history.rows]
    changes = [abs(after - before) for before, after in pairwise(losses)]
    return {
        "val_accuracy": best["val_accuracy"],
        "best_epoch": best["epoch"],
        "train_accuracy": plain["accuracy"],
        "gap": plain["accuracy"] - best["val_accuracy"],
        "train_loss": plain["loss"],
        "val_loss": best["val_loss"],
        "fluctuation": statistics.mean(changes or [0.0]) / statistics.mean(losses),
        "seconds_per_epoch": statistics.median(row["seconds"] for row in warm),
        "images_per_second": statistics.median(row["samples_per_second"] for row in warm),
        "train_seconds": history.seconds,
    }


def linear_baselines(
    image_set: ImageSet, cache: Path
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """What guessing the largest class reaches, and a linear classifier on hand-made features.

    Nothing is tuned: logistic regression with scikit-learn's default strength.

    Returns:
        The metrics of each, and the classes that it predicts for the test images.
    """
    train, val, test = (image_set.splits[name] for name in SPLIT_NAMES)

    def build() -> dict[str, np.ndarray]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100, tol=1e-3))
        model.fit(features(train.pixels), train.labels)
        parts = {"val": val, "test": test}
        return {name: model.predict(features(part.pixels)) for name, part in parts.items()}

    linear = checkpoints.cached(cache, "linear", {"images": image_set.key}, build)
    largest = int(train.labels.bincount().argmax())
    predicted = {
        "largest class": {"val": np.full(len(val), largest), "test": np.full(len(test), largest)},
        "linear on gradients and colours": linear,
    }
    scores = {}
    for name, own in predicted.items():
        sure = np.eye(len(image_set.classes))[own["test"]]  # (test images, classes)
        report = metrics.classification(test.labels, sure, image_set.classes)
        scores[name] = {
            "val_accuracy": float((own["val"] == val.labels.numpy()).mean()),
            "test_accuracy": report["accuracy"],
            "macro_f1": report["macro_f1"],
        }
    return scores, {name: own["test"] for name, own in predicted.items()}


def features(pixels: Tensor) -> Tensor:
    """Histograms of oriented gradients (Dalal & Triggs 2005) and coarse colours, at 64 pixels.

    uint8 (images, 3, height, width) -> float32 (images, 624).
    """
    made = []
    for part in pixels.split(max(1, 2**21 // pixels[0, 0].numel())):
        images = part.float() / 255
        if images.shape[2] > 64:
            images = F.interpolate(images, (64, 64), mode="area")
        grey = images.mean(1)  # (part, height, width)
        dy, dx = torch.gradient(grey, dim=(1, 2))
        strength = torch.hypot(dx, dy)
        angle = torch.atan2(dy, dx) % math.pi  # unsigned
        number = (angle * ORIENTATIONS / math.pi).long().clamp(max=ORIENTATIONS - 1)
        by_angle = F.one_hot(number, ORIENTATIONS).permute(0, 3, 1, 2) * strength[:, None]
        cells = F.interpolate(by_angle, (CELLS, CELLS), mode="area")  # (part, 9, 8, 8)
        histograms = (cells / (cells.norm(dim=1, keepdim=True) + 0.01)).flatten(1)
        colours = F.interpolate(images, (COLOUR_CELLS, COLOUR_CELLS), mode="area").flatten(1)
        made.append(torch.cat([histograms, colours], 1))
    return torch.cat(made)


def draw_mistakes(
    images: Images, probabilities: Mapping[str, Tensor], classes: Sequence[str], shown: int = 8
) -> "Figure":
    """A row for each model: the images that it took for another class most confidently.

    Args:
        images: the test split.
        probabilities: for each model (images, classes).
    """
    rows, names = {}, plots.readable(classes)
    for model, own in probabilities.items():
        confidence, predicted = own.max(1)  # (images,)
        rows[model] = [
            (
                images.pixels[i],
                f"{names[images.labels[i]]} taken for\n{names[predicted[i]]}, {confidence[i]:.0%}",
            )
            for i in metrics.mistakes(images.labels, own)[:shown]
        ]
    return plots.images(rows, "The most confident mistakes on the test split")


def print_confused(run: Run, confusion: Any, classes: Sequence[str]) -> None:
    """The most confused pairs of many classes, whose matrix nobody can read."""
    if len(classes) > plots.MANY_CLASSES:
        pairs = plots.confused_pairs(confusion, classes)
        run.print("\n".join(f"{count:6,}  {a} taken for {b}" for a, b, count in pairs))
