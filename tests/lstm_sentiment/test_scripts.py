"""train.py and predict.py as a user runs them: on the sample, from another folder."""

import dataclasses
import json
import subprocess
import sys

from common.config import parse
from common.errors import SettingError, UserError

import pytest
import torch

from lstm_sentiment import predict, train

SMALL = ["--data", "sample", "--hidden-size", "16", "--device", "cpu", "--lr", "0.01"]
SMALL += ["--batch-size", "32", "--epochs", "3"]


@pytest.fixture(scope="module")
def script(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(name, *arguments, text=None):
        command = [sys.executable, str(root / "lstm_sentiment" / f"{name}.py"), *arguments]
        if name == "train":
            command += ["--data-dir", "data"]
        text = text.encode() if isinstance(text, str) else text
        done = subprocess.run(
            [*command, "--out", "out"], cwd=folder, input=text, capture_output=True
        )
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def trained(script):
    done = script("train", *SMALL, "--epochs", "6", "--name", "first")
    assert done.returncode == 0, done.stderr
    (folder,) = (script.folder / "out" / "lstm_sentiment").iterdir()
    return folder, done.stdout


def test_train_on_the_sample(trained):
    folder, printed = trained
    names = ("config.json", "metrics.csv", "results.json", "best.pt", "vocabulary.json")
    plots = ("curves.png", "confusion.png", "calibration.png", "length.png")
    for name in (*names, *plots):
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert 0.65 < results["metrics"]["test_accuracy"] < 0.95  # learnt something, not everything
    assert {"unseen_accuracy", "macro_f1", "roc_auc", "calibration_error"} <= set(
        results["metrics"]
    )
    assert len(results["baselines"]) == 2
    for words in ("SAMPLE", "most confident mistakes", "80 films", "padding in the batches"):
        assert words in printed


def test_predict_agrees_on_arguments_file_and_input(trained, script):
    texts = ["A wonderful, superb film!", "An awful and boring story zyzzyva"]
    (script.folder / "review.txt").write_text(texts[0] + "<br />\n", encoding="utf-8-sig")
    by_argument = script("predict", *texts)
    by_input = script("predict", text="\n".join(texts) + "\n\n")
    by_file = script("predict", "--file", "review.txt")
    assert by_argument.returncode == 0, by_argument.stderr
    assert by_argument.stdout == by_input.stdout
    assert by_file.stdout.splitlines()[1] == by_argument.stdout.splitlines()[1]
    first, words, second, _ = by_argument.stdout.splitlines()
    assert first.startswith("positive")
    assert second.startswith("negative")
    assert "wonderful +" in words


def test_effects_are_what_leaving_a_word_out_changes(trained):
    predictor = predict.Predictor(trained[0], torch.device("cpu"))
    made = predictor("a superb film , superb", 10)
    assert {word for word, _ in made.words} == {"a", "superb", "film", ","}
    without = predictor("a zyzzyva film , zyzzyva", 0)
    logits = [torch.tensor(each.probability).logit() for each in (made, without)]
    assert dict(made.words)["superb"] == pytest.approx((logits[0] - logits[1]).item(), abs=1e-3)


def test_predict_mistakes_are_one_sentence(trained, script):
    done = script("predict", text=b"fine\ncaf\xe9\n")
    assert done.returncode == 1
    assert "line 2 of the input is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"texts": ("", " ")}, "there is no text"),
        ({"texts": ("fine",), "words": -1}, "--words must not be negative"),
        ({"file": "absent.txt"}, "there is no file absent.txt"),
        ({"texts": ("fine",), "run": "x"}, "there is no run x"),
        ({"texts": ("fine",), "run": "."}, "no run of lstm_sentiment"),
    ],
)
def test_predict_names_the_mistake(trained, script, monkeypatch, settings, message):
    monkeypatch.chdir(script.folder)
    with pytest.raises(UserError, match=message):
        predict.main(predict.Config(out="out", **settings))


def test_predict_takes_one_token_and_a_hundred_thousand(trained, script):
    done = script("predict", text="superb\n" + "word " * 100_000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("positive")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "0"], "--layers must be at least 1"),
        (["--dropout", "1"], "--dropout must lie in"),
        (["--val-share", "0"], "--val-share must lie in"),
        (["--regions", "-1"], "--regions must not be negative"),
        (["--max-size", "2"], "--max-size must be 0 or above 2"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        parse(train.Config, arguments)


def test_missing_vectors_are_one_sentence(script):
    done = script("train", "--data", "sample", "--vectors", "absent.txt")
    assert done.returncode == 1, done.stderr
    assert "no file of word vectors" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        ["--recipe", "base"],
        ["--recipe", "improved", "--weight-drop", "0.2"],
        ["--pooling", "attention", "--regions", "50", "--embedding-dropout", "0.1"],
        ["--tokenizer", "words", "--keep", "last", "--max-len", "20"],
    ],
)
def test_recipes_and_settings_run_and_predict(script, settings, monkeypatch):
    monkeypatch.chdir(script.folder)
    words = [*SMALL, "--baselines", "false", "--data-dir", "data", "--out", "out2"]
    words += ["--limit-batches", "3", "--epochs", "1"]
    results = train.main(parse(train.Config, [*words, *settings]))
    assert results["baselines"] == {}
    assert predict.main(predict.Config(texts=("a superb film",), out="out2"))


def test_same_seed_gives_the_same(script, monkeypatch):
    monkeypatch.chdir(script.folder)
    words = [*SMALL, "--baselines", "false", "--data-dir", "data", "--out", "out3"]
    words += ["--limit-batches", "4", "--epochs", "1", "--weight-drop", "0.1", "--regions", "20"]
    config = parse(train.Config, words)
    first, second, other = (
        train.main(dataclasses.replace(config, seed=seed))["metrics"]["roc_auc"]
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_recipes_are_the_published_forms():
    base, improved = train.Config.of("base"), train.Config.of("improved", epochs=1)
    assert (base.layers, base.bidirectional, base.pooling) == (3, False, "last")
    assert base.vectors == "none"
    assert (improved.layers, improved.bidirectional, improved.pooling) == (3, True, "last")
    assert improved.epochs == 1
