"""Whose file it is, its schema, and the migrations that make it.

Rules kept here:
- A file that is not ours, that is broken, or that a newer version has made is refused before anything
  is written to it.
- The schema is made by the numbered scripts in `migrations/`, each in one transaction (in a new file all
  in one), and only by them;
  `pragma user_version` is the number of the last one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple, TypeVar

from ..errors import DatabaseError
from .database import BUSY_TIMEOUT, explain, is_read_only, reader, retried, transaction, tune, uri

APPLICATION_ID = 0x44414746  # "DAGF"
C = TypeVar("C", bound=sqlite3.Connection)


@cache
def migrations() -> dict[int, str]:
    """The scripts by number, from 1 up without a gap."""
    folder = resources.files(__package__).joinpath("migrations")
    found = {int(f.name[:4]): f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".sql")}
    assert sorted(found) == list(range(1, len(found) + 1)), "migrations are numbered without gaps"
    return dict(sorted(found.items()))


def _statements(script: str) -> Iterator[str]:
    # executescript() would commit first; a migration and its number belong into one transaction.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def migrate(connection: sqlite3.Connection, upto: int | None = None) -> int:
    """Bring the schema to version `upto` (None: the newest); returns the version it had before.

    Safe against other processes that do the same at the same time.
    """
    before: int = connection.execute("pragma user_version").fetchone()[0]
    wanted = {n: script for n, script in migrations().items() if n > before and (upto is None or n <= upto)}
    # a new file is made in one go: each commit waits for the disk
    for batch in [list(wanted)] if before == 0 else [[number] for number in wanted]:
        with transaction(connection):
            now: int = connection.execute("pragma user_version").fetchone()[0]
            if now == 0 and connection.execute("select 1 from sqlite_master limit 1").fetchone():
                raise DatabaseError("another program has just made a database in it; use another file")
            for number in batch:
                if number <= now:
                    continue
                for statement in _statements(wanted[number]):
                    connection.execute(statement)
                connection.execute(f"pragma application_id = {APPLICATION_ID}")
                connection.execute(f"pragma user_version = {number}")
    return before


@cache
def image() -> bytes:
    """An empty database with the newest schema, as the bytes of its file; none where SQLite gives none."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        return connection.serialize() if hasattr(connection, "serialize") else b""


def copy_schema(connection: sqlite3.Connection) -> None:
    """Make the newest schema in a database in memory that is empty."""
    if not image():
        migrate(connection)
        return
    with contextlib.closing(sqlite3.connect(":memory:")) as source:
        source.deserialize(image())
        source.backup(connection)


# --- looking before touching --------------------------------------------------------------------


class _Header(NamedTuple):
    application_id: int
    user_version: int
    missing_bytes: int  # how much shorter the file is than it says it is


def _header(path: str) -> _Header | None:
    """What the first bytes of the file say; None for a new (missing or empty) file."""
    try:
        with open(path, "rb") as file:
            head = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    if not head:
        return None
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise DatabaseError(
            f"{path!r} is not an SQLite database; it is left as it is: use another file", path=path
        )

    def number(at: int, length: int = 4) -> int:
        return int.from_bytes(head[at : at + length], "big")

    page = number(16, 2)
    page = 65536 if page == 1 else page
    # The count of pages is valid only where these two counters agree.
    pages = number(28) if number(24) == number(92) else 0
    return _Header(number(68), number(60), max(0, page * pages - size))


def _refusal(path: str, application_id: int, version: int) -> DatabaseError | None:
    if application_id != APPLICATION_ID:
        return DatabaseError(
            f"{path!r} is a database of another program; it is left as it is: use another file", path=path
        )
    if version > len(migrations()):
        return DatabaseError(
            f"{path!r} was written by a newer version of dagflow_nb (schema {version}, this one knows up to "
            f"{len(migrations())}); it is left as it is: upgrade with `pip install -U dagflow-nb`",
            path=path,
        )
    return None


