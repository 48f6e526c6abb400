"""One attempt of one node: where it runs, and what it says while it does."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from typing import Any

from ..actions import FunctionAction, NodeAction, NodeCtx, PreparedAction
from ..core.model import NodeOutput
from ..errors import shorten
from ..threads import Threads
from .capture import CURRENT
from .processes import Attempt, Processes
from .tracebacks import describe, user_traceback

_NOTHING = object()
MOST_OUTPUT = 1_000_000  # characters that one attempt may print before the rest is dropped

# what an attempt says: (kind, node_id, attempt, at, *data)
Said = tuple[Any, ...]


class Talk:
    """One attempt (or hook) under way: everything it says goes into the run's `outbox`, from any thread.

    Nothing here blocks; `wake` tells the run that something is there. `recorded`: the store knows that it
    runs. `on_loop`: a coroutine, whose first step is made as soon as it starts. `lines`: those without an
    end that are held back, None if there are none. `task` or `stop()` is what ends it, `result` how it
    ended. `key`: what its result is kept under.
    """

    cancelled = False
    recorded = False
    on_loop = False
    key: Any = None
    started_at = 0.0
    stop: Callable[[], Any] | None = None
    lines: dict[str, str] | None = None
    _size = 0

    def __init__(
        self, node_id: str, attempt: int, outbox: deque[Said], wake: Callable[[], None], echo: bool
    ) -> None:
        self.node_id, self.attempt, self.outbox, self._wake, self.echo = node_id, attempt, outbox, wake, echo
        self.task: asyncio.Task[None] | None = None
        self.result: Result | None = None

    def _say(self, kind: str, *data: Any) -> None:
        if not self.cancelled or kind == "usage":
            self.outbox.append((kind, self.node_id, self.attempt, time.time(), *data))
            self._wake()

    def log(self, message: str, level: str) -> None:
        """A line that the action logs itself."""
        self._say("log", level, "log", self._bounded(message))

    def logged(self, level: str, message: str) -> None:
        """A record of the standard `logging`."""
        self._say("log", level, "logging", self._bounded(message))

    def progress(self, fraction: float, message: str | None) -> None:
        """How far it is."""
        self._say("progress", fraction, message)

    def emit(self, name: str, data: Any) -> None:
        """An event for the hooks."""
        self._say("emit", name, data)

    def stream(self, token: str) -> None:
        """A piece of text for who watches."""
        self._say("token", token)

    def usage(self, tokens: float, cost: float) -> None:
        """What it used up."""
        self._say("usage", tokens, cost)

    def wrote(self, stream: str, text: str) -> str:
        """What it printed; returns the lines that are whole now."""
        if self.lines is None:
            self.lines = {}
        lines, newline, rest = (self.lines.get(stream, "") + text).rpartition("\n")
        if not newline:
            # a line without an end is held back, but not for ever
            self.lines[stream] = rest if len(rest) < 10_000 else ""
            if len(rest) >= 10_000:
                return self._printed(stream, rest)
            return ""
        self.lines[stream] = rest
        return self._printed(stream, lines + newline)

    def _printed(self, stream: str, text: str) -> str:
        kept = self._bounded(text)
        if kept:
            self._say("log", "INFO" if stream == "stdout" else "ERROR", stream, kept.rstrip("\n"))
        return kept

    def _bounded(self, text: str) -> str:
        room = MOST_OUTPUT - self._size
        self._size += len(text)
        if room <= 0:
            return ""
        if len(text) <= room:
            return text
        return (
            text[:room] + f"\n[{self.node_id}: more than {MOST_OUTPUT:,} characters, the rest is dropped]\n"
        )

    def last_lines(self) -> dict[str, str]:
        """The lines without an end that are still held back, by stream; they are taken."""
        lines, self.lines = self.lines, None
        found = {}
        for stream, text in (lines or {}).items():
            if text:
                found[stream] = self._printed(stream, text + "\n")
        return found


class Result:
    """How an attempt ended; `rows` are its outputs as they will be stored."""

    __slots__ = ("error", "exception", "outcome", "retryable", "rows", "traceback")

    def __init__(
        self, outcome: NodeOutput | None, exception: BaseException | None, action: NodeAction | None
    ) -> None:
        self.outcome, self.exception = outcome, exception
        self.rows: list[Any] | None = None
        self.error: str | None = None
        self.traceback: str | None = None
        self.retryable = False
        if exception is not None and action is not None:
            self.error = describe(exception)
            self.traceback = user_traceback(exception)
            self.retryable = retries_on(action, exception)


def retries_on(action: NodeAction, error: BaseException) -> bool:
    """Whether an attempt that raised this is worth another one."""
    if not isinstance(error, Exception):
        return False
    return action.retries_on(error) if isinstance(action, PreparedAction) else True


def checked(action: NodeAction, outcome: Any) -> NodeOutput:
    """What `execute` returned, if it is what it should be."""
    if isinstance(outcome, NodeOutput):
        return outcome
    raise TypeError(f"{action.name!r} must return a NodeOutput from execute(), not {shorten(outcome)}")


def run_in_thread(
    action: FunctionAction,
    ctx: NodeCtx,
    talk: Talk,
    context: Context,
    threads: Threads,
    done: Callable[[Result], None],
) -> None:
    """Run an attempt in a thread; `done(result)` is called there."""

    threads.submit(lambda: done(context.run(_invoke, action, ctx, talk)))


def _invoke(action: FunctionAction, ctx: NodeCtx, talk: Talk) -> Result:
    CURRENT.set(talk)
    try:
        return Result(action.invoke(ctx), None, action)
    except BaseException as error:
        return Result(None, error, action)


def run_in_executor(
    action: FunctionAction,
    ctx: NodeCtx,
    talk: Talk,
    context: Context,
    executor: Executor,
    done: Callable[[Result], None],
) -> Callable[[], bool]:
    """Run an attempt in an executor of `concurrent.futures`; returns what cancels it.

    In a pool of threads what it says arrives while it runs, elsewhere together with its result.
    """
    from . import remote

    if isinstance(executor, ThreadPoolExecutor):
        return executor.submit(lambda: done(context.run(_invoke, action, ctx, talk))).cancel
    future = executor.submit(remote.call, remote.pack(action, ctx))

    def finish(future: Any) -> None:
        if future.cancelled():
            return
        try:
            packed, said = future.result()
            for kind, data in said:
                hear(talk, context, kind, data)
            outcome, error = remote.unpack(packed)
        except BaseException as bad:
            outcome, error = None, bad
        done(Result(outcome, error, action))

    future.add_done_callback(finish)
    return future.cancel


def run_in_process(
    action: FunctionAction,
    ctx: NodeCtx,
    talk: Talk,
    context: Context,
    processes: Processes,
    done: Callable[[Result], None],
) -> Callable[[], None]:
    """Run an attempt in a worker process; returns what ends it there."""
    from . import remote

    def find(namespace: str, key: str) -> list[Any]:
        found = ctx.cache.get(namespace, key, _NOTHING)
        return [] if found is _NOTHING else [found]

    def end(packed: bytes | None, why: str) -> None:
        try:
            outcome, error = remote.unpack(packed) if packed is not None else (None, RuntimeError(why))
        except Exception as bad:
            outcome, error = None, TypeError(f"its result cannot be read from its process: {bad}")
        done(Result(outcome, error, action))

    attempt = Attempt(remote.pack(action, ctx), lambda kind, data: hear(talk, context, kind, data), find, end)
    return processes.submit(attempt)


def hear(talk: Talk, context: Context, kind: str, data: tuple[Any, ...]) -> None:
    """Pass on what an attempt said in another process."""
    if kind == "wrote":
        lines = talk.wrote(*data)
        if lines and talk.echo:
            context.run(getattr(sys, data[0]).write, lines)
    else:
        getattr(talk, kind)(*data)
