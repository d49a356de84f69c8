"""Find what is unusual in the taxi rides of New York with a convolutional autoencoder.

    python conv_autoencoder_nab/train.py                      # the README's result
    python conv_autoencoder_nab/train.py --scaling zscore --members 1   # the usual way
    python conv_autoencoder_nab/train.py --data sample --epochs 5       # in seconds, no download

Labels place the split (the rows before the first labelled window train and validate) and judge
the alarms; they are used for nothing else.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import plots, runs
from common.config import Settings, cli
from common.downloads import obtain
from common.errors import require

import numpy as np
import torch

from conv_autoencoder_nab import baselines, data, figures
from conv_autoencoder_nab.data import Scaling
from conv_autoencoder_nab.detector import VARIANTS, fit_detector, known_rows, make_model
from conv_autoencoder_nab.evaluation import Rule, evaluate, threshold
from conv_autoencoder_nab.nab_scoring import PUBLISHED_NYC_TAXI

COMPARED = (
    "nab_score",
    "windows_found",
    "false_alarms",
    "false_alarms_all",
    "event_f1",
    "roc_auc",
    "pr_auc",
)


@dataclass
class Config(Settings):
    """Settings of conv_autoencoder_nab."""

    # Training
    epochs: int = 30  # passes over the training windows
    batch_size: int = 128  # windows a step
    lr: float = 2e-3  # learning rate
    precision: Literal["auto", "float32", "bfloat16"] = "float32"  # errors are finer than bfloat16

    # Model
    window: int = 96  # rows of a window: two days of half-hours
    channels: tuple[int, int] = (16, 8)  # of the outer and of the inner layer
    kernel: int = 7  # rows that a convolution sees
    stride: int = 2  # rows from one output of a convolution to the next
    dropout: float = 0.0  # share of activations dropped in training
    members: int = 5  # autoencoders that are trained and averaged

    # Detection
    scaling: Scaling = "profile"  # profile = by the place in the season; zscore, minmax
    season: int = 336  # rows until the pattern repeats; 1 = never; 0 = a week or a day, if they fit
    recent: int = 24  # rows at the window's end that a causal score averages
    rule: Rule = "quantile"  # threshold from training scores: quantile, max, pot (Pareto tail)
    rate: float = 0.001  # share of normal rows above the threshold, for quantile and pot
    gap: int = 48  # alarms at most so many rows apart are one event

    def check(self) -> None:
        super().check()
        self.check_at_least(1, "window", "kernel", "stride", "members", "recent")
        require(min(self.channels) >= 1, f"--channels must be at least 1, not {self.channels}")
        require(0 <= self.dropout < 1, f"--dropout must lie in 0 <= p < 1, not {self.dropout}")
        require(0 < self.rate < 1, f"--rate must lie between 0 and 1, not {self.rate}")
        self.check_at_least(0, "season", "gap")
        require(
            self.recent <= self.window,
            f"--recent {self.recent} must not be longer than --window {self.window}",
        )


def main(config: Config) -> dict[str, Any]:
    """Train, score, set alarms, and compare with the labels, the baselines and NAB's detectors."""
    run = runs.start("conv_autoencoder_nab", config)
    source = obtain(data.DATASET, config.data, config.data_dir)
    labelled = data.load(source.folder)
    parts = data.split(labelled.windows[0][0])
    config.season = config.season or data.choose_season(labelled.series, parts.train)
    counts = {
        "training rows": parts.train,
        "validation rows": parts.normal - parts.train,
        "test rows": len(labelled.values) - parts.normal,
        "labelled windows": len(labelled.windows),
    }
    run.describe_data(source, counts)
    for note in labelled.series.notes:
        run.print(f"          {note}")
    run.describe_model(make_model(config), (torch.zeros(1, config.window),))

    detector, scores, histories = fit_detector(labelled.series, labelled.values, parts, config, run)
    metrics = {
        variant: {
            **judge(scores[variant], detector.thresholds[variant], labelled, parts, config),
            "threshold": detector.thresholds[variant],
        }
        for variant in VARIANTS
    }
    if run.is_main:
        detector.save(run.folder / "detector.pt")
        figures.draw(run, labelled, parts, detector, scores)
        members = {f"member {i}": history.rows for i, history in enumerate(histories, start=1)}
        curves = plots.curves(members)
        curves.axes[0].set_yscale("log")
        run.save_plot(curves, "curves.png")
    return run.finish(
        metrics,
        judge_baselines(labelled, parts, config),
        {name: {"nab_score": score} for name, score in PUBLISHED_NYC_TAXI.items()},
        {"published": "online, one threshold for the whole of NAB: not like for like"},
    )


def judge(
    scores: np.ndarray, level: float, labelled: data.Labelled, parts: data.Parts, config: Config
) -> dict[str, float]:
    """All figures of one score and its threshold."""
    return evaluate(
        scores,
        level,
        labelled.windows,
        normal=parts.normal,
        gap=config.gap,
        hours_per_row=labelled.series.spacing.total_seconds() / 3600,
    )


def judge_baselines(
    labelled: data.Labelled, parts: data.Parts, config: Config
) -> dict[str, Mapping[str, float]]:
    """The figures of each baseline and variant, by the same threshold rule as the network."""
    classical = baselines.scores(
        labelled.values,
        data.seasonal_slots(labelled.series, config.season),
        parts,
        window=config.window,
        recent=config.recent,
        season=config.season,
        seed=config.seed,
    )
    judged = {}
    for name, by_variant in classical.items():
        for variant, scores in by_variant.items():
            known = scores[known_rows(parts.train, config.window, variant)]
            level = threshold(known, config.rule, config.rate)
            found = judge(scores, level, labelled, parts, config)
            title = f"{name}, {variant}" if len(by_variant) > 1 else name
            judged[title] = {key: found[key] for key in COMPARED}
    return judged


if __name__ == "__main__":
    cli(Config, main)
