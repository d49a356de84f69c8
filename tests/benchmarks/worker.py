"""One way to train a project, in a process of its own; speed.py starts it and asks for turns.

    python tests/benchmarks/worker.py WAY project [flag ...]

`ours` runs the project's train.py up to its first call of `training.fit`, keeps what it was called
with, and trains with it. Every other way takes the same model, optimizer and step, and brings its
own loop and data loading (plain.py). A line of standard input is a question: `turn EPOCHS STEPS
SECONDS`, `outside EPOCHS STEPS`, `flops` or `memory`; a line of standard output its answer in JSON.
"""

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

from common import device, settings, training
from common.batches import Loader
from common.runs import Run, count_flops

TEXTS = ("lstm_sentiment", "transformer_textcls")  # whose models take (ids, lengths)


@dataclasses.dataclass
class Call:
    """What a project's train.py gave to `fit`."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: training.Step
    loader: Loader
    run: Run
    options: dict[str, Any]


class Reached(BaseException):
    """Where train.py is to end; no script takes it for an error of its own."""


def captured_fit(model, optimizer, step, train_loader, val_loader, run, **options) -> None:
    """Stands where `training.fit` was."""
    for group in optimizer.param_groups:
        group["lr"] *= 0.01  # a turn may begin without a warm-up: nothing must diverge
    raise Reached(Call(model, optimizer, step, train_loader, run, options))


def run_train(project: str, flags: list[str], out: str) -> None:
    """Run the project's train.py; on the CPU unless flags say else."""
    train = importlib.import_module(f"{project}.train")
    train.main(settings.parse(train.Config, ["--device", "cpu", "--out", out, *flags]))


def capture(project: str, flags: list[str], out: str) -> Call:
    """What the project's train.py gives to `fit` for its first training."""
    training.fit = captured_fit  # before the project's modules take it from there
    try:
        run_train(project, flags, out)
    except Reached as reached:
        return reached.args[0]
    sys.exit(f"{project} ended without a call of fit")


class Ours:
    """The project's own call of `fit`, on some batches of an epoch, again and again."""

    fit = staticmethod(training.fit)

    def __init__(self, project: str, flags: list[str], out: str):
        self.project, self.call = project, capture(project, flags, out)
        self.batches = self.call.loader.batches(0)  # of the first epoch
        if project in TEXTS:  # from the shortest on: batches spread over them are like all
            fetch = self.call.loader.fetch
            self.batches.sort(key=lambda indices: fetch(indices)[0].shape[1])

    def part(self, steps: int) -> Loader:
        """`steps` batches, evenly spread over an epoch."""
        if steps == len(self.batches):
            return self.call.loader
        spread = [self.batches[int((i + 0.5) * len(self.batches) / steps)] for i in range(steps)]
        return Loader(lambda epoch: spread, self.call.loader.fetch, self.call.loader.least)

    def turn(self, epochs: int, steps: int, limit: float = 0.0) -> float:
        """Samples a second of the steps, all of them whatever the limit."""
        call, loader = self.call, self.part(steps)
        options = {**call.options, "epochs": epochs, "warmup_epochs": 0.0}
        with tempfile.TemporaryDirectory() as folder:  # no checkpoint of an earlier turn is there
            call.run.folder = Path(folder)
            history = self.fit(
                call.model, call.optimizer, call.step, loader, None, call.run, **options
            )
        return epochs * loader.samples / history.seconds

    def outside(self, epochs: int, steps: int) -> float:
        """The fraction of the time that is neither forward nor backward nor optimizer."""
        call, inside, kind = self.call, [0.0], type(self.call.optimizer)

        def timed(function: Callable) -> Callable:
            def timed_call(*arguments: Any, **options: Any) -> Any:
                began = time.perf_counter()
                result = function(*arguments, **options)
                inside[0] += time.perf_counter() - began
                return result

            return timed_call

        vars(call.optimizer).pop("step", None)  # what a scheduler has put around the method
        with (
            patch.object(Tensor, "backward", timed(Tensor.backward)),
            patch.object(kind, "step", timed(kind.step)),
            patch.object(call, "step", timed(call.step)),
        ):
            speed = self.turn(epochs, steps)
        vars(call.optimizer).pop("step", None)
        return 1 - inside[0] * speed / (epochs * self.part(steps).samples)

    def flops(self) -> dict[str, float]:
        """Operations of training a sample, padding included, and a matrix product's a second."""
        run, few = self.call.run, self.part(min(4, len(self.batches)))
        inputs = 2 if self.project in TEXTS else 1
        total = samples = 0
        for batch in few.whole():
            rows = tuple(values[:4] for values in device.to_device(batch[:inputs], run.device))
            total += count_flops(self.call.model, rows)
            samples += len(rows[0])
        return {"sample": 3 * total / samples, "matrix": matrix_rate(run.precision)}

    def describe(self) -> dict[str, Any]:
        """What is trained, for the record."""
        run = self.call.run
        return {
            "data": run.root.source.kind,
            "dataset": run.root.source.name,
            "threads": torch.get_num_threads(),
            "precision": run.precision,
            "compile": run.config.compile,
            "batch_size": run.config.batch_size,
            "steps_per_epoch": len(self.batches),
            "samples_per_epoch": self.call.loader.samples,
        }


