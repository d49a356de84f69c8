"""Forecast the rows after a table of measurements.

    python lstm_airquality/predict.py data/air_quality/AirQualityUCI.csv
    python lstm_airquality/predict.py my_hours.csv.gz --hours 48 --output forecast.csv
    cat my_hours.csv | python lstm_airquality/predict.py - --json

The table has the columns that the forecaster was trained on; one that is missing counts as not
measured. The latest finished run is used, or the one that `--run` names. Where a forecast needs
rows that have not come yet, it builds on its own forecasts of them, and grows less certain.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import tyro
from torch import nn

from common import checkpoints, device, plots, tables, times
from common.series import Series
from common.settings import UserError, cli, from_saved, require, warn
from common.trained import Trained as SavedModel
from common.trained import find_trained
from lstm_airquality import data, figures, intervals
from lstm_airquality.train import Config as TrainConfig
from lstm_airquality.train import Trained, build
from lstm_airquality.train import read as read_training

if TYPE_CHECKING:
    import pandas as pd

PATHS = 300  # futures drawn beyond the horizon


@dataclass
class Config:
    """Forecast with a trained run."""

    file: tyro.conf.Positional[str]  # table whose last row is now; - = standard input
    hours: float = 24.0  # hours to forecast; where rows are numbered, rows
    output: str = ""  # CSV file to write; empty = <file>_forecast.csv, in this folder
    json: bool = False  # print a line of JSON for each row instead of a table
    run: str = ""  # folder or name of a run; empty = the latest finished one
    out: Path | None = None  # folder of the runs; default runs/ in the repository
    time_column: str = ""  # column of times, or several with commas; empty = as in training
    resample: str = ""  # average over 5min, 1h, ... first
    dates: times.Dates = "auto"  # which number of 01/02/2007 is the day
    missing: str = "auto"  # numbers that stand for a missing value, with commas; or none
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps


def main(config: Config) -> Path | None:
    """Print and write the forecast; returns the file written, if there is one."""
    require(config.hours > 0, f"--hours must be above 0, not {config.hours:g}")
    found = find_trained("lstm_airquality", config.run, config.out)
    trained, names, targets = restore(found, device.choose(config.device))
    series = read(config, trained, names, found.preprocessing)
    rows = series.rows_in(config.hours)
    forecast = roll_out(trained, series, rows, found.preprocessing)
    used = trained.config.window + trained.config.horizon - 1
    silent = np.isnan(series.values[-used:, :targets]).all(axis=0)
    forecast[:, silent] = np.nan
    for note in series.notes:
        warn(note)
    if silent.any():
        missing = [name for name, is_silent in zip(names, silent, strict=False) if is_silent]
        warn(f"not measured in the last rows, so not forecast: {', '.join(missing)}")
    table = series.next_stamps(rows)
    for place, name in enumerate(names[:targets]):
        table[name] = intervals.middle(forecast)[:, place]
        for number in range(len(trained.config.levels)):
            if number != len(trained.config.levels) // 2:
                table[f"{name} {trained.config.levels[number]:g}"] = forecast[:, place, number]
    show(table, found.sample, config.json)
    path = config.output or (f"{Path(config.file).stem}_forecast.csv" if config.file != "-" else "")
    if not path:
        return None
    output = Path(path).expanduser()
    checkpoints.write_text(output, table.to_csv(index=False, float_format="%.6g"))
    print(f"written to {output}", file=sys.stderr)
    if trained.config.levels:
        chart = figures.fan(series, forecast, trained.config.levels)
        plots.save(chart, output.with_suffix(".png"), sample=found.sample)
        print(f"written to {output.with_suffix('.png')}", file=sys.stderr)
    return output


def restore(found: SavedModel, place: torch.device) -> tuple[Trained, list[str], int]:
    """The trained model, the names of its columns, and how many of them it forecasts."""
    kept = found.preprocessing
    names, targets = kept["features"], kept["targets"]
    config = from_saved(TrainConfig, found.settings)
    models = []
    for weights in found.weights:
        model = build(config, len(names), targets, kept["has_times"])
        checkpoints.load_weights(model, weights, str(found.folder))
        models.append(model.to(place).eval())
    scaler = data.Scaler(kept["mean"].numpy(), kept["std"].numpy())
    return Trained(models, scaler, config), names, targets


def exported(found: SavedModel) -> tuple[list[nn.Module], list[tuple[torch.Tensor, ...]]]:
    """For common/export.py: the networks, and windows of the training data in several batches."""
    trained, _, _ = restore(found, torch.device("cpu"))
    _, series, _, _ = read_training(trained.config)
    windows = trained.prepare(series).windows(0, len(series.values))[0]
    return list(trained.models), [(windows[:count],) for count in (5, 1, 3)]


def read(config: Config, trained: Trained, names: list[str], kept: dict) -> Series:
    """The user's table, with the columns and the spacing that the model was trained on.

    Raises:
        UserError: it lacks all of the columns, has another spacing, or too few rows.
    """
    time_column = config.time_column or trained.config.time_column
    series = data.load(
        config.file, names, time_column=time_column, dates=config.dates, missing=config.missing,
        resample=config.resample or trained.config.resample,
    )  # fmt: skip
    where = tables.title(config.file)
    if (series.spacing is not None) != kept["has_times"]:
        raise UserError(
            f"{where} has {'times' if series.spacing else 'no times'} and the training data "
            f"{'did' if kept['has_times'] else 'did not'}: set --time-column alike"
        )
    wanted = times.duration(kept["step"])
    is_finer = series.step < kept["step"]
    remedy = f"add --resample {wanted.replace(' ', '')}, or train" if is_finer else "train"
    if kept["has_times"] and abs(series.step / kept["step"] - 1) > 0.05:
        raise UserError(
            f"{where} has a row every {times.duration(series.step)}, and the forecaster learned "
            f"from one every {wanted}: {remedy} on it"
        )
    needed = trained.config.past.reach
    if len(series.values) < needed:
        raise UserError(
            f"{where}: {len(series.values)} rows are too few: this forecaster needs {needed} "
            f"({trained.config.past})"
        )
    return series


@torch.no_grad()
def roll_out(trained: Trained, series: Series, rows: int, kept: dict[str, Any]) -> np.ndarray:
    """The `rows` rows after the series, in its units.

    (rows, targets), or with quantiles (rows, targets, quantiles).

    A forecaster of horizon h reaches h rows with observed inputs alone; beyond them its own
    forecasts are its inputs. With quantiles these are PATHS drawn futures: each row's forecast is
    left by an error of a random calibration row, in halves of the interval, all targets at once.
    Columns that it does not forecast keep their last value.
    """
    config, levels = trained.config, trained.config.levels
    targets, paths = trained.models[0].outputs, PATHS if levels else 1
    unknown = np.full((rows, series.values.shape[1]), np.nan)
    longer = dataclasses.replace(
        series, values=np.vstack([series.values, unknown]),
        instants=np.concatenate([series.instants, series.next_instants(rows)]),
    )  # fmt: skip
    reach = config.past.reach  # rows before the first forecast that it needs
    inputs = trained.prepare(longer).inputs[len(series.values) - reach :]
    inputs = inputs.repeat(paths, 1, 1)  # (paths, reach + rows, inputs)
    draw = torch.Generator().manual_seed(0)
    forecasts = []
    for row in range(reach, reach + rows):
        end = row - config.horizon + 1
        each = [model(inputs[:, end - config.past.rows : end]) for model in trained.models]
        forecast = torch.stack(each).mean(0)  # (paths, targets) or (paths, targets, quantiles)
        values = forecast
        if levels:
            margin = (kept["margins"] / kept["std"][:targets]).to(forecast)
            forecast = intervals.widen(forecast, margin)
            chosen = torch.randint(len(kept["errors"]), (paths,), generator=draw)
            errors = kept["errors"][chosen].to(forecast)  # (paths, targets)
            low, middle, high = (forecast[:, :, q] for q in (0, len(levels) // 2, -1))
            half = torch.where(errors > 0, high - middle, middle - low)
            values = middle + errors * half.nan_to_num()  # NaN: no margin is known
            if row - reach >= config.horizon:
                at = torch.tensor(levels).to(values)
                forecast = values.quantile(at, dim=0).movedim(0, 1)[None]
        inputs[:, row, :targets] = values
        forecasts.append(forecast[0])
    scaled = torch.stack(forecasts).double().cpu().numpy()
    if levels:
        unknown, half = kept["margins"].isnan().numpy(), len(levels) // 2
        scaled[:, unknown, :half] = scaled[:, unknown, half + 1 :] = np.nan
    return trained.scaler.inverse(scaled)


def show(table: "pd.DataFrame", sample: bool, as_json: bool) -> None:
    """Print the forecast; what was learned from the sample says so in every line."""
    if as_json:
        for row in table.to_dict("records"):
            values = {k: None if v != v else v for k, v in row.items()}
            print(json.dumps({**values, "sample": sample}, ensure_ascii=False))
        return
    lines = table.to_string(index=False, float_format="{:.4g}".format, na_rep="-").splitlines()
    for line in lines:
        print(f"SAMPLE {line}" if sample else line)


if __name__ == "__main__":
    cli(Config, main)
