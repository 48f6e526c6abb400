"""The database file: its name, what its errors mean, transactions, and connections that read.

Nobody waits for a lock longer than `PATIENCE` seconds, and nobody gives up sooner.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ..errors import DatabaseError, ValidationError, shorten

MEMORY = ":memory:"
PATIENCE = 60.0
BUSY_TIMEOUT = 5.0  # of one attempt
# From how many pages on the write-ahead log is brought into the file, for which a commit waits for the disk.
# So many are found as fast as fewer: SQLite's index of the log has them in one block of 4,062.
LOG_PAGES = 2000
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
T = TypeVar("T")


def parse_database(database: str | os.PathLike[str]) -> str:
    """The absolute path that a `database` argument means, or `":memory:"`.

    `"sqlite:PATH"`, a path (`~` is the home folder), `"sqlite::memory:"` or `":memory:"`; also a URL as other
    libraries write it, `"sqlite:///PATH"` (so `"sqlite:////tmp/x.db"` is `/tmp/x.db`). Anything else raises
    `ValidationError`.

    >>> parse_database("sqlite::memory:")
    ':memory:'
    """
    if not isinstance(database, (str, os.PathLike)):
        raise ValidationError(
            f"database is a path or 'sqlite:PATH', not {shorten(database)}",
            culprit="database",
            value=database,
        )
    text = os.fspath(database)
    path = text
    if text.startswith("sqlite:"):
        path = text.removeprefix("sqlite:")
        # as SQLAlchemy has it: sqlite:///NAME is relative, sqlite:////NAME absolute
        path = path.removeprefix("//").removeprefix("/") if path.startswith("//") else path
    elif scheme := _SCHEME.match(text):
        raise ValidationError(
            f"{shorten(text)} names a database of kind {scheme[1]!r}, which is not supported: "
            "write 'sqlite:PATH', a path, or ':memory:'",
            culprit="database",
            value=text,
        )
    if path == MEMORY:
        return MEMORY
    if not path or "\0" in path:
        raise ValidationError(
            f"{shorten(text)} names no file: write 'sqlite:PATH', a path, or ':memory:'",
            culprit="database",
            value=text,
        )
    return os.path.abspath(os.path.expanduser(path))


# --- errors -----------------------------------------------------------------------------------


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_locked(error: BaseException) -> bool:
    """Whether somebody else holds the lock, so that trying again helps."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_read_only(error: BaseException) -> bool:
    """Whether the file (or its folder) may not be written."""
    return _code(error) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


_THEN = "then go on with flow.resume(), which runs what is not stored"
_WAYS = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; close it there (a database browser?)",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked; close it there (a database browser?)",
    sqlite3.SQLITE_FULL: f"the disk is full; make room, {_THEN}",
    sqlite3.SQLITE_IOERR: f"the disk failed; check it, {_THEN}",
    sqlite3.SQLITE_READONLY: "it may not be written; change its permissions and those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that it is a file in a folder you may write to",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a copy, or use another file",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database, or it is damaged; use another file",
}


def explain(error: BaseException, path: str) -> DatabaseError:
    """The same error in the words of this package: which file, what is wrong, what to do."""
    name = "the in-memory database" if path == MEMORY else f"the database {path!r}"
    way = _WAYS.get(_code(error))
    text = f"{name}: {way} ({error})" if way else f"{name}: {type(error).__name__}: {error}"
    found = DatabaseError(text, path=path)
    found.__cause__ = error
    return found


def retried(work: Callable[[], T], patience: float | None = None) -> T:
    """`work()`, again and again while the database is locked, for `patience` seconds at most."""
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() >= end:
                raise
            time.sleep(0.01)


# --- connections --------------------------------------------------------------------------------


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, with the write lock from the start."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def inode_of(path: str) -> int | None:
    """What tells a file from another one that is put in its place; None where there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def uri(path: str, query: str) -> str:
    """The file as SQLite's URI, with special characters quoted."""
    return f"{Path(path).as_uri()}?{query}"


def tune(connection: sqlite3.Connection) -> None:
    """Settings of the writing connection (the journal mode is the file's own)."""
    connection.execute("pragma synchronous = normal")
    connection.execute("pragma cache_size = -16000")
    connection.execute("pragma journal_size_limit = 67108864")
    connection.execute(f"pragma wal_autocheckpoint = {LOG_PAGES}")


def reader(path: str) -> sqlite3.Connection:
    """A new connection that only reads, for any thread; `DatabaseError` if the file cannot be opened.

    It sees what is committed, and waits for locks (there are none with write-ahead logging).
    """
    # "rw" rather than "ro": the last connection to a file then tidies the log's files away. Without
    # write permission to the folder there is no log to be read, and the file itself does not change.
    error: sqlite3.Error | None = None
    for how in ("mode=rw", "immutable=1"):
        try:
            connection = sqlite3.connect(
                uri(path, how), uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as failed:
            raise explain(failed, path) from failed
        try:
            connection.execute("pragma query_only = 1")
            connection.execute("select 1 from sqlite_master limit 1").fetchall()
            return connection
        except sqlite3.Error as failed:
            connection.close()
            error = failed
            if not is_read_only(failed):
                break
    assert error is not None
    raise explain(error, path) from error
