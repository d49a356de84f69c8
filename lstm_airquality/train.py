"""Forecast the air of an Italian street, or any regular table of numbers, rows ahead.

    python lstm_airquality/train.py                        # the README's result, the next hour
    python lstm_airquality/train.py --recipe 24h           # 24 hours ahead
    python lstm_airquality/train.py --recipe published     # one BiLSTM, values, no calendar
    python lstm_airquality/train.py --data sample          # in seconds, no download
    python lstm_airquality/train.py --csv my_table.csv --targets pm2.5,no2 --horizon 6

A first model, trained without the validation rows, says how good the settings are (`val_r2`; the
defaults were chosen by it). Then a new model is trained alike on training and validation rows
together, and forecasts the test part (`--refit false` to see what that gives).
"""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import device, plots, runs, times, training
from common.batches import Loader, in_order
from common.downloads import Source, cache_folder
from common.runs import Run
from common.series import Series
from common.settings import Settings, above, at_least, cli, fraction, require
from lstm_airquality import baselines, data, evaluation, figures, intervals
from lstm_airquality.model import Cell, Forecaster, Readout, Target

PUBLISHED_RECIPE = {
    "epochs": 20, "batch_size": 64, "lr": 1e-3, "schedule": "constant", "cell": "lstm",
    "readout": "last", "dropout": 0.2, "relative": False, "target": "value", "calendar": False,
    "loss": "mse", "refit": False, "shift": 0.0, "hidden_size": 64,
}  # fmt: skip
DAY_AHEAD_RECIPE = {
    "horizon": 24, "seasons": (168,), "readout": "last", "hidden_size": 64, "lr": 3e-3, "epochs": 4,
    "loss": "mse", "members": 5,
}  # fmt: skip
PUBLISHED = {
    "BiLSTM, lr 0.001": {"r2": 0.7616},
    "BiLSTM, lr 0.01": {"r2": 0.6191},
    "LSTM, lr 0.001": {"r2": 0.6885},
}
HUBER = 0.5  # training standard deviations up to which the huber loss squares an error
SCORING_BATCH = 1024  # windows
OWN = "this run"


