"""Real data where it can be had, whole and proven; else the sample, or one sentence."""

import hashlib
import io
import os
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from common import downloads
from common.downloads import DataSet, RemoteFile, Source, cache_folder, data_root, obtain
from common.settings import UserError

REAL = b"hour;value\n0;1,5\n"
BODY = bytes(range(256)) * 2000  # 512,000 bytes: eight blocks
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
FILES = {"a.txt": b"one", "b/c.txt": b"two" * 1000, "b/d/e.txt": b""}


def write_sample(folder: Path) -> None:
    (folder / "b").mkdir()
    (folder / "a.csv").write_text("sample")
    (folder / "b" / "c.csv").write_text("sample")


SMALL = DataSet("Small Set", "small", ("a.csv", "b"), (), "ask Ann for a.csv and b", write_sample)


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, body in files.items():
            package.writestr(name, body)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


@pytest.fixture
def online(server, tmp_path):
    """The small set on the local server: one plain file and one archive."""
    archive = make_zip(tmp_path / "b.zip", {"b/c.csv": REAL})
    server.files = {"a.csv": REAL, "b.zip": archive.read_bytes()}
    archive.unlink()
    plain = RemoteFile("a.csv", (server.url("a.csv"),), sha256=hashlib.sha256(REAL).hexdigest())
    packed = RemoteFile("b.zip", (server.url("404/b.zip"), server.url("b.zip")), unpack=True)
    return replace(SMALL, remote=(plain, packed))


@pytest.fixture
def served(server):
    server.files = {"a.bin": BODY}
    return server


def fetch(urls: list[str], target: Path, **proof: str) -> Path:
    """A set of one file, downloaded."""
    remote = RemoteFile(target.name, tuple(urls), **proof)
    dataset = DataSet("One", target.parent.name, (target.name,), (remote,))
    obtain(dataset, "real", target.parent.parent)
    return target


def refusal(action: Callable, *arguments: object, **settings: object) -> str:
    """What a user is told; nothing where the action goes well."""
    try:
        action(*arguments, **settings)
    except UserError as error:
        return str(error)
    return ""


def put_real(root: Path) -> None:
    (root / "small" / "b").mkdir(parents=True)
    (root / "small" / "a.csv").write_bytes(REAL)
    (root / "small" / "b" / "c.csv").write_bytes(REAL)


def contents(folder: Path) -> dict[str, bytes]:
    """All files, hidden ones too, but locks and the cache."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: body for name, body in names.items() if not name.startswith("cache/")}


# ----- folders


def test_data_root(monkeypatch, tmp_path, root):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "env"))
    assert data_root(tmp_path / "flag") == tmp_path / "flag"
    assert data_root() == tmp_path / "env"
    monkeypatch.delenv("DATA_DIR")
    assert data_root() == root / "data"
    monkeypatch.chdir(tmp_path)
    assert data_root(Path("here")) == tmp_path / "here"


@pytest.fixture(params=["a file in the way", "not writable"])
def read_only(request, tmp_path, monkeypatch):
    """A data root in which nothing can be made, and a user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    data = tmp_path / "data"
    put_real(data)
    if request.param == "a file in the way":
        for name in ("cache", "sample"):
            (data / name).touch()
    else:
        access = os.access
        monkeypatch.setattr(os, "access", lambda p, m: data not in Path(p).parents and access(p, m))
    return data


@pytest.mark.skipif(sys.platform != "linux", reason="the user's cache folder is set for Linux")
def test_read_only_data_is_used_and_the_rest_goes_to_the_users_cache(read_only, tmp_path):
    assert tmp_path / "user" in cache_folder(read_only).parents
    assert obtain(SMALL, "real", read_only).kind == "real"
    assert tmp_path / "user" in obtain(SMALL, "sample", read_only).folder.parents


# ----- one file


