"""What is reported of a model: metrics, calibration, accuracy by length, plots."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from common import metrics, plots
from common.runs import Run
from common.training import History
from lstm_sentiment.data import CLASSES, Reviews

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 10  # of the calibration curve
LENGTH_EDGES = (0, 100, 150, 200, 300, 500, 100_000)  # tokens


def describe(reviews: Reviews) -> list[str]:
    """What a reader should know of the reviews: classes, films, copies, lengths."""
    positive = [f"{name} {own.mean().item():.1%}" for name, own in reviews.labels.items()]
    films = f"{reviews.films:,} films" if reviews.films else "films unknown"
    train, whole = reviews.tokens["train"].lengths, reviews.whole["train"].lengths
    return [
        f"positive: {', '.join(positive)}",
        f"split by film and text: {films}; {int(reviews.seen.sum())} test reviews also stand in "
        "the training part",
        f"{whole.double().mean():.0f} tokens a review before they are cut, which shortens "
        f"{(whole > train).double().mean():.1%}",
    ]


def scores(reviews: Reviews, decision: np.ndarray) -> dict[str, float]:
    """Test metrics of decision values (test reviews,), positive above 0.

    `unseen_accuracy` leaves out test reviews whose text also stands in the training part.
    """
    from sklearn.metrics import f1_score, roc_auc_score

    labels = reviews.labels["test"].numpy()
    right = (decision > 0) == labels
    unseen = right[~reviews.seen.numpy()]
    is_ranked = len(np.unique(labels)) == 2
    return {
        "test_accuracy": float(right.mean()),
        "unseen_accuracy": float(unseen.mean()) if len(unseen) else float("nan"),
        "macro_f1": float(f1_score(labels, decision > 0, average="macro")),
        "roc_auc": float(roc_auc_score(labels, decision)) if is_ranked else float("nan"),
    }


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """The fraction of right predictions, of one model (reviews,) or of several (models, ...)."""
    return ((probabilities > 0.5) == labels.bool()).double().mean().item()


def calibration(labels: Tensor, probabilities: Tensor) -> list[tuple[float, float, int]]:
    """For each tenth of the probabilities: their mean, the fraction of positives, the reviews."""
    tenth = (probabilities * BINS).long().clamp(max=BINS - 1)
    rows = []
    for number in tenth.unique():
        inside = tenth == number
        positive = labels[inside].mean().item()
        rows.append((probabilities[inside].mean().item(), positive, int(inside.sum())))
    return rows


def calibration_error(curve: Sequence[tuple[float, float, int]]) -> float:
    """Mean distance between probability and fraction of positives (Guo et al. 2017, section 2)."""
    return sum(n * abs(mean - positive) for mean, positive, n in curve) / sum(n for *_, n in curve)


def by_length(lengths: Tensor, right: Tensor) -> list[tuple[str, float, int]]:
    """For each range of lengths, in tokens of the whole review: its accuracy and reviews."""
    rows = []
    for low, high in pairwise(LENGTH_EDGES):
        inside = (lengths > low) & (lengths <= high)
        if inside.any():
            name = f"over {low}" if high == LENGTH_EDGES[-1] else f"{low + 1}-{high}"
            rows.append((name, right[inside].double().mean().item(), int(inside.sum())))
    return rows


def report(run: Run, reviews: Reviews, probabilities: Tensor, count: int = 6) -> dict[str, Any]:
    """Print the surest mistakes, keep all of them in mistakes.csv; returns what the plots show.

    probabilities: (test reviews,), of being positive.
    """
    labels = reviews.labels["test"]
    both = torch.stack([1 - probabilities, probabilities], 1)  # (reviews, classes)
    run.save_mistakes(reviews.names["test"], labels.long(), both, CLASSES)
    run.print("most confident mistakes:")
    for row in metrics.mistakes(labels, both)[:count]:
        words = shorten(reviews.text("test", row), 100, placeholder=" ...")
        truth = CLASSES[int(labels[row])]
        run.print(f"  {probabilities[row]:.3f} positive, truly {truth}: {words}")
    right = (probabilities > 0.5) == labels.bool()
    return {
        "confusion": metrics.classification(labels, both, CLASSES)["confusion"],
        "calibration": calibration(labels, probabilities),
        "by_length": by_length(reviews.whole["test"].lengths, right),
    }


def save_plots(run: Run, histories: Mapping[str, History], extra: Mapping[str, Any]) -> None:
    """Draw the curves of each model, and what `report` measured on test."""
    rows = {name: history.rows for name, history in histories.items()}
    run.save_plot(plots.curves(rows, ("loss", "accuracy")), "curves.png")
    run.save_plot(plots.confusion(extra["confusion"], CLASSES), "confusion.png")
    run.save_plot(calibration_plot(extra["calibration"]), "calibration.png")
    run.save_plot(length_plot(extra["by_length"]), "length.png")


def calibration_plot(curve: Sequence[tuple[float, float, int]]) -> "Figure":
    """Fractions of positives against probabilities; below, how many reviews have each."""
    figure, axes = plots.figure(2, 1, width=5.5, height=6)
    means, positive, counts = np.array(curve).T
    axes[0, 0].plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    axes[0, 0].plot(means, positive, "o-", label="model")
    axes[0, 0].set(xlabel="probability of being positive", ylabel="fraction that is positive")
    axes[0, 0].legend(frameon=False)
    axes[1, 0].bar(means, counts, width=0.06)
    axes[1, 0].set(
        xlabel="probability of being positive", ylabel="test reviews", xlim=(-0.05, 1.05)
    )
    figure.suptitle("Calibration")
    return figure


def length_plot(rows: Sequence[tuple[str, float, int]]) -> "Figure":
    """Accuracy by the length of the review, with 95 % intervals."""
    figure, axes = plots.figure(width=7, height=4)
    names, accuracies, counts = zip(*rows, strict=True)
    mean, count = np.array(accuracies), np.array(counts)
    interval = 1.96 * np.sqrt(mean * (1 - mean) / count)
    labels = [f"{name}\n({number:,})" for name, number in zip(names, counts, strict=True)]
    axes[0, 0].errorbar(labels, mean, yerr=interval, fmt="o", capsize=4)
    axes[0, 0].grid(axis="y", alpha=0.3)
    axes[0, 0].set(xlabel="tokens of the whole review (test reviews)", ylabel="accuracy")
    figure.suptitle("Accuracy by length")
    return figure
