"""train.py and predict.py of vgg_vs_resnet: as a user runs them, and the user's mistakes."""

import json
import shutil

from common import config as settings
from common.errors import SettingError, UserError

import pytest
import torch

from vgg_vs_resnet import comparison, predict, train
from vgg_vs_resnet.settings import BASE

SMALL = {
    "data": "sample", "size": 32, "width": 4, "hidden": 32, "per_class": 60, "epochs": 2,
    "warmup_epochs": 0.5, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("vgg_vs_resnet", **SMALL)


def test_train_on_the_sample(trained):
    folder, printed = trained
    names = ["config.json", "results.json", "images.pt", "curves.png", "fluctuation.png"]
    names += ["mistakes.png", "confusion-vgg16c.png", "confusion-resnet18.png"]
    names += [
        f"{model}/{file}" for model in ("vgg16c", "resnet18") for file in ("best.pt", "metrics.csv")
    ]
    for name in names:
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert set(results["baselines"]) == {"largest class", "linear on gradients and colours"}
    for model in ("vgg16c", "resnet18"):
        figures = results["metrics"][model]
        assert {name for block in comparison.COLUMNS for name in block} - set(figures) == {
            "peak_memory_mb"
        }
        assert figures["gap"] == figures["train_accuracy"] - figures["val_accuracy"]
    for words in ("SAMPLE", "126 train", "seconds_per_epoch", "linear on gradients", "ResNet-18"):
        assert words in printed


def test_resumed_between_the_models_ends_the_same(trained, elsewhere, tmp_path, assert_same_run):
    """As if the run had been killed after the first epoch of the second model."""
    folder = tmp_path / "vgg_vs_resnet" / trained[0].name
    shutil.copytree(trained[0], folder)
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "resnet18")
    arguments = ["--resume", str(folder), "--data-dir", str(elsewhere / "data")]
    train.main(settings.parse(train.Config, arguments))
    assert_same_run(trained[0], folder)


def test_a_model_does_not_depend_on_those_trained_before_it(trained, elsewhere, tmp_path):
    config = train.Config(
        **SMALL, models=("resnet18",), data_dir=str(elsewhere / "data"), out=str(tmp_path)
    )
    alone = train.main(config)["metrics"]["resnet18"]
    among = json.loads((trained[0] / "results.json").read_text())["metrics"]["resnet18"]
    assert alone["val_loss"] == among["val_loss"]


def test_base_recipe_trains_and_changes_what_is_left_at_its_default(elsewhere, tmp_path):
    config = train.Config.of(
        **{**SMALL, "epochs": 1}, recipe="base", models=("vgg16c",), limit_batches=1,
        data_dir=str(elsewhere / "data"), out=str(tmp_path),
    )  # fmt: skip
    assert all(getattr(config, name) == value for name, value in BASE.items() if name not in SMALL)
    assert config.epochs == 1
    train.main(config)
    assert train.Config(**vars(config)) == config  # as a resumed run reads it


def test_weight_decay_by_recipe():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    improved = comparison.make_optimizer(model, 0.1, train.Config())
    base = comparison.make_optimizer(model, 0.1, train.Config.of("base"))
    assert [(g["weight_decay"], len(g["params"])) for g in improved.param_groups] == [
        (5e-4, 1),
        (0.0, 3),
    ]
    assert [(g["weight_decay"], len(g["params"])) for g in base.param_groups] == [(5e-4, 4)]


def test_fluctuation_is_the_mean_relative_change():
    rows = [{"val_loss": value} for value in (1.0, 3.0, 2.0)]
    assert comparison.fluctuation(rows) == pytest.approx(1.5 / 2)
    assert comparison.fluctuation(rows[:1]) == 0


def test_a_network_learns_the_sample(elsewhere, tmp_path):
    learner = {"recipe": "base", "models": ("resnet18",), "batch_size": 16, "lr": 0.05}
    size = {"stem": "small", "width": 8, "per_class": 150, "epochs": 5}
    config = train.Config.of(
        **{**SMALL, **size, **learner}, data_dir=str(elsewhere / "data"), out=str(tmp_path)
    )
    figures = train.main(config)["metrics"]["resnet18"]
    assert 0.5 < figures["val_accuracy"] < 1


