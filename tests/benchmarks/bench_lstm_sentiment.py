"""How fast the LSTMs are beside the usual way, and packed beside masked beside bucketed batches.

    python tests/benchmarks/bench_lstm_sentiment.py [reviews]

The usual way: token lists in Python, every review padded to 256, shuffled without buckets, packed
sequences, the loss fetched at each step. Both ways train ImprovedLSTM on the same reviews, and
count real tokens (no padding) over the time from raw text to the last step.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.ragged import Ragged, buckets, pad, padding_share
from common.text import make_tokenizer, prepare

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from lstm_sentiment import data
from lstm_sentiment.model import IMPROVED, SentimentLSTM

FIXED = 256
BATCH = 64
HIDDEN = 64
Batches = Iterable[tuple[Tensor, Tensor, Tensor]]


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


def train(model: nn.Module, batches: Batches, fetch_loss: bool) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    total = torch.zeros(())
    for ids, lengths, labels in batches:
        loss = F.binary_cross_entropy_with_logits(model(ids, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() if fetch_loss else loss.detach()


def usual(texts: list[str], labels: Tensor) -> int:
    """Train an epoch the usual way; returns the number of real tokens."""
    split = make_tokenizer("basic_english")
    tokens = [split(line) for line in texts]
    counts = Counter(token for line in tokens for token in line)
    number = {token: i for i, (token, _) in enumerate(counts.most_common(), start=2)}
    rows = [[number[token] for token in line][:FIXED] for line in tokens]

    def batches() -> Batches:
        for chosen in torch.randperm(len(rows)).split(BATCH):
            padded = [rows[i] + [0] * (FIXED - len(rows[i])) for i in chosen]
            lengths = torch.tensor([len(rows[i]) for i in chosen])
            yield torch.tensor(padded), lengths, labels[chosen]

    train(PackedLSTM(len(number) + 2), batches(), True)
    return sum(map(len, rows))


def ours(texts: list[str], labels: Tensor) -> int:
    """Train an epoch as train.py does; returns the number of real tokens."""
    vocabulary, tokens = prepare(texts, range(len(texts)))
    tokens = tokens.truncated(FIXED)
    plan = buckets(tokens.lengths, BATCH)
    model = SentimentLSTM(len(vocabulary), **IMPROVED, hidden_size=HIDDEN)
    train(model, ((*pad(tokens, rows), labels[rows]) for rows in plan(0)), False)
    print(f"  ours: {padding_share(tokens.lengths, plan):.1%} of the batches is padding")
    return len(tokens.tokens)


def compare_forms(tokens: Ragged, labels: Tensor, words: int) -> None:
    """Tokens a second of training, by the form of the model and of its batches."""
    random = list(torch.randperm(len(tokens)).split(BATCH))
    plans = {"padded to 256": random, "bucketed": buckets(tokens.lengths, BATCH)(0)}
    for form, make in (
        ("packed", lambda: PackedLSTM(words)),
        ("masked", lambda: SentimentLSTM(words, **IMPROVED, hidden_size=HIDDEN)),
    ):
        for name, plan in plans.items():
            batches = []
            for rows in plan[:2]:
                ids, lengths = pad(tokens, rows)
                if name != "bucketed":
                    ids = F.pad(ids, (0, FIXED - ids.shape[1]))
                batches.append((ids, lengths, labels[rows]))
            began = time.perf_counter()
            train(make(), batches, False)
            seconds = time.perf_counter() - began
            count = sum(int(lengths.sum()) for _, lengths, _ in batches)
            print(f"  {form}, {name:<14} {count / seconds:10,.0f} tokens/s")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    reviews = data.load()
    chosen = torch.linspace(0, len(reviews.labels["train"]) - 1, count).long()
    texts = [reviews.text("train", row) for row in chosen.tolist()]
    labels = reviews.labels["train"][chosen]
    source = reviews.source
    print(f"{source.name}, {source.kind}: {count} reviews, {torch.get_num_threads()} threads")
    speeds = {}
    for name, way in (("usual", usual), ("ours", ours)):
        torch.manual_seed(0)
        began = time.perf_counter()
        tokens = way(texts, labels)
        seconds = time.perf_counter() - began
        speeds[name] = tokens / seconds
        print(f"  {name:<6} {seconds:6.1f} s  {speeds[name]:,.0f} tokens/s")
    print(f"ours is {speeds['ours'] / speeds['usual']:.1f} times as fast (floor: 2)")
    tokens = reviews.whole["train"].rows(chosen).truncated(FIXED)
    compare_forms(tokens, labels, len(reviews.vocabulary))
    assert speeds["ours"] >= 2 * speeds["usual"]


if __name__ == "__main__":
    main()
