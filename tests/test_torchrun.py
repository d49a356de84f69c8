"""The README's torchrun command with the script of every project: two processes end as one does.

They do so to rounding where a model has no random numbers (dropout, augmentation) and no BatchNorm,
whose statistics are those of a process's own part of a batch.
"""

import csv
import json
import math
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from common import settings

SMALL = "--data sample --device cpu --epochs 1 --precision float32 --threads 1"
TEXT = "--dropout 0 --word-dropout 0 --limit-batches 4 --members 1"
IMAGES = "--recipe base --dropout 0 --size 32 --width 4 --hidden 16 --per-class 40"
FOOD = "--weights none --models efficientnet_lite0 --size 32 --stored-size 40 --flip false"
# What makes each project's training short, and which of its models may differ from one process's.
PROJECTS = {
    "conv_autoencoder_nab": ("--members 2", ()),
    "lstm_airquality": ("--hidden-size 8 --dropout 0 --shift 0 --baselines false", ()),
    "lstm_sentiment": (f"{TEXT} --embedding-dropout 0 --hidden-size 16 --baselines false", ()),
    "resnext_comparison": (
        f"{IMAGES} --models resnext29 vgg16c --cardinality 4 --path-width 1",
        ("resnext29",),
    ),
    "transfer_food11": (
        f"{FOOD} --modes probe scratch --epoch-steps 2",
        ("efficientnet_lite0 scratch",),
    ),
    "transformer_textcls": (f"{TEXT} --layers 1 --d-ff 32", ()),
    "vanishing_gradients": (
        "--study variants --depth 8 --size 16 --width 4 --per-class 40",
        ("batch_norm", "resnet"),
    ),
    "vgg_vs_resnet": (IMAGES, ("resnet18",)),
}


def torchrun(*words: str, folder: Path) -> str:
    """What a job of two processes printed; it must end well."""
    job = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert job.returncode == 0, job.stderr
    assert "Traceback" not in job.stderr
    return job.stdout


def all_metrics(run: Path) -> dict[str, float]:
    """The run's metrics and all rows of metrics.csv by name and model, without times."""
    values = {}
    for name, value in json.loads((run / "results.json").read_text())["metrics"].items():
        inner = value if isinstance(value, dict) else {"": value}
        values |= {f"{name} {key}".strip(): number for key, number in inner.items()}
    for path in run.rglob("metrics.csv"):
        part = path.parent.name.replace("-", " ") if path.parent != run else "run"
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                epoch = row.pop("epoch")
                values |= {f"{part} {key} {epoch}": float(value) for key, value in row.items()}
    return {key: value for key, value in values.items() if not re.search("second|memory", key)}


@pytest.mark.parametrize("project", PROJECTS)
def test_two_processes_train_as_one(project, root, tmp_path):
    flags, free = PROJECTS[project]
    words = [*SMALL.split(), *flags.split(), "--data-dir", str(tmp_path / "data")]
    readme = (root / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^torchrun (.*)", readme, re.M)
    command = shlex.split(line.replace("lstm_airquality", project), comments=True)
    printed = torchrun(*command, *words, "--out", str(tmp_path / "two"), folder=root)
    assert printed.count("SAMPLE DATA") == 1  # one process prints and writes
    script = import_module(f"{project}.train")
    script.main(settings.parse(script.Config, [*words, "--out", str(tmp_path / "one")]))
    two, one = (all_metrics(next((tmp_path / n / project).iterdir())) for n in ("two", "one"))
    assert two.keys() == one.keys()
    for name, value in two.items():
        assert math.isfinite(value), name
        if not name.startswith(free):
            assert value == pytest.approx(one[name], rel=1e-3, abs=1e-5), name
