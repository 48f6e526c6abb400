"""What a node costs: `python -m tests.benchmarks [NAME ...]` runs the benchmarks of these names, or all.

Each module here that has a `main()` is one: it measures, prints a table, and asserts nothing.
`python -m tests.benchmarks.NAME --help` shows what it can be asked for.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = [p.stem for p in sorted(HERE.glob("*.py")) if not p.stem.startswith(("_", "test_"))]


def main(names: list[str]) -> int:
    """Run these benchmarks one after the other."""
    if unknown := [name for name in names if name not in NAMES]:
        print(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        if hasattr(module, "main"):
            print(f"== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
            module.main([])
            print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
