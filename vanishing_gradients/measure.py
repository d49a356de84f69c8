"""What is measured of a network by layer: gradients, weights, activations."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import checkpoints, distributed

import torch
from torch import Tensor
from torch.nn import functional as F

from vanishing_gradients.model import VGGDeep

TINY = 1e-6  # a gradient norm below this counts as vanished
PUBLISHED = {3: 1e-8, 15: 1e-6, 27: 1e-4, 38: 1e-2}  # layer -> gradient norm, plain network


@dataclass(frozen=True)
class Start:
    """An untrained network by layer, means over some batches; each list has one entry a layer.

    gradient: norm of the loss's gradient by a convolution's weights.
    ratio: the same over the norm of the weights.
    variance: of a convolution's outputs, over everything.
    signal: the part of it that depends on the picture: variance over pictures alone.
    """

    gradient: list[float]
    ratio: list[float]
    variance: list[float]
    signal: list[float]

    @property
    def spread(self) -> float:
        """Largest over smallest gradient norm; infinite where a gradient is exactly zero."""
        return max(self.gradient) / min(self.gradient) if min(self.gradient) else math.inf

    def figures(self) -> dict[str, float]:
        """What goes into the records; norms as powers of ten, for they span many."""
        norms = {layer: self.gradient[layer - 1] for layer in PUBLISHED if layer <= len(self)}
        return {
            **{f"log10_gradient_layer_{k}": log10(norm) for k, norm in norms.items()},
            "gradient_ratio": self.spread,
            "log10_gradient_ratio": log10(self.spread),
            "layers_below_1e-6": sum(norm < TINY for norm in self.gradient),
        }

    def __len__(self) -> int:
        return len(self.gradient)


def log10(value: float) -> float:
    return math.log10(value) if value else -math.inf


def norm(values: Tensor) -> Tensor:
    """The norm in double precision: squares of gradients of 1e-20 do not fit into float32."""
    return values.detach().double().norm()


def at_start(model: VGGDeep, batches: Iterable[tuple[Tensor, Tensor]]) -> Start:
    """Measure an untrained network; the model itself stays as it is.

    Args:
        batches: images (batch, 3, size, size) and labels (batch,), on the model's device.
    """
    model = copy.deepcopy(model).train()  # BatchNorm would count these batches
    convolutions = model.convolutions()
    weights = [convolution.weight for convolution in convolutions]
    outputs: list[Tensor] = []
    for convolution in convolutions:
        convolution.register_forward_hook(lambda _, __, output: outputs.append(output.detach()))
    measured = []
    for images, labels in batches:
        outputs.clear()
        loss = F.cross_entropy(model(images), labels)
        gradients = [norm(gradient) for gradient in torch.autograd.grad(loss, weights)]
        measured.append(
            torch.stack(
                [
                    torch.stack(gradients),
                    torch.stack([g / norm(w) for g, w in zip(gradients, weights, strict=True)]),
                    torch.stack([output.double().var() for output in outputs]),
                    torch.stack([output.double().var(0).mean() for output in outputs]),
                ]
            )  # (4, layers)
        )
    return Start(*torch.stack(measured).mean(0).tolist())


class Recorder:
    """Gradient norms by layer of every n-th training step, kept in a file of the run's part.

    The file is whole after each measured step, so that a resumed training goes on with it: steps
    after its last checkpoint are trained, and measured, again. In a torchrun job each process
    measures its own share of a batch, and the main one's norms are kept.
    """

    def __init__(self, model: VGGDeep, every: int, folder: Path):
        self.every, self.path = every, folder / "gradients.pt"
        self.norms: dict[int, list[float]] = {}  # step -> norm of each layer
        if self.path.exists():
            self.norms = checkpoints.load(self.path)["norms"]
        self.step: int | None = None  # the step being measured
        self.present: dict[int, Tensor] = {}
        weights = [convolution.weight for convolution in model.convolutions()]
        self.layers = len(weights)
        for layer, weight in enumerate(weights):
            weight.register_hook(lambda gradient, layer=layer: self.note(layer, gradient))

    def begin(self, step: int) -> None:
        """Call before the backward pass of a training step."""
        self.step = step if step % self.every == 0 else None
        self.present = {}

    def note(self, layer: int, gradient: Tensor) -> None:
        """Called by the backward pass, from the last layer to the first; before any clipping."""
        if self.step is None:
            return
        self.present[layer] = norm(gradient)
        if len(self.present) == self.layers:
            row = torch.stack([self.present[layer] for layer in range(self.layers)])
            self.norms[self.step] = row.tolist()
            if distributed.is_main():
                checkpoints.save(self.path, {"norms": self.norms})
