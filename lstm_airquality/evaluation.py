"""How forecasts are scored: observed targets only, feature by feature."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.summary import format_table
from lstm_airquality.data import UNITS


def score(
    forecast: np.ndarray, truth: np.ndarray, std: np.ndarray, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Metrics over all features, and a row for each.

    A feature is scored at the rows where it was observed, if it varies there. Its R2 is one minus
    the squared errors over the squared deviations from the mean of the scored rows.

    - `r2`: the plain mean of the scored features' R2.
    - `r2_weighted`: their mean weighted by each feature's variance in the units of `mae` (a feature
      that hardly moves counts little).
    - `mae`, `rmse`: the means of the features' errors in standard deviations of the rows before
      the test part. The rows by feature are in the feature's own unit.

    Args:
        forecast, truth: (rows, features), in the features' units; NaN where truth is missing.
        std: (features,) standard deviations of the rows before the test part.
    """
    rows: dict[str, dict[str, Any]] = {}
    scored = []
    for column, name in enumerate(names):
        seen = ~np.isnan(truth[:, column])
        values = truth[seen, column]
        rows[name] = {"scored_hours": int(seen.sum()), "unit": UNITS.get(name, ""), "r2": None}
        if seen.any() and np.ptp(values) > 0:
            variance = values.var()
            errors = forecast[seen, column] - values
            mae, mse = np.abs(errors).mean(), np.square(errors).mean()
            metrics = {"r2": 1 - mse / variance, "mae": mae, "rmse": np.sqrt(mse)}
            rows[name] |= {key: float(value) for key, value in metrics.items()}
            weight = variance / std[column] ** 2
            scored.append(
                (1 - mse / variance, weight, mae / std[column], np.sqrt(mse) / std[column])
            )
    if not scored:
        return dict.fromkeys(("r2", "r2_weighted", "mae", "rmse"), float("nan")), rows
    r2, weights, mae, rmse = np.array(scored).T
    metrics = {
        "r2": r2.mean(),
        "r2_weighted": np.average(r2, weights=weights),
        "mae": mae.mean(),
        "rmse": rmse.mean(),
    }
    return {name: float(value) for name, value in metrics.items()}, rows


def row_scores(forecast: np.ndarray, truth: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Minus the mean squared error of each row with an observed value, (rows with one,).

    Errors are in units of `std`, as in `score`, and averaged over the row's observed features.
    """
    seen = (~np.isnan(truth)).any(axis=1)
    return -np.nanmean(np.square((forecast - truth)[seen] / std), axis=1)


def feature_table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows of `score`, aligned."""
    cells = []
    for name, row in rows.items():
        numbers = ["not scored", "", ""]
        if row["r2"] is not None:
            numbers = [f"{row['r2']:.3f}", f"{row['mae']:.4g}", f"{row['rmse']:.4g}"]
        cells.append([name, *numbers, row["unit"], f"{row['scored_hours']:,}"])
    return format_table(["feature", "R2", "MAE", "RMSE", "unit", "scored rows"], cells)
