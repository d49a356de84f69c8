"""train.py of transfer_food11 as a user runs it on the sample, resuming, and one's own pictures."""

import json
import shutil

from common import config as settings
from common.errors import UserError

import pytest
import torch

from transfer_food11 import data, predict, train
from transfer_food11.figures import COLUMNS

SMALL = {
    "lr": 1e-3, "data": "sample", "weights": "none", "models": ("efficientnet_lite0",), "size": 32,
    "stored_size": 40, "epochs": 2, "probe_epochs": 3, "epoch_steps": 2, "device": "cpu",
}  # fmt: skip
VARIANTS = [
    f"efficientnet_lite0 {way}{count}"
    for count in (" 3", "")
    for way in ("probe", "finetuned", "scratch")
]


@pytest.fixture(scope="module")
def trained(train_once):
    """A run with a learning curve."""
    return train_once("transfer_food11", **SMALL, per_class=(3, 0))


def test_train_on_the_sample(trained):
    folder, printed = trained
    plots = ("curves", "trade-off", "learning-curve", "examples", "gradcam")
    names = ["config.json", "results.json", *(f"{plot}.png" for plot in plots)]
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert [name for name, value in results["metrics"].items() if isinstance(value, dict)] == (
        VARIANTS
    )
    for variant in VARIANTS:
        figures = results["metrics"][variant]
        assert {name for block in COLUMNS for name in block} <= set(figures)
        assert figures["test_top3"] >= figures["test_accuracy"]
        inner = variant.replace(" ", "-")
        names += [f"{inner}/best.pt", f"{inner}/model.json"]
        assert json.loads((folder / inner / "model.json").read_text())["variant"] == variant
        assert "from scratch" in results["models"][variant]["weights"]
    names += [f"confusion-{variant.replace(' ', '-')}.png" for variant in VARIANTS[3:]]
    for name in names:
        assert (folder / name).stat().st_size > 0, name
    assert set(results["baselines"]) == {"largest class", "linear on gradients and colours"}
    trainable = results["models"]["efficientnet_lite0 probe"]["trainable"]
    assert trainable == 1280 * 11 + 11
    for words in ("SAMPLE", "176 train", "features of val", "ResNet-50 on Food-11"):
        assert words in printed


def test_probe_and_scratch_leave_alone_what_they_should(trained):
    """The probe changes the head alone; fine-tuning every stage, but no statistics."""
    folder, _ = trained
    weights = {
        variant: torch.load(folder / variant.replace(" ", "-") / "best.pt")["model"]
        for variant in VARIANTS
    }
    few, probe, tuned = (weights[VARIANTS[i]] for i in (0, 3, 4))
    for name, value in probe.items():
        assert torch.equal(value, few[name]) == (not name.startswith("head")), name
    same = {name for name, value in tuned.items() if torch.equal(value, probe[name])}
    assert same >= {name for name in tuned if "running" in name or "batches" in name}
    for part in ("head.", *(f"network.features.{i}." for i in range(9))):
        assert any(name.startswith(part) and name not in same for name in tuned), part


def test_resumed_in_the_middle_ends_the_same(trained, elsewhere, tmp_path, assert_same_run):
    """As if the run had been killed after the first epoch of the last network but one."""
    folder = tmp_path / "transfer_food11" / trained[0].name
    shutil.copytree(trained[0], folder)
    (folder / "results.json").unlink()
    for variant in VARIANTS[3:]:
        shutil.rmtree(folder / variant.replace(" ", "-"))
    arguments = ["--resume", str(folder), "--data-dir", str(elsewhere / "data")]
    train.main(settings.parse(train.Config, arguments))
    assert_same_run(trained[0], folder)


@pytest.mark.parametrize(("mode", "rate"), [("scratch", "scratch_lr"), ("probe", "probe_lr")])
def test_a_lost_loss_names_the_flag_of_the_ways_rate(trained, elsewhere, tmp_path, mode, rate):
    config = train.Config(
        **{**SMALL, "modes": (mode,), rate: 1e30},
        data_dir=str(elsewhere / "data"),
        out=str(tmp_path),
    )
    with pytest.raises(UserError, match=f"the loss is .* lower --{settings.flag(rate)}, "):
        train.main(config)


def test_prediction_is_what_the_test_measured(trained, elsewhere):
    _, found = data.load(40, data="sample", data_dir=str(elsewhere / "data"))
    test, folder = found.splits["test"], elsewhere / "data" / "sample" / "food11"
    files = tuple(str(folder / file) for file in test.files)
    results = json.loads((trained[0] / "results.json").read_text())
    for variant in ("efficientnet_lite0 probe", "efficientnet_lite0 scratch"):
        asked = predict.Config(files, run=str(trained[0]), model=variant, device="cpu")
        hits = [
            next(iter(made.classes)) == found.classes[label]
            for made, label in zip(predict.predict(asked), test.labels.tolist(), strict=True)
        ]
        assert sum(hits) / len(hits) == results["metrics"][variant]["test_accuracy"]


def test_every_setting_of_training_at_once_on_own_pictures(elsewhere, trained, tmp_path):
    """Frozen stages stay as they are, BatchNorm's statistics too."""
    folder = elsewhere / "data" / "sample" / "food11"
    settings_of_a_gpu = {
        "mix": "cutmix", "policy": "trivial", "erase": 0.2, "accumulate": 2, "class_weights": True,
        "test_flip": True, "freeze": 3, "fixed_statistics": False, "label_smoothing": 0.1,
        "schedule": "constant", "modes": ("finetune",),
    }  # fmt: skip
    config = train.Config(
        **{**SMALL, **settings_of_a_gpu, "data": "auto", "epochs": 1, "limit_batches": 2},
        images=str(folder), data_dir=str(tmp_path), out=str(tmp_path),
    )  # fmt: skip
    results = train.main(config)
    assert results["data"] == "real"
    assert results["dataset"]["name"] == "food11"
    (run,) = (tmp_path / "transfer_food11").iterdir()
    before, after = (
        torch.load(run / f"efficientnet_lite0-{way}" / "best.pt")["model"]
        for way in ("probe", "finetuned")
    )
    same = {name for name in before if torch.equal(before[name], after[name])}
    # torchvision's layers 0 to 3 are the stages 1 to 3; what counts batches is a number of theirs.
    frozen = {
        name
        for name in before
        if name.startswith(tuple(f"network.features.{i}." for i in range(4)))
    }
    assert frozen <= same
    assert not any(name.endswith("weight") for name in same - frozen)
