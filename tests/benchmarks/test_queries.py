"""The benchmark itself works; what it measures is never asserted."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_benchmark_reads_each_frame() -> None:
    """Over a small database each case is measured beside pandas alone."""
    path = Path(__file__).with_name("queries.py")
    spec = importlib.util.spec_from_file_location("benchmark_queries", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = module.main(["--runs", "5", "--nodes", "10", "--limit", "20", "--rounds", "1", "--json"])
    assert "nodes(limit=20)" in results and len(results) == 5
    assert all(row["ratio"] > 0 for row in results.values())
