"""One live owner a run: who it is, when it is dead, and what happens to who has lost a run."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

import pytest

from dagflow_nb.errors import InvalidState
from dagflow_nb.store import Store, owners, read
from tests.store.helpers import Clock, make_unit, query

RUN = {"run_id": "r", "dag_name": "d"}
ELSEWHERE = "another-host"


def put_owner(path: str, **changes: Any) -> None:
    """Make somebody else the owner of run `r`, alive on this host unless told otherwise."""
    values = {
        "owner": "somebody",
        "host": owners.this_host(),
        "pid": os.getppid(),
        "process_started": owners.process_started(os.getppid()),
        "opened_at": 1_700_000_000.0,
        "beat_at": 1_700_000_000.0,
        **changes,
    }
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            f"insert or replace into owners ({', '.join(values)}) values (?, ?, ?, ?, ?, ?)",
            tuple(values.values()),
        )
        connection.execute("update runs set owner = ? where run_id = 'r'", (values["owner"],))


def test_a_run_id_is_taken_once(database: str, with_store: Any) -> None:
    """A second run of the same id is `InvalidState`, and changes nothing."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        with pytest.raises(InvalidState, match="already a run 'r'"):
            await store.create_run({**RUN, "dag_name": "e"})
        row = store.run_row("r")
        assert row is not None and row["dag_name"] == "d"

    with_store(database, test)


def test_one_who_asks_gets_a_free_run(database: str, with_store: Any) -> None:
    """A released run can be claimed; one that does not exist cannot."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        await store.release("r")
        row = store.run_row("r")
        assert row is not None and not row["owner_alive"]
        await store.claim("r")
        await store.claim("r")
        row = store.run_row("r")
        assert row is not None and row["owner_alive"]
        with pytest.raises(InvalidState, match="no run 'x'"):
            await store.claim("x")

    with_store(database, test)


def test_two_open_stores_of_one_process(path: str) -> None:
    """Also within one process a run has one owner; closing one store frees its runs."""

    async def main() -> None:
        first, second = await Store.open(path), await Store.open(path)
        await first.create_run(RUN)
        with pytest.raises(InvalidState, match=r"another open flow .*flow.close\(\)") as caught:
            await second.claim("r")
        assert caught.value.culprit == "r"
        first.write(make_unit("r", 1))
        await first.close()
        assert query(path, "select count(*) from owners") == [(0,)]
        await second.claim("r")
        second.write(make_unit("r", 2))
        await second.close()
        assert query(path, "select n from journal order by n") == [(1,), (2,)]

    asyncio.run(main())


def test_a_live_process_keeps_its_run(path: str, with_store: Any) -> None:
    """An owner on this host whose process runs is alive, however long it has given no sign of life."""
    clock = Clock()

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        put_owner(path)
        clock.at += 10_000
        with pytest.raises(InvalidState, match=rf"process {os.getppid()} .*2023-11-1.*stop that process"):
            await store.claim("r")

    with_store(path, test, now=clock)


@pytest.mark.parametrize("dead", ["no such process", "another process by now", "closed here"])
def test_a_dead_process_is_replaced_at_once(dead: str, path: str, with_store: Any) -> None:
    """An owner on this host whose process has ended, or whose store is closed, is no hindrance."""
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    changes: dict[str, dict[str, Any]] = {
        "no such process": {"pid": finished.pid},
        "another process by now": {"process_started": "long ago"},
        "closed here": {"pid": os.getpid(), "process_started": owners.process_started(os.getpid())},
    }

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        put_owner(path, **changes[dead])
        await store.claim("r")
        row = store.run_row("r")
        assert row is not None and row["owner_alive"]
        assert query(path, "select count(*) from owners where owner = 'somebody'") == [(0,)]

    with_store(path, test, now=Clock())


@pytest.mark.parametrize("unknown", ["elsewhere", "cannot be told"])
def test_signs_of_life_decide_where_processes_cannot_be_seen(
    unknown: str, path: str, with_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another host, or where the system does not tell, an owner is dead after 30 s without a beat."""
    clock = Clock()
    if unknown == "cannot be told":
        monkeypatch.setattr(owners, "process_started", lambda pid: owners.UNKNOWN)

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        put_owner(path, host=ELSEWHERE if unknown == "elsewhere" else owners.this_host())
        clock.at += 29.9
        with pytest.raises(InvalidState, match="process"):
            await store.claim("r")
        clock.at += 0.2
        await store.claim("r")

    with_store(path, test, now=clock)


