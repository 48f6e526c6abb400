"""Running again: retries, interruptions, crashes, lost outputs."""

from __future__ import annotations

import pytest

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import Form, NodeOutput, NodeSpec, RunStatus, When
from dagflow_nb.errors import InvalidState
from tests.core.driver import OK, Driver, completed, everything, failed, node

CHAIN = (node("a"), node("b", "a"), node("c", "b"))


def test_retry_runs_the_failed_and_what_was_skipped_because_of_them() -> None:
    """The rest keeps its results."""
    d = Driver(*CHAIN, node("o")).run(b="boom")
    d.reopen(m.RetryNodes(d.at))
    assert d.started == {"b": 2} and d.node("b").spent == 0
    d.run()
    assert d.s.status is RunStatus.COMPLETED and d.s.error is None
    assert d.starts == [("a", 1), ("o", 1), ("b", 1), ("b", 2), ("c", 1)]


@pytest.mark.parametrize("cascade", [True, False])
def test_retry_of_one_completed_node(cascade: bool) -> None:
    """With `cascade` what comes after it runs again too, without it only the node."""
    d = Driver(*CHAIN).run()
    d.reopen(m.RetryNodes(d.at, "b", cascade))
    d.run()
    assert d.starts[3:] == ([("b", 2), ("c", 2)] if cascade else [("b", 2)])


def test_a_retry_stops_what_runs_on_old_results() -> None:
    """A dependant under way is stopped, and starts anew after the node has run again."""
    d = Driver(node("a"), node("b", "a"), node("r", "a", try_count=2), node("p", "a"), max_parallel_nodes=2)
    d.end("a")
    d.fail("r")
    assert d.states == {"a": "completed", "b": "running", "r": "retrying", "p": "running"}
    d.send(m.RetryNodes(0.0, "a"))
    assert d.started == {"a": 2} and d.states["r"] == "pending" and d.node("r").spent == 0
    d.run()
    assert d.starts[-3:] == [("b", 2), ("r", 2), ("p", 2)]


def test_a_question_about_what_runs_again_is_withdrawn() -> None:
    """What was asked about a node's end goes with it; a pause by hand, and another's question, stay."""
    d = Driver(*CHAIN, node("x"), node("y", "x"))
    d.end("a")
    d.apply(m.PauseBranch("a", "good?", Form("good?")), m.PauseBranch("b", "lunch"))
    d.end("x")
    d.apply(m.PauseBranch("x", "good?", Form("good?")))
    d.end("y")
    d.reopen(m.RetryNodes(d.at, "a"))
    assert d.started == {"a": 2} and set(d.s.pauses) == {"b", "x"} and d.node("c").pauses == {"b"}


def test_what_was_grown_is_withdrawn_and_grown_again() -> None:
    """What was added for events of a node that runs again goes first, with its own; hooks are asked anew."""

    def grows(event: object) -> bool:
        return isinstance(event, m.NodeCompleted) and event.node.node_id in ("a", "g")

    d = Driver(node("a"), node("b", "a"), listens=grows)
    d.end("a")
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a", id="g")))
    d.end("g")
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a")), m.AddNode(NodeSpec("a", id="h", deps=["b"])))
    assert set(d.s.nodes) == {"a", "b", "g", "a_2", "h"}
    d.send(m.RetryNodes(0.0, "a"))
    assert set(d.s.nodes) == {"a", "b"} and m.CancelAttempt("a_2", 1, "withdrawn") in d.effects
    d.end("a")
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a", id="g")))
    assert d.started == {"b": 2, "g": 2}


def test_a_retry_keeps_what_the_same_answer_added() -> None:
    """A node that is added next to `RetryNode` in one answer stays."""
    d = Driver(node("a"), listens=failed)
    d.fail("a")
    d.answer(m.NodeFailed, m.AddNode(NodeSpec("a", id="tell")), m.RetryNode("a"))
    assert set(d.started) == {"a", "tell"}


def test_the_way_not_taken_is_open_again_when_a_branch_node_runs_again() -> None:
    """`disabled` flags that a branch node set are undone when it decides anew; those of a person are not."""
    ways = {"then": ("t",), "otherwise": ("o",)}
    d = Driver(node("if", kind="branch", over=ways), node("t", "if"), node("o", "if"), node("x", "if"))
    d.apply(m.DisableNodes(["x"]))
    d.end("if", NodeOutput.ok(metadata={"taken": True}))
    d.run()
    assert d.states == {"if": "completed", "t": "completed", "o": "skipped", "x": "skipped"}
    d.reopen(m.RetryNodes(d.at, "if"))
    d.end("if", NodeOutput.ok(metadata={"taken": False}))
    d.run()
    assert d.states == {"if": "completed", "t": "skipped", "o": "completed", "x": "skipped"}


