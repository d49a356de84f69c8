"""How fast every project trains, beside a plain script and PyTorch Lightning.

    python tests/benchmarks/speed.py [project ...] [--processes] [--wait SECONDS]

Each way to train is a process of its own (worker.py); they take turns, and medians over the turns
are reported with their range. Writes results/speed.json, where what is not measured now keeps its
numbers; `python results/tables.py` makes the READMEs' tables. About 20 minutes on two cores with
nothing beside it. Goals are printed as met or missed.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from common import checkpoints, device
from common.runs import code_state, versions
from common.settings import ROOT

WORKER = Path(__file__).resolve().with_name("worker.py")
RESULT = ROOT / "results" / "speed.json"
OURS, PLAIN, WORKERS, EQUAL = "ours", "plain", "plain, 2 workers", "plain, equal"
LIGHTNING = "Lightning"
IDLE = 0.9  # fraction of the processor's time that nothing uses, on an idle machine
BUSY_TURNS = 3


class Project(NamedTuple):
    """What is measured of a project.

    least: ratio to the plain script that is aimed at, at equal threads and precision. flags: of its
    train.py, so that its first training is the one. processes: flags of a short run, for one
    process and for two; such projects are compared with Lightning too.
    """

    unit: str
    least: float
    flags: str = ""
    processes: str = ""


PROJECTS = {
    "conv_autoencoder_nab": Project("windows", 1.0),
    "lstm_airquality": Project(
        "windows", 1.0, processes="--epochs 2 --baselines false --refit false"
    ),
    "lstm_sentiment": Project("reviews", 3.0, "--pretrain-epochs 0 --adversarial 0"),
    "resnext_comparison": Project("images", 1.3, "--models resnext29"),
    "transfer_food11": Project("images", 1.3, "--modes scratch --models efficientnet_b0"),
    "transformer_textcls": Project(
        "texts", 3.0, processes="--epochs 1 --members 1 --limit-batches 200"
    ),
    "vanishing_gradients": Project("images", 1.3, "--study variants --variants plain"),
    "vgg_vs_resnet": Project(
        "images", 1.3, "--models resnet18", "--epochs 2 --warmup-epochs 0 --limit-batches 24"
    ),
}


class Worker:
    """A process that trains in one way when it is asked to."""

    def __init__(self, way: str, project: str, flags: Sequence[str]):
        self.way = way
        is_ours = way == OURS or way.startswith("start")
        # The worker loads torch before a train.py could set this.
        waiting = {"GOMP_SPINCOUNT": "1000"} if is_ours else {}
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), way, project, *flags], env={**os.environ, **waiting},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.about = self.answer()

    def ask(self, *question: Any) -> Any:
        print(*question, file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the worker of {self.way} has ended: its message is above")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def idle_fraction(seconds: float = 2.0) -> float:
    """The fraction of all cores' time that nothing used, over so many seconds; 1 if not known."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return 1.0

    def times() -> list[int]:
        return [int(number) for number in stat.read_text().split("\n")[0].split()[1:]]

    before = times()
    time.sleep(seconds)
    spent = [now - then for now, then in zip(times(), before, strict=True)]
    return (spent[3] + spent[4]) / max(1, sum(spent[:8]))  # idle, and waiting for a disk


def wait_until_idle(limit: float) -> float:
    """Wait for an idle machine, at most `limit` seconds; the fraction of it that is idle then."""
    end = time.monotonic() + limit
    while (idle := idle_fraction()) < IDLE and time.monotonic() < end:
        time.sleep(5)
    return idle


def turn_of(ours: Worker, seconds: float) -> tuple[int, int]:
    """Epochs and steps of ours that take about so many seconds."""
    whole, size = ours.about["steps_per_epoch"], ours.about["batch_size"]
    few = min(4, whole)
    ours.ask("turn", 1, few)  # warms up
    steps = max(2, round(seconds * ours.ask("turn", 1, few) / size))
    return (1, steps) if steps < whole else (max(1, round(steps / whole)), whole)


