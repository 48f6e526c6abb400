"""The coordinator of one run: inputs -> scheduler -> store -> effects, on one event loop.

It is the only one that calls the scheduler and the only one that writes the run. Workers, hooks,
timers and other threads post inputs; one callback on the loop takes all that are there, hands what
changed to the store in one piece, and starts what the scheduler wants started.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from ..actions import FunctionAction, NodeAction, NodeCtx, settings_of
from ..clock import Clock, Handle
from ..codec import Codec, dump_event, dump_input
from ..core import messages as m
from ..core.graph import Node
from ..core.model import NodeOutput, NodeStatus, RunStatus
from ..core.scheduler import Scheduler
from ..errors import DagError, InvalidState, ValidationError
from ..hooks import Hook, HookContext
from ..store import Store, Unit
from ..workflow.flatten import instantiate
from . import capture
from .attempts import Result, Said, Talk, run_coroutine, run_in_executor, run_in_thread
from .growth import Growth
from .snapshot import Snapshot
from .threads import Threads
from .values import MISSING, Values
from .watching import Watch

log = logging.getLogger("dagflow_nb")
GRACE = 5.0  # seconds that cancelled coroutines have for their own clean-up when a run ends


class RunCoordinator:
    """Drives one run from its first input (or the next after a reload) to its end or pause.

    `scheduler`: fresh, or replayed from a journal of `taken` inputs. `actions`: every action the run
    may need, by name. `cache`: what `ctx.cache` reads; `record(namespace, key, value)` is told each
    output as it arrives. `capacity`: how many results of workers may wait to be read.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        store: Store,
        codec: Codec,
        values: Values,
        *,
        actions: dict[str, NodeAction],
        hooks: list[Hook],
        cache: Any,
        clock: Clock,
        record: Callable[[str, str, Any], None] | None,
        remember: Callable[[str, str, Any], None],
        taken: int = 0,
        app_data: Any = None,
        echo: bool = True,
        strict: bool = False,
        capacity: int = 100,
        context: contextvars.Context | None = None,
        executor_of: Callable[[str], Executor] | None = None,
        random_numbers: random.Random | None = None,
    ) -> None:
        self.scheduler, self.store, self.codec, self.values = scheduler, store, codec, values
        self.run_id, self.dag_name = scheduler.run_id, scheduler.dag_name
        self.actions, self.hooks, self.cache, self.clock = actions, hooks, cache, clock
        self.record, self.remember = record, remember
        self.app_data, self.echo, self.strict, self.capacity = app_data, echo, strict, max(1, capacity)
        self.context = context or contextvars.copy_context()
        self.executor_of = executor_of
        self.growth = Growth(self)
        self.watch = Watch(self)
        self.extra: dict[str, Any] = {}
        self.strict_error: BaseException | None = None
        self.exceptions: dict[str, BaseException] = {}
        self.crash: BaseException | None = None
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[RunStatus] = self.loop.create_future()
        self._random = random_numbers or random.Random()
        self._threads = Threads()
        self._n = taken
        self._inbox: deque[m.Input] = deque()
        self._room: asyncio.Event | None = None
        self._scheduled = False
        self._rows: dict[tuple[str, int], list[Any]] = {}
        self._attempts: dict[str, tuple[int, float, Talk, Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tracebacks: dict[tuple[str, int], str | None] = {}
        self._outbox: deque[Said] = deque()
        self._outbox_flagged = False
        self._timer: Handle | None = None
        self._held_back: list[Unit] = []
        self._to_ask: deque[Any] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._own_answers: dict[str, tuple[int, list[Any]]] = {}
        self._values_to_write: list[Any] = []
        self._capturing = False
        self._giving_up: asyncio.TimerHandle | None = None
        self._ended: m.RunEnded | None = None
        scheduler.listens = self._listens

    # --- in -----------------------------------------------------------------------------------

    def post(self, *messages: m.Input) -> None:
        """Take inputs; on the loop's thread only."""
        self._inbox.extend(messages)
        if not self._scheduled and not self.done.done():
            self._scheduled = True
            self.loop.call_soon(self._pump)

    def post_from_thread(self, make: Callable[[float], m.Input]) -> None:
        """Take an input from any thread; `make(now)` is called on the loop."""
        try:
            self.loop.call_soon_threadsafe(lambda: self.post(make(self.clock.now())))
        except RuntimeError:
            log.debug("run %s: its loop has ended", self.run_id)

    def start(self, *messages: m.Input, reopened: bool = False) -> None:
        """Begin, or go on, with these inputs."""
        capture.start()
        self._capturing = True
        if reopened:
            self._to_ask.extend(ask.event for ask in self.scheduler.asks.values())
        self.post(*messages)
        if self._to_ask:
            self._ask()

    def _pump(self) -> None:
        """Take everything that was posted."""
        self._scheduled = False
        if self.done.done():
            return
        unit = Unit(self.run_id)
        starts: list[m.StartAttempt] = []
        try:
            self._hear(unit)
            if self._values_to_write:
                unit.artifacts += self._values_to_write
                self._values_to_write = []
            while self._inbox:
                self._take(self._inbox.popleft(), unit, starts)
            self._write(unit, starts)
        except BaseException as error:
            self._fall_over(error)
            return
        if self._room is not None:
            self._room.set()
            self._room = None

    def _take(self, message: m.Input, unit: Unit, starts: list[m.StartAttempt]) -> None:
        scheduler = self.scheduler
        try:
            effects = scheduler.handle(message)
        except DagError as refused:
            # what is asked from outside is checked before it is posted; this one came too late
            log.info("run %s: %s", self.run_id, refused)
            return
        self._n += 1
        asked = ",".join(map(str, scheduler.asked)) or None
        scheduler.asked.clear()
        kept = message
        if type(message) is m.GroupOpened and message.children:
            kept = replace(message, children=())
        kind = type(message).__name__
        unit.journal.append((self._n, message.at, kind, dump_input(self.codec, kept), asked))
        if type(message) is m.AttemptEnded:
            self._came_back(message, unit)
        for effect in effects:
            kind_of = type(effect)
            if kind_of is m.Emit:
                self._emit(effect, unit)
            elif kind_of is m.StartAttempt:
                starts.append(effect)
                self._started(effect, unit)
            elif kind_of is m.CancelAttempt:
                self._stop_attempt(effect, unit)
            elif kind_of is m.OpenGroup:
                self._open_group(effect)
            elif kind_of is m.CloseGroup:
                self._close_group(effect)
            elif kind_of is m.WakeAt:
                self._wake_at(effect.at)
            else:
                self._ended = effect

    # --- out ----------------------------------------------------------------------------------

    def _write(self, unit: Unit, starts: list[m.StartAttempt]) -> None:
        scheduler = self.scheduler
        if unit.journal or unit.logs or unit.artifacts:
            for id in scheduler.changed:
                node = scheduler.nodes.get(id)
                unit.nodes[id] = None if node is None else self._node_row(node)
                self.watch.node_changed(id, node)
            scheduler.changed.clear()
        ended = self._ended
        if ended is not None or self.watch.row_is_due():
            unit.run = self._run_row(ended)
        durability = self._durability()
        if durability == "exit" and ended is None:
            self._held_back.append(unit)
            waiting = None
        else:
            for held in self._held_back:
                self.store.write(held)
            self._held_back.clear()
            waiting = self.store.write(unit, wait=durability == "sync" or ended is not None)
        if waiting is not None and ended is None and (starts or self._to_ask):
            waiting.add_done_callback(lambda done: self._follow(starts, done))
        else:
            self._follow(starts, None)
        if ended is not None:
            self._leave(ended, waiting)

    def _durability(self) -> str:
        config: Any = getattr(self.scheduler, "config", None)
        return config.durability if config is not None else "async"

    def _follow(self, starts: list[m.StartAttempt], stored: asyncio.Future[None] | None) -> None:
        """What was decided is stored as far as it must be: attempts start, hooks are asked."""
        if stored is not None and (stored.cancelled() or stored.exception() is not None):
            return  # the store has told `on_error` of it
        for effect in starts:
            self._start(effect.node_id, effect.attempt)
        if self._to_ask:
            self._ask()
        if self.scheduler.ending is not None and self.scheduler.asks and self._giving_up is None:
            self._giving_up = self.loop.call_later(GRACE, self._give_hooks_up)

    def _give_hooks_up(self) -> None:
        """The run is being ended and a hook still does not answer: it is not waited for."""
        if self._asking is not None:
            self._asking.cancel()
        late = (("hooks", f"no answer within {GRACE:g} s after the run was told to end"),)
        self.post(*(m.Answered(seq, self.clock.now(), (), late) for seq in list(self.scheduler.asks)))
        self._to_ask.clear()
        self._giving_up = None

    def _emit(self, effect: m.Emit, unit: Unit) -> None:
        event = effect.event
        node = getattr(event, "node", None)
        kind = type(event).__name__
        node_id = node.node_id if node is not None else getattr(event, "branch_id", None)
        unit.events.append((event.seq, event.at, kind, node_id, dump_event(self.codec, event)))
        self.watch.event(event)
        if effect.ask:
            self._to_ask.append(event)
        if type(event) is m.NodeFailed and event.exception is not None:
            self.exceptions[node_id] = event.exception
        if type(event) is m.NodeCompleted and event.outcome.recovered:
            self._keep_outputs(self.scheduler.nodes[node_id], unit)
        if type(event) is m.BranchResumed and event.answers:
            unit.artifacts += self.encode("human_input", event.answers)
            self._record("human_input", event.answers)
        if self.strict and type(event) in (m.CommandRejected, m.HookFailed) and self.strict_error is None:
            self._be_strict(event)

    def _be_strict(self, event: Any) -> None:
        if isinstance(event, m.HookFailed):
            error: BaseException = self.growth.hook_errors.get(event.hook) or DagError(
                f"hook {event.hook!r} failed: {event.error}"
            )
        else:
            error = ValidationError(f"a command was refused: {event.reason}", culprit=event.command)
        self.strict_error = error
        self._inbox.append(m.FailRun(self.clock.now(), str(error)))

    # --- attempts -----------------------------------------------------------------------------

    def _started(self, effect: m.StartAttempt, unit: Unit) -> None:
        node = self.scheduler.nodes[effect.node_id]
        at = self.scheduler.now
        talk = Talk(effect.node_id, effect.attempt, self._outbox, self._flag_outbox, self.echo)
        self._attempts[effect.node_id] = (effect.attempt, at, talk, None)
        unit.attempts.append(
            (effect.node_id, node.spec.action, effect.attempt, "running", at, None, None, None)
        )

    def _start(self, id: str, attempt: int) -> None:
        under_way = self._attempts.get(id)
        if under_way is None or under_way[0] != attempt:
            return  # cancelled before it began
        node = self.scheduler.nodes[id]
        spec = node.spec
        talk = under_way[2]
        if spec.kind == "branch":
            self._decide_branch(node, attempt)
            return
        action = self.actions.get(spec.action)
        if action is None:
            self._fail_before(node, attempt, f"action {spec.action!r} is not defined", None)
            return
        try:
            inputs = self._inputs_of(node, action)
        except Exception as error:
            self._fail_before(node, attempt, str(error), error)
            return
        ctx = NodeCtx(
            self.dag_name, id, spec.action, self.run_id, attempt, inputs, self.cache, self.app_data, talk
        )
        settings = self.scheduler.settings.get(spec.action)
        where = spec.executor or (settings.executor if settings is not None else "async")
        context = self.context.copy()
        if where == "async" or not isinstance(action, FunctionAction):
            task = self.loop.create_task(self._run(node, attempt, action, ctx, talk), context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            stop: Any = task.cancel
        elif where == "thread":
            stop = None
            run_in_thread(
                action, ctx, talk, context, self._threads, lambda result: self._from_thread(id, attempt, result)
            )
        else:
            try:
                if self.executor_of is None:
                    raise ValidationError(f"there is no executor {where!r} here", culprit=where)
                stop = run_in_executor(
                    action,
                    ctx,
                    self.executor_of(where),
                    lambda result: self._from_thread(id, attempt, result),
                )
            except Exception as error:
                self._fail_before(node, attempt, f"executor {where!r}: {error}", error)
                return
        self._attempts[id] = (attempt, under_way[1], talk, stop)

    def _inputs_of(self, node: Node, action: NodeAction) -> dict[str, Any]:
        if not node.spec.inputs and node.spec.item is None and node.human is None:
            inputs: dict[str, Any] = {}
        else:
            default_of = getattr(action, "default_of", None) or _no_default
            handles = node.spec.id.endswith(".on_failure") and node.guardian is not None
            inputs = self.values.resolve(node, default_of, lenient=handles)
        if not isinstance(action, FunctionAction):
            problems = action.validate_inputs(inputs)
            if problems:
                found = problems if isinstance(problems, str) else "; ".join(map(str, problems))
                raise ValidationError(f"node {node.id!r}: {found}", culprit=node.id)
        return inputs

    def _decide_branch(self, node: Node, attempt: int) -> None:
        try:
            taken = bool(self.values.resolve(node)["condition"])
        except Exception as error:
            self._fail_before(node, attempt, str(error), error)
            return
        outcome = NodeOutput({"result": taken}, metadata={"taken": taken}, returned="value")
        self._rows[(node.id, attempt)] = self.encode(node.id, outcome.outputs)
        self.post(m.AttemptEnded(node.id, attempt, self.clock.now(), outcome))

    def _fail_before(self, node: Node, attempt: int, error: str, exception: Exception | None) -> None:
        """An attempt that cannot even begin: no further one would do better."""
        self.post(
            m.AttemptEnded(node.id, attempt, self.clock.now(), None, error, exception, retryable=False)
        )

    async def _run(self, node: Node, attempt: int, action: NodeAction, ctx: NodeCtx, talk: Talk) -> None:
        result = await run_coroutine(action, ctx, talk)
        if result.outcome is not None:
            self._rows[(node.id, attempt)] = self.encode(node.id, result.outcome.outputs)
        while len(self._inbox) >= self.capacity:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()
        self._ended_attempt(node.id, attempt, result)

    def _from_thread(self, id: str, attempt: int, result: Result) -> None:
        """Called in the thread that ran the attempt: values are encoded here, not on the loop."""
        if result.outcome is not None:
            result.rows = self.encode(id, result.outcome.outputs)
        try:
            self.loop.call_soon_threadsafe(self._ended_attempt, id, attempt, result)
        except RuntimeError:
            log.debug("run %s: node %s came back after its loop had ended", self.run_id, id)

    def _ended_attempt(self, id: str, attempt: int, result: Result) -> None:
        under_way = self._attempts.get(id)
        if under_way is None or under_way[0] != attempt:
            return  # given up meanwhile: a late result is ignored
        if result.rows is not None:
            self._rows[(id, attempt)] = result.rows
        if result.exception is not None:
            self._tracebacks[(id, attempt)] = result.traceback
        self.post(
            m.AttemptEnded(
                id,
                attempt,
                self.clock.now(),
                result.outcome,
                result.error,
                result.exception,
                result.retryable,
                self._random.random() if result.outcome is None else 0.0,
            )
        )

    def _came_back(self, message: m.AttemptEnded, unit: Unit) -> None:
        """Record an attempt whose end the scheduler has taken."""
        id, attempt = message.node_id, message.attempt
        rows = self._rows.pop((id, attempt), None)
        node = self.scheduler.nodes.get(id)
        under_way = self._attempts.get(id)
        if node is None or under_way is None or under_way[0] != attempt:
            return
        del self._attempts[id]
        self._last_lines(under_way[2], unit)
        outcome = message.outcome
        failed = outcome is None or not outcome.success
        if failed:
            self._own_answers.pop(id, None)
        error = message.error if outcome is None else outcome.error
        status = "failed" if failed else "completed"
        text = self._tracebacks.pop((id, attempt), None)
        unit.attempts.append(
            (id, node.spec.action, attempt, status, under_way[1], self.scheduler.now, error, text)
        )
        if outcome is not None and rows:
            unit.artifacts += rows
            if self.record is not None:
                self._record(id, outcome.outputs)

    def _stop_attempt(self, effect: m.CancelAttempt, unit: Unit) -> None:
        under_way = self._attempts.get(effect.node_id)
        if under_way is None or under_way[0] != effect.attempt:
            return
        del self._attempts[effect.node_id]
        attempt, started, talk, stop = under_way
        self._last_lines(talk, unit)
        talk.cancelled = True
        if stop is not None:
            stop()
        node = self.scheduler.nodes.get(effect.node_id)
        action = node.spec.action if node is not None else None
        status = _STOPPED.get(effect.reason) or ("failed" if "timed out" in effect.reason else "cancelled")
        unit.attempts.append(
            (effect.node_id, action, attempt, status, started, self.scheduler.now, effect.reason, None)
        )

    def _last_lines(self, talk: Talk, unit: Unit) -> None:
        for stream, text in talk.last_lines().items():
            if talk.echo and text:
                self.context.copy().run(_print_to, stream, text)
        self._hear(unit)

    # --- groups -------------------------------------------------------------------------------

    def _open_group(self, effect: m.OpenGroup) -> None:
        node = self.scheduler.nodes[effect.node_id]
        children: tuple[Any, ...] = ()
        error, exception = None, None
        count = 0
        try:
            if node.spec.kind == "map":
                self.values.forget(node.id)
                count = len(self.values.combinations(node))
                children = tuple(spec for i in range(count) for spec in instantiate(node.spec, i))
            else:
                self.values.resolve(node)
        except Exception as bad:
            error, exception = str(bad), bad
        self._inbox.append(
            m.GroupOpened(
                node.id, effect.attempt, self.clock.now(), count, children, error, exception
            )
        )

    def _close_group(self, effect: m.CloseGroup) -> None:
        node = self.scheduler.nodes[effect.node_id]
        at = self.clock.now()
        try:
            outcome = self.values.close(node)
        except Exception as error:
            self._inbox.append(
                m.AttemptEnded(node.id, effect.attempt, at, None, str(error), error, retryable=False)
            )
            return
        self._inbox.append(m.AttemptEnded(node.id, effect.attempt, at, outcome))

    # --- values -------------------------------------------------------------------------------

    def encode(self, namespace: str, outputs: Mapping[str, Any]) -> list[Any]:
        """Outputs as rows of the table `artifacts`; what cannot be stored is remembered in the process."""
        rows = []
        at = self.clock.now()
        for key, value in outputs.items():
            encoded = self.codec.encode(value)
            if encoded.codec == "memory":
                self.remember(namespace, key, value)
            rows.append((namespace, key, encoded.codec, encoded.data, encoded.size, encoded.reason, at))
        return rows

    def _keep_outputs(self, node: Node, unit: Unit) -> None:
        """The outputs that a recovered node was given."""
        if node.outcome is not None:
            unit.artifacts += self.encode(node.id, node.outcome.outputs)
            self._record(node.id, node.outcome.outputs)

    def _record(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Tell the caller's own cache."""
        if self.record is not None:
            for key, value in values.items():
                self.record(namespace, key, value)

    # --- what attempts say --------------------------------------------------------------------

    def _flag_outbox(self) -> None:
        """An attempt said something; called in any thread."""
        if not self._outbox_flagged:
            self._outbox_flagged = True
            try:
                self.loop.call_soon_threadsafe(self._hear_later)
            except RuntimeError:
                log.debug("run %s: its loop has ended", self.run_id)

    def _hear_later(self) -> None:
        if not self.done.done():
            self.loop.call_later(0.05, self.post)

    def _hear(self, unit: Unit) -> None:
        """Logs are stored, progress is shown, events and usage become inputs."""
        self._outbox_flagged = False
        while self._outbox:
            kind, id, attempt, at, *data = self._outbox.popleft()
            if kind == "log":
                level, stream, message = data
                unit.logs.append((id, attempt, at, level, stream, message))
                self.watch.log(id, level, stream, message)
            elif kind == "progress":
                self.watch.progress(id, *data)
            elif kind == "token":
                self.watch.token(id, data[0])
            elif kind == "usage":
                self._inbox.append(m.UsageReported(id, self.clock.now(), *data))
            else:
                self._inbox.append(m.Applied((m.EmitEvent(*data),), self.clock.now(), None, node_id=id))

    # --- hooks --------------------------------------------------------------------------------

    def after(self, id: str, attempt: int, commands: list[Any]) -> None:
        """Apply these commands when this attempt's node completes; they are dropped if it does not."""
        self._own_answers[id] = (attempt, commands)

    def write_values(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Store values that an action put into a namespace of its own choice."""
        self._values_to_write += self.encode(namespace, values)
        self._record(namespace, values)

    def _listens(self, event: Any) -> bool:
        if type(event) is m.NodeCompleted and event.node.node_id in self._own_answers:
            return True
        failed = event.hook if type(event) is m.HookFailed else None
        return any(hook.name != failed and hook.matches(event, self.dag_name) for hook in self.hooks)

    def _ask(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = self.loop.create_task(self._ask_hooks(), context=self.context.copy())

    async def _ask_hooks(self) -> None:
        """Ask the hooks about one event after the other."""
        while self._to_ask:
            event = self._to_ask.popleft()
            ctx = HookContext(self.run_id, self.dag_name, self.app_data, self.cache, self.growth.view)
            answers: list[tuple[str, Any]] = []
            failures: list[tuple[str, str]] = []
            failed = event.hook if type(event) is m.HookFailed else None
            if type(event) is m.NodeCompleted:
                _, own = self._own_answers.pop(event.node.node_id, (0, []))
                answers += [(event.node.action, command) for command in own]
            for hook in self.hooks:
                if hook.name == failed or not hook.matches(event, self.dag_name):
                    continue
                try:
                    found = await hook.ask(ctx, event)
                    answers += [(hook.name, self.growth.ready(command)) for command in found]
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    failures.append((hook.name, f"{type(error).__name__}: {error}"))
                    self.growth.hook_errors[hook.name] = error
                    log.warning("hook %s failed on %s: %s", hook.name, type(event).__name__, error)
            self.post(
                m.Answered(
                    event.seq, self.clock.now(), tuple(answers), tuple(failures), self.growth.new_settings()
                )
            )

    # --- time, end ----------------------------------------------------------------------------

    def _wake_at(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if at is not None:
            self._timer = self.clock.call_at(
                self.loop, at, lambda: self.post(m.Tick(max(at, self.clock.now()), self._random.random()))
            )

    def store_failed(self, error: BaseException) -> None:
        """The store could not write this run: nothing more can be promised, so it stops here."""
        if not self.done.done():
            self._fall_over(error)

    def _fall_over(self, error: BaseException) -> None:
        """The coordinator itself cannot go on."""
        self.crash = error
        for attempt, _, talk, stop in self._attempts.values():
            talk.cancelled = True
            if stop is not None:
                stop()
            del attempt
        self._attempts.clear()
        self._close()
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever waits sees it; nobody waiting is no reason for a warning

    def _leave(self, ended: m.RunEnded, stored: asyncio.Future[None] | None) -> None:
        self._leaving = self.loop.create_task(self._leave_in_order(ended, stored))

    async def _leave_in_order(self, ended: m.RunEnded, stored: asyncio.Future[None] | None) -> None:
        """Cancelled coroutines clean up, the last rows are on disk, nobody owns the run."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)
        try:
            if stored is not None:
                await stored
            await self.store.flush()
            await self.store.release(self.run_id)
        except DagError as error:
            self._fall_over(error)
            return
        self._close()
        if not self.done.done():
            self.done.set_result(RunStatus(ended.status))

    def _close(self) -> None:
        for timer in (self._timer, self._giving_up):
            if timer is not None:
                timer.cancel()
        if self._asking is not None and not self._asking.done():
            self._asking.cancel()
        self._threads.close()
        if self._capturing:
            self._capturing = False
            capture.stop()
        self.watch.close()

    # --- rows ---------------------------------------------------------------------------------

    def _node_row(self, node: Node) -> tuple[Any, ...]:
        spec = node.spec
        outcome = node.outcome
        return (
            spec.action,
            node.status.value,
            node.attempt,
            node.ready_at,
            node.started_at,
            node.finished_at,
            node.error,
            node.reason,
            json.dumps(spec.deps) if spec.deps else "[]",
            node.added_by,
            spec.parent,
            spec.kind,
            node.used_tokens,
            node.used_cost,
            outcome.returned if outcome is not None else None,
            node.position,
        )

    def _run_row(self, ended: m.RunEnded | None) -> dict[str, Any]:
        s = self.scheduler
        count = s.count
        row: dict[str, Any] = {
            "status": str(s.status),
            "started_at": s.started_at,
            "finished_at": s.finished_at,
            "nodes": len(s.nodes),
            "completed": count[NodeStatus.COMPLETED] + count[NodeStatus.RECOVERED],
            "failed": count[NodeStatus.FAILED],
            "skipped": count[NodeStatus.SKIPPED],
            "cached": count[NodeStatus.CACHED],
            "cancelled": count[NodeStatus.CANCELLED],
            "tokens": s.usage.max_tokens,
            "cost": s.usage.max_cost,
            "error": s.error,
            "error_node": s.error_node,
            "active_seconds": s.elapsed + (s.now - s.active_since if s.active_since is not None else 0.0),
        }
        if ended is not None:
            row["attempts"] = sum(node.attempt for node in s.nodes.values() if not node.is_group)
        return row

    def snapshot(self) -> Snapshot:
        """The run as it stands, for views."""
        return self.watch.snapshot()

    def settings(self) -> dict[str, m.ActionSettings]:
        """What each action says of its nodes."""
        return {name: settings_of(action) for name, action in self.actions.items()}

    def check_open(self) -> None:
        """Raise `InvalidState` if the run is not under way here."""
        if self.done.done() or self.scheduler.status in (
            RunStatus.COMPLETED,
            RunStatus.FAILED,
            RunStatus.CANCELLED,
        ):
            raise InvalidState(f"run {self.run_id!r} has ended ({self.scheduler.status})", culprit=self.run_id)


def _no_default(name: str) -> Any:
    return MISSING


def _print_to(stream: str, text: str) -> None:
    import sys

    target = getattr(sys, stream)
    target.write(text)


_STOPPED = {"interrupted": "interrupted", "its process ended": "interrupted", "withdrawn": "cancelled"}
