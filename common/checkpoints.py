"""Files that are whole or absent: checkpoints, trained models, and caches of prepared data.

What is read is data and never code.
"""

import hashlib
import inspect
import json
import os
import random
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from common.settings import UserError, warn

Arrays = dict[str, np.ndarray | list[str]]


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill a file that takes its name only once it is complete on the disk.

    Raises:
        UserError: the file cannot be written; what stood there before is untouched.
    """
    temporary = None
    if path.exists() and not path.is_file():  # replacing /dev/null would harm the machine
        raise UserError(f"{path} is not a regular file: name another file to write to")
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
            "(--out, for the cache --data-dir, for answers --output); what was saved before is "
            "intact"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what `write_atomically` left below `folder` when its process was killed."""
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Save tensors, numbers, strings and containers of them."""
    write_atomically(path, lambda file: torch.save(dict(state), file))


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; a file that holds code is refused.

    Raises:
        UserError: no such file, damaged, or not a checkpoint of tensors.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}: name another, or train first") from error
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): take another") from error
    except Exception as error:  # torch's reader fails in many ways on what is no checkpoint
        # What other errors than RuntimeError say is about bytes of the file.
        sentence = str(error).partition("\n")[0].partition(". ")[0]
        reason = f" ({sentence})" if isinstance(error, RuntimeError) else ""
        raise UserError(
            f"{path} is not a whole file of tensors as torch saves them and was refused{reason}: "
            "it may be damaged, or hold code; take another, or train again"
        ) from error


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
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
        raise UserError(
            f"{origin} holds the weights of another architecture: {first(differences)}; use the "
            "settings that it was trained with"
        )
    model.load_state_dict(weights)


def first(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join([*names[:3], *([f"and {len(names) - 3} more"] if names[3:] else [])])


def read_weights(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The weights for `model` in a model.pt of these projects or in another program's file.

    What stands before the model's own names (`model_state_dict`, `module.`) is removed: of all that
    begin a name there, the first that leaves most of them. What is left out beside is noted.

    Raises:
        UserError: no such file, damaged, or without weights.
    """
    tensors, own = dict(tensors_in(load(path))), model.state_dict()
    if not tensors:
        raise UserError(f"{path} holds no weights of a single network: name another file")
    prefixes = [name[: end.end()] for name in tensors for end in re.finditer(r"^|[./]", name)]

    def fit(prefix: str) -> tuple[int, int]:
        """How many of the model's names stand behind it; of none, the longest that all share."""
        found = sum(prefix + name in tensors for name in own)
        return found, len(prefix) * all(name.startswith(prefix) for name in tensors)

    prefix = max(dict.fromkeys(prefixes), key=fit)
    inside = {name: name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    parts = {name.partition(".")[0] for name in own}
    taken = {name: to for name, to in inside.items() if to.partition(".")[0] in parts} or inside
    around = prefix[: prefix.rfind("/") + 1]  # the state dict, beside which there are no weights
    if rest := [name for name in tensors if name.startswith(around) and name not in taken]:
        warn(f"{path}: ignored, for the network has no such part: {first(rest)}")
    return {to: tensors[name] for name, to in taken.items()}


def tensors_in(state: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested mappings and in lists of one, by their keys, joined by slashes."""
    if isinstance(state, list) and len(state) == 1:  # model.pt holds a list of networks
        yield from tensors_in(state[0], prefix)
    elif isinstance(state, Mapping):
        for key, value in state.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{key}", value
            else:
                yield from tensors_in(value, f"{prefix}{key}/")


def load_foreign(model: nn.Module, path: Path, head: str = "") -> None:
    """Start the model from the weights in a file, see `read_weights`.

    BatchNorm's counters may be absent, as in files of old versions.

    Args:
        head: name of the layer that may be absent or for other classes: then it keeps its own
            weights.

    Raises:
        UserError: what does not fit is named.
    """
    weights, own = read_weights(path, model), model.state_dict()
    new = [
        name
        for name in own
        if head
        and name.startswith(f"{head}.")
        and (name not in weights or weights[name].shape != own[name].shape)
    ]
    counters = [name for name in own if name.endswith("num_batches_tracked")]
    kept = {name: own[name] for name in counters if name not in weights}
    load_weights(model, weights | kept | {name: own[name] for name in new}, str(path))
    if new:
        why = "is for other classes or without a head"
        warn(f"{path} {why}: {first(new)} start from random weights")


def cached(
    folder: Path,
    name: str,
    key: Mapping[str, Any],
    build: Callable[[], Arrays],
    made_by: Sequence[ModuleType] = (),
) -> Arrays:
    """The arrays of `build()`, kept in `folder` for the next call with the same key.

    A damaged file is built again, never trusted. A folder that cannot be written is a note.

    Args:
        key: every setting and checksum that the arrays depend on, as JSON.
        made_by: modules whose source code the arrays depend on, besides that of `build`; where it
            changes, they are built again.
    """
    function = build.func if isinstance(build, partial) else build
    modules = (*made_by, inspect.getmodule(function), inspect.getmodule(cached))
    sources = [inspect.getsource(module) for module in modules]
    code = hashlib.sha256("\0".join(sources).encode()).hexdigest()
    text = json.dumps({"code": code, **key}, sort_keys=True)
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    arrays = _read_arrays(path)
    if arrays is None:
        arrays = build()
        try:
            write_atomically(path, lambda file: np.savez(file, **_as_arrays(arrays)))
        except UserError as error:
            warn(f"the next run prepares its data again: {error}")
    return arrays


def _read_arrays(path: Path) -> Arrays | None:
    """The arrays, or None where the file is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:  # a zip: reading checks each CRC-32
            arrays: Arrays = {name: kept[name] for name in kept.files}
        for name in [name for name in arrays if name.endswith(".json")]:
            arrays[name.removesuffix(".json")] = json.loads(bytes(arrays.pop(name)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return arrays


def _as_arrays(arrays: Arrays) -> dict[str, np.ndarray]:
    """Lists of texts as arrays of bytes."""
    lists = {name: value for name, value in arrays.items() if isinstance(value, list)}
    rest = {name: value for name, value in arrays.items() if name not in lists}
    return rest | {
        f"{name}.json": np.frombuffer(json.dumps(value).encode(), np.uint8)
        for name, value in lists.items()
    }


def content_digest(files: Iterable[Path | str], root: Path, cache: Path) -> str:
    """sha256 over the files' paths relative to `root` and their contents, in sorted order.

    Reading tens of thousands of files takes seconds, so that the digest is kept in `cache` under
    the files' names, sizes and times.
    """
    start = len(os.path.join(root, ""))  # plain texts: a Path for each of 100,000 files is slow
    paths = sorted((os.fspath(path)[start:].replace(os.sep, "/"), path) for path in files)
    stats = []
    for name, path in paths:
        stat = os.stat(path)
        stats.append(f"{name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}")
    known = hashlib.sha256(os.fsencode("\0".join(stats))).hexdigest()

    def read() -> Arrays:
        digest = hashlib.sha256()
        for name, path in paths:
            content = hashlib.sha256()
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    content.update(block)
            digest.update(os.fsencode(name) + b"\0" + content.digest())
        return {"digest": [digest.hexdigest()]}

    return str(cached(cache, "digest", {"files": known}, read)["digest"][0])


def random_state() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's random numbers (CPU and GPUs)."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global state is what is saved
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on with the random numbers where `random_state` left them."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
