"""Where time comes from: the system's clock, or one that a test moves by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Handle(Protocol):
    """Something that was asked for at a time, and can be called off."""

    def cancel(self) -> None:
        """It is not wanted any more."""


class Clock(Protocol):
    """A source of time in epoch seconds."""

    def now(self) -> float:
        """The time."""

    def call_at(self, loop: asyncio.AbstractEventLoop, at: float, fn: Callable[[], None]) -> Handle:
        """Call `fn` on `loop` at time `at`."""


class SystemClock:
    """The system's time, which never goes back while the process lives."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """The time in epoch seconds."""
        return self._offset + time.monotonic()

    def call_at(self, loop: asyncio.AbstractEventLoop, at: float, fn: Callable[[], None]) -> Handle:
        """Call `fn` on `loop` at time `at`."""
        # a laptop that slept counts in epoch seconds, not in the loop's own
        return loop.call_later(max(0.0, at - self.now()), fn)
