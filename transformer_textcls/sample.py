"""A small made-up set in AG News's format, with vectors in GloVe's: for a first look offline.

Each text has a few words of its topic among common ones, some of another topic, and one label in
twenty is wrong: a trained model is good, but not perfect.
"""

import csv
from pathlib import Path

from common.vectors import GLOVE_FILE, write_vectors

import numpy as np

ROWS = {"train.csv": 1600, "test.csv": 400}
WRONG_LABELS = 0.05
SIZE = 100  # numbers in a vector

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


def write(folder: Path) -> None:
    """Write train.csv, test.csv and a vectors file into `folder`."""
    rng = np.random.default_rng(20_041_122)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in ROWS.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows(_row(rng) for _ in range(count))
    _write_vectors(rng, folder / GLOVE_FILE)


def _row(rng: np.random.Generator) -> tuple[int, str, str]:
    """Class from 1, title, description."""
    topic = int(rng.integers(4))
    title = " ".join(_words(rng, topic, int(rng.integers(4, 9)))).title()
    body = [
        word + str(rng.choice(ODDITIES)) if rng.random() < 0.06 else word
        for word in _words(rng, topic, int(rng.integers(8, 26)))
    ]
    label = topic if rng.random() > WRONG_LABELS else int(rng.integers(4))
    return label + 1, f"{title} {rng.choice(AGENCIES)}".strip(), f"{' '.join(body)}."


def _words(rng: np.random.Generator, topic: int, count: int) -> list[str]:
    words = []
    for kind in rng.random(count):
        own, other = TOPICS[topic], TOPICS[rng.integers(4)]
        pool = own if kind < 0.14 else other if kind < 0.22 else COMMON
        words.append(str(rng.choice(pool.split())))
    return words


def _write_vectors(rng: np.random.Generator, path: Path) -> None:
    """Words of a topic lie near one another; one word in ten has no vector."""
    words, rows = [], []
    for group in (*TOPICS, COMMON, "reuters ap afp ( ) . , ' s"):
        centre = rng.normal(0, 0.25, SIZE)
        for word in group.split():
            if rng.random() > 0.1:
                words.append(word)
                rows.append(centre + rng.normal(0, 0.4, SIZE))
    write_vectors(path, words, np.array(rows))
