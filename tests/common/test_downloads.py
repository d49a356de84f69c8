"""obtain: real where it can be had, the sample where it may, and one clear sentence otherwise."""

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from common.downloads import DataSet, RemoteFile, Source, data_root, obtain
from common.errors import UserError

import pytest

REAL = b"hour;value\n0;1,5\n"


def write_sample(folder: Path) -> None:
    (folder / "b").mkdir()
    (folder / "a.csv").write_text("sample")
    (folder / "b" / "c.csv").write_text("sample")


@pytest.fixture
def dataset():
    return DataSet(
        name="Small Set",
        folder="small",
        needs=("a.csv", "b"),
        remote=(),
        help="ask Ann for a.csv and b",
        make_sample=write_sample,
    )


@pytest.fixture
def online(server, dataset, tmp_path):
    """The set on the local server: one plain file and one archive."""
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as package:
        package.writestr("b/c.csv", REAL)
    server.files = {"a.csv": REAL, "b.zip": (tmp_path / "b.zip").read_bytes()}
    plain = RemoteFile("a.csv", (server.url("a.csv"),), sha256=hashlib.sha256(REAL).hexdigest())
    packed = RemoteFile("b.zip", (server.url("404/b.zip"), server.url("b.zip")), unpack=True)
    return replace(dataset, remote=(plain, packed))


def put_real(root: Path) -> None:
    (root / "small" / "b").mkdir(parents=True)
    (root / "small" / "a.csv").write_bytes(REAL)
    (root / "small" / "b" / "c.csv").write_bytes(REAL)


def everything(folder: Path) -> set[str]:
    """All files and folders, hidden ones too, but not lock files."""
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {path for path in paths if not path.endswith(".lock")}


def test_data_root(monkeypatch, tmp_path, root):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "env"))
    assert data_root(str(tmp_path / "flag")) == tmp_path / "flag"
    assert data_root("") == tmp_path / "env"
    monkeypatch.delenv("DATA_DIR")
    assert data_root("") == root / "data"
    monkeypatch.chdir(tmp_path)
    assert data_root("here") == tmp_path / "here"


@pytest.mark.parametrize("mode", ["auto", "real"])
def test_real_data_in_place_is_used_and_nothing_written(dataset, tmp_path, mode, capsys):
    put_real(tmp_path)
    before = everything(tmp_path)
    source = obtain(dataset, mode, str(tmp_path))
    assert (source.kind, source.name, source.folder) == ("real", "Small Set", tmp_path / "small")
    assert {path.name for path in tmp_path.iterdir()} == {"small"}
    assert everything(tmp_path) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("mode", ["auto", "real"])
def test_missing_data_is_downloaded(online, tmp_path, mode):
    root = tmp_path / "root"
    source = obtain(online, mode, str(root))
    assert source.kind == "real"
    assert everything(root) == {"small", "small/a.csv", "small/b", "small/b/c.csv"}
    assert (root / "small" / "b" / "c.csv").read_bytes() == REAL


