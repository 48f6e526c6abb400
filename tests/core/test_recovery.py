"""Failures: the order of what follows, policies, handlers, rescue, late recovery."""

from __future__ import annotations

import pytest

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import NodeOutput, NodeSpec, OnFailure, RunStatus, When
from tests.core.driver import Driver, failed, node

CHAIN = (node("a"), node("b", "a"), node("c", "b"), node("other"))


def rescue(of: str, **more: object) -> m.AddNode:
    """The command that adds a rescue node."""
    return m.AddNode(NodeSpec("a", id=f"r_{of}", replaces=of, **more))  # type: ignore[arg-type]  # settings


def test_continue_skips_what_depends_on_it() -> None:
    """CONTINUE: the rest runs, and the run has failed."""
    d = Driver(*CHAIN).run(b="boom")
    assert d.states == {"a": "completed", "b": "failed", "c": "skipped", "other": "completed"}
    assert d.ended == m.RunEnded(RunStatus.FAILED, "boom", "b")


def test_stop_lets_what_runs_end_and_skips_the_rest() -> None:
    """STOP: nothing new starts, a running node ends, one that waits for its retry fails."""
    specs = [*CHAIN, node("after", "other"), node("again", try_count=2)]
    d = Driver(*specs, on_failure="stop")
    d.fail("again", "first")
    d.end("a")
    d.fail("b")
    assert d.states["other"] == "running" and d.states["again"] == "failed" and d.states["after"] == "skipped"
    d.end("other")
    assert d.s.status is RunStatus.FAILED and d.states["after"] == "skipped"


def test_stop_does_not_retry_what_fails_meanwhile() -> None:
    """STOP: a running node that fails with tries left has failed."""
    d = Driver(node("a"), node("b", try_count=3), on_failure="stop")
    d.fail("a")
    d.fail("b")
    assert d.states["b"] == "failed" and d.s.status is RunStatus.FAILED


def test_pause_holds_the_dependants_for_a_decision() -> None:
    """PAUSE: running nodes end, nothing new starts, and a resume runs the failed node again."""
    d = Driver(*CHAIN, node("after", "other"), on_failure="pause")
    d.end("a")
    d.fail("b")
    d.end("other")
    assert d.s.status is RunStatus.PAUSED and d.s.pauses[""].kind == "failure"
    assert d.states["c"] == d.states["after"] == "pending"
    d.reopen(m.Resume(d.at))
    assert d.starts[-2:] == [("after", 1), ("b", 2)] or set(d.started) == {"after", "b"}
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_policy_of_the_node_beats_the_config() -> None:
    """A node's `on_failure`, else its action's, else the config's."""
    d = Driver(node("a", on_failure=OnFailure.CONTINUE), node("b", "a"), on_failure="pause").run(a="boom")
    assert d.s.status is RunStatus.FAILED and d.states["b"] == "skipped"


def test_the_policy_waits_for_the_hooks() -> None:
    """The hooks are asked first: what they add, retry or give comes before the policy."""
    d = Driver(*CHAIN, listens=failed, on_failure="stop")
    d.end("a")
    d.fail("b")
    assert d.states["c"] == "pending" and d.s.stopping is None
    d.answer(m.NodeFailed, m.RetryNode("b"))
    assert d.states["b"] == "running" and d.s.stopping is None
    d.run()
    assert d.s.status is RunStatus.COMPLETED and d.s.error is None


@pytest.mark.parametrize("policy", ["continue", "pause", "stop"])
def test_rescue_and_given_outputs_recover(policy: str) -> None:
    """A successful rescue node and `SetNodeOutputs` make the failed node `recovered`, whatever the policy."""
    d = Driver(*CHAIN, listens=failed, on_failure=policy)
    d.end("a")
    d.fail("b")
    d.answer(m.NodeFailed, rescue("b"))
    assert d.states["c"] == "pending"
    d.end("r_b", NodeOutput.ok({"y": 5}))
    assert d.states["b"] == "recovered" and d.node("b").outcome.outputs == {"y": 5}
    assert d.kinds("b")[-1] == "NodeCompleted" and d.events[-2].outcome.recovered
    assert d.states["c"] == "running"
    d.fail("c")
    d.answer(m.NodeFailed, m.SetNodeOutputs("c", {"z": 1}))
    d.run()
    assert d.s.status is RunStatus.COMPLETED and d.states["c"] == "recovered"


