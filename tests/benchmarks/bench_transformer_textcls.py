"""How fast transformer_textcls trains beside a plain script and the Hugging Face Trainer.

    python tests/benchmarks/bench_transformer_textcls.py [--threads N] [--seconds S]

The usual way: token lists in Python, shuffled without buckets, every text padded to max_len. The
Trainer gets what its own collator would make: batches padded to their longest text. Word vectors
are random, which changes no time.
"""

import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.training import parameter_groups

import harness
import texts
import torch
from case import Case
from torch import nn

from transformer_textcls import data, train


@cache
def news() -> data.News:
    return data.load(**train.Config().chosen(data.SETTINGS))


def usual_optimizer(config: train.Config, model: nn.Module) -> torch.optim.Optimizer:
    groups = parameter_groups(model, config.weight_decay)
    return torch.optim.AdamW(groups, config.lr, betas=(0.9, 0.98))


def build(config: train.Config, factor: float) -> Case:
    corpus = news()
    make_model = partial(train.make_model, config, corpus, None)
    return Case(
        source=corpus.source,
        unit="texts",
        config=config,
        step=train.make_step(config),
        inputs=lambda batch: batch[:2],
        loader=texts.our_loader(corpus, config.batch_size, factor),
        model=make_model,
        optimizer=partial(train.make_optimizer, config),
        dataset=partial(texts.Texts, corpus),
        usual_model=make_model,
        usual_optimizer=partial(usual_optimizer, config),
        collate=texts.padded_to(config.max_len),
        framework_collate=texts.padded_to(0),
    )


def sized(config: train.Config, factor: float) -> train.Config:
    d_model, d_ff = round(config.d_model * factor), round(config.d_ff * factor)
    return replace(config, d_model=d_model, d_ff=d_ff)


if __name__ == "__main__":
    script = "transformer_textcls/train.py"
    harness.main(script, train.Config(), build, sized, framework="Hugging Face Trainer")
