"""common/recognition.py: which pictures are recognised, what is printed, which model is asked."""

import io
import json
import sys

from common import recognition
from common.errors import UserError
from common.recognition import Config, Recogniser

import pytest
from PIL import Image
from torch.nn import functional as F

COLOURS = {"red": (250, 20, 60), "green": (20, 250, 60), "blue": (60, 20, 250)}


def load(config):
    """A network that says how much of each colour is on a picture; grey is never there."""

    def probabilities(pixels):
        shares = F.pad(pixels.float().mean((2, 3)), (1, 0))
        return shares / shares.sum(1, keepdim=True)

    return Recogniser(("grey", *COLOURS), 8, probabilities)


def ask(*images):
    return list(recognition.predict(load, Config(tuple(map(str, images)))))


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


def test_order_of_the_files_is_kept_over_batches_and_broken_files(tmp_path):
    names = [list(COLOURS)[i * i % 3] for i in range(2 * recognition.BATCH + 3)]
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), COLOURS[name]).save(tmp_path / f"{number:03}.png")
    (tmp_path / "001.png").write_bytes(b"not a picture")
    made = ask(tmp_path)
    assert [each.file for each in made] == [str(tmp_path / f"{i:03}.png") for i in range(67)]
    assert [next(iter(each.classes), "") for each in made] == [names[0], "", *names[2:]]


def test_table_json_and_broken_files(photo, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:40])
    (tmp_path / "note.txt").write_text("not a picture")
    made = ask(tmp_path, tmp_path / "note.txt", tmp_path / "absent.png", photo)
    with pytest.raises(SystemExit) as caught:
        recognition.show(made, as_json=False)
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    lines, complaints = out.splitlines(), err.splitlines()
    assert len(lines) == 2  # the photo, in the folder and by its name
    assert lines[0] == lines[1] == f"red   0.758  blue  0.182  green 0.061  {photo}"
    files = ("broken.png", "note.txt", "absent.png")
    for complaint, file in zip(complaints, files, strict=True):
        assert complaint.startswith(f"{tmp_path / file} cannot be read as an image (")

    recognition.show(ask(photo), as_json=True)
    found = json.loads(capsys.readouterr().out)
    (made,) = ask(photo)
    expected = [{"class": c, "probability": p} for c, p in list(made.classes.items())[:3]]
    assert found == {"file": str(photo), "top": expected}


def test_names_from_standard_input(photo, monkeypatch):
    lines = f"{photo}\n\n{photo}\r\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert [each.file for each in ask("-", photo)] == [str(photo)] * 3


def test_nothing_to_recognise_is_one_sentence(photo, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no pictures"):
        ask(tmp_path / "empty")
    with pytest.raises(UserError, match="there is no picture"):
        ask()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(UserError, match="there is no picture"):
        ask("-")


def test_the_model_is_the_one_named_or_the_best_on_validation(tmp_path):
    scores = {"first": 0.5, "second tuned": 0.75, "elsewhere": 0.9}
    metrics = {name: {"val_accuracy": score} for name, score in scores.items()}
    (tmp_path / "results.json").write_text(json.dumps({"metrics": {**metrics, "seconds": 3.0}}))
    for folder in ("first", "second-tuned"):  # the third has no weights
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "best.pt").touch()
    assert recognition.choose_model(tmp_path, "") == ("second tuned", tmp_path / "second-tuned")
    assert recognition.choose_model(tmp_path, "first") == ("first", tmp_path / "first")
    for name in ("third", "elsewhere"):
        match = f"--model {name}: the run in .* has first, second tuned$"
        with pytest.raises(UserError, match=match):
            recognition.choose_model(tmp_path, name)
