"""Reading a database that is in memory: no file, one connection, and still a reader in every thread.

A reader looks like a connection; each statement runs on the one shared connection, under the writer's
lock and after what is queued has been written, and its rows are fetched at once. So nothing is copied
but what is asked for, and nobody sees half a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import DatabaseError
from .writer import Writer, uninterrupted

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


class MemoryCursor(sqlite3.Cursor):
    """The rows of one statement, already fetched."""

    def __init__(self, connection: MemoryReader) -> None:
        super().__init__(connection)
        self._reader = connection
        self._rows: Iterator[Any] = iter(())
        self._description: Any = None

    # sqlite3.Cursor has it as a plain attribute, filled in by its own execute().
    @property
    def description(self) -> Any:
        """The columns, as for any cursor."""
        return self._description

    def execute(self, sql: str, parameters: Any = ()) -> MemoryCursor:
        """Run one reading statement."""
        rows, self._description = self._reader.fetch(sql, parameters)
        self._rows = iter(rows)
        return self

    def __iter__(self) -> MemoryCursor:
        return self

    def __next__(self) -> Any:
        return next(self._rows)

    def fetchone(self) -> Any:
        """The next row, or None."""
        return next(self._rows, None)

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        """The next `size` rows."""
        return [row for _, row in zip(range(size or 1), self._rows, strict=False)]

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return list(self._rows)


class MemoryReader(sqlite3.Connection):
    """What `Store.connect()` gives for `":memory:"`."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(":memory:", isolation_level=None, check_same_thread=False)
        self._writer = writer
        self._authorizer: Authorizer | None = None

    def set_authorizer(self, authorizer_callback: Authorizer | None) -> None:
        """What statements of this reader may do."""
        self._authorizer = authorizer_callback

    def cursor(self, factory: Any = None) -> Any:
        """A cursor over the shared database."""
        return MemoryCursor(self)

    def execute(self, sql: str, parameters: Any = ()) -> MemoryCursor:
        """Run one reading statement."""
        return MemoryCursor(self).execute(sql, parameters)

    def fetch(self, sql: str, parameters: Any) -> tuple[list[Any], Any]:
        """The rows and the description of a statement, run on the shared connection."""
        self._writer.drain()
        return uninterrupted(lambda: self._fetch(sql, parameters))

    def _fetch(self, sql: str, parameters: Any) -> tuple[list[Any], Any]:
        with self._writer.lock:
            if self._writer.closed:
                raise DatabaseError("the in-memory database has been closed, and is gone", path=":memory:")
            shared = self._writer.connection
            shared.execute("pragma query_only = 1")
            if self._authorizer is not None:
                shared.set_authorizer(self._authorizer)
            try:
                cursor = shared.execute(sql, parameters)
                return cursor.fetchall(), cursor.description
            finally:
                if shared.in_transaction:
                    shared.execute("rollback")
                if self._authorizer is not None:
                    shared.set_authorizer(None)
                shared.execute("pragma query_only = 0")
