"""How fast the LSTMs are beside the usual way, and packed beside masked beside bucketed batches.

    python tests/benchmarks/bench_lstm_sentiment.py [reviews]

The usual way: token lists in Python, every review padded to 256, shuffled without buckets, packed
sequences, the loss fetched at each step. Both ways train ImprovedLSTM on the same reviews, and
count real tokens (no padding) over the time from raw text to the last step.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.ragged import Ragged, buckets, pad

import torch
from text_ways import BATCH, FIXED, compare, train
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from lstm_sentiment import data
from lstm_sentiment.model import IMPROVED, SentimentLSTM

HIDDEN = 64
LOSS = F.binary_cross_entropy_with_logits


class PackedLSTM(nn.Module):
    """ImprovedLSTM as tutorials write it."""

    def __init__(self, words: int):
        super().__init__()
        self.embedding = nn.Embedding(words, 100, padding_idx=0)
        self.lstm = nn.LSTM(100, HIDDEN, 3, bidirectional=True, dropout=0.5)
        self.head = nn.Linear(2 * HIDDEN, 1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.embedding(ids.T)
        packed = pack_padded_sequence(embedded, lengths, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)
        return self.head(torch.cat([hidden[-2], hidden[-1]], 1)).squeeze(1)


def masked(words: int) -> SentimentLSTM:
    """ImprovedLSTM as here."""
    return SentimentLSTM(words, **IMPROVED, hidden_size=HIDDEN)


def compare_forms(tokens: Ragged, labels: Tensor, words: int) -> None:
    """Tokens a second of training, by the form of the model and of its batches."""
    plans = {
        "padded to 256": list(torch.randperm(len(tokens)).split(BATCH)),
        "bucketed": buckets(tokens.lengths, BATCH)(0),
    }
    for form, make in (("packed", PackedLSTM), ("masked", masked)):
        for name, plan in plans.items():
            batches = []
            for rows in plan:
                ids, lengths = pad(tokens, rows)
                if name != "bucketed":
                    ids = F.pad(ids, (0, FIXED - ids.shape[1]))
                batches.append((ids, lengths, labels[rows]))
            began = time.perf_counter()
            train(make(words), batches, LOSS)
            speed = len(tokens.tokens) / (time.perf_counter() - began)
            print(f"  {form}, {name:<14} {speed:10,.0f} tokens/s", flush=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    reviews = data.load()
    chosen = torch.linspace(0, len(reviews.labels["train"]) - 1, count).long()
    texts = [reviews.text("train", row) for row in chosen.tolist()]
    labels = reviews.labels["train"][chosen]
    source = reviews.source
    print(f"{source.name}, {source.kind}: {count} reviews, {torch.get_num_threads()} threads")
    compare(texts, labels, LOSS, PackedLSTM, masked)
    print("steps alone, by the form of the model and of its batches")
    tokens = reviews.whole["train"].rows(chosen).truncated(FIXED)
    compare_forms(tokens, labels, len(reviews.vocabulary))


if __name__ == "__main__":
    main()
