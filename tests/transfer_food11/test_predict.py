"""predict.py, and the pictures it is given: any kind that Pillow reads."""

import json

from common.errors import UserError
from common.images import decode

import numpy as np
import pytest
import torch
from PIL import Image

from transfer_food11 import predict
from transfer_food11.model import Classifier

CLASSES = ("Bread", "Dairy product", "Egg", "Fried food")
SIDE = 64
ABOUT = {
    "name": "mobilenet_v3_large", "classes": CLASSES, "side": SIDE,
    "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "stride_in": "conv2", "flip": False,
}  # fmt: skip


def write_run(parent, metrics, **models):
    """A finished run with a random network for each model."""
    run = parent / "transfer_food11" / "20250101-000000"
    for name, changes in models.items():
        about = {**ABOUT, **changes}
        folder = run / name.replace("_", "-")
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps(about))
        torch.manual_seed(len(name))
        model = Classifier(about["name"], len(CLASSES))
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.momentum = 1.0  # statistics that make the features larger than zero
        model.train()(torch.randn(4, 3, SIDE, SIDE))
        torch.nn.init.normal_(model.head.weight, std=0.001)
        torch.save({"model": model.state_dict()}, folder / "best.pt")
    (run / "results.json").write_text(json.dumps({"finished": True, "metrics": metrics}))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    metrics = {
        "first": {"val_accuracy": 0.5},
        "second tuned": {"val_accuracy": 0.75},
        "train_seconds": 3.0,
    }
    folder = tmp_path_factory.mktemp("out")
    return write_run(folder, metrics, first={}, second_tuned={"flip": True})


@pytest.fixture
def photo(tmp_path):
    """A picture that is another when it is turned or mirrored."""
    ramp = np.arange(80 * 120 * 3, dtype=np.uint32).reshape(80, 120, 3) * 7 // 800
    path = tmp_path / "photo.jpg"
    Image.fromarray(ramp.astype(np.uint8)).save(path, quality=95)
    return path


def ask(run, *images, **fields):
    return list(predict.predict(predict.Config(tuple(map(str, images)), run=str(run), **fields)))


def test_probabilities_are_the_models(run, photo):
    (made,) = ask(run, photo, model="first", device="cpu")
    model = Classifier("mobilenet_v3_large", len(CLASSES)).eval()
    model.load_state_dict(torch.load(run / "first" / "best.pt")["model"])
    pixels = torch.from_numpy(decode(photo, SIDE).copy())[None] / 255
    mean, std = (torch.tensor(ABOUT[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        expected = model((pixels - mean) / std).softmax(1)[0]
    ordered = [CLASSES[place] for place in expected.argsort(descending=True)]
    assert list(made.classes) == ordered
    assert [made.classes[name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=1e-5)


def test_best_on_validation_flips_as_it_was_trained(run, photo, tmp_path):
    mirrored = tmp_path / "mirrored.png"
    Image.fromarray(decode(photo, SIDE).transpose(1, 2, 0)[:, ::-1]).save(mirrored)
    straight = tmp_path / "straight.png"
    Image.fromarray(decode(photo, SIDE).transpose(1, 2, 0)).save(straight)
    one, two = ask(run, straight, mirrored)
    assert one.classes == pytest.approx(two.classes, abs=1e-5)
    one, two = ask(run, straight, mirrored, model="first")
    assert one.classes != pytest.approx(two.classes, abs=1e-5)


def test_names_from_standard_input_in_another_folder(run, photo, script, elsewhere):
    photo.rename(elsewhere / "photo.jpg")
    words = ("-", "--json", "--out", str(run.parents[1]), "--device", "cpu")
    done = script("transfer_food11/predict.py", *words, text="photo.jpg\n\nabsent.jpg\r\n")
    assert done.returncode == 1
    assert json.loads(done.stdout)["file"] == "photo.jpg"
    (complaint,) = done.stderr.splitlines()
    assert complaint.startswith("absent.jpg cannot be read")


def test_model_or_run_that_is_not_there_is_one_sentence(run, photo):
    with pytest.raises(UserError, match=r"--model third: the run in .* has first, second tuned$"):
        ask(run, photo, model="third")
    with pytest.raises(UserError, match="no run absent"):
        ask("absent", photo)


def square(*colours):
    """Four quarters in four colours, 32 x 32."""
    quarters = np.array(colours, np.uint8).reshape(2, 2, -1)
    return quarters.repeat(16, 0).repeat(16, 1)


RGB = square((250, 10, 10), (10, 250, 10), (10, 10, 250), (128, 128, 128))


def test_exif_rotation_is_respected(tmp_path):
    upright = Image.fromarray(RGB)
    exif = upright.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "turned.png", 32), RGB.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "L", "1", "LA", "I;16", "I", "F", "YCbCr"])
def test_modes(tmp_path, mode):
    grey = np.asarray(Image.fromarray(RGB).convert("L"))
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "I", "F", "YCbCr") else "picture.png")
    expected = RGB if mode in ("P", "CMYK", "RGBA", "YCbCr") else grey[..., None].repeat(3, 2)
    if mode in ("I;16", "I"):
        image = Image.fromarray(grey.astype(np.uint16 if mode == "I;16" else np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) * (255 / grey.max()))
        expected = np.asarray(image).round().astype(int)[..., None].repeat(3, 2)
    elif mode == "1":
        image = Image.fromarray(grey > 80)
        expected = np.where(grey > 80, 255, 0)[..., None].repeat(3, 2)
    else:
        image = Image.fromarray(RGB)
        image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(path)
    with Image.open(path) as opened:
        assert opened.mode == mode
    found = decode(path, 32)
    assert (found.dtype, found.shape) == (np.uint8, (3, 32, 32))
    assert np.abs(found.transpose(1, 2, 0).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_transparent_parts_are_white(tmp_path, mode):
    image = Image.fromarray(np.zeros((32, 32, 4), np.uint8), "RGBA")
    image.paste((0, 0, 0, 255), (0, 0, 16, 32))
    if mode == "P":
        image = image.convert("L").point(lambda _: 0).convert("P")
        image.putpixel((20, 20), 1)
        image.info["transparency"] = 0
        image.save(tmp_path / "picture.png", transparency=0)
        assert decode(tmp_path / "picture.png", 32)[:, 0, 0].tolist() == [255, 255, 255]
        return
    image.convert(mode).save(tmp_path / "picture.png")
    found = decode(tmp_path / "picture.png", 32)
    assert found[:, :, :15].max() == 0
    assert found[:, :, 17:].min() == 255


def test_central_square_of_large_small_and_narrow_pictures(tmp_path):
    Image.new("RGB", (1, 1), (9, 99, 199)).save(tmp_path / "dot.png")
    assert (decode(tmp_path / "dot.png", 8) == np.array([9, 99, 199])[:, None, None]).all()
    Image.new("RGB", (20_000, 2), (9, 99, 199)).save(tmp_path / "line.png")
    assert decode(tmp_path / "line.png", 8).shape == (3, 8, 8)
    wide = Image.new("RGB", (900, 300), (255, 255, 255))
    wide.paste((200, 0, 0), (300, 0, 600, 300))
    wide.save(tmp_path / "wide.jpg", quality=95)
    found = decode(tmp_path / "wide.jpg", 32)[:, :, 2:-2].astype(int)
    assert np.abs(found - np.array([200, 0, 0])[:, None, None]).max() < 12
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(UserError, match=r"huge.png cannot be read as an image \(Image size"):
        decode(tmp_path / "huge.png", 32)
