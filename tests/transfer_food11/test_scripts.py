"""train.py and predict.py as a user runs them on the sample, resuming, and one's own images."""

import csv
import io
import json
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from common.image_predictions import PredictConfig
from common.settings import UserError, parse
from common.trained import find_trained
from transfer_food11 import data, figures, predict, train
from transfer_food11.figures import COSTS, SCORES
from transfer_food11.model import Classifier

SMALL = {
    "data": "sample", "models": ("efficientnet_lite0",), "size": 32,
    "stored_size": 40, "modes": ("probe", "finetune", "scratch"), "epochs": 1, "batch_size": 64,
    "epoch_steps": 2, "device": "cpu",
}  # fmt: skip
VARIANTS = [
    f"efficientnet_lite0 {way}{count}"
    for count in (" 3", "")
    for way in ("probe", "finetuned", "scratch")
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Weights for three classes whose BatchNorm fits images, so that features differ by image."""
    torch.manual_seed(0)
    model = Classifier("efficientnet_lite0", 3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(torch.randn(8, 3, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "pretrained.pth"
    torch.save(model.network.state_dict(), path)
    return path


@pytest.fixture
def no_plots(monkeypatch):
    """Half of the time of these short runs."""
    monkeypatch.setattr(figures, "save_all", lambda *_: None)


@pytest.fixture(scope="module")
def trained(elsewhere, pretrained):
    """A run with a learning curve: its folder, and what it printed."""
    where = {"data_dir": elsewhere / "data", "out": elsewhere / "out"}
    with redirect_stdout(io.StringIO()) as printed:
        train.main(train.Config(**SMALL, **where, weights=pretrained, per_class=(3, 0)))
    (folder,) = (elsewhere / "out" / "transfer_food11").iterdir()
    return folder, printed.getvalue()


def weights_of(folder, variant):
    return torch.load(folder / variant.replace(" ", "-") / "model.pt")["weights"][0]


def test_train_on_the_sample(trained):
    folder, printed = trained
    results = json.loads((folder / "results.json").read_text())
    assert (results["data"], results["finished"]) == ("sample", True)
    metrics = results["metrics"]
    assert [name for name, value in metrics.items() if isinstance(value, dict)] == VARIANTS
    plots = ("curves", "trade-off", "learning-curve", "examples", "gradcam")
    names = ["config.json", "predictions.npz", *(f"{plot}.png" for plot in plots)]
    for variant in VARIANTS:
        expected = {*COSTS, *SCORES} - ({"best_epoch"} if "probe" in variant else set())
        assert expected <= set(metrics[variant])
        assert metrics[variant]["test_top3"] >= metrics[variant]["test_accuracy"]
        assert results["differences"][variant]["to"] == "linear on gradients and colours"
        kept = results["models"][variant]
        assert (kept["precision"], kept["weights"]) == (
            "float32", "random numbers" if "scratch" in variant else "3 classes, pretrained.pth"
        )  # fmt: skip
        names += [f"{variant.replace(' ', '-')}/{name}" for name in ("model.pt", "mistakes.csv")]
    names += [f"confusion-{variant.replace(' ', '-')}.png" for variant in VARIANTS[3:]]
    for name in names:
        assert (folder / name).stat().st_size > 0, name
    assert results["models"]["efficientnet_lite0 probe"]["trainable"] == 1280 * 11 + 11
    for words in ("SAMPLE", "176 train", "ResNet-50 on Food-11"):
        assert words in printed


def test_probe_and_fine_tuning_leave_alone_what_they_should(trained):
    """The probe changes the head alone; fine-tuning the stages that are not frozen, but no
    statistics."""
    folder, _ = trained
    few, probe, tuned = (weights_of(folder, VARIANTS[i]) for i in (0, 3, 4))
    for name, value in probe.items():
        assert torch.equal(value, few[name]) == (not name.startswith("classifier")), name
    same = {name for name, value in tuned.items() if torch.equal(value, probe[name])}
    assert same >= {name for name in tuned if "running" in name or "batches" in name}
    # torchvision's layers 0 to 2 are the first two stages.
    frozen = tuple(f"features.{i}." for i in range(3))
    assert same >= {name for name in tuned if name.startswith(frozen)}
    for part in ("classifier.", *(f"features.{i}." for i in range(3, 9))):
        assert any(name.startswith(part) and name not in same for name in tuned), part


@pytest.mark.usefixtures("no_plots")
def test_resumed_in_the_middle_ends_the_same(trained, elsewhere, tmp_path, assert_same_run):
    """As if the run had been killed before the last network."""
    folder = tmp_path / "transfer_food11" / trained[0].name
    shutil.copytree(trained[0], folder)
    (folder / "results.json").unlink()
    shutil.rmtree(folder / VARIANTS[-1].replace(" ", "-"))
    arguments = ["--resume", str(folder), "--data-dir", str(elsewhere / "data")]
    train.main(parse(train.Config, arguments))
    assert_same_run(trained[0], folder)


def test_divergence_names_the_flag_of_its_rate(elsewhere, trained, tmp_path):
    config = train.Config(
        **{**SMALL, "modes": ("scratch",), "scratch_lr": 1e30},
        data_dir=elsewhere / "data",
        out=tmp_path,
    )
    with pytest.raises(UserError, match=r"the loss is .* lower --scratch-lr"):
        train.main(config)


def test_prediction_is_what_the_test_measured(trained, elsewhere, tmp_path, monkeypatch, capsys):
    """Of the best model; names by standard input, one of them broken; a CSV out; SAMPLE."""
    folder = elsewhere / "data" / "sample" / "food11"
    _, dataset = data.load(40, data="sample", data_dir=elsewhere / "data")
    test = dataset.splits["test"]
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    files = [*(folder / file for file in test.files), tmp_path / "broken.jpg"]
    names = "".join(f"{file}\n" for file in files).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names)))
    output = tmp_path / "all.csv"
    with pytest.raises(SystemExit, match="1"):
        predict.main(PredictConfig(("-",), str(trained[0]), output=output, device="cpu"))
    printed, complaints = capsys.readouterr()
    assert "broken.jpg cannot be read as an image" in complaints
    results = json.loads((trained[0] / "results.json").read_text())["metrics"]
    best = max(VARIANTS, key=lambda variant: results[variant]["val_accuracy"])
    assert best.replace(" ", "-") in complaints
    lines = printed.splitlines()
    assert len(lines) == len(test)
    assert all(line.startswith("SAMPLE") for line in lines)
    with output.open() as file:
        predicted = [row["class"] for row in csv.DictReader(file)]
    right = [
        name == dataset.classes[label]
        for name, label in zip(predicted, test.labels.tolist(), strict=True)
    ]
    assert sum(right) / len(right) == results[best]["test_accuracy"]


def test_a_mirror_image_is_predicted_alike(trained, elsewhere, tmp_path, capsys):
    file = next((elsewhere / "data" / "sample" / "food11" / "evaluation" / "Egg").iterdir())
    with Image.open(file) as image:
        square = image.crop((0, 0, 72, 72)).resize((40, 40))
    square.save(tmp_path / "straight.png")
    square.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    model = "efficientnet_lite0 scratch"
    config = PredictConfig((str(tmp_path),), run=str(trained[0]), model=model, json=True)
    predict.main(config)
    one, two = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert one["sample"] is True
    tops = ({top["class"]: top["probability"] for top in each["top"]} for each in (one, two))
    assert next(tops) == pytest.approx(next(tops), abs=1e-5)


def test_what_export_gets_are_test_images(trained):
    (model,), batches = predict.exported(find_trained("transfer_food11", str(trained[0])))
    assert [len(images) for (images,) in batches] == [5, 3, 1]
    with torch.no_grad():
        assert all(model(images).shape == (len(images), 11) for (images,) in batches)


def test_a_run_without_its_small_classes_is_exported_too(trained, elsewhere, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(elsewhere / "data" / "sample" / "food11" / "training", own)
    (own / "Few").mkdir()
    shutil.copy(own / "Bread" / "0.jpg", own / "Few" / "0.jpg")
    found = find_trained("transfer_food11", str(trained[0]))
    changed = {"images": str(own), "data_dir": str(tmp_path), "skip_small": True}
    found = replace(found, settings={**found.settings, **changed})
    _, batches = predict.exported(found)
    assert [len(images) for (images,) in batches] == [5, 3, 1]


@pytest.mark.usefixtures("no_plots")
def test_every_setting_of_training_at_once_on_own_images(elsewhere, trained, tmp_path):
    """Frozen stages stay as they are, BatchNorm's statistics too; weights from a run's model.pt.

    Beside other classes than Food-11's stand none of its published figures.
    """
    folder = shutil.copytree(elsewhere / "data" / "sample" / "food11", tmp_path / "food11")
    for soups in folder.glob("*/Soup"):
        soups.rename(soups.with_name("Stew"))
    settings_of_a_gpu = {
        "mix": "cutmix", "policy": "trivial", "accumulate": 2, "class_weights": True,
        "freeze": 3, "fixed_statistics": False, "label_smoothing": 0.1,
        "modes": ("finetune",), "per_class": (5,),
    }  # fmt: skip
    own = trained[0] / "efficientnet_lite0-scratch" / "model.pt"
    config = train.Config(
        **{**SMALL, **settings_of_a_gpu, "data": "auto", "limit_batches": 2},
        **{"weights": own, "images": folder, "data_dir": tmp_path, "out": tmp_path},
    )
    results = train.main(config)
    assert (results["data"], results["published"]) == ("real", {})
    assert results["dataset"]["name"] == "food11"
    assert results["dataset"]["counts"] == {"train": 55, "val": 66, "test": 66}
    kept = results["models"]["efficientnet_lite0 probe 5"]
    assert kept["weights"] == "11 classes, model.pt"
    (run,) = (tmp_path / "transfer_food11").iterdir()
    start = torch.load(own)["weights"][0]
    before, after = (
        weights_of(run, f"efficientnet_lite0-{way}-5") for way in ("probe", "finetuned")
    )
    head = {name for name in start if name.startswith("classifier")}
    assert {name for name in start if not torch.equal(start[name], before[name])} == head
    same = {name for name in before if torch.equal(before[name], after[name])}
    # torchvision's layers 0 to 3 are the stages 1 to 3; what counts batches is a number of theirs.
    frozen = tuple(f"features.{i}." for i in range(4))
    assert same >= {name for name in before if name.startswith(frozen)}
    assert not any(n.endswith("weight") for n in same if not n.startswith(frozen))
