"""The training loop: exact resume, exact means, the best epoch, several processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import checkpoints, runs, training
from common.batches import tensor_loader
from common.config import Settings
from common.errors import UserError
from common.signals import Stopped

import pytest
import torch
from torch import nn

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
    while kills < 3:
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


def test_two_processes_equal_one(tmp_path):
    # 401 = 8 x 50 + 1: the short last batch joins the one before it in both jobs
    plain = ("--dropout", "0", "--epochs", "2")
    one = start(tmp_path / "one", *plain)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    two = start(tmp_path / "two", *plain, launcher=launcher)
    finish(one)
    finish(two)
    rows, weights = outcome(the_run(tmp_path / "one"))
    other_rows, other_weights = outcome(the_run(tmp_path / "two"))
    assert len(rows) == len(other_rows) == 2
    for row, other in zip(rows, other_rows, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(value, other_weights[name], rtol=1e-4, atol=1e-6)


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


# In this process


def regression(tmp_path, count=21, **settings):
    config = Settings(out=str(tmp_path), device="cpu", **settings)
    run = runs.start("regression", config)
    inputs = torch.randn(count, 3)
    targets = inputs @ torch.tensor([[1.0], [2.0], [3.0]])
    return config, run, nn.Linear(3, 1), inputs, targets


def squares(model, batch):
    inputs, targets = batch
    errors = model(inputs) - targets
    return errors.square().mean(), len(inputs), {"absolute": errors.abs().sum()}


def test_evaluate_is_exact_over_a_short_last_batch(tmp_path):
    _, _, model, inputs, targets = regression(tmp_path)
    loader = tensor_loader((inputs, targets), 8)
    means = training.evaluate(model, loader, squares)
    errors = model(inputs) - targets
    assert means["loss"] == pytest.approx(errors.square().mean().item(), rel=1e-6)
    assert means["absolute"] == pytest.approx(errors.abs().mean().item(), rel=1e-6)
    together = training.predict(model, loader, lambda model, batch: model(batch[0]))
    torch.testing.assert_close(together, model(inputs).detach())


def test_best_epoch_is_kept_and_patience_ends(tmp_path):
    config, run, model, inputs, targets = regression(tmp_path, epochs=50, patience=2, lr=0.1)
    losses = iter([3.0, 1.0, 2.0, 4.0, 0.0])
    seen = []

    def step(model, batch):
        loss, count, _ = squares(model, batch)
        if not model.training:
            seen.append({k: v.clone() for k, v in model.state_dict().items()})
            loss = torch.tensor(next(losses))
        return loss, count, {}

    loader = tensor_loader((inputs, targets), 30)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = training.fit(model, loader, loader, step, optimizer, config, run)
    assert [row["val_loss"] for row in history.rows] == [3.0, 1.0, 2.0, 4.0]
    assert history.best["epoch"] == 2
    assert torch.equal(model.weight, seen[1]["weight"])


def test_no_validation_trains_to_the_end(tmp_path):
    config, run, model, inputs, targets = regression(tmp_path, epochs=3, patience=1)
    loader = tensor_loader((inputs, targets), 8, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    history = training.fit(model, loader, None, squares, optimizer, config, run)
    assert history.best["epoch"] == 3


def test_the_logged_gradient_norm_is_the_unclipped_one(tmp_path):
    config, run, model, inputs, targets = regression(tmp_path, epochs=1, clip_norm=1e-3)
    squares(model, (inputs, targets))[0].backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    before = model.weight.detach().clone()
    loader = tensor_loader((inputs, targets), 30)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    history = training.fit(model, loader, None, squares, optimizer, config, run)
    assert history.rows[0]["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert (model.weight - before).norm() <= 1e-3


def test_averaged_weights_are_the_moving_average(tmp_path):
    config, run, model, inputs, targets = regression(tmp_path, epochs=1, ema_decay=0.2)
    other = nn.Linear(3, 1)
    other.load_state_dict(model.state_dict())
    loader = tensor_loader((inputs, targets), 7)
    training.fit(
        model, loader, None, squares, torch.optim.SGD(model.parameters(), lr=0.01), config, run
    )
    optimizer, average = torch.optim.SGD(other.parameters(), lr=0.01), None
    for count, batch in enumerate(loader.epoch(0)):
        decay = min(0.2, (1 + count) / (10 + count))
        optimizer.zero_grad()
        squares(other, batch)[0].backward()
        optimizer.step()
        now = other.weight.detach().clone()
        average = now if average is None else decay * average + (1 - decay) * now
    torch.testing.assert_close(model.weight.detach(), average)


def test_weight_decay_spares_biases_and_norms():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Linear(2, 2))
    decayed, spared = training.parameter_groups(model, 0.1)
    assert [p.ndim for p in decayed["params"]] == [3, 2]
    assert decayed["weight_decay"] == 0.1
    assert [p.ndim for p in spared["params"]] == [1, 1, 1, 1]
    assert spared["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1]),
        ({"schedule": "constant", "warmup_epochs": 0.5}, [1 / 3, 2 / 3, 1, 1]),
        ({"schedule": "cosine"}, [1, 0.8536, 0.5, 0.1464]),
    ],
)
def test_schedules(settings, rates):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = training.make_scheduler(optimizer, Settings(epochs=1, **settings), 4)
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(rates, abs=1e-4)


def test_a_checkpoint_of_another_architecture_says_what_differs(tmp_path):
    config, run, model, inputs, targets = regression(tmp_path, epochs=1)
    loader = tensor_loader((inputs, targets), 8)
    training.fit(
        model, loader, None, squares, torch.optim.SGD(model.parameters(), lr=0.01), config, run
    )
    wider = nn.Linear(4, 1)
    with pytest.raises(UserError, match=r"weight has shape \(1, 3\) instead of \(1, 4\)"):
        training.fit(
            wider, loader, None, squares, torch.optim.SGD(wider.parameters(), lr=1), config, run
        )


def test_no_second_training_begins_after_a_stop(tmp_path):
    config, run, model, inputs, targets = regression(tmp_path, epochs=1)
    run.stop.signal = signal.SIGINT
    loader = tensor_loader((inputs, targets), 8)
    with pytest.raises(Stopped):
        training.fit(
            model, loader, None, squares, torch.optim.SGD(model.parameters(), lr=1), config, run
        )
