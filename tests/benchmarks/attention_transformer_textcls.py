"""The fused attention of transformer_textcls beside the written one: time and memory by length.

python tests/benchmarks/attention_transformer_textcls.py
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from transformer_textcls.model import TransformerClassifier


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


if __name__ == "__main__":
    print("attention, one layer, batches of 16, forward and backward, peak memory")
    for length in (64, 256, 1024):
        compare_attention(length)
