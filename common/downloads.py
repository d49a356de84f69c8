"""The data of a project: real where it is or can be had, else a generated sample.

pooch downloads and checks the hash. What stands around it here: a second address, a download that
goes on where it broke off (GloVe's archive has 862 MB), and folders that are whole or not there.
pooch is imported where it is used, for most starts download nothing.
"""

import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import textwrap
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock
from tqdm import tqdm

from common.checkpoints import content_digest
from common.distributed import in_main, is_main
from common.settings import ROOT, UserError, warn

TIMEOUT = (5.0, 10.0)  # seconds to connect; of silence, before or within a file
PAUSE_SECONDS = 1.0  # between two attempts
ATTEMPTS = 4  # at each address
BROKE_OFF, WRONG = "it broke off", "wrong checksum"
BUSY = ("416", "429", "500", "502", "503", "504")  # asked again: no such place in the file; busy
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
DAMAGED += (EOFError, ValueError, RuntimeError)  # cut short, impossible names, encrypted


@dataclass(frozen=True)
class RemoteFile:
    """One file to download; an archive is unpacked into the set's folder and then removed."""

    path: str  # relative to the set's folder
    urls: tuple[str, ...]  # tried in turn
    sha256: str = ""
    md5: str = ""
    unpack: bool = False  # zip or tar; a single top folder named like the set is the set's folder
    inside: str = ""  # glob of the archive's one folder that is the set's, such as "*/cnn_dataset"


@dataclass(frozen=True)
class DataSet:
    """What must be known of a data set to have it."""

    name: str
    folder: str  # under the data root
    needs: tuple[str, ...]  # what makes it complete: files, and folders that are not empty
    remote: tuple[RemoteFile, ...] = ()
    help: str = ""  # where a person gets it by hand
    make_sample: Callable[[Path], None] | None = None  # writes a small set in the same format
    files: int = 0  # in `needs` of the whole published set, where that is known
    digest: str = ""  # `content_digest` of them: a download that differs is refused


@dataclass(frozen=True)
class Source:
    """The data in use. checksum: of all contents, 16 hexadecimal digits (`content_digest`)."""

    name: str
    kind: Literal["real", "sample"]
    folder: Path
    checksum: str = ""
    note: str = ""


def data_root(data_dir: Path | None = None) -> Path:
    """The folder of all data sets: `data_dir`, else $DATA_DIR, else data/ in the repository."""
    return Path(data_dir or os.environ.get("DATA_DIR") or ROOT / "data").expanduser().absolute()


def cache_folder(data_dir: Path | None = None, name: str = "cache") -> Path:
    """Where prepared data is kept: in the data root if it can be written, else the user's cache."""
    folder = data_root(data_dir) / name
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    from pooch import os_cache

    return os_cache("deep-learning-scripts") / name


def obtain(dataset: DataSet, data: str = "auto", data_dir: Path | None = None) -> Source:
    """The real set, from the data root or downloaded, or the generated sample.

    `real` never gives the sample, `sample` never looks for the real set, `auto` gives the sample,
    with a banner, where the real set cannot be had. In a torchrun job the main process has it
    first and the others take what it took, so that all see the same data.

    Raises:
        UserError: `real` cannot be had (says what is missing, what was tried, what to put where),
            or a folder that must be written cannot be.
    """
    source = in_main(lambda: _obtain(dataset, data, data_dir))
    return source if is_main() else _obtain(dataset, source.kind, data_dir)


def own_source(path: Path, files: Sequence[Path], data_dir: Path | None = None) -> Source:
    """The user's own data: a file, or a folder of which `files` are used.

    Raises:
        UserError: one of them cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    try:
        digest = content_digest(files, folder, cache_folder(data_dir))
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}): check the path"
        ) from error
    return Source(path.name, "real", folder, digest[:16])


def listed(folder: Path, needs: Sequence[str]) -> list[str]:
    """The files of a set, as texts: a Path for each of 100,000 takes a second.

    A folder counts with all below it, hidden files left out.
    """
    files = []
    for path in (os.path.join(folder, need) for need in needs):
        if not os.path.isdir(path):
            files.append(path)
        for top, _, names in os.walk(path):
            files += [os.path.join(top, name) for name in names if not name.startswith(".")]
    return files


def _obtain(dataset: DataSet, data: str, data_dir: Path | None) -> Source:
    folder = data_root(data_dir) / dataset.folder
    note = ""
    try:
        if data != "sample":
            try:
                if _missing(folder, dataset.needs):
                    _download(dataset, folder)
                return _source(dataset, "real", folder, data_dir)
            except UserError as error:
                note = (
                    f"{dataset.name} is not complete: {', '.join(_missing(folder, dataset.needs))} "
                    f"missing in {folder}. {error}. To get it by hand: {dataset.help}"
                )
            if data == "real" or dataset.make_sample is None:
                raise UserError(note)
        folder = _sample(dataset, data_dir)
    except OSError as error:
        raise UserError(
            f"{folder} could not be prepared ({error.strerror or error}): make room or make it "
            "readable and writable, or choose another data folder with --data-dir or DATA_DIR"
        ) from error
    if note and is_main():
        text = textwrap.fill(note, 80, break_long_words=False, break_on_hyphens=False)
        title = "GENERATED SAMPLE DATA IS USED, because there is no real data:"
        print("=" * 80, title, text, "=" * 80, sep="\n", flush=True)
    return _source(dataset, "sample", folder, data_dir, note)


def _source(
    dataset: DataSet, kind: str, folder: Path, data_dir: Path | None, note: str = ""
) -> Source:
    files = listed(folder, dataset.needs)
    digest = content_digest(files, folder, cache_folder(data_dir))
    if kind == "real" and dataset.digest and digest != dataset.digest:
        note = f"{len(files):,} files, which are not the {dataset.files:,} published ones"
    return Source(dataset.name, kind, folder, digest[:16], note)


def _missing(folder: Path, needs: Sequence[str]) -> list[str]:
    def is_there(path: Path) -> bool:
        return any(path.iterdir()) if path.is_dir() else path.is_file()

    return [need for need in needs if not is_there(folder / need)]


def _alone(path: Path) -> FileLock:
    """The lock of `path`, a hidden file beside it; the system frees that of a process that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))


