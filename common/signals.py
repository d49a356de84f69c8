"""Stopping on request: the step is finished and saved before a run ends."""

import signal
import sys
import threading
from types import FrameType

from common.errors import UserError


class Stopped(UserError):
    """The run was stopped by a signal after its state was saved."""

    def __init__(self, number: int):
        self.exit_code = 128 + number
        super().__init__("stopped on request; everything is saved, and --resume goes on from here")


class Stop:
    """Whether a signal asked to stop; SIGINT and SIGTERM are noted while it is entered.

    A second SIGINT stops at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Stop":
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, _: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number
        print("\nstopping after this step; Ctrl+C again stops at once", file=sys.stderr)

    def raise_if_stopped(self) -> None:
        """Raise Stopped if any signal came."""
        if self.signal:
            raise Stopped(self.signal)

    def raise_if_terminated(self) -> None:
        """Raise Stopped on SIGTERM; after Ctrl+C the best model is still evaluated."""
        if self.signal == signal.SIGTERM:
            raise Stopped(self.signal)
