"""train.py and predict.py: as a user runs them, from another folder, and their mistakes."""

import csv
import json

import pytest
import torch

from common import settings
from common.answers import PredictConfig
from common.settings import SettingError
from common.trained import find_trained
from transformer_textcls import predict, train

SMALL = ["--d-ff", "32", "--layers", "1", "--members", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("transformer_textcls", *SMALL, "--data", "sample", "--epochs", "1")


def ask(folder, *texts, **fields):
    return predict.main(PredictConfig(texts, run=str(folder), device="cpu", **fields))


def test_train_on_the_sample(trained):
    folder, printed = trained
    names = ("config.json", "results.json", "model.pt", "member-0/metrics.csv", "mistakes.csv")
    for name in (*names, "curves.png", "confusion.png", "attention.png"):
        assert (folder / name).stat().st_size > 0, name
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert 0.3 < results["metrics"]["test_accuracy"] < 0.97  # learned something, not everything
    assert len(results["baselines"]) == 3
    assert results["differences"]["this run"]["to"] in results["baselines"]
    assert "threads=1" in printed
    for words in ("SAMPLE", "most confident mistakes", "padding in the", "vectors   of 100"):
        assert words in printed
    rows = list(csv.DictReader((folder / "mistakes.csv").open(encoding="utf-8")))
    assert len(rows) == round(400 * (1 - results["metrics"]["test_accuracy"]))
    assert all(row["truth"] != row["prediction"] for row in rows)


def test_predict_from_arguments_and_from_input(trained, script):
    texts = ["Minister troops election embassy", "shares profit earnings merger zyzzyva"]
    piped = script("transformer_textcls/predict.py", "--out", "out", text="\n".join(texts) + "\n\n")
    assert piped.returncode == 0, piped.stderr
    lines = piped.stdout.splitlines()
    assert lines[1].endswith("[unknown: zyzzyva]")
    for line, made in zip(lines, ask(trained[0], *texts), strict=True):
        assert line.startswith(f"SAMPLE  {made.label}")
        assert f"{made.probability:.3f}" in line


def test_a_csv_is_answered_row_by_row_whatever_stands_beside(trained, tmp_path):
    long = "word " * 100_000
    (tmp_path / "in.csv").write_text(f"id,headline\n7,robot planet web\n8,\n9,{long}\n10,x\n")
    files = {"file": tmp_path / "in.csv", "output": tmp_path / "out.csv"}
    made = ask(trained[0], text_column="headline", **files)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["id"] for row in rows] == ["7", "8", "9", "10"]
    assert [row["prediction"] for row in rows] == [made[0].label, "", *(m.label for m in made[1:])]
    (alone,) = ask(trained[0], "robot planet web")
    assert made[0].label == alone.label
    assert made[0].probability == pytest.approx(alone.probability, abs=1e-6)


def test_what_is_exported_gives_the_predicted_probabilities(trained):
    (network,), batches = predict.exported(find_trained("transformer_textcls", str(trained[0])))
    probabilities = [network(*batch) for batch in batches]
    assert [tuple(rows.shape) for rows in probabilities] == [(5, 4), (1, 4), (3, 4)]
    assert torch.cat(probabilities).sum(1).tolist() == pytest.approx([1.0] * 9)
    assert len({ids.shape[1] for ids, _ in batches}) > 1  # texts of several lengths


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "3"], "--heads 3 must divide"),
        (["--d-ff", "0"], "--d-ff must be at least 1"),
        (["--lr", "0"], "--lr must be above 0"),
        (["--dropout", "1"], "--dropout must lie"),
        (["--word-dropout", "-0.1"], "--word-dropout must lie"),
        (["--val-fraction", "0"], "--val-fraction must lie"),
        (["--max-size", "2"], "--max-size must be"),
        (["--pairs", "-1"], "--pairs must be at least 0"),
        (["--csv-test", "x.csv"], "--csv-test needs --csv"),
        (["--label-column", "topic"], "--label-column needs --csv"),
        (["--csv", "x.csv", "--data", "sample"], "--csv and --data sample are two sets"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)


def test_published_recipe_is_the_published_form_and_flags_override_it():
    published = settings.parse(train.Config, ["--recipe", "published", "--epochs", "1"])
    assert published == train.Config(recipe="published", epochs=1)
    assert (published.dropout, published.norm, published.train_embedding) == (0.0, "post", False)
    assert (published.d_model, published.layers, published.d_ff) == (100, 4, 2048)
    assert published.pairs == 0


