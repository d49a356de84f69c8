"""UCI Air Quality, or any regular table: a file -> a series -> windows of tensors; and the sample.

A road in an Italian town, 9,357 hours from 10 March 2004, 13 variables: five reference analysers
(GT), five metal-oxide sensors (PT08) and the weather. -200 stands for a missing value. Missing
inputs carry the last observed value forward and never look ahead; missing targets are neither
trained on nor scored.

Splits are chronological and a window lies wholly in its split, inputs and target alike.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from common.batches import Loader, tensor_loader
from common.downloads import DataSet, RemoteFile, Source, obtain
from common.series import Series, read_series, windows
from common.settings import UserError
from common.tables import plain, title

if TYPE_CHECKING:
    import pandas as pd

UNITS = {
    "CO(GT)": "mg/m³",
    "PT08.S1(CO)": "sensor units",
    "NMHC(GT)": "µg/m³",
    "C6H6(GT)": "µg/m³",
    "PT08.S2(NMHC)": "sensor units",
    "NOx(GT)": "ppb",
    "PT08.S3(NOx)": "sensor units",
    "NO2(GT)": "µg/m³",
    "PT08.S4(NO2)": "sensor units",
    "PT08.S5(O3)": "sensor units",
    "T": "°C",
    "RH": "%",
    "AH": "g/m³",
}
FEATURES = tuple(UNITS)
OTHER_NAMES = {"T": {"temperature", "temp"}, "RH": {"relativehumidity"}, "AH": {"absolutehumidity"}}
RECOGNISED = 8  # of these columns in a table: it is one of this station's
CALENDAR = 7  # columns of `calendar`
TEST_FRACTION = 0.2  # of all rows, the last ones
CALIBRATION_FRACTION = 0.2  # of the rows before them, the last ones, where quantiles are asked for
VALIDATION_FRACTION = 0.2  # of the rows before these, the last ones
MIN_ROWS = 240  # ten days
FILE = "AirQualityUCI.csv"


# Reading


def read(
    csv: Path | None, data: Literal["auto", "real", "sample"], data_dir: Path | None, **reading: Any
) -> tuple[Source, Series]:
    """The user's own table (`-` is standard input), or the data set; see `load` for `reading`."""
    if csv is None:
        source = obtain(DATASET, data, data_dir)
        return source, load(source.folder / FILE, **reading)
    path = "-" if csv.name == "-" else csv
    series = load(path, **reading)
    return Source(title(path), "real", csv.parent, series.checksum[:16]), series


def load(path: Path | str, names: Sequence[str] = (), **reading: Any) -> Series:
    """A table as a series, with this station's columns in their order if it is one of its tables.

    Args:
        path: a file, or `-`; see `common.series.read_series` for the formats and for `reading`.
        names: the columns that the series shall have; empty = those of the table.

    Raises:
        UserError: no such table, none of the columns in it, no numbers.
    """
    series = read_series(path, **reading)
    is_asked, names = bool(names), tuple(names or FEATURES)
    own = {name: column for name in names if (column := same_column(name, series.columns))}
    if not is_asked and len(own) < RECOGNISED:
        return series
    if not own:
        raise UserError(
            f"{path} has none of the columns {', '.join(names)}; it has {', '.join(series.columns)}"
        )
    absent = np.full(len(series.values), np.nan)
    values = np.column_stack([series.column(own[n]) if n in own else absent for n in names])
    notes = [f"{column} is taken for {name}" for name, column in own.items() if column != name]
    if lacking := [name for name in names if name not in own]:
        notes.append(f"columns that are not there count as missing: {', '.join(lacking)}")
    if extra := [column for column in series.columns if column not in own.values()]:
        notes.append(f"columns that are not used: {', '.join(extra)}")
    notes = (*series.notes, *notes)
    return dataclasses.replace(series, values=values, columns=names, notes=notes)


def same_column(name: str, columns: Sequence[str]) -> str:
    """The column that a name means, "" if there is none: NOx_GT, nox(gt) or NOx for NOx(GT)."""
    wanted = plain(name)
    others = {wanted, wanted.removesuffix("gt"), *OTHER_NAMES.get(name, ())}
    alike = [column for column in columns if plain(column) in others]
    return name if name in columns else (alike or [""])[0]


