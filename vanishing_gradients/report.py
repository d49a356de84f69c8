"""What a run says: a line for each network, tables, figures for the records, plots."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common import plots
from common.images import Images
from common.progress import History
from common.report import number
from common.runs import Run

from vanishing_gradients import figures, theory
from vanishing_gradients.measure import PUBLISHED as LAYERS
from vanishing_gradients.measure import TINY, Start, log10
from vanishing_gradients.model import Variant

PUBLISHED = {
    "plain network": {f"log10_gradient_layer_{k}": log10(norm) for k, norm in LAYERS.items()}
}


@dataclass(frozen=True)
class Outcome:
    """What came of a network.

    norms: gradient norms in training, by step and layer. test_accuracy: of the epoch that was best
    on validation.
    """

    variant: Variant
    depth: int
    start: Start
    norms: dict[int, list[float]]
    history: History
    test_accuracy: float

    def figures(self) -> dict[str, float]:
        """For the records; training accuracy and loss are means over the last epoch's steps."""
        last = self.history.rows[-1]
        return {
            **self.start.figures(),
            "train_accuracy": last["train_accuracy"],
            "train_loss": last["train_loss"],
            "test_accuracy": self.test_accuracy,
            "images_per_second": last["samples_per_second"],
        }


def start_text(start: Start) -> str:
    """An untrained network in one line."""
    vanished = sum(norm < TINY for norm in start.gradient)
    return (
        f"          at the start: gradient norms {min(start.gradient):.1e} to "
        f"{max(start.gradient):.1e}, ratio {start.spread:.1e}; "
        f"{vanished} of {len(start)} layers below {TINY:.0e}"
    )


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Gradient norms at the published layers, beside the published ones, and what was learnt."""
    label = max(map(len, outcomes)) + 2
    heads = [f"layer {layer}" for layer in LAYERS]
    heads += ["largest/smallest", f"below {TINY:.0e}", "train_accuracy", "test_accuracy"]
    lines = [" " * label + " ".join(f"{head:>{max(10, len(head))}}" for head in heads)]
    published = [f"{norm:.0e}" for norm in LAYERS.values()]
    rows = {"published": published + ["-"] * (len(heads) - len(published))}
    for name, outcome in outcomes.items():
        start, figures = outcome.start, outcome.figures()
        rows[name] = [
            *(f"{start.gradient[k - 1]:.1e}" if k <= len(start) else "-" for k in LAYERS),
            f"{start.spread:.1e}",
            f"{figures['layers_below_1e-6']} of {len(start)}",
            number(figures["train_accuracy"]),
            number(figures["test_accuracy"]),
        ]
    for name, cells in rows.items():
        padded = (f"{c:>{max(10, len(h))}}" for c, h in zip(cells, heads, strict=True))
        lines.append(f"{name:<{label}}" + " ".join(padded))
    lines.append("norms: of the loss's gradient by a convolution's weights, before the first step")
    return "\n".join(lines)


def steps_text(start: Start) -> str:
    """How much the gradient shrinks from one published layer to the next towards the picture."""
    known = [layer for layer in LAYERS if layer <= len(start)]
    factors = [
        f"{above} to {below}: {start.gradient[above - 1] / start.gradient[below - 1]:.1e}"
        for below, above in itertools.pairwise(known)
    ]
    return f"the plain network's gradient shrinks from layer {', '.join(factors)}"


def metrics(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, float]]:
    """Each network's figures, and as `default` the ratios that compare them."""
    ratios = {f"gradient_ratio_{name}": each.start.spread for name, each in outcomes.items()}
    return {
        **{name: outcome.figures() for name, outcome in outcomes.items()},
        "default": {k: ratio for k, ratio in ratios.items() if "depth" not in k},
    }


def by_layer(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Everything that was measured by layer before the first step."""
    return {name: vars(outcome.start) for name, outcome in outcomes.items()}


def draw_variants(outcomes: Mapping[str, Outcome], width: int, size: int, run: Run) -> None:
    """Plots of networks of one depth, layer by layer."""
    starts = {name: outcome.start for name, outcome in outcomes.items()}
    norms: dict[str, list[float]] = {}
    variances: dict[str, list[float]] = {}
    for name, outcome in outcomes.items():
        if outcome.variant in theory.COVERED:
            variances[name], relative = theory.expected(outcome.variant, outcome.depth, width, size)
            norms[name] = [outcome.start.gradient[-1] * norm for norm in relative]
    run.save_plot(figures.gradients(starts, norms), "gradients.png")
    run.save_plot(figures.forward(starts, variances), "forward.png")
    records = {name: outcome.norms for name, outcome in outcomes.items()}
    run.save_plot(figures.heat_maps(records), "heatmap.png")
    histories = {name: outcome.history.rows for name, outcome in outcomes.items()}
    run.save_plot(plots.curves(histories, ("loss", "accuracy")), "curves.png")


def draw_depth(outcomes: Mapping[str, Outcome], train: Images, run: Run) -> None:
    """Plot of the training accuracy by depth."""
    accuracy: dict[str, dict[int, float]] = {}
    for outcome in outcomes.values():
        own = accuracy.setdefault(outcome.variant, {})
        own[outcome.depth] = outcome.figures()["train_accuracy"]
    guessing = train.labels.bincount().max().item() / len(train)
    run.save_plot(figures.by_depth(accuracy, guessing), "depth.png")
