"""Stored pictures as batches for a network: cropped, mirrored, recoloured, normalised at once."""

import math

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

    Every image has random numbers of its own. Values are interpolated between neighbouring pixels.

    Args:
        pixels: uint8 (batch, 3, side, side).
        smallest: share of the picture's area that a part has at least.

    Returns:
        float32 (batch, 3, size, size), of 0 to 255.
    """
    count, place = len(pixels), pixels.device
    draw = torch.rand(5, count, device=place)  # area, shape, y, x, mirrored
    area = smallest + draw[0] * (1 - smallest)
    aspect = LONGEST ** (2 * draw[1] - 1)
    tall, wide = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    theta = torch.zeros(count, 2, 3, device=place)  # of places in the crop to places in the image
    theta[:, 0, 0], theta[:, 1, 1] = wide, tall
    theta[:, 0, 2] = (2 * draw[3] - 1) * (1 - wide)
    theta[:, 1, 2] = (2 * draw[2] - 1) * (1 - tall)
    if flip:
        theta[:, 0, 0] *= torch.where(draw[4] < 0.5, -1.0, 1.0)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    return F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
