"""How fast lstm_sentiment trains beside a plain script.

    python tests/benchmarks/bench_lstm_sentiment.py [--threads N] [--seconds S]

The usual way: token lists in Python, shuffled without buckets, every review padded to max_len, and
packed sequences for the LSTM. Word vectors are random, which changes no time.
"""

import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.training import parameter_groups

import harness
import texts
import torch
from case import Case
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lstm_sentiment import data, train
from lstm_sentiment.model import SETTINGS, SentimentLSTM


class PackedLSTM(SentimentLSTM):
    """The same network as tutorials write it: packed sequences, torch's own LSTM and dropout."""

    def __init__(self, words: int, *, hidden_size: int, layers: int, bidirectional: bool, **rest):
        sizes = {"hidden_size": hidden_size, "layers": layers, "bidirectional": bidirectional}
        super().__init__(words, **sizes, **rest)
        self.layers = nn.LSTM(
            self.embedding.embedding_dim,
            hidden_size,
            layers,
            bidirectional=bidirectional,
            dropout=self.dropout if layers > 1 else 0.0,
        )

    def classify(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        states, (hidden, _) = self.layers(packed)
        if self.pooling == "last":
            directions = 2 if self.layers.bidirectional else 1
            pooled = torch.cat([*hidden[-directions:]], 1)  # (batch, states)
        else:
            pooled = self.pool(pad_packed_sequence(states)[0], lengths)
        return self.head(F.dropout(pooled, self.dropout, self.training)).squeeze(1)


@cache
def reviews() -> data.Reviews:
    return data.load(**train.Config().chosen(data.SETTINGS))


@cache
def region_keys(count: int) -> Tensor | None:
    return data.region_keys(reviews(), count)


def make_model(kind: type[SentimentLSTM], config: train.Config) -> SentimentLSTM:
    settings: dict[str, Any] = config.chosen(SETTINGS)
    keys = region_keys(config.regions)
    return kind(len(reviews().vocabulary), **settings, region_keys=keys)


def usual_optimizer(config: train.Config, model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(model, config.weight_decay), config.lr)


def build(config: train.Config, factor: float) -> Case:
    corpus = reviews()
    return Case(
        source=corpus.source,
        unit="reviews",
        config=config,
        step=train.make_step(config),
        inputs=lambda batch: batch[:2],
        loader=texts.our_loader(corpus, config.batch_size, factor),
        model=partial(make_model, SentimentLSTM, config),
        optimizer=partial(train.make_optimizer, config),
        dataset=partial(texts.Texts, corpus),
        usual_model=partial(make_model, PackedLSTM, config),
        usual_optimizer=partial(usual_optimizer, config),
        collate=texts.padded_to(config.max_len),
    )


def sized(config: train.Config, factor: float) -> train.Config:
    return replace(config, hidden_size=round(config.hidden_size * factor))


if __name__ == "__main__":
    harness.main("lstm_sentiment/train.py", train.Config(), build, sized)
