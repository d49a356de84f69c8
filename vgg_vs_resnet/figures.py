"""Does the validation loss fluctuate?"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from common import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]  # of the epochs of a training


def fluctuation(histories: Mapping[str, Rows]) -> "Figure":
    """Validation loss by epoch, and how much it changes from one epoch to the next."""
    drawn, axes = plots.figure(1, 2, width=11, height=4)
    for (name, rows), colour in zip(histories.items(), plots.COLOURS * 4, strict=False):
        epochs = [row["epoch"] for row in rows]
        losses = [row["val_loss"] for row in rows]
        changes = [abs(after - before) for before, after in pairwise(losses)]
        axes[0, 0].plot(epochs, losses, color=colour, label=name)
        axes[0, 1].plot(epochs[1:], changes, color=colour, label=name)
    axes[0, 0].set(xlabel="epoch", ylabel="validation loss")
    axes[0, 1].set(xlabel="epoch", ylabel="change from the epoch before", yscale="log")
    for axis in axes.flat:
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False, fontsize=8)
    drawn.suptitle("Does the validation loss fluctuate?")
    return drawn
