"""Tasks that make their first step at once."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dagflow_nb.runtime.eager import Starter

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="outside")


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine, on a loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a coroutine in a context of its own."""
    return Starter(asyncio.get_running_loop()).start(coroutine, contextvars.copy_context())


@on_a_loop
async def test_what_never_waits_is_done_at_once() -> None:
    """It has run in a task and a context of its own, and the caller's are what they were."""
    seen: list[Any] = []

    async def work() -> None:
        NAME.set("inside")
        seen.append(asyncio.current_task())

    outer = asyncio.current_task()
    task = start(work())
    assert task.done() and seen == [task]
    assert asyncio.current_task() is outer and NAME.get() == "outside"


@on_a_loop
async def test_what_waits_goes_on_as_any_task() -> None:
    """Its first step ends at its first wait; then it can be cancelled, named, waited for."""
    gate, seen = asyncio.Event(), []

    async def work() -> None:
        seen.append("began")
        async with asyncio.timeout(60):
            await gate.wait()
        seen.append("went on")

    task = start(work())
    assert seen == ["began"] and not task.done() and task in asyncio.all_tasks()
    gate.set()
    await task
    assert seen == ["began", "went on"]
    stopped = start(asyncio.sleep(60))
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped


@on_a_loop
async def test_one_starts_another_in_its_first_step() -> None:
    """Each knows its own task before, while and after the other makes its first step."""
    seen: list[Any] = []

    async def inner() -> None:
        seen.append(asyncio.current_task())

    async def outer() -> None:
        seen.append(asyncio.current_task())
        seen.append(start(inner()))
        seen.append(asyncio.current_task())

    task = start(outer())
    first, inner_task, within, last = seen[0], seen[1], seen[2], seen[3]
    assert first is last is task and inner_task is within is not task


@on_a_loop
async def test_an_error_is_the_tasks_own() -> None:
    """What a first step raises is not raised where it is started."""

    async def fail() -> None:
        raise ValueError("mine")

    task = start(fail())
    with pytest.raises(ValueError, match="mine"):
        await task
    assert asyncio.current_task() is not task


def test_a_step_outside_of_any_task() -> None:
    """Where a callback of the loop starts it no task is the current one, before and after."""
    seen: list[Any] = []

    async def work() -> None:
        seen.append(asyncio.current_task())

    def callback() -> None:
        loop = asyncio.get_event_loop()
        seen.append(asyncio.current_task())
        seen.append(start(work()))
        seen.append(asyncio.current_task())
        loop.stop()

    loop = asyncio.new_event_loop()
    loop.call_soon(callback)
    loop.run_forever()
    loop.close()
    before, within, task, after = seen
    assert before is None is after and within is task


@on_a_loop
async def test_other_callbacks_go_to_the_loop() -> None:
    """What the first step schedules is not lost, and the loop is as it was."""
    loop, seen = asyncio.get_running_loop(), []

    async def work() -> None:
        loop.call_soon(seen.append, 1)

    assert start(work()).done() and not seen
    await asyncio.sleep(0)
    assert seen == [1] and "call_soon" not in vars(loop)


@on_a_loop
async def test_a_loop_with_its_own_kind_of_task_keeps_it() -> None:
    """A task factory is asked, and the first step comes when it wants."""
    loop = asyncio.get_running_loop()

    class Own(asyncio.Task[Any]):
        pass

    async def work() -> None:
        return None

    def make(loop: Any, coroutine: Any, **more: Any) -> Any:
        return Own(coroutine, loop=loop, **more)

    loop.set_task_factory(make)
    try:
        task = start(work())
        assert type(task) is Own and not task.done()
        await task
    finally:
        loop.set_task_factory(None)


@on_a_loop
async def test_a_loop_with_a_call_soon_of_its_own_keeps_it() -> None:
    """What somebody has put there to watch the loop is still there."""
    loop = asyncio.get_running_loop()
    real = loop.call_soon

    def watched(callback: Any, *args: Any, context: Any = None) -> Any:
        return real(callback, *args, context=context)

    async def work() -> None:
        await asyncio.sleep(0)

    loop.call_soon = watched  # type: ignore[assignment,method-assign]
    try:
        await start(work())
        assert loop.call_soon is watched
    finally:
        del loop.call_soon


def test_a_loop_that_runs_within_itself_goes_on_with_the_others() -> None:
    """With nested loops an action may wait for another node of its run, and has its time limit."""
    code = """
import asyncio
import dagflow_nb as d
d.enable_nested_asyncio()
flow, begun = d.DagFlow(":memory:", echo=False), asyncio.Event()
@flow.action
async def waits():
    asyncio.get_running_loop().run_until_complete(begun.wait())
@flow.action
async def begins():
    begun.set()
@flow.action
async def is_late():
    asyncio.get_running_loop().run_until_complete(asyncio.sleep(1))
workflow = d.Workflow("w")
workflow.add(waits, timeout=20), workflow.add(begins)
print(flow.run(workflow, view=False).status)
late = d.Workflow("late")
late.add(is_late, timeout=0.05)
run = flow.start(late)
try:
    run.wait(10)
except d.NodeExecutionError as error:
    print(error.error)
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[0] == "completed", done.stderr
    assert "timed out" in done.stdout, done.stderr
