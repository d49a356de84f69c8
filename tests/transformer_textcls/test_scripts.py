"""train.py and predict.py: as a user runs them, from another folder, and their mistakes."""

import csv
import io
import json
import os
import sys

from common import config as settings
from common.errors import SettingError, UserError

import pytest

from transformer_textcls import predict, train

SMALL = ["--d-ff", "32", "--layers", "1", "--members", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("transformer_textcls", *SMALL, "--data", "sample", "--name", "first")


def ask(folder, *texts, **fields):
    return predict.main(predict.Config(texts, run=str(folder), device="cpu", **fields))


def test_train_on_the_sample(trained):
    folder, printed = trained
    names = ("config.json", "results.json", "vocabulary.json", "member0/metrics.csv")
    names += ("member0/best.pt", "member1/best.pt")
    for name in (*names, "curves.png", "confusion.png", "attention.png"):
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert 0.3 < results["metrics"]["test_accuracy"] < 0.97  # learnt something, not everything
    assert len(results["baselines"]) == 3
    for words in ("SAMPLE", "most confident mistakes", "padding in the", "vectors   of 100"):
        assert words in printed


def test_predict_from_arguments_and_from_input(trained, script):
    texts = ["Minister troops election embassy", "shares profit earnings merger zyzzyva"]
    lines = "\n".join(texts) + "\n\n"
    piped = script("transformer_textcls/predict.py", "--out", "out", text=lines)
    assert piped.returncode == 0, piped.stderr
    lines = piped.stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("[unknown: zyzzyva]")
    for line, made in zip(lines, ask(trained[0], *texts), strict=True):
        assert line.startswith(made.label)
        assert f"{made.probability:.3f}" in line


def test_prediction_does_not_depend_on_its_neighbours(trained):
    alone = ask(trained[0], "robot planet web")
    among = ask(trained[0], "robot planet web", "word " * 100_000, "x")  # one is cut, one is short
    assert among[0].label == alone[0].label
    assert among[0].probability == pytest.approx(alone[0].probability, abs=1e-6)


@pytest.mark.parametrize("texts", [("",), (" ", "\n")])
def test_no_text_is_one_sentence(trained, texts):
    with pytest.raises(UserError, match="there is no text"):
        ask(trained[0], *texts)


def test_input_of_another_encoding_is_one_sentence(trained, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n")))
    with pytest.raises(UserError, match="line 1 of the input is not UTF-8"):
        ask(trained[0])


def test_run_that_is_not_there_is_one_sentence(trained, tmp_path):
    with pytest.raises(UserError, match="no run absent"):
        ask("absent", "a")
    with pytest.raises(UserError, match="no finished run"):
        predict.main(predict.Config(("a",), out=str(tmp_path)))
    with pytest.raises(UserError, match="is no run of"):
        ask(tmp_path, "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "3"], "--heads 3 must divide"),
        (["--d-ff", "0"], "--d-ff must be at least 1"),
        (["--dropout", "1"], "--dropout must lie"),
        (["--word-dropout", "-0.1"], "--word-dropout must lie"),
        (["--val-share", "0"], "--val-share must lie"),
        (["--max-size", "2"], "--max-size must be"),
        (["--csv-test", "x.csv"], "--csv-test needs --csv"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)


def test_mistake_on_the_command_line_has_no_traceback(script):
    done = script("transformer_textcls/train.py", "--heads", "3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --heads 3")
    assert "Traceback" not in done.stderr


def test_published_recipe_is_the_published_form_and_flags_override_it():
    published = settings.parse(train.Config, ["--recipe", "published", "--epochs", "1"])
    assert published.epochs == 1
    assert (published.dropout, published.norm, published.train_embedding) == (0.0, "post", False)
    assert (published.d_model, published.layers, published.d_ff) == (100, 4, 2048)


def test_own_csv_without_vectors(tmp_path, capsys):
    rows = ("spam,buy now {}\n" if i % 2 else "ham,see you {}\n" for i in range(120))
    path = tmp_path / "mine.csv"
    path.write_text("".join(row.format(i) for i, row in enumerate(rows)))
    own = {"csv": str(path), "vectors": "none", "data_dir": str(tmp_path), "out": str(tmp_path)}
    results = train.main(
        train.Config(**own, members=1, layers=1, d_ff=32, epochs=2, lr=3e-3, device="cpu")
    )
    assert "learnt from nothing" in capsys.readouterr().out
    assert results["metrics"]["test_accuracy"] == 1.0
    assert len(results["baselines"]) == 2
    assert os.listdir(tmp_path / "transformer_textcls")


@pytest.fixture
def settings_of(trained, elsewhere, tmp_path):
    """Settings of a training in this process that takes a second."""

    def settings_of(*words):
        short = [*SMALL, "--data", "sample", "--epochs", "2", "--limit-batches", "4"]
        where = ["--data-dir", str(elsewhere / "data"), "--out", str(tmp_path / "out")]
        return settings.parse(train.Config, [*short, *where, *words])

    return settings_of


def the_run(out):
    (folder,) = (out / "transformer_textcls").iterdir()
    return folder


def test_vectors_missing_or_damaged_are_one_sentence(settings_of, bad_vectors):
    path, message = bad_vectors
    with pytest.raises(UserError, match=message):
        train.main(settings_of("--vectors", path))


def test_odd_news_and_vectors_of_another_size_train_and_predict(tmp_path, settings_of, capsys):
    """Quotes, line breaks, no text, one token, 100,000; classes that never occur; 3 numbers."""
    folder = tmp_path / "root" / "ag_news"
    folder.mkdir(parents=True)
    rows = [["x", ""], ["", ""], ["very", "very " * 100_000], ['"No", she said', "one\ntwo, three"]]
    rows += [[f"Title {number}", f"match word{number}"] for number in range(20)]
    for name, classes in (("train.csv", (1, 2, 3)), ("test.csv", (1, 2))):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([label, *row] for label in classes for row in rows)
    (tmp_path / "three.txt").write_text("match 1 2 3\nvery 0 1 0\n")
    root = ["--data", "real", "--data-dir", str(tmp_path / "root"), "--val-share", "0.1"]
    results = train.main(settings_of(*root, "--vectors", str(tmp_path / "three.txt")))
    printed = capsys.readouterr().out
    assert "66 train, 6 val, 48 test" in printed
    assert "vectors   of 3 numbers" in printed
    supports = {name: row["support"] for name, row in results["extra"]["per_class"].items()}
    assert supports == {"World": 24, "Sports": 24, "Business": 0, "Sci/Tech": 0}
    assert 0 <= results["metrics"]["macro_f1"] <= 1
    made = ask(the_run(tmp_path / "out"), "?", "very " * 100_000, 'One "two"\nthree')
    assert all(each.label in train.data.CLASSES for each in made)


def test_killed_run_ends_as_if_never_stopped(settings_of, steps, tmp_path, assert_same_run):
    words = ("--save-seconds", "0")
    train.main(settings_of(*words))
    cut = settings_of(*words, "--out", str(tmp_path / "cut"))
    with steps.killed_after(14):  # in the second epoch of the second model
        train.main(cut)
    folder = the_run(tmp_path / "cut")
    assert not (folder / "results.json").exists()
    resume = ["--resume", str(folder), "--out", cut.out, "--data-dir", cut.data_dir]
    train.main(settings.parse(train.Config, resume))
    assert steps.done == 16 + 14 + 2  # it went on where it was
    assert_same_run(the_run(tmp_path / "out"), folder)


def test_subword_run_with_projected_vectors(trained, elsewhere, tmp_path):
    pytest.importorskip("tokenizers", reason="the optional library tokenizers is missing")
    vectors = tmp_path / "small.txt"
    vectors.write_text("the 1 2 3\nmatch 0 1 0\n")
    config = train.Config(
        data="sample", data_dir=str(elsewhere / "data"), out=str(tmp_path), vectors=str(vectors),
        tokenizer="subword", max_size=300, layers=1, d_ff=32, epochs=1, limit_batches=2, members=1,
    )  # fmt: skip
    train.main(config)
    (folder,) = (tmp_path / "transformer_textcls").iterdir()
    (made,) = ask(folder, "matchless")
    assert made.label in train.data.CLASSES


@pytest.mark.real
def test_a_short_run_on_real_news_is_good_already(real_data, tmp_path):
    if not (real_data / "ag_news" / "train.csv").is_file():
        pytest.skip("AG News is absent")
    config = train.Config(
        data="real", data_dir=str(real_data), out=str(tmp_path), layers=1, d_ff=128, members=1,
        epochs=1, warmup_epochs=0.2, limit_batches=150, lr=1e-3, device="cpu",
    )  # fmt: skip
    results = train.main(config)
    assert results["metrics"]["test_accuracy"] > 0.85
    assert results["baselines"]["linear SVM on TF-IDF"]["test_accuracy"] > 0.91
