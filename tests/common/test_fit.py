"""`fit` and its parts in this process: exact means, the best epoch, schedules, averaged weights."""

import signal

from common import runs, training
from common.batches import tensor_loader
from common.config import Settings
from common.errors import UserError
from common.signals import Stopped

import pytest
import torch
from torch import nn


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
