"""Checkpoints are data, whole or not there, and restore every random number."""

import os
import pickle
import random

from common import checkpoints
from common.errors import UserError

import numpy as np
import pytest
import torch
from torch import nn


def test_random_numbers_go_on(tmp_path):
    checkpoints.save(tmp_path / "state.pt", {"random": checkpoints.random_state()})
    drawn = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    random.seed(9)
    np.random.seed(9)  # noqa: NPY002
    torch.manual_seed(9)
    checkpoints.set_random_state(checkpoints.load(tmp_path / "state.pt")["random"])
    assert drawn == (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002


class Evil:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(UserError, match="was refused"):
            checkpoints.load(tmp_path / name)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt"):
        checkpoints.load(tmp_path / "last.pt")


def test_a_truncated_checkpoint_is_one_sentence(tmp_path):
    checkpoints.save(tmp_path / "last.pt", {"model": torch.randn(1000)})
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"last\.pt"):
        checkpoints.load(tmp_path / "last.pt")


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint .*last\.pt: train first"):
        checkpoints.load(tmp_path / "last.pt")


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, full_disk):
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"step": 1})
    with pytest.raises(UserError, match=r"could not be written.*intact"):
        checkpoints.save(path, {"weights": torch.randn(10**6)})
    assert checkpoints.load(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_weights_of_another_architecture():
    model = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"x\.pt holds .*bias is missing, other is unknown"):
        checkpoints.load_weights(model, {"weight": torch.ones(2, 2), "other": 1}, "x.pt")
