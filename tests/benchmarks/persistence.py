"""What it costs to keep a run: time and bytes of a no-op node at each durability level.

    python -m tests.benchmarks.persistence [--nodes 500] [--rounds 5]

The same graphs run without a file, at each durability level, and, where there is a virtual environment with
it, by LangGraph with its `AsyncSqliteSaver` (`--langgraph PYTHON`). The cases take turns; medians are
printed. `stored`: what the file has grown by once it is closed; `written`: what went through write calls,
the log included (Linux only).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dagflow_nb import DagFlow, Workflow
from tests.benchmarks.workloads import PARALLEL, Graph, graph_of

LEVELS = ("sync", "async", "exit")
SHAPES = {"chain": ("W1", 0), "fan-out": ("W2", 2)}  # the workload, and how many nodes it adds
# Reads a list of dependencies, prints what `Cost` holds. "add": outputs add up in the state, as its
# documentation shows it; "last": the state keeps the newest one only.
LANGGRAPH = """
import asyncio, json, operator, os, sys, tempfile, time
from typing import Annotated, TypedDict
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

def written():
    try:
        return int(open("/proc/self/io").read().split("wchar: ")[1].split()[0])
    except OSError:
        return 0

async def main():
    graph, keeps = json.load(sys.stdin), sys.argv[1]
    merge = operator.add if keeps == "add" else (lambda old, new: new)
    State = TypedDict("State", {"out": Annotated[list, merge]})
    builder = StateGraph(State)
    def node(i):
        async def step(state):
            return {"out": [{"node": i, "ok": True}]}
        return step
    for i, deps in enumerate(graph):
        builder.add_node(f"n{i}", node(i))
        before = [f"n{p}" for p in deps] or [START]
        builder.add_edge(before if len(before) > 1 else before[0], f"n{i}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.db")
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            await saver.setup()
            app = builder.compile(checkpointer=saver)
            config = {"configurable": {"thread_id": "1"}, "max_concurrency": 64}
            config["recursion_limit"] = len(graph) + 10
            before, start = written(), time.perf_counter()
            await app.ainvoke({"out": []}, config, durability="async")
            seconds, bytes_written = time.perf_counter() - start, written() - before
        print(json.dumps([seconds, os.path.getsize(path), bytes_written]))

asyncio.run(main())
"""


class Cost(NamedTuple):
    """Of a whole run: seconds, bytes the file has grown by, bytes that went through write calls."""

    seconds: float
    stored: int
    written: int


def bytes_written() -> int:
    """What this process has given to write calls until now; 0 where that is not told."""
    try:
        return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])
    except OSError:
        return 0


def of_dagflow(graph: Graph, durability: str | None) -> Cost:
    """A run of no-op coroutines; `durability=None`: without a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        level = durability or "async"
        flow = DagFlow(
            path if durability else ":memory:",
            echo=False,
            config={"durability": level, "max_parallel_nodes": PARALLEL},
        )

        @flow.action
        async def step(i: int) -> dict[str, object]:
            return {"node": i, "ok": True}

        wf = Workflow("graph")
        for i, deps in enumerate(graph):
            wf.add("step", id=f"n{i}", after=[f"n{d}" for d in deps], i=i)
        asyncio.run(_warm(flow))
        if durability:
            flow.runs()
        grown = path.stat().st_size if durability else 0
        before, start = bytes_written(), time.perf_counter()
        flow.run(wf, view=False)
        seconds, written = time.perf_counter() - start, bytes_written() - before
        flow.close()
        return Cost(seconds, path.stat().st_size - grown if durability else 0, written)


async def _warm(flow: DagFlow) -> None:
    wf = Workflow("warm")
    wf.add("step", id="n", i=0)
    await flow.run_async(wf, view=False)


def of_langgraph(python: Path, graph: Graph, keeps: str) -> Cost:
    """The same graph in a process of LangGraph's."""
    done = subprocess.run(
        [python, "-c", LANGGRAPH, keeps], input=json.dumps(graph), capture_output=True, text=True, check=True
    )
    return Cost(*json.loads(done.stdout))


def measure(nodes: int, rounds: int, python: Path | None) -> dict[str, dict[str, Cost]]:
    """Medians by shape and case."""
    found: dict[str, dict[str, Cost]] = {}
    for shape, (workload, more) in SHAPES.items():
        graph = graph_of(workload, nodes - more)
        cases: dict[str, Callable[[], Cost]] = {"in memory": lambda g=graph: of_dagflow(g, None)}  # type: ignore[misc]  # the default binds the loop's variable
        for level in LEVELS:
            cases[level] = lambda g=graph, at=level: of_dagflow(g, at)  # type: ignore[misc]  # the same
        if python is not None:
            for keeps in ("last", "add"):
                cases[f"langgraph, {keeps}"] = lambda g=graph, how=keeps: of_langgraph(python, g, how)  # type: ignore[misc]  # the same
        costs: dict[str, list[Cost]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, case in cases.items():
                costs[name].append(case())
        found[shape] = {
            name: Cost(*(statistics.median(column) for column in zip(*several, strict=True)))
            for name, several in costs.items()
        }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    venvs = Path(os.environ.get("ROOT", Path(tempfile.gettempdir()) / "bench-venvs"))
    parser.add_argument("--langgraph", type=Path, default=venvs / "langgraph" / "bin" / "python")
    given = parser.parse_args(argv)
    python = given.langgraph if given.langgraph.exists() else None
    for shape, cases in measure(given.nodes, given.rounds, python).items():
        print(f"{shape} of {given.nodes} no-op nodes, median of {given.rounds}; of each node:")
        for name, cost in cases.items():
            seconds, stored, written = (total / given.nodes for total in cost)
            print(f"  {name:18} {seconds * 1e6:8.0f} us {stored:9.0f} B stored {written:9.0f} B written")
    if python is None:
        print("langgraph: not installed")


if __name__ == "__main__":
    main()
