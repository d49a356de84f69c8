"""NAB's score by hand and by its published files, VUS-PR by its authors' packages, events."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv_autoencoder_nab import data
from conv_autoencoder_nab.scoring import (
    PROFILES,
    corpus_score,
    evaluate,
    events,
    nab_score,
    probation_rows,
    raw_score,
    row_values,
    scaled_sigmoid,
    vus_pr,
)
from conv_autoencoder_nab.train import PUBLISHED

STANDARD = PROFILES["standard"]
WINDOW = [(50, 59)]


def alarms(*rows: int, length: int = 100) -> np.ndarray:
    flags = np.zeros(length, dtype=bool)
    flags[list(rows)] = True
    return flags


@pytest.mark.parametrize(
    ("rows", "raw"),
    [
        ([], -1.0),  # a missed window costs its weight
        ([50], 1.0),  # the first row of a window earns all
        ([59], 0.2449187 / 0.9866143),  # the last one: 2 / (1 + e^-0.5) - 1, over the first's
        ([50, 55, 59], 1.0),  # only the best row of a window counts
        ([20], -1.11),  # before any window: the full cost
        ([14, 10, 0], -1.0),  # in probation (15 of 100 rows): nothing
        ([15], -1.11),
        ([64], -1.0 - 0.11 * 0.8829188),  # 5/9 of a width past the window
        ([86], -1.0 - 0.11 * 0.9999994),  # 27/9 = 3 widths past it: still the sigmoid
        ([87], -1.11),  # beyond 3 widths: exactly -1
        ([50, 64, 65], 1.0 - 0.11 * (0.8829188 + 0.9311096)),  # each false row costs
    ],
)
def test_hand_computed_cases(rows: list[int], raw: float) -> None:
    assert raw_score(alarms(*rows), WINDOW, STANDARD) == pytest.approx(raw, abs=1e-6)
    assert nab_score(alarms(*rows), WINDOW) == pytest.approx(50 * (raw + 1), abs=1e-4)


def test_profiles_weigh_misses_and_false_alarms() -> None:
    low_fp, low_fn = PROFILES["low_fp"], PROFILES["low_fn"]
    assert raw_score(alarms(20), WINDOW, low_fp) == pytest.approx(-1.22)
    assert raw_score(alarms(20), WINDOW, low_fn) == pytest.approx(-2.11)
    assert nab_score(alarms(), WINDOW, low_fn) == 0
    assert nab_score(alarms(50), WINDOW, low_fn) == 100


def test_past_a_window_the_nearest_earlier_one_counts() -> None:
    values = row_values(100, [(20, 29), (50, 59)], STANDARD)
    assert values[49] == pytest.approx(0.11 * scaled_sigmoid(20 / 9))
    assert values[60] == pytest.approx(0.11 * scaled_sigmoid(1 / 9))


def test_probation_is_15_per_cent_and_at_most_750_rows() -> None:
    assert [probation_rows(rows) for rows in (0, 99, 4032, 5000, 10320)] == [0, 14, 604, 750, 750]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, np.nan]), min_size=100, max_size=100))
def test_the_corpus_threshold_is_the_best_of_all(values: list[float]) -> None:
    """Against brute force; a series without windows only costs."""
    scores = np.array(values)
    series = [(scores, WINDOW), (scores[::-1], [(30, 39), (70, 89)]), (scores, [])]

    def total(level: float) -> float:
        return sum(raw_score(s >= level, windows, STANDARD) for s, windows in series)

    raw = max(map(total, (np.inf, 0.9, 0.5, 0.1, 0.0)))
    assert corpus_score(series, STANDARD) == pytest.approx(100 * (raw + 3) / 6)


PUBLISHED_NAMES = {
    "standard": "standard",
    "reward_low_FP_rate": "low_fp",
    "reward_low_FN_rate": "low_fn",
}
DETECTORS = ("relativeEntropy", "ARTime", "numenta", "randomCutForest", "null")


@pytest.mark.real
@pytest.mark.parametrize("profile", PUBLISHED_NAMES)
@pytest.mark.parametrize("detector", DETECTORS)
def test_published_detectors(real_data: Path, detector: str, profile: str) -> None:
    folder = real_data / "nab" / "published"
    if not folder.is_dir():
        pytest.skip("the published detectors' files are not in the nab folder")
    windows = data.load(real_data / "nab").windows
    thresholds = json.loads((folder / "thresholds.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folder / f"{detector}_nyc_taxi.csv")
    flags = (table["anomaly_score"] >= thresholds[detector][profile]["threshold"]).to_numpy()
    published = table[f"S(t)_{profile}"].to_numpy()
    weights = PROFILES[PUBLISHED_NAMES[profile]]
    if detector == "ARTime":  # its files give the worth of an alarm at each row, flagged or not
        np.testing.assert_allclose(row_values(len(table), windows, weights), published, atol=1e-9)
    else:  # the others' give the parts of the score
        assert raw_score(flags, windows, weights) == pytest.approx(published.sum(), abs=1e-9)
    if profile == "standard" and detector in PUBLISHED:
        assert round(nab_score(flags, windows), 1) == PUBLISHED[detector]["nab_score"]


@pytest.mark.real
def test_profiles_are_the_published_ones(real_data: Path) -> None:
    path = real_data / "nab" / "published" / "profiles.json"
    if not path.is_file():
        pytest.skip("profiles.json is not in the nab folder")
    for name, profile in json.loads(path.read_text(encoding="utf-8")).items():
        costs, mine = profile["CostMatrix"], PROFILES[PUBLISHED_NAMES[name]]
        assert mine == (costs["tpWeight"], costs["fnWeight"], costs["fpWeight"])


# What the packages vus 0.0.6 and TSB-AD 1.5 both give (250 thresholds), for buffers of 0, 9, 30.
VUS = {
    "apart": ([(60, 99), (200, 219), (300, 349)], 0.4068808190748779, 0.4324616272387979,
              0.49400690253578267),
    "close": ([(60, 99), (106, 119), (300, 303)], 0.3285182840603432, 0.36795036258813796,
              0.4178214547597146),
    "at the ends": ([(0, 20), (380, 399)], 0.320623931759224, 0.32878708618922103,
                    0.3530620998969364),
    "one row": ([(150, 150)], 1.0, 1.0, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", VUS)
def test_vus_pr_equals_its_authors_packages(name: str) -> None:
    row = np.arange(400)
    scores, labels = (row * 37 % 101) / 101, np.zeros(400)  # many ties
    windows, *expected = VUS[name]
    for first, last in windows:
        middle = (first + last) // 2
        labels[first : last + 1] = 1
        scores[middle - 3 : middle + 4] += 0.5
    found = [vus_pr(scores, labels, buffer) for buffer in (0, 9, 30)]
    assert found == pytest.approx(expected, abs=1e-12)


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


TWO = [(500, 549), (800, 849)]


def judged(*alarm_rows: int) -> dict[str, float]:
    scores = np.linspace(0, 0.5, 1000)
    scores[list(alarm_rows)] = 2.0
    return evaluate(scores, 1.0, TWO, normal=500, gap=10, hours_per_row=0.5)


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


def test_areas_rank_rows_and_leave_those_without_a_score_out() -> None:
    """TSB-AD's files lack the first row of a series, its labels the first row of each window."""
    scores, labels = np.linspace(0, 0.5, 1000), np.zeros(1000)
    scores[500:550], scores[800:850], scores[900] = 2.0, 2.0, np.nan
    labels[501:550] = labels[801:850] = 1
    found = evaluate(scores, 1, TWO, normal=500, gap=9, hours_per_row=1)
    assert (found["roc_auc"], found["pr_auc"]) == (1.0, 1.0)
    wanted = vus_pr(np.nan_to_num(scores)[1:], labels[1:])
    assert found["vus_pr"] == pytest.approx(wanted, abs=1e-12)
