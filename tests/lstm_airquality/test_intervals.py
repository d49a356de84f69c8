"""Conformal correction against its definition, and quantiles that never cross."""

import numpy as np
import pytest
import torch

from lstm_airquality import intervals
from lstm_airquality.model import Forecaster


@pytest.fixture
def rows():
    """(rows, 2, 3) forecasts and (rows, 2) truths: normal errors, one target twice as spread."""
    random = np.random.default_rng(0)
    middle = random.normal(size=(2000, 2, 1))
    truth = middle[:, :, 0] + random.normal(size=(2000, 2)) * [1.0, 2.0]
    return middle + np.array([-1.0, 0.0, 1.0]), truth


def test_corrected_intervals_cover_what_was_asked_for_on_new_rows(rows):
    forecast, truth = rows
    truth[::7, 1] = np.nan
    margins = intervals.margins(forecast[:1000], truth[:1000], 0.9)
    np.testing.assert_allclose(margins, [0.645, 2.29], atol=0.15)  # normal quantiles less 1
    wide = intervals.widen(forecast[1000:], margins)
    metrics, by_target = intervals.measure(
        wide, truth[1000:], (0.05, 0.5, 0.95), np.ones(2), ["a", "b"]
    )
    assert metrics["coverage"] == pytest.approx(0.9, abs=0.03)
    assert by_target["b"]["interval_width"] == pytest.approx(2 + 2 * margins[1])
    assert metrics["matched_width"] == pytest.approx(metrics["interval_width"], rel=0.15)


def test_margin_is_the_order_statistic_of_the_paper():
    forecast = np.stack([np.full((19, 1), -1.0), np.zeros((19, 1)), np.ones((19, 1))], axis=2)
    truth = 1 + np.arange(19.0)[:, None]  # outside by 0 to 18
    # The ceil((n + 1) * level)-th smallest of 19 scores: the 18th.
    assert intervals.margins(forecast, truth, 0.9)[0] == 17


def test_a_target_without_a_calibration_value_has_no_interval(rows):
    forecast, truth = rows
    truth[:, 1] = np.nan
    margin = intervals.margins(forecast, truth, 0.9)
    wide = intervals.widen(forecast, margin)
    assert np.isnan(wide[:, 1, [0, 2]]).all()
    np.testing.assert_array_equal(wide[:, 1, 1], forecast[:, 1, 1])
    assert np.isfinite(wide[:, 0]).all()
    assert (intervals.relative_errors(wide, truth)[:, 1] == 0).all()


def test_negative_margins_never_make_quantiles_cross():
    forecast = torch.tensor([[[0.0, 2.0, 3.0, 3.5, 8.0]]])
    assert intervals.widen(forecast, torch.tensor([-1.0])).tolist() == [[[1, 2, 3, 3.5, 7]]]
    assert intervals.widen(forecast, torch.tensor([-9.0])).tolist() == [[[3, 3, 3, 3, 3]]]
    assert intervals.widen(forecast.numpy(), np.array([1.0])).tolist() == [[[-1, 2, 3, 3.5, 9]]]


def test_errors_are_in_halves_of_the_interval():
    forecast = np.array([[[0.0, 2.0, 3.0]], [[0.0, 2.0, 3.0]], [[0.0, 2.0, 3.0]]])
    truth = np.array([[1.0], [4.0], [np.nan]])
    np.testing.assert_allclose(intervals.relative_errors(forecast, truth), [[-0.5], [2], [2]])


def test_pinball_loss_against_its_definition():
    forecast, truth = torch.randn(4, 3, 2), torch.randn(4, 3)
    loss = intervals.pinball(forecast, truth, (0.1, 0.8))
    for q, level in enumerate((0.1, 0.8)):
        error = truth - forecast[:, :, q]
        loss = loss - torch.where(error > 0, level * error, (level - 1) * error) / 2
    torch.testing.assert_close(loss, torch.zeros(4, 3))


@pytest.mark.parametrize("quantiles", [3, 5])
def test_the_networks_quantiles_never_cross(quantiles):
    torch.manual_seed(0)
    model = Forecaster(13, quantiles=quantiles, target="change").eval()
    torch.nn.init.normal_(model.head.weight)
    forecast = model(torch.randn(9, 7, 13))
    assert forecast.shape == (9, 13, quantiles)
    assert (forecast.diff(dim=2) > 0).all()
