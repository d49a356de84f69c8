"""Forecast the air of an Italian street: pollutants, sensors and weather, hours ahead.

    python lstm_airquality/train.py                        # the README's result, the next hour
    python lstm_airquality/train.py --recipe 24h           # 24 hours ahead
    python lstm_airquality/train.py --recipe published     # one BiLSTM, values, no calendar
    python lstm_airquality/train.py --data sample          # in seconds, no download

A first model, trained without the validation hours, says how good the settings are (`val_r2`; the
defaults were chosen by it). Then a new model is trained alike on training and validation hours
together, and forecasts the test part (`--refit false` to see what that gives).
"""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import device, plots, runs, training
from common.config import Settings, cli
from common.downloads import obtain
from common.errors import require
from common.progress import History
from common.runs import Run
from common.series import Series

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lstm_airquality import baselines, data, figures
from lstm_airquality.evaluation import feature_table, score
from lstm_airquality.forecaster import FILE, INPUT, MODEL, Trained, make_model
from lstm_airquality.model import Cell, Readout, Target

PUBLISHED_RECIPE = {
    "epochs": 20, "batch_size": 64, "lr": 1e-3, "schedule": "constant", "cell": "lstm",
    "readout": "last", "dropout": 0.2, "relative": False, "target": "value", "calendar": False,
    "loss": "mse",
}  # fmt: skip
DAY_AHEAD_RECIPE = {"horizon": 24, "readout": "last", "lr": 3e-3, "epochs": 4, "loss": "l1"}
PUBLISHED = {
    "BiLSTM, lr 0.001": {"r2": 0.7616},
    "BiLSTM, lr 0.01": {"r2": 0.6191},
    "LSTM, lr 0.001": {"r2": 0.6885},
}
SCORING_BATCH = 1024
HUBER = 0.5  # training standard deviations up to which an error counts squared
OWN = "this run"


@dataclass
class Config(Settings):
    """Settings of lstm_airquality."""

    RECIPES: ClassVar = {"published": PUBLISHED_RECIPE, "24h": DAY_AHEAD_RECIPE}

    # Training
    recipe: Literal["improved", "published", "24h"] = "improved"  # set of defaults
    epochs: int = 8  # passes over the training windows; where validation is best early, give fewer
    batch_size: int = 128  # windows a step
    lr: float = 5e-3  # learning rate, at its highest
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"  # course of the learning rate
    loss: Literal["l1", "mse", "huber"] = "huber"  # absolute, squared, or squared where it is small
    refit: bool = True  # train anew on training and validation hours before testing

    # Model
    cell: Cell = "gru"  # lstm, gru, or transformer: a small encoder
    hidden_size: int = 64  # units of each direction
    layers: int = 1  # recurrent layers
    bidirectional: bool = True  # a second direction reads the window backwards
    readout: Readout = "ends"  # state at the last step (as published), or at each direction's end
    dropout: float = 0.4  # share of the head's inputs dropped in training
    relative: bool = True  # inputs as differences from the window's last values, and those values
    target: Target = "change"  # forecast the change from the last value, or the value itself

    # Forecast
    window: int = 24  # hours that the model sees
    horizon: int = 1  # hours from the window's last hour to the one forecast
    calendar: bool = True  # inputs: hour of day, day of week and weekend of the hour forecast
    mask: bool = False  # inputs: which values were observed and which filled
    baselines: bool = True  # fit and score the baselines too, about half a minute

    def check(self) -> None:
        super().check()
        self.check_at_least(1, "hidden_size", "layers", "window", "horizon")
        require(0 <= self.dropout < 1, f"--dropout must lie in 0 <= p < 1, not {self.dropout}")
        require(
            self.cell != "transformer" or self.hidden_size % 4 == 0,
            f"--hidden-size {self.hidden_size}: a Transformer needs a multiple of its 4 heads",
        )


