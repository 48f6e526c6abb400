"""What somebody waits for is committed by the loop itself where that takes but a moment, else by a thread."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow, NodeSpec, Workflow
from dagflow_nb.errors import DatabaseError, InvalidState
from dagflow_nb.store import Store, Unit, database, pace
from tests.store.helpers import make_unit, query

RUN = {"run_id": "r", "dag_name": "d"}
Test = Callable[[Store], Awaitable[None]]


def on_thread(path: str, test: Test) -> None:
    """Run `await test(store)` with an open store that has the run "r", on a loop beside the main thread.

    Its clock stands still: each commit is quick, however busy this machine is.
    """
    failed: list[BaseException] = []

    async def main() -> None:
        store = await Store.open(path)
        store._writer.pace.clock = lambda: 0.0
        await store.create_run(RUN)
        await store.committed("r")
        try:
            await test(store)
        finally:
            await store.close()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def write(store: Store, unit: Unit) -> asyncio.Future[None]:
    found = store.write(unit, wait=True, at_once=True)
    assert found is not None
    return found


def stored(path: str) -> list[int]:
    """The units that anybody can see."""
    return [n for (n,) in query(path, "select n from journal order by n")]


@pytest.fixture
def lock(path: str) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the file."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


def test_what_is_waited_for_is_committed_when_write_returns(path: str) -> None:
    """The future is done, and everybody sees the unit and those that were queued before it, in order."""

    async def test(store: Store) -> None:
        store.write(make_unit("r", 0))
        for i in range(1, 4):
            assert write(store, make_unit("r", i)).done()
            assert stored(path) == list(range(i + 1))
        assert store.committed("r", at_once=True).done() and not store.queued

    on_thread(path, test)


def test_not_on_the_main_thread(path: str, with_store: Any) -> None:
    """An interrupt could hit a loop that runs there, so the thread writes; nothing else changes."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        written = write(store, make_unit("r", 0))
        assert not written.done()
        await written
        assert stored(path) == [0]

    with_store(path, test)


def test_another_process_with_the_lock_does_not_hold_up_the_loop(path: str, lock: sqlite3.Connection) -> None:
    """The loop waits not even for a moment; once the lock is free the thread has written, in order."""

    async def test(store: Store) -> None:
        await write(store, make_unit("r", 0))
        lock.execute("begin immediate")
        begin = time.monotonic()
        written = [write(store, make_unit("r", i)) for i in (1, 2, 3)]
        assert time.monotonic() - begin < 4  # a lock is waited for at least 5 seconds
        assert not any(future.done() for future in written)
        lock.execute("rollback")
        await asyncio.gather(*written)
        assert stored(path) == [0, 1, 2, 3]

    on_thread(path, test)


def test_a_thread_that_writes_is_not_waited_for(path: str) -> None:
    """A reader who brings in what is queued has the lock: the loop goes on, and the thread writes later."""

    async def test(store: Store) -> None:
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with store._writer.lock:
                held.set()
                let_go.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(30)
        written = write(store, make_unit("r", 0))
        assert not written.done()
        let_go.set()
        await written
        thread.join()
        assert stored(path) == [0]

    on_thread(path, test)


def test_after_a_slow_commit_the_thread_commits_until_one_was_quick(path: str) -> None:
    """A slow disk holds up the loop once at most, whoever found it slow; then the loop tries again."""
    seconds = 0.0

    def clock() -> float:
        nonlocal now
        now += seconds
        return now

    async def test(store: Store) -> None:
        nonlocal seconds
        store._writer.pace.clock = clock
        assert write(store, make_unit("r", 0)).done()
        seconds = pace.QUICK * 2
        assert write(store, make_unit("r", 1)).done()
        for i in (2, 3):
            written = write(store, make_unit("r", i))
            assert not written.done()
            await written
        seconds = pace.QUICK / 2
        written = write(store, make_unit("r", 4))
        assert not written.done()
        await written
        assert write(store, make_unit("r", 5)).done()
        assert stored(path) == list(range(6))

    now = 0.0
    on_thread(path, test)


def test_runs_that_take_turns_share_transactions(path: str) -> None:
    """What several runs wait for is written by the thread in one go; one alone waits for nobody again."""
    commits = 0

    def clock() -> float:
        nonlocal commits
        commits += 1
        return 0.0

    async def test(store: Store) -> None:
        others = ["s", "t"]
        for run_id in others:
            await store.create_run({**RUN, "run_id": run_id})
        assert write(store, make_unit("r", 0)).done()
        store._writer.pace.clock = clock
        written = [write(store, make_unit(run_id, i)) for i in (1, 2) for run_id in (*others, "r")]
        assert not any(future.done() for future in written)
        await asyncio.gather(*written)
        assert commits == 2  # the beginning and the end of one
        assert write(store, make_unit("r", 3)).done()
        assert len(stored(path)) == 8

    on_thread(path, test)


def test_what_the_loop_has_written_needs_no_thread(path: str) -> None:
    """A writer who was woken for units that the loop took along finds an empty queue, and goes nowhere."""
    calls: list[int] = []

    async def test(store: Store) -> None:
        assert store._db is not None
        commit = store._db.commit

        async def counted() -> None:
            calls.append(store.queued)
            await commit()

        store._db.commit = counted  # type: ignore[method-assign]  # how the store asks its thread to write
        store.write(make_unit("r", 0))
        store._start()
        assert write(store, make_unit("r", 1)).done()
        for _ in range(10):
            await asyncio.sleep(0)
        assert calls == [] and stored(path) == [0, 1]
        store.write(make_unit("r", 2))
        await store.flush()
        assert calls == [2] and stored(path) == [0, 1, 2]

    on_thread(path, test)


