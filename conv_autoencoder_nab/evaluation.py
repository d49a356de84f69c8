"""From scores to alarms to figures: thresholds, events, and how well they meet the labels."""

from collections.abc import Sequence
from typing import Literal

from common.errors import UserError

import numpy as np

from conv_autoencoder_nab.nab_scoring import PROFILES, nab_score, probation_rows

Rule = Literal["quantile", "max", "pot"]
TAIL = 0.02  # share of the training scores that a tail is fitted to


def threshold(train_scores: np.ndarray, rule: Rule, rate: float) -> float:
    """The score above which a row is an alarm, from scores of training rows alone.

    quantile: the share `rate` of the training rows lies above it. max: none does. pot: peaks over
    threshold, a generalised Pareto distribution fitted to the highest scores, which reaches beyond
    them for small rates (Siffer et al. 2017, section 3.2).

    Raises:
        UserError: no finite score among them.
    """
    scores = train_scores[np.isfinite(train_scores)]
    if not len(scores):
        raise UserError(
            "no training row has a score: lower --window, or give more rows to learn from"
        )
    if rule == "max":
        return float(scores.max())
    if rule == "quantile" or np.ptp(scores) == 0:
        return float(np.quantile(scores, 1 - rate))
    from scipy.stats import genpareto

    start = np.quantile(scores, 1 - TAIL)
    excess = scores[scores > start] - start
    shape, _, scale = genpareto.fit(excess, floc=0)
    return float(start + genpareto.isf(rate * len(scores) / len(excess), shape, 0, scale))


def events(alarms: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """First and last row of each group of alarms no more than `gap` rows apart."""
    rows = np.flatnonzero(alarms)
    if not len(rows):
        return []
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > gap) + 1)
    return [(int(group[0]), int(group[-1])) for group in groups]


def overlaps(event: tuple[int, int], windows: Sequence[tuple[int, int]]) -> bool:
    return any(event[0] <= last and event[1] >= first for first, last in windows)


def evaluate(
    scores: np.ndarray,
    level: float,
    windows: Sequence[tuple[int, int]],
    *,
    normal: int,
    gap: int,
    hours_per_row: float,
) -> dict[str, float]:
    """All figures of one detector on one labelled series.

    No point adjustment anywhere: a row is an alarm by its own score. Events and point-wise areas
    are of the test rows (from `normal` on); NAB's scores and `false_alarms_all` are of the whole
    series after NAB's probation.

    Args:
        scores: (rows,), higher is stranger; NaN (no score) is never an alarm.
        level: the threshold.
        windows: labelled first and last rows.
        normal: first row of the test part.
        gap: alarms at most so many rows apart are one event.
        hours_per_row: spacing of the series.
    """
    alarms = np.nan_to_num(scores, nan=-np.inf) > level
    test_alarms, late_alarms = alarms.copy(), alarms.copy()
    test_alarms[:normal] = False
    late_alarms[: probation_rows(len(alarms))] = False
    found = [bool(alarms[first : last + 1].any()) for first, last in windows]
    test_events = events(test_alarms, gap)
    false = sum(not overlaps(event, windows) for event in test_events)
    false_all = sum(not overlaps(event, windows) for event in events(late_alarms, gap))
    recall = sum(found) / len(windows)
    precision = (len(test_events) - false) / len(test_events) if test_events else 0.0
    delays = first_alarms(alarms, windows, hours_per_row)
    months = (len(scores) - normal) * hours_per_row / (30 * 24)
    return {
        "nab_score": nab_score(alarms, windows),
        "nab_low_fp": nab_score(alarms, windows, PROFILES["reward_low_FP_rate"]),
        "nab_low_fn": nab_score(alarms, windows, PROFILES["reward_low_FN_rate"]),
        "windows_found": sum(found),
        "false_alarms": false,
        "false_alarms_all": false_all,
        "false_alarms_month": false / months,
        "event_precision": precision,
        "event_recall": recall,
        "event_f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        **point_areas(scores[normal:], labels_of(windows, len(scores))[normal:]),
        **{f"delay_hours_{number}": delay for number, delay in enumerate(delays, start=1)},
    }


def first_alarms(
    alarms: np.ndarray, windows: Sequence[tuple[int, int]], hours_per_row: float
) -> list[float]:
    """Hours from the first row of each window to the first alarm in it; NaN where it is missed."""
    inside = [np.flatnonzero(alarms[first : last + 1]) for first, last in windows]
    return [float(rows[0] * hours_per_row) if len(rows) else float("nan") for rows in inside]


def labels_of(windows: Sequence[tuple[int, int]], rows: int) -> np.ndarray:
    """Whether each row lies in a labelled window, (rows,)."""
    labels = np.zeros(rows, dtype=bool)
    for first, last in windows:
        labels[first : last + 1] = True
    return labels


def point_areas(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Areas under the ROC and the precision-recall curve, row by row, rows without score left out.

    The windows are generous (four days around an event of hours), so that a perfect detector of
    the event itself is far from 1 here.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    known = np.isfinite(scores)
    scores, labels = scores[known], labels[known]
    return {
        "roc_auc": float(roc_auc_score(labels, scores)),
        "pr_auc": float(average_precision_score(labels, scores)),
    }
