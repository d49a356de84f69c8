"""Committed records of real runs, and the README tables made from them.

    python -m common.results tables          # write every table and figure of the READMEs anew
    python -m common.results plots RUN       # copy a run's plots to results/plots/

`results/<project>.json` holds one record for each set of settings: every seed's figures, their
mean and standard deviation, the baselines and the published figures. A README marks what is
generated, up to the next end mark:

    <!-- table lstm_airquality records="default,published" metrics="r2,mae" --> ... <!-- end -->
    <!-- value lstm_airquality default r2 --> 0.892 <!-- end -->       (a baseline's: one more word)
    <!-- speed growth --> ... <!-- end -->

A table with the word `alone` leaves out the baselines and the published figures. A table of speed
is one that tests/benchmarks/speed.py or scaling.py wrote to `results/speed.json`; before that it is
empty.
"""

import argparse
import io
import json
import re
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import checkpoints
from common.config import RESUME_FREE, ROOT
from common.errors import UserError

from PIL import Image

RESULTS = ROOT / "results"
SPEED_FILE = "speed.json"
MARK = re.compile(r"(<!-- (table|value|speed) (.*?) -->)(.*?)(<!-- end -->)", re.DOTALL)
LIST = re.compile(r"\[[^\[\]{}]*\]")
NOT_SETTINGS = RESUME_FREE | {"seed", "data", "save_seconds"}


def read(project: str) -> list[dict[str, Any]]:
    """The project's records; an empty list where it has none."""
    path = RESULTS / f"{project}.json"
    return json.loads(path.read_text(encoding="utf-8"))["records"] if path.exists() else []


def add(project: str, name: str, runs: Sequence[Mapping[str, Any]], variant: str = "") -> None:
    """Make a record of runs that differ in their seed alone; one of the same name is replaced.

    Args:
        name: of the record.
        runs: the contents of their results.json.
        variant: which of the runs' nested metrics, for runs that report several.

    Raises:
        UserError: a run on sample data, or one that was stopped early.
    """
    for run in runs:
        if run["data"] != "real" or not run["finished"]:
            raise UserError(f"record {name}: a run on sample data, or a stopped one, is no result")
    first = runs[0]
    figures = [figures_of(run, variant) for run in runs]
    record = {
        "name": name,
        "data": "real",
        "dataset": first["dataset"],
        "settings": {k: v for k, v in first["settings"].items() if k not in NOT_SETTINGS},
        "seeds": [run["seed"] for run in runs],
        "metrics": {key: summary([each.get(key) for each in figures]) for key in figures[0]},
        "baselines": {k: v for run in reversed(runs) for k, v in run["baselines"].items()},
        "published": first["published"],
        "models": first["models"],
        "hardware": first["hardware"],
        "versions": first["versions"],
        "seconds": round(statistics.mean(run["seconds"] for run in runs), 1),
        "date": max(run["date"] for run in runs)[:10],
    }
    records = [old for old in read(project) if old["name"] != name] + [record]
    text = json.dumps({"project": project, "records": records}, indent=1)
    one_line = LIST.sub(lambda match: " ".join(match[0].split()), text)  # a line for every figure
    checkpoints.write_text(RESULTS / f"{project}.json", one_line + "\n")


def is_nested(value: Any) -> bool:
    return isinstance(value, Mapping)


def variants_of(run: Mapping[str, Any]) -> list[str]:
    """The names of the sets of figures that a run reports; one without a name if it is alone."""
    return [name for name, value in run["metrics"].items() if is_nested(value)] or [""]


def figures_of(run: Mapping[str, Any], variant: str = "") -> dict[str, Any]:
    """A variant's figures, and those that the run reports once: seconds, memory."""
    shared = {key: value for key, value in run["metrics"].items() if not is_nested(value)}
    return {**shared, **run["metrics"].get(variant, {})}


