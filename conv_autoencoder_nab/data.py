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

from common.downloads import DataSet, RemoteFile
from common.errors import UserError
from common.series import Series, read_series

import numpy as np

SERIES_FILE, WINDOWS_FILE = "nyc_taxi.csv", "combined_windows.json"
LABEL_KEY = "realKnownCause/nyc_taxi.csv"
TRAIN_SHARE = 0.9  # of the normal rows; the rest validates
SEASONS_MIN = 3  # a median of fewer values is no profile
SEASONS_WISHED = 6  # of fewer values, other rows deviate half as much again as those it is of
FLOOR = 0.2  # of the typical deviation: added, so that quiet hours do not explode

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

    def centre_of(self, slots: np.ndarray) -> np.ndarray:
        return self.centre[slots % len(self.centre)]

    def scale_of(self, slots: np.ndarray) -> np.ndarray:
        return self.scale[slots % len(self.scale)]

    def transform(self, values: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Deviations from the centre in units of the scale, (rows,); NaN stays NaN."""
        return (values - self.centre_of(slots)) / self.scale_of(slots)

    def inverse(self, scaled: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Back to the units of the series."""
        return scaled * self.scale_of(slots) + self.centre_of(slots)


def load(folder: Path) -> Labelled:
    """The series and its labelled windows from NAB's two files.

    Raises:
        UserError: a file is absent, damaged, or the two do not belong together.
    """
    series = read_series(folder / SERIES_FILE, "timestamp", ["value"])
    path = folder / WINDOWS_FILE
    try:
        limits = json.loads(path.read_text(encoding="utf-8"))[LABEL_KEY]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: it holds the labelled windows") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} holds no windows of {LABEL_KEY} ({type(error).__name__}): get it again"
        ) from error
    windows = []
    for begin, end in limits:
        rows = np.flatnonzero(
            (series.times >= np.datetime64(begin)) & (series.times <= np.datetime64(end))
        )
        if not len(rows):
            raise UserError(f"the window {begin} to {end} of {path} lies outside the series")
        windows.append((int(rows[0]), int(rows[-1])))
    if not windows:
        raise UserError(f"{path} labels no window of {LABEL_KEY}")
    return Labelled(series, windows)


def split(normal: int) -> Parts:
    """Training and validation rows of the first `normal` rows."""
    return Parts(train=int(TRAIN_SHARE * normal), normal=normal)


def seasonal_slots(series: Series, season: int) -> np.ndarray:
    """Place of each row in the season, (rows,): slot 0 begins a week at Monday 0:00."""
    monday = np.datetime64("2000-01-03", "ns")
    since = series.times.to_numpy().astype("datetime64[ns]") - monday
    return (since // series.spacing.to_timedelta64()).astype(np.int64) % season


def choose_season(series: Series, train: int) -> int:
    """The rows of a week, else of a day, else 1: what `train` rows hold often enough."""
    for hours in (7 * 24, 24):
        season = round(hours * 3600 / series.spacing.total_seconds())
        if 1 < season <= train // SEASONS_WISHED:
            return season
    return 1


def fit_scaler(kind: Scaling, values: np.ndarray, slots: np.ndarray, season: int) -> Scaler:
    """Centre and scale of the training rows given; of nothing else.

    profile: the median of each slot of the season (weekday and half-hour) and 1.4826 times its
    median absolute deviation, plus a floor. zscore: mean and standard deviation. minmax: least
    value and range.

    Raises:
        UserError: constant or missing values, or too few rows for a profile.
    """
    observed = values[~np.isnan(values)]
    if not len(observed) or observed.min() == observed.max():
        what = f"constant (always {observed[0]:g})" if len(observed) else "missing throughout"
        raise UserError(
            f"the {len(values)} training rows are {what}: there is nothing to learn from them"
        )
    if kind == "zscore":
        return Scaler(np.array([observed.mean()]), np.array([observed.std()]))
    if kind == "minmax":
        return Scaler(np.array([observed.min()]), np.array([np.ptp(observed)]))
    if len(values) < SEASONS_MIN * season:
        raise UserError(
            f"a season of {season} rows needs at least {SEASONS_MIN * season} training rows, and "
            f"there are {len(values)}: lower --season (1 = none), or give a longer series"
        )
    centre = slot_medians(values, slots, season, np.median(observed))
    deviations = np.abs(values - centre[slots])
    spread = 1.4826 * slot_medians(deviations, slots, season, np.nanmedian(deviations))
    typical = np.median(spread) or np.nanstd(values - centre[slots])
    if typical == 0:
        raise UserError(
            f"the training rows repeat exactly every {season} rows: any change at all is an "
            "anomaly; compare with the row one season ago instead"
        )
    return Scaler(centre, spread + FLOOR * typical)


def slot_medians(
    values: np.ndarray, slots: np.ndarray, season: int, otherwise: float
) -> np.ndarray:
    """The median of the observed values of each slot, (season,); `otherwise` where none is."""
    import pandas as pd

    medians = pd.Series(values).groupby(slots).median()
    return medians.reindex(range(season)).fillna(otherwise).to_numpy()


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
