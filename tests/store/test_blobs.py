"""Big values: once by their content, in pieces, as long as somebody refers to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dagflow_nb import DagFlow, Workflow
from dagflow_nb.errors import DatabaseError
from dagflow_nb.store import Store, Unit, blobs, schema
from dagflow_nb.store.blobs import INLINE, PIECE, Kept
from tests.store.helpers import make_unit, query

BIG = b'"' + b"v" * (2 * PIECE + 10) + b'"'


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty database of the newest version."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        schema.migrate(made)
        yield made


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 30))
def test_pieces_are_the_value_whatever_its_parts(parts: list[bytes], piece: int) -> None:
    """A value in any number of parts has one hash and comes back as one, in pieces of one size."""
    whole = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs, "PIECE", piece)
        pieces = list(blobs._pieces(parts))
    assert b"".join(pieces) == whole and all(len(p) == piece for p in pieces[:-1])
    assert blobs.hash_of(parts) == blobs.hash_of([whole])


def test_a_value_is_stored_once(connection: sqlite3.Connection) -> None:
    """The same bytes again change nothing; others are beside them."""
    hash = blobs.hash_of([BIG])
    for _ in range(2):
        blobs.keep(connection, hash, [BIG[:100], memoryview(BIG)[100:]])
        assert connection.execute("select count(*), sum(length(data)) from blobs").fetchone() == (3, len(BIG))
    assert blobs.fetch(connection, Kept(hash, len(BIG))) == BIG


def test_a_value_with_a_piece_missing_is_said_to_be_damaged(connection: sqlite3.Connection) -> None:
    """Bytes that are not all there are a `DatabaseError`, never a shorter value."""
    hash = blobs.hash_of([BIG])
    blobs.keep(connection, hash, [BIG])
    connection.execute("delete from blobs where n = 1")
    with pytest.raises(DatabaseError, match="damaged"):
        blobs.fetch(connection, Kept(hash, len(BIG)))


def test_only_big_values_leave_their_row(database: str, with_store: Any) -> None:
    """Up to `INLINE` bytes stand in the row; what is bigger is found by its hash, by every reader."""

    async def test(store: Store) -> None:
        await store.create_run({"run_id": "r", "dag_name": "d", "tree": "[]"})
        small, large = b"s" * INLINE, b"l" * (INLINE + 1)
        store.write(make_unit("r", 1, value=small))
        store.write(make_unit("r", 2, value=large))
        store.write(make_unit("r", 3, value=large))
        assert store.artifact("r", "node_1", "result") == ("json", small, None)
        assert store.artifact("r", "node_3", "result") == ("json", large, None)
        with closing(store.connect()) as reader:
            sql = "select namespace, value is null, size_bytes, hash is null from artifacts order by 1"
            assert reader.execute(sql).fetchall() == [
                ("node_1", 0, INLINE, 1),
                ("node_2", 1, INLINE + 1, 0),
                ("node_3", 1, INLINE + 1, 0),
            ]
            assert reader.execute("select count(*) from blobs").fetchone() == (1,)
        stored = await store.load("r")
        assert stored is not None
        data = {row[0]: row[3] for row in stored.artifacts}
        assert data["node_1"] == small and stored.fetch(data["node_2"]) == large

    with_store(database, test)


def test_a_value_goes_with_the_last_run_that_has_it(database: str, with_store: Any) -> None:
    """Deleting runs, or their values, frees what no other run refers to, and that only."""

    async def test(store: Store) -> None:
        def left() -> int:
            with closing(store.connect()) as reader:
                return int(reader.execute("select coalesce(sum(length(data)), 0) from blobs").fetchone()[0])

        for run_id in "abc":
            await store.create_run({"run_id": run_id, "dag_name": "d", "tree": "[]"})
            store.write(make_unit(run_id, 1, value=BIG))
            store.write(make_unit(run_id, 2, value=run_id.encode() * 10_000))
            await store.release(run_id)
        assert left() == len(BIG) + 30_000
        await store.delete_runs(["a"])
        assert left() == len(BIG) + 20_000
        await store.delete_runs(["b"], values_only=True)
        assert left() == len(BIG) + 10_000
        await store.delete_runs(["c"])
        assert left() == 0

    with_store(database, test)


def test_a_value_that_was_replaced_goes_at_the_next_tidying(path: str, with_store: Any) -> None:
    """An output that a later attempt replaced is no longer stored once the file is tidied."""

    async def test(store: Store) -> None:
        await store.create_run({"run_id": "r", "dag_name": "d", "tree": "[]"})
        store.write(make_unit("r", 1, value=BIG))
        await store.flush()
        store.write(Unit("r", artifacts=[("node_1", "result", "json", b"1", 1, None, 0.0)]))
        await store.flush()
        assert query(path, "select count(*) from blobs") == [(3,)]
        await store.vacuum()
        assert query(path, "select count(*) from blobs") == [(0,)]

    with_store(path, test)


def test_a_frame_that_is_passed_on_is_stored_once(tmp_path: Path) -> None:
    """However many nodes hand the same content on, in however many runs: the file grows by it once."""
    pd = pytest.importorskip("pandas")
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        def load() -> dict[str, Any]:
            return {"frame": pd.DataFrame({"x": range(500_000)})}

        @flow.action
        def pass_on(frame: Any) -> dict[str, Any]:
            return {"frame": frame}

        wf = Workflow("handing_on")
        last = wf.add("load", id="n0")
        for i in range(5):
            last = wf.add("pass_on", id=f"n{i + 1}", frame=last["frame"])
        for _ in range(2):
            flow.run(wf, view=False)
        sizes = flow.cache(values=False)["size_bytes"]
        assert len(sizes) == 12 and sizes.min() > 4_000_000
        stored = flow.sql("select sum(length(data)) as n from blobs")["n"][0]
        assert stored == sizes.max()
        assert flow.get().outputs["n5"]["frame"].equals(flow.get().outputs["n0"]["frame"])
        assert flow.delete_runs(dag_name="handing_on") == 2
        flow.vacuum()
        assert (tmp_path / "x.db").stat().st_size < 1_000_000
