"""One process at a time prepares a file or a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of `path` (a hidden empty file beside it) and let its folder exist.

    The system frees the lock of a process that dies.

    Raises:
        UserError: in place of any OSError of the block: not writable, disk full.
    """
    from filelock import FileLock, Timeout  # here, because most starts prepare nothing

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            held = lock.acquire(timeout=1)
        except Timeout:
            print(f"waiting for another process that prepares {path}", flush=True)
            held = lock.acquire()
        with held:
            yield
    except OSError as error:
        raise UserError(
            f"{path} could not be prepared ({error.strerror or error}): make room or make its "
            "folder writable, or choose another data folder with --data-dir or DATA_DIR"
        ) from error
