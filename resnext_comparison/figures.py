"""Figures of the two studies: cardinality and learning rate."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def by_cardinality(figures: Mapping[int, Mapping[str, float]]) -> "Figure":
    """Accuracy and speed of models of equal complexity, by their cardinality."""
    made, axes = plots.figure(1, 2, width=11, height=4)
    places = [str(cardinality) for cardinality in figures]
    for part, style in (("val", "-o"), ("test", "--s")):
        shares = [100 * each[f"{part}_accuracy"] for each in figures.values()]
        axes[0, 0].plot(places, shares, style, label={"val": "validation"}.get(part, part))
    axes[0, 0].set(xlabel="cardinality", ylabel="accuracy, %")
    axes[0, 0].legend(frameon=False)
    speeds = [each["images_per_second"] for each in figures.values()]
    axes[0, 1].bar(places, speeds, color=plots.COLOURS[2])
    axes[0, 1].set(xlabel="cardinality", ylabel="images a second in training")
    made.suptitle("More paths, each narrower: equal complexity")
    return made


def by_rate(figures: Mapping[str, Mapping[float, float]]) -> "Figure":
    """Validation accuracy by learning rate, a line for each model."""
    made, axes = plots.figure()
    for (name, by_lr), marker in zip(figures.items(), "os^", strict=False):
        shares = [100 * accuracy for accuracy in by_lr.values()]
        axes[0, 0].plot(list(by_lr), shares, f"-{marker}", label=name)
    axes[0, 0].set(xlabel="learning rate", ylabel="best validation accuracy, %", xscale="log")
    axes[0, 0].legend(frameon=False)
    made.suptitle("How much the learning rate matters")
    return made


def published_table(figures: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> str:
    """The columns of the published table, this run's figures beside the published ones."""
    label = max(map(len, figures)) + 2
    heads = [" " * label + " ".join(f"{column.replace('_', ' '):>16}" for column in columns)]
    lines = []
    for name, each in figures.items():
        cells = []
        for column in columns:
            value = each.get(column)
            scale, unit = (100, " %") if column.endswith("accuracy") else (1, "")
            cells.append(f"{'-' if value is None else f'{scale * value:.2f}{unit}':>16}")
        lines.append(f"{name:<{label}}" + " ".join(cells))
    return "\n".join(heads + lines)
