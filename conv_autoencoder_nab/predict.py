"""Find what is unusual in your own series: a table of times and values.

    python conv_autoencoder_nab/predict.py series.csv
    zcat minutes.csv.gz | python conv_autoencoder_nab/predict.py - --resample 5min --json
    python conv_autoencoder_nab/predict.py later.csv --run runs/conv_autoencoder_nab/...-predict

No labels are needed. The first rows (`--train-fraction`) are taken as mostly normal and learned
from; then every row gets a score, those above the threshold are alarms, and alarms that lie close
together are an event. Window, season and gap follow the series unless they are set. No event
of the rows learned from passes the threshold, or one in 20,000 rows of a long series: about as many
false ones are to be expected later. It counts the last tenth of them too, which the profile and the
network have not seen: a short series is overfitted, and its own scores would promise too much. With
`--run` a detector that was trained before, on the same kind of series, is used as it is.
"""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from common import checkpoints, runs, tables
from common.downloads import Source, obtain
from common.runs import Run
from common.series import Series, read_series
from common.series import windows as windows_of
from common.settings import Settings, UserError, at_least, cli, require
from common.times import Dates, duration
from common.trained import Trained, find_trained
from conv_autoencoder_nab import figures, train
from conv_autoencoder_nab.data import DATASET, choose_season, load, seasonal_slots, split
from conv_autoencoder_nab.detector import Detector, Scores, Variant
from conv_autoencoder_nab.scoring import events

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "conv_autoencoder_nab"
PRINTED = 20  # events that are printed; the files hold all
HOURS_OF_WINDOW = 96.0
FEW_ROWS, MOST_ROWS = 16, 192  # of a window: fewer show nothing, more take long
ROWS_PER_EVENT = 20_000  # of the rows learned from: one event in so many may be an alarm
LEAST = 80  # rows to learn from; the last tenth of them holds a window
EVENT = ("event", "strength", "peak", "value", "first", "last", "rows", "learned")


@dataclass
class Config(train.Config):
    """Settings of a prediction; those of training count where it trains."""

    # Input
    file: tyro.conf.Positional[str] = ""  # table of times and values, packed or not; - = stdin
    value_column: str = ""  # name of the column of values; empty = `value`, or the first of numbers
    time_column: str = ""  # column of times, or several with commas; empty = found; none = no times
    resample: str = ""  # average over 5min, 1h, ... first
    dates: Dates = "auto"  # which number of 01/02/2007 is the day
    missing: str = "auto"  # numbers that stand for a missing value, with commas; or none
    train_fraction: float = 0.5  # of the rows, the first ones: to learn from

    # Output
    score: Variant = "causal"  # causal = by past rows alone; centred = looks half a window ahead
    output: str = ""  # CSV file with the score of each row; empty = scores.csv in the run's folder
    json: bool = False  # print the events as JSON instead of a table
    run: str = ""  # folder or name of a run whose detector is used; empty = train on the series

    # Model
    window: int = 0  # rows of a window; 0 = four days, at most 192 rows, as the length allows

    # Detection
    season: int = 0  # rows of a season; 0 = a week or a day, if it predicts the rows; 1 = none
    recent: int = 0  # rows at the window's end that a causal score averages; 0 = an eighth of it
    around: int = 0  # rows about its middle that a centred score averages; 0 = three quarters of it
    tolerated: int = -1  # events that the rows learned from may have; -1 = one in 20,000 rows
    gap: float = 0.0  # hours: alarms at most so far apart are one event; 0 = a day

    def check(self) -> None:
        Settings.check(self)  # the rest of train.py's once all is chosen, see `suited`
        require(bool(self.file), "name a table: predict.py series.csv, or - for standard input")
        require(
            0 < self.train_fraction <= 1,
            f"--train-fraction must lie in 0 < x <= 1, not {self.train_fraction}",
        )
        require(not self.resume, "a prediction is not resumed: start it again without --resume")
        at_least(0, window=self.window, season=self.season, recent=self.recent, around=self.around)


