"""How fast the text path is beside the usual one, and the fused attention beside the written one.

    python tests/benchmarks/bench_transformer_textcls.py [rows]

The usual way: token lists in Python, every text padded to 256, shuffled without buckets, the loss
fetched at each step. Both ways train the same model, as published, on the same texts, and count
real tokens (no padding) over the time from raw text to the last step.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from text_ways import compare
from torch.nn import functional as F

from transformer_textcls import data
from transformer_textcls.model import TransformerClassifier


def published(words: int) -> TransformerClassifier:
    """The published form, with random vectors."""
    return TransformerClassifier(words, len(data.CLASSES))


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
    compare(texts, labels, F.cross_entropy, published, published)
    print("attention, one layer, batches of 16, forward and backward, peak memory")
    for tokens in (64, 256, 1024):
        compare_attention(tokens)


if __name__ == "__main__":
    main()
