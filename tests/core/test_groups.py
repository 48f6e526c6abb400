"""Groups: maps and sub-workflows open, run their children, and close."""

from __future__ import annotations

from dagflow_nb.core import messages as m
from dagflow_nb.core.model import NodeDef, NodeOutput, NodeSpec, RunStatus, When
from tests.core.driver import Driver, completed, node

SUB = (
    node("s", "a", kind="workflow"),
    node("s/x", parent="s"),
    node("s/y", "s/x", parent="s"),
    node("after", "s"),
)


def test_a_map_opens_runs_its_items_and_closes() -> None:
    """Dependants wait for the map, which waits for its items."""
    d = Driver(node("m", kind="map"), node("n", "m"))
    assert d.opening == {"m": 1} and d.kinds("m") == ["NodeStarted"]
    d.open("m", 2)
    d.end("m/0")
    assert not d.closing
    d.end("m/1")
    assert d.closing == {"m": 1} and d.states["n"] == "pending"
    d.close("m")
    assert d.states == {"m": "completed", "n": "running", "m/0": "completed", "m/1": "completed"}
    assert d.s.usage.max_nodes == 0


def test_an_empty_map_completes() -> None:
    """No items: it closes at once."""
    d = Driver(node("m", kind="map"), node("n", "m"))
    d.open("m", 0)
    d.close("m")
    assert d.states["n"] == "running"


def test_a_map_that_cannot_open_fails_without_retries() -> None:
    """Inputs that cannot be made fail the map, and its sub-workflow's children are skipped."""
    d = Driver(node("a"), *SUB, max_attempts=3)
    d.end("a")
    d.open("s", error="no such key")
    assert d.states["s"] == "failed"
    assert d.states["s/x"] == d.states["s/y"] == d.states["after"] == "skipped"


def test_a_failed_child_fails_the_group_once_the_others_have_ended() -> None:
    """CONTINUE: the items run to their end, then the map fails and names the item."""
    d = Driver(node("m", kind="map"), node("n", "m"), node("k", "m", when=When.ALL_DONE))
    d.open("m", 3)
    d.fail("m/1", "bad item")
    assert d.states["m"] == "running"
    d.end("m/0")
    d.end("m/2")
    assert d.states["m"] == "failed" and "1 of 3 items failed; m/1: bad item" in str(d.node("m").error)
    assert d.states["n"] == "skipped" and d.states["k"] == "running"


def test_a_group_whose_closing_fails_has_failed() -> None:
    """An outcome that cannot be worked out fails the group; a retry closes it again."""
    d = Driver(node("m", kind="map"))
    d.open("m", 2)
    d.end("m/0"), d.end("m/1")
    d.close("m", error="no result")
    assert d.s.status is RunStatus.FAILED
    d.reopen(m.RetryNodes(d.at))
    assert d.closing == {"m": 2} and not d.started


def test_sub_workflows_nest() -> None:
    """Children wait for their group to open; groups in groups too."""
    specs = [node("o", kind="workflow"), node("o/i", parent="o", kind="map"), node("o/z", "o/i", parent="o")]
    d = Driver(*specs)
    d.open("o")
    d.open("o/i", 2)
    d.end("o/i/0"), d.end("o/i/1")
    d.close("o/i")
    d.end("o/z")
    d.close("o")
    assert d.s.status is RunStatus.COMPLETED


def test_a_group_that_does_not_run_takes_its_children_along() -> None:
    """Skipped, cancelled, or given outputs before it opens: so are its children."""
    d = Driver(node("a"), *SUB).run(a="boom")
    assert d.states["s"] == d.states["s/y"] == "skipped"
    d = Driver(node("a"), *SUB)
    d.apply(m.CancelBranch("s"))
    assert d.states["s/x"] == "cancelled"
    d = Driver(node("a"), *SUB)
    d.apply(m.SetNodeOutputs("s", {"k": 1}))
    assert d.states["s"] == "recovered" and d.states["s/x"] == "skipped" and d.states["after"] == "running"


def test_pausing_a_group_and_a_child() -> None:
    """A paused group starts no children, also such that it gets later; a paused child holds its group."""
    d = Driver(node("m", kind="map"), node("n", "m"))
    d.apply(m.PauseBranch("m"))
    d.open("m", 2)
    assert d.states["m/0"] == d.states["n"] == "paused" and d.s.status is RunStatus.PAUSED
    d.reopen(m.Resume(d.at))
    d.apply(m.PauseBranch("m/1"))
    d.end("m/0"), d.end("m/1")
    d.close("m")
    assert d.states["n"] == "running"


