"""What a forecaster must beat, fitted and scored on the same rows: no network in here."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import checkpoints
from common.series import Series
from lstm_airquality import data, evaluation
from lstm_airquality.data import CALENDAR, Hours, Parts, Past, Scaler, prepare
from lstm_airquality.evaluation import score

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of the ridge, the best on validation is taken
LAGS = (1, 2, 3, 6, 12, 23)  # rows back from the window's end that the trees compare with

Span = tuple[int, int]  # first row, and the row after the last


def cached_forecasts(
    series: Series, targets: int, parts: Parts, past: Past, quantiles: Sequence[float], cache: Path
) -> dict[str, np.ndarray]:
    """`forecasts`, kept in the folder `cache`."""
    values = hashlib.sha256(series.values.tobytes() + series.instants.tobytes()).hexdigest()
    key = {"values": values, "columns": series.columns, "split": dataclasses.astuple(parts)}
    key |= {"targets": targets, "past": dataclasses.astuple(past), "quantiles": list(quantiles)}

    def fit() -> dict[str, np.ndarray]:
        return forecasts(series, targets, parts, past, quantiles)

    return checkpoints.cached(cache, "air-baselines", key, fit, [data, evaluation])


def forecasts(
    series: Series, targets: int, parts: Parts, past: Past, quantiles: Sequence[float] = ()
) -> dict[str, np.ndarray]:
    """Each baseline's forecasts of the test part, (count, targets), in the targets' units.

    With quantiles also quantile-boosted trees, (count, targets, quantiles), from the calibration
    part's first window on. All are fitted on the rows before that part; they see what the network
    sees, and the calendar of the row forecast even where it does not.
    """
    scaler = Scaler.of(series.values[: parts.fitted])
    hours = prepare(series, targets, scaler, past)
    day, test = series.rows_in(24), (parts.known, parts.rows)
    scaled = {"persistence": persistence(hours, test)}
    if day > 1:
        scaled["seasonal naive"] = seasonal_naive(hours, test, day)
    scaled["ridge"] = ridge(hours, parts)
    scaled["boosted trees"] = trees(hours, (0, parts.fitted), test)
    if quantiles:
        spans = (0, parts.fitted), (parts.fitted, parts.rows)
        by_quantile = [trees(hours, *spans, quantile) for quantile in quantiles]
        scaled["quantile trees"] = np.sort(np.stack(by_quantile, axis=2), axis=2)
    return {name: scaler.inverse(each) for name, each in scaled.items()}


def persistence(hours: Hours, test: Span) -> np.ndarray:
    """The window's last values stay."""
    windows, targets, _ = hours.windows(*test)
    return windows[:, -1, : targets.shape[1]].numpy()


def seasonal_naive(hours: Hours, test: Span, day: int) -> np.ndarray:
    """The values of the same time of the day, the last time it was seen; a day has `day` rows."""
    rows = np.arange(test[0] + hours.past.reach, test[1])
    rows = np.maximum(0, rows - day * -(-hours.past.horizon // day))
    return hours.inputs[rows, : hours.targets.shape[1]].numpy()


def ridge(hours: Hours, parts: Parts) -> np.ndarray:
    """A linear model of the whole window, the season's rows and the calendar, of changes.

    Its strength is chosen on validation; then it is fitted on the training and validation rows.
    """
    from sklearn.linear_model import Ridge

    validation = parts.train, parts.fitted
    _, targets, observed = (tensor.numpy() for tensor in hours.windows(*validation))
    truth, count = np.where(observed > 0, targets, np.nan), targets.shape[1]

    def val_r2(strength: float) -> float:
        forecast = changes(hours, (0, parts.train), validation, flat, Ridge(strength))
        return score(forecast, truth, np.ones(count), [str(c) for c in range(count)])[0]["r2"]

    best = max(STRENGTHS, key=val_r2)
    return changes(hours, (0, parts.fitted), (parts.known, parts.rows), flat, Ridge(best))


def trees(hours: Hours, train: Span, test: Span, quantile: float | None = None) -> np.ndarray:
    """Gradient-boosted trees of the last values, changes since earlier rows and the calendar.

    They forecast changes too, their mean or a quantile; their settings were chosen on validation.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="squared_error" if quantile is None else "quantile", quantile=quantile,
        learning_rate=0.05, max_iter=150, max_features=0.2, min_samples_leaf=40, random_state=0,
    )  # fmt: skip
    return changes(hours, train, test, lagged, model)


def changes(
    hours: Hours, train: Span, test: Span,
    inputs_of: Callable[[np.ndarray, Hours], np.ndarray], model: Any,
) -> np.ndarray:  # fmt: skip
    """Forecasts of `test`, (count, targets), as changes from each window's last value.

    The scikit-learn `model` is fitted for each target, on the rows of `train` that observe it.
    """
    windows, targets, observed = (tensor.numpy() for tensor in hours.windows(*train))
    unseen, count = hours.windows(*test)[0].numpy(), targets.shape[1]
    known, asked = inputs_of(windows, hours), inputs_of(unseen, hours)
    difference, forecast = targets - windows[:, -1, :count], unseen[:, -1, :count].copy()
    for column in range(count):
        seen = observed[:, column] > 0
        if seen.any():
            forecast[:, column] += model.fit(known[seen], difference[seen, column]).predict(asked)
    return forecast


def flat(cuts: np.ndarray, hours: Hours) -> np.ndarray:
    """(count, rows, inputs) -> all features of the rows seen, and the calendar of the target."""
    steps = [*range(-hours.past.window, 0), *hours.past.season_steps]
    values = cuts[:, steps, : hours.features].reshape(len(cuts), -1)
    return np.hstack([values, cuts[:, -1, hours.features : hours.features + CALENDAR]])


def lagged(cuts: np.ndarray, hours: Hours) -> np.ndarray:
    """(count, rows, inputs) -> last values, changes since some earlier rows, the calendar."""
    values = cuts[:, :, : hours.features]
    steps = [-1 - lag for lag in LAGS if lag < hours.past.window] + hours.past.season_steps
    earlier = [values[:, -1] - values[:, step] for step in steps]
    calendar = cuts[:, -1, hours.features : hours.features + CALENDAR]
    return np.hstack([values[:, -1], *earlier, calendar])
