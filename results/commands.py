"""Runs the command behind every record, see commands.txt; `results/record.sh` starts it."""

import argparse
import hashlib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.checkpoints import write_text
from common.runs import code_state, is_finished
from common.settings import ROOT, UserError
from results import records, tables

RUNS = ROOT / "runs" / "records"


@dataclass(frozen=True)
class Row:
    """One command over several seeds, and the records that it gives."""

    records: dict[str, str]  # name of a record -> variant of the run; "" = that of the same name
    minutes: float  # a seed, on two cores; 0 = meant for a GPU, where each takes a few
    flags: str = ""
    seeds: Sequence[int] = (0, 1, 2)
    script: str = "train.py"
    plots: bool = False  # the plots of its first seed are those of the README
    model: bool = False  # the model of its first seed is kept in results/models/

    def words(self, project: str) -> list[str]:
        return ["python", f"{project}/{self.script}", *shlex.split(self.flags)]

    def folder(self, project: str, seed: int, code: str) -> Path | None:
        """Of its run with this seed and this state of the code, if it has been started."""
        folders = sorted((RUNS / project).glob(f"*-{self.name(project, seed, code)}"))
        return folders[-1] if folders else None

    def name(self, project: str, seed: int, code: str) -> str:
        """Of its run: the record, and a digest of the command and the code."""
        slug = re.sub(r"\W+", "-", next(iter(self.records)))
        digest = hashlib.sha256(f"{self.words(project)} {code}".encode()).hexdigest()[:8]
        return f"{slug}-{digest}-s{seed}"


def read_rows(path: Path) -> dict[str, list[Row]]:
    """The rows of each project from commands.txt, whose head says how they are written."""
    rows: dict[str, list[Row]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            project = line.strip("[]")
            rows[project] = []
        elif line and not line.startswith("#"):
            command, seeds, minutes, names, extra = (part.strip() for part in line.split("|"))
            script, _, flags = command.partition(" ")
            pairs = (name.partition("=") for name in names.split(","))
            on_cores = 0.0 if minutes == "GPU" else float(minutes)
            rows[project].append(Row(
                {name.strip(): variant.strip() for name, _, variant in pairs}, on_cores,
                flags, tuple(map(int, seeds.split())), script, "plots" in extra, "model" in extra,
            ))  # fmt: skip
    return rows


COMMANDS = read_rows(records.RESULTS / "commands.txt")


def run(project: str, row: Row, seed: int, code: str) -> Path | None:
    """The folder of the finished run: as it is there, gone on with, or made; None = it failed."""
    folder = row.folder(project, seed, code)
    if folder and is_finished(folder):
        return folder
    words = [*row.words(project), "--seed", str(seed), "--data", "real", "--out", str(RUNS)]
    words += ["--name", row.name(project, seed, code)]
    words += ["--resume", str(folder)] if folder else []
    print(f"\n=== {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, check=False)
    if done.returncode in (130, 143):
        raise UserError("stopped: the same command goes on")
    folder = row.folder(project, seed, code)
    return folder if folder and is_finished(folder) else None


def write_constraints() -> None:
    """The versions that the records ran with, for `pip install -c results/constraints.txt`."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [found[0] for line in lines if (found := re.match(r"[\w-]+", line))]
    pins = "".join(f"{name}=={version(name)}\n" for name in names)
    write_text(records.RESULTS / "constraints.txt", pins)


def record(project: str) -> int:
    """Run and record all rows of a project; returns the exit code, 1 if a row failed."""
    state = code_state(project)
    if not state["commit"] or state["commit"].endswith("-dirty"):
        raise UserError(
            "records are made from committed files only: commit, or make a separate worktree"
        )
    failed = 0
    for row in COMMANDS[project]:
        folders = [run(project, row, seed, state["code"]) for seed in row.seeds]
        if None in folders:
            print(f"not recorded, for a run failed: {', '.join(row.records)}", file=sys.stderr)
            failed = 1
            continue
        for name, variant in row.records.items():
            records.add(project, name, shlex.join(row.words(project)), folders, variant)
        if row.plots:
            records.copy_plots(folders[0])
        if row.model:
            records.copy_model(folders[0])
    write_constraints()
    tables.fill()
    return failed


def show(projects: Sequence[str]) -> None:
    """Print every command with its hours."""
    total = 0.0
    for project in projects:
        rows = COMMANDS[project]
        spent = sum(row.minutes * len(row.seeds) for row in rows) / 60
        total += spent
        print(f"{project}: {spent:.1f} hours")
        for row in rows:
            print(f"  {shlex.join(row.words(project))}")
            names = ", ".join(row.records)
            time = f"{row.minutes:g} minutes" if row.minutes else "a few minutes on a GPU"
            print(f"      {names}: {len(row.seeds)} seeds of {time}")
    print(f"{total:.1f} hours in all, on two cores, without what is meant for a GPU")


def main() -> None:
    parser = argparse.ArgumentParser(prog="results/record.sh", description=__doc__)
    parser.add_argument("project", nargs="?", choices=sorted(COMMANDS), help="the one to record")
    parser.add_argument("--list", action="store_true", help="only show the commands")
    options = parser.parse_args()
    try:
        if options.list or not options.project:
            show([options.project] if options.project else sorted(COMMANDS))
        else:
            sys.exit(record(options.project))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on")


if __name__ == "__main__":
    main()
