"""Two epochs of every project on its generated sample, to compare two states of the code.

    python tests/two_epochs.py --root . --save before.json
    python tests/two_epochs.py --root . --compare before.json [--projects lstm_airquality ...]

One seed, float32, one thread, tiny networks: on one machine the same code gives the same numbers,
so every difference has a cause that can be named. Timings are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES = {"size": 32, "width": 4, "hidden": 16, "per_class": 60, "warmup_epochs": 0.5}
PROJECTS = {
    "conv_autoencoder_nab": {"members": 2, "window": 96, "around": 96, "rule": "quantile"},
    "lstm_airquality": {"hidden_size": 16, "cell": "gru"},
    "lstm_sentiment": {"hidden_size": 16, "members": 1, "batch_size": 32, "lr": 0.01},
    "resnext_comparison": {**IMAGES, "cardinality": 4, "path_width": 1.0},
    "transfer_food11": {
        "models": "efficientnet_lite0", "weights": "none", "size": 32, "stored_size": 40,
        "lr": 1e-3, "epoch_steps": 2, "warmup_epochs": 0.5, "freeze": 0,
        "modes": ("probe", "finetune", "scratch"),
    },
    "transformer_textcls": {"d_ff": 32, "layers": 1, "members": 2},
    "vanishing_gradients": {
        "size": 16, "width": 4, "per_class": 40, "depth": 12, "measure_every": 2,
        "depths": (8, 12), "rates": 0.02,
        "variants": ("plain", "kaiming", "batch_norm", "residual"),
    },
    "vgg_vs_resnet": IMAGES,
}  # fmt: skip
COMMON = {"epochs": 2, "seed": 0, "data": "sample", "precision": "float32", "device": "cpu"}
TIMED = {"train_seconds", "seconds_per_epoch", "images_per_second", "predict_images_per_second"}
TIMED |= {"peak_memory_mb", "seconds"}


def two_epochs(root: Path, project: str, folder: Path) -> dict[str, object]:
    """Train; every number of metrics and baselines by its path, "resnet18/test_accuracy"."""
    flags = {**COMMON, **PROJECTS[project], "data_dir": folder / "data", "out": folder}
    words = []
    for name, value in flags.items():
        values = value if isinstance(value, tuple) else (value,)
        words += ["--" + name.replace("_", "-"), *map(str, values)]
    done = subprocess.run(
        [sys.executable, root / project / "train.py", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{project} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    (path,) = (folder / project).glob("*/results.json")
    results = json.loads(path.read_text())
    return flat({**results["metrics"], "baselines": results["baselines"]})


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    numbers = {}
    for name, value in values.items():
        if isinstance(value, dict):
            numbers |= flat(value, f"{prefix}{name}/")
        elif name not in TIMED:
            numbers[prefix + name] = value
    return numbers


def differences(old: dict[str, object], new: dict[str, object]) -> list[str]:
    """A line for each number that differs or is lost, and one for all that are added."""
    lines = [
        f"  {name}: {old[name]} -> {new.get(name, 'absent')}"
        for name in old
        if old[name] != new.get(name, "absent")
    ]
    added = sorted(set(new) - set(old))
    return [*lines, f"  added: {', '.join(added)}"] if added else lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=".", help="the repository to run")
    parser.add_argument("--projects", nargs="+", default=list(PROJECTS), choices=PROJECTS)
    parser.add_argument("--save", type=Path, help="write the numbers to this file")
    parser.add_argument("--compare", type=Path, help="print every difference to this file")
    options = parser.parse_args()
    numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        for project in options.projects:
            numbers[project] = two_epochs(options.root.resolve(), project, Path(folder))
            print(f"{project}: {len(numbers[project])} numbers", flush=True)
    if options.save:
        options.save.write_text(json.dumps(numbers, indent=1) + "\n")
    if options.compare:
        old = json.loads(options.compare.read_text())
        for project in options.projects:
            lines = differences(old[project], numbers[project])
            changed = sum("->" in line for line in lines)
            equal = len(old[project]) - changed
            print("\n".join([f"{project}: {equal} equal, {changed} differ", *lines]))


if __name__ == "__main__":
    main()
