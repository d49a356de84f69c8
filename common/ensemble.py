"""Several models of one run, alike but for their seeds, whose probabilities are averaged."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from common import checkpoints, device, training
from common.batches import Loader
from common.ragged import original_order
from common.runs import Run

import torch
from torch import Tensor, nn

SEED_STEP = 1000  # from the seed of one model of a run to the next one's


def members(run: Run, count: int) -> Iterator[tuple[int, Run]]:
    """For each model its seed, which is set, and the part of the run that it is trained in.

    The first model is what a run of one would train; that run has no parts.
    """
    for number in range(count):
        part = run.part(f"member{number}") if count > 1 else run
        seed = run.config.seed + SEED_STEP * number
        device.seed_everything(seed)
        yield seed, part


def predict(
    models: Sequence[nn.Module],
    loader: Loader,
    probabilities: Callable[[Tensor], Tensor],
    precision: str = "auto",
) -> Tensor:
    """Probabilities (models, texts, ...) of a split that is not shuffled, in its own order.

    loader: batches (ids, lengths, labels). probabilities: the function from logits to them.
    """
    each = []
    for model in models:
        logits = training.predict(model, loader, lambda m, batch: m(*batch[:2]), precision)
        each.append(original_order(loader.plan, probabilities(logits)))
    return torch.stack(each)


def load(
    folder: Path, make_model: Callable[[dict[str, Tensor]], nn.Module], place: torch.device
) -> list[nn.Module]:
    """The models of a trained run, on the device, for evaluation.

    make_model: gives the architecture that fits some weights. Raises UserError where a file is
    missing, damaged or of another architecture.
    """
    models = []
    for each in sorted(folder.glob("member*")) or [folder]:
        path = each / "best.pt"
        weights = checkpoints.load(path, place)["model"]
        model = make_model(weights)
        checkpoints.load_weights(model, weights, str(path))
        models.append(model.to(place).eval())
    return models
