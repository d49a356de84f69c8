"""What is compared: one training of a project, as the project does it and as one usually would."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.batches import Loader
from common.config import Settings
from common.downloads import Source
from common.training import Step

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, default_collate

CPU = torch.device("cpu")
LEAST_STEPS = 2  # of a measured piece


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training on the CPU. Both ways take the same settings and the same step.

    source: the data set. unit: what a sample is. config: the project's settings. inputs: the
    model's arguments in a batch. network: its name, where the project has several.

    loader, model, optimizer: the project's own. dataset, collate, usual_model, usual_optimizer: of
    a plain script, whose DataLoader shuffles. framework_collate: what a framework's own collator
    would make, where that differs. The models are made anew from the same seed.
    """

    source: Source
    unit: str
    config: Settings
    step: Step
    inputs: Callable[[Any], tuple[Tensor, ...]]
    loader: Loader
    model: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], Optimizer]
    dataset: Callable[[], Dataset]
    usual_model: Callable[[], nn.Module]
    usual_optimizer: Callable[[nn.Module], Optimizer]
    network: str = ""
    collate: Callable[[list], Any] = default_collate
    framework_collate: Callable[[list], Any] | None = None


@dataclass(frozen=True)
class Turn:
    """How long a measured piece is: some batches of an epoch, or several whole epochs."""

    epochs: int
    steps: int  # of an epoch
    limit: float = math.inf  # seconds after which a slower way ends its turn early

    @classmethod
    def lasting(cls, seconds: float, step_seconds: float, loader: Loader) -> "Turn":
        """About so many seconds."""
        steps = max(LEAST_STEPS, round(seconds / step_seconds))
        if steps < len(loader):
            return cls(1, steps, 2 * seconds)
        return cls(max(1, round(steps / len(loader))), len(loader), 2 * seconds)

    @property
    def total(self) -> int:
        return self.epochs * self.steps

    def part(self, loader: Loader) -> Loader:
        """The batches of an epoch of the turn: of a part of an epoch, evenly spread over it."""
        if self.steps == len(loader):
            return loader
        batches = loader.batches(0)
        spread = [batches[int((i + 0.5) * len(batches) / self.steps)] for i in range(self.steps)]
        return Loader(lambda epoch: spread, loader.fetch)


class Clock:
    """Times the steps of a loop that is not ours; its first step warms up and is not timed.

    seconds: of all steps of the turn, also where it ended early because they took too long.
    """

    def __init__(self, turn: Turn):
        self.turn, self.count, self.began, self.seconds = turn, 0, 0.0, 0.0

    def tick(self) -> bool:
        """To be called with each batch at hand; whether the turn is over."""
        if self.seconds:
            return True
        now, done = time.perf_counter(), self.count - 1
        if done == 0:
            self.began = now
        elif done == self.turn.total or (done > 0 and now - self.began > self.turn.limit):
            self.seconds = (now - self.began) * self.turn.total / done
        self.count += 1
        return self.seconds > 0


def repeated(count: int, factor: float) -> Tensor:
    """Rows of a data set of `count` rows that make it `factor` times as large."""
    return torch.arange(round(count * factor)) % count
