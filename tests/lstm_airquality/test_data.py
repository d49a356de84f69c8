"""The station's file in its variants, any other table, windows, splits, baselines, leaks."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from common.settings import UserError
from lstm_airquality import baselines, data

WINDOW = 24
HOURS = data.SAMPLE_HOURS


def prepared(series, known, horizon=1, window=WINDOW, season=()):
    scaler = data.Scaler.of(series.values[:known])
    past = data.Past(window, horizon, season)
    return data.prepare(series, len(series.columns), scaler, past)


def changed(series, rows, value):
    values = series.values.copy()
    values[rows] = value
    return dataclasses.replace(series, values=values)


# The station's file (case 19)


def test_sample_is_in_the_publishers_format(sample_file, tmp_path):
    raw = sample_file.read_bytes()
    lines = raw.split(b"\r\n")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert raw.isascii()
    assert lines[0].endswith(b"T;RH;AH;;")
    assert {line.count(b";") for line in lines[:-1]} == {16}
    assert lines[-1 - data.EMPTY_ROWS : -1] == [b";" * 16] * data.EMPTY_ROWS
    assert lines[1].startswith(b"10/03/2004;18.00.00;")
    data.make_sample(tmp_path)
    assert (tmp_path / data.FILE).read_bytes() == raw


def test_sample_is_read_as_it_was_written(sample_file, sample):
    table = pd.read_csv(sample_file, sep=";", decimal=",").dropna(how="all").dropna(axis=1)
    expected = table.iloc[:, 2:].to_numpy(float)
    expected[expected == -200] = np.nan
    np.testing.assert_array_equal(sample.values, expected)
    assert sample.values.shape == (HOURS, 13)
    assert sample.columns == data.FEATURES
    assert str(sample.times[0]) == "2004-03-10 18:00:00"
    assert str(sample.times[-1]) == str(sample.times[0] + pd.Timedelta(hours=HOURS - 1))
    nmhc = sample.column("NMHC(GT)")
    assert np.isnan(nmhc[data.NMHC_HOURS :]).all()
    assert not np.isnan(nmhc[: data.NMHC_HOURS]).all()


@pytest.fixture
def save(sample, tmp_path):
    """Write the sample another way; returns the file's path."""

    def save(date="%Y-%m-%d", clock="%H:%M", rename=None, drop=(), missing="", order=None):
        table = pd.DataFrame(sample.values, columns=sample.columns)[order or list(sample.columns)]
        table = table.drop(columns=list(drop)).rename(columns=rename or str)
        table.insert(0, "Time", sample.times.strftime(clock))
        table.insert(0, "Date", sample.times.strftime(date))
        table.to_csv(tmp_path / "other.csv", index=False, na_rep=str(missing))
        return tmp_path / "other.csv"

    return save


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"date": "%d/%m/%Y", "clock": "%H:%M:%S"},
        {"date": "%m/%d/%Y", "clock": "%H:%M:%S", "missing": -200},  # the archive's data.csv
        {"rename": lambda name: name.replace("(", "_").replace(")", "")},  # CO_GT, PT08.S1_CO
        {"rename": lambda name: name.replace("(", ".").replace(")", ".")},  # as R renames them
        {"rename": lambda name: name.replace("(GT)", "").lower()},
        {"rename": {"T": "Temperature", "RH": "Relative Humidity", "AH": "absolute_humidity"}},
        {"order": list(data.FEATURES[::-1])},
    ],
)
def test_variants_of_the_file_read_the_same(sample, save, how):
    other = data.load(save(**how))
    np.testing.assert_array_equal(other.values, sample.values)
    assert other.columns == data.FEATURES
    assert (other.times == sample.times).all()


@pytest.mark.parametrize("form", ["absent", "-200", "empty"])
def test_a_column_without_values_is_noted_and_neither_learned_nor_scored(
    sample_file, save, tmp_path, form
):
    path = save(drop=["NMHC(GT)"])
    if form != "absent":
        table = pd.read_csv(path)
        table.insert(4, "NMHC(GT)", -200 if form == "-200" else "")
        table.to_csv(path, index=False)
    series, targets = data.choose(data.load(path), 768)
    assert targets == 12
    assert series.columns == tuple(name for name in data.FEATURES if name != "NMHC(GT)")
    assert "neither learned nor scored, for they do not vary: NMHC(GT)" in series.notes
    assert ("columns that are not there count as missing: NMHC(GT)" in series.notes) == (
        form == "absent"
    )


@pytest.mark.real
def test_real_file_is_what_its_publisher_describes(real_data):
    series = data.load(real_data / "air_quality" / data.FILE)
    assert series.values.shape == (9357, 13)
    assert str(series.times[0]) == "2004-03-10 18:00:00"
    missing = np.isnan(series.values)
    assert missing.sum() == 16_701
    assert missing[:, 2].mean() > 0.9
    others = [data.FEATURES.index(n) for n in data.FEATURES if "GT" not in n or "C6H6" in n]
    assert (missing[:, others].sum(axis=0) == 366).all()
    np.testing.assert_allclose(series.values[0, :3], [2.6, 1360, 150])


