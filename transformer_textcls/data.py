"""AG News, or the user's own CSV, as token numbers; and the generated sample.

AG News (Zhang et al. 2015): 120,000 training and 7,600 test headlines with the first sentences of
their articles, in four classes. Its CSV has no header: class (1 to 4), title, description.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import text
from common.cache import Arrays, cached, fingerprint
from common.corpus import SPLIT_SEED, SPLITS, Corpus, pack, unpack
from common.downloads import DataSet, RemoteFile, Source, data_root, obtain
from common.errors import UserError

import torch
from torch import Tensor

from transformer_textcls import sample

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
# The arguments of `load` that are settings of a run.
SETTINGS = (
    "data",
    "data_dir",
    "csv_test",
    "label_column",
    "text_columns",
    "tokenizer",
    "min_frequency",
    "max_size",
    "max_len",
    "val_share",
)
TEST_SHARE = 0.1  # of a user's CSV that comes without a test file
_BASE = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/"
AG_NEWS = DataSet(
    name="AG News",
    folder="ag_news",
    needs=("train.csv", "test.csv"),
    remote=(
        RemoteFile("train.csv", (_BASE + "train.csv",), md5="b1a00f826fdfbd249f79597b59e1dc12"),
        RemoteFile("test.csv", (_BASE + "test.csv",), md5="d52ea96a97a2d943681189a97654912d"),
    ),
    help=f"train.csv and test.csv, from {_BASE}",
    make_sample=lambda folder: sample.write(folder),
)
FULL_TRAIN = 120_000  # rows


@dataclass(frozen=True)
class Table:
    """The rows of one CSV file: the label as written, and the text columns joined by a blank."""

    labels: list[str]
    texts: list[str]


@dataclass(frozen=True, kw_only=True)
class News(Corpus):
    """News items with int64 labels, the number of the class."""

    classes: tuple[str, ...]
    texts: dict[str, list[str]]  # as written
    key: dict[str, Any]  # what the rows of the splits depend on


def load(
    csv_file: str = "",
    *,
    data: str = "auto",
    data_dir: str = "",
    csv_test: str = "",
    label_column: str = "",
    text_columns: str = "",
    tokenizer: text.TokenizerName = "basic_english",
    min_frequency: int = 1,
    max_size: int = 0,
    max_len: int = 128,
    val_share: float = 0.05,
) -> News:
    """Read, split, tokenise (or take the tokens from the cache) and cut to `max_len` tokens.

    csv_file: the user's own rows instead of AG News; csv_test: their test rows, else a tenth of
    csv_file. label_column, text_columns (comma-separated): names of a header; empty means no
    header, the label first and every other column text. Raises UserError on data it cannot use.
    """
    if csv_file:
        files = [Path(name).expanduser() for name in (csv_file, csv_test) if name]
        source = Source(files[0].name, "real", files[0].parent, fingerprint(_existing(files))[:16])
        names = None
    else:
        source = obtain(AG_NEWS, data, data_dir)
        files = [source.folder / name for name in AG_NEWS.needs]
        names = {str(number): name for number, name in enumerate(CLASSES, start=1)}
    tables = [read_table(path, label_column, text_columns) for path in files]
    classes, labels = number_labels(tables, files, names)
    rows = split_rows(labels, val_share)
    texts = [line for table in tables for line in table.texts]
    rows_read = len(tables[0].texts)
    if source.kind == "real" and not csv_file and rows_read != FULL_TRAIN:
        note = f"{rows_read:,} of {FULL_TRAIN:,} training rows"
        source = dataclasses.replace(source, note=note)

    cache = data_root(data_dir) / "cache"
    key = {
        "files": fingerprint(files),
        "columns": [label_column, text_columns],
        "val_share": val_share,
    }
    how = {"tokenizer": tokenizer, "min_frequency": min_frequency, "max_size": max_size}

    def build() -> Arrays:
        return pack(*text.prepare(texts, rows["train"], **how))

    vocabulary, tokens = unpack(cached(cache, "news", {**key, **how}, build), tokenizer)
    tokens, all_labels = tokens.truncated(max_len), torch.cat(labels)
    return News(
        source=source,
        vocabulary=vocabulary,
        tokens={split: tokens.rows(rows[split]) for split in SPLITS},
        labels={split: all_labels[rows[split]] for split in SPLITS},
        cache=cache,
        classes=classes,
        texts={split: [texts[row] for row in rows[split]] for split in SPLITS},
        key=key,
    )


def read_table(path: Path, label_column: str = "", text_columns: str = "") -> Table:
    """The rows of a CSV file; quotes and line breaks inside fields are the csv module's matter.

    Raises UserError, with the line, where the file is damaged or a named column is missing.
    """
    csv.field_size_limit(2**31 - 1)  # the module's own limit stops at long texts
    reader = csv.reader(io.StringIO(text.read_utf8(path), newline=""), strict=True)
    labels, texts, columns = [], [], None
    try:
        header = next(reader, []) if label_column or text_columns else []
        label_at = _column(header, label_column, path) if label_column else 0
        text_at = [_column(header, name.strip(), path) for name in text_columns.split(",") if name]
        for row in reader:
            if not row:
                continue
            columns = columns or (len(header) or len(row))
            if len(row) != columns or columns < 2:
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(row)} columns where {max(2, columns)} "
                    "were expected: a label and a text, separated by commas; mend the line"
                )
            labels.append(row[label_at].strip())
            chosen = text_at or [at for at in range(columns) if at != label_at]
            texts.append(" ".join(row[at] for at in chosen))
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}, is damaged ({error}): mend the line"
        ) from error
    if not labels:
        raise UserError(f"{path} holds no rows: give a file with a label and a text on each line")
    return Table(labels, texts)


def number_labels(
    tables: Sequence[Table], files: Sequence[Path], names: dict[str, str] | None
) -> tuple[tuple[str, ...], list[Tensor]]:
    """The classes' names, and each table's labels as numbers.

    names: the only labels allowed and the classes they stand for; None takes the labels of the
    first (training) table, in their order. Raises UserError on any other label.
    """
    names = names or {label: label for label in sorted(set(tables[0].labels), key=_numeric_first)}
    if len(names) < 2:
        raise UserError(f"{files[0]} has only one class: give rows of two classes or more")
    number = {label: at for at, label in enumerate(names)}
    for table, path in zip(tables, files, strict=True):
        for row, label in enumerate(table.labels, start=1):
            if label not in number:
                raise UserError(
                    f"{path}, row {row}: the label {label!r} is none of "
                    f"{', '.join(list(names)[:10])}; correct it, or remove the row"
                )
    numbers = [torch.tensor([number[label] for label in table.labels]) for table in tables]
    return tuple(names.values()), numbers


def split_rows(labels: Sequence[Tensor], val_share: float) -> dict[str, Tensor]:
    """Row numbers of each split, counted over all tables; the same for every seed of a run.

    Validation is drawn from the first table, `val_share` of each class; so is the test split
    where there is no second table. Raises UserError where a class has too few rows.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    shares = [val_share] if len(labels) == 2 else [val_share, TEST_SHARE]
    drawn: list[list[Tensor]] = [[] for _ in range(len(shares) + 1)]
    for label in labels[0].unique():
        rows = (labels[0] == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        sizes = [max(1, round(len(rows) * share)) for share in shares]
        if sum(sizes) >= len(rows):
            raise UserError(
                f"a class has only {len(rows)} rows, too few to split: give more of them, or "
                "name --label-column and --text-columns if the first line is a header"
            )
        parts = rows.split([*sizes, len(rows) - sum(sizes)])
        for part, own in zip(drawn, parts, strict=True):
            part.append(own)
    val, *test, train = [torch.cat(part).sort().values for part in drawn]
    if len(labels) == 2:
        test = [torch.arange(len(labels[1])) + len(labels[0])]
    return {"train": train, "val": val, "test": test[0]}


def _existing(files: Sequence[Path]) -> Sequence[Path]:
    for path in files:
        if not path.is_file():
            raise UserError(f"there is no file {path}: check the path")
    return files


def _column(header: list[str], name: str, path: Path) -> int:
    if name not in header:
        raise UserError(f"{path} has no column {name!r}: its columns are {', '.join(header)}")
    return header.index(name)


def _numeric_first(label: str) -> tuple[bool, float, str]:
    return (False, float(label), label) if label.isdecimal() else (True, 0.0, label)
