"""The whole corpus of the Numenta Anomaly Benchmark under its own protocol: 58 series, 116 windows.

    python conv_autoencoder_nab/corpus.py
    python conv_autoencoder_nab/corpus.py --data sample --epochs 2     # in seconds, no download

Each series is read as it stands, row after row. Its first rows (NAB's probation: 15 %, at most 750)
teach scaling and networks; every later row gets a causal score. All series share one threshold,
and for each profile of costs it is the one that scores best: NAB's protocol chooses it by the
labels, for every detector on its scoreboard.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import runs
from common.batches import shuffled
from common.device import seed_everything
from common.downloads import DataSet, RemoteFile, obtain
from common.series import Series, read_series
from common.series import windows as windows_of
from common.settings import Settings, above, at_least, cli, require
from conv_autoencoder_nab import train
from conv_autoencoder_nab.data import (
    choose_season,
    fit_scaler,
    locate,
    read_labels,
    seasonal_slots,
)
from conv_autoencoder_nab.detector import member_scores
from conv_autoencoder_nab.model import ConvAutoencoder
from conv_autoencoder_nab.scoring import PROFILES, corpus_score, probation_rows

LABELS = "labels/combined_windows.json"
GROUPS = (
    "artificialNoAnomaly", "artificialWithAnomaly", "realAWSCloudwatch", "realAdExchange",
    "realKnownCause", "realTraffic", "realTweets",
)  # fmt: skip
METRICS = {f"nab_{name}": profile for name, profile in PROFILES.items()}
# In the order of METRICS, from results/final_results.json of github.com/numenta/NAB at ea702d75.
PUBLISHED = {
    "ARTime": (74.9, 65.2, 80.4),
    "numenta": (70.1, 63.1, 74.3),
    "contextOSE": (69.9, 67.0, 73.2),
    "htmjava": (65.5, 53.3, 70.4),
    "numentaTM": (64.6, 56.7, 69.2),
    "earthgeckoSkyline": (58.2, 46.2, 63.8),
    "knncad": (58.0, 43.4, 64.8),
    "relativeEntropy": (54.6, 47.6, 58.8),
    "randomCutForest": (51.7, 38.4, 59.7),
    "twitterADVec": (47.1, 33.6, 53.5),
    "windowedGaussian": (39.6, 20.9, 47.4),
    "skyline": (35.7, 27.1, 44.5),
    "random": (16.8, 5.8, 25.9),
    "expose": (16.4, 3.2, 26.9),
    "null": (0.0, 0.0, 0.0),
}


@dataclass
class Config(Settings):
    """Settings of the corpus: networks for each series, from at most 750 rows."""

    ONE_THREAD: ClassVar[bool] = True

    # Training
    epochs: int = 30  # passes over the windows of a series' probation
    batch_size: int = 64  # windows a step
    lr: float = 2e-3  # learning rate of Adam
    members: int = 3  # autoencoders of each series, averaged

    # Model
    window: int = 48  # rows of a window
    channels: tuple[int, int] = (16, 8)  # of the outer and of the inner layer
    kernel: int = 7  # rows that a convolution sees
    stride: int = 2  # rows from one output of a convolution to the next

    # Detection
    recent: int = 1  # rows at the window's end that a score averages
    quiet: int = 432  # rows: only a score above all of those before it is news

    def check(self) -> None:
        super().check()
        at_least(1, epochs=self.epochs, batch_size=self.batch_size, members=self.members)
        at_least(1, window=self.window, channels=min(self.channels), kernel=self.kernel)
        at_least(1, stride=self.stride, recent=self.recent, quiet=self.quiet)
        above(0, lr=self.lr)
        require(
            self.recent <= self.window,
            f"--recent {self.recent} must not be longer than --window {self.window}",
        )


def raw_scores(series: Series, config: Config, device: torch.device) -> dict[str, np.ndarray]:
    """Causal scores, (rows,): the networks', and the distance from the median as a baseline."""
    known = probation_rows(len(series.values))
    values = series.values[:, 0]
    season = choose_season(series, known)
    slots = seasonal_slots(series, season)
    scaled = fit_scaler("profile", values[:known], slots[:known], season).transform(values, slots)
    windows = windows_of(torch.from_numpy(scaled).float().to(device), config.window, 0, known)
    scores = np.zeros(len(values))
    for member in range(config.members):
        seed = config.seed * 1000 + member
        seed_everything(seed)
        model = ConvAutoencoder(config.channels, config.kernel, config.stride).to(device)
        optimizer = torch.optim.Adam(model.parameters(), config.lr)
        plan = shuffled(len(windows), config.batch_size, seed)
        # No `fit`: there is no validation, and 58 runs of their own would tell nobody anything.
        for epoch in range(config.epochs):
            for indices in plan(epoch)[: config.limit_batches or None]:
                optimizer.zero_grad()
                train.step(model, (windows[indices],))[0].backward()
                optimizer.step()
        scores += member_scores(model, scaled, config.window, config.recent, 1)["causal"]
    return {"autoencoder": scores, "distance from the median": np.abs(scaled)}


