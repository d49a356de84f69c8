"""What the benchmarks of the three projects on dogs, food and vehicles share.

The usual way: torchvision's ImageFolder, a transform for each picture, contiguous tensors.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from common.augmentation import Augmentation, Normalise, image_loader
from common.batches import Loader
from common.downloads import Source
from common.images import Images, ImageSet
from common.training import parameter_groups

import torch
from case import CPU, Case, repeated
from torch import nn
from torchvision import datasets
from torchvision.transforms import v2

from vgg_vs_resnet import comparison, data
from vgg_vs_resnet.settings import ImageSettings


@cache
def found(size: int, per_class: int = 0) -> tuple[Source, ImageSet]:
    """Where the pictures lie, and the pictures."""
    return data.load(size, per_class=per_class)


def our_loader(
    pictures: ImageSet, batch_size: int, factor: float, how: Augmentation | None
) -> Loader:
    """The training batches of a set so many times as large."""
    part = pictures.splits["train"]
    rows = repeated(len(part), factor)
    larger = Images(part.pixels[rows], part.labels[rows], [])
    normalise = Normalise(pictures.mean, pictures.std)
    return image_loader(larger, normalise, batch_size, CPU, augmentation=how, shuffle=True)


def usual_pictures(
    folder: Path, size: int, pictures: ImageSet, how: Augmentation | None
) -> datasets.ImageFolder:
    """The files, opened and varied one by one."""
    steps: list[nn.Module] = [v2.PILToTensor(), v2.Resize(size)]
    if how:
        steps += [v2.RandomCrop(size, padding=how.padding), v2.RandomHorizontalFlip()]
        steps += [v2.ColorJitter(how.jitter, how.jitter, how.jitter)]
    steps += [v2.ToDtype(torch.float32, scale=True)]
    steps += [v2.Normalize(pictures.mean.tolist(), pictures.std.tolist())]
    if how:
        steps += [v2.RandomErasing(how.erase)]
    return datasets.ImageFolder(str(folder), v2.Compose(steps))


def usual_sgd(
    lr: float, momentum: float, weight_decay: float, nesterov: bool, model: nn.Module
) -> torch.optim.Optimizer:
    groups = parameter_groups(model, weight_decay)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)


def case(config: ImageSettings, factor: float, candidate: Callable[[int], Any]) -> Case:
    """A training of vgg_vs_resnet's kind.

    candidate: from the number of classes, see `comparison.Candidate`.
    """
    source, pictures = found(config.size)
    model = candidate(len(pictures.classes))
    how = Augmentation(config.padding, config.flip, config.jitter, config.erase)

    def channels_last() -> nn.Module:
        return model.make().to(memory_format=torch.channels_last)

    return Case(
        source=source,
        network=model.name,
        unit="pictures",
        config=config,
        step=comparison.make_step(config.label_smoothing),
        inputs=lambda batch: batch[:1],
        loader=our_loader(pictures, config.batch_size, factor, how),
        model=channels_last,
        optimizer=lambda made: comparison.make_optimizer(made, model.lr, config),
        dataset=partial(usual_pictures, source.folder, config.size, pictures, how),
        usual_model=model.make,
        usual_optimizer=partial(
            usual_sgd, model.lr, config.momentum, config.weight_decay, config.momentum > 0
        ),
    )
