"""Queueing: what a store's loop sees of writing.

Rules kept here:
- `write` only queues. A few milliseconds later all that has come together is written in one
  transaction, on aiosqlite's thread; in memory nothing is written until somebody reads. So it is with
  what is to be held back.
- What somebody waits for is written at once: by the loop itself where it has nothing better to do, one run
  alone waits, and it takes but a moment (`Pace`); else on aiosqlite's thread, too.
- One task writes. We end it by a message and never cancel it; a loop that shuts down does, and then it
  writes what is queued first, and what comes later is written at once on the thread that brings it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import aiosqlite

from ..errors import DatabaseError, InvalidState
from .database import MEMORY
from .unit import Unit
from .writer import Job, Mark, Writer

T = TypeVar("T")
GATHER = 0.005  # seconds that units wait for others to share their transaction
MANY = 20_000  # inputs in memory that nobody has asked for, before they are brought in in the background
SYNC_PATIENCE = 10.0


class QueueingStore:
    """The part of `Store` that queues; it belongs to the running loop."""

    path: str
    note: str | None
    read_only: bool
    on_error: Callable[[str, BaseException], object] | None

    def __init__(self, path: str, writer: Writer) -> None:
        self.path, self.note, self.read_only, self.on_error = path, None, False, None
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._queue = writer.queue
        self._held: list[Unit] = []  # held back
        self.taking = writer.taking
        self._memory = path == MEMORY
        self._db: aiosqlite.Connection | None = None
        self._armed = False  # whether something is under way that will empty the queue
        self._looked = 0  # how long the queue in memory was when it was last looked through
        self._wake = asyncio.Event()
        self._loop_ends = False
        self._bringing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._owned: set[str] = set()
        self._waited: str | None = None  # the run that waited last
        self._closed = False
        self._process = os.getpid()
        # Weakly, or a forgotten store would never be collected.
        weak = weakref.ref(self)

        def on_broken(run_id: str, error: Exception) -> None:
            if (store := weak()) is not None:
                store._from_writer(store._tell, run_id, error)

        writer.on_broken = on_broken

    def write(self, unit: Unit, *, wait: bool = False, at_once: bool = False) -> asyncio.Future[None] | None:
        """Queue what inputs changed; from the loop. It must not be changed any more, but for an open one.

        With `wait` the result is a future that is done once the unit is committed, or raises why it could not
        be. `at_once`: the loop has nothing better to do; then the future may be done already. Raises
        `InvalidState` after `close`.
        """
        if self._held:
            self._unhold(unit.run_id)
        self._queue.append(unit)
        if wait:
            return self.committed(unit.run_id, at_once=at_once)
        if not self._armed:
            self._arm()
        return None

    def hold(self, unit: Unit) -> None:
        """Keep what inputs changed until somebody reads, or something more of its run is to be written."""
        (self._queue if self._memory else self._held).append(unit)

    def let_go(self, run_id: str) -> None:
        """Queue what is held back of a run; from the loop."""
        self._unhold(run_id)
        if not self._armed:
            self._arm()

    def _unhold(self, run_id: str | None = None) -> None:
        with self.taking:
            self._queue += [unit for unit in self._held if run_id in (None, unit.run_id)]
            self._held[:] = [unit for unit in self._held if run_id not in (None, unit.run_id)]

    def committed(self, run_id: str, *, at_once: bool = False) -> asyncio.Future[None]:
        """A future that is done once all that is queued of a run is committed, or raises why it is not."""
        if self._held:
            self._unhold(run_id)
        # several runs that take turns share transactions, which one that is written at once cannot
        alone, self._waited = run_id == self._waited, run_id
        return self._mark(run_id, at_once=at_once and alone)

    @property
    def queued(self) -> int:
        """How many units (and other things to do) are waiting to be written."""
        return len(self._queue)

    async def flush(self, run_id: str | None = None) -> None:
        """Wait until all that is queued is committed; from the loop.

        Raises `DatabaseError` if something could not be written (with `run_id`: of that run, every time;
        without: of any run, once), `InvalidState` if a run has another owner. In memory there is
        nothing to wait for: it is written when somebody reads.
        """
        if not self._memory:
            await self._mark(None)
        if run_id is None:
            self._report()
        elif (error := self._writer.broken.get(run_id)) is not None:
            raise error

    def sync(self) -> None:
        """Write what is queued, on this thread, so that a reader finds it; from any thread.

        Another thread that keeps writing (a lock held by another program) is waited for
        `SYNC_PATIENCE` seconds; then readers see what is committed.
        """
        if os.getpid() == self._process:
            self._unhold()
            self._writer.drain(timeout=SYNC_PATIENCE)

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidState("the database is closed: open it again", culprit=self.path)

    def _check_writable(self) -> None:
        if self.read_only:
            raise DatabaseError(f"{self.note}; change its permissions, or use a copy", path=self.path)

    def _mark(self, run_id: str | None, *, at_once: bool = False) -> asyncio.Future[None]:
        """A future that is done once what is queued now is written; with a run: whose error it raises."""
        self._check_open()
        future: asyncio.Future[None] = self._loop.create_future()

        def finish() -> None:
            error = None if run_id is None else self._writer.broken.get(run_id)
            _resolve(future, None, error)

        if self._memory or (at_once and self._writer.drain_at_once()):
            finish()
        else:
            self._queue.append(Mark(lambda: self._from_writer(finish)))
            self._start()
        return future

    def _from_writer(self, call: Callable[..., None], *args: Any) -> None:
        # A loop that is closed has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)

    def _tell(self, run_id: str, error: Exception) -> None:
        if isinstance(error, InvalidState):
            self._owned.discard(run_id)
        if self.on_error is not None and self.on_error(run_id, error) and self._writer.unreported is error:
            self._writer.unreported = None

    def _arm(self) -> None:
        self._check_open()
        if self._memory:
            # looked through once it has doubled: each unit is looked at a few times, however many there are
            length = len(self._queue)
            if self._looked <= length < 2 * self._looked:
                return
            self._looked = length
            if sum(len(item.journal) for item in list(self._queue) if isinstance(item, Unit)) > MANY:
                self._armed = True
                self._bringing = self._loop.create_task(self._bring_in())
        elif self._loop_ends:
            self._writer.drain()
        else:
            self._armed = True
            self._timer = self._loop.call_later(GATHER, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop_ends:
            self._writer.drain()
        else:
            self._armed = True
            self._wake.set()

    async def _bring_in(self) -> None:
        try:
            await asyncio.to_thread(self._writer.drain)
        finally:
            self._bringing, self._armed = None, False

    async def _write_out(self) -> None:
        assert self._db is not None
        # who woke us up may have found out in the meantime that another thread, or the loop, was quicker
        waited_for = bool(self._queue)
        while waited_for:
            # here, as the thread that writes may not get at the lock while the loop is busy
            with self._writer.taking:
                for item in list(self._queue):
                    if isinstance(item, Unit):
                        item.close()
            try:
                await self._db.commit()
            except ValueError:  # aiosqlite's word for: closed, by close_now() in another thread
                return
            waited_for = any(not isinstance(item, Unit) for item in self._queue)
        self._armed = False
        if self._queue and not self._closed:
            self._arm()

    async def _write_last(self) -> None:
        """The loop is being shut down: aiosqlite may have nothing under way when it is closed."""
        self._loop_ends = True
        if self._timer is not None:
            self._timer.cancel()
        if self._db is not None and not self._closed:
            await self._db.commit()

    async def _call(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        in_transaction: bool = True,
        at_once: bool = False,
        lazy: bool = False,
        closing: bool = False,
    ) -> T:
        """Let the writer do something else, after what is queued.

        In memory, where that means to bring in what nobody has asked for: `at_once` goes ahead of it,
        `lazy` waits with it (and what comes of it is not known).
        """
        if not closing:
            self._check_open()
        self._check_writable()
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: Any, error: Exception | None) -> None:
            if self._memory:
                _resolve(future, result, error)
            else:
                self._from_writer(_resolve, future, result, error)

        job = Job(work, done, in_transaction)
        if self._memory and at_once:
            self._writer.run(job)
        else:
            self._queue.append(job)
            if not self._memory:
                self._start()
            elif lazy:
                _resolve(future, None, None)
            else:
                self._writer.drain()
        return await future

    def _queue_job(self, job: Job) -> None:
        """Let the writer do something else after what is queued, when it comes to that."""
        self._check_open()
        self._check_writable()
        self._queue.append(job)
        if not self._armed:
            self._arm()

    def _report(self) -> None:
        error, self._writer.unreported = self._writer.unreported, None
        if error is not None:
            raise error


def _resolve(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


async def serve(found: weakref.ref[QueueingStore], wake: asyncio.Event) -> None:
    """The one task that writes; it ends when it wakes and the store is closed."""
    # Nothing here holds the store while it waits: one that nobody else holds is to be collected. That is
    # also why the cancellation is raised anew: the one that came holds the frames it has come through.
    try:
        while await wake.wait():
            wake.clear()
            if (store := found()) is None or store._writer.closed:
                return
            await store._write_out()
            del store
    except asyncio.CancelledError:
        store = None
    if (store := found()) is not None:
        await store._write_last()
    del store
    raise asyncio.CancelledError
