"""How fast the forecaster trains beside the usual way, and with how much memory.

    python tests/benchmarks/bench_lstm_airquality.py [epochs]

The usual way: a Dataset that cuts one window at a time, a DataLoader that shuffles and collates,
without worker processes or with two, the figures of each step fetched by .item(). All train the
same model on the same hours with the same batch size, in turns; the best turn of each counts.
Feeding is what can differ, so it is timed alone too: an epoch of batches without a model.

On a CPU the recurrence over 24 hours takes nine tenths of an epoch, whatever feeds it: feeding is
more than ten times as fast, and training as a whole hardly faster.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import runs
from common.report import peak_memory_mb
from common.series import Series

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lstm_airquality import data, train
from lstm_airquality.forecaster import INPUT, MODEL, make_model

ROWS = data.split(9357)  # as many as the real file has
TURNS = 3


class Windows(Dataset):
    def __init__(self, hours: data.Hours, first: int, last: int, config: train.Config):
        self.inputs, self.targets = hours.inputs.numpy(), hours.targets.numpy()
        self.observed, self.config = hours.observed.numpy(), config
        self.first, self.count = first, last - first - config.window - config.horizon + 1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        start = self.first + index
        end = start + self.config.window
        hit = end + self.config.horizon - 1
        return (
            torch.tensor(self.inputs[start:end]),
            torch.tensor(self.targets[hit]),
            torch.tensor(self.observed[hit]),
        )


def usual_loaders(series: Series, config: train.Config, workers: int) -> list[DataLoader]:
    scaler = data.fit_scaler(series.values[: ROWS.train])
    hours = data.prepare(series, scaler, config.horizon, use_calendar=True, use_mask=False)
    spans = ((0, ROWS.train), (ROWS.train, ROWS.known))
    return [
        DataLoader(Windows(hours, *span, config), config.batch_size, True, num_workers=workers)
        for span in spans
    ]


def usual(series: Series, config: train.Config, workers: int = 0) -> None:
    """Train the usual way, validating after each epoch."""
    loaders = usual_loaders(series, config, workers)
    model = make_model(config.chosen((*MODEL, *INPUT)))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    for _ in range(config.epochs):
        for loader, learns in zip(loaders, (True, False), strict=True):
            model.train(learns)
            figures = {"loss": 0.0, "mae": 0.0, "rmse": 0.0}
            for windows, targets, observed in loader:
                with torch.set_grad_enabled(learns):
                    errors = (model(windows) - targets) * observed
                    loss = errors.abs().sum() / observed.sum()
                if learns:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                figures["loss"] += loss.item() * len(windows)
                figures["mae"] += errors.abs().mean().item() * len(windows)
                figures["rmse"] += errors.square().mean().sqrt().item() * len(windows)


def ours(series: Series, config: train.Config) -> None:
    """Train as train.py does."""
    train.fit(series, ROWS.train, ROWS.known, config, runs.start("lstm_airquality", config))


def feed_usual(series: Series, config: train.Config) -> None:
    for _ in range(config.epochs):
        for loader in usual_loaders(series, config, 0):
            for _ in loader:
                pass


def feed_ours(series: Series, config: train.Config) -> None:
    scaler = data.fit_scaler(series.values[: ROWS.train])
    hours = data.prepare(series, scaler, config.horizon, use_calendar=True, use_mask=False)
    span = (config.window, config.horizon, config.batch_size)
    for number in range(config.epochs):
        for rows in ((0, ROWS.train), (ROWS.train, ROWS.known)):
            for windows, _, _ in hours.loader(*rows, *span, shuffle=True).epoch(number):
                windows.contiguous()


def compare(ways: dict[str, Callable[[Series, train.Config], None]], config: train.Config) -> None:
    """Print the best speed of each way, and how many times as fast the last one is."""
    times = pd.date_range("2004-03-10", periods=ROWS.rows, freq="h")
    values = np.random.default_rng(0).normal(size=(ROWS.rows, len(data.FEATURES)))
    series = Series(times, values, data.FEATURES, pd.Timedelta(hours=1))
    speeds = dict.fromkeys(ways, 0.0)
    for _ in range(TURNS):
        for name, way in ways.items():
            began = time.perf_counter()
            way(series, config)
            windows = config.epochs * (ROWS.known - 2 * config.window)
            speeds[name] = max(speeds[name], windows / (time.perf_counter() - began))
    *_, own = speeds.values()
    for name, speed in speeds.items():
        print(f"{name:<28} {speed:10,.0f} windows/s   ours is {own / speed:.1f} times as fast")


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        config = train.Config(epochs=epochs, device="cpu", out=folder)
        workers = partial(usual, workers=2)
        compare({"usual": usual, "usual, 2 workers": workers, "ours": ours}, config)
        compare({"feeding alone, usual": feed_usual, "feeding alone, ours": feed_ours}, config)
    print(f"peak memory {peak_memory_mb(torch.device('cpu')):.0f} MB, of this process alone")


if __name__ == "__main__":
    main()