def test_a_failed_item_is_retried_without_its_siblings() -> None:
    """The map waits anew, and closes with the results it had and the new one."""
    d = Driver(node("m", kind="map"), node("n", "m")).run(**{"m/1": "boom"})
    assert d.states["n"] == "skipped" and d.s.status is RunStatus.FAILED
    d.reopen(m.RetryNodes(d.at))
    assert d.started == {"m/1": 2} and d.states["m"] == "running"
    d.run()
    assert d.s.status is RunStatus.COMPLETED and d.starts.count(("m/0", 1)) == 1


def test_a_retried_item_takes_back_a_closing() -> None:
    """An item that runs again while its map closes makes that answer out of date."""
    d = Driver(node("m", kind="map"))
    d.open("m", 1)
    d.end("m/0")
    d.send(m.RetryNodes(0.0, "m/0"))
    assert d.started == {"m/0": 2}
    d.end("m/0")
    d.send(m.AttemptEnded("m", 1, 0.0, NodeOutput.ok()))
    assert d.states["m"] == "running"
    d.close("m")
    assert d.states["m"] == "completed"


def test_a_map_that_runs_again_makes_its_items_anew() -> None:
    """With what it depends on a map opens again; numbers of attempts go on, late results do not count."""
    d = Driver(node("a"), node("m", "a", kind="map"))
    d.end("a")
    d.open("m", 2)
    d.send(m.RetryNodes(0.0, "a"))
    assert "m/0" not in d.s.nodes and d.states["m"] == "pending"
    d.end("a")
    d.open("m", 1)
    assert d.started == {"m/0": 2}
    d.send(m.AttemptEnded("m/0", 1, 0.0, NodeOutput.ok()))
    assert d.states["m/0"] == "running"


def test_late_recovery_of_an_item_reopens_its_map() -> None:
    """Outputs given to a failed item after its map had failed: the map closes anew, dependants run."""
    d = Driver(node("m", kind="map"), node("n", "m"), node("long"))
    d.open("m", 2)
    d.fail("m/0")
    d.end("m/1")
    assert d.states["n"] == "skipped"
    d.apply(m.SetNodeOutputs("m/0", {"x": 1}))
    d.close("m")
    assert d.states["n"] == "running" and d.states["m"] == "completed"


def test_groups_may_be_grown() -> None:
    """A sub-workflow that a hook adds counts as one node, and its children run."""
    d = Driver(node("a"), listens=completed)
    d.end("a")
    child, group = NodeDef(id="s/x", action="a", parent="s"), NodeDef(id="s", action="sub", kind="workflow")
    d.answer(m.NodeCompleted, m.AddNodes([child, group]))  # type: ignore[list-item]  # definitions
    assert d.s.usage.max_nodes == 1
    d.run()
    assert d.states["s"] == d.states["s/x"] == "completed"


def test_additions_to_a_group_that_is_there_are_refused() -> None:
    """Children come with their group, never after it."""
    d = Driver(node("m", kind="map"), node("z"))
    d.apply(m.AddNodes([NodeDef(id="m/9", action="a", parent="m")]))  # type: ignore[list-item]  # a definition
    d.apply(m.AddNodes([NodeDef(id="z/9", action="a", parent="z")]))  # type: ignore[list-item]  # a definition
    assert len(d.rejections()) == 2


def test_a_map_whose_items_id_is_taken_fails_and_the_run_ends() -> None:
    """An item that cannot be made for its id fails its map with the id; nothing is waited for."""
    d = Driver(node("m/1"), node("m", kind="map"), node("n", "m"))
    d.end("m/1")
    d.open("m", 2)
    assert d.s.status is RunStatus.FAILED and d.states["m"] == "failed" and d.states["n"] == "skipped"
    assert "item 'm/1' cannot be made: there is already a node" in str(d.node("m").error)
    assert not d.s.busy and "m/0" not in d.states


def test_ids_of_items_are_refused_to_what_is_added() -> None:
    """Items of a map, inputs of a sub-workflow; other ids below a group's are free."""
    d = Driver(node("m", kind="map"), node("s", kind="workflow"), node("s/x", parent="s"))
    for id in ("m/0", "m/17", "s/inputs"):
        d.apply(m.AddNode(NodeSpec("a", id=id)))
    assert "'m/17' is the id of an item of the map 'm'" in d.rejections()[1] and len(d.rejections()) == 3
    d.apply(m.AddNodes([NodeSpec("a", id="m/fix"), NodeSpec("a", id="m/0/fix"), NodeSpec("a", id="s/x-fix")]))
    assert len(d.rejections()) == 3
    d.open("m", 2)
    assert d.states["m/0"] == d.states["m/fix"] == "running"
