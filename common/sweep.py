"""A grid of settings, each point one run, and their mean and spread over seeds.

    python -m common.sweep lstm_airquality lr=0.01,0.001 bidirectional=true,false seed=0,1,2

Flags of the script hold for all points: `--data real --epochs 3`. `--by val_mae` sorts the table by
another metric; `--by NAME:min` and `--by NAME:max` say what is best of a metric that is not known.

A sweep that was stopped goes on where it stopped when the same command is given again: finished
points are not repeated, an unfinished one is resumed. A point that fails does not end the rest.
Where the code of the project has changed, its points are run again.
"""

import argparse
import hashlib
import importlib
import itertools
import json
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from common import plots, runs, settings
from common.checkpoints import write_text
from common.settings import ROOT, Settings, Stopped, UserError, flag, require
from common.summary import format_table, number, read_results, spread, variants

# Words in the names of metrics of which the least is best, and the most; others have no best.
LEAST = "loss mae rmse seconds mb alarms gap error delay fluctuation flops parameters width ratio"
MOST = "accuracy f1 r2 auc pr precision recall score nab found top3"
Point = dict[str, str]  # field -> value, as given


def direction(metric: str) -> str:
    """ "min" or "max", what is best of a metric; "" where it has no best (a best epoch)."""
    words = set(metric.replace("_per_second", "").split("_"))
    if words & set(LEAST.split()):
        return "min"
    is_rate = metric.endswith("_per_second")
    return "max" if is_rate or words & set(MOST.split()) else ""


def grid(words: Sequence[str]) -> list[Point]:
    """`["lr=0.1,0.2", "seed=0,1"]` -> every combination, the seeds of a setting side by side.

    Raises:
        SettingError: a word that is not `field=value,...`.
    """
    fields: dict[str, list[str]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        require(bool(name and equals and values), f"{word} is not of the form field=value,value")
        require(name not in fields, f"{name} is given twice: write {name}=value,value")
        fields[name.replace("-", "_")] = values.split(",")
    fields["seed"] = fields.pop("seed", ["0"])
    return [
        dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())
    ]


def settings_of(config_class: type[Settings], point: Point, arguments: list[str]) -> Settings:
    """The typed settings of a point, checked."""
    flags = [word for name, value in point.items() for word in (f"--{flag(name)}", value)]
    return settings.parse(config_class, [*arguments, *flags])


def run_point(project: str, script: ModuleType, config: Settings) -> dict[str, Any]:
    """Run a point, or go on with it, or read its results if it is finished.

    The name of its folder is a digest of its settings and the code, by which it is found again.
    """
    kept = settings.as_saved(config)
    state = {name: kept[name] for name in kept.keys() - settings.RESUME_FREE - {"out"}}
    state["code"] = runs.code_state(project)["code"]
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:10]
    earlier = sorted(runs.project_folder(project, config).glob(f"*-{digest}/config.json"))
    if earlier:
        folder = earlier[-1].parent
        if runs.is_finished(folder):
            results = read_results(folder)
            print(f"done before, on {results['date'][:16]}: {folder}")
            return results
        config.resume, config.given = str(folder), set()
    config.name = digest
    return script.main(config)


