"""Vectors of words and word pairs, learned from reviews without their labels.

Johnson & Zhang 2016, section 3.2 (and 2015, section 3): a small region of text learns to predict
the words around it ("two-view embedding"), and the LSTM starts from what it learned. Here a region
is a word and the one before it; its vector u is the sum of the word's and the pair's, as in
`SentimentLSTM.embed`. It predicts the words c up to `radius` tokens before and after it,

    loss = mean over regions and their words of  log mean_k exp(u v_k) - u v_c

where k runs over words drawn from the batch (van den Oord et al. 2018, equation 4). So the
skip-gram of Mikolov et al. 2013 becomes one matrix product, which a CPU computes quickly.
"""

import hashlib
import math

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from common import text
from common.checkpoints import Arrays, cached
from common.runs import Run
from common.text import UNK, Ragged, buckets, pad
from lstm_sentiment.data import Reviews
from lstm_sentiment.model import region_numbers

DRAWN = 1024  # words that the softmax compares with
BATCH = 128  # reviews a step
START = 0.1  # spread of the first vectors
SPREAD = 0.5  # of the vectors of words at the end: an LSTM learns slowly from small inputs
THIN_REGIONS, THIN_WORDS = 1e-3, 1e-4  # frequencies above which regions and words are thinned out


def learn(
    reviews: Reviews,
    region_keys: Tensor,
    *,
    size: int,
    epochs: int,
    lr: float,
    radius: int,
    run: Run,
) -> tuple[Tensor, Tensor]:
    """Vectors of the words (words, size) and of the pairs (pairs + 1, size), row 0 zero.

    Learned from the training reviews and those without a label, but from none of validation and
    test. The cache keeps them: members, and later runs of whatever seed, share them.
    """
    words = "\n".join(reviews.vocabulary.words)
    key = {
        "data": reviews.source.checksum,
        "words": hashlib.sha256(words.encode()).hexdigest(),
        "reviews": len(reviews.learnable),
        "settings": [len(region_keys), size, epochs, lr, radius],
    }

    def build() -> Arrays:
        torch.manual_seed(0)
        model = TwoView(len(reviews.vocabulary), region_keys, size, reviews.learnable)
        fit(model.to(run.device), reviews.learnable.to(run.device), epochs, lr, radius, run)
        tables = {"words": model.words.weight.detach(), "pairs": model.pairs.weight.detach()}
        scale = SPREAD / tables["words"].std()
        return {name: (table * scale).cpu().numpy() for name, table in tables.items()}

    kept = cached(reviews.cache, "pretrained", key, build, [text])
    return torch.from_numpy(kept["words"]), torch.from_numpy(kept["pairs"])


def fit(model: "TwoView", tokens: Ragged, epochs: int, lr: float, radius: int, run: Run) -> None:
    """Adam on the rows of each batch, its rate falling linearly to zero."""
    plan = buckets(tokens.lengths, BATCH)
    steps = len(plan(0))
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr)
    schedule = LambdaLR(optimizer, lambda done: 1 - done / (epochs * steps))
    run.print(f"pretraining on {len(tokens):,} reviews, whose labels it does not read")
    for epoch in range(epochs):
        total = 0.0
        for rows in plan(epoch):
            loss = model(pad(tokens, rows)[0].T.contiguous(), radius)  # ids: (tokens, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        run.print(f"pretraining, epoch {epoch + 1} of {epochs}: loss {total / steps:.4f}")


class TwoView(nn.Module):
    """The vectors of words and pairs as parts of regions, and of words that are predicted."""

    def __init__(self, words: int, region_keys: Tensor, size: int, tokens: Ragged):
        super().__init__()
        # Sparse gradients: a step costs and changes only the rows of its batch.
        self.words = nn.Embedding(words, size, padding_idx=0, sparse=True)
        self.pairs = nn.Embedding(len(region_keys) + 1, size, padding_idx=0, sparse=True)
        self.predicted = nn.Embedding(words, size, padding_idx=0, sparse=True)
        with torch.no_grad():
            self.words.weight *= START
            self.predicted.weight *= START
            self.pairs.weight.zero_()
        counts = tokens.tokens.bincount(minlength=words).double()
        self.register_buffer("region_keys", region_keys)
        self.register_buffer("frequency", (counts / counts.sum()).clamp(min=1e-12).float())

    def forward(self, ids: Tensor, radius: int) -> Tensor:
        """The loss: how badly the regions of a batch predict the words around them.

        ids: (tokens, batch).
        """
        is_word = self.thinned(ids, THIN_WORDS)  # (tokens, batch)
        at = self.thinned(ids, THIN_REGIONS)  # the regions that predict
        vectors = self.predicted(ids) * is_word.unsqueeze(2)  # (tokens, batch, size): v
        around = sum_around(vectors, radius)[at]  # (regions, size)
        count = sum_around(is_word.float().unsqueeze(2), radius)[at].squeeze(1)  # (regions,)
        numbers = region_numbers(ids, self.region_keys, len(self.words.weight))
        regions = self.words(ids[at]) + self.pairs(numbers[at])  # (regions, size): u
        known = vectors[is_word]
        if not len(known):  # a batch of thinned out words has nothing to say
            return regions.sum() * 0
        drawn = known[torch.randint(len(known), (DRAWN,), device=ids.device)]  # (drawn, size)
        partition = (regions @ drawn.T).logsumexp(1) - math.log(DRAWN)  # (regions,)
        return (count * partition - (regions * around).sum(1)).sum() / count.sum().clamp(min=1)

    def thinned(self, ids: Tensor, threshold: float) -> Tensor:
        """Where `ids` are known words; common ones at random only (Mikolov et al. 2013, 2.3)."""
        keep = (threshold / self.frequency).sqrt()  # (words,)
        keep[: UNK + 1] = 0
        return torch.rand(ids.shape, device=ids.device) < keep[ids]


def sum_around(values: Tensor, radius: int) -> Tensor:
    """At each token the sum of `values` (tokens, batch, size) over the tokens around its region.

    The region is the token and the one before it; `radius` counts from the token.
    """
    tokens = len(values)
    sums = torch.cat([torch.zeros_like(values[:1]), values.cumsum(0)])  # of all before a token
    at = torch.arange(tokens, device=values.device)
    before = sums[(at - 1).clamp(min=0)] - sums[(at - radius).clamp(min=0)]
    after = sums[(at + radius + 1).clamp(max=tokens)] - sums[at + 1]
    return before + after
