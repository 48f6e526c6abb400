"""What a plan may take, by what its actions took before."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dagflow_nb import DagFlow, NodeCtx, Plan, Workflow, ref
from dagflow_nb.agents.plan import Estimate
from dagflow_nb.agents.proposal import estimate

KNOWN = pd.DataFrame(
    [
        {"action": "fetch", "runs": 4, "median_duration": 2.0, "tokens": 40.0, "cost": 0.4},
        {"action": "count", "runs": 2, "median_duration": 0.5, "tokens": 0.0, "cost": 0.0},
        {"action": "never", "runs": 0, "median_duration": float("nan"), "tokens": 0.0, "cost": 0.0},
    ]
)


def test_what_runs_at_once_takes_the_longest_chain() -> None:
    """Times add up along the longest chain, tokens and cost over all steps."""
    plan = Plan()
    first = plan.add("fetch")
    plan.add("fetch", id="beside")
    plan.add("count", rows=first["rows"])
    assert estimate(plan, KNOWN) == Estimate(2.5, 20.0, 0.2)
    assert str(estimate(plan, KNOWN)) == "about 2.5 s, 20 tokens, cost 0.2"


@pytest.mark.parametrize(
    ("over", "limit", "seconds", "tokens"),
    [
        ({"a": [1, 2, 3], "b": [1, 2]}, None, 2.0, 60.0),
        ({"a": [1, 2, 3], "b": [1, 2]}, 2, 6.0, 60.0),
        ([{"a": 1}, {"a": 2}], 1, 4.0, 20.0),
        ({"a": ref("other.list")}, None, 2.0, 10.0),
        ({"a": []}, None, 0.0, 0.0),
    ],
)
def test_items_of_a_map_count(over: Any, limit: int | None, seconds: float, tokens: float) -> None:
    """Each of them, as far as it is known how many there will be; `limit` of them at once."""
    plan = Plan()
    plan.map("fetch", over, limit=limit)
    found = estimate(plan, KNOWN)
    assert (found.seconds, found.tokens) == (seconds, tokens)


def test_what_is_not_known_is_said() -> None:
    """Actions that have not run yet are named; where none has, nothing is guessed."""
    plan = Plan()
    plan.add("never")
    plan.add("new")
    assert estimate(plan, KNOWN) == Estimate(unknown=("never", "new"))
    plan.add("count")
    assert str(estimate(plan, KNOWN)) == "about 0.5 s, nothing is known yet of never, new"
    assert str(Estimate()) == "nothing is known yet"


def test_a_proposal_is_estimated_by_the_history() -> None:
    """Of this flow's database: the time, tokens and cost of the runs before."""
    with DagFlow(":memory:", echo=False) as flow:

        @flow.tool
        def ask(ctx: NodeCtx, n: int) -> int:
            ctx.report_usage(tokens=100, cost=0.5)
            return n

        @flow.action
        def think(history: Any = ()) -> Any:
            return None if history else {"steps": [{"action": "ask", "inputs": {}, "over": {"n": [1, 2]}}]}

        flow.planner(think, gate=True)
        workflow = Workflow("agent")
        workflow.add(think)
        flow.run(workflow, view=False).approve().wait()
        run = flow.run(workflow, view=False)
        assert run.proposal is not None and run.proposal.estimate is not None
        assert (run.proposal.estimate.tokens, run.proposal.estimate.cost) == (200, 1.0)
