"""The parts of the training: crops, mixing, rates, accumulated gradients, the probe's head."""

import dataclasses
import itertools

from common import config as settings
from common.errors import SettingError
from common.images import Images

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transfer_food11 import inputs, probe, tuning
from transfer_food11.model import Classifier, probabilities
from transfer_food11.settings import Config

CPU = torch.device("cpu")


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (64, 3, 20, 20), dtype=torch.uint8)


def test_whole_crop_of_the_same_size_is_the_picture_or_its_mirror(pixels, monkeypatch):
    monkeypatch.setattr(inputs, "LONGEST", 1.0)
    torch.manual_seed(0)
    assert torch.equal(inputs.random_resized_crops(pixels, 20, 1.0, False), pixels)
    turned = inputs.random_resized_crops(pixels, 20, 1.0, True)
    same, mirrored = ((turned == each).all((1, 2, 3)) for each in (pixels, pixels.flip(3)))
    assert (same ^ mirrored).all()
    assert 15 < same.sum() < 49


def test_crops_stay_inside_and_have_their_share():
    """On a picture of its own coordinates a crop shows which part it is."""
    ramp = torch.linspace(0, 255, 256).to(torch.uint8)
    both = torch.stack(
        [ramp.expand(256, 256), ramp[:, None].expand(256, 256), ramp.expand(256, 256)]
    )
    torch.manual_seed(0)
    crops = inputs.random_resized_crops(both.expand(200, -1, -1, -1), 64, 0.3, False).float()
    wide = (crops[:, 0].amax((1, 2)) - crops[:, 0].amin((1, 2))) / 255 * 64 / 63
    tall = (crops[:, 1].amax((1, 2)) - crops[:, 1].amin((1, 2))) / 255 * 64 / 63
    area = wide * tall
    assert 0.28 < area.min() < 0.4
    assert area.max() <= 1.03
    assert 0.74 < (tall / wide).min() < 0.85


def test_plan_repeats_a_small_split_and_not_a_large_one():
    config = Config(batch_size=4, epoch_steps=7, seed=1)
    small = inputs.repeated(10, config)
    for epoch in (0, 1):
        batches = small(epoch)
        assert len(batches) == 9  # three passes of three batches
        assert torch.cat(batches).bincount().tolist() == [3] * 10
    assert [b.tolist() for b in small(0)] != [b.tolist() for b in small(1)]
    assert len(inputs.repeated(100, config)(0)) == 25


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_mixed_images_hold_the_shares_that_the_loss_uses(how):
    torch.manual_seed(0)
    for _ in range(10):
        images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 16, 12)
        made, partner, share = tuning.mixed(images, how)
        expected = share * torch.arange(6.0) + (1 - share) * partner
        assert torch.allclose(made.mean((1, 2, 3)), expected, atol=1e-4)
    assert images[0].max() == 0  # the batch itself is untouched


def test_rates_fall_by_stage_and_norms_do_not_decay():
    model = Classifier("efficientnet_lite0", 5)
    stages = model.stages()
    model.freeze(2)
    optimizer = tuning.make_optimizer(model, 0.1, 0.5, 0.01)
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert optimizer.param_groups[0]["lr"] == rate[id(model.head.weight)] == 0.1
    for depth, stage in enumerate(reversed(stages)):
        for parameter in stage.parameters():
            if depth >= len(stages) - 2:
                assert id(parameter) not in rate
            else:
                assert rate[id(parameter)] == pytest.approx(0.1 * 0.5 ** (depth + 1))
                assert decay[id(parameter)] == (0.01 if parameter.ndim > 1 else 0.0)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert len(rate) == len(trainable)


@pytest.mark.parametrize("extra", [{}, {"class_weights": True}])
def test_accumulated_gradients_are_those_of_the_whole_batch(extra):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4))
    batch = torch.randn(10, 3, 4, 4), torch.arange(10) % 4
    gradients, values = [], []
    for parts in (1, 3):
        config = Config(accumulate=parts)
        loss, count, sums = tuning.make_step(config, None)(model, batch)
        model.zero_grad()
        loss.backward()
        assert count == 10
        values.append((loss.item(), int(sums["accuracy"])))
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert values[0] == pytest.approx(values[1])
    for whole, accumulated in zip(*gradients, strict=True):
        assert torch.allclose(whole, accumulated, atol=1e-6)


