"""train.py and predict.py as a user runs them: on the sample, from another folder."""

import dataclasses
import io
import json
import sys

from common.config import parse
from common.errors import SettingError, UserError

import pytest
import torch

from lstm_sentiment import predict, train

SMALL = ["--data", "sample", "--hidden-size", "16", "--device", "cpu", "--lr", "0.01"]
SMALL += ["--batch-size", "32", "--epochs", "3", "--members", "1"]


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("lstm_sentiment", *SMALL, "--epochs", "6", "--name", "first")


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


def test_predict_agrees_on_arguments_file_and_input(
    trained, script, elsewhere, capsys, monkeypatch
):
    texts = ["A wonderful, superb film!", "An awful and boring story zyzzyva"]
    (elsewhere / "review.txt").write_text(texts[0] + "<br />\n", encoding="utf-8-sig")
    lines = "\n".join(texts) + "\n\n"
    by_input = script("lstm_sentiment/predict.py", "--out", "out", text=lines)
    assert by_input.returncode == 0, by_input.stderr
    monkeypatch.chdir(elsewhere)
    by_argument = predict.main(predict.Config(tuple(texts), run=str(trained[0])))
    assert capsys.readouterr().out == by_input.stdout
    (by_file,) = predict.main(predict.Config(file="review.txt", run=str(trained[0])))
    assert by_file.words == by_argument[0].words
    first, words, second, _ = by_input.stdout.splitlines()
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
    done = script("lstm_sentiment/predict.py", "--out", "out", text=b"fine\ncaf\xe9\n")
    assert done.returncode == 1
    assert "line 2 of the input is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"texts": ("", " ")}, "there is no text"),
        ({"texts": ("fine",), "words": -1}, "--words must not be negative"),
        ({"file": "absent.txt"}, "there is no file absent.txt"),
        ({"file": "latin1.txt"}, "latin1.txt is not UTF-8"),
        ({"texts": ("fine",), "run": "x"}, "there is no run x"),
        ({"texts": ("fine",), "run": "."}, "no run of lstm_sentiment"),
    ],
)
def test_predict_names_the_mistake(trained, elsewhere, monkeypatch, settings, message):
    monkeypatch.chdir(elsewhere)
    (elsewhere / "latin1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=message):
        predict.main(predict.Config(out="out", **settings))


def test_predict_takes_one_token_and_a_hundred_thousand(trained, monkeypatch):
    lines = b"superb\n" + b"word " * 100_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    made = predict.main(predict.Config(run=str(trained[0])))
    assert made[0].verdict == "positive"
    assert len(made) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "0"], "--layers must be at least 1"),
        (["--members", "0"], "--members must be at least 1"),
        (["--dropout", "1"], "--dropout must lie in"),
        (["--val-share", "0"], "--val-share must lie in"),
        (["--regions", "-1"], "--regions must not be negative"),
        (["--max-size", "2"], "--max-size must be 0 or above 2"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        parse(train.Config, arguments)


@pytest.fixture
def settings(elsewhere, tmp_path):
    """Settings of a training in this process that takes a second."""

    def settings(*words):
        short = ["--baselines", "false", "--epochs", "2", "--limit-batches", "4"]
        where = ["--data-dir", str(elsewhere / "data"), "--out", str(tmp_path / "out")]
        return parse(train.Config, [*SMALL, *short, *where, *words])

    return settings


def the_run(out):
    (folder,) = (out / "lstm_sentiment").iterdir()
    return folder


def test_vectors_missing_or_damaged_are_one_sentence(settings, bad_vectors):
    path, message = bad_vectors
    with pytest.raises(UserError, match=message):
        train.main(settings("--vectors", path))


def test_odd_reviews_and_vectors_of_another_size_train_and_predict(tmp_path, settings, capsys):
    """No words, one word, 100,000; no negative review in validation; vectors of 3 numbers."""
    for part in ("train", "test"):
        for name, rating in (("neg", 2), ("pos", 9)):
            folder = tmp_path / "root" / "aclImdb" / part / name
            folder.mkdir(parents=True)
            bodies = ["", "<br />", "one", "very " * 100_000, 'two\r\nlines, "quoted"']
            bodies += [f"{name} film {number}" for number in range(15)]
            for number, body in enumerate(bodies):
                (folder / f"{number}_{rating}.txt").write_text(body, newline="")
    (tmp_path / "three.txt").write_text("film 1 2 3\nvery 0 1 0\n")
    root = ["--data", "real", "--data-dir", str(tmp_path / "root"), "--val-share", "0.02"]
    results = train.main(settings(*root, "--vectors", str(tmp_path / "three.txt")))
    printed = capsys.readouterr().out
    assert "39 train, 1 val, 40 test" in printed
    assert "vectors   of 3 numbers" in printed
    assert results["metrics"]["val_accuracy"] in (0.0, 1.0)
    assert sum(map(sum, results["extra"]["confusion"])) == 40
    texts = ("?", "very " * 100_000, "film")
    assert len(predict.main(predict.Config(texts, run=str(the_run(tmp_path / "out"))))) == 3


def test_killed_run_ends_as_if_never_stopped(settings, steps, tmp_path, assert_same_run):
    words = ("--save-seconds", "0", "--weight-drop", "0.1", "--members", "2")
    train.main(settings(*words))
    cut = settings(*words, "--out", str(tmp_path / "cut"))
    with steps.killed_after(14):  # in the second epoch of the second model
        train.main(cut)
    folder = the_run(tmp_path / "cut")
    assert not (folder / "results.json").exists()
    resume = ["--resume", str(folder), "--out", str(tmp_path / "cut")]
    train.main(parse(train.Config, [*resume, "--data-dir", cut.data_dir]))
    assert steps.done == 16 + 14 + 2  # it went on where it was
    assert_same_run(the_run(tmp_path / "out"), folder)


def test_members_are_averaged_and_the_first_is_what_one_alone_would_be(settings, tmp_path):
    single = train.main(settings("--out", str(tmp_path / "single")))["metrics"]
    assert single["single_test_accuracy"] == single["test_accuracy"]
    train.main(settings("--members", "2"))
    folder = the_run(tmp_path / "out")
    models = [torch.load(path)["model"] for path in
              (folder / "member0" / "best.pt", the_run(tmp_path / "single") / "best.pt",
               folder / "member1" / "best.pt")]  # fmt: skip
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[1])
    assert not torch.equal(models[0]["head.weight"], models[2]["head.weight"])

    both = predict.Predictor(folder, torch.device("cpu"))
    apart = [predict.Predictor(folder, torch.device("cpu")) for _ in range(2)]
    for number, each in enumerate(apart):
        each.models = each.models[number : number + 1]
    text = "a superb film , not dull"
    made, *parts = (each(text, 10) for each in (both, *apart))
    assert made.probability == pytest.approx(sum(part.probability for part in parts) / 2)
    for word, effect in made.words:
        assert effect == pytest.approx(sum(dict(p.words)[word] for p in parts) / 2, abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        ["--recipe", "base"],
        ["--recipe", "improved", "--weight-drop", "0.2"],
        ["--pooling", "attention", "--regions", "50", "--embedding-dropout", "0.1"],
        ["--tokenizer", "words", "--keep", "last", "--max-len", "20"],
    ],
)
def test_recipes_and_settings_run_and_predict(elsewhere, settings, monkeypatch):
    monkeypatch.chdir(elsewhere)
    words = [*SMALL, "--baselines", "false", "--data-dir", "data", "--out", "out2"]
    words += ["--limit-batches", "3", "--epochs", "1"]
    results = train.main(parse(train.Config, [*words, *settings]))
    assert results["baselines"] == {}
    assert predict.main(predict.Config(texts=("a superb film",), out="out2"))


def test_same_seed_gives_the_same(elsewhere, monkeypatch):
    monkeypatch.chdir(elsewhere)
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
