"""common/cache.py: what was built comes back, and nothing damaged is trusted."""

import os
import subprocess
import sys

from common.cache import cached, fingerprint

import numpy as np
import pytest


def build():
    build.calls += 1
    return {"tokens": np.arange(1000, dtype=np.int32), "words": ["a", "ü", "<unk>"]}


@pytest.fixture
def builds():
    build.calls = 0
    return build


def test_cache_gives_back_what_was_built(tmp_path, builds):
    for _ in range(2):
        held = cached(tmp_path, "set", {"tokenizer": "words"}, builds)
        assert held["words"] == ["a", "ü", "<unk>"]
        assert held["tokens"].tolist() == list(range(1000))
    assert builds.calls == 1
    cached(tmp_path, "set", {"tokenizer": "subword"}, builds)
    assert builds.calls == 2
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_damaged_cache_is_built_again(tmp_path, builds, damage):
    cached(tmp_path, "set", {"a": 1}, builds)
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    middle = whole.index(np.arange(500, 510, dtype=np.int32).tobytes())
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flip":
        path.write_bytes(whole[:middle] + b"\xff" + whole[middle + 1 :])
    elif damage == "empty":
        path.write_bytes(b"")
    else:  # a whole cache of other settings under this name
        other = tmp_path / "other"
        cached(other, "set", {"a": 2}, builds)
        os.replace(next(other.glob("*.npz")), path)
        builds.calls -= 1
    held = cached(tmp_path, "set", {"a": 1}, builds)
    assert builds.calls == 2
    assert held["tokens"].tolist() == list(range(1000))


KILLED = """
import os, signal, sys
from pathlib import Path
from common.cache import cached
import numpy as np

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

for number in range(1, 10_000, 61):
    folder = Path(sys.argv[1]) / str(number)
    ended = calls(folder, number)
    for _ in range(2):
        held = cached(folder, "set", {}, build)
        assert held["words"] == ["a", "b"] and len(held["tokens"]) == 5_000
    if ended == 0:
        sys.exit(0 if number > 100 else 1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_killed_at_any_moment_the_cache_is_whole_or_absent(tmp_path, root):
    """Killed at every 61st of the function calls that filling the cache takes."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=True)


def test_folder_that_cannot_be_written_is_no_error(tmp_path, builds):
    blocked = tmp_path / "file"
    blocked.write_text("a file, not a folder")
    assert cached(blocked, "set", {}, builds)["words"][0] == "a"


def test_fingerprint_sees_a_changed_file(tmp_path):
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text("aaa")
    before = fingerprint([tmp_path])
    assert fingerprint([tmp_path]) == before
    (tmp_path / "two.txt").write_text("bbb")
    assert fingerprint([tmp_path]) != before
