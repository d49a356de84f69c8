"""Settings: a commented dataclass becomes typed command-line flags, a user's mistake one sentence.

Each train.py declares `Config(Settings)` at its top. A comment on a line of its own groups the
flags in `--help`, the comment behind a field is its help.
"""

import argparse
import ast
import dataclasses
import inspect
import io
import math
import os
import re
import sys
import textwrap
import tokenize
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar

ROOT = Path(__file__).resolve().parents[1]
C = TypeVar("C", bound="Settings")
T = TypeVar("T")

# What may change when a run is resumed, besides paths: where it runs, not what it computes.
RESUME_FREE = {"device", "name", "resume", "track"}

OUT_OF_MEMORY = "out of memory: lower --batch-size, or a size of the model"
PEER_ENDED = "another process of this job has ended: its own message says why"
TROUBLES = {  # in a library's message -> what the user reads
    "out of memory": OUT_OF_MEMORY,
    "can't allocate memory": OUT_OF_MEMORY,
    "closed by peer": PEER_ENDED,
    "reset by peer": PEER_ENDED,
    "Broken pipe": PEER_ENDED,
    "remote process": PEER_ENDED,
}


class UserError(Exception):
    """A mistake that the user can correct: one sentence that names the thing and the remedy."""

    exit_code = 1


class SettingError(UserError):
    """An impossible setting, noticed before anything is loaded."""

    exit_code = 2


class Diverged(UserError):
    """Training ended because its loss is not finite."""


class Stopped(UserError):
    """The run was stopped by a signal."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def require(condition: bool, message: str) -> None:
    """Raise SettingError(message) unless the condition holds."""
    if not condition:
        raise SettingError(message)


def at_least(least: float, **values: float) -> None:
    """Raise SettingError where a setting is below `least`: at_least(1, epochs=config.epochs)."""
    for name, value in values.items():
        require(value >= least, f"--{flag(name)} must be at least {least}, not {value}")


def above(limit: float, **values: float) -> None:
    """Raise SettingError where a setting is not above `limit`."""
    for name, value in values.items():
        require(value > limit, f"--{flag(name)} must be above {limit}, not {value}")


def fraction(**values: float) -> None:
    """Raise SettingError where a setting does not lie in 0 <= x < 1."""
    for name, value in values.items():
        require(0 <= value < 1, f"--{flag(name)} must lie in 0 <= x < 1, not {value}")


def warn(message: str) -> None:
    """Tell the user, once, of a guess that was made or of something left out."""
    if message not in _warned and os.environ.get("RANK", "0") == "0":
        _warned.add(message)
        print(f"note: {message}", file=sys.stderr, flush=True)


_warned: set[str] = set()


@contextmanager
def libraries_warn(what: str) -> Iterator[None]:
    """Within, a library's warning is a note: what it is about, and its first line."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: warn(f"{what}: {str(message).splitlines()[0]}")
        yield


class _Recipes(type):
    """Makes Config(recipe="base", epochs=3) take the rest from RECIPES["base"]."""

    def __call__(cls, **given: Any) -> Any:
        default = cls.__dataclass_fields__.get("recipe")
        recipe = given.get("recipe", default.default if default else "")
        config = super().__call__(**{**cls.RECIPES.get(recipe, {}), **given})
        config.given = set(given)
        return config


@dataclass
class Settings(metaclass=_Recipes):
    """What every train.py can be told that is no hyperparameter of its experiment.

    A Config may say what its project gains from the hardware:

    RECIPES: for each name of its field `recipe`, the defaults that it changes.
    BFLOAT16_ON_CPU: `--precision auto` takes bfloat16 on a processor that computes in it.
    ONE_THREAD: `--threads 0` means one, where a second hardly helps.
    """

    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {}
    BFLOAT16_ON_CPU: ClassVar[bool] = False
    ONE_THREAD: ClassVar[bool] = False

    # Data
    data: Literal["auto", "real", "sample"] = "auto"  # auto = real if it can be had, else sample
    data_dir: Path | None = None  # folder of the data sets; default $DATA_DIR, else data/

    # Run
    seed: int = 0  # start of every random number
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto = bfloat16 where it pays
    threads: int = 0  # of the CPU; 0 = as many as pay
    compile: bool = False  # compile the model with torch.compile
    limit_batches: int = 0  # at most this many training batches an epoch, for a dry run; 0 = all
    out: Path | None = None  # folder of the runs; default runs/
    name: str = ""  # added to the name of the run's folder
    resume: str = ""  # a run's folder or name, to go on with it; alone = the latest unfinished
    track: Literal["none", "tensorboard"] = "none"  # also write the curves for TensorBoard

    def check(self) -> None:
        """Raise SettingError on an impossible value, before anything is loaded."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float):
                require(math.isfinite(value), f"--{flag(field.name)} must be finite, not {value}")
        at_least(0, threads=self.threads, limit_batches=self.limit_batches)
        require(
            -(2**63) <= self.seed < 2**63, f"--seed must fit in 64 bits, and {self.seed} does not"
        )
        require(
            Path(self.name).name == self.name and self.name not in (".", ".."),
            f"--name {self.name} is part of a folder's name: leave out / and \\",
        )


def flag(name: str) -> str:
    """The command-line spelling of a field's name."""
    return name.replace("_", "-")


def as_saved(config: Settings) -> dict[str, Any]:
    """The settings in JSON's own types."""
    values = dataclasses.asdict(config).items()
    return {name: str(value) if isinstance(value, Path) else value for name, value in values}