def test_whole_file_with_either_checksum_or_none(served, tmp_path, capfd):
    urls = [served.url("404/a.bin"), served.url("a.bin")]
    for name, proof in {"one": {"sha256": SHA256}, "two": {"md5": MD5}, "three": {}}.items():
        target = fetch(urls, tmp_path / name / "a", **proof)
        assert target.read_bytes() == BODY
        assert set(contents(target.parent)) == {"a"}
    printed = capfd.readouterr()
    assert printed.err.count("no checksum is known for a") == 1
    assert "%|" not in printed.err  # a bar only on a terminal


@pytest.mark.parametrize(
    ("path", "reason", "asked"),
    [
        ("404/a.bin", "404 Not Found", 1),
        ("503/a.bin", "503 Service Unavailable", 4),
        ("hangup/a.bin", "it broke off", 4),
        ("reset/a.bin", "it broke off", 0),
        ("short/a.bin", "it broke off", 0),
        ("loop/a.bin", "Exceeded 30 redirects", 0),
        ("html/a.bin", "an HTML page instead of the file", 1),
    ],
)
@pytest.mark.parametrize("sha256", ["", SHA256])
def test_fault_is_told_and_nothing_bad_is_kept(served, tmp_path, path, reason, asked, sha256):
    target = tmp_path / "set" / "a.bin"
    told = refusal(fetch, [served.url(path)], target, sha256=sha256)
    if told:
        assert f"{served.url(path)} ({reason}" in told
        assert f"put the file at {target} by hand" in told
        assert not target.exists()
    else:  # half a file each time, and the rest of it asked for: whole in the end
        assert path.startswith(("reset", "short"))
    assert asked in (0, len(served.requests))
    assert fetch([served.url(path), served.url("a.bin")], target, sha256=sha256) == target
    assert target.read_bytes() == BODY
    assert set(contents(tmp_path)) == {"set/a.bin"}


def test_wrong_checksum_leaves_nothing(served, tmp_path):
    for proof in ({"sha256": "0" * 64}, {"md5": "0" * 32}):
        with pytest.raises(UserError, match=r"\(wrong checksum\)"):
            fetch([served.url("a.bin")], tmp_path / "set" / "a.bin", **proof)
        assert contents(tmp_path) == {}
    assert len(served.requests) == 2


def test_no_server_and_no_such_address(tmp_path, server):
    server.server_close()
    urls = [server.url("a.bin"), "http://[bad/a.bin", "nothing"]
    with pytest.raises(UserError, match=r"no connection.*bad/a\.bin.*nothing"):
        fetch(urls, tmp_path / "set" / "a.bin")


