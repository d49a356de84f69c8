"""`fit` in this process: exact means, the best epoch, schedules, averaged weights, accumulation,
and a training that was killed and goes on."""

import pytest
import torch
from torch import nn

from common import runs, training
from common.batches import shuffled, tensor_loader
from common.downloads import Source
from common.settings import Diverged, SettingError, Settings, UserError


class Regression:
    """Three known weights to be found, with or without dropout and BatchNorm in the way."""

    def __init__(self, tmp_path, count=21, **settings):
        self.run = runs.start("regression", Settings(out=tmp_path, device="cpu", **settings))
        self.run.begin(Source("numbers", "sample", tmp_path), {"train": count})
        self.inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
        self.targets = self.inputs @ torch.tensor([[1.0], [2.0], [3.0]])
        self.model = nn.Linear(3, 1)

    def loader(self, batch_size=8, **options):
        return tensor_loader((self.inputs, self.targets), batch_size, **options)

    def fit(self, train, val=None, step=None, lr=0.01, **options):
        options = {"epochs": 1, **options}
        optimizer = torch.optim.SGD(self.model.parameters(), lr)
        return training.fit(self.model, optimizer, step or squares, train, val, self.run, **options)


def squares(model, batch):
    inputs, targets = batch
    errors = model(inputs) - targets
    return errors.square().mean(), len(inputs), {"absolute": errors.abs().sum()}


def test_evaluation_is_exact_over_a_short_last_batch(tmp_path):
    task = Regression(tmp_path)
    means = training.evaluate(task.model, task.loader(), squares, "float32")
    errors = task.model(task.inputs) - task.targets
    assert means["loss"] == pytest.approx(errors.square().mean().item(), rel=1e-6)
    assert means["absolute"] == pytest.approx(errors.abs().mean().item(), rel=1e-6)


def test_predictions_come_in_the_order_of_the_rows(tmp_path):
    task = Regression(tmp_path)
    loader = task.loader(shuffle=True)
    predicted = training.predict(task.model, loader, lambda model, b: model(b[0]), "float32")
    torch.testing.assert_close(predicted, task.model(task.inputs).detach())


def test_precision_reaches_evaluation_and_prediction(tmp_path):
    task = Regression(tmp_path)
    seen = []

    def forward(model, batch):
        seen.append(model(batch[0]).dtype)
        return model(batch[0])

    training.predict(task.model, task.loader(30), forward, "bfloat16")
    training.predict(task.model, task.loader(30), forward, "float32")
    assert seen == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("monitor", ["val_loss", "val_score"])
def test_best_epoch_is_kept(tmp_path, monitor):
    task = Regression(tmp_path)
    losses = iter([3.0, 1.0, 2.0, 4.0])
    seen = []

    def step(model, batch):
        loss, count, _ = squares(model, batch)
        totals = {"score": 0.0}
        if not model.training:
            seen.append({k: v.clone() for k, v in model.state_dict().items()})
            loss = torch.tensor(next(losses))
            totals = {"score": -loss * count}
        return loss, count, totals

    whole = task.loader(30)
    history = task.fit(whole, whole, step, epochs=4, monitor=monitor)
    assert [row["val_loss"] for row in history.rows] == [3.0, 1.0, 2.0, 4.0]
    assert history.best["epoch"] == 2
    assert torch.equal(task.model.weight, seen[1]["weight"])


def test_without_validation_the_last_epoch_is_the_best(tmp_path):
    task = Regression(tmp_path)
    history = task.fit(task.loader(shuffle=True), epochs=3, lr=1e-3)
    assert history.best["epoch"] == 3


def test_the_hook_and_the_log_see_gradients_before_clipping(tmp_path):
    task = Regression(tmp_path)
    squares(task.model, (task.inputs, task.targets))[0].backward()
    norm = torch.cat([p.grad.flatten() for p in task.model.parameters()]).norm().item()
    before = task.model.weight.detach().clone()
    seen = []

    def hook(step):
        norms = [p.grad.norm() for p in task.model.parameters()]
        seen.append((step, torch.stack(norms).norm().item()))

    history = task.fit(task.loader(30), lr=1.0, clip_norm=1e-3, after_backward=hook)
    assert history.rows[0]["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert seen == [(0, pytest.approx(norm, rel=1e-5))]
    assert (task.model.weight - before).norm() <= 1.001e-3


def test_averaged_weights_are_the_moving_average(tmp_path):
    task = Regression(tmp_path)
    other = nn.Linear(3, 1)
    other.load_state_dict(task.model.state_dict())
    loader = task.loader(7)
    task.fit(loader, ema_decay=0.2)
    optimizer, average = torch.optim.SGD(other.parameters(), lr=0.01), None
    for count, batch in enumerate(loader.whole()):
        decay = min(0.2, (1 + count) / (10 + count))
        optimizer.zero_grad()
        squares(other, batch)[0].backward()
        optimizer.step()
        now = other.weight.detach().clone()
        average = now if average is None else decay * average + (1 - decay) * now
    torch.testing.assert_close(task.model.weight.detach(), average)


def test_a_batch_in_parts_takes_the_same_steps(tmp_path):
    """Also where the parts are of unequal size: 10 = 4 + 3 + 3, and the last batch has one row."""
    weights = []
    for parts in (1, 3):
        torch.manual_seed(0)
        task = Regression(tmp_path)
        task.fit(task.loader(10, shuffle=True), epochs=2, accumulate=parts)
        weights.append(task.model.weight.detach())
    torch.testing.assert_close(*weights)


def test_accumulation_needs_one_process(tmp_path, monkeypatch):
    task = Regression(tmp_path)
    loader = task.loader()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match="--accumulate works in one process"):
        task.fit(loader, accumulate=2)


