"""train.py and predict.py as a user starts them: results from another folder, faults in words."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from common.settings import cli, parse
from conv_autoencoder_nab import predict, train

QUICK = ("--epochs", "2", "--members", "2", "--device", "cpu")
ONCE = ("--epochs", "1", "--members", "1")


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
    assert plots | {"config.json", "results.json", "model.pt", "member-1", "member-2"} <= files
    assert "SAMPLE" in printed
    assert "2,057 parameters" in printed
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["data"] == "sample"
    for variant in ("causal", "centred"):
        assert results["metrics"][variant]["windows_found"] <= 3
        assert 0 < results["metrics"][variant]["vus_pr"] < 1
        assert f"PCA, {variant}" in results["baselines"]
    # A sample on which every detector is perfect would prove nothing.
    assert min(each["nab_score"] for each in results["baselines"].values()) < 80
    assert results["published"]["KShapeAD"] == {"vus_pr": 0.841}


def test_a_run_that_lost_a_member_resumes_to_the_same_end(
    trained: tuple[Path, str], elsewhere: Path, tmp_path: Path, assert_same_run: Callable
) -> None:
    run = tmp_path / "runs" / "conv_autoencoder_nab" / "broken"
    shutil.copytree(trained[0], run)
    shutil.rmtree(run / "member-2")
    (run / "results.json").unlink()
    words = ["--resume", str(run), "--data-dir", str(elsewhere / "data")]
    train.main(parse(train.Config, words))
    assert_same_run(run, trained[0])


@pytest.mark.parametrize(
    "words",
    ["--epochs 0", "--window 0", "--recent 500", "--around 0", "--dropout 1", "--rate 0",
     "--members 0", "--season 0", "--gap -1", "--scaling sideways", "--channels 0 8"],
)  # fmt: skip
def test_impossible_settings_end_with_code_2(
    tmp_path: Path, words: str, monkeypatch, capsys
) -> None:
    flag, *values = words.split()
    message = fails(train, (*places(tmp_path), flag, *values), 2, monkeypatch, capsys)
    assert flag in message
    assert not (tmp_path / "runs").exists()


def test_a_window_longer_than_a_part_is_one_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    words = (*QUICK, *places(tmp_path), "--window", "300")
    message = fails(train, words, 1, monkeypatch, capsys)
    assert "a window of 300 rows is longer than a part of the series (236 rows)" in message


def hours(weeks: int = 8) -> pd.DataFrame:
    """Hours with a daily course; eighteen hours of the sixth week go flat."""
    random = np.random.default_rng(1)
    times = pd.date_range("2021-03-01", periods=weeks * 168, freq="60min")
    course = 100 + 40 * np.sin(2 * np.pi * times.hour.to_numpy() / 24)
    course += random.normal(size=len(times))
    course[900:918] = 100 + 5 * random.normal(size=len(course[900:918]))
    return pd.DataFrame({"timestamp": times, "value": course})


def predicted(path: Path | str, out: Path, *words: str) -> tuple[dict, Path]:
    """The results of a prediction in this process, and the folder of its run."""
    arguments = [str(path), *QUICK, "--out", str(out), *words]
    results = predict.main(parse(predict.Config, arguments))
    return results, max((out / "conv_autoencoder_nab").iterdir())


def test_predict_finds_what_is_planted(
    script: Callable, elsewhere: Path, tmp_path: Path, capsys
) -> None:
    hours().to_csv(elsewhere / "mine.csv", index=False)
    words = ("conv_autoencoder_nab/predict.py", "mine.csv", *QUICK, "--out", str(tmp_path / "runs"))
    done = script(*words)
    assert done.returncode == 0, done.stderr
    assert "window 68 rows (68 h), recent 8 rows (8 h)" in done.stdout
    assert "season 24 rows (1 day), gap 24 h" in done.stdout
    (run,) = (tmp_path / "runs" / "conv_autoencoder_nab").iterdir()
    table = pd.read_csv(run / "scores.csv")
    assert list(table) == ["timestamp", "value", "score", "alarm", "event"]
    assert len(table) == 8 * 168
    assert 900 <= table["score"].idxmax() < 930
    found = pd.read_csv(run / "events.csv")
    assert found["strength"].is_monotonic_decreasing
    assert "2021-04-07 12:00:00" <= found["peak"][0] <= "2021-04-09"
    assert set(table["event"]) == {0, *found["event"]}
    assert sum(~found["learned"]) <= 3
    assert (run / "series.png").is_file()
    assert (run / "scores.png").is_file()
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["command"].startswith("python conv_autoencoder_nab/predict.py")

    output = tmp_path / "again.csv"
    words = ("--run", str(run), "--output", str(output), "--json")
    predicted(elsewhere / "mine.csv", tmp_path / "runs", *words)
    assert output.read_text() == (run / "scores.csv").read_text()
    answer = json.loads(capsys.readouterr().out)
    assert not answer["sample"]
    assert answer["events"][0]["peak"] == found["peak"][0]


def test_a_detector_of_another_spacing_is_refused(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch, capsys
) -> None:
    hours().to_csv(tmp_path / "mine.csv", index=False)
    words = (str(tmp_path / "mine.csv"), "--run", str(trained[0]), "--out", str(tmp_path / "runs"))
    message = fails(predict, words, 1, monkeypatch, capsys)
    assert "trained on rows 30 min apart, and these are 1 h apart" in message


def test_a_detector_scores_the_column_it_learned_from(tmp_path: Path, monkeypatch, capsys) -> None:
    table = hours().rename(columns={"value": "load"})
    table.insert(1, "station", 260)
    table.insert(2, "count", np.arange(len(table)))
    path, out = tmp_path / "mine.csv", tmp_path / "runs"
    table.to_csv(path, index=False)
    _, run = predicted(path, out, *ONCE)
    capsys.readouterr()
    table.insert(1, "temperature", table["load"] / 2)
    table.to_csv(path, index=False)
    predicted(path, out, "--run", str(run))
    assert "values are in column load" in capsys.readouterr().out
    predicted(path, out, "--run", str(run), "--value-column", "temperature")
    assert "learned from column load, and scores temperature" in capsys.readouterr().out
    table.drop(columns="load").to_csv(path, index=False)
    words = (str(path), "--run", str(run), "--out", str(out))
    assert "no column 'load'" in fails(predict, words, 1, monkeypatch, capsys)


def test_what_a_sample_taught_is_said(trained: tuple[Path, str], tmp_path: Path, capsys) -> None:
    table = hours(4)
    table["timestamp"] = pd.date_range("2021-03-01", periods=len(table), freq="30min")
    table.to_csv(tmp_path / "mine.csv", index=False)
    predicted(tmp_path / "mine.csv", tmp_path, "--run", str(trained[0]))
    printed = capsys.readouterr()
    events = printed.out[printed.out.rindex("written to") :].splitlines()[1:]
    assert all(line.startswith("SAMPLE") for line in events if line)
    assert "GENERATED SAMPLE DATA" in printed.err


def test_times_go_out_as_they_came_in(tmp_path: Path) -> None:
    """Semicolons, decimal commas, date and time apart, gaps, repeated rows, packed."""
    table = hours(5)
    times = table["timestamp"]
    odd = pd.DataFrame(
        {
            "Date": times.dt.strftime("%d/%m/%Y"),
            "Time": times.dt.strftime("%H.%M.%S"),
            "Load": table["value"].round(2).astype(str).str.replace(".", ","),
        }
    )
    given = pd.concat([odd.drop(index=range(600, 610)), odd.iloc[:2]])
    text = given.to_csv(sep=";", index=False)
    (tmp_path / "odd.csv.gz").write_bytes(gzip.compress(text.encode("utf-16")))
    _, run = predicted(tmp_path / "odd.csv.gz", tmp_path, *ONCE)
    scores = pd.read_csv(run / "scores.csv", dtype=str)
    assert list(scores) == ["Date", "Time", "value", "score", "alarm", "event"]
    own = odd.drop(index=range(600, 610)).reset_index(drop=True)  # the rows of the gap stay out
    pd.testing.assert_frame_equal(scores[["Date", "Time"]], own[["Date", "Time"]])
    assert scores["value"].notna().all()


@pytest.mark.parametrize(
    ("rows", "step", "words"),
    [
        (400, "1D", "window 16 rows (16 days), recent 2 rows (2 days), season 7 rows (7 days), "
         "gap 48 h"),
        (1680, "1h", "window 84 rows (3.5 days), recent 10 rows (10 h), season 24 rows (1 day), "
         "gap 24 h"),
        (2016, "5min", "window 101 rows (505 min), recent 12 rows (1 h), no season, gap 24 h"),
        (1000, "", "window 50 rows, recent 6 rows, no season, gap 24 rows"),
    ],
)  # fmt: skip
def test_settings_follow_the_series(tmp_path: Path, rows: int, step: str, words: str) -> None:
    random = np.random.default_rng(0)
    values, row = random.normal(size=rows), np.arange(rows)
    table = pd.DataFrame({"value": values})
    if step:
        table.insert(0, "time", pd.date_range("2021-03-01", periods=rows, freq=step))
        table["value"] += 9 * ((row % 7 > 4) if step == "1D" else np.sin(table["time"].dt.hour / 4))
    table.to_csv(tmp_path / "own.csv", index=False)
    config = predict.Config(file=str(tmp_path / "own.csv"))
    series = predict.read(config)
    assert predict.in_words(predict.suited(config, series, rows // 2), series) == words


@pytest.mark.parametrize("values", [np.full(400, 45.0), np.tile(np.arange(24.0), 40)])
def test_series_that_never_deviate_have_no_events(tmp_path: Path, values: np.ndarray) -> None:
    times = pd.date_range("2021-03-01", periods=len(values), freq="1h")
    pd.DataFrame({"time": times, "value": values}).to_csv(tmp_path / "own.csv", index=False)
    results, _ = predicted(tmp_path / "own.csv", tmp_path, *ONCE)
    assert results["metrics"]["events"] == 0


def test_a_series_that_is_mostly_gaps_is_read_row_after_row(tmp_path: Path) -> None:
    table = hours(12)
    kept = table[table["timestamp"].dt.hour < 8]
    kept.to_csv(tmp_path / "own.csv", index=False)
    series = predict.read(predict.Config(file=str(tmp_path / "own.csv")))
    assert series.stamps["timestamp"].tolist() == kept["timestamp"].astype(str).tolist()
    assert series.values[:, 0].tolist() == pytest.approx(kept["value"].tolist())
    assert "most places are empty" in series.notes[-1]


def page(path: Path) -> None:
    path.write_text("<html>404</html>", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "words", "message"),
    [
        (None, (), "does not exist"),
        (page, (), "web page"),
        (lambda path: hours().head(150).to_csv(path), (), "has 150 rows, of which the first 75"),
        (hours().to_csv, ("--season", "400"), "a season of 400 rows needs at least 1200"),
        (hours().to_csv, ("--value-column", "rides"), "has no column 'rides'"),
        (hours().to_csv, ("--run", "absent"), "there is no run absent"),
        (hours().to_csv, ("--window", "300"), "a window of 300 rows is longer than a part"),
    ],
)
def test_predict_says_what_is_wrong(
    tmp_path: Path, make, words: tuple[str, ...], message: str, monkeypatch, capsys
) -> None:
    path = tmp_path / "mine.csv"
    if make:
        make(path)
    words = (str(path), *QUICK, "--out", str(tmp_path / "runs"), *words)
    assert message in fails(predict, words, 1, monkeypatch, capsys)


@pytest.mark.parametrize(
    "words",
    [(), ("x.csv", "--train-fraction", "0"), ("x.csv", "--season", "-1"), ("x.csv", "--seed", "x")],
)
def test_predict_refuses_impossible_settings(words: tuple[str, ...], monkeypatch, capsys) -> None:
    assert fails(predict, words, 2, monkeypatch, capsys)


@pytest.mark.real
def test_every_series_of_the_corpus_runs_without_a_flag(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "nab" / "corpus" / "data"
    files = sorted(folder.rglob("*.csv"))
    if not files:
        pytest.skip("the corpus is not in the nab folder")
    assert len(files) == 58
    for path in files:
        results, run = predicted(path, tmp_path, "--epochs", "1", "--members", "1")
        assert results["metrics"]["events"] <= 60, path
        scores = pd.read_csv(run / "scores.csv")
        assert scores["timestamp"][0] == pd.read_csv(path, dtype=str)["timestamp"][0]
