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

from common import checkpoints, config

import pytest
import torch

SMALL = "--data sample --device cpu --epochs 1"
TEXT = "--dropout 0 --word-dropout 0 --limit-batches 4 --members 1"
IMAGES = "--recipe base --dropout 0 --size 32 --width 4 --hidden 16 --per-class 40"
FOOD = "--weights none --models efficientnet_lite0 --size 32 --stored-size 40 --flip false"
# What makes each project's training short, and which of its models may differ from one process's.
PROJECTS = {
    "conv_autoencoder_nab": ("--members 2", ()),
    "lstm_airquality": ("--hidden-size 8 --dropout 0 --baselines false", ()),
    "lstm_sentiment": (f"{TEXT} --embedding-dropout 0 --hidden-size 16 --baselines false", ()),
    "resnext_comparison": (
        f"{IMAGES} --models resnext29 vgg16c --cardinality 4 --path-width 1",
        ("resnext29",),
    ),
    "transfer_food11": (
        f"{FOOD} --modes probe scratch --epoch-steps 2 --probe-epochs 3",
        ("efficientnet_lite0 scratch",),
    ),
    "transformer_textcls": (f"{TEXT} --layers 1 --d-ff 32", ()),
    "vanishing_gradients": (
        "--study variants --depth 8 --size 16 --width 4 --per-class 40",
        ("batch_norm",),
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
        timeout=200,
    )
    assert job.returncode == 0, job.stderr
    assert "Traceback" not in job.stderr
    return job.stdout


def figures(run: Path) -> dict[str, float]:
    """All metrics and all rows of metrics.csv, by name and model, without times and memory."""
    found = {}
    for name, value in json.loads((run / "results.json").read_text())["metrics"].items():
        inner = value if isinstance(value, dict) else {"": value}
        found |= {f"{name} {key}".strip(): figure for key, figure in inner.items()}
    for path in run.rglob("metrics.csv"):
        part = path.parent.name.replace("-", " ") if path.parent != run else "run"
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                epoch = row.pop("epoch")
                found |= {f"{part} {key} {epoch}": float(value) for key, value in row.items()}
    return {key: value for key, value in found.items() if not re.search("second|memory", key)}


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
    script.main(config.parse(script.Config, [*words, "--out", str(tmp_path / "one")]))
    two, one = (figures(next((tmp_path / n / project).iterdir())) for n in ("two", "one"))
    assert two.keys() == one.keys()
    for name, value in two.items():
        assert math.isfinite(value), name
        if not name.startswith(free):
            assert value == pytest.approx(one[name], rel=1e-3, abs=1e-5), name


STATISTICS = """
from pathlib import Path
from common import checkpoints, distributed, runs, training
from common.batches import tensor_loader
from common.config import Settings
import torch
from torch import nn

tensors = (torch.arange(37), torch.randn(37, 3))
for decay in (0.0, 0.9):
    seen = []

    def step(model, batch):
        rows, inputs = batch
        if model.training:
            seen.extend(rows.tolist())
        return model(inputs).square().mean(), len(rows), {}

    words = {"epochs": 2, "batch_size": 8, "ema_decay": decay, "device": "cpu", "out": "runs"}
    run = runs.start("statistics", Settings(**words))
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader, val = tensor_loader(tensors, 8, shuffle=True), tensor_loader(tensors, 8)
    history = training.fit(model, loader, val, step, optimizer, run.config, run)
    state = {"model": model.state_dict(), "seen": seen, "best": history.best["val_loss"]}
    state["again"] = training.evaluate(model, val, step)["loss"]
    checkpoints.save(Path(f"{decay}-{distributed.rank()}.pt"), state)
"""


def test_processes_see_each_row_once_and_end_with_one_model(root, tmp_path):
    """BatchNorm's statistics and averaged weights are alike too, and those that were validated."""
    (tmp_path / "job.py").write_text(f"import sys\nsys.path[0] = {str(root)!r}{STATISTICS}")
    torchrun("--nproc-per-node=2", "job.py", folder=tmp_path)
    for decay in (0.0, 0.9):
        first, second = (checkpoints.load(tmp_path / f"{decay}-{rank}.pt") for rank in (0, 1))
        assert sorted(first["seen"] + second["seen"]) == sorted([*range(37), *range(37)])
        for name, value in first["model"].items():
            assert torch.equal(value, second["model"][name]), name
        assert first["again"] == second["again"] == pytest.approx(first["best"], rel=1e-6)
