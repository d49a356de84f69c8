"""Sweeps: the whole grid, no finished point twice, one failure does not end the rest."""

import csv
import itertools
import signal
import subprocess
import sys
import time

import pytest

from common import sweep
from common.settings import SettingError
from common.summary import spread


def test_the_grid_is_every_combination():
    points = sweep.grid(["lr=0.1,0.2", "seed=0,1,2"])
    expected = itertools.product(("0.1", "0.2"), ("0", "1", "2"))
    assert [(p["lr"], p["seed"]) for p in points] == list(expected)


@pytest.mark.parametrize("word", ["lr", "lr=", "=1"])
def test_a_word_of_another_form(word):
    with pytest.raises(SettingError, match="field=value"):
        sweep.grid([word])


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ("val_loss mae rmse train_seconds seconds_per_epoch peak_memory_mb false_alarms", "min"),
        ("false_alarms_month gap calibration_error delay_hours_1 fluctuation flops", "min"),
        ("parameters interval_width log10_gradient_ratio gradient_ratio_plain", "min"),
        (
            "test_accuracy macro_f1 r2 val_r2 roc_auc vus_pr event_recall nab_score nab_low_fp",
            "max",
        ),
        ("windows_found test_top3 images_per_second predict_images_per_second", "max"),
        ("best_epoch threshold coverage log10_gradient_layer_3", ""),
    ],
)
def test_every_metric_has_its_direction(metrics, best):
    assert {name: sweep.direction(name) for name in metrics.split()} == dict.fromkeys(
        metrics.split(), best
    )


def test_a_missing_metric_is_not_zero(tmp_path, capsys):
    """It is left out of the mean, shown as a dash, and comes last, whatever is best."""
    for metric, order in (("val_mae", "abc"), ("val_r2", "bac")):
        runs = {"a": [1.0, None], "b": [2.0, 4.0], "c": [None, None]}
        rows = [
            {"name": name, "runs": 2, "metrics": {metric: spread(values)}}
            for name, values in runs.items()
        ]
        sweep.report(rows, metric, sweep.direction(metric), tmp_path, sample=False)
        assert "".join(row["name"] for row in rows) == order
        with (tmp_path / "sweep.csv").open() as file:
            means = {row["settings"]: row[metric] for row in csv.DictReader(file)}
        assert means == {"a": "1.0", "b": "3.0", "c": ""}
        assert capsys.readouterr().out.splitlines()[-1].split() == ["c", "2", "-"]


@pytest.fixture
def project(tmp_path, monkeypatch, root):
    """The toy project in a repository of its own; `sweep`'s arguments go there."""
    folder = tmp_path / "repository" / "toy_sweep"
    folder.mkdir(parents=True)
    text = (root / "tests/common/toy_project/train.py").read_text()
    text = text.replace('"toy_project"', '"toy_sweep"').replace("parents[3]", "parents[0]")
    (folder / "train.py").write_text(text)
    monkeypatch.setattr(sweep, "ROOT", folder.parent)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    sys.modules.pop("toy_sweep.train", None)


def go(tmp_path, *words):
    words = ("toy_sweep", *words, "--out", str(tmp_path / "runs"), "--epochs", "1")
    return sweep.sweep(*sweep.read_arguments([*words, "--device", "cpu"]))


def runs_of(tmp_path):
    return len(list((tmp_path / "runs" / "toy_sweep").glob("*/config.json")))


def test_a_sweep_goes_on_where_it_stopped(project, tmp_path, capsys):
    assert go(tmp_path, "lr=0.001,0.01", "seed=0,1") == 0
    assert runs_of(tmp_path) == 4
    assert go(tmp_path, "lr=0.001,0.01,0.1", "seed=0,1", "--by", "val_mae") == 0
    assert runs_of(tmp_path) == 6  # only the new points ran
    rows = (tmp_path / "runs/toy_sweep/sweep.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 2  # two networks a run
    assert rows[1].startswith("lr=0.1 ")  # the least error stands first
    assert (tmp_path / "runs/toy_sweep/sweep.png").is_file()
    # An infinite target fails one point: the other is still reported.
    assert go(tmp_path, "explode_at=0,7", "seed=0") == 1
    output = capsys.readouterr()
    assert "explode_at=7 seed=0 failed: " in output.err
    assert "SAMPLE DATA" in output.out
    assert len((tmp_path / "runs/toy_sweep/sweep.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("by", ["val_acuracy", "best_epoch"])
def test_an_unknown_metric_is_refused_before_training(project, tmp_path, by):
    with pytest.raises(SettingError, match=f"{by}:min or"):
        go(tmp_path, "seed=0", "--by", by)
    assert not (tmp_path / "runs").exists()


def test_a_metric_that_no_run_reports_ends_the_sweep_after_its_first_point(project, tmp_path):
    with pytest.raises(SettingError, match=r"report .*val_mae"):
        go(tmp_path, "seed=0,1,2", "--by", "no_such:min")
    assert runs_of(tmp_path) == 1


def test_no_such_project_and_no_such_setting(project, tmp_path, capsys):
    with pytest.raises(SettingError, match="no project nowhere"):
        sweep.sweep(*sweep.read_arguments(["nowhere", "seed=0"]))
    with pytest.raises(SystemExit):
        go(tmp_path, "no_such_field=1")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C cannot be sent there")
def test_ctrl_c_reports_what_is_done_and_the_sweep_goes_on(project, tmp_path, root):
    code = (
        "import pathlib, sys; from common import sweep; "
        f"sweep.ROOT = pathlib.Path({str(project.parent)!r}); sweep.main()"
    )
    words = ["toy_sweep", "step_seconds=0,0.3", "--out", str(tmp_path / "runs"), "--epochs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--device", "cpu"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while runs_of(tmp_path) < 2:  # the second point has begun
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on with the sweep" in complaints
    assert "Traceback" not in complaints
    assert "step_seconds=0 first" in printed  # the table of the first point
