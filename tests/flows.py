"""What the tests of flows share: small looks at a run, and flows whose clock stands still."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from dagflow_nb import DagFlow, Run, Workflow
from dagflow_nb.testing import ManualClock

PATIENCE = 20.0  # seconds that a test waits for what should come at once


def rows(flow: DagFlow, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """Rows of the flow's database, with all that was written until now."""
    flow._store.sync()
    with closing(flow._store.connect()) as connection:
        return [tuple(row) for row in connection.execute(sql, params).fetchall()]


def states(run: Run) -> dict[str, str]:
    """The state of each node by its id."""
    return {node.id: str(node.status) for node in run.snapshot().nodes}


def kinds(run: Run) -> list[str]:
    """The kinds of all events of a run, in order."""
    found = rows(run._flow, "select kind from events where run_id = ? order by seq", run.run_id)
    return [kind for (kind,) in found]


def event_data(run: Run, kind: str) -> list[str]:
    """What the events of one kind carry, as it is stored."""
    sql = "select data from events where run_id = ? and kind = ? order by seq"
    return [data for (data,) in rows(run._flow, sql, run.run_id, kind)]


def reason_of(run: Run, node_id: str) -> str | None:
    """Why a node was skipped or cancelled."""
    return next(node.reason for node in run.snapshot().nodes if node.id == node_id)


def still_clock(flow: DagFlow) -> ManualClock:
    """A clock for this flow that stands still; to be given before the first run."""
    clock = ManualClock()
    flow._session.clock = clock
    return clock


def single(action: Any, name: str = "single", **settings: Any) -> Workflow:
    """A workflow of one node with the id `node`."""
    workflow = Workflow(name)
    workflow.add(action, id="node", **settings)
    return workflow
