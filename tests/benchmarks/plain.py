"""The same training as people usually write it, and as a framework runs it.

Plain script: a Dataset that opens, cuts or looks up one sample at a time, a DataLoader that
shuffles and collates, `.item()` at each step. Model, optimizer, schedule, clipping, averaged
weights and batch size are the project's.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, default_collate

from common import training
from common.device import autocast

CPU = torch.device("cpu")
WINDOWS = ("conv_autoencoder_nab", "lstm_airquality")
TEXTS = 4000  # of the plain script's: enough for any turn


class Rows(Dataset):
    """Windows that are cut one at a time."""

    def __init__(self, parts: Sequence[Tensor]):
        self.parts = [part.numpy() for part in parts]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        return tuple(torch.tensor(part[row]) for part in self.parts)


class Texts(Dataset):
    """Token lists in Python, each with its label."""

    def __init__(self, batches: Iterator[Sequence[Tensor]]):
        self.items = [
            (ids[:length], label)
            for batch in batches
            for ids, length, label in zip(*(part.tolist() for part in batch), strict=True)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[list[int], float]:
        return self.items[row]


def padded_to(width: int) -> Callable[[Sequence], tuple[Tensor, Tensor, Tensor]]:
    """Makes batches (ids, lengths, labels) of texts that are all padded to `width` tokens."""

    def collate(items: Sequence[tuple[list[int], float]]) -> tuple[Tensor, Tensor, Tensor]:
        ids = [row + [0] * (width - len(row)) for row, _ in items]
        lengths = [len(row) for row, _ in items]
        return torch.tensor(ids), torch.tensor(lengths), torch.tensor([label for _, label in items])

    return collate


def image_folder(project: str, config: Any, folder: Any) -> Dataset:
    """The files, opened and varied one by one by torchvision."""
    from torchvision import datasets
    from torchvision.transforms import v2

    varied = hasattr(config, "flip")
    steps: list[nn.Module] = [v2.PILToTensor(), v2.Resize((config.size, config.size))]
    if project == "transfer_food11":
        folder = folder / "training"
        steps = [v2.PILToTensor(), v2.RandomResizedCrop(config.size, scale=(config.crop, 1.0))]
    elif varied:
        steps.append(v2.RandomCrop(config.size, padding=config.padding))
    if varied:
        steps += [v2.RandomHorizontalFlip(), v2.ColorJitter(*[config.jitter] * 3)]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    if varied and getattr(config, "erase", 0.0):
        steps.append(v2.RandomErasing(config.erase))
    return datasets.ImageFolder(str(folder), v2.Compose(steps))


def data(project: str, call: Any) -> tuple[Dataset, Callable]:
    """The plain script's data set, and what makes batches of it."""
    if project in WINDOWS:
        return Rows(call.loader.fetch(torch.arange(call.loader.samples))), default_collate
    config = call.run.config
    if hasattr(config, "max_len"):
        batches = call.loader.batches(0)
        few = batches[:: max(1, len(batches) * config.batch_size // TEXTS)]
        return Texts(map(call.loader.fetch, few)), padded_to(config.max_len)
    return image_folder(project, config, call.run.root.source.folder), default_collate


class PackedLSTM(nn.Module):
    """lstm_sentiment's network as tutorials write it: packed sequences and torch's own LSTM."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, first = model, model.layers[0].directions
        self.lstm = nn.LSTM(
            first[0].input_size,
            first[0].hidden_size,
            len(model.layers),
            bidirectional=len(first) == 2,
            dropout=model.dropout if len(model.layers) > 1 else 0.0,
        )
        del model.layers

    def forward(self, ids: Tensor, lengths: Tensor, shift: None = None) -> Tensor:
        inputs = self.model.embed(ids.T.contiguous())  # (tokens, batch, embedding)
        packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        states, (hidden, _) = self.lstm(packed)
        if self.model.pooling == "last":
            pooled = torch.cat([*hidden[-2 if self.lstm.bidirectional else -1 :]], 1)
        else:
            pooled = self.model.pool(pad_packed_sequence(states)[0], lengths)
        dropped = F.dropout(pooled, self.model.dropout, self.training)
        return self.model.head(dropped).squeeze(1)  # (batch,)


def as_plain(
    project: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Contiguous tensors, and the optimizer as torch has it when nothing is asked of it."""
    model = model.to(memory_format=torch.contiguous_format)
    if project == "lstm_sentiment":
        model = PackedLSTM(model)
        return model, torch.optim.AdamW(model.parameters(), optimizer.defaults["lr"])
    for group in optimizer.param_groups:
        group |= {name: None for name in ("fused", "foreach") if name in group}
    return model, optimizer


class Plain:
    """A plain script."""

    def __init__(self, model, optimizer, call, loader: DataLoader, precision: str):
        self.model, self.optimizer, self.step = model, optimizer, call.step
        self.options, self.loader, self.precision = call.options, loader, precision
        schedule = {"plateau": "constant"}.get(self.options.get("schedule"), "cosine")
        self.scheduler = training.make_schedule(optimizer, schedule, 0, 10**6, "val_loss")
        self.averaged = None
        if self.options.get("ema_decay"):
            average = get_ema_multi_avg_fn(self.options["ema_decay"])
            self.averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)

    def average(self) -> None:
        if self.averaged:
            self.averaged.update_parameters(self.model)

    def turn(self, epochs: int, steps: int, limit: float) -> float:
        """Samples a second of so many steps, or of as many as `limit` seconds allow."""
        clock = Clock(epochs * steps, limit)
        self.model.train()
        while True:
            totals: dict[str, float] = {}
            for batch in self.loader:
                if clock.is_over(batch):
                    return clock.speed
                with autocast(CPU, self.precision):
                    loss, _, sums = self.step(self.model, batch)
                self.optimizer.zero_grad()
                loss.backward()
                if self.options.get("clip_norm"):
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.options["clip_norm"])
                self.optimizer.step()
                self.scheduler.step()
                self.average()
                for name, value in {"loss": loss, **sums}.items():
                    totals[name] = totals.get(name, 0.0) + value.item()


