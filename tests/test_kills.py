"""A run killed at twenty seeded moments ends as if never killed; runs at once keep apart."""

import json
import random
import subprocess
import sys
from pathlib import Path

from common import checkpoints

import pytest
import torch

SMALL = ["--epochs", "2", "--hidden-size", "8", "--batch-size", "256", "--device", "cpu"]
SMALL += ["--data", "sample", "--baselines", "false", "--save-seconds", "0"]
KILLS = 20
TIMES = {"train_seconds", "peak_memory_mb"}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@pytest.fixture(scope="module")
def start():
    """Start runs of lstm_airquality at once, and wait for them."""
    nursery = Path(__file__).parent / "common" / "nursery.py"
    command = [sys.executable, str(nursery), "lstm_airquality"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def start(folder: Path, *kills: tuple[str, int], resume: bool = False) -> list:
            folder.mkdir(exist_ok=True)
            words = [*SMALL, "--data-dir", str(folder / "data"), "--out", str(folder / "out")]
            words += ["--resume"] if resume else []
            requests = [
                {"arguments": words, "log": str(folder / "log"), "scope": scope, "after": after}
                for scope, after in kills
            ]
            process.stdin.write(json.dumps(requests) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield start
        process.stdin.close()


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The folder of an uninterrupted run, and how many calls it made in each scope."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder, ("", -1))[0][0] == 0, (folder / "log").read_text()
    again = tmp_path_factory.mktemp("counted")
    ((code, counts),) = start(again, ("", 0))
    assert code == 0
    assert outcome(finished(again)[0])[0] == outcome(finished(folder)[0])[0]
    return folder, counts


def finished(folder: Path) -> list[Path]:
    """The folders of the runs that wrote their results."""
    return [path.parent for path in folder.glob("out/lstm_airquality/*/results.json")]


def outcome(run: Path) -> tuple[dict, dict]:
    """The figures of a run, without its times, and the weights it ended with."""
    results = json.loads((run / "results.json").read_text())
    figures = {key: value for key, value in results["metrics"].items() if key not in TIMES}
    figures["by feature"] = results["extra"]["by_feature"]
    figures["data"] = results["dataset"]["checksum"]
    return figures, checkpoints.load(run / "refit" / "best.pt")["model"]


def assert_same(run: Path, other: Path) -> None:
    (figures, weights), (other_figures, other_weights) = outcome(run), outcome(other)
    assert figures == other_figures
    assert weights.keys() == other_weights.keys()
    for name, value in weights.items():
        assert torch.equal(value, other_weights[name]), name


def assert_whole(folder: Path) -> None:
    """Every file that bears its final name can be read to its end."""
    for path in folder.rglob("*.pt"):
        if not path.name.startswith("."):
            checkpoints.load(path)
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for path in folder.glob("data/sample/air_quality/*"):
        assert path.stat().st_size > 0


def test_twenty_kills_change_nothing(start, whole, tmp_path):
    """Five kills a run: while its data is prepared, while a checkpoint is written, anywhere."""
    reference, counts = whole
    draw, done = random.Random(6), []
    for number in range(KILLS // 5):
        folder = tmp_path / f"run {number}"
        scopes = ["make_sample", "write_atomically", *draw.choices(["write_atomically", ""], k=3)]
        for scope in scopes:
            # A resumed run makes fewer calls: a fifth of them leaves some for the kills to come.
            after = draw.randint(1, counts[scope] if scope == "make_sample" else counts[scope] // 5)
            resume = any(folder.glob("out/*/*/config.json"))
            ((code, _),) = start(folder, (scope, after), resume=resume)
            done.append((scope, after, code))
            assert_whole(folder)
        ((code, _),) = start(folder, ("", -1), resume=True)
        assert code == 0, (folder / "log").read_text()
        (run,) = finished(folder)
        assert_same(run, finished(reference)[0])
        assert not list(run.rglob(".*.part")), "leftovers of the killed writes"
    assert [code for *_, code in done] == [-9] * KILLS, done


def test_runs_at_once_keep_apart_and_prepare_the_data_whole(start, whole, tmp_path):
    """Three first starts on an empty data folder, of which one is killed preparing it."""
    reference, counts = whole
    answers = start(tmp_path, ("make_sample", counts["make_sample"] // 2), ("", -1), ("", -1))
    assert sorted(code for code, _ in answers)[1:] == [0, 0], (tmp_path / "log").read_text()
    runs = finished(tmp_path)
    assert len(set(runs)) >= 2
    for run in runs:
        assert_same(run, finished(reference)[0])
    (sample,) = tmp_path.glob("data/sample/*/*.csv")
    assert sample.read_bytes() == next(reference.glob("data/sample/*/*.csv")).read_bytes()
    left = {path.name for path in (tmp_path / "data" / "sample").iterdir()}
    assert left == {"air_quality", ".air_quality.lock"}
