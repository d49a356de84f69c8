"""Plots and tables by layer, by step and by depth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common import plots
from common.runs import Run
from common.summary import format_table, number
from vanishing_gradients import theory
from vanishing_gradients.measure import PUBLISHED, TINY, Outcome, Start, log10
from vanishing_gradients.model import VARIANTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Lines = Mapping[str, Sequence[float]]  # name of a line -> a value for each layer
# The same in every plot, biases.png included.
COLOURS = dict(zip([*VARIANTS, "zero biases"], plots.COLOURS, strict=False))
POWERS = (-12, 2)  # powers of ten between which the heat map tells norms apart


def start_text(start: Start) -> str:
    """An untrained network in one line."""
    vanished = sum(norm < TINY for norm in start.gradient)
    return (
        f"          at the start: gradient norms {min(start.gradient):.1e} to "
        f"{max(start.gradient):.1e}, ratio {start.spread:.1e}; "
        f"{vanished} of {len(start)} layers below {TINY:.0e}"
    )


def norms_table(starts: Mapping[str, Start], metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Gradient norms at the published layers, beside the published ones, and the accuracies.

    38/3 is the ratio of the two outermost published layers, the like of the published 1e6; the
    last column is the factor by which the worst of the published layers is missed.
    """

    def norm_text(power: float | None) -> str:
        return "-" if power is None else f"{10**power:.1e}"

    columns = [f"log10_gradient_layer_{k}" for k in PUBLISHED]
    columns += ["log10_gradient_38_over_3", "log10_gradient_ratio", "log10_from_published"]
    ratio = PUBLISHED[38] / PUBLISHED[3]
    published = [*PUBLISHED.values(), ratio]
    rows = [["published", *(f"{norm:.1e}" for norm in published), "-", "1", "-", "-"]]
    for name in starts:
        own = metrics[name]
        accuracies = (number(own.get(f"{split}_accuracy")) for split in ("train", "test"))
        rows.append([name, *(norm_text(own.get(column)) for column in columns), *accuracies])
    header = ["", *(f"layer {k}" for k in PUBLISHED), "38/3", "largest/smallest", "missed by"]
    note = "norms: of the loss's gradient by a convolution's weights, before the first step"
    return "\n".join([format_table([*header, "train", "test"], rows), note])


def by_layer(title: str, panels: Mapping[str, Lines], expected: Lines | None = None) -> "Figure":
    """A panel for each quantity, with a line for each name.

    Args:
        expected: lines of theory, dashed, in the first panel.
    """
    figure, axes = plots.figure(1, len(panels), width=1 + 5 * len(panels), height=4.8)
    for axis, (label, lines) in zip(axes.flat, panels.items(), strict=True):
        for name, values in lines.items():
            axis.plot(range(1, len(values) + 1), values, ".-", color=COLOURS[name], label=name)
        axis.set(xlabel="layer, from the image to the head", ylabel=label, yscale="log")
    for name, values in (expected or {}).items():
        label = f"{name}, theory"
        layers = range(1, len(values) + 1)
        axes[0, 0].plot(layers, values, "--", color=COLOURS[name], label=label)
    figure.suptitle(title)
    return figure


def gradients(starts: Mapping[str, Start], expected: Lines) -> "Figure":
    """Norm of the gradient, and its ratio to the weights, by layer, before the first step."""
    figure = by_layer(
        "Gradient of each convolution before the first step",
        {
            "norm of the gradient": {name: start.gradient for name, start in starts.items()},
            "norm of the gradient / norm of the weights": {
                name: start.ratio for name, start in starts.items()
            },
        },
        expected,
    )
    axis = figure.axes[0]
    axis.axhline(TINY, color="grey", linewidth=0.8)
    axis.annotate(
        "1e-6", (1, TINY), xycoords=("axes fraction", "data"), va="bottom", ha="right",
        color="grey", fontsize=8,
    )  # fmt: skip
    axis.plot(list(PUBLISHED), list(PUBLISHED.values()), "k*", label="published", zorder=3)
    plots.legend_below(figure, columns=5)
    return figure


def forward(starts: Mapping[str, Start], expected: Lines) -> "Figure":
    """Variance of each convolution's outputs, and the part of it that depends on the image."""
    figure = by_layer(
        "Forward, before the first step: the activations, and what depends on the image",
        {
            "variance of the outputs": {name: start.variance for name, start in starts.items()},
            "variance from image to image": {name: start.signal for name, start in starts.items()},
        },
        expected,
    )
    plots.legend_below(figure, columns=5)
    return figure


