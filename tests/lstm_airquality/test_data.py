"""The file's format, bad files, forward fill, splits and what must not leak."""

from common.errors import UserError
from common.series import Series

import numpy as np
import pandas as pd
import pytest
import torch

from lstm_airquality import baselines, data
from lstm_airquality.sample import EMPTY_ROWS, FILE, HOURS, NMHC_HOURS, make_sample

WINDOW = 24


@pytest.fixture(scope="module")
def sample_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder)
    return folder / FILE


@pytest.fixture(scope="module")
def sample(sample_file):
    return data.load(sample_file)


def prepared(series, known, horizon=1, **inputs):
    scaler = data.fit_scaler(series.values[:known])
    inputs = {"use_calendar": True, "use_mask": False, **inputs}
    return data.prepare(series, scaler, horizon, **inputs)


def changed(series, rows, value):
    values = series.values.copy()
    values[rows] = value
    return Series(series.times, values, series.columns, series.spacing)


# The file


def test_sample_is_in_the_publishers_format(sample_file, tmp_path):
    raw = sample_file.read_bytes()
    lines = raw.split(b"\r\n")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert raw.isascii()
    assert lines[0].endswith(b"T;RH;AH;;")
    assert {line.count(b";") for line in lines[:-1]} == {16}
    assert lines[-1 - EMPTY_ROWS : -1] == [b";" * 16] * EMPTY_ROWS
    assert lines[1].startswith(b"10/03/2004;18.00.00;")
    make_sample(tmp_path)
    assert (tmp_path / FILE).read_bytes() == raw


def test_sample_is_read_as_it_was_written(sample_file, sample):
    table = (
        pd.read_csv(sample_file, sep=";", decimal=",").dropna(how="all").dropna(axis=1, how="all")
    )
    expected = table.iloc[:, 2:].to_numpy(float)
    expected[expected == -200] = np.nan
    np.testing.assert_array_equal(sample.values, expected)
    assert sample.values.shape == (HOURS, 13)
    assert sample.columns == data.FEATURES
    assert str(sample.times[0]) == "2004-03-10 18:00:00"
    assert str(sample.times[-1]) == str(sample.times[0] + pd.Timedelta(hours=HOURS - 1))
    assert sample.notes == ()
    nmhc = sample.column("NMHC(GT)")
    assert np.isnan(nmhc[NMHC_HOURS:]).all()
    assert not np.isnan(nmhc[:NMHC_HOURS]).all()


@pytest.mark.parametrize(("date", "clock"), [("%Y-%m-%d", "%H:%M"), ("%d/%m/%Y", "%H:%M:%S")])
def test_plain_comma_format_reads_the_same(sample, tmp_path, date, clock):
    table = pd.DataFrame(sample.values, columns=sample.columns)
    table.insert(0, "Time", sample.times.strftime(clock))
    table.insert(0, "Date", sample.times.strftime(date))
    table.to_csv(tmp_path / "plain.csv", index=False)
    found = data.load(tmp_path / "plain.csv")
    np.testing.assert_array_equal(found.values, sample.values)
    assert (found.times == sample.times).all()


@pytest.mark.real
def test_real_file_is_what_its_publisher_describes(real_data):
    series = data.load(real_data / "air_quality" / FILE)
    assert series.values.shape == (9357, 13)
    assert series.notes == ()
    assert str(series.times[0]) == "2004-03-10 18:00:00"
    missing = np.isnan(series.values)
    assert missing.sum() == 16_701
    assert missing[:, 2].mean() > 0.9
    others = [data.FEATURES.index(n) for n in data.FEATURES if "GT" not in n or "C6H6" in n]
    assert (missing[:, others].sum(axis=0) == 366).all()
    np.testing.assert_allclose(series.values[0, :3], [2.6, 1360, 150])


# Bad files: one sentence each


def plain_lines(count=48, start="2004-03-10 00:00"):
    times = pd.date_range(start, periods=count, freq="h")
    random = np.random.default_rng(0)
    rows = [
        f"{t:%Y-%m-%d},{t:%H:%M:%S}," + ",".join(f"{v:.2f}" for v in random.random(13))
        for t in times
    ]
    return [",".join(["Date", "Time", *data.FEATURES]), *rows]


def swapped(lines, row, field, value):
    cells = lines[row].split(",")
    cells[field] = value
    return [*lines[:row], ",".join(cells), *lines[row + 1 :]]