def test_server_that_never_answers_is_left(served, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", (0.4, 0.2))
    begin = time.monotonic()
    urls = [served.url("silent/a.bin"), served.url("stall/a.bin"), served.url("a.bin")]
    fetch(urls, tmp_path / "set" / "a.bin", sha256=SHA256)
    assert time.monotonic() - begin < 10
    with pytest.raises(UserError, match="no answer"):
        fetch(urls[:1], tmp_path / "other" / "a.bin")


@pytest.mark.parametrize("sha256", ["", SHA256])
def test_broken_download_goes_on_where_it_stopped(served, tmp_path, sha256):
    target = fetch([served.url("once-reset/a.bin")], tmp_path / "set" / "a.bin", sha256=sha256)
    assert target.read_bytes() == BODY
    first, second = (asked for _, asked in served.requests)
    assert first == ""
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 0


def test_part_of_an_earlier_start_is_continued(served, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin.part").write_bytes(BODY[:1000])
    target = fetch([served.url("a.bin")], tmp_path / "set" / "a.bin", sha256=SHA256)
    assert target.read_bytes() == BODY
    assert served.requests == [("/a.bin", "bytes=1000-")]


@pytest.mark.parametrize("part", [b"of another file", BODY + b"too long"])
@pytest.mark.parametrize("path", ["a.bin", "norange/a.bin"])
@pytest.mark.parametrize("sha256", ["", SHA256])
def test_part_that_does_not_fit_is_replaced(served, tmp_path, part, path, sha256):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin.part").write_bytes(part)
    target = fetch([served.url(path)], tmp_path / "set" / "a.bin", sha256=sha256)
    assert target.read_bytes() == BODY


def test_a_killed_download_blocks_nobody_and_is_continued(served, tmp_path, root):
    code = (
        "import sys; from pathlib import Path; from common.downloads import *\n"
        "remote = RemoteFile('a.bin', (sys.argv[1],), sha256=sys.argv[3])\n"
        "obtain(DataSet('One', 'set', ('a.bin',), (remote,)), 'real', Path(sys.argv[2]))"
    )
    words = [sys.executable, "-c", code, served.url("stall/a.bin"), str(tmp_path), SHA256]
    killed = subprocess.Popen(words, cwd=root)
    part = tmp_path / "set" / "a.bin.part"
    while not part.exists() or part.stat().st_size == 0:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    target = fetch([served.url("a.bin")], tmp_path / "set" / "a.bin", sha256=SHA256)
    assert target.read_bytes() == BODY
    (asked,) = (asked for path, asked in served.requests if path == "/a.bin")
    assert asked.startswith("bytes=")


def test_full_disk(served, tmp_path, full_disk):
    with pytest.raises(UserError, match="make room"):
        fetch([served.url("a.bin")], tmp_path / "set" / "a.bin", sha256=SHA256)
    assert set(contents(tmp_path)) == {"set/a.bin.part"}  # to be continued when there is room


# ----- archives


def unpack(archive: Path, root: Path, inside: str = "", **known: object) -> dict[str, bytes]:
    """An archive put by hand into the folder of a set, unpacked; the files of the set."""
    (root / "set").mkdir(parents=True, exist_ok=True)
    (root / "set" / "archive").write_bytes(archive.read_bytes())
    remote = RemoteFile("archive", (), unpack=True, inside=inside)
    obtain(DataSet("Set", "set", ("a.txt",), (remote,), **known), "real", root)
    return contents(root / "set")


@pytest.mark.parametrize("prefix", ["", "./", "set/"])
@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz"])
def test_unpacks_and_keeps_what_is_there(tmp_path, kind, prefix):
    files = {prefix + name: body for name, body in FILES.items()}
    archive = tmp_path / "archive"
    make_zip(archive, files) if kind == "zip" else make_tar(archive, files, kind)
    (tmp_path / "data" / "set" / "b").mkdir(parents=True)
    (tmp_path / "data" / "set" / "b" / "c.txt").write_bytes(b"mine")
    assert unpack(archive, tmp_path / "data") == {**FILES, "b/c.txt": b"mine"}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_one_folder_of_an_archive(tmp_path, make):
    files = {f"repository-1f/wanted/{name}": body for name, body in FILES.items()}
    archive = make(tmp_path / "archive", {**files, "repository-1f/other/large": bytes(1000)})
    assert unpack(archive, tmp_path / "data", inside="*/wanted") == FILES


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "b/../../evil", "/tmp/evil", "..\\evil", "C:\\evil"])
def test_no_name_leads_outside(tmp_path, make, name):
    """Refused, or unpacked inside under a name without its root and its steps up."""
    archive = make(tmp_path / "archive", {**FILES, name: b"evil"})
    if told := refusal(unpack, archive, tmp_path / "data"):
        assert "cannot be unpacked" in told
        assert set(contents(tmp_path)) == {"archive", "data/set/archive"}
    assert not Path("/tmp/evil").exists()
    inside = set((tmp_path / "data" / "set").rglob("*evil"))
    assert set(tmp_path.rglob("*evil")) == inside


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices(tmp_path, kind):
    with tarfile.open(tmp_path / "archive", "w") as tar:
        info = tarfile.TarInfo("special")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(tmp_path / "archive", tmp_path / "data")
    assert set(contents(tmp_path / "data")) == {"set/archive"}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_damage_is_one_sentence_and_leaves_nothing(tmp_path, make):
    """Cut at any place: an error, or (where the rest is padding) the files."""
    generator = random.Random(0)
    files = {"a.txt": generator.randbytes(3000), "b.bin": generator.randbytes(3000)}
    archive = make(tmp_path / "archive", files)
    whole = archive.read_bytes()
    for place in [0, *(generator.randrange(len(whole)) for _ in range(30))]:
        archive.write_bytes(whole[:place])
        root = tmp_path / str(place)
        if told := refusal(unpack, archive, root):
            assert "get it again" in told
            assert set(contents(root)) == {"set/archive"}
        else:
            assert contents(root / "set") == files


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "set" / ".archive.unpacked" / "half").mkdir(parents=True)
    assert unpack(make_zip(tmp_path / "archive", FILES), tmp_path) == FILES
    assert not (tmp_path / "set" / ".archive.unpacked").exists()


