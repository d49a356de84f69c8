"""Ways to train a case: ours, a plain script, Lightning and the Hugging Face Trainer.

All have the same model, batch size, optimizer, schedule, clipping and averaging of weights. Each
keeps its model from turn to turn. None saves, logs or shows a bar.
"""

import ctypes
import dataclasses
import itertools
import logging
import math
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from common import device, training
from common.progress import Progress
from common.runs import Run

import torch
from case import CPU, Case, Clock, Turn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

M_MMAP_THRESHOLD = -3  # of glibc's mallopt, in malloc.h
# What glibc has at a process's start or, of thresholds, comes to by itself.
GLIBC = {
    device.M_TRIM_THRESHOLD: 64 * 2**20,
    device.M_TOP_PAD: 128 * 2**10,
    device.M_MMAP_MAX: 65_536,
    M_MMAP_THRESHOLD: 32 * 2**20,
}


class Way(Protocol):
    """`turn` trains the turn's steps and returns their seconds; if slow, fewer, extrapolated."""

    def turn(self, turn: Turn) -> float: ...


class Ours:
    """As train.py: `training.train_epoch`."""

    def __init__(self, case: Case):
        self.case, self.step = case, case.step
        device.seed_everything(0)
        self.model = case.model()
        optimizer = case.optimizer(self.model)
        config = dataclasses.replace(case.config, save_seconds=math.inf)
        scheduler = training.make_scheduler(optimizer, config, len(case.loader))
        run = Run("benchmark", config, Path(), CPU)  # its folder is never used: nothing is saved
        self.progress = Progress(self.model, optimizer, scheduler, config, run, "lr")

    def turn(self, turn: Turn) -> float:
        device.keep_freed_memory()
        loader = turn.part(self.case.loader)
        began = time.perf_counter()
        for _ in range(turn.epochs):
            self.progress.start_epoch()
            self.progress.batch = 0
            training.train_epoch(self.model, loader, turn.steps, self.step, self.progress)
        return time.perf_counter() - began


class Plain:
    """What a plain script and the frameworks share: a DataLoader, plain modules and optimizers."""

    def __init__(self, case: Case, workers: int = 0):
        self.case, self.config, self.workers = case, case.config, workers
        torch.manual_seed(0)
        self.model = case.usual_model()
        self.optimizer = case.usual_optimizer(self.model)
        steps = len(case.loader)
        self.scheduler = training.make_scheduler(self.optimizer, self.config, steps)
        self.dataset, self.collate = case.dataset(), case.collate
        self.averaged = None
        if self.config.ema_decay:
            average = get_ema_multi_avg_fn(self.config.ema_decay)
            self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)

    def loader(self) -> DataLoader:
        return DataLoader(
            self.dataset,
            self.config.batch_size,
            shuffle=True,
            num_workers=self.workers,
            collate_fn=self.collate,
        )

    def average(self) -> None:
        if self.averaged:
            self.averaged.update_parameters(self.model)


class Usual(Plain):
    """A plain script: the figures of each step are fetched by .item()."""

    def turn(self, turn: Turn) -> float:
        forget_freed_memory()
        clock = Clock(turn)
        self.model.train()
        for _ in itertools.count():
            totals: dict[str, float] = {}
            for batch in self.loader():
                if clock.tick():
                    return clock.seconds
                loss, _, sums = self.case.step(self.model, batch)
                self.optimizer.zero_grad()
                loss.backward()
                if self.config.clip_norm:
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
                self.optimizer.step()
                self.scheduler.step()
                self.average()
                for name, value in {"loss": loss, **sums}.items():
                    totals[name] = totals.get(name, 0.0) + value.item()


class Lightning(Plain):
    """PyTorch Lightning."""

    def __init__(self, case: Case):
        super().__init__(case)
        self.collate = case.framework_collate or case.collate
        import pytorch_lightning

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        self.trainer_class, way = pytorch_lightning.Trainer, self

        class Module(pytorch_lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = way.model

            def training_step(self, batch: Any, number: int) -> Tensor:
                return case.step(self.model, batch)[0]

            def configure_optimizers(self) -> dict[str, Any]:
                schedule = {"scheduler": way.scheduler, "interval": "step"}
                return {"optimizer": way.optimizer, "lr_scheduler": schedule}

            def on_train_batch_start(self, batch: Any, number: int) -> int | None:
                return -1 if way.clock.tick() else None  # -1 ends the epoch

            def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
                way.average()

        self.module = Module()

    def turn(self, turn: Turn) -> float:
        forget_freed_memory()
        self.clock = Clock(turn)
        trainer = self.trainer_class(
            accelerator="cpu",
            max_epochs=turn.epochs + 1,
            gradient_clip_val=self.config.clip_norm or None,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends worker processes
            trainer.fit(self.module, self.loader())
        return self.clock.seconds


class HuggingFace(Plain):
    """The Hugging Face Trainer."""

    def __init__(self, case: Case):
        super().__init__(case)
        self.collate = case.framework_collate or case.collate
        import transformers

        transformers.logging.set_verbosity_error()
        self.transformers, way = transformers, self

        class Callback(transformers.TrainerCallback):
            def on_step_begin(self, arguments: Any, state: Any, control: Any, **_: Any) -> Any:
                control.should_training_stop = way.clock.tick()
                return control

            def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
                way.average()

        class Module(nn.Module):
            """The model as the Trainer wants it: keyword arguments, and the loss returned."""

            def __init__(self):
                super().__init__()
                self.model = way.model

            def forward(self, batch: Any) -> dict[str, Tensor]:
                return {"loss": case.step(self.model, batch)[0]}

        self.callback, self.module = Callback(), Module()

    def turn(self, turn: Turn) -> float:
        forget_freed_memory()
        self.clock = Clock(turn)
        with tempfile.TemporaryDirectory() as folder:
            arguments = self.transformers.TrainingArguments(
                folder,
                per_device_train_batch_size=self.config.batch_size,
                max_steps=turn.total + 2,
                max_grad_norm=self.config.clip_norm,
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
            )
            trainer = self.transformers.Trainer(
                self.module,
                arguments,
                train_dataset=self.dataset,
                data_collator=lambda rows: {"batch": self.collate(rows)},
                optimizers=(self.optimizer, self.scheduler),
                callbacks=[self.callback],
            )
            trainer.remove_callback(self.transformers.PrinterCallback)
            trainer.train()
        return self.clock.seconds


FRAMEWORKS: dict[str, tuple[str, Callable[[Case], Way]]] = {  # name -> its package, its way
    "Lightning": ("pytorch_lightning", Lightning),
    "Hugging Face Trainer": ("transformers", HuggingFace),
}


def forget_freed_memory() -> None:
    """Undo `device.keep_freed_memory`, which no other way has.

    What is kept already stays, so that the other ways fault no more pages in than in a process of
    their own.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in GLIBC.items():
            libc.mallopt(option, value)
