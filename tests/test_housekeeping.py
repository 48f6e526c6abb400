"""Keeping the database small: what is deleted, what is told, how it grows."""

from __future__ import annotations

import logging
import pickle
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import (
    DagFlow,
    DagNotFound,
    InvalidState,
    NodeExecutionError,
    SerializationError,
    ValidationError,
    Workflow,
    ref,
)
from dagflow_nb.api import records
from dagflow_nb.runtime import session
from tests.store.helpers import query


def flow_with_runs(path: Any) -> DagFlow:
    """Three runs, an old one among them; each gives a small, a big and an unstorable value."""
    flow = DagFlow(path, echo=False)

    @flow.action
    def give(i: int) -> dict[str, Any]:
        return {"i": i, "big": f"{i} " * 50_000, "lock": threading.Lock()}

    for run_id, name in (("old", "etl"), ("new", "etl"), ("other", "report")):
        wf = Workflow(name)
        wf.add("give", id="n", i=len(run_id))
        flow.run(wf, run_id=run_id, view=False)
    return flow


def test_what_delete_runs_deletes(tmp_path: Path) -> None:
    """One run, a workflow's, old ones, or what all of these name; never all of them by mistake."""
    path = tmp_path / "x.db"
    with flow_with_runs(path) as flow:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("update runs set created_at = created_at - 30 * 86400 where run_id = 'old'")
        with pytest.raises(ValidationError, match="which"):
            flow.delete_runs()
        assert flow.delete_runs(older_than="60d") == 0
        assert flow.delete_runs("new", older_than="7d") == 0
        assert flow.delete_runs("new", dag_name="report") == 0
        assert sorted(flow.runs().index) == ["new", "old", "other"]
        assert flow.delete_runs(dag_name="etl", older_than="7d") == 1
        assert sorted(flow.runs().index) == ["new", "other"]
        assert flow.delete_runs(dag_name="etl") == 1
        assert flow.delete_runs(flow.get("other")) == 1
        assert flow.runs().empty and flow.cache().empty and flow._session.memory == {}
        flow.vacuum()
        assert query(path, "select count(*) from blobs") == [(0,)]
        assert path.stat().st_size < 150_000


def test_a_deleted_run_is_gone_for_its_session_too(tmp_path: Path) -> None:
    """Nothing finds it any more, by its id or by what one has of it: it says so."""
    with flow_with_runs(tmp_path / "x.db") as flow:
        run = flow.get()
        assert run.run_id == "other" and flow.delete_runs(run) == 1
        assert flow.get().run_id == "new"
        asks: tuple[Callable[[], Any], ...] = (
            lambda: flow.get("other"),
            lambda: flow.retry(run),
            lambda: flow.resume(run),
            lambda: flow.fork(run),
            lambda: run.status,
            lambda: run.wait(),
        )
        for ask in asks:
            with pytest.raises(DagNotFound, match="no run 'other'"):
                ask()
        assert "no run 'other'" in repr(run)


def test_a_workflow_is_no_run_to_delete(tmp_path: Path) -> None:
    """A workflow with several runs is refused with what to write; the only run of one is deleted."""
    with flow_with_runs(tmp_path / "x.db") as flow:
        for also in ({}, {"values_only": True}, {"older_than": "1s"}):
            with pytest.raises(ValidationError, match=r"2 runs.*flow.runs\(dag_name='etl'\)") as caught:
                flow.delete_runs("etl", **also)
            assert caught.value.culprit == "run"
        assert sorted(flow.runs().index) == ["new", "old", "other"]
        assert flow.delete_runs("report") == 1
        assert sorted(flow.runs().index) == ["new", "old"]


def test_values_alone_can_go(tmp_path: Path) -> None:
    """History and keys stay, values are gone from file and memory, and the size shows it."""
    with flow_with_runs(tmp_path / "x.db") as flow:
        before = flow.storage()["size_bytes"].sum()
        assert flow.delete_runs(dag_name="etl", values_only=True) == 2
        flow.vacuum()
        assert flow.storage()["size_bytes"].sum() < before
        cache = flow.cache(run_id="new")
        assert set(cache["codec"]) == {"memory"} and set(cache["reason"]) == {"deleted to save space"}
        assert all("deleted" in value for value in cache["value"])
        assert list(flow.nodes(run_id="new")["status"]) == ["completed"]
        assert flow.get("other").outputs["n"]["i"] == 5


def test_a_run_without_values_says_so_when_it_is_to_go_on(tmp_path: Path) -> None:
    """A fork or retry of a run whose values were deleted tells why its input is gone, and to start anew."""
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        def double(n: int) -> int:
            return 2 * n

        wf = Workflow("w", inputs=["n"])
        wf.add("double", id="a", n=wf.input("n"))
        wf.add("double", id="b", n=ref("a"))
        run = flow.run(wf, n=1, view=False)
        flow.delete_runs(run.run_id, values_only=True)
        with pytest.raises(NodeExecutionError, match="values of its run were deleted") as caught:
            flow.fork(run.run_id, node="a", view=False)
        assert str(caught.value).endswith("start a new run with flow.run()")
        with pytest.raises(NodeExecutionError, match="values of its run were deleted"):
            flow.retry(run.run_id, node="a", view=False)


