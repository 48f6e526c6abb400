"""What is written is there, whole and in order; what cannot be written is said."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from dagflow_nb.errors import DatabaseError, InvalidState, ValidationError
from dagflow_nb.store import NODE_COLUMNS, Store, Unit, base, queueing
from tests.store.helpers import Clock, make_unit, node_row, query

RUN = {"run_id": "r", "dag_name": "d"}


def rows(store: Store, sql: str, *params: Any) -> list[Any]:
    store.sync()
    with closing(store.connect()) as connection:
        return connection.execute(sql, params).fetchall()


def failing(store: Store, table: str, text: str = "no") -> None:
    """Make every write to a table fail, from now on."""
    store._writer.connection.execute(
        f"create trigger broken before insert on {table} begin select raise(fail, '{text}'); end"
    )


def test_everything_of_a_unit_can_be_read_back(database: str, with_store: Any) -> None:
    """Each list of a unit becomes rows of its table, under its run."""

    async def test(store: Store) -> None:
        await store.create_run({**RUN, "inputs": "{}", "tree": "[]"})
        store.write(make_unit("r", 3))
        await store.flush()
        at, node = 1_700_000_003.0, "node_3"
        assert rows(store, "select * from journal") == [
            ("r", 3, at, "AttemptEnded", '{"node_id": "node_3"}', None)
        ]
        assert rows(store, "select seq, occurred_at, kind, node_id, data from events") == [
            (6, at, "NodeStarted", node, "{}"),
            (7, at, "NodeCompleted", node, "{}"),
        ]
        assert rows(store, f"select {NODE_COLUMNS} from node_runs") == [node_row("completed", at, 3)]
        assert rows(store, "select node_id, action, attempt, status, finished_at from attempts") == [
            (node, "act", 1, "completed", at + 1)
        ]
        assert rows(store, "select namespace, key, codec, value, size_bytes, updated_at from artifacts") == [
            (node, "result", "json", b'"v"', 3, at)
        ]
        assert rows(store, "select node_id, attempt, occurred_at, level, stream, message from logs") == [
            (node, 1, at, "INFO", "stdout", "line 3")
        ]
        assert store.node_rows("r")[0]["node_id"] == node
        run = store.run_row("r")
        assert run is not None
        assert (run["completed"], run["inputs"], run["owner_alive"]) == (4, "{}", True)

    with_store(database, test)


def test_what_is_loaded_is_what_was_written(database: str, with_store: Any) -> None:
    """A stored run has its row, its nodes at the start, its journal in order and its values."""

    async def test(store: Store) -> None:
        await store.create_run({**RUN, "tree": "[1]"})
        for i in range(1, 700):
            store.write(make_unit("r", i))
        stored = await store.load("r")
        assert stored is not None
        assert stored.row["dag_name"] == "d" and stored.tree == "[1]"
        assert [row[0] for row in stored.journal] == list(range(1, 700))
        assert len(stored.artifacts) == 699
        assert ("node_5", "result", "json", b'"v"', 3, None, 1_700_000_005.0) in stored.artifacts
        assert await store.load("other") is None

    with_store(database, test)


def test_the_graph_is_made_into_text_when_it_is_written(database: str, with_store: Any) -> None:
    """In memory that is when somebody reads; in a file at once, so that no run is without its graph."""

    async def test(store: Store) -> None:
        made: list[str] = []

        def tree() -> str:
            made.append("made")
            return "[1]"

        await store.create_run({**RUN, "tree": tree})
        assert len(made) == (0 if database == ":memory:" else 1)
        assert store.execution_tree("d") == ("r", "[1]")
        stored = await store.load("r")
        assert stored is not None and stored.tree == "[1]" and made == ["made"]

    with_store(database, test)


def test_the_last_state_wins(database: str, with_store: Any) -> None:
    """Nodes, attempts, values and the run's row keep one state: within a transaction and across them."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        for together in (True, False):
            for status in ("running", "completed"):
                written = make_unit("r", 1, status=status, value=status.encode())
                written.journal, written.events = [], []
                written.run = {"status": status}
                store.write(written)
                if not together:
                    await store.flush()
            await store.flush()
            assert rows(store, "select status from node_runs") == [("completed",)]
            assert rows(store, "select status from attempts") == [("completed",)]
            assert rows(store, "select value from artifacts") == [(b"completed",)]
            assert rows(store, "select status from runs") == [("completed",)]

    with_store(database, test)


