"""Weights from files, from torch.hub where there is no network, and from the package."""

import time

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models._meta import _IMAGENET_CATEGORIES

from common.settings import UserError
from transfer_food11 import weights
from transfer_food11.model import NETWORKS, Classifier

NAME = "mobilenet_v3_large"


@pytest.fixture(scope="module")
def published():
    """A state dict as torchvision publishes it, with float16 weights."""
    torch.manual_seed(0)
    state = models.mobilenet_v3_large(weights=None).state_dict()
    return {key: t.half() if t.ndim > 1 else t for key, t in state.items()}


def loaded(model, source, data_dir):
    """What it says that it loaded."""
    weights.load(model, source, data_dir)
    return model.origin


def saved(folder, state, name="some.pth"):
    torch.save(state, folder / name)
    return folder / name


def is_body_of(model, state):
    """Whether all but the head is that of the state dict."""
    own = model.network.state_dict()
    return all(torch.equal(own[k], state[k].to(own[k].dtype)) for k in list(own)[:-2])


def test_file_for_as_many_classes_is_loaded_whole(published, tmp_path):
    model = Classifier(NAME, 1000)
    assert loaded(model, saved(tmp_path, published), None) == "ImageNet, some.pth"
    assert is_body_of(model, published)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, published["classifier.3.weight"].float())
    assert torch.equal(model.head.bias, published["classifier.3.bias"])


@pytest.mark.parametrize(
    "form",
    ["plain", "module.", "_orig_mod.", "model.", "state_dict", "model_state_dict", "no head"],
)
def test_forms_of_a_state_dict(published, tmp_path, form):
    model = Classifier(NAME, 11)
    head = model.head.weight.clone()
    state = dict(published)
    if form.endswith("."):
        state = {f"{form}{key}": tensor for key, tensor in state.items()}
    elif form == "no head":
        state = {key: t for key, t in state.items() if not key.startswith("classifier.3")}
    elif form != "plain":
        state = {form: state, "epoch": 3}
    taught = loaded(model, saved(tmp_path, state), None)
    assert taught == ("no head, some.pth" if form == "no head" else "ImageNet, some.pth")
    assert is_body_of(model, published)
    assert torch.equal(model.head.weight, head)


def test_counters_may_be_absent(published, tmp_path):
    state = {key: t for key, t in published.items() if "num_batches" not in key}
    model = Classifier(NAME, 11)
    weights.load(model, saved(tmp_path, state), None)
    assert is_body_of(model, published)


def test_strides_come_with_the_weights(tmp_path):
    """By Keras' name in the file's, or from a run's model.pt; a head for other classes stays."""
    torch.manual_seed(0)
    theirs, model = Classifier("resnet50", 3), Classifier("resnet50", 4)
    before, state = model.head.weight.clone(), theirs.network.state_dict()
    weights.load(model, saved(tmp_path, state, "resnet50_Keras.pth"), None)
    assert model.strides == "conv1"
    own = {"weights": [state], "preprocessing": {"strides": "conv1"}}
    assert loaded(model, saved(tmp_path, own, "model.pt"), None) == "3 classes, model.pt"
    assert model.strides == "conv1"
    assert is_body_of(model, state)
    assert torch.equal(model.head.weight, before)
    weights.load(theirs, tmp_path / "model.pt", None)
    assert theirs.strides == "conv1"
    assert loaded(model, saved(tmp_path, [state], "listed.pt"), None) == "3 classes, listed.pt"
    assert model.strides == "conv2"


def test_mistakes_are_one_sentence(published, tmp_path):
    def refused(state, match, name="bad.pth"):
        path = tmp_path / name
        path.write_bytes(state) if isinstance(state, bytes) else torch.save(state, path)
        model = Classifier(NAME, 11)
        before = [tensor.clone() for tensor in model.state_dict().values()]
        with pytest.raises(UserError, match=match) as caught:
            weights.load(model, path, None)
        assert "\n" not in str(caught.value)
        after = model.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    other = models.mobilenet_v3_small(weights=None).state_dict()
    refused(other, r"another architecture: .* is missing, .*, and \d+ more")
    refused({**published, "features.99.weight": torch.ones(2)}, "features.99.weight is unknown")
    wrong = {**published, "features.0.0.weight": torch.ones(8, 3, 3, 3)}
    refused(wrong, r"features.0.0.weight has shape \(8, 3, 3, 3\) instead of \(16, 3, 3")
    for empty in ({}, [1, 2], {"epoch": 3}):
        refused(empty, "holds no weights of a single network")
    refused(b"", "bad.pth")
    refused(b"no weights at all", "bad.pth")
    whole = tmp_path / "whole.pth"
    torch.save(published, whole)
    refused(whole.read_bytes()[:100_000], "bad.pth")
    refused({"code": time.sleep}, "was refused")
    with pytest.raises(UserError, match=r"absent.pth: there is no such file"):
        weights.load(Classifier(NAME, 11), tmp_path / "absent.pth", None)


