"""A small made-up set in the format of the Large Movie Review Dataset, for a first look offline.

Reviews mix words of praise and of blame; one in ten of these is negated, some reviews carry the
wrong label, some texts occur twice: a trained model is good, but not perfect.
"""

from pathlib import Path

from common.vectors import GLOVE_FILE, write_vectors

import numpy as np

REVIEWS = {"train": 480, "test": 160}  # of each class
PER_FILM = 6
WRONG_LABELS = 0.05
SIZE = 100  # numbers in a vector

PRAISE = (
    "wonderful superb moving brilliant charming gripping delightful excellent touching funny "
    "masterful beautiful clever fresh powerful perfect"
)
BLAME = (
    "awful dull boring terrible tedious clumsy wooden predictable lousy weak annoying pointless "
    "shallow silly bland worst"
)
COMMON = (
    "the a film movie story plot actor scene it was and of with director ending music camera "
    "character is in that script first last hour cast role dialogue , . i this her his"
)
ODDITIES = ("<br /><br />", "&quot;", "...", "--", "!", "it's")


def write(folder: Path) -> None:
    """Write {train,test}/{pos,neg}/ID_RATING.txt, urls_{pos,neg}.txt and a vectors file."""
    rng = np.random.default_rng(20_110_619)
    kept: dict[str, str] = {}  # the last training review of each class
    for part, count in REVIEWS.items():
        for name in ("neg", "pos"):
            target = folder / part / name
            target.mkdir(parents=True)
            films, body = [], ""
            for number in range(count):
                positive = (name == "pos") != (rng.random() < WRONG_LABELS)
                if number % 40 != 39:  # else the text of the review before, once more
                    body = review(rng, positive)
                if part == "test" and number % 40 == 20:  # it stands in train too
                    body = kept[name]
                if part == "train":
                    kept[name] = body
                rating = int(rng.integers(7, 11) if name == "pos" else rng.integers(1, 5))
                (target / f"{number}_{rating}.txt").write_text(body, encoding="utf-8")
                films.append(f"http://films.example/{part}/{number // PER_FILM}\n")
            (folder / part / f"urls_{name}.txt").write_text("".join(films), encoding="utf-8")
    write_word_vectors(rng, folder / GLOVE_FILE)


def review(rng: np.random.Generator, positive: bool) -> str:
    words = []
    for draw in rng.random(int(rng.integers(8, 90))):
        if draw > 0.16:
            words.append(str(rng.choice(ODDITIES if draw > 0.97 else COMMON.split())))
            continue
        praises = positive == (draw > 0.032)  # one in five words of feeling is of the other kind
        negated = rng.random() < 0.1
        words += ["not"] * negated
        words.append(str(rng.choice((PRAISE if praises != negated else BLAME).split())))
    return " ".join(words)


def write_word_vectors(rng: np.random.Generator, path: Path) -> None:
    """Words of one kind lie near one another; one word in ten has no vector."""
    words, rows = [], []
    for group in (PRAISE, BLAME, COMMON + " not ! ' s"):
        centre = rng.normal(0, 0.25, SIZE)
        for word in group.split():
            if rng.random() > 0.1:
                words.append(word)
                rows.append(centre + rng.normal(0, 0.4, SIZE))
    write_vectors(path, words, np.array(rows))
