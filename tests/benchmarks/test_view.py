"""The benchmark of the view itself works; what it measures is never asserted."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_benchmark_measures_runs_with_and_without_a_view() -> None:
    """A kernel runs the graph in memory and on file, with a view and without, and messages are counted."""
    path = Path(__file__).with_name("view.py")
    spec = importlib.util.spec_from_file_location("benchmark_view", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.STILL = 0.2  # so few nodes are soon drawn
    found = module.main(["--nodes", "20", "--rounds", "1", "--no-browser", "--json"])["cost"]
    assert found["memory"]["with_s"] > 0 and found["file"]["ratio"] > 0
    assert found["messages_a_run"] > 1 and found["bytes_a_run"] > 1000