def measure(name: str, project: Project, options: argparse.Namespace) -> dict[str, Any]:
    """Everything but two processes."""
    flags = [*project.flags.split(), *options.flags.split()]
    idle = wait_until_idle(options.wait)
    ways = [OURS, PLAIN, WORKERS, EQUAL]
    if project.processes and importlib.util.find_spec("pytorch_lightning"):
        ways.append(LIGHTNING)
    with ExitStack() as stack:
        workers = {way: stack.enter_context(Worker(way, name, flags)) for way in ways}
        ours = workers[OURS]
        turn = (*turn_of(ours, options.seconds), 2 * options.seconds)
        rounds = [
            {way: worker.ask("turn", *turn) for way, worker in workers.items()}
            for _ in range(options.turns)
        ]
        busy = busy_speed(ours, turn) / max(each[OURS] for each in rounds)
        outside, flops = ours.ask("outside", *turn[:2]), ours.ask("flops")
        plain_memory = workers[PLAIN].ask("memory")
    starts = []
    for _ in range(2):  # the first one may still have to warm a cache
        with Worker(f"start={time.time()}", name, flags) as starting:
            starts.append(starting.about)
    return {
        **ours.about,
        "unit": project.unit,
        "samples_per_second": {way: spread([each[way] for each in rounds]) for way in ways},
        "times_as_fast_as": {
            way: spread([each[OURS] / each[way] for each in rounds]) for way in ways[1:]
        },
        "outside": outside,
        "flops": flops,
        "one_core_busy": busy,
        "first_step": min(each["first_step"] for each in starts),
        "memory": {OURS: max(each["memory"] for each in starts), PLAIN: plain_memory},
        "idle_before": idle,
        "hardware": device.describe(torch.device("cpu")),
        "versions": versions(),
        **code_state(name),
        "date": time.strftime("%Y-%m-%d"),
    }


def busy_speed(ours: Worker, turn: Sequence[float]) -> float:
    """Our speed while a process that does nothing but count keeps one core busy."""
    counting = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return statistics.median(ours.ask("turn", *turn) for _ in range(BUSY_TURNS))
    finally:
        counting.kill()
        counting.wait()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def processes(name: str, project: Project, options: argparse.Namespace) -> dict[str, float]:
    """Samples a second of one process and of two, one thread each, the same batch in all.

    And, on paper, the MB that each of two processes sends in a step: the gradients in a ring.
    """
    measured = {}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = [f"{name}/train.py", *f"{project.flags} {project.processes} {options.flags}".split()]
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as out:
            subprocess.run(
                [*launcher, f"--nproc-per-node={count}", *words, "--device", "cpu", "--out", out],
                cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
                check=True,
            )  # fmt: skip
            (path,) = Path(out).glob("*/*/results.json")
            head, *_, row = next(path.parent.rglob("metrics.csv")).read_text().splitlines()
            cells = dict(zip(head.split(","), row.split(","), strict=True))
            measured[str(count)] = float(cells["samples_per_second"])
            (model,) = json.loads(path.read_text(encoding="utf-8"))["models"].values()
    return {**measured, "sent": 4 * model["trainable"] / 1e6}


