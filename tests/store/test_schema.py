"""Migrations: from nothing and from every earlier version, once, in one piece, by many at a time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow
from dagflow_nb.errors import DatabaseError
from dagflow_nb.store import RUN_COLUMNS, schema
from dagflow_nb.store.inserting import COLUMNS
from tests.store.helpers import query

LATEST = len(schema.migrations())

# What each earlier version of the schema has left, as SQL: a run that has completed (with a hook's node,
# a map, a retry, a value that could not be stored), one that waits for a person, and one that has failed.
# A new migration N comes with a dump of a database of version N - 1.
RELEASED = Path(__file__).with_name("released")


def at_version(version: int) -> sqlite3.Connection:
    """A database as version `version` of the schema made it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection, upto=version)
    assert connection.execute("pragma user_version").fetchone() == (version,)
    return connection


def opened(path: str) -> None:
    """Open a file as a store does, and close it."""
    schema.open_file(path, lambda: sqlite3.connect(path, isolation_level=None))[0].close()


@pytest.mark.parametrize("copies", [True, False])
def test_a_database_in_memory_has_the_schema_that_the_scripts_make(
    copies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is copied from one that they have made: tables, indexes, and the number of the last script; or they
    make it, where SQLite cannot copy."""
    if not copies:
        monkeypatch.setattr(schema, "image", lambda: b"")
    made, copied = (sqlite3.connect(":memory:", isolation_level=None) for _ in range(2))
    with closing(made), closing(copied):
        schema.migrate(made)
        schema.copy_schema(copied)
        for question in (
            "select type, name, sql from sqlite_master",
            "pragma user_version",
            "pragma application_id",
        ):
            assert copied.execute(question).fetchall() == made.execute(question).fetchall()
        assert schema.migrate(copied) == len(schema.migrations())


def test_a_new_file_is_there_whole_and_alone(tmp_path: Path) -> None:
    """It is what the scripts make, and nothing else is left beside it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        schema.migrate(made)
        schema._place(str(tmp_path / "x.db"))
        assert [file.name for file in tmp_path.iterdir()] == ["x.db"]
        with closing(sqlite3.connect(tmp_path / "x.db")) as placed:
            for question in ("select type, name, sql from sqlite_master", "pragma user_version"):
                assert placed.execute(question).fetchall() == made.execute(question).fetchall()
            assert placed.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("why", ["it is there", "no links", "another one", "full"])
def test_a_file_that_cannot_be_placed_is_made_by_the_scripts(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written over, nothing is left beside it, and the database works all the same."""
    path = tmp_path / "x.db"

    def refuse(*args: Any) -> None:
        raise OSError(why)

    if why == "it is there":
        path.write_bytes(b"")
    elif why == "another one":
        (tmp_path / "x.db-new").write_bytes(b"a draft of another process")
    else:
        monkeypatch.setattr(os, "link" if why == "no links" else "fsync", refuse)
    schema._place(str(path))
    assert not path.exists() or path.read_bytes() == b""
    assert sum(1 for _ in tmp_path.iterdir()) == (why in ("it is there", "another one"))
    opened(str(path))
    assert query(str(path), "select count(*) from runs") == [(0,)]


def test_what_a_file_that_is_gone_has_left_is_not_taken_for_the_new_ones(tmp_path: Path) -> None:
    """Its log, and the index of that, are removed."""
    for end in ("-wal", "-shm"):
        (tmp_path / f"x.db{end}").write_bytes(b"what a file that is gone has left")
    assert schema._place(str(tmp_path / "x.db"))
    assert [file.name for file in tmp_path.iterdir()] == ["x.db"]


@pytest.mark.parametrize("version", range(LATEST))
def test_every_version_gets_the_newest_schema(version: int) -> None:
    """A database of each earlier version ends up with the tables and indexes of a new one."""
    with closing(at_version(version)) as connection, closing(at_version(LATEST)) as fresh:
        assert schema.migrate(connection) == version
        columns = "select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c order by 1, 2"
        assert connection.execute(columns).fetchall() == fresh.execute(columns).fetchall()
        assert connection.execute("pragma user_version").fetchone() == (LATEST,)
        assert connection.execute("pragma application_id").fetchone() == (schema.APPLICATION_ID,)


@pytest.mark.parametrize("version", range(1, LATEST))
def test_runs_of_every_version_can_be_read_and_taken_up(path: str, version: int) -> None:
    """What an earlier version has left is in the frames, and its paused and failed runs go on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript((RELEASED / f"{version:04}.sql").read_text())
        connection.execute(f"pragma user_version = {version}")
        connection.execute(f"pragma application_id = {schema.APPLICATION_ID}")
    with DagFlow(path, echo=False) as flow:

        @flow.action
        def total(rows: list[int]) -> int:
            return sum(rows)

        @flow.action
        def broken() -> dict[str, Any]:
            return {"rows": [7]}

        assert list(flow.runs()["status"]) == ["failed", "paused", "completed"]
        old = flow.get("finished")
        assert old.outputs["fetch"]["day"] == date(2024, 5, 1) and old.outputs["fetch"]["text"] == "x" * 6000
        assert old.outputs["each"]["result"] == [1, 5] and old.outputs["flaky"]["tries"] == 2
        cache = old.cache().set_index(["namespace", "key"])
        assert cache.loc[("lock", "lock"), "codec"] == "memory"
        assert cache.loc[("grown", "result"), "value"] == 9
        assert flow.resume("waiting", view=False).outputs["sum"]["result"] == 6
        assert flow.retry("failed", view=False).outputs["after"]["result"] == 7
        assert flow.delete_runs("finished") == 1
        assert query(path, "pragma user_version") == [(LATEST,)]
        assert query(path, "pragma integrity_check") == [("ok",)]


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
    opened(path)
    scripts = {**schema.migrations(), LATEST + 1: "create table extra (x);"}
    monkeypatch.setattr(schema, "migrations", lambda: scripts)
    opened(path)
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
        "import sqlite3, sys; from dagflow_nb.store import schema; schema.migrations(); "
        "sys.stdin.readline(); path = sys.argv[1]; "
        "print(schema.open_file(path, lambda: sqlite3.connect(path, isolation_level=None))[1].read_only)"
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