def test_a_retry_that_waits_keeps_the_other_way_closed_only_meanwhile() -> None:
    """A node disabled but not yet skipped is enabled again, too."""
    ways = {"then": (), "otherwise": ("o",)}
    d = Driver(node("if", kind="branch", over=ways), node("slow"), node("o", "if", "slow"))
    d.end("if", NodeOutput.ok(metadata={"taken": True}))
    assert d.node("o").disabled
    d.send(m.RetryNodes(0.0, "if"))
    assert not d.node("o").disabled


def test_a_cancelled_run_goes_on_where_it_was() -> None:
    """What had completed stays, items of an open map too; what was cancelled with the run runs."""
    d = Driver(node("a"), node("m", "a", kind="map"), node("z", "m"))
    d.end("a")
    d.open("m", 2)
    d.end("m/0")
    d.send(m.CancelRun(0.0))
    assert d.s.status is RunStatus.CANCELLED
    d.reopen(m.RetryNodes(d.at))
    assert d.started == {"m/1": 2} and d.states["m"] == "running"
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_a_cancelled_branch_stays_cancelled() -> None:
    """Neither a retry nor a reopened run brings it back."""
    d = Driver(*CHAIN, node("o"))
    d.apply(m.CancelBranch("b"))
    d.send(m.CancelRun(0.0))
    d.reopen(m.RetryNodes(d.at))
    d.run()
    assert d.states["b"] == d.states["c"] == "cancelled" and d.states["o"] == "completed"
    d.reopen()
    with pytest.raises(InvalidState):
        d.send(m.RetryNodes(d.at, "b"))


def test_open_decisions_outlive_a_cancelled_run() -> None:
    """A paused branch is still paused when a cancelled run goes on."""
    d = Driver(*CHAIN)
    d.apply(m.PauseBranch("b", "approve"))
    d.send(m.CancelRun(0.0))
    d.reopen(m.RetryNodes(d.at))
    d.end("a")
    assert d.s.status is RunStatus.PAUSED and d.states["b"] == "paused"


@pytest.mark.parametrize("interrupted", [True, False])
def test_attempts_under_way_do_not_count(interrupted: bool) -> None:
    """After an interruption or a crash nodes run again: numbers go up, tries are not spent."""
    d = Driver(node("a", try_count=2), node("m", kind="map"), node("r", try_count=2))
    d.open("m", 1)
    d.fail("r")
    if interrupted:
        d.send(m.Interrupt(0.0))
        assert d.s.status is RunStatus.INTERRUPTED and not d.started
    d.reopen()
    assert d.started == {"a": 2, "m/0": 2} and d.node("a").spent == 0
    assert d.states["r"] == "retrying" and d.wake == 2
    assert d.kinds("a") == ["NodeStarted"]
    d.run()
    assert d.s.status is RunStatus.COMPLETED


@pytest.mark.parametrize("interrupted", [True, False])
def test_the_time_in_which_nobody_drove_the_run_is_no_nodes(interrupted: bool) -> None:
    """What was under way, or waited for its retry, starts anew after it; what had ended keeps its times."""
    d = Driver(node("a"), node("b", "a"), node("r", try_count=2))
    d.end("a")
    d.fail("r")
    d.at = 1
    d.send(m.Interrupt(d.at) if interrupted else m.Tick(d.at))
    d.at = 1000
    d.reopen()
    d.run()
    assert [d.node(id).started_at for id in ("a", "b", "r")] == [0, 1000, 1000]
    assert d.node("b").ready_at == 1000 and d.node("b").finished_at == 1000


def test_what_may_have_done_its_work_waits_for_a_decision() -> None:
    """A node that is not idempotent and ran at a crash pauses; an interruption knows what it stopped."""
    for crash in (True, False):
        d = Driver(node("a", action="once"), node("b", "a"))
        if not crash:
            d.send(m.Interrupt(0.0))
        d.reopen()
        assert d.states["a"] == ("paused" if crash else "running")
    d = Driver(node("a", action="once"), node("b", "a"))
    d.reopen()
    assert d.s.status is RunStatus.PAUSED and d.s.pauses["a"].kind == "decision"
    d.reopen(m.Applied((m.SetNodeOutputs("a", {"x": 1}),), d.at))
    assert d.states["b"] == "running" and not d.s.pauses


