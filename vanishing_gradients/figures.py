"""Figures by layer, by step and by depth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common import plots

from vanishing_gradients.measure import PUBLISHED, TINY, Start, log10
from vanishing_gradients.model import VARIANTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Lines = Mapping[str, Sequence[float]]  # variant -> a value for each layer
COLOURS = dict(zip(VARIANTS, plots.COLOURS, strict=False))  # the same in every figure
SHADES = (-12, 2)  # powers of ten between which the heat map tells norms apart


def gradients(starts: Mapping[str, Start], theory: Lines) -> "Figure":
    """Norm of the gradient, and its ratio to the weights, by layer, before the first step.

    Args:
        theory: norms that theory expects.
    """
    made, axes = plots.figure(1, 2, width=12, height=4.8)
    draw(axes[0, 0], {name: start.gradient for name, start in starts.items()}, theory)
    draw(axes[0, 1], {name: start.ratio for name, start in starts.items()}, {})
    axes[0, 0].axhline(TINY, color="grey", linewidth=0.8)
    axes[0, 0].annotate(
        "1e-6", (1, TINY), xycoords=("axes fraction", "data"), va="bottom", ha="right",
        color="grey", fontsize=8,
    )  # fmt: skip
    axes[0, 0].plot(
        list(PUBLISHED), list(PUBLISHED.values()), "k*", label="published, plain", zorder=3
    )
    axes[0, 0].set(ylabel="norm of the gradient")
    axes[0, 1].set(ylabel="norm of the gradient / norm of the weights")
    plots.legend_below(made, axes[0, 0])
    made.suptitle("Gradient of each convolution before the first step")
    return made


def forward(starts: Mapping[str, Start], theory: Lines) -> "Figure":
    """Variance of each convolution's outputs, and the part of it that the pictures make."""
    made, axes = plots.figure(1, 2, width=12, height=4.8)
    draw(axes[0, 0], {name: start.variance for name, start in starts.items()}, theory)
    draw(axes[0, 1], {name: start.signal for name, start in starts.items()}, {})
    axes[0, 0].set(ylabel="variance of the outputs")
    axes[0, 1].set(ylabel="variance from picture to picture")
    plots.legend_below(made, axes[0, 0])
    made.suptitle("Forward, before the first step: what is there, and what tells pictures apart")
    return made


def draw(axis: "Axes", lines: Lines, theory: Lines) -> None:
    """A line for each variant, dashed where it is theory, in the same colour."""
    from matplotlib.ticker import MaxNLocator

    for name, values in lines.items():
        layers = range(1, len(values) + 1)
        axis.plot(layers, values, color=COLOURS[name], marker=".", label=name)
        if name in theory:
            axis.plot(layers, theory[name], "--", color=COLOURS[name], label=f"{name}, theory")
    axis.set(xlabel="layer, from the picture to the head", yscale="log")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def heat_maps(records: Mapping[str, Mapping[int, Sequence[float]]]) -> "Figure":
    """Gradient norm by layer and step of the training, as a shade.

    Args:
        records: for each variant its steps, and for each step the norm of every layer.
    """
    from matplotlib.ticker import MaxNLocator

    made, axes = plots.figure(1, len(records), width=3.6 * len(records) + 1, height=4.2)
    for axis, (name, rows) in zip(axes.flat, records.items(), strict=True):
        steps = sorted(rows)
        powers = [[log10(norm) for norm in rows[step]] for step in steps]  # (steps, layers)
        shades = axis.pcolormesh(
            steps, range(1, len(powers[0]) + 1), list(zip(*powers, strict=True)),
            vmin=SHADES[0], vmax=SHADES[1], cmap="magma", shading="nearest",
        )  # fmt: skip
        axis.set(xlabel="step", title=name)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0, 0].set(ylabel="layer, from the picture to the head")
    bar = made.colorbar(shades, ax=axes, extend="both")
    bar.set_label("norm of the gradient, power of ten")
    made.suptitle("Gradients through training")
    return made


def by_depth(accuracy: Mapping[str, Mapping[int, float]], guessing: float) -> "Figure":
    """Training accuracy of the last epoch by depth, a line for each variant.

    Args:
        guessing: share of the largest class.
    """
    made, axes = plots.figure(width=7)
    for (name, shares), marker in zip(accuracy.items(), "os^D", strict=False):
        depths = sorted(shares)
        percent = [100 * shares[depth] for depth in depths]
        axes[0, 0].plot(depths, percent, f"-{marker}", color=COLOURS[name], label=name)
    axes[0, 0].axhline(
        100 * guessing, color="grey", linewidth=0.8, linestyle=":", label="the largest class"
    )
    axes[0, 0].set(xlabel="convolutions", ylabel="training accuracy, last epoch, %")
    axes[0, 0].set_xticks(sorted({d for shares in accuracy.values() for d in shares}))
    axes[0, 0].legend(frameon=False)
    made.suptitle("The same training at every depth")
    return made
