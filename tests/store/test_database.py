"""What names a database, and which files are refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb.errors import DatabaseError, ValidationError
from dagflow_nb.store import Store, parse_database, schema
from dagflow_nb.store.database import reader
from tests.store.helpers import make_unit, query


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("sqlite::memory:", ":memory:"),
        (":memory:", ":memory:"),
        ("sqlite:/data/w.db", "/data/w.db"),
        ("sqlite:////data/w.db", "/data/w.db"),
        ("sqlite:///:memory:", ":memory:"),
        ("/data/a b?#.db", "/data/a b?#.db"),
        (Path("/data/w.db"), "/data/w.db"),
    ],
)
def test_names_of_databases(given: Any, path: str) -> None:
    """URLs, paths and the in-memory names are told apart."""
    assert parse_database(given) == path


def test_relative_names() -> None:
    """A relative path is taken from the current folder, `~` is the home folder."""
    assert parse_database("sqlite:w.db") == os.path.abspath("w.db")
    assert parse_database("sqlite://w.db") == os.path.abspath("w.db")
    assert parse_database("w.db") == os.path.abspath("w.db")
    assert parse_database("~/w.db") == os.path.join(os.path.expanduser("~"), "w.db")


@pytest.mark.parametrize("given", ["postgres://host/db", "duckdb:x.db", "", "sqlite:", "a\0b", None, 7])
def test_what_is_no_name_is_refused(given: Any) -> None:
    """Other databases and empty names are a `ValidationError` that says what to write."""
    with pytest.raises(ValidationError, match="sqlite:PATH") as caught:
        parse_database(given)
    assert caught.value.culprit == "database"


def open_and_close(path: str) -> None:
    async def main() -> None:
        await (await Store.open(path)).close()

    asyncio.run(main())


def foreign(path: Path, journal_mode: str = "delete") -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"pragma journal_mode = {journal_mode}")
        connection.execute("create table theirs (x)")
        connection.commit()


def newer(path: Path) -> None:
    open_and_close(str(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 9999")


def truncated(path: Path) -> None:
    open_and_close(str(path))
    path.write_bytes(path.read_bytes()[:5000])


def scrambled(path: Path) -> None:
    open_and_close(str(path))
    path.write_bytes(path.read_bytes()[:100] + os.urandom(path.stat().st_size - 100))


REFUSED = {
    "another program's": (foreign, "another program"),
    "another program's, with a log": (lambda path: foreign(path, "wal"), "another program"),
    "a newer version's": (newer, "newer version.*pip install"),
    "text": (lambda path: path.write_text("hello " * 100), "not an SQLite database"),
    "short": (lambda path: path.write_text("hello"), "not an SQLite database"),
    "truncated": (truncated, "damaged"),
    "scrambled": (scrambled, "damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_refused_stay_as_they_are(kind: str, tmp_path: Path) -> None:
    """A foreign, newer or broken file is a `DatabaseError`, and not a byte of it changes."""
    make, text = REFUSED[kind]
    file = tmp_path / "x.db"
    make(file)
    before, folder = hashlib.sha256(file.read_bytes()).digest(), sorted(os.listdir(tmp_path))
    with pytest.raises(DatabaseError, match=text) as caught:
        open_and_close(str(file))
    assert hashlib.sha256(file.read_bytes()).digest() == before
    assert sorted(os.listdir(tmp_path)) == folder
    assert caught.value.path == str(file)


def test_a_newer_schema_that_is_still_in_the_log_is_refused(tmp_path: Path) -> None:
    """The version counts that is in force, also where only the log knows of it."""
    file = tmp_path / "x.db"
    open_and_close(str(file))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute("pragma user_version = 9999")
        before = file.read_bytes()
        with pytest.raises(DatabaseError, match="newer version"):
            open_and_close(str(file))
        assert file.read_bytes() == before


def test_places_that_cannot_hold_a_database(tmp_path: Path) -> None:
    """A missing folder is named, a folder is told from a file, and nothing is created."""
    with pytest.raises(DatabaseError, match=r"no folder .*missing"):
        open_and_close(str(tmp_path / "missing" / "x.db"))
    with pytest.raises(DatabaseError, match="is a folder"):
        open_and_close(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """What `touch` or `tempfile` has made is a new database, and so is an SQLite file with nothing in it."""
    (tmp_path / "x.db").touch()
    with closing(sqlite3.connect(tmp_path / "y.db")) as connection:
        connection.execute("vacuum")
    for name in "xy":
        open_and_close(str(tmp_path / f"{name}.db"))
        assert query(tmp_path / f"{name}.db", "pragma user_version") == [(len(schema.migrations()),)]


def test_paths_with_special_characters(tmp_path: Path) -> None:
    """Characters that mean something in URIs are nothing special in a path."""
    file = tmp_path / "a b?mode=memory#100%.db"
    open_and_close(str(file))
    assert file.exists()
    with closing(reader(str(file))) as connection:
        assert connection.execute("select count(*) from runs").fetchone() == (0,)


def test_readers_cannot_write(path: str, with_store: Any) -> None:
    """A connection for reading refuses to change anything."""

    async def test(store: Store) -> None:
        with closing(store.connect()) as connection, pytest.raises(sqlite3.OperationalError):
            connection.execute("delete from runs")

    with_store(path, test)
    with_store(":memory:", test)


def test_without_write_ahead_logging(path: str, with_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system cannot do it, the default journal serves, and a note says so."""
    monkeypatch.setattr(schema, "_set_wal", lambda connection: False)

    async def test(store: Store) -> None:
        assert store.note is not None and "write-ahead" in store.note
        await store.create_run({"run_id": "r", "dag_name": "d"})
        for i in range(50):
            store.write(make_unit("r", i))
            if i % 10 == 0:
                with closing(store.connect()) as connection:
                    connection.execute("select * from events").fetchall()
                await store.flush()
        await store.flush()
        assert store.run_row("r")["completed"] == 50

    with_store(path, test)
    assert query(path, "pragma journal_mode") == [("delete",)]


