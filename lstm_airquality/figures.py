"""The plots of a run, and of a forecast with its intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common import plots
from common.runs import Run
from common.series import Series
from common.times import duration
from lstm_airquality.data import UNITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEEK = 168  # hours
MOST = 15  # columns that a plot shows
LEAST = 60  # rows of a forecast that are drawn, where there are so many
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw(
    run: Run,
    series: Series,
    known: int,
    forecasts: Mapping[str, np.ndarray],
    by_feature: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> None:
    """Save all plots but the learning curves; the first of the forecasts is the run's own.

    Args:
        known: rows before the test part.
        by_feature: the metrics of each forecaster, by feature.
    """
    values, names = series.values[:known, :MOST], series.columns[:MOST]
    own = next(iter(forecasts.values()))
    run.save_plot(autocorrelations(values, names, series.rows_in(WEEK)), "autocorrelation.png")
    run.save_plot(correlations(values, names), "correlation.png")
    run.save_plot(forecast_and_truth(series, own[:, :MOST]), "forecast.png")
    run.save_plot(r2_by_feature(by_feature), "features.png")


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """(lags + 1,): the correlation of each value with the one so many hours later.

    Only pairs of which both are observed count; NaN where there are fewer than two.
    """
    found = np.full(lags + 1, np.nan)
    for lag in range(min(lags + 1, len(values) - 2)):
        early, late = values[: len(values) - lag], values[lag:]
        both = ~np.isnan(early) & ~np.isnan(late)
        if both.sum() > 2 and early[both].std() > 0 and late[both].std() > 0:
            found[lag] = np.corrcoef(early[both], late[both])[0, 1]
    return found


def autocorrelations(values: np.ndarray, names: Sequence[str], lags: int) -> "Figure":
    """A panel for each feature: lags up to a week, of (rows, features)."""
    drawn, axes = grid(5, len(names), width=13)
    for axis, name, column in zip(axes, names, values.T, strict=False):
        axis.plot(autocorrelation(column, lags))
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set(title=name, ylim=(-0.6, 1.05), xlim=(0, lags))
        axis.set_xticks(np.arange(0, lags + 1, max(1, round(2 * lags / 7))))
        axis.grid(axis="x", alpha=0.3)
    drawn.suptitle("Autocorrelation, rows before the test part")
    drawn.supxlabel("lag in rows, to a week (a line every two days)")
    drawn.supylabel("correlation")
    return drawn


def correlations(values: np.ndarray, names: Sequence[str]) -> "Figure":
    """The matrix of correlations of (rows, features), over rows where both are observed."""
    import pandas as pd

    matrix = pd.DataFrame(values).corr().to_numpy()
    drawn, axes = plots.figure(width=9, height=7.5)
    axis = axes[0, 0]
    image = axis.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1)
    drawn.colorbar(image, ax=axis, label="correlation", shrink=0.8)
    for row, column in np.ndindex(matrix.shape):
        shade = "white" if abs(matrix[row, column]) > 0.7 else "black"
        text = f"{matrix[row, column]:.2f}"
        axis.text(column, row, text, ha="center", va="center", color=shade, fontsize=8)
    axis.set_xticks(range(len(names)), plots.readable(names), rotation=45, ha="right")
    axis.set_yticks(range(len(names)), plots.readable(names))
    axis.set_title("Correlation of the features, rows before the test part")
    axis.spines[:].set_visible(False)
    return drawn


def forecast_and_truth(series: Series, forecast: np.ndarray) -> "Figure":
    """Two weeks of the test part, a panel for each feature that was observed there.

    At least LEAST rows: months apart, two weeks are none.
    """
    first = len(series.values) - len(forecast)
    rows = slice(first, first + min(max(2 * series.rows_in(WEEK), LEAST), len(forecast)))
    times, truth = series.times[rows].to_numpy(), series.values[rows]
    shown = [c for c in range(forecast.shape[1]) if not np.isnan(truth[:, c]).all()]
    drawn, axes = grid(3, len(shown), width=14)
    for axis, column in zip(axes, shown, strict=False):
        name = series.columns[column]
        plots.marked(axis, times, truth[:, column], color="black", lw=1.0)
        axis.lines[0].set_label("observed")
        ahead = forecast[: len(times), column]
        axis.plot(times, ahead, color=plots.COLOURS[1], lw=1.0, label="forecast")
        axis.set(title=name, ylabel=UNITS.get(name, ""))
    plots.legend_below(drawn)
    lasting = duration(len(times) * series.step) if series.spacing else f"{len(times)} rows"
    drawn.suptitle(f"Forecast and truth, the first {lasting} of the test part")
    return drawn


def r2_by_feature(by_feature: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> "Figure":
    """A line for each scored feature, a mark for each forecaster, the first of them filled.

    The seasonal naive forecast is left out: it lies so low that the others would fall together.
    """
    shown = {label: rows for label, rows in by_feature.items() if label != "seasonal naive"}
    own = next(iter(shown.values()))
    names = sorted((n for n in own if own[n]["r2"] is not None), key=lambda n: own[n]["r2"])[-30:]
    drawn, axes = plots.figure(width=8.5, height=5.5)
    axis = axes[0, 0]
    for number, (label, rows) in enumerate(shown.items()):
        axis.plot(
            [rows[name]["r2"] for name in names], range(len(names)), MARKERS[number],
            color=plots.COLOURS[number], label=label, markersize=8, zorder=-number,
            fillstyle="none" if number else "full",
        )  # fmt: skip
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="R2 on observed test hours", title="R2 by feature")
    axis.set_xlim(max(axis.get_xlim()[0], -1.0), 1.0)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return drawn


def fan(series: Series, forecast: np.ndarray, levels: Sequence[float]) -> "Figure":
    """The last days of each target and its forecast quantiles, (rows, targets, quantiles)."""
    before = min(len(series.values), max(2 * len(forecast), series.rows_in(48)))
    shown = [c for c in range(min(forecast.shape[1], MOST)) if not np.isnan(forecast[:, c]).all()]
    drawn, axes = grid(3, len(shown), width=14)
    instants = np.append(series.instants[-before:], series.next_instants(len(forecast)))
    times = instants // series.step if series.spacing is None else series.source.wall(instants)
    times, half = np.asarray(times), len(levels) // 2
    for axis, column in zip(axes, shown, strict=False):
        quantiles = forecast[:, column]  # (rows, quantiles)
        plots.marked(axis, times[:before], series.values[-before:, column], color="black", lw=1.0)
        for low in range(half):
            axis.fill_between(
                times[before:], quantiles[:, low], quantiles[:, -1 - low], color=plots.COLOURS[5],
                alpha=0.35, lw=0, label=f"{levels[low]:.0%} to {levels[-1 - low]:.0%}",
            )  # fmt: skip
        axis.plot(times[before:], quantiles[:, half], color=plots.COLOURS[0], label="median")
        axis.set(title=series.columns[column], ylabel=UNITS.get(series.columns[column], ""))
    plots.legend_below(drawn)
    drawn.suptitle("Forecast with its intervals")
    return drawn


def grid(columns: int, count: int, width: float) -> Any:
    """A figure and the flat array of its first `count` axes; the others are hidden."""
    across = min(columns, max(count, 1))
    rows = -(-max(count, 1) // across)
    width *= across / columns
    drawn, axes = plots.figure(rows, across, width=width, height=2.4 * rows + 0.6)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(10)
    return drawn, axes.flat