def make_step(loss: str) -> training.Step:
    """Mean error of the observed targets of a batch; missing ones count nothing."""
    error_of = {
        "l1": F.l1_loss,
        "mse": F.mse_loss,
        "huber": functools.partial(F.smooth_l1_loss, beta=HUBER),
    }[loss]

    def step(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, dict]:
        windows, targets, observed = batch  # (b, window, inputs), (b, features), (b, features)
        errors = error_of(model(windows), targets, reduction="none") * observed
        count = observed.sum()
        return errors.sum() / count.clamp(min=1), count, {}

    return step


def main(config: Config) -> dict[str, Any]:
    """Validate, refit, forecast the test part, and compare with the baselines."""
    run = runs.start("lstm_airquality", config)
    source = obtain(data.DATASET, config.data, config.data_dir)
    series = data.load(source.folder / data.FILE)
    parts = data.split(len(series.values))
    lost = config.window + config.horizon - 1
    counts = {
        "training windows": max(0, parts.train - lost),
        "validation windows": max(0, parts.known - parts.train - lost),
        "test windows": max(0, parts.rows - parts.known - lost),
        "missing values": int(np.isnan(series.values).sum()),
    }
    run.describe_data(source, counts)
    for note in series.notes:
        run.print(f"          {note}")

    trained, history = fit(series, parts.train, parts.known, config, run)
    std = data.fit_scaler(series.values[: parts.known]).std
    validation, _ = judge(
        trained.forecast(series, parts.train, parts.known), series, parts.known, std
    )
    curves = {"first fit": history.rows}
    if config.refit and not run.stop.signal:
        trained, refitted = fit(series, parts.known, parts.known, config, run.part("refit"))
        curves["refit"] = refitted.rows
    forecasts = {OWN: trained.forecast(series, parts.known, parts.rows)}
    if config.baselines:
        forecasts |= baselines.forecasts(series, parts, config.window, config.horizon)
    found = {name: judge(each, series, parts.rows, std) for name, each in forecasts.items()}
    test, by_feature = found[OWN]
    run.print("\n" + feature_table(by_feature))
    if run.is_main:
        trained.save(run.folder / FILE)
        figures.draw(run, series, parts, forecasts, {n: rows for n, (_, rows) in found.items()})
        run.save_plot(plots.curves(curves), "curves.png")
    return run.finish(
        {"val_r2": validation["r2"], **test, "best_epoch": history.best.get("epoch", 0)},
        {name: scores for name, (scores, _) in found.items() if name != OWN},
        PUBLISHED if config.horizon == 1 else {},
        {"by_feature": {name: rows for name, (_, rows) in found.items()}},
    )


def fit(series: Series, known: int, last: int, config: Config, run: Run) -> tuple[Trained, History]:
    """Learn, the scaler too, from the rows before `known`; validate on the rest before `last`."""
    device.seed_everything(config.seed)
    settings = config.chosen((*MODEL, *INPUT))
    model = make_model(settings).to(run.device)
    trained = Trained(model, data.fit_scaler(series.values[:known]), settings)
    hours, span = trained.prepare(series), (config.window, config.horizon)
    train_loader = hours.loader(0, known, *span, config.batch_size, shuffle=True, seed=config.seed)
    val_loader = hours.loader(known, last, *span, SCORING_BATCH) if last > known else None
    if val_loader:
        run.describe_model(model, (hours.inputs[None, : config.window],))
    optimizer = torch.optim.Adam(
        training.parameter_groups(model, config.weight_decay), lr=config.lr
    )
    step = make_step(config.loss)
    return trained, training.fit(model, train_loader, val_loader, step, optimizer, config, run)


def judge(
    forecast: np.ndarray, series: Series, last: int, std: np.ndarray
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Score forecasts of the hours that end before row `last`."""
    return score(forecast, series.values[last - len(forecast) : last], std)


if __name__ == "__main__":
    cli(Config, main)
