"""How fast vanishing_gradients' plain network of 40 layers trains beside a plain script.

    python tests/benchmarks/bench_vanishing_gradients.py [--threads N] [--seconds S]

The usual way is in pictures.py. Neither way measures gradients by layer.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import harness
import pictures
from case import Case
from torch import Tensor, nn

from vanishing_gradients import train
from vanishing_gradients.model import VGGDeep


def step(model: nn.Module, batch: Any) -> tuple[Tensor, int, dict[str, Tensor]]:
    """The project's, whose batches also hold a number that it does not use."""
    return train.step(model, (0, *batch))


def build(config: train.Config, factor: float) -> Case:
    source, found = pictures.found(config.size, config.per_class)
    model = partial(VGGDeep, len(found.classes), config.depth, config.width, "plain")

    def optimizer(model: nn.Module) -> Any:
        sgd = (config.lr, config.momentum, config.weight_decay, False)
        return pictures.usual_sgd(*sgd, model)

    return Case(
        source=source,
        network="plain",
        unit="pictures",
        config=config,
        step=step,
        inputs=lambda batch: batch[:1],
        loader=pictures.our_loader(found, config.batch_size, factor, how=None),
        model=model,
        optimizer=optimizer,
        dataset=partial(pictures.usual_pictures, source.folder, config.size, found, how=None),
        usual_model=model,
        usual_optimizer=optimizer,
    )


def sized(config: train.Config, factor: float) -> train.Config:
    return replace(config, width=round(config.width * factor))


if __name__ == "__main__":
    flags = ("--study", "variants", "--variants", "plain")
    harness.main("vanishing_gradients/train.py", train.Config(), build, sized, start=flags)
