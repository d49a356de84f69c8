"""Where a training stands: everything that a checkpoint holds, saved and restored exactly."""

import time
from dataclasses import dataclass, field
from typing import Any

from common import checkpoints, distributed
from common.config import Settings
from common.metrics import Sums
from common.runs import Run

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

SHARE_OF_SAVING = 0.05  # of a run's time, at most


@dataclass
class History:
    """What a training went through: a row of metrics for each epoch, and the best of them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # spent in training steps, over all starts of the run


class Progress:
    """The state of one `training.fit`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: LambdaLR | ReduceLROnPlateau,
        config: Settings,
        run: Run,
        rate: str,
    ):
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.config, self.run, self.rate = config, run, rate
        self.averaged = None
        if config.ema_decay:
            self.averaged = AveragedModel(model, multi_avg_fn=self.average, use_buffers=True)
        self.history = History()
        self.best_weights: dict[str, Tensor] = {}
        self.epoch = 0  # epochs completed
        self.batch = 0  # batches completed in the present epoch
        self.stale = 0  # epochs since the best one
        self.finished = False
        self.lr = config.lr  # of the last step
        self.saved_at, self.pause = time.monotonic(), config.save_seconds
        self.start_epoch()

    def average(self, averaged: list[Tensor], current: list[Tensor], _: object) -> None:
        """One step of the moving average, whose decay rises to `ema_decay`.

        After n steps it is at most (1 + n) / (10 + n), so that the average does not drag the
        first, random weights along.
        """
        count = int(self.averaged.n_averaged)
        decay = min(self.config.ema_decay, (1 + count) / (10 + count))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:  # BatchNorm's count of batches
            torch._foreach_copy_(averaged, current)

    def start_epoch(self) -> None:
        self.sums = Sums(self.run.device)
        self.norm_sum, self.norm_max = torch.zeros(2, device=self.run.device)
        self.seconds = 0.0  # in this epoch

    def wants_more(self) -> bool:
        """Whether another epoch is to be trained."""
        impatient = 0 < self.config.patience <= self.stale
        ended = self.finished or self.run.stop.signal or impatient
        return not ended and self.epoch < self.config.epochs

    def after_step(self, count: Any, loss: Tensor, sums: dict[str, Any], norm: Tensor) -> None:
        """Count a step of the optimizer; `norm` is the gradient's before clipping."""
        self.lr = self.optimizer.param_groups[0]["lr"]
        if isinstance(self.scheduler, LambdaLR):
            self.scheduler.step()
        if self.averaged:
            self.averaged.update_parameters(self.model)
        self.sums.add_step(loss, count, sums)
        self.norm_sum += norm
        torch.maximum(self.norm_max, norm, out=self.norm_max)

    def due(self) -> bool:
        """Whether to save or stop now; the processes of a job decide as one, every few steps."""
        due = time.monotonic() - self.saved_at >= self.pause
        if distributed.world_size() == 1:
            return due or self.run.stop.signal is not None
        if self.batch % 10:
            return False
        wish = torch.tensor([self.run.stop.signal or 0, int(due)], device=self.run.device)
        stop, due = distributed.largest(wish).tolist()
        self.run.stop.signal = stop or None
        return bool(stop or due)

    def row(self, scores: dict[str, float], steps: int, samples: float) -> dict[str, Any]:
        """The epoch's row of metrics: means over its training steps, and validation's scores."""
        return {
            "epoch": self.epoch + 1,
            **{f"train_{key}": value for key, value in self.sums.means().items()},
            **{f"val_{key}": value for key, value in scores.items()},
            "lr": self.lr,
            "grad_norm": self.norm_sum.item() / steps,
            "grad_norm_max": self.norm_max.item(),
            "samples_per_second": samples / max(self.seconds, 1e-9),
            "seconds": self.seconds,
        }

    def close_epoch(self, row: dict[str, Any], monitor: str | None, mode: str) -> None:
        """Remember the row, and the weights if they are the best; save if it is time."""
        self.history.rows.append(row)
        self.history.seconds += self.seconds
        sign = 1 if mode == "max" else -1
        best = self.history.best
        if monitor is None:
            self.history.best = row
        elif not best or sign * row[monitor] > sign * best[monitor]:
            self.history.best, self.stale = row, 0
            weights = self.evaluated().state_dict()
            self.best_weights = {key: value.clone() for key, value in weights.items()}
        else:
            self.stale += 1
        self.run.log(row, self.config.epochs, best=self.history.best is row)
        self.epoch, self.batch = self.epoch + 1, 0
        self.start_epoch()
        if self.wants_more() and self.due():
            self.save()

    def evaluated(self) -> nn.Module:
        """The model that is validated and kept: the averaged one where weights are averaged."""
        return self.averaged.module if self.averaged else self.model

    def end(self) -> None:
        """Save, and put the weights to use into the model."""
        if not self.finished:
            self.finished = not self.run.stop.signal
            self.save()
        self.model.load_state_dict(self.best_weights or self.evaluated().state_dict())
        self.run.train_seconds += self.history.seconds

    def save(self) -> None:
        """Write last.pt, with everything, and best.pt, with the weights to use."""
        began = time.monotonic()
        self.sums.gather()
        if distributed.is_main():
            best = self.best_weights or self.evaluated().state_dict()
            checkpoints.save(self.run.folder / "best.pt", {"model": best})
            checkpoints.save(self.run.folder / "last.pt", self.state())
        self.saved_at = time.monotonic()
        self.pause = max(self.config.save_seconds, (self.saved_at - began) / SHARE_OF_SAVING)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else {},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "best_weights": self.best_weights,
            "history": vars(self.history),
            "counters": [self.epoch, self.batch, self.stale, self.seconds, self.finished],
            "sums": self.sums.totals,
            "norms": torch.stack([self.norm_sum, self.norm_max]),
            "random": checkpoints.random_state(),
        }

    def restore(self) -> None:
        """Go on from the run's last.pt, if it has one.

        Raises:
            UserError: the file is damaged, or holds another architecture.
        """
        path = self.run.folder / "last.pt"
        if path.exists():
            state = checkpoints.load(path, self.run.device)
            checkpoints.load_weights(self.model, state["model"], str(path))
            if self.averaged:
                checkpoints.load_weights(self.averaged, state["averaged"], str(path))
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.best_weights = state["best_weights"]
            self.history = History(**state["history"])
            self.epoch, self.batch, self.stale, self.seconds, self.finished = state["counters"]
            self.norm_sum, self.norm_max = state["norms"]
            # The file holds the totals of all processes: one of them goes on with these.
            if distributed.is_main():
                self.sums.totals = state["sums"]
            checkpoints.set_random_state(state["random"])
        self.run.start_log(self.history.rows)
        if distributed.world_size() > 1:  # else dropout would fall alike in every process
            step = self.epoch * 1_000_003 + self.batch
            torch.manual_seed(self.config.seed + 7919 * (distributed.rank() + 1) + step)
