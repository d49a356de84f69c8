"""Say whether a review praises or blames, and which words decided it.

python lstm_sentiment/predict.py "A film that I shall gladly see again."
python lstm_sentiment/predict.py --file review.txt        a whole file as one review
python lstm_sentiment/predict.py < reviews.txt            a review on each line

A word's effect is measured, not guessed at: the change of the logit when every occurrence of the
word becomes <unk>, as word dropout did in training (leave one out).
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import device, ensemble, runs
from common.config import cli
from common.errors import UserError, require
from common.ragged import pad
from common.text import UNK, Vocabulary, read_lines, read_utf8

import torch
import tyro
from torch import Tensor, nn

from lstm_sentiment.model import SETTINGS, SentimentLSTM

BATCH = 64  # rows


@dataclass
class Prediction:
    """One review: how likely it is positive, and the words that moved the logit most."""

    text: str
    probability: float
    words: list[tuple[str, float]]  # the largest first; above 0 = towards positive

    @property
    def verdict(self) -> str:
        return "positive" if self.probability > 0.5 else "negative"


class Predictor:
    """A trained run, ready for new reviews."""

    def __init__(self, folder: Path, place: torch.device):
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        state = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        self.vocabulary = Vocabulary.from_state(state)
        self.max_len, self.keep, self.place = settings["max_len"], settings["keep"], place
        self.models = ensemble.load(folder, partial(self.make_model, settings), place)

    def make_model(self, settings: dict[str, Any], weights: dict[str, Tensor]) -> nn.Module:
        """The architecture of the run, with an embedding as wide as its weights have it."""
        form = {name: settings[name] for name in SETTINGS}
        form["embedding_size"] = weights["embedding.weight"].shape[1]
        return SentimentLSTM(len(self.vocabulary), **form, region_keys=weights.get("region_keys"))

    @torch.no_grad()
    def __call__(self, text: str, shown: int) -> Prediction:
        tokens = self.vocabulary.encode([text]).truncated(self.max_len, self.keep)
        ids, lengths = pad(tokens.to(self.place), torch.tensor([0]))  # (1, tokens), (1,)
        logits = self.logits(ids, lengths)
        words = self.effects(ids, lengths, logits)[:shown] if shown else []
        return Prediction(text, logits.sigmoid().mean().item(), words)

    def logits(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """What each model says, (models, texts)."""
        return torch.stack([model(ids, lengths) for model in self.models])

    def effects(self, ids: Tensor, lengths: Tensor, logits: Tensor) -> list[tuple[str, float]]:
        """Each known word of a review and how far it moves the logit, on average over models."""
        known = [word for word in ids.unique().tolist() if word != UNK]
        effects: list[float] = []
        for start in range(0, len(known), BATCH):
            left_out = torch.tensor(known[start : start + BATCH], device=ids.device)
            without = ids.where(ids != left_out[:, None], UNK)  # (words, tokens)
            moved = logits - self.logits(without, lengths.expand(len(left_out)))  # (models, words)
            effects += moved.mean(0).tolist()
        named = [self.vocabulary.words[word] for word in known]
        return sorted(zip(named, effects, strict=True), key=lambda pair: -abs(pair[1]))


@dataclass
class Config:
    """Judge reviews with a trained run."""

    texts: tyro.conf.Positional[tuple[str, ...]] = ()  # the reviews; none = --file, or a line each
    file: str = ""  # a file that holds one review
    words: int = 5  # how many of the words that moved the score most are shown
    run: str = ""  # folder or name of a run; empty = the latest finished one
    out: str = ""  # folder of the runs; empty = runs/ in the repository
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...


def read_texts(config: Config) -> Iterator[str]:
    """The reviews given; blank ones are left out.

    Raises:
        UserError: text that is not UTF-8, or no such file.
    """
    if config.texts or config.file:
        given = [*config.texts, *([read_utf8(Path(config.file))] if config.file else [])]
        yield from (text for text in given if text.strip())
        return
    yield from read_lines(sys.stdin.buffer)


def main(config: Config) -> list[Prediction]:
    """Print two lines for each review, and return the predictions."""
    require(config.words >= 0, f"--words must not be negative, and is {config.words}")
    folder = runs.find_trained("lstm_sentiment", config.run, config.out, "vocabulary.json")
    predictor = Predictor(folder, device.choose(config.device))
    predictions = []
    for text in read_texts(config):
        made = predictor(text, config.words)
        predictions.append(made)
        print(f"{made.verdict}  {made.probability:.3f}  {' '.join(text.split())[:90]}")
        if made.words:
            print("    " + ", ".join(f"{word} {effect:+.2f}" for word, effect in made.words))
    if not predictions:
        raise UserError("there is no text: give one in quotes, a --file, or lines on the input")
    return predictions


if __name__ == "__main__":
    cli(Config, main)
