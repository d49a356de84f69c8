"""Say what a text is about.

    python transformer_textcls/predict.py "Oil prices rise again" "Cup final goes to penalties"
    python transformer_textcls/predict.py < headlines.txt                        a text on each line
    python transformer_textcls/predict.py --file news.csv --text-column title --output answers.csv

Prints the class, its probability and the tokens that training never saw, a line for each text.
"""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from common import checkpoints, device
from common.answers import Answer, PredictConfig, read_inputs, report
from common.settings import cli, from_saved
from common.text import Vocabulary, pad
from common.trained import Trained, find_trained
from transformer_textcls import train

BATCH = 256  # texts


class Ensemble(nn.Module):
    """The models of a run: the mean of their probabilities."""

    def __init__(self, trained: Trained):
        super().__init__()
        config = from_saved(train.Config, trained.settings)
        classes = len(trained.preprocessing["classes"])
        self.models = nn.ModuleList()
        for weights in trained.weights:
            vectors = weights["embedding.weight"]  # (words, size)
            pair_keys = weights.get("pair_keys")
            model = train.make_model(config, len(vectors), classes, vectors, pair_keys)
            checkpoints.load_weights(model, weights, str(trained.folder))
            self.models.append(model)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Probabilities (batch, classes) of ids (batch, tokens) with `lengths` (batch,)."""
        return torch.stack([model(ids, lengths).softmax(1) for model in self.models]).mean(0)


def exported(trained: Trained) -> tuple[list[nn.Module], list[tuple[Tensor, Tensor]]]:
    """For common/export.py: the network of a run, and test texts as batches of its inputs."""
    tokens = train.load(from_saved(train.Config, trained.settings)).tokens["test"]
    batches = [pad(tokens, rows) for rows in torch.arange(9).split([5, 1, 3])]
    return [Ensemble(trained).eval()], batches


def main(config: PredictConfig) -> list[Answer]:
    """Print a line for each text, and return the predictions."""
    trained = find_trained("transformer_textcls", config.run, config.out)
    place = device.choose(config.device)
    network = Ensemble(trained).to(place).eval()
    vocabulary = Vocabulary(**trained.preprocessing["vocabulary"])
    max_len, classes = trained.settings["max_len"], trained.preprocessing["classes"]

    @torch.inference_mode()
    def answers() -> Iterator[Answer]:
        inputs = read_inputs(config)
        while batch := list(islice(inputs, BATCH)):
            tokens = vocabulary.encode([given.text for given in batch]).truncated(max_len)
            ids, lengths = pad(tokens.to(place), torch.arange(len(batch)))
            surest, labels = network(ids, lengths).max(1)  # (texts,) each
            for given, probability, label in zip(batch, surest.tolist(), labels, strict=True):
                unknown = vocabulary.unknown(given.text)
                remark = f"  [unknown: {', '.join(unknown[:10])}]" if unknown else ""
                extra = {"unknown": " ".join(unknown)}
                yield Answer(given, classes[label], probability, extra, remark)

    return report(config, answers(), trained.sample)


if __name__ == "__main__":
    cli(PredictConfig, main)