def inspect(path: str) -> None:
    """Look at the file without changing it; raises `DatabaseError` unless it is new or one of ours."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise DatabaseError(f"there is no folder {folder!r} for the database; make it first", path=path)
    if os.path.isdir(path):
        raise DatabaseError(f"{path!r} is a folder, not a file; name a file in it", path=path)
    for last in (False, False, True):
        try:
            return _inspect_file(path)
        except OSError as error:
            raise DatabaseError(f"{path!r} cannot be read: {error.strerror or error}", path=path) from error
        except DatabaseError:
            # Another process may be making it at this moment: a moment later the file is whole.
            if last:
                raise
            time.sleep(0.05)


def _look(path: str, how: str) -> tuple[int, int, set[str]]:
    connection = sqlite3.connect(uri(path, how), uri=True, timeout=BUSY_TIMEOUT)
    with contextlib.closing(connection):
        application_id = connection.execute("pragma application_id").fetchone()[0]
        version = connection.execute("pragma user_version").fetchone()[0]
        tables = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
        return application_id, version, tables


def _inspect_file(path: str) -> None:
    header = _header(path)
    if header is None:
        return
    # Only a log or journal beside the file can know more than the file; else it is read as it lies there.
    logged = os.path.exists(f"{path}-wal")
    unfinished = os.path.exists(f"{path}-journal")
    try:
        try:
            how = "mode=ro" if logged or unfinished else "immutable=1"
            application_id, version, tables = _look(path, how)
        except sqlite3.OperationalError as error:
            if not is_read_only(error):
                raise
            if unfinished and header.application_id in (0, APPLICATION_ID):
                return  # a process died while it wrote: opening the file for writing mends it
            application_id, version, tables = _look(path, "immutable=1")
    except sqlite3.Error as error:
        raise explain(error, path) from error
    if application_id == 0 and version == 0 and not tables:
        return
    if (refusal := _refusal(path, application_id, version)) is not None:
        raise refusal
    if (header.missing_bytes and not logged) or "runs" not in tables:
        raise DatabaseError(
            f"{path!r} is damaged: a part of it is missing; it is left as it is: restore a copy or use "
            "another file",
            path=path,
        )


# --- opening ------------------------------------------------------------------------------------


class Prepared(NamedTuple):
    """What opening a file has shown: a note for the user, and whether it can only be read."""

    note: str | None
    read_only: bool


def _place(path: str) -> bool:
    """Put an empty database where there is no file yet: whole or not at all, and sooner than by the scripts.

    Where that cannot be done (no hard links here, or somebody else does the same), they make it. The log of
    a file that was here before, and its index, which other processes may still have open, are removed:
    SQLite would take them for the new file's.
    """
    if not image() or any(os.path.lexists(path + end) for end in ("", "-journal")):
        return False
    draft = f"{path}-new"
    with contextlib.suppress(OSError, sqlite3.Error), open(draft, "xb") as file:
        try:
            file.write(image())
            file.flush()
            os.fsync(file.fileno())
            file.close()
            with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.execute("begin exclusive")  # until it has let go, nobody looks for a log
                os.link(draft, path)
                for end in ("-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path + end)
            return True
        finally:
            os.unlink(draft)
    return False


def _set_wal(connection: sqlite3.Connection) -> bool:
    """Switch to write-ahead logging; False where the file system cannot do it."""
    try:
        mode = retried(lambda: connection.execute("pragma journal_mode = wal").fetchone()[0], BUSY_TIMEOUT)
    except sqlite3.OperationalError as error:
        if is_read_only(error):
            raise
        return False
    return str(mode) == "wal"


def open_file(path: str, connect: Callable[[], C]) -> tuple[C, Prepared]:
    """Check the file, open it by `connect()`, make or migrate its schema, and set its modes.

    Raises `DatabaseError` for a file that cannot be used. A current one that may only be read is no
    error: its history can be looked at.
    """
    inspect(path)
    is_new = _place(path)
    try:
        connection = connect()
    except sqlite3.Error as error:
        raise explain(error, path) from error
    try:
        return connection, _prepare(connection, path, is_new)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error
        if isinstance(error, DatabaseError):
            raise DatabaseError(f"{path!r}: {error}", path=path) from error
        raise


def _prepare(connection: sqlite3.Connection, path: str, is_new: bool) -> Prepared:
    try:
        # No write-ahead log before there is a schema: so a file's header always tells whose it is.
        retried(lambda: migrate(connection))
        if is_new:  # nothing is in it that could be lost, so the disk is not waited for
            connection.execute("pragma synchronous = off")
        else:
            _try_writing(connection)
        wal = _set_wal(connection)
    except sqlite3.OperationalError as error:
        if is_read_only(error) and os.path.exists(path) and _is_current(path):
            why = f"{path!r} may only be read: its history can be shown, no run started"
            return Prepared(why, True)
        raise
    tune(connection)
    note = (
        f"{path!r} is on a file system without write-ahead logging (a network drive?): "
        "it works, but readers and writers wait for each other"
    )
    return Prepared(None if wal else note, False)


def _try_writing(connection: sqlite3.Connection) -> None:
    """Raise if the file may not be written: beginning a transaction alone does not show it."""
    version = connection.execute("pragma user_version").fetchone()[0]

    def write() -> None:
        connection.execute("begin immediate")
        try:
            connection.execute(f"pragma user_version = {version}")
        finally:
            if connection.in_transaction:
                connection.execute("rollback")

    retried(write)


def _is_current(path: str) -> bool:
    try:
        with contextlib.closing(reader(path)) as connection:
            version: int = connection.execute("pragma user_version").fetchone()[0]
            return version == len(migrations())
    except DatabaseError:
        return False
