"""train.py of vanishing_gradients: as a user runs it, resumed, and the user's mistakes."""

import csv
import json

import pytest
import torch

from common import settings
from common.settings import SettingError, UserError
from vanishing_gradients import train

SMALL = {
    "data": "sample", "size": 16, "width": 4, "per_class": 40, "epochs": 2, "depth": 12,
    "measure_every": 2, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(train_once):
    rates = {"depths": (8, 12), "depth_variants": ("residual",), "rates": (1e-6, 0.02)}
    folder, printed = train_once("vanishing_gradients", **SMALL, **rates)
    return folder, printed, json.loads((folder / "results.json").read_text())


@pytest.fixture
def places(elsewhere, tmp_path):
    return {"data_dir": elsewhere / "data", "out": tmp_path}


def test_both_studies_on_the_sample(trained):
    folder, printed, results = trained
    for name in ("gradients", "forward", "biases", "heatmap", "curves", "depth"):
        assert (folder / f"{name}.png").stat().st_size > 0, name
    for name in [*train.VARIANTS, "residual depth 8", "residual depth 12"]:
        metrics = results["metrics"][name]
        assert len(results["extra"]["by_layer"][name]["gradient"]) == (8 if "8" in name else 12)
        assert {"gradient_ratio", "train_accuracy", "val_accuracy", "test_accuracy"} < set(metrics)
        assert results["differences"][name]["to"] in results["baselines"]
    ratios = results["metrics"]["default"]
    assert set(ratios) == {f"gradient_ratio_{name}" for name in train.VARIANTS}
    assert ratios["gradient_ratio_plain"] == results["metrics"]["plain"]["gradient_ratio"]
    assert results["published"]["plain network"]["log10_gradient_layer_38"] == -2
    for words in ("SAMPLE", "84 train", "largest/smallest", "published", "missed by"):
        assert words in printed


def test_each_depth_gets_the_rate_that_validation_prefers(trained):
    folder, _, results = trained
    for name in ("residual depth 8", "residual depth 12"):
        accuracy = {}
        for lr in (1e-6, 0.02):
            path = folder / f"{name} lr {lr:g}".replace(" ", "-") / "metrics.csv"
            with path.open() as file:
                accuracy[lr] = max(float(row["val_accuracy"]) for row in csv.DictReader(file))
        metrics = results["metrics"][name]
        assert metrics["val_accuracy"] == max(accuracy.values()) == accuracy[metrics["lr"]]


def test_without_biases_the_gradient_of_glorot_is_flat(trained):
    metrics = trained[2]["metrics"]
    flat, tilted = metrics["glorot zero biases"], metrics["glorot"]
    assert "test_accuracy" not in flat  # measured, not trained
    assert flat["log10_gradient_ratio"] < 1.2
    assert flat["log10_gradient_ratio"] < tilted["log10_gradient_ratio"]


def test_gradients_are_measured_at_every_nth_step_of_all_epochs(trained):
    norms = torch.load(trained[0] / "residual" / "gradients.pt")["norms"]
    assert list(norms) == [0, 2, 4]  # 84 images in batches of 32, twice
    assert all(len(row) == 12 and min(row) > 0 for row in norms.values())


def test_killed_and_resumed_ends_as_if_uninterrupted(trained, places, steps):
    two = {"study": "variants", "variants": ("plain", "residual")}
    with steps.killed_after(6 + 4):  # 6 steps of plain; residual's 4th measures its second epoch
        train.main(train.Config(**SMALL, **places, **two))
    (folder,) = (places["out"] / "vanishing_gradients").iterdir()
    resumed = train.main(settings.parse(train.Config, ["--resume", str(folder)]))
    for name in two["variants"]:
        ends = [{**run["metrics"][name], "images_per_second": 0} for run in (resumed, trained[2])]
        assert ends[0] == ends[1]
        norms = [torch.load(run / name / "gradients.pt")["norms"] for run in (folder, trained[0])]
        assert norms[0] == norms[1]


@pytest.mark.usefixtures("trained")  # for its sample
def test_a_rate_that_diverges_is_left_out_and_said(places, capsys):
    """On own images, beside which no published figure stands."""
    places["images"] = places["data_dir"] / "sample" / "dogs_food_vehicles"
    study = {"study": "depth", "depths": (8,), "depth_variants": ("kaiming",), "clip_norm": 0.0}
    small = SMALL | {"data": "auto"}
    results = train.main(train.Config(**small, **places, **study, rates=(1e30, 0.01)))
    assert results["metrics"]["kaiming depth 8"]["lr"] == 0.01
    assert results["published"] == {}
    assert "left out: the loss is" in capsys.readouterr().out
    with pytest.raises(UserError, match="lower --rates"):
        train.main(train.Config(**small, **places, **study, rates=(1e30,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--depth 42", "--depth must be a multiple of 4 and at least 8, not 42"),
        ("--depths 8 4", "--depths must be a multiple of 4 and at least 8, not 4"),
        ("--depths 8 8", "--depths has one twice"),
        ("--variants plain plain", "--variants has one twice"),
        ("--rates 0.1 0", "--rates must be above 0"),
        ("--size 20", "--size must be a multiple of 8"),
        ("--size 0", "--size must be a multiple of 8"),
        ("--width 0", "--width must be at least 1"),
        ("--measure-every 0", "--measure-every must be at least 1"),
        ("--bias-scale -1", "--bias-scale must be at least 0"),
        ("--momentum 1", "--momentum must lie"),
        ("--per-class -1", "--per-class must"),
        ("--images x --data sample", "--images names your own"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments.split())


@pytest.mark.real
def test_gradients_of_the_real_images_are_as_the_readme_says(real_data, tmp_path):
    config = train.Config(
        data="real", data_dir=real_data, out=tmp_path, study="variants",
        variants=("plain", "glorot", "residual"), epochs=1, limit_batches=1,
    )  # fmt: skip
    metrics = train.main(config)["metrics"]
    assert metrics["default"]["gradient_ratio_plain"] > 1e12
    assert metrics["default"]["gradient_ratio_residual"] < 100
    assert metrics["glorot"]["log10_from_published"] < 1.7  # one seed; the mean of three is below 1
