"""Settings: every field from the command line, impossible values, one sentence and exit 2."""

import contextlib
import dataclasses
import importlib.util
import io
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.settings import (
    SettingError,
    Settings,
    above,
    as_saved,
    at_least,
    cli,
    flag,
    from_saved,
    libraries_warn,
    parse,
)

TOY = Path(__file__).with_name("toy_project") / "train.py"


@dataclasses.dataclass
class Cook(Settings):
    """Settings with recipes."""

    RECIPES: ClassVar = {"old": {"epochs": 4, "lr": 0.5}}

    # Training
    recipe: Literal["new", "old"] = "new"  # which defaults
    epochs: int = 6  # passes over 100 % of the data
    lr: float = 0.1  # learning rate
    flip: bool = True  # mirror images

    # Model of the cook
    sizes: tuple[int, ...] = (1, 2)  # some sizes
    vectors: Literal["auto", "none"] | Path = "auto"  # word vectors

    # Data
    images: Path | None = None  # a folder

    def check(self):
        super().check()
        at_least(1, epochs=self.epochs)
        above(0, lr=self.lr)


@pytest.fixture(scope="module")
def toy():
    spec = importlib.util.spec_from_file_location("toy_train", TOY)
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_train"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start(toy, monkeypatch):
    """Start the toy script in this process, with a command line; returns its exit code."""

    def start(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [str(TOY), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli(toy.Config, toy.main)
        return ended.value.code

    return start


def test_every_field_is_a_flag_with_its_type():
    others = {"data": "sample", "precision": "float32", "device": "cpu", "recipe": "old"}
    others |= {"data_dir": Path("x"), "out": Path("y"), "images": Path("z"), "vectors": "none"}
    others |= {"track": "tensorboard", "resume": "latest", "name": "true", "flip": False}
    for field in dataclasses.fields(Cook):
        default = getattr(Cook(), field.name)
        if (value := others.get(field.name)) is None:
            value = {bool: True, int: 3, float: 0.5, tuple: (3, 4)}[type(default)]
        words = map(str, value) if isinstance(value, tuple) else [str(value)]
        parsed = parse(Cook, [f"--{flag(field.name)}", *words])
        assert getattr(parsed, field.name) == value
        assert parsed.given == {field.name}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--flip", "false"], False),
        (["--flip", "False"], False),
        (["--flip=false"], False),
        (["--flip=True"], True),
        (["--flip"], True),
        (["--flip", "--epochs", "3"], True),
        ([], True),
    ],
)
def test_every_usual_spelling_of_a_boolean(words, value):
    assert parse(Cook, words).flip is value


def test_a_boolean_is_not_any_word(capsys):
    with pytest.raises(SystemExit):
        parse(Cook, ["--flip", "maybe"])
    assert "true" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "-1"),
        ("lr", "0"),
        ("lr", "nan"),
        ("lr", "inf"),
        ("limit_batches", "-2"),
        ("threads", "-1"),
        ("seed", str(2**63)),
        ("name", "a/b"),
        ("name", ".."),
    ],
)
def test_impossible_values_name_the_flag(name, value):
    with pytest.raises(SettingError, match=f"--{flag(name)} .*{value[:3]}"):
        parse(Cook, [f"--{flag(name)}", value])


def test_a_recipe_changes_defaults_and_yields_to_what_is_given():
    old = parse(Cook, ["--recipe", "old"])
    assert (old.recipe, old.epochs, old.lr) == ("old", 4, 0.5)
    assert old == Cook(recipe="old")
    mixed = parse(Cook, ["--recipe=old", "--epochs", "6"])  # given, though it is a default
    assert mixed == Cook(recipe="old", epochs=6)
    assert (mixed.epochs, mixed.lr) == (6, 0.5)


def test_saved_settings_come_back():
    config = Cook(images=Path("a"), vectors=Path("b"), sizes=(7,), epochs=2)
    assert from_saved(Cook, as_saved(config)) == config
    assert from_saved(Cook, as_saved(Cook())) == Cook()  # "auto" stays a word
    with pytest.raises(SettingError, match="another version of this script"):
        from_saved(Cook, {**as_saved(config), "gone": 1})


