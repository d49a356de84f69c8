"""Say what a text is about.

    python transformer_textcls/predict.py "Oil prices rise again" "Cup final goes to penalties"
    python transformer_textcls/predict.py < headlines.txt

Prints the class, its probability and the tokens that training never saw, a line for each text.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import device, ensemble, runs
from common.config import cli
from common.errors import UserError
from common.ragged import pad
from common.text import Vocabulary, read_lines

import torch
import tyro
from torch import nn

from transformer_textcls.model import SETTINGS, TransformerClassifier

BATCH = 256  # texts


@dataclass
class Prediction:
    """One text: its most likely class, how likely, and its tokens that training never saw."""

    text: str
    label: str
    probability: float
    unknown: list[str]


class Predictor:
    """A trained run, ready for new texts."""

    def __init__(self, folder: Path, place: torch.device):
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        state = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        self.classes = state.pop("classes")
        self.vocabulary = Vocabulary.from_state(state)
        self.max_len, self.place = settings["max_len"], place
        self.models = ensemble.load(folder, partial(self.make_model, settings), place)

    def make_model(self, settings: dict[str, Any], weights: dict[str, torch.Tensor]) -> nn.Module:
        """The architecture of the run, with an embedding as wide as its weights have it."""
        return TransformerClassifier(
            len(self.vocabulary),
            len(self.classes),
            **{name: settings[name] for name in SETTINGS},
            vector_size=weights["embedding.weight"].shape[1],
        )

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> list[Prediction]:
        tokens = self.vocabulary.encode(texts).truncated(self.max_len).to(self.place)
        ids, lengths = pad(tokens, torch.arange(len(texts)))
        each = torch.stack([model(ids, lengths).softmax(1) for model in self.models])
        sure, best = each.mean(0).max(1)  # (texts,)
        return [
            Prediction(text, self.classes[label], probability, self.vocabulary.unknown(text))
            for text, label, probability in zip(texts, best.tolist(), sure.tolist(), strict=True)
        ]


@dataclass
class Config:
    """Classify texts with a trained run."""

    texts: tyro.conf.Positional[tuple[str, ...]] = ()  # the texts; none = lines of standard input
    run: str = ""  # folder or name of a run; empty = the latest finished one
    out: str = ""  # folder of the runs; empty = runs/ in the repository
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...


def read_texts(config: Config) -> Iterator[str]:
    """The texts of the command line, else the lines of standard input; blank ones are left out."""
    if config.texts:
        yield from (text for text in config.texts if text.strip())
        return
    yield from read_lines(sys.stdin.buffer)


def main(config: Config) -> list[Prediction]:
    """Print a line for each text, and return the predictions."""
    folder = runs.find_trained("transformer_textcls", config.run, config.out, "vocabulary.json")
    predictor = Predictor(folder, device.choose(config.device))
    texts, predictions = read_texts(config), []
    while batch := list(islice(texts, BATCH)):
        for made in predictor(batch):
            unknown = f"  [unknown: {', '.join(made.unknown[:10])}]" if made.unknown else ""
            print(f"{made.label:<12} {made.probability:.3f}  {made.text[:100]}{unknown}")
            predictions.append(made)
    if not predictions:
        raise UserError("there is no text: give one in quotes, or lines on standard input")
    return predictions


if __name__ == "__main__":
    cli(Config, main)
