"""What a linear classifier reaches on hand-made features of the same pictures."""

import math
from typing import Any

from common import metrics
from common.images import ImageSet

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 8  # of the histograms of gradients, a side
COLOUR_CELLS = 4
ORIENTATIONS = 9


def evaluate(found: ImageSet) -> dict[str, dict[str, float]]:
    """Validation and test figures of the largest class and of a linear classifier.

    Nothing is tuned: logistic regression with scikit-learn's default strength.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = found.splits["train"]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100, tol=1e-3))
    model.fit(features(train.pixels), train.labels)
    largest = F.one_hot(train.labels.bincount().argmax(), len(found.classes)).float()
    linear: dict[str, float] = {}
    majority: dict[str, float] = {}
    for split in ("val", "test"):
        part = found.splits[split]
        add(linear, split, part.labels, model.predict_proba(features(part.pixels)), found)
        add(majority, split, part.labels, largest.expand(len(part), -1), found)
    return {"largest class": majority, "linear on gradients and colours": linear}


def add(
    figures: dict[str, float], split: str, labels: Tensor, probabilities: Any, found: ImageSet
) -> None:
    measured = metrics.classification(labels, probabilities, found.classes)
    figures[f"{split}_accuracy"] = measured["accuracy"]
    if split == "test":
        figures["macro_f1"] = measured["macro_f1"]


def features(pixels: Tensor) -> Tensor:
    """Histograms of oriented gradients (Dalal & Triggs 2005) and coarse colours.

    uint8 (images, 3, height, width) -> float32 (images, features).
    """
    made = []
    for part in pixels.split(512):
        images = part.float() / 255
        grey = images.mean(1)  # (images, height, width)
        dy, dx = torch.gradient(grey, dim=(1, 2))
        strength = torch.hypot(dx, dy)
        angle = torch.atan2(dy, dx) % math.pi  # unsigned
        number = (angle * ORIENTATIONS / math.pi).long().clamp(max=ORIENTATIONS - 1)
        by_angle = F.one_hot(number, ORIENTATIONS).permute(0, 3, 1, 2) * strength[:, None]
        cells = F.interpolate(by_angle, (CELLS, CELLS), mode="area")  # (images, 9, 8, 8)
        histograms = (cells / (cells.norm(dim=1, keepdim=True) + 0.01)).flatten(1)
        colours = F.interpolate(images, (COLOUR_CELLS, COLOUR_CELLS), mode="area").flatten(1)
        made.append(torch.cat([histograms, colours], 1))
    return torch.cat(made)
