"""Tell whether a film review is positive or negative, with LSTMs.

python lstm_sentiment/train.py                       the best supervised LSTM (the defaults)
python lstm_sentiment/train.py --recipe base         BaseLSTM: 3 layers, last state
python lstm_sentiment/train.py --recipe improved     ImprovedLSTM: 3 bidirectional layers, GloVe
python lstm_sentiment/train.py --recipe pretrained   50,000 reviews without a label too
python lstm_sentiment/train.py --csv reviews.csv     your own table, with a text and a label column
"""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch loads: see device.set_threads

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import training
from common.device import seed_everything
from common.runs import start
from common.settings import Settings, above, at_least, cli, fraction, libraries_warn, require, warn
from common.text import Keep, TokenizerName, Vectors, drop_words, pair_keys
from lstm_sentiment import baselines, data, evaluation, pretraining, self_training
from lstm_sentiment.model import Pooling, SentimentLSTM

# The two models of the published comparison: three layers of 64 units, the final state.
DEEP = {
    "layers": 3, "hidden_size": 64, "pooling": "last", "pretrain_epochs": 0, "regions": 0,
    "embedding_size": 100, "embedding_dropout": 0.0, "adversarial": 0.0, "lr": 2e-3,
    "embedding_lr": 1.0, "min_frequency": 2, "members": 1,
}  # fmt: skip
BASE = {
    **DEEP, "bidirectional": False, "max_len": 256, "word_dropout": 0.1, "epochs": 6,
    "val_fraction": 0.1,
}  # fmt: skip
IMPROVED = {
    **DEEP, "vectors": "auto", "ema_decay": 0.995, "epochs": 4, "batch_size": 32, "dropout": 0.4,
    "adversarial": 1.0,
}  # fmt: skip
# The reviews without a label too: their text for the vectors of words and pairs; and the LSTMs
# train once more, on all reviews, under the labels that they and a linear model gave.
PRETRAINED = {"unlabelled": True, "pretrain_epochs": 2, "self_training_epochs": 2}
SEED_STEP = 1000  # from the seed of one member to the next one's
PUBLISHED = {  # on the same test reviews; the last two learned from the unlabelled ones too
    "BiLSTM with GloVe (bentrevett)": {"test_accuracy": 0.862},
    "NB-SVM (Wang & Manning 2012)": {"test_accuracy": 0.9122},
    "one-hot LSTM (Johnson & Zhang 2016)": {"test_accuracy": 0.919},
    "sequence autoencoder (Dai & Le 2015)": {"test_accuracy": 0.928},
    "one-hot LSTM, unlabelled too (Johnson & Zhang 2016)": {"test_accuracy": 0.941},
}


