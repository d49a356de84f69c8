"""Stored pictures as batches for a network: cropped, mirrored, recoloured, normalised at once."""

import math

from common.augmentation import Augmentation, Normalise, random_flip
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


def eval_loader(images: Images, normalise: Normalise, place: torch.device) -> Loader:
    """Batches (float32 (batch, 3, side, side), int64 (batch,)) of whole pictures, in order."""

    def fetch(rows: Tensor) -> tuple[Tensor, Tensor]:
        return laid_out(normalise(images.pixels[rows].to(place))), images.labels[rows].to(place)

    return Loader(in_order(len(images), PREDICTED), fetch)


def train_loader(
    images: Images, normalise: Normalise, config: Config, place: torch.device
) -> Loader:
    """Batches (float32 (batch, 3, size, size), int64 (batch,)), shuffled and varied."""
    vary = Augmentation(jitter=config.jitter, erase=config.erase)
    policy = POLICIES[config.policy]() if config.policy != "none" else None

    def fetch(rows: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.pixels[rows].to(place)
        if policy:
            pixels = torch.stack([policy(each) for each in pixels])  # it draws once for a batch
        crops = random_resized_crop(pixels, config.size, config.crop, config.flip)
        return laid_out(normalise(crops, vary)), images.labels[rows].to(place)

    plan = repeated(len(images), config.batch_size, config.epoch_steps, config.seed)
    return Loader(plan, fetch)


def repeated(count: int, batch_size: int, least: int, seed: int) -> Plan:
    """Shuffled passes over `count` samples, as many an epoch as make `least` batches or more."""
    once = shuffled(count, batch_size, seed)
    passes = math.ceil(least / math.ceil(count / batch_size))

    def plan(epoch: int) -> list[Tensor]:
        return [batch for i in range(passes) for batch in once(epoch * passes + i)]

    return plan


def laid_out(images: Tensor) -> Tensor:
    """Channels last: convolutions are faster so, on CPUs too."""
    return images.contiguous(memory_format=torch.channels_last)


def random_resized_crop(pixels: Tensor, size: int, smallest: float, flip: bool) -> Tensor:
    """A part of each image, resized (Szegedy et al. 2014, section 6); half of them mirrored.

    Every image has random numbers of its own. One resize for each image: on a CPU, where that works
    on bytes, it is twice as fast as sampling the whole batch by a grid.

    Args:
        pixels: uint8 (batch, 3, side, side).
        smallest: share of the picture's area that a part has at least.

    Returns:
        (batch, 3, size, size), of 0 to 255: uint8 on a CPU, float32 on a GPU.
    """
    count, side = len(pixels), pixels.shape[2]
    area, shape, y, x = torch.rand(4, count)
    area = smallest + area * (1 - smallest)
    aspect = LONGEST ** (2 * shape - 1)
    tall = (side * (area * aspect).sqrt()).round().clamp(1, side)
    wide = (side * (area / aspect).sqrt()).round().clamp(1, side)
    top, left = (y * (side - tall + 1)).floor(), (x * (side - wide + 1)).floor()
    boxes = torch.stack([top, left, top + tall, left + wide], 1).long().tolist()
    images = pixels.float() if pixels.is_cuda else pixels  # CUDA resizes no bytes
    made = images.new_empty(count, 3, size, size)
    for i, (top, left, bottom, right) in enumerate(boxes):
        part = images[i : i + 1, :, top:bottom, left:right]
        made[i : i + 1] = F.interpolate(part, (size, size), mode="bilinear", antialias=True)
    return random_flip(made) if flip else made
