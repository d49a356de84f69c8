"""What the data are, and what a trained model is worth: figures, plots, surest mistakes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from common import metrics, plots
from common.progress import History
from common.runs import Run
from common.vectors import WordVectors

import numpy as np
import torch
from torch import Tensor

from lstm_sentiment.data import CLASSES, Reviews

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 10  # of the calibration curve
LENGTH_EDGES = (0, 100, 150, 200, 300, 500, 100_000)  # tokens


def describe(run: Run, reviews: Reviews, found: WordVectors | None, batch_size: int) -> None:
    """Print what a reader should know of the data: classes, lengths, cuts, padding, vectors."""

    def mean(values: Tensor, form: str = ".1%") -> str:
        return format(values.float().mean().item(), form)

    train, whole = reviews.tokens["train"], reviews.whole["train"]
    shares = [f"{name} {mean(own)} positive" for name, own in reviews.labels.items()]
    films = f"{reviews.films:,} films" if reviews.films else "films unknown (no urls_*.txt)"
    run.print(
        f"classes   {', '.join(shares)}\n"
        f"split     by film and text: {films}; {int(reviews.seen.sum())} test reviews also stand "
        "in train\n"
        f"tokens    {len(reviews.vocabulary):,} in the vocabulary of the training split, "
        f"{reviews.unknown():.1%} of the test tokens unknown\n"
        f"          {mean(whole.lengths, '.0f')} a review, {mean(train.lengths, '.0f')} after the "
        f"cut, which shortens {mean(whole.lengths > train.lengths)}; "
        f"{reviews.padding(batch_size):.1%} padding in the batches\n"
        f"vectors   {reviews.coverage(found)}"
    )


def figures(reviews: Reviews, probabilities: Tensor) -> tuple[dict[str, float], dict[str, Any]]:
    """The test metrics, and the figures behind the plots.

    probabilities: (test reviews,) of being positive. `unseen_accuracy` leaves out test reviews
    whose text also stands in the training part; `calibration_error` is the expected one of Guo et
    al. 2017: the mean distance between confidence and accuracy over ten bins.
    """
    from sklearn.metrics import roc_auc_score

    labels = reviews.labels["test"]
    both = torch.stack([1 - probabilities, probabilities], 1)  # (reviews, 2)
    report = metrics.classification(labels, both, CLASSES)
    right = (probabilities > 0.5) == labels.bool()
    curve = calibration(labels, probabilities)
    two_classes = len(labels.unique()) == 2
    main = {
        "test_accuracy": report["accuracy"],
        "unseen_accuracy": right[~reviews.seen].double().mean().item(),
        "macro_f1": report["macro_f1"],
        "roc_auc": float(roc_auc_score(labels, probabilities)) if two_classes else float("nan"),
        "calibration_error": sum(n * abs(p - share) for p, share, n in curve) / len(labels),
    }
    extra = {
        "per_class": report["per_class"],
        "confusion": report["confusion"],
        "calibration": curve,
        "by_length": by_length(reviews, right),
    }
    return main, extra


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """The share of right verdicts, of one model (reviews,) or over several (models, reviews)."""
    return ((probabilities > 0.5) == labels.bool()).double().mean().item()


def calibration(labels: Tensor, probabilities: Tensor) -> list[tuple[float, float, int]]:
    """For each tenth of the probabilities: their mean, the share of positives, the reviews."""
    tenth = (probabilities * BINS).long().clamp(max=BINS - 1)
    rows = []
    for number in range(BINS):
        inside = tenth == number
        if inside.any():
            share = labels[inside].mean().item()
            rows.append((probabilities[inside].mean().item(), share, int(inside.sum())))
    return rows


def by_length(reviews: Reviews, right: Tensor) -> list[tuple[str, float, int]]:
    """For each range of lengths, in tokens of the whole review: its accuracy and reviews."""
    lengths = reviews.whole["test"].lengths
    rows = []
    for low, high in pairwise(LENGTH_EDGES):
        inside = (lengths > low) & (lengths <= high)
        if inside.any():
            name = f"over {low}" if high == LENGTH_EDGES[-1] else f"{low + 1}-{high}"
            rows.append((name, right[inside].double().mean().item(), int(inside.sum())))
    return rows


def calibration_plot(curve: list[tuple[float, float, int]]) -> "Figure":
    """Shares of positives against probabilities; below, how many reviews have each."""
    figure, axes = plots.figure(2, 1, width=5.5, height=6)
    means, shares, counts = np.array(curve).T
    axes[0, 0].plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    axes[0, 0].plot(means, shares, "o-", label="model")
    axes[0, 0].set(xlabel="probability of being positive", ylabel="share that is positive")
    axes[0, 0].legend(frameon=False)
    axes[1, 0].bar(means, counts, width=0.06)
    axes[1, 0].set(
        xlabel="probability of being positive", ylabel="test reviews", xlim=(-0.05, 1.05)
    )
    figure.suptitle("Calibration")
    return figure


def length_plot(rows: list[tuple[str, float, int]]) -> "Figure":
    """Accuracy by the length of the review, with 95 % intervals."""
    figure, axes = plots.figure(width=7, height=4)
    names, accuracy, counts = zip(*rows, strict=True)
    share, count = np.array(accuracy), np.array(counts)
    spread = 1.96 * np.sqrt(share * (1 - share) / count)
    labels = [f"{name}\n({number:,})" for name, number in zip(names, counts, strict=True)]
    axes[0, 0].errorbar(labels, share, yerr=spread, fmt="o", capsize=4)
    axes[0, 0].grid(axis="y", alpha=0.3)
    axes[0, 0].set(xlabel="tokens of the whole review (test reviews)", ylabel="accuracy")
    figure.suptitle("Accuracy by length")
    return figure


def confident_mistakes(reviews: Reviews, probabilities: Tensor, count: int = 6) -> list[str]:
    """The wrong test predictions that the model was surest of, a line each."""
    labels = reviews.labels["test"]
    distance = (probabilities - labels).abs()
    lines = []
    for row in distance.argsort(descending=True)[:count].tolist():
        if distance[row] <= 0.5:
            break
        path = reviews.paths["test"][row]
        words = " ".join(reviews.text("test", row).split())
        lines.append(
            f"{probabilities[row]:.3f} positive, truly {CLASSES[int(labels[row])]} "
            f"({path.parent.name}/{path.name}): {words[:90]}..."
        )
    return lines


def report(
    run: Run,
    histories: Sequence[History],
    reviews: Reviews,
    probabilities: Tensor,
    extra: dict[str, Any],
) -> None:
    """Print the table by class and the surest mistakes; save the plots."""
    for name, row in extra["per_class"].items():
        run.print(
            f"{name:<12} precision {row['precision']:.3f}  recall {row['recall']:.3f}  "
            f"F1 {row['f1']:.3f}  {row['support']:,} reviews"
        )
    run.print("most confident mistakes:")
    for line in confident_mistakes(reviews, probabilities):
        run.print(f"  {line}")
    rows = {f"model {number}": history.rows for number, history in enumerate(histories)}
    run.save_plot(plots.curves(rows, ("loss", "accuracy")), "curves.png")
    run.save_plot(plots.confusion(extra["confusion"], CLASSES), "confusion.png")
    run.save_plot(calibration_plot(extra["calibration"]), "calibration.png")
    run.save_plot(length_plot(extra["by_length"]), "length.png")
