"""What the frames cost beside `pandas.read_sql` of the same rows, over a database of many runs.

    python tests/benchmarks/queries.py [--runs 1000] [--nodes 1000] [--limit 10000] [--rounds 5] [--json]

The database is written through the store into a temporary folder: each run has its row, its nodes with
one attempt each, and an event for each start and end. The cases take turns; medians are printed in
milliseconds, and as a ratio. The file is in the system's cache for both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from dagflow_nb import DagFlow
from dagflow_nb.codec import Codec
from dagflow_nb.store import Store, Unit

START = 1_700_000_000.0


async def write(path: Path, runs: int, nodes: int) -> None:
    """A database of so many completed runs of so many nodes."""
    store, codec = await Store.open(path), Codec()
    for r in range(runs):
        id, at = f"run-{r:06d}", START + 60.0 * r
        inputs = codec.dumps({"source": f"file-{r}.csv", "rows": r})
        row = {"run_id": id, "dag_name": f"flow-{r % 5}", "created_at": at, "inputs": inputs}
        await store.create_run(row)
        unit = Unit(id, run={"status": "completed", "started_at": at, "finished_at": at + 30.0})
        unit.run = {**(unit.run or {}), "nodes": nodes, "completed": nodes, "attempts": nodes}
        for n in range(nodes):
            node, action, deps = f"node-{n:05d}", f"action-{n % 20}", json.dumps([f"node-{n - 1:05d}"])
            begin, end = at + 0.01 * n, at + 0.01 * n + 0.005
            times = (begin - 0.001, begin, end)
            more = (None, None, deps if n else "[]", None, None, "action", 0.0, 0.0, "mapping", n + 1)
            unit.nodes[node] = (action, "completed", 1, *times, *more)
            unit.attempts.append((node, action, 1, "completed", begin, end, None, None))
            unit.events.append((2 * n + 1, begin, "NodeStarted", node, "{}"))
            unit.events.append((2 * n + 2, end, "NodeCompleted", node, "{}"))
        store.write(unit)
        await store.release(id)
    await store.close()


def cases(
    flow: DagFlow, path: Path, nodes: int, limit: int
) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Each frame, and how its rows are read by pandas alone."""

    def read(sql: str) -> Callable[[], Any]:
        def query() -> pd.DataFrame:
            with closing(sqlite3.connect(path)) as connection:
                return pd.read_sql(sql, connection)

        return query

    newest = f"select run_id from runs order by created_at desc limit {-(-limit // nodes)}"
    some = f"select * from {{}} where run_id in ({newest}) limit {limit}"
    return {
        "runs()": (flow.runs, read("select * from runs order by created_at desc")),
        "runs(limit=10)": (
            lambda: flow.runs(limit=10),
            read("select * from runs order by created_at desc limit 10"),
        ),
        f"nodes(limit={limit})": (
            lambda: flow.nodes(limit=limit),
            read(some.format("node_runs")),
        ),
        f"attempts(limit={limit})": (
            lambda: flow.attempts(limit=limit),
            read(some.format("attempts")),
        ),
        f"events(limit={limit})": (
            lambda: flow.events(limit=limit),
            read(some.format("events")),
        ),
    }


def main(args: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Measure, print, and return milliseconds and ratio of each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("runs", 1000), ("nodes", 1000), ("limit", 10_000), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(args)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.db"
        begun = time.perf_counter()
        asyncio.run(write(path, chosen.runs, chosen.nodes))
        made = f"{chosen.runs} runs of {chosen.nodes} nodes, {path.stat().st_size / 1e6:.0f} MB"
        made += f", written in {time.perf_counter() - begun:.0f} s"
        with DagFlow(path) as flow:
            todo = cases(flow, path, chosen.nodes, chosen.limit)
            times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in todo}
            for _ in range(chosen.rounds):
                for name, pair in todo.items():
                    for call, found in zip(pair, times[name], strict=True):
                        begun = time.perf_counter()
                        call()
                        found.append(time.perf_counter() - begun)
            for name, (ours, theirs) in times.items():
                a, b = statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3
                results[name] = {"ms": a, "read_sql_ms": b, "ratio": a / b}
    if chosen.json:
        print(json.dumps(results))
    else:
        print(f"{made}; median of {chosen.rounds} rounds in milliseconds, and beside pandas.read_sql")
        for name, row in results.items():
            print(f"{name:24s}  {row['ms']:8.1f}  {row['read_sql_ms']:8.1f}  ({row['ratio']:.2f}x)")
    return results


if __name__ == "__main__":
    main()
