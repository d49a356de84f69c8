"""A download is whole and proven or leaves nothing, whatever the server does."""

import hashlib
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import UserError
from common.fetching import fetch

import pytest

BODY = bytes(range(256)) * 2000  # 512,000 bytes: eight blocks
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def served(server):
    server.files = {"a.bin": BODY, "page": b"\n <!DOCTYPE html><title>Sign in</title>"}
    return server


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_whole_file_with_either_checksum(served, tmp_path):
    for name, proof in (("one", {"sha256": SHA256}), ("two", {"md5": MD5.upper()})):
        target = fetch([served.url("a.bin")], tmp_path / "deep" / name, **proof)
        assert target.read_bytes() == BODY
    assert visible(tmp_path / "deep") == ["one", "two"]


def test_a_file_that_is_there_is_kept_unless_its_checksum_is_wrong(served, tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"mine")
    fetch([served.url("a.bin")], target)
    assert target.read_bytes() == b"mine"
    assert not served.requests
    fetch([served.url("a.bin")], target, sha256=SHA256)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("404/a.bin", "404 Not Found"),
        ("403/a.bin", "403 Forbidden"),
        ("503/a.bin", "503 Service Unavailable"),
        ("hangup/a.bin", "it hung up"),
        ("reset/a.bin", "broke off after"),
        ("short/a.bin", "broke off after"),
        ("loop/a.bin", "it redirects without end"),
        ("html/a.bin", "an HTML page instead of the file"),
        ("page", "an HTML page instead of the file"),
    ],
)
@pytest.mark.parametrize("sha256", ["", SHA256])
def test_fault_is_told_and_nothing_bad_is_kept(served, tmp_path, path, reason, sha256):
    target = tmp_path / "a.bin"
    with pytest.raises(UserError) as caught:
        fetch([served.url(path)], target, sha256=sha256)
    is_passing = reason.startswith(("broke off", "it hung", "503"))
    assert len(served.requests) == (3 if is_passing else 11 if "redirects" in reason else 1)
    assert f"{served.url(path)} ({reason}" in str(caught.value)
    assert f"put the file at {target} by hand" in str(caught.value)
    assert set(visible(tmp_path)) <= ({"a.bin.part"} if sha256 else set())
    assert fetch([served.url(path), served.url("a.bin")], target, sha256=sha256) == target
    assert target.read_bytes() == BODY
    assert visible(tmp_path) == ["a.bin"]


def test_wrong_checksum_leaves_nothing(served, tmp_path):
    for proof in ({"sha256": "0" * 64}, {"md5": "0" * 32}):
        with pytest.raises(UserError, match=r"\(wrong (sha256|md5)\)"):
            fetch([served.url("a.bin")], tmp_path / "a.bin", **proof)
        assert visible(tmp_path) == []


def test_no_server_and_no_such_address(tmp_path, server):
    server.server_close()
    urls = [server.url("a.bin"), "http://[bad/a.bin", "nothing"]
    with pytest.raises(UserError, match="no connection"):
        fetch(urls, tmp_path / "a.bin")
    assert visible(tmp_path) == []


def test_server_that_never_answers_is_left(served, tmp_path, monkeypatch):
    monkeypatch.setattr("common.fetching.PATIENCE_SECONDS", 0.8)
    monkeypatch.setattr("common.fetching.READ_SECONDS", 0.2)
    begin = time.monotonic()
    urls = [served.url("silent/a.bin"), served.url("stall/a.bin"), served.url("a.bin")]
    fetch(urls, tmp_path / "a.bin", sha256=SHA256)
    assert time.monotonic() - begin < 5
    with pytest.raises(UserError, match="no answer"):
        fetch(urls[:1], tmp_path / "b.bin")


@pytest.mark.parametrize("proof", ["", SHA256])
def test_broken_download_goes_on_where_it_stopped(served, tmp_path, proof):
    url = served.url("once-reset/a.bin")
    fetch([url], tmp_path / "a.bin", sha256=proof)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    first, second = (asked for _, asked in served.requests)
    assert first == ""
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 0


def test_part_of_an_earlier_run_is_continued(served, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    fetch([served.url("a.bin")], tmp_path / "a.bin", sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert served.requests == [("/a.bin", "bytes=1000-")]


@pytest.mark.parametrize("part", [b"of another file", BODY + b"too long"])
@pytest.mark.parametrize("path", ["a.bin", "norange/a.bin", "untagged/a.bin"])
@pytest.mark.parametrize("proof", ["", SHA256])
def test_part_that_does_not_fit_is_replaced(served, tmp_path, part, path, proof):
    (tmp_path / "a.bin.part").write_bytes(part)
    fetch([served.url(path)], tmp_path / "a.bin", sha256=proof)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_versions_are_never_joined(served, tmp_path, monkeypatch):
    """Without checksum: a file that changes on the server between two attempts."""
    other = BODY[::-1]

    def change(seconds: float) -> None:
        if len(served.requests) == 1:
            served.files["a.bin"] = other

    monkeypatch.setattr("common.fetching.time.sleep", change)
    fetch([served.url("once-reset/a.bin")], tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == other


def test_unknown_checksum_is_one_warning(served, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "common.fetching"):
        fetch([served.url("404/a.bin"), served.url("a.bin")], tmp_path / "a.bin")
        fetch([served.url("a.bin")], tmp_path / "a.bin")
        fetch([served.url("a.bin")], tmp_path / "b.bin", md5=MD5)
    assert [record.getMessage() for record in caplog.records] == [
        "no checksum is known for a.bin: its content is not verified"
    ]


def test_threads_download_once(served, tmp_path):
    def one(_: int) -> bytes:
        return fetch([served.url("a.bin")], tmp_path / "a.bin", sha256=SHA256).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert all(body == BODY for body in pool.map(one, range(8)))
    assert len(served.requests) == 1


def test_processes_download_once_and_a_killed_one_blocks_nobody(served, tmp_path, root):
    code = "import sys, pathlib; from common.fetching import fetch; "
    code += "fetch([sys.argv[1]], pathlib.Path(sys.argv[2]), sha256=sys.argv[3])"

    def start(path: str) -> subprocess.Popen:
        arguments = [served.url(path), str(tmp_path / "a.bin"), SHA256]
        return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=root, env=os.environ)

    killed = start("stall/a.bin")
    while not (tmp_path / "a.bin.part").exists():
        assert killed.poll() is None
        time.sleep(0.02)
    others = [start("a.bin") for _ in range(2)]
    killed.kill()
    killed.wait()
    assert [each.wait(30) for each in others] == [0, 0]
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [path for path, _ in served.requests].count("/a.bin") == 1


def test_bar_only_on_a_terminal(served, tmp_path, capfd):
    fetch([served.url("a.bin")], tmp_path / "a.bin", md5=MD5)
    assert capfd.readouterr() == ("", "")


def test_folder_that_cannot_be_made(served, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--data-dir or DATA_DIR"):
        fetch([served.url("a.bin")], tmp_path / "file" / "a.bin")


def test_full_disk(served, tmp_path, full_disk):
    with pytest.raises(UserError, match="make room"):
        fetch([served.url("a.bin")], tmp_path / "a.bin", sha256=SHA256)
    assert visible(tmp_path) == ["a.bin.part"]  # to be continued when there is room
