"""The plots of a run: the series with its alarms, scores, restored days, histogram of scores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common import plots
from common.runs import Run

import numpy as np

from conv_autoencoder_nab import data
from conv_autoencoder_nab.detector import VARIANTS, Detector, Variant
from conv_autoencoder_nab.evaluation import events, labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, GREY = plots.COLOURS[0], plots.COLOURS[1], plots.COLOURS[2], "#999999"


def draw(
    run: Run,
    labelled: data.Labelled,
    parts: data.Parts,
    detector: Detector,
    scores: dict[Variant, np.ndarray],
) -> None:
    """Save the plots: the series and its alarms, the scores, their spread, two restored windows."""
    times, values = labelled.series.times.to_numpy(), labelled.values
    window, recent, season, gap = (
        detector.settings[k] for k in ("window", "recent", "season", "gap")
    )
    levels, unit = detector.thresholds, "passengers in half an hour"
    found = {v: events(np.nan_to_num(scores[v]) > levels[v], gap) for v in VARIANTS}
    marks = {"windows": labelled.windows, "train": parts.train}
    whole = series_and_alarms(times, values, found, unit=unit, **marks)
    run.save_plot(whole, "series.png")
    run.save_plot(scores_and_thresholds(times, scores, levels, **marks), "scores.png")

    inside = labels_of(labelled.windows, len(values))
    row = np.arange(len(values))
    groups = {
        "training rows": row < parts.train,
        "validation rows": (row >= parts.train) & (row < parts.normal),
        "test rows outside the windows": (row >= parts.normal) & ~inside,
        "test rows in labelled windows": inside,
    }
    run.save_plot(histograms(scores, groups, levels), "histogram.png")

    slots = data.seasonal_slots(labelled.series, season)
    causal = scores["causal"]
    calm = np.argsort(np.where(groups["validation rows"], causal, np.nan))
    typical = calm[np.count_nonzero(groups["validation rows"]) // 2]
    strangest = np.nanargmax(np.where(inside, causal, np.nan))
    shown = {}
    for name, last in (("A normal window", typical), ("An anomalous window", strangest)):
        middle = int(last) - recent // 2
        first = min(max(middle - window // 2, 0), len(values) - window)
        rows = slice(first, first + window)
        restored = detector.restore(values[rows], slots[rows])
        errors = np.abs(restored - values[rows]) / detector.scaler.scale_of(slots[rows])
        shown[name] = (times[rows], values[rows], restored, errors)
    run.save_plot(restorations(shown, unit), "restored.png")


def shade(axis: "Axes", times: np.ndarray, windows: Sequence[tuple[int, int]]) -> None:
    """Mark the labelled windows."""
    for number, (first, last) in enumerate(windows):
        label = "labelled window" if number == 0 else None
        axis.axvspan(
            times[first], times[last], color=plots.COLOURS[4], alpha=0.35, lw=0, label=label
        )


def date_axis(axis: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def series_and_alarms(
    times: np.ndarray,
    values: np.ndarray,
    found: dict[str, list[tuple[int, int]]],
    *,
    windows: Sequence[tuple[int, int]] = (),
    train: int = 0,
    unit: str = "value",
) -> "Figure":
    """The whole series, its labelled windows and each detector's events: first and last row."""
    figure, axes = plots.figure(2, 1, width=11, height=5)
    figure.get_layout_engine().set(h_pad=0.08)
    top, bottom = axes[:, 0]
    shade(top, times, windows)
    top.plot(times, values, lw=0.5, color=BLUE)
    top.set(ylabel=unit, title="The series and the alarms")
    shade(bottom, times, windows)
    for height, its_events in enumerate(found.values()):
        for number, (first, last) in enumerate(its_events):
            label = "alarms, merged" if height == number == 0 else None
            ends = np.array([first, last])
            bottom.plot(times[ends], [height, height], "s-", color=RED, lw=5, ms=4, label=label)
    bottom.set_yticks(range(len(found)), found)
    bottom.set(ylim=(-0.6, len(found) - 0.4), xlim=top.get_xlim(), xlabel="date")
    for axis in (top, bottom):
        date_axis(axis)
        if train:
            axis.axvline(
                times[train], color=GREY, ls="--", lw=1, label="end of the rows learned from"
            )
    handles = {
        h.get_label(): h for axis in (top, bottom) for h in axis.get_legend_handles_labels()[0]
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False
    )
    return figure


def scores_and_thresholds(
    times: np.ndarray,
    scores: dict[str, np.ndarray],
    thresholds: dict[str, float],
    windows: Sequence[tuple[int, int]] = (),
    train: int = 0,
) -> "Figure":
    """The score of each row, on a log scale, under its threshold."""
    figure, axes = plots.figure(len(scores), 1, width=11, height=2.6 * len(scores) + 0.6)
    for axis, (name, values) in zip(axes[:, 0], scores.items(), strict=True):
        shade(axis, times, windows)
        axis.plot(times, values, lw=0.6, color=BLUE, label="score (1 = a normal row)")
        axis.axhline(thresholds[name], color=RED, lw=1.2, label="threshold")
        if train:
            axis.axvline(
                times[train], color=GREY, ls="--", lw=1, label="end of the rows learned from"
            )
        axis.set(yscale="log", ylabel=f"{name} score", xlim=(times[0], times[-1]))
        date_axis(axis)
    axes[-1, 0].set_xlabel("date")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("Scores and thresholds")
    return figure


def restorations(shown: dict[str, tuple[np.ndarray, ...]], unit: str) -> "Figure":
    """For each named window its times, values, the ensemble's restoration and scaled errors."""
    figure, axes = plots.figure(2, len(shown), width=5.5 * len(shown), height=5.5)
    for column, (name, (times, values, restored, errors)) in enumerate(shown.items()):
        top, bottom = axes[:, column]
        top.plot(times, values, color=BLUE, lw=1.6, label="series")
        top.plot(times, restored, color=RED, lw=1.2, ls="--", label="restored")
        top.set(title=name, ylabel=unit if column == 0 else "")
        top.set_ylim(0, max(np.nanmax(each[1]) for each in shown.values()) * 1.05)
        bottom.fill_between(times, 0, errors, color=plots.COLOURS[4], lw=0)
        bottom.set(ylabel="error, in scales of the hour" if column == 0 else "", xlabel="time")
        bottom.set_ylim(0, max(np.nanmax(each[3]) for each in shown.values()) * 1.05)
        date_axis(top)
        date_axis(bottom)
    axes[0, 0].legend(frameon=False)
    return figure


def histograms(
    scores: dict[str, np.ndarray], groups: dict[str, np.ndarray], thresholds: dict[str, float]
) -> "Figure":
    """How the scores of each group of rows (given as masks) are spread, on log axes."""
    figure, axes = plots.figure(1, len(scores), width=5.5 * len(scores), height=4.2)
    for axis, (name, values) in zip(axes[0], scores.items(), strict=True):
        known = np.isfinite(values) & (values > 0)
        bins = np.geomspace(values[known].min(), values[known].max(), 60)
        for label, rows in groups.items():
            own = values[known & rows]
            weights = np.full(len(own), 1 / max(len(own), 1))
            axis.hist(own, bins=bins, weights=weights, histtype="step", lw=1.6, label=label)
        axis.axvline(thresholds[name], color="black", ls="--", lw=1.2, label="threshold")
        axis.set(xscale="log", yscale="log", xlabel=f"{name} score (1 = a normal row)")
    axes[0, 0].set_ylabel("share of the rows")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Spread of the scores")
    return figure
