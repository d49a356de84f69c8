"""Whether what is installed can run the scripts, said in one sentence before anything fails.

Nothing is imported to find out: what is installed says itself which versions it is and needs.
"""

import importlib.metadata
import importlib.util
import re
import sys

PACKAGES = {  # import name -> name for pip
    "torch": "torch",
    "numpy": "numpy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "requests": "requests",
    "filelock": "filelock",
    "tyro": "tyro",
}
REQUIREMENT = re.compile(r"torch\s*\(?\s*(==|>=)\s*([\d.]+)")  # "torch (==2.7.0)", "torch>=2.14.0"
LAST_TORCHTEXT = (0, 6)  # later releases hold a binary bound to one version of torch


def check() -> None:
    """End the program unless Python, the packages and the pair of torch and torchvision fit."""
    if sys.version_info < (3, 10):  # noqa: UP036 - said in words, not as a SyntaxError
        sys.exit("error: Python 3.10 or later is needed, and this is " + sys.version.split()[0])
    _refuse_absent(PACKAGES)
    vision = _version("torchvision")
    for line in importlib.metadata.requires("torchvision") or [] if vision else []:
        if found := REQUIREMENT.match(line):
            relation, wanted = found.groups()
            own, needed = _release(_version("torch")), _release(wanted)
            if own < needed or (relation == "==" and own[: len(needed)] != needed):
                _refuse(
                    f"torchvision {vision} belongs to torch {wanted}, and torch "
                    f"{_version('torch')} is installed",
                    "--upgrade torch torchvision",
                )


def check_torchtext() -> None:
    """End the program unless torchtext is there and does not need another torch."""
    _refuse_absent({"torchtext": "torchtext"})
    version = _version("torchtext")
    if _release(version)[:2] > LAST_TORCHTEXT:
        _refuse(
            f"torchtext {version} cannot be imported beside torch {_version('torch')}",
            "torchtext==0.6.0",
        )


def _refuse_absent(packages: dict[str, str]) -> None:
    absent = [name for module, name in packages.items() if not importlib.util.find_spec(module)]
    if absent:
        _refuse(f"{', '.join(absent)} cannot be imported", "-r requirements.txt")


def _refuse(problem: str, install: str) -> None:
    command = f"{sys.executable} -m pip install {install}"
    sys.exit(f"error: {problem}: run `{command}` in the repository's folder")


def _version(package: str) -> str:
    """The installed version, or an empty text."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _release(version: str) -> tuple[int, ...]:
    """`2.15.0+cu132` -> (2, 15, 0)"""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))
