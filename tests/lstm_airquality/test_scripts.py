"""train.py and predict.py: as a user runs them, from another folder, and their mistakes."""

import csv
import json
import shutil
from pathlib import Path

from common import config as settings
from common.errors import SettingError, UserError

import numpy as np
import pytest
import torch
from torch import nn

from lstm_airquality import data, predict, train
from lstm_airquality.forecaster import FILE, Trained

SMALL = ["--epochs", "2", "--hidden-size", "16", "--device", "cpu", "--data", "sample"]


@pytest.fixture(scope="module")
def trained(train_once):
    return train_once("lstm_airquality", *SMALL, "--name", "first")


@pytest.fixture(scope="module")
def hours(trained, elsewhere):
    """The sample's file, which the training made."""
    return elsewhere / "data" / "sample" / "air_quality" / data.FILE


@pytest.fixture
def run_main(tmp_path, monkeypatch, elsewhere):
    """A training in this process, without baselines and plots: they take most of the time."""

    def run(*arguments):
        where = ["--out", str(tmp_path / "out"), "--data-dir", str(elsewhere / "data")]
        words = [*SMALL, "--baselines", "false", *where, *arguments]
        return train.main(settings.parse(train.Config, words))

    monkeypatch.setattr(train.figures, "draw", lambda *_: None)
    return run


@pytest.fixture
def own_data(hours, tmp_path):
    """A data root that holds the sample where the real file would be."""
    folder = tmp_path / "own" / "air_quality"
    folder.mkdir(parents=True)
    (folder / data.FILE).write_bytes(hours.read_bytes())
    return folder / data.FILE


# train.py


def test_train_writes_all_its_files_and_says_sample(trained):
    folder, printed = trained
    plots = ("curves", "autocorrelation", "correlation", "forecast", "features")
    for name in ("config.json", "metrics.csv", FILE, *(f"{plot}.png" for plot in plots)):
        assert (folder / name).stat().st_size > 0, name
    for words in ("SAMPLE", "NMHC(GT)                         not scored", "boosted trees"):
        assert words in printed
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert set(results["baselines"]) == {"persistence", "seasonal naive", "ridge", "boosted trees"}
    for figures in (results["metrics"], *results["baselines"].values()):
        assert all(
            isinstance(figures[name], float) for name in ("r2", "r2_weighted", "mae", "rmse")
        )
    by_feature = results["extra"]["by_feature"]["this run"]
    assert by_feature["NMHC(GT)"]["r2"] is None
    scored = [row["r2"] for row in by_feature.values() if row["r2"] is not None]
    assert results["metrics"]["r2"] == pytest.approx(np.mean(scored))
    assert results["metrics"]["r2"] > results["baselines"]["seasonal naive"]["r2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recipe", "published", "--epochs", "1"],
        ["--recipe", "24h", "--refit", "false"],
        ["--cell", "transformer", "--mask", "true", "--window", "12", "--horizon", "3"],
        ["--bidirectional", "false", "--layers", "2", "--calendar", "false"],
    ],
)
def test_forms_train(run_main, arguments):
    results = run_main(*arguments)
    assert np.isfinite(results["metrics"]["r2"])


def test_recipes_are_what_they_say():
    published = settings.parse(train.Config, ["--recipe", "published", "--lr", "0.01"])
    assert (published.cell, published.target, published.readout) == ("lstm", "value", "last")
    assert (published.bidirectional, published.calendar, published.relative) == (True, False, False)
    assert published.lr == 0.01
    assert settings.parse(train.Config, ["--recipe", "24h"]).horizon == 24


def test_same_seed_same_forecaster(run_main):
    one, two, other = (run_main("--seed", seed) for seed in ("3", "3", "4"))
    assert one["metrics"]["r2"] == two["metrics"]["r2"]
    assert one["metrics"]["r2"] != other["metrics"]["r2"]


def test_a_run_stopped_in_the_refit_ends_as_if_never_stopped(run_main, tmp_path):
    whole = run_main()
    (folder,) = (tmp_path / "out" / "lstm_airquality").iterdir()
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "refit")
    resumed = run_main("--resume", str(folder))
    assert resumed["metrics"]["r2"] == whole["metrics"]["r2"]
    assert resumed["metrics"]["val_r2"] == whole["metrics"]["val_r2"]


def test_test_rows_change_no_weight_and_no_scaler(own_data, tmp_path, run_main):
    """The whole training on two files that differ in the test part alone."""
    text = own_data.read_text()
    lines = text.splitlines()
    first_test = 1 + data.split(1200).known
    words = ("--data", "real", "--data-dir", str(own_data.parents[1]), "--name")
    run_main(*words, "mine")
    for row in range(first_test, 1201):
        cells = lines[row].split(";")
        lines[row] = ";".join([*cells[:2], *("7" if row % 2 else "9" for _ in cells[2:15]), "", ""])
    own_data.write_text("\r\n".join(lines) + "\r\n")
    run_main(*words, "theirs")
    mine, theirs = (
        Trained.load(next((tmp_path / "out" / "lstm_airquality").glob(f"*-{name}")) / FILE, "cpu")
        for name in ("mine", "theirs")
    )
    np.testing.assert_array_equal(mine.scaler.mean, theirs.scaler.mean)
    np.testing.assert_array_equal(mine.scaler.std, theirs.scaler.std)
    for name, weights in mine.model.state_dict().items():
        assert torch.equal(weights, theirs.model.state_dict()[name]), name


