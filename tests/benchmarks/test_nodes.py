"""The benchmark itself works; what it measures is never asserted."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_benchmark_runs_every_shape_to_its_end() -> None:
    """Each shape is run by plain asyncio, in memory and on file, and every node is executed."""
    path = Path(__file__).with_name("nodes.py")
    spec = importlib.util.spec_from_file_location("benchmark_nodes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = module.main(["--nodes", "60", "--rounds", "1", "--json"])
    assert set(results) == {"chain", "fan-out", "layers", "growth"}
    assert all(set(row) == {"asyncio", "memory", "file"} for row in results.values())
