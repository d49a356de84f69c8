"""The READMEs' figures are those of the records, and their commands can be given as written."""

import re
import shlex
from importlib import import_module

from common import config, results, sweep

import pytest
import tyro

FIRST_WORDS = ("python", "torchrun", "pip")


@pytest.mark.parametrize("path", results.readmes(), ids=lambda path: path.parent.name)
def test_tables_follow_from_the_records(path):
    text = path.read_text(encoding="utf-8")
    assert results.filled(text) == text, "run: python -m common.results tables"


@pytest.mark.parametrize("path", results.readmes(), ids=lambda path: path.parent.name)
def test_pictures_and_links_exist(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path} shows {target}, which is not there"


def commands() -> list[str]:
    """Every command of every README's shell blocks."""
    found = []
    for path in results.readmes():
        blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)
        for block in blocks:
            found += block.replace("\\\n", " ").splitlines()
    return [line for line in found if shlex.split(line, comments=True)]


def check_script(words: list[str]) -> None:
    """Parse the words as the script would: every flag, every value, every impossible setting."""
    name, *arguments = words
    project, script = name.removesuffix(".py").split("/")
    module = import_module(f"{project}.{script}")
    if "--help" in arguments:
        arguments.remove("--help")
    if "--resume" in arguments:  # which needs a run; the tests of resuming have one
        arguments.remove("--resume")
    if "<" in arguments:  # what the shell takes for itself
        arguments = arguments[: arguments.index("<")]
    if issubclass(module.Config, config.Settings):
        config.parse(module.Config, arguments)
    else:
        tyro.cli(module.Config, args=arguments)


@pytest.mark.parametrize("command", commands())
def test_commands_can_be_given_as_written(command):
    words = shlex.split(command, comments=True)
    assert words[0] in FIRST_WORDS, "say what this command is to the test"
    if words[0] == "torchrun":
        check_script([word for word in words[1:] if not word.startswith("--nproc")])
    elif "pip" in (words[0], *words[2:3]):
        assert "install" in words
    elif words[1] == "-c":
        compile(words[2], command, "exec")
    elif words[1] != "-m":
        check_script(words[1:])
    elif words[2] == "common.sweep":
        options, rest = sweep.read_arguments(words[3:])
        script = import_module(f"{options.project}.train")
        for point in sweep.grid(options.fields):
            sweep.settings_of(script.Config, point, rest)
    else:
        assert words[2] in ("pytest", "common.results")
