"""What the import of `common` costs beyond torch's own, module by module, as JSON.

python tests/benchmarks/imports.py

A module's seconds are those of what nothing before it had imported; `brings` names the packages
among it that are neither common's nor Python's own.
"""

import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
COMMANDS = {"results", "sweep"}  # which no train.py imports


def main() -> None:
    import torch  # noqa: F401 - its own cost is not common's

    modules = {}
    began = time.perf_counter()
    for each in pkgutil.iter_modules([str(ROOT / "common")], "common."):
        if each.name.removeprefix("common.") not in COMMANDS:
            modules[each.name] = imported(each.name)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": round(seconds, 3), "modules": modules}))


def imported(name: str) -> dict[str, float | list[str]]:
    """Import a module: its seconds, and what it brings."""
    before, began = set(sys.modules), time.perf_counter()
    importlib.import_module(name)
    seconds = time.perf_counter() - began
    packages = {new.partition(".")[0] for new in set(sys.modules) - before}
    brings = sorted(packages - sys.stdlib_module_names - {"common"})
    return {"seconds": round(seconds, 4), "brings": [p for p in brings if p.isidentifier()]}


if __name__ == "__main__":
    main()
