"""Settings: a commented dataclass becomes typed command-line flags.

Each train.py declares `Config(Settings)` at its top. A field's comment is its `--help` text, a
field of `Settings` is declared again where a project needs another default.
"""

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

from common.errors import UserError, require

ROOT = Path(__file__).resolve().parents[1]
C = TypeVar("C", bound="Settings")
T = TypeVar("T")

# What may change when a run is resumed: where it runs and what it is called, not what it computes.
RESUME_FREE = {"device", "data_dir", "out", "name", "resume"}

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


@dataclass
class Settings:
    """What every train.py can be told; a project adds its own fields and checks.

    A project with several published or proposed recipes lists them in RECIPES, each by the
    defaults that it changes, and declares `recipe` again with their names.
    """

    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {}

    # Training
    recipe: str = ""  # a set of defaults, where a project has several
    epochs: int = 10  # passes over the training split
    batch_size: int = 64  # samples a step, over all processes
    lr: float = 1e-3  # learning rate, at its highest
    schedule: Literal["constant", "cosine", "plateau"] = "constant"  # course of the learning rate
    warmup_epochs: float = 0.0  # epochs over which the learning rate rises from zero
    weight_decay: float = 0.0  # on weight matrices only; never on biases and norms
    clip_norm: float = 0.0  # largest gradient norm; 0 = no clipping
    patience: int = 0  # epochs without a better validation score before stopping; 0 = never stop
    ema_decay: float = 0.0  # averaged weights: decay a step (0.999, say); 0 = no averaging

    # Data
    data: Literal["auto", "real", "sample"] = "auto"  # auto = real if it can be had, else sample
    data_dir: str = ""  # folder of the data sets; empty = $DATA_DIR, or data/ in the repository

    # Run
    seed: int = 0  # start of every random number
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto = bfloat16 on GPUs with it
    compile: bool = False  # compile the model with torch.compile
    limit_batches: int = 0  # at most this many training batches an epoch, for a dry run; 0 = all
    save_seconds: float = 30.0  # seconds between checkpoints, at least
    out: str = ""  # folder of the runs; empty = runs/ in the repository
    name: str = ""  # added to the name of the run's folder
    resume: str = ""  # a run's folder or name, to go on with it; alone = the latest unfinished

    @classmethod
    def of(cls: type[C], recipe: str, **changes: Any) -> C:
        """The settings of a recipe, with some of them changed."""
        return cls(**{**cls.RECIPES.get(recipe, {}), "recipe": recipe, **changes})

    def chosen(self, names: Iterable[str]) -> dict[str, Any]:
        """Some settings by name, as keyword arguments."""
        return {name: getattr(self, name) for name in names}

    def check_at_least(self, least: int, *names: str) -> None:
        """Raise SettingError where one of these is below `least`, 0 or 1."""
        words = "must be at least 1, not" if least else "must not be negative, and is"
        for name, value in self.chosen(names).items():
            require(value >= least, f"--{flag(name)} {words} {value}")

    def check_positive(self, *names: str) -> None:
        """Raise SettingError where one of these is not above 0."""
        for name, value in self.chosen(names).items():
            require(value > 0, f"--{flag(name)} must be above 0, not {value}")

    def check_share(self, *names: str) -> None:
        """Raise SettingError where one of these is below 0, or 1 or more."""
        for name, value in self.chosen(names).items():
            require(0 <= value < 1, f"--{flag(name)} must lie in 0 <= x < 1, not {value}")

    def check(self) -> None:
        """Raise SettingError on an impossible value, before anything is loaded."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float):
                require(math.isfinite(value), f"--{flag(field.name)} must be finite, not {value}")
        self.check_at_least(1, "epochs", "batch_size")
        self.check_positive("lr")
        self.check_at_least(
            0, "warmup_epochs", "weight_decay", "clip_norm", "patience", "limit_batches",
            "save_seconds",
        )  # fmt: skip
        require(
            0 <= self.ema_decay < 1, f"--ema-decay must lie in 0 <= d < 1, not {self.ema_decay}"
        )
        require(
            self.schedule == "constant" or self.warmup_epochs < self.epochs,
            f"--warmup-epochs {self.warmup_epochs:g} must be shorter than --epochs {self.epochs}",
        )
        require(
            self.schedule != "plateau" or self.warmup_epochs == 0,
            "--schedule plateau has no warm-up: set --warmup-epochs 0, or --schedule cosine",
        )
        require(
            -(2**63) <= self.seed < 2**63, f"--seed must fit in 64 bits, and {self.seed} does not"
        )


def flag(name: str) -> str:
    """The command-line spelling of a field's name."""
    return name.replace("_", "-")


def parse(config_class: type[C], arguments: list[str]) -> C:
    """Typed settings from command-line arguments; a resumed run starts from its saved settings.

    Raises:
        SettingError: impossible value, or a setting that may not change on resuming.
        SystemExit: `--help`, an unknown flag or a value of the wrong type (tyro prints which).
    """
    import tyro

    arguments = normalised(arguments)
    options = [tyro.conf.FlagConversionOff]
    config = tyro.cli(config_class, args=arguments, config=options)
    if config.recipe in config_class.RECIPES:
        default = config_class.of(config.recipe)
        config = tyro.cli(config_class, default=default, args=arguments, config=options)
    if config.resume:
        from common import runs

        saved = runs.saved_config(config_class, config)
        given = tyro.cli(config_class, default=saved, args=arguments, config=options)
        for name, old in dataclasses.asdict(saved).items():
            new = getattr(given, name)
            require(
                new == old or name in RESUME_FREE,
                f"--{flag(name)} cannot change on resuming: the run has {old}, not {new}",
            )
        config = dataclasses.replace(given, resume=saved.resume)
    config.check()
    return config


def normalised(arguments: list[str]) -> list[str]:
    """Allow `--flag true` beside Python's True, and `--resume` alone for the latest run."""
    spelling = {"true": "True", "false": "False"}
    normal = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        normal.append(spelling.get(argument, argument))
        if argument == "--resume" and following.startswith("--"):
            normal.append("latest")
    return normal


def cli(config_class: type[T], main: Callable[[T], Any]) -> NoReturn:
    """Run `main` with settings from the command line; what a user can mend ends in one sentence.

    The settings are those of a training (Settings), or any other dataclass.
    """
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
        print(
            "stopped; --resume goes on from the last checkpoint, if there is one", file=sys.stderr
        )
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