def main(config: Config) -> dict[str, Any]:
    """Read the series, train or load a detector, write scores, events and plots."""
    with redirect_stdout(sys.stderr) if config.json else nullcontext():
        trained = None
        if config.run:
            trained = find_trained(
                PROJECT, "" if config.run == "latest" else config.run, config.out
            )
        series = read(config, trained.preprocessing.get("column", "") if trained else "")
        values = series.values[:, 0]
        known = 0 if config.run else int(config.train_fraction * len(values))
        config = replace(config, name=config.name or "predict")
        if not config.run:
            config = suited(config, series, known)
        run = runs.start(PROJECT, config, "predict.py")
        source = Source(tables.title(config.file), "real", Path.cwd(), series.checksum[:16])
        counts = {"rows": len(values), "missing values": int(np.isnan(values).sum())}
        run.begin(source, counts, series.notes)
        if trained:
            detector, scores, mark = loaded(series, trained, run)
        else:
            run.print(f"          learns from the first {known:,} rows: {in_words(config, series)}")
            parts, mark = split(known), ""
            detector, scores, _ = train.fit_detector(series, parts, known, config, run)
            run.save_model(detector.models, **detector.preprocessing())
        own, level = scores[config.score], detector.thresholds[config.score]
        alarms = (np.nan_to_num(own, nan=-np.inf) > level) & ~np.isnan(values)
        table, numbers = strongest_first(series, own, alarms, level, detector.gap, known)
        if run.is_main:
            path = Path(config.output).expanduser() if config.output else run.folder / "scores.csv"
            rows = series.stamps.assign(
                value=values, score=own.round(4), alarm=alarms.astype(int), event=numbers
            )
            if not series.averaged:
                rows = rows.iloc[np.unique(series.places)]  # what fills a gap is not the file's
            checkpoints.write_text(path, rows.to_csv(index=False))
            checkpoints.write_text(run.folder / "events.csv", table.to_csv(index=False))
        metrics = {
            "alarm_rows": int(alarms.sum()),
            "events": len(table),
            "events_in_learned_rows": int(table["learned"].sum()),
            "threshold": level,
        }

        def draw() -> None:
            times, unit = series.times.to_numpy(), series.columns[0]
            found = {config.score: events(alarms, detector.gap)}
            whole = figures.series_and_alarms(times, values, found, train=known, unit=unit)
            run.save_plot(whole, "series.png")
            scored, levels = {config.score: own}, {config.score: level}
            below = figures.scores_and_thresholds(times, scored, levels, train=known)
            run.save_plot(below, "scores.png")

        results = run.finish(metrics, {}, {}, plots=draw)
    if config.json:
        found = json.loads(table.to_json(orient="records"))
        print(json.dumps({"sample": bool(mark), "events": found}))
    else:
        show(table, mark, run)
    return results


def read(config: Config, learned: str = "") -> Series:
    """The user's series: one column of values.

    Args:
        learned: the column that a detector was trained on; "" = none.

    Raises:
        UserError: it is not there, and no other is named; see `read_series`.
    """
    series = read_series(
        config.file,
        time_column=config.time_column,
        columns=[config.value_column] if config.value_column else (),
        resample=config.resample,
        dates=config.dates,
        missing=config.missing,
    )
    varying = [c for c in series.columns if not is_monotone(series.column(c))]
    name = "value" if "value" in series.columns else [*varying, series.columns[0]][0]
    notes = list(series.notes)
    if learned and not config.value_column:
        name = learned
    if name not in series.columns:
        raise UserError(
            f"{tables.title(config.file)} has no column {name!r}, which the detector learned from: "
            f"name one of {', '.join(series.columns)} with --value-column"
        )
    if learned and name != learned:
        notes.append(f"the detector learned from column {learned}, and scores {name}")
    if len(series.columns) > 1:
        others = ", ".join(column for column in series.columns if column != name)
        notes.append(f"values are in column {name}, not in {others} (--value-column chooses)")
    values = series.column(name)
    has_value = ~np.isnan(values)
    if has_value.mean() < 0.5:  # then hardly a window would have enough of them
        notes.append("most places are empty: the rows that there are count as neighbours")
        places = np.maximum(np.cumsum(has_value) - 1, 0)[series.places]
        instants = series.instants[has_value]
        series = replace(series, instants=instants, places=places)
        values = values[has_value]
    return replace(series, values=values[:, None], columns=(name,), notes=tuple(notes))


def is_monotone(values: np.ndarray) -> bool:
    """Whether values, (rows,), are constant or only rise or fall: an identifier or a count."""
    steps = np.diff(values[~np.isnan(values)])
    return not steps.any() or bool((steps > 0).all() or (steps < 0).all())


