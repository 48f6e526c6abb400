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
