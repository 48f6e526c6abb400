"""Migrations: from nothing and from every earlier version, once, in one piece, by many at a time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dagflow_nb.errors import DatabaseError
from dagflow_nb.store import RUN_COLUMNS, schema
from dagflow_nb.store.unit import COLUMNS
from tests.store.helpers import query

LATEST = len(schema.migrations())

# For a new migration N: a function that fills a database of version N - 1, and one that looks at what
# has become of it. Version 0 is an empty file.
Fill = Callable[[sqlite3.Connection], None]
UPGRADES: dict[int, tuple[Fill, Fill]] = {
    0: (lambda connection: None, lambda connection: None),
}


def at_version(version: int) -> sqlite3.Connection:
    """A database as version `version` of the schema made it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection, upto=version)
    assert connection.execute("pragma user_version").fetchone() == (version,)
    return connection


@pytest.mark.parametrize("version", range(LATEST))
def test_every_version_is_brought_up_to_date(version: int) -> None:
    """A database of each earlier version gets the newest schema, and keeps what is in it."""
    fill, check = UPGRADES[version]
    with closing(at_version(version)) as connection, closing(at_version(LATEST)) as fresh:
        fill(connection)
        assert schema.migrate(connection) == version
        check(connection)
        tables = "select name, sql from sqlite_master where type <> 'index' order by name"
        if version == 0:
            assert connection.execute(tables).fetchall() == fresh.execute(tables).fetchall()
        assert connection.execute("pragma user_version").fetchone() == (LATEST,)
        assert connection.execute("pragma application_id").fetchone() == (schema.APPLICATION_ID,)


def test_the_tables_have_the_columns_that_are_written() -> None:
    """Lists of columns in the code and in the schema are the same."""
    with closing(at_version(LATEST)) as connection:

        def columns(table: str) -> set[str]:
            return {row[1] for row in connection.execute(f"pragma table_info({table})")}

        assert columns("runs") == set(RUN_COLUMNS)
        for table, written in COLUMNS.items():
            assert columns(table) - {"id"} == set(written.split(", ")), table
        for table in ("execution_trees", "snapshots", "execution_state"):
            assert columns(table)


def test_a_migration_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script and its number are one transaction: half of it is never seen."""
    scripts = {**schema.migrations(), LATEST + 1: "create table extra (x);\ncreate table extra (x);\n"}
    with closing(at_version(LATEST)) as connection:
        before = connection.execute("select count(*) from sqlite_master").fetchone()
        monkeypatch.setattr(schema, "migrations", lambda: scripts)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            schema.migrate(connection)
        assert connection.execute("pragma user_version").fetchone() == (LATEST,)
        assert connection.execute("select count(*) from sqlite_master").fetchone() == before


def test_the_next_migration_is_applied_to_files(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of this version is brought to the next one when it is opened."""
    schema.prepare(path)
    scripts = {**schema.migrations(), LATEST + 1: "create table extra (x);"}
    monkeypatch.setattr(schema, "migrations", lambda: scripts)
    schema.prepare(path)
    assert query(path, "pragma user_version") == [(LATEST + 1,)]
    assert query(path, "select * from extra") == []


def test_a_database_that_another_program_makes_meanwhile_is_left_alone() -> None:
    """Tables that appear between looking and writing are not mixed with ours."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("create table theirs (x)")
        with pytest.raises(DatabaseError, match="another program"):
            schema.migrate(connection)
        assert connection.execute("select name from sqlite_master").fetchall() == [("theirs",)]


def test_many_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Whoever comes first makes the schema; the others find it."""
    path = tmp_path / "x.db"
    code = (
        "import sys; from dagflow_nb.store import schema; schema.migrations(); sys.stdin.readline(); "
        "print(schema.prepare(sys.argv[1]).read_only)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        out, err = process.communicate(timeout=60)
        assert out.strip() == "False", err
    assert query(path, "pragma user_version") == [(LATEST,)]
    assert query(path, "pragma journal_mode") == [("wal",)]
