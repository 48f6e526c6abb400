"""The course of a run: starting, judging, limits, retries, ends."""

from __future__ import annotations

import pytest

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import Form, NodeOutput, NodeStatus, RunStatus, When
from dagflow_nb.core.retry import RetryStrategy
from dagflow_nb.core.scheduler import Scheduler
from dagflow_nb.errors import DagError, InvalidState
from tests.core.driver import OK, Driver, completed, everything, node
from tests.core.invariants import fingerprint


def test_a_static_graph_runs_each_node_once_in_order() -> None:
    """Nodes start once each, after what they depend on, and the run completes."""
    d = Driver(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"), node("e")).run()
    assert [id for id, _ in d.starts] == ["a", "e", "b", "c", "d"]
    assert d.ended == m.RunEnded(RunStatus.COMPLETED)


def test_nothing_starts_before_run_started_is_answered() -> None:
    """The first node starts once the hooks have answered `RunStarted`."""
    d = Driver(node("a"), listens=lambda event: isinstance(event, m.RunStarted))
    assert not d.started
    d.answer()
    assert list(d.started) == ["a"]


def test_disabled_at_the_start() -> None:
    """What is disabled when the run begins is skipped when its turn comes, and what needs it too."""
    d = Driver(node("a"), node("b", "a"), node("c", "b"), disabled=["b"]).run()
    assert d.states == {"a": "completed", "b": "skipped", "c": "skipped"}
    assert d.ended and d.ended.status == "completed"


@pytest.mark.parametrize(
    ("rule", "good", "bad", "expected"),
    [
        ("all_success", OK, OK, "completed"),
        ("all_success", OK, "boom", "skipped"),
        ("all_done", "boom", "boom", "completed"),
        ("one_success", OK, "boom", "completed"),
        ("one_success", "boom", "boom", "skipped"),
        ("any_failed", OK, "boom", "completed"),
        ("any_failed", OK, OK, "skipped"),
    ],
)
def test_rules(rule: str, good: object, bad: object, expected: str) -> None:
    """A node runs if its `when` holds for the ends of its dependencies."""
    d = Driver(node("a"), node("b"), node("j", "a", "b", when=When(rule))).run(a=good, b=bad)
    assert d.states["j"] == expected


def test_retries_wait_and_count() -> None:
    """An error is retried after its delay until the tries are spent; then the node fails."""
    d = Driver(node("a", try_count=3), retry_strategy=RetryStrategy.exponential(2, 60, 2))
    d.fail("a")
    assert d.states["a"] == "retrying" and d.wake == 2
    d.tick()
    d.fail("a")
    assert d.wake == 2 + 4
    d.tick()
    d.fail("a", "third")
    assert d.states["a"] == "failed" and d.node("a").spent == 3
    assert d.kinds("a") == ["NodeStarted", "NodeRetrying", "NodeRetrying", "NodeFailed"]
    assert d.ended == m.RunEnded(RunStatus.FAILED, "third", "a")


def test_soft_and_unretryable_failures_are_not_retried() -> None:
    """`NodeOutput.failure` and exceptions outside of `retry_on` end the node at once."""
    d = Driver(node("a", try_count=3), node("b", try_count=3))
    d.end("a", NodeOutput.failure("soft"))
    d.fail("b", retryable=False)
    assert d.states == {"a": "failed", "b": "failed"}
    assert d.kinds("a")[-1] == "NodeCompleted" and d.kinds("b")[-1] == "NodeFailed"


def test_settings_of_node_beat_those_of_action_beat_config() -> None:
    """`try_count` is the node's, else its action's, else `max_attempts`."""
    settings = {"b": m.ActionSettings(try_count=2)}
    specs = [node("n", action="b", try_count=1), node("o", action="b"), node("p")]
    d = Driver(*specs, settings=settings, max_attempts=4)
    assert [d.s.tries(d.node(id)) for id in "nop"] == [1, 2, 4]


def test_timeout_frees_the_slot_and_counts_as_a_failed_attempt() -> None:
    """An attempt that takes too long is cancelled; its late result is ignored."""
    d = Driver(node("a", timeout=5, try_count=2), node("b"), max_parallel_nodes=1)
    assert d.wake == 5
    d.tick()
    assert m.CancelAttempt("a", 1, "timed out after 5 s") in d.effects
    assert d.states == {"a": "retrying", "b": "running"}
    d.send(m.AttemptEnded("a", 1, d.at, OK))
    assert d.states["a"] == "retrying"


def test_cached_results_complete_without_started() -> None:
    """A known result gives `NodeCompleted` alone; one that is not known `NodeStarted` first, once."""
    d = Driver(node("a", action="cached"), node("b", action="cached"), node("c", action="cached"))
    d.end("a", cached=True)
    d.end("b")
    d.send(m.AttemptStarted("c", 1, 0.0))
    d.send(m.AttemptStarted("c", 1, 0.0))
    d.end("c")
    assert d.kinds("a") == ["NodeCompleted"] and d.states["a"] == "cached"
    assert d.kinds("b") == d.kinds("c") == ["NodeStarted", "NodeCompleted"]


def test_limits_hold_back_only_what_they_are_for() -> None:
    """The oldest ready node starts first; one that its limit holds back does not hold back others."""
    specs = [node("a1"), node("a2"), node("b1", action="b"), node("b2", action="b")]
    d = Driver(*specs, limits={"a": 1}, max_parallel_nodes=2)
    assert list(d.started) == ["a1", "b1"]
    d.end("b1")
    assert list(d.started) == ["a1", "b2"]
    d.end("a1")
    assert list(d.started) == ["b2", "a2"]


def test_the_oldest_ready_node_starts_first() -> None:
    """A free slot goes to the node that has waited longest, whatever limits it is under."""
    d = Driver(node("a0"), node("b1", action="b"), node("a2"), limits={"a": 1}, max_parallel_nodes=1).run()
    assert [id for id, _ in d.starts] == ["a0", "b1", "a2"]


def test_limits_by_tag_pool_map_and_switch() -> None:
    """Tags, executors' pools, a map's `limit`, `enable_parallel_execution=False` bound attempts at once."""
    assert len(Driver(*(node(f"n{i}", tags=("t",)) for i in range(5)), limits={"t": 2}).started) == 2
    assert len(Driver(*(node(f"n{i}") for i in range(5)), pools={"async": 3}).started) == 3
    assert len(Driver(*(node(f"n{i}") for i in range(5)), enable_parallel_execution=False).started) == 1
    d = Driver(node("m", kind="map", limit=2), node("o"))
    d.open("m", 5)
    assert list(d.started) == ["o", "m/0", "m/1"]


def test_rates_wake_when_the_window_moves_on() -> None:
    """`"2/min"` lets two start, and the third a minute after the first."""
    d = Driver(*(node(f"n{i}") for i in range(3)), limits={"a": "2/min"})
    d.end("n0")
    assert list(d.started) == ["n1"] and d.wake == 60
    d.tick()
    assert list(d.started) == ["n1", "n2"]


def test_dependants_wait_for_the_answers_of_hooks() -> None:
    """Who depends on a node is judged only when its hooks have answered."""
    d = Driver(node("a"), node("b", "a"), listens=completed)
    d.end("a")
    assert d.states == {"a": "completed", "b": "pending"}
    d.answer()
    assert d.states["b"] == "running"


def test_run_finished_is_told_once_and_answers_to_it_are_refused() -> None:
    """The run is over once `RunFinished` is answered; commands in the answer change nothing."""
    d = Driver(node("a"), listens=lambda event: isinstance(event, m.RunFinished))
    d.end("a")
    assert d.s.status is RunStatus.RUNNING
    with pytest.raises(InvalidState):
        d.apply(m.EmitEvent("late"))
    d.answer(m.RunFinished, m.RetryNode("a"), m.EmitEvent("late"))
    assert len(d.rejections()) == 2 and d.s.status is RunStatus.COMPLETED
    assert d.kinds().count("RunFinished") == 1


@pytest.mark.parametrize(
    "message",
    [
        m.Begin(0.0, None),
        m.AttemptEnded("a", 2, 0.0, OK),
        m.AttemptEnded("a", 1, 0.0, {"x": 1}),  # type: ignore[arg-type]  # wrong on purpose
        m.Answered(99, 0.0),
        m.Resume(0.0, "a"),
        m.Resume(0.0, ""),
        m.Resume(0.0, "missing"),
        m.RetryNodes(0.0, "a"),
        m.RetryNodes(0.0, "missing"),
        m.UsageReported("a", 0.0, -1),
        m.Tick(float("nan")),
        m.GroupOpened("a", 1, 0.0),
        "nonsense",
    ],
)
def test_senseless_inputs_raise(message: object) -> None:
    """What does not fit raises a `DagError`; the run goes on as if it had not come."""
    d = Driver(node("a"), node("b", "a"))
    before = fingerprint(d.s)
    with pytest.raises(DagError):
        d.s.handle(message)  # type: ignore[arg-type]  # wrong on purpose
    assert fingerprint(d.s) == before


def test_what_is_over_or_paused_takes_nothing_but_reopened() -> None:
    """A run that has ended refuses inputs; late results are ignored."""
    d = Driver(node("a")).run()
    for message in (m.PauseRun(0.0), m.CancelRun(0.0), m.Applied((), 0.0), m.Interrupt(0.0), m.Resume(0.0)):
        with pytest.raises(InvalidState, match="ended"):
            d.send(message)
    assert d.send(m.AttemptEnded("a", 1, 0.0, OK)) == []
    assert d.send(m.Tick(9.0)) == [] and d.send(m.FailRun(9.0, "late")) == []


def test_time_never_runs_backwards() -> None:
    """Events keep their order where the clock was set back."""
    d = Driver(node("a"), node("b", "a"))
    d.at = 50
    d.end("a")
    d.at = 10
    d.end("b")
    assert [event.at for event in d.events] == sorted(event.at for event in d.events)
    assert d.s.finished_at == 50


def test_deadline_counts_running_time_only() -> None:
    """`timeout_seconds` is of the whole run, pauses not counted, and begins anew once it was hit."""
    d = Driver(node("a"), node("b", "a", ask=Form()), timeout_seconds=10)
    d.at = 6
    d.end("a")
    assert d.s.status is RunStatus.PAUSED and d.s.elapsed == 6
    d.at = 1000
    d.reopen(m.Resume(d.at))
    assert d.wake == 1004
    d.tick()
    assert d.s.status is RunStatus.FAILED and "timeout_seconds=10" in str(d.s.error)
    assert d.states["b"] == "cancelled"
    d.reopen(m.RetryNodes(d.at))
    assert d.wake == 1014 and d.states["b"] == "running"


def test_cancel_run() -> None:
    """Everything that has not ended is cancelled; what runs is stopped."""
    d = Driver(node("a"), node("b", "a"), node("c"))
    d.end("a")
    d.send(m.CancelRun(0.0, "enough"))
    assert d.states == {"a": "completed", "b": "cancelled", "c": "cancelled"}
    assert d.ended == m.RunEnded(RunStatus.CANCELLED, "enough") and not d.started


def test_what_waits_for_itself_fails_the_run_and_is_named() -> None:
    """A run that can neither move nor end fails, and says what blocks it."""
    d = Driver(node("g", kind="workflow"), node("after", "g"), node("g/x", "after", parent="g"))
    d.open("g")
    assert d.s.status is RunStatus.FAILED and "g/x" in str(d.s.error)


def test_a_chain_of_answers_ends_as_a_budget() -> None:
    """More than 100 answers in a chain without a node starting or ending pause the run."""
    d = Driver(node("a"), listens=lambda event: isinstance(event, m.CustomEvent))
    d.apply(m.EmitEvent("again"))
    answers = 0
    while d.asked:
        d.answer(m.CustomEvent, m.EmitEvent("again"))
        answers += 1
    assert answers == 101 and "BudgetExceeded" in d.kinds()
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_answers_that_branch_end_as_a_budget_too() -> None:
    """Where each answer makes two events no chain is long, and still the run does not go on for ever."""
    d = Driver(node("a"), listens=lambda event: isinstance(event, m.CustomEvent))
    d.apply(m.EmitEvent("again"))
    answers = 0
    while d.asked:
        d.answer(m.CustomEvent, m.EmitEvent("again"), m.EmitEvent("again"))
        answers += 1
    assert 10_000 <= answers < 20_000 and d.kinds().count("BudgetExceeded") == 1
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_hooks_hear_that_answers_went_on_for_ever() -> None:
    """Who listens to `BudgetExceeded` is asked about it, and cannot make the chain endless by going on."""
    heard = 0

    def listens(event: object) -> bool:
        return isinstance(event, m.CustomEvent | m.BudgetExceeded)

    d = Driver(node("a"), listens=listens)
    d.apply(m.EmitEvent("again"))
    while d.asked:
        if any(isinstance(event, m.BudgetExceeded) for event in d.asked.values()):
            d.answer(m.BudgetExceeded, m.EmitEvent("again"))
            heard += 1
        else:
            d.answer(m.CustomEvent, m.EmitEvent("again"))
    assert heard == 1


def test_a_replay_listens_to_what_was_asked() -> None:
    """Inputs and the numbers of the events that were asked about make the same run again."""
    d = Driver(node("a"), node("b", "a"), listens=everything).run()
    asked = set(d.s.asked)
    again = Scheduler("dag", "run", [node("a"), node("b", "a")], listens=lambda event: event.seq in asked)
    effects = [effect for message in d.inputs for effect in again.handle(message)]
    assert effects == d.effects and fingerprint(again) == fingerprint(d.s)


def test_counts_follow_states() -> None:
    """`count` says how many nodes are in each state."""
    d = Driver(node("a"), node("b"), node("c", "a")).run(a="boom")
    for state in (NodeStatus.FAILED, NodeStatus.SKIPPED, NodeStatus.COMPLETED):
        assert d.s.count[state] == 1
