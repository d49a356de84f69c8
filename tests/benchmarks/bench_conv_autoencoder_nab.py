"""How fast conv_autoencoder_nab trains beside a plain script.

    python tests/benchmarks/bench_conv_autoencoder_nab.py [--threads N] [--seconds S]

The usual way: a Dataset that cuts one window at a time, and a DataLoader that collates them.

On a CPU the convolutions of this small model take nine tenths of our time, whatever feeds them, so
that the ratio has a low ceiling there; worker processes cost an epoch more to start than they save.
"""

import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.batches import tensor_loader
from common.downloads import Source, obtain
from common.series import windows
from common.training import parameter_groups

import harness
import numpy as np
import torch
from case import Case, repeated
from torch import Tensor, nn
from torch.utils.data import Dataset

from conv_autoencoder_nab import data, detector
from conv_autoencoder_nab.train import Config


class Windows(Dataset):
    def __init__(self, values: np.ndarray, window: int):
        self.values, self.window = values, window

    def __len__(self) -> int:
        return len(self.values) - self.window + 1

    def __getitem__(self, row: int) -> tuple[Tensor]:
        return (torch.tensor(self.values[row : row + self.window], dtype=torch.float32),)


@cache
def rides() -> tuple[Source, np.ndarray]:
    """Where the training rows come from, and the rows, scaled."""
    source = obtain(data.DATASET, "auto", "")
    labelled = data.load(source.folder)
    values = labelled.values[: data.split(labelled.windows[0][0]).train]
    slots = np.zeros(len(values), dtype=np.int64)
    scaled = data.fit_scaler("zscore", values, slots, 1).transform(values, slots)
    return source, np.nan_to_num(scaled)


def build(config: Config, factor: float) -> Case:
    source, values = rides()
    larger = torch.from_numpy(values).float()[repeated(len(values), factor)]
    model = partial(detector.make_model, config)

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameter_groups(model, config.weight_decay), lr=config.lr)

    return Case(
        source=source,
        unit="windows",
        config=config,
        step=detector.step,
        inputs=lambda batch: batch,
        loader=tensor_loader([windows(larger, config.window)], config.batch_size, shuffle=True),
        model=model,
        optimizer=optimizer,
        dataset=partial(Windows, values, config.window),
        usual_model=model,
        usual_optimizer=optimizer,
    )


def sized(config: Config, factor: float) -> Config:
    outer, inner = (round(channels * factor) for channels in config.channels)
    return replace(config, channels=(outer, inner))


if __name__ == "__main__":
    harness.main("conv_autoencoder_nab/train.py", Config(), build, sized)
