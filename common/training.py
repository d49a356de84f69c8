"""The training loop that the projects share, and evaluation.

A project writes `step(model, batch) -> (loss, count, totals)`: the mean loss of the batch, how many
items it is the mean over, and totals over them (`{"accuracy": right answers}`) that are reported
divided by the count. `fit` does the rest: epochs, schedule, gradient norm, averaged weights, the
best epoch on validation, and exact resume from the end of an epoch, in one process or in a torchrun
job.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from common import checkpoints, distributed
from common.batches import Loader
from common.device import autocast, to_device
from common.metrics import Sums
from common.runs import History, Run
from common.settings import Diverged, require, warn

Step = Callable[[nn.Module, Any], tuple[Tensor, int | Tensor, dict[str, Any]]]
Schedule = Literal["constant", "cosine", "plateau"]
LOOK_EVERY = 10  # steps between looks at the loss on a GPU, which would wait for each
SAVE_SECONDS = 30.0  # between checkpoints, at least: short epochs are not saved one by one


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    step: Step,
    train_loader: Loader,
    val_loader: Loader | None,
    run: Run,
    *,
    epochs: int,
    schedule: Schedule = "constant",
    warmup_epochs: float = 0.0,
    clip_norm: float = 0.0,
    ema_decay: float = 0.0,
    monitor: str = "val_loss",
    accumulate: int = 1,
    after_backward: Callable[[int], None] | None = None,
    lr_flag: str = "--lr",
) -> History:
    """Train; end with the best weights by `monitor` in the model (the last without validation).

    Called again on the same run (`--resume`) it goes on from the end of an epoch, and ends as if
    it had never stopped: bit for bit on a CPU.

    Args:
        model: on `run.device` already.
        step: see the module's docstring; runs under autocast.
        clip_norm: largest norm of all gradients together; 0 = no clipping.
        ema_decay: decay a step of the averaged weights that are validated and kept; 0 = none.
        monitor: the column that chooses the best epoch: its least if it ends in "loss", else its
            largest.
        accumulate: parts in which each batch goes through the network, to save memory.
        after_backward: called with the step's number, from 0, when gradients are there, unclipped.
        lr_flag: the flag of this model's learning rate, for the message when it diverges.

    Raises:
        Diverged: the loss is not finite.
        Stopped: SIGINT or SIGTERM came; the step was finished.
    """
    require(
        accumulate == 1 or distributed.world_size() == 1,
        "--accumulate works in one process: use more processes instead, or leave it out",
    )
    steps = min(len(train_loader), run.config.limit_batches or len(train_loader))
    scheduler = make_schedule(optimizer, schedule, warmup_epochs * steps, epochs * steps, monitor)
    averaged = average_weights(model, ema_decay) if ema_decay else None
    kept = averaged.module if averaged else model  # what is validated and, at its best, kept
    checkpoint = Checkpoint(run.folder, model, averaged, optimizer, scheduler)
    history, best_weights = checkpoint.restore(run.device)
    run.start_training(history)
    if run.config.compile:
        model.compile()
    network = distributed.wrap(model, run.device)
    parameters = [p for p in model.parameters() if p.requires_grad]

    with run.interruptible():
        for epoch in range(len(history.rows), epochs):
            seed_processes(run.config.seed, epoch)
            network.train()
            sums = Sums(run.device)
            norm_sum, norm_max = torch.zeros(2, device=run.device)
            began = time.monotonic()
            for number, parts in enumerate(progress(train_loader, epoch, steps, accumulate)):
                optimizer.zero_grad(set_to_none=True)
                for batch, fraction in parts:
                    with autocast(run.device, run.precision):
                        loss, count, totals = step(network, to_device(batch, run.device))
                    backward(loss, count, fraction)
                    sums.add_step(loss, count, totals)
                if after_backward:
                    after_backward(epoch * steps + number)
                norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
                if clip_norm:
                    nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
                optimizer.step()
                lr = optimizer.param_groups[0]["lr"]
                if isinstance(scheduler, LambdaLR):
                    scheduler.step()
                if averaged:
                    averaged.update_parameters(model)
                norm_sum += norm
                torch.maximum(norm_max, norm, out=norm_max)
                if run.device.type == "cpu" or number % LOOK_EVERY == 0 or number == steps - 1:
                    check_finite(loss.item(), epoch, number, lr, lr_flag)
                run.after_step(epoch * steps + number)
            seconds = time.monotonic() - began

            # Each process saw its own part of the batches: all take the main one's BatchNorm
            # statistics.
            distributed.copy_main(kept.buffers())
            val = evaluate(kept, val_loader, step, run.precision) if val_loader else {}
            row = {
                "epoch": epoch + 1,
                **{f"train_{name}": value for name, value in sums.means().items()},
                **{f"val_{name}": value for name, value in val.items()},
                "lr": lr,
                "grad_norm": norm_sum.item() / steps,
                "grad_norm_max": norm_max.item(),
                "samples_per_second": train_loader.samples / len(train_loader) * steps / seconds,
                "seconds": seconds,
            }
            history.rows.append(row)
            history.seconds += seconds
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(row.get(monitor, row["train_loss"]))
            if not val_loader:
                history.best = row
            elif is_better(row, history.best, monitor):
                history.best = row
                best_weights = {name: v.clone() for name, v in kept.state_dict().items()}
            run.log(row, epochs, is_best=history.best is row)
            checkpoint.save(history, best_weights, now=epoch == epochs - 1)
    model.load_state_dict(best_weights or kept.state_dict())
    run.train_seconds = history.seconds
    return history


def decay_groups(
    model: nn.Module, weight_decay: float, *, apart: Iterable[Tensor] = ()
) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices with weight decay, biases and norms without.

    apart: parameters that the caller groups itself (embeddings, say), left out of both.
    """
    others = {id(parameter) for parameter in apart}
    parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in others]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_schedule(
    optimizer: Optimizer, schedule: Schedule, warmup_steps: float, total_steps: int, monitor: str
) -> LambdaLR | ReduceLROnPlateau:
    """The course of the learning rate: by step, but for `plateau`, which goes by epoch.

    constant and cosine (Loshchilov & Hutter 2017, without restarts) rise linearly at first;
    plateau halves the rate when `monitor` has not improved for more than two epochs.

    Raises:
        SettingError: the warm-up does not fit the schedule.
    """
    if schedule == "plateau":
        require(
            warmup_steps == 0,
            "--schedule plateau has no warm-up: set --warmup-epochs 0, or --schedule cosine",
        )
        mode = "min" if monitor.endswith("loss") else "max"
        return ReduceLROnPlateau(optimizer, mode=mode, factor=0.5, patience=2)
    if warmup_steps >= total_steps:
        warn("--warmup-epochs is as long as the training: it is taken as half of it")
        warmup_steps = total_steps / 2

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if schedule == "constant":
            return 1.0
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)


