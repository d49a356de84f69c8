"""Metrics: sums that are exact over short last batches and over processes, and class reports."""

from collections.abc import Sequence
from typing import Any

from common import distributed

import numpy as np
import torch
from torch import Tensor


class Sums:
    """Totals of a pass over the data, kept on the device so that no step waits for them.

    The mean of batch means is wrong when the last batch is short: totals are summed, then divided
    by the total count.
    """

    def __init__(self, device: torch.device):
        self.totals: dict[str, Tensor] = {}
        self.device = device

    @torch.no_grad()
    def add_step(self, loss: Tensor, count: int | Tensor, sums: dict[str, Any]) -> None:
        """Add a batch: its mean loss, the item count it is over, and totals over the items."""
        for key, value in {"count": count, "loss": loss.double() * count, **sums}.items():
            if key not in self.totals:
                # Float32 would lose whole items beyond 16 million of them.
                self.totals[key] = torch.zeros((), dtype=torch.float64, device=self.device)
            self.totals[key] += value

    def gather(self) -> None:
        """Move the totals of all processes into the main one's."""
        if distributed.world_size() > 1 and self.totals:
            for key, value in self.totals.items():
                total = distributed.add_up(value.clone())
                self.totals[key] = total if distributed.is_main() else torch.zeros_like(total)

    def means(self) -> dict[str, float]:
        """Every total divided by the count, over all processes."""
        keys = list(self.totals)
        values = distributed.add_up(torch.stack([self.totals[key] for key in keys])).tolist()
        totals = dict(zip(keys, values, strict=True))
        count = totals.pop("count")
        return {key: value / count if count else float("nan") for key, value in totals.items()}


def classification(labels: Any, probabilities: Any, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro F1, the confusion matrix and a row for each class.

    Args:
        labels: (samples,) class numbers.
        probabilities: (samples, classes) probabilities or logits; the largest is the prediction.
        classes: the names, in the order of their numbers.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, predicted = np.asarray(labels), np.asarray(probabilities).argmax(axis=1)
    numbers = range(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=numbers, zero_division=0.0
    )
    return {
        "accuracy": float((labels == predicted).mean()),
        "macro_f1": float(f1[support > 0].mean()),  # a class that never occurs has no F1
        "confusion": confusion_matrix(labels, predicted, labels=numbers).tolist(),
        "per_class": {
            name: {
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "support": int(support[number]),
            }
            for number, name in enumerate(classes)
        },
    }
