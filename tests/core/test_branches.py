"""Branches: paused, resumed and cancelled as one; people who answer, late or never."""

from __future__ import annotations

from typing import Any

import pytest

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import Form, NodeSpec, RunStatus, When
from tests.core.driver import Driver, completed, node

DIAMOND = (node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))
FORM = Form("go on?", None, {"approved": True})


def test_a_paused_branch_waits_and_what_runs_ends() -> None:
    """What has not started waits, also later additions; what runs ends; the rest goes on."""
    d = Driver(*DIAMOND, node("e", "b"))
    d.end("a")
    d.apply(m.PauseBranch("b", "look"), m.AddNode(NodeSpec("a", id="new", deps=["e"])))
    assert d.states["b"] == "running"
    assert d.states["d"] == d.states["e"] == d.states["new"] == "paused"
    d.end("b")
    d.end("c")
    assert d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(d.at, "b", {"note": "fine"}, "me"))
    assert set(d.started) == {"d", "e"} and d.node("e").human == {"note": "fine"}
    assert d.s.human == {"note": "fine"}
    d.run()
    assert d.s.status is RunStatus.COMPLETED and d.kinds().count("BranchResumed") == 1


def test_nested_pauses_hold_until_the_last_is_lifted() -> None:
    """A node waits as long as any branch that holds it is paused."""
    d = Driver(*DIAMOND, listens=completed)
    d.end("a")
    d.answer(m.NodeCompleted, m.PauseBranch("b"), m.PauseBranch("d"))
    d.end("c")
    d.answer()
    d.reopen(m.Resume(d.at, "b"))
    d.end("b")
    d.answer()
    assert d.states["d"] == "paused" and d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(d.at))
    assert d.states["d"] == "running"


def test_a_paused_branch_with_nothing_left_still_pauses_the_run() -> None:
    """A decision about a branch is open although all of it has ended."""
    d = Driver(node("a"))
    d.apply(m.PauseBranch("a", "check the result"))
    d.end("a")
    assert d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(d.at))
    assert d.s.status is RunStatus.COMPLETED


def test_a_retry_in_a_paused_branch_waits() -> None:
    """An attempt that fails in a paused branch is followed by another once it is resumed."""
    d = Driver(node("a", try_count=2))
    d.apply(m.PauseBranch("a"))
    d.fail("a")
    assert d.states["a"] == "paused" and d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(d.at, "a"))
    assert d.started == {"a": 2}


def test_run_level_pause() -> None:
    """Nothing new starts, nodes stay pending; with nothing left to run the run ends all the same."""
    d = Driver(*DIAMOND)
    d.send(m.PauseRun(0.0, "tea", "me"))
    d.end("a")
    assert d.states["b"] == "pending" and d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(d.at))
    assert set(d.started) == {"b", "c"}
    d = Driver(node("a"))
    d.send(m.PauseRun(0.0))
    d.end("a")
    assert d.s.status is RunStatus.COMPLETED


def test_cancel_branch() -> None:
    """What runs is stopped, what has not started is cancelled, a join goes on if its rule can still hold."""
    specs = [*DIAMOND, node("j", "b", "c", when=When.ONE_SUCCESS), node("k", "b", when=When.ONE_SUCCESS)]
    d = Driver(*specs)
    d.end("a")
    d.apply(m.CancelBranch("b", "no use"))
    assert d.states == {
        "a": "completed", "b": "cancelled", "c": "running", "d": "cancelled", "j": "pending", "k": "cancelled"
    }  # fmt: skip
    assert m.CancelAttempt("b", 1, "no use") in d.effects
    d.end("c")
    assert d.states["j"] == "running"
    d.run()
    assert d.s.status is RunStatus.COMPLETED


def test_edges_out_of_a_cancelled_branch_count_as_cancelled() -> None:
    """Also those of members that had completed: cancelled is neither success nor failure."""
    d = Driver(node("a"), node("b", "a"), node("c"), node("j", "a", "c", when=When.ONE_SUCCESS),
               node("f", "a", "c", when=When.ANY_FAILED))  # fmt: skip
    d.end("a")
    d.apply(m.CancelBranch("a"))
    d.fail("c")
    assert d.states["j"] == "skipped" and d.states["f"] == "running"


def test_additions_under_a_cancelled_branch_are_cancelled() -> None:
    """A new node after a cancelled branch shares its fate, unless its rule can hold without it."""
    d = Driver(*DIAMOND)
    d.end("a")
    d.apply(m.CancelBranch("b"))
    d.apply(m.AddNode(NodeSpec("a", id="x", deps=["b"])),
            m.AddNode(NodeSpec("a", id="y", deps=["b", "c"], when="all_done")))  # fmt: skip
    assert d.states["x"] == "cancelled" and d.states["y"] == "pending"


