"""NAB's score: cases computed by hand, and the published detectors' own files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conv_autoencoder_nab import data
from conv_autoencoder_nab.nab_scoring import (
    PROFILES,
    PUBLISHED_NYC_TAXI,
    nab_score,
    probation_rows,
    raw_score,
    row_values,
    scaled_sigmoid,
)

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
    low_fp, low_fn = PROFILES["reward_low_FP_rate"], PROFILES["reward_low_FN_rate"]
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


def test_a_score_without_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="labelled window"):
        nab_score(alarms(), [])


DETECTORS = ("relativeEntropy", "ARTime", "numenta", "randomCutForest", "null")


@pytest.mark.real
@pytest.mark.parametrize("profile", PROFILES)
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
    weights = PROFILES[profile]
    if detector == "ARTime":  # its files give the worth of an alarm at each row, flagged or not
        np.testing.assert_allclose(row_values(len(table), windows, weights), published, atol=1e-9)
    else:  # the others' give the parts of the score
        assert raw_score(flags, windows, weights) == pytest.approx(published.sum(), abs=1e-9)
    if profile == "standard" and detector in PUBLISHED_NYC_TAXI:
        assert round(nab_score(flags, windows), 1) == PUBLISHED_NYC_TAXI[detector]


@pytest.mark.real
def test_profiles_are_the_published_ones(real_data: Path) -> None:
    path = real_data / "nab" / "published" / "profiles.json"
    if not path.is_file():
        pytest.skip("profiles.json is not in the nab folder")
    for name, profile in json.loads(path.read_text(encoding="utf-8")).items():
        costs = profile["CostMatrix"]
        mine = PROFILES[name]
        assert (mine.tp_weight, mine.fn_weight, mine.fp_weight) == (
            costs["tpWeight"],
            costs["fnWeight"],
            costs["fpWeight"],
        )