def test_a_run_under_way_is_not_deleted() -> None:
    """Named it is `InvalidState`; among others it is passed over."""
    go, begun = threading.Event(), threading.Event()
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        def wait() -> None:
            begun.set()
            go.wait(20)

        wf = Workflow("w")
        wf.add("wait", id="n")
        run = flow.start(wf, view=False)
        try:
            assert begun.wait(20)
            with pytest.raises(InvalidState, match=r"cannot be deleted while it is under way.*run\.cancel"):
                flow.delete_runs(run)
            assert flow.delete_runs(dag_name="w") == 0
        finally:
            go.set()
        run.wait(20)
        assert flow.delete_runs(dag_name="w") == 1


def test_size_is_told_and_a_big_file_warned_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow's repr says how big its file is; beyond a limit a warning that is shown says what to do."""
    assert records.BIG == 5_000_000_000
    monkeypatch.setattr(records, "BIG", 10_000)
    with flow_with_runs(tmp_path / "x.db") as flow:
        assert " MB" in repr(flow)
        flow._warned = False
        with pytest.warns(UserWarning, match="delete_runs") as told:
            flow.runs()
            flow.runs()
        assert len(told) == 1


def test_the_file_grows_with_what_is_produced(tmp_path: Path) -> None:
    """Four times as many nodes take four times as much: nothing is quadratic."""
    sizes = []
    for nodes in (100, 400):
        path = tmp_path / f"{nodes}.db"
        with DagFlow(path, echo=False) as flow:

            @flow.action
            async def step(i: int) -> dict[str, int]:
                return {"i": i}

            wf = Workflow("chain")
            last = wf.add("step", id="n0", i=0)
            for i in range(1, nodes):
                last = wf.add("step", id=f"n{i}", i=last["i"])
            flow.runs()
            empty = path.stat().st_size
            flow.run(wf, view=False)
        sizes.append(path.stat().st_size - empty)
    assert sizes[1] < 5 * sizes[0]


def test_a_file_system_without_a_log_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where write-ahead logging cannot be switched on the flow works, and says so once a process."""
    from dagflow_nb.store import schema

    monkeypatch.setattr(schema, "_set_wal", lambda connection: False)
    monkeypatch.setattr(session, "_told", set())
    path = tmp_path / "x.db"
    with caplog.at_level(logging.WARNING, "dagflow_nb"):
        for _ in range(2):
            with DagFlow(path, echo=False) as flow:

                @flow.action
                def one() -> int:
                    return 1

                wf = Workflow("w")
                wf.add("one", id="n")
                assert flow.run(wf, view=False).result == 1
                assert not Path(f"{path}-wal").exists()
    assert [r.message for r in caplog.records if "write-ahead" in r.message] == [
        f"{str(path)!r} is on a file system without write-ahead logging (a network drive?): "
        "it works, but readers and writers wait for each other"
    ]


class Bomb:
    """Whoever unpickles it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("big", [False, True])
def test_a_pickle_in_the_file_is_not_read(tmp_path: Path, big: bool) -> None:
    """A value that somebody has replaced by a pickle runs no code, whatever it is called: it is an error
    where it is used, and said in the frames."""
    path, mark = tmp_path / "x.db", tmp_path / "ran"
    with DagFlow(path, echo=False) as flow:

        @flow.action
        def one() -> dict[str, Any]:
            return {"a": "x" * 10_000 if big else 1, "b": 2}

        wf = Workflow("w")
        wf.add("one", id="n")
        flow.run(wf, run_id="r", view=False)
    smuggled = pickle.dumps(Bomb(mark))
    for codec in ("pickle", "json", "npy", "bundle"):
        with closing(sqlite3.connect(path)) as connection, connection:
            sql = "update artifacts set codec = ?, value = ?, size_bytes = ?, hash = null where key = 'a'"
            connection.execute(sql, (codec, smuggled, len(smuggled)))
            if big:
                connection.execute("update artifacts set value = null, hash = x'00' where key = 'a'")
                connection.execute("insert or replace into blobs values (x'00', 0, ?)", (smuggled,))
        with DagFlow(path, echo=False) as flow:
            run = flow.get("r")
            assert run.outputs["n"]["b"] == 2
            with pytest.raises(SerializationError):
                run.outputs["n"]["a"]
            assert "cannot be read" in run.cache(key="a")["value"][0]
        assert not mark.exists()


def test_the_file_is_copied_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page on history says: the copy has all runs and values, and runs go on in it."""
    page = (Path(__file__).parents[1] / "notebooks" / "history.md").read_text()
    example = page.split("## A copy of the file")[1].split("```python")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    with flow_with_runs("workflows.db") as flow:
        flow.runs()
        exec(example, {})
        with DagFlow("copy.db", echo=False) as copy:
            assert [*copy.runs().index] == [*flow.runs().index]
            assert copy.get("old").outputs["n"]["big"] == flow.get("old").outputs["n"]["big"]
            assert copy.get("new").status == "completed"
    assert not [*tmp_path.glob("*-wal")]
