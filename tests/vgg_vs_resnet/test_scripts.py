"""train.py and predict.py of vgg_vs_resnet: as a user runs them, and the user's mistakes."""

import json
import os
import shutil

import pytest
import torch
from PIL import Image

from common import images, settings
from common.image_predictions import PredictConfig
from common.settings import SettingError, UserError
from common.trained import find_trained
from vgg_vs_resnet import predict, train

SMALL = {
    "data": "sample", "size": 32, "width": 4, "hidden": 32, "per_class": 60, "epochs": 2,
    "warmup_epochs": 0.5, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("vgg_vs_resnet", **SMALL)


@pytest.fixture
def run(elsewhere, tmp_path):
    """Trains in this process, in a folder of its own; returns what results.json holds."""

    def run(**fields):
        places = {"data_dir": elsewhere / "data", "out": tmp_path / "out"}
        return train.main(train.Config(**{**SMALL, **places, **fields}))

    return run


def test_train_on_the_sample(trained):
    folder, printed = trained
    names = ["config.json", "results.json", "curves.png", "fluctuation.png", "mistakes.png"]
    names += ["confusion-vgg16c.png", "confusion-resnet18.png", "predictions.npz"]
    for model in ("vgg16c", "resnet18"):
        names += [f"{model}/{file}" for file in ("model.pt", "metrics.csv", "mistakes.csv")]
    for name in names:
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert set(results["baselines"]) == {"largest class", "linear on gradients and colours"}
    assert set(results["differences"]) == {"vgg16c", "resnet18"}
    for model in ("vgg16c", "resnet18"):
        metrics = results["metrics"][model]
        assert metrics["gap"] == metrics["train_accuracy"] - metrics["val_accuracy"]
        assert {"fluctuation", "images_per_second", "flops", "macro_f1"} < set(metrics)
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


def test_a_model_does_not_depend_on_those_trained_before_it(trained, run):
    alone = run(models=("resnet18",))["metrics"]["resnet18"]
    among = json.loads((trained[0] / "results.json").read_text())["metrics"]["resnet18"]
    assert alone["val_loss"] == among["val_loss"]


def test_base_recipe_changes_what_is_left_at_its_default(run):
    own = {"recipe": "base", "models": ("vgg16c",), "warmup_epochs": 0.0}
    config = train.Config(**own)
    assert all(getattr(config, name) == value for name, value in train.BASE.items())
    results = run(**own, epochs=1, limit_batches=1)
    assert results["settings"]["decay_all"] is True


@pytest.mark.parametrize(("recipe", "decays"), [("improved", {5e-4, 0.0}), ("base", {5e-4})])
def test_weight_decay_by_recipe(run, monkeypatch, recipe, decays):
    def fit(model, optimizer, *_, **__):
        groups = optimizer.param_groups
        assert {group["weight_decay"] for group in groups} == decays
        held = [p for group in groups if group["weight_decay"] for p in group["params"]]
        assert all(p.ndim > 1 for p in held) == (recipe == "improved")
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        run(recipe=recipe, models=("resnet18",))


def test_a_network_learns_separable_images(tmp_path, run):
    """Three colours under noise: decisive on any processor, for guessing gives a third."""
    draw = torch.Generator().manual_seed(0)
    for label, name in enumerate(("red", "green", "blue")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(60):
            pixels = torch.randint(0, 120, (32, 32, 3), generator=draw)
            pixels[..., label] += 100
            Image.fromarray(pixels.byte().numpy()).save(tmp_path / "set" / name / f"{i}.png")
    results = run(
        data="auto", images=tmp_path / "set", recipe="base", models=("resnet18",), stem="small",
        warmup_epochs=0.0, batch_size=16, lr=0.02, epochs=8, per_class=0,
    )  # fmt: skip
    assert results["metrics"]["resnet18"]["test_accuracy"] > 0.9


@pytest.mark.parametrize(("model", "rate"), [("vgg16c", "vgg_lr"), ("resnet18", "lr")])
def test_a_loss_that_is_not_finite_names_the_flag_of_the_models_rate(run, model, rate):
    with pytest.raises(UserError, match=f"the loss is .* lower --{settings.flag(rate)}\\b"):
        run(models=(model,), warmup_epochs=0.0, **{rate: 1e30})


def changed_weights(state):
    """An own model.pt as other programs would hold it."""
    weights = state["weights"][0]
    return {
        "own": state,
        "wrapped": {"model_state_dict": weights},
        "prefixed": {f"module._orig_mod.{name}": value for name, value in weights.items()},
    }


@pytest.mark.parametrize("form", ["own", "wrapped", "prefixed"])
def test_weights_start_a_new_run(trained, tmp_path, run, form):
    state = torch.load(trained[0] / "resnet18" / "model.pt")
    torch.save(changed_weights(state)[form], tmp_path / "start.pt")
    path = tmp_path / "start.pt"
    results = run(models=("resnet18",), weights=path, epochs=1, lr=1e-12, warmup_epochs=0.0)
    before = json.loads((trained[0] / "results.json").read_text())["metrics"]["resnet18"]
    # At no rate the averaged weights stay; BatchNorm's statistics move on.
    folder = tmp_path / "out" / "vgg_vs_resnet"
    (after,) = (torch.load(path)["weights"][0] for path in folder.glob("*/resnet18/model.pt"))
    name = "blocks.0.conv1.weight"
    assert torch.allclose(after[name], state["weights"][0][name], atol=1e-6)
    assert results["metrics"]["resnet18"]["parameters"] == before["parameters"]


def test_weights_of_another_network_are_named(trained, run):
    with pytest.raises(UserError, match=r"another architecture: features.0.weight is missing"):
        run(models=("vgg16c",), weights=trained[0] / "resnet18" / "model.pt")


def ask(capsys, trained, *names, **fields):
    """The objects that predict.py prints."""
    config = PredictConfig(names, run=str(trained[0]), device="cpu", json=True, **fields)
    predict.main(config)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_predict_files_and_folders(trained, script, elsewhere, capsys):
    sample = elsewhere / "data" / "sample" / "dogs_food_vehicles"
    (elsewhere / "broken.jpg").write_bytes((sample / "dogs" / "dogs_0000.jpg").read_bytes()[:300])
    files = [str(sample / "dogs" / "dogs_0000.jpg"), "broken.jpg", "absent.png"]
    done = script("vgg_vs_resnet/predict.py", *files, str(sample / "food"), "--out", "out")
    assert done.returncode == 1
    lines, complaints = done.stdout.splitlines(), done.stderr.splitlines()
    assert len(lines) == 1 + 300
    assert complaints[0].startswith("model out/vgg_vs_resnet")
    assert "GENERATED SAMPLE DATA" in complaints[0]
    assert complaints[1].startswith("broken.jpg cannot be read as an image")
    assert complaints[2].startswith("absent.png cannot be read")
    (made,) = ask(capsys, trained, files[0])
    assert made["sample"] is True
    assert sum(each["probability"] for each in made["top"]) == pytest.approx(1, abs=1e-5)
    cells = [f"{each['class']:<8} {each['probability']:.3f}" for each in made["top"]]
    assert lines[0] == "  ".join(["SAMPLE", *cells, files[0]])


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_predict_reads_names_and_writes_json(trained, script, elsewhere, capsys):
    file = "data/sample/dogs_food_vehicles/food/food_0001.jpg"
    shutil.copy(elsewhere / file, os.fsencode(elsewhere) + b"/caf\xe9.jpg")  # not UTF-8
    words = ("-", "--json", "--out", "out", "--model", "vgg16c", "--device", "cpu")
    done = script("vgg_vs_resnet/predict.py", *words, text=f"{file}\n".encode() + b"caf\xe9.jpg\n")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == [file, "caf\udce9.jpg"]
    (made,) = ask(capsys, trained, str(elsewhere / file), model="vgg16c")
    for answer in answers:
        assert [each["class"] for each in answer["top"]] == [each["class"] for each in made["top"]]


def test_prediction_is_what_the_test_measured(trained, elsewhere, capsys):
    """The saved model on the test files gives the accuracy of results.json."""
    _, image_set = images.load(32, data="sample", data_dir=elsewhere / "data", per_class=60)
    test = image_set.splits["test"]
    folder = elsewhere / "data" / "sample" / "dogs_food_vehicles"
    made = ask(capsys, trained, *[str(folder / file) for file in test.files], model="resnet18")
    hits = [
        each["top"][0]["class"] == image_set.classes[label]
        for each, label in zip(made, test.labels.tolist(), strict=True)
    ]
    results = json.loads((trained[0] / "results.json").read_text())
    assert sum(hits) / len(hits) == results["metrics"]["resnet18"]["test_accuracy"]


def test_export_gets_the_network_and_real_images(trained):
    (model,), batches = predict.exported(find_trained("vgg_vs_resnet", str(trained[0])))
    assert [len(pixels) for (pixels,) in batches] == [5, 3, 1]
    assert all(model(pixels).shape == (len(pixels), 3) for (pixels,) in batches)


def test_mistakes_of_predict_are_one_sentence(trained, capsys):
    with pytest.raises(UserError, match=r"--model alexnet: the run in .* has resnet18, vgg16c"):
        ask(capsys, trained, "a.jpg", model="alexnet")
    with pytest.raises(UserError, match="no run absent"):
        predict.main(PredictConfig(("a.jpg",), run="absent"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "48"], "--size must be a multiple of 32"),
        (["--dropout", "1"], "--dropout must lie"),
        (["--erase", "1.5"], "--erase must lie"),
        (["--padding", "-1"], "--padding must be at least 0"),
        (["--vgg-lr", "0"], "--vgg-lr must be above 0"),
        (["--width", "0"], "--width must be at least 1"),
        (["--models", "vgg16c", "vgg16c"], "names one model twice"),
        (["--images", "x", "--data", "sample"], "--images names your own"),
        (["--weights", "x.pt"], "--weights are those of one network"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)


def test_folder_without_classes_leaves_no_run_behind(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds images of no class"):
        run(data="auto", images=tmp_path / "empty")
    assert not (tmp_path / "out").exists()
