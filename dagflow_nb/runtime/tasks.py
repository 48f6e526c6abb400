"""The coroutines of one run, in tasks that are used again.

To begin a task costs a turn of the loop. So one task runs what waits, one coroutine after the other, as
long as none has to wait for something; what comes while one does gets a task of its own. A task goes on
only if the last coroutine has left it as it found it: not cancelled, and with the same context variables.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any

from .capture import CURRENT, Listener

TURN = 0.001  # seconds after which a task that never has to wait lets the loop go round

# a coroutine function, which is given the task that it runs in before its own arguments
Work = Callable[..., Awaitable[None]]


class Tasks:
    """Runs coroutines in copies of `context`; none of them waits for another one to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop, self._context = loop, context
        self._waiting: deque[tuple[Listener | None, Work, tuple[Any, ...]]] = deque()
        self._coming = 0  # tasks that are about to begin
        self._inside = 0  # coroutines that have begun and not ended
        self._at_hand = False  # the one that runs looks here before anything else happens

    def run(self, listener: Listener | None, work: Work, *args: Any) -> None:
        """Await `work(task, *args)` in a task, soon; `listener` is told what it prints."""
        self._waiting.append((listener, work, args))
        if not (self._at_hand or self._coming):
            self._call(1)

    def ends(self) -> None:
        """The coroutine under way will not wait any more: its task takes what comes from now on."""
        self._at_hand = True

    def goes_on(self) -> None:
        """The coroutine under way may wait after all."""
        self._at_hand = False
        if self._waiting and not self._coming:
            self._call(1)

    def _call(self, tasks: int) -> None:
        for _ in range(tasks):
            self._coming += 1
            self._loop.create_task(self._run_all(), context=self._context.copy())

    async def _run_all(self) -> None:
        self._coming -= 1
        task, waiting, clock = asyncio.current_task(), self._waiting, self._loop.time
        assert task is not None
        began = clock()
        while waiting:
            listener, work, args = waiting.popleft()
            self._at_hand = False
            wanted = len(waiting) - self._coming
            if wanted > 0 and (self._inside or not self._coming):
                # where one has to wait others may have to: all that are there begin in the next turn
                self._call(wanted if self._inside else 1)
            CURRENT.set(listener)
            before = copy_context()
            self._inside += 1
            try:
                await work(task, *args)
            finally:
                self._inside -= 1
            if task.cancelling() or not _is_as_it_was(before):
                break
            if clock() - began > TURN:
                self._at_hand = False
                await asyncio.sleep(0)
                began = clock()
        self.goes_on()


def _is_as_it_was(before: Context) -> bool:
    """Whether the context variables have the same values."""
    try:
        return copy_context() == before
    except Exception:  # values of the user's that cannot be compared
        return False
