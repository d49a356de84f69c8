"""A training as a user starts it: killed, stopped, resumed, in several processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import checkpoints

import pytest
import torch

TOY = Path(__file__).with_name("toy_project") / "train.py"
TIMES = {"seconds", "samples_per_second"}


def start(out: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(TOY), "--out", str(out), "--device", "cpu"]
    return subprocess.Popen(
        [*command, *arguments],
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


def outcome(folder: Path) -> tuple[list, dict]:
    """The rows of an ended run, without its times, and its best weights."""
    last = checkpoints.load(folder / "last.pt")
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in last["history"]["rows"]]
    return rows, checkpoints.load(folder / "best.pt")["model"]


def assert_same(one: Path, other: Path) -> None:
    rows, weights = outcome(one)
    other_rows, other_weights = outcome(other)
    assert rows == other_rows
    for name, value in weights.items():
        assert torch.equal(value, other_weights[name]), name


ARGUMENTS = ("--ema-decay", "0.9", "--schedule", "cosine", "--warmup-epochs", "1")


def test_killed_at_random_and_resumed_equals_uninterrupted(tmp_path):
    whole = start(tmp_path / "whole", *ARGUMENTS)
    slow = ("--step-seconds", "0.05", "--save-seconds", "0")
    finish(whole)
    process = start(tmp_path / "killed", *ARGUMENTS, *slow)
    draw, kills = random.Random(), 0
    while kills < 2:
        metrics = list((tmp_path / "killed").glob("*/*/metrics.csv"))
        if process.poll() is not None:
            break  # it was faster than the killing
        if metrics:
            time.sleep(draw.uniform(0.05, 0.8))
            process.kill()
            process.wait()
            kills += 1
            process = start(tmp_path / "killed", "--resume")
            time.sleep(1)
        time.sleep(0.05)
    assert kills
    finish(process)
    assert_same(the_run(tmp_path / "whole"), the_run(tmp_path / "killed"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_stop(tmp_path, number, code):
    whole = start(tmp_path / "whole", *ARGUMENTS)
    process = start(tmp_path / "stopped", *ARGUMENTS, "--step-seconds", "0.1")
    metrics = []
    while not metrics or not metrics[0].read_text():  # until the first epoch has its row
        metrics = list((tmp_path / "stopped").glob("*/*/metrics.csv"))
        time.sleep(0.05)
    process.send_signal(number)
    output = finish(process, code)
    assert "--resume goes on" in output
    folder = the_run(tmp_path / "stopped")
    if number == signal.SIGINT:  # the best model so far is still evaluated
        assert json.loads((folder / "results.json").read_text())["finished"] is False
    finish(whole)
    finish(start(tmp_path / "stopped", "--resume"))
    assert json.loads((folder / "results.json").read_text())["finished"] is True
    assert_same(the_run(tmp_path / "whole"), folder)


def test_one_process_at_a_time_trains_a_run(tmp_path):
    out = tmp_path / "runs"
    first = start(out, "--epochs", "1", "--step-seconds", "0.2")
    while not list(out.glob("*/*/config.json")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # so that it lasts
    folder = the_run(out)
    began = (folder / "config.json").stat().st_mtime_ns
    message = finish(start(out, "--resume"), 1)
    assert f"error: {folder} is being trained by another process: wait" in message
    assert (folder / "config.json").stat().st_mtime_ns == began
    first.kill()  # which frees the run
    first.communicate()
    finish(start(out, "--resume"))
    assert (folder / "results.json").exists()


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a run of one process."""
    out = tmp_path_factory.mktemp("alone") / "runs"
    # 401 = 8 x 50 + 1: the short last batch joins the one before it in both jobs
    finish(start(out, *PLAIN))
    return the_run(out)


PLAIN = ("--dropout", "0", "--epochs", "2")


def assert_close(one: Path, other: Path) -> None:
    rows, weights = outcome(one)
    other_rows, other_weights = outcome(other)
    assert len(rows) == len(other_rows) == 2
    for row, same in zip(rows, other_rows, strict=True):
        assert same == pytest.approx(row, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(value, other_weights[name], rtol=1e-4, atol=1e-6)


def test_two_processes_equal_one(tmp_path, alone):
    finish(start(tmp_path / "two", *PLAIN, launcher=TORCHRUN))
    assert_close(alone, the_run(tmp_path / "two"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process through /proc")
def test_a_killed_process_ends_the_job_and_both_go_on_from_the_checkpoint(tmp_path, alone):
    out = tmp_path / "killed"
    slow = ("--step-seconds", "0.2", "--save-seconds", "0")
    job = start(out, *PLAIN, *slow, launcher=TORCHRUN)
    while not list(out.glob("*/*/last.pt")):  # saved between two epochs: after eight steps
        assert job.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    (second,) = (n for n in children if b"\0RANK=1\0" in Path(f"/proc/{n}/environ").read_bytes())
    os.kill(int(second), signal.SIGKILL)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "error: another process of this job has ended" in errors
    assert "Signal 9 (SIGKILL)" in errors  # torchrun's own report names the one that died
    assert not (the_run(out) / "results.json").exists()
    finish(start(out, "--resume", launcher=TORCHRUN))
    assert_close(alone, the_run(out))


def test_an_error_in_one_process_ends_the_job_with_it(tmp_path):
    arguments = ("--explode-at", "7", "--save-seconds", "0")
    job = start(tmp_path / "runs", *arguments, launcher=TORCHRUN)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "error: the loss is inf at step" in errors


def test_resume_refuses_another_setting(tmp_path):
    finish(start(tmp_path / "runs", "--epochs", "1"))
    output = finish(start(tmp_path / "runs", "--resume"), 2)
    assert "no unfinished run" in output
    name = the_run(tmp_path / "runs").name
    output = finish(start(tmp_path / "runs", "--resume", name, "--lr", "0.5"), 2)
    assert "--lr cannot change on resuming: the run has 0.001, not 0.5" in output


def test_infinite_loss_stops_with_a_remedy_and_keeps_the_checkpoint(tmp_path):
    arguments = ("--explode-at", "7", "--save-seconds", "0", "--seed", "3")
    output = finish(start(tmp_path / "runs", *arguments), 1)
    assert "the loss is inf at step" in output
    assert "lower --lr" in output
    last = the_run(tmp_path / "runs") / "last.pt"
    if last.exists():
        assert all(value.isfinite().all() for value in checkpoints.load(last)["model"].values())