@pytest.mark.real
def test_real_air_is_forecast_better_than_by_repeating_it(run_main, real_data):
    """Two epochs instead of eight: a floor under what the README claims, far above 0.800."""
    words = ("--data", "real", "--data-dir", str(real_data), "--epochs", "2", "--refit", "false")
    results = run_main(*words, "--hidden-size", "64")
    assert results["metrics"]["r2"] > 0.86


def test_missing_targets_are_not_trained_on():
    step = train.make_step("mse")
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    windows, targets = torch.randn(5, 4, 2), torch.randn(5, 2)
    observed = torch.tensor([[1.0, 0], [1, 1], [0, 0], [1, 1], [0, 1]])
    loss, count, _ = step(model, (windows, targets, observed))
    assert count == 6
    errors = (model(windows) - targets)[observed > 0]
    torch.testing.assert_close(loss, errors.square().mean())
    other = torch.where(observed > 0, targets, 1e6)
    torch.testing.assert_close(step(model, (windows, other, observed))[0], loss)
    none, count, _ = step(model, (windows, targets, torch.zeros(5, 2)))
    assert (none.item(), count.item()) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--horizon", "0"], "--horizon must be at least 1"),
        (["--window", "0"], "--window must be at least 1"),
        (["--layers", "0"], "--layers must be at least 1"),
        (["--dropout", "1"], "--dropout must lie"),
        (["--cell", "transformer", "--hidden-size", "30"], "multiple of its 4 heads"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)


def test_window_longer_than_the_series_is_one_sentence(run_main):
    with pytest.raises(UserError, match="lower --window"):
        run_main("--window", "500")


def test_bad_data_is_one_sentence_and_no_traceback(script, elsewhere):
    folder = elsewhere / "bad" / "air_quality"
    folder.mkdir(parents=True)
    (folder / data.FILE).write_text("<html>")
    words = ("--data", "real", "--data-dir", "bad", "--out", "out2")
    done = script("lstm_airquality/train.py", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "web page" in done.stderr
    assert "Traceback" not in done.stderr


# predict.py


def test_predict_continues_the_publishers_file_and_its_own_output(
    trained, script, hours, elsewhere, tmp_path
):
    done = script("lstm_airquality/predict.py", str(hours), "--out", "out", "--hours", "30")
    assert done.returncode == 0, done.stderr
    written = elsewhere / "AirQualityUCI_forecast.csv"
    with written.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert list(rows[0]) == ["Date", "Time", *data.FEATURES]
    last = data.load(hours).times[-1]
    assert f"{rows[0]['Date']} {rows[0]['Time']}" == str(last + np.timedelta64(1, "h"))
    assert {row["NMHC(GT)"] for row in rows} == {""}
    assert "not forecast: NMHC(GT)" in done.stdout
    mean = np.nanmean(data.load(hours).values, axis=0)[0]
    assert all(abs(float(row["CO(GT)"]) - mean) < 5 for row in rows)
    again = str(tmp_path / "again.csv")
    predict.main(predict.Config(str(written), 3, again, run=str(trained[0]), device="cpu"))
    assert len(data.load(Path(again)).values) == 3


def test_first_hour_of_the_roll_out_is_the_forecast_that_is_scored(trained, hours):
    forecaster = Trained.load(trained[0] / FILE, "cpu")
    series = data.load(hours)
    for rows in (600, 1100):
        cut = type(series)(
            series.times[:rows], series.values[:rows], series.columns, series.spacing
        )
        rolled = forecaster.roll_out(cut, 3)
        scored = forecaster.forecast(series, 0, 1200)[rows - 24]
        np.testing.assert_allclose(rolled[0], scored, rtol=1e-4)
        # The second hour is what the model says of a series to which its first was added.
        longer = type(series)(
            series.times[: rows + 1], np.vstack([cut.values, rolled[0]]), series.columns,
            series.spacing,
        )  # fmt: skip
        np.testing.assert_allclose(forecaster.roll_out(longer, 1)[0], rolled[1], rtol=1e-4)


def test_predict_mistakes_are_one_sentence(trained, hours, tmp_path):
    run = str(trained[0])
    few = tmp_path / "few.csv"
    few.write_text("\n".join(hours.read_text().splitlines()[:11]))
    for file, message in (
        (tmp_path / "absent.csv", "does not exist"),
        (few, "10 hours are too few"),
    ):
        with pytest.raises(UserError, match=message):
            predict.main(predict.Config(str(file), run=run, device="cpu"))
    with pytest.raises(SettingError, match="--hours must be at least 1"):
        predict.main(predict.Config(str(hours), hours=0, run=run))
    with pytest.raises(UserError, match="there is no run absent"):
        predict.main(predict.Config(str(hours), run="absent"))
    with pytest.raises(UserError, match="train first"):
        predict.main(predict.Config(str(hours), out=str(tmp_path)))


def test_constant_series_is_forecast_to_stay_near(trained, hours, tmp_path):
    """A forecaster that was trained on other data bears a series that does not move."""
    lines = hours.read_text().splitlines()[:60]
    for row in range(1, 60):
        lines[row] = ";".join([*lines[row].split(";")[:2], *["1000"] * 13, "", ""])
    flat = tmp_path / "flat.csv"
    flat.write_text("\n".join(lines))
    run = str(trained[0])
    written = tmp_path / "forecast.csv"
    predict.main(predict.Config(str(flat), 2, str(written), run=run, device="cpu"))
    assert len(written.read_text().splitlines()) == 3
    assert ",," not in written.read_text()
