"""Rows of unequal length held as one flat array, and their batches by length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from common.batches import Plan, generator

import numpy as np
import torch
from torch import Tensor

Keep = Literal["first", "last", "both"]
_POOL = 50  # batches sorted together: more pads less, and shuffles less


@dataclass(frozen=True)
class Ragged:
    """Row r is `tokens[offsets[r] : offsets[r + 1]]`.

    tokens: int32 (all tokens,). offsets: int64 (rows + 1,), from 0 and never falling.
    """

    tokens: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Rows given as Python lists."""
        flat = [token for row in rows for token in row]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        return cls(
            torch.tensor(flat, dtype=torch.int32), torch.from_numpy(offsets.astype(np.int64))
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens in each row, int64 (rows,)."""
        return self.offsets.diff()

    def to(self, device: torch.device | str) -> "Ragged":
        """The same rows on another device."""
        return Ragged(self.tokens.to(device), self.offsets.to(device))

    def rows(self, indices: Sequence[int] | np.ndarray | Tensor) -> "Ragged":
        """The chosen rows, in the order given."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        return self._gather(self.offsets[indices], self.lengths[indices])

    def truncated(self, max_len: int, keep: Keep = "first") -> "Ragged":
        """At most `max_len` tokens a row: its first, its last, or the first and last halves."""
        lengths = self.lengths.clamp(max=max_len)
        starts = self.offsets[:-1]
        if keep == "first":
            return self._gather(starts, lengths)
        if keep == "last":
            return self._gather(self.offsets[1:] - lengths, lengths)
        head = torch.div(lengths + 1, 2, rounding_mode="floor")
        tail = lengths - head
        pieces = self._gather(
            torch.stack([starts, self.offsets[1:] - tail], 1).flatten(),
            torch.stack([head, tail], 1).flatten(),
        )
        return Ragged(pieces.tokens, pieces.offsets[::2])

    def _gather(self, starts: Tensor, lengths: Tensor) -> "Ragged":
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        # the place of a token = the start of its row + how far into the row it stands
        shift = torch.repeat_interleave(starts - offsets[:-1], lengths)
        return Ragged(self.tokens[torch.arange(len(shift), device=shift.device) + shift], offsets)


def pad(ragged: Ragged, rows: Tensor) -> tuple[Tensor, Tensor]:
    """A batch cut to its longest row.

    Returns the ids, int64 (batch, tokens), padded with 0, and the lengths, int64 (batch,).
    """
    rows = rows.to(ragged.offsets.device)
    starts = ragged.offsets[rows]
    lengths = ragged.offsets[rows + 1] - starts
    steps = torch.arange(int(lengths.max()), device=rows.device)
    places = (starts[:, None] + steps).clamp_(max=len(ragged.tokens) - 1)  # (batch, tokens)
    ids = ragged.tokens[places].long().masked_fill_(steps >= lengths[:, None], 0)
    return ids, lengths


def buckets(lengths: Tensor, batch_size: int, seed: int = 0, shuffle: bool = True) -> Plan:
    """Batches of rows of nearly one length, as `plan(epoch)` for `common.batches.Loader`.

    Shuffled: rows are drawn in an order fixed by seed and epoch, sorted within pools of 50
    batches, and the batches shuffled; every row comes once an epoch and only one batch is short.
    Not shuffled: plain batches by length, alike in every epoch (see `original_order`).
    """
    lengths = lengths.cpu()

    def plan(epoch: int) -> list[Tensor]:
        if not shuffle:
            return list(torch.argsort(lengths, stable=True).split(batch_size))
        random = generator(seed, epoch)
        order = torch.randperm(len(lengths), generator=random)
        batches: list[Tensor] = []
        for pool in order.split(batch_size * _POOL):
            batches += pool[torch.argsort(lengths[pool], stable=True)].split(batch_size)
        return [batches[i] for i in torch.randperm(len(batches), generator=random).tolist()]

    return plan


def original_order(plan: Plan, values: Tensor) -> Tensor:
    """Values computed batch by batch over `plan(0)`, put back in the order of the rows."""
    restored = torch.empty_like(values)
    restored[torch.cat(plan(0))] = values
    return restored


def padding_share(lengths: Tensor, plan: Plan) -> float:
    """The share of padding among the tokens that the batches of epoch 0 hold."""
    held = sum(len(rows) * int(lengths[rows].max()) for rows in plan(0))
    return 1 - int(lengths.sum()) / max(1, held)
