"""Tasks whose first step is made at once, so that a coroutine that never waits needs no turn of the loop.

Each is a task of its own like any other: `asyncio.current_task()`, its context, cancellation, what is kept
for it. Python does this itself from 3.12 on (`eager_start`,
https://docs.python.org/3/library/asyncio-task.html); before, the step that a new task hands to `call_soon` is
taken and made here.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

# what `asyncio.current_task` looks into, before Python 3.12
_current_tasks: dict[Any, Any] = getattr(tasks, "_current_tasks", {})


class Starter:
    """Starts tasks on one loop; on its thread only.

    On a loop that makes its tasks its own way, or has got a `call_soon` of its own, their first step comes
    later, as usual; also on one that may be run within itself (nest_asyncio), as nothing else of the run
    goes on until such a step has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._call_soon, self._attributes = loop, loop.call_soon, vars(loop)
        self._nests = hasattr(loop, "_nest_patched")
        self._context: Context | None = None
        self._step: Callable[[], None] | None = None

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        """A task that has come to its first wait, or its end; `context` is nobody else's."""
        loop = self._loop
        if self._nests or loop.get_task_factory() is not None:
            return loop.create_task(coroutine, context=context)
        if sys.version_info >= (3, 12):
            return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
        if "call_soon" in self._attributes:
            return loop.create_task(coroutine, context=context)
        self._context, self._step = context, None
        loop.call_soon = self._take  # type: ignore[assignment,method-assign]  # until the task is made
        try:
            task = asyncio.Task(coroutine, loop=loop, context=context)
        finally:
            del loop.call_soon
        step, outer = self._step, _current_tasks.get(loop)
        if step is None:
            return task
        if outer is None:
            context.run(step)
            return task
        tasks._leave_task(loop, outer)
        try:
            context.run(step)
        finally:
            tasks._enter_task(loop, outer)
        return task

    def _take(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        if context is not self._context:
            return self._call_soon(callback, *args, context=context)
        self._step = callback
        return None