def goals(project: Project, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Each goal of a project with its number, and whether it is met."""
    ratios = {way: each["median"] for way, each in record["times_as_fast_as"].items()}
    busy, memory = record["one_core_busy"], record["memory"][OURS] / record["memory"][PLAIN]
    results = [
        (f"{ratios[EQUAL]:.2f} x plain at equal settings (at least {project.least:g})",
         ratios[EQUAL] >= project.least),
        (f"one core busy: {busy:.0%} of the best (half at least)", busy >= 0.5),
        (f"first step after {record['first_step']:.1f} s (4)", record["first_step"] < 4),
        (f"{record['outside']:.1%} outside the step (3)", record["outside"] < 0.03),
        (f"{memory:.2f} x the plain script's memory (at most 1.2)", memory <= 1.2),
    ]  # fmt: skip
    if project.unit == "images":
        results.append((f"{ratios[PLAIN]:.2f} x plain as a user runs both (2)", ratios[PLAIN] >= 2))
    if LIGHTNING in ratios:
        results.append((f"{ratios[LIGHTNING]:.2f} x Lightning (1)", ratios[LIGHTNING] >= 1))
    return results


def tables(records: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """The rows of the READMEs' tables: summary (the root README's), details, scaling."""
    rows: dict[str, list[Any]] = {"summary": [], "details": [], "scaling": []}
    for name, record in sorted(records.items()):
        speed, ratios = record["samples_per_second"][OURS], record["times_as_fast_as"]
        lightning = number(ratios[LIGHTNING]["median"]) if LIGHTNING in ratios else ""
        of_matrix_rate = record["flops"]["sample"] * speed["median"] / record["flops"]["matrix"]
        rows["summary"].append({
            "project": name + (", SAMPLE" if record["data"] == "sample" else ""),
            "samples/s": number(speed["median"]),
            "x plain script": number(ratios[PLAIN]["median"]),
            "x Lightning": lightning,
            "first step": f"{record['first_step']:.1f} s",
        })  # fmt: skip
        rows["details"].append({
            "project": name,
            "threads, precision": f"{record['threads']}, {record['precision']}",
            f"{OURS}/s": ranged(speed),
            "x plain": ranged(ratios[PLAIN]),
            "x plain, 2 workers": ranged(ratios[WORKERS]),
            "x plain, equal": ranged(ratios[EQUAL]),
            "one core busy": f"{record['one_core_busy']:.0%}",
            "outside the step": f"{record['outside']:.1%}",
            "MB, ours / plain": " / ".join(f"{record['memory'][k]:,.0f}" for k in (OURS, PLAIN)),
            "of the matrix rate": f"{of_matrix_rate:.0%}",
            "machine idle": f"{record['idle_before']:.0%}",
        })  # fmt: skip
        if "processes" in record:
            one, two, sent = (record["processes"][key] for key in ("1", "2", "sent"))
            rows["scaling"].append({
                "project": name,
                "one process, samples/s": number(one),
                "two processes": number(two),
                "times as fast": f"{two / one:.2f}",
                "sent by each in a step": f"{sent:,.1f} MB",
            })  # fmt: skip
    return rows


def ranged(values: Mapping[str, float]) -> str:
    return f"{number(values['median'])} ({number(values['low'])} to {number(values['high'])})"


def number(value: float) -> str:
    """Three digits: a benchmark knows no more."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("projects", nargs="*", default=list(PROJECTS), metavar="project")
    parser.add_argument("--turns", type=int, default=5, help="of each way")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn of one way")
    parser.add_argument("--wait", type=float, default=300, help="seconds for an idle machine")
    parser.add_argument("--processes", action="store_true", help="also one process beside two")
    parser.add_argument("--flags", default="", help="more flags of train.py, in one word")
    parser.add_argument("--out", type=Path, default=RESULT, help="file of the results")
    options = parser.parse_args()
    if unknown := set(options.projects) - set(PROJECTS):
        parser.error(f"there is no project {sorted(unknown)[0]}: {', '.join(PROJECTS)}")
    records = {}
    if options.out.exists():
        before = json.loads(options.out.read_text(encoding="utf-8"))["projects"]
        records = {name: old for name, old in before.items() if "times_as_fast_as" in old}
    for name in options.projects:
        project, older = PROJECTS[name], records.get(name, {})
        record = records[name] = measure(name, project, options)
        if "processes" in older:
            record["processes"] = older["processes"]
        if options.processes and project.processes:
            record["processes"] = processes(name, project, options)
        for goal, is_met in goals(project, record):
            print(f"{'met   ' if is_met else 'MISSED'}  {name}: {goal}", flush=True)
        if record["idle_before"] < IDLE:
            print(f"NOTE    {name}: only {record['idle_before']:.0%} of the machine was idle")
        content = {"projects": dict(sorted(records.items())), "tables": tables(records)}
        checkpoints.write_text(options.out, json.dumps(content, indent=1) + "\n")
    print(f"\nwritten to {options.out}; python results/tables.py fills the READMEs")


if __name__ == "__main__":
    main()
