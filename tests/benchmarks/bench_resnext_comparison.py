"""How fast resnext_comparison's ResNeXt-29 trains beside a plain script.

    python tests/benchmarks/bench_resnext_comparison.py [--threads N] [--seconds S]

The usual way is in pictures.py.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import harness
import pictures
from case import Case

from resnext_comparison import train
from vgg_vs_resnet.comparison import Candidate


def build(config: train.Config, factor: float) -> Case:
    def resnext(classes: int) -> Candidate:
        return train.candidate("resnext29", classes, config)

    return pictures.case(config, factor, resnext)


def sized(config: train.Config, factor: float) -> train.Config:
    width, path_width = round(config.width * factor), config.path_width * factor
    return replace(config, width=width, path_width=path_width)


if __name__ == "__main__":
    flags = ("--models", "resnext29")
    harness.main("resnext_comparison/train.py", train.Config(), build, sized, start=flags)
