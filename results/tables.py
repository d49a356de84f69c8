"""The tables and figures of the READMEs, made from the records.

    python results/tables.py            # fill in every README; names what is not recorded yet

A README marks what is generated, up to the next end mark:

    <!-- table lstm_airquality records="default,published" metrics="r2,mae" --> ... <!-- end -->
    <!-- value lstm_airquality default r2 --> 0.892 <!-- end -->
    <!-- value lstm_airquality default r2 "boosted trees" --> ...      (or a published source)
    <!-- value lstm_airquality default minutes --> ...                 (of one run)
    <!-- speed growth --> ... <!-- end -->                             (of results/speed.json)
    <!-- phases lstm_airquality=default vgg_vs_resnet="vgg16c improved" --> ... <!-- end -->

A table with the word `alone` leaves out the baselines and the published figures. What was measured
by an earlier version of the code carries a star, and the README ends with a note that says so.
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.checkpoints import write_text
from common.settings import ROOT
from common.summary import by_source
from results.records import RESULTS, find

MARK = re.compile(
    r"(<!-- (table|value|speed|phases)(?: ([^>\n]*))? -->)(.*?)(<!-- end -->)", re.DOTALL
)
NOTE = re.compile(r"\n*<!-- note -->.*?<!-- end -->\n*", re.DOTALL)
STAR = r" \*"
FRACTIONS = ("accuracy", "f1", "top3", "coverage", "gap")  # shown as percentages
NOT_RECORDED = "not recorded yet"
PHASES = ("data", "training", "evaluation", "baselines", "plots")  # of a run, as it names them


def star(record: Mapping[str, Any]) -> str:
    """The mark of what an earlier version measured: no commit is known."""
    return "" if record.get("commit") else STAR


def figure_text(metric: str, value: float | None, std: float | None = None) -> str:
    """A metric as READMEs show it: fractions as percentages, others with their useful digits."""
    if value is None:
        return "-"
    if metric.endswith(FRACTIONS):
        value, std, digits = 100 * value, None if std is None else 100 * std, 2
    else:
        size = max(abs(value), abs(std or 0))
        digits = 0 if size >= 1000 or (float(value).is_integer() and not std) else 3
        digits = min(digits, 1) if size >= 10 else digits
    text = f"{value:,.{digits}f}"
    is_count = isinstance(value, int) and not std  # alike in all seeds
    return text if std is None or is_count else f"{text} ± {std:,.{digits}f}"


def difference_text(record: Mapping[str, Any]) -> str:
    """How far the record is above its strongest baseline, with the interval; "" where unknown."""
    gain = record.get("difference")
    if not gain:
        return ""
    scale, unit, digits = (100, " points", 2) if gain["of"] == "accuracy" else (1, "", 3)
    mean, low, high = (f"{scale * gain[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"{record['name']} {mean}{unit} ({low} to {high}) to {gain['to']}"


def table(project: str, names: Sequence[str], metrics: Sequence[str], alone: bool = False) -> str:
    """A Markdown table: the records and, unless `alone`, their baselines and published figures.

    Below it the differences to the strongest baselines.
    """
    records = [find(project, name) for name in names]
    known = [record for record in records if record]
    head = ["", *(metric.replace("_", " ") for metric in metrics)]
    rows = []
    for name, record in zip(names, records, strict=True):
        if record is None:
            rows.append([f"**{name}** ({NOT_RECORDED})"])
            continue
        seeds = len(record["seeds"])
        label = f"**{name}** ({seeds} seed{'s' if seeds > 1 else ''}){star(record)}"
        values = {metric: record["metrics"].get(metric, {}) for metric in metrics}
        cells = [figure_text(m, v.get("mean"), v.get("std")) for m, v in values.items()]
        rows.append([label, *cells])
    others: dict[str, Mapping[str, Any]] = {}
    for record in () if alone else known:  # where records differ, the first one's
        baselines = {f"baseline: {n}{star(record)}": v for n, v in record["baselines"].items()}
        published = {f"published: {n}": v for n, v in by_source(record["published"]).items()}
        others = {**baselines, **published, **others}
    for label, values in sorted(others.items(), key=lambda item: item[0].split(":")[0]):
        if any(values.get(metric) is not None for metric in metrics):
            label = label.removeprefix("published: ") if label.endswith(": published") else label
            rows.append([label, *(figure_text(m, values.get(m)) for m in metrics)])
    gains = "; ".join(filter(None, map(difference_text, known)))
    text = "Difference on the same test rows, with its 95 % interval"
    return markdown(head, rows) + (f"\n\n{text}: {gains}." if gains and not alone else "")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns but the first are aligned to the right, what is missing a dash."""
    full = [[*row, *["-"] * len(head)][: len(head)] for row in rows]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *full]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def value(project: str, name: str, metric: str, other: str = "") -> str:
    """One figure of a record, or of one of its baselines or published sources, for a sentence."""
    record = find(project, name)
    if record is None:
        return f"({NOT_RECORDED})"
    if metric == "minutes":
        return f"{max(1, record['seconds'] / 60):.0f} min" + star(record)
    published = by_source(record["published"])
    if other in published:
        return figure_text(metric, published[other][metric])
    if other:
        return figure_text(metric, record["baselines"][other][metric]) + star(record)
    known = record["metrics"].get(metric, {})
    return figure_text(metric, known.get("mean"), known.get("std")) + star(record)


