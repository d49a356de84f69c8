"""The plots of one run, and R2 by horizon from the records."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common import plots
from common.runs import Run
from common.series import Series

import numpy as np

from lstm_airquality.data import FEATURES, UNITS, Parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEEK = 168  # hours
TWO_WEEKS = 2 * WEEK
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw(
    run: Run,
    series: Series,
    parts: Parts,
    forecasts: Mapping[str, np.ndarray],
    by_feature: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> None:
    """Save all plots but the learning curves; the first of the forecasts is the run's own."""
    known = series.values[: parts.known]
    own = next(iter(forecasts.values()))
    run.save_plot(autocorrelations(known), "autocorrelation.png")
    run.save_plot(correlations(known), "correlation.png")
    run.save_plot(forecast_and_truth(series, own), "forecast.png")
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


def autocorrelations(values: np.ndarray) -> "Figure":
    """A panel for each feature: lags to one week, of (hours, features)."""
    made, axes = grid(5, width=13, height=7)
    for axis, name, column in zip(axes, FEATURES, values.T, strict=False):
        axis.plot(autocorrelation(column, WEEK))
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set(title=name, ylim=(-0.6, 1.05), xlim=(0, WEEK))
        axis.set_xticks(range(0, WEEK + 1, 48))
        axis.grid(axis="x", alpha=0.3)
    made.suptitle("Autocorrelation, hours before the test part")
    made.supxlabel("lag in hours (a line every two days)")
    made.supylabel("correlation")
    return made


def correlations(values: np.ndarray) -> "Figure":
    """The matrix of correlations of (hours, features), over hours where both are observed."""
    import pandas as pd

    matrix = pd.DataFrame(values, columns=FEATURES).corr().to_numpy()
    made, axes = plots.figure(width=9, height=7.5)
    axis = axes[0, 0]
    image = axis.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1)
    made.colorbar(image, ax=axis, label="correlation", shrink=0.8)
    for row, column in np.ndindex(matrix.shape):
        shade = "white" if abs(matrix[row, column]) > 0.7 else "black"
        text = f"{matrix[row, column]:.2f}"
        axis.text(column, row, text, ha="center", va="center", color=shade, fontsize=8)
    axis.set_xticks(range(len(FEATURES)), FEATURES, rotation=45, ha="right")
    axis.set_yticks(range(len(FEATURES)), FEATURES)
    axis.set_title("Correlation of the features, hours before the test part")
    axis.spines[:].set_visible(False)
    return made


def forecast_and_truth(series: Series, forecast: np.ndarray) -> "Figure":
    """Two weeks of the test part, a panel for each feature that was observed there."""
    from matplotlib.dates import ConciseDateFormatter, DayLocator

    first = len(series.values) - len(forecast)
    rows = slice(first, first + min(TWO_WEEKS, len(forecast)))
    times, truth = series.times[rows].to_numpy(), series.values[rows]
    shown = [column for column in range(len(FEATURES)) if not np.isnan(truth[:, column]).all()]
    made, axes = grid(3, count=len(shown), width=14, height=11)
    for axis, column in zip(axes, shown, strict=False):
        axis.plot(times, truth[:, column], color="black", linewidth=1.0, label="observed")
        axis.plot(
            times, forecast[: len(times), column], color=plots.COLOURS[1], linewidth=1.0,
            label="forecast",
        )  # fmt: skip
        name = FEATURES[column]
        axis.set(title=name, ylabel=UNITS[name])
        locator = DayLocator(interval=4)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    made.suptitle("Forecast and truth, the first two weeks of the test part")
    return made


def r2_by_feature(by_feature: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> "Figure":
    """A line for each scored feature, a mark for each forecaster, the first of them filled.

    The seasonal naive forecast is left out: it lies so low that the others would fall together.
    """
    shown = {label: rows for label, rows in by_feature.items() if label != "seasonal naive"}
    own = next(iter(shown.values()))
    names = sorted((n for n in FEATURES if own[n]["r2"] is not None), key=lambda n: own[n]["r2"])
    made, axes = plots.figure(width=8.5, height=5.5)
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
    return made


def r2_by_horizon(curves: Mapping[str, Mapping[int, float]]) -> "Figure":
    """R2 of each forecaster over the hours ahead."""
    made, axes = plots.figure(width=8, height=4.5)
    axis = axes[0, 0]
    for number, (label, points) in enumerate(curves.items()):
        axis.plot(
            list(points), list(points.values()), marker=MARKERS[number], fillstyle="none",
            color=plots.COLOURS[number], label=label,
        )  # fmt: skip
    axis.set(
        xlabel="hours ahead (a model trained for each)",
        ylabel="R2, mean of the scored features",
        title="R2 by horizon",
    )
    axis.set_xticks(sorted({hour for points in curves.values() for hour in points}))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return made


def grid(columns: int, width: float, height: float, count: int = len(FEATURES)) -> Any:
    """A figure and the flat array of its first `count` axes; the others are hidden."""
    rows = -(-max(count, 1) // columns)
    made, axes = plots.figure(rows, columns, width=width, height=height)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(10)
    return made, axes.flat
