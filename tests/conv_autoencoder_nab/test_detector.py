"""Scores of rows: what they may depend on, and what training may not see."""

from dataclasses import replace
from pathlib import Path

from common import runs
from common.errors import UserError

import numpy as np
import pytest
import torch

from conv_autoencoder_nab import data
from conv_autoencoder_nab.detector import (
    VARIANTS,
    Detector,
    at_rows,
    combine,
    fit_detector,
    known_rows,
    member_scores,
)
from conv_autoencoder_nab.evaluation import threshold
from conv_autoencoder_nab.model import ConvAutoencoder
from conv_autoencoder_nab.train import Config, judge

WINDOW, RECENT = 12, 4


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
    return fit(labelled.series, labelled.values, tmp_path_factory.mktemp("runs"))


def fit(series, values, folder: Path) -> tuple:
    config = Config(epochs=1, members=2, out=str(folder), device="cpu")
    run = runs.start("conv_autoencoder_nab", config)
    return fit_detector(series, values, data.split(1700), config, run)


def values(rows: int = 60) -> np.ndarray:
    return np.random.default_rng(0).normal(size=rows)


def test_scores_equal_those_of_a_loop_over_rows(model: ConvAutoencoder) -> None:
    series = values()
    scores = member_scores(model, series, WINDOW, RECENT)
    for row in range(len(series)):
        for variant in VARIANTS:
            ahead = 5 if variant == "centred" else 0  # 6 rows before, the row itself, 5 after
            first = row - (WINDOW - 1) + ahead
            if first < 0 or first + WINDOW > len(series):
                assert np.isnan(scores[variant][row])
                continue
            window = torch.tensor(series[first : first + WINDOW], dtype=torch.float32)[None]
            errors = (model(window) - window).abs()[0].detach()
            wanted = errors[-RECENT:].mean() if variant == "causal" else errors.mean()
            assert scores[variant][row] == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(("variant", "ahead"), [("causal", 0), ("centred", 5)])
def test_scores_do_not_depend_on_rows_beyond_their_reach(
    model: ConvAutoencoder, variant: str, ahead: int
) -> None:
    before, changed = values(), values()
    changed[40:] += 100.0
    old = member_scores(model, before, WINDOW, RECENT)[variant]
    new = member_scores(model, changed, WINDOW, RECENT)[variant]
    np.testing.assert_array_equal(old[: 40 - ahead], new[: 40 - ahead])
    assert old[40 - ahead] != new[40 - ahead]


def test_missing_values_are_left_out(model: ConvAutoencoder) -> None:
    series = values()
    series[-1] = np.nan
    window = torch.tensor(np.nan_to_num(series[-WINDOW:]), dtype=torch.float32)[None]
    errors = (model(window) - window).abs()[0].detach()
    found = member_scores(model, series, WINDOW, RECENT)["causal"][-1]
    assert found == pytest.approx(errors[-RECENT:-1].mean().item(), rel=1e-5)
    series[-3:] = np.nan
    assert np.isnan(member_scores(model, series, WINDOW, RECENT)["causal"][-1])


def test_at_rows_places_every_window() -> None:
    assert at_rows(np.arange(3.0), 6, 4, "causal").tolist()[3:] == [0, 1, 2]
    assert at_rows(np.arange(3.0), 6, 4, "centred").tolist()[2:5] == [0, 1, 2]


def test_members_count_alike_whatever_their_scale() -> None:
    members = [{v: np.array([1.0, 2.0]) for v in VARIANTS}]
    members += [{v: np.array([100.0, 400.0]) for v in VARIANTS}]
    medians = {v: [1.0, 100.0] for v in VARIANTS}
    assert combine(members, medians)["causal"].tolist() == [1.0, 3.0]


def test_nothing_is_learned_from_test_rows(
    labelled: data.Labelled, fitted: tuple, tmp_path: Path
) -> None:
    changed = labelled.values.copy()
    changed[1700:] = changed[1700:][::-1] * 3 + 1000
    detector, scores, _ = fitted
    other, other_scores, _ = fit(labelled.series, changed, tmp_path)
    assert detector.thresholds == other.thresholds
    assert detector.medians == other.medians
    np.testing.assert_array_equal(detector.scaler.centre, other.scaler.centre)
    np.testing.assert_array_equal(detector.scaler.scale, other.scaler.scale)
    for own, others in zip(detector.models, other.models, strict=True):
        for a, b in zip(own.parameters(), others.parameters(), strict=True):
            assert torch.equal(a, b)
    np.testing.assert_array_equal(scores["causal"][:1700], other_scores["causal"][:1700])
    assert not np.array_equal(scores["causal"][1700:], other_scores["causal"][1700:])


def test_thresholds_and_medians_are_of_training_rows_alone(
    labelled: data.Labelled, fitted: tuple
) -> None:
    detector, scores, _ = fitted
    for variant, last in (("causal", 1530), ("centred", 1530 - 47)):
        assert known_rows(data.split(1700).train, 96, variant) == slice(0, last)
        level = threshold(scores[variant][:last], "quantile", 0.001)
        assert detector.thresholds[variant] == level


def test_labels_change_the_figures_and_nothing_else(
    labelled: data.Labelled, fitted: tuple, tmp_path: Path
) -> None:
    """Only the place of the first window, which splits the rows, is ever used."""
    moved = replace(labelled, windows=[labelled.windows[0], (2650, 2700)])
    detector, scores, _ = fitted
    other, other_scores, _ = fit(moved.series, moved.values, tmp_path)
    assert detector.thresholds == other.thresholds
    for variant in VARIANTS:
        np.testing.assert_array_equal(scores[variant], other_scores[variant])
    config, parts = Config(), data.split(1700)
    level = detector.thresholds["causal"]
    figures = [judge(scores["causal"], level, each, parts, config) for each in (labelled, moved)]
    assert figures[0]["pr_auc"] != figures[1]["pr_auc"]


def test_a_saved_detector_scores_alike(
    labelled: data.Labelled, fitted: tuple, tmp_path: Path
) -> None:
    detector, scores, _ = fitted
    detector.save(tmp_path / "detector.pt")
    loaded = Detector.load(tmp_path / "detector.pt", torch.device("cpu"))
    slots = data.seasonal_slots(labelled.series, 336)
    for variant, found in loaded.scores(labelled.values, slots).items():
        np.testing.assert_array_equal(found, scores[variant])
    assert loaded.thresholds == detector.thresholds


def test_a_checkpoint_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="is no detector"):
        Detector.load(tmp_path / "other.pt", torch.device("cpu"))
