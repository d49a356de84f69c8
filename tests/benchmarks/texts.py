"""What the benchmarks of the two text projects share: our batches, and the usual ones."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from common.batches import Loader
from common.corpus import Corpus

import torch
from case import CPU, repeated
from torch import Tensor
from torch.utils.data import Dataset

TEXTS = 4000  # of the usual way's: enough for any turn

Item = tuple[list[int], float]
Batch = tuple[Tensor, Tensor, Tensor]  # ids (batch, tokens), lengths (batch,), labels (batch,)


class Texts(Dataset):
    """Token lists in Python, each with its label."""

    def __init__(self, corpus: Corpus):
        tokens, labels = corpus.tokens["train"], corpus.labels["train"]
        chosen = torch.linspace(0, len(tokens) - 1, min(TEXTS, len(tokens))).long()
        rows, self.labels = tokens.rows(chosen), labels[chosen].tolist()
        flat, ends = rows.tokens.tolist(), rows.offsets.tolist()
        self.rows = [flat[ends[i] : ends[i + 1]] for i in range(len(rows))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Item:
        return self.rows[row], self.labels[row]


def padded_to(width: int) -> Callable[[Sequence[Item]], Batch]:
    """Makes batches of texts that are all padded to `width` tokens; 0 = to the batch's longest."""
    return partial(collate, width=width)


def collate(items: Sequence[Item], width: int) -> Batch:
    width = width or max(len(row) for row, _ in items)
    ids = [row + [0] * (width - len(row)) for row, _ in items]
    lengths = [len(row) for row, _ in items]
    return torch.tensor(ids), torch.tensor(lengths), torch.tensor([label for _, label in items])


def our_loader(corpus: Corpus, batch_size: int, factor: float) -> Loader:
    """The training batches of a corpus so many times as large, from the shortest texts on.

    In that order batches spread evenly over an epoch are as long as all of its batches.
    """
    rows = repeated(len(corpus.labels["train"]), factor)
    tokens = corpus.tokens["train"].rows(rows)
    larger = dataclasses.replace(
        corpus, tokens={"train": tokens}, labels={"train": corpus.labels["train"][rows]}
    )
    loader = larger.loader("train", batch_size, 0, CPU)
    lengths = tokens.lengths

    def plan(epoch: int) -> list[Tensor]:
        return sorted(loader.plan(epoch), key=lambda indices: int(lengths[indices].max()))

    return Loader(plan, loader.fetch)
