"""What finding known results costs: hashing a big frame, and a hit beside a no-op node.

    python tests/benchmarks/hashing.py [--gigabytes 1] [--nodes 1000] [--rounds 5]

The frame's digest is timed beside the bare hash of as many bytes in one piece (XXH3, the fastest that there
is as a well-kept package) and beside the fastest of the standard library. A hit is a node whose action has
`cache=True`, one small input and a known result; the no-op node is the same one without `cache=`, which
runs. The cases take turns, so that a machine whose speed drifts treats them alike; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from xxhash import xxh3_128

from dagflow_nb import DagConfig, DagFlow, Workflow
from dagflow_nb.fingerprint import content


def frames(size: int) -> dict[str, pd.DataFrame]:
    """Frames of about `size` bytes: of one dtype, and of several."""
    rows = size // (20 * 8)
    numbers = np.random.default_rng(0).random((rows, 20))
    one = pd.DataFrame({f"c{i}": numbers[:, i] for i in range(20)})
    several = one.assign(
        **{f"c{i}": one[f"c{i}"].mul(1e6).astype("int64") for i in range(5)},
        c19=pd.date_range("2024-01-01", periods=rows, freq="s"),
    )
    return {"numbers": one, "several dtypes": several}


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def hashing(size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds a gigabyte, and the ratio to the bare hash of the same bytes, by frame."""
    found = {}
    for name, frame in frames(size).items():
        total = int(frame.memory_usage(index=False).sum())
        piece = np.random.default_rng(1).integers(0, 256, total, dtype=np.uint8)
        times: dict[str, list[float]] = {"bytes": [], "frame": []}
        for _ in range(rounds):
            times["bytes"].append(seconds(lambda: xxh3_128(piece).digest()))  # noqa: B023
            times["frame"].append(seconds(lambda: content(frame)))  # noqa: B023
        standard = seconds(lambda: hashlib.sha256(piece[: total // 8]).digest()) * 8  # noqa: B023
        bare, own = statistics.median(times["bytes"]), statistics.median(times["frame"])
        found[name] = {
            "bytes": bare / total * 1e9,
            "frame": own / total * 1e9,
            "ratio": own / bare,
            "sha256": standard / total * 1e9,
        }
    return found


class Case:
    """Nodes in a row, with or without `cache=`, run again and again."""

    def __init__(self, database: str, nodes: int, cache: bool | None) -> None:
        self.flow = DagFlow(database, config=DagConfig(max_parallel_nodes=64), echo=False)

        @self.flow.action(cache=cache)
        async def step(n: int) -> dict[str, Any]:
            return {"node": n, "ok": True}

        workflow = Workflow("bench")
        for i in range(nodes):
            workflow.add(step, id=f"n{i}", after=[f"n{i - 1}"] if i else [], n=i)
        self.flow.add_workflow(workflow)

    async def run(self) -> None:
        """Run once."""
        self.last = await self.flow.run_async("bench", view=False)

    def found(self) -> int:
        """How many nodes of the last run were found."""
        return sum(node.status == "cached" for node in self.last.snapshot().nodes)


def hits(nodes: int, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds a no-op node, a hit, and a miss (computed, and kept); the ratio of a hit to a no-op."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for where in ("memory", "file"):
            path = str(Path(folder) / "{}.db") if where == "file" else ":memory:"
            cases = {
                "no-op": Case(path.format("noop"), nodes, None),
                "hit": Case(path.format("hit"), nodes, True),
            }
            first = measure(cases["hit"].run)
            assert cases["hit"].found() == 0
            asyncio.run(cases["no-op"].run())
            times: dict[str, list[float]] = {name: [] for name in cases}
            for _ in range(rounds):
                for name, case in cases.items():
                    times[name].append(measure(case.run))
                    assert case.found() == (nodes if name == "hit" else 0)
            medians = {name: statistics.median(t) / nodes * 1e6 for name, t in times.items()}
            ratio = medians["hit"] / medians["no-op"]
            found[where] = {**medians, "miss": first / nodes * 1e6, "ratio": ratio}
            for case in cases.values():
                case.flow.close()
    return found


def measure(make: Callable[[], Awaitable[None]]) -> float:
    """Seconds that one run takes."""

    async def timed() -> float:
        begin = time.perf_counter()
        await make()
        return time.perf_counter() - begin

    return asyncio.run(timed())


def main(arguments: list[str] | None = None) -> dict[str, dict[str, dict[str, float]]]:
    """Measure, print tables, and return them: `{"hashing": ..., "hits": ...}`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    chosen = parser.parse_args(arguments)
    results = {
        "hashing": hashing(int(chosen.gigabytes * 1e9), chosen.rounds),
        "hits": hits(chosen.nodes, chosen.rounds),
    }
    if chosen.json:
        print(json.dumps(results))
        return results
    print(f"hashing a frame of {chosen.gigabytes:g} GB: seconds a gigabyte (median of {chosen.rounds})")
    for name, row in results["hashing"].items():
        print(
            f"  {name:15s} frame {row['frame']:.3f}  its bytes {row['bytes']:.3f} ({row['ratio']:.2f}x)  "
            f"sha256 {row['sha256']:.3f}"
        )
    print(f"{chosen.nodes} nodes in a row: microseconds a node (median of {chosen.rounds})")
    for name, row in results["hits"].items():
        print(
            f"  {name:15s} no-op {row['no-op']:7.1f}  hit {row['hit']:7.1f} ({row['ratio']:.2f}x)  "
            f"computed and kept {row['miss']:7.1f}"
        )
    return results


if __name__ == "__main__":
    main()