def test_class_weights_are_inverse_to_the_counts():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = tuning.balanced(labels, 3)
    assert weights[labels].mean().item() == pytest.approx(1)
    assert (weights * labels.bincount()).tolist() == pytest.approx([10 / 3] * 3)


def test_head_of_the_probe_gives_on_pictures_what_it_gave_on_features(pixels, tmp_path):
    """Standardisation folded in; the cache gives the same; another strength for every need."""
    from common import runs

    config = Config(
        models=("efficientnet_lite0",), size=32, stored_size=32, epoch_steps=4, test_flip=True,
        device="cpu", out=str(tmp_path), precision="float32",
    )  # fmt: skip
    torch.manual_seed(0)
    model = Classifier("efficientnet_lite0", 3)
    for module in model.modules():  # untrained, it would give the same features for every picture
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.fill_(1.5)
            module.running_var.fill_(0.05)
    pixels = F.interpolate(pixels, (32, 32))
    labels = pixels.float().mean((2, 3)).argmax(1)
    splits = {
        "train": Images(pixels[:32], labels[:32], []),
        "val": Images(pixels[32:48], labels[32:48], []),
        "test": Images(pixels[48:], labels[48:], []),
    }
    run = runs.start("transfer_food11", config)
    found = probe.extract(model, splits, "key", config, run, tmp_path / "cache")
    again = probe.extract(model, splits, "key", config, run, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("features-*"))) == 8
    assert torch.equal(found["test"].views, again["test"].views)
    whole, mirrored, first, second = found["train"].views  # each (32, 1280)
    for one, other in itertools.combinations((whole, mirrored, first, second), 2):
        assert not torch.allclose(one, other, atol=1e-3)
    every = {name: part.labels for name, part in splits.items()}
    history, strength = probe.train(model, found, every, None, config, run)
    assert strength in config.strengths
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    normalise = inputs.normaliser(model.preprocessing, CPU)
    with torch.no_grad():
        expected = probabilities(model.eval(), normalise(splits["test"].pixels), flip=True)
        assert torch.allclose(found["test"].probabilities(model.head), expected, atol=1e-3)
    model.head.weight.data.zero_()
    assert probe.digest(model) == probe.digest(model.eval())
    model.network.features[0][0].weight.data[0] += 1
    changed = probe.extract(model, splits, "key", config, run, tmp_path / "cache")
    assert not torch.equal(changed["test"].views, found["test"].views)


@pytest.mark.parametrize("policy", ["none", "trivial", "rand"])
def test_training_batches(pixels, policy):
    config = Config(size=32, stored_size=32, batch_size=8, epoch_steps=1, erase=0.5, policy=policy)
    images = Images(F.interpolate(pixels, (32, 32)), torch.arange(64), [])
    normalise = inputs.normaliser(Classifier("efficientnet_lite0", 2).preprocessing, CPU)
    plan = inputs.repeated(len(images), config)
    seen = []
    for batch, labels in inputs.train_loader(images, normalise, config, CPU, plan).epoch(0):
        assert batch.shape == (8, 3, 32, 32)
        assert batch.dtype == torch.float32
        assert batch.isfinite().all()
        assert batch.abs().max() < 3
        seen += labels.tolist()
    assert sorted(seen) == list(range(64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models"], "--models is empty"),
        (["--modes", "probe", "probe"], "--modes names one twice"),
        (["--per-class", "-3"], "--per-class must not be negative"),
        (["--size", "16"], "--size must be at least 32"),
        (["--size", "160", "--stored-size", "128"], "--stored-size 128 must not be smaller"),
        (["--weights", "x.pth"], "is a file for one model"),
        (["--layer-decay", "0"], "--layer-decay must lie"),
        (["--freeze", "-2"], "--freeze must be -1 or more"),
        (["--accumulate", "0"], "--accumulate must be at least 1"),
        (["--erase", "2"], "--erase must lie"),
        (["--images", "x", "--data", "sample"], "--images names your own"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(Config, arguments)


def test_a_recipe_of_flags_is_kept_by_resuming(tmp_path):
    config = settings.parse(Config, ["--models", "resnet50", "--per-class", "10", "0"])
    assert config == Config(**dataclasses.asdict(config))
    assert config.per_class == (10, 0)
