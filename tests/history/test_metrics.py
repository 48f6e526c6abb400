"""Metrics: sums over runs, and what one run did with its time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dagflow_nb import DagFlow, NodeCtx, NodeRetrying, RetryStrategy, Workflow
from dagflow_nb.errors import ValidationError
from dagflow_nb.history.metrics import critical_path, failure_type
from tests.flows import still_clock


def timed(id: str, begin: float | None, end: float | None, *deps: str, **more: Any) -> Any:
    """A node as `critical_path` looks at it."""
    spec = SimpleNamespace(deps=deps, parent=more.pop("parent", None))
    fields = {"children": (), "is_group": False, "added_by": None, **more}
    return SimpleNamespace(id=id, spec=spec, started_at=begin, finished_at=end, **fields)


def path(*nodes: Any) -> list[str]:
    return critical_path({node.id: node for node in nodes})


def test_the_critical_path() -> None:
    """From the last end backwards along what was waited for longest, through skipped nodes and groups."""
    assert path() == []
    assert path(timed("a", 0, 1), timed("b", 0, 3), timed("c", 3, 4, "a", "b"), timed("d", 1, 2, "a")) == [
        "b",
        "c",
    ]
    assert path(timed("a", 0, 1), timed("s", None, None, "a"), timed("c", 1, 2, "s")) == ["a", "c"]
    group = timed("m", 1, 5, "a", is_group=True, children=("m/0", "m/1"))
    items = [timed("m/0", 1, 5, parent="m"), timed("m/1", 1, 2, parent="m")]
    assert path(timed("a", 0, 1), group, *items, timed("z", 5, 6, "m")) == ["a", "m/0", "z"]
    assert path(timed("a", 0, 1), timed("g", 2, 3, added_by="a")) == ["a", "g"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ValueError: x", "ValueError"),
        ("KeyError", "KeyError"),
        ("pkg.Mine: no", "failure"),
        ("timed out after 2 s", "timeout"),
        ("no rows: none", "failure"),
        (None, "failure"),
    ],
)
def test_kinds_of_failures(error: str | None, kind: str) -> None:
    """An exception by its name, a timeout, and what an action reports itself."""
    assert failure_type(error) == kind


@pytest.fixture
def flow() -> Any:
    with DagFlow(":memory:", echo=False) as made:
        yield made


def test_a_run(flow: DagFlow) -> None:
    """Times, the critical path, parallelism, failures by type, retries and usage of one run."""
    clock = still_clock(flow)

    @flow.action(retries=1, retry_strategy=RetryStrategy.immediate())
    def work(ctx: Any, seconds: float, fails: int = 0) -> float:
        clock.advance(seconds)
        ctx.report_usage(tokens=10)
        if ctx.attempt <= fails:
            raise ValueError("no")
        return seconds

    wf = Workflow("timed")
    first = wf.add("work", id="first", seconds=2.0)
    wf.add("work", id="short", seconds=1.0, after=[first])
    wf.add("work", id="long", seconds=3.0, after=["short"], fails=1)
    wf.add("work", id="bad", seconds=4.0, fails=2, after=["long"])
    run = flow.run(wf, view=False, raise_on_failure=False)
    (row,) = run.metrics().to_dict("records")
    assert (row["run_id"], row["dag_name"], row["status"]) == (run.run_id, "timed", "failed")
    assert row["duration"] == row["active_seconds"] == row["busy_seconds"] == 17.0
    assert (row["idle_seconds"], row["parallelism"], row["most_at_once"]) == (0.0, 1.0, 1)
    assert row["parallel_efficiency"] == 1.0
    assert row["critical_path"] == ["first", "short", "long", "bad"] and row["critical_seconds"] == 17.0
    assert (row["median_duration"], row["slowest_node"]) == (4.0, "bad")
    assert (row["nodes"], row["runs"], row["failures"], row["retries"]) == (4, 4, 1, 2)
    assert row["failures_by_type"] == {"ValueError": 3}
    assert (row["cache_hits"], row["cache_hit_rate"], row["tokens"]) == (0, 0.0, 60.0)
    by_node = run.metrics(by="node").set_index("node_id")
    assert by_node.loc["bad", "failures_by_type"] == {"ValueError": 2}
    assert by_node.loc["long", ["runs", "retries", "total_duration"]].tolist() == [1, 1, 6.0]
    over = flow.metrics()
    assert over["action"].tolist() == ["work"] and over["failures_by_type"].tolist() == [{"ValueError": 3}]
    assert flow.metrics(by="node", node_id="b*")["node_id"].tolist() == ["bad"]
    with pytest.raises(ValidationError, match="'action' or 'node'"):
        flow.metrics(by="day")


def test_a_fork_counts_what_ran_in_it(flow: DagFlow) -> None:
    """What was kept of the old run took none of the new one's time."""
    clock = still_clock(flow)

    @flow.action
    def work(seconds: float) -> None:
        clock.advance(seconds)

    wf = Workflow("timed")
    wf.add("work", id="second", seconds=2.0, after=[wf.add("work", id="first", seconds=5.0)])
    run = flow.run(wf, view=False)
    clock.advance(1000.0)
    (row,) = flow.fork(run, node="second", view=False).metrics().to_dict("records")
    assert (row["duration"], row["busy_seconds"], row["critical_path"]) == (2.0, 2.0, ["second"])
    assert (row["nodes"], row["runs"]) == (2, 1)


def test_seconds_unpaused_and_active(flow: DagFlow) -> None:
    """A delay before a retry is the run's time, a pause is not; an attempt is under way in neither."""
    clock = still_clock(flow)

    @flow.action(retries=1, retry_strategy=RetryStrategy.linear(delay=3))
    def work(ctx: NodeCtx) -> None:
        clock.advance(2.0)
        if ctx.attempt == 1:
            raise ValueError

    @flow.hook(NodeRetrying)
    def wait() -> None:
        clock.advance(3.0)

    @flow.action(ask=True)
    def asks() -> None: ...

    wf = Workflow("paused")
    wf.add("asks", after=[wf.add("work")])
    run = flow.run(wf, view=False)
    clock.advance(1000.0)
    run.approve().wait()
    row, metrics = flow.runs().iloc[0], run.metrics().iloc[0]
    assert row["duration"] == metrics["duration"] == 1007.0 and row["unpaused_seconds"] == 7.0
    assert (metrics["active_seconds"], metrics["idle_seconds"]) == (4.0, 1003.0)
    assert not {"active_seconds", "unpaused_seconds"} & set(flow.runs()) & set(run.metrics())


def test_a_run_that_has_not_begun(flow: DagFlow) -> None:
    """Where there is nothing to tell there is one row all the same, with its dtypes."""

    @flow.action(ask=True)
    def wait() -> None: ...

    wf = Workflow("waits")
    wf.add("wait")
    table = flow.run(wf, view=False).metrics()
    assert len(table) == 1 and table["critical_path"].tolist() == [[]]
    assert str(table["status"].dtype) == "category" and table["duration"].isna().all()
