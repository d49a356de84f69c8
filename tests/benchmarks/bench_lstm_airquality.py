"""How fast lstm_airquality trains beside a plain script and Lightning.

    python tests/benchmarks/bench_lstm_airquality.py [--threads N] [--seconds S]

The usual way: a Dataset that cuts one window at a time, and a DataLoader that collates them.

On a CPU the recurrence over 24 hours takes nine tenths of an epoch, whatever feeds it: feeding is
more than ten times as fast, and training as a whole hardly faster.
"""

import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.downloads import Source, obtain
from common.training import parameter_groups

import harness
import torch
from case import Case, repeated
from torch import Tensor, nn
from torch.utils.data import Dataset

from lstm_airquality import data, train
from lstm_airquality.forecaster import INPUT, MODEL, make_model


class Windows(Dataset):
    def __init__(self, hours: data.Hours, config: train.Config):
        self.inputs, self.targets = hours.inputs.numpy(), hours.targets.numpy()
        self.observed, self.config = hours.observed.numpy(), config

    def __len__(self) -> int:
        return len(self.inputs) - self.config.window - self.config.horizon + 1

    def __getitem__(self, start: int) -> tuple[Tensor, Tensor, Tensor]:
        end = start + self.config.window
        hit = end + self.config.horizon - 1
        return (
            torch.tensor(self.inputs[start:end]),
            torch.tensor(self.targets[hit]),
            torch.tensor(self.observed[hit]),
        )


@cache
def hours(horizon: int) -> tuple[Source, data.Hours]:
    """Where the training hours come from, and the hours."""
    source = obtain(data.DATASET, "auto", "")
    series = data.load(source.folder / data.FILE)
    train_rows = data.split(len(series.values)).train
    scaler = data.fit_scaler(series.values[:train_rows])
    whole = data.prepare(series, scaler, horizon, use_calendar=True, use_mask=False)
    parts = (whole.inputs, whole.targets, whole.observed)
    known = data.Hours(*(part[:train_rows] for part in parts), scaler)
    return source, known


def build(config: train.Config, factor: float) -> Case:
    source, known = hours(config.horizon)
    rows = repeated(len(known.inputs), factor)
    parts = (known.inputs, known.targets, known.observed)
    larger = data.Hours(*(part[rows] for part in parts), known.scaler)
    span = (config.window, config.horizon, config.batch_size)
    model = partial(make_model, config.chosen((*MODEL, *INPUT)))

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameter_groups(model, config.weight_decay), lr=config.lr)

    return Case(
        source=source,
        unit="windows",
        config=config,
        step=train.make_step(config.loss),
        inputs=lambda batch: batch[:1],
        loader=larger.loader(0, len(rows), *span, shuffle=True),
        model=model,
        optimizer=optimizer,
        dataset=partial(Windows, known, config),
        usual_model=model,
        usual_optimizer=optimizer,
    )


def sized(config: train.Config, factor: float) -> train.Config:
    return replace(config, hidden_size=round(config.hidden_size * factor))


if __name__ == "__main__":
    script = "lstm_airquality/train.py"
    harness.main(script, train.Config(), build, sized, framework="Lightning")
