"""Labels for the reviews that have none, from the models trained on the others.

Lee 2013 ("pseudo-label") as Xie et al. 2020 do it ("noisy student"): teachers give probabilities,
without noise, and students learn from all reviews, with it. A teacher here is the mean of the LSTMs
and of a logistic regression on word pairs, which errs elsewhere than they do.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from common.runs import Run
from common.text import Keep
from common.training import predict
from lstm_sentiment import baselines
from lstm_sentiment.data import Reviews


def label(
    reviews: Reviews,
    models: Sequence[nn.Module],
    *,
    max_len: int,
    keep: Keep,
    batch_size: int,
    run: Run,
) -> Reviews:
    """The reviews, with those without a label added to training under the teachers' probability."""
    known = reviews.labels["train"]
    unlabelled = reviews.learnable.rows(range(len(known), len(reviews.learnable)))
    everything = replace(
        reviews,
        tokens={"train": unlabelled.truncated(max_len, keep)},
        labels={"train": torch.zeros(len(unlabelled))},
    )
    loader = everything.loader("train", batch_size, 0, run.device)
    logits = [predict(m, loader, lambda m, batch: m(*batch[:2]), run.precision) for m in models]
    lstms = torch.stack(logits).sigmoid().mean(0)  # (unlabelled,)

    words = len(reviews.vocabulary)
    keys = baselines.frequent_grams([reviews.whole["train"]], words)
    train, rest = baselines.scaled_by_ratio(
        baselines.gram_counts(reviews.whole["train"], words, keys),
        known.numpy(),
        baselines.gram_counts(unlabelled, words, keys),
    )
    linear = torch.from_numpy(baselines.nb_logistic(train, known.numpy(), rest)).sigmoid()
    probabilities = ((lstms + linear) / 2).float()
    run.print(
        f"\nself-training on {len(unlabelled):,} reviews more: the teachers call "
        f"{(probabilities > 0.5).double().mean():.1%} positive, and the LSTMs and the linear model "
        f"agree on {((lstms > 0.5) == (linear > 0.5)).double().mean():.1%}"
    )
    return replace(
        reviews,
        tokens={**reviews.tokens, "train": reviews.learnable.truncated(max_len, keep)},
        labels={**reviews.labels, "train": torch.cat([known, probabilities])},
    )
