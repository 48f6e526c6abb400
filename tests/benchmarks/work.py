"""Counted work: how many function calls a node takes, which is the same from run to run.

    python -m tests.benchmarks.work [--update]

Calls of Python and of C functions, on the loop that drives a run in memory, and in the thread that then
brings it into the database. `test_work.py` fails where a count has grown by more than a tenth beyond
`work.json`, which `--update` writes anew; counts differ between versions of Python.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from dagflow_nb import DagConfig, NodeCompleted, NodeSpec, Workflow
from dagflow_nb.hooks import make_hook
from dagflow_nb.runtime.session import Session
from tests.benchmarks.workloads import PARALLEL, Work

FILE = Path(__file__).with_name("work.json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SHAPES = {"chain": "W1", "fan-out": "W2", "layers": "W3", "growth": "W4a", "growth by def": "W4"}
NODES = 200


class Calls:
    """Counts the calls that are made on this thread inside of a `with` block."""

    def __init__(self) -> None:
        self.count = 0

    def _look(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" or event == "c_call":
            self.count += 1

    def __enter__(self) -> Calls:
        gc.disable()  # what is collected meanwhile may have finalizers
        sys.setprofile(self._look)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        gc.enable()


async def _count(work: Work) -> dict[str, float]:
    session = Session(
        ":memory:", config=DagConfig(max_parallel_nodes=PARALLEL, max_iterations=None), echo=False
    )

    async def step() -> dict[str, object]:
        return work.done()

    def decide(event: NodeCompleted) -> NodeSpec | None:
        if work.executed < work.nodes:
            return NodeSpec("step", id=f"n{work.executed}")
        return None

    async def grow(event: NodeCompleted) -> NodeSpec | None:
        return NodeSpec("step", id=f"n{work.executed}") if work.executed < work.nodes else None

    session.registry.register(step)
    workflow = Workflow("counted")
    if work.grows:
        session.hooks.add(make_hook(decide if work.workload == "W4" else grow, kinds=(NodeCompleted,)))
        workflow.add("step", id="n0")
    else:
        for i, deps in enumerate(work.graph):
            workflow.add("step", id=f"n{i}", after=[f"n{dep}" for dep in deps])
    session.add_workflow(workflow)
    found: dict[str, float] = {}
    for _ in range(2):  # the first run fills caches
        work.executed = 0
        begin, loop, store = Calls(), Calls(), Calls()
        with begin:
            coordinator = await session.begin(session.prepare("counted"), run_id=None, hold=True)
        with loop:
            coordinator.go()
            await coordinator.done
        assert work.executed == work.nodes
        writer = await session.open()
        with store:
            # on this thread, which is the main one here, so that its calls can be counted
            writer._writer._drain(-1)
        found = {
            "begin": round(begin.count / work.nodes, 1),
            "loop": round(loop.count / work.nodes, 1),
            "store": round(store.count / work.nodes, 1),
        }
    await session.close()
    return found


def counts() -> dict[str, dict[str, float]]:
    """Calls a node: shape -> stage (beginning, loop, store)."""
    return {shape: asyncio.run(_count(Work(workload, NODES))) for shape, workload in SHAPES.items()}


def recorded() -> dict[str, dict[str, float]] | None:
    """The counts that were written down for this version of Python."""
    known: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return known.get(VERSION)


def main(arguments: list[str] | None = None) -> None:
    """Count, print a table, and with `--update` write the counts down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the counts down for this Python")
    chosen = parser.parse_args(arguments)
    found = counts()
    before = recorded() or {}
    print(f"| calls a node, Python {VERSION} | beginning | loop | store |\n|---|---|---|---|")
    for shape, stages in found.items():
        cells = [
            f"{count}"
            + (f" (was {old})" if (old := before.get(shape, {}).get(stage)) not in (None, count) else "")
            for stage, count in stages.items()
        ]
        print(f"| {shape} | " + " | ".join(cells) + " |")
    if chosen.update:
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(json.dumps({**known, VERSION: found}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
