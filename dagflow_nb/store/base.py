"""Opening and closing a store.

A store that is never closed writes what it has queued when it is collected or the interpreter exits, and
does not keep it from exiting.
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
from typing import Any, Self

import aiosqlite

from ..errors import DatabaseError, InvalidState
from . import owners
from .database import BUSY_TIMEOUT, MEMORY, inode_of, parse_database, transaction
from .queueing import QueueingStore, serve
from .schema import Prepared, copy_schema, open_file
from .writer import CommittingConnection, Job, Writer

EXIT_PATIENCE = 5.0
_CACHED_STATEMENTS = 256

_open_stores: weakref.WeakSet[BaseStore] = weakref.WeakSet()
# Held here, so that a forgotten store is collected before its connection and its task, and closes them.
_held: dict[aiosqlite.Connection, asyncio.Task[None]] = {}


class BaseStore(QueueingStore):
    """The part of `Store` that knows about threads, loops and files, and nothing of runs."""

    def __init__(self, path: str, writer: Writer, now: Callable[[], float]) -> None:
        super().__init__(path, writer)
        self._now = now
        self._inode: int | None = None  # of the file, as SQLite itself tells whether it was moved
        self._heart = owners.Heartbeat(path, writer.owner, self._owned, now)
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
        copy_schema(connection)
        writer = Writer(MEMORY, connection, owner)
        # where nobody closes the store, the last one that could read it is gone with the writer
        weakref.finalize(writer, connection.close).atexit = False
        return cls(MEMORY, writer, now)

    @classmethod
    async def _open_file(cls, path: str, owner: owners.Owner, now: Callable[[], float]) -> Self:
        opened: list[tuple[CommittingConnection, Prepared]] = []

        def connection(*args: Any, **settings: Any) -> CommittingConnection:
            opened.append(open_file(path, lambda: CommittingConnection(*args, **settings)))
            return opened[0][0]

        db = aiosqlite.connect(
            path,
            factory=connection,
            isolation_level=None,
            timeout=BUSY_TIMEOUT,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        # A second line of defence for a store that nobody closes: its thread is not waited for.
        thread = db if isinstance(db, threading.Thread) else getattr(db, "_thread", None)
        if isinstance(thread, threading.Thread):
            thread.daemon = True
        try:
            await db
        except Exception:
            if isinstance(thread, threading.Thread):
                thread.join(EXIT_PATIENCE)  # it ends, and says so to this loop, which may be closed soon
            raise
        ((made, (note, read_only)),) = opened
        store = cls(path, Writer(path, made, owner), now)
        _held[db] = store._loop.create_task(serve(weakref.ref(store), store._wake))
        store._db, store.note, store.read_only = db, note, read_only
        made.write_queued = store._writer.drain
        store._writer.pace.has_log = note is None
        store._inode = inode_of(path)
        return store

    @property
    def is_left(self) -> bool:
        """Whether its loop has been closed, as `asyncio.run` does at its end."""
        return self._loop.is_closed()

    async def moved(self) -> Self:
        """The same database for the running loop, where its own has been closed; this one is given up."""
        if not self._memory:
            await asyncio.to_thread(self.close_now)
            return await type(self).open(self.path, now=self._now)
        self._closed = True  # its connection lives on in the other
        return type(self)(self.path, self._writer, self._now)

    # --- the file -----------------------------------------------------------------------------

    @property
    def is_lost(self) -> bool:
        """Whether the file was deleted, moved or replaced since: what is written now, nobody will read."""
        return not self._memory and inode_of(self.path) != self._inode

    def check_file(self) -> None:
        """Raise `DatabaseError` where the file is not there any more."""
        if self.is_lost:
            there = os.path.exists(self.path)
            what, then = ("was replaced", "opens the new one") if there else ("is gone", "begins a new file")
            raise DatabaseError(
                f"the database {self.path!r} {what}: its file was deleted, moved or replaced while it was "
                f"open, and what is stored now would be lost; call flow.close() and make a new DagFlow, "
                f"which {then}",
                path=self.path,
            )

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
        self._unhold()
        try:
            if not self.read_only and not self._memory:
                await self._call(self._give_up, in_transaction=False, closing=True)
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
        self._unhold()
        try:
            if not self.read_only and not self._memory:
                self._writer.drain()
                self._writer.run(Job(self._give_up, lambda result, error: None, in_transaction=False))
        finally:
            self._let_go()
            self._writer.connection.close()
            if self._db is not None:
                self._from_writer(self._wake.set)
                # A task of a loop that has been closed never ends; asyncio is not to complain of that.
                _held[self._db]._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio's own
                if _stop(self._db):
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
        with transaction(connection):
            owners.give_up(connection, self._writer.owner, None)
        if self.is_lost:  # of a file that was moved SQLite itself leaves the log behind
            connection.execute("pragma wal_checkpoint")

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = False
        self._heart.stop()
        with self._writer.lock:
            self._writer.closed = True
        owners.retire(self._writer.owner)
        _open_stores.discard(self)


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
