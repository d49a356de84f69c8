"""train.py and predict.py: as a user runs them, from another folder, and their mistakes."""

import csv
import gzip
import io
import json
import shutil
from contextlib import redirect_stdout
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from common import settings
from common.settings import SettingError, UserError
from common.trained import find_trained
from lstm_airquality import backtest, data, predict, train

SMALL = ["--epochs", "2", "--hidden-size", "16", "--device", "cpu", "--data", "sample"]
TARGETS = ["CO(GT)", "NMHC(GT)", "NOx(GT)", "T"]  # fewer trees to fit


@pytest.fixture(scope="module")
def trained(elsewhere):
    """The folder of a whole run, and what it printed."""
    where = ["--data-dir", str(elsewhere / "data"), "--out", str(elsewhere / "out")]
    config = settings.parse(train.Config, [*SMALL, *where, "--targets", ",".join(TARGETS)])
    with redirect_stdout(io.StringIO()) as printed:
        train.main(config)
    (folder,) = (elsewhere / "out" / "lstm_airquality").iterdir()
    return folder, printed.getvalue()


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
def forecaster(tmp_path):
    """The model of a run of `run_main`, by the run's name; also its columns."""

    def load(name=""):
        found = find_trained("lstm_airquality", name, tmp_path / "out")
        return predict.restore(found, torch.device("cpu"))

    return load


# train.py


def test_train_writes_all_its_files_and_says_sample(trained):
    folder, printed = trained
    plots = ("curves", "autocorrelation", "correlation", "forecast", "features")
    for name in ("config.json", "metrics.csv", "model.pt", *(f"{plot}.png" for plot in plots)):
        assert (folder / name).stat().st_size > 0, name
    for words in ("SAMPLE", "not scored", "boosted trees", "95 % interval"):
        assert words in printed
    results = json.loads((folder / "results.json").read_text())
    assert results["data"] == "sample"
    assert set(results["baselines"]) == {"persistence", "seasonal naive", "ridge", "boosted trees"}
    for metrics in (results["metrics"], *results["baselines"].values()):
        names = ("r2", "r2_weighted", "mae", "rmse")
        assert all(isinstance(metrics[name], float) for name in names)
    by_feature = results["extra"]["by_feature"]["this run"]
    assert by_feature["NMHC(GT)"]["r2"] is None
    scored = [row["r2"] for row in by_feature.values() if row["r2"] is not None]
    assert results["metrics"]["r2"] == pytest.approx(np.mean(scored))
    assert results["metrics"]["r2"] > results["baselines"]["seasonal naive"]["r2"]
    kept = np.load(folder / "predictions.npz")
    assert set(kept) == {"this run", *results["baselines"]}
    assert kept["this run"].mean() < 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recipe", "published", "--epochs", "1"],
        ["--recipe", "24h", "--refit", "false", "--optimizer", "rmsprop"],
        ["--cell", "transformer", "--window", "12", "--horizon", "3", "--seasons", "14", "40"],
        ["--bidirectional", "false", "--layers", "2", "--calendar", "false", "--cell", "gru"],
    ],
)
def test_forms_train(run_main, arguments):
    results = run_main(*arguments)
    assert np.isfinite(results["metrics"]["r2"])


def test_recipes_are_what_they_say():
    published = settings.parse(train.Config, ["--recipe", "published", "--lr", "0.01"])
    assert (published.cell, published.target, published.readout) == ("lstm", "value", "last")
    assert (published.bidirectional, published.calendar, published.relative) == (True, False, False)
    assert (published.lr, published.refit) == (0.01, False)
    assert settings.parse(train.Config, ["--recipe", "24h"]).horizon == 24
    assert train.Config().cell == "lstm"


def test_a_run_stopped_in_the_refit_ends_as_if_never_stopped(run_main, tmp_path):
    whole = run_main()
    (folder,) = (tmp_path / "out" / "lstm_airquality").iterdir()
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "refit")
    resumed = run_main("--resume", str(folder))
    assert resumed["metrics"]["r2"] == whole["metrics"]["r2"]
    assert resumed["metrics"]["val_r2"] == whole["metrics"]["val_r2"]


