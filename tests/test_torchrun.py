"""The README's torchrun command, on the sample: two processes end as one does, to rounding."""

import json
import re
import shlex

from common import config

import pytest

from lstm_airquality import train

SMALL = ["--data", "sample", "--epochs", "2", "--hidden-size", "8", "--dropout", "0"]
SMALL += ["--device", "cpu", "--baselines", "false"]


def test_two_processes_forecast_as_one(root, script, tmp_path, monkeypatch):
    readme = (root / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^torchrun .*", readme, re.M)
    _, *options, path = shlex.split(line, comments=True)
    where = ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "two")]
    job = script(path, *SMALL, *where, launcher=("-m", "torch.distributed.run", *options))
    assert job.returncode == 0, job.stderr
    assert job.stdout.count("SAMPLE DATA") == 1  # one process prints and writes
    (folder,) = (tmp_path / "two" / "lstm_airquality").iterdir()
    monkeypatch.setattr(train.figures, "draw", lambda *_: None)
    where = ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "one")]
    one = train.main(config.parse(train.Config, [*SMALL, *where]))
    two = json.loads((folder / "results.json").read_text())
    for name, value in one["metrics"].items():
        if name not in ("train_seconds", "peak_memory_mb"):
            assert two["metrics"][name] == pytest.approx(value, rel=1e-3), name
