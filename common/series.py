"""A user's table of numbers -> a regular series: rows at equal distances in time, gaps as NaN.

What can be recognised in a file is read, and a note says what was assumed and which flag changes
it; what fits two ways ends in one sentence (UserError) that names the flag.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.settings import UserError
from common.tables import read_bytes, read_numbers, read_table, title
from common.times import FEW, SECOND, UNITS, Dates, Times, duration, find_times, usual_step

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

SNAP = 0.25  # up to this part of the spacing off the grid a row is jitter; beyond it is odd
SHARED = 0.1  # of the rows may share their time with another and are then averaged
MONTH = 2_629_746 * SECOND  # a twelfth of 365.2425 days
MAX_GROWTH = 10  # gaps may lengthen a series at most so many times


@dataclass(frozen=True)
class Series:
    """Rows at equal distances in time; `dataclasses.replace` changes the values of one."""

    values: np.ndarray  # (rows, columns) float64, NaN where there is none
    columns: tuple[str, ...]
    instants: np.ndarray  # (rows,) int64 nanoseconds since 1970; where rows have numbers, those
    step: int  # nanoseconds from row to row; the mean where these are months
    source: Times  # the times of the file's rows
    places: np.ndarray  # (rows of the file,) the row of the series that each became part of
    averaged: bool  # the file was resampled: its own time stamps are not those of the rows
    notes: tuple[str, ...] = ()  # what was assumed, repaired or counted
    checksum: str = ""  # sha256 of the bytes read
    calendar: "pd.DateOffset | None" = None  # from row to row, where that is months

    @property
    def times(self) -> "pd.DatetimeIndex | pd.RangeIndex":
        """(rows,) times on the clock of the file's first row, without zone; or numbers from 0."""
        import pandas as pd

        numbered = self.source.numbered
        return pd.RangeIndex(len(self.values)) if numbered else self.source.wall(self.instants)

    @property
    def spacing(self) -> "pd.Timedelta | None":
        """Time from row to row; None where the rows have numbers and no times."""
        import pandas as pd

        return None if self.source.numbered else pd.Timedelta(self.step, "ns")

    @property
    def stamps(self) -> "pd.DataFrame":
        """Text for the file's time columns, (rows, columns): its own where it has the row."""
        if self.averaged:
            return self.source.write(self.instants)
        return self.source.stamps(self.instants, self.places)

    def next_instants(self, count: int) -> np.ndarray:
        """The `count` instants after the last, (count,)."""
        import pandas as pd

        if self.calendar is None:
            return self.instants[-1] + self.step * np.arange(1, count + 1)
        wall = pd.date_range(self.times[-1], periods=count + 1, freq=self.calendar)
        return self.source.instants(wall[1:])

    def next_stamps(self, count: int) -> "pd.DataFrame":
        """The `count` times after the last as text, in the time columns of the file."""
        return self.source.write(self.next_instants(count))

    def column(self, name: str) -> np.ndarray:
        """One column, (rows,)."""
        return self.values[:, self.columns.index(name)]

    def rows_in(self, hours: float) -> int:
        """The rows of so many hours, at least 1; where rows have no time, an hour is a row."""
        spacing = 3600 * SECOND if self.source.numbered else self.step
        return max(1, round(hours * 3600 * SECOND / spacing))


def read_series(
    source: Path | str,
    *,
    time_column: str = "",
    columns: Sequence[str] = (),
    resample: str = "",
    dates: Dates = "auto",
    missing: str = "auto",
) -> Series:
    """A user's table as a regular series.

    Args:
        source: a file, a pipe or `-` for standard input, packed or not.
        time_column: empty = recognised; `none` = the rows are numbered; or names joined by commas.
        columns: those of the values; empty = all that hold numbers.
        resample: empty = the file's own spacing; `5min`, `1h`, ... = means over so long; `none` =
            the rows in the file's order, as if they were regular.
        dates: which number of 01/02/2007 is the day; `auto` decides over the whole column.
        missing: numbers that stand for a missing value; `auto` = the usual ones; `none`.

    Raises:
        UserError: unreadable, no numbers, no such column, a date that fits two ways, fewer than
            three rows, mostly gaps.
    """
    data, where = read_bytes(source), title(source)
    table, separator, notes = read_table(source, data)
    times, kept = find_times(table, time_column, dates, where, notes)
    table = table[kept].drop(columns=times.text.columns, errors="ignore").reset_index(drop=True)
    if again := [name for name in table.columns if not columns and times.repeated_by(table[name])]:
        notes.append(f"columns that repeat the time left out: {', '.join(again)}")
        table = table.drop(columns=again)
    values, names = read_numbers(table, separator, columns, missing, where, notes)
    instants, step, places, calendar = regular(times, where, resample, notes)
    averaged = resample not in ("", "none")
    digest = hashlib.sha256(data).hexdigest()
    values = means(values, places, len(instants))
    return Series(
        values, names, instants, step, times, places, averaged, tuple(notes), digest, calendar
    )  # fmt: skip


