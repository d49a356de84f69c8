"""What a forecaster must beat, fitted and scored on the same hours: no network in here."""

from collections.abc import Callable

from common.series import Series

import numpy as np

from lstm_airquality.data import CALENDAR, FEATURES, Hours, Parts, fit_scaler, prepare
from lstm_airquality.evaluation import score

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of the ridge, the best on validation is taken
LAGS = (1, 2, 3, 6, 12, 23)  # hours back from the window's end that the trees compare with
DAY = 24

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


def forecasts(series: Series, parts: Parts, window: int, horizon: int) -> dict[str, np.ndarray]:
    """Each baseline's forecasts of the test part's targets, (count, features), in their units.

    The calendar of the forecast hour is an input of the fitted ones, whatever the network gets.
    """
    scaler = fit_scaler(series.values[: parts.known])
    hours = prepare(series, scaler, horizon, use_calendar=True, use_mask=False)
    span = (window, horizon)
    scaled = {
        "persistence": persistence(hours, parts, *span),
        "seasonal naive": seasonal_naive(hours, parts, *span),
        "ridge": ridge(hours, parts, *span),
        "boosted trees": trees(hours, parts, *span),
    }
    return {name: scaler.inverse(each) for name, each in scaled.items()}


def persistence(hours: Hours, parts: Parts, window: int, horizon: int) -> np.ndarray:
    """The window's last values stay."""
    windows, _, _ = hours.windows(parts.known, parts.rows, window, horizon)
    return windows[:, -1, : len(FEATURES)].numpy()


def seasonal_naive(hours: Hours, parts: Parts, window: int, horizon: int) -> np.ndarray:
    """The values of the same hour of the day, the last time it was seen."""
    back = DAY * -(-horizon // DAY)
    rows = np.arange(parts.known + window + horizon - 1, parts.rows) - back
    return hours.inputs[rows, : len(FEATURES)].numpy()


def ridge(hours: Hours, parts: Parts, window: int, horizon: int) -> np.ndarray:
    """A linear model of the whole window and the calendar, as changes from the last value.

    Its strength is chosen on validation; then it is fitted on all rows before the test part.
    """
    from sklearn.linear_model import Ridge

    def fit_of(strength: float) -> Fit:
        return lambda inputs, changes: Ridge(strength).fit(inputs, changes).predict

    def validation(strength: float) -> float:
        spans = (0, parts.train), (parts.train, parts.known)
        forecast = changes_by_feature(
            hours, *spans, window, horizon, whole_window, fit_of(strength)
        )
        _, targets, observed = (t.numpy() for t in hours.windows(*spans[1], window, horizon))
        truth = np.where(observed > 0, targets, np.nan)
        return score(forecast, truth, np.ones(len(FEATURES)))[0]["r2"]

    best = max(STRENGTHS, key=validation)
    spans = (0, parts.known), (parts.known, parts.rows)
    return changes_by_feature(hours, *spans, window, horizon, whole_window, fit_of(best))


def trees(hours: Hours, parts: Parts, window: int, horizon: int) -> np.ndarray:
    """Gradient-boosted trees of the last values, their earlier changes and the calendar.

    They forecast changes too; their settings were chosen on validation once.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    def fit(inputs: np.ndarray, changes: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = HistGradientBoostingRegressor(
            learning_rate=0.05, max_iter=150, max_features=0.2, min_samples_leaf=40, random_state=0
        )
        return model.fit(inputs, changes).predict

    spans = (0, parts.known), (parts.known, parts.rows)
    return changes_by_feature(hours, *spans, window, horizon, lagged_changes, fit)


def changes_by_feature(
    hours: Hours,
    train: tuple[int, int],
    test: tuple[int, int],
    window: int,
    horizon: int,
    inputs_of: Callable[[np.ndarray], np.ndarray],
    fit: Fit,
) -> np.ndarray:
    """One model a feature of its change from the window's last value, on observed targets."""
    windows, targets, observed = (t.numpy() for t in hours.windows(*train, window, horizon))
    known = inputs_of(windows)
    changes = targets - windows[:, -1, : len(FEATURES)]
    unseen = hours.windows(*test, window, horizon)[0].numpy()
    asked, forecast = inputs_of(unseen), unseen[:, -1, : len(FEATURES)].copy()
    for column in range(len(FEATURES)):
        seen = observed[:, column] > 0
        if seen.any():
            forecast[:, column] += fit(known[seen], changes[seen, column])(asked)
    return forecast


def whole_window(windows: np.ndarray) -> np.ndarray:
    """(count, window, inputs) -> all features of all hours, and the calendar of the target."""
    features = windows[:, :, : len(FEATURES)].reshape(len(windows), -1)
    return np.hstack([features, windows[:, -1, -CALENDAR:]])


def lagged_changes(windows: np.ndarray) -> np.ndarray:
    """(count, window, inputs) -> last values, changes since some earlier hours, the calendar."""
    features = windows[:, :, : len(FEATURES)]
    last = features[:, -1]
    earlier = [last - features[:, -1 - lag] for lag in LAGS if lag < windows.shape[1]]
    return np.hstack([last, *earlier, windows[:, -1, -CALENDAR:]])