def choose(series: Series, rows: int, targets: str = "") -> tuple[Series, int]:
    """The columns to learn from, those to be forecast first, and how many these are.

    A column without two different values in the first `rows` rows is left out, with a note.

    Args:
        targets: names of the columns to be forecast, with commas; empty = all.

    Raises:
        UserError: no such column, or nothing is left to learn.
    """
    wanted = [name.strip() for name in targets.split(",") if name.strip()]
    order = [same_column(name, series.columns) or name for name in wanted]
    if absent := [name for name in order if name not in series.columns]:
        told = "".join(f" ({note})" for note in series.notes if repr(absent[0]) in note)
        raise UserError(
            f"--targets: there is no column {absent[0]!r} of numbers{told}; there are "
            f"{', '.join(series.columns)}"
        )
    columns = [*order, *(name for name in series.columns if name not in order)]
    varies = [name for name in columns if len(set(observed(series.column(name)[:rows]))) > 1]
    forecast = [name for name in varies if name in (order or columns)]
    left_out = [name for name in columns if name not in varies]
    if not forecast:
        raise UserError(
            f"{', '.join(left_out)}: constant or missing in the {rows} rows to learn from, so that "
            "there is nothing to learn; give a longer series or other columns"
        )
    notes = series.notes
    if left_out:
        notes += (f"neither learned nor scored, for they do not vary: {', '.join(left_out)}",)
    places = [series.columns.index(name) for name in varies]
    chosen = {"values": series.values[:, places], "columns": tuple(varies), "notes": notes}
    return dataclasses.replace(series, **chosen), len(forecast)


def check_scored(names: Sequence[str], truth: np.ndarray) -> None:
    """Raise UserError if no target has two different values in the rows to score, (rows, targets).

    (There are none where a window is too long, which `Hours.windows` says.)
    """
    if len(truth) and not any(len(set(observed(column))) > 1 for column in truth.T):
        raise UserError(
            f"{', '.join(names)}: constant or missing in the {len(truth)} test rows, so that there "
            "is nothing to score; give a longer series or other --targets"
        )


def observed(column: np.ndarray) -> np.ndarray:
    """The values that are there."""
    return column[~np.isnan(column)]


# Splits, scaling, windows


@dataclass(frozen=True)
class Parts:
    """Training is rows 0 to `train` (exclusive), validation goes on to `fitted`, test follows.

    With quantiles, the rows from `fitted` to `known` calibrate them: nothing is fitted to these.
    """

    train: int
    fitted: int
    known: int
    rows: int

    @property
    def spans(self) -> dict[str, tuple[int, int]]:
        """First row and end of each part that has rows."""
        ends = {"training": self.train, "validation": self.fitted, "calibration": self.known}
        spans = zip([*ends, "test"], pairwise([0, *ends.values(), self.rows]), strict=True)
        return {name: span for name, span in spans if span[0] < span[1]}


def split(rows: int, *, calibrate: bool = False) -> Parts:
    """The last fifth tests; a part before it calibrates; the last fifth of the rest validates.

    Raises:
        UserError: too few rows to train, validate and test on.
    """
    if rows < MIN_ROWS:
        raise UserError(f"{rows} rows are too few to train, validate and test: {MIN_ROWS} at least")
    known = int(rows * (1 - TEST_FRACTION))
    fitted = int(known * (1 - CALIBRATION_FRACTION)) if calibrate else known
    return Parts(int(fitted * (1 - VALIDATION_FRACTION)), fitted, known, rows)


