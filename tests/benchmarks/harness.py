"""Measures one project: what every bench_<project>.py calls.

The ways to train take turns in one process and the best turn of each counts, so that what else the
machine does falls on all of them. A benchmark prints; it asserts nothing.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from common import device, report
from common.config import ROOT, Settings

import torch
from case import CPU, LEAST_STEPS, Case, Turn
from torch import Tensor
from ways import FRAMEWORKS, Ours, Usual, Way, forget_freed_memory

C = TypeVar("C", bound=Settings)
OURS, USUAL, WORKERS = "ours", "usual", "usual, 2 workers"
TURNS = 2  # of each way
FACTORS = (0.5, 1.0, 2.0)  # of growth
START_SECONDS = 3.0  # of training in which the memory of a process is watched
STARTS = 2  # the first one may still have to warm a cache
MATRIX_SIDE = 2048


def main(
    script: str,
    config: C,
    build: Callable[[C, float], Case],
    sized: Callable[[C, float], C],
    *,
    framework: str = "",
    start: Sequence[str] = (),
) -> None:
    """Measure a project as the command line says, print its figures, and write them if asked.

    Args:
        script: its train.py, as `lstm_airquality/train.py`.
        config: its default settings.
        build: settings, and the factor by which the data set is larger -> a case.
        sized: settings of a model so many times as wide.
        framework: one of FRAMEWORKS to compare with, where the model fits it.
        start: flags of `script` for the time to the first step.
    """
    parser = argparse.ArgumentParser(description=f"How fast {script} trains.")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn of one way")
    parser.add_argument("--out", type=Path, help="also write the figures to this file, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"\n{script.partition('/')[0]}, {options.threads} threads", flush=True)
    case = build(config, 1.0)
    described = ", ".join(filter(None, [case.source.name, case.source.kind, case.network]))
    print(f"  {described}; batches of {config.batch_size} {case.unit}", flush=True)
    ours, plain = Ours(case), {USUAL: Usual(case), WORKERS: Usual(case, 2)}
    others, skipped = frameworks(case, framework)
    turn = calibrated(ours, options.seconds)
    speeds = compared(case, {OURS: ours, **plain, **others}, turn)
    figures = {
        "dataset": case.source.name,
        "data": case.source.kind,
        "network": case.network,
        "unit": case.unit,
        "batch_size": config.batch_size,
        "skipped": skipped,
        "samples_per_second": speeds,
        "seconds_per_epoch": {name: case.loader.samples / each for name, each in speeds.items()},
        **shares(ours, turn, speeds[OURS]),
        **started(script, start, options.threads),
        "fed_per_second": fed(case, plain, options.seconds / 3),
        "growth": growth(config, build, sized, options.seconds / 2),
        "threads": options.threads,
        "hardware": device.describe(CPU),
        "versions": report.versions(),
        "date": time.strftime("%Y-%m-%d"),
    }
    if options.out:
        options.out.write_text(json.dumps(figures), encoding="utf-8")


def frameworks(case: Case, name: str) -> tuple[dict[str, Way], str]:
    """The framework's way, or a sentence on why there is none."""
    if not name:
        return {}, ""
    package, way = FRAMEWORKS[name]
    if importlib.util.find_spec(package):
        return {name: way(case)}, ""
    skipped = f"{name} is left out: {package} is not installed"
    print(f"  {skipped} (tests/benchmarks/requirements.txt)", flush=True)
    return {}, skipped


def started(script: str, flags: Sequence[str], threads: int) -> dict[str, Any]:
    """Seconds from a process's start to its first training step, and its memory: train.py's own."""
    found = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            words = [ROOT / "tests/benchmarks/start.py", time.time(), START_SECONDS, ROOT / script]
            command = [sys.executable, *map(str, words), "--device", "cpu", "--out", folder, *flags]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
    seconds = min(each["seconds_to_first_step"] for each in found)
    memory = max(each["peak_memory_mb"] for each in found)
    print(f"  first step after {seconds:.1f} s, peak memory {memory:,} MB", flush=True)
    return {"seconds_to_first_step": seconds, "peak_memory_mb": memory}


def calibrated(ours: Ours, seconds: float) -> Turn:
    """Warm up, and find how long a turn of about so many seconds is."""
    loader = ours.case.loader
    ours.turn(Turn(1, 1))
    few = Turn(1, min(LEAST_STEPS, len(loader)))
    return Turn.lasting(seconds, ours.turn(few) / few.total, loader)


def compared(case: Case, ways: dict[str, Way], turn: Turn) -> dict[str, float]:
    """Samples a second of every way, the best of its turns."""
    best = dict.fromkeys(ways, float("inf"))
    for name, way in list(ways.items()) * TURNS:
        best[name] = min(best[name], way.turn(turn))
    samples = turn.epochs * turn.part(case.loader).samples
    speeds = {name: samples / each for name, each in best.items()}
    if turn.steps < len(case.loader):  # theirs are full batches, where ours may hold the last one
        full = turn.total * case.config.batch_size
        speeds |= {name: full / each for name, each in best.items() if name != OURS}
    for name, speed in speeds.items():
        print(
            f"  {name:<20} {speed:10,.1f} {case.unit}/s, {case.loader.samples / speed:8,.1f} s an "
            f"epoch; ours is {speeds[OURS] / speed:.2f} times as fast",
            flush=True,
        )
    return speeds