def test_a_published_set_is_known_by_its_content(tmp_path):
    """The digest of an archive without fixed bytes: paths and contents, in sorted order."""
    digest = hashlib.sha256(b"a.txt\0" + hashlib.sha256(b"one").digest()).hexdigest()
    archive = make_zip(tmp_path / "archive", FILES)
    unpack(archive, tmp_path / "one", files=1, digest=digest)
    with pytest.raises(UserError, match="does not hold the published files"):
        unpack(archive, tmp_path / "two", files=1, digest="0" * 64)
    known = DataSet("Set", "set", ("a.txt", "b"), files=3, digest=digest)
    source = obtain(known, "real", tmp_path / "one")
    assert source.note == "3 files, which are not the 3 published ones"
    known = replace(known, needs=("a.txt",), files=1)
    assert obtain(known, "real", tmp_path / "one").note == ""
    known = replace(known, needs=("b",), files=30_000)
    assert "2 files, which are not the 30,000" in obtain(known, "real", tmp_path / "one").note


# ----- obtain


@pytest.mark.parametrize("mode", ["auto", "real"])
def test_real_data_in_place_is_used(tmp_path, mode, capsys):
    put_real(tmp_path)
    before = contents(tmp_path)
    source = obtain(SMALL, mode, tmp_path)
    assert (source.kind, source.name, source.folder) == ("real", "Small Set", tmp_path / "small")
    assert contents(tmp_path) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("mode", ["auto", "real"])
def test_missing_data_is_downloaded(online, tmp_path, mode):
    assert obtain(online, mode, tmp_path).kind == "real"
    assert contents(tmp_path) == {"small/a.csv": REAL, "small/b/c.csv": REAL}


def test_own_files_are_not_replaced(online, server, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a.csv").write_text("a part of the set")
    obtain(online, "real", tmp_path)
    assert (tmp_path / "small" / "a.csv").read_text() == "a part of the set"
    assert ("/a.csv", "") not in server.requests


def test_archive_put_by_hand_needs_no_network(online, server, tmp_path):
    put_real(tmp_path)
    (tmp_path / "small" / "b" / "c.csv").unlink()  # an empty folder counts as absent
    (tmp_path / "small" / "b.zip").write_bytes(server.files["b.zip"])
    obtain(online, "real", tmp_path)
    assert (tmp_path / "small" / "b" / "c.csv").read_bytes() == REAL
    assert server.requests == []


def test_real_says_what_is_missing_what_was_tried_and_what_to_do(online, server, tmp_path):
    server.files["b.zip"] = b"PK no archive"
    with pytest.raises(UserError) as caught:
        obtain(online, "real", tmp_path)
    message = str(caught.value)
    assert f"Small Set is not complete: b missing in {tmp_path / 'small'}" in message
    assert "b.zip cannot be unpacked" in message
    assert "ask Ann for a.csv and b" in message
    assert set(contents(tmp_path)) == {"small/a.csv"}  # the bad archive is not kept


def test_real_without_download_or_with_a_wrong_one(online, tmp_path):
    with pytest.raises(UserError, match=r"a.csv, b missing .* It has no download"):
        obtain(SMALL, "real", tmp_path)
    with pytest.raises(UserError, match="does not hold it"):
        obtain(replace(online, needs=("z",)), "real", tmp_path)


def test_auto_falls_back_with_one_banner(online, server, tmp_path, capsys):
    server.server_close()  # no network
    begin = time.monotonic()
    source = obtain(online, "auto", tmp_path)
    assert time.monotonic() - begin < 5
    assert (source.kind, source.folder) == ("sample", tmp_path / "sample" / "small")
    words = " ".join(capsys.readouterr().out.split())  # its lines break anywhere
    assert words.count("GENERATED SAMPLE DATA") == 1
    assert "no connection" in words
    assert "ask Ann" in words
    assert "no connection" in source.note


def test_only_the_first_process_of_a_job_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert obtain(SMALL, "auto", tmp_path).kind == "sample"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["sample", "real"])
def test_the_others_of_a_job_take_what_the_first_took(online, tmp_path, monkeypatch, kind):
    """Whatever the network does meanwhile: here it would give them the real set."""
    monkeypatch.setenv("RANK", "1")
    taken = Source("set", kind, tmp_path)
    monkeypatch.setattr(downloads, "in_main", lambda _: taken)
    assert obtain(online, "auto", tmp_path).kind == kind


