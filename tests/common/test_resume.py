"""A training as a user starts it: killed, stopped, resumed, in several processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from common import checkpoints

TOY = Path(__file__).with_name("toy_project") / "train.py"
TIMES = {"seconds", "samples_per_second"}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
# A script that saves every epoch, however short, and then is the toy.
SAVING = "import sys, runpy; sys.argv.pop(0); from common import training; "
SAVING += "training.SAVE_SECONDS = 0.0; runpy.run_path(sys.argv[0], run_name='__main__')"


def start(out: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOY.parents[3])}
    saving = out.parent / "saving.py"
    saving.write_text(SAVING)
    command = [sys.executable, *launcher, str(saving), str(TOY), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--device", "cpu", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=out.parent,
        env=environment,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    return output + errors


def the_run(out: Path) -> Path:
    (folder,) = (out / "toy_project").iterdir()
    return folder


def rows_and_weights(folder: Path) -> list[tuple[list, dict]]:
    """For each training of a complete run its rows, without times, and its weights."""
    trainings = []
    for name in ("first", "second"):
        state = checkpoints.load(folder / name / "checkpoint.pt")
        rows = [
            {k: v for k, v in row.items() if k not in TIMES} for row in state["history"]["rows"]
        ]
        trainings.append((rows, checkpoints.load(folder / name / "model.pt")["weights"][0]))
    return trainings


def assert_same(one: Path, other: Path, exact: bool = True) -> None:
    for own, its in zip(rows_and_weights(one), rows_and_weights(other), strict=True):
        assert len(own[0]) == len(its[0]) > 0
        for row, same in zip(own[0], its[0], strict=True):
            assert same == (row if exact else pytest.approx(row, rel=1e-4))
        for name, value in own[1].items():
            tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-4, "atol": 1e-6}
            torch.testing.assert_close(value, its[1][name], **tolerance)


def wait_for(pattern: str, out: Path, process: subprocess.Popen) -> None:
    """Until the first epoch of a training has its row, or another file is there."""
    while not any(path.stat().st_size for path in out.glob(pattern)):
        assert process.poll() is None
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "runs"
    finish(start(out))
    return the_run(out)


def test_killed_at_random_and_resumed_equals_uninterrupted(tmp_path, whole):
    out = tmp_path / "runs"
    process = start(out, "--step-seconds", "0.02")
    draw = random.Random()
    for _ in range(2):
        wait_for("*/*/*/metrics.csv", out, process)
        time.sleep(draw.uniform(0.0, 0.7))
        process.kill()
        process.wait()
        process = start(out, "--resume")
    finish(process)
    assert_same(whole, the_run(out))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_leaves_the_test_split_unread(tmp_path, whole, number, code):
    out = tmp_path / "runs"
    process = start(out, "--step-seconds", "0.1")
    wait_for("*/*/first/metrics.csv", out, process)
    process.send_signal(number)
    assert "go on with --resume" in finish(process, code)
    folder = the_run(out)
    results = json.loads((folder / "results.json").read_text())
    assert results["finished"] is False
    assert "val_mae" in results["metrics"]["first"]
    assert "second" not in results["metrics"]
    finish(start(out, "--resume"))
    assert json.loads((folder / "results.json").read_text())["finished"] is True
    assert_same(whole, folder)


def test_one_process_at_a_time_trains_a_run(tmp_path):
    out = tmp_path / "runs"
    first = start(out, "--epochs", "1", "--step-seconds", "0.2")
    wait_for("*/*/config.json", out, first)
    first.send_signal(signal.SIGSTOP)  # so that it lasts
    folder = the_run(out)
    message = finish(start(out, "--resume"), 1)
    assert f"error: {folder} is being trained by another process: wait" in message
    first.kill()  # which frees the run
    first.communicate()
    finish(start(out, "--resume"))
    assert (folder / "results.json").exists()


def test_what_a_resumed_run_refuses(tmp_path, whole):
    """Another setting, other data, nothing to resume."""
    out = whole.parents[1]
    cases = {
        ("--resume",): (2, "no unfinished run"),
        ("--resume", whole.name, "--lr", "0.5"): (2, "--lr cannot change on resuming: the run has"),
        ("--resume", whole.name, "--epochs", "9"): (2, "start a new run"),
    }
    for arguments, (code, message) in cases.items():
        assert message in finish(start(out, *arguments), code)
    state = json.loads((whole / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps({**state, "checksum": "other"}))
    assert "has changed since it was started" in finish(start(out, "--resume", whole.name), 1)
    (whole / "config.json").write_text(json.dumps(state))


def test_divergence_ends_with_a_remedy_and_keeps_the_checkpoint(tmp_path):
    output = finish(start(tmp_path / "runs", "--explode-at", "7", "--seed", "3"), 1)
    assert "the loss is inf at step" in output
    assert "lower --lr" in output


PLAIN = ("--dropout", "0", "--epochs", "2")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a run of one process, without dropout."""
    out = tmp_path_factory.mktemp("alone") / "runs"
    # 401 = 5 x 80 + 1: the short last batch joins the one before it.
    finish(start(out, *PLAIN, "--batch-size", "80"))
    return the_run(out)


def test_two_processes_equal_one(tmp_path, alone):
    finish(start(tmp_path / "two", *PLAIN, "--batch-size", "80", launcher=TORCHRUN))
    assert_same(alone, the_run(tmp_path / "two"), exact=False)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process through /proc")
def test_a_killed_process_ends_the_job_and_both_go_on(tmp_path, alone):
    out = tmp_path / "killed"
    slow = (*PLAIN, "--batch-size", "80", "--step-seconds", "0.2")
    job = start(out, *slow, launcher=TORCHRUN)
    wait_for("*/*/first/checkpoint.pt", out, job)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    (second,) = (n for n in children if b"\0RANK=1\0" in Path(f"/proc/{n}/environ").read_bytes())
    os.kill(int(second), signal.SIGKILL)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "Signal 9 (SIGKILL)" in errors  # torchrun's own report names the one that died
    assert not (the_run(out) / "results.json").exists()
    finish(start(out, "--resume", launcher=TORCHRUN))
    assert_same(alone, the_run(out), exact=False)


def test_an_error_in_one_process_ends_the_job_with_it(tmp_path):
    job = start(tmp_path / "runs", "--explode-at", "7", launcher=TORCHRUN)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "error: the loss is inf at step" in errors