def test_test_rows_change_no_weight_and_no_scaler(hours, tmp_path, run_main, forecaster):
    """The whole training on two files that differ in the test part alone."""
    own = tmp_path / "own.csv"
    lines = hours.read_text().splitlines()
    own.write_text("\n".join(lines))
    run_main("--csv", str(own), "--name", "mine")
    mine = forecaster()[0]
    for row in range(1 + data.split(1200).known, 1201):
        cells = lines[row].split(";")
        lines[row] = ";".join([*cells[:2], *("7" if row % 2 else "9" for _ in cells[2:15]), "", ""])
    own.write_text("\n".join(lines))
    run_main("--csv", str(own), "--name", "theirs")
    theirs = forecaster()[0]
    np.testing.assert_array_equal(mine.scaler.mean, theirs.scaler.mean)
    np.testing.assert_array_equal(mine.scaler.std, theirs.scaler.std)
    for name, weights in mine.models[0].state_dict().items():
        assert torch.equal(weights, theirs.models[0].state_dict()[name]), name


@pytest.mark.real
def test_real_air_is_forecast_better_than_by_repeating_it(run_main, real_data):
    """Two epochs instead of eight: a floor under what the README claims, far above 0.800."""
    words = ("--data", "real", "--data-dir", str(real_data), "--epochs", "2", "--refit", "false")
    results = run_main(*words, "--hidden-size", "64")
    assert results["metrics"]["r2"] > 0.86


def test_missing_targets_are_not_trained_on():
    step = partial(train.step, error_of=train.make_loss(train.Config(loss="mse")))
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


class Repeat(nn.Module):
    """The window's last values of two features, and what the calendar says."""

    def forward(self, windows):
        self.calendar = windows[..., 3:]
        return windows[:, -1, :2]


def test_a_shifted_window_takes_its_target_along():
    windows, targets, observed = torch.randn(6, 4, 5), torch.randn(6, 2), torch.ones(6, 2)
    model, error_of = Repeat(), train.make_loss(train.Config(loss="l1"))
    batch = windows, targets, observed
    plain = train.step(model.eval(), batch, error_of, features=3, shift=2.0)[0]
    moved = train.step(model.train(), batch, error_of, features=3, shift=2.0)[0]
    torch.testing.assert_close(moved, plain)  # it forecasts no change, at whatever level
    assert torch.equal(model.calendar, windows[..., 3:])
    level = partial(train.step, error_of=error_of, features=3, shift=2.0)
    constant = nn.Sequential(nn.Flatten(), nn.Linear(20, 2))
    for parameter in constant.parameters():
        nn.init.zeros_(parameter)
    assert level(constant, batch)[0] != level(constant, batch)[0]
    assert level(constant.eval(), batch)[0] == targets.abs().mean()  # scored where it stands


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seasons", "24", "168", "--horizon", "25"], "--seasons 24: .*: give 25"),
        (["--seasons", "24", "24"], "--seasons names one number twice"),
        (["--shift", "-1"], "--shift must be at least 0"),
        (["--horizon", "0"], "--horizon must be at least 1"),
        (["--window", "0"], "--window must be at least 1"),
        (["--layers", "0"], "--layers must be at least 1"),
        (["--dropout", "1"], "--dropout must lie"),
        (["--cell", "transformer", "--hidden-size", "30"], "multiple of its 4 heads"),
        (["--members", "0"], "--members must be at least 1"),
        (["--quantiles", "0.05,0.95"], "rising order with 0.5 in the middle"),
        (["--quantiles", "0.9,0.5,0.1"], "rising order"),
        (["--quantiles", "0,0.5,1"], "rising order"),
        (["--quantiles", "a few"], "write 0.05,0.5,0.95"),
    ],
)
def test_impossible_settings_are_one_sentence(arguments, message):
    with pytest.raises(SettingError, match=message):
        settings.parse(train.Config, arguments)


def test_window_longer_than_the_series_is_one_sentence(run_main):
    with pytest.raises(UserError, match="lower --window"):
        run_main("--window", "500")


def test_bad_data_is_one_sentence(run_main, tmp_path):
    folder = tmp_path / "air_quality"
    folder.mkdir()
    (folder / data.FILE).write_text("<html>")
    with pytest.raises(UserError, match="web page"):
        run_main("--data", "real", "--data-dir", str(tmp_path))


def test_members_are_averaged_and_the_first_is_the_network_of_one_member(run_main, forecaster):
    """The same seed gives the same network, another seed another."""
    run_main("--refit", "false", "--name", "one")
    one = forecaster()[0]
    run_main("--refit", "false", "--members", "2", "--name", "two")
    two = forecaster()[0]
    assert (len(one.models), len(two.models)) == (1, 2)
    own, other = one.models[0].state_dict(), two.models[0].state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert not torch.equal(own["head.weight"], two.models[1].state_dict()["head.weight"])


# Intervals and backtest

QUANTILES = ["--quantiles", "0.05,0.5,0.95", "--refit", "false", "--members", "2"]