def biases(with_biases: Start, without: Start) -> "Figure":
    """Forward, backward and their product, of glorot's weights with biases and without."""
    starts = {"glorot": with_biases, "zero biases": without}
    figure = by_layer(
        "The same Glorot weights with and without biases: forward x backward = gradient",
        {
            "norm of a layer's input": {n: s.forward for n, s in starts.items()},
            "norm of the gradient by its output": {n: s.backward for n, s in starts.items()},
            "norm of the gradient by its weights": {n: s.gradient for n, s in starts.items()},
        },
    )
    published = list(PUBLISHED.values())
    figure.axes[2].plot(list(PUBLISHED), published, "k*", label="published", zorder=3)
    plots.legend_below(figure)
    return figure


def heat_maps(norms: Mapping[str, Mapping[int, Sequence[float]]]) -> "Figure":
    """Gradient norm by layer and step of the training, as a shade.

    Args:
        norms: for each variant its steps, and for each step the norm of every layer.
    """
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(norms))
    rows = -(-len(norms) // columns)
    figure, axes = plots.figure(rows, columns, width=3.6 * columns + 1, height=3.6 * rows + 0.6)
    for axis in axes.flat[len(norms) :]:
        axis.set_visible(False)
    for axis, (name, by_step) in zip(axes.flat, norms.items(), strict=False):
        steps = list(by_step)
        # A gradient of exactly zero, of a network that has died, is as dark as can be.
        powers = [
            [max(log10(norm), POWERS[0] - 1) for norm in layers] for layers in by_step.values()
        ]
        every = steps[1] if len(steps) > 1 else 1  # each shade reaches to the next measured step
        shades = axis.pcolormesh(
            [*steps, steps[-1] + every], [k + 0.5 for k in range(len(powers[0]) + 1)],
            list(zip(*powers, strict=True)),
            vmin=POWERS[0], vmax=POWERS[1], cmap="magma",
        )  # fmt: skip
        axis.set(xlabel="step", ylabel="layer", title=name)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    bar = figure.colorbar(shades, ax=axes, extend="both")
    bar.set_label("norm of the gradient, power of ten")
    figure.suptitle("Gradients through training")
    return figure


def depth(outcomes: Mapping[tuple[str, int], Outcome], guessing: float) -> "Figure":
    """Training accuracy of the last epoch by depth, a line for each variant.

    Args:
        outcomes: by variant and depth.
        guessing: fraction of the largest class.
    """
    figure, axes = plots.figure(width=7)
    axis = axes[0, 0]
    variants = dict.fromkeys(variant for variant, _ in outcomes)
    depths = sorted({depth for _, depth in outcomes})
    for variant, marker in zip(variants, "os^Dvp", strict=False):
        percent = [100 * outcomes[variant, d].metrics()["train_accuracy"] for d in depths]
        axis.plot(depths, percent, f"-{marker}", color=COLOURS[variant], label=variant)
    axis.axhline(100 * guessing, color="grey", linewidth=0.8, linestyle=":",
                 label="the largest class")  # fmt: skip
    axis.set(xlabel="convolutions", ylabel="training accuracy, last epoch, %")
    axis.set_xticks(depths)
    axis.legend(frameon=False)
    rates = {outcome.lr for outcome in outcomes.values()}
    words = f"rate {rates.pop():g}" if len(rates) == 1 else "rate that validation chose for it"
    figure.suptitle(f"Each network at the learning {words}")
    return figure


def draw_variants(outcomes: Mapping[str, Outcome], run: Run) -> None:
    """Save the plots of networks of one depth, layer by layer."""
    config = run.config
    starts = {name: outcome.start for name, outcome in outcomes.items()}
    norms, variances = {}, {}
    for name in (variant for variant in outcomes if variant in theory.COVERED):
        variances[name], relative = theory.expected(
            name, config.depth, config.width, config.size, config.bias_scale
        )
        norms[name] = [starts[name].gradient[-1] * norm for norm in relative]
    run.save_plot(gradients(starts, norms), "gradients.png")
    run.save_plot(forward(starts, variances), "forward.png")
    norms_in_training = {name: outcome.norms for name, outcome in outcomes.items()}
    run.save_plot(heat_maps(norms_in_training), "heatmap.png")
    histories = {name: outcome.history.rows for name, outcome in outcomes.items()}
    run.save_plot(plots.curves(histories, ("loss", "accuracy")), "curves.png")
