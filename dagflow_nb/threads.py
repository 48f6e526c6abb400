"""Daemon threads for `def` actions and hooks.

The standard pool is not used for two reasons: a thread that outlives its attempt's timeout would keep
its worker, and with it the pool, busy; and its threads are joined when the interpreter exits, which
one stuck action would then prevent.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

IDLE = 30.0  # seconds after which a thread that has nothing to do ends


class _Worker:
    """One thread and what it is given to do; None ends it."""

    __slots__ = ("queue", "thread")

    def __init__(self, work: Callable[[_Worker], None], name: str) -> None:
        self.queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = threading.Thread(target=work, args=(self,), name=name, daemon=True)


class Threads:
    """Runs callables in daemon threads, which are reused; the caller bounds how many run at once."""

    def __init__(self, name: str = "dagflow-action") -> None:
        self._name = name
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False
        self.started = 0

    def submit(self, fn: Callable[[], None]) -> None:
        """Call `fn`, which must not raise, in an idle thread or a new one."""
        worker: _Worker | None = None
        with self._lock:
            while self._idle and worker is None:
                worker = self._idle.pop()
                if not worker.thread.is_alive():  # of the process that this one was forked from
                    worker = None
            if worker is None:
                self.started += 1
        if worker is not None:
            worker.queue.put(fn)
            return
        worker = _Worker(self._work, f"{self._name}-{self.started}")
        worker.queue.put(fn)
        worker.thread.start()

    def _work(self, own: _Worker) -> None:
        while (fn := self._next(own)) is not None:
            fn()
            del fn  # an idle thread keeps nothing of the last action alive
            with self._lock:
                if self._closed:
                    return
                self._idle.append(own)

    def _next(self, own: _Worker) -> Callable[[], None] | None:
        try:
            return own.queue.get(timeout=IDLE)
        except Empty:
            with self._lock:
                if own in self._idle:
                    self._idle.remove(own)
                    return None
            return own.queue.get()  # somebody has just taken it, and is about to give it work

    def close(self) -> None:
        """Let idle threads end; busy ones end after what they do."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.queue.put(None)


class Call:
    """A call that is made in another thread, in the context of who makes the `Call`."""

    __slots__ = ("_context", "_done", "_error", "_function", "_loop", "_result", "_waiter")

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._done = threading.Lock()
        self._done.acquire()
        self._waiter: asyncio.Future[None] | None = None
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call; in the other thread."""
        try:
            self._result = self._context.run(self._function)
        except BaseException as raised:
            self._error = raised
        self._done.release()
        waiter = self._waiter
        if waiter is not None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                self._loop.call_soon_threadsafe(_wake, waiter)

    async def outcome(self, patience: float) -> Any:
        """What the call returns or raises. The loop is held up for `patience` seconds at most.

        To be woken up by another thread takes a loop twice as long as to wait for it.
        """
        if not (patience and self._done.acquire(timeout=patience)):
            self._waiter = self._loop.create_future()
            # it may have ended before it could see that somebody waits
            if not self._done.acquire(blocking=False):
                await self._waiter
        try:
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._error = None  # its traceback holds this frame


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
