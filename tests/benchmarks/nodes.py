"""What a node costs beside plain asyncio, in one process: no-op nodes in four shapes, in memory and on file.

    python tests/benchmarks/nodes.py [--nodes 1000] [--rounds 5]

Plain asyncio runs the same graph with one task a node and a counter of unmet dependencies, and stores
nothing. The cases take turns, so that a machine whose speed drifts treats them alike; medians are
printed in microseconds a node, and as a ratio to plain asyncio. Definition is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from dagflow_nb import DagConfig, DagFlow, NodeSpec, Workflow

PARALLEL = 64
Graph = list[list[int]]


def shapes(n: int) -> dict[str, Graph]:
    """The dependencies of each node, by shape; growth is not known up front."""
    random_layers = random.Random(7)
    width = max(3, n // 20)
    layers = [
        []
        if i < width
        else sorted(random_layers.sample(range(i // width * width - width, i // width * width), 3))
        for i in range(n)
    ]
    return {
        "chain": [[i - 1] if i else [] for i in range(n)],
        "fan-out": [[], *[[0]] * (n - 2), list(range(1, n - 1))],
        "layers": layers,
        "growth": [[i - 1] if i else [] for i in range(n)],
    }


async def plain(graph: Graph) -> None:
    """The same graph with nothing but asyncio."""
    followers: list[list[int]] = [[] for _ in graph]
    waiting = [len(deps) for deps in graph]
    for i, deps in enumerate(graph):
        for dep in deps:
            followers[dep].append(i)
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    outputs: dict[int, dict[str, object]] = {}
    tasks: set[asyncio.Task[None]] = set()

    async def node(i: int) -> None:
        outputs[i] = {"node": i, "ok": True}
        for follower in followers[i]:
            waiting[follower] -= 1
            if not waiting[follower]:
                start(follower)
        if len(outputs) == len(graph):
            finished.set_result(None)

    def start(i: int) -> None:
        task = loop.create_task(node(i))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for i, count in enumerate(list(waiting)):
        if not count and not graph[i]:
            start(i)
    await finished


class Case:
    """One flow with one graph, run again and again."""

    def __init__(self, shape: str, graph: Graph, database: str) -> None:
        self.executed = 0
        self.nodes = len(graph)
        config = DagConfig(max_parallel_nodes=PARALLEL, max_iterations=None)
        self.flow = DagFlow(database, config=config, echo=False)

        @self.flow.action
        async def step() -> dict[str, object]:
            self.executed += 1
            return {"node": self.executed, "ok": True}

        workflow = Workflow("bench")
        if shape == "growth":
            workflow.add(step, id="n0")

            @self.flow.on_completed
            async def grow(event: object) -> NodeSpec | None:
                return NodeSpec("step", id=f"n{self.executed}") if self.executed < self.nodes else None
        else:
            for i, deps in enumerate(graph):
                workflow.add(step, id=f"n{i}", after=[f"n{dep}" for dep in deps])
        self.flow.add_workflow(workflow)

    async def run(self) -> None:
        """Run once; every node must have been executed."""
        self.executed = 0
        await self.flow.run_async("bench", view=False)
        assert self.executed == self.nodes, f"{self.executed} of {self.nodes} nodes were executed"


def measure(make: Callable[[], Awaitable[None]]) -> float:
    """Seconds that one run takes."""

    async def timed() -> float:
        begin = time.perf_counter()
        await make()
        return time.perf_counter() - begin

    return asyncio.run(timed())


def main(arguments: list[str] | None = None) -> dict[str, dict[str, dict[str, float]]]:
    """Measure all cases, print a table, and return it: shape -> case -> microseconds a node and ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args(arguments)
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for shape, graph in shapes(chosen.nodes).items():
            cases = {
                "memory": Case(shape, graph, ":memory:"),
                "file": Case(shape, graph, str(Path(folder) / f"{shape}.db")),
            }
            times: dict[str, list[float]] = {"asyncio": [], **{name: [] for name in cases}}
            for _ in range(chosen.rounds):
                times["asyncio"].append(measure(lambda graph=graph: plain(graph)))  # type: ignore[misc]  # the default binds the loop's variable
                for name, case in cases.items():
                    times[name].append(measure(case.run))
            base = statistics.median(times["asyncio"])
            results[shape] = {
                name: {
                    "us_per_node": statistics.median(found) / chosen.nodes * 1e6,
                    "ratio": statistics.median(found) / base,
                }
                for name, found in times.items()
            }
            for case in cases.values():
                case.flow.close()
    if chosen.json:
        print(json.dumps(results))
    else:
        print(
            f"{chosen.nodes} nodes, median of {chosen.rounds} rounds: microseconds a node (ratio to asyncio)"
        )
        for shape, row in results.items():
            cells = "  ".join(
                f"{name} {v['us_per_node']:7.1f} ({v['ratio']:5.1f}x)" for name, v in row.items()
            )
            print(f"{shape:8s}  {cells}")
    return results


if __name__ == "__main__":
    main()