# Any other table (case 20)


def test_another_table_gives_its_columns_of_numbers(tmp_path):
    times = pd.date_range("2013-03-01", periods=300, freq="h")
    parts = {part: getattr(times, part) for part in ("year", "month", "day", "hour")}
    values = np.random.default_rng(0).normal(size=(2, 300)).round(3)
    table = pd.DataFrame({"No": range(1, 301), **parts, "pm2.5": values[0], "wind": "NW"})
    table["TEMP"] = values[1]
    table.loc[5:7, "pm2.5"] = np.nan
    table.to_csv(tmp_path / "city.csv", index=False, na_rep="NA")
    series = data.load(tmp_path / "city.csv")
    assert series.columns == ("pm2.5", "TEMP")
    assert series.times.equals(times.as_unit("ns"))
    assert np.isnan(series.values).sum() == 3
    chosen, targets = data.choose(series, 200, "temp")
    assert (chosen.columns, targets) == (("TEMP", "pm2.5"), 1)
    np.testing.assert_array_equal(chosen.column("TEMP"), values[1])
    with pytest.raises(UserError, match=r"no column 'ozone' of numbers; there are pm2.5, TEMP"):
        data.choose(series, 200, "ozone")
    with pytest.raises(UserError, match="has none of the columns NOx"):
        data.load(tmp_path / "city.csv", ["NOx", "CO"])


def test_nothing_that_varies_is_one_sentence(sample):
    with pytest.raises(UserError, match="constant or missing in the 768 rows"):
        data.choose(changed(sample, slice(None), 5.0), 768)


# Missing values


def test_forward_fill_against_pandas_and_never_from_the_future():
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 4))
    values[random.random(values.shape) < 0.5] = np.nan
    np.testing.assert_array_equal(data.fill_forward(values), pd.DataFrame(values).ffill())
    for row in range(60):
        later = values.copy()
        later[row + 1 :] = random.normal(size=later[row + 1 :].shape)
        np.testing.assert_array_equal(
            data.fill_forward(later)[: row + 1], data.fill_forward(values)[: row + 1]
        )


def test_missing_targets_are_marked_and_missing_inputs_filled(sample):
    hours = prepared(sample, 960)
    missing = torch.from_numpy(np.isnan(sample.values))
    assert torch.equal(hours.observed == 0, missing)
    assert (hours.targets[missing] == 0).all()
    assert hours.inputs.isfinite().all()
    assert hours.inputs.shape == (HOURS, 13 + data.CALENDAR)
    gap = 705  # inside the sensors' second gap, from row 700
    assert torch.equal(hours.inputs[gap, 1], hours.inputs[699, 1])


# Windows, calendar and leaks


def test_short_series_is_one_sentence(sample):
    with pytest.raises(UserError, match="239 rows are too few"):
        data.split(239)
    with pytest.raises(UserError, match="window of 300 rows and a horizon of 1"):
        prepared(sample, 768, window=300).windows(768, 960)
    with pytest.raises(UserError, match=r"season of 192 rows, a window .* --seasons or"):
        prepared(sample, 768, season=(24, 192)).windows(768, 960)


@pytest.mark.parametrize("horizon", [1, 5, 24])
def test_windows_lie_wholly_in_their_part_and_targets_are_horizon_rows_later(horizon):
    parts = data.split(HOURS)
    # Row numbers instead of values tell where each window comes from.
    rows = torch.arange(HOURS, dtype=torch.float32)[:, None]
    numbered = data.Hours(rows, rows, torch.ones_like(rows), 1, data.Past(WINDOW, horizon))
    seen = []
    for first, last in ((0, parts.train), (parts.train, parts.known), (parts.known, HOURS)):
        windows, targets, _ = numbered.windows(first, last)
        assert len(windows) == last - first - WINDOW - horizon + 1
        assert windows.min() == first
        assert targets.max() == last - 1
        assert torch.equal(windows[:, 1:], windows[:, :-1] + 1)
        assert torch.equal(targets, windows[:, -1] + horizon)
        seen.append({*windows.unique().tolist(), *targets.unique().tolist()})
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert not seen[0] & seen[2]


def test_a_season_reaches_back_and_stays_in_the_part():
    rows = torch.arange(400.0)[:, None]
    numbered = data.Hours(rows, rows, torch.ones_like(rows), 1, data.Past(WINDOW, 6, (24, 168)))
    cuts, targets, _ = numbered.windows(100, 400)
    assert cuts[0, 0] == 100  # a week before the first target
    assert targets[0] == 268
    assert targets[-1] == 399
    for step, hours_back in zip(numbered.past.season_steps, (24, 168), strict=True):
        assert torch.equal(cuts[:, step], targets - hours_back)


def test_parts_are_in_order_of_time():
    parts = data.split(9357)
    assert (parts.train, parts.known, parts.rows) == (5988, 7485, 9357)


