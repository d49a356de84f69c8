"""NYC taxi rides of the Numenta Anomaly Benchmark: files -> a checked series, labels, scaling.

The file realKnownCause/nyc_taxi.csv counts passengers in half-hours, 10,320 rows from 2014-07-01
to 2015-01-31, with five labelled windows (marathon, Thanksgiving, Christmas, New Year, snow storm)
in combined_windows.json. The rows before the first window are taken as normal: the first nine
tenths of them train, the last tenth validates, all other rows test.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from common.downloads import DataSet, RemoteFile
from common.series import MONTH, Series, read_series
from common.settings import UserError, warn

SERIES_FILE, WINDOWS_FILE = "nyc_taxi.csv", "combined_windows.json"
LABEL_KEY = "realKnownCause/nyc_taxi.csv"
TRAIN_FRACTION = 0.9  # of the normal rows; the rest validates
SEASONS_MIN = 3  # a median of fewer values is no profile
SEASONS_WISHED = 6  # of fewer values, other rows deviate half as much again as those it is of
FLOOR = 0.2  # of the typical deviation: added, so that quiet hours do not explode
TINY = 0.01  # of the size of the values: the typical deviation of rows that never deviate

Scaling = Literal["profile", "zscore", "minmax"]


@dataclass(frozen=True)
class Labelled:
    """A series and its labelled windows: first and last row (inclusive), in order of time."""

    series: Series
    windows: list[tuple[int, int]]

    @property
    def values(self) -> np.ndarray:
        return self.series.values[:, 0]


@dataclass(frozen=True)
class Parts:
    """Training is rows 0 to `train` (exclusive), validation goes on to `normal`, test follows."""

    train: int
    normal: int


@dataclass(frozen=True)
class Scaler:
    """A centre and a scale for each slot of the season, (slots,); one slot where none is used."""

    centre: np.ndarray
    scale: np.ndarray

    def transform(self, values: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Deviations from the centre in units of the scale, (rows,); NaN stays NaN."""
        slots = slots % len(self.centre)
        return (values - self.centre[slots]) / self.scale[slots]

    def inverse(self, scaled: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Back to the units of the series."""
        slots = slots % len(self.centre)
        return scaled * self.scale[slots] + self.centre[slots]


def load(folder: Path) -> Labelled:
    """The series and its labelled windows from NAB's two files.

    Raises:
        UserError: a file is absent, damaged, or the two do not belong together.
    """
    series = read_series(folder / SERIES_FILE, time_column="timestamp", columns=["value"])
    path = folder / WINDOWS_FILE
    windows = locate(read_labels(path).get(LABEL_KEY, []), series, path)
    if not windows:
        raise UserError(f"{path} labels no window of {LABEL_KEY}: get it again")
    return Labelled(series, windows)


def read_labels(path: Path) -> dict[str, list[list[str]]]:
    """First and last time of the windows of each series, by the name of its file.

    Raises:
        UserError: no such file, or damaged.
    """
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} holds no labelled windows ({type(error).__name__}): get it again"
        ) from error


def locate(limits: list[list[str]], series: Series, path: Path) -> list[tuple[int, int]]:
    """First and last row (inclusive) of each window of `path`, given by first and last time.

    Raises:
        UserError: a window outside the series.
    """
    windows = []
    for begin, end in limits:
        inside = (series.times >= np.datetime64(begin)) & (series.times <= np.datetime64(end))
        if not inside.any():
            raise UserError(
                f"the window {begin} to {end} of {path} lies outside the series: get both again"
            )
        rows = np.flatnonzero(inside)
        windows.append((int(rows[0]), int(rows[-1])))
    return windows


def split(normal: int) -> Parts:
    """Training and validation rows of the first `normal` rows."""
    return Parts(train=int(TRAIN_FRACTION * normal), normal=normal)


def seasonal_slots(series: Series, season: int) -> np.ndarray:
    """Place of each row in the season, (rows,): slot 0 begins a week at Monday 0:00."""
    if series.spacing is None:
        return np.arange(len(series.values)) % season
    if series.calendar is not None:
        months = series.times.year * 12 + series.times.month
        return months.to_numpy() // round(series.step / MONTH) % season
    monday = np.datetime64("2000-01-03", "ns")
    since = series.times.to_numpy().astype("datetime64[ns]") - monday
    return (since // series.spacing.to_timedelta64()).astype(np.int64) % season


def choose_season(series: Series, train: int) -> int:
    """The rows of a week or of a day, where a profile of it predicts rows best; else 1.

    Judged on the last quarter of the training rows by profiles of the rows before; a season counts
    that occurs in those often enough.
    """
    known = train * 3 // 4
    values = series.values[:train, 0]
    if series.spacing is None or np.isnan(values[:known]).all() or np.isnan(values[known:]).all():
        return 1
    errors = {}
    for season in sorted({1, series.rows_in(24), series.rows_in(7 * 24)}):
        if season <= max(known // SEASONS_WISHED, 1):
            slots = seasonal_slots(series, season)[:train]
            profile = slot_medians(values[:known], slots[:known], season)
            errors[season] = np.nanmean(np.abs(values - profile[slots])[known:])
    return min(errors, key=errors.__getitem__)


def fit_scaler(kind: Scaling, values: np.ndarray, slots: np.ndarray, season: int) -> Scaler:
    """Centre and scale of the training rows given; of nothing else.

    profile: the median of each slot of the season (weekday and half-hour) and 1.4826 times its
    median absolute deviation, plus a floor. zscore: mean and standard deviation. minmax: least
    value and range.

    Raises:
        UserError: all values are missing, or there are too few rows for a profile.
    """
    observed = values[~np.isnan(values)]
    if not len(observed):
        raise UserError(
            f"the {len(values)} rows to learn from have no value: give a series that begins with "
            "observed values"
        )
    tiny = TINY * max(np.ptp(observed), np.abs(observed).max(), 1e-12)
    if kind == "zscore":
        return Scaler(np.array([observed.mean()]), np.array([max(observed.std(), tiny)]))
    if kind == "minmax":
        return Scaler(np.array([observed.min()]), np.array([max(np.ptp(observed), tiny)]))
    if len(values) < SEASONS_MIN * season:
        raise UserError(
            f"a season of {season} rows needs at least {SEASONS_MIN * season} training rows, and "
            f"there are {len(values)}: lower --season (1 = none), or give a longer series"
        )
    centre = slot_medians(values, slots, season)
    deviations = np.abs(values - centre[slots])
    spread = 1.4826 * slot_medians(deviations, slots, season)
    typical = np.median(spread) or np.nanstd(values - centre[slots])
    if typical <= TINY * tiny:
        warn(
            f"the {len(values)} training rows are constant or repeat exactly: any other value is "
            "strange to what learns from them"
        )
        typical = tiny
    return Scaler(centre, spread + FLOOR * typical)


def slot_medians(values: np.ndarray, slots: np.ndarray, season: int) -> np.ndarray:
    """The median of each slot's observed values, (season,); that of all where it has none."""
    import pandas as pd

    medians = pd.Series(values).groupby(slots).median()
    return medians.reindex(range(season)).fillna(np.nanmedian(values)).to_numpy()


def make_sample(folder: Path) -> None:
    """Twelve weeks with the daily and weekly course of a city's taxis, in NAB's format.

    Three labelled disturbances of a few hours to a day, no larger than a busy hour's noise is at
    its worst, and two unlabelled oddities, one of them in the training rows.
    """
    import pandas as pd

    random = np.random.default_rng(20140701)
    times = pd.date_range("2014-07-01", periods=12 * 336, freq="30min")
    hour, weekend = times.hour + times.minute / 60, times.day_of_week >= 5
    day = np.exp(2 * np.cos((hour - 18) * np.pi / 12) - 2) + 0.6 * np.exp(-((hour - 8.5) ** 2) / 3)
    night = np.exp(2 * np.cos((hour - 22) * np.pi / 12) - 2) + 0.5 * np.exp(-((hour - 1) ** 2) / 4)
    course = 4000 + 15000 * np.where(weekend, night, day)
    drift = np.convolve(random.normal(size=len(times) + 47), np.ones(48) / 48, "valid")
    rides = course * (1 + 0.35 * drift + 0.03 * random.normal(size=len(times)))
    events = {"holiday": (2400, 40), "storm": (2950, 16), "festival": (3600, 10)}
    rides[2400:2440] *= 0.62
    rides[2950:2966] *= np.linspace(0.9, 0.5, 16)
    rides[3600:3610] += 3500
    rides[700:704] *= 0.75  # unlabelled, in the training rows
    rides[3300:3303] *= 1.15  # unlabelled
    table = pd.DataFrame({"timestamp": times, "value": rides.clip(0).round().astype(int)})
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / SERIES_FILE, index=False)
    windows = []
    for start, length in events.values():
        middle, half = start + length // 2, len(times) // 10 // len(events) // 2
        windows.append([f"{times[middle + side]}.000000" for side in (-half, half)])
    text = json.dumps({LABEL_KEY: windows}, indent=4)
    (folder / WINDOWS_FILE).write_text(text, encoding="utf-8")


REPOSITORY = "https://raw.githubusercontent.com/numenta/NAB/master"
DATASET = DataSet(
    name="NAB NYC taxi",
    folder="nab",
    needs=(SERIES_FILE, WINDOWS_FILE),
    remote=(
        RemoteFile(
            SERIES_FILE,
            (f"{REPOSITORY}/data/{LABEL_KEY}",),
            sha256="d8fa6f7f0734bf5c8be12c52a94e20a82664c397d9dec4449156bd453d32856d",
        ),
        RemoteFile(
            WINDOWS_FILE,
            (f"{REPOSITORY}/labels/{WINDOWS_FILE}",),
            sha256="1e1fbc4601321aad8d0f8b3784c8134299379f68f6c1f7777565f8ffd57ab6b1",
        ),
    ),
    help="data/realKnownCause/nyc_taxi.csv and labels/combined_windows.json of "
    "https://github.com/numenta/NAB",
    make_sample=make_sample,
)
