"""Metrics: sums that are exact over short last batches and over processes, reports by class, and
the interval of a difference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import distributed

RESAMPLES = 2000


class Sums:
    """Totals of a pass over the data, in double precision: float32 loses whole items beyond 16
    million of them. On a CUDA GPU they stay there, so that no step waits for them.

    The mean of batch means is wrong when the last batch is short: totals are summed, then divided
    by the total count.
    """

    def __init__(self, device: torch.device):
        # Where totals are added up: a GPU is not waited for, and mps has no float64.
        self.place = device if device.type == "cuda" else torch.device("cpu")
        self.totals: dict[str, Any] = {}  # numbers, or on a GPU tensors of one

    def add_step(self, loss: Tensor, count: int | Tensor, totals: dict[str, Any]) -> None:
        """Add a batch: its mean loss, the item count it is over, and totals over the items."""
        self._add("count", count)
        self._add("loss", self._exact(loss) * self._exact(count))
        for name, value in totals.items():
            self._add(name, value)

    def _exact(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.detach().double() if self.place.type == "cuda" else value.item()

    def _add(self, name: str, value: Any) -> None:
        self.totals[name] = self.totals.get(name, 0.0) + self._exact(value)

    def means(self) -> dict[str, float]:
        """Every total divided by the count, over all processes."""
        exact = {"dtype": torch.float64, "device": self.place}
        values = [torch.as_tensor(total, **exact) for total in self.totals.values()]
        sums = distributed.add_up(torch.stack(values)).tolist()
        totals = dict(zip(self.totals, sums, strict=True))
        count = totals.pop("count")
        return {name: value / count if count else float("nan") for name, value in totals.items()}


def classification(labels: Any, probabilities: Any, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro F1, the confusion matrix and a row for each class, by scikit-learn.

    Args:
        labels: (samples,) class numbers.
        probabilities: (samples, classes) probabilities or logits; the largest is the prediction.
        classes: the names, in the order of their numbers.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    labels, predicted = np.asarray(labels), np.asarray(probabilities).argmax(axis=1)
    numbers = range(len(classes))
    columns = precision_recall_fscore_support(
        labels, predicted, labels=numbers, zero_division=0.0
    )  # four of (classes,)
    f1, support = columns[2], columns[3]
    heads = ("precision", "recall", "f1", "support")
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1[support > 0].mean()),  # a class that never occurs has no F1
        "confusion": confusion_matrix(labels, predicted, labels=numbers).tolist(),
        "per_class": {
            name: {head: column[number].item() for head, column in zip(heads, columns, strict=True)}
            for number, name in enumerate(classes)
        },
    }


def mistakes(labels: Any, probabilities: Any) -> np.ndarray:
    """The rows whose likeliest class is not the true one, the surest first.

    Args:
        labels, probabilities: as in `classification`.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]


def paired_interval(own: Any, other: Any, seed: int = 0) -> tuple[float, float, float]:
    """Mean difference own - other of two scores of the same rows, and its 95 % interval.

    Percentile bootstrap over the rows (Efron & Tibshirani 1993, section 13.3): both scores are
    resampled together, so that what makes a row hard for both cancels.

    Args:
        own, other: (rows,) scores of the same test rows, for instance 1 where right.
    """
    difference = np.asarray(own, np.float64) - np.asarray(other, np.float64)  # (rows,)
    draw = np.random.default_rng(seed)
    rows = len(difference)
    means = [difference[draw.integers(rows, size=rows)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)
