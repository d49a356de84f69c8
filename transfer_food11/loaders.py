"""Stored images as batches for a network: cropped, mirrored, recoloured, normalised at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from common.batches import Loader, Plan, in_order, shuffled
from common.images import Augmentation, Images, Normalise
from transfer_food11.model import NETWORKS, Name

LONGEST = 4 / 3  # height to width of a crop, at most, and at least its inverse
POLICIES = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}
EVAL_BATCH = 64  # images at a time, where nothing is trained
MIXUP_ALPHA = 0.2  # Zhang et al. 2017, section 3.1
CUTMIX_ALPHA = 1.0  # Yun et al. 2019, section 3.1

Policy = Literal["none", "trivial", "rand"]
Mix = Literal["none", "mixup", "cutmix"]


@dataclass(frozen=True)
class Crops:
    """How training images are varied.

    size: side of the crops, in pixels. smallest: fraction of an image's area that a crop has at
    least. flip, jitter: as in `Augmentation`. policy: TrivialAugment (Müller & Hutter 2021) or
    RandAugment (Cubuk et al. 2019).
    """

    size: int
    smallest: float
    flip: bool
    jitter: float
    policy: Policy


def normaliser(name: Name, device: torch.device) -> Normalise:
    """From pixels to what the network was trained to see."""
    network = NETWORKS[name]
    return Normalise(*(torch.tensor(v, device=device) for v in (network.mean, network.std)))


def eval_loader(
    images: Images, normalise: Normalise, device: torch.device, mirror: bool = False
) -> Loader:
    """Batches (float32 (batch, 3, side, side), int64 (batch,)) of whole images, in order."""

    def fetch(rows: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.pixels[rows].to(device)
        pixels = pixels.flip(3) if mirror else pixels
        return channels_last(normalise(pixels)), images.labels[rows].to(device)

    return Loader(in_order(len(images), EVAL_BATCH), fetch)


def train_loader(
    images: Images, normalise: Normalise, crops: Crops, plan: Plan, device: torch.device
) -> Loader:
    """Batches (float32 (batch, 3, size, size), int64 (batch,)), varied differently each time."""
    augmentation = Augmentation(jitter=crops.jitter)
    policy = POLICIES[crops.policy]() if crops.policy != "none" else None

    def fetch(rows: Tensor) -> tuple[Tensor, Tensor]:
        pixels = [images.pixels[row] for row in rows.tolist()]  # views of what is mapped
        if policy:
            pixels = [policy(each) for each in pixels]  # a batch would get one draw
        batch = random_resized_crops(pixels, crops.size, crops.smallest, crops.flip).to(device)
        return channels_last(normalise(batch, augmentation)), images.labels[rows].to(device)

    return Loader(plan, fetch, least=2)


def repeated(count: int, batch_size: int, least_steps: int, seed: int) -> Plan:
    """Shuffled passes over `count` samples, as many an epoch as make at least `least_steps`."""
    once = shuffled(count, batch_size, seed)
    passes = math.ceil(least_steps / math.ceil(count / batch_size))

    def plan(epoch: int) -> list[Tensor]:
        return [batch for i in range(passes) for batch in once(epoch * passes + i)]

    return plan


def channels_last(images: Tensor) -> Tensor:
    """In the memory layout in which convolutions are faster, on CPUs too."""
    return images.contiguous(memory_format=torch.channels_last)


def random_resized_crops(
    images: Sequence[Tensor], size: int, smallest: float, flip: bool
) -> Tensor:
    """A part of each image, resized (Szegedy et al. 2014, section 6); half of them mirrored.

    Every image has random numbers of its own. One resize for each: on a CPU, where that works on
    bytes, it is several times as fast as sampling the whole batch by a grid, and feeds a GPU too.

    Args:
        images: uint8 (3, side, side) each, on the CPU.
        smallest: fraction of the image's area that a part has at least.

    Returns:
        uint8 (images, 3, size, size).
    """
    side = images[0].shape[2]
    area, shape, y, x, mirror = torch.rand(5, len(images))
    area = smallest + area * (1 - smallest)
    aspect = LONGEST ** (2 * shape - 1)
    tall = (side * (area * aspect).sqrt()).round().clamp(1, side)
    wide = (side * (area / aspect).sqrt()).round().clamp(1, side)
    top, left = (y * (side - tall + 1)).floor(), (x * (side - wide + 1)).floor()
    boxes = torch.stack([top, left, top + tall, left + wide], 1).long().tolist()
    mirrored = (mirror < 0.5).tolist() if flip else [False] * len(images)
    crops = []
    for image, (top, left, bottom, right), turn in zip(images, boxes, mirrored, strict=True):
        part = image[None, :, top:bottom, left:right]  # (1, 3, tall, wide)
        part = part.flip(3) if turn else part
        crops.append(F.interpolate(part, (size, size), mode="bilinear", antialias=True))
    return torch.cat(crops)


def mixed(images: Tensor, how: Mix) -> tuple[Tensor, Tensor, float]:
    """Each image of the batch mixed with another one, in one proportion for all.

    Returns:
        The mixed images, the row of each one's partner, and how much of an image is its own.
    """
    if how == "none":
        return images, torch.arange(len(images), device=images.device), 1.0
    partner = torch.randperm(len(images), device=images.device)
    alpha = MIXUP_ALPHA if how == "mixup" else CUTMIX_ALPHA
    own = float(torch.distributions.Beta(alpha, alpha).sample())
    if how == "mixup":
        return own * images + (1 - own) * images[partner], partner, own
    height, width = images.shape[2:]
    tall, wide = (round(side * (1 - own) ** 0.5) for side in (height, width))
    top = int(torch.randint(height - tall + 1, ()))
    left = int(torch.randint(width - wide + 1, ()))
    box = (..., slice(top, top + tall), slice(left, left + wide))
    images = images.clone()
    images[box] = images[partner][box]
    return images, partner, 1 - tall * wide / (height * width)
