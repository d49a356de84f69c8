"""Archives are unpacked whole, inside their folder, or not at all."""

import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path

from common.archives import unpack
from common.errors import UserError

import pytest

FILES = {"a.txt": b"one", "b/c.txt": b"two" * 1000, "b/d/e.txt": b""}


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


def make_special(path: Path, kind: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("special")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files but lock files, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "root" / "set"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("prefix", ["", "./", "set/"])
@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz"])
def test_unpacks_and_keeps_what_is_there(folder, tmp_path, kind, prefix):
    files = {prefix + name: body for name, body in FILES.items()}
    archive = tmp_path / "archive"
    make_zip(archive, files) if kind == "zip" else make_tar(archive, files, kind)
    (folder / "b").mkdir()
    (folder / "b" / "c.txt").write_bytes(b"mine")
    unpack(archive, folder)
    assert contents(folder) == {**FILES, "b/c.txt": b"mine"}


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    "name", ["../evil", "b/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "C:evil", "\\evil"]
)
def test_names_that_lead_outside(folder, tmp_path, make, name):
    archive = make(tmp_path / "archive", {**FILES, name: b"evil"})
    with pytest.raises(UserError, match="leads outside"):
        unpack(archive, folder)
    assert contents(tmp_path) == {"archive": archive.read_bytes()}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar(folder, tmp_path, kind):
    with pytest.raises(UserError, match="a link or a device"):
        unpack(make_special(tmp_path / "archive", kind), folder)
    assert contents(folder) == {}


def test_link_in_a_zip(folder, tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "archive", "w") as package:
        package.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="a link or a device"):
        unpack(tmp_path / "archive", folder)
    assert contents(folder) == {}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bomb(folder, tmp_path, make):
    archive = make(tmp_path / "archive", {f"{i}": bytes(6_000_000) for i in range(4)})
    assert archive.stat().st_size < 50_000
    with pytest.raises(UserError, match="far more than its size allows"):
        unpack(archive, folder)
    assert contents(folder) == {}


def test_too_many_members(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("common.archives.MAX_MEMBERS", 2)
    with pytest.raises(UserError, match="far more than its size allows"):
        unpack(make_zip(tmp_path / "archive", FILES), folder)


def test_zip_that_understates_its_size(folder, tmp_path):
    archive = make_zip(tmp_path / "archive", {"a": bytes(100_000)})
    archive.write_bytes(
        archive.read_bytes().replace((100_000).to_bytes(4, "little"), b"\x01\0\0\0")
    )
    with pytest.raises(UserError, match="no whole archive"):
        unpack(archive, folder)
    assert contents(folder) == {}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_damage_is_one_sentence_and_leaves_nothing(folder, tmp_path, make):
    """Cut at any place, or with a wrong byte: an error, or (a byte without effect) the files."""
    generator = random.Random(0)
    files = {f"{i}.bin": generator.randbytes(3000) for i in range(3)}
    archive = make(tmp_path / "archive", files)
    whole = archive.read_bytes()
    for _ in range(60):
        place = generator.randrange(len(whole))
        cut = whole[:place]
        wrong = cut + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        for damaged in (cut, wrong):
            archive.write_bytes(damaged)
            target = folder / f"{place}-{len(damaged)}"
            try:
                unpack(archive, target)
            except UserError:
                assert contents(target) == {}
            else:
                assert contents(target) == files
    for nothing in (b"", b"<html>sorry</html>", bytes(512)):
        archive.write_bytes(nothing)
        with pytest.raises(UserError, match="no whole archive"):
            unpack(archive, folder)


def test_leftovers_of_a_killed_process_are_removed(folder, tmp_path):
    archive = make_zip(tmp_path / "archive", FILES)
    (folder / ".archive.unpacked" / "half").mkdir(parents=True)
    unpack(archive, folder)
    assert contents(folder) == FILES
    assert not (folder / ".archive.unpacked").exists()


def test_full_disk(folder, tmp_path, full_disk):
    archive = make_zip(tmp_path / "archive", {**FILES, "large": bytes(200_000)})
    with pytest.raises(UserError, match="make room"):
        unpack(archive, folder)
    assert contents(folder) == {}
    assert archive.exists()
