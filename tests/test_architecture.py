"""Arrows point one way: train -> data, model, baselines, figures -> common; no circle anywhere.

Every import counts, inside functions and under TYPE_CHECKING too.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = sorted(path.parent.name for path in ROOT.glob("*/train.py"))
FILES = sorted(path for folder in ("common", *PROJECTS, "results") for path in
               (ROOT / folder).glob("*.py"))  # fmt: skip
MAY_IMPORT = {"resnext_comparison": {"vgg_vs_resnet.model"}}  # of other projects


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported(path: Path) -> set[str]:
    """Every module or name that a file imports, with its dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this test cannot follow"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


MODULES = {name_of(path): path for path in FILES}
ARROWS = {name: imported(path) & set(MODULES) for name, path in MODULES.items()}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The nodes of one circle, or nothing where there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return trail[trail.index(name) :]
        if name in done:
            return []
        done.add(name)
        return next(filter(None, (visit(each, [*trail, name]) for each in arrows[name])), [])

    return next(filter(None, (visit(name, []) for name in arrows)), [])


def test_a_circle_would_be_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_there_are_eight_projects():
    assert len(PROJECTS) == 8


def test_no_module_leads_back_to_itself():
    assert circle(ARROWS) == []


def test_no_folder_leads_back_to_itself():
    folders: dict[str, set[str]] = {}
    for name, targets in ARROWS.items():
        own = name.split(".")[0]
        others = {target.split(".")[0] for target in targets} - {own}
        folders[own] = folders.get(own, set()) | others
    assert circle(folders) == []
    assert folders["common"] == set()  # it imports no project


@pytest.mark.parametrize("project", PROJECTS)
def test_a_model_imports_torch_alone(project):
    names = {name.split(".")[0] for name in imported(ROOT / project / "model.py")}
    assert names - sys.stdlib_module_names <= {"torch", "torchvision"}


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_imports_no_other(project):
    others = {
        target
        for name, targets in ARROWS.items()
        for target in targets
        if name.startswith(f"{project}.") and target.split(".")[0] in set(PROJECTS) - {project}
    }
    assert others <= MAY_IMPORT.get(project, set())


def test_a_train_py_is_imported_by_scripts_of_its_own_project_alone():
    """And scripts are what is started: they have a main guard."""
    for name, targets in ARROWS.items():
        for target in targets:
            if target.endswith(".train"):
                assert name.split(".")[0] == target.split(".")[0], f"{name} imports {target}"
                assert 'if __name__ == "__main__":' in MODULES[name].read_text(encoding="utf-8")
