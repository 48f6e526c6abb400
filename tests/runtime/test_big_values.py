"""Values that take long to store: the loop goes on meanwhile, and memory does not hold them twice."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dagflow_nb import DagFlow, SetNodeOutputs, Workflow, ref
from dagflow_nb.errors import DatabaseError
from dagflow_nb.store import Store

ROWS = 250_000
SIZE = ROWS * 80


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A frame of 20 MB."""
    return pd.DataFrame(np.arange(ROWS * 10.0).reshape(ROWS, 10), columns=list("abcdefghij"))


@pytest.mark.parametrize("kind", ["coroutine", "thread", "input"])
def test_a_big_frame_is_stored_without_a_copy_and_beside_the_loop(
    tmp_path: Path, frame: pd.DataFrame, kind: str
) -> None:
    """From a coroutine, a thread or as a run's input: less than half of it is ever allocated, and a
    coroutine of another run keeps beating."""
    lags: list[float] = []
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        async def beat() -> None:
            last = time.perf_counter()
            while True:
                await asyncio.sleep(0.001)
                now = time.perf_counter()
                lags.append(now - last)
                last = now

        @flow.action(name="coroutine")
        async def in_coroutine() -> dict[str, Any]:
            return {"frame": frame}

        @flow.action(name="thread")
        def in_thread() -> dict[str, Any]:
            return {"frame": frame}

        @flow.action(name="input")
        async def shape(frame: Any) -> int:
            return len(frame)

        hearts, wf = Workflow("hearts"), Workflow("big", inputs=["frame"] if kind == "input" else [])
        hearts.add("beat")
        if kind == "input":
            wf.add("input", id="n", frame=ref("inputs.frame"))
        else:
            wf.add(kind, id="n")
        heart = flow.start(hearts, view=False)
        flow.run(wf, {"frame": frame[:1]} if kind == "input" else None, view=False)  # imports are done
        lags.clear()
        tracemalloc.start()
        run = flow.run(wf, {"frame": frame} if kind == "input" else None, view=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        heart.cancel()
        assert peak < SIZE / 2
        # what it takes to encode, hash and write 20 MB is a multiple of this
        assert len(lags) > 10 and max(lags) < 0.5
        values = run.cache(values=False).set_index("key")["size_bytes"]
        assert values["frame"] > SIZE
        assert run.cache(key="frame")["value"][0].equals(frame)


def test_a_big_value_that_cannot_be_written_stops_the_run(
    tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk met by a thread that stores its value ends the run with `DatabaseError`; it can go on."""
    import sqlite3

    from dagflow_nb.store import sqlite

    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        def small() -> int:
            return 1

        @flow.action
        def big(n: int) -> dict[str, Any]:
            return {"frame": frame}

        wf = Workflow("w")
        wf.add("big", id="b", n=wf.add("small", id="a")["result"])

        def full(*args: Any) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "keep", full)
            with pytest.raises(DatabaseError, match="disk is full"):
                flow.run(wf, run_id="r", view=False)
        assert flow.get("r").outputs["a"]["result"] == 1
        assert flow.resume("r", view=False).outputs["b"]["frame"].equals(frame)


def test_a_big_value_given_from_outside_waits_for_no_writer(
    tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the coordinator takes a big output, nobody is waited for who may be waiting for it."""
    held: list[bool] = []
    keep = Store.keep

    def looking(store: Store, run_id: str, parts: Any) -> Any:
        def look() -> None:
            held.append(not store.taking.acquire(blocking=False))
            if not held[-1]:
                store.taking.release()

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return keep(store, run_id, parts)

    monkeypatch.setattr(Store, "keep", looking)
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        def load() -> dict[str, Any]:
            raise ValueError("no file")

        @flow.action
        def rows(frame: Any) -> int:
            return len(frame)

        flow.on_failed(lambda event: SetNodeOutputs(event.node.node_id, {"frame": frame}))
        wf = Workflow("w")
        wf.add("rows", frame=wf.add("load")["frame"])
        run = flow.run(wf, view=False)
        assert run.outputs["rows"]["result"] == ROWS
        assert run.cache(key="frame")["value"][0].equals(frame)
    assert not any(held)
