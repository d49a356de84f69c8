"""The plots of a run: series and alarms, scores, their spread, restored windows, curves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common import plots
from common.runs import History, Run
from conv_autoencoder_nab.data import Labelled, Parts, seasonal_slots
from conv_autoencoder_nab.detector import VARIANTS, Detector, Scores
from conv_autoencoder_nab.scoring import events, window_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = plots.COLOURS[0], plots.COLOURS[1], "#999999"
WINDOWS = "labelled window"


def draw(
    run: Run,
    labelled: Labelled,
    parts: Parts,
    detector: Detector,
    scores: Scores,
    histories: Sequence[History],
) -> None:
    """Save the plots: series and alarms, scores, their spread, restored windows, curves."""
    times, values = labelled.series.times.to_numpy(), labelled.values
    levels, unit = detector.thresholds, "passengers in half an hour"
    found = {v: events(np.nan_to_num(scores[v]) > levels[v], detector.gap) for v in VARIANTS}
    marks = {"windows": labelled.windows, "train": parts.train}
    run.save_plot(series_and_alarms(times, values, found, unit=unit, **marks), "series.png")
    run.save_plot(scores_and_thresholds(times, scores, levels, **marks), "scores.png")

    row, inside = np.arange(len(values)), window_numbers(len(values), labelled.windows) >= 0
    validation = (row >= parts.train) & (row < parts.normal)
    groups = {
        "training rows": row < parts.train,
        "validation rows": validation,
        "test rows outside the windows": (row >= parts.normal) & ~inside,
        "test rows in labelled windows": inside,
    }
    run.save_plot(histograms(scores, groups, levels), "histogram.png")

    slots = seasonal_slots(labelled.series, detector.season)
    causal = scores["causal"]
    ranked = np.argsort(np.where(validation, causal, np.nan))  # NaN last
    typical = ranked[validation.sum() // 2]
    strangest = np.nanargmax(np.where(inside, causal, np.nan))
    shown = {}
    for name, last in (("A normal window", typical), ("An anomalous window", strangest)):
        first = int(last) - (detector.recent + detector.window) // 2  # its end in the middle
        first = min(max(first, 0), len(values) - detector.window)
        rows = slice(first, first + detector.window)
        restored = detector.restore(values[rows], slots[rows])
        scaled = [detector.scaler.transform(each, slots[rows]) for each in (restored, values[rows])]
        shown[name] = (times[rows], values[rows], restored, np.abs(scaled[0] - scaled[1]))
    run.save_plot(restorations(shown, unit), "restored.png")

    curves = plots.curves({f"member {i}": each.rows for i, each in enumerate(histories, start=1)})
    curves.axes[0].set_yscale("log")
    run.save_plot(curves, "curves.png")


def end_of_training(axis: "Axes", times: Any, train: int) -> None:
    """Mark where the rows learned from end, if there are any."""
    if train:
        label = "end of the rows learned from"
        axis.axvline(times[min(train, len(times) - 1)], color=GREY, ls="--", lw=1, label=label)


def series_and_alarms(
    times: Any,
    values: np.ndarray,
    found: Mapping[str, list[tuple[int, int]]],
    *,
    windows: Sequence[tuple[int, int]] = (),
    train: int = 0,
    unit: str = "value",
) -> "Figure":
    """The whole series, its labelled windows and each score's events: first and last row."""
    figure, axes = plots.figure(2, 1, width=11, height=5)
    figure.get_layout_engine().set(h_pad=0.08)
    top, bottom = axes[:, 0]
    plots.marked(top, times, values, windows, WINDOWS, lw=0.5, color=BLUE)
    top.set(ylabel=unit, title="The series and the alarms")
    plots.marked(bottom, times, np.zeros(len(times)), windows, WINDOWS, lw=0)
    for height, its_events in enumerate(found.values()):
        for number, (first, last) in enumerate(its_events):
            label = "alarms, merged" if height == number == 0 else None
            ends = np.array([first, last])
            bottom.plot(times[ends], [height, height], "s-", color=RED, lw=5, ms=4, label=label)
    bottom.set_yticks(range(len(found)), found)
    bottom.set(ylim=(-0.6, len(found) - 0.4), xlim=top.get_xlim(), xlabel="date")
    for axis in (top, bottom):
        end_of_training(axis, times, train)
    plots.legend_below(figure)
    return figure


def scores_and_thresholds(
    times: Any,
    scores: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
    windows: Sequence[tuple[int, int]] = (),
    train: int = 0,
) -> "Figure":
    """The score of each row, on a log scale, under its threshold."""
    figure, axes = plots.figure(len(scores), 1, width=11, height=2.6 * len(scores) + 0.6)
    for axis, (name, values) in zip(axes[:, 0], scores.items(), strict=True):
        style = {"lw": 0.6, "color": BLUE}
        axis.plot([], [], label="score (1 = a normal row)", **style)
        plots.marked(axis, times, values, windows, WINDOWS, **style)
        axis.axhline(thresholds[name], color=RED, lw=1.2, label="threshold")
        end_of_training(axis, times, train)
        axis.set(yscale="log", ylabel=f"{name} score", xlim=(times[0], times[-1]))
    axes[-1, 0].set_xlabel("date")
    plots.legend_below(figure)
    figure.suptitle("Scores and thresholds")
    return figure


def restorations(shown: Mapping[str, tuple[np.ndarray, ...]], unit: str) -> "Figure":
    """For each named window its times, values, the ensemble's restoration and scaled errors."""
    figure, axes = plots.figure(2, len(shown), width=5.5 * len(shown), height=5.5)
    highest, widest = (max(np.nanmax(each[i]) for each in shown.values()) for i in (1, 3))
    for column, (name, (times, values, restored, errors)) in enumerate(shown.items()):
        top, bottom = axes[:, column]
        plots.marked(top, times, values, color=BLUE, lw=1.6)
        top.plot(times, restored, color=RED, lw=1.2, ls="--")
        top.set(title=name, ylabel=unit if column == 0 else "", ylim=(0, highest * 1.05))
        plots.marked(bottom, times, errors, color=plots.COLOURS[4])
        bottom.fill_between(times, 0, errors, color=plots.COLOURS[4], lw=0)
        bottom.set(ylabel="error, in scales of the hour" if column == 0 else "", xlabel="time")
        bottom.set(ylim=(0, widest * 1.05))
    axes[0, 0].legend(["series", "restored"], frameon=False)
    return figure


def histograms(
    scores: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
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
    axes[0, 0].set_ylabel("fraction of the rows")
    plots.legend_below(figure, columns=3)
    figure.suptitle("Spread of the scores")
    return figure
