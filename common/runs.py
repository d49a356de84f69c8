"""The folder of one run, what a run prints, and its results.

`runs/<project>/<time>[-name]/` holds config.json, metrics.csv (a row an epoch), checkpoint.pt (for
an exact resume), model.pt (all that predict.py needs), results.json, predictions.npz and plots.
Every start makes a new folder, unless `--resume` goes on with one.
"""

import csv
import hashlib
import io
import json
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import BaseFileLock, FileLock, Timeout
from torch import Tensor, nn

from common import checkpoints, device, distributed
from common.metrics import mistakes, paired_interval
from common.settings import (
    RESUME_FREE,
    ROOT,
    SettingError,
    Settings,
    Stopped,
    UserError,
    as_saved,
    flag,
    from_saved,
    warn,
)
from common.summary import OWN, number, results_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from common.downloads import Source

WIDTH = 96  # characters of a printed line
STOP_LOOK_EVERY = 10  # steps between looks of the processes of a job at each other's signals


@dataclass
class History:
    """What a training went through: a row of metrics for each epoch, and the best of them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # spent in training steps, over all starts of the run


class Run:
    """One run of one script: its folder, its device and what is known of it so far."""

    def __init__(
        self, project: str, config: Settings, folder: Path, place: torch.device, script: str
    ):
        self.project, self.config, self.folder, self.device = project, config, folder, place
        self.precision = config.precision
        self.is_main = distributed.is_main()
        self.title = ""  # of a part
        self.root = self  # of a part: the run that it belongs to
        self.parts: list[Run] = []
        self.history: History | None = None
        self.train_seconds = 0.0
        self.is_headed = False  # whether the table of epochs has its heading
        # What follows is the root's alone.
        self.source: Source | None = None
        self.counts: dict[str, int] = {}
        self.models: dict[str, dict[str, int]] = {}
        self.signal: int | None = None  # that asked to stop
        self.lock: BaseFileLock | None = None  # of the folder, as long as this object lives
        self.script, self.made_from = script, {}
        self.began = self.phase_began = time.monotonic()
        self.phase_name, self.phases = "data", {}

    @property
    def is_sample(self) -> bool:
        return self.root.source is not None and self.root.source.kind == "sample"

    def print(self, text: str = "") -> None:
        """Print once for the whole job."""
        if self.is_main:
            print(text, flush=True)

    def phase(self, name: str) -> None:
        """From here on seconds count for this phase: data, training, evaluation, ..."""
        root, now = self.root, time.monotonic()
        root.phases[root.phase_name] = (
            root.phases.get(root.phase_name, 0.0) + now - root.phase_began
        )
        root.phase_name, root.phase_began = name, now

    def begin(self, source: "Source", counts: Mapping[str, int], notes: Sequence[str] = ()) -> None:
        """Make the run's folder, now that there is data to run on, and print what the data is.

        Raises:
            UserError: the folder cannot be made, another process is training this run, or a
                resumed run had other data.
        """
        self.source, self.counts = source, dict(counts)
        note = f" ({source.note})" if source.note and not self.is_sample else ""
        self.print(f"data      {source.name}{note}, {source.kind.upper()}, in {source.folder}")
        self.print("          " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))
        for line in notes:
            self.print(f"          {line}")
        is_resumed = self.folder.name != ""
        if is_resumed:
            if saved_state(self.folder)["checksum"] != source.checksum:
                raise UserError(
                    f"the data of {self.folder} has changed since it was started: {source.name} in "
                    f"{source.folder} holds other content; put the old back, or start a new run"
                )
        else:
            make = lambda: str(new_folder(self.project, self.config))  # noqa: E731
            self.folder = Path(distributed.in_main(make))
        if self.is_main:
            # A singleton: what is left of a training that failed does not block its own process.
            self.lock = FileLock(self.folder / ".lock", is_singleton=True)
            try:
                self.lock.acquire(timeout=0)
            except Timeout as error:
                raise UserError(
                    f"{self.folder} is being trained by another process: wait for its end or stop "
                    "it, or start a new run, without --resume"
                ) from error
            except (OSError, NotImplementedError):
                pass  # a file system without locks
            checkpoints.remove_leftovers(self.folder)  # the lock proves that nobody writes them
            state = {"settings": as_saved(self.config), "checksum": source.checksum}
            checkpoints.write_text(self.folder / "config.json", json.dumps(state, indent=1) + "\n")

    def describe_model(self, model: nn.Module, example: tuple[Any, ...], name: str = "") -> None:
        """Print parameters and the operations of `model(*example)`, a batch of one."""
        total = sum(p.numel() for p in model.parameters())
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        flops = count_flops(model, example)
        name = name or type(model).__name__
        sizes = {"parameters": total, "trainable": trainable, "flops": flops}
        self.root.models[name] = sizes
        self.print(
            f"model     {name}: {total:,} parameters, {trainable:,} trainable, "
            f"{flops / 1e6:,.2f} million floating-point operations a sample"
        )

    def part(self, name: str, precision: str = "") -> "Run":
        """A second training inside this run, in a folder of its own: a member, another model."""
        folder = self.folder / name.replace(" ", "-")
        part = Run(self.project, self.config, folder, self.device, self.script)
        part.root, part.title = self.root, name
        part.precision = precision or self.precision
        self.root.parts.append(part)
        self.print(f"\n{name}")
        return part

    def start_training(self, history: History) -> None:
        """Called by `fit`: begin metrics.csv with the epochs of an earlier start of this run."""
        self.phase("training")
        self.history = history
        if self.is_main:
            rows = "".join(csv_row(row) for row in history.rows)
            head = csv_row(list(history.rows[0])) if history.rows else ""
            checkpoints.write_text(self.folder / "metrics.csv", head + rows)
            if self.config.track == "tensorboard":
                from common import tracking

                self.tracker = tracking.Tracker(self.folder, len(history.rows))

    def log(self, row: dict[str, Any], epochs: int, is_best: bool) -> None:
        """Print the row of an epoch, aligned, and add it to metrics.csv."""
        if not self.is_main:
            return
        path = self.folder / "metrics.csv"
        try:
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(("" if file.tell() else csv_row(list(row))) + csv_row(row))
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): free some space, then go on with "
                "--resume"
            ) from error
        if self.config.track == "tensorboard":
            self.tracker.log(row)
        cells = {name: number(value) for name, value in row.items() if name != "grad_norm_max"}
        cells["seconds_left"] = f"{row['seconds'] * (epochs - row['epoch']):.0f}"
        if not self.is_headed:
            heads = [name.replace("_per_second", "/s") for name in cells]
            self.print(" ".join(f"{head[:12]:>12}" for head in heads))
            self.is_headed = True
        self.print(" ".join(f"{cell:>12}" for cell in cells.values()) + (" *" if is_best else ""))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM are noted and `after_step` stops; a second SIGINT at once."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            for wanted in (signal.SIGINT, signal.SIGTERM):
                before[wanted] = signal.signal(wanted, self._note)
        try:
            yield
        finally:
            for wanted, handler in before.items():
                signal.signal(wanted, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.root.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.root.signal = number
        print("\nstopping after this step; Ctrl+C again stops at once", file=sys.stderr)

    def after_step(self, step: int) -> None:
        """Called by `fit` after each step: its time if it is the first, and the end if asked for.

        Raises:
            Stopped: a signal came. What validation says of the trainings with at least one epoch
                is in results.json; the test split waits until the run is complete.
        """
        root = self.root
        root.phases.setdefault("first step", time.monotonic() - root.began)
        if distributed.world_size() > 1:
            if step % STOP_LOOK_EVERY:
                return
            wish = torch.tensor(root.signal or 0, device=self.device)
            torch.distributed.all_reduce(wish, torch.distributed.ReduceOp.MAX)
            root.signal = int(wish) or None
        if root.signal:
            self.phase("stopped")
            metrics = {
                part.title or OWN: {k: v for k, v in part.history.best.items() if k != "lr"}
                for part in [root, *root.parts]
                if part.history and part.history.rows
            }
            results = root.results(metrics, {}, {}, finished=False)
            if self.is_main:
                write_json(root.folder / "results.json", results)
            distributed.stop()
            raise Stopped(
                f"stopped on request, the test split unread: what validation says is in "
                f"{root.folder / 'results.json'}; go on with --resume",
                root.signal,
            )

    def save_model(self, models: nn.Module | Sequence[nn.Module], **preprocessing: Any) -> None:
        """Write model.pt: weights, settings and preprocessing, all that predict.py needs.

        Args:
            models: the network, or several whose predictions are averaged.
            preprocessing: tensors, numbers, texts and containers of them (vocabulary, classes).
        """
        if self.is_main:
            networks = [models] if isinstance(models, nn.Module) else models
            state = {
                "project": self.project,
                "data": self.root.source.name if self.root.source else "",
                "sample": self.is_sample,
                "settings": as_saved(self.config),
                "preprocessing": preprocessing,
                "weights": [network.state_dict() for network in networks],
            }
            checkpoints.save(self.folder / "model.pt", state)

    def save_plot(self, figure: "Figure", name: str) -> None:
        """Save a figure in the run's folder; one of sample data says so."""
        from common import plots

        if self.is_main:
            plots.save(figure, self.folder / name, sample=self.is_sample)

    def save_mistakes(
        self, items: Sequence[str], labels: Any, probabilities: Any, classes: Sequence[str]
    ) -> None:
        """Write mistakes.csv, the surest first: item, truth, prediction, its probability.

        Args:
            items: the file or the text of each row.
            labels: (rows,) class numbers.
            probabilities: (rows, classes).
        """
        labels, probabilities = np.asarray(labels), np.asarray(probabilities)
        rows = [["item", "truth", "prediction", "probability"]]
        for row in mistakes(labels, probabilities):
            predicted = probabilities[row].argmax()
            names = [classes[labels[row]], classes[predicted]]
            rows.append([items[row], *names, f"{probabilities[row, predicted]:.4f}"])
        if self.is_main:
            text = "".join(csv_row(row) for row in rows)
            checkpoints.write_text(self.folder / "mistakes.csv", text)

    def finish(
        self,
        metrics: Mapping[str, Any],
        baselines: Mapping[str, Mapping[str, float]],
        published: Mapping[str, Any],
        *,
        labels: Any = None,
        predictions: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        plots: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Write results.json, print the table of results, draw; returns what results.json holds.

        Args:
            metrics: this run's metrics by their names, or nested by the variant they belong to
                (several models, two kinds of score).
            baselines: for each baseline its metrics, under the same names.
            published: the published metrics under the same names, or nested by their source.
            labels: (rows,) true classes of the test rows.
            predictions: for variants ("this run" where there is one) and baselines, (rows,): the
                predicted classes, or without labels a score of each row, higher being better.
            extra: anything else worth keeping (metrics by class, by feature).
            plots: draws and saves the plots; if that fails, a note says so.
        """
        self.phase("evaluation")
        differences = {}
        if predictions:
            differences = compare(labels, predictions, baselines)
            if self.is_main:
                arrays = {name: np.asarray(rows) for name, rows in predictions.items()}
                if labels is not None:
                    arrays["labels"] = np.asarray(labels)
                path = self.folder / "predictions.npz"
                checkpoints.write_atomically(path, lambda f: np.savez_compressed(f, **arrays))
        results = self.results(metrics, baselines, published)
        results |= {"differences": differences, "extra": plain(extra or {})}
        if self.is_main:
            write_json(self.folder / "results.json", results)
        self.print("\n" + results_table(results))
        self.phase("plots")
        if self.is_main:
            from common import report, tracking

            try:
                if plots:
                    plots()
                report.write([self.folder], self.folder / "report.html")
                if self.config.track == "tensorboard":
                    tracking.finish(self.folder, results)
            except Exception as error:  # a missing font or a full disk must not cost the results
                warn(f"plots and report are not complete: {type(error).__name__}: {error}")
        self.phase("end")
        results["phases"] = plain(self.phases)
        results["seconds"] = time.monotonic() - self.began
        if self.is_main:
            write_json(self.folder / "results.json", results)
        self.print(f"\nwritten to {self.folder}")
        distributed.stop()
        return results

    def results(
        self,
        metrics: Mapping[str, Any],
        baselines: Mapping[str, Any],
        published: Mapping[str, Any],
        finished: bool = True,
    ) -> dict[str, Any]:
        """What results.json holds."""
        source = self.source
        trainings = [self, *self.parts]
        spent = {
            "train_seconds": sum(part.train_seconds for part in trainings),
            "peak_memory_mb": device.peak_memory_mb(self.device),
        }
        return plain(
            {
                "project": self.project,
                "finished": finished,
                "data": source.kind if source else "none",
                "dataset": {
                    "name": source.name if source else "",
                    "checksum": source.checksum if source else "",
                    "note": source.note if source else "",
                    "counts": self.counts,
                },
                "command": command_of(f"{self.project}/{self.script}", self.config),
                "settings": as_saved(self.config),
                "seed": self.config.seed,
                "metrics": {**metrics, **spent},
                "baselines": baselines,
                "published": published,
                "models": self.models,
                "phases": self.phases,
                **self.made_from,
                "hardware": device.describe(self.device),
                "processes": distributed.world_size(),
                "versions": versions(),
                "seconds": time.monotonic() - self.began,
                "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            }
        )


def start(project: str, config: Settings, script: str = "train.py") -> Run:
    """Choose device, threads and precision, seed, and print the settings.

    The settings become what they mean here: paths absolute, threads and precision as they are
    chosen; those of a resumed run are the saved ones.

    Raises:
        SettingError: an impossible setting, no such device, no such run to resume, or a setting
            that cannot change on resuming.
    """
    config.check()
    if config.track == "tensorboard":
        from common import tracking

        tracking.require()
    place = device.choose(config.device)
    distributed.start(place)
    folder = Path()
    if config.resume:
        folder = Path(distributed.in_main(lambda: str(resumed_folder(project, config))))
        adopt_saved(config, folder)
    for name, value in vars(config).items():
        if isinstance(value, Path):
            setattr(config, name, value.expanduser().absolute())
    config.threads = device.set_threads(config)
    config.precision = device.choose_precision(place, config)
    device.seed_everything(config.seed)
    run = Run(project, config, folder, place, script)
    run.made_from = code_state(project)
    run.print(f"{project} on {device.describe(place)}, torch {torch.__version__}")
    run.print(settings_text(config))
    return run


def project_folder(project: str, config: Settings) -> Path:
    """The folder of all runs of a project."""
    return (config.out or ROOT / "runs").expanduser().resolve() / project


def new_folder(project: str, config: Settings) -> Path:
    """A folder that no other run has.

    Raises:
        UserError: it cannot be made.
    """
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
    """The folder that `--resume` names: a path, a folder's name, the newest run that was started
    with this `--name`, or `latest` for the unfinished.

    Raises:
        SettingError: there is no such run.
    """
    parent = project_folder(project, config)
    if config.resume != "latest":
        for folder in (Path(config.resume).expanduser(), parent / config.resume):
            if (folder / "config.json").is_file():
                return folder.resolve()
        for folder in sorted(parent.glob(f"*-{config.resume}*"), reverse=True):
            path = folder / "config.json"
            state = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if state.get("settings", {}).get("name") == config.resume:
                return folder.resolve()
        raise SettingError(f"--resume {config.resume}: there is no run of that name in {parent}")
    folders = sorted(path.parent for path in parent.glob("*/config.json"))
    unfinished = [folder for folder in folders if not is_finished(folder)]
    if not unfinished:
        raise SettingError(f"--resume: there is no unfinished run in {parent}")
    return unfinished[-1].resolve()


def adopt_saved(config: Settings, folder: Path) -> None:
    """Give `config` the settings of the run in `folder`, but for what may change.

    Raises:
        SettingError: a given setting differs, or the saved ones are of another version.
    """
    saved = saved_state(folder)["settings"]
    old = from_saved(type(config), saved)
    for name in saved:
        before, now = getattr(old, name), getattr(config, name)
        if name not in config.given or name == "resume":
            setattr(config, name, before)
        elif now != before and name not in RESUME_FREE and not isinstance(now, Path):
            again = ", or a new one with --weights from its model.pt" if "weights" in saved else ""
            raise SettingError(
                f"--{flag(name)} cannot change on resuming: the run has {before}, not {now}; "
                f"start a new run{again}"
            )
    config.resume = str(folder)


def saved_state(folder: Path) -> dict[str, Any]:
    """The settings and the checksum of the data in a run's config.json.

    Raises:
        SettingError: they cannot be read.
    """
    path = folder / "config.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return {"settings": dict(state["settings"]), "checksum": state["checksum"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"{path} is damaged or not of a run: name another with --resume, or start a new one"
        ) from error


def is_finished(folder: Path) -> bool:
    """Whether the run wrote its results, which can be read, and was not stopped before its end."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return bool(results["finished"])
    return False


def compare(
    labels: Any, predictions: Mapping[str, Any], baselines: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """For each variant its difference to the strongest baseline, with the paired 95 % interval."""
    scores = {
        name: np.asarray(rows) if labels is None else np.asarray(rows) == np.asarray(labels)
        for name, rows in predictions.items()
    }
    others = [name for name in scores if name in baselines]
    if not others:
        return {}
    best = max(others, key=lambda name: scores[name].mean())
    differences = {}
    for name in (name for name in scores if name not in baselines):
        difference, low, high = paired_interval(scores[name], scores[best])
        differences[name] = {"to": best, "difference": difference, "low": low, "high": high}
    return differences


def settings_text(config: Settings) -> str:
    """All settings, wrapped; those that differ from the recipe carry a star."""
    different = changed(config)
    lines = ["settings "]
    for name, value in as_saved(config).items():
        word = f" {flag(name)}={value}{'*' if name in different else ''}"
        if value in ("", None):
            continue
        if len(lines[-1]) + len(word) > WIDTH:
            lines.append(" " * 9)
        lines[-1] += word
    return "\n".join(lines)


def changed(config: Settings) -> dict[str, Any]:
    """The settings that differ from the defaults of the recipe."""
    recipe = getattr(config, "recipe", "")
    default = type(config)(recipe=recipe) if recipe else type(config)()
    return {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if getattr(config, field.name) != getattr(default, field.name)
    }


def command_of(script: str, config: Settings) -> str:
    """The command that gives this run: what differs from the defaults, but not where it lies."""
    recipe = getattr(config, "recipe", "")
    default = getattr(type(config), "recipe", "")
    words = ["python", script]
    words += ["--recipe", recipe] if recipe != default else []
    for name, value in changed(config).items():
        if name not in RESUME_FREE | {"out", "data_dir"}:
            values = value if isinstance(value, (tuple, list)) else [value]
            spelt = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
            words += [f"--{flag(name)}", *spelt]
    return shlex.join(words)


def code_state(project: str) -> dict[str, str]:
    """Which code this is: git's commit, "-dirty" where files differ from it, and a digest of
    common/ and the project."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "common").glob("*.py"), *(ROOT / project).glob("*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    commit = ""
    # What is not code may change: the first record of a series is written before the last is run.
    status = ["status", "--porcelain", "--", "*.py", ":!results", ":!tests"]
    with suppress(OSError, subprocess.CalledProcessError):  # no git, or a copy without it
        for words in (["rev-parse", "HEAD"], status):
            printed = subprocess.run(
                ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
            commit = commit + ("-dirty" if printed else "") if commit else printed
    return {"commit": commit, "code": digest.hexdigest()[:16]}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the results."""
    found = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "scikit-learn"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


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


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    checkpoints.write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def csv_row(cells: Mapping[str, Any] | Sequence[Any]) -> str:
    """One line of a CSV file."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        cells.values() if isinstance(cells, Mapping) else cells
    )
    return line.getvalue()
