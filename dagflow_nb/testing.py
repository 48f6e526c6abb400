"""For tests of workflows: recorded runs played again, time that is moved by hand, and actions that wait until
they may go on.

    from dagflow_nb.testing import replay

    def test_the_plan_is_as_it_was():
        replay(flow, "tests/fixtures/pipeline.json")     # written by run.to_fixture(...)

Nothing here sleeps: a test says what happens next, and waits for what it has asked for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable

from .clock import Handle
from .replay.replaying import PlanChanged as PlanChanged, replay as replay

PATIENCE = 30.0  # seconds after which a test that waits for what never comes fails


class _Timer:
    """What was asked for at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fn: Callable[[], None]) -> None:
        self.loop, self.fn, self.cancelled = loop, fn, False

    def cancel(self) -> None:
        """It is not wanted any more."""
        self.cancelled = True

    def fire(self) -> None:
        """Call it on its loop, unless it was called off meanwhile."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(lambda: None if self.cancelled else self.fn())


class ManualClock:
    """A clock that stands still until `advance` moves it; from any thread.

    `at`: the time it begins with, in epoch seconds.

    >>> clock = ManualClock(at=100.0)
    >>> clock.advance(2.5)
    >>> clock.now()
    102.5
    """

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self._at = at
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    def now(self) -> float:
        """The time in epoch seconds."""
        return self._at

    def call_at(self, loop: asyncio.AbstractEventLoop, at: float, fn: Callable[[], None]) -> Handle:
        """Call `fn` on `loop` once the clock has come to `at`; at once if it has."""
        timer = _Timer(loop, fn)
        with self._changed:
            if at <= self._at:
                timer.fire()
            else:
                heapq.heappush(self._timers, (at, next(self._numbers), timer))
                self._changed.notify_all()
        return timer

    def advance(self, seconds: float) -> None:
        """Move the clock; what was asked for until then is called, the earliest first."""
        with self._changed:
            self._at += seconds
            while self._timers and self._timers[0][0] <= self._at:
                heapq.heappop(self._timers)[2].fire()

    def wait_for_timer(self, timeout: float = PATIENCE) -> float:
        """Wait (in real time) until something is asked for; returns in how many seconds it is due."""
        with self._changed:
            if not self._changed.wait_for(self._next, timeout):
                raise TimeoutError(f"nobody asked this clock for anything within {timeout:g} s")
            return self._timers[0][0] - self._at

    def _next(self) -> bool:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return bool(self._timers)


class Gate:
    """Holds actions until it is opened: a test knows that they run, and decides when they end.

    >>> from dagflow_nb import DagFlow, Workflow
    >>> gate = Gate()
    >>> def careful() -> int:
    ...     gate.hold()
    ...     return 42
    >>> wf = Workflow("gated")
    >>> node = wf.add(careful)
    >>> with DagFlow(":memory:") as flow:
    ...     run = flow.start(wf, view=False)
    ...     gate.wait_for(1)
    ...     before = run.status
    ...     gate.open()
    ...     print(before, run.wait().result)
    running 42
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = False
        self.held = 0
        self.passed = 0

    def hold(self, timeout: float = PATIENCE) -> None:
        """In a `def` action: wait until the gate is open."""
        with self._changed:
            self.held += 1
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._open, timeout):
                raise TimeoutError(f"the gate was not opened within {timeout:g} s")
            self.passed += 1

    async def hold_async(self, timeout: float = PATIENCE) -> None:
        """In an `async def` action: the same, and the loop stays free."""
        with self._changed:
            self.held += 1
            self._changed.notify_all()
        async with asyncio.timeout(timeout):
            while not self._open:
                await asyncio.sleep(0.002)
        self.passed += 1

    def wait_for(self, count: int, timeout: float = PATIENCE) -> None:
        """In the test: wait until `count` actions in all have come to the gate."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.held >= count, timeout):
                raise TimeoutError(f"{self.held} of {count} actions came to the gate within {timeout:g} s")

    def open(self) -> None:
        """Let everyone through from now on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()
