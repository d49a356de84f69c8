"""NAB's corpus: the protocol of corpus.py, and its scorer against the published figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.settings import parse
from conv_autoencoder_nab import corpus, data
from conv_autoencoder_nab.scoring import PROFILES, corpus_score

PUBLISHED_NAMES = {
    "standard": "standard",
    "reward_low_FP_rate": "low_fp",
    "reward_low_FN_rate": "low_fn",
}
QUICK = ("--data", "sample", "--epochs", "1", "--members", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpus.make_sample(folder)
    return folder


def test_the_scoreboard_of_the_sample(tmp_path: Path, capsys) -> None:
    words = [*QUICK, "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "runs")]
    results = corpus.main(parse(corpus.Config, words))
    assert results["command"].startswith("python conv_autoencoder_nab/corpus.py --")
    for metrics in (results["metrics"], results["baselines"]["distance from the median"]):
        assert 0 <= metrics["nab_low_fp"] <= metrics["nab_standard"] <= 100
    assert results["published"]["null"] == dict.fromkeys(corpus.METRICS, 0.0)
    printed = capsys.readouterr().out
    assert "SAMPLE DATA" in printed
    assert "7 series, 7,000 rows, 3 labelled windows" in printed
    assert "rank 1 among NAB's 15, thresholds chosen by the labels" in printed


def test_scores_are_learned_from_probation_and_causal(sample: Path) -> None:
    """What happens later changes neither what was learned nor any score before it."""
    config = corpus.Config(epochs=1, members=1)
    series = corpus.read(sample / "data" / "realTweets" / "sample_6.csv")
    old = corpus.raw_scores(series, config, "cpu")
    series.values[500:] = series.values[500:][::-1] * 3
    new = corpus.raw_scores(series, config, "cpu")
    for name, scores in old.items():
        np.testing.assert_array_equal(scores[:500], new[name][:500])
        assert not np.array_equal(scores[500:], new[name][500:])


def test_news_is_what_exceeds_all_of_a_while() -> None:
    scores = np.array([np.nan, 1.0, 2.0, 4.0, 4.0, 3.0, 1.0, 1.5, 18.0])
    found = corpus.news(scores, known=3, quiet=3)  # in units of 2.0
    assert found.tolist() == pytest.approx(
        [0, 0, 1 / np.sqrt(0.5), 2 / np.sqrt(1.0), 0, 0, 0, 0, 9 / np.sqrt(1.5)]
    )
    assert corpus.news(scores[:5], 3, 3).tolist() == found[:5].tolist()  # causal


def test_a_silent_corpus_scores_nothing() -> None:
    flat = [(np.zeros(200), [(100, 120)]), (np.zeros(200), [])]
    assert corpus_score(flat, PROFILES["standard"]) == 0.0


def published(real_data: Path) -> Path:
    folder = real_data / "nab" / "corpus" / "published"
    if not folder.is_dir():
        pytest.skip("the published scores of the corpus are not in the nab folder")
    return folder


@pytest.mark.real
@pytest.mark.parametrize("detector", ["windowedGaussian", "relativeEntropy", "null"])
def test_published_detectors(real_data: Path, detector: str) -> None:
    folder = published(real_data)
    path = real_data / "nab" / "corpus" / corpus.LABELS
    scored = []
    for name, limits in data.read_labels(path).items():
        series = corpus.read(path.parents[1] / "data" / name)
        scores = np.full(len(series.values), 0.5)  # the null detector's
        if detector != "null":
            scores = pd.read_csv(folder / detector / name)["anomaly_score"].to_numpy()
        scored.append((scores, data.locate(limits, series, path)))
    assert len(scored) == 58
    assert sum(len(windows) for _, windows in scored) == 116
    final = json.loads((folder / "final_results.json").read_text(encoding="utf-8"))[detector]
    for name, profile in PUBLISHED_NAMES.items():
        score = corpus_score(scored, PROFILES[profile])
        assert score == pytest.approx(final[name], abs=1e-6)


@pytest.mark.real
def test_the_published_scoreboard(real_data: Path) -> None:
    path = published(real_data) / "final_results.json"
    final = json.loads(path.read_text(encoding="utf-8"))
    for detector, scores in corpus.PUBLISHED.items():
        assert scores == pytest.approx(
            [final[detector][name] for name in PUBLISHED_NAMES], abs=0.051
        )
