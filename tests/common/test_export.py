"""ONNX: the file gives what the model gives, at every size and length, or is not kept."""

import json
import sys

import pytest
import torch
from torch import nn

from common import export
from common.settings import UserError


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime", reason="optional: python -m pip install onnxruntime")
    pytest.importorskip("onnxscript", reason="optional: python -m pip install onnxscript")
    return pytest.importorskip("onnx", reason="optional: python -m pip install onnx")


class LastState(nn.Module):
    """A bidirectional LSTM over words, read at the last one of each text."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.lstm = nn.LSTM(4, 3, bidirectional=True, batch_first=True)

    def forward(self, ids, lengths):
        states, _ = self.lstm(self.embedding(ids))  # (batch, tokens, 6)
        last = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])
        return states.gather(1, last)[:, 0]  # (batch, 6)


def texts(rows, tokens):
    torch.manual_seed(rows)
    return torch.randint(20, (rows, tokens)), torch.randint(1, tokens + 1, (rows,))


def test_lengths_and_batches_stay_free(onnx, tmp_path):
    batches = [texts(3, 7), texts(1, 12), texts(5, 2)]
    path = tmp_path / "model.onnx"
    classes = {"classes": ["no", "yes"], "mean": torch.tensor([0.5])}
    assert export.export([LastState()], batches, path, preprocessing=classes) < 1e-5
    model = onnx.load(path)
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert metadata["preprocessing"] == {"classes": ["no", "yes"], "mean": [0.5]}
    assert [each.name for each in model.graph.input] == ["ids", "lengths"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_several_networks_are_averaged(onnx, tmp_path):
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten()) for _ in "ab"]
    batches = [(torch.randn(rows, 3, 5, 5),) for rows in (2, 1, 4)]
    assert export.export(networks, batches, tmp_path / "model.onnx") < 1e-5


class Frozen(nn.Module):
    """What an exporter may do: the length of the first batch is a constant."""

    def forward(self, x):
        return x * int(x.shape[1])


def test_a_file_that_gives_something_else_is_not_kept(onnx, tmp_path, monkeypatch):
    batches = [(torch.ones(2, 3),), (torch.ones(2, 5),)]
    own = torch.onnx.export

    def freeze(network, first, **settings):
        return own(network, first, **{**settings, "dynamic_shapes": None})

    monkeypatch.setattr(torch.onnx, "export", freeze)
    with pytest.raises(UserError, match="is not kept"):
        export.export([Frozen()], batches, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="pip install onnx"):
        export.export([Frozen()], [(torch.ones(1, 1),)], tmp_path / "model.onnx")
