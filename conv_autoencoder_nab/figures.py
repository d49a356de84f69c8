"""The plots of a run: the series with its alarms, scores, restored days, histogram of scores."""

from collections.abc import Sequence

from common import plots

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from conv_autoencoder_nab.evaluation import events

BLUE, RED, GREEN, GREY = plots.COLOURS[0], plots.COLOURS[1], plots.COLOURS[2], "#999999"


def shade(axis: Axes, times: np.ndarray, windows: Sequence[tuple[int, int]]) -> None:
    """Mark the labelled windows."""
    for number, (first, last) in enumerate(windows):
        label = "labelled window" if number == 0 else None
        axis.axvspan(
            times[first], times[last], color=plots.COLOURS[4], alpha=0.35, lw=0, label=label
        )


def date_axis(axis: Axes) -> None:
    locator = AutoDateLocator(maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def series_and_alarms(
    times: np.ndarray,
    values: np.ndarray,
    alarms: dict[str, np.ndarray],
    *,
    gap: int,
    windows: Sequence[tuple[int, int]] = (),
    train: int = 0,
    unit: str = "value",
) -> Figure:
    """The whole series, its labelled windows and the alarms of each detector, as events."""
    figure, axes = plots.figure(2, 1, width=11, height=5)
    figure.get_layout_engine().set(h_pad=0.08)
    top, bottom = axes[:, 0]
    shade(top, times, windows)
    top.plot(times, values, lw=0.5, color=BLUE)
    top.set(ylabel=unit, title="The series, its labelled windows and the alarms")
    shade(bottom, times, windows)
    for height, flags in enumerate(alarms.values()):
        for number, (first, last) in enumerate(events(flags, gap)):
            label = "alarms, merged" if height == number == 0 else None
            bottom.plot(
                times[[first, last]], [height, height], "|-", color=RED, lw=6, ms=14, label=label
            )
    bottom.set_yticks(range(len(alarms)), alarms)
    bottom.set(ylim=(-0.6, len(alarms) - 0.4), xlim=top.get_xlim(), xlabel="date")
    for axis in (top, bottom):
        date_axis(axis)
        if train:
            axis.axvline(times[train], color=GREY, ls="--", lw=1, label="end of training rows")
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
) -> Figure:
    """The score of each row, on a log scale, under its threshold."""
    figure, axes = plots.figure(len(scores), 1, width=11, height=2.6 * len(scores) + 0.6)
    for axis, (name, values) in zip(axes[:, 0], scores.items(), strict=True):
        shade(axis, times, windows)
        axis.plot(times, values, lw=0.6, color=BLUE, label="score (1 = a normal row)")
        axis.axhline(thresholds[name], color=RED, lw=1.2, label="threshold")
        if train:
            axis.axvline(times[train], color=GREY, ls="--", lw=1, label="end of training rows")
        axis.set(yscale="log", ylabel=f"{name} score")
        date_axis(axis)
    axes[-1, 0].set_xlabel("date")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("Scores and thresholds")
    return figure


def restorations(days: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], unit: str) -> Figure:
    """For each named window: times, values and the ensemble's restoration."""
    figure, axes = plots.figure(1, len(days), width=5.5 * len(days), height=4)
    for axis, (name, (times, values, restored)) in zip(axes[0], days.items(), strict=True):
        axis.fill_between(times, values, restored, color=plots.COLOURS[4], alpha=0.4, label="error")
        axis.plot(times, values, color=BLUE, lw=1.6, label="series")
        axis.plot(times, restored, color=RED, lw=1.2, ls="--", label="restored")
        axis.set(title=name, ylabel=unit, xlabel="time")
        axis.set_ylim(bottom=0)
        date_axis(axis)
    axes[0, 0].legend(frameon=False)
    return figure


def histogram(groups: dict[str, np.ndarray], threshold: float, name: str) -> Figure:
    """How the scores of each group of rows are spread, as shares, on log axes."""
    figure, axes = plots.figure(width=7, height=4)
    axis = axes[0, 0]
    known = {label: scores[np.isfinite(scores)] for label, scores in groups.items()}
    everything = np.concatenate(list(known.values()))
    bins = np.geomspace(everything[everything > 0].min(), everything.max(), 60)
    for label, scores in known.items():
        weights = np.full(len(scores), 1 / max(len(scores), 1))
        axis.hist(scores, bins=bins, weights=weights, histtype="step", lw=1.8, label=label)
    axis.axvline(threshold, color="black", ls="--", lw=1.2, label="threshold")
    axis.set(xscale="log", yscale="log", xlabel=f"{name} score (1 = a normal row)")
    axis.set(ylabel="share of the rows", title="Spread of the scores")
    axis.legend(frameon=False)
    return figure
