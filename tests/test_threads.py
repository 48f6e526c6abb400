"""Daemon threads for `def` actions: reused, never joined, gone when they are closed."""

from __future__ import annotations

import threading

from dagflow_nb.testing import Gate
from dagflow_nb.threads import Threads


def test_idle_threads_are_reused() -> None:
    """One call after the other needs one thread; calls at the same time need as many."""
    threads = Threads()
    for _ in range(50):
        ended = threading.Event()
        threads.submit(ended.set)
        assert ended.wait(10)
        while not threads._idle:
            pass
    assert threads.started == 1
    gate = Gate()
    for _ in range(5):
        threads.submit(gate.hold)
    gate.wait_for(5)
    assert threads.started == 5
    gate.open()
    threads.close()


def test_close_ends_idle_threads_and_waits_for_none() -> None:
    """A thread that is busy ends after what it does; closing does not wait for it."""
    gate, threads = Gate(), Threads("closing")
    threads.submit(gate.hold)
    gate.wait_for(1)
    threads.close()
    (busy,) = [t for t in threading.enumerate() if t.name.startswith("closing")]
    assert busy.daemon
    gate.open()
    busy.join(10)
    assert not busy.is_alive()