@pytest.mark.parametrize("what", ["many rows", "a big value", "a snapshot"])
def test_what_takes_long_is_written_by_the_thread(what: str, path: str) -> None:
    """Many rows, big values and snapshots would keep the loop from everything else."""
    unit = make_unit("r", 0, value=b"x" * (5000 if what == "a big value" else 3))
    if what == "many rows":
        unit.logs *= 100
    elif what == "a snapshot":
        unit.snapshot = ("d", 1.0, "{}", None)

    async def test(store: Store) -> None:
        written = write(store, unit)
        assert not written.done()
        await written
        assert write(store, make_unit("r", 1)).done()
        assert stored(path) == [0, 1]

    on_thread(path, test)


def test_the_log_is_brought_into_the_file_by_the_thread_only(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No commit of the loop writes to the file itself, and still the log does not grow without end."""
    monkeypatch.setattr(database, "LOG_PAGES", 1000)

    async def test(store: Store) -> None:
        by_loop = 0
        for i in range(700):
            before = os.stat(path)
            written = write(store, make_unit("r", i))
            after = os.stat(path)
            if written.done():
                by_loop += 1
                assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
            await written
        assert by_loop > 300
        pages = os.path.getsize(f"{path}-wal") / 4096
        # 7 pages a commit: those of the loop's own turns come on top
        assert pages < database.LOG_PAGES + 7 * (pace.IN_A_ROW + 50)
        assert stored(path) == list(range(700))

    on_thread(path, test)


@pytest.mark.parametrize("how", ["taken over", "deleted"])
def test_a_run_that_is_lost_is_told_as_ever(how: str, path: str, lock: sqlite3.Connection) -> None:
    """The future raises `InvalidState`, `on_error` is told once, and other runs are written."""
    told: list[tuple[str, str]] = []

    async def test(store: Store) -> None:
        store.on_error = lambda run_id, error: told.append((run_id, type(error).__name__))
        await store.create_run({**RUN, "run_id": "s"})
        lock.execute(
            "update runs set owner = 'x' where run_id = 'r'" if how == "taken over" else "delete from runs"
        )
        if how == "deleted":
            await store.create_run({**RUN, "run_id": "s"})
        store.write(make_unit("s", 7))
        lost = write(store, make_unit("r", 1))
        assert lost.done()
        with pytest.raises(InvalidState, match="taken over" if how == "taken over" else "deleted"):
            await lost
        with pytest.raises(InvalidState):
            await write(store, make_unit("r", 2))
        await asyncio.sleep(0)
        assert told == [("r", "InvalidState")] and stored(path) == [7]
        with pytest.raises(InvalidState):
            await store.flush()

    on_thread(path, test)


def test_a_row_that_fails_is_for_the_thread_to_tell(path: str) -> None:
    """The run breaks with the error that it always had; a run beside it in the same transaction is whole."""

    async def test(store: Store) -> None:
        await store.create_run({**RUN, "run_id": "s"})
        store.write(make_unit("s", 0))
        with pytest.raises(DatabaseError, match="no_such_column"):
            await write(store, Unit("r", run={"no_such_column": 1}))
        with pytest.raises(DatabaseError, match="no_such_column"):
            await write(store, make_unit("r", 1))
        await write(store, make_unit("s", 2))
        assert stored(path) == [0, 2]
        with pytest.raises(DatabaseError):
            await store.flush()

    on_thread(path, test)


def test_without_a_log_the_thread_writes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no write-ahead logging each commit waits for the disk."""
    monkeypatch.setattr("dagflow_nb.store.schema._set_wal", lambda connection: False)

    async def test(store: Store) -> None:
        written = write(store, make_unit("r", 0))
        assert not written.done()
        await written

    on_thread(path, test)


@pytest.mark.parametrize("beside", [False, True])
def test_the_loop_of_a_run_commits_where_it_has_nothing_better_to_do(
    beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `durability="sync"` a graph that grows node by node waits for no thread, unless another attempt is
    under way beside it: then the loop is left to that."""
    by_loop = 0
    real = Store.committed

    def committed(store: Store, run_id: str, **how: Any) -> asyncio.Future[None]:
        nonlocal by_loop
        found = real(store, run_id, **how)
        by_loop += found.done()
        return found

    monkeypatch.setattr(Store, "committed", committed)
    monkeypatch.setattr(pace, "QUICK", 60.0)
    with DagFlow(tmp_path / "x.db", echo=False, config={"durability": "sync"}) as flow:

        @flow.action
        async def step() -> int:
            return 1

        grown = asyncio.Event()

        @flow.action
        async def wait() -> int:
            await grown.wait()
            return 1

        @flow.on_completed(action="step")
        def grow(event: Any) -> NodeSpec | None:
            n = int(event.node.node_id[1:]) + 1
            return NodeSpec("step" if n < 39 else "last", id=f"n{n}", deps=[event.node.node_id])

        @flow.action
        async def last() -> int:
            grown.set()
            return 1

        workflow = Workflow("w")
        workflow.add("step", id="n0")
        if beside:
            workflow.add("wait")
        run = flow.run(workflow, view=False)
        assert len(run.outputs) == 40 + beside
        found = flow.sql("select count(*) from events where kind = 'NodeCompleted'").iloc[0, 0]
        assert found == 40 + beside
    # the end of each node, and the answer about it; the first commit is the thread's
    assert by_loop <= 3 if beside else by_loop >= 77
