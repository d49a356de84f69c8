"""The smallest project that uses all of common's training: the tests start, stop and resume it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch
from torch import nn

from common import device, runs, training
from common.batches import Loader, shuffled, tensor_loader
from common.downloads import Source
from common.settings import Settings, at_least, cli


@dataclass
class Config(Settings):
    """Fit the square of a sum, twice."""

    # Training
    epochs: int = 4  # passes over the training split
    batch_size: int = 50  # samples a step
    lr: float = 1e-3  # learning rate
    ema_decay: float = 0.9  # averaged weights: decay a step; 0 = no averaging
    accumulate: int = 1  # parts of a batch
    flip: bool = True  # means nothing

    # Model
    hidden_size: int = 8  # units of the hidden layer
    dropout: float = 0.1  # fraction of hidden units dropped

    # Faults
    step_seconds: float = 0.0  # a pause in each step, so that a test can stop the run in the middle
    explode_at: int = 0  # training sample whose target is infinite; 0 = none
    content: str = "abc"  # checksum of the data

    def check(self) -> None:
        super().check()
        at_least(1, epochs=self.epochs, batch_size=self.batch_size)


def main(config: Config) -> dict:
    run = runs.start("toy_project", config)
    inputs = torch.randn(501, 4, generator=torch.Generator().manual_seed(1))
    targets = inputs.sum(1, keepdim=True).square()
    if config.explode_at:
        targets[config.explode_at] = torch.inf
    source = Source("toy", "sample", Path(), config.content)
    run.begin(source, {"train": 401, "validation": 100})
    plan = shuffled(401, config.batch_size, config.seed)

    def step(model, batch):
        inputs, targets = batch
        if model.training:
            time.sleep(config.step_seconds)
        errors = model(inputs) - targets
        return errors.square().mean(), len(inputs), {"mae": errors.abs().sum()}

    metrics = {}
    for name in ("first", "second"):
        part = run.part(name)
        device.seed_everything(config.seed)  # whatever was trained before
        model = nn.Sequential(
            nn.Linear(4, config.hidden_size),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_size, 1),
        )
        history = training.fit(
            model,
            torch.optim.Adam(training.decay_groups(model, 0.01), lr=config.lr),
            step,
            Loader(plan, lambda rows: (inputs[rows], targets[rows]), least=2),
            tensor_loader((inputs[401:], targets[401:]), config.batch_size),
            part,
            epochs=config.epochs,
            schedule="cosine",
            ema_decay=config.ema_decay,
            accumulate=config.accumulate,
        )
        part.save_model(model)
        metrics[name] = {"val_mae": history.best["val_mae"], "val_accuracy": 0.5}
    return run.finish(metrics, {"mean": {"val_mae": 3.0}}, {"val_mae": 1.0})


if __name__ == "__main__":
    cli(Config, main)