def from_saved(config_class: type[C], saved: dict[str, Any]) -> C:
    """The settings that `as_saved` wrote; lists become tuples and paths paths again.

    Raises:
        SettingError: they are of another version of the script.
    """
    hints = typing.get_type_hints(config_class)
    fields = {field.name for field in dataclasses.fields(config_class)}
    if unknown := sorted(fields ^ set(saved)):
        raise SettingError(
            f"the settings are of another version of this script (they differ in {unknown[0]}): "
            "start a new run"
        )
    values = {}
    for name, value in saved.items():
        words = [w for hint in typing.get_args(hints[name]) for w in typing.get_args(hint)]
        if is_path(hints[name]) and isinstance(value, str) and value not in words:
            value = Path(value)
        values[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**values)


def is_path(hint: Any) -> bool:
    """Whether a field of this type may hold a path."""
    return hint is Path or Path in typing.get_args(hint)


def parse(config_class: type[C], arguments: list[str]) -> C:
    """Typed settings from command-line arguments.

    `--flag true` and `--flag false` set booleans (so do `--flag=true` and `--flag` alone).

    Raises:
        SettingError: impossible value.
        SystemExit: `--help`, an unknown flag or a value of the wrong type (tyro prints which).
    """
    import tyro

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe")
    recipe = early.parse_known_args(arguments)[0].recipe
    known = config_class(recipe=recipe) if recipe in config_class.RECIPES else config_class()
    hints = typing.get_type_hints(config_class, include_extras=True)
    booleans = {name for name, hint in hints.items() if hint is bool}
    groups: dict[str, list[Any]] = {}
    for name, (heading, help_text) in field_comments(config_class).items():
        hint, value = hints[name], getattr(known, name)
        if name in booleans:
            hint, value = Literal["true", "false"], str(value).lower()
        annotated = Annotated[hint, tyro.conf.arg(help=help_text)]
        default = dataclasses.field(default_factory=lambda value=value: value)
        groups.setdefault(heading, []).append((name, annotated, default))
    parts = []
    for heading, fields in groups.items():
        name = re.sub(r"\W+", "_", heading.lower())
        group = dataclasses.make_dataclass(name, fields)
        group.__doc__ = ""
        default = dataclasses.field(default_factory=group)
        parts.append((name, tyro.conf.OmitArgPrefixes[group], default))
    flags = dataclasses.make_dataclass("Flags", parts)
    if {"-h", "--help"} & set(arguments):  # tyro would join the lines of the commands
        print(sys.modules[config_class.__module__].__doc__)
    parsed = tyro.cli(flags, args=completed(arguments, booleans), description="")
    values = {name: v for group in vars(parsed).values() for name, v in vars(group).items()}
    values |= {name: values[name] == "true" for name in booleans}
    config = config_class(**values)
    given = (word[2:].partition("=")[0] for word in arguments if word.startswith("--"))
    config.given = {word.replace("-", "_") for word in given}
    require(
        bool(config.resume) or "resume" not in config.given,
        "--resume names no run: give a run's folder or name, or --resume alone for the latest",
    )
    config.check()
    return config


def completed(arguments: list[str], booleans: set[str]) -> list[str]:
    """The arguments with the values that may be left out or be spelt otherwise.

    `--resume` alone takes the latest run, a boolean alone is true, `True` is true.
    """
    words: list[str] = []
    for argument, following in zip(arguments, [*arguments, "--"][1:], strict=True):
        name, equals, value = argument.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if argument.startswith("--") and name in booleans and equals:
            words.append(f"--{name}={value.lower()}")
        elif words and words[-1].startswith("--") and words[-1][2:].replace("-", "_") in booleans:
            words.append(argument.lower())
        else:
            words.append(argument)
        if argument.startswith("--") and following.startswith("--") and not equals:
            alone = {"resume": ["latest"], **{key: ["true"] for key in booleans}}
            words += alone.get(name, [])
    return words


def field_comments(config_class: type[Settings]) -> dict[str, tuple[str, str]]:
    """For each field the heading that it stands under and the comment behind it, base class last.

    A field that a project declares again stands where the project has it.
    """
    comments: dict[str, tuple[str, str]] = {}
    for cls in config_class.__mro__:
        if not (dataclasses.is_dataclass(cls) and "__annotations__" in vars(cls)):
            continue
        source = textwrap.dedent(inspect.getsource(cls))
        by_line = {}
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                by_line[token.start[0]] = (alone, token.string.lstrip("# "))
        heading = "Settings"
        body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
        previous = 0
        for node in body:
            for line in range(previous + 1, node.lineno):
                if by_line.get(line, (False, ""))[0]:
                    heading = by_line[line][1]
            previous = node.end_lineno
            if isinstance(node, ast.AnnAssign) and node.target.id in cls.__dataclass_fields__:
                text = by_line.get(node.end_lineno, (False, ""))[1]
                comments.setdefault(node.target.id, (heading, text))
    fields = {field.name for field in dataclasses.fields(config_class)}
    return {name: comment for name, comment in comments.items() if name in fields}


def cli(config_class: type[T], main: Callable[[T], Any]) -> NoReturn:
    """Run `main` with settings from the command line; a user's mistake ends in one sentence.

    The settings are those of a training (Settings), or any other dataclass.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a letter, a name be no text
        stream.reconfigure(errors="backslashreplace")
    try:
        if issubclass(config_class, Settings):
            main(parse(config_class, sys.argv[1:]))
        else:
            import tyro

            main(tyro.cli(config_class))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped at once; a training goes on from its last epoch with --resume",
              file=sys.stderr)  # fmt: skip
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has gone: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (MemoryError, RuntimeError) as error:
        known = [what for sign, what in TROUBLES.items() if sign in str(error)]
        if not known and not isinstance(error, MemoryError):
            raise
        print(f"error: {known[0] if known else OUT_OF_MEMORY}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
