"""A run of an invented project, and results/ in a folder of its own."""

import copy
import json

import numpy as np
import pytest

from results import records, tables

RUN = {
    "project": "toy",
    "finished": True,
    "data": "real",
    "dataset": {"name": "set", "checksum": "1f", "note": "", "counts": {"test": 200}},
    "command": "python toy/train.py --lr 0.1",
    "settings": {"lr": 0.1, "seed": 0, "out": "here", "data": "auto", "limit_batches": 0},
    "seed": 0,
    "metrics": {"test_accuracy": 0.9, "parameters": 133_638_952, "train_seconds": 10.0},
    "baselines": {"SVM": {"test_accuracy": 0.8}, "largest class": {"test_accuracy": 0.5}},
    "published": {"test_accuracy": 0.85},
    "models": {},
    "phases": {"data": 1.0, "training": 10.0},
    "commit": "0a1b",
    "code": "c0de",
    "hardware": "2 cores",
    "processes": 1,
    "versions": {"torch": "2.14"},
    "seconds": 12.0,
    "date": "2026-01-02T03:04:05+00:00",
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The folder that takes the place of results/."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def make_run(tmp_path):
    """make_run(seed, accuracy=0.9, **changes) -> the folder of a run that differs so."""

    def make(seed=0, predictions=None, **changes):
        run = copy.deepcopy(RUN)
        run["seed"] = run["settings"]["seed"] = seed
        run["command"] += f" --seed {seed}" if seed else ""
        run.update(changes)
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(run))
        if predictions:
            np.savez(folder / "predictions.npz", **predictions)
        return folder

    return make
