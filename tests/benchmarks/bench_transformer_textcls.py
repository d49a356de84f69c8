"""How fast the text path is beside the usual one, and the fused attention beside the written one.

    python tests/benchmarks/bench_transformer_textcls.py [rows]

The usual way: token lists in Python, every text padded to 256, shuffled without buckets, the loss
fetched at each step. Both ways train the same model, as published, on the same texts, and count
real tokens (no padding) over the time from raw text to the last step.
"""

import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.ragged import buckets, pad, padding_share
from common.text import make_tokenizer, prepare

import torch
from torch.nn import functional as F

from transformer_textcls import data
from transformer_textcls.model import Attention, TransformerClassifier

FIXED = 256
BATCH = 64


def train(model: TransformerClassifier, batches, fetch_loss: bool) -> None:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-4)
    total = torch.zeros(())
    for ids, lengths, labels in batches:
        loss = F.cross_entropy(model(ids, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() if fetch_loss else loss.detach()


def usual(texts: list[str], labels: torch.Tensor) -> int:
    """Train an epoch the usual way; returns the number of real tokens."""
    split = make_tokenizer("basic_english")
    tokens = [split(line) for line in texts]
    counts = Counter(token for line in tokens for token in line)
    number = {token: i for i, (token, _) in enumerate(counts.most_common(), start=2)}
    rows = [[number[token] for token in line][:FIXED] for line in tokens]

    def batches():
        for chosen in torch.randperm(len(rows)).split(BATCH):
            padded = [rows[i] + [0] * (FIXED - len(rows[i])) for i in chosen]
            lengths = torch.tensor([len(rows[i]) for i in chosen])
            yield torch.tensor(padded), lengths, labels[chosen]

    train(TransformerClassifier(len(number) + 2, 4, attention="written"), batches(), True)
    return sum(map(len, rows))


def ours(texts: list[str], labels: torch.Tensor, attention: Attention = "written") -> int:
    """Train an epoch as train.py does; returns the number of real tokens."""
    vocabulary, tokens = prepare(texts, range(len(texts)))
    tokens = tokens.truncated(FIXED)
    plan = buckets(tokens.lengths, BATCH)
    batches = ((*pad(tokens, rows), labels[rows]) for rows in plan(0))
    train(TransformerClassifier(len(vocabulary), 4, attention=attention), batches, False)
    print(f"  ours: {padding_share(tokens.lengths, plan):.1%} of the batches is padding")
    return len(tokens.tokens)


def compare_attention(tokens: int, batch: int = 16) -> None:
    """Seconds and bytes of one layer's attention, forward and backward, at one length."""
    ids, lengths = torch.randint(2, 1000, (batch, tokens)), torch.full((batch,), tokens)
    for attention in ("written", "fused"):
        model = TransformerClassifier(1000, 4, layers=1, d_ff=100, attention=attention)
        best = float("inf")
        for _ in range(4):
            began = time.perf_counter()
            model(ids, lengths).sum().backward()
            best = min(best, time.perf_counter() - began)
        with torch.profiler.profile(profile_memory=True) as profile:
            model(ids, lengths).sum().backward()
        peak = peak_bytes(profile)
        print(
            f"  {tokens:5} tokens, {attention:<8} {best * 1e3:8.1f} ms, peak {peak / 1e6:7.1f} MB"
        )


def peak_bytes(profile: torch.profiler.profile) -> int:
    """The most memory held at once, from every allocation and release."""
    held = highest = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1280
    news = data.load()
    print(
        f"{news.source.name}, {news.source.kind}: {rows} texts, {torch.get_num_threads()} threads"
    )
    texts, labels = news.texts["train"][:rows], news.labels["train"][:rows]
    speeds = {}
    for name, way in (("usual", usual), ("ours", ours)):
        torch.manual_seed(0)
        began = time.perf_counter()
        tokens = way(texts, labels)
        seconds = time.perf_counter() - began
        speeds[name] = tokens / seconds
        print(f"  {name:<6} {seconds:6.1f} s  {speeds[name]:,.0f} tokens/s")
    print(f"ours is {speeds['ours'] / speeds['usual']:.1f} times as fast (floor: 2)")
    print("attention, one layer, batches of 16, forward and backward, peak memory")
    for tokens in (64, 256, 1024):
        compare_attention(tokens)
    assert speeds["ours"] >= 2 * speeds["usual"]


if __name__ == "__main__":
    main()
