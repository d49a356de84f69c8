"""What needs no network: the largest class, and a linear classifier on hand-made features."""

from common.images import Images

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_food11.data import FoodSet
from vgg_vs_resnet import baselines

SIDE = 64  # pixels; the features are histograms over 8 x 8 cells


def evaluate(found: FoodSet) -> dict[str, dict[str, float]]:
    """Validation and test figures of both; nothing is tuned."""
    small = {
        name: Images(shrunk(part.pixels), part.labels, part.files)
        for name, part in found.splits.items()
    }
    return baselines.evaluate(FoodSet(found.classes, small, found.notes, found.key))


def shrunk(pixels: Tensor) -> Tensor:
    """uint8 (pictures, 3, side, side) -> uint8 (pictures, 3, SIDE, SIDE)."""
    parts = [
        F.interpolate(part.float(), (SIDE, SIDE), mode="area").round().to(torch.uint8)
        for part in pixels.split(256)
    ]
    return torch.cat(parts)
