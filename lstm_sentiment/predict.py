"""Say whether a review is positive or negative, and which words decided it.

python lstm_sentiment/predict.py "A film that I shall gladly see again."
python lstm_sentiment/predict.py --file review.txt        a whole file as one review
python lstm_sentiment/predict.py < reviews.txt            a review on each line
python lstm_sentiment/predict.py --file reviews.csv --text-column review --output answers.csv

A word's effect is measured, not guessed at: the change of the logit when every occurrence of the
word becomes <unk>, as word dropout did in training (leave one out).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from common import device
from common.answers import Answer, Input, PredictConfig, read_inputs, report
from common.checkpoints import load_weights
from common.settings import at_least, cli, from_saved
from common.text import UNK, Vocabulary, pad
from common.trained import Trained, find_trained
from lstm_sentiment import train
from lstm_sentiment.data import CLASSES

BATCH = 64  # rows


@dataclass
class Config(PredictConfig):
    """Judge reviews with a trained run."""

    words: int = 5  # how many of the words that moved the score most are shown


class Predictor:
    """The models of a trained run, ready for new reviews."""

    def __init__(self, trained: Trained, place: torch.device):
        self.settings = from_saved(train.Config, trained.settings)
        self.vocabulary = Vocabulary(**trained.preprocessing["vocabulary"])
        self.models, self.place = [], place
        for weights in trained.weights:
            # Pretrained vectors decided the embedding's size.
            self.settings.embedding_size = weights["embedding.weight"].shape[1]
            model = train.build(self.settings, len(self.vocabulary), weights.get("region_keys"))
            load_weights(model, weights, str(trained.folder))
            self.models.append(model.to(place).eval())

    @torch.no_grad()
    def __call__(self, text: str, shown: int) -> tuple[float, list[tuple[str, float]]]:
        """The probability of being positive, and the words that moved the logit most.

        The largest effect comes first; above 0 = towards positive.
        """
        tokens = self.vocabulary.encode([text])
        tokens = tokens.truncated(self.settings.max_len, self.settings.keep)
        ids, lengths = pad(tokens.to(self.place), torch.tensor([0]))  # (1, tokens), (1,)
        logits = self.logits(ids, lengths)
        words = self.effects(ids, lengths, logits)[:shown] if shown else []
        return logits.sigmoid().mean().item(), words

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


def answer(predictor: Predictor, given: Input, shown: int) -> Answer:
    """One review's class, its probability of being positive, and the words that decided it."""
    if not given.text.strip():
        return Answer(given, "", float("nan"))
    probability, words = predictor(given.text, shown)
    listed = ", ".join(f"{word} {effect:+.2f}" for word, effect in words)
    remark = f"\n    {listed}" if words else ""
    return Answer(given, CLASSES[int(probability > 0.5)], probability, {"words": listed}, remark)


def exported(trained: Trained) -> tuple[list[nn.Module], list[tuple[Tensor, Tensor]]]:
    """For common/export.py: the networks of a run, and test reviews as batches of their inputs."""
    predictor = Predictor(trained, torch.device("cpu"))
    tokens = train.load(predictor.settings).tokens["test"]
    batches = [pad(tokens, rows) for rows in torch.arange(9).split([5, 1, 3])]
    return predictor.models, batches


def main(config: Config) -> list[Answer]:
    """Print two lines for each review, and return the answers."""
    at_least(0, words=config.words)
    trained = find_trained("lstm_sentiment", config.run, config.out)
    predictor = Predictor(trained, device.choose(config.device))
    answers = (answer(predictor, given, config.words) for given in read_inputs(config))
    return report(config, answers, trained.sample)


if __name__ == "__main__":
    cli(Config, main)
