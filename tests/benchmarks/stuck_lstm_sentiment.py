"""Why LSTMs of 3 layers sit at 50 %: BaseLSTM with one thing changed at a time.

    python tests/benchmarks/stuck_lstm_sentiment.py [steps] [part of a variant's name ...]

Each variant trains for the same steps on the same reviews, with embeddings learnt from nothing;
what counts is how soon it leaves 50 % on validation reviews. Nothing here is chosen on test.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.ragged import buckets, pad

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lstm_sentiment import data
from lstm_sentiment.model import BASE, SentimentLSTM

MAX_LEN = 256
BATCH = 64
JUDGED = 500  # validation reviews


@dataclass
class Variant:
    """One way to train: by default as the project does."""

    name: str
    pooling: str = "last"  # padded: the state at column 256, padding or not
    forget_bias: float = 1.0
    torch_start: bool = False  # torch's own initial weights and biases
    bucketed: bool = True  # else every batch is padded to 256 tokens
    lr: float = 2e-3
    clip_norm: float = 1.0


VARIANTS = (
    Variant("as here"),
    Variant("state at the last column, padded to 256", pooling="padded", bucketed=False),
    Variant("the same, torch's initialisation", "padded", torch_start=True, bucketed=False),
    Variant("real last state, torch's initialisation", torch_start=True),
    Variant("real last state, forget bias 0", forget_bias=0.0),
    Variant("real last state, padded to 256", bucketed=False),
    Variant("learning rate 0.01, no clipping", lr=1e-2, clip_norm=0.0),
)


def batch(reviews: data.Reviews, split: str, rows: Tensor, fixed: bool) -> tuple[Tensor, ...]:
    ids, lengths = pad(reviews.tokens[split], rows)
    if fixed:
        ids = F.pad(ids, (0, MAX_LEN - ids.shape[1]))
    return ids, lengths, reviews.labels[split][rows]


def accuracy(model: nn.Module, reviews: data.Reviews, fixed: bool) -> float:
    model.eval()
    right = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for rows in torch.arange(JUDGED).split(250):
            chosen = rows * len(reviews.labels["val"]) // JUDGED
            ids, lengths, labels = batch(reviews, "val", chosen, fixed)
            right += int(((model(ids, lengths) > 0) == labels.bool()).sum())
    model.train()
    return right / JUDGED


def train(variant: Variant, reviews: data.Reviews, steps: int) -> list[float]:
    """Validation accuracy after each quarter of the steps."""
    torch.manual_seed(0)
    settings = {**BASE, "pooling": variant.pooling, "forget_bias": variant.forget_bias}
    model = SentimentLSTM(len(reviews.vocabulary), hidden_size=64, **settings)
    if variant.torch_start:
        for module in model.modules():
            if isinstance(module, nn.LSTM):
                module.reset_parameters()
    optimizer = torch.optim.Adam(model.parameters(), variant.lr, fused=True)
    lengths = reviews.tokens["train"].lengths
    if variant.bucketed:
        plan = buckets(lengths, BATCH)(0)
    else:
        plan = torch.randperm(len(lengths)).split(BATCH)
    reached = []
    for step in range(1, steps + 1):
        ids, counts, labels = batch(
            reviews, "train", plan[(step - 1) % len(plan)], not variant.bucketed
        )
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids, counts)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), variant.clip_norm or float("inf"))
        optimizer.step()
        if step % max(1, steps // 4) == 0:
            reached.append(accuracy(model, reviews, not variant.bucketed))
    return reached


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 352  # an epoch
    wanted = sys.argv[2:] or [""]  # all
    reviews = data.load(max_len=MAX_LEN, min_frequency=2)
    print(f"{reviews.source.kind} reviews; validation accuracy after each quarter of {steps} steps")
    for variant in VARIANTS:
        if not any(part in variant.name for part in wanted):
            continue
        began = time.perf_counter()
        reached = "  ".join(f"{share:.1%}" for share in train(variant, reviews, steps))
        seconds = time.perf_counter() - began
        print(f"{variant.name:<42} {reached}  ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
