"""The attempts of one run that are under way: started, listened to, stopped."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..actions import MISSING, FunctionAction, NodeAction, NodeCtx
from ..codec.weight import are_heavy
from ..core import messages as m
from ..core.graph import Node
from ..core.model import EMPTY, NodeOutput
from ..core.state import NO_SETTINGS
from ..store import Unit
from ..threads import Threads
from .attempts import Result, Said, Talk, checked, run_in_executor, run_in_process, run_in_thread
from .capture import CURRENT
from .hiding import hide_in_plans
from .outputs import settled_rows
from .recovery import reads_answers
from .rows import is_settled
from .tracebacks import describe
from .values import MissingReference, gap_in

if TYPE_CHECKING:
    from .coordinator import RunCoordinator

log = logging.getLogger("dagflow_nb")
ENDED_BY = 1.0  # seconds after which a loop goes on, though all of its tasks were cancelled
GRACE = 5.0  # seconds that cancelled coroutines have for their own clean-up
LISTEN_EVERY = 0.05  # seconds between two looks at what attempts have said
_STOPPED = {"interrupted": "interrupted", "its process ended": "interrupted", "withdrawn": "cancelled"}


class Workers:
    """Starts attempts where they belong and posts how they ended. Late results are dropped."""

    def __init__(self, coordinator: RunCoordinator) -> None:
        self._run = coordinator
        self._threads = Threads()
        self._under_way: dict[str, Talk] = {}
        # attempts that were under way when another process was left: (attempt, started_at) by node id; and
        # the last time at which that process is known to have lived
        self.left: tuple[dict[str, tuple[int, float]], float] = {}, 0.0
        self._given_up: set[asyncio.Task[None]] = set()
        self.careful = False  # something was registered that must not run twice
        self._outbox: deque[Said] = deque()
        self._flagged = False
        coordinator.values.tell = self._tell_default

    # --- start --------------------------------------------------------------------------------

    def register(self, effect: m.StartAttempt) -> Talk:
        """An attempt is decided: it starts once that is stored as far as it must be."""
        id, scheduler = effect.node_id, self._run.scheduler
        own = Talk(id, effect.attempt, self._outbox, self._flag, self._run.echo)
        own.started_at = scheduler.now
        node = scheduler.nodes[id]
        settings = scheduler.settings.get(node.spec.action, NO_SETTINGS)
        own.on_loop = (node.spec.executor or settings.executor) == "async"
        if settings.cached or node.spec.cache is not None:
            own.recorded = self._may_be_known(node)  # then nothing runs yet
        self._under_way[id] = own
        if own.attempt > 1:
            self._run.watch.began(id, own.started_at)
        if not settings.idempotent:
            self.careful = True
        return own

    def record_running(self, unit: Unit) -> None:
        """What is under way, and is not known to the store yet, is recorded."""
        nodes = self._run.scheduler.nodes
        for id, own in self._under_way.items():
            if not own.recorded:
                own.recorded = True
                action = nodes[id].spec.action
                unit.attempts.append((id, action, own.attempt, "running", own.started_at, None, None, None))

    def start(self, own: Talk) -> None:
        """Start an attempt that was registered; one that was stopped meanwhile does not start."""
        id = own.node_id
        if self._under_way.get(id) is not own:
            return
        run = self._run
        node = run.scheduler.nodes[id]
        spec = node.spec
        if spec.kind == "branch":
            self._decide(node, own)
            return
        action = run.actions.get(spec.action)
        if action is None:
            self._fail_before(own, f"action {spec.action!r} is not defined", None)
            return
        if own.recorded and self._may_be_known(node):
            run.memo.begin(own, node, action)
        else:
            self.launch(own, node, action)

    def _may_be_known(self, node: Node) -> bool:
        settings = self._run.scheduler.settings.get(node.spec.action)
        if node.spec.cache is None and (settings is None or not settings.cached):
            return False
        return node.spec.kind == "action" and self._run.memo.handles(node, settings)

    @property
    def under_way(self) -> int:
        """How many attempts have been registered and have not ended."""
        return len(self._under_way)

    def is_under_way(self, own: Talk) -> bool:
        """Whether this attempt has neither ended nor been given up."""
        return self._under_way.get(own.node_id) is own

    def launch(self, own: Talk, node: Node, action: NodeAction) -> None:
        """Let an attempt run where it belongs."""
        run, spec, id = self._run, node.spec, own.node_id
        inputs: dict[str, Any] = {}
        if spec.inputs is not EMPTY or spec.item is not None or node.human is not None or node.answered:
            try:
                inputs = run.values.for_action(node, self.inputs_of(node, action))
            except Exception as error:
                self._fail_before(own, str(error), error)
                return
        ctx = NodeCtx(
            run.dag_name, id, spec.action, run.run_id, own.attempt, inputs, run.cache, run.app_data, own
        )
        if own.on_loop or not isinstance(action, FunctionAction):
            own.task = run.tasks.start(self._coroutine(own, action, ctx), run.context.copy())
            return
        where = spec.executor or run.scheduler.settings.get(spec.action, NO_SETTINGS).executor
        context = run.context.copy()
        if where == "thread":
            run_in_thread(action, ctx, own, context, self._threads, self._in_thread(own))
        else:
            try:
                done = self._in_thread(own)
                if run.executors.in_processes(where):
                    processes = run.executors.own_processes()
                    own.stop = run_in_process(action, ctx, own, context, processes, done)
                else:
                    executor = run.executors.open(where)
                    own.stop = run_in_executor(action, ctx, own, context, executor, done)
            except Exception as error:
                self._fail_before(own, f"executor {where!r}: {error}", error)

    def inputs_of(self, node: Node, action: NodeAction) -> dict[str, Any]:
        """A node's inputs as values; raises what is wrong with them."""
        default_of = getattr(action, "default_of", _no_default)
        handles = node.guardian is not None and node.id == f"{node.guardian}.on_failure"
        inputs = self._run.values.resolve(node, default_of, lenient=handles)
        if node.human:
            self._check_answers(node, inputs)
        return inputs

    def _check_answers(self, node: Node, inputs: dict[str, Any]) -> None:
        """No action gets a placeholder for an answer that was never stored."""
        gaps = {name: gap for name, v in inputs["human_input"].items() if (gap := gap_in(v)) is not None}
        if not gaps:
            return
        if node.answered or reads_answers(node, self._run.actions):
            name, gap = next(iter(gaps.items()))
            raise MissingReference(
                f"the answer {name!r} for node {node.id!r} could not be stored ({gap.reason}) and is gone "
                f"with its process: go on with flow.retry(run, {node.id!r}), and answer again with "
                f"flow.resume(run, {name}=...)"
            )
        inputs["human_input"] = {k: v for k, v in inputs["human_input"].items() if k not in gaps}

    def _tell_default(self, id: str, text: str) -> None:
        """Log that an input's default is used, in the run's own log too."""
        run = self._run
        log.warning("run %s: %s", run.run_id, text)
        attempt = run.scheduler.nodes[id].attempt
        self._outbox.append(("log", id, attempt, run.clock.now(), "WARNING", "log", text))
        self._flag()

    def _decide(self, node: Node, own: Talk) -> None:
        """A branch node: which way is taken."""
        try:
            values = self._run.values
            taken = bool(values.for_action(node, values.resolve(node))["condition"])
        except Exception as error:
            self._fail_before(own, str(error), error)
            return
        outcome = NodeOutput({"result": taken}, metadata={"taken": taken}, returned="value")
        self._ended(own, self._with_rows(own, Result(outcome, None, None)))

    def _fail_before(self, own: Talk, error: str, exception: Exception | None) -> None:
        """An attempt that cannot even begin: a further one would do no better."""
        result = Result(None, None, None)
        result.error, result.exception = error, exception
        self._ended(own, result)

    # --- end ----------------------------------------------------------------------------------

    async def _coroutine(self, own: Talk, action: NodeAction, ctx: NodeCtx) -> None:
        CURRENT.set(own)
        try:
            if type(action) is FunctionAction and action.is_async:
                given = action.to_output(await action.begin(ctx))
            else:
                given = checked(action, await action.execute(ctx))
            result = Result(given, None, action)
        except asyncio.CancelledError as error:
            if own.cancelled:
                raise
            # somebody else has cancelled it: its own action, or another one that had got hold of its task
            result = cancelled(error, action)
            if is_shutting_down():
                self.end_later(own, result)
                raise
        except BaseException as error:
            # KeyboardInterrupt and SystemExit, too: they would end the loop of everybody's runs
            result = Result(None, error, action)
        run, outcome = self._run, result.outcome
        at = run.clock.now()
        if outcome is not None and own.key is None and is_settled(outcome.outputs):
            result.rows = settled_rows(own.node_id, outcome.outputs, at)
        elif outcome is not None and _takes_long(outcome.outputs):
            await asyncio.to_thread(self._with_rows, own, result)
        else:
            self._with_rows(own, result)
        if run.is_full():
            await run.room()
        self._ended(own, result, at)

    def end_later(self, own: Talk, result: Result) -> None:
        """An attempt has lost its task: it has ended so, unless the loop ends, which interrupts the run."""
        self._run.loop.call_later(ENDED_BY, self._ended, own, result)

    def _in_thread(self, own: Talk) -> Callable[[Result], None]:
        """What is called in the thread that ran an attempt: values are encoded there, not on the loop."""

        def done(result: Result) -> None:
            self._with_rows(own, result)
            try:
                self._run.loop.call_soon_threadsafe(self._ended, own, result)
            except RuntimeError:
                log.debug("run %s: node %s came back after its loop had ended", self._run.run_id, own.node_id)

        return done

    def _with_rows(self, own: Talk, result: Result) -> Result:
        """A result with its outputs as they will be stored; outputs that cannot be read are its error."""
        outcome = result.outcome
        if outcome is None:
            return result
        try:
            outputs = hide_in_plans(outcome.outputs, self._run.actions)
            if outputs is not outcome.outputs:
                result.outcome = replace(outcome, outputs=outputs)
            result.rows = self._run.outputs.rows_of(own.node_id, outputs)
            if own.key is not None:
                self._run.memo.read(own, result)
        except Exception as error:
            result.outcome, result.exception = None, error
            result.error = f"its outputs cannot be read: {describe(error)}"
        return result

    def _ended(self, own: Talk, result: Result, in_task_at: float | None = None) -> None:
        id = own.node_id
        if self._under_way.get(id) is not own:
            return
        run = self._run
        own.result = result
        at, outcome = run.clock.now() if in_task_at is None else in_task_at, result.outcome
        if outcome is not None:
            message = m.AttemptEnded(id, own.attempt, at, outcome)
            if in_task_at is not None:
                run.post_at_once(message, alone=len(self._under_way) == 1)
            else:
                run.post(message)
            return
        error, exception, retryable = result.error, result.exception, result.retryable
        run.post(m.AttemptEnded(id, own.attempt, at, None, error, exception, retryable, run.random.random()))

    def record(self, message: m.AttemptEnded, unit: Unit) -> None:
        """The scheduler has taken an attempt's end: its rows are stored."""
        id = message.node_id
        own = self._under_way.get(id)
        if own is None or own.attempt != message.attempt or own.result is None:
            return
        del self._under_way[id]
        own.task = (
            None  # its context has this attempt: a circle, which the garbage collector would have to find
        )
        run = self._run
        if own.lines is not None or self._outbox:
            self._last_lines(own, unit)
        outcome = message.outcome
        if outcome is not None and outcome.success:
            status, error = "completed", None
        else:
            status, error = "failed", message.error if outcome is None else outcome.error
            run.watch.failed(id, own.started_at, run.scheduler.now)
        node = run.scheduler.nodes.get(id)
        action = node.spec.action if node is not None else None
        at, traceback = run.scheduler.now, own.result.traceback
        if not message.cached:
            unit.attempts.append((id, action, own.attempt, status, own.started_at, at, error, traceback))
        if outcome is None:
            run.memo.drop(own)
            return
        if own.attempt > 1:
            # what an earlier run of the node gave is not its output any more
            unit.artifacts.append((id, None, at))
            if unit.memo:
                unit.memo = [row for row in unit.memo if row[0] != id]
        if own.result.rows:
            unit.artifacts += own.result.rows
        if own.key is not None:
            run.memo.record(message, own, unit)
        if run.outputs.told and (own.result.rows or message.cached):
            run.outputs.tell(id, outcome.outputs)

    def stop(self, effect: m.CancelAttempt, unit: Unit) -> None:
        """An attempt is given up: a coroutine is cancelled, a thread is asked to end."""
        id = effect.node_id
        own = self._under_way.get(id)
        left, left_at = self.left
        if own is not None and own.attempt == effect.attempt:
            del self._under_way[id]
            self._last_lines(own, unit)
            self._give_up(own)
            started_at, at = own.started_at, self._run.scheduler.now
        elif left.get(id, (0, 0.0))[0] == effect.attempt:
            started_at, at = left.pop(id)[1], left_at
        else:
            return
        run = self._run
        node = run.scheduler.nodes.get(id)
        action = node.spec.action if node is not None else None
        timed_out = effect.reason.startswith("timed out")
        status = _STOPPED.get(effect.reason) or ("failed" if timed_out else "cancelled")
        if status == "failed":
            run.watch.failed(id, started_at, at)
        unit.attempts.append((id, action, effect.attempt, status, started_at, at, effect.reason, None))

    def _give_up(self, own: Talk) -> None:
        own.cancelled = True
        self._run.memo.drop(own)
        task = own.task
        if task is not None and not task.done():
            self._given_up.add(task)
            task.add_done_callback(self._given_up.discard)
            task.cancel()
        elif own.stop is not None:
            own.stop()

    def abandon(self) -> None:
        """Stop everything at once, recording nothing."""
        for own in self._under_way.values():
            self._give_up(own)
        self._under_way.clear()

    async def finish(self) -> None:
        """Give cancelled coroutines time for their own clean-up."""
        if self._given_up:
            await asyncio.wait(self._given_up, timeout=GRACE)

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

    @property
    def has_said(self) -> bool:
        """Whether there is anything to listen to."""
        return self._flagged or bool(self._outbox)

    def listen(self, unit: Unit) -> None:
        """Logs are stored, progress is shown, events and usage become inputs."""
        self._flagged = False
        run = self._run
        said: list[m.Input] = []
        while self._outbox:
            kind, id, attempt, at, *data = self._outbox.popleft()
            if kind == "log":
                level, stream, message = data
                unit.logs.append((id or None, attempt or None, at, level, stream, message))
                run.watch.log(id, level, stream, message)
            elif kind == "progress":
                run.watch.progress(id, *data)
            elif kind == "token":
                run.watch.token(id, data[0])
            elif kind == "usage":
                said.append(m.UsageReported(id, run.clock.now(), *data))
            else:
                said.append(m.Applied((m.EmitEvent(*data),), run.clock.now(), None, node_id=id))
        run.post_first(*said)

    def listener(self) -> Talk:
        """Who hears what hooks print; `node_id` is set to the node they are asked about, `""` for the run."""
        return Talk("", 0, self._outbox, self._flag, True)

    def end_lines(self, talk: Talk) -> None:
        """What was printed without an end of line is said, too."""
        for stream, text in talk.last_lines().items():
            if talk.echo and text:
                self._run.context.copy().run(getattr(sys, stream).write, text)

    def _last_lines(self, talk: Talk, unit: Unit) -> None:
        """What an attempt has said last."""
        self.end_lines(talk)
        if self._outbox:
            self.listen(unit)


def cancelled(error: asyncio.CancelledError, action: NodeAction | None) -> Result:
    """How an attempt has ended whose task somebody else has cancelled."""
    result = Result(None, error, action)
    result.error = f"{describe(error)}: its task was cancelled, and not by the run"
    return result


def is_shutting_down() -> bool:
    """Whether the loop cancels all of its tasks, as it does at its end; a run is then left as it is."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return bool(others) and all(task is not None and task.cancelling() for task in others)


def _takes_long(outputs: Mapping[str, Any]) -> bool:
    try:
        return not is_settled(outputs) and are_heavy(outputs.values())
    except Exception:  # a mapping of the user's that cannot be read is an error of its node, told later
        return False


def _no_default(name: str) -> Any:
    return MISSING
