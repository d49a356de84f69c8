"""Plots of the two studies: cardinality and learning rate."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, Mapping[str, float]]  # for each title of a study its metrics


def by_cardinality(results: Results) -> "Figure":
    """Accuracy and speed of networks of equal complexity, by their cardinality."""
    drawn, axes = plots.figure(1, 2, width=11, height=4)
    places = [title.removeprefix("cardinality ") for title in results]
    for part, label, style in (("val", "validation", "-o"), ("test", "test", "--s")):
        values = [100 * own[f"{part}_accuracy"] for own in results.values()]
        axes[0, 0].plot(places, values, style, label=label)
    axes[0, 0].set(xlabel="cardinality", ylabel="accuracy, %")
    axes[0, 0].legend(frameon=False)
    speeds = [own["images_per_second"] for own in results.values()]
    axes[0, 1].bar(places, speeds, color=plots.COLOURS[2])
    axes[0, 1].set(xlabel="cardinality", ylabel="images a second in training")
    drawn.suptitle("More paths, each narrower: equal complexity")
    return drawn


def by_rate(results: Results, models: Sequence[str], rates: Sequence[float]) -> "Figure":
    """Validation accuracy by learning rate, a line for each model; without rates that diverged."""
    drawn, axes = plots.figure()
    for name, marker in zip(models, "os^", strict=False):
        titles = {rate: f"{name} rate {rate:g}" for rate in sorted(rates)}
        kept = {rate: results[title] for rate, title in titles.items() if title in results}
        values = [100 * own["val_accuracy"] for own in kept.values()]
        axes[0, 0].plot(list(kept), values, f"-{marker}", label=name)
    axes[0, 0].set(xlabel="learning rate", ylabel="best validation accuracy, %", xscale="log")
    axes[0, 0].legend(frameon=False)
    drawn.suptitle("How much the learning rate matters")
    return drawn
