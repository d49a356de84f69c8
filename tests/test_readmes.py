"""The READMEs' figures are those of the records; their commands are right, and some are run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from common import config, results, sweep

import pytest
import tyro

FIRST_WORDS = ("python", "torchrun", "pip")

# What makes the commands short: of a training everywhere, and by project.
SHORT = "--data sample --device cpu --epochs 1 --limit-batches 2 --out out"
IMAGES = "--size 32 --width 4 --per-class 40"
SHORTER = {
    "conv_autoencoder_nab": "--members 1",
    "lstm_airquality": "--hidden-size 8 --baselines false",
    "lstm_sentiment": "--hidden-size 8 --baselines false",
    "resnext_comparison": f"{IMAGES} --hidden 16 --warmup-epochs 0 --models resnext29",
    "transfer_food11": "--models efficientnet_lite0 --modes probe --weights none --stored-size 32 "
    "--size 32 --probe-epochs 1",
    "transformer_textcls": "--layers 1 --d-ff 32 --members 1",
    "vanishing_gradients": f"{IMAGES} --study variants --depth 8 --variants plain",
    "vgg_vs_resnet": f"{IMAGES} --hidden 16 --warmup-epochs 0 --models resnet18",
}
# The files that the commands name as the reader's own, out of the samples; made by the training.
OWN_FILES = {
    "conv_autoencoder_nab": {"series.csv": "nab/nyc_taxi.csv"},
    "lstm_airquality": {"AirQualityUCI.csv": "air_quality/AirQualityUCI.csv"},
    "resnext_comparison": {
        "photo.jpg": "dogs_food_vehicles/dogs/dogs_0000.jpg",
        "holiday_pictures": "dogs_food_vehicles/food",
    },
    "transfer_food11": {
        "photo.jpg": "food11/evaluation/Soup/0.jpg",
        "holiday_pictures": "food11/evaluation/Rice",
    },
    "vgg_vs_resnet": {
        "photo.jpg": "dogs_food_vehicles/dogs/dogs_0000.jpg",
        "holiday_pictures": "dogs_food_vehicles/food",
    },
}


@pytest.mark.parametrize("path", results.readmes(), ids=lambda path: path.parent.name)
def test_tables_follow_from_the_records(path):
    text = path.read_text(encoding="utf-8")
    assert results.filled(text) == text, "run: python -m common.results tables"


@pytest.mark.parametrize("path", results.readmes(), ids=lambda path: path.parent.name)
def test_pictures_and_links_exist(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path} shows {target}, which is not there"


def commands(path: Path) -> list[str]:
    """Every command of a README's shell blocks."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)
    found = "".join(blocks).replace("\\\n", " ").splitlines()
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


@pytest.mark.parametrize("command", [c for path in results.readmes() for c in commands(path)])
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


def short(readme: Path) -> list[str]:
    """The commands of a README that are run, with the flags that make them short.

    They are the first of each script, and those that resume a run or read from a file. The others
    differ from these in their settings, which the test above parses; sweeps take too long, a
    project's predict.py is run in its own README, and torchrun has a test of its own.
    """
    chosen, seen = [], set()
    for command in commands(readme):
        program, script, *words = shlex.split(command, comments=True)
        project, _, name = script.partition("/")
        if program != "python" or (name == "predict.py" and project != readme.parent.name):
            continue
        flags = "--out out"
        if "--resume" in words:
            chosen.append("rm out/*/*/results.json  # what an unfinished run lacks")
        elif name not in ("train.py", "predict.py") or (name in seen and "<" not in words):
            continue
        elif name == "train.py" or project == "conv_autoencoder_nab":  # whose predict.py trains too
            flags = f"{SHORT} {SHORTER[project]}"
        seen.add(name)
        line = re.split(r"\s+#", command)[0]
        chosen.append(f"{line} {flags}")
    return chosen


@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are those of a shell")
@pytest.mark.parametrize("readme", results.readmes(), ids=lambda path: path.parent.name)
def test_commands_run_in_a_shell(readme, root, tmp_path):
    for folder in ("common", *SHORTER):
        (tmp_path / folder).symlink_to(root / folder)
    for name, sample in OWN_FILES.get(readme.parent.name, {}).items():
        (tmp_path / name).symlink_to(tmp_path / "data" / "sample" / sample)
    for name in ("reviews.txt", "lines.txt"):
        (tmp_path / name).write_text("a superb film\nshares and profits\n")
    python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}'
    lines = short(readme)
    assert lines
    done = subprocess.run(
        ["bash", "-ec", "\n".join([python, *lines])],
        cwd=tmp_path,
        env={**os.environ, "DATA_DIR": str(tmp_path / "data")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "SAMPLE" in done.stdout
