"""NAB's files, the split and the scaling."""

import json
from pathlib import Path

from common.errors import UserError

import numpy as np
import pandas as pd
import pytest

from conv_autoencoder_nab import data


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nab")
    data.make_sample(folder)
    return folder


@pytest.fixture(scope="module")
def labelled(sample: Path) -> data.Labelled:
    return data.load(sample)


def test_sample_is_in_the_benchmarks_format(sample: Path, labelled: data.Labelled) -> None:
    first, second = (sample / data.SERIES_FILE).read_text(encoding="utf-8").splitlines()[:2]
    assert first == "timestamp,value"
    assert second.startswith("2014-07-01 00:00:00,")
    assert labelled.series.spacing == pd.Timedelta(minutes=30)
    assert labelled.series.notes == ()
    assert len(labelled.windows) == 3
    ends = [end for window in labelled.windows for end in window]
    assert ends == sorted(ends)


def test_sample_is_the_same_every_time(sample: Path, tmp_path: Path) -> None:
    data.make_sample(tmp_path)
    for name in (data.SERIES_FILE, data.WINDOWS_FILE):
        assert (tmp_path / name).read_bytes() == (sample / name).read_bytes()


def test_windows_cover_their_time_stamps_both_ends_included(
    sample: Path, labelled: data.Labelled
) -> None:
    limits = json.loads((sample / data.WINDOWS_FILE).read_text(encoding="utf-8"))[data.LABEL_KEY]
    for (first, last), (begin, end) in zip(labelled.windows, limits, strict=True):
        assert labelled.series.times[first] == pd.Timestamp(begin)
        assert labelled.series.times[last] == pd.Timestamp(end)


@pytest.mark.real
def test_real_windows(real_data: Path) -> None:
    found = data.load(real_data / "nab")
    assert len(found.values) == 10_320
    assert found.windows[0] == (5839, 6045)
    assert [last - first + 1 for first, last in found.windows] == [207] * 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist"),
        ("{", "holds no windows"),
        ("{}", "holds no windows"),
        ("[1, 2]", "holds no windows"),
        (json.dumps({data.LABEL_KEY: []}), "labels no window"),
        (json.dumps({data.LABEL_KEY: [["2031-01-01", "2031-01-02"]]}), "outside the series"),
    ],
)
def test_damaged_labels(sample: Path, tmp_path: Path, text: str | None, words: str) -> None:
    (tmp_path / data.SERIES_FILE).write_bytes((sample / data.SERIES_FILE).read_bytes())
    if text is not None:
        (tmp_path / data.WINDOWS_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        data.load(tmp_path)


def test_parts_do_not_overlap() -> None:
    parts = data.split(5839)
    assert (parts.train, parts.normal) == (5255, 5839)


def test_slots_are_weekday_and_half_hour(labelled: data.Labelled) -> None:
    times = labelled.series.times
    wanted = times.day_of_week * 48 + times.hour * 2 + times.minute // 30
    assert data.seasonal_slots(labelled.series, 336).tolist() == wanted.tolist()


def test_season_is_the_longest_that_fits(labelled: data.Labelled) -> None:
    assert [data.choose_season(labelled.series, rows) for rows in (2016, 2015, 288, 287)] == [
        336, 48, 48, 1,
    ]  # fmt: skip


def test_profile_is_the_median_and_deviation_of_each_slot(labelled: data.Labelled) -> None:
    values, slots = labelled.values[:1600], data.seasonal_slots(labelled.series, 336)[:1600]
    scaler = data.fit_scaler("profile", values, slots, 336)
    medians = [np.median(values[slots == slot]) for slot in range(336)]
    spread = [
        1.4826 * np.median(np.abs(values[slots == slot] - medians[slot])) for slot in range(336)
    ]
    np.testing.assert_allclose(scaler.centre, medians)
    np.testing.assert_allclose(scaler.scale, np.array(spread) + 0.2 * np.median(spread))


def test_plain_scalings() -> None:
    values = np.array([2.0, 4.0, np.nan, 6.0])
    slots = np.zeros(4, dtype=int)
    scaled = data.fit_scaler("zscore", values, slots, 1).transform(values, slots)
    assert np.nanmean(scaled) == pytest.approx(0)
    assert np.nanstd(scaled) == pytest.approx(1)
    scaled = data.fit_scaler("minmax", values, slots, 1).transform(values, slots)
    np.testing.assert_array_equal(scaled, [0, 0.5, np.nan, 1])


@pytest.mark.parametrize("kind", ["profile", "zscore", "minmax"])
def test_inverse_undoes_transform(labelled: data.Labelled, kind: data.Scaling) -> None:
    slots = data.seasonal_slots(labelled.series, 336)
    scaler = data.fit_scaler(kind, labelled.values[:1600], slots[:1600], 336)
    there = scaler.transform(labelled.values, slots)
    np.testing.assert_allclose(scaler.inverse(there, slots), labelled.values)


def test_slots_without_a_value_take_the_overall_median() -> None:
    slots = np.arange(30) % 3
    values = np.where(slots == 1, np.nan, np.arange(30.0) % 7)
    scaler = data.fit_scaler("profile", values, slots, 3)
    assert np.isfinite(scaler.centre).all()
    assert (scaler.scale > 0).all()


@pytest.mark.parametrize(
    ("values", "season", "words"),
    [
        (np.full(99, 5.0), 3, r"constant \(always 5\)"),
        (np.full(99, np.nan), 3, "missing throughout"),
        (np.arange(8.0), 3, "at least 9 training rows, and there are 8: lower --season"),
        (np.arange(99.0) % 3, 3, "repeat exactly every 3 rows"),
    ],
)
def test_what_cannot_be_scaled(values: np.ndarray, season: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        data.fit_scaler("profile", values, np.arange(len(values)) % season, season)