def test_a_withdrawn_node_has_no_row(database: str, with_store: Any) -> None:
    """None in place of a node's row deletes it; a row that comes later brings it back."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        store.write(Unit("r", nodes={"a": node_row(), "b": node_row()}))
        store.write(Unit("r", nodes={"a": None, "b": None}))
        store.write(Unit("r", nodes={"b": node_row()}))
        await store.flush()
        assert rows(store, "select node_id from node_runs") == [("b",)]

    with_store(database, test)


def test_values_of_a_node_that_runs_again_go_first(database: str, with_store: Any) -> None:
    """Cleared namespaces lose what was written before, in the same transaction or earlier, and no more."""

    def values(*names: str) -> list[Any]:
        return [(ns, key, "json", b"1", 1, None, 1.0) for ns, key in map(str.split, names)]

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        await store.create_run({**RUN, "run_id": "s"})
        store.write(Unit("s", artifacts=values("a old")))
        store.write(Unit("r", artifacts=values("a old", "b old")))
        await store.flush()
        with closing(store.connect()) as connection:
            connection.execute("select 1 from artifacts").fetchall()
        store.write(Unit("r", artifacts=values("a between")))
        store.write(Unit("r", cleared=["a"], artifacts=values("a new")))
        store.write(Unit("r", artifacts=values("a newer")))
        await store.flush()
        assert store.artifact_keys("r") == [("a", "new"), ("a", "newer"), ("b", "old")]
        assert store.artifact_keys("s") == [("a", "old")]

    with_store(database, test)


def test_waiting_means_committed(path: str, with_store: Any) -> None:
    """With `wait` the future is done once another connection sees the unit, and all before it."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        store.write(make_unit("r", 1))
        done = store.write(make_unit("r", 2), wait=True)
        assert done is not None and not done.done()
        await done
        assert query(path, "select n from journal order by n") == [(1,), (2,)]
        assert store.queued == 0

    with_store(path, test)


def test_units_are_written_soon_without_being_asked_for(path: str, with_store: Any) -> None:
    """Nobody has to flush: a few milliseconds later the units are there."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        store.write(make_unit("r", 1))
        while store._armed:
            await asyncio.sleep(0)
        assert query(path, "select n from journal order by n") == [(1,)]

    with_store(path, test)


@pytest.mark.parametrize("how", ["read", "go on", "let go", "release", "close", "another run"])
def test_what_is_held_back_is_written_with_what_follows_or_for_a_reader(
    path: str, with_store: Any, how: str
) -> None:
    """A unit that is held stays out of the file until somebody asks, or its run comes to a rest."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        await store.create_run({**RUN, "run_id": "s"})
        for i in (1, 2):
            store.hold(make_unit("r", i))
        expected = [(1,), (2,)]
        if how == "read":
            store.sync()
        elif how == "let go":
            store.let_go("r")
            await store.flush()
        elif how == "release":
            await store.release("r")
        elif how == "close":
            await store.close()
        elif how == "go on":
            await store.write(make_unit("r", 3), wait=True)
            expected.append((3,))
        else:
            await store.write(make_unit("s", 1), wait=True)
            expected.clear()
        assert query(path, "select n from journal where run_id = 'r' order by n") == expected

    with_store(path, test)


def test_in_memory_nothing_is_done_until_somebody_reads(with_store: Any) -> None:
    """A run that nobody looks at costs a queue; the first reader finds all of it."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        for i in range(1000):
            store.write(make_unit("r", i))
        done = store.write(make_unit("r", 1000), wait=True)
        assert done is not None and done.done()
        await store.flush()
        await store.release("r")
        assert store.queued == 1002
        await store.create_run({**RUN, "run_id": "s"})
        assert store.queued == 1002
        with closing(store.connect()) as connection:
            assert connection.execute("select count(*) from journal").fetchone() == (1001,)
        assert store.queued == 0

    with_store(":memory:", test)


def test_released_and_claimed_again_in_memory(with_store: Any) -> None:
    """Giving up and taking up keep their order with what is queued between them."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        store.write(make_unit("r", 1))
        await store.release("r")
        await store.claim("r")
        store.write(make_unit("r", 2))
        assert rows(store, "select n from journal order by n") == [(1,), (2,)]
        await store.flush()

    with_store(":memory:", test)


