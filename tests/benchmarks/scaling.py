"""How much faster two processes train than one, and what eight would have to send.

    python tests/benchmarks/scaling.py

Trains each project below for one short epoch as `torchrun` starts it: one process with one thread,
and two with one thread each, whose batch is the same in all. Writes the table of the README into
results/speed.json. On paper: a ring all-reduce sends 2 (n - 1) / n of the gradients, float32, from
each of n processes in every step.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import checkpoints, results
from common.config import ROOT

MANY = 8  # processes, on paper
# The flags of each project, and the part of its run that is timed.
PROJECTS = {
    "lstm_airquality": ("--epochs 2 --baselines false --refit false", "."),
    "transformer_textcls": ("--epochs 1 --members 1 --limit-batches 200", "."),
    "vgg_vs_resnet": (
        "--epochs 2 --models resnet18 --warmup-epochs 0 --limit-batches 24",
        "resnet18",
    ),
}


def train(project: str, processes: int) -> tuple[float, int]:
    """Samples a second of the last epoch, over all processes, and the trainable parameters."""
    flags, part = PROJECTS[project]
    with tempfile.TemporaryDirectory() as out:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        words = [f"{project}/train.py", *flags.split(), "--device", "cpu", "--out", out]
        subprocess.run(
            [sys.executable, *launcher, *words],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        (run,) = (Path(out) / project).iterdir()
        with (run / part / "metrics.csv").open(newline="") as file:
            *_, row = csv.DictReader(file)
        (model,) = json.loads((run / "results.json").read_text())["models"].values()
    return float(row["samples_per_second"]), model["trainable"]


def main() -> None:
    rows = []
    for project in PROJECTS:
        alone, parameters = train(project, 1)
        together, _ = train(project, 2)
        sent = [2 * (n - 1) / n * 4 * parameters / 1e6 for n in (2, MANY)]
        rows.append(
            {
                "": project,
                "one process, samples/s": f"{alone:,.0f}",
                "two processes": f"{together:,.0f}",
                "times as fast": f"{together / alone:.2f}",
                "sent by each in a step, of 2": f"{sent[0]:,.1f} MB",
                f"of {MANY}": f"{sent[1]:,.1f} MB",
            }
        )
        print(rows[-1], flush=True)
    path = results.RESULTS / results.SPEED_FILE
    found = json.loads(path.read_text(encoding="utf-8"))
    found["tables"]["scaling"] = rows
    checkpoints.write_text(path, json.dumps(found, indent=1) + "\n")
    results.write_tables()


if __name__ == "__main__":
    main()
