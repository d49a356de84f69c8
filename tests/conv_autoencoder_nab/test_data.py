"""NAB's files, the split, the season and the scaling."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.series import Series, read_series
from common.settings import UserError
from conv_autoencoder_nab import data


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nab")
    data.make_sample(folder)
    return folder


@pytest.fixture(scope="module")
def labelled(sample: Path) -> data.Labelled:
    return data.load(sample)


def test_sample_is_in_the_benchmarks_format(
    sample: Path, labelled: data.Labelled, tmp_path: Path
) -> None:
    assert (
        (sample / data.SERIES_FILE).read_text().startswith("timestamp,value\n2014-07-01 00:00:00,")
    )
    assert labelled.series.spacing == pd.Timedelta(minutes=30)
    assert labelled.series.notes == ()
    limits = json.loads((sample / data.WINDOWS_FILE).read_text(encoding="utf-8"))[data.LABEL_KEY]
    assert len(limits) == 3
    for window, ends in zip(labelled.windows, limits, strict=True):  # both ends included
        assert [labelled.series.times[row] for row in window] == [pd.Timestamp(end) for end in ends]
    data.make_sample(tmp_path)  # is the same every time
    for name in (data.SERIES_FILE, data.WINDOWS_FILE):
        assert (tmp_path / name).read_bytes() == (sample / name).read_bytes()


@pytest.mark.real
def test_real_windows(real_data: Path) -> None:
    found = data.load(real_data / "nab")
    assert len(found.values) == 10_320
    assert found.windows[0] == (5839, 6045)
    assert [last - first + 1 for first, last in found.windows] == [207] * 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "holds no labelled windows"),
        ("{", "holds no labelled windows"),
        ("[1, 2]", "holds no labelled windows"),
        ("{}", "labels no window"),
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


def series_of(folder: Path, values: np.ndarray, step: str) -> Series:
    """The values as a file, read again; an empty step gives rows without times."""
    table = pd.DataFrame({"value": values})
    if step:
        table.insert(0, "time", pd.date_range("2021-03-01", periods=len(values), freq=step))
    table.to_csv(folder / "own.csv", index=False)
    return read_series(folder / "own.csv")


@pytest.mark.parametrize(
    ("step", "per_day", "weekly", "rows", "season"),
    [
        ("30min", 48, True, 12 * 336, 336),
        ("30min", 48, True, 7 * 336, 48),  # too few weeks to learn one
        ("30min", 48, False, 12 * 336, 48),
        ("1h", 24, False, 1680, 24),
        ("5min", 288, False, 2016, 1),  # a week: too few days
        ("1D", 1, True, 400, 7),
        ("1D", 1, False, 400, 1),  # nothing repeats
        ("", 24, False, 1680, 1),  # rows without times
    ],
)
def test_the_season_is_the_one_that_predicts(
    tmp_path: Path, step: str, per_day: int, weekly: bool, rows: int, season: int
) -> None:
    random = np.random.default_rng(0)
    row = np.arange(rows)
    values = 100 + 40 * np.sin(2 * np.pi * row / per_day) + random.normal(size=rows)
    values += 30 * weekly * (row // per_day % 7 > 4)
    series = series_of(tmp_path, values, step)
    assert data.choose_season(series, int(0.9 * rows)) == season


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


def test_slots_of_months_are_those_of_the_year(tmp_path: Path) -> None:
    times = pd.date_range("1990-01-01", periods=400, freq="MS")
    pd.DataFrame({"date": times, "value": range(400)}).to_csv(tmp_path / "m.csv", index=False)
    slots = data.seasonal_slots(read_series(tmp_path / "m.csv"), 12)
    assert (slots == times.month % 12).all()


def test_slots_without_a_value_take_the_overall_median() -> None:
    slots = np.arange(30) % 3
    values = np.where(slots == 1, np.nan, np.arange(30.0) % 7)
    assert data.slot_medians(values, slots, 3)[1] == np.nanmedian(values)
    assert (data.fit_scaler("profile", values, slots, 3).scale > 0).all()


@pytest.mark.parametrize("kind", ["profile", "zscore", "minmax"])
@pytest.mark.parametrize(
    ("values", "season"),
    [(np.full(99, 5.0), 3), (np.zeros(99), 1), (np.arange(99.0) % 3, 3)],
)
def test_rows_that_never_deviate_have_a_scale(
    kind: data.Scaling, values: np.ndarray, season: int
) -> None:
    """Every other value is then far from what was learned."""
    slots = np.arange(99) % season
    scaler = data.fit_scaler(kind, values, slots, season)
    scaled = scaler.transform(values + 1, slots) - scaler.transform(values, slots)
    assert np.isfinite(scaled).all()
    assert (scaled > 0.4).all()


@pytest.mark.parametrize(
    ("values", "season", "words"),
    [
        (np.full(99, np.nan), 3, "have no value"),
        (np.arange(8.0), 3, "at least 9 training rows, and there are 8: lower --season"),
    ],
)
def test_what_cannot_be_scaled(values: np.ndarray, season: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        data.fit_scaler("profile", values, np.arange(len(values)) % season, season)
