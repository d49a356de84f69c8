"""What results.json holds, as tables and as means over runs."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.settings import UserError

OWN = "this run"


def read_results(folder: Path) -> dict[str, Any]:
    """The results.json of a run, or UserError where there is none."""
    path = folder / "results.json"
    if not path.is_file():
        raise UserError(f"{folder} has no results.json: name the folder of a run that has ended")
    return json.loads(path.read_text(encoding="utf-8"))


def variants(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of each variant that a run reports ("" if it has one), and what they share."""
    metrics = results["metrics"]
    shared = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
    nested = {name: value for name, value in metrics.items() if isinstance(value, Mapping)}
    return {name: {**shared, **values} for name, values in nested.items()} or {"": shared}


def by_source(published: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The published metrics by their source ("published" if they have none)."""
    is_nested = any(isinstance(value, Mapping) for value in published.values())
    return dict(published) if is_nested else {"published": published} if published else {}


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and sample standard deviation of the values that are known, and all of them.

    What is the same in all stays as it is: a count of parameters.
    """
    known = [value for value in values if value is not None]
    mean = known[0] if len(set(known)) == 1 else statistics.fmean(known) if known else None
    return {
        "mean": mean,
        "std": statistics.stdev(known) if len(known) > 1 else None,
        "values": list(values),
    }


def number(value: Any) -> str:
    """A number in few characters; a missing one is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    table = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *rest in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip())
    return "\n".join(lines)


def differences(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each variant: how far it is from the strongest baseline."""
    return [
        f"{name} against {gain['to']}, on the same test rows: {gain['difference']:+.4f}, 95 % "
        f"interval {gain['low']:+.4f} to {gain['high']:+.4f}"
        for name, gain in results.get("differences", {}).items()
    ]


def results_table(results: Mapping[str, Any]) -> str:
    """This run (or its variants), the baselines and the published metrics, aligned."""
    own = {f"{OWN}, {k}": v for k, v in results["metrics"].items() if isinstance(v, Mapping)}
    own = own or {OWN: results["metrics"]}
    rows = {**own, **results["baselines"], **by_source(results["published"])}
    others = {name for label, values in rows.items() if label not in own for name in values}
    reported = next(iter(own.values()))
    columns = [name for name in reported if name in others] or list(reported)
    cells = [[label, *(number(row.get(name)) for name in columns)] for label, row in rows.items()]
    lines = [format_table(["", *columns], cells), *differences(results)]
    if results["data"] == "sample":
        lines.append("SAMPLE DATA, generated: these figures are no result")
    return "\n".join(lines)
