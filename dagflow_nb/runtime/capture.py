"""What actions print and log, kept for each node.

While runs are under way `sys.stdout` and `sys.stderr` are thin wrappers, and the root logger has one
more handler. What is written inside an attempt (told by a context variable, so that threads and tasks
do not mix) goes to that attempt, and with `echo` line by line to where it would have gone.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from contextvars import ContextVar
from typing import Any, Protocol, TextIO


class Listener(Protocol):
    """The attempt that is told what is written."""

    echo: bool

    def wrote(self, stream: str, text: str) -> str:
        """Take text; returns what of it is to be echoed now: whole lines."""

    def logged(self, level: str, message: str) -> None:
        """Take a log record."""


CURRENT: ContextVar[Listener | None] = ContextVar("dagflow_attempt", default=None)


class Tee(io.TextIOBase):
    """Stands in for a standard stream."""

    def __init__(self, real: TextIO, name: str) -> None:
        self.real, self._name = real, name

    def write(self, text: str) -> int:
        listener = CURRENT.get()
        if listener is None:
            return self.real.write(text)
        lines = listener.wrote(self._name, text)
        if lines and listener.echo:
            self.real.write(lines)
        return len(text)

    def flush(self) -> None:
        self.real.flush()

    def isatty(self) -> bool:
        return self.real.isatty()

    def fileno(self) -> int:
        return self.real.fileno()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """The stream belongs to someone else: neither closed nor flushed when this wrapper goes."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a plain attribute
        return self.real.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # typeshed has a plain attribute
        return self.real.errors

    @property
    def newlines(self) -> Any:  # type: ignore[override]  # typeshed has a plain attribute
        return self.real.newlines

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Records(logging.Handler):
    """Hands log records of actions to their attempts."""

    def emit(self, record: logging.LogRecord) -> None:
        listener = CURRENT.get()
        alone = all(handler is self for handler in logging.getLogger().handlers)
        if listener is None:
            # with a handler on the root logger Python no longer shows what nobody handles
            if alone and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
            return
        try:
            message = self.format(record)
        except Exception as bad:
            message = f"{record.msg} (cannot be formatted: {bad})"
        listener.logged(record.levelname, message)
        if alone and listener.echo:
            stream = sys.stderr
            real = stream.real if isinstance(stream, Tee) else stream
            real.write(f"{record.levelname}:{record.name}:{message}\n")


_lock = threading.Lock()
_users = 0
_records = Records()
# The wrapper used last is kept: before Python 3.13.3 `print` holds no reference to `sys.stdout`, and crashes
# if that is taken out and freed meanwhile, as by the end of a run of which a thread still prints.
_tees: dict[str, Tee] = {}


def _tee(real: TextIO, name: str) -> Tee:
    found = _tees.get(name)
    if found is None or found.real is not real:
        found = _tees[name] = Tee(real, name)
    return found


def start() -> None:
    """A run begins: capture, if no other run does already."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            logging.getLogger().addHandler(_records)
        # another tool may have put its own stream in place meanwhile: then that one is wrapped
        if not isinstance(sys.stdout, Tee) and sys.stdout is not None:
            sys.stdout = _tee(sys.stdout, "stdout")
        if not isinstance(sys.stderr, Tee) and sys.stderr is not None:
            sys.stderr = _tee(sys.stderr, "stderr")


def stop() -> None:
    """A run has ended: with the last one everything is as it was."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            logging.getLogger().removeHandler(_records)
            if isinstance(sys.stdout, Tee):
                sys.stdout = sys.stdout.real
            if isinstance(sys.stderr, Tee):
                sys.stderr = sys.stderr.real
