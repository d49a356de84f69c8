"""From scores to figures: NAB's score, of one series and of its corpus, events, and VUS-PR.

NAB is the Numenta Anomaly Benchmark (Lavin and Ahmad 2015, "Evaluating Real-time Anomaly Detection
Algorithms", section III), with the details that its published files show: the first rows
(probation) are free, a labelled window earns the value of its best flagged row, a missed window
costs `fn_weight`, and every flagged row outside the windows costs up to `fp_weight`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

PROBATION_FRACTION = 0.15
PROBATION_ROWS_MAX = 750  # 15 % of 5,000 rows: longer series get no longer probation
VUS_BUFFER = 125  # rows: TSB-AD's for the NYC taxi series, whose best lag lies beyond its search
VUS_THRESHOLDS = 250

Windows = Sequence[tuple[int, int]]  # first and last row (inclusive) of each, in order, apart


class Profile(NamedTuple):
    """What a detection, a miss and a false alarm are worth."""

    tp_weight: float
    fn_weight: float
    fp_weight: float


PROFILES = {
    "standard": Profile(tp_weight=1.0, fn_weight=1.0, fp_weight=0.11),
    "low_fp": Profile(tp_weight=1.0, fn_weight=1.0, fp_weight=0.22),
    "low_fn": Profile(tp_weight=1.0, fn_weight=2.0, fp_weight=0.11),
}


def probation_rows(rows: int) -> int:
    """How many rows at the start of a series of `rows` rows are never scored."""
    return min(int(PROBATION_FRACTION * rows), PROBATION_ROWS_MAX)


def scaled_sigmoid(position: np.ndarray) -> np.ndarray:
    """Value of an alarm at `position`, in window widths from the right edge of the window.

    -1 is the window's first row (0.987), 0 its right edge (0), positive is after it (towards -1);
    beyond three widths exactly -1. Lavin and Ahmad 2015, equation 1.
    """
    position = np.minimum(np.asarray(position, dtype=np.float64), 4.0)
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0)


def row_values(rows: int, windows: Windows, profile: Profile) -> np.ndarray:
    """What an alarm at each row would be worth, (rows,)."""
    index = np.arange(rows)
    values = np.full(rows, -profile.fp_weight)
    starts_of_next = [first for first, _ in windows[1:]] + [rows]
    best = scaled_sigmoid(-1.0)
    for (first, last), next_first in zip(windows, starts_of_next, strict=False):
        width = last - first + 1
        inside = index[first : last + 1]
        values[inside] = profile.tp_weight * scaled_sigmoid((inside - last - 1) / width) / best
        after = index[last + 1 : next_first]
        values[after] = profile.fp_weight * scaled_sigmoid((after - last) / max(width - 1, 1))
    return values


def window_numbers(rows: int, windows: Windows) -> np.ndarray:
    """Number of the window that each row lies in, (rows,), from 0; -1 outside."""
    numbers = np.full(rows, -1)
    for number, (first, last) in enumerate(windows):
        numbers[first : last + 1] = number
    return numbers


def raw_score(alarms: np.ndarray, windows: Windows, profile: Profile) -> float:
    """NAB's unnormalised score of boolean `alarms`, (rows,), against the labelled windows."""
    rows = len(alarms)
    alarms = np.asarray(alarms, dtype=bool) & (np.arange(rows) >= probation_rows(rows))
    values, numbers = row_values(rows, windows, profile), window_numbers(rows, windows)
    score = float(values[alarms & (numbers < 0)].sum())
    for number in range(len(windows)):
        flagged = values[alarms & (numbers == number)]
        score += float(flagged.max()) if len(flagged) else -profile.fn_weight
    return score


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """A raw score on NAB's scale: no alarm at all is 0, perfection 100, false alarms below 0."""
    silent, perfect = -profile.fn_weight * windows, profile.tp_weight * windows
    return 100.0 * (raw - silent) / (perfect - silent)


def nab_score(
    alarms: np.ndarray, windows: Windows, profile: Profile = PROFILES["standard"]
) -> float:
    """NAB's score of one series, see `normalised`."""
    return normalised(raw_score(alarms, windows, profile), len(windows), profile)


def corpus_score(scored: Iterable[tuple[np.ndarray, Windows]], profile: Profile) -> float:
    """NAB's score of a whole corpus, at the one threshold for all its series that scores best.

    NAB's protocol chooses that threshold by the labels. A row is an alarm if its score reaches it;
    no row at all is a choice too.

    Args:
        scored: for each series its scores, (rows,), NaN for none, and its labelled windows.
    """
    parts, windows = [], 0
    for scores, own in scored:
        numbers = window_numbers(len(scores), own)
        numbers[numbers >= 0] += windows
        windows += len(own)
        rows = np.column_stack([scores, row_values(len(scores), own, profile), numbers])
        rows = rows[probation_rows(len(scores)) :]
        parts.append(rows[~np.isnan(rows[:, 0])])
    scores, values, numbers = np.concatenate(parts).T
    order = np.argsort(-scores, kind="stable")  # the threshold sinks past one row after another
    scores, values, numbers = scores[order], values[order], numbers[order].astype(int)
    best = np.full(windows, -profile.fn_weight)
    gains = np.where(numbers < 0, values, 0.0)
    for row in np.flatnonzero(numbers >= 0):
        gains[row] = max(0.0, values[row] - best[numbers[row]])
        best[numbers[row]] += gains[row]
    is_last = np.append(scores[1:] != scores[:-1], True)  # equal scores are flagged together
    best_gain = max(0.0, np.cumsum(gains)[is_last].max())
    return normalised(best_gain - profile.fn_weight * windows, windows, profile)


