"""A trained model as an ONNX file, kept only if it gives what the model gives.

    python -m common.export RUN [--model NAME] [--output FILE]

RUN is the folder of a run, or a project's name for its latest one. The file's metadata holds the
preprocessing (vocabulary, scaler, classes) and the settings as JSON. Its outputs are compared with
the model's on real samples, in batches of several sizes and lengths. Needs the optional packages
onnx, onnxscript and onnxruntime.
"""

import argparse
import importlib
import inspect
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.settings import ROOT, UserError
from common.trained import find_trained

TOLERANCE = 1e-4  # of the largest output
Batch = tuple[Tensor, ...]


class Mean(nn.Module):
    """The networks of a run as one: the mean of what each gives."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.stack([network(*inputs) for network in self.networks]).mean(0)


def export(
    networks: Sequence[nn.Module], batches: Sequence[Batch], path: Path, **metadata: Any
) -> float:
    """Write the networks' mean to `path`; returns the largest difference to it, by `differs`.

    Args:
        networks: each gives one tensor.
        batches: inputs of its forward; an axis whose length differs among them stays free.
        metadata: kept in the file as JSON.

    Raises:
        UserError: a package is missing, or the file gives something else: it is not kept.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise UserError(
            f"export needs {error.name}: python -m pip install onnx onnxscript onnxruntime"
        ) from error
    network = Mean(networks).eval().cpu()
    first = max(batches, key=lambda batch: batch[0].numel())  # an axis of 1 would be frozen
    names = list(inspect.signature(networks[0].forward).parameters)
    shapes = [[batch[number].shape for batch in batches] for number in range(len(first))]
    free = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, lengths in enumerate(zip(*each, strict=True))
         if len(set(lengths)) > 1}
        for each in shapes
    )  # fmt: skip
    part = path.with_name(f".{path.name}.part")
    logging.getLogger("torch.onnx").setLevel("ERROR")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, first, dynamo=True, dynamic_shapes=(free,), input_names=names,
                output_names=["output"], verbose=False,
                optimize=False,  # folding constants would freeze the time axis of an LSTM
            )  # fmt: skip
        program.save(part)
        model = onnx.load(part)
        for name, value in metadata.items():
            model.metadata_props.add(key=name, value=json.dumps(value, default=Tensor.tolist))
        onnx.save(model, part)
        session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
        difference = max(differs(network, session, names, batch) for batch in batches)
        if not difference < TOLERANCE:
            raise UserError(
                f"{path} is not kept: onnxruntime's outputs differ from the model's by "
                f"{difference:.1g} of the largest"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return difference


@torch.no_grad()
def differs(network: nn.Module, session: Any, names: Sequence[str], batch: Batch) -> float:
    """The largest difference of a batch's outputs, as a fraction of the largest output."""
    own = network(*batch)
    feed = {name: tensor.numpy() for name, tensor in zip(names, batch, strict=True)}
    try:
        (other,) = session.run(None, feed)
    except Exception:  # a shape that was frozen
        return float("inf")
    if other.shape != tuple(own.shape):
        return float("inf")
    return float((torch.from_numpy(other) - own).abs().max() / own.abs().max())


def main() -> None:
    plain_text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m common.export", description=__doc__,
                                     formatter_class=plain_text)  # fmt: skip
    parser.add_argument("run", help="folder of a run, or a project for its latest run")
    parser.add_argument("--model", default="", help="which of the run's models")
    parser.add_argument("--output", type=Path, help="default: model.onnx beside model.pt")
    options = parser.parse_args()
    try:
        folder = Path(options.run)
        is_project = (ROOT / options.run / "train.py").is_file()
        project = options.run if is_project else folder.resolve().parent.name
        trained = find_trained(project, "" if is_project else str(folder), model=options.model)
        output = options.output or trained.folder / "model.onnx"
        networks, batches = importlib.import_module(f"{project}.predict").exported(trained)
        difference = export(
            networks, batches, output, project=project, sample=trained.sample, data=trained.data,
            settings=trained.settings, preprocessing=trained.preprocessing,
        )  # fmt: skip
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"written to {output}; it differs by {difference:.1g} on {len(batches)} real batches")


if __name__ == "__main__":
    main()
