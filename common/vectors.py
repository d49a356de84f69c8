"""Pretrained word vectors: find or fetch them, and give each word of a vocabulary its own."""

import contextlib
import io
import ssl
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cache import cached, fingerprint
from common.distributed import is_main
from common.downloads import DataSet, RemoteFile, data_root, obtain
from common.errors import UserError
from common.text import PAD

import numpy as np
import torch
from torch import Tensor

GLOVE_FILE = "glove.6B.100d.txt"
GLOVE = DataSet(
    name="GloVe 6B",
    folder="glove.6B",
    needs=(GLOVE_FILE,),
    remote=(
        RemoteFile(
            path="glove.6B.zip",
            urls=("https://nlp.stanford.edu/data/glove.6B.zip",),
            sha256="617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
            unpack=True,
        ),
    ),
    help=f"{GLOVE_FILE}, from the 862 MB archive https://nlp.stanford.edu/data/glove.6B.zip",
    make_sample=lambda folder: None,  # a project's own sample brings its own vectors
)


@dataclass(frozen=True)
class WordVectors:
    """matrix: float32 (words, dimensions), row 0 (padding) zero. found: bool (words,)."""

    matrix: Tensor
    found: Tensor

    def coverage(self, counts: Tensor) -> tuple[float, float]:
        """Shares of the words, and of their occurrences `counts` (words,), with a vector.

        <pad> is left out; <unk> counts as a word without one.
        """
        real = torch.arange(len(counts)) != PAD
        found, counts = self.found[real].double(), counts[real].double()
        return float(found.mean()), float((found * counts).sum() / counts.sum().clamp(min=1))


def locate(choice: str, data_dir: str = "") -> Path | None:
    """The file of vectors that a setting names, or None for embeddings learnt from nothing.

    choice: "auto" (GloVe 6B where it is or can be had, else None, said so), "glove" (the same,
    but it must be there), "none", or the path of a file in GloVe's text format.
    Raises UserError where "glove" or the named file cannot be had.
    """
    if choice == "none":
        return None
    if choice not in ("auto", "glove"):
        path = Path(choice).expanduser()
        if not path.is_file():
            raise UserError(
                f"there is no file of word vectors {path}: check the path, or use --vectors none"
            )
        return path
    folder = data_root(data_dir) / GLOVE.folder
    here = [path for path in (GLOVE_FILE, GLOVE.remote[0].path) if (folder / path).is_file()]
    if not here and is_main():
        print(
            f"{GLOVE.name} is not in {folder}: its archive of 862 MB is downloaded now, once; "
            "--vectors none trains without it",
            flush=True,
        )
    try:
        return obtain(GLOVE, "real", data_dir).folder / GLOVE_FILE
    except UserError as error:
        if choice == "glove":
            raise
        if is_main():
            print(f"No pretrained vectors, so the embeddings are learnt from nothing: {error}")
        return None


def for_words(path: Path, words: Sequence[str], cache: Path, seed: int = 0) -> WordVectors:
    """The vectors of `words`; a word without one gets a random one of the same spread, by seed.

    cache: folder that keeps the parsed file. Raises UserError where the file is damaged.
    """
    held = cached(cache, "vectors", {"file": fingerprint([path])}, lambda: _read(path))
    row_of = {word: row for row, word in enumerate(held["words"])}
    rows = torch.tensor([row_of.get(word, -1) for word in words])
    found = rows >= 0
    vectors = torch.from_numpy(held["vectors"])
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(len(words), vectors.shape[1], generator=generator) * vectors.std()
    matrix[found] = vectors[rows[found]]
    matrix[PAD] = 0
    found[PAD] = False
    return WordVectors(matrix, found)


def _read(path: Path) -> dict[str, np.ndarray | list[str]]:
    from torchtext.vocab import Vectors

    https = ssl._create_default_https_context
    bar = contextlib.nullcontext if sys.stderr.isatty() else _quiet
    try:
        # Its own .pt cache goes by the file's name alone and checks nothing, so it is thrown away.
        with tempfile.TemporaryDirectory() as folder, bar():
            read = Vectors(str(path), cache=folder)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"{path} is not a whole file of word vectors ({error}): take another copy"
        ) from error
    finally:
        # torchtext 0.6 switches the whole process's check of HTTPS certificates off
        ssl._create_default_https_context = https
    vectors = read.vectors[: len(read.itos)]
    if len(vectors) == 0 or not vectors.isfinite().all():
        raise UserError(f"{path} holds no vectors, or some that are not numbers: take another copy")
    return {"words": read.itos, "vectors": vectors.numpy()}


def _quiet() -> contextlib.AbstractContextManager:
    return contextlib.redirect_stderr(io.StringIO())


def write_vectors(path: Path, words: Sequence[str], matrix: np.ndarray) -> None:
    """Write a file in GloVe's text format: a word and its numbers on each line."""
    lines = [
        f"{word} " + " ".join(f"{number:.5f}" for number in row)
        for word, row in zip(words, matrix, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
