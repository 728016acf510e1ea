"""SIGINT and SIGTERM while training: at once where that is safe, after the critical section where it is
not.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(SystemExit):
    """Raised by SIGTERM during training; unhandled, it ends the process with status 143 (128 + SIGTERM)."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class SignalGuard:
    """Inside the context, SIGINT raises KeyboardInterrupt and SIGTERM raises `Terminated`, but not in a
    `shield()`.

    A signal that comes during `shield()` is raised at its end. Code that swallows the exception (a reward
    function with a bare `except`) is caught up with by `check()`. In a thread other than the main one, where
    Python delivers no signals, the guard does nothing.
    """

    def __init__(self) -> None:
        self._shields = 0
        self._pending: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> SignalGuard:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._pending = number
        if not self._shields:
            self.check()

    def check(self) -> None:
        """Raise what a signal asked for, if one came."""
        if self._pending == signal.SIGTERM:
            raise Terminated
        if self._pending is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """A section that signals do not interrupt; they are raised when it has ended without an error."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if not self._shields:
            self.check()
