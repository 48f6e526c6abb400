"""Runs made by hand, for views and pictures to show."""

from __future__ import annotations

import pytest

from dagflow_nb.runtime.snapshot import NodeView, Snapshot

HOSTILE = [
    '<script>alert("x")</script>',
    '"];evil [label="gone',
    "back\\slash\\",
    "ends in \\",
    "a:b:c",
    "<b>bold</b>",
    "&amp; & &#60;",
    "node",
    "1.5",
    "constructor",
    "tab\tand\nline\x00\x1b[31m",
    "right\u202eto left",
    "漢字とかな",
]


def run_of(*nodes: NodeView, **fields: object) -> Snapshot:
    """A running snapshot of these nodes; times in seconds from 100."""
    given = {"run_id": "run-1", "dag_name": "pipeline", "status": "running", "at": 120.0, "topology": 1}
    return Snapshot(**{**given, "started_at": 100.0, **fields}, nodes=tuple(nodes))


@pytest.fixture
def rich() -> Snapshot:
    """A run with everything there is: a decision, maps open and closed, a sub-workflow, growth, a rescue."""
    return run_of(
        NodeView(id="fetch", action="fetch_data", status="completed", started_at=100.0, finished_at=100.4),
        NodeView(id="clean", action="clean", status="cached", deps=("fetch",)),
        NodeView(id="check", action="check", status="recovered", deps=("fetch",), attempt=3),
        NodeView(id="check.on_failure", action="mend", status="completed", deps=("check",), added_by="check"),
        NodeView(id="good?", action="condition", kind="branch", status="completed", deps=("clean", "check")),
        NodeView(id="score", action="score", kind="map", status="running", deps=("clean",)),
        *[
            NodeView(id=f"score/{i}", action="score", parent="score", status=status, progress=0.5)
            for i, status in enumerate(["completed", "running", "failed", "retrying"])
        ],
        NodeView(id="tiles", action="tile", kind="map", status="running", deps=("clean",)),
        *[
            NodeView(
                id=f"tiles/{i}", action="tile", parent="tiles", status="completed" if i < 30 else "pending"
            )
            for i in range(40)
        ],
        NodeView(id="report", action="reporting", kind="workflow", deps=("score", "tiles")),
        NodeView(id="report/load", action="load", parent="report"),
        NodeView(id="report/plot", action="plot", parent="report", deps=("report/load",)),
        NodeView(id="refetch", action="fetch_data", deps=("check",), added_by="check", status="paused"),
        NodeView(id="rescue", action="mend", deps=(), replaces="score", added_by="score", status="skipped"),
        NodeView(id="publish", action="publish", deps=("good?", "report"), status="cancelled"),
    )


@pytest.fixture
def hostile() -> Snapshot:
    """A run whose every text tries to be something else than a text."""
    nodes = [
        NodeView(id=text, action=text, description=text, deps=HOSTILE[:number], status="failed", error=text)
        for number, text in enumerate(HOSTILE)
    ]
    return run_of(*nodes, dag_name=HOSTILE[0], run_id=HOSTILE[1])
