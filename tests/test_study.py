"""The README's Optuna study, as it stands there but shorter: two workers on one study."""

import json
import os
import re
import subprocess
import sys

import pytest

optuna = pytest.importorskip("optuna", reason="optional: python -m pip install optuna")


def test_two_workers_share_one_study(root, tmp_path):
    readme = (root / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n([^`]*import optuna\n.*?)^```", readme, re.M | re.S)
    short = code.replace("Config(\n", 'Config(\n data="sample", epochs=1, device="cpu",\n')
    short = short.replace("n_trials=20", "n_trials=2")
    assert short.count("n_trials=2)") == short.count("sample") == 1
    (tmp_path / "study.py").write_text(short)
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "DATA_DIR": str(tmp_path / "data")}
    workers = [
        subprocess.Popen(
            [sys.executable, "study.py"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        printed, _ = worker.communicate(timeout=200)
        assert worker.returncode == 0, printed
    journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "runs" / "study.log"))
    study = optuna.load_study(study_name="air", storage=optuna.storages.JournalStorage(journal))
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    for trial in study.trials:
        assert trial.state == optuna.trial.TrialState.COMPLETE
        (written,) = tmp_path.glob(f"runs/study/lstm_airquality/*-trial{trial.number}/results.json")
        results = json.loads(written.read_text())
        assert results["metrics"]["val_r2"] == trial.value
        assert results["settings"]["lr"] == trial.params["lr"]
    assert study.best_value == max(trial.value for trial in study.trials)
