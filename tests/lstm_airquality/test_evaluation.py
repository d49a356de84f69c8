"""Scores against scikit-learn, and that missing hours are not scored."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from lstm_airquality.data import FEATURES
from lstm_airquality.evaluation import feature_table, row_scores, score
from lstm_airquality.figures import autocorrelation


@pytest.fixture
def hours():
    random = np.random.default_rng(0)
    std = random.uniform(0.1, 300, 13)
    truth = random.normal(size=(200, 13)) * std + 5
    forecast = truth + 0.3 * std * random.normal(size=truth.shape)
    truth[random.random(truth.shape) < 0.2] = np.nan
    truth[:, 2] = np.nan
    return forecast, truth, std


def test_metrics_are_those_of_scikit_learn(hours):
    forecast, truth, std = hours
    metrics, rows = score(forecast, truth, std, FEATURES)
    r2, mae, rmse, variances = [], [], [], []
    for column, name in enumerate(FEATURES):
        seen = ~np.isnan(truth[:, column])
        assert rows[name]["scored_hours"] == seen.sum()
        if not seen.any():
            continue
        pair = truth[seen, column], forecast[seen, column]
        assert rows[name]["r2"] == pytest.approx(r2_score(*pair))
        assert rows[name]["mae"] == pytest.approx(mean_absolute_error(*pair))
        assert rows[name]["rmse"] == pytest.approx(root_mean_squared_error(*pair))
        r2.append(r2_score(*pair))
        mae.append(mean_absolute_error(*pair) / std[column])
        rmse.append(root_mean_squared_error(*pair) / std[column])
        variances.append(pair[0].var() / std[column] ** 2)
    assert len(r2) == 12
    assert metrics["r2"] == pytest.approx(np.mean(r2))
    assert metrics["mae"] == pytest.approx(np.mean(mae))
    assert metrics["rmse"] == pytest.approx(np.mean(rmse))
    assert metrics["r2_weighted"] == pytest.approx(np.average(r2, weights=variances))


def test_weighted_r2_without_missing_hours_is_scikit_learns(hours):
    forecast, truth, std = hours
    whole = np.where(np.isnan(truth), 1.0, truth)
    metrics, _ = score(forecast / std, whole / std, np.ones(13), FEATURES)
    kept = [column for column in range(13) if column != 2]  # a constant feature is not scored
    expected = r2_score(
        (whole / std)[:, kept], (forecast / std)[:, kept], multioutput="variance_weighted"
    )
    assert metrics["r2_weighted"] == pytest.approx(expected)


def test_forecasts_of_missing_hours_change_nothing(hours):
    forecast, truth, std = hours
    other = np.where(np.isnan(truth), 1e9, forecast)
    assert score(forecast, truth, std, FEATURES) == score(other, truth, std, FEATURES)


def test_a_feature_that_is_absent_or_constant_is_not_scored(hours):
    forecast, truth, std = hours
    truth[:, 4] = 3.0
    _, rows = score(forecast, truth, std, FEATURES)
    assert [name for name in FEATURES if rows[name]["r2"] is None] == [FEATURES[2], FEATURES[4]]
    table = feature_table(rows).splitlines()
    assert len(table) == 14
    assert "not scored" in table[3]


def test_row_scores_are_minus_the_mean_squared_error_of_what_was_observed(hours):
    forecast, truth, std = hours
    truth[7] = np.nan  # nothing observed: no score
    scores = row_scores(forecast, truth, std)
    assert len(scores) == 199
    seen = ~np.isnan(truth[0])
    assert scores[0] == pytest.approx(-np.mean(((forecast - truth)[0, seen] / std[seen]) ** 2))


def test_nothing_observed_gives_no_metric():
    metrics, _ = score(np.zeros((5, 13)), np.full((5, 13), np.nan), np.ones(13), FEATURES)
    assert np.isnan(list(metrics.values())).all()


def test_autocorrelation_counts_observed_pairs_alone():
    random = np.random.default_rng(0)
    wave = np.sin(2 * np.pi * np.arange(1000) / 24)
    holed = np.where(random.random(1000) < 0.4, np.nan, wave)
    lags = autocorrelation(holed, 30)
    assert lags[0] == pytest.approx(1)
    assert lags[12] == pytest.approx(-1)
    assert lags[24] == pytest.approx(1)
    assert np.isnan(autocorrelation(np.full(100, np.nan), 5)).all()
