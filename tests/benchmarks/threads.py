"""`def` actions, which run in threads, beside `loop.run_in_executor` alone.

    python -m tests.benchmarks.threads [--nodes 1000] [--rounds 5]

1,000 independent calls, 64 at once, in one process, in turns; medians, in microseconds a call.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.workloads import PARALLEL, Work, flow_for


async def plain(work: Work, pool: ThreadPoolExecutor) -> None:
    """The same calls with nothing around them: a task each, and a semaphore."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(PARALLEL)

    async def call(i: int) -> None:
        async with gate:
            await loop.run_in_executor(pool, work.done, i)

    await asyncio.gather(*(call(i) for i in range(work.nodes)))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure, print a table, and return it: what -> seconds a call."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    work = Work("W2", chosen.nodes)
    flow = flow_for(work, ":memory:", threads=True)
    times: dict[str, list[float]] = {"run_in_executor": [], "dagflow_nb, in memory": []}
    with ThreadPoolExecutor(PARALLEL) as pool:
        for _ in range(chosen.rounds):
            for what, found in times.items():
                work.executed = 0
                run = plain(work, pool) if what == "run_in_executor" else flow.run_async("bench", view=False)

                async def timed(run: object = run) -> float:
                    begin = time.perf_counter()
                    await run  # type: ignore[misc]  # one of the two
                    return time.perf_counter() - begin

                found.append(asyncio.run(timed()) / work.nodes)
    flow.close()
    medians = {what: statistics.median(found) for what, found in times.items()}
    print("| `def` actions in threads | us a call |\n|---|---|")
    for what, share in medians.items():
        print(f"| {what} | {share * 1e6:.1f} ({share / medians['run_in_executor']:.1f}x) |")
    return medians


if __name__ == "__main__":
    main()