def test_quantiles_are_calibrated_reported_and_forecast(hours, run_main, tmp_path):
    results = run_main(*QUANTILES)
    assert set(results["metrics"]) >= {"coverage", "interval_width", "matched_width"}
    assert 0.6 < results["metrics"]["coverage"] <= 1
    assert results["extra"]["intervals"]["this run"]["T"]["interval_width"] > 0
    assert "NMHC(GT)" not in results["extra"]["intervals"]["this run"]
    written = tmp_path / "forecast.csv"
    config = predict.Config(str(hours), 3, str(written), out=tmp_path / "out", device="cpu")
    predict.main(config)
    rows = list(csv.DictReader(written.open(encoding="utf-8", newline="")))
    for name in ("T", "NOx(GT)"):
        low, middle, high = ([float(r[name + end]) for r in rows] for end in (" 0.05", "", " 0.95"))
        assert all(a < b < c for a, b, c in zip(low, middle, high, strict=True))
        assert high[2] - low[2] > high[0] - low[0]  # the further ahead, the less certain
    assert written.with_suffix(".png").stat().st_size > 0


def test_calibration_rows_change_no_weight(hours, run_main, forecaster, tmp_path):
    own = tmp_path / "own.csv"
    lines = hours.read_text().splitlines()
    models = []
    for name in ("mine", "theirs"):
        own.write_text("\n".join(lines))
        run_main("--csv", str(own), "--name", name, *QUANTILES[:2])
        models.append(forecaster()[0].models[0].state_dict())
        parts = data.split(1200, calibrate=True)
        for row in range(1 + parts.fitted, 1 + parts.known):
            cells = lines[row].split(";")
            lines[row] = ";".join([*cells[:2], *["5" if row % 2 else "4"] * 13, "", ""])
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_quantile_trees_stand_beside_the_network(hours, run_main):
    words = ("--csv", str(hours), "--targets", "T", "--baselines", "true", "--epochs", "1")
    results = run_main(*QUANTILES[:4], *words)
    trees = results["baselines"]["quantile trees"]
    assert 0.7 < trees["coverage"] <= 1
    assert trees["r2"] == pytest.approx(results["baselines"]["boosted trees"]["r2"], abs=0.05)


def test_backtest_fits_and_scores_every_fold(elsewhere, tmp_path, hours):
    where = ["--out", str(tmp_path), "--data-dir", str(elsewhere / "data"), "--folds", "3"]
    words = [*SMALL, *where, "--baselines", "false"]
    results = backtest.main(settings.parse(backtest.Config, words))
    folds = [fold["r2"] for fold in results["extra"]["folds"]["this run"]]
    assert len(folds) == 3
    assert results["metrics"]["r2"] == pytest.approx(np.mean(folds))
    assert results["metrics"]["r2_std"] == pytest.approx(np.std(folds, ddof=1))
    (folder,) = (tmp_path / "lstm_airquality").iterdir()
    assert (folder / "folds.png").stat().st_size > 0
    with pytest.raises(SettingError, match="--folds must be at least 2"):
        settings.parse(backtest.Config, ["--folds", "1"])


@pytest.fixture
def silent(tmp_path):
    """Two columns of hours: `a` ends before the calibration rows, `b` does not."""
    random = np.random.default_rng(0)
    times = pd.date_range("2024-01-01", periods=400, freq="h")
    a, b = random.normal(size=(2, 400))
    a[200:] = np.nan
    path = tmp_path / "silent.csv"
    pd.DataFrame({"time": times, "a": a, "b": b}).to_csv(path, index=False)
    return path


def test_targets_without_a_test_value_are_refused_or_left_unscored(
    silent, run_main, tmp_path, capsys
):
    with pytest.raises(UserError, match=r"a: constant or missing in the .* test rows.*--targets"):
        run_main("--csv", str(silent), "--targets", "a")
    assert not (tmp_path / "out").exists()
    results = run_main("--csv", str(silent), "--epochs", "1", *QUANTILES[:4])
    assert results["extra"]["by_feature"]["this run"]["a"]["r2"] is None
    assert np.isfinite(results["metrics"]["r2"])
    assert "no interval, for no calibration row has a value: a" in capsys.readouterr().out
    pd.read_csv(silent).fillna(1.0).to_csv(silent, index=False)
    written = tmp_path / "forecast.csv"
    predict.main(predict.Config(str(silent), 4, str(written), out=tmp_path / "out", device="cpu"))
    table = pd.read_csv(written)
    assert table[["a 0.05", "a 0.95"]].isna().all().all()
    assert table[["a", "b 0.05", "b", "b 0.95"]].notna().all().all()


