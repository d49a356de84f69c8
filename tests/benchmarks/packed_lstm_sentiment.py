"""ImprovedLSTM by the form of the model and of its batches: packed or masked, padded or bucketed.

    python tests/benchmarks/packed_lstm_sentiment.py [reviews]

Real tokens a second of training steps, padding not counted.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.ragged import buckets, pad

import torch
from bench_lstm_sentiment import PackedLSTM
from torch.nn import functional as F

from lstm_sentiment import data
from lstm_sentiment.model import IMPROVED, SentimentLSTM

FIXED, BATCH, HIDDEN = 256, 64, 64


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    reviews = data.load()
    chosen = torch.linspace(0, len(reviews.labels["train"]) - 1, count).long()
    labels = reviews.labels["train"][chosen]
    tokens = reviews.whole["train"].rows(chosen).truncated(FIXED)
    print(f"{reviews.source.kind} data, {count} reviews, {torch.get_num_threads()} threads")
    plans = {
        "padded to 256": list(torch.randperm(count).split(BATCH)),
        "bucketed": buckets(tokens.lengths, BATCH)(0),
    }
    for form, kind in (("packed", PackedLSTM), ("masked", SentimentLSTM)):
        for name, plan in plans.items():
            model = kind(len(reviews.vocabulary), hidden_size=HIDDEN, **IMPROVED)
            optimizer = torch.optim.Adam(model.parameters())
            began = time.perf_counter()
            for rows in plan:
                ids, lengths = pad(tokens, rows)
                if name != "bucketed":
                    ids = F.pad(ids, (0, FIXED - ids.shape[1]))
                loss = F.binary_cross_entropy_with_logits(model(ids, lengths), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            speed = len(tokens.tokens) / (time.perf_counter() - began)
            print(f"  {form}, {name:<14} {speed:10,.0f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
