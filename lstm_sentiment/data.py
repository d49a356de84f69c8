"""Film reviews as token numbers: the Large Movie Review Dataset, or a table of the user's own.

Maas et al. 2011: 25,000 reviews to train and 25,000 to test, half of each positive (7 to 10 stars
of 10), half negative (1 to 4), and 50,000 without a label; no film has more than 30, and (with one
exception) no film stands in both parts. Files: {train,test}/{pos,neg}/ID_RATING.txt,
train/unsup/ID_0.txt, and {train,test}/urls_{pos,neg}.txt, whose line ID names the film.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import own_texts, text
from common.checkpoints import Arrays, cached, content_digest
from common.downloads import DataSet, RemoteFile, cache_folder, listed, obtain, own_source
from common.settings import UserError, warn
from common.tables import decode
from common.text import GLOVE_FILE, SPLIT_SEED, SPLITS, Corpus, Keep, Ragged, TokenizerName

CLASSES = ("negative", "positive")
FOLDERS = ("neg", "pos")
WITHOUT_LABEL = "train/unsup"
UNLABELLED = len(SPLITS)  # the number of their split, behind train, val and test
LABELS = {  # what the labels of a table may be, and the class that they stand for
    **dict.fromkeys(("negative", "neg", "0", "-1"), CLASSES[0]),
    **dict.fromkeys(("positive", "pos", "1", "4"), CLASSES[1]),  # 4 as in Sentiment140
}
FILE_NAME = re.compile(r"(\d+)_\d+\.txt")


@dataclass(frozen=True, kw_only=True)
class Reviews(Corpus):
    """Reviews with float32 labels: 1 = positive."""

    whole: dict[str, Ragged]  # all tokens of each review, where `tokens` has at most max_len
    names: dict[str, list[str]]  # of each review: its file, or of a table's row the text itself
    seen: Tensor  # bool (test reviews,): the same text also stands in the training part
    films: int  # of the training part; 0 = unknown
    learnable: Ragged  # all tokens of the training reviews and, if asked for, the unlabelled ones
    has_files: bool  # each review is a file, and not a row of a table

    def text(self, split: str, row: int) -> str:
        """A review as it was written."""
        name = self.names[split][row]
        return read_reviews([self.source.folder / name])[0] if self.has_files else name


@dataclass
class Raw:
    """Reviews as they are found.

    labels: 1 = positive. split: numbers of SPLITS, or UNLABELLED. films: as in `Reviews`.
    """

    texts: list[str]
    names: list[str]
    labels: np.ndarray
    split: np.ndarray
    films: int = 0


def load(
    data: str = "auto",
    data_dir: Path | None = None,
    *,
    csv: Path | None = None,
    csv_test: Path | None = None,
    label_column: str = "",
    text_columns: str = "",
    tokenizer: TokenizerName = "basic_english",
    min_frequency: int = 1,
    max_len: int = 256,
    keep: Keep = "both",
    val_fraction: float = 0.1,
    unlabelled: bool = False,
) -> Reviews:
    """Read, split and tokenize the reviews, or take it all from the cache.

    csv, csv_test: a training table, and a test table if there is one, in place of the dataset;
    columns as `own_texts.read_labelled` names them. keep: which tokens of a review longer than
    `max_len` stay: its first, its last, or both halves' worth. unlabelled: read the reviews without
    a label too, for the vocabulary and for pretraining. Raises UserError on data it cannot use.
    """
    cache = cache_folder(data_dir)
    how = {"tokenizer": tokenizer, "min_frequency": min_frequency}
    key: dict[str, Any] = {**how, "val_fraction": val_fraction}
    if csv:
        tables = [path for path in (csv, csv_test) if path]
        source = own_source(csv, tables, data_dir)
        table = read_table(tables, label_column, text_columns, val_fraction)
        text.warn_unspaced(table.texts, tokenizer)
        key |= {"label_column": label_column, "text_columns": text_columns}
    else:
        source, table = obtain(IMDB, data, data_dir), None
        others = [file_of_films(need) for need in IMDB.needs] + [WITHOUT_LABEL] * unlabelled
        files = listed(source.folder, [each for each in others if (source.folder / each).exists()])
        key |= {"others": content_digest(files, source.folder, cache), "unlabelled": unlabelled}

    def build() -> Arrays:
        raw = table or read_folders(source.folder, val_fraction, unlabelled)
        same = hashes(text.clean(each).lower() for each in raw.texts)
        is_train = raw.split == SPLITS.index("train")
        labelled_training = is_train | (raw.split == SPLITS.index("val"))
        fitted = np.flatnonzero(is_train | (raw.split == UNLABELLED))
        return {
            **text.pack(*text.prepare(raw.texts, fitted, **how)),
            "names": raw.names,
            "labels": raw.labels,
            "split": raw.split,
            "seen": np.isin(same, same[labelled_training]),
            "films": np.array(raw.films),
        }

    key["data"] = source.checksum
    kept = cached(cache, "reviews", key, build, made_by=[text, own_texts])
    vocabulary, every = text.unpack(kept, tokenizer)
    rows = {name: np.flatnonzero(kept["split"] == number) for number, name in enumerate(SPLITS)}
    whole = {name: every.rows(own) for name, own in rows.items()}
    unlabelled_rows = np.flatnonzero(kept["split"] == UNLABELLED)
    return Reviews(
        source=source,
        vocabulary=vocabulary,
        tokens={name: tokens.truncated(max_len, keep) for name, tokens in whole.items()},
        labels={name: torch.tensor(kept["labels"][own]).float() for name, own in rows.items()},
        cache=cache,
        whole=whole,
        names={name: [kept["names"][row] for row in own] for name, own in rows.items()},
        seen=torch.from_numpy(kept["seen"][rows["test"]]),
        films=int(kept["films"]),
        learnable=every.rows(np.concatenate([rows["train"], unlabelled_rows])),
        has_files=table is None,
    )


def read_table(
    tables: Sequence[Path], label_column: str, text_columns: str, val_fraction: float
) -> Raw:
    """The rows of the user's tables. Raises UserError where they cannot be used."""
    table = own_texts.read_labelled(
        tables,
        label_column=label_column,
        text_columns=text_columns,
        val_fraction=val_fraction,
        names=LABELS,
    )
    return Raw(table.texts, table.texts, table.labels.numpy(), table.split.numpy())


