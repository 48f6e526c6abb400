"""Flows that nobody closed and nobody has any more: what is under way ends, then their threads do."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow
from dagflow_nb.testing import Gate


def engines() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "dagflow-engine"}


def wait_for_the_end(threads: set[threading.Thread]) -> None:
    """Until the threads have ended, ten seconds at most."""
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        gc.collect()
        for thread in threads:
            thread.join(0.01)
    assert not any(thread.is_alive() for thread in threads)


def counted(database: str) -> tuple[DagFlow, Gate]:
    flow, gate = DagFlow(database, echo=False), Gate()

    @flow.action
    def count() -> dict[str, Any]:
        gate.hold()
        return {"rows": list(range(3000))}

    @flow.workflow
    def counting() -> Any:
        return count()

    return flow, gate


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_dropped_flow_ends_its_thread(where: str, tmp_path: Path) -> None:
    """Its thread and connections go with it, as with `close`; what was looked up can be read on."""
    before = engines()

    def use() -> Any:
        flow, gate = counted(":memory:" if where == "memory" else str(tmp_path / "flow.db"))
        gate.open()
        run_id = flow.run("counting", view=False).run_id
        flow._last = None
        gc.collect()  # so that the run is read from the database, bit by bit
        return flow.get(run_id).outputs, weakref.ref(flow)

    outputs, flow = use()
    wait_for_the_end(engines() - before)
    assert flow() is None
    assert len(outputs["count"]["rows"]) == 3000


def test_a_run_under_way_goes_on_when_its_flow_is_dropped(tmp_path: Path) -> None:
    """It runs to its end, which is stored; only then its thread ends."""
    before, path = engines(), str(tmp_path / "flow.db")

    def start() -> tuple[str, Gate]:
        flow, gate = counted(path)
        return flow.start("counting", view=False).run_id, gate

    run_id, gate = start()
    (mine,) = engines() - before
    gate.wait_for(1)
    gc.collect()
    assert mine.is_alive()
    gate.open()
    wait_for_the_end({mine})
    with DagFlow(path) as flow:
        run = flow.get(run_id)
        assert run.status == "completed" and len(run.outputs["count"]["rows"]) == 3000