def test_none_says_so():
    assert loaded(Classifier(NAME, 11), "none", None) == "from scratch: --weights none"


def test_auto_takes_the_file_of_the_model(published, tmp_path):
    (tmp_path / "weights").mkdir()
    saved(tmp_path / "weights", {}, "resnet50.pth")
    saved(tmp_path / "weights", published, "mobilenet_v3_large_mine.pth")
    model = Classifier(NAME, 11)
    found = loaded(model, "auto", tmp_path)
    assert found == "ImageNet, mobilenet_v3_large_mine.pth"
    assert is_body_of(model, published)
    # A file that is there never falls back to something else.
    with pytest.raises(UserError, match=r"resnet50\.pth holds no weights"):
        weights.load(Classifier("resnet50", 11), "auto", tmp_path)


def test_auto_without_a_network_is_fast_and_says_why(tmp_path, monkeypatch):
    """The proxy named here is a closed port of this machine: no request leaves it."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    model = Classifier(NAME, 11)
    before = model.network.features[0][0].weight.clone()
    found = loaded(model, "auto", tmp_path)
    assert found.startswith(f"from scratch: no {NAME}*.pth in {tmp_path}/weights, and https://")
    assert "refused" in found
    assert "\n" not in found
    assert torch.equal(before, model.network.features[0][0].weight)


def test_auto_uses_and_checks_what_torch_hub_has(published, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / "mobilenet_v3_large-5c1a4163.pth"
    kept.parent.mkdir(parents=True)
    torch.save(published, kept)
    model = Classifier(NAME, 11)
    found = loaded(model, "auto", tmp_path)
    assert found == "ImageNet, torchvision IMAGENET1K_V2"
    assert is_body_of(model, published)
    kept.write_bytes(kept.read_bytes()[:1000])
    assert loaded(model, "auto", tmp_path).startswith("from scratch: ")


def package_names(model):
    """The names of the package's file, in place of torchvision's."""
    keys = list(model.network.state_dict())
    return ["_conv_stem.weight", *(f"_{number}" for number in range(1, len(keys)))]


def test_layout_of_the_package_is_read_by_its_order(tmp_path):
    torch.manual_seed(0)
    theirs, ours = Classifier("efficientnet_lite0", 1000), Classifier("efficientnet_lite0", 11)
    state = dict(zip(package_names(theirs), theirs.network.state_dict().values(), strict=True))
    assert loaded(ours, saved(tmp_path, state), None) == "ImageNet, some.pth"
    assert is_body_of(ours, theirs.network.state_dict())
    del state["_7"]
    with pytest.raises(UserError, match="another architecture"):
        weights.load(ours, saved(tmp_path, state), None)


def photographs(folder):
    """The 152 photographs, at 128 pixels, and the numbers of their ImageNet classes."""
    files = sorted(folder.glob("*/*.jpg"))
    labels = [_IMAGENET_CATEGORIES.index(file.parent.name) for file in files]
    pixels = [np.asarray(Image.open(f).convert("RGB").resize((128, 128), 3)) for f in files]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255, torch.tensor(
        labels
    )


@pytest.mark.real
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_real_weights_recognise_real_photographs(name, real_data):
    """Of 1,000 classes, in small blurred images; worse by a wrong stride or colour order."""
    model = Classifier(name, 1000).eval()
    assert loaded(model, "auto", real_data).startswith("ImageNet, ")
    pixels, labels = photographs(real_data / "imagenet_check")
    assert len(labels) == 38 * 4
    wanted = NETWORKS[name]
    mean, std = (torch.tensor(values)[:, None, None] for values in (wanted.mean, wanted.std))

    def hits(images):
        with torch.inference_mode():
            top = model((images - mean) / std).topk(5).indices
        return int((top == labels[:, None]).any(1).sum())

    right = hits(pixels)
    assert right > 0.4 * len(labels)
    assert hits(pixels.flip(1)) < right
    if name == "resnet50":
        model.place_strides("conv2")
        assert hits(pixels) < right
