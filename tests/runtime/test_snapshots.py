"""Snapshots of runs that are under way, and what is written with them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow, Workflow
from tests.flows import rows, states
from tests.store.helpers import query


def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    "held_back",
    [{"durability": "exit"}, {"enable_incremental_cache": False}, {"durability": "async"}],
    ids=["exit", "not incremental", "async"],
)
def test_a_snapshot_brings_everything_to_disk(tmp_path: Path, held_back: dict[str, Any]) -> None:
    """What durability holds back is in the file with the next snapshot, which says how each node stands;
    the next one takes its place."""
    path, gate = tmp_path / "x.db", threading.Event()
    with DagFlow(path, echo=False, config={"cache_snapshot_interval": 0.05, **held_back}) as flow:

        @flow.action
        def first() -> int:
            return 41

        @flow.action
        def second(v: int) -> int:
            gate.wait(20)
            return v + 1

        wf = Workflow("w")
        wf.add("second", id="b", v=wf.add("first", id="a")["result"])
        run = flow.start(wf, run_id="r", view=False)
        try:
            until(
                lambda: query(path, 'select count(*) from snapshots where data like \'%"b": "running"%\'')[0][
                    0
                ]
            )
            ((taken, data),) = query(path, "select taken_at, data from snapshots where kind = 'execution'")
            assert json.loads(data) == {
                "run_id": "r",
                "status": "running",
                "nodes": {"a": "completed", "b": "running"},
            }
            assert query(path, "select value from artifacts where namespace = 'a'") == [(b"41",)]
            assert query(path, "select status from node_runs where node_id = 'a'") == [("completed",)]
            until(lambda: query(path, "select taken_at > ? from snapshots", taken) == [(1,)])
        finally:
            gate.set()
        assert run.wait(20).result == 42
        assert query(path, "select count(*) from snapshots") == [(1,)]


@pytest.mark.parametrize(
    ("config", "written"),
    [
        ({"enable_incremental_cache": False}, False),
        ({"durability": "exit"}, False),
        ({"enable_incremental_cache": False, "durability": "sync"}, True),
        ({"enable_incremental_cache": True}, True),
    ],
)
def test_results_are_written_as_they_arrive_or_later(
    tmp_path: Path, config: dict[str, Any], written: bool
) -> None:
    """Without the incremental cache a result waits for a snapshot, a pause, the end or a look at it, but
    not with `"sync"`; interval 0 means no snapshots."""
    path, gate, begun = tmp_path / "x.db", threading.Event(), threading.Event()
    with DagFlow(path, echo=False, config={"cache_snapshot_interval": 0, **config}) as flow:

        @flow.action
        def first() -> int:
            return 41

        @flow.action
        def second(v: int) -> int:
            begun.set()
            gate.wait(20)
            return v + 1

        wf = Workflow("w")
        wf.add("second", id="b", v=wf.add("first", id="a")["result"])
        run = flow.start(wf, view=False)
        assert begun.wait(20)
        try:
            if written:
                until(lambda: query(path, "select count(*) from artifacts") == [(1,)])
            else:
                time.sleep(0.05)
                assert query(path, "select count(*) from artifacts") == [(0,)]
                # who asks in this session sees it all the same, and from then on it is in the file
                assert states(run) == {"a": "completed", "b": "running"}
                assert run.cache()["value"].tolist() == [41] and run.attempts().shape[0] == 2
                assert flow.runs()["status"].tolist() == ["running"]
                assert query(path, "select count(*) from artifacts") == [(1,)]
        finally:
            gate.set()
        run.wait(20)
        assert rows(flow, "select value from artifacts order by namespace") == [(b"41",), (b"42",)]
        assert rows(flow, "select count(*) from snapshots") == [(0,)]
