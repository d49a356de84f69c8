"""A generated stand-in for the Air Quality file, in the publisher's exact format."""

from pathlib import Path

import numpy as np

FILE = "AirQualityUCI.csv"
HEADER = (
    "Date;Time;CO(GT);PT08.S1(CO);NMHC(GT);C6H6(GT);PT08.S2(NMHC);NOx(GT);PT08.S3(NOx);NO2(GT);"
    "PT08.S4(NO2);PT08.S5(O3);T;RH;AH;;"
)
HOURS = 1200
NMHC_HOURS = 300  # that analyser stopped early
EMPTY_ROWS = 114
# Mean, spread, share of the traffic in it, decimals: roughly those of the real columns.
COLUMNS = (
    (2.1, 1.4, 0.9, 1),
    (1100.0, 210.0, 0.9, 0),
    (220.0, 150.0, 0.8, 0),
    (10.0, 7.0, 0.95, 1),
    (940.0, 260.0, 0.95, 0),
    (245.0, 200.0, 0.8, 0),
    (835.0, 250.0, -0.8, 0),
    (113.0, 48.0, 0.7, 0),
    (1450.0, 340.0, 0.7, 0),
    (1020.0, 390.0, 0.8, 0),
    (18.0, 8.0, 0.1, 1),
    (49.0, 17.0, -0.1, 1),
    (1.0, 0.4, 0.0, 4),
)


def make_sample(folder: Path) -> None:
    """Write 1,200 hours: rush hours, quiet weekends, drifting weather, gaps; seeded."""
    random = np.random.default_rng(0)
    hours = np.arange(HOURS) + 18
    of_day, weekend = hours % 24, (hours // 24 + 2) % 7 >= 5  # the first day is a Wednesday
    rush = np.exp(-(((of_day - 8) / 2.5) ** 2)) + np.exp(-(((of_day - 19) / 3) ** 2)) - 0.4
    traffic = 2 * rush * np.where(weekend, 0.6, 1.0) + 0.5 * drift(random, 0.9)
    values = np.empty((HOURS, len(COLUMNS)))
    for column, (mean, spread, share, _) in enumerate(COLUMNS):
        other = np.sqrt(1 - share**2) * drift(random, 0.95)
        values[:, column] = mean + 0.6 * spread * (share * traffic + other)
    values = np.maximum(values, 0.05 * values.mean(axis=0))  # no negative concentration
    # The analysers miss hours one by one, the sensors and the weather station all at once.
    for column in (0, 2, 5, 7):
        values[random.random(HOURS) < 0.1, column] = np.nan
    for start in (150, 700, 1050):
        values[start : start + 12, [1, 3, 4, 6, 8, 9, 10, 11, 12]] = np.nan
    values[NMHC_HOURS:, 2] = np.nan
    first = np.datetime64("2004-03-10T00:00:00")
    lines = [HEADER]
    for hour, row in zip(hours, values, strict=True):
        date, clock = str(first + np.timedelta64(int(hour), "h")).split("T")
        day = "/".join(reversed(date.split("-")))
        fields = [text(value, each[3]) for value, each in zip(row, COLUMNS, strict=True)]
        lines.append(";".join([day, clock.replace(":", "."), *fields]) + ";;")
    lines += [";" * 16] * EMPTY_ROWS
    (folder / FILE).write_bytes(("\r\n".join(lines) + "\r\n").encode("ascii"))


def drift(random: np.random.Generator, memory: float) -> np.ndarray:
    """A slow random walk around zero, (hours,), of variance one."""
    steps = random.normal(size=HOURS) * np.sqrt(1 - memory**2)
    for hour in range(1, HOURS):
        steps[hour] += memory * steps[hour - 1]
    return steps


def text(value: float, decimals: int) -> str:
    """The publisher's way of writing: a decimal comma, no trailing zeros, -200 for missing."""
    if np.isnan(value):
        return "-200"
    return (
        f"{value:.{decimals}f}".rstrip("0").rstrip(".").replace(".", ",")
        if decimals
        else (f"{value:.0f}")
    )