def test_own_csv_without_vectors(tmp_path, capsys):
    rows = ("spam,buy now {}\n" if i % 2 else "ham,see you {}\n" for i in range(120))
    path = tmp_path / "mine.csv"
    path.write_text("".join(row.format(i) for i, row in enumerate(rows)))
    config = train.Config(
        csv=path, vectors="none", data_dir=tmp_path, out=tmp_path, members=1, layers=1, d_ff=32,
        epochs=2, lr=3e-3, device="cpu",
    )  # fmt: skip
    results = train.main(config)
    assert "learned from scratch" in capsys.readouterr().out
    assert results["metrics"]["test_accuracy"] == 1.0
    assert len(results["baselines"]) == 2
    assert not results["published"]  # on other texts
    (folder,) = (tmp_path / "transformer_textcls").iterdir()
    assert [made.label for made in ask(folder, "buy now", "see you")] == ["spam", "ham"]
    (network,), batches = predict.exported(find_trained("transformer_textcls", str(folder)))
    assert [network(*batch).shape for batch in batches] == [(5, 2), (1, 2), (3, 2)]


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


def test_odd_news_and_vectors_of_another_size_train_and_predict(tmp_path, settings_of, capsys):
    """Quotes, line breaks, one token, 100,000; a class that never occurs; vectors of 3 numbers."""
    folder = tmp_path / "root" / "ag_news"
    folder.mkdir(parents=True)
    rows = [["x", ""], ["", ""], ["very", "very " * 100_000], ['"No", she said', "one\ntwo, three"]]
    rows += [[f"Title {number}", f"match word{number}"] for number in range(20)]
    for name, classes in (("train.csv", (1, 2, 3)), ("test.csv", (1, 2))):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([label, *row] for label in classes for row in rows)
    (tmp_path / "three.txt").write_text("match 1 2 3\nvery 0 1 0\n")
    root = ["--data", "real", "--data-dir", str(tmp_path / "root"), "--val-fraction", "0.1"]
    results = train.main(settings_of(*root, "--vectors", str(tmp_path / "three.txt")))
    captured = capsys.readouterr()
    assert "63 train, 6 val, 46 test" in captured.out
    assert "3 rows without a text" in captured.err
    assert "vectors   of 3 numbers" in captured.out
    supports = {name: row["support"] for name, row in results["extra"]["per_class"].items()}
    assert supports == {"World": 23, "Sports": 23, "Business": 0, "Sci/Tech": 0}
    assert 0 <= results["metrics"]["macro_f1"] <= 1
    made = ask(the_run(tmp_path / "out"), "?", "very " * 100_000, 'One "two"\nthree')
    assert all(each.label in train.data.CLASSES for each in made)


def test_pairs_train_and_predict(settings_of, tmp_path):
    train.main(settings_of("--pairs", "60"))
    found = find_trained("transformer_textcls", str(the_run(tmp_path / "out")))
    for weights in found.weights:
        assert weights["pairs.weight"].shape == (61, 100)
        assert weights["pairs.weight"][1:].any()
    # what is asked anew has the probabilities that the run wrote for its mistakes
    rows = list(csv.DictReader((found.folder / "mistakes.csv").open(encoding="utf-8")))[:5]
    made = ask(found.folder, *(row["item"] for row in rows))
    assert [each.label for each in made] == [row["prediction"] for row in rows]
    wrote = [float(row["probability"]) for row in rows]
    assert [each.probability for each in made] == pytest.approx(wrote, abs=1e-3)


def test_killed_run_ends_as_if_never_stopped(settings_of, steps, tmp_path, assert_same_run):
    train.main(settings_of())
    cut = settings_of("--out", str(tmp_path / "cut"))
    with steps.killed_after(14):  # in the second epoch of the second model
        train.main(cut)
    folder = the_run(tmp_path / "cut")
    assert not (folder / "results.json").exists()
    resume = ["--resume", str(folder), "--out", str(cut.out), "--data-dir", str(cut.data_dir)]
    train.main(settings.parse(train.Config, resume))
    assert steps.done == 16 + 14 + 4  # it went on from the end of that model's first epoch
    assert_same_run(the_run(tmp_path / "out"), folder)


def test_subword_run_with_projected_vectors(trained, elsewhere, tmp_path):
    pytest.importorskip("tokenizers", reason="the optional library tokenizers is missing")
    (tmp_path / "small.txt").write_text("the 1 2 3\nmatch 0 1 0\n")
    config = train.Config(
        data="sample", data_dir=elsewhere / "data", out=tmp_path, vectors=tmp_path / "small.txt",
        tokenizer="subword", max_size=300, layers=1, d_ff=32, epochs=1, limit_batches=2, members=1,
    )  # fmt: skip
    train.main(config)
    (made,) = ask(the_run(tmp_path), "matchless")
    assert made.label in train.data.CLASSES


@pytest.mark.real
def test_a_short_run_on_real_news_is_good_already(real_data, tmp_path):
    if not (real_data / "ag_news" / "train.csv").is_file():
        pytest.skip("AG News is absent")
    config = train.Config(
        data="real", data_dir=real_data, out=tmp_path, layers=1, d_ff=128, members=1, epochs=1,
        warmup_epochs=0.2, limit_batches=150, lr=1e-3, device="cpu",
    )  # fmt: skip
    results = train.main(config)
    assert results["metrics"]["test_accuracy"] > 0.85
    assert results["baselines"]["linear SVM on TF-IDF"]["test_accuracy"] > 0.91