def test_a_cancel_reaches_beyond_what_has_ended() -> None:
    """What follows a join that has run is of the branch; a join that has not run goes on."""
    d = Driver(node("a"), node("x"), node("j", "a", "x", when=When.ALL_DONE), node("c", "j"),
               node("k", "c", "x", when=When.ALL_DONE), node("l", "k"))  # fmt: skip
    d.end("a")
    d.end("x")
    d.end("j")
    d.apply(m.CancelBranch("a", "no use"))
    assert d.states["c"] == "cancelled" and m.CancelAttempt("c", 1, "no use") in d.effects
    assert d.states["k"] == "running" and d.states["l"] == "pending"
    d.apply(m.AddNode(NodeSpec("a", id="late", deps=["j"])))
    assert d.states["late"] == "cancelled"


def test_what_grew_in_a_branch_is_cancelled_with_it() -> None:
    """Also where its rule would hold, and below a branch that was cancelled before; a join of what grew with
    something else goes on, and so does what answers the cancellation itself."""
    cancelled: Any = (m.NodeCompleted, m.NodeCancelled)
    d = Driver(node("a"), node("b", "a"), node("x"), listens=lambda event: isinstance(event, cancelled))
    d.end("a")
    d.answer(m.NodeCompleted)
    d.apply(m.CancelBranch("b"))
    d.answer(m.NodeCancelled, m.AddNode(NodeSpec("a", id="instead", deps=["b"], when="all_done")))
    assert d.states["instead"] == "running"
    d.end("instead")
    rounds = [NodeSpec("a", id=id, deps=deps, when="all_done")
              for id, deps in {"own": ["instead"], "both": ["instead", "x"]}.items()]  # fmt: skip
    d.answer(m.NodeCompleted, *map(m.AddNode, rounds))
    assert d.states["own"] == "running"
    d.apply(m.CancelBranch("a"))
    assert (d.states["own"], d.states["both"]) == ("cancelled", "pending")


def test_an_answer_that_comes_after_the_cancel_changes_nothing() -> None:
    """A branch whose hooks have not answered can be cancelled, though all of it has ended."""
    d = Driver(node("a"), listens=completed)
    d.end("a")
    d.apply(m.CancelBranch("a"))
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a", id="next", when="all_done")))
    assert not d.rejections() and d.states["next"] == "cancelled"


def test_cancelling_lifts_the_pauses_inside() -> None:
    """A join that goes on is not held by a pause that was cancelled."""
    d = Driver(*DIAMOND[:3], node("j", "b", "c", when=When.ALL_DONE), listens=completed)
    d.end("a")
    d.answer(m.NodeCompleted, m.PauseBranch("b"), m.CancelBranch("b"))
    d.end("c")
    d.answer()
    assert d.states["j"] == "running"


def test_cancel_and_resume_that_make_no_sense_are_refused() -> None:
    """There is nothing to cancel in what has ended, nothing to resume in what was cancelled or runs."""
    d = Driver(*DIAMOND)
    d.end("a")
    d.apply(m.CancelBranch("b"), m.CancelBranch("b"), m.ResumeBranch("b"))
    d.apply(m.ResumeBranch("c"), m.PauseBranch("b"))
    words = ("already", "cannot be", "not paused", "was cancelled")
    assert all(word in text for word, text in zip(words, d.rejections(), strict=True))


def test_cancelled_groups_take_their_children_along() -> None:
    """A map that is cancelled while its items run ends with them."""
    d = Driver(node("m", kind="map"), node("n", "m"))
    d.open("m", 3)
    d.end("m/0")
    d.apply(m.CancelBranch("m"))
    assert d.states.pop("m/0") == "completed"
    assert {state for id, state in d.states.items() if id != "m/0"} == {"cancelled"}
    assert d.s.status is RunStatus.COMPLETED


# --- people ---------------------------------------------------------------------------------------


def test_ask_pauses_a_node_once_it_is_ready() -> None:
    """A node with `ask` waits before its first attempt, with what comes after it; asked once."""
    d = Driver(node("a"), node("b", "a", ask=FORM, try_count=2), node("c", "b"))
    assert d.states["b"] == "pending"
    d.end("a")
    assert d.states["b"] == d.states["c"] == "paused" and d.s.pauses["b"].form is FORM
    d.reopen(m.Resume(d.at, "b", {"approved": True}))
    d.fail("b")
    d.tick()
    assert d.started == {"b": 2} and d.node("b").human == {"approved": True}


def test_given_outputs_answer_an_ask() -> None:
    """A node that waits for a person and is given its outputs is waited for no longer."""
    d = Driver(node("b", ask=FORM), node("c", "b"), node("x"))
    d.apply(m.SetNodeOutputs("b", {"x": 1}))
    assert d.states["b"] == "recovered" and d.states["c"] == "running" and not d.s.pauses


