"""Opening, queueing, closing: what a store does whatever is in it.

Rules kept here:
- `write` only queues. A few milliseconds later all that has come together is written in one
  transaction, on aiosqlite's thread; in memory nothing is written until somebody reads.
- One task writes. We end it by a message and never cancel it; a loop that shuts down does, and then it
  writes what is queued first, and what comes later is written at once on the thread that brings it.
- A store that is never closed writes what it has queued when it is collected or the interpreter exits,
  and does not keep it from exiting.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, TypeVar

import aiosqlite

from ..errors import DatabaseError, InvalidState
from . import owners
from .database import MEMORY, explain, parse_database, tune
from .schema import migrate, prepare
from .unit import Unit
from .writer import CommittingConnection, Job, Mark, Writer

T = TypeVar("T")
GATHER = 0.005  # seconds that units wait for others to share their transaction
MANY = 5000  # units in memory that nobody has asked for, before they are brought in in the background
SYNC_PATIENCE = 10.0
EXIT_PATIENCE = 5.0
_CACHED_STATEMENTS = 256

_open_stores: weakref.WeakSet[BaseStore] = weakref.WeakSet()
# Held here, so that a forgotten store is collected before its connection and its task, and closes them.
_held: dict[aiosqlite.Connection, asyncio.Task[None]] = {}


class BaseStore:
    """The part of `Store` that knows about queues, threads and files, and nothing of runs."""

    path: str
    note: str | None
    read_only: bool
    on_error: Callable[[str, BaseException], None] | None

    def __init__(self, path: str, writer: Writer, now: Callable[[], float]) -> None:
        self.path, self.note, self.read_only, self.on_error = path, None, False, None
        self._loop = asyncio.get_running_loop()
        self._now = now
        self._writer = writer
        self._queue = writer.queue
        self._memory = path == MEMORY
        self._db: aiosqlite.Connection | None = None
        self._armed = False  # whether something is under way that will empty the queue
        self._wake = asyncio.Event()
        self._loop_ends = False
        self._bringing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._owned: set[str] = set()
        self._heart = owners.Heartbeat(path, writer.owner, self._owned, now)
        self._closed = False
        self._process = os.getpid()
        # Weakly, or a forgotten store would never be collected.
        weak = weakref.ref(self)

        def on_broken(run_id: str, error: Exception) -> None:
            if (store := weak()) is not None:
                store._from_writer(store._tell, run_id, error)

        writer.on_broken = on_broken
        _open_stores.add(self)

    # --- opening ------------------------------------------------------------------------------

    @classmethod
    async def open(cls, database: str | os.PathLike[str], *, now: Callable[[], float] = time.time) -> Self:
        """Open a database, making or migrating it: `"sqlite:PATH"`, a path, or `":memory:"`.

        `now`: a clock (epoch seconds). A missing folder, a foreign or broken file, or one from a newer
        version raises `DatabaseError` and is left as it is; what is no database's name `ValidationError`.
        """
        path = parse_database(database)
        owner = owners.new_owner(now())
        try:
            if path == MEMORY:
                return cls._open_memory(owner, now)
            return await cls._open_file(path, owner, now)
        except BaseException:
            owners.retire(owner)
            raise

    @classmethod
    def _open_memory(cls, owner: owners.Owner, now: Callable[[], float]) -> Self:
        connection = sqlite3.connect(
            MEMORY, isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS
        )
        migrate(connection)
        return cls(MEMORY, Writer(MEMORY, connection, owner), now)

    @classmethod
    async def _open_file(cls, path: str, owner: owners.Owner, now: Callable[[], float]) -> Self:
        prepared = await asyncio.to_thread(prepare, path)
        made: list[CommittingConnection] = []

        def connection(*args: Any, **settings: Any) -> CommittingConnection:
            made.append(CommittingConnection(*args, **settings))
            return made[0]

        db = aiosqlite.connect(
            path,
            factory=connection,
            isolation_level=None,
            timeout=5.0,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        # A second line of defence for a store that nobody closes: its thread is not waited for.
        thread = db if isinstance(db, threading.Thread) else getattr(db, "_thread", None)
        if isinstance(thread, threading.Thread):
            thread.daemon = True
        try:
            await db
            if not prepared.read_only:
                tune(made[0])
        except sqlite3.Error as error:
            if made:
                await db.close()
            raise explain(error, path) from error
        store = cls(path, Writer(path, made[0], owner), now)
        _held[db] = store._loop.create_task(_serve(weakref.ref(store), store._wake))
        store._db, store.note, store.read_only = db, prepared.note, prepared.read_only
        made[0].write_queued = store._writer.drain
        return store

    # --- closing ------------------------------------------------------------------------------

    async def close(self) -> None:
        """Write what is queued, give up what is owned, close the file; idempotent.

        Raises `DatabaseError` where something could not be written and `flush` has not said so yet.
        """
        if asyncio.get_running_loop() is not self._loop:
            return await asyncio.to_thread(self.close_now)
        if self._closed:
            return
        self._closed = True
        try:
            if not self.read_only and not self._memory:
                await self._call(self._give_up, closing=True)
        finally:
            self._let_go()
            if self._db is None:
                self._writer.connection.close()
            else:
                self._wake.set()
                await asyncio.wait([_held[self._db]])
                await self._db.close()
                del _held[self._db]
        self._report()

    def close_now(self) -> None:
        """`close` for when the store's loop does not run any more: from any thread; idempotent."""
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        try:
            if not self.read_only and not self._memory:
                self._writer.drain()
                self._writer.run(Job(self._give_up, lambda result, error: None))
        finally:
            self._let_go()
            self._writer.connection.close()
            self._from_writer(self._wake.set)
            if self._db is not None and _stop(self._db):
                del _held[self._db]
        self._report()

    def __del__(self) -> None:
        # Objects are collected in any thread, also in the middle of writing: close in one of our own.
        if not getattr(self, "_closed", True) and not sys.is_finalizing():
            with suppress(RuntimeError):
                threading.Thread(target=self._close_forgotten, name="dagflow-close").start()

    def _close_forgotten(self) -> None:
        self._writer.patience = EXIT_PATIENCE
        with suppress(DatabaseError, InvalidState):
            self.close_now()

    def _give_up(self, connection: sqlite3.Connection) -> None:
        owners.give_up(connection, self._writer.owner, None)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = False
        self._heart.stop()
        with self._writer.lock:
            self._writer.closed = True
        owners.retire(self._writer.owner)
        _open_stores.discard(self)

    def _report(self) -> None:
        error, self._writer.unreported = self._writer.unreported, None
        if error is not None:
            raise error

    # --- writing ------------------------------------------------------------------------------

    def write(self, unit: Unit, *, wait: bool = False) -> asyncio.Future[None] | None:
        """Queue what one input changed; from the loop. It must not be changed any more.

        With `wait` the result is a future that is done once the unit is committed, or raises why it
        could not be. Raises `InvalidState` after `close`.
        """
        self._queue.append(unit)
        if wait:
            return self._mark(unit.run_id)
        if not self._armed:
            self._arm()
        return None

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
            self._writer.drain(timeout=SYNC_PATIENCE)

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidState("the database is closed: open it again", culprit=self.path)

    def _mark(self, run_id: str | None) -> asyncio.Future[None]:
        """A future that is done once what is queued now is written; with a run: whose error it raises."""
        self._check_open()
        future: asyncio.Future[None] = self._loop.create_future()

        def finish() -> None:
            error = None if run_id is None else self._writer.broken.get(run_id)
            _resolve(future, None, error)

        if self._memory:
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
        self._owned.discard(run_id)
        if self.on_error is not None:
            self.on_error(run_id, error)

    def _arm(self) -> None:
        self._check_open()
        if self._memory:
            if len(self._queue) > MANY:
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
        waited_for = True
        while waited_for:
            await self._db.commit()
            waited_for = any(type(item) is not Unit for item in self._queue)
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
        if self.read_only:
            raise DatabaseError(f"{self.note}; change its permissions, or use a copy", path=self.path)
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


def _resolve(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


async def _serve(found: weakref.ref[BaseStore], wake: asyncio.Event) -> None:
    """The one task that writes; it ends when it wakes and the store is closed."""
    while True:
        try:
            await wake.wait()
            wake.clear()
            store = found()
            if store is None or store._closed and not store._queue:
                return
            await store._write_out()
            # Not held while it waits: a store that nobody else holds is to be collected.
            del store
        except asyncio.CancelledError:
            if (store := found()) is not None:
                await store._write_last()
            raise


def _stop(db: aiosqlite.Connection) -> bool:
    """End aiosqlite's thread from a place where its own loop does not run; False if that is not possible.

    The thread dies by itself where a loop was closed that waited for it.
    """
    thread = db if isinstance(db, threading.Thread) else getattr(db, "_thread", None)
    if isinstance(thread, threading.Thread) and not thread.is_alive():
        return False

    def stop() -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(db.close(), EXIT_PATIENCE))
        finally:
            loop.close()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        stop()
    else:
        helper = threading.Thread(target=stop, name="dagflow-stop")
        helper.start()
        helper.join()
    return True


@atexit.register
def _close_all() -> None:
    for store in list(_open_stores):
        store._close_forgotten()
