"""Plots: what they show is what was given, and strange names or many classes do not break them."""

import os
import warnings
from itertools import pairwise

import numpy as np
import pytest
from matplotlib import font_manager, rcParams
from matplotlib.text import Text
from PIL import Image

from common import plots, settings


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(settings, "_warned", set())
    monkeypatch.setitem(rcParams, "font.family", ["sans-serif"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of each letter that cannot be drawn
        yield


def texts(drawn):
    drawn.canvas.draw()
    shown = {id(text): text.get_text() for text in drawn.findobj(Text)}
    return list(shown.values())


def test_curves_draw_every_row():
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e, "lr": 0.1} for e in (1, 2, 3)]
    drawn = plots.curves({"a": rows, "b": rows[:2]})
    lines = {line.get_label(): list(line.get_ydata()) for line in drawn.axes[0].lines}
    assert lines["a, validation"] == [2, 1, 2 / 3]
    assert lines["b, training"] == [1, 0.5]
    assert len(plots.curves({"a": rows}, ("loss", "accuracy")).axes[0].lines) == 2


def test_confusion_shows_fractions_of_the_true_class():
    drawn = plots.confusion([[3, 1], [0, 0]], ["dog", "cat"], "VGG")
    shown = texts(drawn)
    assert {"0.75", "0.25", "0.00", "dog", "cat", "VGG"} <= set(shown)


@pytest.mark.parametrize("classes", [100, 1000])
def test_many_classes_have_a_figure_of_fixed_size_and_their_worst_pairs(classes):
    matrix = np.diag(np.full(classes, 9))
    matrix[3, 5], matrix[7, 2] = 4, 6
    names = [f"class {number}" for number in range(classes)]
    drawn = plots.confusion(matrix, names)
    assert tuple(drawn.get_size_inches()) == (16, 8)
    shown = texts(drawn)
    assert len(shown) < 90  # not one for each class
    assert "6  class 7 as class 2\n4  class 3 as class 5" in "".join(shown)
    assert plots.confused_pairs(matrix, names) == [
        ("class 7", "class 2", 6),
        ("class 3", "class 5", 4),
    ]
    assert matrix[3, 3] == 9  # what was given is untouched


def test_only_the_twenty_worst_pairs():
    assert len(plots.confused_pairs(np.ones((50, 50), int), range(50))) == 20


def test_a_font_with_the_letters_is_found(monkeypatch, capsys):
    """One that the usual font lacks: here the usual one is an old font of few letters."""
    few = next(f for f in font_manager.fontManager.ttflist if f.name == "cmr10")
    monkeypatch.setattr(font_manager, "findfont", lambda *_: few.fname)
    assert plots.readable(["Ωδός", "ok"]) == ["Ωδός", "ok"]
    assert "DejaVu" in rcParams["font.family"][-1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["狗", "ネコ", "แมว", "हिन्दी", "🐶"])
def test_without_a_font_classes_are_numbered_with_one_note(monkeypatch, capsys, name):
    """matplotlib's own fonts, among which is one of boxes for all letters, do not have these."""
    own = [f for f in font_manager.fontManager.ttflist if "mpl-data" in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    for _ in range(2):
        drawn = plots.confusion([[1, 0], [0, 1]], [name, "cat"])
        assert {"0", "1"} <= set(texts(drawn))
    err = capsys.readouterr().err
    assert err.count("note:") == 1
    assert name in err


def test_names_that_are_no_text_formulas_or_long():
    names = [os.fsdecode(b"caf\xe9"), "5$ and 6$", "a" * 500]
    assert plots.readable(names)[0] == "caf�"
    drawn = plots.confusion(np.eye(3), names)
    assert "a" * 29 + "…" in texts(drawn)


def test_samples_are_marked_and_files_are_whole(tmp_path):
    drawn = plots.bars({"ours": (0.9, 0.1), "theirs": (0.8, 0.0)}, "accuracy", "A sweep")
    drawn.suptitle("Bars")
    plots.save(drawn, tmp_path / "bars.png", sample=True)
    assert drawn.get_suptitle() == "Bars - SAMPLE DATA"
    with Image.open(tmp_path / "bars.png") as image:
        assert image.width == 880
        assert abs(image.height - 110 * (1.6 + 0.7)) <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["bars.png"]


def test_captions_of_long_names_do_not_overlap():
    caption = "STAFFORDSHIRE BULLTERRIER taken for\nclass_number_003_with_name, 100%"
    row = [(np.zeros((3, 4, 4), np.uint8), caption)] * 8
    drawn = plots.images({"vgg16c": row, "resnet18": row}, "The most confident mistakes")
    drawn.canvas.draw()
    boxes = [axis.title.get_window_extent() for axis in drawn.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes[:8]))
    assert boxes[8].y1 < drawn.axes[0].get_window_extent().y0  # nor with the row above
    drawn = plots.images({"": [(row[0][0], "北京烤鸭配荷叶饼 taken for\n狗, 100%")]})
    assert drawn.axes[0].get_title() == "北京烤鸭配荷叶饼\ntaken for\n狗, 100%"


def test_images_costs_and_marked_series():
    pixels = np.zeros((3, 4, 4), np.uint8)
    assert "b taken for a" in texts(plots.images({"worst": [(pixels, "b taken for a")]}, "All"))
    cost = {"flops": 2e9, "train_seconds": 3.0, "test_accuracy": 0.5}
    drawn = plots.trade_off({"vgg": cost, "resnet": cost})
    assert drawn.axes[0].collections[0].get_offsets().tolist() == [[2.0, 50.0]]
    assert texts(drawn).count("vgg") == 1  # one legend for both panels
    for rows in (10, 192, 10_000):
        drawn, axes = plots.figure()
        times = np.datetime64("2014-07-01") + np.arange(rows) * np.timedelta64(30, "m")
        plots.marked(axes[0, 0], times, np.arange(rows), [(2, 4), (6, 7)], "labelled")
        plots.legend_below(drawn)
        assert len(axes[0, 0].patches) == 2
        assert texts(drawn).count("labelled") == 1