@dataclass
class Config(Settings):
    RECIPES: ClassVar = {"base": BASE, "improved": IMPROVED, "pretrained": PRETRAINED}
    # One LSTM direction of 128 units, with AVX512-BF16 and without AMX: 76,000 tokens/s
    # in bfloat16, 87,000 in float32. With AMX it was not measured.
    BFLOAT16_ON_CPU: ClassVar = False

    # Training
    recipe: Literal["best", "base", "improved", "pretrained"] = "best"  # see the top of this file
    epochs: int = 3  # passes over the training split
    batch_size: int = 64  # reviews a step, over all processes
    lr: float = 3e-3  # learning rate, at its highest
    embedding_lr: float = 0.3  # learning rate of vectors of words and pairs, as a multiple of --lr
    schedule: training.Schedule = "cosine"  # course of the learning rate
    warmup_epochs: float = 0.2  # epochs over which the learning rate rises from zero
    weight_decay: float = 0.01  # on weight matrices only; never on biases and embeddings
    clip_norm: float = 1.0  # largest gradient norm; 0 = no clipping
    ema_decay: float = 0.0  # of averaged weights, a step; 0 = none
    word_dropout: float = 0.2  # fraction of the training words replaced by <unk>
    adversarial: float = 1.5  # length by which the inputs of a review move against it; 0 = not

    # Model
    members: int = 2  # models, from different seeds, whose probabilities are averaged
    embedding_size: int = 128  # numbers in a word's vector; pretrained vectors decide it
    hidden_size: int = 128  # units of each LSTM, in each direction
    layers: int = 1  # LSTM layers
    bidirectional: bool = True  # read each review from both ends
    pooling: Pooling = "max"  # of the last layer's states
    dropout: float = 0.5  # after each layer
    embedding_dropout: float = 0.1  # fraction of the vocabulary dropped in a batch
    forget_bias: float = 1.0  # start of the forget gates' bias
    regions: int = 200_000  # commonest word pairs that have a vector of their own; 0 = none
    vectors: Vectors = "none"  # none, glove, auto (where it is there), or a file in GloVe's format

    # Pretraining
    pretrain_epochs: int = 4  # passes over the text, without labels, for the vectors; 0 = none
    pretrain_lr: float = 0.02  # learning rate of the vectors, falling to zero
    pretrain_radius: int = 10  # tokens before and after a region that it learns to predict

    # Self-training
    unlabelled: bool = False  # read the reviews without a label too
    self_training_epochs: int = 0  # more, on reviews that these models labelled too; 0 = none

    # Text
    csv: Path | None = None  # a table of your own reviews, labels positive/negative, pos/neg or 1/0
    csv_test: Path | None = None  # its test table; without one a tenth of --csv is held out
    label_column: str = ""  # of the table: its name, or its number from 1; empty = recognised
    text_columns: str = ""  # of the table, between commas; empty = recognised
    tokenizer: TokenizerName = "basic_english"  # words = punctuation deleted; subword = pieces
    min_frequency: int = 5  # rarer words of the training split become <unk>
    max_len: int = 400  # tokens kept of each review
    keep: Keep = "both"  # which: the first, the last, or both halves
    val_fraction: float = 0.05  # of the training part, held out by film to choose the best epoch
    baselines: bool = True  # measure the linear models too (about a minute)

    def check(self) -> None:
        super().check()
        at_least(1, epochs=self.epochs, batch_size=self.batch_size, members=self.members)
        at_least(1, embedding_size=self.embedding_size, hidden_size=self.hidden_size)
        at_least(1, layers=self.layers, max_len=self.max_len, min_frequency=self.min_frequency)
        at_least(0, regions=self.regions, warmup_epochs=self.warmup_epochs)
        at_least(0, weight_decay=self.weight_decay, clip_norm=self.clip_norm)
        at_least(0, pretrain_epochs=self.pretrain_epochs, adversarial=self.adversarial)
        at_least(0, self_training_epochs=self.self_training_epochs)
        at_least(2, pretrain_radius=self.pretrain_radius)
        above(0, lr=self.lr, embedding_lr=self.embedding_lr, pretrain_lr=self.pretrain_lr)
        above(0, val_fraction=self.val_fraction)
        fraction(dropout=self.dropout, embedding_dropout=self.embedding_dropout)
        fraction(word_dropout=self.word_dropout, ema_decay=self.ema_decay)
        require(self.val_fraction <= 0.5, "--val-fraction must be at most 0.5")
        require(bool(self.csv) or not self.csv_test, "--csv-test needs --csv, the training table")
        is_sample = self.data == "sample"
        require(not (self.csv and is_sample), "--csv and --data sample are two sets: choose one")
        require(
            not self.pretrain_epochs or self.vectors == "none",
            f"--vectors {self.vectors} and --pretrain-epochs both make the vectors of words: set "
            "--pretrain-epochs 0",
        )
        require(
            not self.pretrain_epochs or self.regions > 0,
            "--pretrain-epochs learns vectors of word pairs: set --regions above 0, or "
            "--pretrain-epochs 0",
        )
        require(
            not self.self_training_epochs or self.unlabelled,
            "--self-training-epochs learns from reviews without a label: add --unlabelled true",
        )


def step(
    model: nn.Module,
    batch: tuple[Tensor, Tensor, Tensor],
    word_dropout: float = 0.0,
    adversarial: float = 0.0,
    embedding_size: int = 0,
) -> tuple[Tensor, int, dict[str, Tensor]]:
    """Binary cross-entropy of the logit; in training, of reviews with dropped words.

    With `adversarial` the loss is also taken where the inputs are moved, by so much for each
    review, in the direction in which it rises fastest (Miyato et al. 2017, section 3).
    """
    ids, lengths, labels = batch  # (batch, tokens), (batch,), (batch,)
    shift = None
    if model.training:
        ids = drop_words(ids, word_dropout)
        if adversarial:
            size = (ids.shape[1], ids.shape[0], embedding_size)  # (tokens, batch, embedding)
            shift = torch.zeros(size, device=ids.device, requires_grad=True)
    logits = model(ids, lengths, shift)  # (batch,)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    if shift is not None:
        (gradient,) = torch.autograd.grad(loss, shift, retain_graph=True)
        length = gradient.square().sum((0, 2), keepdim=True).sqrt()  # (1, batch, 1)
        worst = adversarial * gradient / length.clamp(min=1e-12)
        moved = F.binary_cross_entropy_with_logits(model(ids, lengths, worst), labels)
        loss = (loss + moved) / 2
    return loss, len(labels), {"accuracy": ((logits > 0) == (labels > 0.5)).sum()}


def load(config: Config) -> data.Reviews:
    """The reviews as the settings ask for them."""
    return data.load(
        config.data, config.data_dir, csv=config.csv, csv_test=config.csv_test,
        label_column=config.label_column, text_columns=config.text_columns,
        tokenizer=config.tokenizer, min_frequency=config.min_frequency, max_len=config.max_len,
        keep=config.keep, val_fraction=config.val_fraction,
        unlabelled=config.unlabelled,
    )  # fmt: skip