def read_folders(folder: Path, val_fraction: float, unlabelled: bool) -> Raw:
    """The dataset, or files laid out in the same way. Raises UserError where it cannot be used."""
    paths, names = [], []
    for need in IMDB.needs:
        own = review_files(folder / need)
        paths += own
        names += film_names(own, folder / file_of_films(need))
    texts = read_reviews(paths)
    is_test = np.array([path.parts[-3] == "test" for path in paths])
    same, films = hashes(text.clean(each).lower() for each in texts), hashes(names)
    split = split_rows(is_test, same, films, val_fraction)
    is_known = any((folder / file_of_films(need)).is_file() for need in IMDB.needs)
    if unlabelled and (folder / WITHOUT_LABEL).is_dir():
        known = {letters(texts[row]) for row in np.flatnonzero(is_test)}
        own = review_files(folder / WITHOUT_LABEL)
        for path, body in zip(own, read_reviews(own), strict=True):
            if letters(body) not in known:  # it is no test review
                paths.append(path)
                texts.append(body)
    return Raw(
        texts,
        names=[path.relative_to(folder).as_posix() for path in paths],
        labels=np.array([path.parent.name == "pos" for path in paths], np.int64),
        split=np.append(split, np.full(len(paths) - len(split), UNLABELLED)),
        films=len(np.unique(films[~is_test])) if is_known else 0,
    )


def review_files(folder: Path) -> list[Path]:
    """The .txt files of a folder that are not hidden, by the number that their names begin with."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if others := sorted(path.name for path in paths if path.suffix != ".txt"):
        warn(f"{folder}: {len(others)} files that are not .txt were left out ({others[0]}, ...)")
    paths = [path for path in paths if path.suffix == ".txt"]
    return sorted(paths, key=lambda path: (review_number(path), path.name))


def review_number(path: Path) -> int:
    """127 of 127_8.txt, the line of its film; -1 of other names."""
    match = FILE_NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def read_reviews(paths: Sequence[Path]) -> list[str]:
    """The texts of files, one review each. Raises UserError where one is no text."""
    decoded = [decode(path.read_bytes(), path) for path in paths]
    odd = [(path, other) for path, (_, other) in zip(paths, decoded, strict=True) if other]
    if odd:
        name, encoding = odd[0][0].name, odd[0][1]
        warn(f"{len(odd):,} reviews are not UTF-8 ({name}, ...): they are read as {encoding}")
    return [body for body, _ in decoded]


def letters(body: str) -> str:
    """The letters and digits of a text, by which copies are recognised."""
    return re.sub(r"\W|_", "", text.clean(body).lower())


def file_of_films(need: str) -> str:
    """The file that names the film of each review of a folder: train/pos -> train/urls_pos.txt."""
    return need.replace("/", "/urls_") + ".txt"


def film_names(paths: Sequence[Path], file: Path) -> list[str]:
    """The address of each review's film in `file`; where unknown, the review's own path.

    Raises UserError where the file of addresses is too short.
    """
    addresses = text.read_text(file).splitlines() if file.is_file() else []
    lines = [review_number(path) for path in paths]
    if addresses and max(lines, default=-1) >= len(addresses):
        raise UserError(
            f"{file} has {len(addresses):,} lines, but review {max(lines)} names its film on a "
            "later one: take the whole file, or remove it"
        )
    return [
        addresses[line] if addresses and line >= 0 else "/".join(path.parts[-3:])
        for path, line in zip(paths, lines, strict=True)
    ]


def hashes(names: Iterable[str]) -> np.ndarray:
    """int64 numbers that stand for texts; the same in every process, unlike Python's own hash."""
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), np.int64)


