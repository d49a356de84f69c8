"""The time stamps of a table, in whatever form: their instants, and the text of its rows and more.

Stamps of the file go out as they came in; those that it lacks, gaps and the future, as ISO 8601.
"""

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.settings import UserError

if TYPE_CHECKING:
    import pandas as pd

Dates = Literal["auto", "day-first", "month-first", "year-first"]

SECOND = 10**9  # instants are whole nanoseconds since 1970
DAY = 86400 * SECOND
UNITS = {"day": DAY, "h": 3600 * SECOND, "min": 60 * SECOND, "s": SECOND, "ms": 10**6}
FEW = 0.01  # of the rows may have no readable time and are then left out
PARTS = ("year", "month", "day", "hour", "minute", "second")
WORDS = (
    r"(?i)(^|[^a-z])(t|ds|ts|epoch|unix|unixtime|"
    r"(date|time|stamp|datetime|timestamp|zeit|datum|fecha)s?)([^a-z]|$)"
)
HOUR = r"(?i)(^|[^a-z])(hr|hours?|stunde|hora|heure|ora|uur)([^a-z]|$)"
DATE = (
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d\d)(?!\d)|\d{4}-\d\d?$|"
    r"\d{8}T\d|\d{1,2}[- ][A-Za-z]{3}|[A-Za-z]{3,9},? \d|"
    r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])?$)"
)
CLOCK = r"\d{1,2}([:.]\d{2}){0,2}(\.\d+)?(\s*[AaPp][Mm])?$"
DOTTED_CLOCK = r"(?<=\s)\d{1,2}\.\d{2}(?:\.\d{2})?$"  # 18.00.00
MIDNIGHT = r"(?<![\d:.])24(?=:00(?::00)?$)"  # of the day that ends
NUMERIC_DATE = r"^(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4}|\d{2})(?!\d)(.*)$"
ORDERS = {"day": (0, 2, 3), "month": (2, 0, 3), "year": (3, 2, 0)}  # its day, month and year
ZONE = r"^(.*\d(?:[:.]|T\d)\d.*?)(\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))$"
EPOCHS = {"seconds": SECOND, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
SERIALS = (20_000, 80_000)  # days since 1900, as spreadsheets count: 1954 to 2119


@dataclass(frozen=True)
class Times:
    """The times of a table's rows."""

    text: "pd.DataFrame"  # (rows, time columns) as they stand in the file
    when: np.ndarray  # (rows,) int64 nanoseconds since 1970; a row's number counts as seconds
    zone: str = ""  # of the first row: "+01:00", "Z" or none
    unit: int = 0  # nanoseconds of 1, where the column holds numbers; 0 where it holds text
    numbered: bool = False  # the rows have numbers and no times

    def wall(self, when: np.ndarray) -> "pd.DatetimeIndex":
        """What a clock in the zone of the first row shows at these instants."""
        import pandas as pd

        return pd.DatetimeIndex(when + offset_of(self.zone))

    def instants(self, wall: "pd.DatetimeIndex") -> np.ndarray:
        """The instants, (count,), at which a clock in the zone of the first row shows this."""
        return wall.to_numpy("datetime64[ns]").astype(np.int64) - offset_of(self.zone)

    def repeated_by(self, column: "pd.Series") -> bool:
        """Whether a column of text repeats the time: digits, since 1970, or one of PARTS."""
        numbers, name = as_numbers(column), letters(column.name)
        if self.numbered or not np.isfinite(numbers).all():
            return False
        if name in PARTS and (numbers == getattr(self.wall(self.when), name)).all():
            return True
        if not 1e5 < numbers.median() < 1e19:  # the year and month 190001 to nanoseconds
            return False
        other = from_numbers(column.to_frame(), numbers, [])
        return not other.numbered and bool((np.abs(other.when - self.when) <= DAY).all())

    def write(self, when: np.ndarray) -> "pd.DataFrame":
        """Instants that the file lacks, (count,), as text for its time columns.

        ISO 8601 in the zone of the first row; numbers where the file has numbers.
        """
        import pandas as pd

        wall, names, columns = self.wall(when), list(self.text.columns), {}
        date, clock = "%Y-%m-%d", "%H:%M:%S.%f" if (when % SECOND).any() else "%H:%M:%S"
        forms = iter([date, clock] if len(names) > 1 else [f"{date} {clock}"])
        for name in names:
            is_digits = self.text[name].iloc[0].isdigit()
            if self.unit:
                numbers = (f"{number:.6f}" for number in when / self.unit)
                columns[name] = [number.rstrip("0").rstrip(".") for number in numbers]
            elif letters(name) in PARTS and is_digits:
                columns[name] = getattr(wall, letters(name)).astype(str)
            else:
                columns[name] = wall.strftime(next(forms, "")) + self.zone * (name == names[-1])
        return pd.DataFrame(columns)

    def stamps(self, when: np.ndarray, places: np.ndarray) -> "pd.DataFrame":
        """The text of each row of a grid of instants: the file's own where it has the row.

        Args:
            when: (grid rows,)
            places: (rows,) the grid's row that each of the file's rows went to.
        """
        text = self.text.set_axis(places)
        frame = text[~text.index.duplicated()].reindex(range(len(when)))  # the first of several
        gaps = frame.iloc[:, 0].isna().to_numpy()
        if gaps.any():
            frame[gaps] = self.write(when[gaps]).to_numpy()
        return frame


def find_times(
    table: "pd.DataFrame", column: str, dates: Dates, where: str, notes: list[str]
) -> tuple[Times, np.ndarray]:
    """The times of a table's rows, and which rows have one, (rows,) bool: the others are left out.

    Args:
        table: text, (rows, columns).
        column: empty = recognised; `none` = the rows are numbered; or names joined by commas.
        notes: what was assumed is added to them.

    Raises:
        UserError: no such column, no times in it, a date that fits two ways.
    """
    import pandas as pd

    names = [column] if column in table.columns else [n.strip() for n in column.split(",")]
    if column in ("", "none"):
        names = guess_columns(table, notes) if not column else []
    if absent := [name for name in names if name not in table.columns]:
        raise UserError(
            f"{where} has no column {absent[0]!r}; it has {', '.join(map(repr, table.columns))}"
        )
    if not names:
        if not column:
            notes.append("no column of times: the rows are numbered (--time-column names one)")
        count = np.arange(len(table))
        text = pd.DataFrame({"row": count.astype(str)})
        return Times(text, count * SECOND, unit=SECOND, numbered=True), count >= 0
    text = table[names]
    numbers = as_numbers(text[names[0]])
    is_year = letters(names[0]) == "year"
    if len(names) == 1 and numbers.notna().mean() >= 1 - FEW and not is_year:
        keep = numbers.notna()
        times = from_numbers(text[keep], numbers[keep], notes)
    else:
        stamps, zones = from_text(text, dates, where, notes)
        keep = stamps.notna()
        offsets = np.array([offset_of(zone) for zone in zones[keep]])
        zone = "" if not keep.any() else zones[keep].iloc[0]
        times = Times(text[keep], nanoseconds(stamps[keep]) - offsets, zone)
    if not keep.all():
        lost, first = int((~keep).sum()), int((~keep).to_numpy().argmax())
        example = " ".join(text.iloc[first])
        if lost > FEW * len(table):
            remedy = "correct them, or name another --time-column (none numbers the rows)"
            if re.match(CLOCK, example):
                remedy = "name the column of dates too, --time-column date,time"
            raise UserError(
                f"{where}: {example!r} in column {' and '.join(map(repr, names))} (data row "
                f"{first + 1}) is no time like '2014-07-01 00:30:00', nor are {lost - 1} others: "
                f"{remedy}"
            )
        notes.append(f"rows without a time left out: {lost} (first {example!r})")
    return times, keep.to_numpy()


def nanoseconds(times: "pd.Series") -> np.ndarray:
    """Times without zone as int64 since 1970."""
    return times.to_numpy("datetime64[ns]").astype(np.int64)


def letters(name: str) -> str:
    """`Hour_` -> `hour`."""
    return re.sub(r"[^a-z]", "", name.lower())


def as_numbers(column: "pd.Series") -> "pd.Series":
    """Text as numbers, NaN where it is not one."""
    import pandas as pd

    return pd.to_numeric(column.str.replace(",", "."), errors="coerce")


def guess_columns(table: "pd.DataFrame", notes: list[str]) -> list[str]:
    """The columns that hold the time: a date, a date and a clock, or year, month, day, ..."""
    by_name = {letters(name): name for name in table.columns}
    if all(part in by_name for part in PARTS[:3]):
        return [by_name[part] for part in PARTS if part in by_name]
    head = table.head(50)
    named = [name for name in table.columns if re.search(WORDS, name)]
    clocks = [n for n in table.columns if head[n].str.match(CLOCK).mean() > 0.8]
    clocks = [n for n in clocks if "dat" not in n.lower()]  # 30.01.07
    dated = [n for n in table.columns if n not in clocks and head[n].str.match(DATE).mean() > 0.8]
    dated = [n for n in dated if not head[n].iloc[0].isdigit() or table[n].nunique() > 2]
    dated.sort(key=lambda name: name not in named)
    if dated:
        if len(dated) > 1:
            notes.append(f"times are those of {dated[0]!r} (--time-column names another)")
        is_repeated = table[dated[0]].duplicated().mean() > 0.1  # a day has rows for its hours
        hours = [n for n in clocks if is_repeated and not as_numbers(table[n]).max() > 24]
        hours = [n for n in hours if n in named or re.search(HOUR, n)]
        clocks = [n for n in clocks if n in hours or head[n].str.contains(":").all()]
        has_clock = head[dated[0]].str.contains(r"\d[T ]\s*\d+[:.]\d").any()
        return dated[:1] if has_clock else [dated[0], *clocks[:1]]
    for name in [*named, *table.columns]:
        values = as_numbers(table[name])
        steps = values.diff().dropna()
        is_ordered = max((steps >= 0).mean(), (steps <= 0).mean()) > 0.9  # the newest may be first
        is_likely = name in named or (name == table.columns[0] and 1e8 < values.median() < 1e19)
        if is_ordered and values.notna().mean() > 0.9 and (is_likely or is_epoch(values, steps)):
            return [name]
    if "year" in by_name and table[by_name["year"]].str.fullmatch(r"\d{4}").mean() > 0.9:
        return [by_name[part] for part in PARTS[:2] if part in by_name]
    words = [n for n in named if len(letters(n)) > 2 and n not in clocks]
    return [n for n in words if as_numbers(table[n]).notna().mean() < 0.5][:1]


def is_epoch(values: "pd.Series", steps: "pd.Series") -> bool:
    """Whether numbers are likely to count from 1970: of this age, and mostly at equal steps."""
    sizes = (values.median() * unit / SECOND for unit in EPOCHS.values())
    is_recent = any(9e8 < size < 2.2e9 for size in sizes)  # 1998 to 2039
    return is_recent and bool((steps == steps.mode().iloc[0]).mean() > 0.5)


def from_numbers(text: "pd.DataFrame", values: "pd.Series", notes: list[str]) -> Times:
    """Digits of a date, seconds to nanoseconds since 1970, or counts."""
    import pandas as pd

    column = text.iloc[:, 0]
    digits = len(column.iloc[0])
    if digits in (6, 8, 10, 12, 14) and column.str.fullmatch(rf"(19|20)\d{{{digits - 2}}}").all():
        stamps = pd.to_datetime(column, format="%Y%m%d%H%M%S"[: digits - 2], errors="coerce")
        if stamps.notna().all():
            return Times(text, nanoseconds(stamps))
    middle = values.median()
    if SERIALS[0] < middle < SERIALS[1] and re.search("(?i)dat|fecha", column.name):
        notes.append(f"{column.name!r} counts days since 1900, as spreadsheets do")
        stamps = pd.to_datetime(values, unit="D", origin="1899-12-30").dt.round("s")
        return Times(text, nanoseconds(stamps))
    name = next((n for n, unit in EPOCHS.items() if 1e17 <= middle * unit < 1e20), "")  # from 1973
    unit = EPOCHS.get(name, SECOND)
    if values.dtype == np.int64:
        when = values.to_numpy() * unit
    else:  # to the microsecond: a float holds no more
        when = np.rint(values.to_numpy() * unit / 1000).astype(np.int64) * 1000
    if name:
        notes.append(f"times are {name} since 1970")
    else:
        notes.append(f"{column.name!r} holds no dates: the rows are numbered by it")
    return Times(text, when, unit=unit, numbered=not name)


def from_text(
    text: "pd.DataFrame", dates: Dates, where: str, notes: list[str]
) -> tuple["pd.Series", "pd.Series"]:
    """(rows,) What the clock on the wall showed, NaT where unreadable; (rows,) text of the zone."""
    import pandas as pd

    clocks = [text[name] for name in text.columns[1:]]
    clocks = [c.mask(c.str.fullmatch(r"\d\d?"), c.str.zfill(2) + ":00") for c in clocks]  # hours
    joined = text.iloc[:, 0].str.cat(clocks, sep=" ")
    if joined.head(50).str.contains(DOTTED_CLOCK).any():
        joined = joined.str.replace(DOTTED_CLOCK, lambda m: m[0].replace(".", ":"), regex=True)
    split = joined.str.extract(ZONE)
    has_zone, zones = split[0].notna(), split[1].fillna("")
    joined = joined.mask(has_zone, split[0])
    if letters(text.columns[0]) == "year":
        table = text.rename(columns=letters).filter(PARTS).apply(pd.to_numeric, errors="coerce")
        table = table.assign(**{part: 1 for part in PARTS[1:3] if part not in table})
        return pd.to_datetime(table, errors="coerce"), zones
    is_end = joined.str.contains(MIDNIGHT)  # 24:00 is 00:00 of the next day
    joined = joined.mask(is_end, joined.str.replace(MIDNIGHT, "00", regex=True))
    parts = joined.str.extract(NUMERIC_DATE)
    numeric = parts[0].notna()
    if numeric.mean() > 0.5:
        order = date_order(parts[numeric], dates, where, notes)
        joined = joined.mask(numeric, iso(parts, order))
    return parse(joined) + pd.to_timedelta(is_end.astype(int), unit="D"), zones


def parse(text: "pd.Series") -> "pd.Series":
    """pandas' reading of times, NaT where it cannot; the odd one out is read by itself."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = pd.to_datetime(text, errors="coerce", utc=True)
        left = times.isna()
        if 0 < left.mean() < 0.9:
            rest = pd.to_datetime(text[left], errors="coerce", format="mixed", utc=True)
            times = times.where(~left, rest)
    times = times.dt.tz_localize(None)
    return times.where(times.between(pd.Timestamp.min, pd.Timestamp.max))  # of nanoseconds


def iso(parts: "pd.DataFrame", order: str) -> "pd.Series":
    """The groups of NUMERIC_DATE as 2004-03-10 and what follows; years to 68 are of 2000."""
    day, month, year = (parts[place] for place in ORDERS[order])
    century = (year <= "68").map({True: "20", False: "19"})
    year = year.where(year.str.len() == 4, other=century + year)
    return year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + parts[4]


def date_order(parts: "pd.DataFrame", dates: Dates, where: str, notes: list[str]) -> str:
    """What comes first in 01/02/2007, of ORDERS: by numbers above 12, else by regular steps.

    Raises:
        UserError: several orders fit, or none.
    """
    if dates != "auto":
        return dates.removesuffix("-first")
    most = parts[[0, 2, 3]].astype(int).max()
    fits = [name for name, (d, m, _) in ORDERS.items() if most[d] <= 31 and most[m] <= 12]
    if (parts[1] == ".").any() or (parts[0].str.len() < 2).any():  # no way to begin with a year
        fits = [name for name in fits if name != "year"]
    if not fits:
        raise UserError(
            f"{where}: dates stand day first in some rows and month first in others: "
            "write all of them as 2007-01-31"
        )
    # In the wrong order days turn back where a month ends.
    read = {name: parse(iso(parts, name)) for name in fits}
    fits = [name for name in fits if is_orderly(read[name])] or fits
    if len(fits) == 1:
        notes.append(f"dates are taken as {fits[0]} first")
        return fits[0]
    # Or a month's days lie a month apart: the rows no longer fill their time.
    *_, other, first = sorted(fits, key=lambda name: density(read[name]))
    if density(read[first]) < 2 * density(read[other]):
        example = "".join(parts.iloc[-1, [0, 1, 2, 1, 3]])
        raise UserError(
            f"{where}: dates like {example} fit both orders: add "
            + " or ".join(f"--dates {name}-first" for name in fits)
        )
    notes.append(
        f"dates are taken as {first} first, because the steps are regular so "
        f"(--dates {other}-first changes it)"
    )
    return first


def is_orderly(times: "pd.Series") -> bool:
    """Whether nearly all steps go the same way, to later or to earlier times."""
    steps = times.diff().dropna().dt.total_seconds()
    return bool(min((steps < 0).mean(), (steps > 0).mean()) <= FEW)


def density(times: "pd.Series") -> float:
    """How much of the time from first to last the rows fill; 0 where a date is impossible."""
    if times.isna().any():
        return 0.0
    when = np.sort(nanoseconds(times))
    return len(when) / ((when[-1] - when[0]) / usual_step(when) + 1)


def usual_step(when: np.ndarray) -> int:
    """The spacing of most sorted instants, else their median spacing, rounded if nearly round."""
    steps = np.diff(when)
    steps = steps[steps > 0]
    if not len(steps):
        return SECOND
    sizes, counts = np.unique(steps, return_counts=True)
    if counts.max() >= 0.5 * len(steps):
        return int(sizes[counts.argmax()])
    middle = float(np.median(steps))
    whole = (round(middle / unit) * unit for unit in UNITS.values())
    return next((w for w in whole if w and abs(w - middle) <= 0.02 * middle), int(middle))


def offset_of(zone: str) -> int:
    """`+01:00` -> nanoseconds."""
    match = re.search(r"([+-])(\d{2}):?(\d{2})?$", zone)
    if not match:
        return 0
    seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60
    return (-seconds if match[1] == "-" else seconds) * SECOND


def duration(nanoseconds: float) -> str:
    """`5 min`, `1 h`, `60.2 s`: in the largest unit that shows it."""
    for name, unit in UNITS.items():
        amount = nanoseconds / unit
        if 1 <= abs(amount) < 10_000 and (amount * 10).is_integer():
            return f"{amount:g} {name}{'s' if name == 'day' and amount != 1 else ''}"
    unit, name = (DAY, "days") if nanoseconds > 2 * DAY else (SECOND, "s")
    return f"{nanoseconds / unit:.4g} {name}"