def build(
    config: Config,
    words: int,
    region_keys: Tensor | None,
    vectors: Tensor | None = None,
    pairs: Tensor | None = None,
) -> SentimentLSTM:
    """The model, with pretrained vectors of words (which decide its size) and of pairs, if any."""
    model = SentimentLSTM(
        words,
        region_keys,
        embedding_size=config.embedding_size if vectors is None else vectors.shape[1],
        hidden_size=config.hidden_size,
        layers=config.layers,
        bidirectional=config.bidirectional,
        pooling=config.pooling,
        dropout=config.dropout,
        embedding_dropout=config.embedding_dropout,
        forget_bias=config.forget_bias,
    )
    if vectors is not None:
        model.embedding.weight.data.copy_(vectors)
    if pairs is not None:
        model.regions.weight.data.copy_(pairs)
    return model


def make_optimizer(config: Config, model: SentimentLSTM) -> torch.optim.Optimizer:
    """AdamW; the vectors have a learning rate of their own, and no decay: it fades rare words."""
    tables = [each.weight for each in (model.embedding, model.regions) if each is not None]
    groups = training.decay_groups(model, config.weight_decay, apart=tables)
    groups += [{"params": tables, "lr": config.lr * config.embedding_lr, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def main(config: Config) -> dict[str, Any]:
    """Train, choose each model's epoch on validation, report on test; returns the results."""
    run = start("lstm_sentiment", config)
    reviews = load(config)
    vectors = reviews.find_vectors(config.vectors, config.data_dir, config.seed)
    run.begin(reviews.source, reviews.counts(), evaluation.describe(reviews))
    run.print(reviews.describe(vectors, config.batch_size))

    regions = pair_keys(reviews.learnable, len(reviews.vocabulary), config.regions)
    matrix = vectors.matrix if vectors else None
    pairs = None
    if config.pretrain_epochs:
        matrix, pairs = pretraining.learn(
            reviews,
            regions,
            size=config.embedding_size,
            epochs=config.pretrain_epochs,
            lr=config.pretrain_lr,
            radius=config.pretrain_radius,
            run=run,
        )
    models, histories = [], {}

    def fit(model: SentimentLSTM, name: str, known: data.Reviews, seed: int, epochs: int) -> None:
        """Train a model; keep the epoch that is best on validation."""
        one_step = partial(
            step,
            word_dropout=config.word_dropout,
            adversarial=config.adversarial,
            embedding_size=model.embedding.embedding_dim,
        )
        histories[name] = training.fit(
            model,
            make_optimizer(config, model),
            one_step,
            known.loader("train", config.batch_size, seed, run.device),
            known.loader("val", config.batch_size, seed, run.device),
            run.part(name) if config.members > 1 or config.self_training_epochs else run,
            epochs=epochs,
            schedule=config.schedule,
            warmup_epochs=config.warmup_epochs,
            clip_norm=config.clip_norm,
            ema_decay=config.ema_decay,
            monitor="val_accuracy",
        )

    seeds = [config.seed + SEED_STEP * number for number in range(config.members)]
    for number, seed in enumerate(seeds, 1):  # the first is what a run of one would train
        seed_everything(seed)
        model = build(config, len(reviews.vocabulary), regions, matrix, pairs).to(run.device)
        if not models:
            run.describe_model(model, reviews.example(run.device))
        fit(model, f"member {number}", reviews, seed, config.epochs)
        models.append(model)
    if config.self_training_epochs and len(reviews.learnable) == len(reviews.labels["train"]):
        warn("no self-training, for there are no reviews without a label")
    elif config.self_training_epochs:
        everything = self_training.label(
            reviews,
            models,
            max_len=config.max_len,
            keep=config.keep,
            batch_size=config.batch_size,
            run=run,
        )
        for number, (model, seed) in enumerate(zip(models, seeds, strict=True), 1):
            seed_everything(seed)
            fit(model, f"student {number}", everything, seed, config.self_training_epochs)
    run.save_model(models, vocabulary=reviews.vocabulary.state())

    run.phase("evaluation")
    metrics = {}
    for split in ("val", "test"):  # ends with test, whose figures follow
        loader = reviews.loader(split, config.batch_size, config.seed, run.device)
        logits = [
            training.predict(model, loader, lambda m, batch: m(*batch[:2]), run.precision)
            for model in models
        ]
        single = torch.stack(logits).sigmoid()  # (members, reviews), of being positive
        average, labels = single.mean(0), reviews.labels[split]
        metrics[f"{split}_accuracy"] = evaluation.accuracy(average, labels)
        metrics[f"single_{split}_accuracy"] = evaluation.accuracy(single, labels)
    metrics |= evaluation.scores(reviews, average.numpy() - 0.5)
    extra = evaluation.report(run, reviews, average)
    metrics["calibration_error"] = evaluation.calibration_error(extra["calibration"])

    run.phase("baselines")
    with libraries_warn("a linear model"):
        linear = baselines.decisions(reviews) if config.baselines else {}
    return run.finish(
        metrics,
        {name: evaluation.scores(reviews, values) for name, values in linear.items()},
        {} if config.csv else PUBLISHED,  # they are of another set
        labels=labels,
        predictions={"this run": average > 0.5, **{n: v > 0 for n, v in linear.items()}},
        extra=extra,
        plots=lambda: evaluation.save_plots(run, histories, extra),
    )


if __name__ == "__main__":
    cli(Config, main)
