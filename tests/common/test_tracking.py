"""--track tensorboard: what was written is read back; a resumed run goes on with its track."""

import sys

import pytest

from common import tracking
from common.settings import UserError


def rows(first, last):
    return [{"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e} for e in range(first, last + 1)]


def scalars(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events, [(event.step, event.value) for event in events.Scalars(name)]


def test_a_resumed_run_goes_on_with_its_track(tmp_path):
    pytest.importorskip("tensorboard")
    tracker = tracking.Tracker(tmp_path, 0)
    for row in rows(1, 3):  # killed in the fourth epoch; the third had not been saved
        tracker.log(row)
    tracker = tracking.Tracker(tmp_path, 2)
    for row in rows(3, 4):
        tracker.log(row)
    _, curve = scalars(tmp_path, "val_loss")
    assert dict(curve) == pytest.approx({1: 2.0, 2: 1.0, 3: 2 / 3, 4: 0.5})


def test_settings_metrics_and_plots(tmp_path):
    pytest.importorskip("tensorboard")
    from PIL import Image

    Image.new("RGB", (8, 4), "red").save(tmp_path / "curves.png")
    results = {
        "command": "python toy/train.py --lr 0.1",
        "settings": {"lr": 0.1, "batch_size": 4},
        "dataset": {"name": "set"},
        "metrics": {"vgg": {"test_accuracy": 0.75}, "train_seconds": 3.0},
    }
    tracking.finish(tmp_path, results)
    events, values = scalars(tmp_path, "result/vgg/test_accuracy")
    assert values == [(0, 0.75)]
    (image,) = events.Images("curves")
    assert (image.width, image.height) == (8, 4)
    (text,) = events.Tensors("settings/text_summary")
    assert b"--batch-size 4" in text.tensor_proto.string_val[0]


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        tracking.require()
