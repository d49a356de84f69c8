"""Plots and the printed table of a comparison, Grad-CAM among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from common import plots
from common.images import Images, ImageSet
from common.runs import Run
from common.summary import format_table, number
from transfer_food11.loaders import normaliser
from transfer_food11.model import Classifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8  # images in a row
COSTS = ("parameters", "flops", "images_per_second", "predict_images_per_second", "train_seconds")
SCORES = ("val_accuracy", "best_epoch", "test_accuracy", "macro_f1", "test_top3")


@dataclass(frozen=True)
class Result:
    """What came of one training.

    title: network, way and, if not all, images a class. images: how many it was trained on.
    rows: of its epochs. report: see `classification`, and probabilities (images, classes): of
    the test split.
    """

    title: str
    images: int
    model: Classifier
    metrics: dict[str, Any]
    rows: list[dict[str, Any]]
    report: dict[str, Any]
    probabilities: Tensor

    @property
    def way(self) -> str:
        """The title without the number of images."""
        return " ".join(self.title.split()[:2])


def summary(results: Mapping[str, Result]) -> str:
    """What each training cost and reached, in two tables that fit the screen."""
    tables = []
    for columns in (COSTS, SCORES):
        cells = [
            [title, *(number(result.metrics.get(name)) for name in columns)]
            for title, result in results.items()
        ]
        heads = [name.replace("_per_second", "/s") for name in columns]
        tables.append(format_table(["", *heads], cells))
    return "\n\n".join(tables)


def save_all(run: Run, results: Mapping[str, Result], dataset: ImageSet) -> None:
    """Every plot of a run, in its folder."""
    test, classes = dataset.splits["test"], plots.readable(dataset.classes)
    # The points of a learning curve are too many to look at one by one.
    whole = {k: result for k, result in results.items() if k == result.way} or results
    networks = {k: result.rows for k, result in whole.items() if result.rows}
    if networks:
        run.save_plot(plots.curves(networks, ("loss", "accuracy")), "curves.png")
    run.save_plot(plots.trade_off({k: r.metrics for k, r in whole.items()}), "trade-off.png")
    if len({result.images for result in results.values()}) > 1:
        run.save_plot(learning_curve(results.values()), "learning-curve.png")
    for title, result in whole.items():
        matrix = plots.confusion(result.report["confusion"], dataset.classes, title)
        run.save_plot(matrix, f"confusion-{title.replace(' ', '-')}.png")
    best = max(results.values(), key=lambda result: result.metrics["val_accuracy"])
    run.save_plot(examples(test, best, classes), "examples.png")
    run.save_plot(heat(test, best, classes, run.device), "gradcam.png")


def examples(images: Images, result: Result, classes: Sequence[str]) -> "Figure":
    """Rows of test images: surely right, surely wrong, and least certain of all."""
    certainty, predicted = result.probabilities.max(1)  # (images,)
    right = predicted == images.labels
    order = certainty.argsort(descending=True)
    rows = {
        "surest and right": order[right[order]],
        "surest and wrong": order[~right[order]],
        "least certain": order.flip(0),
    }
    shown = {
        name: [(images.pixels[i], caption(i, images, result, classes)) for i in own[:SHOWN]]
        for name, own in rows.items()
    }
    return plots.images(shown, f"Test images, {result.title}")


def caption(i: int, images: Images, result: Result, classes: Sequence[str]) -> str:
    """The class, or what it was taken for, with its probability."""
    truth, guess = classes[images.labels[i]], classes[result.probabilities[i].argmax()]
    said = guess if truth == guess else f"{truth} taken for\n{guess}"
    return f"{said}, {result.probabilities[i].max():.0%}"


def heat(images: Images, result: Result, classes: Sequence[str], device: torch.device) -> "Figure":
    """Test images, half of them mistaken, and what of them spoke for the class that was chosen."""
    predicted = result.probabilities.argmax(1)
    right = predicted == images.labels
    draw = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    wrong = draw[~right[draw]][: SHOWN // 2]
    rows = torch.cat([draw[right[draw]][: SHOWN - len(wrong)], wrong])
    model = result.model.to(device).eval()
    normalise = normaliser(model.name, device)
    maps = gradcam(model, normalise(images.pixels[rows].to(device)), predicted[rows].to(device))
    captions = [caption(i, images, result, classes) for i in rows]
    above = list(zip(images.pixels[rows], captions, strict=True))
    below = [(images.pixels[i], "") for i in rows]
    title = f"Where {result.title} looks: Grad-CAM of the class that it chose"
    drawn = plots.images({"": above, " ": below}, title)
    for axis, shades in zip(drawn.axes[len(rows) :], maps.cpu(), strict=True):
        axis.imshow(shades.numpy(), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return drawn


def gradcam(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """How much each place of an image speaks for a class: 0 nothing, 1 the most of that image.

    Selvaraju et al. 2017, "Grad-CAM", section 3: the channels of the last map are added up, each
    weighted by its mean gradient (equations 1 and 2). Call it in eval mode, so that no dropout and
    no other image of the batch has a say.

    Args:
        images: normalised, (batch, 3, h, w).
        classes: int64 (batch,).

    Returns:
        (batch, h, w), from the map's places to pixels by linear interpolation.
    """
    with torch.no_grad():
        maps = model.feature_map(images)  # (batch, channels, h/32, w/32)
    with torch.enable_grad():
        maps.requires_grad_()
        logits = model.head(model.pool(maps))  # (batch, classes)
        chosen = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, maps)
    weights = gradient.mean((2, 3), keepdim=True)  # (batch, channels, 1, 1)
    heat = (weights * maps.detach()).sum(1, keepdim=True).relu()  # (batch, 1, h/32, w/32)
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear")[:, 0]  # (batch, h, w)
    highest = heat.amax((1, 2), keepdim=True)
    return heat / highest.clamp(min=torch.finfo(heat.dtype).tiny)


def learning_curve(results: Sequence[Result]) -> "Figure":
    """Test accuracy against training images, a line for each network and way of training."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        point = (result.images, 100 * result.metrics["test_accuracy"])
        lines.setdefault(result.way, []).append(point)
    drawn, axes = plots.figure()
    axis = axes[0, 0]
    for (name, points), colour in zip(lines.items(), plots.COLOURS * 4, strict=False):
        axis.plot(*zip(*sorted(points), strict=True), "o-", color=colour, label=name)
    axis.set(xscale="log", xlabel="training images", ylabel="test accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    drawn.suptitle("What pre-training is worth")
    return drawn
