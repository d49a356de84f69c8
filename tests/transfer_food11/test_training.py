"""The parts of the training: crops, mixing, rates, the step, the probe's head, the settings."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from common.batches import Loader, in_order
from common.images import Images, ImageSet
from common.settings import SettingError, as_saved, from_saved, parse
from transfer_food11 import loaders, probe
from transfer_food11.loaders import Crops
from transfer_food11.model import Classifier, class_probabilities
from transfer_food11.probe import Features
from transfer_food11.train import Config, balanced, make_optimizer, step

CPU = torch.device("cpu")


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (64, 3, 20, 20), dtype=torch.uint8)


def test_whole_crop_of_the_same_size_is_the_image_or_its_mirror(pixels, monkeypatch):
    monkeypatch.setattr(loaders, "LONGEST", 1.0)
    torch.manual_seed(0)
    assert torch.equal(loaders.random_resized_crops(pixels, 20, 1.0, False), pixels)
    turned = loaders.random_resized_crops(pixels, 20, 1.0, True)
    same, mirrored = ((turned == each).all((1, 2, 3)) for each in (pixels, pixels.flip(3)))
    assert (same ^ mirrored).all()
    assert 15 < same.sum() < 49


def test_crops_stay_inside_and_are_as_large_as_they_should():
    """In an image of its own coordinates a crop shows which part it is."""
    ramp = torch.linspace(0, 255, 256).to(torch.uint8)
    both = torch.stack(
        [ramp.expand(256, 256), ramp[:, None].expand(256, 256), ramp.expand(256, 256)]
    )
    torch.manual_seed(0)
    crops = loaders.random_resized_crops(both.expand(200, -1, -1, -1), 64, 0.3, False).float()
    wide = (crops[:, 0].amax((1, 2)) - crops[:, 0].amin((1, 2))) / 255 * 64 / 63
    tall = (crops[:, 1].amax((1, 2)) - crops[:, 1].amin((1, 2))) / 255 * 64 / 63
    area = wide * tall
    assert 0.28 < area.min() < 0.4
    assert area.max() <= 1.03
    assert 0.74 < (tall / wide).min() < 0.85


def test_plan_repeats_a_small_split_and_not_a_large_one():
    small = loaders.repeated(10, 4, 7, seed=1)
    for epoch in (0, 1):
        batches = small(epoch)
        assert len(batches) == 9  # three passes of three batches
        assert torch.cat(batches).bincount().tolist() == [3] * 10
    assert [b.tolist() for b in small(0)] != [b.tolist() for b in small(1)]
    assert len(loaders.repeated(100, 4, 7, seed=1)(0)) == 25


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_mixed_images_hold_the_fractions_that_the_loss_uses(how):
    torch.manual_seed(0)
    for _ in range(10):
        images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 16, 12)
        made, partner, own = loaders.mixed(images, how)
        expected = own * torch.arange(6.0) + (1 - own) * partner
        assert torch.allclose(made.mean((1, 2, 3)), expected, atol=1e-4)
    assert images[0].max() == 0  # the batch itself is untouched


def test_rates_fall_by_stage_and_norms_do_not_decay():
    model = Classifier("efficientnet_lite0", 5)
    stages = model.stages()
    model.freeze(2)
    optimizer = make_optimizer(model, 0.1, 0.5, 0.01, momentum=0.9)
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


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
def test_step_is_cross_entropy_with_both_labels_of_each_image(mix):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    images, labels = torch.randn(10, 3, 4, 4), torch.arange(10) % 4
    weights = torch.tensor([0.5, 1.0, 1.5, 1.0])
    options = {"label_smoothing": 0.1, "class_weights": weights}
    torch.manual_seed(1)
    loss, count, totals = step(model, (images, labels), mix=mix, **options)
    torch.manual_seed(1)
    inputs, partner, own = loaders.mixed(images, mix)
    logits = model(inputs)
    one, other = (
        F.cross_entropy(logits, each, weights, label_smoothing=0.1)
        for each in (labels, labels[partner])
    )
    assert torch.allclose(loss, own * one + (1 - own) * other)
    assert (count, int(totals["accuracy"])) == (10, int((logits.argmax(1) == labels).sum()))
    loss, *_ = step(model.eval(), (images, labels), mix=mix, **options)
    assert torch.equal(loss, F.cross_entropy(model(images), labels))


def test_class_weights_are_inverse_to_the_counts():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = balanced(labels, 3)
    assert weights[labels].mean().item() == pytest.approx(1)
    assert (weights * labels.bincount()).tolist() == pytest.approx([10 / 3] * 3)


@pytest.mark.parametrize("strength", [0.02, 0.5])
def test_head_is_scikit_learns_logistic_regression(strength):
    """On features divided by one number; the penalty is C = 1 / (strength x rows) there."""
    torch.manual_seed(0)
    views = torch.randn(2, 60, 5) * torch.tensor([1.0, 5.0, 0.1, 1.0, 2.0]) + 3
    labels = torch.arange(60) % 3
    views[:, :, 0] += labels
    head = nn.Linear(5, 3)
    features = Features(views, 1.0)
    chosen = probe.fit_head(head, features, features, {"train": labels, "val": labels}, [strength])
    assert chosen == strength
    rows = views.flatten(0, 1)
    scaled = rows / rows.var(0).mean().sqrt()
    theirs = LogisticRegression(C=1 / (strength * len(rows)), tol=1e-8, max_iter=1000)
    theirs.fit(scaled.numpy(), labels.repeat(2).numpy())
    expected = theirs.predict_proba(scaled.numpy())
    with torch.no_grad():
        found = head(rows).softmax(1).numpy()
    assert np.abs(found - expected).max() < 2e-3
    sure = features.probabilities(head)
    assert torch.allclose(sure, torch.from_numpy(found).view(2, 60, 3).mean(0), atol=1e-6)


def test_features_that_hardly_vary_get_no_large_weights():
    """Else the gradient that a fine-tuning sends into the network would destroy it."""
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    rows = torch.randn(60, 6) + 2 * F.one_hot(labels, 6)
    norms = []
    for deviation in (1.0, 1e-3):
        views = torch.cat([rows, deviation * rows], 1)[None]
        head = nn.Linear(12, 3)
        features = Features(views, 1.0)
        probe.fit_head(head, features, features, {"train": labels, "val": labels}, [0.01])
        norms.append((head.weight[:, 6:].norm() / head.weight[:, :6].norm()).item())
    assert norms[0] == pytest.approx(1, rel=0.01)
    assert norms[1] < 0.01


@pytest.mark.parametrize(("loudness", "best"), [(0.5, 1e-3), (2.0, 3.0)])
def test_validation_chooses_the_strength(loudness, best):
    """Which is most accurate there, whatever their order; quiet features need large weights."""
    torch.manual_seed(0)
    labels = {"train": torch.arange(60) % 4, "val": torch.arange(400) % 4}
    deviations = torch.tensor([loudness] * 4 + [1.0 if loudness > 1 else 1.5] * 26)

    def features(own):
        signal = F.one_hot(own, 30) * max(loudness, 1)
        return Features((torch.randn(len(own), 30) * deviations + signal)[None], 1.0)

    train, val = map(features, labels.values())

    def fit(strengths):
        head = nn.Linear(30, 4)
        chosen = probe.fit_head(head, train, val, labels, strengths)
        return chosen, int((val.probabilities(head).argmax(1) == labels["val"]).sum())

    right = {strength: fit([strength])[1] for strength in (1e-3, 0.1, 3.0)}
    assert sorted(right.values())[-2] < right[best] - 3  # nothing that rounding could turn over
    for strengths in ([1e-3, 0.1, 3.0], [3.0, 0.1, 1e-3]):
        chosen, hits = fit(strengths)
        assert chosen == best
        assert abs(hits - right[best]) < 2


def test_features_are_the_networks_and_kept(pixels, tmp_path):
    torch.manual_seed(0)
    model = Classifier("efficientnet_lite0", 3)
    for module in model.modules():  # untrained, it would give the same features for every image
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.fill_(1.5)
            module.running_var.fill_(0.05)
    pixels = F.interpolate(pixels, (32, 32))
    labels = pixels.float().mean((2, 3)).argmax(1)
    rows = {"train": slice(0, 32), "val": slice(32, 48), "test": slice(48, 64)}
    splits = {name: Images(pixels[own], labels[own], []) for name, own in rows.items()}
    dataset = ImageSet(("a", "b", "c"), splits, [], 0, "key")
    crops = Crops(32, 0.5, True, 0.2, "none")

    def extract(seed=0):
        return probe.extract(model, dataset, crops, seed, "float32", tmp_path)

    features = extract()
    assert len(list(tmp_path.glob("features-*"))) == 8
    whole, mirrored, first, second = features["train"].views  # each (32, 1280)
    for one, other in itertools.combinations((whole, mirrored, first, second), 2):
        assert not torch.allclose(one, other, atol=1e-3)
    model.head.weight.data.zero_()  # is not part of what decides the features
    again = extract()
    assert all(torch.equal(again[name].views, own.views) for name, own in features.items())
    assert len(list(tmp_path.glob("features-*"))) == 8
    extract(seed=1)
    assert len(list(tmp_path.glob("features-*"))) == 10  # other crops, the rest is kept
    strength = probe.fit_head(
        model.head, features["train"], features["val"],
        {name: part.labels for name, part in splits.items()}, [0.1],
    )  # fmt: skip
    assert strength == 0.1
    normalise = loaders.normaliser(model.name, CPU)
    with torch.no_grad():
        expected = class_probabilities(model.eval(), normalise(splits["test"].pixels), flip=True)
    assert torch.allclose(features["test"].probabilities(model.head), expected, atol=1e-3)
    model.network.features[0][0].weight.data[0] += 1
    assert not torch.equal(extract()["test"].views, features["test"].views)


@pytest.mark.parametrize("policy", ["none", "trivial", "rand"])
def test_training_batches(pixels, policy):
    crops = Crops(32, 0.5, True, 0.2, policy)
    images = Images(F.interpolate(pixels, (32, 32)), torch.arange(64), [])
    normalise = loaders.normaliser("efficientnet_lite0", CPU)
    loader = loaders.train_loader(images, normalise, crops, in_order(64, 8), CPU)
    assert isinstance(loader, Loader)
    seen = []
    for batch, labels in loader.whole():
        assert batch.shape == (8, 3, 32, 32)
        assert batch.dtype == torch.float32
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert batch.isfinite().all()
        assert batch.abs().max() < 3
        seen += labels.tolist()
    assert sorted(seen) == list(range(64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modes"], "--modes is empty"),
        (["--modes", "probe", "probe"], "--modes names one twice"),
        (["--per-class", "-3"], "--per-class must be at least 0, not -3"),
        (["--size", "16"], "--size must be at least 32"),
        (["--size", "160", "--stored-size", "128"], "--stored-size must be at least 160, not 128"),
        (
            ["--weights", "x.pth", "--models", "resnet50", "efficientnet_b0"],
            "is a file for one model",
        ),
        (["--layer-decay", "0"], "--layer-decay must lie"),
        (["--freeze", "-1"], "--freeze must be at least 0, not -1"),
        (["--accumulate", "0"], "--accumulate must be at least 1"),
        (["--images", "x", "--data", "sample"], "--images names your own"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        parse(Config, arguments)


def test_settings_come_back_as_they_were_saved():
    config = parse(Config, ["--models", "resnet50", "--per-class", "10", "0", "--weights", "x.pth"])
    assert from_saved(Config, as_saved(config)) == config
    assert config.per_class == (10, 0)


def test_all_is_the_published_three():
    config = parse(Config, ["--models", "all"])
    assert config.networks == ("efficientnet_b0", "mobilenet_v3_large", "resnet50")
    with pytest.raises(SettingError, match="is a file for one model"):
        parse(Config, ["--models", "all", "--weights", "x.pth"])


@pytest.mark.parametrize(
    ("models", "gains"), [("resnet50", True), ("all", True), ("efficientnet_lite0", False)]
)
def test_bfloat16_on_a_cpu_only_where_resnet50_is_trained(models, gains):
    assert Config(models=(models,)).BFLOAT16_ON_CPU is gains
