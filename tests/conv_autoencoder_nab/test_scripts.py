"""train.py and predict.py as a user starts them: results from another folder, faults in words."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from common.config import cli, parse

import numpy as np
import pandas as pd
import pytest

from conv_autoencoder_nab import predict, train

QUICK = ("--epochs", "3", "--members", "2", "--device", "cpu")


def places(folder: Path) -> tuple[str, ...]:
    return ("--data", "sample", "--data-dir", str(folder / "data"), "--out", str(folder / "runs"))


def fails(script: ModuleType, words: tuple[str, ...], code: int, monkeypatch, capsys) -> str:
    """The message with which the script, started in this process, ends with that code."""
    monkeypatch.setattr(sys, "argv", [script.__name__, *words])
    with pytest.raises(SystemExit) as caught:
        cli(script.Config, script.main)
    assert caught.value.code == code
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(train_once: Callable) -> tuple[Path, str]:
    return train_once("conv_autoencoder_nab", *QUICK, "--data", "sample")


def test_train_writes_everything(trained: tuple[Path, str]) -> None:
    run, printed = trained
    files = {path.name for path in run.iterdir()}
    plots = {f"{name}.png" for name in ("series", "scores", "histogram", "restored", "curves")}
    assert plots | {"config.json", "results.json", "detector.pt", "member1", "member2"} <= files
    assert "SAMPLE" in printed
    assert "2,057 parameters" in printed
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["data"] == "sample"
    for variant in ("causal", "centred"):
        assert results["metrics"][variant]["windows_found"] <= 3
        assert f"PCA, {variant}" in results["baselines"]
    assert results["published"]["relativeEntropy"] == {"nab_score": 88.3}


def test_same_seed_same_figures(
    script: Callable, trained: tuple[Path, str], tmp_path: Path
) -> None:
    done = script("conv_autoencoder_nab/train.py", *QUICK, *places(tmp_path))
    assert done.returncode == 0, done.stderr
    (again,) = (tmp_path / "runs" / "conv_autoencoder_nab").iterdir()
    read = [json.loads((r / "results.json").read_text("utf-8")) for r in (trained[0], again)]
    for variant in ("causal", "centred"):
        assert read[0]["metrics"][variant] == read[1]["metrics"][variant]
    assert read[0]["baselines"] == read[1]["baselines"]


def test_a_run_that_lost_a_member_resumes_to_the_same_end(
    trained: tuple[Path, str], elsewhere: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "conv_autoencoder_nab" / "broken"
    shutil.copytree(trained[0], run)
    shutil.rmtree(run / "member2")
    (run / "results.json").unlink()
    words = ["--resume", str(run), "--data-dir", str(elsewhere / "data")]
    found = train.main(parse(train.Config, words))
    results = json.loads((trained[0] / "results.json").read_text(encoding="utf-8"))
    for variant in ("causal", "centred"):
        assert found["metrics"][variant] == results["metrics"][variant]


@pytest.mark.parametrize(
    "words",
    [
        ("--epochs", "0"),
        ("--window", "0"),
        ("--recent", "97"),
        ("--dropout", "1"),
        ("--rate", "0"),
        ("--members", "0"),
        ("--season", "-1"),
        ("--gap", "-1"),
        ("--scaling", "sideways"),
    ],
)
def test_impossible_settings_end_with_code_2(
    tmp_path: Path, words: tuple[str, str], monkeypatch, capsys
) -> None:
    assert words[0] in fails(train, (*places(tmp_path), *words), 2, monkeypatch, capsys)
    assert not (tmp_path / "runs").exists()


def test_a_window_longer_than_a_part_is_one_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    words = (*QUICK, *places(tmp_path), "--window", "300")
    message = fails(train, words, 1, monkeypatch, capsys)
    assert "a window of 300 rows is longer than a part of the series (236 rows)" in message


def write_csv(path: Path) -> Path:
    """Eight weeks of hours with a daily course; some hours of the sixth week go flat."""
    random = np.random.default_rng(1)
    times = pd.date_range("2021-03-01", periods=8 * 168, freq="60min")
    hours = times.hour.to_numpy()
    course = 100 + 40 * np.sin(2 * np.pi * hours / 24) + random.normal(size=len(times))
    course[900:918] = 100 + 5 * random.normal(size=18)
    pd.DataFrame({"timestamp": times, "value": course}).to_csv(path, index=False)
    return path


def test_predict_finds_what_is_planted(script: Callable, elsewhere: Path, tmp_path: Path) -> None:
    path = write_csv(elsewhere / "mine.csv")
    words = ("conv_autoencoder_nab/predict.py", "mine.csv", *QUICK, "--out", str(tmp_path / "runs"))
    done = script(*words, "--window", "48", "--recent", "12")
    assert done.returncode == 0, done.stderr
    assert "a season of 24 rows" in done.stdout
    (run,) = (tmp_path / "runs" / "conv_autoencoder_nab" / "predict").iterdir()
    table = pd.read_csv(run / "scores.csv")
    assert list(table) == ["timestamp", "value", "score", "alarm", "event"]
    assert len(table) == len(pd.read_csv(path))
    assert 900 <= table["score"].idxmax() < 930
    assert table["alarm"][900:930].any()
    usual = table["alarm"].drop(index=range(900, 960))
    assert usual[672:].mean() < 0.05
    assert (run / "series.png").is_file()
    assert (run / "scores.png").is_file()

    again = script(*words, "--detector", str(run / "detector.pt"))
    assert again.returncode == 0, again.stderr
    (other,) = (r for r in (run.parent).iterdir() if r != run)
    assert (other / "scores.csv").read_text() == (run / "scores.csv").read_text()


def test_a_detector_of_another_spacing_is_refused(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch, capsys
) -> None:
    path, detector = write_csv(tmp_path / "mine.csv"), trained[0] / "detector.pt"
    words = (str(path), "--detector", str(detector), "--out", str(tmp_path / "runs"))
    message = fails(predict, words, 1, monkeypatch, capsys)
    assert "trained on rows 1800 s apart, and these are 3600 s apart" in message


def test_predict_bears_gaps_and_duplicates(script: Callable, tmp_path: Path) -> None:
    table = pd.read_csv(write_csv(tmp_path / "mine.csv"))
    table = pd.concat([table.drop(index=range(1000, 1010)), table.iloc[:2]])
    table.to_csv(tmp_path / "mine.csv", index=False)
    words = (str(tmp_path / "mine.csv"), "--out", str(tmp_path / "runs"), *QUICK)
    done = script("conv_autoencoder_nab/predict.py", *words, "--window", "48", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "2 repeated time stamps" in done.stdout
    assert "10 missing rows in 1 gaps" in done.stdout


def constant(path: Path) -> None:
    table = pd.read_csv(write_csv(path))
    table.assign(value=3).to_csv(path, index=False)


def short(path: Path) -> None:
    pd.read_csv(write_csv(path)).head(150).to_csv(path, index=False)


def page(path: Path) -> None:
    path.write_text("<html>404</html>", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "words", "message"),
    [
        (lambda path: None, (), "does not exist"),
        (page, (), "web page"),
        (constant, (), "constant (always 3)"),
        (short, (), "longer than a part of the series"),
        (write_csv, ("--season", "400"), "a season of 400 rows needs at least 1200"),
        (write_csv, ("--value-column", "rides"), "has no column 'rides'"),
        (write_csv, ("--detector", "absent.pt"), "there is no checkpoint"),
    ],
)
def test_predict_says_what_is_wrong(
    tmp_path: Path, make, words: tuple[str, ...], message: str, monkeypatch, capsys
) -> None:
    path = tmp_path / "mine.csv"
    make(path)
    words = (str(path), *QUICK, "--out", str(tmp_path / "runs"), *words)
    assert message in fails(predict, words, 1, monkeypatch, capsys)


@pytest.mark.parametrize(
    "words", [(), ("x.csv", "--train-share", "0"), ("x.csv", "--season", "-1")]
)
def test_predict_refuses_impossible_settings(words: tuple[str, ...], monkeypatch, capsys) -> None:
    assert fails(predict, words, 2, monkeypatch, capsys)


def test_the_sample_is_not_trivial(trained: tuple[Path, str]) -> None:
    """One on which every detector is perfect would prove nothing."""
    results = json.loads((trained[0] / "results.json").read_text(encoding="utf-8"))
    assert min(each["nab_score"] for each in results["baselines"].values()) < 80
