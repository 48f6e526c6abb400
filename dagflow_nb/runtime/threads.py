"""Daemon threads for `def` actions.

The standard pool is not used for two reasons: a thread that outlives its attempt's timeout would keep
its worker, and with it the pool, busy; and its threads are joined when the interpreter exits, which
one stuck action would then prevent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """Runs callables in daemon threads, which are reused; the caller bounds how many run at once."""

    def __init__(self, name: str = "dagflow-action") -> None:
        self._name = name
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []
        self._lock = threading.Lock()
        self._closed = False
        self.started = 0

    def submit(self, fn: Callable[[], None]) -> None:
        """Call `fn`, which must not raise, in an idle thread or a new one."""
        with self._lock:
            queue = self._idle.pop() if self._idle else None
            if queue is None:
                self.started += 1
        if queue is not None:
            queue.put(fn)
            return
        queue = SimpleQueue()
        queue.put(fn)
        threading.Thread(
            target=self._work, args=(queue,), name=f"{self._name}-{self.started}", daemon=True
        ).start()

    def _work(self, queue: SimpleQueue[Callable[[], None] | None]) -> None:
        while (fn := queue.get()) is not None:
            fn()
            del fn  # an idle thread keeps nothing of the last action alive
            with self._lock:
                if self._closed:
                    return
                self._idle.append(queue)

    def close(self) -> None:
        """Let idle threads end; busy ones end after what they do."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for queue in idle:
            queue.put(None)
