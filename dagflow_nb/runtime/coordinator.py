"""The coordinator of one run: inputs -> scheduler -> store -> effects, on one event loop.

It is the only one that calls the scheduler and the only one that writes the run. Workers, hooks,
timers and other threads post inputs; one callback on the loop takes all that are there, hands what
changed to the store in one piece, and starts what the scheduler wants started.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..actions import NodeAction
from ..clock import Clock, Handle
from ..codec import Codec, Parts, all_scalars, dump_event, dump_input
from ..core import messages as m
from ..core.model import RunStatus
from ..core.scheduler import Scheduler
from ..errors import DagError, ValidationError
from ..hooks import Hook
from ..store import Store, Unit
from ..workflow.flatten import instantiate
from . import capture
from .asking import Asking
from .commands import Commands
from .executors import Executors
from .growth import Growth
from .keying import Refresh
from .known import Results
from .memo import Memo
from .rows import node_row, run_row
from .snapshots import Snapshots
from .values import Values
from .watching import Watch
from .workers import Workers

log = logging.getLogger("dagflow_nb")
OVER = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
MOST_INPUTS = 2000  # that share a unit of the store


class RunCoordinator:
    """Drives one run from its first input (or the next after a reload) to its end or pause.

    `scheduler`: fresh, or replayed from a journal of `taken` inputs. `actions`: every action the run
    may need, by name. `cache`: what `ctx.cache` reads. `record(namespace, key, value)` is told each value
    as it arrives, `remember(...)` each one that could not be stored. `capacity`: how many results of
    workers, and how many inputs of other threads, may wait to be read. `done` is set with the
    status in which the run was left.
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
        remember: Callable[[str, str, Any], None],
        executors: Executors,
        record: Callable[[str, str, Any], None] | None = None,
        taken: int = 0,
        app_data: Any = None,
        echo: bool = True,
        strict: bool = False,
        capacity: tuple[int, int] = (100, 100),
        context: contextvars.Context | None = None,
        results: Results,
        refresh: Refresh = frozenset(),
    ) -> None:
        self.scheduler, self.store, self.codec, self.values = scheduler, store, codec, values
        self.run_id, self.dag_name = scheduler.run_id, scheduler.dag_name
        self.actions, self.cache, self.clock = actions, cache, clock
        self.executors, self.app_data, self.echo, self.strict = executors, app_data, echo, strict
        self.context = context or contextvars.copy_context()
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[RunStatus] = self.loop.create_future()
        self.random = random.Random()
        self.extra: dict[str, Any] = {}
        self.exceptions: dict[str, BaseException] = {}
        self.strict_error: BaseException | None = None
        self.crash: BaseException | None = None
        self.growth = Growth(self)
        self.watch = Watch(self)
        self.memo = Memo(self, results, refresh)
        self.workers = Workers(self)
        self.snapshots = Snapshots(self)
        self.asking = Asking(self, hooks)
        scheduler.listens = self.asking.listens
        self._record, self._remember, self._capacity = record, remember, capacity[0]
        self._commands = Commands(self.loop, capacity[1])
        self._n = taken
        self._first: tuple[m.Input, ...] = ()
        self._inbox: deque[m.Input] = deque()
        self._room: asyncio.Event | None = None
        self._scheduled = False
        self._values: list[Any] = []
        self._to_ask: list[Any] = []
        self._timer: Handle | None = None
        self._unit: Unit | None = None  # what goes to the store next; the store may take it at any time
        self._queued = False  # whether the store has it
        self._held_back: list[Unit] = []
        self._own_context = self.context.copy()
        self._ended: m.RunEnded | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._capturing = False

    # --- in -----------------------------------------------------------------------------------

    def post(self, *messages: m.Input) -> None:
        """Take inputs; on the loop's thread only."""
        self._inbox.extend(messages)
        if not self._scheduled and self._capturing and not self.done.done():
            self._scheduled = True
            self.loop.call_soon(self._pump, context=self._own_context)

    def post_first(self, message: m.Input) -> None:
        """Take an input before those that wait: what a node said comes before its end."""
        self._inbox.appendleft(message)

    def post_from_thread(self, make: Callable[[float], m.Input]) -> None:
        """Take an input from any thread, which waits where too many are waiting; `make(now)` on the loop."""
        self._commands.call(lambda: self.post(make(self.clock.now())))

    def is_full(self) -> bool:
        """Whether a worker has to wait before it posts."""
        return len(self._inbox) >= self._capacity

    def is_quiet(self, waiting: int, held: int) -> bool:
        """Whether nothing moves but `waiting` attempts and `held` answers, which somebody keeps back."""
        scheduler = self.scheduler
        return not self._inbox and len(scheduler.asks) == held and scheduler.busy == waiting

    async def room(self) -> None:
        """Wait until there is room for one more result."""
        while self.is_full():
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def prepare_start(self, *messages: m.Input, reopened: bool = False) -> None:
        """What `go` begins with; hooks that had not answered when the run was left are asked again."""
        self._first = messages
        if reopened:
            self.asking.waiting.extend(ask.event for ask in self.scheduler.asks.values())

    def go(self) -> None:
        """Begin, or go on; a second call does nothing."""
        if self._capturing or self.done.done():
            return
        capture.start()
        self._capturing = True
        # what was posted meanwhile (a view has buttons) comes after the beginning
        self._inbox.extendleft(reversed(self._first))
        self.post()
        self.asking.go()

    def post_result(self, message: m.Input) -> None:
        """Take the end of an attempt; where nothing else is under way there is nothing to wait for."""
        self._inbox.append(message)
        if not self._scheduled and self._capturing and not self.done.done():
            if len(self._inbox) == 1 and self.workers.alone:
                self._own_context.run(self._pump)
            else:
                self._scheduled = True
                self.loop.call_soon(self._pump, context=self._own_context)

    def _pump(self) -> None:
        """Take everything that was posted."""
        self._scheduled = False
        if self.done.done():
            return
        starts: list[m.StartAttempt] = []
        try:
            with self.store.taking:
                unit = self._unit
                if unit is None:
                    unit = self._unit = Unit(self.run_id, finish=self._finish, encode=self._encoded)
                    self._queued = False
                self._take_all(unit, starts)
                ready = self._what_to_write(unit)
            self._write(unit, starts, ready)
        except BaseException as error:
            self._fall_over(error)
            return
        if self._room is not None:
            self._room.set()
            self._room = None

    def _take_all(self, unit: Unit, starts: list[m.StartAttempt]) -> None:
        lists = (unit.journal, unit.events, unit.attempts, unit.logs)
        before = [len(rows) for rows in lists]
        try:
            self.workers.listen(unit)
            if self._values:
                unit.artifacts += self._values
                self._values = []
            inbox = self._inbox
            while inbox:
                self._take(inbox.popleft(), unit, starts)
        except BaseException:
            for rows, length in zip(lists, before, strict=True):
                del rows[length:]
            raise

    def _take(self, message: m.Input, unit: Unit, starts: list[m.StartAttempt]) -> None:
        scheduler = self.scheduler
        try:
            effects = scheduler.handle(message)
        except DagError as refused:
            # what is asked from outside is checked before it is posted; this one came too late
            log.info("run %s: %s", self.run_id, refused)
            return
        self._n += 1
        asked = None
        if scheduler.asked:
            asked = ",".join(map(str, scheduler.asked))
            scheduler.asked.clear()
        kind = type(message)
        kept: Any = message
        if kind is m.GroupOpened and kept.children:
            kept = replace(kept, children=())  # they are made anew from the count
        unit.journal.append((self._n, message.at, kind.__name__, dump_input(self.codec, kept), asked))
        if kind is m.AttemptEnded:
            self.workers.record(kept, unit)
        for effect in effects:
            what = type(effect)
            if what is m.Emit:
                self._emit(effect, unit)  # type: ignore[arg-type]  # mypy does not narrow by `what`
            elif what is m.StartAttempt:
                starts.append(effect)  # type: ignore[arg-type]  # the same
                self.workers.register(effect)  # type: ignore[arg-type]  # the same
            elif isinstance(effect, m.CancelAttempt):
                self.workers.stop(effect, unit)
            elif isinstance(effect, m.OpenGroup):
                self._open_group(effect)
            elif isinstance(effect, m.CloseGroup):
                self._close_group(effect)
            elif isinstance(effect, m.WakeAt):
                self._wake_at(effect.at)
            elif isinstance(effect, m.RunEnded):
                self._ended = effect

    # --- out ----------------------------------------------------------------------------------

    def _finish(self, unit: Unit) -> None:
        """A unit is taken: the nodes that its inputs changed are put in as they stand now.

        Called holding `Store.taking`, by whatever thread takes it.
        """
        scheduler, nodes = self.scheduler, self.scheduler.nodes
        if self._unit is unit:
            self._unit = None
        changed = scheduler.changed
        if changed:
            for id in changed:
                node = nodes.get(id)
                unit.nodes[id] = None if node is None else node_row(node)
            self.watch.changed(changed)
            changed.clear()
        self.workers.record_running(unit)

    def _what_to_write(self, unit: Unit) -> list[Unit]:
        """The units that the store is to be given now; one that grows is given once."""
        ended, careful = self._ended, self._is_careful()
        if ended is not None or self.watch.row_is_due():
            unit.run = run_row(self.scheduler, ended)
        unit.snapshot = self.snapshots.take()
        if not (unit.journal or unit.logs or unit.artifacts or unit.snapshot):
            return []
        full = len(unit.journal) >= MOST_INPUTS
        if self.snapshots.hold_back() and ended is None and not careful and unit.snapshot is None:
            if full:
                unit.close()
                self._held_back.append(unit)
            return []
        if careful or full or unit.snapshot:
            unit.close()
        if self._queued and not self._held_back:
            return []
        ready, self._held_back = [*self._held_back, unit], []
        self._queued = True
        return ready

    def _durability(self) -> str:
        config: Any = getattr(self.scheduler, "config", None)
        return config.durability if config is not None else "async"

    def _is_careful(self) -> bool:
        # of what must not run twice it has to be known after a crash that it ran
        return self.workers.careful or self._durability() == "sync"

    def _write(self, unit: Unit, starts: list[m.StartAttempt], ready: list[Unit]) -> None:
        """Give the store what changed; attempts start and hooks are asked as durability allows."""
        ended, store, stored = self._ended, self.store, None
        to_ask, self._to_ask = self._to_ask, []
        must_wait = ended is not None or self._is_careful()
        self.workers.careful = False
        for one in ready:
            stored = store.write(one, wait=must_wait)
        if must_wait and stored is None and (unit.journal or unit.logs or unit.artifacts):
            stored = store.committed(self.run_id)
        self.watch.look()
        self.snapshots.look()
        if ended is not None:
            self._leaving = self.loop.create_task(self._leave(ended, stored))
        elif stored is not None:
            stored.add_done_callback(
                lambda done: self._follow(starts, to_ask, done), context=self._own_context
            )
        else:
            self._follow(starts, to_ask, None)

    def _follow(
        self, starts: list[m.StartAttempt], to_ask: list[Any], stored: asyncio.Future[None] | None
    ) -> None:
        """What was decided is stored as far as it must be: attempts start, hooks are asked."""
        if stored is not None and (stored.cancelled() or stored.exception() is not None):
            return  # the store has told of it
        for effect in starts:
            self.workers.start(effect)
        self.asking.waiting.extend(to_ask)
        self.asking.go()

    def _emit(self, effect: m.Emit, unit: Unit) -> None:
        event = effect.event
        node = getattr(event, "node", None)
        node_id = node.node_id if node is not None else getattr(event, "branch_id", None)
        unit.events.append(
            (event.seq, event.at, type(event).__name__, node_id, dump_event(self.codec, event))
        )
        self.watch.event(event)
        if effect.ask:
            self._to_ask.append(event)
        if isinstance(event, m.NodeFailed):
            if event.exception is not None:
                self.exceptions[event.node.node_id] = event.exception
        elif isinstance(event, m.NodeCompleted):
            if event.outcome.recovered:
                unit.artifacts += self.encode(event.node.node_id, event.outcome.outputs)
                self.tell(event.node.node_id, event.outcome.outputs)
            elif self._record is not None and self.scheduler.nodes[event.node.node_id].is_group:
                self.tell(event.node.node_id, event.outcome.outputs)
        elif isinstance(event, m.BranchResumed) and event.answers:
            unit.artifacts += self.encode("human_input", event.answers)
            self.tell("human_input", event.answers)
        elif isinstance(event, m.CommandRejected | m.HookFailed):
            if isinstance(event, m.CommandRejected):
                log.warning("run %s refused a command of %s: %s", self.run_id, event.by, event.reason)
            if self.strict:
                self._be_strict(event)

    def _be_strict(self, event: m.CommandRejected | m.HookFailed) -> None:
        """In a strict flow a refused command or a failing hook ends the run."""
        if self.strict_error is not None:
            return
        if isinstance(event, m.HookFailed):
            error = self.growth.hook_errors.get(event.hook)
            self.strict_error = error or DagError(f"hook {event.hook!r} failed: {event.error}")
        else:
            self.strict_error = ValidationError(
                f"a command was refused: {event.reason}", culprit=event.command
            )
        self.post(m.FailRun(self.clock.now(), str(self.strict_error)))

    # --- groups and values --------------------------------------------------------------------

    def _open_group(self, effect: m.OpenGroup) -> None:
        node = self.scheduler.nodes[effect.node_id]
        children: tuple[Any, ...] = ()
        error, exception, count = None, None, 0
        try:
            if node.spec.kind == "map":
                self.values.forget(node.id)
                count = len(self.values.combinations(node))
                children = tuple(spec for i in range(count) for spec in instantiate(node.spec, i))
            else:
                self.values.resolve(node)
        except Exception as bad:
            error, exception = str(bad), bad
        at = self.clock.now()
        self.post(m.GroupOpened(node.id, effect.attempt, at, count, children, error, exception))

    def _close_group(self, effect: m.CloseGroup) -> None:
        node = self.scheduler.nodes[effect.node_id]
        at = self.clock.now()
        try:
            self.post(m.AttemptEnded(node.id, effect.attempt, at, self.values.close(node)))
        except Exception as bad:
            self.post(m.AttemptEnded(node.id, effect.attempt, at, None, str(bad), bad, retryable=False))

    def rows_of(self, node_id: str, outputs: Mapping[str, Any]) -> list[Any]:
        """A node's outputs as they are handed to a unit: what nobody can change any more is encoded later."""
        if type(outputs) is dict and all_scalars(map(type, outputs.values())):
            return [(node_id, dict(outputs), self.clock.now())] if outputs else []
        return self.encode(node_id, outputs)

    def _encoded(self, rows: list[Any]) -> list[Any]:
        """The rows of a unit's values; called in whatever thread writes them."""
        found = []
        for row in rows:
            if len(row) == 3:
                found += self.encode(*row)
            else:
                found.append(row)
        return found

    def encode(self, namespace: str, values: Mapping[str, Any], at: float | None = None) -> list[Any]:
        """Values as rows of the table `artifacts`; what cannot be stored is remembered in the process."""
        rows, at = [], self.clock.now() if at is None else at
        for key, value in values.items():
            encoded = self.codec.encode(value, lend=True)
            data: Any = encoded.data
            if encoded.codec == "memory":
                self._remember(namespace, key, value)
            elif type(data) is Parts:
                data = self.store.keep(self.run_id, data)
            rows.append((namespace, key, encoded.codec, data, encoded.size, encoded.reason, at))
        return rows

    def write_values(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Store values that an action put into a namespace of its own choice."""
        self._values += self.encode(namespace, values)
        self.cache._keep(namespace, values)
        self.tell(namespace, values)

    def tell(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Tell the caller's own cache."""
        if self._record is not None:
            for key, value in values.items():
                self._record(namespace, key, value)

    # --- time and end -------------------------------------------------------------------------

    def _wake_at(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if at is not None:
            due = at
            self._timer = self.clock.call_at(
                self.loop, due, lambda: self.post(m.Tick(max(due, self.clock.now()), self.random.random()))
            )

    def store_failed(self, error: BaseException) -> None:
        """The store could not write this run: nothing more can be promised, so it stops here."""
        if not self.done.done():
            self._fall_over(error)

    def _fall_over(self, error: BaseException) -> None:
        """The coordinator itself cannot go on."""
        self.crash = error
        self.workers.abandon()
        self._close()
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever waits sees it; nobody waiting is no reason for a warning

    async def _leave(self, ended: m.RunEnded, stored: asyncio.Future[None] | None) -> None:
        """Cancelled coroutines clean up, the last rows are on disk, nobody owns the run."""
        await self.workers.finish()
        try:
            if stored is not None:
                await stored
            await self.store.flush(self.run_id)
            self.memo.results.settle(self.run_id)
            await self.store.release(self.run_id)
        except Exception as error:
            self._fall_over(error)
            return
        self._close()
        if not self.done.done():
            self.done.set_result(RunStatus(ended.status))

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.snapshots.close()
        self.asking.close()
        self.workers.close()
        if self._capturing:
            self._capturing = False
            capture.stop()
        self.watch.close()
