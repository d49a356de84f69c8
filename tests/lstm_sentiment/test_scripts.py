"""train.py and predict.py as a user runs them: on the sample, from another folder."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest
import torch

from common.settings import SettingError, UserError, parse
from common.trained import find_trained
from lstm_sentiment import predict, train

SMALL = ["--data", "sample", "--hidden-size", "16", "--device", "cpu", "--lr", "0.01"]
SMALL += ["--batch-size", "32", "--epochs", "4", "--embedding-lr", "1", "--adversarial", "0"]
SMALL += ["--vectors", "auto", "--pretrain-epochs", "0", "--min-frequency", "2"]
PRETRAINING = ["--pretrain-epochs", "1", "--vectors", "none", "--embedding-size", "8"]
SHORT = ["--baselines", "false", "--epochs", "2", "--limit-batches", "4", "--members", "1"]


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("lstm_sentiment", *SMALL, "--members", "1", "--name", "first")


@pytest.fixture(scope="module")
def train_here(trained, elsewhere):
    """Trains in this process for eight steps; returns the results and the folder of the run."""

    def train_here(out, *words):
        where = ["--data-dir", str(elsewhere / "data"), "--out", str(out)]
        results = train.main(parse(train.Config, [*SMALL, *SHORT, *where, *words]))
        (folder,) = (out / "lstm_sentiment").iterdir()
        return results, folder

    return train_here


@pytest.fixture(scope="module")
def pair(train_here, tmp_path_factory):
    """The folder of a run of two models."""
    return train_here(tmp_path_factory.mktemp("pair"), "--members", "2")[1]


def predictor_of(folder):
    return predict.Predictor(find_trained("lstm_sentiment", str(folder)), torch.device("cpu"))


def test_train_on_the_sample(trained):
    folder, printed = trained
    names = ("config.json", "metrics.csv", "results.json", "model.pt", "mistakes.csv")
    plots = ("curves.png", "confusion.png", "calibration.png", "length.png")
    for name in (*names, *plots):
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    metrics = results["metrics"]
    assert results["data"] == "sample"
    assert 0.65 < metrics["test_accuracy"] < 0.95  # learned something, not everything
    assert metrics["single_test_accuracy"] == metrics["test_accuracy"]
    assert {"unseen_accuracy", "macro_f1", "roc_auc", "calibration_error"} <= set(metrics)
    assert len(results["baselines"]) == 3
    for words in ("SAMPLE", "most confident mistakes", "80 films", "padding in the batches"):
        assert words in printed


def test_predict_agrees_on_arguments_file_and_input(trained, tmp_path, capsys, monkeypatch):
    run = str(trained[0])
    texts = ["A wonderful, superb film!", "An awful and boring story zyzzyva"]
    predict.main(predict.Config(tuple(texts), run=run))
    printed = capsys.readouterr().out
    first, words, second, _ = printed.splitlines()
    assert first.startswith("SAMPLE  positive")
    assert second.startswith("SAMPLE  negative")
    assert "wonderful +" in words
    lines = b"\xef\xbb\xbf" + "\n".join(texts).encode() + b"\n\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    predict.main(predict.Config(run=run))
    assert capsys.readouterr().out == printed
    (tmp_path / "review.txt").write_text(texts[0] + "<br />\n", encoding="utf-8-sig")
    predict.main(predict.Config(file=tmp_path / "review.txt", run=run))
    assert capsys.readouterr().out.split("\n")[1] == words


def test_predict_answers_a_table_with_a_table(trained, elsewhere, capsys, monkeypatch):
    monkeypatch.chdir(elsewhere)
    given = [["id", "review"], ["7", "superb, wonderful"], ["8", ""], ["9", "dull and caf\xe9"]]
    with open("given.csv", "w", newline="", encoding="cp1252") as file:
        csv.writer(file).writerows(given)
    config = predict.Config(
        file=Path("given.csv"),
        text_column="review",
        output=Path("made.csv"),
        json=True,
        run=str(trained[0]),
    )
    predict.main(config)
    with open("made.csv", newline="", encoding="utf-8") as file:
        made = list(csv.DictReader(file))
    assert [row["id"] for row in made] == ["7", "8", "9"]
    assert [row["prediction"] for row in made] == ["positive", "", "negative"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prediction"] for line in lines] == ["positive", "negative"]
    assert all(line["sample"] for line in lines)


def test_effects_are_what_leaving_a_word_out_changes(trained):
    predictor = predictor_of(trained[0])
    probability, words = predictor("a superb film , superb", 10)
    assert {word for word, _ in words} == {"a", "superb", "film", ","}
    without, _ = predictor("a zyzzyva film , zyzzyva", 0)
    logits = [torch.tensor(each).logit() for each in (probability, without)]
    assert dict(words)["superb"] == pytest.approx((logits[0] - logits[1]).item(), abs=1e-3)


def test_what_is_exported_are_the_networks_and_real_batches(trained):
    networks, batches = predict.exported(find_trained("lstm_sentiment", str(trained[0])))
    assert [len(lengths) for _, lengths in batches] == [5, 1, 3]
    assert len({ids.shape[1] for ids, _ in batches}) > 1
    for ids, lengths in batches:
        assert networks[0](ids, lengths).shape == lengths.shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"texts": ("", " ")}, "there is no text"),
        ({"texts": ("fine",), "words": -1}, "--words must be at least 0"),
        ({"file": Path("absent.txt")}, "absent.txt does not exist"),
        ({"texts": ("fine",), "run": "x"}, "there is no run x"),
        ({"texts": ("fine",), "run": "."}, "no model of this project"),
    ],
)
def test_predict_names_the_mistake(trained, elsewhere, monkeypatch, settings, message):
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UserError, match=message):
        predict.main(predict.Config(**{"out": Path("out"), **settings}))


def test_predict_takes_one_token_and_a_hundred_thousand(trained, monkeypatch):
    lines = b"superb\n" + b"word " * 100_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    made = predict.main(predict.Config(run=str(trained[0])))
    assert made[0].label == "positive"
    assert len(made) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "0"], "--layers must be at least 1"),
        (["--dropout", "1"], "--dropout must lie in"),
        (["--val-fraction", "0"], "--val-fraction must be above 0"),
        (["--val-fraction", "0.6"], "--val-fraction must be at most 0.5"),
        (["--csv-test", "a.csv"], "--csv-test needs --csv"),
        (["--csv", "a.csv", "--data", "sample"], "--csv and --data sample are two sets"),
        (["--regions", "0"], "set --regions above 0"),
        (["--vectors", "glove"], "--vectors glove and --pretrain-epochs .*set --pretrain-epochs 0"),
        (["--self-training-epochs", "1"], "add --unlabelled true"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        parse(train.Config, arguments)


def test_vectors_missing_or_damaged_are_one_sentence(train_here, tmp_path, bad_vectors):
    path, message = bad_vectors
    with pytest.raises(UserError, match=message):
        train_here(tmp_path, "--vectors", path)


def test_odd_reviews_and_vectors_of_another_size_train_and_predict(tmp_path, train_here, capsys):
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
    root = ["--data", "real", "--data-dir", str(tmp_path / "root"), "--val-fraction", "0.02"]
    results, run = train_here(tmp_path / "out", *root, "--vectors", str(tmp_path / "three.txt"))
    printed = capsys.readouterr().out
    assert "39 train, 1 val, 40 test" in printed
    assert "vectors   of 3 numbers" in printed
    assert results["metrics"]["val_accuracy"] in (0.0, 1.0)
    assert sum(map(sum, results["extra"]["confusion"])) == 40
    texts = ("?", "very " * 100_000, "film")
    assert len(predict.main(predict.Config(texts, run=str(run)))) == 3


def test_a_table_trains_and_predicts(tmp_path, train_here):
    rows = [f'"{name} story, number {i}",{name}' for i in range(40) for name in ("pos", "neg")]
    table = tmp_path / "own.csv"
    table.write_text("\n".join(["review,sentiment", *rows]) + "\n")
    words = ("--data", "auto", "--csv", str(table), "--vectors", "none", "--epochs", "4")
    results, folder = train_here(tmp_path / "out", *words)
    assert results["data"] == "real"
    assert not results["published"]  # on other reviews
    assert predict.main(predict.Config(("a pos story",), run=str(folder)))[0].label == "positive"


def test_killed_run_ends_as_if_never_stopped(pair, train_here, steps, tmp_path, assert_same_run):
    with steps.killed_after(14):  # in the second epoch of the second model
        train_here(tmp_path, "--members", "2")
    (folder,) = (tmp_path / "lstm_sentiment").iterdir()
    assert not (folder / "results.json").exists()
    train.main(parse(train.Config, ["--resume", str(folder)]))
    assert steps.done == 14 + 4  # it went on at the end of the epoch before
    assert_same_run(pair, folder)


def test_members_are_averaged_and_the_first_is_what_one_alone_would_be(pair, train_here, tmp_path):
    _, folder = train_here(tmp_path)
    first, second = torch.load(pair / "model.pt")["weights"]
    (alone,) = torch.load(folder / "model.pt")["weights"]
    assert all(torch.equal(first[key], alone[key]) for key in alone)
    assert not torch.equal(first["head.weight"], second["head.weight"])

    both, *apart = (predictor_of(pair) for _ in range(3))
    for number, each in enumerate(apart):
        each.models = each.models[number : number + 1]
    text = "a superb film , not dull"
    (probability, words), *parts = (each(text, 10) for each in (both, *apart))
    assert probability == pytest.approx(sum(part[0] for part in parts) / 2)
    for word, effect in words:
        assert effect == pytest.approx(sum(dict(p[1])[word] for p in parts) / 2, abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        ["--recipe", "base"],
        ["--recipe", "improved", "--pooling", "attention", "--regions", "50"],
        ["--recipe", "pretrained", *PRETRAINING],
        ["--adversarial", "1", *PRETRAINING],
        ["--pooling", "mean", "--tokenizer", "words", "--keep", "last", "--max-len", "20"],
    ],
    ids=["base", "improved", "pretrained", "adversarial", "mean"],
)
def test_recipes_and_settings_run_and_predict(train_here, settings, tmp_path):
    _, folder = train_here(tmp_path, *settings, "--epochs", "1")
    assert predict.main(predict.Config(("a superb film",), run=str(folder)))


def test_recipes_are_the_published_forms():
    base, improved = train.Config(recipe="base"), train.Config(recipe="improved", epochs=1)
    assert (base.layers, base.bidirectional, base.pooling) == (3, False, "last")
    assert (base.vectors, improved.vectors) == ("none", "auto")
    assert not base.pretrain_epochs + base.adversarial + base.regions
    assert (improved.layers, improved.bidirectional, improved.pooling) == (3, True, "last")
    assert improved.epochs == 1
