"""The guard: a node does not take more function calls than were written down, give or take a tenth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import work
from tests.benchmarks.nodes import main as nodes
from tests.benchmarks.workloads import Work

ROOT = Path(__file__).parent.parent.parent


def test_a_node_takes_no_more_calls_than_were_written_down() -> None:
    """On the loop, in the store and at the beginning: at most a tenth more than in `work.json`."""
    known = work.recorded()
    if known is None:
        pytest.skip(f"no counts for Python {work.VERSION}: python -m tests.benchmarks.work --update")
    found = work.counts()
    grown = {
        (shape, stage): (known[shape][stage], count)
        for shape, stages in found.items()
        for stage, count in stages.items()
        if count > known[shape][stage] * 1.1 + 1
    }
    assert not grown, (
        "more calls a node than before; if that is meant: python -m tests.benchmarks.work --update"
    )


def test_counts_are_the_same_from_run_to_run() -> None:
    """Two counts of the same work differ by less than a hundredth: the guard does not cry wolf."""
    first, second = work.counts(), work.counts()
    for shape, stages in first.items():
        for stage, count in stages.items():
            assert abs(second[shape][stage] - count) <= max(1.0, count / 100), (shape, stage)


def test_the_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every case runs every node of a small graph, and the table has a line for each."""
    found = nodes(["--workloads", "W2", "--rounds", "1", "--nodes", "20", "--cases", "asyncio", "file"])
    assert set(found) == {"asyncio", "file"} and all(row["W2"] > 0 for row in found.values())
    assert capsys.readouterr().out.count("\n") == 4


def test_growth_ends_at_the_same_size() -> None:
    """What grows has as many nodes as the others."""
    assert Work("W4", 30).nodes == Work("W1", 30).nodes == 30


def test_an_unknown_benchmark_is_named() -> None:
    """The command says which benchmarks there are."""
    command = [sys.executable, "-m", "tests.benchmarks", "nodse"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "nodes" in done.stderr
