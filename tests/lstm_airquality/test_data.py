"""Forward fill, windows, splits, baselines, and what must not leak."""

from common.errors import UserError
from common.series import Series

import numpy as np
import pandas as pd
import pytest
import torch

from lstm_airquality import baselines, data
from lstm_airquality.sample import HOURS

WINDOW = 24


def prepared(series, known, horizon=1, **inputs):
    scaler = data.fit_scaler(series.values[:known])
    inputs = {"use_calendar": True, "use_mask": False, **inputs}
    return data.prepare(series, scaler, horizon, **inputs)


def changed(series, rows, value):
    values = series.values.copy()
    values[rows] = value
    return Series(series.times, values, series.columns, series.spacing)


# Missing values


def test_forward_fill_against_pandas_and_never_from_the_future():
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 4))
    values[random.random(values.shape) < 0.5] = np.nan
    np.testing.assert_array_equal(data.fill_forward(values), pd.DataFrame(values).ffill())
    for row in range(60):
        later = values.copy()
        later[row + 1 :] = random.normal(size=later[row + 1 :].shape)
        np.testing.assert_array_equal(
            data.fill_forward(later)[: row + 1], data.fill_forward(values)[: row + 1]
        )


def test_missing_targets_are_marked_and_missing_inputs_filled(sample):
    hours = prepared(sample, 960, use_mask=True)
    missing = torch.from_numpy(np.isnan(sample.values))
    assert torch.equal(hours.observed == 0, missing)
    assert (hours.targets[missing] == 0).all()
    assert hours.inputs.isfinite().all()
    assert torch.equal(hours.inputs[:, -13:], hours.observed)
    assert hours.inputs.shape == (HOURS, 13 + data.CALENDAR + 13)
    gap = 705  # inside the sensors' second gap, from row 700
    assert torch.equal(hours.inputs[gap, 1], hours.inputs[699, 1])


# Windows, calendar and leaks


def test_short_series_is_one_sentence(sample):
    with pytest.raises(UserError, match="239 hours are too few"):
        data.split(239)
    with pytest.raises(UserError, match="window of 300 hours and a horizon of 1"):
        prepared(sample, 768).windows(768, 960, 300, 1)


@pytest.mark.parametrize("horizon", [1, 5, 24])
def test_windows_lie_wholly_in_their_part_and_targets_are_horizon_hours_later(sample, horizon):
    parts = data.split(HOURS)
    hours = prepared(sample, parts.train, horizon)
    # Row numbers instead of values tell where each window comes from.
    rows = torch.arange(HOURS, dtype=torch.float32)[:, None]
    numbered = data.Hours(rows, rows, torch.ones_like(rows), hours.scaler)
    seen = []
    for first, last in ((0, parts.train), (parts.train, parts.known), (parts.known, HOURS)):
        windows, targets, _ = numbered.windows(first, last, WINDOW, horizon)
        assert len(windows) == last - first - WINDOW - horizon + 1
        assert windows.min() == first
        assert targets.max() == last - 1
        assert torch.equal(windows[:, 1:], windows[:, :-1] + 1)
        assert torch.equal(targets, windows[:, -1] + horizon)
        seen.append({*windows.unique().tolist(), *targets.unique().tolist()})
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert not seen[0] & seen[2]


def test_parts_are_in_order_of_time():
    parts = data.split(9357)
    assert (parts.train, parts.known, parts.rows) == (5988, 7485, 9357)


@pytest.mark.parametrize("horizon", [1, 24])
def test_calendar_is_that_of_the_hour_forecast(sample, horizon):
    hours = prepared(sample, 960, horizon)
    row = 100
    target = sample.times[row] + pd.Timedelta(hours=horizon)
    found = hours.inputs[row, 13:].double().numpy()
    day, week = (
        2 * np.pi * target.hour / 24,
        2 * np.pi * (target.day_of_week * 24 + target.hour) / 168,
    )
    expected = [
        np.sin(day),
        np.cos(day),
        np.sin(2 * day),
        np.cos(2 * day),
        np.sin(week),
        np.cos(week),
    ]
    np.testing.assert_allclose(found, [*expected, target.day_of_week >= 5], atol=1e-6)


def test_scaler_is_fitted_on_observed_known_rows_alone(sample):
    scaler = data.fit_scaler(sample.values[:700])
    frame = pd.DataFrame(sample.values[:700])
    np.testing.assert_allclose(scaler.mean, frame.mean())
    np.testing.assert_allclose(scaler.std, frame.std(ddof=0))
    np.testing.assert_allclose(scaler.inverse(scaler.transform(sample.values)), sample.values)


def test_test_rows_change_nothing_of_what_is_learnt_from(sample):
    parts = data.split(HOURS)
    other = changed(sample, slice(parts.known, None), 1e6)
    for known in (parts.train, parts.known):
        for mine, theirs in zip(
            prepared(sample, known).windows(0, parts.known, WINDOW, 1),
            prepared(other, known).windows(0, parts.known, WINDOW, 1),
            strict=True,
        ):
            assert torch.equal(mine, theirs)


def test_inputs_never_hold_a_later_value(sample):
    later = changed(sample, slice(501, None), 77.0)
    scaler = data.fit_scaler(sample.values[:400])
    given = {"use_calendar": True, "use_mask": True}
    mine = data.prepare(sample, scaler, 1, **given).inputs
    theirs = data.prepare(later, scaler, 1, **given).inputs
    assert torch.equal(mine[:501], theirs[:501])
    assert not torch.equal(mine[501:], theirs[501:])


# Baselines


def test_persistence_and_seasonal_naive_repeat_what_was_seen(sample):
    parts = data.split(HOURS)
    for horizon, day in ((1, 24), (24, 24), (30, 48)):
        hours = prepared(sample, parts.known, horizon)
        filled = hours.inputs[:, :13].numpy()
        targets = np.arange(parts.known + WINDOW + horizon - 1, HOURS)
        found = baselines.persistence(hours, parts, WINDOW, horizon)
        np.testing.assert_array_equal(found, filled[targets - horizon])
        found = baselines.seasonal_naive(hours, parts, WINDOW, horizon)
        np.testing.assert_array_equal(found, filled[targets - day])


def test_ridge_finds_a_linear_rule(sample):
    """An oscillation with noise: the last two values explain 89 % of the next one."""
    random = np.random.default_rng(0)
    values = random.normal(size=(HOURS, 13))
    for row in range(2, HOURS):
        values[row] += 1.2 * values[row - 1] - 0.9 * values[row - 2]
    series = Series(sample.times, values, sample.columns, sample.spacing)
    parts = data.split(HOURS)
    hours = prepared(series, parts.known)
    truth = hours.targets[parts.known + WINDOW :].numpy()
    errors = baselines.ridge(hours, parts, WINDOW, 1) - truth
    assert 0.8 < 1 - np.square(errors).mean() / truth.var() < 0.9


def test_baselines_are_fitted_without_the_test_part(sample):
    parts = data.split(HOURS)
    other = changed(sample, slice(parts.known + 200, None), 50.0)
    mine, theirs = prepared(sample, parts.known), prepared(other, parts.known)
    for method in (baselines.persistence, baselines.seasonal_naive, baselines.ridge):
        forecast = method(mine, parts, WINDOW, 1)[:170]
        np.testing.assert_allclose(forecast, method(theirs, parts, WINDOW, 1)[:170], rtol=1e-5)