@dataclass
class Config(Settings):
    RECIPES: ClassVar = {"published": PUBLISHED_RECIPE, "24h": DAY_AHEAD_RECIPE}
    # On 2 idle cores a second thread gains 1.5x; where another program keeps one busy, it is 0.35x.
    ONE_THREAD: ClassVar = True

    # Training
    recipe: Literal["improved", "published", "24h"] = "improved"  # set of defaults
    epochs: int = 8  # passes over the training windows; where validation is best early, give fewer
    batch_size: int = 128  # windows a step
    lr: float = 5e-3  # learning rate, at its highest
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    loss: Literal["l1", "mse", "huber"] = "huber"  # absolute, squared, or squared where it is small
    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"  # sgd: momentum 0.9
    members: int = 1  # networks that differ in their seeds alone; their forecasts are averaged
    shift: float = 0.5  # training windows move up or down by about so many standard deviations
    refit: bool = True  # train again on training and validation rows before testing

    # Model
    cell: Cell = "lstm"  # lstm, gru, or transformer: a small encoder
    hidden_size: int = 128  # units of each direction
    layers: int = 1  # recurrent layers
    bidirectional: bool = True  # a second direction reads the window backwards
    readout: Readout = "ends"  # state at the last step (as published), or at each direction's end
    dropout: float = 0.4  # fraction of the head's inputs dropped in training
    relative: bool = True  # inputs as differences from the window's last values, and those values
    target: Target = "change"  # forecast the change from the last value, or the value itself

    # Forecast
    window: int = 24  # rows that the model sees; an hour each for the air
    horizon: int = 1  # rows from the window's last one to the one forecast
    seasons: tuple[int, ...] = ()  # inputs too: so many rows before the one forecast; 168 = a week
    calendar: bool = True  # inputs: hour of day, day of week and weekend of the row forecast
    quantiles: str = ""  # such as 0.05,0.5,0.95: intervals, corrected on rows kept for that
    baselines: bool = True  # fit and score the baselines too: half a minute, then cached

    # Data
    csv: Path | None = None  # any regular table of numbers, packed or not; - = standard input
    time_column: str = ""  # its column of times, or several with commas; none = rows are numbered
    targets: str = ""  # columns to forecast, with commas; the others are inputs; default all
    resample: str = ""  # average over 5min, 1h, ... first; none = rows as they stand
    dates: times.Dates = "auto"  # which number of 01/02/2007 is the day
    missing: str = "auto"  # numbers that stand for a missing value, with commas; or none

    def check(self) -> None:
        super().check()
        at_least(
            1, epochs=self.epochs, batch_size=self.batch_size, hidden_size=self.hidden_size,
            layers=self.layers, window=self.window, horizon=self.horizon, members=self.members,
        )  # fmt: skip
        above(0, lr=self.lr)
        at_least(0, shift=self.shift)
        fraction(dropout=self.dropout)
        require(
            all(rows >= self.horizon for rows in self.seasons),
            f"--seasons {min(self.seasons, default=0)}: so few rows before the one forecast, "
            f"nothing is known yet: give {self.horizon} (--horizon) or more",
        )
        require(len(set(self.seasons)) == len(self.seasons), "--seasons names one number twice")
        require(
            self.cell != "transformer" or self.hidden_size % 4 == 0,
            f"--hidden-size {self.hidden_size}: a Transformer needs a multiple of its 4 heads",
        )
        intervals.parse_levels(self.quantiles)

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles as numbers."""
        return intervals.parse_levels(self.quantiles)

    @property
    def past(self) -> data.Past:
        """What of the rows before the one forecast is seen."""
        return data.Past(self.window, self.horizon, self.seasons)


def step(
    model: nn.Module,
    batch: tuple[Tensor, Tensor, Tensor],
    error_of: Callable[[Tensor, Tensor], Tensor],
    features: int = 0,
    shift: float = 0.0,
) -> tuple[Tensor, Tensor, dict]:
    """Mean error of the observed targets of a batch; missing ones count nothing.

    In training each of the features moves up or down, all of its window and its target alike: the
    levels of a season that training has not seen, where a day goes much as it always does.
    """
    windows, targets, observed = batch  # (b, window, inputs), (b, targets), (b, targets)
    if model.training and shift:
        moves = shift * torch.randn(len(windows), features, device=windows.device)
        moved = windows[..., :features] + moves[:, None]  # (b, window, features)
        windows = torch.cat([moved, windows[..., features:]], dim=2)
        targets = targets + moves[:, : targets.shape[1]]
    errors = error_of(model(windows), targets) * observed  # (b, targets)
    count = observed.sum()
    return errors.sum() / count.clamp(min=1), count, {}


def make_loss(config: Config) -> Callable[[Tensor, Tensor], Tensor]:
    """(forecast, targets) -> the error of each target."""
    if config.levels:
        return functools.partial(intervals.pinball, levels=config.levels)
    huber = functools.partial(F.smooth_l1_loss, beta=HUBER)
    losses = {"l1": F.l1_loss, "mse": F.mse_loss, "huber": huber}
    return functools.partial(losses[config.loss], reduction="none")


@dataclass
class Trained:
    """Models whose forecasts are averaged, and what their inputs and outputs were scaled with."""

    models: list[Forecaster]
    scaler: data.Scaler
    config: Config

    def prepare(self, series: Series) -> data.Hours:
        """The series as the models' inputs and targets."""
        place, config = next(self.models[0].parameters()).device, self.config
        return data.prepare(
            series, self.models[0].outputs, self.scaler, config.past,
            use_calendar=config.calendar, device=place,
        )  # fmt: skip

    def forecast(self, series: Series, first: int, last: int, precision: str) -> np.ndarray:
        """Forecasts from every window wholly in rows `first` to `last`.

        (count, targets), or (count, targets, quantiles), in the targets' units; they belong to the
        rows `last - count` to `last`.
        """
        windows = self.prepare(series).windows(first, last)[0]
        loader = Loader(in_order(len(windows), SCORING_BATCH), lambda indices: windows[indices])
        forecasts = [
            training.predict(model, loader, lambda model, batch: model(batch), precision)
            for model in self.models
        ]
        return self.scaler.inverse(torch.stack(forecasts).double().mean(0).numpy())


def build(config: Config, features: int, targets: int, has_times: bool) -> Forecaster:
    """The untrained model for a series of so many columns."""
    inputs = features + data.CALENDAR * (config.calendar and has_times)
    return Forecaster(
        inputs, features, targets, cell=config.cell, hidden_size=config.hidden_size,
        layers=config.layers, bidirectional=config.bidirectional, readout=config.readout,
        dropout=config.dropout, relative=config.relative, window=config.window,
        season_steps=config.past.season_steps, target=config.target,
        quantiles=len(config.levels) or 1,
    )  # fmt: skip


