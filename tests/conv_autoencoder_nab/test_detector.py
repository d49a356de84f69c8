"""Scores of rows: what they may depend on, thresholds, and what training may not see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto

from common import runs
from common.downloads import Source
from common.settings import UserError
from common.trained import find_trained
from conv_autoencoder_nab import data
from conv_autoencoder_nab.detector import (
    VARIANTS,
    Detector,
    at_rows,
    member_scores,
    threshold,
)
from conv_autoencoder_nab.model import ConvAutoencoder
from conv_autoencoder_nab.scoring import events
from conv_autoencoder_nab.train import Config, fit_detector

WINDOW, RECENT, AROUND = LENGTHS = 12, 4, 6
NORMAL = 1700


@pytest.fixture(scope="module")
def model() -> ConvAutoencoder:
    torch.manual_seed(0)
    return ConvAutoencoder()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> data.Labelled:
    folder = tmp_path_factory.mktemp("nab")
    data.make_sample(folder)
    return data.load(folder)


@pytest.fixture(scope="module")
def fitted(labelled: data.Labelled, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    return fit(labelled.series, tmp_path_factory.mktemp("runs"))


def fit(series, folder: Path) -> tuple:
    config = Config(epochs=1, members=2, window=96, around=96, out=folder, device="cpu")
    run = runs.start("conv_autoencoder_nab", config)
    run.begin(Source("sample", "sample", folder), {})
    parts = data.split(NORMAL)
    detector, scores, _ = fit_detector(series, parts, parts.train, config, run)
    run.save_model(detector.models, **detector.preprocessing())
    return detector, scores, run.folder


def values(rows: int = 60) -> np.ndarray:
    return np.random.default_rng(0).normal(size=rows)


def test_scores_equal_those_of_a_loop_over_rows(model: ConvAutoencoder) -> None:
    series = values()
    scores = member_scores(model, series, *LENGTHS)
    for row in range(len(series)):
        for variant in VARIANTS:
            ahead = 5 if variant == "centred" else 0  # 6 rows before, the row itself, 5 after
            first = row - (WINDOW - 1) + ahead
            if first < 0 or first + WINDOW > len(series):
                assert np.isnan(scores[variant][row])
                continue
            window = torch.tensor(series[first : first + WINDOW], dtype=torch.float32)[None]
            errors = (model(window) - window).abs()[0].detach()
            wanted = (errors[-4:] if variant == "causal" else errors[3:9]).mean()
            assert scores[variant][row] == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(("variant", "ahead"), [("causal", 0), ("centred", 5)])
def test_scores_do_not_depend_on_rows_beyond_their_reach(
    model: ConvAutoencoder, variant: str, ahead: int
) -> None:
    before, changed = values(), values()
    changed[40:] += 100.0
    old = member_scores(model, before, *LENGTHS)[variant]
    new = member_scores(model, changed, *LENGTHS)[variant]
    np.testing.assert_array_equal(old[: 40 - ahead], new[: 40 - ahead])
    assert old[40 - ahead] != new[40 - ahead]


def test_missing_values_are_left_out(model: ConvAutoencoder) -> None:
    series = values()
    series[-1] = np.nan
    window = torch.tensor(np.nan_to_num(series[-WINDOW:]), dtype=torch.float32)[None]
    errors = (model(window) - window).abs()[0].detach()
    found = member_scores(model, series, *LENGTHS)["causal"][-1]
    assert found == pytest.approx(errors[-RECENT:-1].mean().item(), rel=1e-5)
    series[-3:] = np.nan
    assert np.isnan(member_scores(model, series, *LENGTHS)["causal"][-1])


def test_at_rows_places_every_window() -> None:
    assert at_rows(np.arange(3.0), 6, 4, "causal").tolist()[3:] == [0, 1, 2]
    assert at_rows(np.arange(3.0), 6, 4, "centred").tolist()[2:5] == [0, 1, 2]


def test_members_count_alike_whatever_their_scale(fitted: tuple) -> None:
    members = [{v: np.array([1.0, 2.0]) for v in VARIANTS}]
    members += [{v: np.array([100.0, 400.0]) for v in VARIANTS}]
    detector = replace(fitted[0], medians={v: [1.0, 100.0] for v in VARIANTS})
    assert detector.average(members)["causal"].tolist() == [1.0, 3.0]


def test_nothing_is_learned_from_test_rows(
    labelled: data.Labelled, fitted: tuple, tmp_path: Path
) -> None:
    changed = labelled.series.values.copy()
    changed[NORMAL:] = changed[NORMAL:][::-1] * 3 + 1000
    detector, scores, _ = fitted
    other, other_scores, _ = fit(replace(labelled.series, values=changed), tmp_path)
    assert detector.thresholds == other.thresholds
    assert detector.medians == other.medians
    np.testing.assert_array_equal(detector.scaler.centre, other.scaler.centre)
    np.testing.assert_array_equal(detector.scaler.scale, other.scaler.scale)
    for own, others in zip(detector.models, other.models, strict=True):
        for a, b in zip(own.parameters(), others.parameters(), strict=True):
            assert torch.equal(a, b)
    np.testing.assert_array_equal(scores["causal"][:NORMAL], other_scores["causal"][:NORMAL])
    assert not np.array_equal(scores["causal"][NORMAL:], other_scores["causal"][NORMAL:])


def test_thresholds_are_of_training_rows_alone(fitted: tuple) -> None:
    detector, scores, _ = fitted
    train = data.split(NORMAL).train
    for variant, last in (("causal", train), ("centred", train - (detector.window - 1) // 2)):
        assert detector.thresholds[variant] == threshold(scores[variant][:last], "events", gap=48)


def test_a_saved_detector_scores_alike(labelled: data.Labelled, fitted: tuple) -> None:
    detector, scores, folder = fitted
    trained = find_trained("conv_autoencoder_nab", str(folder))
    loaded = Detector.of(trained, torch.device("cpu"))
    slots = data.seasonal_slots(labelled.series, 336)
    for variant, found in loaded.scores(labelled.values, slots).items():
        np.testing.assert_array_equal(found, scores[variant])
    assert loaded.thresholds == detector.thresholds
    assert (loaded.step, loaded.gap) == (30 * 60 * 10**9, 48)
    assert trained.sample


def test_quantile_leaves_its_fraction_above() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(2000.0))
    assert (scores > threshold(scores, "quantile", rate=0.01)).sum() == 20


def test_pareto_tail_reaches_beyond_the_scores() -> None:
    tail = genpareto.rvs(0.2, size=20_000, random_state=0)
    level = threshold(tail, "pot", rate=1e-5)
    assert level == pytest.approx(genpareto.isf(1e-5, 0.2), rel=0.3)
    assert threshold(tail, "pot", rate=1e-3) == pytest.approx(genpareto.isf(1e-3, 0.2), rel=0.1)


@given(
    st.lists(st.integers(1, 60), unique=True, max_size=40),
    st.sets(st.integers(0, 39)),
    st.integers(0, 3),
    st.integers(0, 4),
)
def test_the_rule_of_events_takes_the_least_level_that_keeps_to_them(
    values: list[int], missing: set[int], tolerated: int, gap: int
) -> None:
    scores = np.array([*values, 0.5])
    scores[[row for row in missing if row < len(values)]] = np.nan
    levels = sorted(scores[np.isfinite(scores)], reverse=True)
    kept = [len(events(scores > level, gap)) <= tolerated for level in levels]
    least = levels[(kept.index(False) if False in kept else len(kept)) - 1]
    found = threshold(scores, "events", tolerated=tolerated, gap=gap)
    assert found == pytest.approx(least, rel=2e-3)
    assert len(events(scores > found, gap)) <= tolerated


@pytest.mark.parametrize("rule", ["events", "quantile", "pot"])
def test_constant_scores_have_a_threshold_and_no_scores_have_none(rule: str) -> None:
    assert threshold(np.ones(100), rule) == pytest.approx(1.0, rel=2e-3)
    with pytest.raises(UserError, match="no training row has a score"):
        threshold(np.full(5, np.nan), rule)
