"""The same forecaster tried on several stretches of the series: a rolling origin.

    python lstm_airquality/backtest.py --folds 5
    python lstm_airquality/backtest.py --folds 5 --recipe 24h

The last half of the rows is cut into folds. For each of them the network and the baselines are
fitted on all rows before it, as in the refit of train.py, and forecast it. One split tells how a
model does in one season; this tells how much that depends on the season.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common import plots, runs
from common.downloads import cache_folder
from common.settings import at_least, cli, require
from common.summary import format_table
from lstm_airquality import baselines, evaluation, train
from lstm_airquality.data import VALIDATION_FRACTION, Parts, Scaler, check_scored, choose

FIRST = 0.5  # fraction of the rows before the first fold


@dataclass
class Config(train.Config):
    """Settings of a backtest, and those of training."""

    RECIPES: ClassVar = train.Config.RECIPES

    # Folds
    folds: int = 5  # stretches of the last half, each forecast from all rows before it

    def check(self) -> None:
        super().check()
        at_least(2, folds=self.folds)
        require(not self.levels, "--quantiles: a backtest is of point forecasts, leave them out")


def main(config: Config) -> dict[str, Any]:
    """Fit and score fold by fold; the mean and the spread over folds."""
    run = runs.start("lstm_airquality", config, script="backtest.py")
    source, series, targets, _ = train.read(config)
    edges = [int(edge) for edge in np.linspace(FIRST, 1, config.folds + 1) * len(series.values)]
    series, targets = choose(series, edges[0], ",".join(series.columns[:targets]))
    names, truth = series.columns[:targets], series.values[:, :targets]
    check_scored(names, truth[edges[0] :])
    run.begin(source, {"rows": edges[-1], "folds": config.folds}, series.notes)

    scores, row_scores = defaultdict(list), defaultdict(list)
    for fold, (known, end) in enumerate(pairwise(edges), start=1):
        part = f"fold {fold}"
        trained, _ = train.train(series, targets, known, known, config, run, part)
        forecasts = {train.OWN: trained.forecast(series, known, end, run.precision)}
        if config.baselines:
            parts = Parts(int((1 - VALIDATION_FRACTION) * known), known, known, end)
            given = (series, targets, parts, config.past, ())
            forecasts |= baselines.cached_forecasts(*given, cache_folder(config.data_dir))
        std, tested = Scaler.of(truth[:known]).std, truth[end - len(forecasts[train.OWN]) : end]
        for method, forecast in forecasts.items():
            scores[method].append(evaluation.score(forecast, tested, std, names)[0])
            row_scores[method].append(evaluation.row_scores(forecast, tested, std))

    dates = [f"{time:%Y-%m-%d}" if series.spacing else f"{time}" for time in series.times]
    stretches = [(dates[known], dates[end - 1]) for known, end in pairwise(edges)]
    table = [
        [f"{first} to {last}", *(f"{each[fold]['r2']:.3f}" for each in scores.values())]
        for fold, (first, last) in enumerate(stretches)
    ]
    run.print("\n" + format_table(["R2", *scores], table))
    means = {method: summary(each) for method, each in scores.items()}
    return run.finish(
        means.pop(train.OWN), means, {},
        predictions={method: np.concatenate(each) for method, each in row_scores.items()},
        extra={"folds": dict(scores)},
        plots=lambda: run.save_plot(draw(scores), "folds.png"),
    )  # fmt: skip


def summary(folds: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over the folds with a scored value, and the standard deviation of R2."""
    folds = [fold for fold in folds if np.isfinite(fold["r2"])] or folds
    means = {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}
    return {**means, "r2_std": float(np.std([fold["r2"] for fold in folds], ddof=len(folds) > 1))}


def draw(scores: dict[str, list[dict[str, float]]]) -> Any:
    """R2 by fold, a line for each method but the seasonal naive one, which lies far below."""
    drawn, axes = plots.figure(width=8, height=4.5)
    for method, folds in scores.items():
        if method != "seasonal naive":
            numbers = range(1, len(folds) + 1)
            axes[0, 0].plot(numbers, [fold["r2"] for fold in folds], "o-", label=method)
    axes[0, 0].set(xlabel="fold", ylabel="R2, mean of the scored features", title="Rolling origin")
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
    plots.legend_below(drawn)
    return drawn


if __name__ == "__main__":
    cli(Config, main)
