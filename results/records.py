"""Records: what runs on real data gave, with all that is needed to get it again.

`results/record.sh PROJECT` runs the commands of a project's records and adds them. A record in
`results/<project>.json` comes from one command at one state of the code: its runs differ in their
seed alone. `results/predictions/` keeps the predictions of the test rows.
"""

import io
import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from common import checkpoints
from common.metrics import paired_interval
from common.settings import RESUME_FREE, UserError
from common.summary import OWN, read_results, spread, variants

RESULTS = Path(__file__).resolve().parent
LIST = re.compile(r"\[[^\[\]{}]*\]")
# What does not decide a result, or is recorded in a place of its own.
NOT_SETTINGS = RESUME_FREE | {"seed", "data", "data_dir", "out"}
SAME = ("commit", "code", "settings", "dataset", "versions", "processes")
LARGEST_MODEL = 1_000_000  # bytes that are worth keeping in git


def read(project: str) -> list[dict[str, Any]]:
    """The project's records; an empty list where it has none."""
    path = RESULTS / f"{project}.json"
    return json.loads(path.read_text(encoding="utf-8"))["records"] if path.exists() else []


def find(project: str, name: str) -> dict[str, Any] | None:
    """The record of that name, or None where it has not been made."""
    return next((record for record in read(project) if record["name"] == name), None)


