"""Classify news with a Transformer encoder written from scratch.

    python transformer_textcls/train.py                        improved settings (the defaults)
    python transformer_textcls/train.py --recipe published     frozen GloVe, no dropout
    python transformer_textcls/train.py --csv reviews.csv      your own: label first, then text

Writes a folder with the model, its figures and plots under runs/transformer_textcls/.
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import checkpoints, ensemble, metrics, runs, training
from common.config import Settings, cli
from common.errors import require
from common.text import TokenizerName, drop_words
from common.vectors import WordVectors

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_textcls import baselines, data, inspection
from transformer_textcls.model import SETTINGS, TransformerClassifier

PUBLISHED_RECIPE = {
    "epochs": 3, "batch_size": 64, "lr": 5e-4, "weight_decay": 0.0, "ema_decay": 0.0,
    "label_smoothing": 0.0, "word_dropout": 0.0, "members": 1, "layers": 4, "d_ff": 2048,
    "dropout": 0.0, "norm": "post", "train_embedding": False, "min_frequency": 1,
    "val_share": 0.05,
}  # fmt: skip
PUBLISHED = {"published goal": {"test_accuracy": 0.80}}


@dataclass
class Config(Settings):
    """Settings of transformer_textcls."""

    RECIPES: ClassVar = {"published": PUBLISHED_RECIPE}

    # Training
    recipe: Literal["improved", "published"] = "improved"  # published: frozen GloVe, no dropout
    epochs: int = 2  # passes over the training split
    batch_size: int = 32  # texts a step, over all processes
    lr: float = 1e-3  # learning rate, at its highest
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    warmup_epochs: float = 0.3  # epochs over which the learning rate rises from zero
    weight_decay: float = 0.01  # on weight matrices only; never on biases, norms and embeddings
    clip_norm: float = 1.0  # largest gradient norm; 0 = no clipping
    ema_decay: float = 0.995  # averaged weights: decay a step; 0 = no averaging
    embedding_lr: float = 3.0  # learning rate of a trained embedding, as a multiple of --lr
    label_smoothing: float = 0.1  # share of each target spread over all classes
    word_dropout: float = 0.1  # share of the training tokens replaced by <unk>

    # Model
    members: int = 5  # models, from different seeds, whose probabilities are averaged
    d_model: int = 100  # width of the model
    layers: int = 2  # encoder layers
    heads: int = 5  # attention heads; must divide d_model
    d_ff: int = 256  # width inside the feed-forward network
    dropout: float = 0.1  # on embeddings, sub-layers and the pooled vector
    norm: Literal["post", "pre"] = "pre"  # LayerNorm after each residual, or before each sub-layer
    attention: Literal["written", "fused"] = "written"  # as in the paper, or torch's fused kernel
    use_positions: bool = True  # add sinusoidal positions
    vectors: str = "auto"  # auto, glove, none, or a file in GloVe's format
    train_embedding: bool = True  # train the word vectors too

    # Text
    tokenizer: TokenizerName = "wordpunct"  # how texts are split: see README
    min_frequency: int = 2  # rarer words of the training split become <unk>
    max_size: int = 0  # largest vocabulary; 0 = no limit
    max_len: int = 128  # tokens kept of each text
    val_share: float = 0.02  # of the training rows, held out to choose the best epoch
    csv: str = ""  # your own training file instead of AG News
    csv_test: str = ""  # its test file; empty = a tenth of --csv
    label_column: str = ""  # its header's name for the label; empty = no header, label first
    text_columns: str = ""  # its header's names for the text, comma-separated; empty = all others

    def check(self) -> None:
        super().check()
        sizes = ("members", "d_model", "layers", "heads", "d_ff", "max_len", "min_frequency")
        self.check_at_least(1, *sizes)
        require(
            self.d_model % self.heads == 0,
            f"--heads {self.heads} must divide --d-model {self.d_model}",
        )
        self.check_share("dropout", "word_dropout", "label_smoothing")
        require(
            0 < self.val_share <= 0.5, f"--val-share must lie in 0 < x <= 0.5, not {self.val_share}"
        )
        require(self.max_size == 0 or self.max_size > 2, "--max-size must be 0 or above 2")
        self.check_positive("embedding_lr")
        require(bool(self.csv) or not self.csv_test, "--csv-test needs --csv, the training file")


def make_step(config: Config) -> training.Step:
    """Cross-entropy; on training batches with smoothed labels and dropped words."""

    def step(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, int, dict]:
        ids, lengths, labels = batch  # (batch, tokens), (batch,), (batch,)
        smoothing = 0.0
        if model.training:
            smoothing, ids = config.label_smoothing, drop_words(ids, config.word_dropout)
        logits = model(ids, lengths)  # (batch, classes)
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        return loss, len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}

    return step


def make_model(config: Config, news: data.News, found: WordVectors | None) -> TransformerClassifier:
    """The model; without pretrained vectors its embedding is trained, whatever the settings say."""
    settings = config.chosen(SETTINGS)
    settings["train_embedding"] = config.train_embedding or found is None
    if found is not None:
        settings |= {"vectors": found.matrix, "vector_size": found.matrix.shape[1]}
    return TransformerClassifier(len(news.vocabulary), len(news.classes), **settings)


def make_optimizer(config: Config, model: TransformerClassifier) -> torch.optim.Optimizer:
    """AdamW with the paper's betas (section 5.3); a trained embedding has its own learning rate.

    The usual second beta of 0.999 lets a word seen once move four times as far: it is learnt by
    heart. Weight decay would draw rare words to zero, so the embedding has none.
    """
    embedding = model.embedding.weight
    groups = training.parameter_groups(model, config.weight_decay)
    groups[0]["params"] = [p for p in groups[0]["params"] if p is not embedding]
    if embedding.requires_grad:
        lr = config.lr * config.embedding_lr
        groups.append({"params": [embedding], "lr": lr, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)


def main(config: Config) -> dict[str, Any]:
    """Train, choose each model's epoch on validation, report on test; returns the results."""
    run = runs.start("transformer_textcls", config)
    news = data.load(config.csv, **config.chosen(data.SETTINGS))
    run.describe_data(news.source, news.counts())
    found = news.find_vectors(config.vectors, config.data_dir, config.seed)
    inspection.describe(run, news, found, config.batch_size)
    state = {"classes": list(news.classes), **news.vocabulary.state()}
    if run.is_main:
        checkpoints.write_text(run.folder / "vocabulary.json", json.dumps(state))

    models, histories = [], []
    for seed, part in ensemble.members(run, config.members):
        model = make_model(config, news, found).to(run.device)
        if not models:
            run.describe_model(model, news.example(run.device))
        train = news.loader("train", config.batch_size, seed, run.device)
        val = news.loader("val", config.batch_size, seed, run.device)
        step, optimizer = make_step(config), make_optimizer(config, model)
        histories.append(training.fit(model, train, val, step, optimizer, config, part))
        models.append(model)

    figures = {}
    for split in ("val", "test"):
        loader = news.loader(split, config.batch_size, config.seed, run.device)
        single = ensemble.predict(models, loader, partial(torch.softmax, dim=1))
        probabilities = single.mean(0)  # (rows, classes)
        hits = (single.argmax(2) == news.labels[split]).float().mean(1)  # (models,)
        report = metrics.classification(news.labels[split], probabilities, news.classes)
        figures[f"single_{split}_accuracy"] = hits.mean().item()
        figures[f"{split}_accuracy"] = report["accuracy"]
    figures["macro_f1"] = report["macro_f1"]
    inspection.report(run, models[0], histories, news, probabilities, report)
    extra = {"per_class": report["per_class"], "confusion": report["confusion"]}
    return run.finish(figures, baselines.evaluate(news, found), PUBLISHED, extra)


if __name__ == "__main__":
    cli(Config, main)