@pytest.mark.parametrize("policy", ["pause", "stop"])
def test_rescue_runs_although_the_run_stops_or_pauses(policy: str) -> None:
    """Nodes that are there for a failed one start under another failure's policy, others do not."""
    d = Driver(
        node("x"),
        node("y", on_failure=OnFailure(policy)),
        node("w"),
        node("v", "w"),
        listens=lambda e: failed(e) and e.node.node_id == "x",
    )
    d.fail("x")
    d.fail("y")
    d.answer(m.NodeFailed, rescue("x", try_count=2))
    d.end("w")
    assert list(d.started) == ["r_x"] and d.states["v"] in ("pending", "skipped")
    d.fail("r_x")
    assert d.states["r_x"] == "retrying" and d.s.status is RunStatus.RUNNING
    d.tick()
    d.end("r_x")
    assert d.states["x"] == "recovered"


def test_a_rescue_that_fails_leaves_the_policy() -> None:
    """When the rescue has failed, the policy of the first failure applies."""
    d = Driver(*CHAIN, listens=failed)
    d.end("a")
    d.fail("b")
    d.answer(m.NodeFailed, rescue("b"))
    d.fail("r_b")
    assert d.states["c"] == "pending"
    d.answer(m.NodeFailed)
    assert d.states["b"] == "failed" and d.states["c"] == "skipped"


def test_nobody_overtakes_the_hooks() -> None:
    """A rescue from outside that fails while the hooks are asked does not overtake their answer."""
    d = Driver(*CHAIN, listens=lambda event: failed(event) and event.node.node_id == "b")
    d.end("a")
    d.fail("b")
    d.apply(rescue("b"))
    d.fail("r_b")
    assert d.states["c"] == "pending"
    d.answer(m.NodeFailed)
    assert d.states["c"] == "skipped"


def test_rescue_of_a_rescue() -> None:
    """A rescue that is rescued itself stands in for the first failure."""
    d = Driver(*CHAIN, listens=failed)
    d.end("a")
    d.fail("b")
    d.answer(m.NodeFailed, rescue("b"))
    d.fail("r_b")
    d.answer(m.NodeFailed, rescue("r_b"))
    d.end("r_r_b", NodeOutput.ok({"k": 1}))
    assert d.states["r_b"] == d.states["b"] == "recovered"
    assert d.node("b").outcome.outputs == {"k": 1}


def test_two_rescuers() -> None:
    """The failed node waits for all who may rescue it; the first success counts."""
    d = Driver(*CHAIN, listens=failed)
    d.end("a")
    d.fail("b")
    d.answer(m.NodeFailed, rescue("b"), m.AddNode(NodeSpec("a", id="second", replaces="b")))
    d.fail("r_b")
    d.answer(m.NodeFailed)
    assert d.states["c"] == "pending"
    d.end("second")
    assert d.states["b"] == "recovered" and d.states["c"] == "running"


@pytest.mark.parametrize(("recovered", "state"), [(True, "recovered"), (False, "failed")])
def test_handlers(recovered: bool, state: str) -> None:
    """`failure:` runs once as `ID.on_failure` with its inputs; `recovered=True` stands in."""
    d = Driver(node("a", failure="handle", inputs={"k": 1}), node("b", "a"))
    d.fail("a", "why")
    handler = d.node("a.on_failure").spec
    assert handler.inputs == {"error": "why", "node_id": "a", "inputs": {"k": 1}}
    assert handler.action == "handle"
    d.end("a.on_failure", NodeOutput.ok({"x": 2}, recovered=recovered))
    assert d.states["a"] == state
    assert d.states["b"] == ("running" if recovered else "skipped")


