"""Budgets: of the run, of branches, of answers, and reviews."""

from __future__ import annotations

from typing import Any

import pytest

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import NodeSpec, RunStatus
from tests.core.driver import Driver, completed, failed, node


def grow(d: Driver, rounds: int) -> None:
    """Each end is answered by one more node, at most so often."""
    for _ in range(rounds):
        if not d.started:
            return
        d.end(next(iter(d.started)))
        d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a")))


@pytest.mark.parametrize(("budget", "limit"), [("max_iterations", 3), ("max_nodes", 3)])
def test_growth_budgets_pause_and_go_on_when_raised(budget: str, limit: int) -> None:
    """The node that is too many waits; raising the budget lets it start; not raising it pauses again."""
    d = Driver(node("x"), listens=completed, **{budget: limit})
    grow(d, 99)
    assert d.s.status is RunStatus.PAUSED and len(d.starts) == 1 + limit
    assert d.node(next(reversed(d.s.nodes))).status == "pending"
    (event,) = [e for e in d.events if isinstance(e, m.BudgetExceeded)]
    assert (event.budget, event.limit, event.used) == (budget, limit, limit + 1)
    d.reopen(m.Resume(d.at))
    assert d.s.status is RunStatus.PAUSED and d.kinds().count("BudgetExceeded") == 2
    d.reopen(m.Resume(d.at), **{budget: limit + 2})
    grow(d, 99)
    assert len(d.starts) == 1 + limit + 2


def test_many_nodes_of_one_answer_are_one_round() -> None:
    """`max_iterations` is the length of a chain, not the number of nodes."""
    d = Driver(node("x"), listens=completed, max_iterations=1)
    d.end("x")
    d.answer(m.NodeCompleted, m.AddNodes([NodeSpec("a", deps=["x"]) for _ in range(50)]))
    assert len(d.started) == 50 and d.s.usage.max_nodes == 50


def test_tokens_and_cost() -> None:
    """What nodes report adds up; when it is used up nothing new starts."""
    d = Driver(node("x"), node("y", "x"), max_tokens=100)
    d.send(m.UsageReported("x", 0.0, 60, 0.5))
    d.send(m.UsageReported("x", 0.0, 40, 0.25))
    d.end("x")
    assert d.s.status is RunStatus.PAUSED and d.node("x").used_tokens == 100 and d.s.usage.max_cost == 0.75
    d.reopen(m.Resume(d.at), max_tokens=200)
    assert d.started == {"y": 1}


def test_a_breach_with_nothing_left_to_run_ends_the_run() -> None:
    """There is nothing to hold back."""
    d = Driver(node("x"), max_tokens=1, branch_budgets={"x": {"max_tokens": 1}})
    d.send(m.UsageReported("x", 0.0, 5))
    d.end("x")
    assert d.s.status is RunStatus.COMPLETED


def test_branch_budgets_pause_their_branch_only() -> None:
    """A glob of ids has budgets of its own; what comes after the branch counts for it."""
    specs = [node("p1"), node("q", "p1"), node("r", "q"), node("o"), node("o2", "o")]
    d = Driver(*reversed(specs), branch_budgets={"p*": {"max_tokens": 10}})
    d.send(m.UsageReported("p1", 0.0, 6))
    d.end("p1")
    d.send(m.UsageReported("q", 0.0, 6))
    d.end("q")
    d.end("o")
    assert d.states["r"] == "paused" and d.states["o2"] == "running"
    assert [e.branch_id for e in d.events if isinstance(e, m.BudgetExceeded)] == ["p1"]
    d.end("o2")
    d.reopen(m.Resume(d.at), branch_budgets={"p*": {"max_tokens": 20}})
    assert d.states["r"] == "running"


def test_branch_budgets_of_growth() -> None:
    """Nodes and rounds of growth count from where the branch begins."""
    d = Driver(node("x"), listens=completed, branch_budgets={"a_2": {"max_iterations": 1, "max_nodes": 9}})
    grow(d, 99)
    assert d.s.status is RunStatus.PAUSED and list(d.s.pauses) == ["a_2"]
    assert d.states["a_4"] == "paused" and d.states["a_3"] == "completed"


def test_review_every_so_many_rounds() -> None:
    """`review_frequency=2` pauses after the second, fourth, ... round, once each."""
    d = Driver(node("x"), listens=completed, review_frequency=2)
    grow(d, 99)
    assert d.s.status is RunStatus.PAUSED and d.s.pauses[""].kind == "review" and len(d.starts) == 2
    d.reopen(m.Resume(d.at))
    grow(d, 99)
    assert len(d.starts) == 4


def test_a_hook_that_retries_for_ever_is_growth_of_a_kind() -> None:
    """`RetryNode` in answer to each failure ends at `max_iterations`."""
    d = Driver(node("x"), listens=failed, max_iterations=5)
    for _ in range(20):
        if "x" in d.started:
            d.fail("x")
            d.answer(m.NodeFailed, m.RetryNode("x"))
    assert d.s.status is RunStatus.PAUSED and len(d.starts) == 6


def test_a_breach_during_a_pause_for_a_failure_holds_rescue_too() -> None:
    """Growth that rescues for ever is bounded also while the run is paused for another failure."""
    d = Driver(node("x"), node("y"), listens=lambda e: failed(e) and e.node.node_id != "y", max_nodes=4,
               on_failure="pause")  # fmt: skip
    d.fail("y")
    d.fail("x")
    for _ in range(9):
        about: Any = next((e for e in d.asked.values()), None)
        if about is None:
            break
        d.answer(m.NodeFailed, m.AddNode(NodeSpec("a", replaces=about.node.node_id)))
        if d.started:
            d.fail(next(iter(d.started)))
    assert d.s.status is RunStatus.PAUSED and d.s.pauses[""].kind == "budget"
