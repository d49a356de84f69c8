"""Checkpoints: written whole or not at all, read as data and never as code."""

import os
import pickle
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from common.errors import UserError

import numpy as np
import torch
from torch import nn


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill a file that takes its name only once it is complete on the disk.

    Raises:
        UserError: the file cannot be written; what stood there before is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file:
            temporary = Path(file.name)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise UserError(
            f"{path} could not be written ({error}): free some space, or choose another folder "
            "with --out; what was saved before is intact"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what `write_atomically` left below `folder` when its process was killed."""
    for path in folder.rglob(".*.part"):
        if path.is_file():
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))


def save(path: Path, state: dict[str, Any]) -> None:
    """Save tensors, numbers, strings and containers of them."""
    write_atomically(path, lambda file: torch.save(state, file))


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; a file that holds code is refused.

    Raises:
        UserError: no such file, damaged, or not a checkpoint of tensors.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}: train first") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a checkpoint of tensors and was refused: it may be damaged, or hold "
            "code; take one that this project wrote"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be read as a checkpoint ({reason}): take another, or train again"
        ) from error


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor], origin: str) -> None:
    """Copy `weights` into the model, every one.

    Raises:
        UserError: the weights are of another architecture; names the first differences.
    """
    own = model.state_dict()
    differences = [f"{name} is missing" for name in own if name not in weights]
    differences += [f"{name} is unknown" for name in weights if name not in own]
    differences += [
        f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if differences:
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise UserError(
            f"{origin} holds the weights of another architecture: "
            f"{', '.join(differences[:3])}{more}; use the settings that it was trained with"
        )
    model.load_state_dict(weights)


def random_state() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's random numbers (CPU and GPUs)."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global state is what is saved
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on with the random numbers where `random_state` left them."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