def vus_pr(scores: np.ndarray, labels: np.ndarray, buffer: int = VUS_BUFFER) -> float:
    """Volume under the surface of precision, recall and buffer length (Paparrizos et al. 2022).

    The mean over buffers of 0 to `buffer` rows of the area under the range-based precision-recall
    curve: labels fade out over the buffer on both sides of each window, and recall is weighted by
    the fraction of windows that were met. The definition of the authors' packages, in which all
    thresholds are taken at once from sums over the rows in order of their scores.

    Args:
        scores: (rows,), finite.
        labels: (rows,), True or 1 in the labelled windows.
    """
    labels = np.asarray(labels, dtype=np.float64)
    edges = np.flatnonzero(np.diff(labels, prepend=0.0, append=0.0))
    windows = edges.reshape(-1, 2) - [0, 1]  # first and last row of each
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    levels = descending[np.linspace(0, len(scores) - 1, VUS_THRESHOLDS).astype(int)]
    alarms = np.searchsorted(-descending, -levels, side="right")  # rows at or above each level
    exact = np.cumsum(labels[order])[alarms - 1]
    areas = []
    for width in range(buffer + 1):
        soft, reach = labels.copy(), width // 2
        distance = np.arange(1, reach + 1)
        fade = np.sqrt(1 - distance / max(width, 1))
        groups: list[list[int]] = []
        for first, last in windows:
            right = distance[distance < len(labels) - last]
            left = distance[distance <= first]
            soft[last + right] += fade[right - 1]
            soft[first - left] += fade[left - 1]
            if groups and groups[-1][1] >= first - reach:
                groups[-1][1] = last + reach
            else:
                groups.append([max(first - reach, 0), last + reach])
        hits = np.cumsum(np.minimum(soft, 1.0)[order])[alarms - 1]
        positives = labels.sum() + (hits - exact) / 2
        tops = np.array([scores[first : last + 1].max() for first, last in groups])
        met = (tops[:, None] >= levels).mean(axis=0)
        recall = np.minimum(hits / positives, 1.0) * met
        areas.append(np.sum(np.diff(recall, prepend=0.0) * hits / alarms))
    return float(np.mean(areas))


def events(alarms: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """First and last row of each group of alarms no more than `gap` rows apart."""
    rows = np.flatnonzero(alarms)
    if not len(rows):
        return []
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > gap) + 1)
    return [(int(group[0]), int(group[-1])) for group in groups]


def evaluate(
    scores: np.ndarray, level: float, windows: Windows, normal: int, gap: int, hours_per_row: float
) -> dict[str, float]:
    """All figures of one detector on one labelled series.

    No point adjustment anywhere: a row is an alarm by its own score. Events and point-wise areas
    are of the test rows (from `normal` on); NAB's scores and `false_alarms_all` are of the whole
    series after NAB's probation. VUS-PR is of all rows but the first, whose labels TSB-AD has not,
    with the first row of each window left out, as TSB-AD labels this series.

    Args:
        scores: (rows,), higher is stranger; NaN (no score) is never an alarm.
        level: the threshold.
        windows: labelled first and last rows.
        normal: first row of the test part.
        gap: alarms at most so many rows apart are one event.
        hours_per_row: spacing of the series.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    rows = len(scores)
    alarms = np.nan_to_num(scores, nan=-np.inf) > level
    labels = window_numbers(rows, windows) >= 0

    def events_from(start: int) -> tuple[int, int]:
        """How many events the rows from `start` on have, and how many of them meet no window."""
        found = events(alarms & (np.arange(rows) >= start), gap)
        return len(found), sum(not labels[first : last + 1].any() for first, last in found)

    count, false = events_from(normal)
    hits = [np.flatnonzero(alarms[first : last + 1]) for first, last in windows]
    found = sum(len(each) > 0 for each in hits)
    recall = found / len(windows)
    precision = (count - false) / count if count else 0.0
    known = (np.arange(rows) >= normal) & np.isfinite(scores)
    ranked = np.where(np.isfinite(scores), scores, np.nanmin(scores))
    tsb_labels = labels & np.roll(labels, 1)
    delays = {
        f"delay_hours_{number}": float(own[0] * hours_per_row) if len(own) else float("nan")
        for number, own in enumerate(hits, start=1)
    }
    return {
        "nab_score": nab_score(alarms, windows),
        "nab_low_fp": nab_score(alarms, windows, PROFILES["low_fp"]),
        "nab_low_fn": nab_score(alarms, windows, PROFILES["low_fn"]),
        "windows_found": found,
        "false_alarms": false,
        "false_alarms_all": events_from(probation_rows(rows))[1],
        "false_alarms_month": false / ((rows - normal) * hours_per_row / (30 * 24)),
        "event_precision": precision,
        "event_recall": recall,
        "event_f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "roc_auc": float(roc_auc_score(labels[known], scores[known])),
        "pr_auc": float(average_precision_score(labels[known], scores[known])),
        "vus_pr": vus_pr(ranked[1:], tsb_labels[1:]),
        **delays,
        "threshold": level,
    }
