"""Plots that need no display, with colours that colour-blind readers tell apart.

matplotlib is imported where it is used: its second would delay the first step of every training.
"""

import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np

from common.checkpoints import write_atomically
from common.settings import warn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MANY_CLASSES = 40  # beyond, a confusion matrix has neither names nor numbers
CONFUSED_PAIRS = 20
NAME_LENGTH = 30
CAPTION_WIDTH = 20  # letters of a line above an image, half as many of Chinese


def figure(
    rows: int = 1, columns: int = 1, width: float = 8.0, height: float = 4.5
) -> "tuple[Figure, np.ndarray]":
    """An empty figure of `width` x `height` inches and its (rows, columns) array of axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_prop_cycle(color=COLOURS)
    return drawn, axes


def legend_below(drawn: "Figure", columns: int = 0) -> None:
    """One legend for all panels, where it covers nothing; 0 columns = all in one row."""
    entries: dict[str, Any] = {}
    for axis in drawn.axes:
        handles, labels = axis.get_legend_handles_labels()
        entries = {**dict(zip(labels, handles, strict=True)), **entries}
    drawn.legend(
        entries.values(), entries.keys(), loc="outside lower center",
        ncols=columns or len(entries), frameon=False, fontsize=9,
    )  # fmt: skip


def save(drawn: "Figure", path: Path, sample: bool = False) -> None:
    """Write a PNG; a plot of sample data says so in its title."""
    if sample:
        title = drawn.get_suptitle()
        drawn.suptitle(f"{title} - SAMPLE DATA" if title else "SAMPLE DATA")
    write_atomically(path, lambda file: drawn.savefig(file, format="png", dpi=110))


def readable(names: Sequence[str]) -> list[str]:
    """Names of classes or files as plots can show them.

    Letters that the usual font lacks are drawn in an installed one that has them; where there is
    none, the names become their numbers, with a note.
    """
    from matplotlib import font_manager as fonts
    from matplotlib import rcParams

    names = [os.fsencode(name).decode("utf-8", "replace") for name in names]
    names = [n if len(n) <= NAME_LENGTH else f"{n[: NAME_LENGTH - 1]}…" for n in names]
    usual = fonts.findfont(fonts.FontProperties())
    missing = {ord(letter) for name in names for letter in name}
    missing -= set(fonts.get_font(usual).get_charmap())
    if missing:
        for font in fonts.fontManager.ttflist:
            if "lastresort" in font.name.replace(" ", "").lower():
                continue  # it has a box for every letter
            if missing <= set(fonts.get_font(font.fname).get_charmap()):
                if font.name not in rcParams["font.family"]:
                    rcParams["font.family"] = [*rcParams["font.family"], font.name]
                break
        else:
            example = next(name for name in names if missing & {ord(letter) for letter in name})
            warn(f"no font here has all letters of {example}: plots show numbers in place of names")
            return [str(number) for number in range(len(names))]
    return [name.replace("$", r"\$") for name in names]  # no formula


def curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str] = ("loss",)
) -> "Figure":
    """Training (dashed) and validation (solid) curves, a panel for each metric.

    Args:
        histories: for each model its rows, as in `History.rows`.
        metrics: names without `train_` and `val_`.
    """
    drawn, axes = figure(1, len(metrics), width=5.5 * len(metrics), height=4)
    for axis, metric in zip(axes.flat, metrics, strict=True):
        for (name, rows), colour in zip(histories.items(), COLOURS * 4, strict=False):
            epochs = [row["epoch"] for row in rows]
            for part, words, style in (("train", "training", "--"), ("val", "validation", "-")):
                values = [row.get(f"{part}_{metric}") for row in rows]
                if any(value is not None for value in values):
                    label = f"{name}, {words}" if len(histories) > 1 else words
                    axis.plot(epochs, values, style, color=colour, label=label)
        axis.set(xlabel="epoch", ylabel=metric.replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        if axis.lines and len(histories) <= 2:
            axis.legend(frameon=False, fontsize=8)
    if len(histories) > 2:  # as many lines leave no corner free
        legend_below(drawn, columns=4)
    drawn.suptitle("Learning curves")
    return drawn


def confusion(matrix: Any, classes: Sequence[str], title: str = "Confusion matrix") -> "Figure":
    """Rows are the true classes, columns the predicted ones; cells are fractions of a row.

    Above 40 classes it has no numbers, and the most confused pairs stand beside it.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    counts, names = np.asarray(matrix), readable(classes)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = len(classes) <= MANY_CLASSES
    side = max(4.0, 0.62 * len(classes) + 2) if few else 8.0
    drawn, axes = figure(1, 1 if few else 2, side + 0.8 if few else 2 * side, side)
    axis = axes[0, 0]
    display = ConfusionMatrixDisplay(fractions, display_labels=names)
    display.plot(
        ax=axis, cmap="Blues", include_values=few, values_format=".2f", colorbar=False,
        im_kw={"vmin": 0, "vmax": 1}, text_kw={"fontsize": 9 if len(classes) < 8 else 7},
    )  # fmt: skip
    if few:
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    else:
        pairs = [f"{n:,}  {a} as {b}" for a, b, n in confused_pairs(counts, names)]
        axes[0, 1].text(0, 0.9, "\n".join(["The most confused pairs:", *pairs]), va="top")
        axes[0, 1].set_axis_off()
        axis.set(xticks=[], yticks=[])
    drawn.colorbar(display.im_, ax=axis, label="fraction of the true class", shrink=0.8)
    axis.set(title=title, xlabel="predicted", ylabel="true")
    axis.spines[:].set_visible(False)
    return drawn