def summaries(finished: Sequence[tuple[Point, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """One row for each setting and variant: its name, its runs, the summary of each metric."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for point, results in finished:
        label = " ".join(f"{name}={value}" for name, value in point.items() if name != "seed")
        for variant, metrics in variants(results).items():
            name = " ".join(filter(None, (label, variant))) or "default"
            groups.setdefault(name, []).append(metrics)
    return [
        {
            "name": name,
            "runs": len(group),
            "metrics": {key: spread([m.get(key) for m in group]) for key in group[0]},
        }
        for name, group in groups.items()
    ]


def chosen_metric(by: str) -> tuple[str, str]:
    """The metric to sort by and its direction; ("", "") = the first one of validation.

    Raises:
        SettingError: its direction is not known.
    """
    metric, _, way = by.partition(":")
    way = way or direction(metric)
    require(
        not metric or way in ("min", "max"),
        f"--by {by}: say whether its least or its most is best, {metric}:min or {metric}:max",
    )
    return metric, way


def report(rows: list[dict[str, Any]], by: str, way: str, folder: Path, sample: bool) -> None:
    """Print the table, the best by `by` first, a missing one last; write sweep.csv and .png."""
    sign = 1 if way == "min" else -1

    def place(row: Mapping[str, Any]) -> tuple[bool, float]:
        mean = row["metrics"].get(by, {}).get("mean")
        return mean is None, sign * (mean or 0.0)

    rows.sort(key=place)
    metrics = list(dict.fromkeys([by, *rows[0]["metrics"]]))
    table, lines = [], [["settings", "runs", *(f"{m}{s}" for m in metrics for s in ("", "_std"))]]
    for row in rows:
        values = [row["metrics"].get(m, {"mean": None, "std": None}) for m in metrics]
        cells = [number(v["mean"]) + (f" ± {number(v['std'])}" if v["std"] else "") for v in values]
        table.append([row["name"], str(row["runs"]), *cells])
        lines.append([row["name"], row["runs"], *(v[k] for v in values for k in ("mean", "std"))])
    print("\n" + format_table(["settings", "runs", *metrics], table))
    if sample:
        print("SAMPLE DATA, generated: these figures are no result")
    write_text(folder / "sweep.csv", "".join(runs.csv_row(line) for line in lines))
    known = {row["name"]: row["metrics"].get(by, {}) for row in rows}
    bars = {n: (v["mean"], v["std"] or 0.0) for n, v in known.items() if v.get("mean") is not None}
    if bars:
        label = f"{by.replace('_', ' ')}, mean and standard deviation"
        plots.save(plots.bars(bars, label, folder.name), folder / "sweep.png", sample=sample)


def read_arguments(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The sweep's own options, and the flags that go to the script."""
    parser = argparse.ArgumentParser(
        prog="python -m common.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("project", help="the folder of a project: lstm_airquality, ...")
    parser.add_argument("fields", nargs="*", help="field=value,value ...")
    parser.add_argument("--by", default="", help="metric to sort by (the first of validation)")
    parser.add_argument("--out", default="", help="folder of the runs (default: runs/sweeps)")
    options, rest = parser.parse_known_args(words)
    is_field = re.compile(r"\w[\w-]*=").match
    options.fields += [word for word in rest if is_field(word)]  # those after a flag
    return options, [word for word in rest if not is_field(word)]


def sweep(options: argparse.Namespace, rest: list[str]) -> int:
    """Run the grid; returns the exit code: 1 if a point failed, 130 if it was stopped."""
    require(
        (ROOT / options.project / "train.py").is_file(),
        f"there is no project {options.project}: name one of the folders that hold a train.py",
    )
    sys.path.insert(0, str(ROOT))
    script = importlib.import_module(f"{options.project}.train")
    by, way = chosen_metric(options.by)
    out = Path(options.out).expanduser() if options.out else ROOT / "runs" / "sweeps"
    points = grid(options.fields)
    configs = [settings_of(script.Config, point, [*rest, "--out", str(out)]) for point in points]
    finished: list[tuple[Point, dict[str, Any]]] = []
    code = 0
    for place, (point, config) in enumerate(zip(points, configs, strict=True), 1):
        words = " ".join(f"{name}={value}" for name, value in point.items())
        print(f"\n=== point {place} of {len(points)}: {words}", flush=True)
        try:
            results = run_point(options.project, script, config)
        except (Stopped, KeyboardInterrupt) as stop:
            code = getattr(stop, "exit_code", 130)
            print(f"{stop or 'stopped'}; the same command goes on with the sweep", file=sys.stderr)
            break
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()
            print(f"point {words} failed: {error}", file=sys.stderr)
            code = 1
            continue
        reported = {name for metrics in variants(results).values() for name in metrics}
        require(
            not by or by in reported, f"--by {by}: the runs report {', '.join(sorted(reported))}"
        )
        finished.append((point, results))
    if finished:
        rows = summaries(finished)
        names = [name for row in rows for name in row["metrics"]]
        by = by or next((n for n in names if n.startswith("val_") and direction(n)), names[0])
        sample = any(results["data"] == "sample" for _, results in finished)
        report(rows, by, way or direction(by), out / options.project, sample)
    return code


def main() -> None:
    try:
        sys.exit(sweep(*read_arguments(sys.argv[1:])))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped: the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