@pytest.mark.parametrize("what", ["ended", "was taken up"])
def test_a_run_that_changes_hands_during_a_look_is_not_left(
    what: str, path: str, with_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is that of after the change: it has ended, or has an owner that is alive."""

    async def test(store: Store) -> None:
        await store.create_run({**RUN, "status": "running"})
        put_owner(path, owner="dead", pid=2**22 + 1, process_started="1")
        find, change = owners.holder, iter([True])

        def holder(*args: Any) -> Any:
            found = find(*args)
            if next(change, False) and what == "ended":
                with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                    connection.execute("update runs set status = 'completed', owner = null")
            elif found is None and what == "was taken up":
                put_owner(path)
            return found

        monkeypatch.setattr(read, "holder", holder)
        row = store.run_row("r")
        assert row is not None
        if what == "ended":
            assert (row["status"], row["owner_alive"]) == ("completed", False)
        else:
            assert (row["status"], row["owner"], row["owner_alive"]) == ("running", "somebody", True)

    with_store(path, test)


def test_who_has_lost_a_run_stops_writing_it(path: str) -> None:
    """Every commit checks the owner: after a takeover nothing more gets in, and the loser is told once."""
    told: list[tuple[str, BaseException]] = []

    async def main() -> None:
        store = await Store.open(path)
        store.on_error = lambda run_id, error: told.append((run_id, error))
        await store.create_run(RUN)
        await store.create_run({**RUN, "run_id": "s"})
        store.write(make_unit("r", 1))
        await store.flush()
        put_owner(path)
        lost = store.write(make_unit("r", 2), wait=True)
        store.write(make_unit("s", 1))
        store.write(make_unit("r", 3))
        assert lost is not None
        with pytest.raises(InvalidState, match=r"no longer driven by this process .*somebody"):
            await lost
        store.write(make_unit("r", 4))
        with pytest.raises(InvalidState):
            await store.flush("r")
        with pytest.raises(InvalidState):
            await store.flush()
        await store.release("r")
        await store.close()

    asyncio.run(main())
    assert [(run_id, type(error)) for run_id, error in told] == [("r", InvalidState)]
    assert query(path, "select run_id, n from journal order by 1") == [("r", 1), ("s", 1)]
    assert query(path, "select owner from runs where run_id = 'r'") == [("somebody",)]


def test_a_run_that_is_deleted_meanwhile(path: str, with_store: Any) -> None:
    """Units of a run that is no longer there are not written, and the error says why."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("delete from runs")
            connection.commit()
        store.write(make_unit("r", 1))
        with pytest.raises(InvalidState, match="deleted"):
            await store.flush()
        assert query(path, "select count(*) from journal") == [(0,)]

    with_store(path, test)


def test_only_one_of_many_gets_a_run(path: str) -> None:
    """Taking a free run is atomic: of several that ask at once one gets it."""

    async def main() -> list[str]:
        stores = [await Store.open(path) for _ in range(4)]
        await stores[0].create_run(RUN)
        await stores[0].release("r")
        found = await asyncio.gather(*(store.claim("r") for store in stores), return_exceptions=True)
        for store in stores:
            await store.close()
        return sorted("lost" if isinstance(f, InvalidState) else repr(f) for f in found)

    assert asyncio.run(main()) == ["None", "lost", "lost", "lost"]


def test_values_of_a_run_that_somebody_drives_are_not_touched(path: str, with_store: Any) -> None:
    """Values written by hand, and deleting, respect a live owner too."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        put_owner(path)
        with pytest.raises(InvalidState, match="cannot be written to"):
            await store.save_artifacts("r", [("a", "b", "json", b"1", 1, None, 1.0)])
        with pytest.raises(InvalidState, match="cannot be deleted"):
            await store.delete_runs(["r"])

    with_store(path, test, now=Clock())


def test_the_heartbeat(path: str, with_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no event loop, beats while runs are owned, and ends with the store."""
    clock = Clock()
    monkeypatch.setattr(owners, "BEAT_EVERY", 0.001)

    def beating() -> bool:
        return any(thread.name == "dagflow-heartbeat" for thread in threading.enumerate())

    async def test(store: Store) -> None:
        assert not beating()
        assert query(path, "select count(*) from owners") == [(0,)]
        await store.create_run(RUN)
        assert beating()
        clock.at += 100
        # the loop does not get a turn here
        while query(path, "select beat_at from owners") != [(clock.at,)]:
            pass

    with_store(path, test, now=clock)
    assert not beating()


def test_owners_of_nothing_are_tidied_away(path: str, with_store: Any) -> None:
    """When a store closes, what killed processes have left of themselves goes with it."""

    async def test(store: Store) -> None:
        await store.create_run(RUN)
        put_owner(path)
        put_owner(path, owner="another")

    with_store(path, test)
    assert query(path, "select owner from owners") == [("another",)]


def test_processes_are_known_by_their_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running process has a start time, an ended one, or one that never was, has none."""
    mine = owners.process_started(os.getpid())
    assert mine not in (None, owners.UNKNOWN) and owners.process_started(os.getpid()) == mine
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert owners.process_started(child.pid) not in (None, mine)
    child.communicate(b"\n")
    assert owners.process_started(child.pid) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ps on Windows")
def test_start_times_by_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, `ps` tells the start; where it cannot be asked, that is said."""

    class NoProc:
        def __init__(self, path: str) -> None:
            pass

        def exists(self) -> bool:
            return False

    monkeypatch.setattr(owners, "Path", NoProc)
    answers: dict[str, tuple[int, str]] = {"1": (0, "Thu Nov 23 21:30:01 2023\n"), "2": (1, "")}

    def ps(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        if command[-1] not in answers:
            raise FileNotFoundError(command[0])
        code, text = answers[command[-1]]
        return subprocess.CompletedProcess(command, code, text, "")

    monkeypatch.setattr(owners.subprocess, "run", ps)
    assert owners.process_started(1) == "Thu Nov 23 21:30:01 2023"
    assert owners.process_started(2) is None
    assert owners.process_started(3) == owners.UNKNOWN