@pytest.mark.parametrize(("model", "rate"), [("vgg16c", "vgg_lr"), ("resnet18", "lr")])
def test_a_lost_loss_names_the_flag_of_the_models_rate(elsewhere, tmp_path, model, rate):
    changes = {"models": (model,), "warmup_epochs": 0.0, rate: 1e30}
    config = train.Config(
        **{**SMALL, **changes}, data_dir=str(elsewhere / "data"), out=str(tmp_path)
    )
    with pytest.raises(UserError, match=f"the loss is .* lower --{settings.flag(rate)}, "):
        train.main(config)


def ask(trained, *images, **fields):
    config = predict.Config(images, run=str(trained[0]), device="cpu", **fields)
    return list(predict.predict(config))


def test_predict_files_a_folder_and_broken_ones(trained, script, elsewhere):
    sample = elsewhere / "data" / "sample" / "dogs_food_vehicles"
    (elsewhere / "broken.jpg").write_bytes((sample / "dogs" / "dogs_0000.jpg").read_bytes()[:300])
    files = [str(sample / "dogs" / "dogs_0000.jpg"), "broken.jpg", "absent.png"]
    done = script("vgg_vs_resnet/predict.py", *files, str(sample / "food"), "--out", "out")
    assert done.returncode == 1
    lines, complaints = done.stdout.splitlines(), done.stderr.splitlines()
    assert len(lines) == 1 + 300
    assert len(complaints) == 2
    assert complaints[0].startswith("broken.jpg cannot be read as an image")
    assert complaints[1].startswith("absent.png cannot be read")
    (made,) = ask(trained, files[0])
    assert sum(made.classes.values()) == pytest.approx(1, abs=1e-5)
    width = len("vehicles")
    cells = [f"{name:<{width}} {value:.3f}" for name, value in made.classes.items()]
    assert lines[0] == "  ".join([*cells, files[0]])


def test_predict_reads_names_and_writes_json(trained, script, elsewhere):
    file = "data/sample/dogs_food_vehicles/food/food_0001.jpg"
    words = ("-", "--json", "--out", "out", "--model", "vgg16c", "--device", "cpu")
    done = script("vgg_vs_resnet/predict.py", *words, text=f"{file}\n")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (made,) = ask(trained, str(elsewhere / file), model="vgg16c")
    assert found["file"] == file
    assert [each["class"] for each in found["top"]] == list(made.classes)
    values = [each["probability"] for each in found["top"]]
    assert values == pytest.approx(list(made.classes.values()), abs=1e-5)


def test_prediction_is_what_the_test_measured(trained, elsewhere):
    """The saved model on the test files gives the accuracy of results.json."""
    _, found = train.data.load(32, data="sample", data_dir=str(elsewhere / "data"), per_class=60)
    test = found.splits["test"]
    folder = elsewhere / "data" / "sample" / "dogs_food_vehicles"
    made = ask(trained, *[str(folder / file) for file in test.files], model="resnet18")
    hits = [
        next(iter(each.classes)) == found.classes[label]
        for each, label in zip(made, test.labels.tolist(), strict=True)
    ]
    results = json.loads((trained[0] / "results.json").read_text())
    assert sum(hits) / len(hits) == results["metrics"]["resnet18"]["test_accuracy"]


def test_mistakes_of_predict_are_one_sentence(trained, tmp_path):
    with pytest.raises(UserError, match="there is no picture"):
        ask(trained)
    with pytest.raises(UserError, match="holds no pictures"):
        ask(trained, str(tmp_path))
    with pytest.raises(UserError, match=r"--model alexnet: the run in .* has vgg16c, resnet18"):
        ask(trained, "a.jpg", model="alexnet")
    with pytest.raises(UserError, match="no run absent"):
        predict.main(predict.Config(("a.jpg",), run="absent"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "48"], "--size must be a multiple of 32"),
        (["--dropout", "1"], "--dropout must lie"),
        (["--erase", "1.5"], "--erase must lie"),
        (["--padding", "-1"], "--padding must not be negative"),
        (["--vgg-lr", "0"], "--vgg-lr must be above 0"),
        (["--width", "0"], "--width must be at least 1"),
        (["--models", "vgg16c", "vgg16c"], "names one model twice"),
        (["--images", "x", "--data", "sample"], "--images names your own"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)


def test_folder_without_classes_is_one_sentence(tmp_path):
    config = train.Config(images=str(tmp_path), out=str(tmp_path / "out"), device="cpu")
    with pytest.raises(UserError, match="holds images of 0 classes"):
        train.main(config)
