"""Commands: growth, inputs, switches; what is refused changes nothing."""

from __future__ import annotations

import pytest

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import NodeSpec, RunStatus, ref
from tests.core.driver import Driver, completed, failed, node
from tests.core.invariants import fingerprint


def test_the_answered_node_counts_as_met() -> None:
    """In an answer `deps=None` means the node of the event; it is met whatever its state."""
    d = Driver(node("a"), node("b"), listens=failed)
    d.fail("a")
    both = NodeSpec("a", id="h", deps=["a", "b"])
    d.answer(m.NodeFailed, m.AddNode(NodeSpec("a", id="g")), m.AddNode(both))
    assert d.node("g").spec.deps == ("a",) and "g" in d.started and d.states["h"] == "pending"
    d.fail("b")
    d.answer()
    assert d.states["h"] == "skipped" and d.node("g").added_by == "a"


def test_ids_are_made_from_the_action() -> None:
    """`a`, `a_2`, `a_3`, ...; a batch may name its own members; references add dependencies."""
    d = Driver(node("x"))
    batch = [NodeSpec("a"), NodeSpec("a", inputs={"v": [ref("a_2.k.0")]})]
    d.apply(m.AddNode(NodeSpec("a")), m.AddNodes(batch))
    assert list(d.s.nodes) == ["x", "a", "a_2", "a_3"]
    assert d.node("a_3").spec.deps == ("a_2",) and next(iter(d.node("a_3").spec.inputs["v"])).path == ("k", 0)
    (event,) = [e for e in d.events if isinstance(e, m.NodesAdded)][1:]
    assert [spec.id for spec in event.nodes] == ["a_2", "a_3"]


def test_the_same_node_again_is_no_change() -> None:
    """An id with an equal definition is a no-op, with another one it is refused."""
    d = Driver(node("x"))
    d.apply(m.AddNode(NodeSpec("a", id="g")), m.AddNode(NodeSpec("a", id="g")))
    assert not d.rejections() and d.kinds().count("NodesAdded") == 1
    d.apply(m.AddNode(NodeSpec("a", id="g", timeout=3)))
    assert "already a node 'g'" in d.rejections()[0]


def test_the_same_spec_in_answer_to_another_event_is_no_change() -> None:
    """What says nothing of its dependencies is the same node whoever's event it answers."""
    d = Driver(node("x"), node("y"), listens=lambda event: isinstance(event, m.NodeCompleted))
    d.end("x")
    d.end("y")
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a", id="g")), id="x")
    d.answer(m.NodeCompleted, m.AddNode(NodeSpec("a", id="g")), id="y")
    assert not d.rejections() and d.node("g").spec.deps == ("x",)
    d.apply(m.AddNode(NodeSpec("a", id="g", deps=["y"])), m.AddNode(NodeSpec("a", id="y")))
    assert len(d.rejections()) == 1 and "already a node 'g'" in d.rejections()[0]