def confused_pairs(matrix: Any, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """The twenty most frequent mistakes: true class, predicted class, how often."""
    counts = np.array(matrix)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED_PAIRS]
    cells = [np.unravel_index(place, counts.shape) for place in order]
    return [(classes[i], classes[j], int(counts[i, j])) for i, j in cells if counts[i, j]]


def images(rows: Mapping[str, Sequence[tuple[Any, str]]], title: str = "") -> "Figure":
    """Rows of images, each row with its name and each image with its caption.

    Args:
        rows: for each name its images, uint8 (3, height, width), and their captions.
    """
    columns = max(1, *map(len, rows.values()))
    drawn, axes = figure(len(rows), columns, 1.4 * columns, 1.85 * len(rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (name, items) in zip(axes, rows.items(), strict=True):
        place = {"transform": line[0].transAxes, "ha": "right", "va": "center", "rotation": 90}
        line[0].text(-0.12, 0.5, name, **place)
        for axis, (pixels, caption) in zip(line, items, strict=False):
            axis.imshow(np.moveaxis(np.asarray(pixels), 0, -1))
            is_wide = any(east_asian_width(letter) in "WF" for letter in caption)
            width = CAPTION_WIDTH // 2 if is_wide else CAPTION_WIDTH
            lines = [textwrap.wrap(line, width) for line in caption.splitlines()]
            axis.set_title("\n".join(chain(*lines)), fontsize=7)
    drawn.suptitle(title)
    return drawn


def trade_off(metrics: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Test accuracy against operations and against seconds of training, a point for each model.

    Args:
        metrics: for each model `flops` of one image, `train_seconds` and `test_accuracy`.
    """
    drawn, axes = figure(1, 2, width=11, height=4)
    for axis, key, scale, label in (
        (axes[0, 0], "flops", 1e9, "billion floating-point operations an image"),
        (axes[0, 1], "train_seconds", 1.0, "seconds of training"),
    ):
        for (name, values), colour in zip(metrics.items(), COLOURS * 4, strict=False):
            place = (values[key] / scale, 100 * values["test_accuracy"])
            axis.scatter(*place, color=colour, s=60, label=name)
        axis.set(xlabel=label, ylabel="test accuracy, %")
        axis.margins(0.2)
        axis.grid(alpha=0.3)
    legend_below(drawn, columns=3)
    drawn.suptitle("Accuracy and what it costs")
    return drawn


def marked(
    axis: "Axes",
    times: Any,
    values: Any,
    spans: Sequence[tuple[int, int]] = (),
    label: str = "marked",
    **style: Any,
) -> None:
    """A series over dates, with the spans between two of its rows shaded."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    for number, (first, last) in enumerate(spans):
        name = label if number == 0 else None
        axis.axvspan(times[first], times[last], color=COLOURS[4], alpha=0.35, lw=0, label=name)
    axis.plot(times, values, **{"lw": 0.7, **style})
    if np.issubdtype(np.asarray(times).dtype, np.datetime64):
        locator = AutoDateLocator(minticks=3, maxticks=8)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def bars(values: Mapping[str, tuple[float, float]], label: str, title: str) -> "Figure":
    """Horizontal bars, the first on top, for each name its mean and standard deviation."""
    drawn, axes = figure(height=1.6 + 0.35 * len(values))
    means, spreads = zip(*values.values(), strict=True)
    axes[0, 0].barh(readable(list(values)), means, xerr=spreads, capsize=3, color=COLOURS[5])
    axes[0, 0].invert_yaxis()
    axes[0, 0].grid(axis="x", alpha=0.3)
    axes[0, 0].set(xlabel=label, title=title)
    return drawn
