"""record.sh: runs what is missing, resumes, records; refuses files that are not committed."""

import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest

from common.settings import UserError
from results import commands, records, tables
from results.commands import Row

SCRIPT = """
import json, pathlib, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--fail" in words and words["--seed"] == "1":
    sys.exit(1)
new = pathlib.Path(words["--out"]) / "toy" / f"20260101-{words['--name']}"
folder = pathlib.Path(words.get("--resume", new))
folder.mkdir(parents=True, exist_ok="--resume" in words)
run = json.loads(pathlib.Path("run.json").read_text())
run["seed"] = int(words["--seed"])
(folder / "results.json").write_text(json.dumps(run))
with open("log", "a") as log:
    log.write(words["--seed"] + " ")
"""


@pytest.fixture
def project(tmp_path, monkeypatch, results, make_run):
    """A project whose training takes no time, in a repository of its own."""
    root = tmp_path / "repository"
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "train.py").write_text(SCRIPT)
    (root / "requirements.txt").write_text("torch>=2  # a comment\n# tqdm\nnumpy>=1\n")
    shutil.copy(make_run() / "results.json", root / "run.json")
    monkeypatch.setattr(commands, "ROOT", root)
    monkeypatch.setattr(commands, "RUNS", root / "runs")
    monkeypatch.setattr(tables, "readmes", list)
    monkeypatch.setattr(commands, "code_state", lambda _: {"commit": "0a1b", "code": "c0de"})
    return root


def set_rows(monkeypatch, *rows):
    monkeypatch.setattr(commands, "COMMANDS", {"toy": list(rows)})


def test_rows_are_run_once_and_recorded(project, monkeypatch):
    set_rows(monkeypatch, Row({"default": ""}, 30, seeds=(0, 1, 2)))
    assert commands.record("toy") == 0
    assert (project / "log").read_text() == "0 1 2 "
    pins = (records.RESULTS / "constraints.txt").read_text()
    assert pins == f"torch=={version('torch')}\nnumpy=={version('numpy')}\n"
    record = records.find("toy", "default")
    assert (record["seeds"], record["command"]) == ([0, 1, 2], "python toy/train.py")
    set_rows(monkeypatch, Row({"default": ""}, 30, seeds=(0, 1, 2, 3)))
    assert commands.record("toy") == 0
    assert (project / "log").read_text() == "0 1 2 3 "  # only what was missing
    monkeypatch.setattr(commands, "code_state", lambda _: {"commit": "0a1b", "code": "new"})
    assert commands.record("toy") == 0
    assert (project / "log").read_text() == "0 1 2 3 0 1 2 3 "  # other code: all again


def test_a_row_that_fails_does_not_end_the_rest(project, monkeypatch, capsys):
    rows = Row({"bad": ""}, 1, "--fail yes", seeds=(0, 1)), Row({"good": ""}, 1, seeds=(0,))
    set_rows(monkeypatch, *rows)
    assert commands.record("toy") == 1
    assert [record["name"] for record in records.read("toy")] == ["good"]
    assert "not recorded, for a run failed: bad" in capsys.readouterr().err


@pytest.mark.parametrize("commit", ["", "0a1b-dirty"])
def test_files_that_are_not_committed_are_refused(project, monkeypatch, commit):
    set_rows(monkeypatch, Row({"default": ""}, 1))
    monkeypatch.setattr(commands, "code_state", lambda _: {"commit": commit, "code": "c0de"})
    with pytest.raises(UserError, match="committed files only"):
        commands.record("toy")
    assert not (project / "log").exists()


def test_an_unfinished_run_is_resumed(project, monkeypatch):
    row = Row({"default": ""}, 1, seeds=(0,))
    set_rows(monkeypatch, row)
    folder = project / "runs" / "toy" / f"20260101-{row.name('toy', 0, 'c0de')}"
    folder.mkdir(parents=True)
    assert commands.record("toy") == 0
    assert [path.name for path in folder.iterdir()] == ["results.json"]


def test_the_list_names_every_command(root):
    done = subprocess.run(
        [sys.executable, root / "results" / "commands.py", "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    for project, rows in commands.COMMANDS.items():
        assert f"{project}: " in done.stdout
        for row in rows:
            assert ", ".join(row.records) in done.stdout
    assert "hours in all" in done.stdout
