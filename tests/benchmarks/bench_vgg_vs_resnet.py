"""How fast vgg_vs_resnet's ResNet-18 trains beside a plain script and Lightning.

    python tests/benchmarks/bench_vgg_vs_resnet.py [--threads N] [--seconds S]

The usual way is in pictures.py.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import harness
import pictures
from case import Case

from vgg_vs_resnet import comparison
from vgg_vs_resnet.train import Config


def build(config: Config, factor: float) -> Case:
    def resnet(classes: int) -> comparison.Candidate:
        return comparison.candidate("resnet18", classes, config)

    return pictures.case(config, factor, resnet)


def sized(config: Config, factor: float) -> Config:
    return replace(config, width=round(config.width * factor))


if __name__ == "__main__":
    flags = ("--models", "resnet18")
    script = "vgg_vs_resnet/train.py"
    harness.main(script, Config(), build, sized, framework="Lightning", start=flags)