READ_ONLY = """
import asyncio, os, sys, tempfile
from dagflow_nb.errors import DatabaseError
from dagflow_nb.store import Store

async def warm_up(folder):  # imports what is imported late
    store = await Store.open(folder + "/x.db")
    store.run_row("r")
    await store.close()

with tempfile.TemporaryDirectory() as folder:
    asyncio.run(warm_up(folder))
if os.getuid() == 0:
    os.setuid(65534)  # permissions mean nothing to root

async def main():
    try:
        store = await Store.open(sys.argv[1])
    except DatabaseError as error:
        print("refused:", error)
        return
    print("read only:", store.read_only, store.note)
    print("row:", store.run_row("r")["dag_name"])
    try:
        await store.create_run({"run_id": "s", "dag_name": "d"})
    except DatabaseError as error:
        print("create:", error)
    await store.close()
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="permissions of files work differently on Windows")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_read_only_files_can_be_looked_at(what: str) -> None:
    """Without permission to write, history can be read, and writing is a `DatabaseError`."""
    # Not in tmp_path, whose parents only their owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        look_at_read_only(what, Path(folder))


def look_at_read_only(what: str, folder: Path) -> None:
    file = folder / "x.db"

    async def fill() -> None:
        store = await Store.open(str(file))
        await store.create_run({"run_id": "r", "dag_name": "d"})
        await store.close()

    asyncio.run(fill())
    file.chmod(0o444)
    folder.chmod(0o777 if what == "file" else 0o555)
    try:
        done = subprocess.run([sys.executable, "-c", READ_ONLY, str(file)], capture_output=True, text=True)
        new = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(folder / "new.db")], capture_output=True, text=True
        )
    finally:
        folder.chmod(0o755)
    assert "read only: True" in done.stdout and "row: d" in done.stdout, done.stderr
    assert "create: " in done.stdout and "may only be read" in done.stdout
    if what == "folder":
        assert "refused: " in new.stdout and "folder you may write to" in new.stdout, new.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let an open file be deleted")
@pytest.mark.parametrize("how", ["gone", "replaced"])
def test_a_file_that_is_not_there_any_more_is_said(path: str, with_store: Any, how: str) -> None:
    """Once its file was deleted or replaced a store begins no run, takes none up and reads nothing."""

    async def test(store: Store) -> None:
        await store.create_run({"run_id": "r1", "dag_name": "pipeline"})
        await store.release("r1")
        assert not store.is_lost
        for end in ("", "-wal", "-shm"):
            Path(path + end).unlink()
        if how == "replaced":
            shutil.copy(other, path)
        assert store.is_lost
        with pytest.raises(DatabaseError, match=f"{how}.*flow.close") as refused:
            await store.create_run({"run_id": "r2", "dag_name": "pipeline"})
        assert refused.value.path == path
        with pytest.raises(DatabaseError, match=how):
            await store.claim("r1")
        with pytest.raises(DatabaseError, match=how):
            store.connect()
        with pytest.raises(DatabaseError, match=how):
            store.latest_run_id()

    async def make(store: Store) -> None:
        await store.create_run({"run_id": "other", "dag_name": "pipeline"})

    other = f"{path}.other"
    with_store(other, make)
    with_store(path, test)
    if how == "replaced":
        assert query(path, "select run_id from runs") == [("other",)]
