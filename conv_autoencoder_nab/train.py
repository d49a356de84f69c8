"""Find what is unusual in the taxi rides of New York with a convolutional autoencoder.

    python conv_autoencoder_nab/train.py                      # the README's result
    python conv_autoencoder_nab/train.py --scaling zscore --members 1   # the usual way
    python conv_autoencoder_nab/train.py --data sample --epochs 5       # in seconds, no download

Labels place the split (the rows before the first labelled window train and validate) and judge
the alarms; they are used for nothing else.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import runs
from common.batches import tensor_loader
from common.device import seed_everything
from common.downloads import obtain
from common.runs import Run
from common.series import Series
from common.series import windows as windows_of
from common.settings import Settings, above, at_least, cli, fraction, require
from common.training import History, fit
from conv_autoencoder_nab import baselines, data, figures
from conv_autoencoder_nab.data import Parts, Scaling, fit_scaler, seasonal_slots
from conv_autoencoder_nab.detector import (
    SCORING_BATCH,
    VARIANTS,
    Detector,
    Rule,
    Scores,
    Variant,
    look_ahead,
    threshold,
)
from conv_autoencoder_nab.model import ConvAutoencoder
from conv_autoencoder_nab.scoring import evaluate

MOST_WINDOWS = 10_000  # of an epoch: of a longer series every second, third, ... is taken
COMPARED = (  # of the baselines' metrics
    "nab_score", "windows_found", "false_alarms", "false_alarms_all", "event_f1", "roc_auc",
    "pr_auc", "vus_pr",
)  # fmt: skip
# nab_score: standard profile, 0 to 100, each with the one threshold that its authors tuned for the
# whole corpus; recomputed from the result files of the NAB repository, where seven more detectors
# score 0. vus_pr: TSB-AD's table of single series (Liu and Paparrizos 2024), 006_NAB_id_6_Traffic.
PUBLISHED = {
    "relativeEntropy": {"nab_score": 88.3},
    "ARTime": {"nab_score": 87.8},
    "htmjava": {"nab_score": 75.2},
    "numenta": {"nab_score": 74.4},
    "numentaTM": {"nab_score": 54.7},
    "knncad": {"nab_score": 52.7},
    "contextOSE": {"nab_score": 36.8},
    "randomCutForest": {"nab_score": 18.2},
    "KShapeAD": {"vus_pr": 0.841},
    "Sub-KNN": {"vus_pr": 0.790},
    "AutoEncoder of TSB-AD": {"vus_pr": 0.496},
}


@dataclass
class Config(Settings):
    ONE_THREAD: ClassVar[bool] = True  # networks so small gain nothing from a second

    # Training
    epochs: int = 30  # passes over the training windows
    batch_size: int = 128  # windows a step
    lr: float = 2e-3  # learning rate of Adam
    precision: Literal["auto", "float32", "bfloat16"] = "float32"  # bfloat16 rounds the errors away
    members: int = 5  # autoencoders that are trained and averaged

    # Model
    window: int = 192  # rows of a window: four days of half-hours
    channels: tuple[int, int] = (16, 8)  # of the outer and of the inner layer
    kernel: int = 7  # rows that a convolution sees
    stride: int = 2  # rows from one output of a convolution to the next
    dropout: float = 0.0  # fraction of activations set to 0 in training

    # Detection
    scaling: Scaling = "profile"  # profile = by the place in the season; zscore, minmax
    season: int = 336  # rows until the pattern repeats, a week of half-hours; 1 = never
    recent: int = 24  # rows at the window's end that a causal score averages
    around: int = 144  # rows about the window's middle that a centred score averages
    rule: Rule = "events"  # threshold from normal scores: events, quantile, pot (Pareto tail)
    tolerated: int = 0  # events that the rows learned from may have, for the rule events
    rate: float = 0.001  # fraction of normal rows above the threshold, for quantile and pot
    gap: float = 24.0  # hours: alarms at most so far apart are one event

    def check(self) -> None:
        super().check()
        at_least(1, epochs=self.epochs, batch_size=self.batch_size, members=self.members)
        at_least(1, window=self.window, channels=min(self.channels), kernel=self.kernel)
        at_least(1, stride=self.stride, season=self.season, recent=self.recent, around=self.around)
        at_least(0, gap=self.gap, tolerated=self.tolerated)
        above(0, lr=self.lr, rate=self.rate)
        fraction(dropout=self.dropout, rate=self.rate)
        averaged = max(self.recent, self.around)
        require(
            averaged <= self.window,
            f"--recent and --around must not exceed --window, {self.window}: one is {averaged}",
        )


def step(model: nn.Module, batch: tuple[Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
    """Mean squared error of the restored windows."""
    (windows,) = batch  # (batch, window)
    return F.mse_loss(model(windows), windows), len(windows), {}


def make_model(config: Config) -> ConvAutoencoder:
    return ConvAutoencoder(config.channels, config.kernel, config.stride, config.dropout)


def train(
    scaled: np.ndarray, parts: Parts, config: Config, run: Run
) -> tuple[list[nn.Module], list[History]]:
    """Train the members, alike but for their seeds, on windows of training rows alone.

    scaled: (rows,), NaN where there is no value.
    """
    values = torch.from_numpy(np.nan_to_num(scaled)).float().to(run.device)
    train_windows = windows_of(values, config.window, 0, parts.train)  # (windows, window)
    train_windows = train_windows[:: 1 + len(train_windows) // MOST_WINDOWS]
    val_windows = windows_of(values, config.window, parts.train, parts.normal)
    models, histories = [], []
    for member in range(config.members):
        seed = config.seed * 1000 + member
        seed_everything(seed)
        model = make_model(config).to(run.device)
        history = fit(
            model,
            torch.optim.Adam(model.parameters(), lr=config.lr),
            step,
            tensor_loader([train_windows], config.batch_size, shuffle=True, seed=seed),
            tensor_loader([val_windows], SCORING_BATCH),
            run.part(f"member {member + 1}"),
            epochs=config.epochs,
        )
        models.append(model)
        histories.append(history)
    return models, histories


def level_of(scores: np.ndarray, variant: Variant, last: int, gap: int, config: Config) -> float:
    """The threshold for `scores`, (rows,), by those that depend on the first `last` rows alone."""
    normal = scores[: last - look_ahead(config.window, variant)]
    return threshold(normal, config.rule, rate=config.rate, tolerated=config.tolerated, gap=gap)


def fit_detector(
    series: Series, parts: Parts, calibration: int, config: Config, run: Run
) -> tuple[Detector, Scores, list[History]]:
    """Scale, train, and set medians and thresholds.

    Args:
        series: its first column is learned from, and of that the training rows alone.
        calibration: the thresholds are by the scores of the first so many rows.

    Returns:
        the detector, its scores of all rows, and the members' histories.
    """
    values, slots = series.values[:, 0], seasonal_slots(series, config.season)
    known = slice(0, parts.train)
    scaler = fit_scaler(config.scaling, values[known], slots[known], config.season)
    models, histories = train(scaler.transform(values, slots), parts, config, run)
    gap = series.rows_in(config.gap) if config.gap else 0
    detector = Detector(
        models, scaler, step=series.step, season=config.season, window=config.window,
        recent=config.recent, around=config.around, gap=gap, column=series.columns[0],
    )  # fmt: skip
    scores = detector.calibrate(values, slots, parts.train)
    for variant in VARIANTS:
        level = level_of(scores[variant], variant, calibration, gap, config)
        detector.thresholds[variant] = level
    return detector, scores, histories


def main(config: Config) -> dict[str, Any]:
    """Train, score, set alarms, and compare with the labels, the baselines and NAB's detectors."""
    run = runs.start("conv_autoencoder_nab", config)
    source = obtain(data.DATASET, config.data, config.data_dir)
    labelled = data.load(source.folder)
    parts = data.split(labelled.windows[0][0])
    counts = {
        "training rows": parts.train,
        "validation rows": parts.normal - parts.train,
        "test rows": len(labelled.values) - parts.normal,
        "labelled windows": len(labelled.windows),
    }
    run.begin(source, counts, labelled.series.notes)
    run.describe_model(make_model(config), (torch.zeros(1, config.window),))
    # Thresholds by the training rows alone, as in the comparison that chose their rule. Where rows
    # are few, predict.py counts the validation rows too.
    detector, scores, histories = fit_detector(labelled.series, parts, parts.train, config, run)
    run.save_model(detector.models, **detector.preprocessing())

    def judge(scores: np.ndarray, variant: Variant) -> dict[str, float]:
        level = level_of(scores, variant, parts.train, detector.gap, config)
        hours = labelled.series.step / 3600e9  # from row to row
        return evaluate(scores, level, labelled.windows, parts.normal, detector.gap, hours)

    run.phase("evaluation")
    metrics = {variant: judge(scores[variant], variant) for variant in VARIANTS}
    run.phase("baselines")
    classical = baselines.scores(labelled, parts, config.recent, config.season, config.seed)
    compared = {}
    for name, (variant, own) in classical.items():
        judged = judge(own, variant)
        compared[name] = {metric: judged[metric] for metric in COMPARED}
    draw = partial(figures.draw, run, labelled, parts, detector, scores, histories)
    return run.finish(metrics, compared, PUBLISHED, plots=draw)


if __name__ == "__main__":
    cli(Config, main)
