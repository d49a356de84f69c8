"""Predictions for named images: which files are read, in which order, and what is printed."""

import csv
import io
import json
import sys

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from common import image_predictions
from common.image_predictions import PredictConfig, predict_files, show
from common.settings import UserError

COLOURS = {"red": (250, 20, 60), "green": (20, 250, 60), "blue": (60, 20, 250)}


def ask(*names):
    """A network that says how much of each colour is in an image; grey never is."""

    def classify(pixels):
        colours = F.pad(pixels.float().mean((2, 3)), (1, 0))
        return colours / colours.sum(1, keepdim=True)

    config = PredictConfig(tuple(map(str, names)))
    return list(predict_files(config, 8, 0, classify, ("grey", *COLOURS)))


@pytest.fixture
def photo(tmp_path):
    """Mostly red, some blue."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (9, 7), COLOURS["red"]).save(path)
    return path


def test_classes_come_likeliest_first(photo):
    (made,) = ask(photo)
    assert list(made.classes) == ["red", "blue", "green", "grey"]
    assert list(made.classes.values()) == pytest.approx([250 / 330, 60 / 330, 20 / 330, 0])


def test_order_of_the_files_is_kept_over_batches_and_broken_files(tmp_path, photo):
    (tmp_path / "many").mkdir()
    names = [list(COLOURS)[i * i % 3] for i in range(67)]
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), COLOURS[name]).save(tmp_path / "many" / f"{number:03}.png")
    (tmp_path / "many" / "001.png").write_bytes(b"no image")
    made = ask(photo, tmp_path / "many", photo)
    files = [photo, *(tmp_path / "many" / f"{i:03}.png" for i in range(67)), photo]
    assert [each.file for each in made] == list(map(str, files))
    first = [next(iter(each.classes), "") for each in made]
    assert first == ["red", names[0], "", *names[2:], "red"]


def test_lines_json_csv_and_broken_files(photo, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:40])
    (tmp_path / "note.txt").write_text("no image")
    made = ask(tmp_path, tmp_path / "note.txt", tmp_path / "absent.png", photo)
    config = PredictConfig(output=tmp_path / "out.csv")
    with pytest.raises(SystemExit) as caught:
        show(made, config, sample=False)
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    lines, (note, *complaints) = out.splitlines(), err.splitlines()
    assert note == f"note: {tmp_path}: ignored: 1 .txt"
    assert lines == [f"red   0.758  blue  0.182  green 0.061  {photo}"] * 2
    files = ("broken.png", "note.txt", "absent.png")
    for complaint, file in zip(complaints, files, strict=True):
        assert complaint.startswith(f"{tmp_path / file} cannot be read as an image (")
    rows = list(csv.reader((tmp_path / "out.csv").open()))
    assert rows == [["file", "class", "probability"], *[[str(photo), "red", "0.7576"]] * 2]

    show(ask(photo), PredictConfig(json=True), sample=True)
    answer = json.loads(capsys.readouterr().out)
    (made,) = ask(photo)
    expected = [{"class": c, "probability": p} for c, p in list(made.classes.items())[:3]]
    assert answer == {"file": str(photo), "top": expected, "sample": True}
    show(ask(photo), PredictConfig(), sample=True)
    assert capsys.readouterr().out.startswith("SAMPLE  red   0.758")


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        ("{0}\n\n{0}\r\n", "utf-8"),
        ("{0}\n{0}\n", "utf-8-sig"),
        ("{0}\r\n{0}\r\n", "utf-16"),
        ("{0}\0{0}\0", "utf-8"),
        ("\"{0}\"\n'{0}'\n", "utf-8"),
    ],
)
def test_names_from_standard_input(photo, monkeypatch, names, encoding):
    photo = photo.rename(photo.with_name("l'été.png"))
    lines = names.format(photo).encode(encoding)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert [each.file for each in ask("-", photo)] == [str(photo)] * 3


def test_odd_names_are_errors_of_their_own(photo, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # closed: <&-
    *odd, good = ask("~nobody-here/x.png", "l" * 5000, "a\0b", "-", photo)
    assert all("cannot be read as an image" in each.error for each in odd)
    assert len(odd) == 3
    assert good.classes


def test_nothing_to_predict_is_one_sentence(photo, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "apple").mkdir()
    (tmp_path / "apple" / "a.heic").touch()
    empty, apple, unnamed, named = ask(tmp_path / "empty", tmp_path / "apple", "", photo)
    assert "empty holds no images: name" in empty.error
    assert "apple holds no images: name another folder (ignored: 1 .heic" in apple.error
    assert "a name is empty" in unnamed.error
    assert named.classes
    with pytest.raises(UserError, match="there is no image"):
        ask()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(UserError, match="there is no image"):
        ask("-")


def test_large_and_deep_images_are_read_as_in_training(photo, tmp_path):
    """`predict` hands on the depth of the training images and the user's limit."""
    kept = {
        "classes": ("dark", "bright"), "size": 8, "bits": 12,
        "mean": torch.zeros(3), "std": torch.ones(3),
    }  # fmt: skip

    class Brightness(torch.nn.Module):
        def forward(self, images):
            level = images.mean((1, 2, 3))
            return torch.stack([1 - level, level], 1).log()

    Image.new("I;16", (9, 9), 1023).save(tmp_path / "deep.png")
    trained = image_predictions.Trained(tmp_path, [{}], {}, kept, False, "")
    config = PredictConfig((str(tmp_path / "deep.png"),), device="cpu")
    (made,) = image_predictions.predict(trained, Brightness(), config)
    assert made.classes["bright"] == pytest.approx(63 / 255)
    config.max_megapixels = 0
    (made,) = image_predictions.predict(trained, Brightness(), config)
    assert "more than --max-megapixels 0" in made.error


@pytest.mark.parametrize("output", ["folder", "photo.png/x/out.csv", "/dev/stdout"])
def test_output_that_cannot_be_written_is_refused_before_any_work(tmp_path, photo, output):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written: name a file"):
        show(iter([None]), PredictConfig(output=tmp_path / output), sample=False)


def test_what_a_folder_holds_beside_its_images_is_noted(photo, capsys):
    (photo.parent / "a.heic").touch()
    assert len(ask(photo.parent)) == 1
    assert "ignored: 1 .heic" in capsys.readouterr().err
