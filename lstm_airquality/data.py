"""UCI Air Quality: the publisher's file -> checked hours -> windows of tensors.

A road in an Italian town, 9,357 hours from 10 March 2004, 13 variables: five reference analysers
(GT), five metal-oxide sensors (PT08) and the weather. -200 stands for a missing value. Missing
inputs carry the last observed value forward and never look ahead; missing targets are neither
trained on nor scored.

Splits are chronological and a window lies wholly in its split, inputs and target alike.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import series as regular_series
from common.batches import Loader, tensor_loader
from common.downloads import DataSet, RemoteFile
from common.errors import UserError
from common.series import Series

import numpy as np
import torch
from torch import Tensor

from lstm_airquality.sample import FILE, make_sample

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
MISSING = -200.0
CALENDAR = 7  # columns of `calendar`
TEST_SHARE = 0.2  # of all rows, the last ones
MIN_ROWS = 240  # ten days
VALIDATION_SHARE = 0.2  # of the rows before them, the last ones

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


@dataclass(frozen=True)
class Parts:
    """Training is rows 0 to `train` (exclusive), validation goes on to `known`, test follows."""

    train: int
    known: int
    rows: int


def split(rows: int) -> Parts:
    """The last fifth tests; the last fifth of the rest validates.

    Raises:
        UserError: too few rows to train, validate and test on.
    """
    if rows < MIN_ROWS:
        raise UserError(
            f"{rows} hours are too few to train, validate and test: {MIN_ROWS} at least"
        )
    known = int(rows * (1 - TEST_SHARE))
    return Parts(int(known * (1 - VALIDATION_SHARE)), known, rows)


def load(path: Path) -> Series:
    """The hours of a file in the publisher's format, or in plain comma format.

    Publisher's: `;` between fields, decimal comma, dates 10/03/2004, times 18.00.00. Plain: `,`
    between fields, decimal point, the same column names; dates also 2004-03-10, times also 18:00.

    Raises:
        UserError: absent, no such table, a column missing, not hourly, no value at all.
    """
    regular_series.check_text_file(path)
    with path.open("rb") as file:
        header = file.readline()
    separator, decimal = (";", ",") if b";" in header else (",", ".")
    table = regular_series.read_table(
        path, ["Date", "Time", *FEATURES], separator=separator, decimal=decimal
    )
    values, notes = {}, []
    for name in FEATURES:
        values[name], note = read_column(table[name], path, decimal)
        notes += [note] if note else []
    if all(np.isnan(column).all() for column in values.values()):
        raise UserError(f"{path}: every value is missing (empty or {MISSING:g}): nothing to learn")
    stamps = regular_series.times(stamp_text(table["Date"], table["Time"]), path)
    found = regular_series.regular(stamps, values, path)
    if found.spacing.total_seconds() != 3600:
        raise UserError(f"{path}: rows are {found.spacing} apart: resample them to one hour")
    return Series(found.times, found.values, found.columns, found.spacing, (*notes, *found.notes))


def read_column(text: "pd.Series", path: Path, decimal: str) -> tuple[np.ndarray, str]:
    """A column of numbers, -200 as NaN, and a note on odd values; it may be empty throughout."""
    if text.str.lower().isin(regular_series.MISSING).all():
        return np.full(len(text), np.nan), f"{text.name}: all values are missing"
    column, note = regular_series.numbers(text, path, decimal=decimal)
    column[column == MISSING] = np.nan
    return column, note


def stamp_text(dates: "pd.Series", times: "pd.Series") -> "pd.Series":
    """`10/03/2004`, `18.00.00` -> `2004-03-10 18:00:00`; other texts go to the parser as given."""
    day_first = re.compile(r"^(\d{1,2})[/.](\d{1,2})[/.](\d{4})$")
    days = dates.str.replace(day_first, r"\3-\2-\1", regex=True)
    clock = times.str.replace(".", ":", regex=False)
    clock = clock.str.replace(re.compile(r"^(\d{1,2}:\d{2})$"), r"\1:00", regex=True)
    return (days + " " + clock).rename("Date and Time")


def fill_forward(values: np.ndarray) -> np.ndarray:
    """(rows, columns): each NaN becomes the last value before it; leading ones stay NaN."""
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, rows), axis=0)
    return np.take_along_axis(values, last, axis=0)


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of the observed training values, (features,) each."""

    mean: np.ndarray
    std: np.ndarray

    def transform(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.std

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        return scaled * self.std + self.mean


def fit_scaler(values: np.ndarray) -> Scaler:
    """From the rows that may be learnt from, (rows, features).

    Raises:
        UserError: a feature without two different values there.
    """
    for name, column in zip(FEATURES, values.T, strict=True):
        if len(np.unique(column[~np.isnan(column)])) < 2:
            raise UserError(
                f"{name} does not vary in the {len(values)} training rows (constant or missing): "
                "nothing can be learnt of it, give a longer series"
            )
    return Scaler(np.nanmean(values, axis=0), np.nanstd(values, axis=0))


def calendar(times: "pd.DatetimeIndex") -> np.ndarray:
    """(rows, 7): sine and cosine of 24 h, 12 h and 7 days, and whether it is a weekend."""
    hour = times.hour.to_numpy()
    hour_of_week = times.day_of_week.to_numpy() * 24 + hour
    angles = [2 * np.pi * hour / 24, 2 * np.pi * hour / 12, 2 * np.pi * hour_of_week / 168]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.column_stack([*waves, times.day_of_week.to_numpy() >= 5])


@dataclass(frozen=True)
class Hours:
    """Every hour as tensors, scaled; windows of them are cut by `windows`.

    inputs: (rows, inputs): the 13 features filled forward; then, as settings, the calendar of the
        hour `horizon` later and which features were observed.
    targets: (rows, features), zero where not observed.
    observed: (rows, features), 1 where there is a value and 0 where there is none.
    """

    inputs: Tensor
    targets: Tensor
    observed: Tensor
    scaler: Scaler

    def windows(
        self, first: int, last: int, window: int, horizon: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Windows that lie wholly in rows `first` to `last` (exclusive), with their targets.

        Returns views: (count, window, inputs), and targets and observed, (count, features) each,
        of the hour `horizon` after each window's last.

        Raises:
            UserError: the rows hold no window.
        """
        if window + horizon > last - first:
            raise UserError(
                f"a window of {window} hours and a horizon of {horizon} are longer than a part of "
                f"the series ({last - first} hours): lower --window, or give a longer series"
            )
        cut = regular_series.windows(self.inputs, window, first, last - horizon).transpose(1, 2)
        hit = slice(first + window + horizon - 1, last)
        return cut, self.targets[hit], self.observed[hit]

    def loader(
        self,
        first: int,
        last: int,
        window: int,
        horizon: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
    ) -> Loader:
        """Batches of (windows, targets, observed)."""
        tensors = self.windows(first, last, window, horizon)
        return tensor_loader(tensors, batch_size, shuffle=shuffle, seed=seed)


def prepare(
    series: Series,
    scaler: Scaler,
    horizon: int,
    *,
    use_calendar: bool,
    use_mask: bool,
    device: torch.device | str = "cpu",
) -> Hours:
    """Scale, fill forward and add the calendar and mask inputs."""
    scaled = scaler.transform(series.values)
    observed = ~np.isnan(scaled)
    columns = [np.nan_to_num(fill_forward(scaled))]  # before a first value: the training mean
    if use_calendar:
        columns.append(calendar(series.times + horizon * series.spacing))
    if use_mask:
        columns.append(observed)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    return Hours(
        tensor(np.column_stack(columns)), tensor(np.nan_to_num(scaled)), tensor(observed), scaler
    )
