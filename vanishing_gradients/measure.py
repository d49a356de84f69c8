"""What is measured of a network by layer: gradients, weights, activations."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import checkpoints, distributed
from common.training import History
from vanishing_gradients.model import VGGDeep

TINY = 1e-6  # a gradient norm below this counts as vanished
PUBLISHED = {3: 1e-8, 15: 1e-6, 27: 1e-4, 38: 1e-2}  # layer -> gradient norm, plain network


@dataclass(frozen=True)
class Start:
    """An untrained network by layer, means over some batches; each list has one entry a layer.

    gradient: norm of the loss's gradient by a convolution's weights.
    ratio: the same over the norm of the weights.
    variance: of a convolution's outputs, over everything.
    signal: the part of it that depends on the image: variance over images alone.
    forward: norm of a convolution's inputs.
    backward: norm of the loss's gradient by a convolution's outputs.
    """

    gradient: list[float]
    ratio: list[float]
    variance: list[float]
    signal: list[float]
    forward: list[float]
    backward: list[float]

    def __len__(self) -> int:
        return len(self.gradient)

    @property
    def spread(self) -> float:
        """Largest over smallest gradient norm; infinite where a gradient is exactly zero."""
        return max(self.gradient) / min(self.gradient) if min(self.gradient) else math.inf

    def metrics(self) -> dict[str, float]:
        """What goes into the records; norms as powers of ten, for they span many.

        log10_gradient_ratio is largest over smallest of all layers; log10_gradient_38_over_3 that
        of the outermost layers whose norms are published; log10_from_published how far the worst
        of the published layers is from its published norm.
        """
        powers = {k: log10(self.gradient[k - 1]) for k in PUBLISHED if k <= len(self)}
        metrics = {
            **{f"log10_gradient_layer_{layer}": power for layer, power in powers.items()},
            "gradient_ratio": self.spread,
            "log10_gradient_ratio": log10(self.spread),
            "layers_below_1e-6": sum(norm < TINY for norm in self.gradient),
        }
        if len(powers) == len(PUBLISHED):
            distances = [abs(powers[k] - log10(norm)) for k, norm in PUBLISHED.items()]
            metrics["log10_gradient_38_over_3"] = powers[38] - powers[3]
            metrics["log10_from_published"] = max(distances)
        return metrics


@dataclass(frozen=True)
class Outcome:
    """What came of a network; its model has the weights that were best on validation.

    norms: gradient norms in training, by step and layer.
    """

    model: nn.Module
    lr: float
    start: Start
    norms: dict[int, list[float]]
    history: History

    def metrics(self) -> dict[str, float]:
        """For the records; training accuracy and loss are means over the last epoch's steps."""
        last = self.history.rows[-1]
        return {
            **self.start.metrics(),
            "lr": self.lr,
            "train_accuracy": last["train_accuracy"],
            "train_loss": last["train_loss"],
            "val_accuracy": self.history.best["val_accuracy"],
            "images_per_second": last["samples_per_second"],
        }


def log10(value: float) -> float:
    return math.log10(value) if value else -math.inf


def norm(values: Tensor) -> Tensor:
    """The norm in double precision: squares of gradients of 1e-20 do not fit into float32."""
    return values.detach().double().norm()


def at_start(model: VGGDeep, batches: Iterable[tuple[Tensor, Tensor]]) -> Start:
    """Measure an untrained network, in float32; the model itself stays as it is.

    Args:
        batches: images (batch, 3, size, size) and labels (batch,), on the model's device.
    """
    model = copy.deepcopy(model).train()  # BatchNorm would count these batches
    convolutions = model.convolutions()
    weights = [convolution.weight for convolution in convolutions]
    passed: list[tuple[Tensor, Tensor]] = []  # input and output of each convolution
    for convolution in convolutions:
        convolution.register_forward_hook(lambda _, given, output: passed.append((*given, output)))
    measured = []
    for images, labels in batches:
        passed.clear()
        loss = F.cross_entropy(model(images), labels)
        outputs = [output for _, output in passed]
        gradients = torch.autograd.grad(loss, [*weights, *outputs])
        rows = []
        for layer, (given, output) in enumerate(passed):
            by_weights, by_output = gradients[layer], gradients[len(weights) + layer]
            activations = output.detach().double()
            rows.append(
                [
                    norm(by_weights),
                    norm(by_weights) / norm(weights[layer]),
                    activations.var(),
                    activations.var(0).mean(),
                    norm(given),
                    norm(by_output),
                ]
            )
        measured.append(torch.tensor(rows, dtype=torch.float64))  # (layers, 6)
    return Start(*torch.stack(measured).mean(0).T.tolist())


class Recorder:
    """Gradient norms by layer of every n-th training step, kept in a file of the run's part.

    `after_backward` is for `fit`. The file is whole after each measured step, so a resumed
    training goes on with it: what lies after its last checkpoint is trained, and measured, again.
    """

    def __init__(self, model: VGGDeep, every: int, folder: Path):
        self.weights = [convolution.weight for convolution in model.convolutions()]
        self.every, self.path = every, folder / "gradients.pt"
        self.norms: dict[int, list[float]] = {}  # step -> norm of each layer
        if self.path.exists():
            self.norms = checkpoints.load(self.path, torch.device("cpu"))["norms"]

    def after_backward(self, step: int) -> None:
        """Keep the norms of step number `step`, if its turn has come; before any clipping."""
        if step % self.every == 0:
            self.norms[step] = torch.stack([norm(w.grad) for w in self.weights]).tolist()
            if distributed.is_main():
                checkpoints.save(self.path, {"norms": self.norms})
