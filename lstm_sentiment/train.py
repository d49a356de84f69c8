"""Tell whether a film review praises or blames, with LSTMs.

python lstm_sentiment/train.py                       the best LSTM of the project (the defaults)
python lstm_sentiment/train.py --recipe base         BaseLSTM: 3 layers, last state
python lstm_sentiment/train.py --recipe improved     ImprovedLSTM: 3 bidirectional layers, GloVe
python lstm_sentiment/train.py --pooling attention   another pooling over the states
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import checkpoints, ensemble, runs, training
from common.config import Settings, cli
from common.errors import require
from common.ragged import Keep
from common.text import TokenizerName, drop_words
from common.vectors import WordVectors

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lstm_sentiment import baselines, data, inspection
from lstm_sentiment.model import BASE, IMPROVED, SETTINGS, Pooling, SentimentLSTM

SMALL = {
    "hidden_size": 64, "regions": 0, "max_len": 256, "embedding_dropout": 0.0, "members": 1,
}  # fmt: skip
BEST = {"monitor": "val_accuracy", "mode": "max"}  # the epoch that is kept
PUBLISHED = {
    "BiLSTM with GloVe (bentrevett)": {"test_accuracy": 0.862},
    "attention network": {"test_accuracy": 0.905},
}


@dataclass
class Config(Settings):
    """Settings of lstm_sentiment."""

    RECIPES: ClassVar = {
        "base": {
            **SMALL, **BASE, "vectors": "none", "word_dropout": 0.1, "epochs": 6, "val_share": 0.1,
        },
        "improved": {
            **SMALL, **IMPROVED, "max_len": 400, "word_dropout": 0.2, "ema_decay": 0.995,
            "epochs": 5,
        },
    }  # fmt: skip

    # Training
    recipe: Literal["best", "base", "improved"] = "best"  # base, improved: 3 layers, last state
    epochs: int = 4  # passes over the training split
    batch_size: int = 64  # reviews a step, over all processes
    lr: float = 2e-3  # learning rate, at its highest
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    warmup_epochs: float = 0.2  # epochs over which the learning rate rises from zero
    weight_decay: float = 0.01  # on weight matrices only; never on biases and embeddings
    clip_norm: float = 1.0  # largest gradient norm; 0 = no clipping
    word_dropout: float = 0.5  # share of the training words replaced by <unk>

    # Model
    members: int = 2  # models, from different seeds, whose probabilities are averaged
    embedding_size: int = 100  # numbers in a word's vector; pretrained vectors decide it
    hidden_size: int = 128  # units of each LSTM, in each direction
    layers: int = 1  # LSTM layers
    bidirectional: bool = True  # read each review from both ends
    pooling: Pooling = "max"  # of the last layer's states; padded = at the last column, a mistake
    dropout: float = 0.5  # after each layer
    embedding_dropout: float = 0.1  # share of the vocabulary dropped in a batch
    weight_drop: float = 0.0  # share of the recurrent weights dropped in a batch
    forget_bias: float = 1.0  # start of the forget gates' bias
    regions: int = 100_000  # commonest word pairs that have a vector of their own; 0 = none
    vectors: str = "auto"  # auto, glove, none, or a file in GloVe's format
    train_embedding: bool = True  # train the word vectors too

    # Text
    tokenizer: TokenizerName = "basic_english"  # words = punctuation deleted; subword = pieces
    min_frequency: int = 2  # rarer words of the training split become <unk>
    max_size: int = 0  # largest vocabulary; 0 = no limit
    max_len: int = 512  # tokens kept of each review
    keep: Keep = "both"  # which: the first, the last, or both halves
    val_share: float = 0.05  # of the training part, held out by film to choose the best epoch
    baselines: bool = True  # measure the linear models too (about a minute)

    def check(self) -> None:
        super().check()
        sizes = ("members", "embedding_size", "hidden_size", "layers", "max_len", "min_frequency")
        self.check_at_least(1, *sizes)
        self.check_share("dropout", "embedding_dropout", "weight_drop", "word_dropout")
        share = self.val_share
        require(0 < share <= 0.5, f"--val-share must lie in 0 < x <= 0.5, not {share}")
        require(self.max_size == 0 or self.max_size > 2, "--max-size must be 0 or above 2")
        self.check_at_least(0, "regions")


def make_step(config: Config) -> training.Step:
    """Binary cross-entropy of the logit; on training batches with dropped words."""

    def step(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, int, dict]:
        ids, lengths, labels = batch  # (batch, tokens), (batch,), (batch,)
        if model.training:
            ids = drop_words(ids, config.word_dropout)
        logits = model(ids, lengths)  # (batch,)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        return loss, len(labels), {"accuracy": ((logits > 0) == labels.bool()).sum()}

    return step


def make_model(config: Config, reviews: data.Reviews, found: WordVectors | None) -> SentimentLSTM:
    """The model; pretrained vectors decide the size of its embedding."""
    settings = config.chosen(SETTINGS)
    if found is not None:
        settings |= {"embedding_size": found.matrix.shape[1], "vectors": found.matrix}
    regions = data.region_keys(reviews, config.regions)
    return SentimentLSTM(len(reviews.vocabulary), **settings, region_keys=regions)


def make_optimizer(config: Config, model: SentimentLSTM) -> torch.optim.Optimizer:
    """AdamW; embeddings have no weight decay: it would fade the rare words."""
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices, vectors = training.parameter_groups(model, config.weight_decay)
    vectors["params"] += [p for p in matrices["params"] if p in tables]
    matrices["params"] = [p for p in matrices["params"] if p not in tables]
    return torch.optim.AdamW([matrices, vectors], lr=config.lr, fused=True)


def main(config: Config) -> dict[str, Any]:
    """Train, choose each model's epoch on validation, report on test; returns the results."""
    run = runs.start("lstm_sentiment", config)
    reviews = data.load(**config.chosen(data.SETTINGS))
    run.describe_data(reviews.source, reviews.counts())
    found = reviews.find_vectors(config.vectors, config.data_dir, config.seed)
    inspection.describe(run, reviews, found, config.batch_size)
    state = reviews.vocabulary.state()
    if run.is_main:
        checkpoints.write_text(run.folder / "vocabulary.json", json.dumps(state))

    models, histories = [], []
    for seed, part in ensemble.members(run, config.members):
        model = make_model(config, reviews, found).to(run.device)
        if not models:
            run.describe_model(model, reviews.example(run.device))
        train = reviews.loader("train", config.batch_size, seed, run.device)
        val = reviews.loader("val", config.batch_size, seed, run.device)
        step, optimizer = make_step(config), make_optimizer(config, model)
        histories.append(training.fit(model, train, val, step, optimizer, config, part, **BEST))
        models.append(model)

    single = {}  # probabilities of being positive, (models, reviews)
    # Validation once more in the precision in which it chose the epochs.
    for split, precision in (("val", config.precision), ("test", "auto")):
        loader = reviews.loader(split, config.batch_size, config.seed, run.device)
        single[split] = ensemble.predict(models, loader, torch.sigmoid, precision)
    probabilities = single["test"].mean(0)
    figures, extra = inspection.figures(reviews, probabilities)
    figures["val_accuracy"] = inspection.accuracy(single["val"].mean(0), reviews.labels["val"])
    for split, each in single.items():
        figures[f"single_{split}_accuracy"] = inspection.accuracy(each, reviews.labels[split])
    inspection.report(run, histories, reviews, probabilities, extra)
    compared = baselines.evaluate(reviews) if config.baselines else {}
    return run.finish(figures, compared, PUBLISHED, extra)


if __name__ == "__main__":
    cli(Config, main)
