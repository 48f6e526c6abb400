"""What a finished no-op node takes: in memory while its run is there, and on disk.

    python -m tests.benchmarks.storage [--nodes 10000]

Memory: what Python has allocated more after the run than before it, by `tracemalloc`. Disk: the file after
the flow is closed. A chain whose nodes return two small values.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import tracemalloc
from pathlib import Path

from tests.benchmarks.workloads import Work, flow_for


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure, print a table, and return it: what -> bytes a node."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=10_000)
    chosen = parser.parse_args(arguments)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.db"
        for what, database in (("held, run in memory", ":memory:"), ("held, run on file", str(path))):
            work = Work("W1", chosen.nodes)
            flow = flow_for(work, database)
            gc.collect()
            tracemalloc.start()
            run = flow.run("bench", view=False)
            gc.collect()
            found[what] = tracemalloc.get_traced_memory()[0] / work.nodes
            tracemalloc.stop()
            assert run.success and work.executed == work.nodes
            del run
            flow.close()
        found["on disk"] = path.stat().st_size / chosen.nodes
    print("| a finished no-op node | bytes |\n|---|---|")
    for what, size in found.items():
        print(f"| {what} | {size:,.0f} |")
    return found


if __name__ == "__main__":
    main()
