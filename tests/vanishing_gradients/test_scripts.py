"""train.py of vanishing_gradients: as a user runs it, resumed, and the user's mistakes."""

import json
import shutil

from common import config as settings
from common.errors import SettingError, UserError

import pytest
import torch

from vanishing_gradients import train
from vanishing_gradients.measure import Recorder

SMALL = {
    "data": "sample", "size": 16, "width": 4, "per_class": 40, "epochs": 2, "depth": 12,
    "measure_every": 2, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("vanishing_gradients", **SMALL, depths=(8, 12))


def test_both_studies_on_the_sample(trained):
    folder, printed = trained
    for name in ("gradients", "forward", "heatmap", "curves", "depth"):
        assert (folder / f"{name}.png").stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    networks = ["plain", "kaiming", "batch_norm", "residual"]
    networks += ["plain depth 8", "kaiming depth 8", "residual depth 8"]
    assert list(results["models"]) == networks  # those of 12 layers are trained once
    for name in networks:
        figures = results["metrics"][name]
        assert len(results["extra"]["by_layer"][name]["gradient"]) == (8 if "8" in name else 12)
        assert {"gradient_ratio", "train_accuracy", "test_accuracy"} < set(figures)
    ratios = results["metrics"]["default"]
    assert set(ratios) == {f"gradient_ratio_{name}" for name in networks[:4]}
    assert ratios["gradient_ratio_plain"] == results["metrics"]["plain"]["gradient_ratio"]
    assert results["published"]["plain network"]["log10_gradient_layer_38"] == -2
    for words in ("SAMPLE", "84 train", "largest/smallest", "published", "below 1e-06"):
        assert words in printed


def test_gradients_are_measured_at_every_nth_step_of_all_epochs(trained):
    norms = torch.load(trained[0] / "residual" / "gradients.pt")["norms"]
    assert list(norms) == [0, 2, 4]  # 84 pictures in batches of 32, twice
    assert all(len(row) == 12 and min(row) > 0 for row in norms.values())


class Killed(Exception):
    pass


def test_killed_and_resumed_ends_as_if_uninterrupted(
    trained, elsewhere, tmp_path, monkeypatch, assert_same_run
):
    begin = Recorder.begin

    def die(recorder, step):
        if step == 4 and "residual" in str(recorder.path):
            raise Killed
        begin(recorder, step)

    here = {"data_dir": str(elsewhere / "data"), "out": str(tmp_path)}
    two = {"study": "variants", "variants": ("plain", "residual"), "save_seconds": 0.0}
    monkeypatch.setattr(Recorder, "begin", die)
    with pytest.raises(Killed):
        train.main(train.Config(**SMALL, **here, **two))
    monkeypatch.undo()
    (folder,) = (tmp_path / "vanishing_gradients").iterdir()
    # A step that was measured after the last checkpoint is measured once more.
    shutil.copy(trained[0] / "residual" / "gradients.pt", folder / "residual")
    arguments = ["--resume", str(folder), "--data-dir", here["data_dir"]]
    train.main(settings.parse(train.Config, arguments))
    assert_same_run(folder, trained[0])
    for name in two["variants"]:
        norms = [torch.load(run / name / "gradients.pt")["norms"] for run in (folder, trained[0])]
        assert norms[0] == norms[1]


def test_studies_choose_what_is_trained():
    everything = train.Config().networks()
    assert len(everything) == 4 + 3 * 4
    assert everything["kaiming"] == ("kaiming", 40)
    assert everything["residual depth 56"] == ("residual", 56)
    assert list(train.Config(study="variants").networks()) == list(train.VARIANTS)
    alone = train.Config(study="depth", depths=(8, 40), depth_variants=("plain",)).networks()
    assert alone == {"plain depth 8": ("plain", 8), "plain": ("plain", 40)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "42"], "--depth must be a multiple of 4 and at least 8, not 42"),
        (["--depths", "8", "4"], "--depths must be a multiple of 4 and at least 8, not 4"),
        (["--depths", "8", "8"], "--depths has one twice"),
        (["--variants", "plain", "plain"], "--variants has one twice"),
        (["--size", "20"], "--size must be a multiple of 8"),
        (["--width", "0"], "--width must be at least 1"),
        (["--measure-every", "0"], "--measure-every must be at least 1"),
        (["--probe-batches", "0"], "--probe-batches must be at least 1"),
        (["--momentum", "1"], "--momentum must lie"),
        (["--per-class", "-1"], "--per-class must not be negative"),
        (["--images", "x", "--data", "sample"], "--images names your own"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)


def test_a_loss_that_is_not_finite_is_one_sentence(elsewhere, trained, tmp_path):
    config = train.Config(
        **{**SMALL, "depth": 8}, study="variants", variants=("kaiming",), lr=1e30, clip_norm=0.0,
        data_dir=str(elsewhere / "data"), out=str(tmp_path),
    )  # fmt: skip
    with pytest.raises(UserError, match="lower --lr"):
        train.main(config)


@pytest.mark.real
def test_plain_gradients_vanish_on_the_real_pictures(real_data, tmp_path):
    config = train.Config(
        data="real", data_dir=str(real_data), out=str(tmp_path), study="variants",
        variants=("plain", "residual"), epochs=1, limit_batches=1,
    )  # fmt: skip
    ratios = train.main(config)["metrics"]["default"]
    assert ratios["gradient_ratio_plain"] > 1e12
    assert ratios["gradient_ratio_residual"] < 100
