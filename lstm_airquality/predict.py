"""Forecast the hours after a file of air measurements.

    python lstm_airquality/predict.py AirQualityUCI.csv
    python lstm_airquality/predict.py my_hours.csv --hours 48 --output forecast.csv

The file is in the publisher's format, or in plain comma format with the same column names. The
latest finished run is used, or the one that `--run` names. Where a forecast needs hours that have
not come yet, it builds on its own forecasts of them, and grows less certain.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import checkpoints, device, runs
from common.config import cli
from common.errors import require
from common.series import Series

import numpy as np
import tyro

from lstm_airquality.data import FEATURES, load
from lstm_airquality.forecaster import FILE, Trained


@dataclass
class Config:
    """Forecast with a trained run."""

    file: tyro.conf.Positional[str]  # CSV file of hours, the last of which is now
    hours: int = 24  # hours to forecast
    output: str = ""  # CSV file to write; empty = <file>_forecast.csv, in this folder
    run: str = ""  # folder or name of a run; empty = the latest finished one
    out: str = ""  # folder of the runs; empty = runs/ in the repository
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...


def main(config: Config) -> Path:
    """Print and write the forecast; returns the file written."""
    require(config.hours >= 1, f"--hours must be at least 1, not {config.hours}")
    path = Path(config.file).expanduser()
    output = Path(config.output or f"{path.stem}_forecast.csv").expanduser()
    series = load(path)
    found = runs.find_trained("lstm_airquality", config.run, config.out, FILE) / FILE
    trained = Trained.load(found, device.choose(config.device))
    forecast = trained.roll_out(series, config.hours)
    silent = unheard(series, trained.settings["window"] + trained.settings["horizon"] - 1)
    forecast[:, silent] = np.nan
    print(f"{path}: {len(series.values):,} hours to {series.times[-1]:%Y-%m-%d %H:%M}")
    for note in series.notes:
        print(f"  {note}")
    if silent.any():
        names = ", ".join(np.array(FEATURES)[silent])
        print(f"  not measured in the last hours, so not forecast: {names}")
    print(f"forecaster: {found}, {trained.settings['horizon']} h ahead")
    write(forecast, series, output)
    print(f"\nwritten to {output}")
    return output


def unheard(series: Series, hours: int) -> np.ndarray:
    """(features,): whether a feature has no value in the last hours."""
    return np.isnan(series.values[-hours:]).all(axis=0)


def write(forecast: np.ndarray, series: Series, output: Path) -> None:
    """Print the table and write it in plain comma format."""
    import pandas as pd

    first = series.times[-1] + series.spacing
    times = pd.date_range(first, periods=len(forecast), freq=series.spacing)
    table = pd.DataFrame(forecast, columns=FEATURES)
    table.insert(0, "Time", times.strftime("%H:%M:%S"))
    table.insert(0, "Date", times.strftime("%Y-%m-%d"))
    print("\n" + table.to_string(index=False, float_format="{:.4g}".format, na_rep="-"))
    checkpoints.write_text(output, table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    cli(Config, main)
