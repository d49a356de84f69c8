"""The data of a project: real where it is or can be had, else a generated sample."""

import hashlib
import os
import shutil
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.archives import BadArchiveError, unpack
from common.distributed import in_main, is_main
from common.errors import UserError
from common.fetching import fetch, file_digest
from common.locks import alone


@dataclass(frozen=True)
class RemoteFile:
    """One file to download; an archive is unpacked into the set's folder and then removed."""

    path: str  # relative to the set's folder
    urls: tuple[str, ...]  # tried in turn
    sha256: str = ""
    md5: str = ""
    unpack: bool = False


@dataclass(frozen=True)
class DataSet:
    """What must be known of a data set to have it."""

    name: str
    folder: str  # under the data root
    needs: tuple[str, ...]  # what makes it complete: files, and folders that come in archives
    remote: tuple[RemoteFile, ...]
    help: str  # where a person gets it by hand
    make_sample: Callable[[Path], None]  # writes a small set in the same file format
    sample_version: int = 1  # raise it when make_sample changes


@dataclass(frozen=True)
class Source:
    """The data in use.

    checksum: first 16 hexadecimal digits of the sha256 over the contents of `DataSet.needs`, in
    order; a folder counts by the names and sizes of its files. For one file they are the first
    digits of the file's own sha256.
    """

    name: str
    kind: Literal["real", "sample"]
    folder: Path
    checksum: str = ""
    note: str = ""


def data_root(data_dir: str) -> Path:
    """The folder of all data sets: `data_dir`, else $DATA_DIR, else data/ in the repository."""
    default = Path(__file__).resolve().parents[1] / "data"
    return Path(data_dir or os.environ.get("DATA_DIR") or default).expanduser().absolute()


def obtain(dataset: DataSet, data_mode: str, data_dir: str) -> Source:
    """The real set, from the data root or downloaded, or the generated sample.

    `real` never gives the sample, `sample` never looks for the real set, `auto` gives the sample,
    with a banner, where the real set cannot be had. In a torchrun job the main process has it
    first and the others take what it took, so that all see the same data.

    Raises:
        UserError: `real` cannot be had (says what is missing, what was tried, what to put where),
            or a folder that must be written cannot be.
    """
    source = in_main(lambda: _obtain(dataset, data_mode, data_dir))
    return source if is_main() else _obtain(dataset, source.kind, data_dir)


def _obtain(dataset: DataSet, data_mode: str, data_dir: str) -> Source:
    root = data_root(data_dir)
    folder = root / dataset.folder
    note = ""
    if data_mode != "sample":
        try:
            if _missing(folder, dataset.needs):
                _download(dataset, folder)
            return Source(dataset.name, "real", folder, _checksum(folder, dataset.needs))
        except UserError as error:
            note = (
                f"{dataset.name} is not complete: {', '.join(_missing(folder, dataset.needs))} "
                f"missing in {folder}. {error}. To get it by hand: {dataset.help}"
            )
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error}") from error
        if data_mode == "real":
            raise UserError(note)
    folder = _sample(dataset, root)
    if note and is_main():
        _print_box("GENERATED SAMPLE DATA IS USED, because there is no real data:", note)
    return Source(dataset.name, "sample", folder, _checksum(folder, dataset.needs), note)


def _missing(folder: Path, needs: Sequence[str]) -> list[str]:
    def is_there(path: Path) -> bool:
        return any(path.iterdir()) if path.is_dir() else path.is_file()

    return [need for need in needs if not is_there(folder / need)]


def _checksum(folder: Path, needs: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in (folder / need for need in needs):
        if path.is_dir():
            sizes = []
            for top, _, names in os.walk(path):
                inner = Path(top).relative_to(folder).as_posix()
                # Plain text and not a Path for each file: a set may have tens of thousands.
                sizes += [(f"{inner}/{name}", os.stat(f"{top}/{name}").st_size) for name in names]
            digest.update(repr(sorted(sizes)).encode())
        else:
            file_digest(path, digest)
    return digest.hexdigest()[:16]


def _download(dataset: DataSet, folder: Path) -> None:
    with alone(folder):
        if not _missing(folder, dataset.needs):  # another process was faster
            return
        for remote in dataset.remote:
            target = folder / remote.path
            was_there = target.exists()
            if was_there and not remote.unpack:  # put there by hand, perhaps a part of the set
                continue
            fetch(remote.urls, target, sha256=remote.sha256, md5=remote.md5)
            if not remote.unpack:
                continue
            try:
                unpack(target, folder)
            except BadArchiveError:
                if not was_there:
                    target.unlink()
                raise
            target.unlink()
    if _missing(folder, dataset.needs):
        raise UserError(
            "What was downloaded does not hold it" if dataset.remote else "It has no download"
        )


def _sample(dataset: DataSet, root: Path) -> Path:
    """The folder of the sample, generated where it is absent, incomplete or of another version."""
    folder = root / "sample" / dataset.folder
    version = str(dataset.sample_version)

    def is_ready() -> bool:
        stamp = folder / ".sample_version"
        has_version = stamp.is_file() and stamp.read_text() == version
        return has_version and not _missing(folder, dataset.needs)

    if is_ready():
        return folder
    with alone(folder):
        if is_ready():  # another process was faster
            return folder
        new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
        for leftover in (new, old):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir()
        try:
            dataset.make_sample(new)
            if missing := _missing(new, dataset.needs):
                raise RuntimeError(f"make_sample of {dataset.name} did not write {missing}")
            (new / ".sample_version").write_text(version)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _print_box(title: str, text: str) -> None:
    lines = textwrap.wrap(text, 76, break_long_words=False, break_on_hyphens=False)
    width = max(map(len, [title, *lines]))
    edge = f"+-{'-' * width}-+"
    print(edge, *(f"| {line:<{width}} |" for line in [title, *lines]), edge, sep="\n", flush=True)
