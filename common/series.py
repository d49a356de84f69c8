"""Regularly spaced time series: a CSV file becomes a checked table, and windows of its rows.

Every fault of the file is either one clear sentence (UserError) or a count in the series' notes:
a missing row becomes a row of NaN, never a silent shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

MISSING = {"", "na", "nan", "null", "none", "n/a", "-"}
MAX_GROWTH = 10  # gaps may lengthen a series at most so many times


@dataclass(frozen=True)
class Series:
    """Rows at equal distances in time."""

    times: "pd.DatetimeIndex"  # (rows,), one `spacing` apart
    values: np.ndarray  # (rows, columns) float64, NaN where there is none
    columns: tuple[str, ...]
    spacing: "pd.Timedelta"
    notes: tuple[str, ...] = ()  # what was found and mended, for the reader

    def column(self, name: str) -> np.ndarray:
        """One column, (rows,)."""
        return self.values[:, self.columns.index(name)]


def read_table(
    path: Path, columns: Sequence[str], *, separator: str = ",", decimal: str = "."
) -> "pd.DataFrame":
    """The named columns of a CSV file as text, rows that are empty throughout left out.

    Raises:
        UserError: no file, empty, a web page, not text, wrong separator, a missing column.
    """
    import pandas as pd

    check_text_file(path)
    try:
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: save it as a CSV file in UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} holds no table: a header and rows were expected") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise UserError(f"{path} is not a table separated by {separator!r}: {reason}") from error
    table.columns = [str(name).strip() for name in table.columns]
    absent = [name for name in columns if name not in table.columns]
    if absent:
        others = [other for other in ",;\t|" if other != separator]
        header = separator.join(table.columns)
        if len(table.columns) == 1 and (found := [other for other in others if other in header]):
            raise UserError(
                f"{path} separates its fields by {found[0]!r} where {separator!r} was expected: "
                f"save it with {separator!r}"
            )
        raise UserError(
            f"{path} has no column {absent[0]!r}; it has {', '.join(map(repr, table.columns[:8]))}"
        )
    table = table[list(columns)].apply(lambda column: column.fillna("").str.strip())
    table = table[(table != "").any(axis=1)].reset_index(drop=True)
    if table.empty:
        raise UserError(f"{path} holds a header and no rows")
    return table


def check_text_file(path: Path) -> None:
    """Raise UserError if `path` cannot be a CSV file: absent, a folder, empty, HTML, binary."""
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: check the name") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if not start.strip():
        raise UserError(f"{path} is empty")
    if b"\0" in start:
        raise UserError(f"{path} is not a text file: a CSV file was expected")
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"{path} is a web page (HTML), not a CSV file: download the raw file")


def numbers(text: "pd.Series", path: Path, *, decimal: str = ".") -> tuple[np.ndarray, str]:
    """A column of text as float64 with NaN where empty, "nan" or infinite; and a note on those.

    Raises:
        UserError: a value that is no number, with its row; no value at all.
    """
    import pandas as pd

    plain = text.str.replace(decimal, ".", regex=False) if decimal != "." else text
    values = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, copy=True)
    empty = text.str.lower().isin(MISSING).to_numpy()
    wrong = np.isnan(values) & ~empty
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{path}: {text.iloc[row]!r} in column {text.name!r} (data row {row + 1}) is no "
            f"number; {int(wrong.sum())} of {len(values)} values are not"
        )
    infinite = np.isinf(values)
    values[infinite] = np.nan
    if np.isnan(values).all():
        raise UserError(f"{path}: column {text.name!r} holds no value at all")
    notes = [f"{int(empty.sum())} empty"] if empty.any() else []
    notes += [f"{int(infinite.sum())} infinite"] if infinite.any() else []
    return values, f"{text.name}: {' and '.join(notes)} values count as missing" if notes else ""


def times(text: "pd.Series", path: Path, *, format: str | None = None) -> "pd.DatetimeIndex":
    """A column of dates as time stamps; those with a zone are given in UTC.

    Raises:
        UserError: a value that is no date, with its row.
    """
    import pandas as pd

    try:
        stamps = pd.to_datetime(text, format=format, errors="coerce", utc=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: column {text.name!r} holds no time stamps ({error})") from error
    wrong = stamps.isna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{path}: {text.iloc[row]!r} in column {text.name!r} (data row {row + 1}) is no time "
            "stamp like '2014-07-01 00:30:00', or not in the format of the first row"
        )
    return pd.DatetimeIndex(stamps.dt.tz_localize(None))


def regular(stamps: "pd.DatetimeIndex", values: Mapping[str, np.ndarray], path: Path) -> Series:
    """Rows in order of time at the spacing that occurs most; gaps become rows of NaN.

    Of rows with one time stamp the first is kept. Raises UserError for fewer than three rows, and
    for time stamps that do not lie on one grid.
    """
    import pandas as pd

    table = pd.DataFrame(dict(values), index=stamps)
    notes = []
    if not table.index.is_monotonic_increasing:
        table = table.sort_index(kind="stable")
        notes.append("rows were not in order of time and were sorted")
    repeated = table.index.duplicated()
    if repeated.any():
        first = table.index[repeated][0]
        notes.append(f"{repeated.sum()} repeated time stamps (first {first}): first row kept")
        table = table[~repeated]
    if len(table) < 3:
        raise UserError(f"{path} holds {len(table)} distinct time stamps: at least 3 are needed")
    steps = np.diff(table.index.to_numpy())
    sizes, counts = np.unique(steps, return_counts=True)
    spacing = pd.Timedelta(sizes[counts.argmax()])
    off = (steps % spacing.to_timedelta64()) != np.timedelta64(0, "ns")
    if off.any():
        where = int(off.argmax())
        raise UserError(
            f"{path} is not regularly spaced: most rows are {spacing} apart, but {off.sum()} steps "
            f"are no multiple of that (first {table.index[where]} to {table.index[where + 1]}); "
            "resample it to one spacing first"
        )
    rows = int((table.index[-1] - table.index[0]) / spacing) + 1
    if rows > MAX_GROWTH * len(table):
        raise UserError(
            f"{path} would be mostly gaps: {len(table)} rows {spacing} apart span {rows} places "
            f"({table.index[0]} to {table.index[-1]}); check its dates"
        )
    grid = pd.date_range(table.index[0], periods=rows, freq=spacing)
    if rows > len(table):
        holes = int((steps > spacing.to_timedelta64()).sum())
        notes.append(f"{rows - len(table)} missing rows in {holes} gaps count as missing values")
    values_on_grid = table.reindex(grid).to_numpy(np.float64)
    return Series(grid, values_on_grid, tuple(table.columns), spacing, tuple(notes))


def read_series(path: Path, time_column: str, value_columns: Sequence[str]) -> Series:
    """A CSV file with a column of time stamps and columns of numbers, comma-separated.

    Raises:
        UserError: see `read_table`, `times`, `numbers` and `regular`.
    """
    table = read_table(path, [time_column, *value_columns])
    values, notes = {}, []
    for name in value_columns:
        values[name], note = numbers(table[name], path)
        notes += [note] if note else []
    series = regular(times(table[time_column], path), values, path)
    return Series(
        series.times, series.values, series.columns, series.spacing, (*notes, *series.notes)
    )


def windows(values: "Tensor", window: int, first: int = 0, last: int | None = None) -> "Tensor":
    """All windows of `window` rows that lie wholly in rows `first` to `last` (exclusive).

    values: (rows,) or (rows, columns); returns a view, (count, window) or (count, columns, window),
    without copying: give it the rows of one split and no window crosses to another.

    Raises:
        UserError: the window is longer than the rows.
    """
    part = values[first:last]
    if window > len(part):
        raise UserError(
            f"a window of {window} rows is longer than a part of the series ({len(part)} rows): "
            "lower --window, or give a longer series"
        )
    return part.unfold(0, window, 1)