def regular(
    times: Times, where: str, resample: str, notes: list[str]
) -> tuple[np.ndarray, int, np.ndarray, "pd.DateOffset | None"]:
    """A grid for a file's rows: its instants (rows,), its step, the place of each file's row, and
    the calendar's step where that is months.

    Raises:
        UserError: fewer than three different times, many rows at the same time, mostly gaps, a
            `resample` that is no time.
    """
    when = np.sort(times.when)
    if (when != times.when).any() and resample != "none":
        notes.append("rows were not in order of time and were sorted")
    different = len(np.unique(when))
    if different < 3:
        raise UserError(f"{where} holds {different} different times: at least 3 are needed")
    if resample == "none":
        return times.when, usual_step(when), np.arange(len(when)), None
    repeated = len(when) - different
    if not resample and repeated > SHARED * len(when):
        raise UserError(
            f"{where}: {repeated:,} of {len(when):,} rows share their time with another: name all "
            "columns of the time (--time-column Date,Hour), give the rows of one sensor alone, or "
            f"average them (--resample {duration(usual_step(when)).replace(' ', '')})"
        )
    calendar, grid = (None, when) if resample else by_months(times, when)
    if resample:
        if times.numbered:
            raise UserError(f"--resample {resample} needs times, and {where} has none")
        step = parse_step(resample)
        first = int(when[0] // step * step)
        places = (times.when - first) // step
    elif calendar is not None:
        step, places = round(usual_step(when) / MONTH) * MONTH, np.searchsorted(grid, times.when)
    else:
        first, step, places = spread(times.when, when, notes)
    rows = int(places.max()) + 1
    if rows > MAX_GROWTH * len(when):
        raise UserError(
            f"{where} would be mostly gaps: {len(when)} rows, {duration(step)} apart, span {rows} "
            "places: check its first and last time, or set --resample to a longer time"
        )
    taken = np.unique(places)
    shared = len(places) - len(taken)
    if resample:
        notes.append(f"{len(when):,} rows became {rows:,} means over {duration(step)}")
    elif shared:
        notes.append(f"rows that share their time or place with another: {shared}, averaged")
    if rows > len(taken):
        holes = int((np.diff(taken) > 1).sum())
        notes.append(f"missing rows: {rows - len(taken):,} in {holes} gaps")
    instants = first + step * np.arange(rows) if calendar is None else grid
    return instants, step, places, calendar


def by_months(times: Times, when: np.ndarray) -> tuple["pd.DateOffset | None", np.ndarray]:
    """The months from row to row and the grid of them, (rows,) instants; None where it fails."""
    import pandas as pd

    if not times.numbered and (months := round(usual_step(when) / MONTH)):
        wall = times.wall(when)
        at_ends = wall.is_month_end.all()
        step = pd.offsets.MonthEnd(months) if at_ends else pd.DateOffset(months=months)
        grid = times.instants(pd.date_range(wall[0], wall[-1], freq=step))
        if np.isin(when, grid).all():
            return step, grid
    return None, when


def spread(unsorted: np.ndarray, when: np.ndarray, notes: list[str]) -> tuple[int, int, np.ndarray]:
    """First instant and step of the grid that suits most rows, and each row's place in it.

    A few rows off the grid go to the nearest place. Steps that vary a little all the time (months,
    a logger that waits a minute after each row) count as one each. The others are irregular and
    are averaged.
    """
    step = usual_step(when)

    def nearest(first: int) -> tuple[np.ndarray, np.ndarray]:
        places = np.rint((unsorted - first) / step).astype(np.int64)
        return places, np.abs(unsorted - first - places * step)

    first = int(when[0])
    places = nearest(first)[0]
    first += int(np.median(unsorted - first - places * step))
    off = nearest(first)[1]
    odd = int((off > SNAP * step).sum())
    ratios = np.diff(when) / step
    if odd > FEW * len(when) and (np.abs(ratios - np.rint(ratios)) <= SNAP).all():
        counted = np.concatenate([[0], np.cumsum(np.rint(ratios).astype(np.int64))])
        step = int((when[-1] - when[0]) // counted[-1])
        notes.append(f"rows about {duration(step)} apart count as one step each")
        return int(when[0]), step, counted[np.searchsorted(when, unsorted)]
    if off.any():
        limit = off[off <= SNAP * step].max()
        whole = [round(first / unit) * unit for unit in UNITS.values()]
        first = next((at for at in whole if abs(at - first) <= limit), first)
        places, off = nearest(first)
        if odd > FEW * len(when):
            low, high = np.percentile(np.diff(when), [5, 95])
            notes.append(
                f"rows are mostly {duration(low)} to {duration(high)} apart: averaged to one row "
                f"every {duration(step)} (--resample chooses another time)"
            )
        elif odd:
            where = int((off > SNAP * step).argmax())
            notes.append(
                f"rows off the grid of {duration(step)}: {odd} (first data row {where + 1}), moved "
                "to the nearest place"
            )
        else:
            notes.append(
                f"times up to {duration(limit)} off the grid of {duration(step)} were moved to it"
            )
    least = places.min()
    return first + int(least) * step, step, places - least


def parse_step(text: str) -> int:
    """`5min`, `1h`, `h`, `1D` as nanoseconds.

    Raises:
        UserError: anything else.
    """
    import pandas as pd

    try:
        number = "" if text[0].isdigit() else "1"
        step = pd.Timedelta(number + text).value if not text.isdigit() else 0
    except ValueError:
        step = 0
    if step <= 0:
        raise UserError(f"--resample {text} is no length of time: write it like 5min, 1h or 1D")
    return step


def means(values: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray:
    """The mean of the values at each place, (rows, columns); NaN where there is none."""
    import pandas as pd

    if len(np.unique(places)) == len(places):
        grid = np.full((rows, values.shape[1]), np.nan)
        grid[places] = values
        return grid
    return pd.DataFrame(values).groupby(places).mean().reindex(range(rows)).to_numpy()


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