def news(scores: np.ndarray, known: int, quiet: int) -> np.ndarray:
    """What is new: each score over the root of the highest of the `quiet` rows before it, where it
    exceeds that, else 0. Both are in units of the highest of the first `known` rows.

    A disturbance is told once and not in each of its rows, as NAB's costs demand, and it counts
    less where the last one was as large.
    """
    import pandas as pd

    scaled = scores / max(np.nanmax(scores[:known]), 1e-9)
    before = pd.Series(scaled).shift(1).rolling(quiet, min_periods=1).max().to_numpy()
    is_new = scaled > before
    return np.where(is_new, scaled / np.sqrt(np.where(is_new, np.maximum(before, 1e-9), 1.0)), 0.0)


def main(config: Config) -> dict[str, Any]:
    """Score every series, find the thresholds, print the scoreboard."""
    run = runs.start("conv_autoencoder_nab", config, "corpus.py")
    source = obtain(DATASET, config.data, config.data_dir)
    path = source.folder / LABELS
    labels = read_labels(path)
    corpus = {name: read(source.folder / "data" / name) for name in labels}
    windows = {name: locate(labels[name], series, path) for name, series in corpus.items()}
    counts = {
        "series": len(corpus),
        "rows": sum(len(series.values) for series in corpus.values()),
        "labelled windows": sum(map(len, windows.values())),
    }
    run.begin(source, counts)
    model = ConvAutoencoder(config.channels, config.kernel, config.stride)
    run.describe_model(model, (torch.zeros(1, config.window),))
    run.phase("training")
    scored: dict[str, list] = {}
    for name, series in tqdm(corpus.items(), desc="series", disable=not sys.stderr.isatty()):
        known = probation_rows(len(series.values))
        for detector, scores in raw_scores(series, config, run.device).items():
            judged = (news(scores, known, config.quiet), windows[name])
            scored.setdefault(detector, []).append(judged)
    run.phase("evaluation")
    boards = {
        detector: {metric: corpus_score(judged, profile) for metric, profile in METRICS.items()}
        for detector, judged in scored.items()
    }
    own = boards.pop("autoencoder")
    published = {name: dict(zip(METRICS, row, strict=True)) for name, row in PUBLISHED.items()}
    results = run.finish(own, boards, published)
    better = sum(each["nab_standard"] > own["nab_standard"] for each in published.values())
    run.print(f"rank {better + 1} among NAB's {len(published)}, thresholds chosen by the labels")
    return results


def read(path: Path) -> Series:
    """A series of the corpus, its rows as they stand in the file."""
    return read_series(
        path, time_column="timestamp", columns=["value"], resample="none", missing="none"
    )


def make_sample(folder: Path) -> None:
    """Seven series of five-minute rows in NAB's format, three of them with a labelled spike."""
    import pandas as pd

    random = np.random.default_rng(58)
    times = pd.date_range("2014-02-14", periods=1000, freq="5min")
    labels = {}
    for number, group in enumerate(GROUPS):
        values = 50 + np.cumsum(random.normal(size=1000)) / 10 + random.normal(size=1000)
        name = f"{group}/sample_{number}.csv"
        labels[name] = []
        if number % 2:
            values[600:604] += 12
            labels[name] = [[f"{times[550]}.000000", f"{times[650]}.000000"]]
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"timestamp": times, "value": values}).to_csv(path, index=False)
    (folder / LABELS).parent.mkdir(parents=True, exist_ok=True)
    (folder / LABELS).write_text(json.dumps(labels, indent=4), encoding="utf-8")


ARCHIVE = "https://github.com/numenta/NAB/archive"
DATASET = DataSet(
    name="NAB corpus",
    folder="nab/corpus",
    needs=(LABELS, *(f"data/{group}" for group in GROUPS)),
    remote=(
        RemoteFile(
            "nab.zip",
            (
                f"{ARCHIVE}/ea702d75cc2258d9d7dd35ca8e5e2539d71f3140.zip",
                f"{ARCHIVE}/refs/heads/master.zip",
            ),
            unpack=True,
            inside="NAB-*",
        ),
    ),
    help="the folders data/ and labels/ of https://github.com/numenta/NAB",
    make_sample=make_sample,
    files=59,
    digest="964bc14309125607f41635ff42df2e89b2edd0d64ec355e98482df76c08c03ff",
)

if __name__ == "__main__":
    cli(Config, main)