def with_values(value):
    head, *rows = plain_lines()
    return [head, *(",".join([*row.split(",")[:2], *[value] * 13]) for row in rows)]


def half_hours():
    head, *rows = plain_lines(24)
    clocks = [f"{i // 2:02}:{30 * (i % 2):02}:00" for i in range(24)]
    return [head, *(swapped([row], 0, 1, t)[0] for row, t in zip(rows, clocks, strict=True))]


BAD = {
    "empty": ([], "is empty"),
    "html": (["<!DOCTYPE html><html><body>404</body></html>"], "web page"),
    "binary": (["PK\0\0\0"], "not a text file"),
    "header only": (plain_lines()[:1], "no rows"),
    "tabs": ([line.replace(",", "\t") for line in plain_lines()], "separates its fields by"),
    "column": ([line.replace("NOx(GT)", "NOx") for line in plain_lines()], "no column 'NOx(GT)'"),
    "a word": (swapped(plain_lines(), 5, 4, "broken"), "'broken' in column"),
    "decimal comma": (swapped(plain_lines(), 5, 2, '"2,6"'), "'2,6' in column 'CO(GT)'"),
    "no date": (swapped(plain_lines(), 5, 0, "yesterday"), "is no time stamp"),
    "irregular": (swapped(plain_lines(), 5, 1, "04:20:00"), "not regularly spaced"),
    "half-hours": (half_hours(), "resample them to one hour"),
    "all missing": (with_values("-200"), "every value is missing"),
    "all empty": (with_values(""), "every value is missing"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_one_sentence(name, tmp_path):
    lines, message = BAD[name]
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError) as caught:
        data.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        data.load(tmp_path / "absent.csv")


def test_nan_and_infinity_count_as_missing_and_are_told(tmp_path):
    lines = swapped(swapped(plain_lines(), 3, 2, "inf"), 9, 2, "nan")
    path = tmp_path / "odd.csv"
    path.write_text("\n".join(lines))
    series = data.load(path)
    assert np.flatnonzero(np.isnan(series.values[:, 0])).tolist() == [2, 8]
    assert "infinite" in series.notes[0]


def test_repeated_hours_and_gaps_are_mended_and_told(tmp_path):
    lines = plain_lines()
    path = tmp_path / "odd.csv"
    path.write_text("\n".join([*lines[:6], lines[5], *lines[6:20], *lines[22:]]))
    series = data.load(path)
    assert len(series.values) == 48
    assert np.isnan(series.values[19:21]).all()
    notes = " ".join(series.notes)
    assert "1 repeated time stamps" in notes
    assert "2 missing rows" in notes


def test_constant_feature_is_one_sentence(sample):
    values = sample.values.copy()
    values[:, 10] = 20.0
    with pytest.raises(UserError, match="T does not vary"):
        data.fit_scaler(values)


def test_short_series_is_one_sentence(sample):
    with pytest.raises(UserError, match="239 hours are too few"):
        data.split(239)
    with pytest.raises(UserError, match="window of 300 hours and a horizon of 1"):
        prepared(sample, 768).windows(768, 960, 300, 1)


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
    hours = prepared(sample, 960, use_mask=True)
    missing = torch.from_numpy(np.isnan(sample.values))
    assert torch.equal(hours.observed == 0, missing)
    assert (hours.targets[missing] == 0).all()
    assert hours.inputs.isfinite().all()
    assert torch.equal(hours.inputs[:, -13:], hours.observed)
    assert hours.inputs.shape == (HOURS, 13 + data.CALENDAR + 13)
    gap = 705  # inside the sensors' second gap, from row 700
    assert torch.equal(hours.inputs[gap, 1], hours.inputs[699, 1])


# Windows, calendar and leaks


@pytest.mark.parametrize("horizon", [1, 5, 24])
def test_windows_lie_wholly_in_their_part_and_targets_are_horizon_hours_later(sample, horizon):
    parts = data.split(HOURS)
    hours = prepared(sample, parts.train, horizon)
    # Row numbers instead of values tell where each window comes from.
    rows = torch.arange(HOURS, dtype=torch.float32)[:, None]
    numbered = data.Hours(rows, rows, torch.ones_like(rows), hours.scaler)
    seen = []
    for first, last in ((0, parts.train), (parts.train, parts.known), (parts.known, HOURS)):
        windows, targets, _ = numbered.windows(first, last, WINDOW, horizon)
        assert len(windows) == last - first - WINDOW - horizon + 1
        assert windows.min() == first
        assert targets.max() == last - 1
        assert torch.equal(windows[:, 1:], windows[:, :-1] + 1)
        assert torch.equal(targets, windows[:, -1] + horizon)
        seen.append({*windows.unique().tolist(), *targets.unique().tolist()})
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert not seen[0] & seen[2]


def test_parts_are_in_order_of_time():
    parts = data.split(9357)
    assert (parts.train, parts.known, parts.rows) == (5988, 7485, 9357)


@pytest.mark.parametrize("horizon", [1, 24])
def test_calendar_is_that_of_the_hour_forecast(sample, horizon):
    hours = prepared(sample, 960, horizon)
    row = 100
    target = sample.times[row] + pd.Timedelta(hours=horizon)
    found = hours.inputs[row, 13:].double().numpy()
    day, week = (
        2 * np.pi * target.hour / 24,
        2 * np.pi * (target.day_of_week * 24 + target.hour) / 168,
    )
    expected = [
        np.sin(day),
        np.cos(day),
        np.sin(2 * day),
        np.cos(2 * day),
        np.sin(week),
        np.cos(week),
    ]
    np.testing.assert_allclose(found, [*expected, target.day_of_week >= 5], atol=1e-6)


def test_scaler_is_fitted_on_observed_known_rows_alone(sample):
    scaler = data.fit_scaler(sample.values[:700])
    frame = pd.DataFrame(sample.values[:700])
    np.testing.assert_allclose(scaler.mean, frame.mean())
    np.testing.assert_allclose(scaler.std, frame.std(ddof=0))
    np.testing.assert_allclose(scaler.inverse(scaler.transform(sample.values)), sample.values)


def test_test_rows_change_nothing_of_what_is_learnt_from(sample):
    parts = data.split(HOURS)
    other = changed(sample, slice(parts.known, None), 1e6)
    for known in (parts.train, parts.known):
        for mine, theirs in zip(
            prepared(sample, known).windows(0, parts.known, WINDOW, 1),
            prepared(other, known).windows(0, parts.known, WINDOW, 1),
            strict=True,
        ):
            assert torch.equal(mine, theirs)


def test_inputs_never_hold_a_later_value(sample):
    later = changed(sample, slice(501, None), 77.0)
    scaler = data.fit_scaler(sample.values[:400])
    given = {"use_calendar": True, "use_mask": True}
    mine = data.prepare(sample, scaler, 1, **given).inputs
    theirs = data.prepare(later, scaler, 1, **given).inputs
    assert torch.equal(mine[:501], theirs[:501])
    assert not torch.equal(mine[501:], theirs[501:])


# Baselines


def test_persistence_and_seasonal_naive_repeat_what_was_seen(sample):
    parts = data.split(HOURS)
    for horizon, day in ((1, 24), (24, 24), (30, 48)):
        hours = prepared(sample, parts.known, horizon)
        filled = hours.inputs[:, :13].numpy()
        targets = np.arange(parts.known + WINDOW + horizon - 1, HOURS)
        found = baselines.persistence(hours, parts, WINDOW, horizon)
        np.testing.assert_array_equal(found, filled[targets - horizon])
        found = baselines.seasonal_naive(hours, parts, WINDOW, horizon)
        np.testing.assert_array_equal(found, filled[targets - day])


def test_ridge_finds_a_linear_rule(sample):
    """An oscillation with noise: the last two values explain 89 % of the next one."""
    random = np.random.default_rng(0)
    values = random.normal(size=(HOURS, 13))
    for row in range(2, HOURS):
        values[row] += 1.2 * values[row - 1] - 0.9 * values[row - 2]
    series = Series(sample.times, values, sample.columns, sample.spacing)
    parts = data.split(HOURS)
    hours = prepared(series, parts.known)
    truth = hours.targets[parts.known + WINDOW :].numpy()
    errors = baselines.ridge(hours, parts, WINDOW, 1) - truth
    assert 0.8 < 1 - np.square(errors).mean() / truth.var() < 0.9


def test_baselines_are_fitted_without_the_test_part(sample):
    parts = data.split(HOURS)
    other = changed(sample, slice(parts.known + 200, None), 50.0)
    mine, theirs = prepared(sample, parts.known), prepared(other, parts.known)
    for method in (baselines.persistence, baselines.seasonal_naive, baselines.ridge):
        forecast = method(mine, parts, WINDOW, 1)[:170]
        np.testing.assert_allclose(forecast, method(theirs, parts, WINDOW, 1)[:170], rtol=1e-5)
