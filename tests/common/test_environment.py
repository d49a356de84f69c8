"""A wrong environment is one sentence with the remedy, before torch is imported."""

import os
import subprocess
import sys

import pytest

MODULES = ("numpy", "pandas", "sklearn", "matplotlib", "tqdm", "requests", "filelock", "tyro")
GOOD = {"torch": ("2.15.0+cpu", ""), "torchvision": ("0.29.2", "torch (>=2.14.0)")}
CHECKS = {
    "common": "import common",
    "torchtext": "from common import environment; environment.check_torchtext()",
}


def start(folder, root, packages, code, absent=()):
    """Run `code` where nothing is installed but `packages`: name -> (version, requirement)."""
    folder.mkdir()
    for name in {*MODULES, *packages} - set(absent):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('must not be imported')")
    for name, (version, needs) in packages.items():
        (folder / f"{name}-{version}.dist-info").mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {each}" for each in ("numpy", needs) if each]
        (folder / f"{name}-{version}.dist-info" / "METADATA").write_text("\n".join(lines))
    return subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: without this machine's packages
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(root)])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("torch", "vision", "needs"),
    [
        ("2.15.0+cpu", "0.29.2", "torch (>=2.14.0)"),
        ("2.15.0", "0.30.0+cpu", "torch>=2.14"),
        ("2.7.0+cu126", "0.22.0+cu126", "torch (==2.7.0)"),
        ("2.8.0", "0.23.0", "torch==2.8"),
        ("2.8.0", "0.23.0", ""),  # says nothing: it may be right
    ],
)
def test_right_pairs_pass(tmp_path, root, torch, vision, needs):
    packages = {"torch": (torch, ""), "torchvision": (vision, needs)}
    done = start(tmp_path / "site", root, packages, CHECKS["common"])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("changes", "absent", "check", "words", "remedy"),
    [
        ({"torch": ("2.13.0", "")}, (), "common",
         "torchvision 0.29.2 belongs to torch 2.14.0, and torch 2.13.0 is installed",
         "--upgrade torch torchvision"),
        ({"torchvision": ("0.22.0", "torch (==2.7.0)")}, (), "common",
         "torchvision 0.22.0 belongs to torch 2.7.0, and torch 2.15.0+cpu is installed",
         "--upgrade torch torchvision"),
        ({}, ("sklearn", "tyro"), "common", "scikit-learn, tyro cannot be imported",
         "-r requirements.txt"),
        ({"torchtext": ("0.18.0", "torch>=2.3.0")}, (), "torchtext",
         "torchtext 0.18.0 cannot be imported beside torch 2.15.0+cpu", "torchtext==0.6.0"),
        ({}, (), "torchtext", "torchtext cannot be imported", "-r requirements.txt"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(tmp_path, root, changes, absent, check, words, remedy):
    done = start(tmp_path / "site", root, {**GOOD, **changes}, CHECKS[check], absent)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert f"-m pip install {remedy}`" in line


def test_torchvision_is_needed_only_where_it_is_used(tmp_path, root):
    packages = {"torch": GOOD["torch"], "torchtext": ("0.6.0", "torch")}
    done = start(tmp_path / "site", root, packages, CHECKS["torchtext"])
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_costs_little(root):
    """What importing common adds to importing torch; a bound far above what it takes."""
    code = "import torch, sys; before = set(sys.modules); import common; "
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"common", "common.environment"}