def train(
    series: Series, targets: int, train_end: int, last: int, config: Config, run: Run,
    name: str = "",
) -> tuple[Trained, training.History]:  # fmt: skip
    """Learn, the scaler too, from the rows before `train_end`; validate on those up to `last`.

    Returns the history of the first member.
    """
    trained = Trained([], data.Scaler.of(series.values[:train_end]), config)
    histories = []
    for member in range(config.members):
        title = name if config.members == 1 else f"{name} member {member + 1}".strip()
        seed = config.seed + 1000 * member
        device.seed_everything(seed)
        model = build(config, len(series.columns), targets, series.spacing is not None)
        trained.models.append(model.to(run.device))
        hours = trained.prepare(series)
        train_loader = hours.loader(0, train_end, config.batch_size, shuffle=True, seed=seed)
        val_loader = hours.loader(train_end, last, SCORING_BATCH) if last > train_end else None
        optimizer = {
            "adam": torch.optim.Adam,
            "rmsprop": torch.optim.RMSprop,
            "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
        }[config.optimizer](model.parameters(), lr=config.lr)
        part = run.part(title) if title else run
        if val_loader and member == 0:
            run.describe_model(model, (hours.inputs[None, : config.past.rows],))
        loss = functools.partial(
            step, error_of=make_loss(config), features=len(series.columns), shift=config.shift
        )
        histories.append(
            training.fit(
                model, optimizer, loss, train_loader, val_loader, part,
                epochs=config.epochs, schedule=config.schedule,
            )
        )  # fmt: skip
    return trained, histories[0]


def read(config: Config) -> tuple[Source, Series, int, data.Parts]:
    """The data: where it is from, its series, how many of its columns are targets, the split."""
    source, series = data.read(
        config.csv, config.data, config.data_dir, time_column=config.time_column,
        resample=config.resample, dates=config.dates, missing=config.missing,
    )  # fmt: skip
    parts = data.split(len(series.values), calibrate=bool(config.levels))
    series, targets = data.choose(series, parts.train, config.targets)
    return source, series, targets, parts


def main(config: Config) -> dict[str, Any]:
    """Validate, refit, forecast the test part, and compare with the baselines."""
    run = runs.start("lstm_airquality", config)
    source, series, targets, parts = read(config)
    before = config.past.reach  # rows of a part before its first forecast
    counts = {f"{n} windows": max(0, b - a - before) for n, (a, b) in parts.spans.items()}
    counts["missing values"] = int(np.isnan(series.values).sum())
    names, truth = series.columns[:targets], series.values[:, :targets]
    tested = truth[parts.known + before :]
    data.check_scored(names, tested)
    run.begin(source, counts, series.notes)
    std = data.Scaler.of(truth[: parts.known]).std

    trained, history = train(series, targets, parts.train, parts.fitted, config, run)
    histories = {"first fit": history.rows}
    validated = trained.forecast(series, parts.train, parts.fitted, run.precision)
    seen = truth[parts.train + before : parts.fitted]
    val_r2 = evaluation.score(intervals.middle(validated), seen, std, names)[0]["r2"]
    if config.refit:
        trained, refit = train(series, targets, parts.fitted, parts.fitted, config, run, "refit")
        histories["refit"] = refit.rows

    run.phase("evaluation")
    # With quantiles the forecasts begin in the calibration part, else in the test part.
    forecasts = {OWN: trained.forecast(series, parts.fitted, parts.rows, run.precision)}
    if config.baselines:
        run.phase("baselines")
        given = (series, targets, parts, config.past, config.levels)
        forecasts |= baselines.cached_forecasts(*given, cache_folder(config.data_dir))
        run.phase("evaluation")

    points, metrics, by_feature, by_interval, corrections = {}, {}, {}, {}, {}
    for name, forecast in forecasts.items():
        points[name], covered = intervals.middle(forecast), {}
        if forecast.ndim == 3:  # quantiles, from the calibration part on
            wide, corrections[name] = intervals.calibrate(
                forecast, truth, parts, before, config.levels
            )
            points[name] = intervals.middle(wide)
            covered, by_interval[name] = intervals.measure(wide, tested, config.levels, std, names)
        scores, by_feature[name] = evaluation.score(points[name], tested, std, names)
        metrics[name] = scores | covered
    run.save_model(
        trained.models, features=list(series.columns), targets=targets, step=series.step,
        has_times=series.spacing is not None, mean=torch.from_numpy(trained.scaler.mean),
        std=torch.from_numpy(trained.scaler.std), **corrections.get(OWN, {}),
    )  # fmt: skip
    run.print("\n" + evaluation.feature_table(by_feature[OWN]))
    margins = corrections.get(OWN, {}).get("margins", ())
    if bare := [name for name, margin in zip(names, margins, strict=False) if margin.isnan()]:
        run.print(f"\nno interval, for no calibration row has a value: {', '.join(bare)}")
    if by_interval:
        run.print("\n" + intervals.interval_table(by_interval))

    def draw() -> None:
        figures.draw(run, series, parts.known, points, by_feature)
        run.save_plot(plots.curves(histories), "curves.png")

    own = {"val_r2": val_r2, **metrics.pop(OWN), "best_epoch": history.best.get("epoch", 0)}
    return run.finish(
        own,
        metrics,
        PUBLISHED if config.horizon == 1 and config.csv is None else {},
        predictions={
            name: evaluation.row_scores(forecast, tested, std) for name, forecast in points.items()
        },
        extra={"by_feature": by_feature, "intervals": by_interval},
        plots=draw,
    )


if __name__ == "__main__":
    cli(Config, main)
