"""Figures about trained image classifiers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common import plots
from common.images import Images

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mistakes(
    images: Images, probabilities: Mapping[str, Tensor], classes: Sequence[str], shown: int = 8
) -> "Figure":
    """A row of pictures for each model: those that it took for another class most confidently.

    Args:
        images: the test split.
        probabilities: for each model (images, classes).
    """
    made, axes = plots.figure(len(probabilities), shown, 1.25 * shown, 1.75 * len(probabilities))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (name, sure) in zip(axes, probabilities.items(), strict=True):
        confidence, predicted = sure.max(1)  # (images,)
        wrong = (predicted != images.labels).nonzero()[:, 0]
        worst = wrong[confidence[wrong].argsort(descending=True)][:shown].tolist()
        line[0].text(
            -0.12, 0.5, name, transform=line[0].transAxes, rotation=90, ha="right", va="center"
        )
        for axis, i in zip(line, worst, strict=False):
            axis.imshow(images.pixels[i].permute(1, 2, 0).numpy())
            truth, guess = classes[images.labels[i]], classes[predicted[i]]
            axis.set_title(f"{truth} taken for\n{guess}, {confidence[i]:.0%}", fontsize=7)
    made.suptitle("The most confident mistakes on the test split")
    return made


def fluctuation(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Validation loss by epoch, and how much it changes from one epoch to the next."""
    made, axes = plots.figure(1, 2, width=11, height=4)
    for (name, rows), colour in zip(histories.items(), plots.COLOURS * 4, strict=False):
        epochs = [row["epoch"] for row in rows]
        losses = torch.tensor([row["val_loss"] for row in rows])
        axes[0, 0].plot(epochs, losses, color=colour, label=name)
        axes[0, 1].plot(epochs[1:], losses.diff().abs(), color=colour, label=name)
    axes[0, 0].set(xlabel="epoch", ylabel="validation loss")
    axes[0, 1].set(xlabel="epoch", ylabel="change from the epoch before", yscale="log")
    for axis in axes.flat:
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False, fontsize=8)
    made.suptitle("Does the validation loss fluctuate?")
    return made


def trade_off(figures: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Test accuracy against floating-point operations and against seconds of training."""
    made, axes = plots.figure(1, 2, width=11, height=4)
    for axis, key, scale, label in (
        (axes[0, 0], "flops", 1e9, "billion floating-point operations a picture"),
        (axes[0, 1], "train_seconds", 1.0, "seconds of training"),
    ):
        for (name, each), colour in zip(figures.items(), plots.COLOURS * 4, strict=False):
            place = (each[key] / scale, 100 * each["test_accuracy"])
            axis.scatter(*place, color=colour, s=60, label=name)
        axis.set(xlabel=label, ylabel="test accuracy, %")
        axis.margins(0.2)
        axis.grid(alpha=0.3)
    plots.legend_below(made, axes[0, 0], columns=3)
    made.suptitle("Accuracy and what it costs")
    return made
