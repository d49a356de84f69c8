"""The smallest project that uses all of common's training: the tests start, stop and resume it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from common import plots, runs, training
from common.batches import tensor_loader
from common.config import Settings, cli
from common.downloads import Source

import torch
from torch import nn


@dataclass
class Config(Settings):
    """Fit the square of a sum."""

    epochs: int = 4  # passes over the training split
    batch_size: int = 50  # samples a step
    hidden_size: int = 8  # units of the hidden layer
    dropout: float = 0.1  # share of hidden units dropped
    step_seconds: float = 0.0  # a pause in each step, so that a test can stop the run in the middle
    explode_at: int = 0  # training sample whose target is infinite; 0 = none


def main(config: Config) -> dict:
    run = runs.start("toy_project", config)
    inputs = torch.randn(501, 4, generator=torch.Generator().manual_seed(1))
    targets = inputs.sum(1, keepdim=True).square()
    if config.explode_at:
        targets[config.explode_at] = torch.inf
    run.describe_data(Source("toy", "sample", Path()), {"train": 401, "validation": 100})
    model = nn.Sequential(
        nn.Linear(4, config.hidden_size),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden_size, 1),
    )
    run.describe_model(model, (inputs[:1],))
    train_loader = tensor_loader(
        (inputs[:401], targets[:401]), config.batch_size, shuffle=True, seed=config.seed
    )
    val_loader = tensor_loader((inputs[401:], targets[401:]), config.batch_size)

    def step(model, batch):
        inputs, targets = batch
        time.sleep(config.step_seconds)
        errors = model(inputs) - targets
        return errors.square().mean(), len(inputs), {"mae": errors.abs().sum()}

    groups = training.parameter_groups(model, config.weight_decay)
    optimizer = torch.optim.Adam(groups, lr=config.lr)
    history = training.fit(model, train_loader, val_loader, step, optimizer, config, run)
    run.save_plot(plots.curves({"toy": history.rows}, ("loss", "mae")), "curves.png")
    metrics = {"val_mae": history.best["val_mae"], "val_loss": history.best["val_loss"]}
    return run.finish(metrics, {"mean": {"val_mae": 3.0}}, {"val_mae": 1.0})


if __name__ == "__main__":
    cli(Config, main)
