"""How fast every project trains: the table of the README.

    python tests/benchmarks/speed.py [project ...] [--threads N] [--seconds S]

Runs bench_<project>.py for each, one after the other, writes results/speed.json, where a project
that was not measured now keeps its figures, and makes the README's tables anew. About a quarter of
an hour on two cores with nothing beside it. Goals are printed as met or missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import checkpoints, results
from common.config import ROOT

HERE = Path(__file__).resolve().parent
PREFIX = "bench_"
PROJECTS = [path.stem.removeprefix(PREFIX) for path in sorted(HERE.glob(f"{PREFIX}*.py"))]
OURS = "ours"
FRAMEWORKS = ("Lightning", "Hugging Face Trainer")
LEAST_RATIO = 1.3  # to the plain script, with workers or without
MOST_START, MOST_IMPORT, MOST_OUTSIDE = 5.0, 0.2, 0.03

Figures = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast every project trains.")
    parser.add_argument("projects", nargs="*", metavar="project", help=", ".join(PROJECTS))
    parser.add_argument("--threads", default="2", help="threads of torch")
    parser.add_argument("--seconds", default="3", help="of one turn of one way")
    options = parser.parse_args()
    if unknown := set(options.projects) - set(PROJECTS):
        parser.error(f"there is no project {sorted(unknown)[0]}: {', '.join(PROJECTS)}")
    path = results.RESULTS / results.SPEED_FILE
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    held = before.get("projects", {})
    for project in options.projects or PROJECTS:
        held[project] = measure(project, options.threads, options.seconds)
    held = dict(sorted(held.items()))
    imports = json.loads(printed("imports.py"))
    print()
    for goal, met in goals(held, imports):
        print(f"{'met   ' if met else 'MISSED'}  {goal}")
    tables = before.get("tables", {})  # scaling.py's is kept
    tables |= {"throughput": throughput_table(held), "growth": growth_table(held)}
    found = {"projects": held, "imports": imports, "tables": tables}
    checkpoints.write_text(path, json.dumps(found, indent=1) + "\n")
    results.write_tables()
    print(f"\nwritten to {path.relative_to(ROOT)} and the README")


def measure(project: str, threads: str, seconds: str) -> Figures:
    """What bench_<project>.py finds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        script = HERE / f"{PREFIX}{project}.py"
        words = [script, "--threads", threads, "--seconds", seconds, "--out", file]
        subprocess.run([sys.executable, *map(str, words)], check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def printed(script: str) -> str:
    command = [sys.executable, str(HERE / script)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def goals(projects: Mapping[str, Figures], imports: Figures) -> list[tuple[str, bool]]:
    """Each goal with its figure, and whether it is met."""
    seconds = imports["seconds"]
    heavy = sorted(imports["modules"].items(), key=lambda item: -item[1]["seconds"])[:3]
    costs = ", ".join(f"{name} {each['seconds']:.2f} s" for name, each in heavy)
    found = [
        (f"import of common beyond torch: {seconds:.2f} s ({costs})", seconds < MOST_IMPORT),
    ]
    for project, figures in projects.items():
        for name, ratio in ratios(figures).items():
            least = 1.0 if name in FRAMEWORKS else LEAST_RATIO
            goal = f"{project}: {ratio:.2f} times as fast as {name} (at least {least:g})"
            found.append((goal, ratio >= least))
        start, outside = figures["seconds_to_first_step"], figures["share_outside_step"]
        found += [
            (f"{project}: first step after {start:.1f} s", start < MOST_START),
            (f"{project}: {outside:.1%} of a step outside its work", outside < MOST_OUTSIDE),
        ]
    return found


def ratios(figures: Figures) -> dict[str, float]:
    """How many times as fast ours is as each other way."""
    speeds = figures["samples_per_second"]
    return {name: speeds[OURS] / speed for name, speed in speeds.items() if name != OURS}


def throughput_table(projects: Mapping[str, Figures]) -> list[dict[str, str]]:
    rows = []
    for project, figures in projects.items():
        by_name = {name: f"{ratio:.2f}" for name, ratio in ratios(figures).items()}
        words = [project, figures["network"], "SAMPLE" if figures["data"] == "sample" else ""]
        framework = [f"{by_name[name]}, {name}" for name in FRAMEWORKS if name in by_name]
        rows.append(
            {
                "": ", ".join(filter(None, words)),
                "samples/s": rounded(figures["samples_per_second"][OURS]),
                "s an epoch": f"{figures['seconds_per_epoch'][OURS]:,.1f}",
                "x usual": by_name["usual"],
                "x usual, 2 workers": by_name["usual, 2 workers"],
                "x framework": framework[0] if framework else "",
                "first step": f"{figures['seconds_to_first_step']:.1f} s",
                "outside the step": f"{figures['share_outside_step']:.1%}",
                "memory": f"{figures['peak_memory_mb']:,} MB",
                "of the matrix rate": f"{figures['cpu_efficiency']:.0%}",
            }
        )
    return rows


def growth_table(projects: Mapping[str, Figures]) -> list[dict[str, str]]:
    rows = []
    for project, figures in projects.items():
        row = {"samples/s": project}
        for what, speeds in figures["growth"].items():
            row[f"{what} {' / '.join(speeds)}"] = " / ".join(map(rounded, speeds.values()))
        rows.append(row)
    return rows


def rounded(speed: float) -> str:
    """Three digits: a benchmark knows no more."""
    return f"{float(f'{speed:.3g}'):,.0f}" if speed >= 10 else f"{speed:.3g}"


if __name__ == "__main__":
    main()
