"""A linear probe: features of the frozen network computed once, and a head fitted to them."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Loader, in_order
from common.checkpoints import cached
from common.images import ImageSet
from common.runs import Run
from common.training import predict
from transfer_food11 import loaders
from transfer_food11 import model as networks
from transfer_food11.loaders import Crops, eval_loader, train_loader
from transfer_food11.model import Classifier

PARTS = 2  # random crops of each training image that the head sees, besides the whole
LEAST_SCALE = 1e-3  # features that are alike in all images (random weights) are not blown up


@dataclass(frozen=True)
class Features:
    """What the head sees of a split.

    views: float32 (views, images, features): of each image whole, then mirrored, then, in the
    training split, of random crops.
    seconds: that it took to compute them, now or when the cache was filled.
    """

    views: Tensor
    seconds: float

    def of(self, rows: Tensor) -> "Features":
        """Those of some images."""
        seconds = self.seconds * len(rows) / self.views.shape[1]
        return Features(self.views[:, rows], seconds)

    @torch.no_grad()
    def probabilities(self, head: nn.Linear) -> Tensor:
        """(images, classes) on the CPU, averaged over the views."""
        views = self.views.to(head.weight.device)
        return head(views).softmax(2).mean(0).cpu()


def extract(
    model: Classifier, dataset: ImageSet, crops: Crops, seed: int, precision: str, cache: Path
) -> dict[str, Features]:
    """The features of every split, from the cache where they are.

    Args:
        crops: how the training split is varied, in PARTS crops of each image. With `crops.flip`
            every split is seen mirrored too.
        seed: of the crops.
    """
    device = next(model.parameters()).device
    normalise = loaders.normaliser(model.name, device)
    where = f"{precision} {device.type}"
    key = {"images": dataset.key, "weights": weights_digest(model), "precision": where}

    def compute(loader: Loader, number: int) -> dict[str, np.ndarray]:
        began = time.monotonic()
        with torch.random.fork_rng():
            torch.manual_seed(number)
            rows = predict(model, loader, lambda m, batch: m.features(batch[0]), precision)
        return {"features": rows.numpy(), "seconds": np.array(time.monotonic() - began)}

    features = {}
    for split, images in dataset.splits.items():
        views = [({"view": "whole"}, 0, eval_loader(images, normalise, device))]
        if crops.flip:
            mirrored = eval_loader(images, normalise, device, mirror=True)
            views.append(({"view": "mirrored"}, 0, mirrored))
        if split == "train":
            plan = in_order(len(images), loaders.EVAL_BATCH)
            varied = train_loader(images, normalise, crops, plan, device)
            views += [(asdict(crops), seed * PARTS + part, varied) for part in range(PARTS)]
        kept = [
            cached(
                cache, "features", {**key, "split": split, **view, "number": number},
                partial(compute, loader, number), (loaders, networks),
            )
            for view, number, loader in views
        ]  # fmt: skip
        rows = torch.stack([torch.from_numpy(arrays["features"]) for arrays in kept])
        features[split] = Features(rows, sum(float(arrays["seconds"]) for arrays in kept))
    return features


def fit_head(
    head: nn.Linear,
    train: Features,
    val: Features,
    labels: Mapping[str, Tensor],
    strengths: Sequence[float],
    class_weights: Tensor | None = None,
) -> float:
    """Multinomial logistic regression on every view, of the penalty that validation chooses.

    The loss is the mean cross-entropy + strength / 2 x |weights|^2, brought to its minimum by
    L-BFGS; of the strengths the most accurate on whole validation images is taken. The features
    are centred and divided by one number, their typical deviation, so that a strength means the
    same for every network; both are folded into the head, which then fits the network. Dividing
    each feature by its own deviation would favour those that hardly vary: their weights become so
    large that the first steps of a fine-tuning destroy the network.

    Args:
        head: gets the weights.
        labels: int64 (images,) of train and val.
        class_weights: (classes,), in the loss.

    Returns:
        The chosen strength.
    """
    device = head.weight.device
    rows = train.views.flatten(0, 1).to(device)  # (views x images, features)
    mean = rows.mean(0)  # (features,)
    scale = rows.var(0).mean().sqrt().clamp(min=LEAST_SCALE)  # ()
    rows, targets = (rows - mean) / scale, labels["train"].repeat(len(train.views)).to(device)
    whole, truth = val.views[0].to(device), labels["val"].to(device)
    weight = torch.zeros_like(head.weight, requires_grad=True)  # (classes, features)
    bias = torch.zeros_like(head.bias, requires_grad=True)
    best: tuple[float, ...] = ()
    for strength in sorted(strengths, reverse=True):  # each starts from the one before
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

        def loss(strength: float = strength, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(F.linear(rows, weight, bias), targets, class_weights)
            value = value + strength / 2 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        with torch.no_grad():
            folded = weight / scale
            logits = F.linear(whole, folded, bias - folded @ mean)  # (images, classes)
            right = int((logits.argmax(1) == truth).sum())
            score = (right, -float(F.cross_entropy(logits, truth)))
            if score > best[:2]:
                best = (*score, strength)
                head.weight.copy_(folded)
                head.bias.copy_(bias - folded @ mean)
    return best[2]


def train_head(
    part: Run,
    head: nn.Linear,
    features: Mapping[str, Features],
    rows: Tensor,
    dataset: ImageSet,
    class_weights: Tensor | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Fit a new head to the features of these rows of the training split, in one part of a run.

    Returns:
        What was measured, and the probabilities (images, classes) of val and test.
    """
    labels = {split: images.labels for split, images in dataset.splits.items()}
    labels["train"] = labels["train"][rows]
    train, val, test = features["train"].of(rows), features["val"], features["test"]
    began = time.monotonic()
    strength = fit_head(head, train, val, labels, part.config.strengths, class_weights)
    part.train_seconds = time.monotonic() - began + train.seconds + val.seconds
    part.print(f"          penalty of strength {strength:g}, chosen on validation")
    metrics = {
        "strength": strength,
        "images_per_second": train.views.shape[:2].numel() / train.seconds,  # a view is one's work
        "predict_images_per_second": len(labels["test"]) / test.seconds,
        "train_seconds": part.train_seconds,
    }
    return metrics, {"val": val.probabilities(head), "test": test.probabilities(head)}


def weights_digest(model: Classifier) -> str:
    """A checksum of all that decides the features of an image: the head is left out."""
    digest = hashlib.sha256(f"{model.name} {model.strides}".encode())
    for name, value in [*model.network.state_dict().items()][:-2]:  # the head comes last
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
