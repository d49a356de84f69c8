"""AG News, or the user's own table, as token numbers; and the generated sample.

AG News (Zhang et al. 2015): 120,000 training and 7,600 test headlines with the first sentences of
their articles, in four classes. Its CSV has no header: class (1 to 4), title, description.
"""

import csv as csv_files
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common import own_texts, text
from common.checkpoints import Arrays, cached
from common.downloads import DataSet, RemoteFile, cache_folder, obtain, own_source
from common.text import GLOVE_FILE, Corpus, TokenizerName

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
LABELS = {str(number): name for number, name in enumerate(CLASSES, start=1)}
FULL_TRAIN = 120_000  # rows


@dataclass(frozen=True, kw_only=True)
class News(Corpus):
    """News items, or other texts, with int64 labels, the number of the class."""

    classes: tuple[str, ...]
    texts: dict[str, list[str]]  # as written
    key: dict[str, Any]  # what the rows of the splits depend on, for caches


def load(
    *,
    data: str = "auto",
    data_dir: Path | None = None,
    csv: Path | None = None,
    csv_test: Path | None = None,
    label_column: str = "",
    text_columns: str = "",
    tokenizer: TokenizerName = "basic_english",
    min_frequency: int = 1,
    max_size: int = 0,
    max_len: int = 128,
    val_fraction: float = 0.05,
) -> News:
    """Read, split, tokenize (or take the tokens from the cache) and cut to `max_len` tokens.

    csv, csv_test, label_column, text_columns: the user's own table in place of AG News, see
    `own_texts.read_labelled`. Raises UserError on data it cannot use.
    """
    names = None
    if csv:
        files = [csv, csv_test] if csv_test else [csv]
        source = own_source(csv, files, data_dir)
    else:
        source = obtain(AG_NEWS, data, data_dir)
        files = [source.folder / name for name in AG_NEWS.needs]
        label_column, text_columns, names = "1", "2,3", LABELS
    table = own_texts.read_labelled(
        files,
        label_column=label_column,
        text_columns=text_columns,
        val_fraction=val_fraction,
        names=names,
    )
    text.warn_unspaced(table.texts, tokenizer)
    trained_on = len(table.rows["train"]) + len(table.rows["val"])
    if not csv and source.kind == "real" and trained_on != FULL_TRAIN:
        source = replace(source, note=f"{trained_on:,} of {FULL_TRAIN:,} training rows")

    columns = {"label": label_column, "texts": text_columns}
    key = {"data": source.checksum, "val_fraction": val_fraction, **columns}
    how = {"tokenizer": tokenizer, "min_frequency": min_frequency, "max_size": max_size}

    def build() -> Arrays:
        return text.pack(*text.prepare(table.texts, table.rows["train"], **how))

    cache = cache_folder(data_dir)
    kept = cached(cache, "news", key | how, build, [text, own_texts])
    vocabulary, tokens = text.unpack(kept, tokenizer)
    tokens = tokens.truncated(max_len)
    return News(
        source=source,
        vocabulary=vocabulary,
        tokens={split: tokens.rows(rows) for split, rows in table.rows.items()},
        labels={split: table.labels[rows] for split, rows in table.rows.items()},
        texts={split: [table.texts[row] for row in rows] for split, rows in table.rows.items()},
        classes=table.classes,
        cache=cache,
        key=key,
    )


# The sample: each text has a few words of its topic among common ones, some of another topic, and
# one label in twenty is wrong: a trained model is good, but not perfect.

ROWS = {"train.csv": 1600, "test.csv": 400}
WRONG_LABELS = 0.05

TOPICS = (
    "minister troops election embassy border treaty parliament militia hostage refugees ceasefire "
    "president rebels diplomat sanctions protest premier insurgents summit coup province "
    "ambassador bomb peace capital regime voters envoy convoy war",
    "coach striker inning quarterback goalkeeper league playoff tournament medal championship "
    "defender touchdown pitcher stadium referee season sprinter olympic racket batsman rookie "
    "cup penalty marathon wicket captain final score team match",
    "shares profit earnings merger investors bank quarterly dividend retailer inflation bonds "
    "forecast revenue takeover stocks economy oil prices exports lender deficit fund currency "
    "analyst airline jobless sales chief market dollar",
    "software browser satellite chip researchers server wireless virus spacecraft laptop "
    "internet telescope genome download gadget encryption spam processor search robot planet "
    "network users desktop scientists console handset patch web data",
)
COMMON = (
    "said after new over year two first more would last their week could against plan report "
    "group people state world may day three next time high country under company big end offer "
    "deal open lead public record back early move strong second national top set way part"
)
AGENCIES = ("(Reuters)", "(AP)", "(AFP)", "")
# What the real files hold: broken entities, backslashes, quotes and tags.
ODDITIES = (" #39;s", "\\", ",", " quot;", " &lt;br&gt;", '"', " -", "  #36;46")


def write_sample(folder: Path) -> None:
    """Write train.csv, test.csv and a file of vectors into `folder`."""
    rng = np.random.default_rng(20_041_122)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in ROWS.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv_files.writer(file, quoting=csv_files.QUOTE_ALL)
            writer.writerows(sample_row(rng) for _ in range(count))
    groups = (*TOPICS, COMMON, "reuters ap afp ( ) . , ' s")
    text.write_sample_vectors(folder / GLOVE_FILE, groups, rng)


def sample_row(rng: np.random.Generator) -> tuple[int, str, str]:
    """Class from 1, title, description."""
    topic = int(rng.integers(4))
    title = " ".join(sample_words(rng, topic, int(rng.integers(4, 9)))).title()
    body = [
        word + str(rng.choice(ODDITIES)) if rng.random() < 0.06 else word
        for word in sample_words(rng, topic, int(rng.integers(8, 26)))
    ]
    label = topic if rng.random() > WRONG_LABELS else int(rng.integers(4))
    return label + 1, f"{title} {rng.choice(AGENCIES)}".strip(), f"{' '.join(body)}."


def sample_words(rng: np.random.Generator, topic: int, count: int) -> list[str]:
    """Of the topic, of any topic, or common."""
    words = []
    for kind in rng.random(count):
        own, other = TOPICS[topic], TOPICS[rng.integers(4)]
        pool = own if kind < 0.14 else other if kind < 0.22 else COMMON
        words.append(str(rng.choice(pool.split())))
    return words


BASE = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/"
AG_NEWS = DataSet(
    name="AG News",
    folder="ag_news",
    needs=("train.csv", "test.csv"),
    remote=(
        RemoteFile("train.csv", (BASE + "train.csv",), md5="b1a00f826fdfbd249f79597b59e1dc12"),
        RemoteFile("test.csv", (BASE + "test.csv",), md5="d52ea96a97a2d943681189a97654912d"),
    ),
    help=f"train.csv and test.csv, from {BASE}",
    make_sample=write_sample,
)
