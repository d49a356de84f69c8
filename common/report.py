"""A run, or several beside each other, as one HTML file that needs nothing else.

    python -m common.report RUN              # writes RUN/report.html
    python -m common.report RUN RUN [RUN]    # compares them: comparison.html, or --output FILE

RUN is the folder of a run that has ended.
"""

import argparse
import base64
import csv
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import plots
from common.checkpoints import write_text
from common.settings import UserError, flag
from common.summary import OWN, by_source, differences, number, read_results, variants

TEMPLATE = Path(__file__).with_name("report.html")
MOST_MISTAKES = 50
Section = dict[str, Any]  # title; texts, code, head and rows of a table, images


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of a run; none where it is absent."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def changed(command: str) -> list[list[str]]:
    """The flags of a command and their values: the settings that differ from the defaults."""
    settings: list[list[str]] = []
    for word in shlex.split(command)[2:]:  # after python and the script
        if word.startswith("--"):
            settings.append([word.removeprefix("--"), ""])
        else:
            settings[-1][1] = f"{settings[-1][1]} {word}".strip()
    return settings


def own_metrics(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name or OWN: row for name, row in variants(results).items()}


def metric_table(rows: dict[str, dict[str, Any]], columns: Sequence[str]) -> Section:
    cells = [[name, *(number(row.get(c)) for c in columns)] for name, row in rows.items()]
    return {"head": ["", *(column.replace("_", " ") for column in columns)], "rows": cells}


def image(data: bytes, title: str) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode(), "title": title}


def single(folder: Path) -> list[Section]:
    """The report of one run."""
    results = read_results(folder)
    own, data = own_metrics(results), results["dataset"]
    published = by_source(results["published"])
    columns = list(dict.fromkeys(name for row in own.values() for name in row))
    mistakes = rows_of(folder / "mistakes.csv")
    counts = ", ".join(f"{n:,} {name}" for name, n in data["counts"].items())
    versions = [["commit", results["commit"] or "unknown"], *results["versions"].items()]
    seconds = [[name, f"{value:.1f}"] for name, value in results["phases"].items()]
    drawn = [image(path.read_bytes(), path.stem) for path in sorted(folder.glob("*.png"))]
    return [
        {"title": "What was run", "code": results["command"]},
        {"title": "Settings that differ from the defaults", "words": True,
         "head": ["setting", "value"], "rows": changed(results["command"])},
        {"title": "Results", "texts": differences(results),
         **metric_table({**own, **results["baselines"], **published}, columns)},
        {"title": "Plots", "images": drawn},
        {"title": f"Mistakes: {len(mistakes):,}, the surest first", "words": True, "folded": True,
         "head": list(mistakes[0]) if mistakes else [],
         "rows": [list(row.values()) for row in mistakes[:MOST_MISTAKES]]},
        {"title": "Data", "texts": [f"{data['name']}, {results['data']}: {counts}. Checksum "
                                    f"{data['checksum']}. {data['note']}"]},
        {"title": "Seconds", "head": ["phase", "seconds"], "rows": seconds},
        {"title": "Where", "words": True, "head": ["what", "version"], "rows": versions,
         "texts": [f"{results['hardware']}, {results['seconds']:.0f} s, {results['date']}"]},
    ]  # fmt: skip


def comparison(folders: Sequence[Path]) -> list[Section]:
    """Several runs beside each other."""
    compared = {folder.name: read_results(folder) for folder in folders}
    states = [{"project": r["project"], "data": r["dataset"]["name"], "commit": r["commit"],
               **r["settings"]} for r in compared.values()]  # fmt: skip
    names = dict.fromkeys(name for state in states for name in state)
    values = {name: [str(state.get(name, "-")) for state in states] for name in names}
    different = [[flag(name), *row] for name, row in values.items() if len(set(row)) > 1]
    own = {f"{run} {variant}".removesuffix(f" {OWN}"): row for run, results in compared.items()
           for variant, row in own_metrics(results).items()}  # fmt: skip
    columns = list(dict.fromkeys(name for row in own.values() for name in row))
    lines, parts = {}, {}
    for folder in folders:
        for path in sorted([folder / "metrics.csv", *folder.glob("*/metrics.csv")]):
            name = folder.name if path.parent == folder else f"{folder.name} {path.parent.name}"
            if rows := rows_of(path):
                lines[name] = [{k: float(v) for k, v in row.items() if v} for row in rows]
                parts |= {k.removeprefix("train_"): 0 for k in rows[0] if k.startswith("train_")}
    images = [image(path.read_bytes(), f"{path.stem}, {folder.name}") for folder in folders
              for path in folder.glob("*.png")]  # fmt: skip
    drawn = io.BytesIO()
    if parts:
        plots.curves(lines, list(parts)).savefig(drawn, format="png", dpi=110)
    return [
        {"title": "Settings that differ", "words": True, "head": ["", *compared],
         "rows": different},
        {"title": "Results", **metric_table(own, columns)},
        {"title": "Curves", "images": [image(drawn.getvalue(), "all runs")] if parts else []},
        {"title": "Plots", "beside": True, "images": sorted(images, key=lambda i: i["title"])},
        *({"title": f"Command of {name}", "code": r["command"]} for name, r in compared.items()),
    ]  # fmt: skip


def write(folders: Sequence[Path], output: Path) -> None:
    """Write the report of one run, or the comparison of several; UserError without results."""
    from jinja2 import Environment

    results = [read_results(folder) for folder in folders]
    projects = ", ".join(dict.fromkeys(r["project"] for r in results))
    notes = [f"{folder.name} was stopped before its end: its figures are of validation."
             for folder, r in zip(folders, results, strict=True) if not r["finished"]]  # fmt: skip
    # Names of files and texts are strangers' input: autoescape.
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        title=f"{projects}: {folders[0].name if len(folders) == 1 else f'{len(folders)} runs'}",
        sample=any(r["data"] == "sample" for r in results),
        notes=notes,
        sections=single(folders[0]) if len(folders) == 1 else comparison(folders),
    )
    write_text(output, page)


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m common.report", description=__doc__,
                                     formatter_class=plain)  # fmt: skip
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--output", type=Path, help="the file to write")
    options = parser.parse_args()
    own = options.runs[0] / "report.html"
    output = options.output or (own if len(options.runs) == 1 else Path("comparison.html"))
    try:
        write([folder.resolve() for folder in options.runs], output)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
