"""The background loop: one daemon thread with an event loop of its own, on which runs live.

Nothing else in the package starts a loop or knows that there is another thread. The thread that asked
for a run only waits, in short ticks, so that an interrupt gets through on every platform.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from ..errors import InvalidState

T = TypeVar("T")
TICK = 0.1  # seconds between two looks at whether an interrupt came


class Guest(Protocol):
    """What lives on a loop: its runs under way, by id, and what ends it."""

    live: dict[str, Any]

    async def close(self, *, keeps_memory: bool = False) -> None:
        """End it; `keeps_memory`: what was looked up may still be read."""


class Engine:
    """A loop in a daemon thread; started when it is first needed.

    Once nobody has the engine any more and its `guest` has no runs under way, that is closed, and the thread
    ends.
    """

    def __init__(self, guest: Guest | None = None) -> None:
        self._guest = guest
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started if need be."""
        with self._lock:
            if self.closed:
                raise InvalidState("this DagFlow is closed: make a new one on the same database")
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                ready = threading.Event()
                # it must not keep the engine, or that would be there for ever
                self._thread = threading.Thread(
                    target=_live, args=(loop, ready), name="dagflow-engine", daemon=True
                )
                self._thread.start()
                ready.wait()
                weakref.finalize(self, _retire, loop, self._guest).atexit = False
            if self.is_gone:
                raise InvalidState("this DagFlow belongs to the process that forked this one: make a new one")
            assert self._loop is not None
            return self._loop

    @property
    def is_gone(self) -> bool:
        """Whether its thread is of another process, that this one was forked from."""
        return self._thread is not None and not self._thread.is_alive()

    def is_here(self) -> bool:
        """Whether the caller runs on this engine's thread (where waiting for it would never end)."""
        return self._thread is threading.current_thread()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except BaseException:
            coroutine.close()
            raise

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it; an interrupt cancels it."""
        if self.is_here():
            coroutine.close()
            raise InvalidState(
                "this waits for the run's own loop and was called on it: in an async action or hook use "
                "`await flow.run_async(...)`, or return commands"
            )
        future = self.submit(coroutine)
        try:
            return wait(future)
        except KeyboardInterrupt:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and its thread."""
        with self._lock:
            self.closed = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join(5.0)


def _live(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    ready.set()
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _retire(loop: asyncio.AbstractEventLoop, guest: Guest | None) -> None:
    """Nobody has the engine any more. Called in any thread, at any moment, so that it must not wait."""
    with suppress(RuntimeError):  # it has been closed
        loop.call_soon_threadsafe(lambda: _retiring.add(loop.create_task(_end(loop, guest))))


_retiring: set[asyncio.Task[None]] = set()


async def _end(loop: asyncio.AbstractEventLoop, guest: Guest | None) -> None:
    """What is under way goes on to its end, then the thread ends."""
    try:
        if guest is not None:
            while guest.live:
                await asyncio.wait([coordinator.done for coordinator in guest.live.values()])
                await asyncio.sleep(0)
            await guest.close(keeps_memory=True)
    finally:
        task = asyncio.current_task()
        assert task is not None
        _retiring.discard(task)
        loop.stop()


def wait(future: concurrent.futures.Future[T]) -> T:
    """The result of a future, waited for in ticks."""
    while True:
        try:
            return future.result(timeout=TICK)
        except concurrent.futures.TimeoutError:
            if future.done():
                return future.result()


async def wait_async(future: concurrent.futures.Future[T]) -> T:
    """The same on the caller's loop; looks up every tick, since ipykernel cancels without waking a loop."""
    inner = asyncio.wrap_future(future)
    while not inner.done():
        await asyncio.wait({inner}, timeout=TICK)
    return inner.result()


def at_exit(owner: Any, close: Callable[[Any], None]) -> None:
    """Call `close(owner)` when the interpreter exits, if it still lives then."""
    reference = weakref.ref(owner)

    def run() -> None:
        alive = reference()
        if alive is not None:
            close(alive)

    atexit.register(run)
    # at exit itself it must not: `finalize` may come before `run`, and would take it back
    weakref.finalize(owner, atexit.unregister, run).atexit = False
