"""Nodes that have ended and go on in others: `AddNodes(holds=, heir=)`; who comes after them waits."""

from __future__ import annotations

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import NodeSpec, RunStatus
from tests.core.driver import Driver, node


def planning(*specs: object, **config: object) -> Driver:
    """A run whose hooks are asked about each end; `p` has ended, its steps `s` and `t` go on for it."""
    nodes = [node("p"), node("after", "p"), *specs]
    d = Driver(*nodes, listens=lambda e: isinstance(e, m.NodeCompleted | m.NodeFailed), **config)  # type: ignore[arg-type]
    d.end("p")
    d.answer(m.NodeCompleted, m.AddNodes([NodeSpec("a", id="s"), NodeSpec("a", id="t")], holds="p"), id="p")
    return d


def test_dependants_wait_for_what_goes_on_and_then_for_its_heir() -> None:
    """Not for steps that the heir did not wait for; its end is theirs."""
    d = planning()
    assert [*d.started] == ["s", "t"] and d.states["after"] == "pending"
    d.end("s")
    d.answer(m.NodeCompleted, m.AddNodes([NodeSpec("a", id="q")], holds="p", heir=True), id="s")
    assert d.node("p").heir == "q" and d.node("p").holders == {"q"}
    d.end("q")
    assert "after" not in d.started
    d.answer(m.NodeCompleted, id="q")
    assert "after" in d.started and "t" in d.started


def test_an_heir_that_fails_is_the_failure_of_what_it_stands_for() -> None:
    """Its predecessor stays completed, and what depends on that is skipped, with the heir as the reason."""
    d = planning(node("mend", "p", when="any_failed"))
    for id in ("s", "t"):
        d.end(id)
    d.answer(m.NodeCompleted, id="s")
    d.answer(m.NodeCompleted, m.AddNodes([NodeSpec("a", id="q")], holds="p", heir=True), id="t")
    d.fail("q")
    d.answer(m.NodeFailed)
    assert d.states["p"] == "completed" and d.states["after"] == "skipped" and "mend" in d.started
    assert "'q' failed" in (d.node("after").reason or "")


def test_without_an_heir_they_go_on_once_all_has_ended() -> None:
    """The end of the node itself counts then, whatever the steps came to."""
    d = planning()
    d.fail("s")
    d.answer(m.NodeFailed)
    d.end("t")
    assert "after" not in d.started
    d.answer(m.NodeCompleted, id="t")
    assert "after" in d.started


def test_a_question_about_the_end_is_waited_for() -> None:
    """From the pause until the answer to its end is known."""
    d = Driver(
        node("p"), node("after", "p"), listens=lambda e: isinstance(e, m.NodeCompleted | m.BranchResumed)
    )
    d.end("p")
    d.answer(m.NodeCompleted, m.AddNodes((), holds="p"), m.PauseBranch("p", "really?"))
    assert d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(0.0, "p", {}))
    assert "after" not in d.started
    d.answer(m.BranchResumed, m.AddNodes([NodeSpec("a", id="s")], holds="p"))
    assert [*d.started] == ["s"]
    d.end("s")
    d.answer(m.NodeCompleted, id="s")
    assert "after" in d.started


def test_a_step_that_runs_again_holds_again() -> None:
    """The heir that was added for it is withdrawn; who began on its strength runs again."""
    d = planning()
    d.end("t")
    d.answer(m.NodeCompleted, id="t")
    d.end("s")
    d.answer(m.NodeCompleted, m.AddNodes([NodeSpec("a", id="q")], holds="p", heir=True), id="s")
    d.run()
    assert d.ended is not None and d.states["after"] == "completed"
    d.reopen(m.RetryNodes(0.0, "s"))
    assert "q" not in d.s.nodes and d.node("p").heir is None and d.states["after"] == "pending"
    assert [*d.started] == ["s"]
    d.run()
    assert d.states == {"p": "completed", "after": "completed", "s": "completed", "t": "completed"}


def test_a_step_may_come_after_what_it_goes_on_for_and_not_after_who_waits() -> None:
    """The first is met; a step that waits for who waits for it frees that, as nothing else moves."""
    d = planning()
    steps = [NodeSpec("a", id="u", deps=["p"]), NodeSpec("a", id="v", deps=["after"])]
    d.end("s")
    d.answer(m.NodeCompleted, m.AddNodes(steps, holds="p"), id="s")
    assert "u" in d.started and "v" not in d.started
    d.run()
    assert d.ended is not None and set(d.states.values()) == {"completed"}