def average_weights(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights follow the model's as an exponential moving average.

    After n steps the decay is at most (1 + n) / (10 + n), so that the average does not drag the
    first, random weights along.
    """

    def average(means: list[Tensor], current: list[Tensor], _: object) -> None:
        count = int(averaged.n_averaged)
        if means[0].is_floating_point():
            weight = 1 - min(decay, (1 + count) / (10 + count))
            torch._foreach_lerp_(means, current, weight)
        else:  # BatchNorm's count of batches
            torch._foreach_copy_(means, current)

    averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    return averaged


def seed_processes(seed: int, epoch: int) -> None:
    """Give each process of a job random numbers of its own: else dropout would be alike in all."""
    if distributed.world_size() > 1:
        torch.manual_seed(seed + 7919 * (distributed.rank() + 1) + 1_000_003 * epoch)


def progress(loader: Loader, epoch: int, steps: int, accumulate: int) -> Iterable[Any]:
    """The batches of an epoch under a progress bar, where there is a terminal."""
    return tqdm(
        islice(loader.epoch(epoch, accumulate), steps),
        desc=f"epoch {epoch + 1}",
        total=steps,
        leave=False,
        disable=not (sys.stderr.isatty() and distributed.is_main()),
    )


def backward(loss: Tensor, count: int | Tensor, fraction: float) -> None:
    """Add the gradient of the mean loss over all samples of the batch.

    `fraction` is how much of the batch went through the network. DistributedDataParallel averages
    over processes, of which some may have fewer items: the weight makes up for it.
    """
    if distributed.world_size() > 1:
        own = torch.as_tensor(count, dtype=torch.float64, device=loss.device)
        total = distributed.add_up(own.clone()).clamp(min=1)
        loss = loss * (own * distributed.world_size() / total).float()
    elif fraction < 1:
        loss = loss * fraction
    loss.backward()


def check_finite(loss: float, epoch: int, number: int, lr: float, lr_flag: str) -> None:
    """Raise Diverged if the loss is NaN or infinite: the last checkpoint holds good weights."""
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss is {loss} at step {number + 1} of epoch {epoch + 1}, at a learning rate of "
            f"{lr:.3g}: lower {lr_flag}"
        )


def is_better(row: Mapping[str, Any], best: Mapping[str, Any], monitor: str) -> bool:
    """Whether an epoch is better than the best so far."""
    sign = -1 if monitor.endswith("loss") else 1
    return not best or sign * row[monitor] > sign * best[monitor]


class Checkpoint:
    """All that an exact resume needs, in the file checkpoint.pt of a run's folder."""

    def __init__(self, folder: Path, model: nn.Module, averaged: nn.Module | None, *others: Any):
        self.path = folder / "checkpoint.pt"
        self.model, self.averaged = model, averaged
        self.optimizer, self.scheduler = others
        self.saved_at, self.pause = time.monotonic(), SAVE_SECONDS

    def save(self, history: History, best_weights: dict[str, Tensor], now: bool) -> None:
        """Write the file if the last one is old enough, or `now`."""
        began = time.monotonic()
        if not now and began - self.saved_at < self.pause:
            return
        if distributed.is_main():
            state = {
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict() if self.averaged else {},
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "best_weights": best_weights,
                "history": asdict(history),
                "random": checkpoints.random_state(),
            }
            checkpoints.save(self.path, state)
        self.saved_at = time.monotonic()
        self.pause = max(SAVE_SECONDS, 20 * (self.saved_at - began))  # a twentieth of the time

    def restore(self, device: torch.device) -> tuple[History, dict[str, Tensor]]:
        """Put everything back as the file has it; without a file, a start.

        Raises:
            UserError: the file is damaged, or holds another architecture.
        """
        if not self.path.exists():
            return History(), {}
        state = checkpoints.load(self.path, device)
        checkpoints.load_weights(self.model, state["model"], str(self.path))
        if self.averaged:
            checkpoints.load_weights(self.averaged, state["averaged"], str(self.path))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        checkpoints.set_random_state(state["random"])
        return History(**state["history"]), state["best_weights"]


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, step: Step, precision: str) -> dict[str, float]:
    """The loss and the other means of `step` over a split, exact over short batches."""
    model.eval()
    device = next(model.parameters()).device
    sums = Sums(device)
    for parts in loader.epoch(0):
        for batch, _ in parts:
            with autocast(device, precision):
                sums.add_step(*step(model, to_device(batch, device)))
    return sums.means()


@torch.no_grad()
def predict(
    model: nn.Module, loader: Loader, forward: Callable[[nn.Module, Any], Tensor], precision: str
) -> Tensor:
    """`forward(model, batch)` for a whole split, on the CPU, in the order of its rows.

    In a job of several processes each one computes all of it.
    """
    model.eval()
    device = next(model.parameters()).device
    outputs = []
    for batch in loader.whole():
        with autocast(device, precision):
            outputs.append(forward(model, to_device(batch, device)).float().cpu())
    order = torch.cat(loader.batches(0)).argsort()
    return torch.cat(outputs)[order]