@pytest.mark.parametrize("horizon", [1, 24])
def test_calendar_is_that_of_the_hour_forecast(sample, horizon):
    hours = prepared(sample, 960, horizon)
    row = 100
    target = sample.times[row] + pd.Timedelta(hours=horizon)
    day = 2 * np.pi * target.hour / 24
    week = 2 * np.pi * (target.day_of_week * 24 + target.hour) / 168
    angles = (day, 2 * day, week)
    expected = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    inputs = hours.inputs[row, 13:].double().numpy()
    np.testing.assert_allclose(inputs, [*expected, target.day_of_week >= 5], atol=1e-6)


def test_scaler_is_fitted_on_observed_known_rows_alone(sample):
    scaler = data.Scaler.of(sample.values[:700])
    frame = pd.DataFrame(sample.values[:700])
    np.testing.assert_allclose(scaler.mean, frame.mean())
    np.testing.assert_allclose(scaler.std, frame.std(ddof=0))
    np.testing.assert_allclose(scaler.inverse(scaler.transform(sample.values)), sample.values)


def test_test_rows_change_nothing_of_what_is_learned_from(sample):
    parts = data.split(HOURS)
    other = changed(sample, slice(parts.known, None), 1e6)
    for known in (parts.train, parts.known):
        for mine, theirs in zip(
            prepared(sample, known).windows(0, parts.known),
            prepared(other, known).windows(0, parts.known),
            strict=True,
        ):
            assert torch.equal(mine, theirs)


def test_inputs_never_hold_a_later_value(sample):
    later = changed(sample, slice(501, None), 77.0)
    mine, theirs = (prepared(series, 400).inputs for series in (sample, later))
    assert torch.equal(mine[:501], theirs[:501])
    assert not torch.equal(mine[501:], theirs[501:])


# Baselines


def test_persistence_and_seasonal_naive_repeat_what_was_seen(sample):
    parts = data.split(HOURS)
    for horizon, day in ((1, 24), (24, 24), (30, 48)):
        hours = prepared(sample, parts.known, horizon)
        filled = hours.inputs[:, :13].numpy()
        targets = np.arange(parts.known + WINDOW + horizon - 1, HOURS)
        forecast = baselines.persistence(hours, (parts.known, HOURS))
        np.testing.assert_array_equal(forecast, filled[targets - horizon])
        forecast = baselines.seasonal_naive(hours, (parts.known, HOURS), 24)
        np.testing.assert_array_equal(forecast, filled[targets - day])


def test_ridge_finds_a_linear_rule(sample):
    """An oscillation with noise: the last two values explain 89 % of the next one."""
    random = np.random.default_rng(0)
    values = random.normal(size=(HOURS, 13))
    for row in range(2, HOURS):
        values[row] += 1.2 * values[row - 1] - 0.9 * values[row - 2]
    parts = data.split(HOURS)
    hours = prepared(dataclasses.replace(sample, values=values), parts.known)
    truth = hours.targets[parts.known + WINDOW :].numpy()
    errors = baselines.ridge(hours, parts) - truth
    assert 0.8 < 1 - np.square(errors).mean() / truth.var() < 0.9


@pytest.mark.parametrize("baseline", ["ridge", "boosted trees"])
def test_baselines_see_the_season_that_the_network_sees(sample, baseline):
    """The value of 50 hours before explains 64 % of each, and no other row does."""
    random = np.random.default_rng(0)
    values = random.normal(size=(HOURS, 13))
    for row in range(50, HOURS):
        values[row] += 0.8 * values[row - 50]
    series, parts = dataclasses.replace(sample, values=values), data.split(HOURS)
    truth = values[:, 0]

    def r2(season):
        forecast = baselines.forecasts(series, 1, parts, data.Past(3, 2, season))[baseline][:, 0]
        errors = forecast - truth[-len(forecast) :]
        return 1 - np.square(errors).mean() / truth[-len(forecast) :].var()

    assert r2(()) < 0.2
    assert r2((50,)) > 0.4


def test_baselines_are_fitted_without_the_test_part(sample):
    parts = data.split(HOURS)
    other = changed(sample, slice(parts.known + 200, None), 50.0)
    mine, theirs = (baselines.forecasts(s, 1, parts, data.Past(WINDOW, 1)) for s in (sample, other))
    for name, forecast in mine.items():
        np.testing.assert_allclose(forecast[:170], theirs[name][:170], rtol=1e-5)


def test_baselines_of_rows_without_times_and_of_few_targets(sample):
    numbered = dataclasses.replace(sample.source, numbered=True)
    series = dataclasses.replace(sample, source=numbered)
    parts = data.split(HOURS)
    forecasts = baselines.forecasts(series, 2, parts, data.Past(WINDOW, 3))
    assert set(forecasts) == {"persistence", "seasonal naive", "ridge", "boosted trees"}
    assert {forecast.shape for forecast in forecasts.values()} == {(HOURS - parts.known - 26, 2)}
