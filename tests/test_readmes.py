"""The READMEs' figures are those of the records; their commands are right, and some are run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import tyro

from common import settings, sweep
from results import commands as recorded
from results import tables

READMES = tables.readmes()
PROJECTS = [path for path in READMES if (path.parent / "train.py").is_file()]
PAGES = [tables.ROOT / "README.md", *PROJECTS]  # that of the benchmarks is for another machine
FIRST_WORDS = ("python", "torchrun", "pip", "uv", "bash")
MOST_LINES, MOST_COLUMNS = 140, 6

# What makes the commands short: of a training everywhere, and by project.
SHORT = "--data sample --device cpu --epochs 1 --limit-batches 2 --out out"
IMAGES = "--size 32 --width 4 --per-class 40"
SHORTER = {
    "conv_autoencoder_nab": "--members 1",
    "lstm_airquality": "--hidden-size 8 --baselines false",
    "lstm_sentiment": "--hidden-size 8 --baselines false",
    "resnext_comparison": f"{IMAGES} --hidden 16 --warmup-epochs 0 --models resnext29",
    "transfer_food11": "--models efficientnet_lite0 --modes probe --weights none --stored-size 32 "
    "--size 32",
    "transformer_textcls": "--layers 1 --d-ff 32 --members 1",
    "vanishing_gradients": f"{IMAGES} --study variants --depth 8 --variants plain",
    "vgg_vs_resnet": f"{IMAGES} --hidden 16 --warmup-epochs 0 --models resnet18",
}
# The files that the commands name as the reader's own, out of the samples; made by the training.
OWN_FILES = {
    "conv_autoencoder_nab": {"series.csv": "nab/nyc_taxi.csv"},
    "lstm_airquality": {"data/air_quality/AirQualityUCI.csv": "air_quality/AirQualityUCI.csv"},
    "resnext_comparison": {
        "photo.jpg": "dogs_food_vehicles/dogs/dogs_0000.jpg",
        "holiday_images": "dogs_food_vehicles/food",
    },
    "transfer_food11": {
        "photo.jpg": "food11/evaluation/Soup/0.jpg",
        "holiday_photos": "food11/evaluation/Rice",
    },
    "vgg_vs_resnet": {
        "photo.jpg": "dogs_food_vehicles/dogs/dogs_0000.jpg",
        "holiday_images": "dogs_food_vehicles/food",
    },
}


def name(path: Path) -> str:
    return "root" if path.parent == tables.ROOT else path.parent.name


@pytest.mark.parametrize("path", READMES, ids=name)
def test_tables_follow_from_the_records(path):
    text = path.read_text(encoding="utf-8")
    assert tables.filled(text) == text, "run: python results/tables.py"


@pytest.mark.parametrize("path", READMES, ids=name)
def test_images_and_links_exist(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path} shows {target}, which is not there"


@pytest.mark.parametrize("path", PROJECTS, ids=name)
def test_a_page_is_short_and_its_tables_are_narrow(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    heads = [line for line, below in pairwise(lines) if below[:5] == "| ---"]
    for head in heads:
        assert head.count("|") - 1 <= MOST_COLUMNS, head


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_record_that_a_page_names_has_its_command(path):
    text = path.read_text(encoding="utf-8")
    tables_of = re.findall(r'<!-- table (\w+) records="([^"]+)"', text)
    values = [shlex.split(words)[:2] for words in re.findall(r"<!-- value ([^>]+) -->", text)]
    for project, names in [*tables_of, *values]:
        known = {record for row in recorded.COMMANDS[project] for record in row.records}
        assert set(names.split(",")) <= known


def commands(path: Path) -> list[str]:
    """Every command of a README's shell blocks."""
    blocks = re.findall(r"^ *```(?:bash|sh)\n(.*?)^ *```", path.read_text("utf-8"), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if shlex.split(line, comments=True)]


