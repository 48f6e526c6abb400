"""Several processes that write runs into one file at once, while others look.

Small in the suite; in full with `DAGFLOW_PROCESSES=8x500 pytest tests/test_many_processes.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  # what frames are made of: a look must not wait for it
import pytest

from dagflow_nb import DagFlow, InvalidState, Run, SetNodeInputs
from tests.store.helpers import query

PROCESSES, NODES = map(int, os.environ.get("DAGFLOW_PROCESSES", "4x60").split("x"))
WRITER = """
import sys
from dagflow_nb import DagFlow, Workflow
path, name, nodes = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with DagFlow(path, echo=False) as flow:
    @flow.action
    def first(i: int) -> dict:
        print("in", i)
        return {"v": i, "text": "x" * (i % 50 * 200)}
    @flow.action
    async def second(v: int) -> int:
        return v + 1
    wf = Workflow(name)
    for i in range(nodes // 2):
        wf.add("second", id=f"b{i}", v=wf.add("first", id=f"a{i}", i=i)["v"])
    run = flow.run(wf, view=False)
    assert run.status == "completed"
"""


def test_processes_write_one_file_at_once_while_others_look(tmp_path: Path) -> None:
    """Nobody ever finds the file locked: all runs end, and each look at it is a run or part of one."""
    path = tmp_path / "shared.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen(
            [*command, f"flow{i}", str(NODES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdin is not None
        assert writer.stdout.readline() == "ready\n"
    started, looks = time.perf_counter(), 0
    for writer in writers:
        assert writer.stdin is not None
        print(file=writer.stdin, flush=True)
    with DagFlow(path, echo=False) as flow:
        while any(writer.poll() is None for writer in writers):
            runs, nodes = flow.runs(), flow.nodes()
            assert set(runs["status"]) <= {"pending", "running", "completed"}
            assert len(nodes) <= PROCESSES * NODES
            flow.cache(values=False)
            flow.events(limit=50)
            flow.logs(limit=50)
            looks += 1
        took = time.perf_counter() - started
        for writer in writers:
            _, said = writer.communicate()
            assert writer.returncode == 0 and not said, said
        runs = flow.runs()
        assert list(runs["status"]) == ["completed"] * PROCESSES
        assert list(runs["completed"]) == [NODES] * PROCESSES
        assert len(flow.nodes(status="completed")) == PROCESSES * NODES and looks > 0
        assert len(flow.logs()) == PROCESSES * (NODES // 2)
    assert query(path, "pragma integrity_check") == [("ok",)]
    print(f"{PROCESSES} processes x {NODES} nodes in {took:.1f} s, {looks} looks at the frames meanwhile")


DRIVER = """
import os, sys
from dagflow_nb import DagFlow, Workflow
with DagFlow(sys.argv[1], echo=False) as flow:
    @flow.action
    def wait() -> int:
        os.write(1, b"ready\\n")  # what it prints is captured
        sys.stdin.readline()
        return 1
    wf = Workflow("w")
    wf.add("wait", id="a")
    wf.add("wait", id="b", after=["a"])
    assert flow.run(wf, run_id="theirs", view=False).status == "completed"
"""
CONTROLS: list[Callable[[DagFlow, Run], Any]] = [
    lambda flow, run: run.pause(),
    lambda flow, run: run.pause("b"),
    lambda flow, run: run.cancel(),
    lambda flow, run: run.cancel("b"),
    lambda flow, run: run.resume(),
    lambda flow, run: run.approve(),
    lambda flow, run: run.retry(),
    lambda flow, run: run.apply(SetNodeInputs("b", {})),
    lambda flow, run: flow.resume("theirs", view=False),
    lambda flow, run: flow.retry("theirs", view=False),
    lambda flow, run: flow.delete_runs("theirs"),
]


def test_a_run_of_another_process_is_controlled_there(tmp_path: Path) -> None:
    """Whatever would change it is refused, naming the process and the way out, and leaves it alone; it can be
    waited for."""
    path = tmp_path / "shared.db"
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None and driver.stdin is not None
        assert driver.stdout.readline() == "ready\n"
        try:
            with DagFlow(path, echo=False) as flow:
                flow.action(name="wait")(lambda: 2)
                run = flow.get("theirs")
                for control in CONTROLS:
                    with pytest.raises(InvalidState, match=f"process {driver.pid} on ") as caught:
                        control(flow, run)
                    assert "only that process can pause it, cancel it or change it" in str(caught.value)
                    assert "flow.resume('theirs')" in str(caught.value) and caught.value.culprit == "theirs"
                assert run.status == "running" and not flow._session.live
                driver.stdin.write("\n\n")
                driver.stdin.flush()
                assert run.wait(60).outputs["b"]["result"] == 1
            assert driver.wait(60) == 0
        finally:
            driver.kill()
