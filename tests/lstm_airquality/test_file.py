"""The file's format, and bad files: one sentence each."""

from common.errors import UserError

import numpy as np
import pandas as pd
import pytest

from lstm_airquality import data
from lstm_airquality.sample import EMPTY_ROWS, FILE, HOURS, NMHC_HOURS, make_sample

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
