"""The usual way to train on texts and this repository's, end to end, for the text benchmarks."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from common.ragged import buckets, pad, padding_share
from common.text import make_tokenizer, prepare

import torch
from torch import Tensor, nn

FIXED = 256  # tokens that the usual way pads every text to
BATCH = 64
FLOOR = 2.0  # times as fast

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]  # ids, lengths, labels
Loss = Callable[[Tensor, Tensor], Tensor]
MakeModel = Callable[[int], nn.Module]  # from the size of the vocabulary


def train(model: nn.Module, batches: Batches, loss_of: Loss, fetch_loss: bool = False) -> None:
    """One step of Adam for each batch."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)
    total = torch.zeros(())
    for ids, lengths, labels in batches:
        loss = loss_of(model(ids, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() if fetch_loss else loss.detach()


def usual(texts: Sequence[str], labels: Tensor, loss_of: Loss, make_model: MakeModel) -> int:
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

    train(make_model(len(number) + 2), batches(), loss_of, fetch_loss=True)
    return sum(map(len, rows))


def ours(texts: Sequence[str], labels: Tensor, loss_of: Loss, make_model: MakeModel) -> int:
    """Train an epoch as train.py does; returns the number of real tokens."""
    vocabulary, tokens = prepare(texts, range(len(texts)))
    tokens = tokens.truncated(FIXED)
    plan = buckets(tokens.lengths, BATCH)
    batches = ((*pad(tokens, rows), labels[rows]) for rows in plan(0))
    train(make_model(len(vocabulary)), batches, loss_of)
    print(f"  ours: {padding_share(tokens.lengths, plan):.1%} of the batches is padding")
    return len(tokens.tokens)


def compare(
    texts: Sequence[str], labels: Tensor, loss_of: Loss, usual_model: MakeModel, model: MakeModel
) -> None:
    """Print real tokens a second of both ways, from raw text to the last step; hold the floor."""
    speeds = {}
    for way, make in ((usual, usual_model), (ours, model)):
        torch.manual_seed(0)
        began = time.perf_counter()
        tokens = way(texts, labels, loss_of, make)
        seconds = time.perf_counter() - began
        speeds[way] = tokens / seconds
        print(f"  {way.__name__:<6} {seconds:6.1f} s  {speeds[way]:,.0f} tokens/s", flush=True)
    ratio = speeds[ours] / speeds[usual]
    print(f"ours is {ratio:.1f} times as fast (floor: {FLOOR:g})")
    assert ratio >= FLOOR
