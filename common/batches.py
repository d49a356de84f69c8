"""Batches cut from data held as tensors.

A `Loader` is two functions: `plan(epoch)` lists the indices of every batch of an epoch, and
`fetch(indices)` makes the batch. A plan depends on its seed and the epoch alone, so a resumed run
goes on with the batches it would have had, and the processes of one torchrun job divide each batch
among themselves without loss or repetition. No worker processes: the data lies in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from common import distributed
from common.settings import UserError

Plan = Callable[[int], list[Tensor]]


class Loader:
    """The batches of a split.

    Args:
        plan: epoch number -> one LongTensor of indices for each batch.
        fetch: indices -> batch (a tensor, or a tuple or dict of tensors).
        least: samples that a training batch needs at least, 2 for BatchNorm.
    """

    def __init__(self, plan: Plan, fetch: Callable[[Tensor], Any], least: int = 1):
        self.plan, self.fetch, self.least = plan, fetch, least
        first = self.batches(0)
        self.length, self.samples = len(first), sum(map(len, first))

    def __len__(self) -> int:
        return self.length

    def batches(self, epoch: int) -> list[Tensor]:
        """The indices of each batch of an epoch.

        One short batch, with fewer samples than `least` or than there are processes, joins its
        neighbour, so that no sample is lost.

        Raises:
            UserError: all batches are that short, or there are none.
        """
        batches = self.plan(epoch)
        least = max(self.least, distributed.world_size())
        short = [place for place, indices in enumerate(batches) if len(indices) < least]
        if not batches or len(short) > 1 or (short and len(batches) == 1):
            count = sum(map(len, batches))
            raise UserError(
                f"a batch of {len(batches[0]) if batches else 0} of {count} samples is too small: "
                f"{least} are needed, for BatchNorm or the processes of the job; use more data, "
                "a larger --batch-size or fewer processes"
            )
        if short:
            alone = batches.pop(short[0])
            neighbour = max(0, short[0] - 1)
            batches[neighbour] = torch.cat([batches[neighbour], alone])
        return batches

    def epoch(self, number: int, parts: int = 1) -> Iterator[list[tuple[Any, float]]]:
        """The batches of epoch `number`, each as a list of up to `parts` parts of nearly equal size
        and the fraction of the batch that each is.

        In a torchrun job: this process's samples of each batch.
        """
        for indices in self.batches(number):
            own = indices[distributed.rank() :: distributed.world_size()]
            count = max(1, min(parts, len(own) // self.least))
            yield [(self.fetch(part), len(part) / len(own)) for part in own.tensor_split(count)]

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
