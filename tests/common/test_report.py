"""report.html: whole in one file, with everything that a reader asks for, and nothing executed."""

import json
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image

from common import report
from common.settings import UserError

RUN = {
    "project": "toy",
    "finished": True,
    "data": "sample",
    "dataset": {"name": "<b>Set</b>", "checksum": "1f", "note": "", "counts": {"test": 1200}},
    "command": "python toy/train.py --lr 0.1 --models vgg 'res net'",
    "settings": {"lr": 0.1, "batch_size": 4},
    "metrics": {"test_accuracy": 0.91234, "train_seconds": 3.0},
    "baselines": {"linear SVM": {"test_accuracy": 0.8}},
    "published": {"Ann 2016": {"test_accuracy": 0.85}},
    "differences": {"this run": {"to": "linear SVM", "difference": 0.1, "low": 0.05, "high": 0.2}},
    "phases": {"data": 1.0, "training": 3.0},
    "commit": "0a1b",
    "hardware": "2 cores",
    "versions": {"torch": "2.14"},
    "seconds": 5.0,
    "date": "2026-01-02T03:04:05+00:00",
}
EVIL = '<script>alert("x")</script>.jpg'


class Page(HTMLParser):
    """The tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path):
    def make(name, **changes):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps({**RUN, **changes}))
        (folder / "metrics.csv").write_text("epoch,train_loss,val_loss\n1,2,3\n2,1,\n")
        mistake = f'{EVIL.replace(chr(34), chr(34) * 2)}"'
        (folder / "mistakes.csv").write_text(
            f'item,truth,prediction,probability\n"{mistake},dog,cat,0.9\n'
        )
        Image.new("RGB", (8, 4), "red").save(folder / "curves.png")
        return folder

    return make


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def test_one_run_is_told_in_one_file(run, tmp_path):
    folder = run("first")
    report.write([folder], folder / "report.html")
    page = read(folder / "report.html")
    expected = ["SAMPLE DATA", "--lr 0.1", "vgg res net", "0.9123", "linear SVM", "Ann 2016"]
    expected += ["+0.0500 to +0.2000", "1,200 test", "0a1b", "2 cores", EVIL, "<b>Set</b>"]
    for text in expected:
        assert text in page.text, text
    assert "batch-size" not in page.text  # as it is by default
    assert not any(tag in ("script", "link", "iframe", "b") for tag, _ in page.tags)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1
    assert images[0]["src"].startswith("data:image/png;base64,iVBOR")
    assert images[0]["alt"] == "curves"


def test_several_runs_are_compared(run, tmp_path):
    second = {**RUN["settings"], "lr": 0.2}
    nested = {"vgg": {"test_accuracy": 0.5}, "resnet": {"test_accuracy": 0.625}}
    folders = [run("first"), run("second", settings=second, metrics=nested, finished=False)]
    report.write(folders, tmp_path / "comparison.html")
    page = read(tmp_path / "comparison.html")
    assert "batch-size" not in page.text  # the same in both
    for text in ("lr", "0.2", "second resnet", "0.625", "second was stopped before its end"):
        assert text in page.text, text
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == [
        "all runs",
        "curves, first",
        "curves, second",
    ]


def test_a_run_without_results_or_mistakes(run, tmp_path):
    with pytest.raises(UserError, match=r"no results\.json"):
        report.write([tmp_path], tmp_path / "report.html")
    folder = run("first")
    for name in ("mistakes.csv", "metrics.csv", "curves.png"):
        (folder / name).unlink()
    report.write([folder], folder / "report.html")
    assert "Mistakes: 0" in read(folder / "report.html").text
    report.write([folder, folder], tmp_path / "comparison.html")


def test_command_line(run, tmp_path, monkeypatch, capsys):
    folder = run("first")
    monkeypatch.chdir(tmp_path)
    for words, written in (
        (["first"], "first/report.html"),
        (["first", "first"], "comparison.html"),
    ):
        monkeypatch.setattr(sys, "argv", ["report", *words])
        report.main()
        assert (tmp_path / written).is_file()
    monkeypatch.setattr(sys, "argv", ["report", str(folder / "nowhere")])
    with pytest.raises(SystemExit, match="nowhere has no results"):
        report.main()
