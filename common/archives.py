"""Unpack an archive without trusting it."""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from common.errors import UserError
from common.locks import alone

MAX_RATIO = 100  # an archive may grow to this many times its size, and 10 MB
MAX_BYTES = 16 * 10**9
MAX_MEMBERS = 500_000
# not an archive, damaged, cut short, impossible names, encrypted or packed in an unknown way
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
DAMAGED += (EOFError, ValueError, RuntimeError)


class BadArchiveError(UserError):
    """Another copy of the archive is needed."""


class Member(NamedTuple):
    """A file or folder in an archive, or what must not be in one."""

    name: str
    size: int
    is_plain: bool  # no link, no device
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`; files that are there already are kept.

    A single top folder named like `folder` is `folder` itself. Nothing appears before the whole
    archive has been read.

    Raises:
        BadArchiveError: the archive is damaged or could do harm (names that lead outside, links,
            devices, a size out of proportion).
        UserError: the folder cannot be written.
    """
    with alone(folder / archive.name):
        staging = folder / f".{archive.name}.unpacked"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            _extract(archive, staging)
            if not any(staging.iterdir()):
                raise EOFError("nothing is in it")
            inner = staging / folder.name
            is_only = inner.is_dir() and list(staging.iterdir()) == [inner]
            _move(inner if is_only else staging, folder)
        except DAMAGED as error:
            raise BadArchiveError(
                f"{archive} is no whole archive ({error}): get it again"
            ) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _members(archive: Path) -> Iterator[Member]:
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for m in tar:
                is_plain = m.isreg() or m.isdir()
                yield Member(m.name, m.size, is_plain, m.isdir(), partial(tar.extractfile, m))
            while tar.fileobj.read(1 << 20):  # gzip and xz keep their checksum at the end
                pass
        return
    with zipfile.ZipFile(archive) as package:
        for m in package.infolist():
            kind = stat.S_IFMT(m.external_attr >> 16)  # 0 where the packer ran on Windows
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            opener = partial(package.open, m)
            yield Member(m.filename, m.file_size, is_plain, m.is_dir(), opener)


def _extract(archive: Path, staging: Path) -> None:
    """Only names and bytes are taken over: no owners, no modes."""
    limit = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size + 10**7)
    total = 0
    for count, member in enumerate(_members(archive)):
        total += member.size  # both libraries give exactly this many bytes, or fail
        if total > limit or count >= MAX_MEMBERS:
            raise BadArchiveError(
                f"{archive} is refused: it unpacks to far more than its size allows"
            )
        if _leads_outside(member.name):
            raise BadArchiveError(f"{archive} is refused: {member.name!r} leads outside its folder")
        if not member.is_plain:
            raise BadArchiveError(f"{archive} is refused: {member.name!r} is a link or a device")
        target = staging / member.name
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)


def _leads_outside(name: str) -> bool:
    windows = PureWindowsPath(name)  # splits at both kinds of slash, knows drives
    return ".." in windows.parts or bool(windows.anchor) or PurePosixPath(name).is_absolute()


def _move(source: Path, folder: Path) -> None:
    for path in list(source.iterdir()):
        target = folder / path.name
        if path.is_dir() and target.is_dir():
            _move(path, target)
        elif not target.exists():
            path.rename(target)
