"""The coroutines of one run, in tasks that are used again.

To begin a task costs a turn of the loop. So one task runs what waits, one coroutine after the other, as
long as none has to wait for something. Which kinds of them do not is learnt from the last one of each kind;
the others get a task each, at once. A task goes on only if the last coroutine has left it as it found it: not
cancelled, and with the same context variables.
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
        self._waiting: deque[tuple[str, Listener | None, Work, tuple[Any, ...]]] = deque()
        self._coming = 0  # tasks that are about to begin
        self._inside = 0  # coroutines that have begun and not ended
        self._at_hand = False  # a task looks here before anything else happens
        self._may_wait = False  # something has come for that one which may have to wait
        self._quick: set[str] = set()  # kinds of which the last one did not have to wait
        self._turn = 0  # of the loop, as far as anybody wants to know
        self._looks = False  # whether the next turn will be told

    def run(self, kind: str, listener: Listener | None, work: Work, *args: Any) -> None:
        """Await `work(task, *args)` in a task, soon; `listener` is told what it prints."""
        self._waiting.append((kind, listener, work, args))
        is_quick = kind in self._quick
        if self._at_hand:
            self._may_wait |= not is_quick
        elif not (is_quick and self._coming):
            self._call(1)

    def ends(self) -> None:
        """The coroutine under way will not wait any more: its task takes what comes from now on."""
        self._at_hand = True

    def goes_on(self) -> None:
        """The coroutine under way may wait after all."""
        self._at_hand = False
        if self._waiting:
            self._call_more()

    def _call(self, tasks: int) -> None:
        for _ in range(tasks):
            self._coming += 1
            self._loop.create_task(self._run_all(), context=self._context.copy())

    def _call_more(self) -> None:
        """See to it that tasks come for what waits: one, if none of that has to wait."""
        wanted = len(self._waiting) - self._coming
        if not (self._may_wait or self._inside):
            wanted = min(wanted, 1 - self._coming)
        self._may_wait = False
        self._call(wanted)

    async def _run_all(self) -> None:
        self._coming -= 1
        task, waiting, loop = asyncio.current_task(), self._waiting, self._loop
        assert task is not None
        began = loop.time()
        while waiting:
            kind, listener, work, args = waiting.popleft()
            self._at_hand = False
            if not waiting:
                self._may_wait = False
            elif self._may_wait or self._inside or not self._coming:
                self._call_more()
            if not self._looks:
                self._looks = True
                loop.call_soon(self._look)
            turn = self._turn
            CURRENT.set(listener)
            before = copy_context()
            self._inside += 1
            try:
                await work(task, *args)
            finally:
                self._inside -= 1
                if self._turn == turn:
                    self._quick.add(kind)
                else:
                    self._quick.discard(kind)
            if task.cancelling() or not _is_as_it_was(before):
                break
            if loop.time() - began > TURN:
                self._at_hand = False
                await asyncio.sleep(0)
                began = loop.time()
        self.goes_on()

    def _look(self) -> None:
        self._turn += 1
        self._looks = False


def _is_as_it_was(before: Context) -> bool:
    """Whether the context variables have the same values."""
    try:
        return copy_context() == before
    except Exception:  # values of the user's that cannot be compared
        return False