def test_sample_never_looks_for_real_data(online, server, tmp_path):
    put_real(tmp_path)
    source = obtain(online, "sample", tmp_path)
    assert source.kind == "sample"
    assert (source.folder / "a.csv").read_text() == "sample"
    assert server.requests == []


def test_sample_is_made_once_and_again_when_its_code_or_a_file_changes(tmp_path):
    module = tmp_path / "drawing.py"
    calls = []

    def make(version: int) -> DataSet:
        code = f"def make(folder):\n    calls.append({version})\n    write_sample(folder)\n"
        module.write_text(code)
        names = {"calls": calls, "write_sample": write_sample}
        exec(compile(code, str(module), "exec"), names)
        return replace(SMALL, make_sample=names["make"])

    for version in (1, 1, 2):
        folder = obtain(make(version), "sample", tmp_path).folder
    assert calls == [1, 2]
    (folder / "a.csv").unlink()
    obtain(make(2), "sample", tmp_path)
    assert calls == [1, 2, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_sample_leaves_nothing(tmp_path, error):
    def interrupted(folder: Path) -> None:
        (folder / "a.csv").write_text("half")
        raise error

    with pytest.raises(UserError if error is OSError else error):
        obtain(replace(SMALL, make_sample=interrupted), "sample", tmp_path)
    assert contents(tmp_path) == {}


def test_killed_sample_is_made_again(tmp_path, root):
    code = """
import os, signal, sys
from pathlib import Path
from common.downloads import DataSet, obtain
def make(folder):
    (folder / "a.csv").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
obtain(DataSet("Small Set", "small", ("a.csv", "b"), make_sample=make), "sample", Path(sys.argv[1]))
"""
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
    assert process.returncode != 0
    assert not (tmp_path / "sample" / "small").exists()
    source = obtain(SMALL, "sample", tmp_path)
    assert (source.folder / "a.csv").read_text() == "sample"
    assert [path.name for path in (tmp_path / "sample").iterdir() if path.is_dir()] == ["small"]


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


def test_checksum_is_over_contents(tmp_path):
    put_real(tmp_path)
    before = obtain(SMALL, "real", tmp_path).checksum
    own = downloads.own_source(tmp_path / "small", [tmp_path / "small" / "a.csv"], tmp_path)
    assert (own.name, own.kind) == ("small", "real")
    (tmp_path / "small" / "b" / ".hidden").touch()
    os.utime(tmp_path / "small" / "a.csv", (1, 1))
    assert obtain(SMALL, "real", tmp_path).checksum == before
    (tmp_path / "small" / "b" / "c.csv").write_bytes(REAL.swapcase())
    assert obtain(SMALL, "real", tmp_path).checksum != before


def test_own_data_that_cannot_be_read(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none.csv", tmp_path / "folder"):
        with pytest.raises(UserError, match=f"{path} cannot be read .* check the path"):
            downloads.own_source(path, [path], tmp_path)


@pytest.mark.parametrize("mode", ["auto", "real", "sample"])
def test_data_root_that_cannot_be_made(online, tmp_path, mode, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--data-dir or DATA_DIR"):
        obtain(online, mode, tmp_path / "file" / "data")
