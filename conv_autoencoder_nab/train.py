"""Find what is unusual in the taxi rides of New York with a convolutional autoencoder.

    python conv_autoencoder_nab/train.py                      # the README's result
    python conv_autoencoder_nab/train.py --score centred      # may look half a window ahead
    python conv_autoencoder_nab/train.py --scaling zscore --members 1   # as commonly published
    python conv_autoencoder_nab/train.py --data sample --epochs 5       # in seconds, no download

Labels place the split (the rows before the first labelled window train and validate) and evaluate
the alarms; they are used for nothing else.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import plots, runs
from common.config import cli
from common.downloads import obtain
from common.runs import Run

import numpy as np
import torch

from conv_autoencoder_nab import baselines, data, figures
from conv_autoencoder_nab.detector import (
    VARIANTS,
    Detector,
    DetectorSettings,
    Variant,
    fit_detector,
    make_model,
    training_rows,
)
from conv_autoencoder_nab.evaluation import evaluate, labels_of, threshold
from conv_autoencoder_nab.nab_scoring import PUBLISHED_NYC_TAXI

COMPARED = ("nab_score", "windows_found", "false_alarms", "event_f1", "pr_auc")
COMPARED_OTHER = ("nab_score", "windows_found", "false_alarms")


@dataclass
class Config(DetectorSettings):
    """Everything is shared with predict.py: see detector.py."""


def main(config: Config) -> dict[str, Any]:
    """Train, score, set alarms, and compare with the labels, the baselines and NAB's detectors."""
    run = runs.start("conv_autoencoder_nab", config)
    source = obtain(data.DATASET, config.data, config.data_dir)
    labelled = data.load(source.folder)
    series, values, windows = labelled.series, labelled.values, labelled.windows
    parts = data.split(windows[0][0])
    run.describe_data(
        source,
        {
            "training rows": parts.train,
            "validation rows": parts.normal - parts.train,
            "test rows": len(values) - parts.normal,
            "labelled windows": len(windows),
        },
    )
    for note in series.notes:
        run.print(f"          {note}")
    run.describe_model(make_model(config), (torch.zeros(1, config.window),))

    detector, scores, histories = fit_detector(series, values, parts, config, run)
    found = {
        variant: judge(scores[variant], detector.thresholds[variant], labelled, parts, config)
        for variant in VARIANTS
    }
    classical = baselines.scores(
        values,
        data.seasonal_slots(series, config.season),
        parts,
        window=config.window,
        recent=config.recent,
        season=config.season,
        seed=config.seed,
    )
    compared = {}
    for name, by_variant in classical.items():
        figures_of = {}
        for variant, each in by_variant.items():
            known = each[training_rows(parts, config.window, variant)]
            level = threshold(known, config.rule, config.rate)
            figures_of[variant] = judge(each, level, labelled, parts, config)
        compared[name] = report(figures_of, config.score, COMPARED, COMPARED_OTHER)

    if run.is_main:
        detector.save(run.folder / "detector.pt")
        draw(run, labelled, parts, detector, scores, config)
        members = {f"member {i}": h.rows for i, h in enumerate(histories, start=1)}
        run.save_plot(plots.curves(members), "curves.png")
    return run.finish(
        report(found, config.score) | {"threshold": detector.thresholds[config.score]},
        compared,
        {name: {"nab_score": score} for name, score in PUBLISHED_NYC_TAXI.items()},
        {"published_note": "online, one threshold for all of NAB's files: not like for like"},
    )


def judge(
    scores: np.ndarray, level: float, labelled: data.Labelled, parts: data.Parts, config: Config
) -> dict[str, float]:
    """All figures of one score and threshold."""
    return evaluate(
        scores,
        level,
        labelled.windows,
        normal=parts.normal,
        gap=config.gap,
        hours_per_row=labelled.series.spacing.total_seconds() / 3600,
    )


def report(
    found: dict[Variant, dict[str, float]],
    chosen: Variant,
    names: tuple[str, ...] = (),
    other_names: tuple[str, ...] = (),
) -> dict[str, float]:
    """The chosen variant's figures by their names, the other's with its own name before them."""
    (other,) = (variant for variant in VARIANTS if variant != chosen)
    own = {key: value for key, value in found[chosen].items() if not names or key in names}
    rest = {k: v for k, v in found[other].items() if not other_names or k in other_names}
    return own | {f"{other}_{key}": value for key, value in rest.items()}


def draw(
    run: Run,
    labelled: data.Labelled,
    parts: data.Parts,
    detector: Detector,
    scores: dict[Variant, np.ndarray],
    config: Config,
) -> None:
    """Save the plots of the series, the scores and two restored windows."""
    times, values = labelled.series.times.to_numpy(), labelled.values
    alarms = {name: np.nan_to_num(scores[name]) > detector.thresholds[name] for name in VARIANTS}
    marks = {"windows": labelled.windows, "train": parts.train}
    unit = "passengers in half an hour"
    run.save_plot(
        figures.series_and_alarms(times, values, alarms, gap=config.gap, unit=unit, **marks),
        "series.png",
    )
    run.save_plot(
        figures.scores_and_thresholds(times, scores, detector.thresholds, **marks), "scores.png"
    )
    own = scores[config.score]
    inside = labels_of(labelled.windows, len(values))
    groups = {
        "training rows": own[: parts.train],
        "validation rows": own[parts.train : parts.normal],
        "test rows outside the windows": own[parts.normal :][~inside[parts.normal :]],
        "test rows in labelled windows": own[inside],
    }
    run.save_plot(
        figures.histogram(groups, detector.thresholds[config.score], config.score), "histogram.png"
    )
    slots = data.seasonal_slots(labelled.series, config.season)
    centred = scores["centred"]
    validation = np.arange(parts.train, parts.normal - config.window) + config.window // 2
    typical = validation[np.argsort(centred[validation])[len(validation) // 2]]
    strangest = int(np.nanargmax(np.where(inside, centred, np.nan)))
    days = {}
    for name, middle in (("A normal window", typical), ("An anomalous window", strangest)):
        first = min(max(middle - config.window // 2, 0), len(values) - config.window)
        rows = slice(first, first + config.window)
        restored = detector.restore(values[rows], slots[rows])
        days[name] = (times[rows], values[rows], restored)
    run.save_plot(figures.restorations(days, unit), "restored.png")


if __name__ == "__main__":
    cli(Config, main)
