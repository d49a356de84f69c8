"""Figures and the printed table of a comparison."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common import plots, report
from common.images import Images
from common.runs import Run, file_name

import torch
from torch import Tensor

from transfer_food11.data import FoodSet
from transfer_food11.experiment import Outcome
from transfer_food11.gradcam import gradcam
from transfer_food11.inputs import normaliser
from vgg_vs_resnet.figures import trade_off

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8  # pictures in a row
COLUMNS = (
    ("parameters", "flops", "images_per_second", "predict_images_per_second", "train_seconds"),
    ("val_accuracy", "best_epoch", "test_accuracy", "macro_f1", "test_top3"),
)


def table(outcomes: Mapping[str, Outcome]) -> str:
    """The figures of all variants, in blocks that fit the screen."""
    label = max(map(len, outcomes)) + 2
    lines = []
    for block in COLUMNS:
        widths = [max(len(name), 13) for name in block]
        cells = [f"{n:>{w}}" for n, w in zip(block, widths, strict=True)]
        lines.append(" " * label + " ".join(cells))
        for title, outcome in outcomes.items():
            values = [report.number(outcome.metrics.get(name)) for name in block]
            cells = [f"{v:>{w}}" for v, w in zip(values, widths, strict=True)]
            lines.append(f"{title:<{label}}" + " ".join(cells))
    return "\n".join(lines)


def save_all(run: Run, outcomes: Mapping[str, Outcome], found: FoodSet) -> None:
    """Every figure of a run, in its folder."""
    test, classes = found.splits["test"], found.classes
    # The points of a learning curve are too many to look at one by one.
    most = {k: v for k, v in outcomes.items() if not v.variant.per_class} or outcomes
    networks = {k: v.rows for k, v in most.items() if "train_accuracy" in v.rows[0]}
    run.save_plot(plots.curves(networks, ("loss", "accuracy")), "curves.png")
    run.save_plot(trade_off({k: v.metrics for k, v in most.items()}), "trade-off.png")
    if any(outcome.variant.per_class for outcome in outcomes.values()):
        run.save_plot(learning_curve(outcomes), "learning-curve.png")
    for name, outcome in most.items():
        matrix = plots.confusion(outcome.report["confusion"], classes, name)
        run.save_plot(matrix, f"confusion-{file_name(name)}.png")
    best = max(outcomes, key=lambda variant: outcomes[variant].metrics["val_accuracy"])
    chosen = outcomes[best]
    made = examples(test, chosen.probabilities, classes)
    made.suptitle(f"Test pictures, {best}")
    run.save_plot(made, "examples.png")
    made = heat(test, chosen, classes, run.device)
    made.suptitle(f"Where {best} looks: Grad-CAM of the class that it chose")
    run.save_plot(made, "gradcam.png")


def examples(images: Images, probabilities: Tensor, classes: Sequence[str]) -> "Figure":
    """Rows of pictures: surely right, surely wrong, and least certain of all.

    Args:
        probabilities: (pictures, classes).
    """
    sure, predicted = probabilities.max(1)  # (pictures,)
    right = predicted == images.labels
    order = sure.argsort(descending=True)
    rows = {
        "surest and right": order[right[order]][:SHOWN],
        "surest and wrong": order[~right[order]][:SHOWN],
        "least certain": order.flip(0)[:SHOWN],
    }
    made, axes = plots.figure(len(rows), SHOWN, 1.5 * SHOWN, 1.95 * len(rows))
    for line, (name, chosen) in zip(axes, rows.items(), strict=True):
        name_row(line[0], name)
        for axis in line:
            axis.set_axis_off()
        for axis, i in zip(line, chosen.tolist(), strict=False):
            axis.imshow(images.pixels[i].permute(1, 2, 0).numpy())
            axis.set_title(caption(i, images, predicted, sure, classes), fontsize=7)
    return made


def name_row(axis: Any, name: str) -> None:
    axis.text(-0.12, 0.5, name, transform=axis.transAxes, rotation=90, ha="right", va="center")


def caption(i: int, images: Images, predicted: Tensor, sure: Tensor, classes: Sequence[str]) -> str:
    truth, guess = classes[images.labels[i]], classes[predicted[i]]
    taken = guess if truth == guess else f"{truth} taken for\n{guess}"
    return f"{taken}, {sure[i]:.0%}"


def heat(images: Images, outcome: Outcome, classes: Sequence[str], place: torch.device) -> "Figure":
    """Pictures, half of them mistaken, and what of them spoke for the class that was chosen."""
    sure, predicted = outcome.probabilities.max(1)
    right = predicted == images.labels
    draw = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    wrong = draw[~right[draw]][: SHOWN // 2]
    rows = torch.cat([draw[right[draw]][: SHOWN - len(wrong)], wrong])
    model = outcome.model.to(place).eval()
    normalise = normaliser(model.preprocessing, place)
    maps = gradcam(model, normalise(images.pixels[rows].to(place)), predicted[rows].to(place)).cpu()
    made, axes = plots.figure(2, SHOWN, 1.5 * SHOWN, 3.9)
    for axis in axes.flat:
        axis.set_axis_off()
    for (above, below), i, shades in zip(axes.T, rows.tolist(), maps, strict=False):
        picture = images.pixels[i].permute(1, 2, 0).numpy()
        above.imshow(picture)
        above.set_title(caption(i, images, predicted, sure, classes), fontsize=7)
        below.imshow(picture)
        below.imshow(shades.numpy(), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return made


def learning_curve(outcomes: Mapping[str, Outcome]) -> "Figure":
    """Test accuracy against training pictures, a line for each network and way of training."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for outcome in outcomes.values():
        point = (outcome.images, 100 * outcome.metrics["test_accuracy"])
        lines.setdefault(outcome.variant.way, []).append(point)
    made, axes = plots.figure()
    axis = axes[0, 0]
    for (name, points), colour in zip(lines.items(), plots.COLOURS * 4, strict=False):
        axis.plot(*zip(*sorted(points), strict=True), "o-", color=colour, label=name)
    axis.set(xscale="log", xlabel="training pictures", ylabel="test accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    made.suptitle("What pre-training is worth")
    return made
