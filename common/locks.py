"""One process at a time prepares a file or a folder, and trains a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError

from filelock import BaseFileLock, FileLock, Timeout


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of `path` (a hidden empty file beside it) and let its folder exist.

    The system frees the lock of a process that dies.

    Raises:
        UserError: in place of any OSError of the block: not writable, disk full.
    """
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


def hold(folder: Path) -> BaseFileLock | None:
    """Keep other processes from training the run in `folder`, by a hidden empty file in it.

    The lock is free again when the last reference to what is returned has gone, and when the
    process ends, however it does. The process that holds it may take it again.

    Returns:
        The lock; None on a file system that has none, where nothing is kept from anybody.

    Raises:
        UserError: another process holds it.
    """
    # A singleton: what is left of a training that failed does not keep its own process out.
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{folder} is being trained by another process: wait for its end or stop it, or start "
            "a new run, without --resume"
        ) from error
    except (OSError, NotImplementedError):
        return None
    return lock
