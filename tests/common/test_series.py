"""Regular series: every fault of a file is one sentence or a count; windows are views."""

from pathlib import Path

from common import series
from common.errors import UserError

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

ROWS = [f"2014-07-01 0{hour}:{minute}:00,{hour}.5" for hour in range(6) for minute in ("00", "30")]


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "series.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def csv(rows: list[str], header: str = "timestamp,value") -> str:
    return "\n".join([header, *rows]) + "\n"


def read(path: Path) -> series.Series:
    return series.read_series(path, "timestamp", ["value"])


def test_a_regular_file_is_read_as_it_is(tmp_path: Path) -> None:
    found = read(write(tmp_path, csv(ROWS)))
    assert found.spacing == pd.Timedelta(minutes=30)
    assert found.values[:, 0].tolist() == [hour + 0.5 for hour in range(6) for _ in range(2)]
    assert str(found.times[3]) == "2014-07-01 01:30:00"
    assert found.notes == ()


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + csv(ROWS).replace("\n", "\r\n").encode()
    assert read(write(tmp_path, text)).notes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("<!DOCTYPE html><html><body>404</body></html>", "web page"),
        ("\n<html></html>", "web page"),
        (b"\x00\x01\x02\x03", "not a text file"),
        (b"timestamp,value\n2014-07-01,\xff\xfe\n", "UTF-8"),
        (csv(ROWS).replace(",", ";"), "separates its fields by ';'"),
        (csv(ROWS).replace(",", "\t"), r"separates its fields by '\\t'"),
        (csv(ROWS, header="timestamp,rides"), "no column 'value'; it has 'timestamp', 'rides'"),
        (csv([]), "no rows"),
        (csv([",", ","]), "no rows"),
        (csv([*ROWS, "2014-07-01 06:00:00,many"]), "'many'.*is no number"),
        (csv([*ROWS, "2014-07-01 06:00:00,1,2,3"]), "not a table separated"),
        (csv([*ROWS, "yesterday,1"]), "'yesterday'.*is no time stamp"),
        (csv([row.rsplit(",", 1)[0] + "," for row in ROWS]), "no value at all"),
        (csv([row.rsplit(",", 1)[0] + ",nan" for row in ROWS]), "no value at all"),
        (csv(ROWS[:2]), "at least 3"),
        (csv([ROWS[0]] * 5), "at least 3"),
        (csv([*ROWS, "2014-07-01 06:07:00,1"]), "not regularly spaced"),
        (csv([*ROWS, "2034-07-01 06:00:00,1"]), "mostly gaps"),
    ],
)
def test_what_cannot_be_mended_is_one_sentence(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)


def test_gaps_become_missing_rows(tmp_path: Path) -> None:
    found = read(write(tmp_path, csv(ROWS[:4] + ROWS[6:9] + ROWS[10:])))
    assert len(found.times) == len(ROWS)
    assert np.flatnonzero(np.isnan(found.values[:, 0])).tolist() == [4, 5, 9]
    assert found.notes == ("3 missing rows in 2 gaps count as missing values",)


def test_duplicates_and_disorder_are_mended_and_counted(tmp_path: Path) -> None:
    repeated = ROWS[2].split(",")[0] + ",99"
    found = read(write(tmp_path, csv([*ROWS[3:], *ROWS[:3], repeated])))
    assert found.values[:, 0].tolist() == [hour + 0.5 for hour in range(6) for _ in range(2)]
    assert "sorted" in found.notes[0]
    assert "1 repeated time stamps (first 2014-07-01 01:00:00)" in found.notes[1]


def test_missing_and_infinite_values_are_counted(tmp_path: Path) -> None:
    rows = [*ROWS[:3], "2014-07-01 01:30:00,NaN", "2014-07-01 02:00:00,-inf", *ROWS[5:]]
    found = read(write(tmp_path, csv(rows)))
    assert np.flatnonzero(np.isnan(found.values[:, 0])).tolist() == [3, 4]
    assert found.notes == ("value: 1 empty and 1 infinite values count as missing",)


def test_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path, "Date;Time;CO;\n10/03/2004;18.00.00;2,6;\n10/03/2004;19.00.00;-200;\n")
    table = series.read_table(path, ["Date", "Time", "CO"], separator=";")
    values, note = series.numbers(table["CO"], path, decimal=",")
    assert values.tolist() == [2.6, -200.0]
    assert note == ""
    stamps = series.times(table["Date"] + " " + table["Time"], path, format="%d/%m/%Y %H.%M.%S")
    assert str(stamps[0]) == "2004-03-10 18:00:00"


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
    found = series.windows(values, window, first, last)
    wanted = [part[i : i + window].tolist() for i in range(len(part) - window + 1)]
    assert found.tolist() == wanted


def test_windows_are_a_view_with_columns_kept() -> None:
    values = torch.arange(20.0).reshape(10, 2)
    found = series.windows(values, 4, 2)
    assert found.shape == (5, 2, 4)
    assert found[0, 1].tolist() == [5.0, 7.0, 9.0, 11.0]
    assert found.data_ptr() == values[2:].data_ptr()
