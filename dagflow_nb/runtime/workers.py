"""The attempts of one run that are under way: started, listened to, stopped."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..actions import MISSING, FunctionAction, NodeAction, NodeCtx
from ..core import messages as m
from ..core.graph import Node
from ..core.model import NodeOutput
from ..errors import shorten
from ..store import Unit
from .attempts import (
    Result,
    Said,
    Talk,
    describe,
    run_coroutine,
    run_in_executor,
    run_in_process,
    run_in_thread,
)
from .threads import Threads

if TYPE_CHECKING:
    from .coordinator import RunCoordinator

log = logging.getLogger("dagflow_nb")
GRACE = 5.0  # seconds that cancelled coroutines have for their own clean-up
LISTEN_EVERY = 0.05  # seconds between two looks at what attempts have said
_STOPPED = {"interrupted": "interrupted", "its process ended": "interrupted", "withdrawn": "cancelled"}


class UnderWay:
    """One attempt that is under way."""

    __slots__ = ("attempt", "started_at", "stop", "talk")

    def __init__(self, attempt: int, started_at: float, talk: Talk) -> None:
        self.attempt, self.started_at, self.talk = attempt, started_at, talk
        self.stop: Callable[[], Any] | None = None


class Workers:
    """Starts attempts where they belong and posts how they ended. Late results are dropped."""

    def __init__(self, coordinator: RunCoordinator) -> None:
        self._run = coordinator
        self._threads = Threads()
        self._under_way: dict[str, UnderWay] = {}
        # attempts that were under way when another process was left: (attempt, started_at) by node id
        self.left: dict[str, tuple[int, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: dict[str, Result] = {}
        self._outbox: deque[Said] = deque()
        self._flagged = False

    # --- start --------------------------------------------------------------------------------

    def register(self, effect: m.StartAttempt, unit: Unit) -> None:
        """An attempt is decided: it is recorded, and starts once that is stored as far as it must be."""
        run = self._run
        id, attempt, at = effect.node_id, effect.attempt, run.scheduler.now
        self._under_way[id] = UnderWay(attempt, at, Talk(id, attempt, self._outbox, self._flag, run.echo))
        action = run.scheduler.nodes[id].spec.action
        unit.attempts.append((id, action, attempt, "running", at, None, None, None))

    def start(self, effect: m.StartAttempt) -> None:
        """Start an attempt that was registered; one that was stopped meanwhile does not start."""
        id, attempt = effect.node_id, effect.attempt
        own = self._under_way.get(id)
        if own is None or own.attempt != attempt:
            return
        run = self._run
        node = run.scheduler.nodes[id]
        spec = node.spec
        if spec.kind == "branch":
            self._decide(node, attempt)
            return
        action = run.actions.get(spec.action)
        if action is None:
            self._fail_before(id, attempt, f"action {spec.action!r} is not defined", None)
            return
        try:
            inputs = self._inputs(node, action)
        except Exception as error:
            self._fail_before(id, attempt, str(error), error)
            return
        ctx = NodeCtx(
            run.dag_name, id, spec.action, run.run_id, attempt, inputs, run.cache, run.app_data, own.talk
        )
        settings = run.scheduler.settings.get(spec.action)
        where = spec.executor or (settings.executor if settings is not None else "async")
        context = run.context.copy()
        if where == "async" or not isinstance(action, FunctionAction):
            task = run.loop.create_task(self._coroutine(id, attempt, action, ctx, own.talk), context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            own.stop = task.cancel
        elif where == "thread":
            run_in_thread(action, ctx, own.talk, context, self._threads, self._in_thread(id, attempt))
        else:
            try:
                done = self._in_thread(id, attempt)
                if run.executors.in_processes(where):
                    processes = run.executors.own_processes()
                    own.stop = run_in_process(action, ctx, own.talk, context, processes, done)
                else:
                    executor = run.executors.open(where)
                    own.stop = run_in_executor(action, ctx, own.talk, context, executor, done)
            except Exception as error:
                self._fail_before(id, attempt, f"executor {where!r}: {error}", error)

    def _inputs(self, node: Node, action: NodeAction) -> dict[str, Any]:
        if not node.spec.inputs and node.spec.item is None and node.human is None and not node.answered:
            inputs: dict[str, Any] = {}
        else:
            default_of = getattr(action, "default_of", _no_default)
            handles = node.guardian is not None and node.id == f"{node.guardian}.on_failure"
            inputs = self._run.values.resolve(node, default_of, lenient=handles)
        return inputs

    def _decide(self, node: Node, attempt: int) -> None:
        """A branch node: which way is taken."""
        try:
            taken = bool(self._run.values.resolve(node)["condition"])
        except Exception as error:
            self._fail_before(node.id, attempt, str(error), error)
            return
        outcome = NodeOutput({"result": taken}, metadata={"taken": taken}, returned="value")
        result = Result(outcome, None, None)
        result.rows = self._run.encode(node.id, outcome.outputs)
        self._ended(node.id, attempt, result)

    def _fail_before(self, id: str, attempt: int, error: str, exception: Exception | None) -> None:
        """An attempt that cannot even begin: a further one would do no better."""
        result = Result(None, None, None)
        result.error, result.exception = error, exception
        self._ended(id, attempt, result)

    # --- end ----------------------------------------------------------------------------------

    async def _coroutine(self, id: str, attempt: int, action: NodeAction, ctx: NodeCtx, talk: Talk) -> None:
        result = self._with_rows(id, await run_coroutine(action, ctx, talk))
        if self._run.is_full():
            await self._run.room()
        self._ended(id, attempt, result)

    def _in_thread(self, id: str, attempt: int) -> Callable[[Result], None]:
        """What is called in the thread that ran an attempt: values are encoded there, not on the loop."""

        def done(result: Result) -> None:
            result = self._with_rows(id, result)
            try:
                self._run.loop.call_soon_threadsafe(self._ended, id, attempt, result)
            except RuntimeError:
                log.debug("run %s: node %s came back after its loop had ended", self._run.run_id, id)

        return done

    def _with_rows(self, id: str, result: Result) -> Result:
        """A result with its outputs as they will be stored; outputs that cannot be read are its error."""
        if result.outcome is None:
            return result
        try:
            for key in result.outcome.outputs:
                if not isinstance(key, str):
                    raise TypeError(f"the names of outputs are texts, unlike {shorten(key)}")
            result.rows = self._run.encode(id, result.outcome.outputs)
        except Exception as error:
            result = Result(None, error, None)
            result.error = f"its outputs cannot be read: {describe(error)}"
        return result

    def _ended(self, id: str, attempt: int, result: Result) -> None:
        own = self._under_way.get(id)
        if own is None or own.attempt != attempt:
            return
        run = self._run
        self._results[id] = result
        at, outcome = run.clock.now(), result.outcome
        if outcome is not None:
            run.post(m.AttemptEnded(id, attempt, at, outcome))
            return
        error, exception, retryable = result.error, result.exception, result.retryable
        run.post(m.AttemptEnded(id, attempt, at, None, error, exception, retryable, run.random.random()))

    def record(self, message: m.AttemptEnded, unit: Unit) -> None:
        """The scheduler has taken an attempt's end: its rows are stored."""
        id = message.node_id
        own = self._under_way.get(id)
        if own is None or own.attempt != message.attempt:
            return
        del self._under_way[id]
        run = self._run
        result = self._results.pop(id)
        self._last_lines(own.talk, unit)
        outcome = message.outcome
        if outcome is not None and outcome.success:
            status, error = "completed", None
        else:
            status, error = "failed", message.error if outcome is None else outcome.error
        node = run.scheduler.nodes.get(id)
        action = node.spec.action if node is not None else None
        at = run.scheduler.now
        unit.attempts.append((id, action, own.attempt, status, own.started_at, at, error, result.traceback))
        if outcome is not None and own.attempt > 1:
            unit.cleared.append(id)  # what an earlier run of the node gave is not its output any more
        if result.rows and outcome is not None:
            unit.artifacts += result.rows
            run.tell(id, outcome.outputs)

    def stop(self, effect: m.CancelAttempt, unit: Unit) -> None:
        """An attempt is given up: a coroutine is cancelled, a thread is asked to end."""
        id = effect.node_id
        own = self._under_way.get(id)
        if own is not None and own.attempt == effect.attempt:
            del self._under_way[id]
            self._results.pop(id, None)
            self._last_lines(own.talk, unit)
            own.talk.cancelled = True
            if own.stop is not None:
                own.stop()
            started_at = own.started_at
        elif self.left.get(id, (0, 0.0))[0] == effect.attempt:
            started_at = self.left.pop(id)[1]
        else:
            return
        run = self._run
        node = run.scheduler.nodes.get(id)
        action = node.spec.action if node is not None else None
        timed_out = effect.reason.startswith("timed out")
        status = _STOPPED.get(effect.reason) or ("failed" if timed_out else "cancelled")
        at = run.scheduler.now
        unit.attempts.append((id, action, effect.attempt, status, started_at, at, effect.reason, None))

    def abandon(self) -> None:
        """Stop everything at once, recording nothing."""
        for own in self._under_way.values():
            own.talk.cancelled = True
            if own.stop is not None:
                own.stop()
        self._under_way.clear()

    async def finish(self) -> None:
        """Give cancelled coroutines time for their own clean-up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)

    def close(self) -> None:
        """No more attempts."""
        self._threads.close()

    # --- what they say ------------------------------------------------------------------------

    def _flag(self) -> None:
        """An attempt said something; called in any thread."""
        if not self._flagged:
            self._flagged = True
            try:
                self._run.loop.call_soon_threadsafe(self._run.loop.call_later, LISTEN_EVERY, self._run.post)
            except RuntimeError:
                log.debug("run %s: its loop has ended", self._run.run_id)

    def listen(self, unit: Unit) -> None:
        """Logs are stored, progress is shown, events and usage become inputs."""
        self._flagged = False
        run = self._run
        while self._outbox:
            kind, id, attempt, at, *data = self._outbox.popleft()
            if kind == "log":
                level, stream, message = data
                unit.logs.append((id, attempt, at, level, stream, message))
                run.watch.log(id, level, stream, message)
            elif kind == "progress":
                run.watch.progress(id, *data)
            elif kind == "token":
                run.watch.token(id, data[0])
            elif kind == "usage":
                run.post_first(m.UsageReported(id, run.clock.now(), *data))
            else:
                run.post_first(m.Applied((m.EmitEvent(*data),), run.clock.now(), None, node_id=id))

    def _last_lines(self, talk: Talk, unit: Unit) -> None:
        """What an attempt printed without an end of line."""
        for stream, text in talk.last_lines().items():
            if talk.echo and text:
                self._run.context.copy().run(getattr(sys, stream).write, text)
        if self._outbox:
            self.listen(unit)


def _no_default(name: str) -> Any:
    return MISSING