def add(project: str, name: str, command: str, folders: Sequence[Path], variant: str = "") -> None:
    """Make a record of runs that differ in their seed alone; one of the same name is replaced.

    Args:
        name: of the record.
        command: that gives the runs, but for the seed, as a reader types it.
        folders: of the runs.
        variant: which of the runs' nested metrics; without it the one of the record's name.

    Raises:
        UserError: the runs are not fit to be recorded, and why.
    """
    runs = [read_results(folder) for folder in folders]
    first = compared(runs[0])
    for run, folder in zip(runs, folders, strict=True):
        if problem := unfit(run, project):
            raise UserError(f"record {name}: {folder} {problem}")
        other = compared(run)
        if different := [key for key in SAME if first[key] != other[key]]:
            raise UserError(
                f"record {name}: {folder} differs from {folders[0]} in more than the seed: "
                f"{', '.join(f'{k} {first[k]} and {other[k]}' for k in different)}"
            )
    seeds = [run["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"record {name}: a seed occurs twice in {seeds}")
    reported = variants(runs[0])
    variant = "" if list(reported) == [""] else variant or name
    if variant not in reported:
        raise UserError(f"record {name}: the runs report {', '.join(reported)}")
    metrics = [variants(run)[variant] for run in runs]
    record = {
        "name": name,
        "command": command,
        **first,
        "seeds": seeds,
        "metrics": {key: rounded(spread([m.get(key) for m in metrics])) for key in metrics[0]},
        "baselines": averaged([run["baselines"] for run in runs]),
        "published": runs[0]["published"],
        "difference": difference(project, name, folders, variant),
        "models": runs[0]["models"],
        "seconds": round(statistics.fmean(run["seconds"] for run in runs), 1),
        "phases": longest_phases([run["phases"] for run in runs]),
        "hardware": sorted({run["hardware"] for run in runs}),
        "date": max(run["date"] for run in runs)[:10],
    }
    records = [old for old in read(project) if old["name"] != name] + [record]
    text = json.dumps({"project": project, "records": records}, indent=1)
    one_line = LIST.sub(lambda match: " ".join(match[0].split()), text)  # a line for every metric
    checkpoints.write_text(RESULTS / f"{project}.json", one_line + "\n")
    print(f"recorded in results/{project}.json: {name}, seeds {seeds}")


def unfit(run: Mapping[str, Any], project: str) -> str:
    """Why a run is no result, or "" where it is one."""
    if run["project"] != project:
        return f"is a run of {run['project']}, not of {project}"
    if run["data"] != "real":
        return "is a run on sample data"
    if not run["finished"]:
        return "was stopped before its end"
    if run["settings"]["limit_batches"]:
        return "is a dry run, with --limit-batches"
    if not run.get("commit"):
        return "does not know its commit: make records in a git checkout"
    if run["commit"].endswith("-dirty"):
        return "was made from files that are not committed: commit, or use a separate worktree"
    return ""


def compared(run: Mapping[str, Any]) -> dict[str, Any]:
    """What the runs of a record must have in common."""
    settings = {k: v for k, v in run["settings"].items() if k not in NOT_SETTINGS}
    return {**{key: run[key] for key in SAME}, "settings": settings}


def longest_phases(phases: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Seconds of each phase in the run where it took longest: the others find what it cached."""
    return {name: round(max(each.get(name, 0.0) for each in phases), 1) for name in phases[0]}


def averaged(baselines: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The mean over the runs of each baseline's metrics."""
    return {
        name: {
            metric: rounded(spread([run.get(name, {}).get(metric) for run in baselines]))["mean"]
            for metric in row
        }
        for name, row in baselines[0].items()
    }


def rounded(value: Any) -> Any:
    """Six significant digits in every number, for no metric here is known better."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def difference(
    project: str, name: str, folders: Sequence[Path], variant: str
) -> dict[str, Any] | None:
    """The record's mean over its seeds against the strongest baseline, on the same test rows.

    The 95 % interval is of the test rows (paired bootstrap); the spread over seeds is given apart.
    Keeps the predictions in results/predictions/. None where the runs kept none, or no baseline's.
    """
    kept = [dict(np.load(folder / "predictions.npz")) for folder in folders
            if (folder / "predictions.npz").is_file()]  # fmt: skip
    own_name = variant or OWN
    if len(kept) < len(folders) or own_name not in kept[0]:
        return None
    labels = kept[0].pop("labels", None)
    for other in kept[1:]:
        if labels is not None and not np.array_equal(other.pop("labels"), labels):
            raise UserError(f"record {name}: the runs have other test rows")
    scores = {}  # of each predictor (rows,), the mean over its runs
    for key in kept[0]:
        rows = np.stack([run[key] for run in kept])  # (runs, rows)
        scores[key] = (rows if labels is None else rows == labels).mean(0)
    baselines = [key for key in scores if key in read_results(folders[0])["baselines"]]
    arrays = {key: small(np.stack([run[key] for run in kept])) for key in (own_name, *baselines)}
    if labels is not None:
        arrays["labels"] = small(labels)
    path = RESULTS / "predictions" / f"{project}-{name.replace(' ', '-')}.npz"
    checkpoints.write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
    if not baselines:
        return None
    best = max(baselines, key=lambda key: scores[key].mean())
    mean, low, high = paired_interval(scores[own_name], scores[best])
    return {"to": best, "of": "score" if labels is None else "accuracy"} | rounded(
        {"mean": mean, "low": low, "high": high}
    )


def small(array: np.ndarray) -> np.ndarray:
    """Class numbers as bytes, scores as half floats; equal runs of a baseline once."""
    if array.ndim == 2 and (array == array[:1]).all():
        array = array[:1]
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float16)
    return array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)


def copy_plots(folder: Path) -> None:
    """Copy a real run's plots to results/plots/<project>-<plot>.png."""
    run = read_results(folder)
    if run["data"] != "real":
        raise UserError(f"{folder} is a run on sample data: its plots are no result")
    (RESULTS / "plots").mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.png")):
        copy_small(path, RESULTS / "plots" / f"{run['project']}-{path.name}")


def copy_small(plot: Path, copy: Path) -> None:
    """Copy a PNG with 256 colours; as it is, where that is no smaller or parts are transparent."""
    whole, reduced = plot.read_bytes(), io.BytesIO()
    with Image.open(plot) as image:
        least_alpha, _ = image.convert("RGBA").getchannel("A").getextrema()
        # Median cut, then k-means, keeps white white, as dithering does not; it takes no alpha.
        image.convert("RGB").quantize(256, kmeans=1).save(reduced, "PNG", optimize=True)
    is_better = least_alpha == 255 and reduced.tell() < len(whole)
    copy.write_bytes(reduced.getvalue() if is_better else whole)


def copy_model(folder: Path) -> None:
    """Copy a recorded run's model.pt to results/models/<project>.pt, if it is small."""
    run, path = read_results(folder), folder / "model.pt"
    if problem := unfit(run, run["project"]):
        raise UserError(f"{folder} {problem}")
    if path.stat().st_size > LARGEST_MODEL:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes: too many for git")
    (RESULTS / "models").mkdir(parents=True, exist_ok=True)
    model = checkpoints.load(path)
    model["settings"] |= {"out": None, "data_dir": None}  # folders of the machine it was trained on
    checkpoints.save(RESULTS / "models" / f"{run['project']}.pt", model)