def speed(name: str) -> str:
    """The table of results/speed.json of that name; empty where nothing has been measured."""
    path = RESULTS / "speed.json"
    tables = json.loads(path.read_text(encoding="utf-8"))["tables"] if path.exists() else {}
    rows = tables.get(name)
    return markdown(list(rows[0]), [list(row.values()) for row in rows]) if rows else ""


def phases(names: Sequence[str]) -> str:
    """A table of the seconds that a run spent on each phase, for records named project=name."""
    rows = []
    for project, _, name in (word.partition("=") for word in names):
        record = find(project, name)
        spent = record.get("phases") if record else None
        cells = [f"{spent.get(phase, 0.0):,.1f}" for phase in PHASES] if spent else []
        rows.append([project + ("" if spent else f" ({NOT_RECORDED})"), *cells])
    return markdown(["seconds", *PHASES], rows)


def filled(text: str) -> str:
    """A README's text with every marked table and figure made from the records."""

    def fill(match: re.Match[str]) -> str:
        mark, kind, words, _, end = match.groups()
        first, *rest = [*shlex.split(words or ""), ""]
        if kind == "value":
            return f"{mark}{value(first, *rest[:-1])}{end}"
        if kind == "table":
            options = dict(word.partition("=")[::2] for word in rest)
            names, metrics = options["records"].split(","), options["metrics"].split(",")
            content = table(first, names, metrics, alone="alone" in options)
        elif kind == "phases":
            content = phases([first, *rest[:-1]])
        else:
            content = speed(first)
        return f"{mark}\n\n{content}\n\n{end}" if content else f"{mark}{end}"

    text = NOTE.sub("\n", MARK.sub(fill, text)).rstrip("\n") + "\n"
    if STAR in text:
        note = f"{STAR.strip()} Measured with an earlier version of the code."
        text += f"\n<!-- note -->\n\n{note}\n\n<!-- end -->\n"
    return text


def readmes() -> list[Path]:
    """The READMEs of the repository, of its projects and of the benchmarks."""
    others = [*ROOT.glob("[!.]*/README.md"), ROOT / "tests" / "benchmarks" / "README.md"]
    return [ROOT / "README.md", *sorted(path for path in others if path.is_file())]


def fill() -> None:
    """Fill in every README and the notes; says what is not recorded yet."""
    for path in [*readmes(), *RESULTS.glob("NOTES.md")]:
        text = filled(path.read_text(encoding="utf-8"))
        write_text(path, text)
        if missing := text.count(NOT_RECORDED):
            print(f"{path.relative_to(ROOT)}: {missing} {NOT_RECORDED}")


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=plain).parse_args()
    fill()


if __name__ == "__main__":
    main()