def test_own_files_are_not_replaced(online, server, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a.csv").write_text("a part of the set")
    obtain(online, "real", str(tmp_path))
    assert (tmp_path / "small" / "a.csv").read_text() == "a part of the set"
    assert ("/a.csv", "") not in server.requests


def test_archive_put_by_hand_needs_no_network(online, server, tmp_path):
    put_real(tmp_path)
    (tmp_path / "small" / "b" / "c.csv").unlink()  # an empty folder counts as absent
    (tmp_path / "small" / "b.zip").write_bytes(server.files["b.zip"])
    obtain(online, "real", str(tmp_path))
    assert (tmp_path / "small" / "b" / "c.csv").read_bytes() == REAL
    assert server.requests == []


def test_real_says_what_is_missing_what_was_tried_and_what_to_do(online, server, tmp_path):
    server.files["b.zip"] = b"PK no archive"
    with pytest.raises(UserError) as caught:
        obtain(online, "real", str(tmp_path))
    message = str(caught.value)
    assert f"Small Set is not complete: b missing in {tmp_path / 'small'}" in message
    assert "b.zip is no whole archive" in message
    assert "ask Ann for a.csv and b" in message
    assert everything(tmp_path / "small") == {"a.csv"}  # the bad archive is not kept
    with pytest.raises(UserError, match=r"404/b.zip \(404 Not Found\)"):
        obtain(
            replace(online, remote=(RemoteFile("b.zip", (server.url("404/b.zip"),)),)),
            "real",
            str(tmp_path),
        )


def test_good_archive_outlives_a_full_disk(online, server, tmp_path, full_disk):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("b/c.csv", bytes(200_000))
    server.files["b.zip"] = (tmp_path / "b.zip").read_bytes()
    with pytest.raises(UserError, match="make room"):
        obtain(online, "real", str(tmp_path))
    assert everything(tmp_path / "small") == {"a.csv", "b.zip"}


def test_real_without_download_or_with_a_wrong_one(dataset, online, tmp_path):
    with pytest.raises(UserError, match=r"a.csv, b missing .* It has no download"):
        obtain(dataset, "real", str(tmp_path))
    with pytest.raises(UserError, match="does not hold it"):
        obtain(replace(online, needs=("z",)), "real", str(tmp_path))


def test_auto_falls_back_with_one_banner(online, server, tmp_path, capsys):
    server.server_close()  # no network
    begin = time.monotonic()
    source = obtain(online, "auto", str(tmp_path))
    assert time.monotonic() - begin < 5
    assert (source.kind, source.folder) == ("sample", tmp_path / "sample" / "small")
    out = capsys.readouterr().out
    words = " ".join(out.replace("|", " ").split())  # the banner's lines break anywhere
    assert words.count("GENERATED SAMPLE DATA") == 1
    assert "no connection" in words
    assert "ask Ann" in words
    assert len({len(line) for line in out.splitlines()}) == 1
    assert "no connection" in source.note
    assert not everything(tmp_path / "small")


def test_only_the_first_process_of_a_job_prints(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert obtain(dataset, "auto", str(tmp_path)).kind == "sample"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["sample", "real"])
def test_the_others_of_a_job_take_what_the_first_took(online, tmp_path, monkeypatch, kind):
    """Whatever the network does meanwhile: here it would give them the real set."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    taken = Source("set", kind, tmp_path)
    monkeypatch.setattr("common.distributed.share", lambda _: (taken, None))
    assert obtain(online, "auto", str(tmp_path)).kind == kind


def test_the_others_of_a_job_end_with_the_firsts_error(online, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    shared = []
    monkeypatch.setattr("common.distributed.share", lambda value: shared.append(value) or value)
    with pytest.raises(UserError, match="does not hold it"):
        obtain(replace(online, needs=("z",)), "real", str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("common.distributed.share", lambda _: shared[0])
    with pytest.raises(UserError, match="does not hold it"):
        obtain(online, "real", str(tmp_path))


def test_sample_never_looks_for_real_data(online, server, tmp_path, capsys):
    put_real(tmp_path)
    source = obtain(online, "sample", str(tmp_path))
    assert source.kind == "sample"
    assert (source.folder / "a.csv").read_text() == "sample"
    assert server.requests == []
    assert capsys.readouterr().out == ""


def test_sample_is_made_once_and_again_when_its_version_or_a_file_changes(dataset, tmp_path):
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        write_sample(folder)
        (folder / f"only-{len(calls)}").touch()

    dataset = replace(dataset, make_sample=make)
    for _ in range(2):
        folder = obtain(dataset, "sample", str(tmp_path)).folder
    assert len(calls) == 1
    obtain(replace(dataset, sample_version=2), "sample", str(tmp_path))
    assert len(calls) == 2
    assert not (folder / "only-1").exists()
    (folder / "a.csv").unlink()
    obtain(replace(dataset, sample_version=2), "sample", str(tmp_path))
    assert len(calls) == 3
    assert {path.split("/")[1] for path in everything(tmp_path) if "/" in path} == {"small"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_sample_leaves_nothing(dataset, tmp_path, error):
    def interrupted(folder: Path) -> None:
        (folder / "a.csv").write_text("half")
        raise error

    expected = UserError if error is OSError else error
    with pytest.raises(expected):
        obtain(replace(dataset, make_sample=interrupted), "sample", str(tmp_path))
    assert everything(tmp_path) == {"sample"}


def test_killed_sample_is_made_anew(dataset, tmp_path, root):
    code = """
import os, signal, sys
from common.downloads import DataSet, obtain
def make(folder):
    (folder / "a.csv").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
obtain(DataSet("Small Set", "small", ("a.csv", "b"), (), "", make), "sample", sys.argv[1])
"""
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
    assert process.returncode != 0
    assert not (tmp_path / "sample" / "small").exists()
    source = obtain(dataset, "sample", str(tmp_path))
    assert (source.folder / "a.csv").read_text() == "sample"
    assert {path.split("/")[1] for path in everything(tmp_path) if "/" in path} == {"small"}


def test_two_first_starts_at_once(online, server, tmp_path):
    calls = []

    def slow(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.05)
        write_sample(folder)

    online = replace(online, make_sample=slow)
    for mode in ("sample", "real"):
        with ThreadPoolExecutor(4) as pool:
            sources = list(pool.map(lambda _, mode=mode: obtain(online, mode, tmp_path), range(4)))
        assert len(set(sources)) == 1
    assert len(calls) == 1
    assert [path for path, _ in server.requests].count("/b.zip") == 1


def test_checksum(dataset, tmp_path):
    put_real(tmp_path)

    def checksum(*needs: str) -> str:
        return obtain(replace(dataset, needs=needs), "real", str(tmp_path)).checksum

    assert checksum("a.csv") == hashlib.sha256(REAL).hexdigest()[:16]
    before = checksum("a.csv", "b")
    assert before == checksum("a.csv", "b")
    (tmp_path / "small" / "b" / "d.csv").touch()
    assert checksum("a.csv", "b") != before


@pytest.mark.parametrize("mode", ["auto", "real", "sample"])
def test_data_root_that_cannot_be_written(online, tmp_path, mode):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--data-dir or DATA_DIR"):
        obtain(online, mode, str(tmp_path / "file" / "data"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_data_root(dataset, tmp_path):
    put_real(tmp_path)
    (tmp_path / "small").chmod(0o555)
    tmp_path.chmod(0o555)
    try:
        assert obtain(dataset, "real", str(tmp_path)).kind == "real"
        with pytest.raises(UserError, match="--data-dir or DATA_DIR"):
            obtain(dataset, "sample", str(tmp_path))
    finally:
        tmp_path.chmod(0o755)
        (tmp_path / "small").chmod(0o755)
