"""train.py of resnext_comparison: its three studies, and the user's mistakes."""

import json
import re

import pytest
import torch

from common import images, settings
from common.image_predictions import PredictConfig, restore
from common.settings import SettingError, UserError
from common.trained import find_trained
from resnext_comparison import predict, train

SMALL = {
    "data": "sample", "size": 32, "width": 4, "hidden": 16, "per_class": 40, "epochs": 1,
    "warmup_epochs": 0.0, "device": "cpu", "limit_batches": 1, "cardinality": 4,
    "path_width": 1.0, "study_epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("resnext_comparison", **SMALL)


@pytest.fixture
def study(elsewhere, tmp_path):
    """Runs a study in this process; returns what results.json holds, and the run's folder."""

    def study(name, **fields):
        places = {"data_dir": elsewhere / "data", "out": tmp_path}
        results = train.main(train.Config(**{**SMALL, **places, "study": name, **fields}))
        (folder,) = (tmp_path / "resnext_comparison").iterdir()
        return results, folder

    return study


def test_three_models_on_the_sample(trained):
    folder, printed = trained
    names = ["curves-models.png", "predictions.npz", "trade_off.png", "mistakes.png"]
    for name in [*names, "confusion-resnext29.png", "results.json", "resnext29/model.pt"]:
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    assert list(results["models"]) == ["vgg16c", "resnet18", "resnext29"]
    assert results["published"]["VGG-16"]["val_loss"] == 1.2873
    columns = r"val_accuracy +train_accuracy +train_loss +val_loss +test_accuracy +macro_f1\n"
    assert re.search(columns, printed)
    assert re.search(r"ResNet-18 +0.8989 +0.8097 +0.4212 +0.5344 +- +-\n", printed)
    assert re.search(r"ResNeXt +0.9061 +0.87 +- +0.4661 +- +-\n", printed)


def test_rate_study_never_looks_at_the_test_split(study):
    results, folder = study("rate", models=("resnext29",), rates=(0.01, 0.1))
    assert list(results["models"]) == ["resnext29 rate 0.01", "resnext29 rate 0.1"]
    assert (folder / "rates.png").stat().st_size > 0
    assert not any("test_accuracy" in each for each in of_models(results).values())
    rates = []
    for name in ("resnext29-rate-0.01", "resnext29-rate-0.1"):
        head, row, *_ = (folder / name / "metrics.csv").read_text().split()
        rates.append(float(row.split(",")[head.split(",").index("lr")]))
    assert rates == pytest.approx([0.01, 0.1])
    found = find_trained("resnext_comparison", str(folder))
    assert restore(found, train.Config, train.build)  # such a model predicts


def predicted(folder, elsewhere, capsys, model=""):
    """How many test images of the sample the model saved in the folder takes for their class."""
    _, image_set = images.load(32, data="sample", data_dir=elsewhere / "data", per_class=40)
    test, sample = image_set.splits["test"], elsewhere / "data" / "sample" / "dogs_food_vehicles"
    files = tuple(str(sample / file) for file in test.files)
    capsys.readouterr()
    predict.main(PredictConfig(files, run=str(folder), device="cpu", model=model, json=True))
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    truths = [image_set.classes[label] for label in test.labels]
    return sum(a["top"][0]["class"] == truth for a, truth in zip(answers, truths, strict=True))


@pytest.mark.parametrize("model", ["resnext29", "vgg16c"])
def test_prediction_is_what_the_test_measured(trained, elsewhere, capsys, model):
    metrics = json.loads((trained[0] / "results.json").read_text())["metrics"][model]
    hits = predicted(trained[0], elsewhere, capsys, model)
    assert hits / 18 == pytest.approx(metrics["test_accuracy"])


def test_cardinality_study_compares_equals_which_predict(study, elsewhere, capsys):
    results, folder = study("cardinality", cardinalities=(1, 4))
    assert list(results["models"]) == ["cardinality 1", "cardinality 4"]
    assert (folder / "cardinality.png").stat().st_size > 0
    for title, metrics in of_models(results).items():
        hits = predicted(folder, elsewhere, capsys, title)
        assert hits / 18 == pytest.approx(metrics["test_accuracy"])


def test_a_rate_that_diverges_is_left_out(study, capsys):
    names = ("vgg16c", "resnext29")
    results, folder = study("rate", models=names, rates=(1e30, 0.01), study_epochs=2)
    printed = capsys.readouterr().out
    for name in names:
        assert re.search(rf"{name} rate 1e\+30 is left out: .* lower --rates\b", printed)
    assert list(of_models(results)) == [f"{name} rate 0.01" for name in names]
    assert (folder / "rates.png").stat().st_size > 0


def test_a_study_whose_rates_all_diverge_says_so(study):
    with pytest.raises(UserError, match="every rate of the study diverged: lower --rates"):
        study("rate", models=("vgg16c",), rates=(1e30,), study_epochs=2)


def of_models(results):
    return {name: own for name, own in results["metrics"].items() if isinstance(own, dict)}


def test_study_covers_the_papers_cardinalities_at_equal_complexity_and_width():
    config = train.Config(study="cardinality", width=64)
    with torch.device("meta"):
        models = {title: train.build(title, config, 3) for title in train.planned(config)}
    counts = [sum(p.numel() for p in model.parameters()) for model in models.values()]
    assert list(models) == [f"cardinality {c}" for c in (1, 2, 4, 8, 16, 32)]
    assert max(counts) / min(counts) < 1.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path-width", "0.3"], "--path-width must be a multiple of 1/2"),
        (["--cardinality", "0"], "--cardinality must be at least 1"),
        (["--rates", "0.1", "0.1"], "--rates names one twice"),
        (["--rates", "-1"], "--rates must be above 0"),
        (["--cardinalities", "0", "1"], "--cardinalities must be at least 1"),
        (["--study", "rate", "--study-epochs", "0"], "--study-epochs must be at least 1"),
        (
            ["--study", "rate", "--study-epochs", "1"],
            "--warmup-epochs must be shorter than --study-epochs",
        ),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)