@pytest.mark.parametrize(
    ("action", "status", "b"),
    [
        ("autopilot", "running", "running"),
        ("pause", "running", "paused"),
        ("fail", "running", "failed"),
        ("cancel", "running", "cancelled"),
    ],
)
def test_nobody_answers(action: str, status: str, b: str) -> None:
    """After `human_wait_minutes` the chosen action applies; AUTOPILOT gives the defaults and says so."""
    specs = [node("b", ask=FORM), node("c", "b"), node("x")]
    d = Driver(*specs, human_wait_minutes=2, human_timeout_action=action)
    assert d.wake == 120
    d.tick()
    assert d.states["b"] == b and str(d.s.status) == status
    resumed = [event for event in d.events if isinstance(event, m.BranchResumed)]
    expected = [(True, {"approved": True})] if b == "running" else []
    assert [(event.automatic, dict(event.answers)) for event in resumed] == expected


def test_autopilot_without_defaults_stays_paused() -> None:
    """Where the form has no defaults AUTOPILOT is refused, once."""
    d = Driver(node("b", ask=Form("?")), node("x"), human_wait_minutes=1, human_timeout_action="autopilot")
    d.tick()
    assert d.states["b"] == "paused" and "declares no default" in d.rejections()[0] and d.wake is None


def test_the_clock_goes_on_while_nobody_holds_the_run() -> None:
    """A wait that ended in the meantime is acted on at the next resume; an answer given then is too late."""
    for branch, answers in ((None, {}), (None, {"limit": 3}), ("b", {"limit": 3})):
        d = Driver(node("b", ask=FORM), human_wait_minutes=1, human_timeout_action="autopilot")
        assert d.s.status is RunStatus.PAUSED
        d.at = 1000
        d.reopen(m.Resume(d.at, branch, answers))
        assert d.states["b"] == "running" and d.node("b").human == {"approved": True}
        assert ["too late: nobody answered within 60 s" in text for text in d.rejections()] == (
            [True] if answers else []
        )


def test_a_late_answer_to_one_of_two_is_an_answer_to_the_other() -> None:
    """Each question has its own clock."""
    d = Driver(node("a"), node("b", ask=FORM), node("c", "a", ask=FORM), human_wait_minutes=1,
               human_timeout_action="fail")  # fmt: skip
    d.at = 50
    d.end("a")
    assert d.s.status is RunStatus.PAUSED
    d.at = 70
    d.reopen(m.Resume(d.at, own={"b": {"limit": 1}, "c": {"limit": 2}}))
    assert d.states["b"] == "failed" and "within 60 s" in str(d.node("b").error)
    assert d.states["c"] == "running" and d.node("c").human == {"limit": 2}
    assert len(d.rejections()) == 1


def test_each_branch_gets_its_own_answers() -> None:
    """A run goes on with what is named, each with its own; else only where nothing was asked."""
    d = Driver(node("b", ask=FORM), node("c", ask=FORM), node("d"), node("e", "d"))
    d.apply(m.PauseBranch("e"))
    d.end("d")
    assert d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(d.at, own={"b": {"n": 1}}))
    assert d.started.keys() == {"b", "e"} and d.states["c"] == "paused"
    assert d.node("b").human == {"n": 1} and d.node("e").human is None and d.s.human == {"n": 1}


def test_no_to_a_node_that_asks_cancels_it() -> None:
    """`approved=False` is a no to the node itself; where its form has that field it is one of the answers."""
    d = Driver(node("b", ask=Form("?")), node("c", "b"), node("x"))
    d.send(m.Resume(d.at, None, {"approved": False}))
    assert (d.states["b"], d.states["c"], d.states["x"]) == ("cancelled", "cancelled", "running")
    own = Form("?", {"type": "object", "properties": {"approved": {"type": "boolean"}}})
    d = Driver(node("b", ask=own), node("x"))
    d.send(m.Resume(d.at, None, {"approved": False}))
    assert d.states["b"] == "running" and d.node("b").human == {"approved": False}


@pytest.mark.parametrize(
    ("action", "status"), [("autopilot", "running"), ("fail", "failed"), ("cancel", "cancelled")]
)
def test_nobody_reviews(action: str, status: str) -> None:
    """The whole run's review ends by the same actions."""
    d = Driver(node("a"), node("x"), listens=completed, review_frequency=1, human_wait_minutes=1,
               human_timeout_action=action)  # fmt: skip
    d.end("a")
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a", id="g")))
    assert d.s.pauses[""].kind == "review" and d.states["g"] == "pending"
    d.tick()
    assert str(d.s.status) == status or d.asked


def test_fail_and_cancel_of_a_branch_that_has_ended_never_raise() -> None:
    """A decision that nobody makes about an ended branch ends with it."""
    for action, status in (("fail", "failed"), ("cancel", "completed")):
        d = Driver(node("a"), node("x"), human_wait_minutes=1, human_timeout_action=action)
        d.apply(m.PauseBranch("a"))
        d.end("a")
        d.tick()
        d.run()
        assert d.s.status == status