def test_groups_opening_and_closing_at_a_crash_do_so_again() -> None:
    """Answers of the process that died are out of date."""
    d = Driver(node("m", kind="map"), node("o", kind="map"))
    d.open("m", 1)
    d.end("m/0")
    d.reopen()
    assert d.closing == {"m": 2} and d.opening == {"o": 2}
    d.send(m.AttemptEnded("m", 1, d.at, OK))
    assert d.states["m"] == "running"


def test_open_questions_stay_open() -> None:
    """Hooks that were asked before a crash are asked again, and their answer counts."""
    d = Driver(node("a"), node("b", "a"), listens=completed)
    d.end("a")
    d.reopen()
    assert list(d.s.asks) == list(d.asked) and d.states["b"] == "pending"
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a", id="g")))
    assert set(d.started) == {"b", "g"}


def test_lost_outputs_are_made_again_without_asking_anew() -> None:
    """A finished node whose outputs were never stored runs again; its hooks are not asked again."""
    d = Driver(*CHAIN, listens=everything)
    d.answer()
    d.end("a")
    while d.asked:
        d.answer()
    d.send(m.Interrupt(0.0))
    d.reopen(lost=["a"])
    assert d.started == {"a": 2} and d.states["b"] == "pending"
    d.end("a")
    assert not d.asked and d.states["b"] == "running"
    with pytest.raises(InvalidState):
        d.s.handle(m.Reopened(0.0, d.config, lost=("c",)))


def test_a_lost_map_closes_again_and_lost_items_reopen_it() -> None:
    """What its items have is kept."""
    d = Driver(node("m", kind="map"), node("z", "m")).run(z="boom")
    d.reopen(m.RetryNodes(d.at), lost=["m"])
    assert list(d.closing) == ["m"] and not d.started
    d = Driver(node("m", kind="map"), node("z", "m")).run(z="boom")
    d.reopen(m.RetryNodes(d.at), lost=["m/1"])
    assert d.started == {"m/1": 2}
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_time_of_a_process_that_died_counts() -> None:
    """The deadline knows of the time until the last input before a crash."""
    d = Driver(node("a"), node("b", "a"), timeout_seconds=10)
    d.at = 4
    d.end("a")
    d.at = 100
    d.reopen()
    assert d.s.elapsed == 4 and d.wake == 106


def test_a_run_that_has_not_begun_is_not_reopened() -> None:
    """Nor is it interrupted."""
    d = Driver(node("a"), begin=False)
    for message in (m.Reopened(0.0, d.config), m.Interrupt(0.0), m.Tick):
        with pytest.raises(InvalidState):
            d.s.handle(message)  # type: ignore[arg-type]  # one of them is no input


def test_retry_of_a_child_of_a_group_that_never_opened() -> None:
    """The group has to open first; nothing hangs."""
    group = node("s", "a", kind="workflow", when=When.ANY_FAILED)
    d = Driver(node("a"), group, node("s/x", parent="s")).run()
    assert d.states["s/x"] == "skipped"
    d.reopen(m.RetryNodes(d.at, "s/x"))
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_a_retry_beside_a_held_failure() -> None:
    """Retrying one node of a run that a failure paused runs it, and the run pauses again for the other."""
    d = Driver(node("x"), node("y"), on_failure="pause").run(x="boom")
    assert d.s.status is RunStatus.PAUSED
    d.reopen(m.RetryNodes(d.at, "y"))
    assert d.started == {"y": 2}
    d.run()
    assert d.s.status is RunStatus.PAUSED and d.s.pauses[""].kind == "failure"


def test_many_retries_cost_what_they_change() -> None:
    """Retrying each of many failed nodes does not look at all the others each time."""
    d = Driver(*(node(f"n{i}") for i in range(300)), listens=failed, pools={"async": 300})
    for i in range(300):
        d.fail(f"n{i}")
    seen = 0
    branch = type(d.s.graph).branch
    values = d.s.nodes

    class Counting(dict):  # type: ignore[type-arg]  # counts who walks over all nodes
        def values(self):  # type: ignore[no-untyped-def]  # as dict's
            nonlocal seen
            seen += 1
            return super().values()

    d.s.nodes = d.s.graph.nodes = Counting(values)
    while d.asked:
        d.answer(m.NodeFailed, m.RetryNode(d.asked[next(iter(d.asked))].node.node_id))
    assert len(d.started) == 300 and seen == 0 and branch is type(d.s.graph).branch