def summary(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds, and every seed's figure."""
    known = [value for value in values if value is not None]
    return {
        "mean": rounded(statistics.mean(known)) if known else None,
        "std": rounded(float(statistics.stdev(known))) if len(known) > 1 else None,
        "values": [rounded(value) for value in values],
    }


def rounded(value: float | None) -> float | None:
    """Six significant digits, for no measured figure here is known better; a count stays exact."""
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")


def figure_text(metric: str, value: float | None, std: float | None = None) -> str:
    """A figure as READMEs show it: shares as percentages, others with their useful digits."""
    if value is None:
        return "-"
    if metric.endswith(("accuracy", "f1", "top3")):
        value, std, digits = 100 * value, None if std is None else 100 * std, 2
    else:
        size = max(abs(value), abs(std or 0))
        digits = 0 if size >= 1000 or (float(value).is_integer() and not std) else 3
        digits = min(digits, 1) if size >= 10 else digits
    text = f"{value:,.{digits}f}"
    is_count = isinstance(value, int) and not std  # alike in all seeds
    return text if std is None or is_count else f"{text} ± {std:,.{digits}f}"


def table(project: str, records: Sequence[str], metrics: Sequence[str], alone: bool = False) -> str:
    """A Markdown table: the records and, unless `alone`, their baselines and published figures."""
    chosen = [record(project, name) for name in records]
    rows: list[list[str]] = []
    for each in chosen:
        seeds = len(each["seeds"])
        name = f"**{each['name']}** ({seeds} seed{'s' if seeds > 1 else ''})"
        figures = [each["metrics"].get(metric, {}) for metric in metrics]
        pairs = zip(metrics, figures, strict=True)
        rows.append([name, *(figure_text(m, f.get("mean"), f.get("std")) for m, f in pairs)])
    for kind in () if alone else ("baselines", "published"):
        others: dict[str, Mapping[str, Any]] = {}
        for each in chosen:
            nested = any(map(is_nested, each[kind].values()))
            own = each[kind] if nested else {kind: each[kind]} if each[kind] else {}
            others = {**own, **others}  # where records differ, the first one's
        word = "baseline" if kind == "baselines" else "published"
        for name, figures in others.items():
            if any(figures.get(metric) is not None for metric in metrics):
                label = word if name == kind else f"{word}: {name}"
                cells = [figure_text(metric, figures.get(metric)) for metric in metrics]
                rows.append([label, *cells])
    head = ["", *(metric.replace("_", " ") for metric in metrics)]
    return markdown(head, rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first hold figures."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def speed(name: str) -> str:
    """The table of results/speed.json of that name; empty where nothing has been measured."""
    path = RESULTS / SPEED_FILE
    if not path.exists():
        return ""
    rows = json.loads(path.read_text(encoding="utf-8"))["tables"].get(name)
    if not rows:
        return ""
    return markdown(list(rows[0]), [list(row.values()) for row in rows])


def record(project: str, name: str) -> dict[str, Any]:
    """The record of that name.

    Raises:
        UserError: there is none.
    """
    for each in read(project):
        if each["name"] == name:
            return each
    raise UserError(f"results/{project}.json has no record named {name}")


def value(project: str, name: str, metric: str, baseline: str = "") -> str:
    """One figure of a record, or of one of its baselines, for a sentence of a README."""
    found = record(project, name)
    if baseline:
        return figure_text(metric, found["baselines"][baseline][metric])
    figures = found["metrics"][metric]
    return figure_text(metric, figures["mean"], figures["std"])


def filled(text: str) -> str:
    """A README's text with every marked table and figure made anew from the records."""

    def fill(match: re.Match[str]) -> str:
        mark, kind, words, _, end = match.groups()
        first, *rest = shlex.split(words)
        if kind == "value":
            return f"{mark}{value(first, *rest)}{end}"
        if kind == "speed":
            return f"{mark}\n\n{made}\n\n{end}" if (made := speed(first)) else f"{mark}{end}"
        options = dict(word.partition("=")[::2] for word in rest)
        names, metrics = options["records"].split(","), options["metrics"].split(",")
        made = table(first, names, metrics, alone="alone" in options)
        return f"{mark}\n\n{made}\n\n{end}"

    return MARK.sub(fill, text)


def readmes() -> list[Path]:
    """The READMEs of the house and of its projects."""
    return sorted([ROOT / "README.md", *ROOT.glob("[!.]*/README.md")])


def write_tables() -> None:
    """Make the marked parts of all READMEs anew.

    Raises:
        UserError: a README names a record that is not there; the others are written all the same.
    """
    missing = []
    for path in readmes():
        try:
            checkpoints.write_text(path, filled(path.read_text(encoding="utf-8")))
        except UserError as error:
            missing.append(f"{path.relative_to(ROOT)}: {error}")
    if missing:
        raise UserError("; ".join(missing))


def copy_plots(run: Path) -> None:
    """Copy a real run's plots to results/plots/<project>-<plot>.png."""
    found = json.loads((run / "results.json").read_text(encoding="utf-8"))
    if found["data"] != "real":
        raise UserError(f"{run} is a run on sample data: its plots are no result")
    (RESULTS / "plots").mkdir(parents=True, exist_ok=True)
    for path in sorted(run.glob("*.png")):
        copy_small(path, RESULTS / "plots" / f"{found['project']}-{path.name}")


def copy_small(plot: Path, copy: Path) -> None:
    """Copy a PNG with 256 colours; as it is, where that is no smaller or parts are transparent."""
    whole, reduced = plot.read_bytes(), io.BytesIO()
    with Image.open(plot) as image:
        least_alpha, _ = image.convert("RGBA").getchannel("A").getextrema()
        # Median cut, then k-means, keeps white white, as dithering does not; it takes no alpha.
        image.convert("RGB").quantize(256, kmeans=1).save(reduced, "PNG", optimize=True)
    is_better = least_alpha == 255 and reduced.tell() < len(whole)
    copy.write_bytes(reduced.getvalue() if is_better else whole)


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m common.results", None, __doc__, None, [], plain)
    parser.add_argument("what", choices=("tables", "plots"))
    parser.add_argument("run", nargs="?", type=Path, help="the folder of a run, for plots")
    arguments = parser.parse_args()
    try:
        if arguments.what == "plots":
            if arguments.run is None or not (arguments.run / "results.json").is_file():
                raise UserError("plots needs the folder of a finished run")
            copy_plots(arguments.run)
        else:
            write_tables()
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
