"""Splits of image sets: stratified, seeded, and with near-duplicates on one side."""

from collections.abc import Sequence

from common.errors import UserError

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SPLIT_SEED = 0  # fixed: runs of different seeds are measured on the same test images
SHARES = {"test": 0.15, "val": 0.15}  # of each class; the rest trains
FEWEST = 10  # different images in a class
HASH_BITS = 10  # near-duplicates: at most so many of the 64 bits of their hashes differ,
THUMBNAIL_LEVELS = 12.0  # and their 16 x 16 thumbnails by so many of 255 levels on average


def near_duplicates(pixels: Tensor, block: int = 1024) -> Tensor:
    """A group number for each image, int64 (images,); near-duplicates share theirs.

    Two images are near-duplicates if their difference hashes (64 comparisons of neighbours in an
    8 x 9 grey thumbnail) and their 16 x 16 colour thumbnails hardly differ; so is what such pairs
    connect. All pairs are compared.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(pixels)
    bits, thumbnails = [], []
    for part in pixels.split(block):
        part = part.float()
        grey = F.interpolate(part.mean(1, keepdim=True), (8, 9), mode="area")  # (block, 1, 8, 9)
        bits.append(grey.diff(dim=3).flatten(1).gt(0).float() * 2 - 1)  # (block, 64), -1 or 1
        thumbnails.append(F.interpolate(part, (16, 16), mode="area").flatten(1))  # (block, 768)
    bits, thumbnails = torch.cat(bits), torch.cat(thumbnails)
    first, second = [], []
    for start in range(0, count, block):
        agreement = bits[start : start + block] @ bits[start:].T  # 64 - 2 x differing bits
        rows, columns = (agreement >= 64 - 2 * HASH_BITS).nonzero(as_tuple=True)
        ahead = columns > rows
        for left, right in zip(
            (rows[ahead] + start).split(10_000), (columns[ahead] + start).split(10_000), strict=True
        ):
            difference = (thumbnails[left] - thumbnails[right]).abs().mean(1)
            same = difference <= THUMBNAIL_LEVELS
            first.append(left[same])
            second.append(right[same])
    pairs = torch.stack([torch.cat(first), torch.cat(second)]) if first else torch.empty(2, 0)
    links = coo_array((np.ones(pairs.shape[1]), pairs.long().numpy()), shape=(count, count))
    return torch.from_numpy(connected_components(links, directed=False)[1].astype(np.int64))


def split(labels: Tensor, groups: Tensor, classes: Sequence[str]) -> dict[str, Tensor]:
    """Rows of train, val and test, stratified by class, the same for the same images.

    A group stays whole. Groups of several images go to training as long as there are others, so
    that nothing is measured twice.

    Raises:
        UserError: a class has too few different images.
    """
    draw = np.random.default_rng(SPLIT_SEED)
    order, label = groups.numpy(), labels.numpy()
    names, firsts, sizes = np.unique(order, return_index=True, return_counts=True)
    place = np.empty(len(names), np.int64)  # of each group: 0 test, 1 val, 2 train
    for number, name in enumerate(classes):
        own = draw.permutation(np.flatnonzero(label[firsts] == number))
        own = own[np.argsort(sizes[own], kind="stable")]
        if len(own) < FEWEST:
            raise UserError(
                f"class {name} has {len(own)} different images, and at least {FEWEST} are needed: "
                "the others repeat them; add new ones"
            )
        before = sizes[own].cumsum() - sizes[own]
        limits = np.cumsum([SHARES["test"], SHARES["val"]]) * sizes[own].sum()
        place[own] = np.searchsorted(limits, before, side="right")
    where = place[np.searchsorted(names, order)]
    parts = {"train": 2, "val": 1, "test": 0}
    return {part: torch.from_numpy(np.flatnonzero(where == i)) for part, i in parts.items()}
