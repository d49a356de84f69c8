"""Checkpoints and caches are data, whole or absent; foreign weights are read or refused by name."""

import hashlib
import linecache
import os
import pickle
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common import checkpoints, metrics
from common.settings import UserError


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


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip", b"review,label\n"]
)
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt is not a whole file of tensors"):
        checkpoints.load(tmp_path / "checkpoint.pt")


def test_a_truncated_checkpoint_is_one_sentence(tmp_path):
    checkpoints.save(tmp_path / "checkpoint.pt", {"model": torch.randn(1000)})
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"checkpoint\.pt"):
        checkpoints.load(tmp_path / "checkpoint.pt")


def test_no_file(tmp_path):
    with pytest.raises(
        UserError, match=r"no checkpoint .*checkpoint\.pt: name another, or train first"
    ):
        checkpoints.load(tmp_path / "checkpoint.pt")


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, full_disk):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"step": 1})
    with pytest.raises(UserError, match=r"could not be written.*intact"):
        checkpoints.save(path, {"weights": torch.randn(10**6)})
    assert checkpoints.load(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_weights_of_another_architecture():
    model = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"x\.pt holds .*bias is missing, other is unknown"):
        checkpoints.load_weights(model, {"weight": torch.ones(2, 2), "other": 1}, "x.pt")


def before(prefix, weights):
    return {f"{prefix}{name}": value for name, value in weights.items()}


