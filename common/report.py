"""What a run prints and records: settings, the table of results, versions, memory, operations."""

import contextlib
import dataclasses
import os
import platform
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from common.config import Settings, flag

import torch
from torch import Tensor, nn

WIDTH = 96  # characters of a printed line


def settings_text(config: Settings) -> str:
    """All settings, wrapped; those that differ from the recipe carry a star."""
    default = type(config).of(config.recipe)
    words = [
        f"{flag(name)}={value}{'' if value == getattr(default, name) else '*'}"
        for name, value in dataclasses.asdict(config).items()
        if value != ""
    ]
    lines = ["settings "]
    for word in words:
        if len(lines[-1]) + len(word) > WIDTH:
            lines.append(" " * 9)
        lines[-1] += f" {word}"
    return "\n".join(lines)


def results_table(results: Mapping[str, Any]) -> str:
    """This run (or its variants), the baselines and the published figures, aligned."""
    own = {f"this run, {k}": v for k, v in results["metrics"].items() if isinstance(v, Mapping)}
    own = own or {"this run": results["metrics"]}
    nested = any(isinstance(value, Mapping) for value in results["published"].values())
    published = results["published"] if nested else {"published": results["published"]}
    rows = {**own, **results["baselines"], **{k: v for k, v in published.items() if v}}
    others = {name for label, figures in rows.items() if label not in own for name in figures}
    reported = next(iter(own.values()))
    columns = [name for name in reported if name in others] or list(reported)
    label = max(map(len, rows)) + 2
    lines = [" " * label + " ".join(f"{name:>{max(10, len(name))}}" for name in columns)]
    for name, figures in rows.items():
        cells = [f"{number(figures.get(column)):>{max(10, len(column))}}" for column in columns]
        lines.append(f"{name:<{label}}" + " ".join(cells))
    if results["data"] == "sample":
        lines.append("SAMPLE DATA, generated: these figures are no result")
    return "\n".join(lines)


def number(value: Any) -> str:
    """A figure in few characters; a missing one is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def plain(value: Any) -> Any:
    """The value in JSON's own types; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):  # tensors, and NumPy's arrays and numbers
        return plain(value.tolist())
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the figures."""
    from importlib.metadata import version

    names = ("torch", "torchvision", "numpy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(ImportError):  # PackageNotFoundError is one
            found[name] = version(name)
    return found


def peak_memory_mb(place: torch.device) -> float:
    """The most memory that was used so far, of the GPU or of this process, in MB."""
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated(place) / 1e6
    if os.name != "posix":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


@torch.no_grad()
def count_flops(model: nn.Module, example: tuple[Tensor, ...]) -> int:
    """Floating-point operations of `model(*example)`; a multiply-add counts as two."""
    from torch.utils.flop_counter import FlopCounterMode

    training = model.training
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # leaving mkldnn.flags warns of TF32 on absent GPUs
        # oneDNN's fused LSTM is one operation that the counter does not know.
        with FlopCounterMode(display=False) as counter, torch.backends.mkldnn.flags(enabled=False):
            model(*example)
    model.train(training)
    return counter.get_total_flops()