def shares(ours: Ours, turn: Turn, speed: float) -> dict[str, float]:
    """The share of our time outside the work of a step, and our share of what the CPU can do.

    speed: our samples a second.
    """
    outside = share_outside(ours, turn)
    rate, flops = matrix_rate(), 3 * flops_of_sample(ours, turn)
    efficiency = flops * speed / rate
    print(
        f"  {outside:.1%} of a step is neither forward nor backward nor optimizer; "
        f"{efficiency:.1%} of the {rate / 1e9:,.0f} GFLOP/s of matrix products",
        flush=True,
    )
    return {
        "share_outside_step": outside,
        "flops_per_sample": flops,
        "matrix_flops_per_second": rate,
        "cpu_efficiency": efficiency,
    }


def share_outside(ours: Ours, turn: Turn) -> float:
    """The share of our time that is not spent in the step's forward, in backward or optimizer."""
    inside = [0.0]

    def timed(function: Callable) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments, **options)
            inside[0] += time.perf_counter() - began
            return result

        return call

    optimizer = ours.progress.optimizer
    with (
        replaced(ours, "step", timed(ours.step)),
        replaced(Tensor, "backward", timed(Tensor.backward)),
        replaced(optimizer, "step", timed(optimizer.step)),
    ):
        seconds = ours.turn(turn)
    return 1 - inside[0] / seconds


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """The attribute is another one for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def flops_of_sample(ours: Ours, turn: Turn) -> float:
    """Forward operations for a sample, over some batches of the turn, padding included."""
    few = Turn(1, min(4, turn.steps)).part(turn.part(ours.case.loader))
    # A few rows of a batch are as wide as all of it, and an LSTM that can be counted is slow.
    batches = [[each[:4] for each in ours.case.inputs(batch)] for batch in few.epoch(0)]
    total = sum(report.count_flops(ours.model, tuple(batch)) for batch in batches)
    return total / sum(len(batch[0]) for batch in batches)


def matrix_rate(repeats: int = 12) -> float:
    """Floating-point operations a second of a float32 matrix product: the best of several."""
    left, best = torch.rand(MATRIX_SIDE, MATRIX_SIDE), float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - began)
    return 2 * MATRIX_SIDE**3 / best


def fed(case: Case, plain: dict[str, Usual], seconds: float) -> dict[str, float]:
    """Samples a second that reach a model, without one: ours, and the usual way's."""
    device.keep_freed_memory()
    ours = (batch for epoch in itertools.count() for batch in case.loader.epoch(epoch))
    speeds = {OURS: feeding_rate(ours, case, seconds)}
    forget_freed_memory()
    for name, way in plain.items():
        batches = (batch for _ in itertools.count() for batch in way.loader())
        speeds[name] = feeding_rate(batches, case, seconds)
    text = ", ".join(f"{name} {speed:,.0f}" for name, speed in speeds.items())
    print(f"  batches alone, {case.unit}/s: {text}", flush=True)
    return speeds


def feeding_rate(batches: Iterator[Any], case: Case, seconds: float) -> float:
    """Samples a second of batches drawn for so long, after as long a start: files and memory that
    an epoch has touched are there for the next one.
    """
    for _ in ("start", "timed"):
        began, count = time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            count += len(case.inputs(next(batches))[0])
        rate = count / (time.perf_counter() - began)
    return rate


def growth(
    config: C, build: Callable[[C, float], Case], sized: Callable[[C, float], C], seconds: float
) -> dict[str, dict[str, float]]:
    """Our samples a second at half, once and twice the data, the batch and the model's width."""

    def batch(factor: float) -> Case:
        return build(replace(config, batch_size=round(config.batch_size * factor)), 1.0)

    makers: dict[str, Callable[[float], Case]] = {
        "data": partial(build, config),
        "batch": batch,
        "width": lambda factor: build(sized(config, factor), 1.0),
    }
    same = throughput(build(config, 1.0), seconds)
    found = {}
    for name, make in makers.items():
        speeds = {f: same if f == 1 else throughput(make(f), seconds) for f in FACTORS}
        found[name] = {f"x{factor:g}": speed for factor, speed in speeds.items()}
        text = ", ".join(f"{factor} {speed:,.1f}" for factor, speed in found[name].items())
        print(f"  samples/s by {name}: {text}", flush=True)
    return found


def throughput(case: Case, seconds: float) -> float:
    """Our samples a second."""
    ours = Ours(case)
    turn = calibrated(ours, seconds)
    return turn.epochs * turn.part(case.loader).samples / ours.turn(turn)
