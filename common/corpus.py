"""Labelled texts as token numbers: what the text projects have in common behind their files."""

from dataclasses import dataclass
from pathlib import Path

from common import vectors
from common.batches import Loader
from common.cache import Arrays
from common.downloads import Source
from common.ragged import Ragged, buckets, pad, padding_share
from common.text import UNK, TokenizerName, Vocabulary
from common.vectors import WordVectors

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")
SPLIT_SEED = 0  # one split for all runs, whatever their seed


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Everything that a training needs. Each mapping goes by split: train, val, test."""

    source: Source
    vocabulary: Vocabulary
    tokens: dict[str, Ragged]  # of each text as many as a run reads
    labels: dict[str, Tensor]  # (texts,)
    cache: Path  # folder for what is made once

    def counts(self) -> dict[str, int]:
        """Texts in each split."""
        return {split: len(labels) for split, labels in self.labels.items()}

    def loader(self, split: str, batch_size: int, seed: int, device: torch.device) -> Loader:
        """Batches (ids, lengths, labels) by length, made on the device; shuffled for training."""
        tokens, labels = self.tokens[split].to(device), self.labels[split].to(device)
        plan = buckets(self.tokens[split].lengths, batch_size, seed, shuffle=split == "train")
        return Loader(plan, lambda rows: (*pad(tokens, rows), labels[rows.to(device)]))

    def example(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The first test text as a batch (ids, lengths) of one."""
        return pad(self.tokens["test"].to(device), torch.tensor([0]))

    def find_vectors(self, choice: str, data_dir: str, seed: int) -> WordVectors | None:
        """Pretrained vectors of the vocabulary (see `vectors.locate`), or None.

        The sample brings a small file of its own.
        """
        if self.source.kind == "sample" and choice in ("auto", "glove"):
            choice = str(self.source.folder / vectors.GLOVE_FILE)
        path = vectors.locate(choice, data_dir)
        if path is None:
            return None
        return vectors.for_words(path, self.vocabulary.words, self.cache, seed)

    def padding(self, batch_size: int) -> float:
        """The share of padding in the training batches."""
        lengths = self.tokens["train"].lengths
        return padding_share(lengths, buckets(lengths, batch_size))

    def unknown(self) -> float:
        """The share of the test tokens that the vocabulary lacks."""
        return (self.tokens["test"].tokens == UNK).float().mean().item()

    def coverage(self, found: WordVectors | None) -> str:
        """Of how many words and training tokens there is a vector, as a sentence."""
        if found is None:
            return "none: the embedding is learnt from nothing"
        used = self.tokens["train"].tokens.bincount(minlength=len(self.vocabulary))
        words, tokens = found.coverage(used)
        return (
            f"of {found.matrix.shape[1]} numbers for {words:.1%} of the words, "
            f"{tokens:.1%} of the training tokens"
        )


def pack(vocabulary: Vocabulary, tokens: Ragged) -> Arrays:
    """What `text.prepare` made, in the form that `common.cache.cached` keeps."""
    return {
        "words": vocabulary.state()["words"],
        "subword": [vocabulary.subword],
        "tokens": tokens.tokens.numpy(),
        "offsets": tokens.offsets.numpy(),
    }


def unpack(held: Arrays, tokenizer: TokenizerName) -> tuple[Vocabulary, Ragged]:
    """The vocabulary and the tokens of all texts that `pack` was given."""
    vocabulary = Vocabulary(held["words"], tokenizer, held["subword"][0])
    return vocabulary, Ragged(torch.from_numpy(held["tokens"]), torch.from_numpy(held["offsets"]))
