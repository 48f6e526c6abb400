"""Daemon threads for `def` actions: reused, never joined, gone when they are closed."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

import pytest

from dagflow_nb import threads as module
from dagflow_nb.testing import Gate
from dagflow_nb.threads import Call, Threads


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


def test_a_thread_without_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while an idle thread ends by itself; the next call gets a new one."""
    monkeypatch.setattr(module, "IDLE", 0.01)
    threads = Threads("short")
    for _ in range(2):
        ended = threading.Event()
        threads.submit(ended.set)
        assert ended.wait(10)
        while any(t.name.startswith("short") for t in threading.enumerate()):
            time.sleep(0.001)
    assert threads.started == 2 and not threads._idle


def test_a_thread_that_is_gone_is_not_given_work() -> None:
    """Of the threads of the process that this one was forked from only the records are there."""
    threads = Threads()
    gone = module._Worker(lambda own: None, "gone")
    gone.thread.start()
    gone.thread.join(10)
    threads._idle.append(gone)
    ended = threading.Event()
    threads.submit(ended.set)
    assert ended.wait(10)
    threads.close()


def _call(function: Any, patience: float) -> Any:
    threads = Threads("calls")

    async def main() -> Any:
        call = Call(function)
        threads.submit(call.run)
        return await call.outcome(patience)

    try:
        return asyncio.run(main())
    finally:
        threads.close()


@pytest.mark.parametrize("patience", [0.0, 10.0])
def test_a_call_in_another_thread_gives_what_it_returns_or_raises(patience: float) -> None:
    """Waited for at once or woken up later: the value, the exception, and the caller's context."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("given")
    found = _call(lambda: (variable.get(), threading.current_thread().name), patience)
    assert found[0] == "given" and found[1].startswith("calls")
    with pytest.raises(ZeroDivisionError):
        _call(lambda: 1 / 0, patience)


def test_a_slow_call_does_not_hold_the_loop_up() -> None:
    """The loop waits for as long as it is told to, then it goes on with others until it is woken up."""
    gate, threads = Gate(), Threads()
    order: list[str] = []

    async def other() -> None:
        gate.wait_for(1)
        order.append("other")
        gate.open()

    async def main() -> None:
        call = Call(gate.hold)
        threads.submit(call.run)
        waiting = asyncio.ensure_future(call.outcome(0.001))
        await asyncio.sleep(0)
        await other()
        await waiting
        order.append("answered")

    asyncio.run(main())
    threads.close()
    assert order == ["other", "answered"]
