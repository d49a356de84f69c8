"""Settings: every field from the command line, impossible values, one sentence and exit 2."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal

from common.config import Settings, flag, parse
from common.errors import SettingError

import pytest
from hypothesis import given
from hypothesis import strategies as st

TOY = Path(__file__).with_name("toy_project") / "train.py"


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
def test_the_script_ends_with_one_sentence_and_code_2(arguments, words, tmp_path):
    ended = subprocess.run(
        [sys.executable, str(TOY), "--out", str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ended.returncode == 2
    assert words in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("*/*"))  # nothing was begun


def test_help_shows_the_comments(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(TOY), "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 0
    assert "units of the hidden layer" in ended.stdout