WRAPPED = {
    "plain": lambda weights: weights,
    "wrapped": lambda weights: {"epoch": 3, "model_state_dict": weights},
    "lightning": lambda weights: {"state_dict": before("model.", weights)},
    "parallel": lambda weights: before("module.", weights),
    "compiled": lambda weights: {"model": before("module._orig_mod.", weights)},
    "averaged": lambda weights: {"n_averaged": torch.ones(1), **before("module.", weights)},
    "with a metric": lambda weights: {
        "optimizer": {"state": {0: {"momentum": torch.ones(1)}}},
        "state_dict": {"criterion.weight": torch.ones(1), **before("net.", weights)},
    },
    "backbone": lambda weights: {"student": before("module.backbone.", weights)},
    "ema": lambda weights: {"ema": {"module": weights}, "params": {}},
    "listed": lambda weights: [weights],
    "own": lambda weights: {"project": "x", "settings": {}, "weights": [weights]},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_of_other_programs_are_read(tmp_path, capsys, wrap):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    state = wrap(other.state_dict())
    torch.save(state, tmp_path / "w.pt")
    checkpoints.load_foreign(model, tmp_path / "w.pt")
    assert torch.equal(model.weight, other.weight)
    note = capsys.readouterr().err
    for beside in ("n_averaged", "criterion.weight"):
        assert (beside in note) == (beside in str(state))
    assert "optimizer" not in note
    # Weights of a deeper network of the same parts are another's.
    deep = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    torch.save(wrap({**deep.state_dict(), "0.1.bias": torch.ones(2)}), tmp_path / "deep.pt")
    with pytest.raises(UserError, match=r"another architecture: 0\.1\.bias is unknown"):
        checkpoints.load_foreign(deep, tmp_path / "deep.pt")


def test_weights_of_other_classes_keep_the_new_head(tmp_path, capsys):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 5))
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1000))
    torch.save(other.state_dict(), tmp_path / "w.pt")
    head = model[1].weight.clone()
    with pytest.raises(UserError, match=r"1\.weight has shape"):
        checkpoints.load_foreign(model, tmp_path / "w.pt")
    checkpoints.load_foreign(model, tmp_path / "w.pt", head="1")
    assert torch.equal(model[0].weight, other[0].weight)
    assert torch.equal(model[1].weight, head)
    assert "is for other classes" in capsys.readouterr().err
    torch.save({"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2)}, tmp_path / "body.pt")
    checkpoints.load_foreign(model, tmp_path / "body.pt", head="1")
    assert torch.equal(model[0].weight, torch.ones(2, 2))
    assert torch.equal(model[1].weight, head)
    assert "without a head: 1.weight, 1.bias start from random" in capsys.readouterr().err


def test_counters_of_batches_may_be_absent(tmp_path):
    state = {name: value for name, value in nn.BatchNorm1d(2).state_dict().items() if value.ndim}
    torch.save(state, tmp_path / "w.pt")
    checkpoints.load_foreign(nn.BatchNorm1d(2), tmp_path / "w.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, [], [{}, {}], {"model": "resnet18"}, 7])
def test_a_file_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no weights of a single network"):
        checkpoints.load_foreign(nn.Linear(2, 2), tmp_path / "w.pt")


def test_odd_names_of_weights_are_another_architecture(tmp_path):
    torch.save({0: torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="weight is missing, bias is missing, 0 is unknown"):
        checkpoints.load_foreign(nn.Linear(2, 2), tmp_path / "w.pt")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="a device file is needed")
def test_a_device_is_not_replaced_by_a_file():
    with pytest.raises(UserError, match="/dev/null is not a regular file"):
        checkpoints.write_text(Path("/dev/null"), "text")


class Builder:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"tokens": np.arange(1000, dtype=np.int32), "words": ["a", "\u00fc", "<unk>"]}


def test_a_cache_gives_back_what_was_built(tmp_path):
    build = Builder()
    for _ in range(2):
        arrays = checkpoints.cached(tmp_path, "set", {"tokenizer": "words"}, build)
        assert arrays["words"] == ["a", "\u00fc", "<unk>"]
        assert arrays["tokens"].tolist() == list(range(1000))
    assert build.calls == 1
    checkpoints.cached(tmp_path, "set", {"tokenizer": "subword"}, build)
    checkpoints.cached(tmp_path, "set", {"tokenizer": "words"}, build, [metrics])
    assert build.calls == 3


MAKER = """
CONSTANT = {}

def build(form="function"):
    calls.append(form)
    return {{"words": ["a"]}}
"""


def test_a_cache_is_built_again_when_the_code_that_makes_it_changes(tmp_path, monkeypatch):
    import importlib.util

    file, by_module, calls = tmp_path / "maker.py", Builder(), []
    for constant in (1, 2, 2):
        file.write_text(MAKER.format(constant))
        linecache.clearcache()
        spec = importlib.util.spec_from_file_location("maker", file)
        maker = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(maker)
        monkeypatch.setitem(sys.modules, "maker", maker)
        maker.calls = calls
        checkpoints.cached(tmp_path, "by module", {}, by_module, [maker])
        checkpoints.cached(tmp_path, "by function", {}, maker.build)
        checkpoints.cached(tmp_path, "by partial", {}, partial(maker.build, "partial"))
    assert by_module.calls == 2
    assert calls == ["function", "partial"] * 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_cache_is_built_again(tmp_path, damage):
    build = Builder()
    checkpoints.cached(tmp_path, "set", {}, build)
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    middle = whole.index(np.arange(500, 510, dtype=np.int32).tobytes())
    damaged = {
        "cut": whole[: len(whole) // 2],
        "flip": whole[:middle] + b"\xff" + whole[middle + 1 :],
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    arrays = checkpoints.cached(tmp_path, "set", {}, build)
    assert build.calls == 2
    assert arrays["tokens"].tolist() == list(range(1000))


def test_a_cache_folder_that_cannot_be_written_is_a_note(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("a file, not a folder")
    assert checkpoints.cached(blocked, "set", {}, Builder())["words"][0] == "a"
    assert "note: the next run prepares its data again" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from common.checkpoints import cached

def build():
    return {"tokens": np.arange(5_000), "words": ["a", "b"]}

def calls(folder, last):
    "Fill the cache in a child that kills itself at call number `last`; how it ended."
    if (child := os.fork()) == 0:
        left = last
        def count(*_):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(count)
        cached(folder, "set", {}, build)
        sys.setprofile(None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for number in range(1, 40_000, 331):
    folder = Path(sys.argv[1]) / str(number)
    ended = calls(folder, number)
    for _ in range(2):
        arrays = cached(folder, "set", {}, build)
        assert arrays["words"] == ["a", "b"] and len(arrays["tokens"]) == 5_000
    if ended == 0:
        sys.exit(0 if number > 1000 else 1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_killed_at_any_moment_a_cache_is_whole_or_absent(tmp_path, root):
    """Killed at every 331st of the function calls that filling the cache takes."""
    file, environment = tmp_path / "killed.py", {**os.environ, "PYTHONPATH": str(root)}
    file.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, file, tmp_path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_content_digest_is_of_the_content(tmp_path):
    folder = tmp_path / "set"
    for name, text in (("b/1.txt", "one"), ("a/2.txt", "two")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)

    def digest():
        return checkpoints.content_digest(folder.rglob("*.txt"), folder, tmp_path / "cache")

    expected = hashlib.sha256()
    for name in ("a/2.txt", "b/1.txt"):
        content = hashlib.sha256((folder / name).read_bytes()).digest()
        expected.update(name.encode() + b"\0" + content)
    first = digest()
    assert first == digest() == expected.hexdigest()
    (folder / "b/1.txt").touch()  # another time, the same content
    assert digest() == first
    (folder / "b/1.txt").write_text("ONE")
    assert digest() != first
