"""How fast the autoencoder trains beside the usual way, and with how much memory.

    python tests/benchmarks/bench_conv_autoencoder_nab.py [epochs]

The usual way: a Dataset that cuts one window at a time, a DataLoader that shuffles and collates,
without worker processes or with two, the figures of each step fetched by .item(). All train the
same model on the same rows with the same batch size, in turns; the best turn of each counts.

On a CPU the convolutions of this small model take nine tenths of our time, whatever feeds them, so
that the ratio has a low ceiling there: about 1.3 without workers, and more with them, which cost
an epoch more to start than they save.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import runs
from common.report import peak_memory_mb

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from conv_autoencoder_nab.data import Parts
from conv_autoencoder_nab.detector import fit_members, make_model
from conv_autoencoder_nab.train import Config

ROWS = Parts(train=5255, normal=5839)  # as many as the NYC taxi series has
TURNS = 3
FLOOR = 1.0


class Windows(Dataset):
    def __init__(self, values: np.ndarray, window: int):
        self.values, self.window = values, window

    def __len__(self) -> int:
        return len(self.values) - self.window + 1

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.tensor(self.values[row : row + self.window], dtype=torch.float32)


def usual(values: np.ndarray, config: Config, workers: int = 0) -> None:
    """Train one autoencoder the usual way, validating after each epoch."""
    parts = (values[: ROWS.train], values[ROWS.train : ROWS.normal])
    train, validation = (
        DataLoader(Windows(part, config.window), config.batch_size, True, num_workers=workers)
        for part in parts
    )
    model = make_model(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    for _ in range(config.epochs):
        for loader, learns in ((train, True), (validation, False)):
            model.train(learns)
            squared = absolute = 0.0
            for windows in loader:
                with torch.set_grad_enabled(learns):
                    restored = model(windows)
                    loss = F.mse_loss(restored, windows)
                if learns:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                squared += loss.item() * len(windows)
                absolute += (restored - windows).abs().mean().item() * len(windows)


def ours(values: np.ndarray, config: Config) -> None:
    """Train one autoencoder as train.py does."""
    fit_members(values, ROWS, config, runs.start("conv_autoencoder_nab", config))


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    values = np.random.default_rng(0).normal(size=10_320)
    ways = {"usual": usual, "usual, 2 workers": partial(usual, workers=2), "ours": ours}
    speeds = dict.fromkeys(ways, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        config = Config(epochs=epochs, members=1, device="cpu", out=folder)
        windows = epochs * (ROWS.train - config.window + 1)
        for _ in range(TURNS):
            for name, way in ways.items():
                began = time.perf_counter()
                way(values, config)
                speeds[name] = max(speeds[name], windows / (time.perf_counter() - began))
    for name, speed in speeds.items():
        ratio = speeds["ours"] / speed
        print(f"{name:<18} {speed:10,.0f} windows/s   ours is {ratio:.1f} times as fast")
    print(f"peak memory {peak_memory_mb(torch.device('cpu')):.0f} MB, of this process alone")
    assert speeds["ours"] >= FLOOR * speeds["usual"]


if __name__ == "__main__":
    main()
