"""Batches cut from data held as tensors.

A `Loader` is two functions: `plan(epoch)` lists the indices of every batch of an epoch, and
`fetch(indices)` makes the batch. A plan depends on its seed and the epoch alone, so a resumed run
goes on at any step with the batches it would have had, and the processes of one torchrun job
share out each batch without loss or repeat.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from common import distributed
from common.errors import UserError

import torch
from torch import Tensor

Plan = Callable[[int], list[Tensor]]


class Loader:
    """The batches of a split.

    Args:
        plan: epoch number -> one LongTensor of indices for each batch.
        fetch: indices -> batch (a tensor, or a tuple or dict of tensors).
    """

    def __init__(self, plan: Plan, fetch: Callable[[Tensor], Any]):
        self.plan, self.fetch = plan, fetch
        first = self.batches(0)
        self.length, self.samples = len(first), sum(map(len, first))

    def __len__(self) -> int:
        return self.length

    def batches(self, epoch: int) -> list[Tensor]:
        """The indices of each batch of an epoch.

        A batch with too few samples for every process (or for BatchNorm, which needs two) joins
        the one before it, so that none is lost.

        Raises:
            UserError: fewer samples than processes.
        """
        smallest = max(2, distributed.world_size())
        merged: list[Tensor] = []
        for indices in self.plan(epoch):
            if merged and min(len(indices), len(merged[-1])) < smallest:
                merged[-1] = torch.cat([merged[-1], indices])
            else:
                merged.append(indices)
        if not merged or len(merged[0]) < distributed.world_size():
            raise UserError(
                f"{sum(map(len, merged))} samples are too few for {distributed.world_size()} "
                "processes: use more data or fewer processes"
            )
        return merged

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of epoch `number`, from batch `start` on: this process's share of each."""
        for indices in self.batches(number)[start:]:
            yield self.fetch(indices[distributed.rank() :: distributed.world_size()])

    def whole(self) -> Iterator[Any]:
        """The batches of epoch 0, whole in every process: for predictions."""
        return map(self.fetch, self.batches(0))


def generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers of one epoch, the same however the epoch was reached."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)


def shuffled(count: int, batch_size: int, seed: int) -> Plan:
    """A plan that visits each of `count` samples once an epoch, in a new order each time."""

    def plan(epoch: int) -> list[Tensor]:
        return list(torch.randperm(count, generator=generator(seed, epoch)).split(batch_size))

    return plan


def in_order(count: int, batch_size: int) -> Plan:
    """A plan that visits each of `count` samples once, in their order."""

    def plan(epoch: int) -> list[Tensor]:
        return list(torch.arange(count).split(batch_size))

    return plan


def tensor_loader(
    tensors: Sequence[Tensor], batch_size: int, *, shuffle: bool = False, seed: int = 0
) -> Loader:
    """Batches of tensors of equal length; each batch is a tuple of their rows.

    The tensors stay where they are: put them on the device first and no batch is copied there.
    """
    count = len(tensors[0])
    plan = shuffled(count, batch_size, seed) if shuffle else in_order(count, batch_size)
    return Loader(plan, lambda indices: tuple(tensor[indices] for tensor in tensors))
