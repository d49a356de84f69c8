"""A linear probe: features of the frozen network computed once, a linear head trained on them.

The features are standardised by the training pictures and the head is multinomial logistic
regression with an L2 penalty, of the strength that is most accurate on validation. Afterwards the
standardisation is folded into the head, so that it fits on the network.
"""

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import training
from common.augmentation import Normalise
from common.batches import Loader, in_order, tensor_loader
from common.cache import cached
from common.images import Images
from common.progress import History
from common.runs import Run

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer_food11.inputs import PREDICTED, eval_loader, normaliser, repeated, train_loader
from transfer_food11.model import Classifier
from transfer_food11.settings import Config

LEAST_STD = 1e-3  # features that hardly vary are not blown up


@dataclasses.dataclass(frozen=True)
class Features:
    """What the head sees of a split.

    views: float32 (views, pictures, features), see `looks`.
    seconds: that it took to compute them, now or when the cache was filled.
    """

    views: Tensor
    seconds: float

    def probabilities(self, head: nn.Linear) -> Tensor:
        """(pictures, classes), of a head on the CPU, averaged over the views."""
        return head(self.views).softmax(2).mean(0)

    def images_per_second(self) -> float:
        return self.views.shape[0] * self.views.shape[1] / self.seconds


def digest(model: Classifier) -> str:
    """A checksum of all that decides the features of a picture."""
    made = hashlib.sha256(repr((model.name, model.stride_in, model.preprocessing)).encode())
    for name, value in model.network.state_dict().items():
        made.update(name.encode())
        made.update(value.cpu().contiguous().numpy().tobytes())
    return made.hexdigest()


def extract(
    model: Classifier, splits: Mapping[str, Images], key: str, config: Config, run: Run, cache: Path
) -> dict[str, Features]:
    """The features of every split, from the cache where they are.

    Args:
        key: stands for the pictures.
    """
    normalise = normaliser(model.preprocessing, run.device)
    weights = digest(model)
    found = {}
    for name, images in splits.items():
        views, spent = [], 0.0
        for seen, loader in looks(name, images, normalise, config, run.device):

            def build(loader: Loader = loader, seed: int = len(views)) -> dict[str, np.ndarray]:
                began = time.monotonic()
                with torch.random.fork_rng():
                    torch.manual_seed(seed)  # the same parts in every run
                    made = training.predict(model, loader, forward, config.precision).numpy()
                return {"features": made, "seconds": np.array(time.monotonic() - began)}

            described = {
                "pictures": key,
                "split": name,
                "weights": weights,
                "seen": seen,
                "precision": f"{config.precision} {run.device.type}",
            }
            held = cached(cache, "features", described, build)
            views.append(torch.from_numpy(held["features"]))
            spent += float(held["seconds"])
        run.print(
            f"          features of {name}: {len(images):,} pictures, "
            f"{len(images) * len(views) / spent:,.0f} images/s"
        )
        found[name] = Features(torch.stack(views), spent)
    return found


def looks(
    name: str, images: Images, normalise: Normalise, config: Config, place: torch.device
) -> list[tuple[list[Any], Loader]]:
    """How the head sees a split: what decides a view, and its batches.

    All splits are seen whole, mirrored too with --flip (training) or --test-flip; training also in
    varied parts, as whole networks see it.
    """
    flip = config.flip if name == "train" else config.test_flip
    made: list[tuple[list[Any], Loader]] = [
        (["mirrored" if mirror else "whole"], eval_loader(images, normalise, place, mirror))
        for mirror in ((False, True) if flip else (False,))
    ]
    if name == "train":
        parts = train_loader(images, normalise, config, place, in_order(len(images), PREDICTED))
        how = [config.size, config.crop, config.flip, config.jitter, config.erase, config.policy]
        made += [(["part", number, *how], parts) for number in range(config.probe_parts)]
    return made


def forward(model: Classifier, batch: tuple[Tensor, Tensor]) -> Tensor:
    """float32 (pictures, features)."""
    return model.features(batch[0])


class Heads(nn.Module):
    """Linear layers side by side, one for each strength of the penalty."""

    def __init__(self, features: int, classes: int, count: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, classes, features))
        self.bias = nn.Parameter(torch.zeros(count, classes))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, features) -> (batch, count, classes)."""
        return torch.einsum("bf,scf->bsc", features, self.weight) + self.bias


def make_step(strengths: Tensor, class_weights: Tensor | None) -> training.Step:
    """Mean cross-entropy of the heads; in training each with its penalty, strength |W|^2 / 2."""

    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int, dict]:
        features, labels = batch  # (batch, features), (batch,)
        logits = model(features)  # (batch, strengths, classes)
        each = labels[:, None].expand(-1, len(strengths))
        loss = F.cross_entropy(logits.transpose(1, 2), each, class_weights)
        if model.training:
            weight, _ = model.parameters()  # DistributedDataParallel hides the attributes
            squares = weight.square().sum((1, 2))
            loss = loss + (strengths * squares).mean() / 2
        hits = (logits.argmax(2) == each).float().mean(1).sum()
        return loss, len(labels), {"accuracy": hits}

    return step


def train(
    model: Classifier,
    features: Mapping[str, Features],
    labels: Mapping[str, Tensor],
    class_weights: Tensor | None,
    config: Config,
    run: Run,
) -> tuple[History, float]:
    """Put the best head into the model; returns the epochs and the chosen strength."""
    train, val, place = features["train"].views, features["val"].views[0], run.device
    seen = train.flatten(0, 1)  # (views x pictures, features)
    mean, std = seen.mean(0), seen.std(0).clamp(min=LEAST_STD)  # (features,)
    standard = {"train": ((train - mean) / std).to(place), "val": ((val - mean) / std).to(place)}
    targets = {name: labels[name].to(place) for name in standard}

    def fetch(rows: Tensor) -> tuple[Tensor, Tensor]:
        view = torch.randint(len(train), (len(rows),))  # of each picture
        return standard["train"][view, rows], targets["train"][rows]

    settings = dataclasses.replace(
        config, epochs=config.probe_epochs, lr=config.probe_lr, schedule="cosine",
        warmup_epochs=0.0, weight_decay=0.0, clip_norm=0.0, ema_decay=0.0, patience=0,
        precision="float32", compile=False,
    )  # fmt: skip
    strengths = torch.tensor(config.strengths, device=place)
    heads = Heads(train.shape[2], model.head.out_features, len(strengths)).to(place)
    plan = repeated(train.shape[1], config)
    history = training.fit(
        heads,
        Loader(plan, fetch),
        tensor_loader((standard["val"], targets["val"]), 1024),
        make_step(strengths, class_weights),
        torch.optim.Adam(heads.parameters(), lr=config.probe_lr),
        settings,
        run,
        rate="probe_lr",
    )
    with torch.no_grad():
        logits = heads(standard["val"])  # (pictures, strengths, classes)
        hits = (logits.argmax(2) == targets["val"][:, None]).sum(0).tolist()
        losses = [float(F.cross_entropy(each, targets["val"])) for each in logits.unbind(1)]
        best = max(range(len(hits)), key=lambda i: (hits[i], -losses[i]))
        weight = heads.weight[best].cpu() / std
        model.head.weight.copy_(weight)
        model.head.bias.copy_(heads.bias[best].cpu() - weight @ mean)
    return history, config.strengths[best]
