"""Keeping the file small."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

import pytest

from dagflow_nb.errors import DatabaseError, InvalidState
from dagflow_nb.store import Store, Unit
from tests.store.helpers import make_unit, query

TABLES = "runs journal events node_runs attempts artifacts logs execution_trees snapshots execution_state"


async def fill(store: Store, *run_ids: str, size: int = 10) -> None:
    for run_id in run_ids:
        await store.create_run({"run_id": run_id, "dag_name": "d", "tree": "[]"})
        store.write(make_unit(run_id, 1, value=run_id.encode() * size))
        store.write(Unit(run_id, run={"result": '"big"'}))
        await store.save_snapshot(run_id, "d", "cache", "{}")
        await store.release(run_id)


def counts(store: Store, run_id: str) -> set[int]:
    with closing(store.connect()) as connection:
        return {
            connection.execute(f"select count(*) > 0 from {t} where run_id = ?", (run_id,)).fetchone()[0]
            for t in TABLES.split()
        }


def test_deleted_runs_leave_nothing(database: str, with_store: Any) -> None:
    """All rows of the runs that are named go, and no others; unknown ids are passed over."""

    async def test(store: Store) -> None:
        await fill(store, "a", "b", "c")
        assert await store.delete_runs(["a", "c", "x"]) == 2
        assert counts(store, "a") == counts(store, "c") == {0}
        assert counts(store, "b") == {1}

    with_store(database, test)


def test_values_alone_can_be_deleted(database: str, with_store: Any) -> None:
    """With `values_only` history stays; the values are marked as deleted."""

    async def test(store: Store) -> None:
        await fill(store, "a", "b")
        assert await store.delete_runs(["a"], values_only=True) == 1
        assert store.artifact("a", "node_1", "result") == ("memory", None, "deleted to save space")
        assert store.artifact("b", "node_1", "result") == ("json", b"b" * 10, None)
        row = store.run_row("a")
        assert row is not None and row["result"] is None
        assert len(store.node_rows("a")) == 1

    with_store(database, test)


def test_runs_that_are_driven_are_not_deleted(database: str, with_store: Any) -> None:
    """All or none: a run under way is `InvalidState`, and the others stay too."""

    async def test(store: Store) -> None:
        await fill(store, "a", "b")
        await store.claim("b")
        with pytest.raises(InvalidState, match="run 'b' cannot be deleted"):
            await store.delete_runs(["a", "b"])
        assert counts(store, "a") == counts(store, "b") == {1}
        await store.release("b")
        assert await store.delete_runs(["a", "b"]) == 2

    with_store(database, test)


def test_vacuum_gives_space_back(database: str, with_store: Any) -> None:
    """The file gets smaller, and its size is told."""

    async def test(store: Store) -> None:
        await fill(store, "a", "b", size=2_000_000)
        with closing(store.connect()) as connection:  # in memory this brings it in
            connection.execute("select 1 from artifacts").fetchall()
        before = store.size_bytes()
        assert before > 4_000_000
        await store.delete_runs(["a"])
        await store.vacuum()
        after = store.size_bytes()
        assert 2_000_000 < after < before - 1_500_000
        if store.path != ":memory:":
            assert os.path.getsize(store.path) == after
            assert query(store.path, "pragma integrity_check") == [("ok",)]

    with_store(database, test)


def test_reading_memory_like_any_connection(with_store: Any) -> None:
    """The reader of an in-memory database does what cursors do, and cannot write."""

    async def test(store: Store) -> None:
        await fill(store, *"abc")
        with closing(store.connect()) as connection:
            cursor = connection.cursor()
            assert cursor.execute("select run_id from runs order by 1").fetchone() == ("a",)
            assert cursor.description[0][0] == "run_id"
            assert cursor.fetchmany(1) == [("b",)]
            assert list(cursor) == [("c",)]
            assert cursor.fetchone() is None
            connection.execute("begin")
        store.write(Unit("a"))
        await store.close()
        with closing(store.connect()) as connection, pytest.raises(DatabaseError, match="closed"):
            connection.execute("select 1")

    with_store(":memory:", test)
