"""Several processes that write runs into one file at once, while others look.

Small in the suite; in full with `DAGFLOW_PROCESSES=8x500 pytest tests/test_many_processes.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas  # noqa: F401  # what frames are made of: a look must not wait for it

from dagflow_nb import DagFlow
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
