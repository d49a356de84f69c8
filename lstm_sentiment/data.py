"""The Large Movie Review Dataset (Maas et al. 2011) as token numbers.

25,000 reviews to train and 25,000 to test, half of each positive (7 to 10 stars of 10), half
negative (1 to 4); no film has more than 30, and (one aside) no film stands in both parts.
Files: {train,test}/{pos,neg}/ID_RATING.txt, and {train,test}/urls_{pos,neg}.txt, whose line ID
names the film.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import text
from common.cache import Arrays, cached, fingerprint
from common.corpus import SPLIT_SEED, SPLITS, Corpus, pack, unpack
from common.downloads import DataSet, RemoteFile, data_root, obtain
from common.errors import UserError
from common.ragged import Keep, Ragged

import numpy as np
import torch
from torch import Tensor

from lstm_sentiment import sample

CLASSES = ("negative", "positive")
FOLDERS = ("neg", "pos")
# The arguments of `load` that are settings of a run.
SETTINGS = (
    "data",
    "data_dir",
    "tokenizer",
    "min_frequency",
    "max_size",
    "max_len",
    "keep",
    "val_share",
)
IMDB = DataSet(
    name="Large Movie Review Dataset",
    folder="aclImdb",
    needs=tuple(f"{part}/{folder}" for part in ("train", "test") for folder in FOLDERS),
    remote=(
        RemoteFile(
            path="aclImdb_v1.tar.gz",
            urls=("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
            sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
            md5="7c2ac02c03563afcf9b574c7e56c153a",
            unpack=True,
        ),
    ),
    help="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz, unpacked",
    make_sample=lambda folder: sample.write(folder),
)
_NAME = re.compile(r"(\d+)_(\d+)\.txt")


@dataclass(frozen=True, kw_only=True)
class Reviews(Corpus):
    """Reviews with float32 labels: 1 = positive."""

    whole: dict[str, Ragged]  # all tokens of each review, where `tokens` has at most max_len
    paths: dict[str, list[Path]]
    seen: Tensor  # bool (test reviews,): the same text also stands in the training part
    films: int  # of the training part; 0 = unknown

    def text(self, split: str, row: int) -> str:
        """A review as it was written, read from its file."""
        return text.read_utf8(self.paths[split][row])


def load(
    data: str = "auto",
    data_dir: str = "",
    *,
    tokenizer: text.TokenizerName = "basic_english",
    min_frequency: int = 1,
    max_size: int = 0,
    max_len: int = 256,
    keep: Keep = "both",
    val_share: float = 0.1,
) -> Reviews:
    """Read, split and tokenise (or take it all from the cache), and cut to `max_len` tokens.

    keep: which tokens of a longer review stay: its first, its last, or both halves' worth.
    Raises UserError on data it cannot use.
    """
    source = obtain(IMDB, data, data_dir)
    folders = [source.folder / need for need in IMDB.needs]
    films = [path for path in map(film_file, folders) if path.is_file()]
    key = {
        "files": fingerprint(folders) + (fingerprint(films) if films else ""),
        "val_share": val_share,
    }
    how = {"tokenizer": tokenizer, "min_frequency": min_frequency, "max_size": max_size}

    def build() -> Arrays:
        paths = [path for folder in folders for path in review_files(folder)]
        texts = [text.read_utf8(path) for path in paths]
        is_test = np.array([path.parts[-3] == "test" for path in paths])
        same = hashes(text.clean(each).lower() for each in texts)
        film = np.concatenate([film_numbers(folder, review_files(folder)) for folder in folders])
        split = split_rows(is_test, same, film, val_share)
        train = np.flatnonzero(split == SPLITS.index("train"))
        return {
            **pack(*text.prepare(texts, train, **how)),
            "paths": [path.relative_to(source.folder).as_posix() for path in paths],
            "split": split,
            "seen": np.isin(same, same[~is_test]),
            "films": np.array([len(np.unique(film[~is_test])) if films else 0]),
        }

    cache = data_root(data_dir) / "cache"
    held = cached(cache, "reviews", {**key, **how}, build)
    vocabulary, every = unpack(held, tokenizer)
    rows = {name: np.flatnonzero(held["split"] == at) for at, name in enumerate(SPLITS)}
    paths = {name: [held["paths"][row] for row in own] for name, own in rows.items()}
    whole = {name: every.rows(own) for name, own in rows.items()}
    positive = {name: [float("/pos/" in path) for path in own] for name, own in paths.items()}
    return Reviews(
        source=source,
        vocabulary=vocabulary,
        tokens={name: tokens.truncated(max_len, keep) for name, tokens in whole.items()},
        labels={name: torch.tensor(own) for name, own in positive.items()},
        cache=cache,
        whole=whole,
        paths={name: [source.folder / path for path in own] for name, own in paths.items()},
        seen=torch.from_numpy(held["seen"][rows["test"]]),
        films=int(held["films"][0]),
    )


def review_files(folder: Path) -> list[Path]:
    """The reviews of a folder, by their number.

    Raises UserError where a name is not ID_RATING.txt, or its rating is of the other class.
    """
    numbered = []
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise UserError(f"{path} is not named ID_RATING.txt, as 127_8.txt: rename or remove it")
        rating = int(match[2])
        if not 1 <= rating <= 10 or (rating > 5) != (folder.name == "pos"):
            raise UserError(
                f"{path} has the rating {rating}: a review in {folder.name} has "
                f"{'6 to 10' if folder.name == 'pos' else '1 to 5'}; move or remove it"
            )
        numbered.append((int(match[1]), path))
    return [path for _, path in sorted(numbered)]


def film_file(folder: Path) -> Path:
    """The file that names the film of each review of a folder: train/pos -> train/urls_pos.txt."""
    return folder.parent / f"urls_{folder.name}.txt"


def film_numbers(folder: Path, paths: list[Path]) -> np.ndarray:
    """For each review the hash of its film's address; of its own path where films are unknown.

    Raises UserError where the file of addresses is too short.
    """
    names = ["/".join(path.parts[-3:]) for path in paths]  # the same wherever the data lie
    if film_file(folder).is_file():
        addresses = text.read_utf8(film_file(folder)).splitlines()
        lines = [int(path.name.split("_")[0]) for path in paths]
        if lines and max(lines) >= len(addresses):
            raise UserError(
                f"{film_file(folder)} has {len(addresses):,} lines, but review {max(lines)} names "
                "its film on a later one: take the whole file, or remove it"
            )
        names = [addresses[line] for line in lines]
    return hashes(names)


def hashes(names: Iterable[str]) -> np.ndarray:
    """int64 numbers that stand for texts; the same in every process, unlike Python's own hash."""
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), np.int64)


