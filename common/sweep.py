"""A grid of settings, each point one run, and their mean and spread over seeds.

    python -m common.sweep lstm_airquality lr=0.01,0.001 bidirectional=true,false seed=0,1,2

Flags of the script hold for all points: `--data real --epochs 3`.

A sweep that was stopped goes on where it stopped when the same command is given again: finished
points are not repeated, an unfinished one is resumed. A point that fails does not end the rest.
`--record NAME` makes a record in results/ of each group of seeds; in NAME, `{lr}` stands for the
setting's value and `{variant}` for the name of one of several sets of figures that a run reports.
"""

import argparse
import hashlib
import importlib
import inspect
import itertools
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import checkpoints, results
from common.config import RESUME_FREE, ROOT, Settings, flag, parse
from common.errors import UserError, require
from common.signals import Stopped

FIELD = re.compile(r"\w+=")
LOWER = ("loss", "mae", "rmse", "seconds", "_mb", "alarms", "gap")  # figures best at their least
Point = dict[str, str]  # field -> value, as given


def grid(words: Sequence[str]) -> list[Point]:
    """`["lr=0.1,0.2", "seed=0,1"]` -> every combination, the seeds of a setting side by side.

    Raises:
        SettingError: a word that is not `field=value,...`.
    """
    fields: dict[str, list[str]] = {}
    for word in words:
        name, found, values = word.partition("=")
        require(bool(name and found and values), f"{word} is not of the form field=value,value")
        require(name not in fields, f"{name} is given twice: write {name}=value,value")
        fields[name.replace("-", "_")] = values.split(",")
    fields["seed"] = fields.pop("seed", ["0"])
    return [
        dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())
    ]


def settings_of(config_class: type[Settings], point: Point, arguments: list[str]) -> Settings:
    """The typed settings of a point, checked."""
    flags = [word for name, value in point.items() for word in (f"--{flag(name)}", value)]
    return parse(config_class, [*arguments, *flags])


def run_point(main: Callable[[Any], dict[str, Any]], config: Settings) -> dict[str, Any]:
    """Run a point, or go on with it, or read its results if it is finished.

    Its folder bears a digest of its settings, by which it is found again.
    """
    from common import runs

    computed = {k: v for k, v in vars(config).items() if k not in RESUME_FREE}
    digest = hashlib.sha256(json.dumps(computed, sort_keys=True).encode()).hexdigest()[:10]
    project = Path(inspect.getfile(main)).parent.name
    earlier = sorted(runs.project_folder(project, config).glob(f"*-{digest}/config.json"))
    if earlier:
        folder = earlier[-1].parent
        if runs.is_finished(folder):
            found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            print(f"done before, on {found['date'][:16]}: {folder}")
            return found
        config.resume = str(folder)
    config.name = digest
    return main(config)