def suited(config: Config, series: Series, known: int) -> Config:
    """The settings with those that are not set as spacing, season and length suggest.

    Raises:
        UserError: too few rows.
    """
    if known < LEAST:
        raise UserError(
            f"the series has {len(series.values)} rows, of which the first {known} are too few to "
            f"learn from: {LEAST} are needed; give a longer series, or raise --train-fraction"
        )
    parts = split(known)
    wished = max(series.rows_in(HOURS_OF_WINDOW), FEW_ROWS)
    window = config.window or min(wished, MOST_ROWS, parts.normal - parts.train)
    recent = config.recent or max(1, window // 8)
    around = config.around or max(1, window * 3 // 4)
    hours = 1 if series.spacing is None else series.step / 3600e9  # from row to row
    chosen = replace(
        config,
        window=window,
        recent=recent,
        around=around,
        season=config.season or choose_season(series, parts.train),
        tolerated=known // ROWS_PER_EVENT if config.tolerated < 0 else config.tolerated,
        gap=config.gap or max(24.0, hours * (around if config.score == "centred" else recent)),
    )
    train.Config.check(chosen)
    return chosen


def in_words(config: Config, series: Series) -> str:
    """The settings that follow the series: rows and how long they last."""
    averaged = "around" if config.score == "centred" else "recent"
    words = []
    for name in ("window", averaged, "season"):
        rows = getattr(config, name)
        lasting = f" ({duration(rows * series.step)})" if series.spacing else ""
        words.append(f"{name} {rows} rows{lasting}")
    if config.season == 1:
        words[-1] = "no season"
    return ", ".join([*words, f"gap {config.gap:g} {'h' if series.spacing else 'rows'}"])


def loaded(series: Series, trained: Trained, run: Run) -> tuple[Detector, Scores, str]:
    """The detector of an earlier run, its scores, and the mark of lines if a sample taught it.

    Raises:
        UserError: it is of rows with another spacing.
    """
    detector = Detector.of(trained, run.device)
    if detector.step != series.step:
        raise UserError(
            f"{trained.folder} was trained on rows {duration(detector.step)} apart, and these are "
            f"{duration(series.step)} apart: leave out --run to train on this series"
        )
    scores = detector.scores(series.values[:, 0], seasonal_slots(series, detector.season))
    return detector, scores, "SAMPLE  " if trained.sample else ""


def strongest_first(
    series: Series, scores: np.ndarray, alarms: np.ndarray, level: float, gap: int, known: int
) -> tuple["pd.DataFrame", np.ndarray]:
    """A table of the events, and the number of the event that each row is in, (rows,), else 0.

    Number 1 is the strongest. Strength is the highest score over the threshold, peak the row that
    has it; `learned` says that an event began in the rows learned from.
    """
    import pandas as pd

    stamps = series.stamps.astype(str).agg(" ".join, axis=1).to_numpy()
    found = [
        (first + int(np.nanargmax(scores[first : last + 1])), first, last)
        for first, last in events(alarms, gap)
    ]
    numbers = np.zeros(len(scores), dtype=int)
    rows = []
    for number, (peak, first, last) in enumerate(sorted(found, key=lambda e: -scores[e[0]]), 1):
        numbers[first : last + 1] = number
        strength, value = round(float(scores[peak] / level), 2), series.values[peak, 0]
        shown = (stamps[peak], value, stamps[first], stamps[last])
        rows.append((number, strength, *shown, last - first + 1, first < known))
    return pd.DataFrame(rows, columns=EVENT), numbers


def show(table: "pd.DataFrame", mark: str, run: Run) -> None:
    """Print the strongest events, a line each that begins with `mark`."""
    run.print(f"\n{mark}{len(table)} events" + ("" if len(table) else ": nothing unusual"))
    for event in table.head(PRINTED).itertuples():
        note = "  (in the rows learned from)" if event.learned else ""
        run.print(
            f"{mark}{event.event:3}  {event.strength:6.2f} times the threshold at {event.peak} "
            f"(value {event.value:g}), from {event.first} to {event.last}{note}"
        )
    if len(table) > PRINTED:
        run.print(f"and {len(table) - PRINTED} weaker ones: all are in {run.folder}/events.csv")


def exported(trained: Trained) -> tuple[list[nn.Module], list[tuple[Tensor]]]:
    """For common/export.py: the run's networks, and scaled windows of the taxi series as inputs."""
    detector = Detector.of(trained, torch.device("cpu"))
    labelled = load(obtain(DATASET).folder)
    slots = seasonal_slots(labelled.series, detector.season)
    scaled = torch.from_numpy(detector.scaler.transform(labelled.values, slots)).float()
    windows = windows_of(scaled, detector.window)  # (windows, window)
    networks = [model.eval() for model in detector.models]
    return networks, [(windows[-rows:],) for rows in (5, 1, 3)]


if __name__ == "__main__":
    cli(Config, main)
