"""Download a file whole and proven, or not at all.

requests is imported where it is used: most starts download nothing.
"""

import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.locks import alone

from tqdm import tqdm

if TYPE_CHECKING:
    from requests import Response

PATIENCE_SECONDS = 10.0  # for a first answer, shared by all addresses of a file
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0  # the longest silence in the middle of a file
RETRY_SECONDS = 0.5
ATTEMPTS = 3
PASSING_STATUS = (429, 500, 502, 503, 504)
AN_HTML_PAGE = "an HTML page instead of the file"

log = logging.getLogger(__name__)


class _FailedError(Exception):
    """One address gave no good file; the text is the short reason."""


class _PassingError(_FailedError):
    """It may give it when it is asked again."""


def fetch(urls: Sequence[str], target: Path, *, sha256: str = "", md5: str = "") -> Path:
    """Download `target` from the first of `urls` that gives it whole; keep it if it is there.

    A download that was stopped is continued by a later call where a checksum can prove the result.

    Raises:
        UserError: no address gave it (says what was tried and where to put the file by hand), or
            the folder cannot be written.
    """

    def is_here() -> bool:
        return target.is_file() and not _mismatch(target, sha256, md5)

    if is_here():  # asked before the lock too: the folder may be read-only
        return target
    with alone(target):
        if is_here():
            return target
        part = target.with_name(f"{target.name}.part")
        tried = []
        for url in urls:
            try:
                _download(url, part, sha256, md5, PATIENCE_SECONDS / len(urls))
            except _FailedError as error:
                tried.append(f"{url} ({error})")
                continue
            if not (sha256 or md5):
                log.warning("no checksum is known for %s: its content is not verified", target.name)
            os.replace(part, target)
            return target
        if not (sha256 or md5):
            part.unlink(missing_ok=True)
        raise UserError(
            f"{target.name} could not be downloaded from {'; '.join(tried) or 'anywhere'}: "
            f"check the network, or put the file at {target} by hand"
        )


def _download(url: str, part: Path, sha256: str, md5: str, patience: float) -> None:
    """Leave the whole file in `part`, proven as far as it can be, or raise _FailedError."""
    reason = version = ""
    for attempt in range(ATTEMPTS):
        time.sleep(RETRY_SECONDS * attempt)
        can_continue = sha256 or md5 or version  # else two versions of the file might be joined
        start = part.stat().st_size if can_continue and part.exists() else 0
        try:
            with _ask(url, start, version, patience) as answer:
                if start and answer.status_code in (206, 416) and not _continues(answer, start):
                    part.unlink()
                    raise _PassingError("it cannot be continued")
                _check(answer)
                start = start if answer.status_code == 206 else 0
                version = _version(answer)
                total = _total(answer)
                _receive(answer, part, start, total)
        except _PassingError as trouble:
            reason = str(trouble)
            continue
        reason = _fault(part, total) or _mismatch(part, sha256, md5)
        if not reason:
            return
        part.unlink()
        if not start:
            break
    raise _FailedError(reason)


def _ask(url: str, start: int, version: str, patience: float) -> "Response":
    """The answer to a GET from byte `start` on, within `patience` seconds in all.

    A thread waits, because the library's own limits leave out the look-up of the name and hold for
    each of a name's addresses anew.
    """
    from requests import Session
    from urllib3.exceptions import ProtocolError

    session = Session()
    session.max_redirects = 10
    headers = {"Accept-Encoding": "identity"}  # length and checksum are those of the file itself
    if start:
        headers["Range"] = f"bytes={start}-"
        if version:
            headers["If-Range"] = version
    result: queue.SimpleQueue = queue.SimpleQueue()

    def wait() -> None:
        limits = (CONNECT_SECONDS, READ_SECONDS)
        try:
            result.put(session.get(url, headers=headers, stream=True, timeout=limits))
        except (OSError, ValueError) as error:
            result.put(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        answer = result.get(timeout=patience)
    except queue.Empty:
        raise _FailedError(f"no answer in {patience:.0f} s") from None
    if isinstance(answer, Exception):
        if answer.args and isinstance(answer.args[0], ProtocolError):
            raise _PassingError("it hung up") from answer
        raise _FailedError(_reason(answer)) from answer
    return answer


def _reason(error: Exception) -> str:
    from requests import exceptions

    reasons = {
        exceptions.TooManyRedirects: "it redirects without end",
        exceptions.Timeout: "no answer",
        exceptions.SSLError: "its certificate is not accepted",
        exceptions.ProxyError: "the proxy refuses",
        exceptions.ConnectionError: "no connection",  # last: the base of others
    }
    return next((text for kind, text in reasons.items() if isinstance(error, kind)), str(error))


def _continues(answer: "Response", start: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _check(answer: "Response") -> None:
    if answer.status_code not in (200, 206):
        kind = _PassingError if answer.status_code in PASSING_STATUS else _FailedError
        raise kind(f"{answer.status_code} {answer.reason}")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise _FailedError(AN_HTML_PAGE)


def _version(answer: "Response") -> str:
    tag = answer.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag  # a weak tag does not promise equal bytes


def _total(answer: "Response") -> int | None:
    """The size of the whole file in bytes, where the server says it."""
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        length = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isdigit() else None


def _receive(answer: "Response", part: Path, start: int, total: int | None) -> None:
    from urllib3.exceptions import HTTPError

    bar = tqdm(
        total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=None
    )  # None: only on a terminal
    with bar, part.open("ab" if start else "wb") as file:
        try:
            for block in answer.raw.stream(1 << 16, decode_content=False):
                file.write(block)
                bar.update(len(block))
        except HTTPError as error:
            reason = f"broke off after {file.tell()} of {total or 'unknown'} bytes"
            raise _PassingError(reason) from error
        file.flush()
        os.fsync(file.fileno())


def _fault(part: Path, total: int | None) -> str:
    size = part.stat().st_size
    if total is not None and size != total:
        return f"{size} bytes instead of {total}"
    with part.open("rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return AN_HTML_PAGE if head.startswith((b"<!doctype html", b"<html")) else ""


def _mismatch(path: Path, sha256: str, md5: str) -> str:
    for name, expected in (("sha256", sha256), ("md5", md5)):
        digest = hashlib.new(name, usedforsecurity=False)
        if expected and file_digest(path, digest) != expected.lower():
            return f"wrong {name}"
    return ""


def file_digest(path: Path, digest: "hashlib._Hash") -> str:
    """Feed a file to `digest` and return its hexadecimal form."""
    with path.open("rb") as file:  # hashlib.file_digest needs Python 3.11
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
