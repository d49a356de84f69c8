"""Stored pictures as batches for a network: cropped, mirrored, recoloured, normalised at once."""

import math
from collections.abc import Sequence

from common.augmentation import Augmentation, Normalise
from common.batches import Loader, Plan, in_order, shuffled
from common.images import Images

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from transfer_food11.model import Preprocessing
from transfer_food11.settings import Config

LONGEST = 4 / 3  # height to width of a crop, at most, and at least its inverse
POLICIES = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}
PREDICTED = 64  # images at a time, where nothing is trained


def normaliser(preprocessing: Preprocessing, place: torch.device) -> Normalise:
    """From pixels to what the network was trained to see."""
    mean, std = (
        torch.tensor(each, device=place) for each in (preprocessing.mean, preprocessing.std)
    )
    return Normalise(mean, std)


def eval_loader(
    images: Images, normalise: Normalise, place: torch.device, mirror: bool = False
) -> Loader:
    """Batches (float32 (batch, 3, side, side), int64 (batch,)) of whole pictures, in order."""

    def fetch(rows: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.pixels[rows].to(place)
        pixels = pixels.flip(3) if mirror else pixels
        return laid_out(normalise(pixels)), images.labels[rows].to(place)

    return Loader(in_order(len(images), PREDICTED), fetch)


def train_loader(
    images: Images, normalise: Normalise, config: Config, place: torch.device, plan: Plan
) -> Loader:
    """Batches (float32 (batch, 3, size, size), int64 (batch,)), varied anew each time."""
    vary = Augmentation(jitter=config.jitter, erase=config.erase)
    policy = POLICIES[config.policy]() if config.policy != "none" else None

    def fetch(rows: Tensor) -> tuple[Tensor, Tensor]:
        pictures = [images.pixels[row] for row in rows.tolist()]  # views of what is mapped
        if policy:
            pictures = [policy(picture) for picture in pictures]  # a batch would get one draw
        crops = random_resized_crops(pictures, config.size, config.crop, config.flip).to(place)
        return laid_out(normalise(crops, vary)), images.labels[rows].to(place)

    return Loader(plan, fetch)


def repeated(count: int, config: Config) -> Plan:
    """Shuffled passes over `count` samples, as many an epoch as make its least number of steps."""
    once = shuffled(count, config.batch_size, config.seed)
    passes = math.ceil(config.epoch_steps / math.ceil(count / config.batch_size))

    def plan(epoch: int) -> list[Tensor]:
        return [batch for i in range(passes) for batch in once(epoch * passes + i)]

    return plan


def laid_out(images: Tensor) -> Tensor:
    """Channels last: convolutions are faster so, on CPUs too."""
    return images.contiguous(memory_format=torch.channels_last)


def random_resized_crops(
    pictures: Sequence[Tensor], size: int, smallest: float, flip: bool
) -> Tensor:
    """A part of each picture, resized (Szegedy et al. 2014, section 6); half of them mirrored.

    Every picture has random numbers of its own. One resize for each: on a CPU, where that works on
    bytes, it is several times as fast as sampling the whole batch by a grid, and feeds a GPU too.

    Args:
        pictures: uint8 (3, side, side) each, on the CPU.
        smallest: share of the picture's area that a part has at least.

    Returns:
        uint8 (pictures, 3, size, size).
    """
    side = pictures[0].shape[2]
    area, shape, y, x, mirror = torch.rand(5, len(pictures))
    area = smallest + area * (1 - smallest)
    aspect = LONGEST ** (2 * shape - 1)
    tall = (side * (area * aspect).sqrt()).round().clamp(1, side)
    wide = (side * (area / aspect).sqrt()).round().clamp(1, side)
    top, left = (y * (side - tall + 1)).floor(), (x * (side - wide + 1)).floor()
    boxes = torch.stack([top, left, top + tall, left + wide], 1).long().tolist()
    mirrored = (mirror < 0.5).tolist() if flip else [False] * len(pictures)
    made = []
    for picture, (top, left, bottom, right), turn in zip(pictures, boxes, mirrored, strict=True):
        part = picture[None, :, top:bottom, left:right]
        part = part.flip(3) if turn else part
        made.append(F.interpolate(part, (size, size), mode="bilinear", antialias=True))
    return torch.cat(made)
