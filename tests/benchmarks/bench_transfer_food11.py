"""How fast transfer_food11 trains a whole network beside a plain script.

    python tests/benchmarks/bench_transfer_food11.py [--threads N] [--seconds S]

The network is the first of the defaults, EfficientNet-B0, with all stages trained and its BatchNorm
statistics kept, as in fine-tuning; its weights are random, which changes no time. The usual way:
torchvision's ImageFolder, RandomResizedCrop, a flip and ColorJitter for each picture, contiguous
tensors. Half and twice as wide are MobileNetV3-Large and ResNet-50: networks come as they are.
"""

import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.downloads import Source
from common.images import Images
from common.training import parameter_groups

import harness
import torch
from case import CPU, Case, repeated
from torch import nn
from torchvision import datasets
from torchvision.transforms import v2

from transfer_food11 import data, inputs, tuning
from transfer_food11.model import Classifier
from transfer_food11.settings import Config

SIZES = {0.5: "mobilenet_v3_large", 1.0: "efficientnet_b0", 2.0: "resnet50"}


@cache
def found(side: int) -> tuple[Source, data.FoodSet]:
    """Where the pictures lie, and the pictures."""
    return data.load(side)


def make_model(config: Config, classes: int) -> Classifier:
    model = Classifier(config.models[0], classes, config.dropout)
    model.fixed_statistics = config.fixed_statistics
    return model


def usual_pictures(folder: Path, config: Config, model: Classifier) -> datasets.ImageFolder:
    """The files, opened and varied one by one."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(config.size, scale=(config.crop, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(config.jitter, config.jitter, config.jitter),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(model.preprocessing.mean, model.preprocessing.std),
        ]
    )
    return datasets.ImageFolder(str(folder), transform)


def usual_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(model, config.weight_decay), config.lr)


def build(config: Config, factor: float) -> Case:
    source, pictures = found(config.stored_size)
    make = partial(make_model, config, len(pictures.classes))
    model, part = make(), pictures.splits["train"]
    if factor != 1:  # the stored pictures stay mapped where they are
        rows = repeated(len(part), factor)
        part = Images(part.pixels[rows], part.labels[rows], [])
    folder = source.folder / data.FOLDERS["train"]
    normalise = inputs.normaliser(model.preprocessing, CPU)
    return Case(
        source=source,
        network=model.name,
        unit="pictures",
        config=config,
        step=tuning.make_step(config, None),
        inputs=lambda batch: batch[:1],
        loader=inputs.train_loader(
            part, normalise, config, CPU, inputs.repeated(len(part), config)
        ),
        model=lambda: make().to(memory_format=torch.channels_last),
        optimizer=lambda made: tuning.make_optimizer(
            made, config.lr, config.layer_decay, config.weight_decay
        ),
        dataset=partial(usual_pictures, folder, config, model),
        usual_model=make,
        usual_optimizer=partial(usual_optimizer, config),
    )


def sized(config: Config, factor: float) -> Config:
    return replace(config, models=(SIZES[factor],))


if __name__ == "__main__":
    flags = ("--modes", "scratch", "--models", "efficientnet_b0")  # no probe comes before it
    harness.main("transfer_food11/train.py", Config(), build, sized, start=flags)
