"""Several processes on one file, and processes that are killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from dagflow_nb.errors import InvalidState
from dagflow_nb.store import Store
from tests.store.helpers import query

# Writes one unit after the other, and says from time to time how far it is.
WRITER = """
import asyncio, itertools, sys
from dagflow_nb.store import Store
from tests.store.helpers import make_unit

async def main(path, run_id, count):
    store = await Store.open(path)
    await store.create_run({"run_id": run_id, "dag_name": "d", "status": "running"})
    for i in range(count) if count else itertools.count():
        store.write(make_unit(run_id, i, value=b"x" * (i % 7 * 1000)))
        if i % 100 == 0:
            await store.flush()
            print(i, flush=True)
        if i % 10 == 0:
            await asyncio.sleep(0)
    await store.close()
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def start_writer(path: str, run_id: str, count: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, path, run_id, str(count)], stdout=subprocess.PIPE, text=True
    )


def check_whole(path: str, run_id: str) -> int:
    """How many units of a run there are: the first ones without a gap, each of them whole."""
    numbers = [row[0] for row in query(path, "select n from journal where run_id = ? order by n", run_id)]
    count = len(numbers)
    assert numbers == list(range(count))
    assert query(path, "select seq from events where run_id = ? order by seq", run_id) == [
        (i,) for i in range(2 * count)
    ]
    for table in ("node_runs", "attempts", "artifacts", "logs"):
        assert query(path, f"select count(*) from {table} where run_id = ?", run_id) == [(count,)], table
    assert query(path, "select completed from runs where run_id = ?", run_id) == [(count,)]
    of_blob = "(select sum(length(data)) from blobs b where b.hash = a.hash)"
    sql = f"select namespace, coalesce(length(value), {of_blob}) from artifacts a where run_id = ?"
    sizes = query(path, sql, run_id)
    assert dict(sizes) == {f"node_{i}": i % 7 * 1000 for i in range(count)}
    return count


@pytest.mark.parametrize("after", [100, 700])
def test_a_process_that_is_killed_leaves_an_earlier_moment(after: int, path: str) -> None:
    """After kill -9 in the middle of writing all that was flushed is there, every unit whole."""
    with start_writer(path, "r") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after:
                break
        process.kill()
    count = check_whole(path, "r")
    assert count > after

    async def take_over() -> None:
        store = await Store.open(path)
        row = store.run_row("r")
        assert row is not None and row["status"] == "running" and not row["owner_alive"]
        await store.claim("r")
        stored = await store.load("r")
        assert stored is not None and len(stored.journal) == count
        await store.close()

    asyncio.run(take_over())
    assert query(path, "pragma integrity_check") == [("ok",)]


def test_a_run_of_a_live_process_cannot_be_taken(path: str) -> None:
    """A second process that wants the run is told who has it; once that is dead it gets it."""

    async def claim() -> None:
        store = await Store.open(path)
        try:
            await store.claim("r")
        finally:
            await store.close()

    with start_writer(path, "r") as process:
        assert process.stdout is not None and process.stdout.readline()
        with pytest.raises(InvalidState, match=f"process {process.pid} "):
            asyncio.run(claim())
        process.kill()
    asyncio.run(claim())


def test_two_processes_write_and_a_third_reads(path: str) -> None:
    """Different runs go into one file at once, and a reader meanwhile never finds it locked."""
    count = 1000
    with start_writer(path, "a", count) as first, start_writer(path, "b", count) as second:
        assert first.stdout is not None and first.stdout.readline()
        reads = 0
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            while first.poll() is None or second.poll() is None:
                rows: list[Any] = connection.execute(
                    "select run_id, count(*), (select count(*) from events e where e.run_id = j.run_id) "
                    "from journal j group by 1"
                ).fetchall()
                assert all(events == 2 * journal for _, journal, events in rows)
                reads += 1
    assert (first.returncode, second.returncode) == (0, 0)
    assert reads > 10
    assert (check_whole(path, "a"), check_whole(path, "b")) == (count, count)
    assert query(path, "select distinct owner from runs") == [(None,)]


# Has a run in the file, and closes that when it is told to.
HOLDER = """
import asyncio, sys
from dagflow_nb.store import Store

async def main(path):
    store = await Store.open(path)
    await store.create_run({"run_id": "theirs", "dag_name": "d"})
    print("open", flush=True)
    sys.stdin.readline()
    await store.close()
    print("closed", flush=True)
asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let an open file be deleted")
@pytest.mark.parametrize("moved", [True, False])
def test_a_new_file_where_others_have_the_old_one_open(moved: bool, path: str) -> None:
    """It begins with nothing, whoever closes the old one leaves it alone, and what was moved is whole."""

    async def begin_anew(then: Callable[[], None]) -> None:
        store = await Store.open(path)
        await store.create_run({"run_id": "ours", "dag_name": "d"})
        then()
        await store.create_run({"run_id": "later", "dag_name": "d"})
        assert query(path, "select run_id from runs order by rowid") == [("ours",), ("later",)]
        await store.close()

    arguments = [sys.executable, "-c", HOLDER, path]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        stdin, stdout = other.stdin, other.stdout
        assert stdout.readline() == "open\n"
        if moved:
            os.rename(path, f"{path}.moved")
        else:
            os.remove(path)

        def close_other() -> None:
            stdin.write("\n")
            stdin.flush()
            assert stdout.readline() == "closed\n"

        asyncio.run(begin_anew(close_other))
    assert query(path, "pragma integrity_check") == [("ok",)]
    assert query(path, "select run_id from runs order by rowid") == [("ours",), ("later",)]
    if moved:
        assert query(f"{path}.moved", "select run_id from runs") == [("theirs",)]