def test_weight_decay_spares_biases_and_norms_and_leaves_out_what_stands_apart():
    embedding = nn.Embedding(5, 2)
    model = nn.Sequential(embedding, nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Linear(2, 2))
    decayed, spared = training.decay_groups(model, 0.1, apart=[embedding.weight])
    assert [p.ndim for p in decayed["params"]] == [3, 2]
    assert decayed["weight_decay"] == 0.1
    assert [p.ndim for p in spared["params"]] == [1, 1, 1, 1]
    assert spared["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("constant", 0, [1, 1, 1, 1]),
        ("constant", 2, [1 / 3, 2 / 3, 1, 1]),
        ("cosine", 0, [1, 0.8536, 0.5, 0.1464]),
    ],
)
def test_schedules(schedule, warmup, rates):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = training.make_schedule(optimizer, schedule, warmup, 4, "val_loss")
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(rates, abs=1e-4)


def test_schedules_that_a_warmup_does_not_fit(tmp_path, capsys):
    task = Regression(tmp_path)
    task.fit(task.loader(), schedule="cosine", warmup_epochs=5)
    assert "note: --warmup-epochs is as long as the training" in capsys.readouterr().err
    with pytest.raises(SettingError, match="plateau has no warm-up"):
        task.fit(task.loader(), schedule="plateau", warmup_epochs=1)


def test_plateau_lowers_the_rate_when_validation_stalls(tmp_path):
    task = Regression(tmp_path)

    def step(model, batch):
        loss, count, totals = squares(model, batch)
        return (loss if model.training else torch.ones(())), count, totals

    history = task.fit(task.loader(), task.loader(), step, epochs=6, schedule="plateau")
    assert [row["lr"] for row in history.rows] == [0.01] * 4 + [0.005] * 2


def test_a_loss_that_is_not_finite_names_the_flag_of_the_rate(tmp_path):
    task = Regression(tmp_path)
    task.targets[3] = torch.inf
    with pytest.raises(Diverged, match=r"the loss is inf at step 1 of epoch 1.*lower --vgg-lr"):
        task.fit(task.loader(), lr_flag="--vgg-lr")


def test_a_checkpoint_of_another_architecture_says_what_differs(tmp_path):
    task = Regression(tmp_path)
    task.fit(task.loader())
    task.model = nn.Linear(4, 1)
    with pytest.raises(UserError, match=r"weight has shape \(1, 3\) instead of \(1, 4\)"):
        task.fit(task.loader())


def test_a_killed_training_goes_on_bit_for_bit(tmp_path, steps):
    """Dropout, momentum, schedule and averages: after a kill in any epoch the weights are equal."""
    inputs, targets = torch.randn(64, 6), torch.randint(2, (64,))
    assert len(shuffled(64, 16, 0)(0)) == 4  # steps an epoch

    def step(model, batch):
        logits = model(batch[0])
        return nn.functional.cross_entropy(logits, batch[1]), len(logits), {}

    def train(run):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        loader = tensor_loader((inputs, targets), 16, shuffle=True)
        val = tensor_loader((inputs, targets), 16)
        history = training.fit(
            model, optimizer, step, loader, val, run, epochs=5, schedule="cosine",
            warmup_epochs=1, ema_decay=0.9,
        )  # fmt: skip
        return model.state_dict(), [row["val_loss"] for row in history.rows]

    weights, losses = train(Regression(tmp_path).run)
    for kill_at in (2, 7, 19):
        run = Regression(tmp_path).run
        with steps.killed_after(kill_at):
            train(run)
        resumed, its_losses = train(run)
        assert its_losses == losses
        assert all(torch.equal(value, resumed[name]) for name, value in weights.items())