def test_folds_without_a_scored_value_count_nothing():
    folds = [
        {"r2": 0.5, "mae": 1.0},
        {"r2": float("nan"), "mae": float("nan")},
        {"r2": 0.7, "mae": 2},
    ]
    assert backtest.summary(folds) == pytest.approx({"r2": 0.6, "mae": 1.5, "r2_std": 0.1 * 2**0.5})


def test_a_target_that_is_no_number_is_quoted(silent, run_main):
    silent.write_text(silent.read_text().replace("a,b", "a,b,wind").replace("\n2", ",NW\n2"))
    with pytest.raises(UserError, match=r"no column 'wind' of numbers \(.*'NW' in column 'wind'"):
        run_main("--csv", str(silent), "--targets", "wind")


# Another table (case 20)


@pytest.fixture
def city(tmp_path):
    """Packed hourly air of another city, where one column follows the other by an hour."""
    random = np.random.default_rng(0)
    times = pd.date_range("2013-03-01", periods=700, freq="h")
    wind = np.sin(np.arange(701) / 5) + 0.1 * random.normal(size=701)
    table = pd.DataFrame({"time": times, "pm2.5": 80 - 30 * wind[:-1], "wind": wind[1:]})
    path = tmp_path / "city.csv.gz"
    text = table.to_csv(index=False, sep="\t", float_format="%.3f")
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_any_table_is_trained_on_and_forecast(city, run_main, tmp_path, capsys):
    words = ("--csv", str(city), "--targets", "pm2.5", "--horizon", "2", "--baselines", "true")
    results = run_main(*words, "--epochs", "12", "--lr", "0.02")
    assert results["data"] == "real"
    assert results["published"] == {}
    assert results["metrics"]["r2"] > 0.8
    (folder,) = (tmp_path / "out" / "lstm_airquality").iterdir()
    written = tmp_path / "forecast.csv"
    config = predict.Config(str(city), 3, str(written), run=str(folder), device="cpu")
    assert predict.main(config) == written
    rows = list(csv.DictReader(written.open(encoding="utf-8", newline="")))
    assert [row["time"] for row in rows] == [f"2013-03-30 0{hour}:00:00" for hour in (4, 5, 6)]
    assert list(rows[0]) == ["time", "pm2.5"]
    assert "SAMPLE" not in capsys.readouterr().out


def test_another_spacing_than_the_trained_one_is_asked_about(trained, hours, tmp_path):
    lines = hours.read_text().splitlines()
    half = tmp_path / "half.csv"
    half.write_text("\n".join([lines[0], *lines[1:400:2]]))
    config = predict.Config(str(half), 3, "", run=str(trained[0]), device="cpu")
    with pytest.raises(UserError, match=r"a row every 2 h.*one every 1 h: train on it"):
        predict.main(config)
    fine = pd.DataFrame({"time": pd.date_range("2024", periods=99, freq="5min"), "T": range(99)})
    fine.to_csv(half, index=False)
    with pytest.raises(UserError, match=r"a row every 5 min.*: add --resample 1h, or train on it"):
        predict.main(config)


# predict.py


def test_predict_continues_the_publishers_file_and_its_own_output(
    trained, hours, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "warn", print)
    written = predict.main(predict.Config(str(hours), 30, run=str(trained[0]), device="cpu"))
    assert written.resolve() == tmp_path / "AirQualityUCI_forecast.csv"
    printed = capsys.readouterr().out.splitlines()
    assert "not measured in the last rows, so not forecast: NMHC(GT)" in printed
    assert sum(line.startswith("SAMPLE ") for line in printed) == 31
    rows = list(csv.DictReader(written.open(encoding="utf-8", newline="")))
    assert len(rows) == 30
    assert list(rows[0]) == ["Date", "Time", *TARGETS]
    series = data.load(hours)
    assert (rows[0]["Date"], rows[0]["Time"]) == tuple(series.next_stamps(1).iloc[0])
    assert {row["NMHC(GT)"] for row in rows} == {""}
    mean = np.nanmean(series.values, axis=0)[0]
    assert all(abs(float(row["CO(GT)"]) - mean) < 5 for row in rows)
    again = predict.Config(str(written), 3, "again.csv", run=str(trained[0]), device="cpu")
    assert len(predict.main(again).read_text().splitlines()) == 4


