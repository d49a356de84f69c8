"""The score of the Numenta Anomaly Benchmark (NAB) for one series.

Lavin and Ahmad 2015, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark", section III, with the details that the published files show: the first rows
(probation) are free, a labelled window earns the value of its best flagged row, a missed window
costs `fn_weight`, and every flagged row outside the windows costs up to `fp_weight`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PROBATION_SHARE = 0.15
PROBATION_ROWS_MAX = 750  # 15 % of 5,000 rows: longer series get no longer probation


@dataclass(frozen=True)
class Profile:
    """What a detection, a miss and a false alarm are worth."""

    tp_weight: float
    fn_weight: float
    fp_weight: float


PROFILES = {
    "standard": Profile(tp_weight=1.0, fn_weight=1.0, fp_weight=0.11),
    "reward_low_FP_rate": Profile(tp_weight=1.0, fn_weight=1.0, fp_weight=0.22),
    "reward_low_FN_rate": Profile(tp_weight=1.0, fn_weight=2.0, fp_weight=0.11),
}

# On realKnownCause/nyc_taxi.csv, standard profile, 0 to 100, each with the one threshold that its
# authors tuned for the whole corpus: recomputed with this module from the result files of the NAB
# repository (results/DETECTOR/realKnownCause/). Seven more detectors score 0.
PUBLISHED_NYC_TAXI = {
    "relativeEntropy": 88.3,
    "ARTime": 87.8,
    "htmjava": 75.2,
    "numenta": 74.4,
    "numentaTM": 54.7,
    "knncad": 52.7,
    "contextOSE": 36.8,
    "randomCutForest": 18.2,
}


def probation_rows(rows: int) -> int:
    """How many rows at the start of a series of `rows` rows are never scored."""
    return int(min(np.floor(PROBATION_SHARE * rows), PROBATION_ROWS_MAX))


def scaled_sigmoid(position: np.ndarray) -> np.ndarray:
    """Value of an alarm at `position`, in window widths from the right edge of the window.

    -1 is the window's first row (0.987), 0 its right edge (0), positive is after it (towards -1);
    beyond three widths exactly -1. Lavin and Ahmad 2015, equation 1.
    """
    position = np.asarray(position, dtype=np.float64)
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0)


def row_values(rows: int, windows: Sequence[tuple[int, int]], profile: Profile) -> np.ndarray:
    """What an alarm at each row would be worth, (rows,).

    windows: first and last row (inclusive) of each labelled window, in order, not overlapping.
    """
    index = np.arange(rows)
    values = np.full(rows, -profile.fp_weight)
    starts_of_next = [first for first, _ in windows[1:]] + [rows]
    best = scaled_sigmoid(-1.0)
    for (first, last), next_first in zip(windows, starts_of_next, strict=True):
        width = last - first + 1
        inside = index[first : last + 1]
        values[inside] = profile.tp_weight * scaled_sigmoid((inside - last - 1) / width) / best
        after = index[last + 1 : next_first]
        values[after] = profile.fp_weight * scaled_sigmoid((after - last) / max(width - 1, 1))
    return values


def raw_score(alarms: np.ndarray, windows: Sequence[tuple[int, int]], profile: Profile) -> float:
    """NAB's unnormalised score of boolean `alarms`, (rows,), against the labelled windows."""
    alarms = np.asarray(alarms, dtype=bool).copy()
    alarms[: probation_rows(len(alarms))] = False
    values = row_values(len(alarms), windows, profile)
    outside = np.ones(len(alarms), dtype=bool)
    score = 0.0
    for first, last in windows:
        outside[first : last + 1] = False
        flagged = values[first : last + 1][alarms[first : last + 1]]
        score += float(flagged.max()) if len(flagged) else -profile.fn_weight
    return score + float(values[outside & alarms].sum())


def nab_score(
    alarms: np.ndarray, windows: Sequence[tuple[int, int]], profile: Profile = PROFILES["standard"]
) -> float:
    """NAB's score of one series, scaled so that no alarm at all is 0 and perfection is 100.

    Too many false alarms make it negative. Raises ValueError without a labelled window: the
    scale has no upper end then.
    """
    if not windows:
        raise ValueError("the NAB score needs at least one labelled window")
    silent = -profile.fn_weight * len(windows)
    perfect = profile.tp_weight * len(windows)
    return 100.0 * (raw_score(alarms, windows, profile) - silent) / (perfect - silent)