def split_rows(
    is_test: np.ndarray, same: np.ndarray, film: np.ndarray, val_fraction: float
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
    _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(sizes))
    most = max(1, round(val_fraction * len(train)))
    chosen = order[np.cumsum(sizes[order]) <= most]
    split = np.where(is_test, SPLITS.index("test"), SPLITS.index("train"))
    split[train[np.isin(group, chosen)]] = SPLITS.index("val")
    for number, name in enumerate(SPLITS):
        if number not in split:
            raise UserError(
                f"the split {name} would have no reviews: {len(train)} training reviews are too "
                "few, or of too few films; add some, or change --val-fraction"
            )
    return split


# The generated sample: reviews that mix positive and negative words. One in ten of these is
# negated, some reviews carry the wrong label: a trained model is good, not perfect.

COUNTS = {"train": 480, "test": 160}  # reviews of each class
WITHOUT_LABEL_COUNT = 600
PER_FILM = 6
WRONG_LABELS = 0.05
POSITIVE = (
    "wonderful superb moving brilliant charming gripping delightful excellent touching funny "
    "masterful beautiful clever fresh powerful perfect"
)
NEGATIVE = (
    "awful dull boring terrible tedious clumsy wooden predictable lousy weak annoying "
    "pointless shallow silly bland worst"
)
COMMON = (
    "the a film movie story plot actor scene it was and of with director ending music camera "
    "character is in that script first last hour cast role dialogue , . i this her his"
)
ODDITIES = ["<br /><br />", "&quot;", "...", "--", "!", "it's"]


def write_sample(folder: Path) -> None:
    """Write {train,test}/{pos,neg}, train/unsup, urls_{pos,neg}.txt and a file of vectors."""
    rng = np.random.default_rng(20_110_619)
    kept: dict[str, str] = {}  # the last training review of each class
    for part, count in COUNTS.items():
        for name in FOLDERS:
            films, body = [], ""
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                positive = (name == "pos") != (rng.random() < WRONG_LABELS)
                if number % 40 != 39:  # else the text of the review before, once more
                    body = sample_review(rng, positive)
                if part == "test" and number % 40 == 20:  # it stands in train too
                    body = kept[name]
                if part == "train":
                    kept[name] = body
                rating = int(rng.integers(7, 11) if name == "pos" else rng.integers(1, 5))
                path = folder / part / name / f"{number}_{rating}.txt"
                path.write_text(body, encoding="utf-8")
                films.append(f"http://films.example/{part}/{number // PER_FILM}\n")
            path = folder / file_of_films(f"{part}/{name}")
            path.write_text("".join(films), encoding="utf-8")
    groups = (POSITIVE, NEGATIVE, COMMON + " not ! ' s")
    text.write_sample_vectors(folder / GLOVE_FILE, groups, rng)
    (folder / WITHOUT_LABEL).mkdir()
    for number in range(WITHOUT_LABEL_COUNT):
        body = sample_review(rng, rng.random() < 0.5)
        (folder / WITHOUT_LABEL / f"{number}_0.txt").write_text(body, encoding="utf-8")


def sample_review(rng: np.random.Generator, positive: bool) -> str:
    """One review, as a text."""
    words = []
    for draw in rng.random(int(rng.integers(8, 90))):
        if draw > 0.97:
            group = ODDITIES
        elif draw > 0.16:
            group = COMMON.split()
        else:
            likes = positive == (draw > 0.032)  # one in five words of feeling is of the other kind
            negated = rng.random() < 0.1
            words += ["not"] * negated
            group = (POSITIVE if likes != negated else NEGATIVE).split()
        words.append(group[rng.integers(len(group))])
    return " ".join(words)


IMDB = DataSet(
    name="Large Movie Review Dataset",
    folder="aclImdb",
    needs=tuple(f"{part}/{folder}" for part in ("train", "test") for folder in FOLDERS),
    remote=(
        RemoteFile(
            path="aclImdb_v1.tar.gz",
            urls=("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
            sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
            unpack=True,
        ),
    ),
    help="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz, unpacked",
    make_sample=write_sample,
)