def rows_of(points: Sequence[Point], found: Sequence[Mapping[str, Any] | None]) -> list[dict]:
    """One row for each setting and variant: its runs, and the summary of each figure."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for point, run in zip(points, found, strict=True):
        if run is None:
            continue
        label = " ".join(f"{name}={value}" for name, value in point.items() if name != "seed")
        for variant in results.variants_of(run):
            groups.setdefault((label, variant), []).append(run)
    rows = []
    for (label, variant), runs in groups.items():
        each = [results.figures_of(run, variant) for run in runs]
        figures = {key: results.summary([one.get(key) for one in each]) for key in each[0]}
        rows.append({"label": label, "variant": variant, "runs": runs, "figures": figures})
    return rows


def report(rows: list[dict], by: str, folder: Path, title: str, sample: bool) -> None:
    """Print the table sorted by the figure `by`, the best first; write sweep.csv and sweep.png."""
    from common import plots

    rows.sort(key=lambda row: row["figures"][by]["mean"] or 0.0, reverse=not by.endswith(LOWER))
    names = [" ".join(filter(None, (row["label"], row["variant"]))) or "default" for row in rows]
    metrics = [by, *(key for key in rows[0]["figures"] if key != by)]
    lines = [["settings", "runs", *metrics]]
    for name, row in zip(names, rows, strict=True):
        figures = [row["figures"].get(metric, {}) for metric in metrics]
        cells = [results.figure_text("", f.get("mean"), f.get("std")) for f in figures]
        lines.append([name, str(len(row["runs"])), *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    if sample:
        print("SAMPLE DATA, generated: these figures are no result")
    csv = "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
    checkpoints.write_text(folder / "sweep.csv", csv + "\n")
    made, axes = plots.figure(height=1.6 + 0.35 * len(rows))
    means = [row["figures"][by]["mean"] for row in rows]
    spread = [row["figures"][by]["std"] or 0.0 for row in rows]
    axes[0, 0].errorbar(means, names, xerr=spread, fmt="o", capsize=3)
    axes[0, 0].invert_yaxis()
    axes[0, 0].grid(axis="x", alpha=0.3)
    axes[0, 0].set(xlabel=f"{by.replace('_', ' ')}, mean and standard deviation", title=title)
    plots.save(made, folder / "sweep.png", sample=sample)


def record_rows(project: str, name: str, rows: list[dict]) -> None:
    """A record of each row, named by the template `name`."""
    named = {}
    for row in rows:
        settings = {**row["runs"][0]["settings"], "variant": row["variant"]}
        title = name.format(**settings)
        require(title not in named, f"--record {name}: two settings would be named {title}")
        named[title] = row
    for title, row in named.items():
        results.add(project, title, row["runs"], row["variant"])
        print(f"recorded in results/{project}.json: {title}")


def read_arguments(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The sweep's own options, and the flags that go to the script."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m common.sweep", None, __doc__, None, [], plain)
    parser.add_argument("project", help="the folder of a project: lstm_airquality, ...")
    parser.add_argument("fields", nargs="*", help="field=value,value ...")
    parser.add_argument("--by", default="", help="figure to sort by (the first of validation)")
    parser.add_argument("--record", default="", help="name of the record(s) to make in results/")
    parser.add_argument("--out", default="", help="folder of the runs (default: runs/sweeps)")
    options, rest = parser.parse_known_args(words)
    options.fields += [word for word in rest if FIELD.match(word)]  # those after a flag
    return options, [word for word in rest if not FIELD.match(word)]


def main() -> None:
    try:
        sys.exit(sweep(*read_arguments(sys.argv[1:])))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def sweep(options: argparse.Namespace, rest: list[str]) -> int:
    """Run the grid; returns the exit code: 1 if a point failed."""
    require(
        (ROOT / options.project / "train.py").is_file(),
        f"there is no project {options.project}: name one of the folders that hold a train.py",
    )
    sys.path.insert(0, str(ROOT))
    script = importlib.import_module(f"{options.project}.train")
    out = options.out or str(ROOT / "runs" / "sweeps")
    points = grid(options.fields)
    configs = [settings_of(script.Config, point, [*rest, "--out", out]) for point in points]
    found: list[dict[str, Any] | None] = []
    for number, (point, config) in enumerate(zip(points, configs, strict=True), 1):
        words = " ".join(f"{name}={value}" for name, value in point.items())
        print(f"\n=== point {number} of {len(points)}: {words}", flush=True)
        try:
            found.append(run_point(script.main, config))
        except Stopped:
            raise
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()
            print(f"point {words} failed: {error}", file=sys.stderr)
            found.append(None)
    rows = rows_of(points, found)
    if rows:
        keys = list(rows[0]["figures"])
        by = options.by or next((key for key in keys if key.startswith("val_")), keys[0])
        require(by in keys, f"--by {by}: the runs report {', '.join(keys)}")
        sample = any(run["data"] == "sample" for row in rows for run in row["runs"])
        print()
        report(rows, by, Path(out).expanduser() / options.project, options.project, sample)
        if options.record:
            record_rows(options.project, options.record, rows)
    return 1 if None in found else 0


if __name__ == "__main__":
    main()
