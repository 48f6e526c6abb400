"""What other threads ask of a run, handed to its loop."""

from __future__ import annotations

import asyncio
import getpass
import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger("dagflow_nb")


class Commands:
    """Calls from any thread to the loop that made this; `capacity`: how many may wait to be made.

    A further one waits in its own thread. Calls from the loop's own thread never wait; from a task they are
    made at once, so that they come before its end. Those that are `waiting` may be made (`take`) before the
    loop has its turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, capacity: int) -> None:
        self._loop, self._thread = loop, threading.get_ident()
        self._room = threading.BoundedSemaphore(capacity)
        self.waiting: deque[Callable[[], None]] = deque()

    def call(self, do: Callable[[], None]) -> None:
        """Make a call on the loop; nothing happens if that has ended."""
        if asyncio._get_running_loop() is self._loop:
            do()
            return
        waits = threading.get_ident() != self._thread
        if waits:
            self._room.acquire()

        def make() -> None:
            if waits:
                self._room.release()
            do()

        self.waiting.append(make)
        try:
            self._loop.call_soon_threadsafe(self.take)
        except RuntimeError:
            log.debug("the loop of a run has ended: nothing is asked of it any more")
            self.waiting.remove(make)
            if waits:
                self._room.release()

    def take(self) -> None:
        """Make the calls that wait, in their order; on the loop's thread only."""
        while self.waiting:
            try:
                self.waiting.popleft()()
            except Exception as error:
                told = {"message": "what was asked of a run failed", "exception": error}
                self._loop.call_exception_handler(told)


def who() -> str:
    """The name under which decisions of this process's user are recorded."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "user"
