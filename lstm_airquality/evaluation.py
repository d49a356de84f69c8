"""How forecasts are scored: observed targets only, feature by feature."""

from typing import Any

import numpy as np

from lstm_airquality.data import FEATURES, UNITS


def score(
    forecast: np.ndarray, truth: np.ndarray, std: np.ndarray
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Figures over all features, and a row for each.

    A feature is scored at the hours where it was observed, if it varies there. Its R2 is one minus
    the squared errors over the squared deviations from the mean of the scored hours.

    - `r2`: the plain mean of the scored features' R2.
    - `r2_weighted`: their mean weighted by each feature's variance in training units (a feature
      that hardly moves counts little).
    - `mae`, `rmse`: the means of the features' errors in training standard deviations. The rows
      by feature are in the feature's own unit.

    Args:
        forecast, truth: (hours, features), in the features' units; NaN where truth is missing.
        std: (features,) standard deviations of the training hours.
    """
    rows: dict[str, dict[str, Any]] = {}
    scored = []
    for column, name in enumerate(FEATURES):
        seen = ~np.isnan(truth[:, column])
        values = truth[seen, column]
        rows[name] = {"scored_hours": int(seen.sum()), "unit": UNITS[name], "r2": None}
        if seen.any() and np.ptp(values) > 0:
            variance = values.var()
            errors = forecast[seen, column] - values
            mae, mse = np.abs(errors).mean(), np.square(errors).mean()
            found = {"r2": 1 - mse / variance, "mae": mae, "rmse": np.sqrt(mse)}
            rows[name] |= {key: float(value) for key, value in found.items()}
            scored.append(
                (
                    1 - mse / variance,
                    variance / std[column] ** 2,
                    mae / std[column],
                    np.sqrt(mse) / std[column],
                )
            )
    if not scored:
        return dict.fromkeys(("r2", "r2_weighted", "mae", "rmse"), float("nan")), rows
    r2, weights, mae, rmse = np.array(scored).T
    figures = {
        "r2": r2.mean(),
        "r2_weighted": np.average(r2, weights=weights),
        "mae": mae.mean(),
        "rmse": rmse.mean(),
    }
    return {name: float(value) for name, value in figures.items()}, rows


def feature_table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows of `score`, aligned."""
    lines = [f"{'feature':<15}{'R2':>8}{'MAE':>10}{'RMSE':>10}  {'unit':<14}{'scored hours':>12}"]
    for name, row in rows.items():
        if row["r2"] is None:
            lines.append(
                f"{name:<15}{'not scored':>28}  {row['unit']:<14}{row['scored_hours']:>12,}"
            )
        else:
            numbers = f"{row['r2']:>8.3f}{row['mae']:>10.4g}{row['rmse']:>10.4g}"
            lines.append(f"{name:<15}{numbers}  {row['unit']:<14}{row['scored_hours']:>12,}")
    return "\n".join(lines)
