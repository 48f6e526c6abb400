"""The benchmark itself works; what it measures is never asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import persistence


def test_the_benchmark_measures_each_level(capsys: pytest.CaptureFixture[str]) -> None:
    """With few nodes it prints a line for each case, and says what is not installed."""
    persistence.main(["--nodes", "20", "--rounds", "1", "--langgraph", str(Path("nowhere") / "python")])
    said = capsys.readouterr().out
    for shape in persistence.SHAPES:
        assert f"{shape} of 20 no-op nodes" in said
    assert all(said.count(f"  {level} ") == 2 for level in ("in memory", *persistence.LEVELS))
    assert said.endswith("langgraph: not installed\n")
    costs = persistence.of_dagflow([[]], "sync")
    assert costs.seconds > 0 and costs.stored >= 0
