"""A run's rows in the database agree with what the run says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dagflow_nb import DagFlow, Workflow
from tests.flows import rows


def test_the_runs_row_counts_what_became_of_its_nodes(tmp_path: Path) -> None:
    """Counts by state, attempts, tokens, cost, times, the error and whose it is."""
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action(retries=1, retry_strategy="immediate")
        def bad(ctx: Any) -> None:
            ctx.report_usage(tokens=5, cost=0.25)
            raise ValueError("bad")

        @flow.action
        def good() -> int:
            return 1

        workflow = Workflow("w")
        workflow.add(good, id="after", after=[workflow.add(bad)])
        workflow.add(good)
        run = flow.run(workflow, view=False, raise_on_failure=False)
        names = "status, nodes, completed, failed, skipped, cancelled, attempts, tokens, cost, error_node"
        (found,) = rows(flow, f"select {names} from runs where run_id = ?", run.run_id)
        assert found == ("failed", 3, 1, 1, 1, 0, 3, 10.0, 0.5, "bad")
        ((started, finished),) = rows(flow, "select started_at, finished_at from runs")
        assert 0 < started <= finished
        (node,) = rows(
            flow, "select status, attempts, dependencies, reason from node_runs where node_id = 'after'"
        )
        assert node[:2] == ("skipped", 0) and json.loads(node[2]) == ["bad"] and "bad" in node[3]


def test_a_node_that_changed_often_is_one_row_and_its_attempts_are_whole(tmp_path: Path) -> None:
    """What becomes ready, runs and ends before the store takes it has the rows that it ends with."""
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        async def act(i: int) -> dict[str, int]:
            return {"i": i}

        workflow = Workflow("w")
        last = workflow.add(act, id="n0", i=0)
        for i in range(1, 300):
            last = workflow.add(act, id=f"n{i}", i=last["i"])
        run = flow.run(workflow, view=False)
        assert rows(flow, "select status, count(*) from node_runs group by 1") == [("completed", 300)]
        assert rows(flow, "select status, count(*) from attempts group by 1") == [("completed", 300)]
        journal = rows(flow, "select n, length(data) - length(replace(data, char(10), '')) + 1 from journal")
        numbers = [number for n, lines in journal for number in range(n, n + lines)]
        assert numbers == list(range(1, 302)) and len(journal) < 50
        seqs = [seq for (seq,) in rows(flow, "select seq from events order by seq")]
        assert seqs == list(range(1, 603))
        kinds = rows(
            flow, "select kind, count(*) from events where node_id is not null group by 1 order by 1"
        )
        assert kinds == [("NodeCompleted", 300), ("NodeStarted", 300)]
        assert [row[0] for row in rows(flow, "select count(*) from artifacts")] == [300]
        assert run.outputs["n299"] == {"i": 0}


def test_who_reads_while_a_run_goes_on_finds_all_that_has_happened() -> None:
    """In memory a piece of the run grows until somebody reads; the reader ends it, and it is whole."""
    seen: list[Any] = []
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        def look(i: int) -> dict[str, int]:
            frame = flow.sql("select node_id, status from node_runs where status in ('running', 'completed')")
            events = flow.sql("select count(*) as many from events where kind = 'NodeCompleted'")
            seen.append((dict(zip(frame["node_id"], frame["status"], strict=True)), int(events["many"][0])))
            return {"i": i}

        workflow = Workflow("w")
        last = workflow.add(look, id="n0", i=0)
        for i in range(1, 4):
            last = workflow.add(look, id=f"n{i}", i=last["i"])
        flow.run(workflow, view=False)
    for i, (states, completed) in enumerate(seen):
        assert states == {**{f"n{k}": "completed" for k in range(i)}, f"n{i}": "running"}
        assert completed == i


def test_outputs_are_stored_as_they_were_when_they_arrived() -> None:
    """What an action returned is kept by nobody else: it may go on to change its own dict."""
    kept: dict[str, int] = {"n": 1}
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        async def give() -> dict[str, int]:
            return kept

        @flow.action
        async def change(given: dict[str, int]) -> None:
            kept["n"], kept["more"] = 2, 3

        workflow = Workflow("w")
        workflow.add(change, given=workflow.add(give))
        flow.run(workflow, view=False)
        assert rows(flow, "select key, value from artifacts where namespace = 'give'") == [("n", b"1")]
