"""The graphs and actions that the benchmarks run, and the same graphs with nothing but asyncio and SQLite."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Graph = list[list[int]]
SLEEP, AT_ONCE, PARALLEL = 0.05, 50, 64
# name: (what it is, nodes)
WORKLOADS = {
    "W1": ("chain", 1000),
    "W2": ("1 -> n -> 1", 1000),
    "W3": ("layers of 50", 1000),
    "W4": ("growth, `def` hook", 1000),
    "W4a": ("growth, `async def` hook", 1000),
    "W5": ("sleeps of 50 ms, 50 at once", 200),
    "W6": ("1 -> n -> 1", 10_000),
    "W6x": ("1 -> n -> 1", 100_000),
}
_TABLE = "create table node (id integer primary key, state text, output text)"
_INSERT = "insert into node values (?, 'done', ?)"
PAD = "x" * 160


def graph_of(workload: str, n: int) -> Graph:
    """The dependencies of each node; those of a growing graph are known only to who measures."""
    if workload == "W1":
        return [[i - 1] if i else [] for i in range(n)]
    if workload in ("W2", "W6", "W6x"):
        return [[], *([0] for _ in range(n)), list(range(1, n + 1))]
    if workload == "W3":
        rng, width = random.Random(7), min(50, max(3, n // 4))
        return [
            sorted(rng.sample(range(i // width * width - width, i // width * width), 3)) if i >= width else []
            for i in range(n)
        ]
    if workload == "W5":
        return [*([] for _ in range(n)), list(range(n))]
    return [[i - 1] if i else [] for i in range(n)]


class Work:
    """One workload: its graph, and how many of its nodes have been executed."""

    def __init__(self, workload: str, n: int | None = None) -> None:
        self.workload = workload
        self.n = n or WORKLOADS[workload][1]
        self.graph = graph_of(workload, self.n)
        self.nodes, self.executed = len(self.graph), 0
        self.grows, self.sleeps = workload in ("W4", "W4a"), workload == "W5"

    def done(self, i: int = 0) -> dict[str, object]:
        """What every action returns; a run that leaves nodes out is told from one that is fast."""
        self.executed += 1
        return {"node": i, "ok": True}


async def plain(work: Work, stored: Callable[[int, Any], Awaitable[None]] | None = None) -> None:
    """One task a node and a counter of unmet dependencies; `stored(i, output)` is awaited in each."""
    loop, graph = asyncio.get_running_loop(), work.graph
    followers: list[list[int]] = [[] for _ in graph]
    waiting = [len(deps) for deps in graph]
    for i, deps in enumerate(graph):
        for dep in deps:
            followers[dep].append(i)
    finished, gate = loop.create_future(), asyncio.Semaphore(AT_ONCE)
    outputs: dict[int, Any] = {}
    tasks: set[asyncio.Task[None]] = set()

    async def action(i: int, inputs: list[Any]) -> dict[str, object]:
        if work.sleeps and i < work.n:
            async with gate:
                await asyncio.sleep(SLEEP)
        return work.done(i)

    async def node(i: int) -> None:
        outputs[i] = await action(i, [outputs[dep] for dep in graph[i]])
        if stored is not None:
            await stored(i, outputs[i])
        for follower in followers[i]:
            waiting[follower] -= 1
            if not waiting[follower]:
                start(follower)
        if work.executed == work.nodes:
            finished.set_result(None)

    def start(i: int) -> None:
        task = loop.create_task(node(i))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for i in [i for i, deps in enumerate(graph) if not deps]:
        start(i)
    await finished


def _row(i: int, output: dict[str, Any]) -> tuple[int, str]:
    return i, json.dumps({**output, "pad": PAD})


async def limit_sqlite(work: Work, path: Path) -> float:
    """Plain asyncio with a commit on the spot for each node; returns the seconds it took."""
    db = sqlite3.connect(path, isolation_level=None)
    for statement in ("pragma journal_mode=wal", "pragma synchronous=normal", _TABLE):
        db.execute(statement)

    async def stored(i: int, output: Any) -> None:
        db.execute("begin")
        db.execute(_INSERT, _row(i, output))
        db.execute("commit")

    begin = time.perf_counter()
    await plain(work, stored)
    seconds = time.perf_counter() - begin
    db.close()
    return seconds


async def limit_aiosqlite(work: Work, path: Path) -> float:
    """The same through aiosqlite: three hops to its thread and back for each node."""
    import aiosqlite

    async with aiosqlite.connect(path, isolation_level=None) as db:
        for statement in ("pragma journal_mode=wal", "pragma synchronous=normal", _TABLE):
            await db.execute(statement)
        lock = asyncio.Lock()

        async def stored(i: int, output: Any) -> None:
            async with lock:
                await db.execute("begin")
                await db.executemany(_INSERT, [_row(i, output)])
                await db.execute("commit")

        begin = time.perf_counter()
        await plain(work, stored)
        return time.perf_counter() - begin


def flow_for(work: Work, database: str, durability: str = "async", *, threads: bool = False) -> Any:
    """A `DagFlow` with the workload as its workflow "bench"; close it."""
    import dagflow_nb as d

    parallel = AT_ONCE if work.sleeps else PARALLEL
    config = d.DagConfig(max_parallel_nodes=parallel, max_iterations=None, durability=durability)
    flow = d.DagFlow(database, config=config, echo=False)

    if threads:

        @flow.action(name="step")
        def step() -> dict[str, object]:
            return work.done()

    elif work.sleeps:

        @flow.action(name="step")
        async def sleeping() -> dict[str, object]:
            await asyncio.sleep(SLEEP)
            return work.done()

    else:

        @flow.action(name="step")
        async def quick() -> dict[str, object]:
            return work.done()

    @flow.action
    async def join() -> dict[str, object]:
        return work.done()

    workflow = d.Workflow("bench")
    if work.grows:
        workflow.add("step", id="n0")

        def grow(ctx: Any, event: Any) -> Any:
            if work.executed < work.nodes:
                return d.NodeSpec("step", id=f"n{work.executed}", deps=[event.node.node_id])
            return None

        async def grow_async(ctx: Any, event: Any) -> Any:
            return grow(ctx, event)

        flow.on_completed(grow_async if work.workload == "W4a" else grow)
    else:
        for i, deps in enumerate(work.graph):
            last = work.sleeps and i == work.n
            workflow.add("join" if last else "step", id=f"n{i}", after=[f"n{dep}" for dep in deps])
    flow.add_workflow(workflow)
    return flow
