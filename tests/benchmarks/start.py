"""Seconds from a script's start to its first training step, and the memory that it comes to.

    python tests/benchmarks/start.py SPAWNED SECONDS lstm_airquality/train.py [flag ...]

Runs the script, trains for so many seconds and ends it. SPAWNED is the time (time.time()) at which
this process was started, so that the interpreter's start and torch's import count. The last line
printed is JSON.
"""

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import training
from common.report import peak_memory_mb

import torch


class Enough(BaseException):
    """What no script takes for a mistake of its own."""


def main() -> None:
    spawned, seconds = map(float, sys.argv[1:3])
    sys.argv = sys.argv[3:]
    train_step, found = training.train_step, {}

    def watched(*arguments: Any) -> torch.Tensor:
        elapsed = time.time() - spawned
        found.setdefault("seconds_to_first_step", round(elapsed, 2))
        if elapsed > found["seconds_to_first_step"] + seconds:
            raise Enough
        return train_step(*arguments)

    training.train_step = watched
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except (Enough, SystemExit):
        found["peak_memory_mb"] = round(peak_memory_mb(torch.device("cpu")))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