def _sample(dataset: DataSet, data_dir: Path | None) -> Path:
    """The folder of the sample, generated where it is absent, incomplete or made by other code."""
    folder = cache_folder(data_dir, "sample") / dataset.folder
    code = Path(dataset.make_sample.__code__.co_filename)
    version = hashlib.sha256(code.read_bytes()).hexdigest()[:16] if code.is_file() else ""
    stamp = folder / f".made-by-{version}"
    with _alone(folder):
        if not stamp.is_file() or _missing(folder, dataset.needs):
            new = folder.with_name(f".{folder.name}.new")
            shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
            new.mkdir()
            try:
                dataset.make_sample(new)
                (new / stamp.name).touch()
                shutil.rmtree(folder, ignore_errors=True)
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return folder


def _download(dataset: DataSet, folder: Path) -> None:
    with _alone(folder):
        if not _missing(folder, dataset.needs):  # another process was faster
            return
        for remote in dataset.remote:
            target = folder / remote.path
            was_there = target.exists()  # put there by hand, perhaps a part of the set
            if not was_there:
                _fetch(remote, target)
            if not remote.unpack:
                continue
            try:
                _unpack(target, folder, remote.inside, dataset)
            except UserError:
                if not was_there:
                    target.unlink()
                raise
            target.unlink()
    if _missing(folder, dataset.needs):
        raise UserError(
            "What was downloaded does not hold it" if dataset.remote else "It has no download"
        )


def _fetch(remote: RemoteFile, target: Path) -> None:
    """Download one file whole, and proven where a checksum is known, or raise UserError."""
    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel("WARNING")
    known = remote.sha256 or (remote.md5 and f"md5:{remote.md5}") or None
    part = target.with_name(f"{target.name}.part")
    if known is None:
        warn(f"no checksum is known for {target.name}: its content is not verified")
        part.unlink(missing_ok=True)  # nothing could prove what is joined to it
    tried = []
    for url in remote.urls:
        print(f"downloading {target.name} from {url}", flush=True)
        for _ in range(ATTEMPTS):
            was_begun = part.exists()
            try:
                into = partial(_continue, part)
                pooch.retrieve(url, known, target.name, target.parent, downloader=into)
                return
            except (RequestException, ValueError) as error:
                reason = _reason(error)
            is_passing = reason == BROKE_OFF or reason.startswith(BUSY)
            if not is_passing and not (reason == WRONG and was_begun):
                break
            time.sleep(PAUSE_SECONDS)
        tried.append(f"{url} ({reason})")
    raise UserError(
        f"{target.name} could not be downloaded from {'; '.join(tried) or 'anywhere'}: check the "
        f"network, or put the file at {target} by hand"
    )


def _continue(part: Path, url: str, output_file: str, _: object) -> None:
    """A downloader for pooch that goes on where an earlier attempt, kept in `part`, broke off."""
    import requests

    with part.open("ab") as file:
        headers = {"Accept-Encoding": "identity"}  # length and checksum are the file's own
        if file.tell():
            headers["Range"] = f"bytes={file.tell()}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code in (200, 416):  # the whole file comes; no such place in it
                file.truncate(0)
            answer.raise_for_status()
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise ValueError("an HTML page instead of the file")
            whole = file.tell() + int(answer.headers.get("Content-Length", 0))
            # On a terminal only.
            with tqdm(
                total=whole, initial=file.tell(), desc=part.stem, unit="B", unit_scale=True,
                disable=None,
            ) as bar:  # fmt: skip
                for block in answer.iter_content(1 << 16):
                    bar.update(file.write(block))
    os.replace(part, output_file)


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    from requests import exceptions
    from urllib3.exceptions import MaxRetryError

    match error:
        case exceptions.HTTPError():
            return f"{error.response.status_code} {error.response.reason}"
        case exceptions.SSLError():
            return "its certificate is not accepted"
        case exceptions.Timeout():
            return "no answer"
        case exceptions.ConnectionError(args=[MaxRetryError()]):
            return "no connection"
        case exceptions.ConnectionError() | exceptions.ChunkedEncodingError():
            return BROKE_OFF
    return WRONG if "known hash" in str(error) else str(error)


def _unpack(archive: Path, folder: Path, inside: str, dataset: DataSet) -> None:
    """Unpack a zip or tar archive into `folder`, all or nothing; what is there already stays."""
    staging = folder / f".{archive.name}.unpacked"
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                tar.extractall(staging, filter="data")
        else:
            with zipfile.ZipFile(archive) as package:
                package.extractall(staging)  # which takes drives, roots and ".." off the names
        tops = list(staging.glob(inside)) if inside else list(staging.iterdir())
        is_set = len(tops) == 1 and (inside or tops[0].name == folder.name)
        top = tops[0] if is_set else staging
        if dataset.digest:
            files, cache = listed(top, dataset.needs), folder.parent / "cache"
            if content_digest(files, top, cache) != dataset.digest:
                raise ValueError("it does not hold the published files")
        keep = lambda new, old: os.path.exists(old) or os.rename(new, old)  # noqa: E731
        shutil.copytree(top, folder, copy_function=keep, dirs_exist_ok=True)
    except DAMAGED as error:
        raise UserError(f"{archive} cannot be unpacked ({error}): get it again") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
