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
from typing import Any, TypeVar

from ..errors import InvalidState

T = TypeVar("T")
TICK = 0.1  # seconds between two looks at whether an interrupt came


class Engine:
    """A loop in a daemon thread; started when it is first needed."""

    def __init__(self) -> None:
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
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=self._main, args=(ready,), name="dagflow-engine", daemon=True
                )
                self._thread.start()
                ready.wait()
            if self.is_gone:
                raise InvalidState("this DagFlow belongs to the process that forked this one: make a new one")
            assert self._loop is not None
            return self._loop

    @property
    def is_gone(self) -> bool:
        """Whether its thread is of another process, that this one was forked from."""
        return self._thread is not None and not self._thread.is_alive()

    def _main(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._loop = loop
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
