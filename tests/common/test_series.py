"""A user's series in any usual form: read with a note, or one sentence; never a silent shift."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common import series
from common.settings import UserError
from common.tables import parse_numbers
from common.times import duration

HOURS = pd.date_range("2007-01-30 00:00", periods=240, freq="h")
VALUES = np.random.default_rng(0).normal(20, 3, 240).round(2)


def table(times: "pd.DatetimeIndex | list" = HOURS, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    stamps = times.strftime(form) if isinstance(times, pd.DatetimeIndex) else times
    rows = [f"{stamp},{value}" for stamp, value in zip(stamps, VALUES, strict=False)]
    return "\n".join(["timestamp,value", *rows]) + "\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., series.Series]:
    def read(text: str | bytes, name: str = "series.csv", **options: object) -> series.Series:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return series.read_series(path, **options)

    return read


def assert_same(read: series.Series, times: pd.DatetimeIndex = HOURS) -> None:
    np.testing.assert_array_equal(read.values[:, 0], VALUES[: len(times)])
    assert read.times.equals(times.as_unit("ns"))


def test_a_regular_file_is_read_as_it_is(read: Callable) -> None:
    plain = read(table())
    assert_same(plain)
    assert plain.spacing == pd.Timedelta(hours=1)
    assert plain.columns == ("value",)
    assert plain.notes == ()
    assert plain.places.tolist() == list(range(240))
    assert plain.stamps["timestamp"].iloc[3] == "2007-01-30 03:00:00"
    assert plain.next_stamps(2)["timestamp"].tolist() == [
        "2007-02-09 00:00:00", "2007-02-09 01:00:00",
    ]  # fmt: skip
    assert plain.rows_in(24) == 24


# The form of the table (case 15)


def comma(text: str, separator: str) -> str:
    return text.replace(",", separator).replace(".", ",")


FORMS = {
    "semicolon": (comma(table(), ";").encode(), "';' between fields, decimal comma, as in .*"),
    "tab": (comma(table(), "\t").encode(), "a tab between fields, decimal comma, as in .*"),
    "bar": (table().replace(",", "|").encode(), r"'\|' between fields"),
    "quoted decimal comma": (
        re.sub(r",(\d+)\.(\d+)", r',"\1,\2"', table()).encode(),
        "decimal comma, as in .*",
    ),
    "utf-16": (table().encode("utf-16"), "UTF-16 text"),
    "utf-16 without a mark": (table().encode("utf-16-le"), "UTF-16-LE text"),
    "windows-1252": (table().replace("value", "Temp °C").encode("cp1252"), "Windows-1252 text"),
    "byte-order mark": (b"\xef\xbb\xbf" + table().replace("\n", "\r\n").encode(), ""),
    "excel's first line": (b"sep=,\r\n" + table().encode(), ""),
    "no header": (table().split("\n", 1)[1].encode(), "no header: .*"),
    "comments above": (
        b"# station 12\n# 50.1 N\n\n" + table().encode(),
        "lines that begin with #.*",
    ),
    "row names": (
        "\n".join(
            f"{i},{row}" if i else row for i, row in enumerate(table().splitlines())
        ).encode(),
        "the first column has no name and is called row, .* 'row' counts the rows",
    ),
    "trailing separators": (table().replace("\n", ",,\n").encode() + b",,,\n" * 9, ""),
}


@pytest.mark.parametrize(("data", "note"), FORMS.values(), ids=FORMS)
def test_the_usual_forms_of_a_table(read: Callable, data: bytes, note: str) -> None:
    found = read(data)
    assert_same(found)
    assert re.fullmatch(note, ", ".join(found.notes))


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("deep/data.csv", data)
        archive.writestr("README", "the data")
    return file.getvalue()


def zipped_on_a_mac(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("data.csv", "readme.txt", "__MACOSX/._data.csv", ".hidden.csv"):
            archive.writestr(name, data if name == "data.csv" else b"x")
    return file.getvalue()


PACKS = [gzip.compress, bz2.compress, lzma.compress, zipped, zipped_on_a_mac]


@pytest.mark.parametrize("pack", PACKS)
def test_packed_files_whatever_their_name(read: Callable, pack: Callable) -> None:
    assert_same(read(pack(table().encode())))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table().encode())))
    assert_same(series.read_series("-"))


@pytest.mark.parametrize(
    ("cells", "expected", "note"),
    [
        (["20,063", "950", "19,500"], [20.063, 950, 19.5], "decimal comma, as in 19,500"),
        (["1.098.197", "2.000.044", "-"], [1098197, 2000044, np.nan], "dot between thousands"),
        (["999", "1.000", "1.001"], [999, 1000, 1001], "dot between thousands in 'v'"),
        (["999.500", "1.001", "20.100"], [999.5, 1.001, 20.1], ""),
        (["1,234.5", "12.5", "1,000,000"], [1234.5, 12.5, 1e6], "comma between thousands"),
        (["1.234,5", "12,5", "1.000.000"], [1234.5, 12.5, 1e6], "decimal comma"),
        (["0,125", "3,250", "1,500"], [0.125, 3.25, 1.5], "decimal comma"),
        (["1,125", "950|", "2,500"], [1125, 950, 2500], "comma between thousands, as in 1,125"),
        (["1,125", "1950|", "2,500"], [1.125, 1950, 2.5], "decimal comma, as in 1,125"),
        (["1 234,5", "12,5", "2'000'000"], [1234.5, 12.5, 2e6], "decimal comma"),
        (["1e3", "-2.5E-1", "+7"], [1000, -0.25, 7], ""),
    ],
)
def test_marks_in_numbers(read: Callable, cells: list[str], expected: list, note: str) -> None:
    rows = [f"2007-01-0{day};{cell}" for day, cell in enumerate(cells, 1)]
    text = "\n".join(["day;v", *rows])
    found = read(text.replace("|", "").replace(";", "|") if "|" in text else text)
    np.testing.assert_array_equal(found.values[:, 0], expected)
    assert note in " ".join(found.notes)


def test_missing_values_in_many_spellings(read: Callable) -> None:
    lines = table().splitlines()
    for row, word in enumerate(["", "?", "NULL", "NaN", "n/a", "-inf"], 5):
        lines[row] = lines[row].split(",")[0] + "," + word
    found = read("\n".join(lines))
    assert np.flatnonzero(np.isnan(found.values[:, 0])).tolist() == [4, 5, 6, 7, 8, 9]
    assert "count as missing: ? (1), null (1)" in found.notes[0]


def test_words_among_numbers_are_missing_values(read: Callable) -> None:
    lines = table().splitlines()
    words = ["<5", "n.a.", "ND", "---", "***", "#DIV/0!", "12 °C"]
    for row, word in enumerate(words * 3, 5):
        lines[row] = f"{lines[row].split(',')[0]},{word}"
    lines[40] = f"{lines[40].split(',')[0]},\u22123.5"
    found = read("\n".join(lines))
    assert np.isnan(found.values).sum() == 21
    assert found.values[39, 0] == -3.5
    assert "count as missing: <5 (3), n.a. (3)" in found.notes[0]


def test_headers_that_differ_by_a_blank_are_two_columns(read: Callable) -> None:
    rows = [f"{time},{i},{-i}" for i, time in enumerate(HOURS)]
    assert read("\n".join(["time,a,a ", *rows])).columns == ("a", "a.1")


def test_a_loggers_code_for_missing_is_recognised_where_nothing_comes_near(
    read: Callable,
) -> None:
    rows = [f"{time},{20 + i % 5},{-200 + i}" for i, time in enumerate(HOURS)]
    rows[7] = rows[9] = rows[7].replace(",22,", ",-200,")
    rows[9] = f"{HOURS[9]},-200,5"
    text = "\n".join(["time,t,deep", *rows])
    found = read(text)
    assert np.isnan(found.values).sum(axis=0).tolist() == [2, 0]
    assert "-200 (2)" in found.notes[-1]
    assert not np.isnan(read(text, missing="none").values).any()
    assert np.isnan(read(text, missing="20").column("t")).sum() == 48


def test_columns_without_measurements_are_left_out_and_named(read: Callable) -> None:
    rows = [f"{i},{time},{20 + i % 5},NW" for i, time in enumerate(HOURS, 1)]
    found = read("\n".join(["No,time,t,wind", *rows]))
    assert found.columns == ("t",)
    assert "'No' counts the rows, 'NW' in column 'wind' (data row 1)" in found.notes[0]
    assert read("\n".join(["No,time,T,wind", *rows]), columns=["t"]).columns == ("T",)
    with pytest.raises(UserError, match=r"'NW' in column 'wind'.*240 of 240"):
        read("\n".join(["No,time,t,wind", *rows]), columns=["wind"])
    with pytest.raises(UserError, match="no column 'wid'; it has 'No', 't', 'wind'"):
        read("\n".join(["No,time,t,wind", *rows]), columns=["wid"])


# Times (cases 13, 16, 17)

SECONDS = HOURS.as_unit("s").astype("int64")


@pytest.mark.parametrize(
    ("stamps", "after"),
    [
        (SECONDS, "1170979200"),
        (SECONDS * 1000, "1170979200000"),
        (SECONDS * 10**9, "1170979200000000000"),
        ([f"{second}.500" for second in SECONDS], "1170979200.5"),
        (HOURS.strftime("%Y%m%d%H"), "2007-02-09 00:00:00"),
        (HOURS.strftime("%Y%m%dT%H%M%S"), "2007-02-09 00:00:00"),
    ],
)
def test_times_as_numbers(read: Callable, stamps: list, after: str) -> None:
    found = read(table(list(stamps)))
    assert found.times.floor("s").equals(HOURS.as_unit("ns"))
    assert found.spacing == pd.Timedelta(hours=1)
    assert found.next_stamps(1)["timestamp"].tolist() == [after]
    assert found.stamps["timestamp"].tolist() == [str(stamp) for stamp in stamps]


@pytest.mark.parametrize(
    ("name", "stamps", "step"),
    [
        ("ts", SECONDS, "1h"),
        ("unixtime", SECONDS[::-1], "1h"),
        ("received", SECONDS * 1000, "1h"),
        ("YYYYMMDD", pd.date_range("2007-01-30", periods=240).strftime("%Y%m%d"), "1D"),
        ("period", pd.date_range("1990-01-01", periods=240, freq="MS").strftime("%Y%m"), "30.43D"),
        ("year", range(1760, 2000), "365.24D"),
        ("Date", [f"{39112 + i / 24:.6f}" for i in range(240)], "1h"),
        ("time", HOURS.strftime("%Y%m%d %H:%M"), "1h"),
        ("time", pd.period_range("1960Q1", periods=240, freq="Q").strftime("%Y-Q%q"), "91.3D"),
        ("date", pd.date_range("1990-01-01", periods=240, freq="MS").strftime("%m/%Y"), "30.43D"),
    ],
)
def test_times_are_found_in_any_column(read: Callable, name: str, stamps, step: str) -> None:
    rows = [f"260,{value},{stamp}" for stamp, value in zip(stamps, VALUES, strict=True)]
    found = read("\n".join([f"station,load,{name}", *rows]))
    assert found.columns == ("station", "load")
    assert len(found.values) == 240
    assert found.spacing == pytest.approx(pd.Timedelta(step), rel=1e-3)


def test_what_a_column_of_times_holds_is_not_numbered_silently(read: Callable) -> None:
    weeks = [f"{week // 52 + 2000}W{week % 52 + 1}" for week in range(240)]
    with pytest.raises(UserError, match=r"'2000W1'.*no time.*none numbers the rows"):
        read(table(weeks))
    assert read(table(weeks), time_column="none").columns == ("value",)


def test_columns_that_repeat_the_time_are_no_features(read: Callable) -> None:
    rows = [
        f"{second},{time},{time:%Y%m%d},{time.hour},{value}"
        for second, time, value in zip(SECONDS[::-1], HOURS[::-1], VALUES, strict=True)
    ]
    found = read("\n".join(["unix,date,day8,hour,close", *rows]))
    assert found.columns == ("close",)
    assert "columns that repeat the time left out: unix, day8, hour" in found.notes


@pytest.mark.parametrize("name", ["Hour", "Stunde", "hora", "heure"])
@pytest.mark.parametrize("first", [0, 1])
def test_hours_beside_a_date(read: Callable, name: str, first: int) -> None:
    rows = [f"{t:%Y-%m-%d},{t.hour + first},{v}" for t, v in zip(HOURS, VALUES, strict=True)]
    text = "\n".join([f"Date,{name},load", *rows])
    times = HOURS + pd.Timedelta(hours=first)
    assert_same(read(text), times)
    assert_same(read(text, time_column=f"Date,{name}"), times)
    assert read(text).next_stamps(1)["Date"][0] == str(times[-1] + pd.Timedelta("1h"))[:10]


def test_a_day_ends_at_24(read: Callable) -> None:
    stamps = HOURS.strftime("%d.%m.%Y %H:%M").tolist()
    for place in range(24, 240, 24):
        stamps[place] = f"{HOURS[place - 1]:%d.%m.%Y} 24:00"
    assert_same(read(table(stamps)))


FORMS_OF_TIME = [
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d-%b-%Y %H:%M", "%Y/%m/%d %H:%M",
    "%Y-%m-%dT%H:%M:%SZ", "%b %d, %Y %H:%M", "%Y-%m-%d %H:%M:%S.%f", "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%y %H:%M", "%d/%m/%Y %H.%M.%S", "%Y-%m-%d %H:%M:%S+05:30", "%y-%m-%d %H:%M",
    "%Y%m%dT%H%M%S+0530", "%Y-%m-%dT%H+05:30",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS_OF_TIME)
def test_times_as_text_go_out_as_they_came_in(read: Callable, form: str) -> None:
    """And what the file lacks as ISO 8601, in its zone."""
    zone = re.search(r"(Z|\+05:?30)?$", form)[0]
    lines = table(form=form).replace(",", ";").replace("; 20", ", 20").splitlines()
    found = read("\n".join([*lines[:100], *lines[103:]]))
    assert found.times.equals(HOURS.as_unit("ns"))
    expected = HOURS.strftime(form).tolist()
    expected[99:102] = [f"2007-02-03 0{hour}:00:00{zone}" for hour in (3, 4, 5)]
    assert found.stamps["timestamp"].tolist() == expected
    assert found.next_stamps(1)["timestamp"].tolist() == [f"2007-02-09 00:00:00{zone}"]
    assert "missing rows: 3 in 1 gaps" in found.notes
    assert np.isnan(found.values).sum() == 3


def test_times_of_a_fast_logger_keep_their_fractions(read: Callable) -> None:
    fast = pd.date_range("2007-01-30", periods=240, freq="20ms")
    assert read(table(fast, "%d.%m.%Y %H:%M:%S.%f")).next_stamps(1).iloc[0, 0] == (
        "2007-01-30 00:00:04.800000"
    )


def test_months_and_days_without_zeros(read: Callable) -> None:
    stamps = [f"{t.month}/{t.day}/{t.year} {t.hour}:00" for t in HOURS]
    found = read(table(stamps))
    assert_same(found)
    assert found.next_stamps(1).iloc[0, 0] == "2007-02-09 00:00:00"


def test_no_column_of_times_numbers_the_rows(read: Callable) -> None:
    found = read("value\n" + "\n".join(map(str, VALUES)))
    assert found.spacing is None
    assert found.times.tolist() == list(range(240))
    assert found.notes == ("no column of times: the rows are numbered (--time-column names one)",)
    assert found.next_stamps(2)["row"].tolist() == ["240", "241"]
    assert read(table(), time_column="none", columns=["value"]).spacing is None
    counted = read("\n".join(["t,v", *(f"{2 * i},{v}" for i, v in enumerate(VALUES))]))
    assert (counted.spacing, len(counted.values)) == (None, 240)
    assert counted.next_stamps(1)["t"].tolist() == ["480"]


def test_date_and_time_in_two_columns(read: Callable) -> None:
    rows = [f"{t:%d/%m/%Y};{t:%H.%M.%S};{v}" for t, v in zip(HOURS, VALUES, strict=True)]
    found = read("\n".join(["Date;Time;CO", *rows]))
    assert_same(found)
    assert found.next_stamps(1).iloc[0].tolist() == ["2007-02-09", "00:00:00"]
    named = read("\n".join(["a;b;CO", *rows]), time_column="a,b")
    assert_same(named)
    with pytest.raises(UserError, match="name the column of dates too"):
        read("\n".join(["a;b;CO", *rows]), time_column="b")


def test_year_month_day_and_hour_in_columns(read: Callable) -> None:
    rows = [f"{t.year},{t.month},{t.day},{t.hour},{v}" for t, v in zip(HOURS, VALUES, strict=True)]
    found = read("\n".join(["year,month,day,hour,pm2.5", *rows]))
    assert_same(found)
    assert found.next_stamps(1).iloc[0].tolist() == ["2007", "2", "9", "0"]


AMBIGUOUS = pd.date_range("2007-02-01", periods=240, freq="h")  # ten days, none above 12


def test_day_or_month_first_is_decided_over_the_whole_column(read: Callable) -> None:
    late = pd.date_range("2007-02-01", periods=240, freq="2h")  # the 13th comes after 144 rows
    for form in ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"):
        assert read(table(late, form)).times[0] == pd.Timestamp("2007-02-01")
        found = read(table(AMBIGUOUS, form))
        assert found.times.equals(AMBIGUOUS.as_unit("ns"))
        assert "because the steps are regular so (--dates" in found.notes[0]


def test_dates_that_fit_both_orders_are_asked_about(read: Callable) -> None:
    day = table(AMBIGUOUS[:24], "%m/%d/%Y %H:%M")
    with pytest.raises(UserError, match=r"02/01/2007 fit both orders: add --dates day-first or"):
        read(day)
    assert read(day, dates="day-first").times[0] == pd.Timestamp("2007-01-02")
    assert read(day, dates="month-first").times[0] == pd.Timestamp("2007-02-01")
    months = [f"01/{month:02}/2007" for month in range(1, 13)]  # twelve days, or twelve months
    with pytest.raises(UserError, match="fit both orders"):
        read(table(months))
    days = pd.date_range("2024-01-01", periods=100).strftime("%y-%m-%d")
    assert read(table(list(days))).times[-1] == pd.Timestamp("2024-04-09")
    with pytest.raises(UserError, match=r"24-01-12 .* --dates day-first or --dates year-first"):
        read(table(list(days[:12])))
    assert read(table(list(days[:12])), dates="year-first").spacing == pd.Timedelta("1D")
    with pytest.raises(UserError, match="day first in some rows and month first in others"):
        read(table(["13/01/2007", "01/14/2007", "15/01/2007"]))


def test_a_zone_and_a_clock_change_go_out_as_they_came_in(read: Callable) -> None:
    local = pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin")
    stamps = [t.isoformat() for t in local]
    lines = table(stamps).splitlines()
    found = read("\n".join([*lines[:40], *lines[42:]]))  # a gap after the change
    assert found.spacing == pd.Timedelta(hours=1)
    assert len(found.values) == 72
    written = found.stamps["timestamp"]
    assert (written == stamps).sum() == 70
    assert [pd.Timestamp(text) for text in written] == local.tolist()
    assert found.times[0] == pd.Timestamp("2024-03-30 00:00")
    after = local[-1] + pd.Timedelta(hours=1)
    assert pd.Timestamp(found.next_stamps(1)["timestamp"][0]) == after


def test_an_autumn_night_without_zones_is_counted(read: Callable) -> None:
    local = pd.date_range("2024-10-26", periods=72, freq="h", tz="Europe/Berlin").tz_localize(None)
    found = read(table(local))
    assert len(found.values) == 71
    assert found.notes == ("rows that share their time or place with another: 1, averaged",)
    assert len(found.places) == 72


# Irregular rows (case 14)


def test_jitter_is_snapped_to_the_grid(read: Callable) -> None:
    random = np.random.default_rng(0)
    jitter = pd.to_timedelta(random.integers(-900, 900, 240), unit="ms")
    found = read(table(HOURS + jitter, "%Y-%m-%d %H:%M:%S.%f"))
    assert_same(found)
    assert "off the grid of 1 h were moved to it" in found.notes[0]


def test_a_few_odd_rows_are_counted_and_averaged(read: Callable) -> None:
    odd = [*HOURS[:50], HOURS[50] - pd.Timedelta(minutes=20), HOURS[50], *HOURS[51:-1]]
    found = read(table(pd.DatetimeIndex(odd)))
    assert found.spacing == pd.Timedelta(hours=1)
    assert len(found.values) == 239
    assert found.values[50, 0] == pytest.approx(VALUES[50:52].mean())
    assert "rows off the grid of 1 h: 1 (first data row 51)" in found.notes[0]
    assert "share their time or place with another: 1" in found.notes[1]


def test_irregular_rows_and_resampling(read: Callable) -> None:
    random = np.random.default_rng(0)
    minutes = np.cumsum(random.uniform(4, 10, 240))
    times = pd.Timestamp("2007-01-30 00:00") + pd.to_timedelta((60 * minutes).round(), unit="s")
    found = read(table(times))
    assert "--resample chooses another time" in found.notes[0]
    means = read(table(times), resample="1h")
    frame = pd.Series(VALUES, index=times).resample("1h").mean()
    np.testing.assert_allclose(means.values[:, 0], frame)
    assert means.stamps["timestamp"].iloc[1] == "2007-01-30 01:00:00"
    assert means.spacing == pd.Timedelta(hours=1)
    rows = read(table(times), resample="none")
    np.testing.assert_array_equal(rows.values[:, 0], VALUES)
    for wrong in ("300", "soon", "0min"):
        with pytest.raises(UserError, match=f"--resample {wrong} is no length of time"):
            read(table(), resample=wrong)
    with pytest.raises(UserError, match="needs times"):
        read("v\n1\n2\n3\n", resample="1h")


@pytest.mark.parametrize(
    ("times", "spacing"),
    [
        (pd.date_range("2005-01-01", periods=48, freq="MS"), "30 days"),
        (HOURS[0] + pd.to_timedelta(np.arange(240) * 60.2, unit="s"), "60.2s"),
    ],
)
def test_months_and_a_drifting_logger_lose_no_row(
    read: Callable, times: pd.DatetimeIndex, spacing: str
) -> None:
    found = read(table(times, "%Y-%m-%d %H:%M:%S.%f"))
    np.testing.assert_array_equal(found.values[:, 0], VALUES[: len(times)])
    assert found.spacing == pytest.approx(pd.Timedelta(spacing), rel=0.02)


@pytest.mark.parametrize(
    ("freq", "months", "after"),
    [
        ("MS", 1, "2010-01-01"), ("ME", 1, "2010-01-31"), ("QS-FEB", 3, "2020-02-01"),
        ("YE", 12, "2050-12-31"),
    ],
)  # fmt: skip
def test_months_quarters_and_years_keep_their_own_dates(
    read: Callable, freq: str, months: int, after: str
) -> None:
    times = pd.date_range("2000-01-01", periods={1: 120, 3: 80, 12: 50}[months], freq=freq)
    lines = table(times, "%Y-%m-%d").splitlines()
    found = read("\n".join([*lines[:9], *lines[10:]]))  # one is missing
    assert found.times.equals(times.as_unit("ns"))
    assert np.isnan(found.values).sum() == 1
    assert found.next_stamps(1)["timestamp"][0] == f"{after} 00:00:00"


def test_many_rows_at_the_same_time_are_asked_about(read: Callable) -> None:
    rows = [f"{time},{sensor},{value}" for time in HOURS[:50] for sensor, value in ("a1", "b2")]
    with pytest.raises(UserError, match=r"50 of 100 rows share.*one sensor alone.*--resample 1h"):
        read("\n".join(["time,sensor,value", *rows]))
    assert len(read("\n".join(["time,sensor,value", *rows]), resample="1h").values) == 50


def test_disorder_is_sorted(read: Callable) -> None:
    lines = table().splitlines()
    found = read("\n".join([lines[0], *lines[100:], *lines[1:100]]))
    assert_same(found)
    assert found.notes == ("rows were not in order of time and were sorted",)
    assert found.places[:2].tolist() == [99, 100]


# One sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("<!DOCTYPE html><html><body>404</body></html>", "web page"),
        ("\n<html></html>", "web page"),
        (b"\x00\x01\x02\x00\x00\x05", "not a text file"),
        (gzip.compress(table().encode())[:300], "is damaged"),
        (b"PK\x03\x04 and no archive", "is damaged"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "an Excel workbook: save its sheet as CSV"),
        (b"PAR1" + bytes(90), "a Parquet file"),
        (b"\x28\xb5\x2f\xfd" + bytes(90), "packed by zstd: unpack it"),
        ('[{"time": "2007-01-30", "a": 1}]', "a JSON file"),
        ("Station: Berlin\nMade 2024\n\n" + table(), "header in line 4: delete the lines above"),
        ("Station,Berlin\n" + table().replace(",", ",1,"), "delete lines above the header"),
        ("timestamp\n2007-01-30\n2007-01-31\n", "holds times and nothing else"),
        ("timestamp,value\n", "no rows"),
        ("timestamp,value\n,\n,\n", "no rows"),
        (table() + "yesterday,1\n" * 9, "'yesterday'.*is no time like"),
        (table().replace("2007-01-30 00:00:00", "2007-01-31,1,2,3"), "not a table with ','"),
        ("timestamp,value\n" + "2007-01-30,\n2007-01-31,nan\n" * 2, "no numbers at all"),
        ("timestamp,name\n2007-01-30,a\n2007-01-31,b\n", "no numbers at all in name"),
        (table(HOURS[:2]), "at least 3"),
        (table([HOURS[0]] * 5), "at least 3"),
        (table() + "2034-07-01 06:00:00,1\n", "mostly gaps"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(read: Callable, text: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_an_absent_file_a_folder_and_an_absent_column(read: Callable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        series.read_series(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="cannot be read"):
        series.read_series(tmp_path)
    with pytest.raises(UserError, match="no column 'when'"):
        read(table(), time_column="when")


def test_a_few_faulty_rows_are_left_out_and_counted(read: Callable) -> None:
    lines = [*table().splitlines(), "Total,4800"]
    lines[20] = lines[20].split(",")[0] + ",err"
    found = read("\n".join(lines))
    assert len(found.values) == 240
    assert "rows without a time left out: 1 (first 'Total')" in found.notes
    assert "count as missing: err (1)" in found.notes


@pytest.mark.real
def test_all_series_of_the_corpus_are_read(real_data: Path) -> None:
    files = sorted((real_data / "nab" / "corpus" / "data").glob("*/*.csv"))
    assert len(files) == 58
    for path in files:
        found = series.read_series(path)
        assert found.columns == ("value",)
        rows = np.bincount(found.places, minlength=len(found.values))
        assert (np.isnan(found.values[:, 0]) == (rows == 0)).all()


# Windows


@given(
    rows=st.integers(1, 30), window=st.integers(1, 30), first=st.integers(0, 10), last=st.integers()
)
def test_windows_are_the_slices_of_their_part_alone(
    rows: int, window: int, first: int, last: int
) -> None:
    values = torch.arange(float(rows))
    last = max(first, last % (rows + 1))
    part = values[first:last]
    if window > len(part):
        with pytest.raises(UserError, match=f"a window of {window} rows is longer"):
            series.windows(values, window, first, last)
        return
    cut = series.windows(values, window, first, last)
    expected = [part[i : i + window].tolist() for i in range(len(part) - window + 1)]
    assert cut.tolist() == expected


def test_windows_are_a_view_with_columns_kept() -> None:
    values = torch.arange(20.0).reshape(10, 2)
    cut = series.windows(values, 4, 2)
    assert cut.shape == (5, 2, 4)
    assert cut[0, 1].tolist() == [5.0, 7.0, 9.0, 11.0]
    assert cut.data_ptr() == values[2:].data_ptr()


@pytest.mark.parametrize(("seconds", "text"), [
    (300, "5 min"), (3600, "1 h"), (86400, "1 day"), (604800, "7 days"), (60.2, "60.2 s"),
    (0.02, "20 ms"), (5400, "1.5 h"), (42_070_000, "486.9 days"),
])  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds * 1e9) == text


def test_grouped_digits_are_read_from_the_strings_that_arrow_keeps():
    pytest.importorskip("pyarrow")  # where it is installed, pandas keeps text in it
    text = pd.Series(["1’234,5", "2 000", "x"], dtype="string[pyarrow]")
    assert np.array_equal(parse_numbers(text, comma=True), [1234.5, 2000, np.nan], equal_nan=True)