def split_rows(
    is_test: np.ndarray, same: np.ndarray, film: np.ndarray, val_share: float
) -> np.ndarray:
    """The number in SPLITS of each review.

    Validation is drawn from the training part in groups: reviews of one film, or of one text,
    stay together. So a validation review is as new to the model as a test review, whose film is
    new too. Raises UserError where a split would be empty.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    train = np.flatnonzero(~is_test)
    films, film = np.unique(film[train], return_inverse=True)
    texts, same = np.unique(same[train], return_inverse=True)
    # A graph of films and texts: each review links its film to its text.
    size = len(films) + len(texts)
    links = coo_array((np.ones(len(train)), (film, same + len(films))), shape=(size, size))
    group = connected_components(links, directed=False)[1][film]
    _, group = np.unique(group, return_inverse=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(group.max() + 1)
    sizes = np.bincount(group)[order]
    chosen = order[np.cumsum(sizes) <= max(1, round(val_share * len(train)))]
    split = np.where(is_test, SPLITS.index("test"), SPLITS.index("train"))
    split[train[np.isin(group, chosen)]] = SPLITS.index("val")
    for number, name in enumerate(SPLITS):
        if not (split == number).any():
            raise UserError(
                f"the split {name} would have no reviews: {len(train)} training reviews are too "
                "few, or of too few films; add some, or change --val-share"
            )
    return split


def region_keys(reviews: Reviews, count: int) -> Tensor | None:
    """The `count` commonest word pairs of the training split, as SentimentLSTM numbers them."""
    if not count:
        return None
    tokens = reviews.whole["train"]
    ids = tokens.tokens.long()
    previous = torch.cat([ids.new_zeros(1), ids[:-1]])
    previous[tokens.offsets[:-1]] = 0
    keys, counts = (previous * len(reviews.vocabulary) + ids).unique(return_counts=True)
    return keys[counts.argsort(descending=True, stable=True)[:count]].sort().values
