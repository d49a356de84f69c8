"""Thresholds, events and figures, against brute force."""

import itertools

from common.errors import UserError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto

from conv_autoencoder_nab.evaluation import evaluate, events, point_areas, threshold


def test_quantile_leaves_its_share_above() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(2000.0))
    assert (scores > threshold(scores, "quantile", 0.01)).sum() == 20


def test_max_leaves_none_above() -> None:
    assert threshold(np.array([1.0, np.nan, 3.0, 2.0]), "max", 0.5) == 3.0


def test_pareto_tail_reaches_beyond_the_scores() -> None:
    tail = genpareto.rvs(0.2, size=20_000, random_state=0)
    level = threshold(tail, "pot", 1e-5)
    assert level == pytest.approx(genpareto.isf(1e-5, 0.2), rel=0.3)
    assert threshold(tail, "pot", 1e-3) == pytest.approx(genpareto.isf(1e-3, 0.2), rel=0.1)


@pytest.mark.parametrize("rule", ["quantile", "max", "pot"])
def test_constant_scores_have_a_threshold_and_none_has_none(rule: str) -> None:
    assert threshold(np.ones(100), rule, 0.001) == 1.0
    with pytest.raises(UserError, match="no training row has a score"):
        threshold(np.full(5, np.nan), rule, 0.001)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 5))
def test_events_cover_the_alarms_and_lie_apart(flags: list[bool], gap: int) -> None:
    found = events(np.array(flags, dtype=bool), gap)
    covered = [row for first, last in found for row in range(first, last + 1)]
    assert all(row in covered for row, flag in enumerate(flags) if flag)
    assert all(flags[first] and flags[last] for first, last in found)
    assert all(b[0] - a[1] > gap for a, b in itertools.pairwise(found))
    for first, last in found:
        inside = [row for row in range(first, last + 1) if flags[row]]
        assert all(b - a <= gap for a, b in itertools.pairwise(inside))


def judged(*alarm_rows: int) -> dict[str, float]:
    scores = np.linspace(0, 0.5, 1000)
    scores[list(alarm_rows)] = 2.0
    return evaluate(scores, 1.0, [(500, 549), (800, 849)], normal=500, gap=10, hours_per_row=0.5)


def test_events_are_counted_as_a_person_would() -> None:
    found = judged(520, 525, 600, 605, 630, 700)
    assert found["windows_found"] == 1
    assert found["false_alarms"] == 3  # 600 and 605 are one
    assert found["event_precision"] == 1 / 4
    assert found["event_recall"] == 1 / 2
    assert found["event_f1"] == pytest.approx(1 / 3)
    assert found["delay_hours_1"] == 10.0
    assert np.isnan(found["delay_hours_2"])
    assert found["false_alarms_month"] == pytest.approx(3 / (500 * 0.5 / 720))


def test_normal_rows_count_only_in_false_alarms_all_and_after_probation() -> None:
    found = judged(10, 300, 510, 810)
    assert found["false_alarms"] == 0
    assert found["false_alarms_all"] == 1  # row 10 is in NAB's probation, 150 rows here
    assert found["event_f1"] == 1.0


def test_an_event_that_begins_before_its_window_is_no_false_alarm() -> None:
    found = judged(795, 803)
    assert (found["windows_found"], found["false_alarms"]) == (1, 0)
    assert found["nab_score"] < 50


def test_silence_finds_nothing() -> None:
    found = judged()
    assert (found["nab_score"], found["event_precision"], found["event_f1"]) == (0, 0, 0)


def test_areas_leave_rows_without_score_out() -> None:
    labels = np.array([False, True, False, True, True])
    scores = np.array([0.1, 0.9, 0.2, 0.8, np.nan])
    assert point_areas(scores, labels) == {"roc_auc": 1.0, "pr_auc": 1.0}