@pytest.mark.parametrize(
    "command",
    [
        m.AddNode(NodeSpec("nowhere")),
        m.AddNode(NodeSpec("a", deps=["missing"])),
        m.AddNodes([NodeSpec("a", id="good"), NodeSpec("a", deps=["missing"])]),
        m.AddNodes([NodeSpec("a", id="p", deps=["q"]), NodeSpec("a", id="q", deps=["p"])]),
        m.AddNode(NodeSpec("a", id="self", deps=["self"])),
        m.AddNode(NodeSpec("a", id="")),
        m.AddNode(NodeSpec("a", id="inputs")),
        m.AddNode(NodeSpec("a", timeout=-1)),
        m.AddNode(NodeSpec("a", try_count=0)),
        m.AddNode(NodeSpec("a", when="sometimes")),
        m.AddNode(NodeSpec("a", on_failure="explode")),
        m.AddNode(NodeSpec("a", ask="text")),
        m.AddNode(NodeSpec("a", inputs={"x": ref("nobody.x")})),
        m.AddNode(NodeSpec("a", replaces="x")),
        m.AddNode(NodeSpec("a"), dag_name="another"),
        m.AddNode(NodeSpec(print)),
        m.AddNode(5),  # type: ignore[arg-type]  # wrong on purpose
        m.SetNodeInputs("x", {"v": 1}),
        m.SetNodeInputs("y", {"v": ref("z.k")}),
        m.SetNodeInputs("y", 5),  # type: ignore[arg-type]  # wrong on purpose
        m.SetNodeOutputs("x", {}),
        m.SetNodeOutputs("y", [1]),  # type: ignore[arg-type]  # wrong on purpose
        m.RetryNode("x"),
        m.PauseBranch("missing"),
        m.PauseBranch("y", form="text"),
        m.ResumeBranch("y"),
        m.CancelBranch("done"),
        m.EnableNodes(["y", "x"]),
        m.DisableNodes(["y", "missing"]),
        m.EmitEvent(""),
        "nonsense",
    ],
)
def test_refused_commands_change_nothing(command: object) -> None:
    """`CommandRejected` is all that comes of them."""
    d = Driver(node("done"), node("x"), node("y", "x"), node("z"))
    d.end("done")
    before = fingerprint(d.s)
    effects = d.send(m.Applied((command,), d.at, "me"))
    (effect,) = effects
    assert isinstance(effect, m.CommandRejected) and effect.command is command and effect.by == "me"
    after = fingerprint(d.s)
    before.pop("seq"), after.pop("seq")
    assert after == before


def test_set_inputs() -> None:
    """Inputs of a node that has not started are replaced by name."""
    d = Driver(node("x"), node("y", "x", inputs={"v": 1, "w": 2}))
    d.apply(m.SetNodeInputs("y", {"v": ref("x.k")}))
    assert d.node("y").spec.inputs == {"v": ref("x.k").bind(d.s.nodes), "w": 2}


def test_disable_and_enable() -> None:
    """What is disabled is skipped when its turn comes, unless it is enabled before."""
    d = Driver(node("x"), node("y", "x"), node("z", "x"))
    d.apply(m.DisableNodes(["y", "z"]), m.EnableNodes("z"))
    d.end("x")
    assert d.states == {"x": "completed", "y": "skipped", "z": "running"}


def test_disabling_what_waits_for_a_slot() -> None:
    """A node that is ready but has no slot yet is skipped at once."""
    d = Driver(node("x"), node("y"), max_parallel_nodes=1)
    d.apply(m.DisableNodes(["y"]))
    assert d.states["y"] == "skipped"


def test_emitted_events_carry_their_node() -> None:
    """`EmitEvent` in an answer is about the node whose event it answers."""
    d = Driver(node("x"), listens=completed)
    d.end("x")
    d.answer(m.NodeCompleted, m.EmitEvent("mine", [1]))
    (event,) = [e for e in d.events if isinstance(e, m.CustomEvent)]
    assert (event.name, event.data, event.node and event.node.node_id) == ("mine", [1], "x")


def test_hooks_that_fail_are_told_of() -> None:
    """`HookFailed` says which and why; the run goes on."""
    d = Driver(node("x"), node("y", "x"), listens=completed)
    d.end("x")
    d.send(m.Answered(next(iter(d.s.asks)), 0.0, (), (("bad", "boom"),)))
    assert "HookFailed" in d.kinds() and "y" in d.started


def test_retrying_outputs_given_to_what_waits_for_its_retry() -> None:
    """`SetNodeOutputs` also ends a node that waits for its next attempt."""
    d = Driver(node("x", try_count=2), node("y", "x"))
    d.fail("x")
    d.apply(m.SetNodeOutputs("x", {"k": 1}))
    assert d.states["x"] == "recovered"
    d.run()
    assert d.s.status is RunStatus.COMPLETED
