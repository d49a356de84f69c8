"""Figures that need no display, with colours that colour-blind readers tell apart.

matplotlib is imported where it is used: its second would delay the first step of every training.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import checkpoints

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
STYLES = ("-", "--", "-.", ":")


def figure(
    rows: int = 1, columns: int = 1, width: float = 8.0, height: float = 4.5
) -> "tuple[Figure, np.ndarray]":
    """An empty figure of `width` x `height` inches and its (rows, columns) array of axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_prop_cycle(color=COLOURS)
    return made, axes


def legend_below(made: "Figure", axis: "Axes", columns: int = 0) -> None:
    """One legend for all panels, where it covers nothing; 0 columns = all in one row."""
    handles, labels = axis.get_legend_handles_labels()
    made.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns or len(labels),
        frameon=False,
        fontsize=9,
    )


def save(made: "Figure", path: Path, sample: bool = False) -> None:
    """Write a PNG; a figure of sample data says so in its title."""
    if sample:
        title = made.get_suptitle()
        made.suptitle(f"{title} - SAMPLE DATA" if title else "SAMPLE DATA")
    picture = io.BytesIO()
    made.savefig(picture, format="png", dpi=110)
    checkpoints.write_atomically(path, lambda file: file.write(picture.getvalue()))


def curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str] = ("loss",)
) -> "Figure":
    """Training (dashed) and validation (solid) curves, a panel for each metric.

    Args:
        histories: for each model its rows, as in `History.rows`.
        metrics: names without `train_` and `val_`.
    """
    made, axes = figure(1, len(metrics), width=5.5 * len(metrics), height=4)
    for axis, metric in zip(axes.flat, metrics, strict=True):
        for (name, rows), colour in zip(histories.items(), COLOURS * 4, strict=False):
            epochs = [row["epoch"] for row in rows]
            for part, style in (("train", "--"), ("val", "-")):
                values = [row.get(f"{part}_{metric}") for row in rows]
                if any(value is not None for value in values):
                    words = {"train": "training", "val": "validation"}[part]
                    label = f"{name}, {words}" if len(histories) > 1 else words
                    axis.plot(epochs, values, style, color=colour, label=label)
        axis.set(xlabel="epoch", ylabel=metric.replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False, fontsize=8)
    made.suptitle("Learning curves")
    return made


def confusion(matrix: Any, classes: Sequence[str], title: str = "Confusion matrix") -> "Figure":
    """Rows are the true classes, columns the predicted ones; shades are shares of a row."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.62 * len(classes) + 2)
    made, axes = figure(width=side + 0.8, height=side)
    axis = axes[0, 0]
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    made.colorbar(image, ax=axis, label="share of the true class", shrink=0.8)
    for row, column in np.ndindex(counts.shape):
        shade = "white" if shares[row, column] > 0.5 else "black"
        axis.text(
            column, row, f"{counts[row, column]:,}", ha="center", va="center", color=shade,
            fontsize=9 if len(classes) < 8 else 7,
        )  # fmt: skip
    axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel="predicted", ylabel="true", title=title)
    axis.spines[:].set_visible(False)
    return made
