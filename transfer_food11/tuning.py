"""Training of whole networks: layer-wise rates, mixed images, accumulated gradients."""

from typing import Literal

from common import distributed, training
from common.errors import require

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer_food11.model import Classifier
from transfer_food11.settings import Config

MOMENTUM = 0.9  # of the gradient
MIXUP_ALPHA = 0.2  # Zhang et al. 2017, section 3.1
CUTMIX_ALPHA = 1.0  # Yun et al. 2019, section 3.1


def make_optimizer(
    model: Classifier, lr: float, layer_decay: float, weight_decay: float
) -> torch.optim.SGD:
    """SGD, whose rate is `lr` at the head and falls by `layer_decay` with each stage before it.

    As Clark et al. 2020 (ELECTRA, section 3.1). Frozen stages are left out; the head comes first.
    """
    groups = []
    for depth, part in enumerate([model.head, *reversed(model.stages())]):
        rate = lr * layer_decay**depth
        groups += [
            {**group, "lr": rate}
            for group in training.parameter_groups(part, weight_decay)
            if group["params"]
        ]
    return torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, nesterov=True)


def mixed(images: Tensor, how: Literal["mixup", "cutmix"]) -> tuple[Tensor, Tensor, float]:
    """Each image of the batch mixed with another one, by one share for all.

    Returns:
        The mixed images, the row of each one's partner, and the share of its own label.
    """
    partner = torch.randperm(len(images), device=images.device)
    alpha = MIXUP_ALPHA if how == "mixup" else CUTMIX_ALPHA
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    if how == "mixup":
        return share * images + (1 - share) * images[partner], partner, share
    height, width = images.shape[2:]
    tall, wide = (round(side * (1 - share) ** 0.5) for side in (height, width))
    top = int(torch.randint(height - tall + 1, ()))
    left = int(torch.randint(width - wide + 1, ()))
    box = (..., slice(top, top + tall), slice(left, left + wide))
    images = images.clone()
    images[box] = images[partner][box]
    return images, partner, 1 - tall * wide / (height * width)


def make_step(config: Config, class_weights: Tensor | None) -> training.Step:
    """Cross-entropy; smoothing, mixing, class weights and accumulation act in training alone."""

    def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, labels, class_weights, label_smoothing=config.label_smoothing
        )

    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int, dict]:
        images, labels = batch  # (batch, 3, size, size), (batch,)
        if not model.training:
            logits = model(images)  # (batch, classes)
            hits = (logits.argmax(1) == labels).sum()
            return F.cross_entropy(logits, labels), len(labels), {"accuracy": hits}
        others, share = labels, 1.0
        if config.mix != "none":
            images, partner, share = mixed(images, config.mix)
            others = labels[partner]
        parts = range(min(config.accumulate, max(1, len(labels) // 2)))  # BatchNorm needs two
        loss, hits = torch.zeros((), device=images.device), 0
        gradients: list[Tensor] = []
        parameters = [p for p in model.parameters() if p.requires_grad]
        for part in parts:
            logits = model(images[part :: len(parts)])
            own, other = labels[part :: len(parts)], others[part :: len(parts)]
            one = share * loss_of(logits, own) + (1 - share) * loss_of(logits, other)
            one = one * (len(own) / len(labels))
            hits = hits + (logits.argmax(1) == own).sum()
            if len(parts) == 1:
                return one, len(labels), {"accuracy": hits}
            add(gradients, torch.autograd.grad(one, parameters))
            loss = loss + one.detach()
        return with_gradients(loss, parameters, gradients), len(labels), {"accuracy": hits}

    return step


def add(sums: list[Tensor], values: tuple[Tensor, ...]) -> None:
    if sums:
        torch._foreach_add_(sums, values)
    else:
        sums.extend(values)


def with_gradients(loss: Tensor, parameters: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """A scalar of the value `loss` whose backward gives the parameters these gradients.

    So the shared training loop, which calls backward once a step, need not know that the batch
    went through the network in parts and that their activations are gone.
    """
    pairs = zip(parameters, gradients, strict=True)
    linear = torch.stack([(p.float() * g.float()).sum() for p, g in pairs]).sum()
    return loss + (linear - linear.detach())


def balanced(labels: Tensor, classes: int) -> Tensor:
    """A weight for each class, inverse to its count, of mean 1 over the pictures."""
    counts = labels.bincount(minlength=classes)
    return len(labels) / (classes * counts.clamp(min=1)).float()


def check_processes(config: Config) -> None:
    """DistributedDataParallel sums gradients during a backward pass, of which there are several."""
    require(
        config.accumulate == 1 or distributed.world_size() == 1,
        "--accumulate works in one process only: use more processes instead, or leave it out",
    )
