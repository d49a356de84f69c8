"""The folder of a run: never overwritten, resumable by name, SAMPLE said everywhere."""

import csv
import errno
import json
import math
from dataclasses import dataclass
from pathlib import Path

from common import locks, plots, report, runs
from common.config import Settings, parse
from common.downloads import Source
from common.errors import SettingError, UserError

import numpy as np
import pytest
import torch
from torch import nn


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path):
    config = Settings(out=str(tmp_path), device="cpu", name="same")
    folders = {runs.start("project", config).folder for _ in range(3)}
    assert len(folders) == 3


def test_results_hold_what_the_design_names(tmp_path, capsys):
    run = runs.start("project", Settings(out=str(tmp_path), device="cpu", seed=4))
    run.describe_data(Source("set", "sample", Path(), "abc"), {"train": 2})
    run.describe_model(nn.Linear(3, 2), (torch.zeros(1, 3),))
    made, _ = plots.figure()
    run.save_plot(made, "empty.png")
    assert made.get_suptitle() == "SAMPLE DATA"
    returned = run.finish(
        {"accuracy": np.float32(0.5), "broken": math.nan}, {"chance": {"accuracy": 0.25}}, {}
    )
    written = json.loads((run.folder / "results.json").read_text())
    assert written == returned
    assert written["data"] == "sample"
    assert written["metrics"]["broken"] is None
    assert written["metrics"]["train_seconds"] == 0
    assert written["models"]["Linear"] == {"parameters": 8, "trainable": 8, "flops": 12}
    assert {"python", "torch"} <= set(written["versions"])
    assert written["seed"] == written["settings"]["seed"] == 4
    assert "SAMPLE DATA" in capsys.readouterr().out


def test_the_log_is_one_row_an_epoch(tmp_path):
    run = runs.start("project", Settings(out=str(tmp_path), device="cpu"))
    rows = [{"epoch": n, "train_loss": 1.0 / n, "seconds": 1.0} for n in (1, 2, 3)]
    run.start_log(rows[:2])  # what an earlier start of the run had
    run.log(rows[2], epochs=3, best=True)
    with (run.folder / "metrics.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in read] == [1, 2, 3]
    assert [float(row["train_loss"]) for row in read] == [row["train_loss"] for row in rows]


@pytest.mark.parametrize("hidden", [1, 7])
def test_flops_of_an_lstm_are_counted(hidden):
    lstm = nn.LSTM(5, hidden, batch_first=True)
    flops = report.count_flops(lstm, (torch.zeros(1, 10, 5),))
    assert flops == 10 * 2 * 4 * hidden * (5 + hidden)  # two matrix products a step


@dataclass
class Config(Settings):
    """Settings of a script."""

    sizes: tuple[int, ...] = (1, 2)  # some sizes


def test_resume_finds_the_latest_unfinished_and_its_settings(tmp_path):
    project = Path(__file__).parent.name  # where this "script" lies
    first = runs.start(project, Config(out=str(tmp_path), device="cpu", sizes=(3,), name="a"))
    second = runs.start(project, Config(out=str(tmp_path), device="cpu", lr=0.5, name="b"))
    out = ["--out", str(tmp_path)]
    latest = parse(Config, [*out, "--resume"])
    assert (latest.resume, latest.lr) == (str(second.folder), 0.5)
    second.finish({}, {}, {})
    latest = parse(Config, [*out, "--resume"])
    assert (latest.resume, latest.sizes) == (str(first.folder), (3,))
    with pytest.raises(SettingError, match=r"--sizes cannot change .* has \(3,\), not \(4, 5\)"):
        parse(Config, [*out, "--sizes", "4", "5", "--resume", first.folder.name])


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder with --out"):
        runs.start("project", Settings(out=str(tmp_path / "file"), device="cpu"))


def test_the_process_of_a_failed_training_may_go_on_with_it(tmp_path):
    project = Path(__file__).parent.name
    failed = runs.start(project, Config(out=str(tmp_path), device="cpu"))
    again = runs.start(project, parse(Config, ["--out", str(tmp_path), "--resume"]))
    assert again.folder == failed.folder


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError()])
def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    run = runs.start("project", Settings(out=str(tmp_path), device="cpu"))
    assert (run.folder / "config.json").exists()


def test_variants_stand_in_rows_of_their_own():
    results = {
        "metrics": {"causal": {"score": 1.0}, "centred": {"score": 2.0}, "train_seconds": 9.0},
        "baselines": {"naive": {"score": 0.5}},
        "published": {"best": {"score": 3.0}},
        "data": "real",
    }
    rows = [line.split() for line in report.results_table(results).splitlines()]
    assert rows[0] == ["score"]
    assert [row[-1] for row in rows[1:]] == ["1", "2", "0.5", "3"]