def test_a_handler_that_is_not_defined_is_refused() -> None:
    """A handler whose action is unknown is reported, and the failure takes its course."""
    d = Driver(node("a", failure="nowhere"), node("b", "a")).run(a="boom")
    assert "nowhere" in d.rejections()[0] and d.states["b"] == "skipped"


def test_late_recovery_gives_the_skipped_their_turn() -> None:
    """Outputs that come after the policy was applied take back what it meant, transitively."""
    specs = [*CHAIN, node("e", "c"), node("cleanup", "b", when=When.ALL_DONE), node("long")]
    d = Driver(*specs)
    d.end("a")
    d.fail("b")
    d.end("cleanup")
    assert d.states["e"] == "skipped"
    d.apply(m.SetNodeOutputs("b", {"x": 1}))
    assert d.states["c"] == "running" and d.states["e"] == "pending"
    assert d.states["cleanup"] == "completed"
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_late_recovery_lifts_stop() -> None:
    """A mended failure lifts STOP: what was skipped because of it runs."""
    d = Driver(*CHAIN, node("far", "other"), on_failure="stop")
    d.end("a")
    d.fail("b")
    assert d.states["far"] == "skipped"
    d.apply(rescue("b"))
    d.end("r_b")
    assert d.s.stopping is None and d.states["far"] == "pending"
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_pause_is_lifted_only_when_no_other_failure_means_it() -> None:
    """Two held failures: recovering one of them leaves the run paused for the other."""
    d = Driver(node("x"), node("y"), node("z"), on_failure="pause")
    d.fail("x")
    d.fail("y")
    d.apply(m.SetNodeOutputs("x", {}))
    assert d.s.pauses[""].kind == "failure"
    d.apply(m.SetNodeOutputs("y", {}))
    assert not d.s.pauses and d.s.error is None
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_stop_beats_pause() -> None:
    """A STOP ends a run that another failure had paused."""
    d = Driver(node("x", on_failure=OnFailure.PAUSE), node("y", on_failure=OnFailure.STOP), node("z", "x"))
    d.fail("x")
    d.fail("y")
    assert d.s.status is RunStatus.FAILED and d.states["z"] == "skipped"


def test_a_rescue_that_waits_for_what_waits_for_it_is_given_up() -> None:
    """Nothing hangs: such a rescue is no rescue, and the failure takes its course."""
    d = Driver(*CHAIN, listens=failed)
    d.end("a")
    d.fail("b")
    d.end("other")
    d.answer(m.NodeFailed, m.AddNode(NodeSpec("a", id="r", replaces="b", deps=["c"], when="all_done")))
    assert d.states["c"] == "skipped"
    d.run()
    assert d.s.status is RunStatus.FAILED and d.states["r"] == "completed"


def test_what_an_answer_says_after_a_retry_counts_too() -> None:
    """A node may run again with other inputs, and more be added in the same answer."""
    d = Driver(node("a"), listens=failed)
    d.fail("a")
    d.answer(m.NodeFailed, m.RetryNode("a"), m.SetNodeInputs("a", {"v": 1}), m.AddNode(NodeSpec("a", id="n")))
    assert not d.rejections() and d.node("a").spec.inputs == {"v": 1}
    assert d.states == {"a": "running", "n": "running"}
    d.fail("a")
    d.answer(m.NodeFailed, m.SetNodeInputs("a", {"v": 2}), m.RetryNode("a"))
    assert "give RetryNode('a') first" in d.rejections()[0] and d.states["a"] == "running"


def test_an_answer_that_is_out_of_date_is_refused() -> None:
    """What hooks answer about an end that was taken back by a retry changes nothing."""
    d = Driver(node("a"), listens=failed)
    d.fail("a")
    d.apply(m.RetryNode("a"))
    d.answer(m.NodeFailed, m.AddNode(NodeSpec("a")))
    assert list(d.s.nodes) == ["a"] and "out of date" in d.rejections()[0]
    assert d.states["a"] == "running"
