"""A run's past: the states it went through, and how the page is told of them."""

from __future__ import annotations

import json

from dagflow_nb import DagFlow, NodeSpec
from dagflow_nb.api.controls import Controls
from dagflow_nb.notebook.asked import answer
from dagflow_nb.notebook.past import past_record
from dagflow_nb.runtime.past import Change, Moment


def a_run(flow: DagFlow):
    """A run with a retry, a node that a hook adds, and one that fails."""
    tries = []

    @flow.action
    def fetch() -> int:
        return 1

    @flow.action(retries=1, retry_strategy="immediate")
    def parse(n: int) -> int:
        tries.append(n)
        if len(tries) == 1:
            raise OSError("<b>gone</b>")
        return n

    @flow.action
    def fail(n: int) -> int:
        raise ValueError("no")

    @flow.on_completed(action="parse")
    def more(node, outputs):
        return NodeSpec("fail", id="late", inputs={"n": 1})

    @flow.workflow
    def w():
        return parse(fetch())

    return flow.run("w", view=False, raise_on_failure=False)


def test_the_changes_lead_from_the_beginning_to_the_end():
    """Laid over each other the moments give the run's last state; what was grown is not there before."""
    with DagFlow(":memory:") as flow:
        run = a_run(flow)
        found = Controls(run).past()
        assert {change.node_id for change in found[0].changes} == {"fetch", "parse"}
        assert [moment.seq for moment in found] == sorted(moment.seq for moment in found)
        states = {change.node_id: change for moment in found for change in moment.changes}
        wanted = {node.id: (node.status, node.started_at, node.finished_at) for node in run.snapshot().nodes}
        assert {id: (c.status, c.started_at, c.finished_at) for id, c in states.items()} == wanted
        assert found[-1].status == "failed" and states["late"].text == "ValueError: no"
        parse = [change.status for moment in found for change in moment.changes if change.node_id == "parse"]
        assert parse[0] == "pending" and parse[-1] == "completed" and "retrying" in parse


def test_the_page_can_lay_the_changes_over_each_other():
    """The record is JSON, its numbers stand for ids, states and texts, and its times count from the first."""
    moments = [
        Moment(100.0, 1, "running", (Change("a", "running", 1, 100.0), Change("b", "pending"))),
        Moment(101.5, 3, "running", (Change("a", "failed", 1, 100.0, 101.5, "x" * 999), Change("b", None))),
    ]
    told = json.loads(json.dumps(past_record(moments)))
    assert told["zero"] == 100.0 and told["ids"] == ["a", "b"] and told["texts"] == ["x" * 300]
    names = told["states"]
    assert names == ["running", "pending", "failed"]
    assert told["steps"] == [[0, 1, 0, [[0, 0, 1, 0], [1, 1]]], [1.5, 3, 0, [[0, 2, 1, 0, 1.5, 0], [1, -1]]]]
    assert past_record([])["steps"] == []


def test_a_past_that_cannot_be_read_is_told():
    """A run whose history was deleted has no steps; a database that fails is told to the page, not raised."""
    with DagFlow(":memory:") as flow:
        run = a_run(flow)
        run.wait()
        flow.delete_runs(run)
        assert answer(Controls(run), {"kind": "past"})["steps"] == []
    told = answer(Controls(run), {"kind": "past"})
    assert told["kind"] == "past" and "cannot be read" in told["problem"]


def test_the_attempts_of_a_view_are_those_that_were_made():
    """While a run goes on, and afterwards from the database, a node's earlier attempts have exact times."""
    with DagFlow(":memory:") as flow:
        run = a_run(flow)
        live = {node.id: node for node in run._coordinator.watch.snapshot().nodes}
        stored = {node.id: node for node in Controls(run).snapshot().nodes}
        rows = run.attempts().set_index(["node_id", "attempt"])
        for told in (live["parse"], stored["parse"]):
            first, second = rows.loc[("parse", 1)], rows.loc[("parse", 2)]
            ((began, ended),) = told.earlier
            assert abs(began - first["started_at"].timestamp()) < 1e-3
            assert abs(ended - first["finished_at"].timestamp()) < 1e-3
            assert abs(told.began_at - second["started_at"].timestamp()) < 1e-3
        assert live["fetch"].earlier == () and stored["fetch"].executor == "thread"