def fill_forward(values: np.ndarray) -> np.ndarray:
    """(rows, columns): each NaN becomes the last value before it; leading ones stay NaN."""
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, rows), axis=0)
    return np.take_along_axis(values, last, axis=0)


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of the observed values that were learned from, (features,)."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Scaler":
        """From the rows that may be learned from, (rows, features)."""
        return cls(np.nanmean(values, axis=0), np.nanstd(values, axis=0))

    def transform(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.std

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """(rows, columns) or (rows, columns, quantiles) in the series' units; the first columns."""
        columns = (slice(scaled.shape[1]), *[None] * (scaled.ndim - 2))
        return scaled * self.std[columns] + self.mean[columns]


def calendar(times: "pd.DatetimeIndex") -> np.ndarray:
    """(rows, 7): sine and cosine of 24 h, 12 h and 7 days, and whether it is a weekend."""
    hour = times.hour.to_numpy() + times.minute.to_numpy() / 60
    hour_of_week = times.day_of_week.to_numpy() * 24 + hour
    angles = [2 * np.pi * hour / 24, 2 * np.pi * hour / 12, 2 * np.pi * hour_of_week / 168]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.column_stack([*waves, times.day_of_week.to_numpy() >= 5])


@dataclass(frozen=True)
class Past:
    """What the forecast of a row sees of the rows before it.

    window: so many rows, the last ones that are known. horizon: from the last of them to the row
    forecast. seasons: rows before the row forecast, each at least `horizon` (24 hours, 168).
    """

    window: int
    horizon: int
    seasons: tuple[int, ...] = ()

    @property
    def season_steps(self) -> list[int]:
        """Where the rows of `seasons` stand, counted from the last known row, which is -1."""
        return [self.horizon - 1 - rows for rows in self.seasons]

    @property
    def rows(self) -> int:
        """From the earliest row that is seen to the last one that is known."""
        return max([self.window, *(-step for step in self.season_steps)])

    @property
    def reach(self) -> int:
        """From the earliest row that is seen to the one before the row forecast."""
        return self.rows + self.horizon - 1

    def __str__(self) -> str:
        season = f"a season of {max(self.seasons)} rows, " if self.seasons else ""
        return f"{season}a window of {self.window} rows and a horizon of {self.horizon}"


@dataclass(frozen=True)
class Hours:
    """Every row of a series as tensors, scaled; what a forecast sees of them is cut by `windows`.

    inputs: (rows, inputs): the features filled forward; then, unless left out, the calendar of the
        row `horizon` later.
    targets: (rows, targets), zero where not observed.
    observed: (rows, targets), 1 where there is a value and 0 where there is none.
    """

    inputs: Tensor
    targets: Tensor
    observed: Tensor
    features: int  # columns of the series among the inputs, the first ones
    past: Past

    def windows(self, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cuts that lie wholly in rows `first` to `last` (exclusive), with their targets.

        Returns views: (count, `past.rows`, inputs), and targets and observed, (count, targets)
        each, of the row `horizon` after each cut's last.

        Raises:
            UserError: the rows hold no window.
        """
        past = self.past
        if past.reach >= last - first:
            raise UserError(
                f"{past} are longer than a part of the series ({last - first} rows): lower "
                f"--window, {'--seasons ' if past.seasons else ''}or --horizon, or give a longer "
                "series"
            )
        cut = windows(self.inputs, past.rows, first, last - past.horizon).transpose(1, 2)
        hit = slice(first + past.reach, last)
        return cut, self.targets[hit], self.observed[hit]

    def loader(
        self, first: int, last: int, batch_size: int, *, shuffle: bool = False, seed: int = 0
    ) -> Loader:
        """Batches of (windows, targets, observed)."""
        return tensor_loader(self.windows(first, last), batch_size, shuffle=shuffle, seed=seed)


def prepare(
    series: Series, targets: int, scaler: Scaler, past: Past,
    *, use_calendar: bool = True, device: torch.device | str = "cpu",
) -> Hours:  # fmt: skip
    """Scale, fill forward and add the calendar's inputs; the first columns are the targets."""
    scaled = scaler.transform(series.values)
    seen = ~np.isnan(scaled)
    columns = [np.nan_to_num(fill_forward(scaled))]  # before a first value: the training mean
    if use_calendar and series.spacing is not None:
        columns.append(calendar(series.times + past.horizon * series.spacing))
    rows = (np.column_stack(columns), np.nan_to_num(scaled[:, :targets]), seen[:, :targets])
    tensors = (torch.from_numpy(each.astype(np.float32)).to(device) for each in rows)
    return Hours(*tensors, scaled.shape[1], past)


# The sample

HEADER = "Date;Time;" + ";".join(FEATURES) + ";;"
SAMPLE_HOURS = 1200
NMHC_HOURS = 300  # that analyser stopped early
EMPTY_ROWS = 114
# Mean, spread, fraction of the traffic in it, decimals: roughly those of the real columns.
SAMPLE_COLUMNS = (
    (2.1, 1.4, 0.9, 1),
    (1100.0, 210.0, 0.9, 0),
    (220.0, 150.0, 0.8, 0),
    (10.0, 7.0, 0.95, 1),
    (940.0, 260.0, 0.95, 0),
    (245.0, 200.0, 0.8, 0),
    (835.0, 250.0, -0.8, 0),
    (113.0, 48.0, 0.7, 0),
    (1450.0, 340.0, 0.7, 0),
    (1020.0, 390.0, 0.8, 0),
    (18.0, 8.0, 0.1, 1),
    (49.0, 17.0, -0.1, 1),
    (1.0, 0.4, 0.0, 4),
)


def make_sample(folder: Path) -> None:
    """1,200 hours in the publisher's format: rush hours, quiet weekends, drifting weather, gaps."""
    random = np.random.default_rng(0)
    hours = np.arange(SAMPLE_HOURS) + 18
    of_day, weekend = hours % 24, (hours // 24 + 2) % 7 >= 5  # the first day is a Wednesday
    rush = np.exp(-(((of_day - 8) / 2.5) ** 2)) + np.exp(-(((of_day - 19) / 3) ** 2)) - 0.4
    traffic = 2 * rush * np.where(weekend, 0.6, 1.0) + 0.5 * drift(random, 0.9)
    values = np.empty((SAMPLE_HOURS, len(FEATURES)))
    for column, (mean, spread, of_traffic, _) in enumerate(SAMPLE_COLUMNS):
        other = np.sqrt(1 - of_traffic**2) * drift(random, 0.95)
        values[:, column] = mean + 0.6 * spread * (of_traffic * traffic + other)
    values = np.maximum(values, 0.05 * values.mean(axis=0))  # no negative concentration
    # The analysers miss hours one by one, the sensors and the weather station all at once.
    for column in (0, 2, 5, 7):
        values[random.random(SAMPLE_HOURS) < 0.1, column] = np.nan
    for start in (150, 700, 1050):
        values[start : start + 12, [1, 3, 4, 6, 8, 9, 10, 11, 12]] = np.nan
    values[NMHC_HOURS:, 2] = np.nan
    first = np.datetime64("2004-03-10T00:00:00")
    lines = [HEADER]
    for hour, row in zip(hours, values, strict=True):
        date, clock = str(first + np.timedelta64(int(hour), "h")).split("T")
        day = "/".join(reversed(date.split("-")))
        fields = [written(value, each[3]) for value, each in zip(row, SAMPLE_COLUMNS, strict=True)]
        lines.append(";".join([day, clock.replace(":", "."), *fields]) + ";;")
    lines += [";" * 16] * EMPTY_ROWS
    (folder / FILE).write_bytes(("\r\n".join(lines) + "\r\n").encode("ascii"))


def drift(random: np.random.Generator, memory: float) -> np.ndarray:
    """A slow random walk around zero, (hours,), of variance one."""
    steps = random.normal(size=SAMPLE_HOURS) * np.sqrt(1 - memory**2)
    for hour in range(1, SAMPLE_HOURS):
        steps[hour] += memory * steps[hour - 1]
    return steps


def written(value: float, decimals: int) -> str:
    """The publisher's way: a decimal comma, no trailing zeros, -200 for missing."""
    if np.isnan(value):
        return "-200"
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".").replace(".", ",") if decimals else text


DATASET = DataSet(
    name="UCI Air Quality",
    folder="air_quality",
    needs=(FILE,),
    remote=(
        RemoteFile(
            "air_quality.zip",
            ("https://archive.ics.uci.edu/static/public/360/air+quality.zip",),
            unpack=True,
        ),
    ),
    help=f"https://archive.ics.uci.edu/dataset/360/air+quality: unpack {FILE} into that folder.",
    make_sample=make_sample,
)
