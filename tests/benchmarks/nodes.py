"""Nodes that do nothing, beside plain asyncio: W1 to W6 in memory and on file, and the limits of SQLite.

    python -m tests.benchmarks.nodes [--workloads W1 W2 ...] [--cases memory file ...] [--rounds 3]

Each measurement is the first run in a process of its own, with the opening of its database; imports and the
definition of the workflow are not counted. Cases take turns, so that a machine whose speed drifts treats
them alike. Medians: microseconds a node, in brackets the ratio to plain asyncio; W5 is the whole run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.workloads import WORKLOADS, Work, flow_for, limit_aiosqlite, limit_sqlite, plain

ROOT = Path(__file__).parent.parent.parent
CASES = {
    "asyncio": "plain asyncio",
    "memory": "dagflow_nb, in memory",
    "file": 'dagflow_nb, durability="async"',
    "exit": 'dagflow_nb, durability="exit"',
    "sync": 'dagflow_nb, durability="sync"',
    "sqlite3": "asyncio + sqlite3, commit on the spot",
    "aiosqlite": "asyncio + aiosqlite, commit per node",
}
SLOW = ("sync", "sqlite3", "aiosqlite")  # not measured with 100,000 nodes unless asked for


async def measure(case: str, work: Work, folder: Path) -> float:
    """Seconds that one run takes in this process."""
    if case == "asyncio":
        begin = time.perf_counter()
        await plain(work)
        return time.perf_counter() - begin
    if case == "sqlite3":
        return await limit_sqlite(work, folder / "nodes.db")
    if case == "aiosqlite":
        return await limit_aiosqlite(work, folder / "nodes.db")
    durability = "async" if case in ("memory", "file") else case
    flow = flow_for(work, ":memory:" if case == "memory" else str(folder / "flow.db"), durability)
    begin = time.perf_counter()
    await flow.run_async("bench", view=False)
    seconds = time.perf_counter() - begin
    flow.close()
    return seconds


def child(case: str, workload: str, nodes: int | None) -> None:
    """Measure once and print the seconds."""
    work = Work(workload, nodes)
    with tempfile.TemporaryDirectory() as folder:
        seconds = asyncio.run(measure(case, work, Path(folder)))
    if work.executed != work.nodes:
        raise RuntimeError(f"{work.executed} of {work.nodes} nodes were executed")
    print(json.dumps({"seconds": seconds, "nodes": work.nodes}))


def once(case: str, workload: str, nodes: int | None) -> tuple[float, int]:
    """One measurement in a process of its own: (seconds, nodes)."""
    command = [sys.executable, "-m", "tests.benchmarks.nodes", "--child", case, workload, str(nodes or 0)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(f"{case} {workload}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["nodes"]


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Measure, print a table, and return it: case -> workload -> seconds a node (W5: of the run)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", nargs="*", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--cases", nargs="*", choices=CASES, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, help="instead of each workload's own number")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        case, workload, nodes = chosen.child
        child(case, workload, int(nodes) or None)
        return {}
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(chosen.rounds):
        for workload in chosen.workloads:
            for case in chosen.cases or CASES:
                if workload == "W6x" and case in SLOW and chosen.cases is None:
                    continue
                seconds, nodes = once(case, workload, chosen.nodes)
                times.setdefault((case, workload), []).append(
                    seconds if workload == "W5" else seconds / nodes
                )
    medians = {key: statistics.median(found) for key, found in times.items()}
    print("| | " + " | ".join(f"{w} {WORKLOADS[w][0]}" for w in chosen.workloads) + " |")
    print("|---" * (len(chosen.workloads) + 1) + "|")
    for case in chosen.cases or CASES:
        cells = []
        for workload in chosen.workloads:
            found, base = medians.get((case, workload)), medians.get(("asyncio", workload))
            if found is None:
                cells.append("")
                continue
            ratio = "" if base is None else f" ({found / base:.{2 if workload == 'W5' else 1}f}x)"
            cells.append(f"{found * 1e3:.0f} ms{ratio}" if workload == "W5" else f"{found * 1e6:.1f}{ratio}")
        print(f"| {CASES[case]} | " + " | ".join(cells) + " |")
    table: dict[str, dict[str, float]] = {}
    for (case, workload), seconds in medians.items():
        table.setdefault(case, {})[workload] = seconds
    return table


if __name__ == "__main__":
    main()
