"""A trained forecaster with all it needs to go on by itself: scaler, settings, saving, roll-out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import checkpoints, training
from common.batches import Loader, in_order
from common.errors import UserError
from common.series import Series

import numpy as np
import torch

from lstm_airquality.data import CALENDAR, FEATURES, Hours, Scaler, prepare
from lstm_airquality.model import Forecaster

FILE = "forecaster.pt"  # in the folder of a run
MODEL = (
    "cell",
    "hidden_size",
    "layers",
    "bidirectional",
    "readout",
    "dropout",
    "relative",
    "target",
)
BATCH = 1024
INPUT = ("window", "horizon", "calendar", "mask")


def make_model(settings: Mapping[str, Any]) -> Forecaster:
    """The model that the settings named in MODEL and INPUT ask for."""
    features = len(FEATURES)
    inputs = features + CALENDAR * settings["calendar"] + features * settings["mask"]
    return Forecaster(inputs, features, **{name: settings[name] for name in MODEL})


@dataclass
class Trained:
    """A model in evaluation mode, the scaler of its training rows and its settings."""

    model: Forecaster
    scaler: Scaler
    settings: dict[str, Any]  # those of MODEL and INPUT

    def save(self, path: Path) -> None:
        """Write all of it to one file."""
        state = {
            "model": self.model.state_dict(),
            "mean": torch.tensor(self.scaler.mean),
            "std": torch.tensor(self.scaler.std),
            "settings": self.settings,
        }
        checkpoints.save(path, state)

    @classmethod
    def load(cls, path: Path, device: torch.device | str) -> "Trained":
        """Read what `save` wrote.

        Raises:
            UserError: no such file, damaged, or no forecaster.
        """
        state = checkpoints.load(path, device)
        try:
            scaler = Scaler(state["mean"].cpu().numpy(), state["std"].cpu().numpy())
            model = make_model(state["settings"])
            checkpoints.load_weights(model, state["model"], str(path))
            return cls(model.to(device).eval(), scaler, state["settings"])
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} is no forecaster (it lacks {error}): give the {FILE} of a run"
            ) from error

    def prepare(self, series: Series) -> Hours:
        """The series as this model's inputs and targets."""
        return prepare(
            series,
            self.scaler,
            self.settings["horizon"],
            use_calendar=self.settings["calendar"],
            use_mask=self.settings["mask"],
            device=next(self.model.parameters()).device,
        )

    def forecast(self, series: Series, first: int, last: int) -> np.ndarray:
        """Forecasts from every window wholly in rows `first` to `last`, (count, features).

        They are in the features' units and belong to the rows `last - count` to `last`.
        """
        window, horizon = self.settings["window"], self.settings["horizon"]
        tensors = self.prepare(series).windows(first, last, window, horizon)
        loader = Loader(in_order(len(tensors[0]), BATCH), lambda indices: tensors[0][indices])
        scaled = training.predict(self.model, loader, lambda model, windows: model(windows))
        return self.scaler.inverse(scaled.double().numpy())

    @torch.no_grad()
    def roll_out(self, series: Series, hours: int) -> np.ndarray:
        """The `hours` after the series, (hours, features), in the features' units.

        A forecaster of horizon h reaches h hours with observed inputs alone; beyond them its own
        forecasts are its inputs.

        Raises:
            UserError: the series is too short for one window.
        """
        window, horizon = self.settings["window"], self.settings["horizon"]
        rows = len(series.values)
        if rows < window + horizon - 1:
            raise UserError(
                f"{rows} hours are too few: this forecaster needs {window + horizon - 1} "
                f"(a window of {window}, {horizon} ahead)"
            )
        inputs = self.prepare(lengthened(series, hours)).inputs  # (rows + hours, inputs)
        for row in range(rows, rows + hours):
            end = row - horizon + 1
            inputs[row, : len(FEATURES)] = self.model(inputs[None, end - window : end])[0]
        return self.scaler.inverse(inputs[rows:, : len(FEATURES)].double().cpu().numpy())


def lengthened(series: Series, hours: int) -> Series:
    """The series with so many hours of missing values after it."""
    import pandas as pd

    rows = len(series.values) + hours
    times = pd.date_range(series.times[0], periods=rows, freq=series.spacing)
    unknown = np.full((hours, series.values.shape[1]), np.nan)
    return Series(times, np.vstack([series.values, unknown]), series.columns, series.spacing)
