"""The folder of one run, and what a run prints.

`runs/<project>/<time>[-name]/` holds config.json, metrics.csv (a row an epoch), best.pt, last.pt,
plots and, at the end, results.json. Nothing is overwritten: every start makes a new folder,
unless `--resume` goes on with one.
"""

import dataclasses
import inspect
import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from common import checkpoints, device, distributed, report
from common.config import ROOT, Settings
from common.errors import SettingError, UserError
from common.locks import hold
from common.signals import Stop

import torch
from filelock import BaseFileLock
from torch import nn

if TYPE_CHECKING:
    from common.downloads import Source

    from matplotlib.figure import Figure

C = TypeVar("C", bound=Settings)


class Run:
    """One run of one script: its folder, its device and what is known of it so far."""

    def __init__(self, project: str, config: Settings, folder: Path, place: torch.device):
        self.project, self.config, self.folder, self.device = project, config, folder, place
        self.is_main = distributed.is_main()
        self.stop = Stop()
        self.lock: BaseFileLock | None = None  # of the folder, as long as this object lives
        self.source: Source | None = None
        self.counts: dict[str, int] = {}
        self.models: dict[str, dict[str, int]] = {}
        self.parts: list[Run] = []
        self.train_seconds = 0.0
        self.began = time.monotonic()
        self.headed = False  # whether the table of epochs has its heading

    def part(self, name: str) -> "Run":
        """A second training inside this run, in a folder of its own: a member, another model."""
        part = Run(self.project, self.config, self.folder / file_name(name), self.device)
        part.stop, part.source = self.stop, self.source
        self.parts.append(part)
        self.print(f"\n{name}")
        return part

    @property
    def is_sample(self) -> bool:
        return self.source is not None and self.source.kind == "sample"

    def print(self, text: str = "") -> None:
        """Print once for the whole job."""
        if self.is_main:
            print(text, flush=True)

    def describe_data(self, source: "Source", counts: Mapping[str, int]) -> None:
        """Print what the data set is and how large its parts are."""
        self.source, self.counts = source, dict(counts)
        note = f" ({source.note})" if source.note and not self.is_sample else ""
        self.print(f"data      {source.name}{note}, {source.kind.upper()}, in {source.folder}")
        self.print("          " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))

    def describe_model(self, model: nn.Module, example: tuple[Any, ...], name: str = "") -> None:
        """Print parameters and the operations of `model(*example)`, a batch of one."""
        total = sum(p.numel() for p in model.parameters())
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        flops = report.count_flops(model, example)
        name = name or type(model).__name__
        self.models[name] = {"parameters": total, "trainable": trainable, "flops": flops}
        self.print(
            f"model     {name}: {total:,} parameters, {trainable:,} trainable, "
            f"{flops / 1e6:,.2f} million floating-point operations a sample"
        )

    def start_log(self, rows: list[dict[str, Any]]) -> None:
        """Begin metrics.csv with the epochs of an earlier start of this run."""
        if self.is_main:
            checkpoints.write_text(self.folder / "metrics.csv", "")
            for row in rows:
                self.write_row(row)

    def write_row(self, row: dict[str, Any]) -> None:
        with (self.folder / "metrics.csv").open("a", encoding="utf-8", newline="") as file:
            if file.tell() == 0:
                file.write(",".join(row) + "\n")
            file.write(",".join(str(value) for value in row.values()) + "\n")

    def log(self, row: dict[str, Any], epochs: int, best: bool) -> None:
        """Print the row of an epoch, aligned, and add it to metrics.csv."""
        if not self.is_main:
            return
        self.write_row(row)
        cells = {key: report.number(value) for key, value in row.items() if key != "grad_norm_max"}
        cells["seconds_left"] = f"{row['seconds'] * (epochs - row['epoch']):.0f}"
        if not self.headed:
            heads = [key.replace("_per_second", "/s") for key in cells]
            self.print(" ".join(f"{head[:12]:>12}" for head in heads))
            self.headed = True
        self.print(" ".join(f"{cell:>12}" for cell in cells.values()) + (" *" if best else ""))

    def save_plot(self, figure: "Figure", name: str) -> None:
        """Save a figure in the run's folder; one of sample data says so."""
        from common import plots

        if self.is_main:
            plots.save(figure, self.folder / name, sample=self.is_sample)

    def finish(
        self,
        metrics: Mapping[str, Any],
        baselines: Mapping[str, Mapping[str, float]],
        published: Mapping[str, Any],
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Print the table of results, write results.json and return what it holds.

        Args:
            metrics: this run's figures by their names, or nested by the variant they belong to
                (several models, two kinds of score).
            baselines: for each baseline its figures, under the same names.
            published: the published figures under the same names, or nested by their source.
            extra: anything else worth keeping (figures by class, by feature).

        Raises:
            Stopped: the run was stopped before its end; its figures so far are written.
        """
        train_seconds = sum(part.train_seconds for part in [self, *self.parts])
        peak = report.peak_memory_mb(self.device)
        source = self.source
        results = {
            "project": self.project,
            "finished": self.stop.signal is None,
            "data": source.kind if source else "none",
            "dataset": {
                "name": source.name if source else "",
                "checksum": source.checksum if source else "",
                "note": source.note if source else "",
                "counts": self.counts,
            },
            "settings": dataclasses.asdict(self.config),
            "seed": self.config.seed,
            "metrics": {**metrics, "train_seconds": train_seconds, "peak_memory_mb": peak},
            "baselines": baselines,
            "published": published,
            "extra": extra or {},
            "models": self.models,
            "hardware": device.describe(self.device),
            "versions": report.versions(),
            "seconds": time.monotonic() - self.began,
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        results = report.plain(results)
        if self.is_main:
            text = json.dumps(results, indent=1, allow_nan=False)
            checkpoints.write_text(self.folder / "results.json", text + "\n")
        self.print("\n" + report.results_table(results))
        self.print(f"\nwritten to {self.folder}")
        distributed.stop()
        self.stop.raise_if_stopped()
        return results


def start(project: str, config: Settings) -> Run:
    """Make (or find again) the run's folder, choose the device, seed, print the settings.

    Raises:
        SettingError: no such device.
        UserError: the folder cannot be written, or another process is training this run.
    """
    place = device.choose(config.device)
    distributed.start(place)
    folder = Path(distributed.share(str(find(project, config) if distributed.is_main() else "")))
    device.seed_everything(config.seed)
    run = Run(project, config, folder, place)
    if run.is_main:
        run.lock = hold(folder)
        checkpoints.remove_leftovers(folder)  # the lock proves that nobody is writing them
        text = json.dumps(dataclasses.asdict(config), indent=1)
        checkpoints.write_text(folder / "config.json", text + "\n")
    run.print(f"{project} on {device.describe(place)}, torch {torch.__version__}")
    run.print(report.settings_text(config))
    return run


def file_name(name: str) -> str:
    """What the folder of a part of that name, or a file about it, is called: without blanks."""
    return name.replace(" ", "-")


def project_folder(project: str, config: Settings) -> Path:
    return (Path(config.out).expanduser() if config.out else ROOT / "runs").resolve() / project


def find(project: str, config: Settings) -> Path:
    """The folder of a resumed run, or a new one that no other run has."""
    if config.resume:
        return resumed_folder(project, config)
    parent = project_folder(project, config)
    stamp = time.strftime("%Y%m%d-%H%M%S") + (f"-{config.name}" if config.name else "")
    for attempt in range(1000):
        folder = parent / (stamp if attempt == 0 else f"{stamp}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue  # another run began in the same second
        except OSError as error:
            raise UserError(
                f"{folder} cannot be made ({error.strerror}): choose another folder with --out"
            ) from error
    raise UserError(f"{parent} is full of runs named {stamp}: give this one another --name")


def resumed_folder(project: str, config: Settings) -> Path:
    """The folder that `--resume` names: a path, a run's name, or `latest` for the unfinished.

    Raises:
        SettingError: there is no such run.
    """
    parent = project_folder(project, config)
    if config.resume != "latest":
        for folder in (Path(config.resume).expanduser(), parent / config.resume):
            if (folder / "config.json").is_file():
                return folder.resolve()
        raise SettingError(f"--resume {config.resume}: there is no run of that name in {parent}")
    runs = sorted(path.parent for path in parent.glob("*/config.json"))
    unfinished = [folder for folder in runs if not is_finished(folder)]
    if not unfinished:
        raise SettingError(f"--resume: there is no unfinished run in {parent}")
    return unfinished[-1].resolve()


def is_finished(folder: Path) -> bool:
    """Whether the run wrote its results and was not stopped before its end."""
    path = folder / "results.json"
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["finished"]


def find_trained(project: str, name: str, out: str, file: str) -> Path:
    """The folder of the run called `name`, or of the latest finished one: what predict.py loads.

    Args:
        file: what the folder must hold.

    Raises:
        UserError: there is no such run.
    """
    parent = (Path(out).expanduser() if out else ROOT / "runs") / project
    remedy = f"train first, with python {project}/train.py, or name another with --run"
    if name:
        named = [path for path in (Path(name).expanduser(), parent / name) if path.is_dir()]
        if not named:
            raise UserError(f"there is no run {name} in {parent}: {remedy}")
        if not (named[0] / file).is_file():
            raise UserError(f"{named[0]} is no run of {project} (it has no {file}): {remedy}")
        return named[0]
    for folder in sorted(parent.glob("*"), reverse=True):
        if is_finished(folder) and (folder / file).is_file():
            return folder
    raise UserError(f"there is no finished run in {parent}: {remedy}")


def saved_config(config_class: type[C], config: C) -> C:
    """The settings of the run that `config.resume` names.

    Raises:
        SettingError: no such run, or its settings are of another version of the script.
    """
    project = Path(inspect.getfile(config_class)).resolve().parent.name
    folder = resumed_folder(project, config)
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known = {field.name: field for field in dataclasses.fields(config_class)}
    unknown = sorted(set(saved) ^ set(known))
    if unknown:
        raise SettingError(
            f"--resume: {folder} was started by another version of this script "
            f"(setting {unknown[0]}): start a new run"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in saved.items()}
    return config_class(**{**values, "resume": str(folder), "out": config.out})