@given(st.integers(1, 10**6), st.floats(1e-9, 1e3), st.integers(-(2**63), 2**63 - 1))
def test_numbers_survive_the_command_line(epochs, lr, seed):
    words = ["--epochs", str(epochs), "--lr", repr(lr), "--seed", str(seed)]
    parsed = parse(Cook, words)
    assert (parsed.epochs, parsed.lr, parsed.seed) == (epochs, lr, seed)


def attempt(words):
    try:
        return parse(Cook, words), "", 0
    except SettingError as error:
        return None, str(error), 0
    except SystemExit as end:
        return None, "", end.code


argument = st.sampled_from(["--epochs", "--lr", "--seed", "--data", "--flip", "--nonsense"])
value = st.one_of(st.integers().map(str), st.floats().map(str), st.text(max_size=8))


@given(st.lists(st.tuples(argument, value), max_size=3))
def test_any_command_line_is_settings_or_one_sentence(pairs):
    words = [word for pair in pairs for word in pair]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        config, sentence, code = attempt(words)
    if config:
        assert config.epochs >= 1
        assert 0 < config.lr < np.inf
    elif sentence:
        assert sentence.startswith("--")
        assert "\n" not in sentence
    else:  # tyro's code; 0 where help was asked for
        assert code in (0, 2)


def test_help_groups_the_flags_as_the_comments_do(start, capsys):
    assert start("--help") == 0
    printed = capsys.readouterr().out
    places = [printed.index(f"{group} options") for group in ("training", "model", "data", "run")]
    assert places == sorted(places)
    assert "units of the hidden layer" in printed
    assert "The smallest project" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "-1"], "error: --epochs must be at least 1, not -1"),
        (["--epcohs", "3"], "Unrecognized options: --epcohs"),
        (["--lr", "fast"], "could not convert string to float: 'fast'"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--device", "toaster"], "--device toaster is not known"),
        (["--resume", "nowhere"], "there is no run of that name"),
        (["--resume="], "--resume names no run"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(arguments, words, tmp_path, start, capsys):
    assert start("--out", str(tmp_path), *arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())  # a failed start leaves nothing behind


def test_main_with_an_impossible_config_behaves_like_the_command_line(toy, tmp_path):
    with pytest.raises(SettingError, match="--epochs must be at least 1, not -1"):
        toy.main(toy.Config(epochs=-1, out=tmp_path))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory: lower --batch-size"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "lower --batch-size"),
        (RuntimeError("[tcp/pair.cc:561] Connection closed by peer"), "another process"),
        (KeyboardInterrupt(), "stopped at once"),
    ],
)
def test_known_troubles_are_one_sentence(error, words, monkeypatch, capsys):
    def main(config):
        raise error

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        cli(Cook, main)
    assert ended.value.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_unknown_errors_keep_their_traceback(monkeypatch):
    def main(config):
        raise RuntimeError("a bug")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(RuntimeError, match="a bug"):
        cli(Cook, main)


def test_a_librarys_warning_is_a_note(capsys):
    with libraries_warn("a linear model"):
        warnings.warn("failed to converge\nincrease max_iter", stacklevel=1)
    assert capsys.readouterr().err == "note: a linear model: failed to converge\n"


PRINTS = """
import sys
sys.path[0] = {root!r}
from common.settings import Settings, cli
cli(Settings, lambda config: print("naïve 好", b"caf\\xe9".decode("utf-8", "surrogateescape")))
"""


def test_output_that_is_not_utf8_loses_no_run(root, tmp_path):
    """A Latin-1 terminal and a file name that is no text."""
    (tmp_path / "prints.py").write_text(PRINTS.format(root=str(root)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "prints.py"],
        cwd=tmp_path,
        capture_output=True,
        env={"PYTHONIOENCODING": "latin-1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"na\xefve \\u597d caf\\udce9")


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell is needed")
def test_closed_streams_lose_no_run(root, tmp_path):
    (tmp_path / "prints.py").write_text(PRINTS.format(root=str(root)), encoding="utf-8")
    command = f"{shlex.quote(sys.executable)} prints.py <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, cwd=tmp_path).returncode == 0
