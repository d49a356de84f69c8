"""Prediction intervals: the loss of quantiles, conformal correction, and how well they hold.

Romano, Patterson and Candès 2019, *Conformalized quantile regression*: how far the truth lay
outside the forecast interval on rows that nothing was fitted to says by how much to widen it.
The guarantee of that paper asks for exchangeable rows, which a series is not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.settings import SettingError, require
from common.summary import format_table
from lstm_airquality.data import Parts, fill_forward


def parse_levels(text: str) -> tuple[float, ...]:
    """`0.05,0.5,0.95` as numbers; empty = none.

    Raises:
        SettingError: not fractions in rising order with the median in the middle.
    """
    try:
        levels = [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise SettingError(f"--quantiles {text}: write 0.05,0.5,0.95") from None
    rising = levels == sorted({*levels}) and len(levels) >= 3 and 0 < levels[0] < levels[-1] < 1
    require(
        not levels or (rising and levels[len(levels) // 2] == 0.5 and len(levels) % 2 == 1),
        f"--quantiles {text}: give them in rising order with 0.5 in the middle, such as "
        "0.05,0.5,0.95",
    )
    return tuple(levels)


def middle(forecast: np.ndarray) -> np.ndarray:
    """(rows, targets): the forecast itself, or the middle one of its quantiles."""
    return forecast if forecast.ndim == 2 else forecast[:, :, forecast.shape[2] // 2]


def calibrate(
    forecast: np.ndarray, truth: np.ndarray, parts: Parts, before: int, levels: Sequence[float]
) -> tuple[np.ndarray, dict[str, Tensor]]:
    """The test part's quantiles, widened by what the calibration part says.

    Args:
        forecast: (rows, targets, quantiles) from the calibration part's first window on.
        truth: (rows of the series, targets), NaN where missing.
        before: rows of a part before its first forecast.

    Returns:
        (rows, targets, quantiles), and for predict.py `margins` and `relative_errors`.
    """
    calibration = forecast[: parts.known - parts.fitted - before]
    seen = truth[parts.fitted + before : parts.known]
    margin = margins(calibration, seen, levels[-1] - levels[0])
    errors = relative_errors(widen(calibration, margin), seen)
    test = forecast[parts.known + before - parts.rows :]
    correction = {"margins": torch.from_numpy(margin), "errors": torch.from_numpy(errors)}
    return widen(test, margin), correction


def pinball(forecast: Tensor, targets: Tensor, levels: Sequence[float]) -> Tensor:
    """Mean pinball loss over the quantiles, (batch, targets) (Koenker and Bassett 1978).

    Args:
        forecast: (batch, targets, quantiles); targets: (batch, targets); levels: of the quantiles.
    """
    level = torch.tensor(levels).to(targets)
    errors = targets[:, :, None] - forecast  # (batch, targets, quantiles)
    return torch.maximum(level * errors, (level - 1) * errors).mean(dim=2)


def outside(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How far the truth lies outside the outer quantiles, negative inside, (rows, targets).

    Args:
        forecast: (rows, targets, quantiles) in rising order.
        truth: (rows, targets), NaN where missing; so is the result.
    """
    return np.maximum(forecast[:, :, 0] - truth, truth - forecast[:, :, -1])


def margins(forecast: np.ndarray, truth: np.ndarray, level: float) -> np.ndarray:
    """By how much to widen each target's interval on both sides, (targets,) (their equation 8).

    NaN for a target without a value, which then has no interval.

    Args:
        forecast, truth: of the calibration rows, as for `outside`.
        level: fraction of rows that an interval shall hold.
    """
    scores = outside(forecast, truth)
    widened = np.full(scores.shape[1], np.nan)
    for column, score in enumerate(scores.T):
        score = score[~np.isnan(score)]
        if len(score):
            rank = int(np.ceil((len(score) + 1) * level - 1e-9))
            widened[column] = np.sort(score)[min(rank, len(score)) - 1]
    return widened


def widen(forecast: Any, margin: Any) -> Any:
    """The outer quantiles moved by the margin, (targets,); a negative one moves them inwards.

    Takes arrays or tensors, (rows, targets, quantiles); quantiles never cross. Where the margin is
    NaN, so are all quantiles but the middle one.
    """
    wide = forecast + 0
    wide[:, :, 0] -= margin
    wide[:, :, -1] += margin
    half = wide.shape[2] // 2
    middle = wide[:, :, half : half + 1]
    wide[:, :, :1] = wide[:, :, :1].clip(max=middle)
    wide[:, :, -1:] = wide[:, :, -1:].clip(min=middle)
    clipped = wide.clip(wide[:, :, :1], wide[:, :, -1:])
    clipped[:, :, half] = wide[:, :, half]
    return clipped


def relative_errors(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How far the truth lay from the middle quantile, in halves of the interval, (rows, targets).

    1 is the upper outer quantile, -1 the lower one. What was not observed takes the last error.
    """
    low, middle, high = (forecast[:, :, q] for q in (0, forecast.shape[2] // 2, -1))
    error = truth - middle
    half = np.maximum(np.where(error > 0, high - middle, middle - low), 1e-12)
    return np.nan_to_num(fill_forward(error / half))


def measure(
    forecast: np.ndarray, truth: np.ndarray, levels: Sequence[float], std: np.ndarray,
    names: Sequence[str],
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:  # fmt: skip
    """Coverage and width of the outer quantiles, over all targets and for each.

    - `coverage`: the fraction of observed rows whose value lies within; mean over the targets.
    - `interval_width`: mean width; over all targets in units of `std`, by target in its own unit.
    - `matched_width`: the width if one margin, chosen on these very rows, made coverage exactly
      that of `levels`: to compare two methods that cover unequally, not a forecast.

    Args:
        forecast: (rows, targets, quantiles); truth: (rows, targets), NaN where missing.
        std: (targets,) standard deviations of the rows before the test part.
    """
    rows: dict[str, dict[str, Any]] = {}
    matched = widen(forecast, margins(forecast, truth, levels[-1] - levels[0]))
    scores = outside(forecast, truth)
    for column, name in enumerate(names):
        seen = ~np.isnan(scores[:, column])
        if seen.any():
            rows[name] = {
                "coverage": float((scores[seen, column] <= 0).mean()),
                "interval_width": float(np.ptp(forecast[seen, column], axis=1).mean()),
                "matched_width": float(np.ptp(matched[seen, column], axis=1).mean()),
                "std": float(std[column]),
            }
    if not rows:
        return {}, rows
    metrics = {"coverage": float(np.mean([row["coverage"] for row in rows.values()]))}
    for key in ("interval_width", "matched_width"):
        metrics[key] = float(np.mean([row[key] / row["std"] for row in rows.values()]))
    return metrics, rows


def interval_table(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Coverage and width by target, for each method."""
    methods = list(rows)
    header = ["", *(f"{method}: {key}" for method in methods for key in ("covers", "width"))]
    cells = []
    for name in rows[methods[0]]:
        numbers = [rows[method][name] for method in methods]
        texts = [(f"{n['coverage']:.1%}", f"{n['interval_width']:.4g}") for n in numbers]
        cells.append([name, *(text for pair in texts for text in pair)])
    return format_table(header, cells)
