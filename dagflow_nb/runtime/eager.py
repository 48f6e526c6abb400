"""A task whose first step is made at once, so that a coroutine that never waits needs no turn of the loop.

It is a task of its own like any other: `asyncio.current_task()`, its context, cancellation, what is kept for
it. Python does this itself from 3.12 on (`eager_start`, https://docs.python.org/3/library/asyncio-task.html);
before, the step that a new task hands to `call_soon` is taken and made here.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


def start_now(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], context: Context
) -> asyncio.Task[None]:
    """A task for `coroutine`, which has come to its first wait, or its end; called on the loop's thread.

    `context`: nobody else's. On a loop that makes its tasks its own way the first step comes later.
    """
    if loop.get_task_factory() is not None:
        return loop.create_task(coroutine, context=context)
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
    usual, step = loop.call_soon, None

    def take(callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        nonlocal step
        if context is not own:
            return usual(callback, *args, context=context)
        step = callback
        return None

    own = context
    loop.call_soon = take  # type: ignore[method-assign]
    try:
        task = asyncio.Task(coroutine, loop=loop, context=context)
    finally:
        del loop.call_soon
    if step is not None:
        outer = tasks.current_task(loop)
        if outer is None:
            context.run(step)
        else:
            tasks._leave_task(loop, outer)
            try:
                context.run(step)
            finally:
                tasks._enter_task(loop, outer)
    return task