def matrix_rate(precision: str, device: str = "cpu", side: int = 2048) -> float:
    """Floating-point operations a second of a matrix product: the best of several."""
    left, best = torch.randn(side, side, device=device, dtype=getattr(torch, precision)), 0.0
    for _ in range(12):
        began = time.perf_counter()
        (left @ left)[0, 0].item()  # waits for the device
        best = max(best, 2 * side**3 / (time.perf_counter() - began))
    return best


def first_step(project: str, flags: list[str], out: str, spawned: float) -> dict[str, float]:
    """Seconds from the process's start to the end of its first step, and peak memory soon after."""
    found: dict[str, float] = {}

    def after_step(run: Run, step: int) -> None:
        elapsed = time.time() - spawned
        found.setdefault("first_step", elapsed)
        if elapsed > found["first_step"] + 3.0:
            raise Reached

    Run.after_step = after_step
    with contextlib.suppress(Reached):
        run_train(project, flags, out)
    return {**found, "memory": peak_memory_mb()}


def peak_memory_mb() -> float:
    """The most memory that this process has held; since `forget_memory` on Linux."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 1e3
    return device.peak_memory_mb(torch.device("cpu"))


def forget_memory() -> None:
    """Give freed memory back, and count the peak from here on (Linux)."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def plain_way(way: str, project: str, flags: list[str], out: str) -> Any:
    """A way that is not ours, with what the project gave to `fit`."""
    import plain

    threads = torch.get_num_threads()  # as torch chooses them
    device.keep_freed_memory = lambda: None  # no plain script has it
    call = capture(project, flags, out)
    dataset, collate = plain.data(project, call)
    call.loader, precision = None, call.run.precision
    if way in ("plain", "plain, 2 workers"):  # as a user runs it
        torch.set_num_threads(threads)
        precision = "float32"
    loader = torch.utils.data.DataLoader(
        dataset, call.run.config.batch_size, shuffle=True, collate_fn=collate,
        num_workers=2 if way.endswith("2 workers") else 0,
    )  # fmt: skip
    model, optimizer = plain.as_plain(project, call.model, call.optimizer)
    forget_memory()
    return plain.WAYS[way.partition(",")[0]](model, optimizer, call, loader, precision)


def main() -> None:
    way, project, *flags = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what train.py prints
    with tempfile.TemporaryDirectory() as out:
        if way.startswith("start"):
            print(json.dumps(first_step(project, flags, out, float(way[6:]))), file=answers)
            return
        if way == "ours":
            trained = Ours(project, flags, out)
            about = trained.describe()
        else:
            trained, about = plain_way(way, project, flags, out), {}
        print(json.dumps(about), file=answers, flush=True)
        for line in sys.stdin:
            question, *numbers = line.split()
            if question == "memory":
                answer = peak_memory_mb()
            else:
                answer = getattr(trained, question)(*map(json.loads, numbers))
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
