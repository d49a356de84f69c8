"""Find what is unusual in your own series: a CSV file of time stamps and values.

    python conv_autoencoder_nab/predict.py series.csv
    python conv_autoencoder_nab/predict.py series.csv --train-share 0.3 --season 288
    python conv_autoencoder_nab/predict.py later.csv --detector runs/.../detector.pt

No labels are needed. The first rows (`--train-share`) are taken as mostly normal and learned from;
then every row gets a score, and those above the threshold are alarms. The threshold counts the last
tenth of these rows too, which the profile and the network have not seen: a short series is learned
by heart, and its own scores would promise too much. With `--detector` a detector that was trained
before, on the same kind of series, is used as it is. Writes scores.csv and plots.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import checkpoints, runs
from common.config import cli
from common.downloads import Source
from common.errors import UserError, require
from common.runs import Run
from common.series import Series, read_series

import numpy as np
import tyro

from conv_autoencoder_nab import figures, train
from conv_autoencoder_nab.data import choose_season, seasonal_slots, split
from conv_autoencoder_nab.detector import Detector, Variant, fit_detector
from conv_autoencoder_nab.evaluation import events


@dataclass
class Config(train.Config):
    """Settings of a prediction; those of training count where it trains."""

    series: tyro.conf.Positional[str] = ""  # CSV file, comma-separated, with a header
    time_column: str = "timestamp"  # name of the column of time stamps
    value_column: str = "value"  # name of the column of values
    score: Variant = "causal"  # causal = by past rows alone; centred = looks half a window ahead
    detector: str = ""  # detector.pt of an earlier run; empty = train on the series itself
    train_share: float = 0.5  # the first share of the rows, to learn from
    season: int = 0  # rows of a season; 0 = a week or a day, if the rows suffice; 1 = none

    def check(self) -> None:
        super().check()
        require(bool(self.series), "name a CSV file: predict.py series.csv")
        require(
            0 < self.train_share <= 1,
            f"--train-share must lie in 0 < share <= 1, not {self.train_share}",
        )
        require(not self.resume, "a prediction is not resumed: start it again without --resume")


def main(config: Config) -> dict[str, Any]:
    """Read the series, train or load a detector, write scores, alarms and plots."""
    path = Path(config.series).expanduser()
    series = read_series(path, config.time_column, [config.value_column])
    values = series.values[:, 0]
    parts = split(int(config.train_share * len(values)))
    config.season = config.season or choose_season(series, parts.train)
    run = runs.start("conv_autoencoder_nab/predict", config)
    counts = {"rows": len(values), "missing values": int(np.isnan(values).sum())}
    run.describe_data(Source(path.name, "real", path.resolve().parent), counts)
    for note in (f"one row every {series.spacing}", *series.notes):
        run.print(f"          {note}")
    if config.detector:
        detector = load_detector(Path(config.detector).expanduser(), series, run)
        learned = 0
        scores = detector.scores(values, seasonal_slots(series, detector.settings["season"]))
    else:
        season = f"a season of {config.season} rows" if config.season > 1 else "no season"
        run.print(f"          learns from the first {parts.normal:,} rows, with {season}")
        learned = parts.normal
        detector, scores, _ = fit_detector(series, values, parts, config, run, calibration=learned)
    own, level = scores[config.score], detector.thresholds[config.score]
    alarms = (np.nan_to_num(own) > level) & ~np.isnan(values)
    found = events(alarms, detector.settings["gap"])
    if run.is_main:
        write_scores(run.folder / "scores.csv", series, own, alarms, found)
        if not config.detector:
            detector.save(run.folder / "detector.pt")
        draw(run, series, own, level, found, learned, config)
    print_events(run, series, own, found, learned)
    metrics = {
        "alarm_rows": int(alarms.sum()),
        "events": len(found),
        "events_in_learned_rows": sum(first < learned for first, _ in found),
        "threshold": level,
    }
    return run.finish(metrics, {}, {})


def load_detector(path: Path, series: Series, run: Run) -> Detector:
    """A saved detector, if it is of a series with this spacing.

    Raises:
        UserError: no detector, or one of another spacing.
    """
    detector = Detector.load(path, run.device)
    seconds = series.spacing.total_seconds()
    if detector.spacing_seconds != seconds:
        raise UserError(
            f"{path} was trained on rows {detector.spacing_seconds:g} s apart, and these are "
            f"{seconds:g} s apart: leave out --detector to train on this series"
        )
    return detector


def write_scores(
    path: Path,
    series: Series,
    scores: np.ndarray,
    alarms: np.ndarray,
    found: list[tuple[int, int]],
) -> None:
    """A row for each time stamp: value, score, whether it is an alarm, number of its event."""
    import pandas as pd

    event = np.zeros(len(scores), dtype=int)
    for number, (first, last) in enumerate(found, start=1):
        event[first : last + 1] = number
    table = pd.DataFrame(
        {
            "timestamp": series.times,
            "value": series.values[:, 0],
            "score": scores.round(4),
            "alarm": alarms.astype(int),
            "event": event,
        }
    )
    checkpoints.write_text(path, table.to_csv(index=False))


def draw(
    run: Run,
    series: Series,
    scores: np.ndarray,
    level: float,
    found: list[tuple[int, int]],
    learned: int,
    config: Config,
) -> None:
    times = series.times.to_numpy()
    named = {config.score: scores}
    whole = figures.series_and_alarms(
        times, series.values[:, 0], {config.score: found}, train=learned, unit=config.value_column
    )
    run.save_plot(whole, "series.png")
    levels = {config.score: level}
    run.save_plot(figures.scores_and_thresholds(times, named, levels, train=learned), "scores.png")


def print_events(
    run: Run, series: Series, scores: np.ndarray, found: list[tuple[int, int]], learned: int
) -> None:
    """List the events: first and last alarm, and the highest score."""
    run.print(f"\n{len(found)} events" + (":" if found else ": nothing unusual was found"))
    for first, last in found:
        peak = np.nanmax(scores[first : last + 1])
        note = "  (in the rows learned from)" if first < learned else ""
        run.print(f"  {series.times[first]} to {series.times[last]}, score {peak:.1f}{note}")


if __name__ == "__main__":
    cli(Config, main)
