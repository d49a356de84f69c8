"""Settings: every field from the command line, impossible values, one sentence and exit 2."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal

from common.config import Settings, cli, flag, parse
from common.errors import SettingError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

TOY = Path(__file__).with_name("toy_project") / "train.py"


@pytest.fixture
def toy(monkeypatch):
    """Start the toy script in this process, with a command line; returns its exit code."""
    spec = importlib.util.spec_from_file_location("toy_train", TOY)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "toy_train", module)
    spec.loader.exec_module(module)

    def start(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [str(TOY), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli(module.Config, module.main)
        return ended.value.code

    return start


def test_every_field_is_a_flag_with_its_type():
    others = {
        "schedule": "cosine",
        "data": "sample",
        "precision": "float32",
        "device": "cpu",
        "warmup_epochs": 0.5,
        "ema_decay": 0.25,
    }
    for field in dataclasses.fields(Settings):
        default = getattr(Settings(), field.name)
        value = others.get(field.name)
        if value is None:
            value = {bool: True, int: 3, float: 0.5, str: "text"}[type(default)]
        if field.name == "resume":
            continue
        parsed = parse(Settings, [f"--{flag(field.name)}", str(value)])
        assert getattr(parsed, field.name) == value
        assert type(getattr(parsed, field.name)) is type(default)


@pytest.mark.parametrize("spelling", ["true", "True"])
def test_booleans_take_both_spellings(spelling):
    assert parse(Settings, ["--compile", spelling]).compile is True
    assert parse(Settings, ["--compile", "false"]).compile is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "0"),
        ("epochs", "-1"),
        ("batch_size", "0"),
        ("lr", "0"),
        ("lr", "nan"),
        ("lr", "inf"),
        ("weight_decay", "-0.1"),
        ("clip_norm", "-1"),
        ("patience", "-1"),
        ("ema_decay", "1"),
        ("limit_batches", "-2"),
        ("seed", str(2**63)),
    ],
)
def test_impossible_values_name_the_flag(name, value):
    with pytest.raises(SettingError, match=f"--{flag(name)} .*{value[:3]}"):
        parse(Settings, [f"--{flag(name)}", value])


def test_settings_that_exclude_each_other():
    with pytest.raises(SettingError, match="--warmup-epochs 5 must be shorter than --epochs 3"):
        Settings(epochs=3, warmup_epochs=5, schedule="cosine").check()
    with pytest.raises(SettingError, match="plateau has no warm-up"):
        Settings(warmup_epochs=1, schedule="plateau").check()


@dataclasses.dataclass
class Cook(Settings):
    """Settings with recipes."""

    RECIPES: ClassVar = {"old": {"epochs": 4, "lr": 0.5}}
    recipe: Literal["new", "old"] = "new"  # which
    epochs: int = 6  # passes


def test_a_recipe_changes_defaults_and_yields_to_flags():
    assert parse(Cook, []).epochs == 6
    old = parse(Cook, ["--recipe", "old"])
    assert (old.recipe, old.epochs, old.lr) == ("old", 4, 0.5)
    mixed = parse(Cook, ["--recipe", "old", "--epochs", "6"])  # said, though it is a default
    assert (mixed.epochs, mixed.lr) == (6, 0.5)
    assert Cook.of("old", lr=0.1) == Cook(recipe="old", epochs=4, lr=0.1)


@given(st.integers(1, 10**6), st.floats(1e-9, 1e3), st.integers(-(2**63), 2**63 - 1))
def test_numbers_survive_the_command_line(epochs, lr, seed):
    words = ["--epochs", str(epochs), "--lr", repr(lr), "--seed", str(seed)]
    parsed = parse(Settings, words)
    assert (parsed.epochs, parsed.lr, parsed.seed) == (epochs, lr, seed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "-1"], "error: --epochs must be at least 1, not -1"),
        (["--epcohs", "3"], "Unrecognized options: --epcohs"),
        (["--lr", "fast"], "could not convert string to float: 'fast'"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--device", "toaster"], "--device toaster is not known"),
        (["--resume", "nowhere"], "there is no run of that name"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(arguments, words, tmp_path, toy, capsys):
    assert toy("--out", str(tmp_path), *arguments) == 2
    printed = capsys.readouterr().err
    assert words in " ".join(printed.split())
    assert not list(tmp_path.glob("*/*"))  # nothing was begun


def test_as_a_script_too(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(TOY), "--device", "toaster", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: --device toaster is not known: choose auto, cpu, cuda or cuda:N\n"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory: lower --batch-size"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "lower --batch-size"),
        (np.zeros, "out of memory: lower --batch-size"),
        (RuntimeError("[tcp/pair.cc:561] Connection closed by peer"), "another process"),
    ],
)
def test_known_troubles_are_one_sentence(error, words, monkeypatch, capsys):
    def main(config):
        if error is np.zeros:
            np.zeros(2**55)
        raise error

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        cli(Settings, main)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_unknown_errors_keep_their_traceback(monkeypatch):
    def main(config):
        raise RuntimeError("a bug")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(RuntimeError, match="a bug"):
        cli(Settings, main)


def test_help_shows_the_comments(toy, capsys):
    assert toy("--help") == 0
    assert "units of the hidden layer" in capsys.readouterr().out
