"""The training loop that the projects share, and evaluation.

A project writes `step(model, batch) -> (loss, count, sums)`: the mean loss of the batch, how many
items it is the mean over, and totals over them (`{"correct": ...}`) that are reported divided by
the count. `fit` does the rest: epochs, schedule, gradient norm, averaged weights, the best epoch
on validation, early stopping, checkpoints and exact resume, in one process or a torchrun job.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from common import device, distributed
from common.batches import Loader
from common.config import Settings, flag
from common.errors import LostLoss
from common.metrics import Sums
from common.progress import History, Progress
from common.runs import Run

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from tqdm import tqdm

Step = Callable[[nn.Module, Any], tuple[Tensor, int | Tensor, dict[str, Any]]]
LOOK_EVERY = 10  # steps between looks at the loss on a GPU, or at the other processes of a job


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices with weight decay; biases and norms without."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_scheduler(
    optimizer: Optimizer, config: Settings, steps_per_epoch: int, mode: str = "min"
) -> LambdaLR | ReduceLROnPlateau:
    """The course of the learning rate: by step, but for `plateau`, which goes by epoch."""
    if config.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, mode=mode, factor=0.5, patience=2)
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return LambdaLR(optimizer, factor)


def fit(
    model: nn.Module,
    train_loader: Loader,
    val_loader: Loader | None,
    step: Step,
    optimizer: Optimizer,
    config: Settings,
    run: Run,
    *,
    monitor: str = "val_loss",
    mode: str = "min",
    rate: str = "lr",
) -> History:
    """Train; end with the best weights by `monitor` in the model (the last without validation).

    Called again on the same run (`--resume`), it goes on where the last checkpoint stands and
    ends as if it had never stopped: bit for bit on a CPU.

    Args:
        model: on `run.device` already.
        train_loader, val_loader: without a val_loader all epochs are trained and the last is kept.
        step: see the module's docstring; runs under autocast.
        monitor: the column that chooses the best epoch.
        mode: whether that column is best at its "min" or its "max".
        rate: the setting that holds this model's learning rate, for the message on a lost one.

    Raises:
        LostLoss: the loss became NaN or infinite.
        UserError: a checkpoint does not fit.
        Stopped: SIGTERM came, or SIGINT before the first epoch was validated.
    """
    run.stop.raise_if_stopped()
    steps = min(len(train_loader), config.limit_batches or len(train_loader))
    scheduler = make_scheduler(optimizer, config, steps, mode)
    progress = Progress(model, optimizer, scheduler, config, run, rate)
    progress.restore()
    if config.compile:
        model.compile()
    wrapped = distributed.wrap(model, run.device)
    with run.stop:
        while progress.wants_more():
            if not train_epoch(wrapped, train_loader, steps, step, progress):
                break
            # BatchNorm's statistics are of a process's own part of the batches.
            distributed.copy_main(progress.evaluated().buffers())
            scores = {}
            if val_loader is not None:
                scores = evaluate(progress.evaluated(), val_loader, step, config.precision)
            row = progress.row(scores, steps, train_loader.samples * steps / len(train_loader))
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(row.get(monitor, row["train_loss"]))
            progress.close_epoch(row, monitor if val_loader is not None else None, mode)
        progress.end()
    if progress.history.rows:
        run.stop.raise_if_terminated()
    else:
        run.stop.raise_if_stopped()
    return progress.history


def train_epoch(
    model: nn.Module, loader: Loader, steps: int, step: Step, progress: Progress
) -> bool:
    """Train the rest of an epoch; False if a stop was asked for in the middle of it."""
    model.train()
    batches = itertools.islice(loader.epoch(progress.epoch, progress.batch), steps - progress.batch)
    bar = tqdm(
        batches,
        desc=f"epoch {progress.epoch + 1}",
        total=steps,
        initial=progress.batch,
        leave=False,
        disable=not (sys.stderr.isatty() and distributed.is_main()),
    )
    look_every = 1 if progress.run.device.type == "cpu" else LOOK_EVERY
    parameters = [p for p in model.parameters() if p.requires_grad]
    began = time.monotonic()
    for batch in bar:
        number = progress.epoch * steps + progress.batch + 1
        loss = train_step(model, parameters, batch, step, progress)
        if number % look_every == 0:
            check_finite(loss, number, progress)
        progress.batch += 1
        if progress.due() and progress.batch < steps:
            check_finite(loss, number, progress)
            progress.seconds += time.monotonic() - began
            if progress.run.stop.signal:
                return False
            progress.save()
            began = time.monotonic()
    check_finite(progress.sums.totals["loss"], (progress.epoch + 1) * steps, progress)
    progress.seconds += time.monotonic() - began
    return True


def train_step(
    model: nn.Module, parameters: list[Tensor], batch: Any, step: Step, progress: Progress
) -> Tensor:
    """One step of the optimizer; returns the loss."""
    config, run, optimizer = progress.config, progress.run, progress.optimizer
    batch = device.to_device(batch, run.device)
    with device.autocast(run.device, config.precision):
        loss, count, sums = step(model, batch)
    optimizer.zero_grad(set_to_none=True)
    if distributed.world_size() > 1:
        # DistributedDataParallel averages over processes: this makes it the mean over all items.
        own = torch.as_tensor(count, dtype=torch.float64, device=run.device)
        total = distributed.add_up(own.clone()).clamp(min=1)
        (loss * (own * distributed.world_size() / total).float()).backward()
    else:
        loss.backward()
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if config.clip_norm:
        nn.utils.clip_grads_with_norm_(parameters, config.clip_norm, norm)
    optimizer.step()
    progress.after_step(count, loss.detach(), sums, norm)
    return loss.detach()


def check_finite(loss: Tensor, number: int, progress: Progress) -> None:
    """Raise LostLoss if the loss is NaN or infinite: the last checkpoint holds good weights."""
    if not math.isfinite(loss.item()):
        lr = progress.optimizer.param_groups[0]["lr"]
        raise LostLoss(
            f"the loss is {loss.item()} at step {number} (epoch {progress.epoch + 1}, learning "
            f"rate {lr:.3g}): lower --{flag(progress.rate)}, set --clip-norm 1, or lengthen "
            "--warmup-epochs"
        )


@torch.no_grad()
def evaluate(
    model: nn.Module, loader: Loader, step: Step, precision: str = "auto"
) -> dict[str, float]:
    """The loss and the other means of `step` over a split, exact over short batches."""
    model.eval()
    place = next(model.parameters()).device
    sums = Sums(place)
    for batch in loader.epoch(0):
        with device.autocast(place, precision):
            sums.add_step(*step(model, device.to_device(batch, place)))
    return sums.means()


@torch.no_grad()
def predict(
    model: nn.Module,
    loader: Loader,
    forward: Callable[[nn.Module, Any], Tensor],
    precision: str = "auto",
) -> Tensor:
    """`forward(model, batch)` for a whole split, concatenated on the CPU.

    In a job of several processes each one computes all of it.
    """
    model.eval()
    place = next(model.parameters()).device
    outputs = []
    for batch in loader.whole():
        with device.autocast(place, precision):
            outputs.append(forward(model, device.to_device(batch, place)).float().cpu())
    return torch.cat(outputs)
