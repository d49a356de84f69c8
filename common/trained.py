"""A trained model, as a run wrote it to model.pt: what predict.py loads."""

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from common import checkpoints
from common.runs import is_finished
from common.settings import ROOT, UserError


@dataclass(frozen=True)
class Trained:
    """A trained model as model.pt holds it, for predict.py.

    weights: a state dict for each network. settings: of the training, by the fields of its Config.
    sample: whether it learned from generated data.
    """

    folder: Path
    weights: list[dict[str, Tensor]]
    settings: dict[str, Any]
    preprocessing: dict[str, Any]
    sample: bool
    data: str


def find_trained(project: str, name: str, out: Path | None = None, model: str = "") -> Trained:
    """The model of the run called `name`, or of the latest: real and complete runs before others.

    Says on standard error which run it is and what it learned from.

    Args:
        name: a run's folder or name, or a model.pt.
        model: the part of the run that trained it; "" = the one that is best on validation.

    Raises:
        UserError: there is no such run, or it has no such model.
    """
    parent = (out or ROOT / "runs").expanduser() / project
    remedy = f"train first, with python {project}/train.py, or name another with --run"
    if name:
        places = [path for path in (Path(name).expanduser(), parent / name) if path.exists()]
        if not places:
            raise UserError(f"there is no run {name} in {parent}: {remedy}")
        folder = places[0]
    else:
        finished = [f for f in parent.glob("*") if is_finished(f) and any(f.rglob("model.pt"))]
        kept = ROOT / "results" / "models" / f"{project}.pt"  # of the record: there after cloning
        if not finished and not (kept.is_file() and out is None):
            raise UserError(f"there is no finished run in {parent}: {remedy}")
        folder = (
            kept if not finished else max(finished, key=lambda f: (is_real_and_complete(f), f.name))
        )
    path = folder if folder.is_file() else model_file(folder, model, remedy)
    state = checkpoints.load(path)
    if not isinstance(state, dict) or state.get("project") != project:
        raise UserError(f"{path} is not a model of {project}: {remedy}")
    kind = "GENERATED SAMPLE DATA" if state["sample"] else "real data"
    print(f"model {path}, trained on {state['data']} ({kind})", file=sys.stderr, flush=True)
    content = {field.name: state[field.name] for field in fields(Trained)[1:]}
    return Trained(path.parent, **content)


def is_real_and_complete(folder: Path) -> bool:
    """Whether a finished run was trained on real data, and not for a few batches only."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results.get("data") == "real" and not results.get("settings", {}).get("limit_batches")


def model_file(folder: Path, model: str, remedy: str) -> Path:
    """The run's model.pt, or that of a part."""
    own = folder / "model.pt"
    if own.is_file() and not model:
        return own
    files = {path.parent.name: path for path in sorted(folder.glob("*/model.pt"))}
    if not files:
        raise UserError(f"{folder} holds no model of this project: {remedy}")
    if model:
        if model.replace(" ", "-") not in files:
            raise UserError(f"--model {model}: the run in {folder} has {', '.join(files)}")
        return files[model.replace(" ", "-")]
    try:
        metrics = json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
        scores = {name.replace(" ", "-"): v for name, v in metrics.items() if isinstance(v, dict)}
        return max(files.items(), key=lambda item: scores[item[0]]["val_accuracy"])[1]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} is not one run with its results: give --run one of the folders in it, such "
            f"as {next(iter(files.values())).parent}"
        ) from error
