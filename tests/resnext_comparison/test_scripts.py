"""train.py of resnext_comparison: its three studies, and the user's mistakes."""

import json
import re

from common import config as settings
from common.errors import SettingError, UserError
from common.runs import file_name

import pytest
import torch

from resnext_comparison import predict, train

SMALL = {
    "data": "sample", "size": 32, "width": 4, "hidden": 16, "per_class": 40, "epochs": 1,
    "warmup_epochs": 0.0, "device": "cpu", "limit_batches": 1, "cardinality": 4,
    "path_width": 1.0, "study_epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("resnext_comparison", **SMALL)


def study(elsewhere, tmp_path, **fields):
    places = {"data_dir": str(elsewhere / "data"), "out": str(tmp_path)}
    config = train.Config(**{**SMALL, **places, **fields})
    results = train.main(config)
    (folder,) = (tmp_path / "resnext_comparison").iterdir()
    return results, folder


def test_three_models_on_the_sample(trained):
    folder, printed = trained
    names = ["curves-models.png", "fluctuation.png", "trade_off.png", "mistakes.png"]
    for name in [*names, "confusion-resnext29.png", "results.json", "resnext29/best.pt"]:
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    assert list(results["models"]) == ["vgg16c", "resnet18", "resnext29"]
    for model in results["models"]:
        assert set(train.COLUMNS) < set(results["metrics"][model])
    assert results["published"]["ResNeXt"]["val_accuracy"] == 0.9061
    assert "published, ResNeXt" in printed


def test_cardinality_study_compares_equals(trained, elsewhere, tmp_path):
    results, folder = study(elsewhere, tmp_path, study="cardinality", cardinalities=(1, 4))
    assert list(results["models"]) == ["cardinality 1", "cardinality 4"]
    assert (folder / "cardinality.png").stat().st_size > 0
    assert all("test_accuracy" in each for each in figures(results).values())


def test_rate_study_never_looks_at_the_test_split(trained, elsewhere, tmp_path):
    results, folder = study(
        elsewhere, tmp_path, study="rate", models=("resnext29",), rates=(0.01, 0.1)
    )
    assert list(results["models"]) == ["resnext29 rate 0.01", "resnext29 rate 0.1"]
    assert (folder / "rates.png").stat().st_size > 0
    assert not any("test_accuracy" in each for each in figures(results).values())
    rows = [
        (folder / file_name(name) / "metrics.csv").read_text().split() for name in results["models"]
    ]
    rates = [float(row[1].split(",")[row[0].split(",").index("lr")]) for row in rows]
    assert rates == pytest.approx([0.01, 0.1])
    picture = elsewhere / "data" / "sample" / "dogs_food_vehicles" / "dogs" / "dogs_0000.jpg"
    config = predict.Config((str(picture),), run=str(folder), device="cpu")
    assert [len(each.classes) for each in predict.predict(config)] == [3]


def predicted(folder, elsewhere, model):
    """The first class of every test picture of the sample, by the model saved in the folder."""
    _, found = train.data.load(train.Config(**SMALL, data_dir=str(elsewhere / "data")))
    test, pictures = found.splits["test"], elsewhere / "data" / "sample" / "dogs_food_vehicles"
    files = tuple(str(pictures / file) for file in test.files)
    config = predict.Config(files, run=str(folder), device="cpu", model=model)
    names = [next(iter(each.classes)) for each in predict.predict(config)]
    return sum(name == found.classes[label] for name, label in zip(names, test.labels, strict=True))


@pytest.mark.parametrize("model", ["resnext29", "vgg16c"])
def test_prediction_is_what_the_test_measured(trained, elsewhere, model):
    figures = json.loads((trained[0] / "results.json").read_text())["metrics"][model]
    hits = predicted(trained[0], elsewhere, model)
    assert hits / 18 == pytest.approx(figures["test_accuracy"])


def test_a_model_of_a_study_predicts_too(trained, elsewhere, tmp_path):
    results, folder = study(elsewhere, tmp_path, study="cardinality", cardinalities=(1, 4))
    figures = results["metrics"]["cardinality 1"]
    hits = predicted(folder, elsewhere, "cardinality 1")
    assert hits / 18 == pytest.approx(figures["test_accuracy"])


def test_a_rate_that_loses_the_loss_is_left_out(trained, elsewhere, tmp_path, capsys):
    names = ("vgg16c", "resnext29")
    results, folder = study(
        elsewhere, tmp_path, study="rate", models=names, rates=(1e30, 0.01), study_epochs=2
    )
    printed = capsys.readouterr().out
    for name in names:
        assert re.search(rf"{name} rate 1e\+30 is left out: .* lower --rates, ", printed)
    assert list(figures(results)) == [f"{name} rate 0.01" for name in names]
    assert (folder / "rates.png").stat().st_size > 0


def test_a_study_whose_rates_all_lose_the_loss_says_so(trained, elsewhere, tmp_path):
    with pytest.raises(UserError, match="every rate of the study lost the loss: lower --rates"):
        study(elsewhere, tmp_path, study="rate", models=("vgg16c",), rates=(1e30,), study_epochs=2)


def figures(results):
    return {name: each for name, each in results["metrics"].items() if isinstance(each, dict)}


def test_study_covers_the_papers_cardinalities_at_equal_complexity_and_width():
    config = train.Config(study="cardinality", width=64)
    with torch.device("meta"):
        models = {name: each.make() for name, each in train.candidates(config, 3).items()}
    counts = [sum(p.numel() for p in model.parameters()) for model in models.values()]
    assert list(models) == [f"cardinality {c}" for c in (1, 2, 4, 8, 16, 32)]
    assert max(counts) / min(counts) < 1.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path-width", "0.3"], "--path-width must be a multiple of 1/2"),
        (["--cardinality", "0"], "--cardinality must be at least 1"),
        (["--rates", "0.1", "0.1"], "--rates has one twice"),
        (["--rates", "-1"], "--rates must be above 0"),
        (["--cardinalities", "0", "1"], "--cardinalities must be at least 1"),
        (["--study", "rate", "--study-epochs", "0"], "--epochs must be at least 1"),
        (["--study", "rate", "--study-epochs", "1"], "--warmup-epochs 1 must be shorter"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)
