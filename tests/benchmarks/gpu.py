"""What a GPU makes of the image networks at the papers' widths, in one command of nine minutes.

    python tests/benchmarks/gpu.py --out DIR          throughput, then as much training as fits
    python tests/benchmarks/gpu.py --record DIR       then, in the checkout: records of the runs

First a table for each network: images a second in float32 and bfloat16, compiled and not (always
channels last), the fraction of the card's own matrix rate (goal: half), and what the input costs.
Then ResNet-18 and ResNeXt-29 with three seeds and VGG-16 C with one, as many of them as --minutes
allow, each in its fastest form. DIR gets throughput.json and the runs without their weights.
tests/benchmarks/README.md says how the images travel in two parts.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from worker import Ours, matrix_rate

from common.batches import Loader
from common.runs import code_state
from common.settings import ROOT
from common.summary import format_table

PAPERS = "--width 64 --hidden 4096 --stem small"
JOBS = {  # name of the record -> project, its network, seeds
    "resnet18 full width": ("vgg_vs_resnet", "resnet18", (0, 1, 2)),
    "resnext29 full width": ("resnext_comparison", "resnext29", (0, 1, 2)),
    "vgg16c full width": ("vgg_vs_resnet", "vgg16c", (0,)),
}
FORMS = {  # name -> flags
    "float32": "--precision float32",
    "bfloat16": "--precision bfloat16",
    "bfloat16, compiled": "--precision bfloat16 --compile",
}
KEPT = ("results.json", "predictions.npz", "curves.png")


def throughput(name: str, form: str, flags: list[str], steps: int) -> dict[str, Any]:
    """Images a second of one network in one form, as its train.py trains it."""
    project, network, _ = JOBS[name]
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(project, [*flags, "--models", network, *FORMS[form].split()], folder)
        steps = min(steps, len(ours.batches))
        began = time.monotonic()
        ours.turn(1, 2)
        warm = time.monotonic() - began
        speed = max(ours.turn(1, steps) for _ in range(2))
        loader = ours.call.loader
        batch = loader.fetch(ours.batches[0])
        ours.call.loader = Loader(loader.plan, lambda indices: batch)
        alone = max(ours.turn(1, steps) for _ in range(2))
    return {
        "images_per_second": speed,
        "of_time_for_input": max(0.0, 1 - speed / alone),
        "first_steps_seconds": warm,
        "flops_per_image": ours.flops()["sample"],
    }


def measure(options: argparse.Namespace, flags: list[str]) -> dict[str, dict[str, Any]]:
    """Throughput of each job in each form; printed, and written to throughput.json."""
    is_gpu = options.device == "cuda"
    rate = matrix_rate("bfloat16", options.device, 8192 if is_gpu else 256)
    card = torch.cuda.get_device_name() if is_gpu else "the CPU"
    print(f"{card}: {rate / 1e12:,.2f} TFLOP/s in bfloat16 matrix products")
    forms: dict[str, dict[str, Any]] = {name: {} for name in JOBS}
    cells = []
    for name in JOBS:
        for form in FORMS if is_gpu else ("float32", "bfloat16"):
            row = forms[name][form] = throughput(name, form, flags, options.steps)
            row["of_matrix_rate"] = row["flops_per_image"] * row["images_per_second"] / rate
            cells.append([
                f"{name}, {form}", f"{row['images_per_second']:,.0f}",
                f"{row['of_matrix_rate']:.0%}", f"{row['of_time_for_input']:.1%}",
                f"{row['first_steps_seconds']:.1f} s",
            ])  # fmt: skip
            print(cells[-1], flush=True)
    head = ["", "images/s", "of the matrix rate", "for the input", "first steps"]
    print(format_table(head, cells), flush=True)
    measured = {"card": card, "matrix_flops_per_second": rate, "forms": forms}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "throughput.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")
    return forms


def train(options: argparse.Namespace, flags: list[str], forms: Any, end: float) -> None:
    """The jobs, seeds in turns, until `end` (time.monotonic()); what takes longer is left out."""
    runs = sorted((seed, name) for name, job in JOBS.items() for seed in job[2])
    for seed, name in runs:
        project, network, _ = JOBS[name]
        fastest = max(forms[name], key=lambda form: forms[name][form]["images_per_second"])
        with tempfile.TemporaryDirectory() as out:
            words = [f"{project}/train.py", *flags, "--models", network, "--seed", str(seed)]
            words += [*FORMS[fastest].split(), "--epochs", str(options.epochs), "--out", out]
            if (left := end - time.monotonic()) <= 0:
                print(f"left out: {name}, seed {seed}: no time", flush=True)
                continue
            try:
                subprocess.run([sys.executable, *words], cwd=ROOT, check=True, timeout=left)
            except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                print(f"left out: {name}, seed {seed}: {type(error).__name__}", flush=True)
                continue
            (path,) = Path(out).glob("*/*/results.json")
            kept = run_folder(options.out, name, seed)
            kept.mkdir(parents=True, exist_ok=True)
            for file in filter(Path.exists, map(path.with_name, KEPT)):
                shutil.copy(file, kept)


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Where a run lies among the results."""
    return folder / f"{name} {seed}".replace(" ", "-")


def record(folder: Path) -> None:
    """Make records of the runs in `folder`; those of this checkout's code get its commit."""
    from results import records

    for name, (project, network, seeds) in JOBS.items():
        folders = [run_folder(folder, name, seed) for seed in seeds]
        folders = [each for each in folders if (each / "results.json").exists()]
        state = code_state(project)
        for path in (each / "results.json" for each in folders):
            run = json.loads(path.read_text(encoding="utf-8"))
            if run["code"] == state["code"]:
                path.write_text(json.dumps({**run, "commit": state["commit"]}), encoding="utf-8")
        if folders:
            command = re.sub(r" --(seed|out|data-dir) \S+", "", run["command"])
            records.add(project, name, command, folders, network)


def main() -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="folder for what comes back")
    parser.add_argument("--record", type=Path, metavar="DIR", help="make records of its runs")
    parser.add_argument("--minutes", type=float, default=8.5, help="for everything")
    parser.add_argument("--epochs", type=int, default=10, help="of each training")
    parser.add_argument("--steps", type=int, default=60, help="of one measurement")
    parser.add_argument("--device", default="cuda", help="cpu to try the command out")
    parser.add_argument("--flags", default="", help="more flags of train.py, in one word")
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return
    flags = [*PAPERS.split(), "--device", options.device, *options.flags.split()]
    train(options, flags, measure(options, flags), began + 60 * options.minutes)


if __name__ == "__main__":
    main()