def check_script(words: list[str]) -> None:
    """Parse the words as the script would: every flag, every value, every impossible setting."""
    script, *arguments = words
    module = import_module(script.removesuffix(".py").replace("/", "."))
    text = Path(module.__file__).read_text(encoding="utf-8")
    config_class = getattr(module, re.search(r"cli\((\w+), main\)", text)[1])
    if "--help" in arguments:
        arguments.remove("--help")
    if "--resume" in arguments:  # which needs a run; the tests of resuming have one
        arguments.remove("--resume")
    shell = [word for word in ("<", ">", "|") if word in arguments]  # what the shell takes
    arguments = arguments[: min(map(arguments.index, shell), default=len(arguments))]
    if issubclass(config_class, settings.Settings):
        settings.parse(config_class, arguments)
    else:
        tyro.cli(config_class, args=arguments)


@pytest.mark.parametrize("command", sorted({c for path in PAGES for c in commands(path)}))
def test_commands_can_be_given_as_written(command):
    words = shlex.split(command, comments=True)
    while len(words) > 2 and "|" in words and words[0] not in FIRST_WORDS:
        words = words[words.index("|") + 1 :]  # cat file | python ...
    assert words[0] in FIRST_WORDS, "say what this command is to the test"
    if words[0] == "torchrun":
        check_script([word for word in words[1:] if not word.startswith("--nproc")])
    elif words[0] == "bash":
        assert (tables.ROOT / words[1]).is_file()
    elif "pip" in (words[0], *words[1:3]):
        assert "install" in words
    elif words[1] == "-c":
        compile(words[2], command, "exec")
    elif words[1].startswith(("tests/", "results/")):
        assert (tables.ROOT / words[1]).is_file()
    elif words[1] != "-m":
        check_script(words[1:])
    elif words[2] == "common.sweep":
        options, rest = sweep.read_arguments(words[3:])
        script = import_module(f"{options.project}.train")
        sweep.chosen_metric(options.by)
        for point in sweep.grid(options.fields):
            sweep.settings_of(script.Config, point, rest)
    else:
        is_module = (tables.ROOT / f"{words[2].replace('.', '/')}.py").is_file()
        assert is_module or words[2] in ("pytest", "venv")


@pytest.mark.parametrize("project", sorted(recorded.COMMANDS))
def test_the_command_of_every_record_can_be_given(project):
    for row in recorded.COMMANDS[project]:
        check_script(row.words(project)[1:])


def short(readme: Path) -> list[str]:
    """The commands of a README that are run, with the flags that make them short.

    They are the first of each script, and those that resume a run or read from a file. The others
    differ from these in their settings, which the test above parses; sweeps take too long, a
    project's predict.py is run in its own README, and torchrun has a test of its own.
    """
    chosen, seen = [], set()
    for command in commands(readme):
        program, script, *words = shlex.split(command, comments=True)
        project, _, file = script.partition("/")
        is_own = project == readme.parent.name or readme.parent == tables.ROOT
        if program != "python" or not is_own or (file == "predict.py" and project not in SHORTER):
            continue
        if file == "predict.py" and readme.parent == tables.ROOT:
            continue
        flags = "--out out"
        if "--resume" in words:
            chosen.append("rm out/*/*/results.json  # what an unfinished run lacks")
        elif file not in ("train.py", "predict.py") or (file in seen and "<" not in words):
            continue
        elif file == "train.py" or project == "conv_autoencoder_nab":  # whose predict.py trains too
            flags = f"{SHORT} {SHORTER[project]}"
        seen.add(file)
        line = re.split(r"\s+#", command)[0]
        chosen.append(f"{line} {flags}")
    return chosen


@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are those of a shell")
@pytest.mark.parametrize("readme", PAGES, ids=name)
def test_commands_run_in_a_shell(readme, root, tmp_path):
    for folder in ("common", *SHORTER):
        (tmp_path / folder).symlink_to(root / folder)
    for own, sample in OWN_FILES.get(readme.parent.name, {}).items():
        (tmp_path / own).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / own).symlink_to(tmp_path / "data" / "sample" / sample)
    for own in ("reviews.txt", "lines.txt"):
        (tmp_path / own).write_text("a superb film\nshares and profits\n")
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


def test_the_workflow_runs_the_two_commands_of_the_root_readme(root):
    workflow = (root / ".github" / "workflows" / "start.yml").read_text(encoding="utf-8")
    for command in commands(root / "README.md")[:2]:
        assert f"- run: {command}\n" in workflow