class Clock:
    """Times a loop by its batches; the first step warms up."""

    def __init__(self, steps: int, limit: float):
        self.steps, self.limit = steps, limit
        self.count = self.samples = 0
        self.speed = 0.0

    def is_over(self, batch: Any) -> bool:
        """To be called with each batch at hand, before its step."""
        now = time.perf_counter()
        if self.count == 1:
            self.began, self.samples = now, 0
        elif self.count > 1 and (self.count > self.steps or now - self.began > self.limit):
            self.speed = self.samples / (now - self.began)
            return True
        self.count += 1
        self.samples += len(batch[0])
        return False


class Lightning(Plain):
    """PyTorch Lightning."""

    def turn(self, epochs: int, steps: int, limit: float) -> float:
        import pytorch_lightning

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        clock, way = Clock(epochs * steps, limit), self

        class Module(pytorch_lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = way.model

            def training_step(self, batch: Any, number: int) -> Tensor:
                return way.step(self.model, batch)[0]

            def configure_optimizers(self) -> dict[str, Any]:
                schedule = {"scheduler": way.scheduler, "interval": "step"}
                return {"optimizer": way.optimizer, "lr_scheduler": schedule}

            def on_train_batch_start(self, batch: Any, number: int) -> int | None:
                if not clock.is_over(batch):
                    return None
                self.trainer.should_stop = True
                return -1  # ends the epoch

            def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
                way.average()

        trainer = pytorch_lightning.Trainer(
            accelerator="cpu", max_epochs=1000, gradient_clip_val=self.options.get("clip_norm"),
            precision="bf16-mixed" if self.precision == "bfloat16" else "32-true", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        module = Module()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends worker processes
            while not clock.speed:
                trainer.fit(module, self.loader)
        return clock.speed


WAYS = {"plain": Plain, "Lightning": Lightning}
