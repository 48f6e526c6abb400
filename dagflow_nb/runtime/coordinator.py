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
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from typing import Any

from ..actions import NodeAction
from ..clock import Clock, Handle
from ..codec import Codec, dump_event, dump_input, may_wait
from ..core import messages as m
from ..core.model import RunStatus
from ..core.scheduler import Scheduler
from ..errors import DagError, ValidationError
from ..hooks import Hook
from ..store import Store, Unit
from ..workflow.flatten import instantiate
from . import capture
from .asking import Asking
from .attempts import Talk
from .commands import Commands
from .eager import Starter
from .executors import Executors
from .growth import Growth
from .keying import Refresh
from .known import Results
from .memo import Memo
from .outputs import Outputs
from .rows import Piece, event_row, run_row
from .snapshots import Snapshots
from .values import Values
from .watching import Watch
from .workers import Workers

log = logging.getLogger("dagflow_nb")
OVER = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
MOST_INPUTS = 5000  # that share a unit of the store: its nodes are made rows within 10 ms
_is_on_loop = attrgetter("on_loop")
TURN = 0.001  # seconds that a run goes on before others on its loop have their turn


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
        self.tasks = Starter(self.loop)
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
        self.outputs = Outputs(self, record, remember)
        self._capacity = capacity[0]
        self._commands = Commands(self.loop, capacity[1])
        self.taken = taken
        self._first: tuple[m.Input, ...] = ()
        self._inbox: deque[m.Input] = deque()
        self._room: asyncio.Event | None = None
        self._scheduled = False
        self._to_ask: list[Any] = []
        # what waits to be stored: attempts to be started, events to ask about, and when it is stored
        self._to_follow: deque[tuple[list[Talk], list[Any], asyncio.Future[None] | None]] = deque()
        self._timer: Handle | None = None
        self._unit: Piece | None = None  # what goes to the store next; the store may take it at any time
        self._queued = False  # whether the store has it
        self._durability = "async"
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

    def post_first(self, *messages: m.Input) -> None:
        """Take inputs, in order, before those that wait: what a node said comes before its end."""
        self._inbox.extendleft(reversed(messages))

    def post_from_thread(self, make: Callable[[float], m.Input]) -> None:
        """Take an input from any thread, which waits where too many are waiting; `make(now)` on the loop."""
        self._commands.call(lambda: self.post(make(self.clock.now())))

    def is_full(self) -> bool:
        """Whether a worker has to wait before it posts."""
        return len(self._inbox) >= self._capacity

    @property
    def is_held(self) -> bool:
        """Whether it has not begun yet, and does when told to."""
        return not self._capturing and not self.done.done()

    def is_quiet(self, waiting: int, held: int) -> bool:
        """Whether nothing moves but `waiting` attempts and `held` answers, which somebody keeps back."""
        scheduler = self.scheduler
        return not self._inbox and len(scheduler.asks) == held and scheduler.busy == waiting

    async def taken_in(self, seq: int) -> None:
        """Wait until the answer to event `seq`, which has been posted, is applied, or the run is left."""
        while seq in self.scheduler.asks and self._capturing:
            await asyncio.sleep(0)

    async def room(self) -> None:
        """Wait until there is room for one more result."""
        while self.is_full():
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def prepare_start(self, *messages: m.Input, reopened: bool = False) -> None:
        """What `go` begins with; hooks that had not answered when the run was left are asked again."""
        self._first = messages
        for message in messages:
            if isinstance(message, m.Begin | m.Reopened):
                self._durability = message.config.durability
                self.snapshots.configure(message.config)
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

    def post_at_once(self, *messages: m.Input, alone: bool) -> None:
        """Take inputs now, if they are `alone` in that no others are about to come; for tasks of this run."""
        self._inbox.extend(messages)
        if not self._scheduled and self._capturing:
            self._scheduled = True
            if alone and len(self._inbox) == len(messages):
                self._own_context.run(self._pump)
            else:
                self.loop.call_soon(self._pump, context=self._own_context)

    def _pump(self) -> None:
        """Take everything that was posted, and what comes of it at once; then others have their turn."""
        until = 0.0
        try:
            while not self.done.done():
                if self._commands.waiting:
                    self._commands.take()
                self._take_in()
                if not self._inbox:
                    break
                now = time.monotonic()
                if not until:
                    until = now + TURN
                elif now > until:
                    self.loop.call_soon(self._pump, context=self._own_context)
                    return
        except BaseException as error:
            self._fall_over(error)
        self._scheduled = False

    def _take_in(self) -> None:
        """Take what is there, give it to the store, start attempts, ask the hooks."""
        starts: list[Talk] = []
        with self.store.taking:
            unit = self._unit
            if unit is None:
                unit = self._unit = Piece(self)
                self._queued = False
            self._take_all(unit, starts)
            is_new = self._is_to_be_given(unit)
        self._write(unit, starts, is_new)
        if self._room is not None:
            self._room.set()
            self._room = None

    def _take_all(self, unit: Unit, starts: list[Talk]) -> None:
        inputs, events = len(unit.journal), len(unit.events)
        try:
            if self.workers.has_said:
                self.workers.listen(unit)
            if self.outputs.waiting:
                unit.artifacts += self.outputs.take()
            inbox, asking, for_task = self._inbox, self.asking, None
            while inbox:
                self._take(inbox.popleft(), unit, starts)
                if self._to_ask and not inbox and self._to_ask[0] is not for_task:
                    # the answer of hooks that only look and decide belongs to the same moment
                    answer = asking.at_once(self._to_ask[0])
                    if answer is None:
                        for_task = self._to_ask[0]
                    else:
                        del self._to_ask[0]
                        inbox.append(answer)
        except BaseException:
            # of what could not be taken nothing is stored
            del unit.journal[inputs:], unit.events[events:]
            raise

    def _take(self, message: m.Input, unit: Unit, starts: list[Talk]) -> None:
        scheduler = self.scheduler
        try:
            effects = scheduler.handle(message)
        except DagError as refused:
            # what is asked from outside is checked before it is posted; this one came too late
            log.info("run %s: %s", self.run_id, refused)
            return
        self.taken += 1
        kept: Any = message
        waits = may_wait(message)
        if not waits or scheduler.asked:
            asked = ",".join(map(str, scheduler.asked)) or None
            scheduler.asked.clear()
            if type(message) is m.GroupOpened and message.children:
                kept = replace(message, children=())  # they are made anew from the count
            kept = kept if waits else dump_input(self.codec, kept)
            kept = (self.taken, message.at, type(message).__name__, kept, asked)
        unit.journal.append(kept)
        if type(message) is m.AttemptEnded:
            self.workers.record(message, unit)
        for effect in effects:
            if type(effect) is m.StartAttempt:
                starts.append(self.workers.register(effect))
            elif isinstance(effect, m.Event):
                self._emit(effect, unit)
            elif isinstance(effect, m.AskHooks):
                self._to_ask.append(effect.event)
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

    def _is_to_be_given(self, unit: Unit) -> bool:
        """Whether the store is to be given the unit now; one that grows is given once."""
        # of what must not run twice it has to be known after a crash that it ran
        ended, careful = self._ended, self.workers.careful or self._durability == "sync"
        if ended is not None or self.watch.row_is_due():
            unit.run = run_row(self.scheduler, ended)
        if self.snapshots.due:
            unit.snapshot = self.snapshots.take()
        if not (unit.journal or unit.logs or unit.artifacts or unit.snapshot):
            return False
        if careful or unit.snapshot or len(unit.journal) >= MOST_INPUTS:
            unit.close()
        is_new, self._queued = not self._queued, True
        if is_new and self.snapshots.hold_back and ended is None and not careful and unit.snapshot is None:
            self.store.hold(unit)
            return False
        return is_new

    def _write(self, unit: Unit, starts: list[Talk], is_new: bool) -> None:
        """Give the store what changed; attempts start and hooks are asked as durability allows."""
        ended, store, stored = self._ended, self.store, None
        to_ask, self._to_ask = self._to_ask, []
        must_wait = ended is not None or self.workers.careful or self._durability == "sync"
        self.workers.careful = False
        # beside attempts that are under way a thread writes, and what they bring meanwhile goes together
        alone = must_wait and self.workers.under_way == len(starts)
        if is_new:
            stored = store.write(unit, wait=must_wait, at_once=alone)
        elif unit.snapshot:
            store.let_go(self.run_id)  # it may have been held back until now
        if must_wait and stored is None and (unit.journal or unit.logs or unit.artifacts):
            stored = store.committed(self.run_id, at_once=alone)
        if self.watch.views:
            self.watch.look()
        if self.snapshots.every and self.snapshots.timer is None:
            self.snapshots.look()
        if ended is not None:
            self.snapshots.close()  # one that came due now would be written after the run is given up
            self._leaving = self.loop.create_task(self._leave(ended, stored))
        elif not self._to_follow and (stored is None or stored.done()):
            self._follow(starts, to_ask, stored)
        else:
            self._to_follow.append((starts, to_ask, stored))
            if stored is None or stored.done():
                self._follow_stored()
            else:
                stored.add_done_callback(lambda _: self._go_on(), context=self._own_context)

    def _go_on(self) -> None:
        """What was waited for is stored."""
        scheduled, self._scheduled = self._scheduled, True
        self._follow_stored()
        self._scheduled = scheduled
        if self._inbox:
            self.post()

    def _follow_stored(self) -> None:
        """Follow what is stored, up to the first that is not yet: nothing overtakes what came before it."""
        waiting = self._to_follow
        while waiting and ((stored := waiting[0][2]) is None or stored.done()):
            self._follow(*waiting.popleft())

    def _follow(self, starts: list[Talk], to_ask: list[Any], stored: asyncio.Future[None] | None) -> None:
        """What was decided is stored as far as it must be: attempts start, hooks are asked."""
        if stored is not None and (stored.cancelled() or stored.exception() is not None):
            return  # the store has told of it
        if len(starts) > 1:
            starts.sort(key=_is_on_loop)  # a first step that blocks keeps no thread from beginning
        for own in starts:
            self.workers.start(own)
        if to_ask or self.scheduler.asks:
            self.asking.waiting.extend(to_ask)
            self.asking.go()

    def _emit(self, event: Any, unit: Unit) -> None:
        watch, kind = self.watch, type(event)
        usual = kind is m.NodeStarted or may_wait(event)
        unit.events.append(event if usual else event_row(event, dump_event(self.codec, event)))
        watch.past.append(event)
        if watch.listeners:
            watch.tell(event)
        if not usual or (kind is m.NodeCompleted and (self.outputs.told or event.outcome.recovered)):
            self._look_at(event, unit)

    def _look_at(self, event: Any, unit: Unit) -> None:
        """What an event means beside its row."""
        if isinstance(event, m.NodeCompleted):
            if event.outcome.recovered:
                # not lent: to store it at once the writer is waited for, who may be waiting for this unit
                unit.artifacts += self.outputs.encode(event.node.node_id, event.outcome.outputs, lend=False)
                self.outputs.tell(event.node.node_id, event.outcome.outputs)
            elif self.outputs.told and self.scheduler.nodes[event.node.node_id].is_group:
                self.outputs.tell(event.node.node_id, event.outcome.outputs)
        elif isinstance(event, m.NodeFailed):
            if event.exception is not None:
                self.exceptions[event.node.node_id] = event.exception
        elif isinstance(event, m.BranchResumed) and event.answers:
            unit.artifacts += self.outputs.encode("human_input", event.answers, lend=False)
            self.outputs.tell("human_input", event.answers)
        elif isinstance(event, m.CommandRejected):
            by = f" of {event.by}" if event.by else ""
            log.warning("run %s refused a command%s: %s", self.run_id, by, event.reason)
            refused = ValidationError(f"a command was refused: {event.reason}", culprit=event.command)
            self.post(*self.end_strictly(refused))

    def end_strictly(self, error: BaseException) -> list[m.Input]:
        """What ends the run of a strict flow, at the first refused command or failing hook."""
        if not self.strict or self.strict_error is not None or self.scheduler.ending is not None:
            return []
        self.strict_error = error
        return [m.FailRun(self.clock.now(), str(error))]

    def taken_out(self, unit: Unit) -> None:
        """What is taken from now on belongs into another unit."""
        if self._unit is unit:
            self._unit = None

    # --- groups -----------------------------------------------------------------------------------

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
        self._leaving = self.loop.create_task(self._let_go())
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever waits sees it; nobody waiting is no reason for a warning

    async def _let_go(self) -> None:
        """Nobody owns what cannot go on here."""
        with suppress(DagError):  # of a store that is closed, or cannot write even that
            await self.store.release(self.run_id)

    async def _leave(self, ended: m.RunEnded, stored: asyncio.Future[None] | None) -> None:
        """Cancelled coroutines clean up, the last rows are on disk, nobody owns the run."""
        await self.workers.finish()
        try:
            left = self.store.release(self.run_id, whole=True)
            await (left if stored is None else asyncio.gather(left, stored))
            self.memo.results.settle(self.run_id)
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
