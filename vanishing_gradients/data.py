"""The pictures of vgg_vs_resnet, small and few, in batches that know the number of their step."""

from collections.abc import Iterator

from common.augmentation import Normalise, image_loader
from common.batches import Loader
from common.images import ImageSet

import torch
from torch import Tensor

Batch = tuple[int, Tensor, Tensor]  # step, images (batch, 3, size, size), labels (batch,)


class Numbered(Loader):
    """The batches of another loader, each with its number since the start of the training.

    A step that measures every n-th of them so needs no counter of its own, and a resumed training
    measures the same ones.
    """

    def __init__(self, loader: Loader):
        super().__init__(loader.plan, loader.fetch)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        first = number * len(self) + start
        for step, (images, labels) in enumerate(super().epoch(number, start), first):
            yield step, images, labels


def loaders(
    found: ImageSet, batch_size: int, seed: int, place: torch.device
) -> dict[str, Numbered]:
    """A loader for each split: train is shuffled, and nothing is augmented.

    The question is whether a network can be optimised, so every epoch shows the same pictures.
    """
    normalise = Normalise(found.mean.to(place), found.std.to(place))
    return {
        name: Numbered(
            image_loader(part, normalise, batch_size, place, shuffle=name == "train", seed=seed)
        )
        for name, part in found.splits.items()
    }
