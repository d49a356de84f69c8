"""Sweeps: the whole grid, no finished point twice, one failure does not end the rest."""

import argparse
import itertools
import shutil
from pathlib import Path

from common import sweep
from common.errors import SettingError

import pytest


def test_the_grid_is_every_combination():
    points = sweep.grid(["lr=0.1,0.2", "seed=0,1,2"])
    expected = itertools.product(("0.1", "0.2"), ("0", "1", "2"))
    assert [(p["lr"], p["seed"]) for p in points] == list(expected)


@pytest.mark.parametrize("word", ["lr", "lr=", "=1"])
def test_a_word_of_another_form(word):
    with pytest.raises(SettingError, match="field=value"):
        sweep.grid([word])


@pytest.fixture
def project(tmp_path, monkeypatch, root):
    """The toy project under a name of its own, so that it can be imported."""
    folder = tmp_path / "house" / "toy_sweep"
    folder.mkdir(parents=True)
    text = (root / "tests/common/toy_project/train.py").read_text()
    text = text.replace('"toy_project"', '"toy_sweep"')
    text = text.replace("    run = runs.start", "    COUNT.append(1)\n    run = runs.start")
    text = text.replace("@dataclass\n", "COUNT = []\n\n\n@dataclass\n")
    text = text.replace("parents[3]", "parents[0]")
    (folder / "train.py").write_text(text)
    monkeypatch.setattr(sweep, "ROOT", folder.parent)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    shutil.rmtree(folder.parent)


def test_a_sweep_goes_on_where_it_stopped(project, tmp_path, capsys):
    import sys

    def go(*words):
        options = argparse.Namespace(
            project="toy_sweep", fields=words, by="", record="", out=str(tmp_path / "runs")
        )
        return sweep.sweep(options, ["--epochs", "1", "--device", "cpu"])

    assert go("lr=0.001,0.01", "seed=0,1") == 0
    count = sys.modules["toy_sweep.train"].COUNT
    assert len(count) == 4
    assert go("lr=0.001,0.01,0.1", "seed=0,1") == 0
    assert len(count) == 6  # only the new points ran
    csv = (tmp_path / "runs/toy_sweep/sweep.csv").read_text().splitlines()
    assert len(csv) == 4
    assert csv[1].startswith('"lr=0.1","2"')  # the best by val_mae stands first
    assert (tmp_path / "runs/toy_sweep/sweep.png").is_file()
    # an infinite target fails one point: the other is still reported
    assert go("explode_at=0,7", "seed=0") == 1
    output = capsys.readouterr()
    assert "explode_at=7 seed=0 failed: the loss is inf" in output.err
    assert "SAMPLE DATA" in output.out
    assert Path(tmp_path / "runs/toy_sweep/sweep.csv").read_text().count("\n") == 2