def test_in_memory_many_units_are_brought_in_meanwhile(
    with_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long run does not pile up: beyond a number of units they are written in the background."""
    monkeypatch.setattr(queueing, "MANY", 100)

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        for i in range(150):
            store.write(make_unit("r", i))
        assert store._bringing is not None
        await asyncio.wait([store._bringing])
        assert store.queued < 150
        assert rows(store, "select count(*) from journal") == [(150,)]

    with_store(":memory:", test)


def test_in_memory_each_unit_is_looked_at_a_few_times(with_store: Any) -> None:
    """However many small runs wait for a reader, one more costs as much as the first did."""
    looks = 0

    class Looked(list[Any]):
        def __len__(self) -> int:
            nonlocal looks
            looks += 1
            return super().__len__()

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        for i in range(2000):
            unit = make_unit("r", i)
            unit.journal = Looked(unit.journal)
            store.write(unit)
        assert 2000 <= looks <= 8000

    with_store(":memory:", test)


def test_a_run_that_is_not_waited_for_begins_before_its_units(database: str, with_store: Any) -> None:
    """Its row, nodes and values are queued like a unit: who reads finds them, and they come first."""

    async def test(store: Store) -> None:
        begins_with = make_unit("r", 0).artifacts
        await store.create_run({**RUN, "tree": lambda: "[1]"}, begins_with, wait=False)
        store.write(make_unit("r", 1))
        assert store.queued == 2
        row = store.run_row("r")
        assert row is not None and row["owner_alive"] and store.execution_tree("d") == ("r", "[1]")
        assert rows(store, "select namespace from artifacts order by 1") == [("node_0",), ("node_1",)]
        await store.flush("r")

    with_store(database, test)


def test_nobody_waits_for_a_lock_to_begin_a_run(path: str, with_store: Any) -> None:
    """While another program writes, a run begins; it is in the database once that has finished."""

    async def test(store: Store) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            await store.create_run(RUN, wait=False)
            store.write(make_unit("r", 1))
            await asyncio.sleep(2 * queueing.GATHER)
            assert query(path, "select count(*) from runs") == [(0,)]
            other.execute("rollback")
        await store.flush("r")
        assert query(path, "select run_id from runs join journal using (run_id)") == [("r",)]

    with_store(path, test)


def test_a_run_whose_row_cannot_be_written_is_broken(database: str, with_store: Any) -> None:
    """Nothing of it is written, whoever drives it is told why, and other runs go on."""
    told: list[tuple[str, BaseException]] = []

    async def test(store: Store) -> None:
        store.on_error = lambda run_id, error: told.append((run_id, error)) or True
        await store.create_run({**RUN, "run_id": "s"})
        failing(store, "execution_trees", "no room for it")
        await store.create_run({**RUN, "tree": "[1]"}, wait=False)
        for run_id in "rs":
            store.write(make_unit(run_id, 1))
        store.sync()
        await asyncio.sleep(0)
        ((run_id, error),) = told
        assert run_id == "r" and isinstance(error, DatabaseError) and "no room for it" in str(error)
        for ask in (store.flush("r"), store.release("r", whole=True)):
            with pytest.raises(DatabaseError, match="no room for it"):
                await ask
        await store.release("s", whole=True)
        assert rows(store, "select owner from runs") == [(None,)]
        assert rows(store, "select run_id from runs union all select run_id from journal") == [("s",)] * 2

    with_store(database, test)


def test_several_runs_at_once(database: str, with_store: Any) -> None:
    """Units of different runs share transactions, and each ends up in its run."""

    async def test(store: Store) -> None:
        for run_id in "abc":
            await store.create_run({**RUN, "run_id": run_id})
        for i in range(200):
            for run_id in "abc":
                store.write(make_unit(run_id, i))
        await store.flush()
        assert rows(store, "select run_id, count(*) from journal group by 1") == [
            ("a", 200),
            ("b", 200),
            ("c", 200),
        ]

    with_store(database, test)


def test_values_that_sqlite_cannot_hold(database: str, with_store: Any) -> None:
    """Lone surrogates, huge integers and foreign numbers are stored as what comes nearest."""
    import numpy as np

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        odd = make_unit("r", 1)
        odd.logs = [("a", 1, 1.0, "INFO", "stdout", "bad \udc80 text")]
        odd.run = {"tokens": 10**30, "cost": np.float32(0.5), "attempts": np.int64(3)}
        odd.nodes["gone"] = None
        store.write(odd)
        store.write(make_unit("r", 2))
        await store.flush()
        assert rows(store, "select message from logs order by id")[0] == ("bad \\udc80 text",)
        assert rows(store, "select tokens, cost, attempts from runs") == [(1e30, 0.5, 3)]
        assert rows(store, "select count(*) from journal") == [(2,)]

    with_store(database, test)


def test_a_row_that_fails_breaks_its_run_and_no_other(path: str, with_store: Any) -> None:
    """The run's later units are left out, so that it stays an earlier moment; other runs go on."""
    told: list[tuple[str, BaseException]] = []

    async def test(store: Store) -> None:
        store.on_error = lambda run_id, error: told.append((run_id, error))
        await store.create_run(RUN)
        await store.create_run({**RUN, "run_id": "s"})
        store.write(make_unit("r", 1))
        store.write(make_unit("s", 1))
        store.write(Unit("r", run={"no_such_column": 1}))
        store.write(make_unit("s", 2))
        failed = store.write(make_unit("r", 2), wait=True)
        good = store.write(make_unit("s", 3), wait=True)
        assert failed is not None and good is not None
        await good
        with pytest.raises(DatabaseError, match="no_such_column"):
            await failed
        with pytest.raises(DatabaseError):
            await store.flush("r")
        with pytest.raises(DatabaseError):
            await store.flush()
        await store.flush()
        await store.flush("s")
        assert [(run_id, type(error)) for run_id, error in told] == [("r", DatabaseError)]
        assert query(path, "select run_id, n from journal order by 1, 2") == [
            ("r", 1),
            ("s", 1),
            ("s", 2),
            ("s", 3),
        ]
        await store.claim("r")
        store.write(make_unit("r", 2))
        await store.flush("r")
        assert query(path, "select count(*) from journal where run_id = 'r'") == [(2,)]

    with_store(path, test)


@pytest.mark.parametrize("what", ["full", "read-only", "failing"])
def test_a_disk_that_fails_is_a_database_error(what: str, path: str, with_store: Any) -> None:
    """A full disk, lost permissions, an error of SQLite: told once to `on_error`, raised by `flush`."""
    told: list[tuple[str, str]] = []

    async def test(store: Store) -> None:
        store.on_error = lambda run_id, error: told.append((run_id, type(error).__name__))
        await store.create_run(RUN)
        await store.flush()
        connection = store._writer.connection
        if what == "full":
            pages = connection.execute("pragma page_count").fetchone()[0]
            connection.execute(f"pragma max_page_count = {pages}")
        elif what == "read-only":
            connection.execute("pragma query_only = 1")
        else:
            failing(store, "artifacts")
        for i in range(50):
            store.write(make_unit("r", i, value=b"x" * 10_000))
        expected = {"full": "disk is full", "read-only": "may not be written", "failing": "no"}[what]
        with pytest.raises(DatabaseError, match=expected) as caught:
            await store.flush()
        assert caught.value.path == path
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        await asyncio.sleep(0)
        assert told == [("r", "DatabaseError")]
        connection.execute("pragma query_only = 0")
        connection.execute("pragma max_page_count = 1000000")
        store.write(make_unit("r", 60))
        await store.flush()
        found = query(path, "select n from journal order by n")
        assert found == [(i,) for i in range(len(found))] and len(found) < 50
        assert len(query(path, "select 1 from artifacts")) == len(found)

    with_store(path, test)


def test_close_says_what_could_not_be_written(path: str) -> None:
    """An error that nobody has asked for comes out of `close`, and the file is closed all the same."""

    async def main() -> None:
        store = await Store.open(path)
        await store.create_run(RUN)
        failing(store, "journal")
        store.write(make_unit("r", 1))
        with pytest.raises(DatabaseError, match="no"):
            await store.close()
        await store.close()

    asyncio.run(main())
    assert not os.path.exists(f"{path}-wal"), "the last connection to a file takes its log away"


def test_nothing_is_written_after_close(database: str) -> None:
    """A closed store refuses with `InvalidState`; closing twice is fine."""

    async def main() -> None:
        store = await Store.open(database)
        await store.create_run(RUN)
        await store.close()
        await store.close()
        store.close_now()
        with pytest.raises(InvalidState, match="closed"):
            store.write(make_unit("r", 1))
        with pytest.raises(InvalidState, match="closed"):
            store.write(make_unit("r", 1), wait=True)
        with pytest.raises(InvalidState, match="closed"):
            await store.claim("r")
        store.sync()

    asyncio.run(main())


def test_reading_what_is_queued_from_another_thread(database: str, with_store: Any) -> None:
    """`sync` needs no event loop: it works while the loop is busy with something else."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        found: list[Any] = []
        for i in range(20):
            store.write(make_unit("r", i))
        thread = threading.Thread(target=lambda: found.extend(rows(store, "select count(*) from journal")))
        thread.start()
        thread.join()
        assert found == [(20,)]
        await store.flush()

    with_store(database, test)


def test_reading_and_writing_in_threads(database: str, with_store: Any) -> None:
    """Readers in threads see whole units only, while more are written."""
    wrong: list[Any] = []
    stop = threading.Event()
    counts = (f"(select count(*) from {table})" for table in ("journal", "events", "artifacts"))
    sql = f"select {', '.join(counts)}"

    def read(store: Store) -> None:
        while not stop.is_set():
            journal, events, artifacts = rows(store, sql)[0]
            if not events == 2 * journal == 2 * artifacts:
                wrong.append((journal, events, artifacts))

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        readers = [threading.Thread(target=read, args=(store,)) for _ in range(2)]
        for thread in readers:
            thread.start()
        for i in range(600):
            store.write(make_unit("r", i))
            if i % 20 == 0:
                await asyncio.sleep(0)
        await store.flush()
        stop.set()
        await asyncio.to_thread(lambda: [thread.join() for thread in readers])
        assert rows(store, sql) == [(600, 1200, 600)]

    with_store(database, test)
    assert wrong == []


@pytest.fixture
def lock(path: str) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the file."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


def test_a_lock_of_another_program_is_waited_for(
    path: str, lock: sqlite3.Connection, with_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody else writes, units wait; nothing is lost and nobody is told."""
    tries: list[float] = []

    def wait(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 3:
            lock.execute("rollback")

    async def test(store: Store) -> None:
        store.on_error = lambda run_id, error: pytest.fail(str(error))
        await store.create_run(RUN)
        store._writer.connection.execute("pragma busy_timeout = 0")
        monkeypatch.setattr("dagflow_nb.store.database.time.sleep", wait)
        lock.execute("begin immediate")
        store.write(make_unit("r", 1))
        await store.flush()
        assert len(tries) == 3

    with_store(path, test)


def test_a_lock_that_is_never_released(path: str, lock: sqlite3.Connection, with_store: Any) -> None:
    """In the end it is a `DatabaseError` that says what is wrong, not a run that hangs."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        lock.execute("begin immediate")
        store._writer.connection.execute("pragma busy_timeout = 0")
        store._writer.patience = 0.02
        store.write(make_unit("r", 1))
        with pytest.raises(DatabaseError, match="locked"):
            await store.flush()
        with pytest.raises(DatabaseError, match="locked"):
            await store.claim("r")
        lock.execute("rollback")

    with_store(path, test)


def test_a_loop_that_is_shut_down_still_writes(path: str) -> None:
    """What is queued when `asyncio.run` cancels its tasks is written, and so is what nobody closes."""

    async def main() -> Store:
        store = await Store.open(path)
        await store.create_run(RUN)
        for i in range(30):
            store.write(make_unit("r", i))
        store.write(make_unit("r", 30), wait=True)
        await asyncio.sleep(0)
        for i in range(31, 60):
            store.write(make_unit("r", i))
        return store

    store = asyncio.run(main())
    store.close_now()
    assert query(path, "select count(*) from journal") == [(60,)]
    assert query(path, "select owner from runs") == [(None,)]
    assert query(path, "select count(*) from owners") == [(0,)]


def test_a_loop_that_is_closed_under_the_store(path: str) -> None:
    """Where the loop is gone without a word, `close_now` still writes and closes."""

    async def main() -> Store:
        store = await Store.open(path)
        await store.create_run(RUN)
        while store._armed:
            await asyncio.sleep(0)
        return store

    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(main())
    loop.close()
    store._queue.append(make_unit("r", 1))
    store.close_now()
    assert query(path, "select count(*) from journal") == [(1,)]
    assert not os.path.exists(f"{path}-wal")


def test_closing_from_another_loop(path: str) -> None:
    """`close` works on any loop, and the task of the store's own ends."""

    async def main() -> None:
        store = await Store.open(path)
        await store.create_run(RUN)
        store.write(make_unit("r", 1))
        task = base._held[store._db]  # type: ignore[index]
        await asyncio.to_thread(asyncio.run, store.close())
        await asyncio.wait([task])
        await store.close()

    asyncio.run(main())
    assert query(path, "select count(*) from journal") == [(1,)]


def test_a_forgotten_store_is_closed_when_it_is_collected(path: str) -> None:
    """Without `close`, what is queued is written and what is owned given up once nobody holds the store."""

    async def main() -> None:
        store = await Store.open(path)
        await store.create_run(RUN)
        store.write(make_unit("r", 1))

    asyncio.run(main())
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "dagflow-close":
            thread.join()
    assert query(path, "select count(*) from journal") == [(1,)]
    assert query(path, "select owner from runs") == [(None,)]


def test_a_store_that_is_never_closed_lets_the_interpreter_exit(path: str) -> None:
    """What was queued is on disk afterwards, and nothing is left behind."""
    code = """
import asyncio, sys
from dagflow_nb.store import Store, Unit

async def main():
    global store
    store = await Store.open(sys.argv[1])
    await store.create_run({"run_id": "r", "dag_name": "d"})
    for n in range(100):
        store.write(Unit("r", journal=[(n, 1.0, "Tick", "{}", None)]))

asyncio.run(main())
print("end")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, path], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
    assert query(path, "select count(*) from journal") == [(100,)]
    assert query(path, "select owner from runs") == [(None,)]


def test_execution_state_follows_the_runs(database: str, with_store: Any) -> None:
    """A run that can go on is active, one that has not begun pending, one that has ended is not there."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)

        def state() -> list[Any]:
            return rows(store, "select run_id, state from execution_state")

        assert state() == [("r", "pending")]
        found = store.execution_state("d", "pending")
        assert found is not None and found["data"] == '{"status": "pending"}'
        for status, expected in {
            "running": [("r", "active")],
            "paused": [("r", "active")],
            "completed": [],
            "interrupted": [("r", "active")],
            "failed": [],
        }.items():
            store.write(Unit("r", run={"status": status}))
            await store.flush()
            assert state() == expected, status
        assert store.execution_state("d", "active") is None

    with_store(database, test)


def test_snapshots_and_values_by_hand(database: str, with_store: Any) -> None:
    """The latest snapshot of a kind is the one that is loaded; values can be added beside a run."""
    clock = Clock()

    async def test(store: Store) -> None:
        await store.create_run({**RUN, "tree": '["nodes"]'})
        assert store.load_snapshot("d", "cache") is None
        for data in ("1", "2"):
            clock.at += 1
            await store.save_snapshot("r", "d", "cache", data)
        await store.save_snapshot("r", "d", "execution", "3")
        assert store.load_snapshot("d", "cache") == ("r", clock.at, "2")
        assert store.load_snapshot("d", "execution") == ("r", clock.at, "3")
        await store.save_artifacts("r", [("ns", "k", "json", b"1", 1, None, clock.at)])
        assert store.artifact("r", "ns", "k") == ("json", b"1", None)
        assert store.artifact("r", "ns", "other") is None
        store.write(make_unit("r", 1))
        assert store.artifact_keys("r") == [("node_1", "result"), ("ns", "k")]
        assert store.artifact_keys("r", "ns") == [("ns", "k")]
        assert store.execution_tree("d") == ("r", '["nodes"]')
        assert store.execution_tree("other") is None

    with_store(database, test, now=clock)


def test_finding_runs(database: str, with_store: Any) -> None:
    """By workflow, by state, by the beginning of the id: the newest first."""
    clock = Clock()

    async def test(store: Store) -> None:
        for run_id, dag, status in (
            ("abc1", "d", "completed"),
            ("abc2", "d", "paused"),
            ("abd%", "e", "failed"),
            ("abc", "e", "running"),
        ):
            clock.at += 1
            await store.create_run({"run_id": run_id, "dag_name": dag, "status": status})
        assert store.latest_run_id() == "abc"
        assert store.latest_run_id({"d"}) == "abc2"
        assert store.latest_run_id(["d"], statuses=["completed"]) == "abc1"
        assert store.latest_run_id(["d", "e"], unfinished=True) == "abc"
        assert store.latest_run_id(["d"], True) == "abc2"
        assert store.latest_run_id([], True) is None
        assert store.latest_run_id(["x"]) is None
        assert store.match_run_ids("ab") == ["abc", "abd%", "abc2", "abc1"]
        assert store.match_run_ids("abc") == ["abc"]
        assert store.match_run_ids("abd%") == ["abd%"]
        assert store.match_run_ids("%") == []
        assert store.run_row("x") is None

    with_store(database, test, now=clock)


def test_unknown_columns_of_a_run(database: str, with_store: Any) -> None:
    """A misspelt column of a new run is a `ValidationError` that suggests the right one."""

    async def test(store: Store) -> None:
        with pytest.raises(ValidationError, match="did you mean 'dag_name'"):
            await store.create_run({"run_id": "r", "dag_nam": "d"})

    with_store(database, test)
