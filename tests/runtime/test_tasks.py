"""The coroutines of a run: none waits for another one, and what they leave in their task nobody finds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from dagflow_nb.runtime.capture import CURRENT
from dagflow_nb.runtime.tasks import Tasks

MARK: ContextVar[Any] = ContextVar("mark", default=None)


def in_tasks(test: Callable[[Tasks], Awaitable[None]]) -> None:
    """Run a test on a loop of its own, with tasks in a copy of its context."""

    async def main() -> None:
        await test(Tasks(asyncio.get_running_loop(), copy_context()))

    asyncio.run(main())


async def rounds(number: int) -> None:
    """Let the loop go round."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_what_never_waits_shares_a_task() -> None:
    """Once one of a kind has ended without a wait, a hundred run in one task, in the order they came."""

    async def test(tasks: Tasks) -> None:
        seen: list[tuple[int, asyncio.Task[None]]] = []

        async def work(task: asyncio.Task[None], n: int) -> None:
            assert asyncio.current_task() is task
            seen.append((n, task))

        tasks.run("kind", None, work, -1)
        await rounds(2)
        for n in range(100):
            tasks.run("kind", None, work, n)
        await rounds(3)
        assert [n for n, _ in seen] == list(range(-1, 100))
        assert len({task for _, task in seen[1:]}) == 1

    in_tasks(test)


def test_of_an_unknown_kind_all_begin_at_once() -> None:
    """Sixty coroutines that all wait are under way together after one turn of the loop."""

    async def test(tasks: Tasks) -> None:
        gate, begun = asyncio.Event(), []

        async def work(task: asyncio.Task[None], n: int) -> None:
            begun.append(n)
            await gate.wait()

        for n in range(60):
            tasks.run("kind", None, work, n)
        await rounds(1)
        assert begun == list(range(60))
        gate.set()

    in_tasks(test)


def test_a_kind_that_waits_for_once_holds_up_the_others_for_two_turns() -> None:
    """Where one of a kind that never had to wait does, those that are there begin by themselves."""

    async def test(tasks: Tasks) -> None:
        gate, begun = asyncio.Event(), []

        async def quick(task: asyncio.Task[None]) -> None:
            begun.append(-1)

        async def work(task: asyncio.Task[None], n: int) -> None:
            begun.append(n)
            await gate.wait()

        tasks.run("kind", None, quick)
        await rounds(2)
        for n in range(60):
            tasks.run("kind", None, work, n)
        await rounds(3)
        assert begun == list(range(-1, 60))
        gate.set()
        await rounds(3)
        for n in range(60):
            tasks.run("kind", None, work, n)
        await rounds(1)
        assert len(begun) == 121

    in_tasks(test)


def test_none_waits_for_another() -> None:
    """Ten coroutines that wait for each other all get to the place where they wait."""

    async def test(tasks: Tasks) -> None:
        together = asyncio.Barrier(10)
        ended: list[int] = []

        async def work(task: asyncio.Task[None], n: int) -> None:
            await together.wait()
            ended.append(n)

        for n in range(10):
            tasks.run("kind", None, work, n)
        async with asyncio.timeout(5):
            while len(ended) < 10:
                await asyncio.sleep(0)

    in_tasks(test)


def test_what_comes_at_the_end_of_one_runs_in_its_task() -> None:
    """A coroutine that has said that it ends is followed by what it brought, without a turn of the loop."""

    async def test(tasks: Tasks) -> None:
        seen: list[Any] = []

        async def work(task: asyncio.Task[None], left: int) -> None:
            seen.append(task)
            tasks.ends()
            if left:
                tasks.run("kind", None, work, left - 1)

        tasks.run("kind", None, work, 20)
        await rounds(2)
        assert len(seen) == 21 and len(set(seen)) == 1

    in_tasks(test)


def test_what_comes_while_one_waits_after_all_is_not_forgotten() -> None:
    """A coroutine may take back that it ends: what was to follow it gets a task of its own."""

    async def test(tasks: Tasks) -> None:
        gate, seen = asyncio.Event(), []

        async def first(task: asyncio.Task[None]) -> None:
            tasks.ends()
            tasks.run("kind", None, second)
            tasks.goes_on()
            await gate.wait()
            seen.append("first")

        async def second(task: asyncio.Task[None]) -> None:
            seen.append("second")
            gate.set()

        tasks.run("kind", None, first)
        await rounds(5)
        assert seen == ["second", "first"]

    in_tasks(test)


def _set(task: asyncio.Task[None]) -> None:
    MARK.set("left behind")


def _set_odd(task: asyncio.Task[None]) -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("I am not to be compared")

        __hash__ = None  # type: ignore[assignment]  # it cannot be one

    MARK.set(Odd())


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


@pytest.mark.parametrize("leave", [_set, _set_odd, _cancel])
def test_what_one_leaves_in_its_task_nobody_finds(leave: Callable[[asyncio.Task[None]], None]) -> None:
    """A context variable that was set, or a cancellation that was asked for, is gone for the next one."""

    async def test(tasks: Tasks) -> None:
        seen: list[Any] = []

        async def work(task: asyncio.Task[None], n: int) -> None:
            seen.append((task, MARK.get(), task.cancelling()))
            leave(task)

        for n in range(3):
            tasks.run("kind", None, work, n)
        await rounds(8)
        assert [entry[1:] for entry in seen] == [(None, 0)] * 3
        assert len({task for task, *_ in seen}) == 3

    in_tasks(test)


def test_one_that_is_cancelled_takes_nobody_with_it() -> None:
    """What waits while a coroutine is cancelled runs all the same."""

    async def test(tasks: Tasks) -> None:
        seen: list[Any] = []

        async def stuck(task: asyncio.Task[None]) -> None:
            seen.append(task)
            await asyncio.Event().wait()

        async def work(task: asyncio.Task[None]) -> None:
            seen.append("next")

        tasks.run("kind", None, stuck)
        tasks.run("kind", None, work)
        await rounds(1)
        seen[0].cancel()
        tasks.run("kind", None, work)
        await rounds(4)
        assert seen[1:] == ["next", "next"] and seen[0].cancelled()

    in_tasks(test)


def test_each_has_its_listener() -> None:
    """What a coroutine prints is told to its own listener, also in a task that had another one."""

    async def test(tasks: Tasks) -> None:
        heard: list[Any] = []

        async def work(task: asyncio.Task[None]) -> None:
            heard.append(CURRENT.get())

        listeners: list[Any] = [object(), None, object()]
        for listener in listeners:
            tasks.run("kind", listener, work)
        await rounds(3)
        assert heard == listeners and CURRENT.get() is None

    in_tasks(test)


def test_the_loop_goes_round_while_they_never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coroutines that follow each other for longer than a moment let others have their turn."""

    async def test(tasks: Tasks) -> None:
        loop = asyncio.get_running_loop()
        times = iter(n * 0.01 for n in range(1000))
        monkeypatch.setattr(loop, "time", lambda: next(times))
        seen: list[str] = []

        async def work(task: asyncio.Task[None], left: int) -> None:
            seen.append("work")
            tasks.ends()
            if left:
                tasks.run("kind", None, work, left - 1)
            loop.call_soon(seen.append, "other")

        tasks.run("kind", None, work, 5)
        await rounds(12)
        assert seen[:6] == ["work", "other", "work", "other", "work", "other"]

    in_tasks(test)
