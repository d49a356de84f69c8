"""train.py and predict.py: as a user runs them, from another folder, and their mistakes."""

import io
import json
import os
import subprocess
import sys

from common import config as settings
from common.errors import SettingError, UserError

import pytest

from transformer_textcls import predict, train

SMALL = ["--d-ff", "32", "--layers", "1", "--members", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def script(root, elsewhere):
    def run(name, *arguments, text=None):
        command = [sys.executable, str(root / "transformer_textcls" / f"{name}.py"), *arguments]
        return subprocess.run(
            command, cwd=elsewhere, input=text, capture_output=True, encoding="utf-8", check=False
        )

    return run


@pytest.fixture(scope="module")
def trained(script, elsewhere):
    where = ["--data-dir", "data", "--out", "out"]
    done = script("train", "--data", "sample", "--name", "first", *where, *SMALL)
    assert done.returncode == 0, done.stderr
    (folder,) = (elsewhere / "out" / "transformer_textcls").iterdir()
    return folder, done.stdout


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
    piped = script("predict", "--out", "out", text="\n".join(texts) + "\n\n")
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
    done = script("train", "--heads", "3")
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