def test_predict_from_standard_input_as_json(trained, script, hours):
    words = ("--run", str(trained[0]), "--hours", "2", "--json", "--resample", "1h")
    done = script("lstm_airquality/predict.py", "-", *words, text=hours.read_bytes())
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["Time"] for row in rows] == ["18:00:00", "19:00:00"]
    assert all(row["sample"] is True for row in rows)
    assert rows[0]["NMHC(GT)"] is None
    assert "written" not in done.stderr


def test_first_hour_of_the_roll_out_is_the_forecast_that_is_scored(trained, hours, tmp_path):
    found = find_trained("lstm_airquality", str(trained[0]))
    forecaster, names, _ = predict.restore(found, torch.device("cpu"))
    load = partial(data.load, names=names)
    scored = forecaster.forecast(load(hours), 0, 1200, "float32")
    for rows in (600, 1100):
        cut, longer = tmp_path / "cut.csv", tmp_path / "longer.csv"
        lines = hours.read_text().splitlines()
        cut.write_text("\n".join(lines[: rows + 1]))
        rolled = predict.roll_out(forecaster, load(cut), 3, {})
        np.testing.assert_allclose(rolled[0], scored[rows - 24], rtol=1e-4)
        # The second hour is what the model says of a series to which its first was added.
        values = dict(zip(TARGETS, map(repr, map(float, rolled[0])), strict=True))
        row = [values.get(name, "-200").replace(".", ",") for name in data.FEATURES]
        stamp = lines[rows + 1].split(";")[:2]
        longer.write_text("\n".join([*lines[: rows + 1], ";".join([*stamp, *row, "", ""])]))
        again = predict.roll_out(forecaster, load(longer), 1, {})
        np.testing.assert_allclose(again[0], rolled[1], rtol=1e-4)


def test_a_column_that_the_file_lacks_counts_as_not_measured(trained, hours, tmp_path, capsys):
    table = pd.read_csv(hours, sep=";", dtype=str).drop(columns=["NOx(GT)", "T"]).iloc[:100, :13]
    table.to_csv(tmp_path / "fewer.csv", sep=";", index=False)
    written = tmp_path / "forecast.csv"
    config = predict.Config(str(tmp_path / "fewer.csv"), 2, str(written), run=str(trained[0]))
    predict.main(config)
    rows = list(csv.DictReader(written.open(encoding="utf-8", newline="")))
    assert (rows[0]["NOx(GT)"], rows[0]["T"]) == ("", "")
    assert float(rows[0]["CO(GT)"]) > 0
    assert "columns that are not there count as missing: NOx(GT), T" in capsys.readouterr().err


def test_predict_mistakes_are_one_sentence(trained, hours, tmp_path):
    run = str(trained[0])
    few = tmp_path / "few.csv"
    few.write_text("\n".join(hours.read_text().splitlines()[:11]))
    for file, message in (
        (tmp_path / "absent.csv", "does not exist"),
        (few, "10 rows are too few"),
    ):
        with pytest.raises(UserError, match=message):
            predict.main(predict.Config(str(file), run=run, device="cpu"))
    with pytest.raises(SettingError, match="--hours must be above 0"):
        predict.main(predict.Config(str(hours), hours=0, run=run))
    with pytest.raises(UserError, match="there is no run absent"):
        predict.main(predict.Config(str(hours), run="absent"))
    with pytest.raises(UserError, match="train first"):
        predict.main(predict.Config(str(hours), out=tmp_path))


def test_constant_series_is_forecast_to_stay_near(trained, hours, tmp_path):
    """A forecaster that was trained on other data bears a series that does not move."""
    lines = hours.read_text().splitlines()[:60]
    for row in range(1, 60):
        lines[row] = ";".join([*lines[row].split(";")[:2], *["1000"] * 13, "", ""])
    flat = tmp_path / "flat.csv"
    flat.write_text("\n".join(lines))
    written = tmp_path / "forecast.csv"
    predict.main(predict.Config(str(flat), 2, str(written), run=str(trained[0]), device="cpu"))
    assert len(written.read_text().splitlines()) == 3
    assert ",," not in written.read_text()


def test_the_recorded_model_forecasts_straight_after_cloning(root, tmp_path):
    """It loads with the present code, and forecasts from the sample's last day."""
    recorded = str(root / "results" / "models" / "lstm_airquality.pt")
    assert not find_trained("lstm_airquality", recorded).sample
    data.make_sample(tmp_path)
    file, output = str(tmp_path / data.FILE), str(tmp_path / "forecast.csv")
    predict.main(predict.Config(file, hours=2, output=output, run=recorded))
    forecast = pd.read_csv(output)
    assert len(forecast) == 2
    assert forecast.notna().any(axis=1).all()
