"""What is drawn of a run, before anything has a place."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from dagflow_nb.core.model import NodeDef
from dagflow_nb.notebook.drawing import draw, draw_diff, draw_workflow, summary
from dagflow_nb.notebook.folding import Folding
from dagflow_nb.notebook.picture import workflow_picture
from dagflow_nb.notebook.style import LOOKS
from dagflow_nb.runtime.snapshot import NodeView

from .conftest import run_of


def test_kinds_of_nodes_have_shapes_of_their_own(rich):
    """Decisions are diamonds, sub-workflows and small maps groups, big maps stacks, all else boxes."""
    items = draw(rich).items
    shapes = {id: item.shape for id, item in items.items()}
    assert shapes["fetch"] == "box" and shapes["good?"] == "diamond"
    assert shapes["score"] == "group" and shapes["report"] == "group" and shapes["tiles"] == "stack"
    assert shapes["score/0"] == "box" and "tiles/0" not in shapes
    assert items["tiles"].items == {"completed": 30, "pending": 10}
    assert items["score/0"].parent == "score" and items["score/0"].title == "0"


def test_lines_tell_dependencies_growth_and_rescue_apart(rich):
    """Lines tell growth and failure handling from dependencies, and never repeat what a group's line says."""
    lines = {(line.tail, line.head): line.kind for line in draw(rich).lines}
    assert lines["fetch", "clean"] == "needs"
    assert lines["check", "refetch"] == "grown"
    assert lines["check", "check.on_failure"] == "rescue" and lines["score", "rescue"] == "rescue"
    assert lines["tiles", "report"] == "needs" and lines["report/load", "report/plot"] == "needs"
    assert not any(tail == "clean" and head.startswith("score/") for tail, head in lines)


def test_lines_from_hidden_items_start_at_their_stack():
    """What depends on, or was added by, an item of a closed map has a line from the map."""
    items = [NodeView(id=f"m/{i}", action="f", parent="m", deps=("a",)) for i in range(31)]
    run = run_of(
        NodeView(id="a", action="f"),
        NodeView(id="m", action="f", kind="map", deps=("a",)),
        *items,
        NodeView(id="b", action="f", deps=("m/3",)),
        NodeView(id="c", action="f", deps=(), added_by="m/7"),
    )
    lines = {(line.tail, line.head, line.kind) for line in draw(run).lines}
    assert lines == {("a", "m", "needs"), ("m", "b", "needs"), ("m", "c", "grown")}


def test_a_map_without_items_yet_is_one_node():
    """Before its items are known a map is a stack, and so is a sub-workflow without nodes."""
    items = draw(run_of(NodeView(id="m", action="f", kind="map"))).items
    assert items["m"].shape == "stack" and items["m"].subtitle == "map of f"


def test_a_bunch_is_one_box_with_counts():
    """Nodes of one action stand as one box, with lines that stand for theirs and a state made of theirs."""
    first = [NodeView(id=f"a{i}", action="load", status="completed") for i in range(200)]
    then = [NodeView(id=f"b{i}", action="fit", deps=(f"a{i}",), status="pending") for i in range(200)]
    then[7] = replace(then[7], status="failed")
    drawing = draw(run_of(*first, *then))
    load, fit = drawing.items.values()
    assert (load.shape, load.title, load.subtitle, load.fold) == ("stack", "load", "× 200", "closed")  # noqa: RUF001
    assert fit.items == {"pending": 199, "failed": 1} and fit.state == "failed" and load.state == "completed"
    assert [(line.tail, line.head, line.kind) for line in drawing.lines] == [(load.id, fit.id, "needs")]
    assert drawing.hidden()[load.id] == [node.id for node in first]
    opened = draw(run_of(*first, *then), Folding().turned(load.id, closed=True))
    assert opened.items[load.id].shape == "group" and opened.items[load.id].fold == "open"
    assert opened.members[load.id] == [f"{load.id}#0", f"{load.id}#1"]
    assert opened.items[f"{load.id}#1"].title == "a100 … a199"


def test_odd_parents_and_dependencies_do_no_harm():
    """Unknown parents and dependencies, and nodes that are their own parent, are drawn as far as they go."""
    drawing = draw(
        run_of(
            NodeView(id="a", action="f", parent="a", deps=("a", "nobody"), added_by="nobody"),
            NodeView(id="b", action="f", parent="nobody"),
            NodeView(id="c", action="f", parent="d"),
            NodeView(id="d", action="f", parent="c"),
        )
    )
    assert {"a", "b"} <= set(drawing.items) and drawing.lines == []


def test_a_workflow_has_no_states():
    """A workflow is drawn from its node definitions, a mapping or a sequence of them, without states."""
    defs = [NodeDef(id="a", action="f"), NodeDef(id="b", action="g", deps=("a",))]
    for nodes in (defs, {one.id: one for one in defs}):
        drawing = draw_workflow(SimpleNamespace(name="w", nodes=nodes))
        assert not drawing.states and list(drawing.items) == ["a", "b"] and len(drawing.lines) == 1


def test_marks_colour_a_workflow_that_has_no_states():
    """A mark gives a node a look and a note, in the drawing, its SVG with its legend and its DOT text."""
    defs = [
        NodeDef(id="a", action="f"),
        NodeDef(id="b", action="g", deps=("a",)),
        NodeDef(id="c", action="h"),
    ]
    marks = {"a": ("cached", "same as before"), "b": ("run", "code <changed>"), "nobody": ("run", "")}
    workflow = SimpleNamespace(name="w", nodes=defs)
    items = draw_workflow(workflow, marks).items
    assert [(item.change, item.note) for item in items.values()] == [*list(marks.values())[:2], ("", "")]
    picture = workflow_picture(workflow, marks)
    assert 'data-change="run"' in picture.svg and "code &lt;changed&gt;" in picture.svg
    assert ">run 1<" in picture.svg and ">cached 1<" in picture.svg and "pending" not in picture.svg
    assert "same as before" in picture.source and LOOKS["cached"].ink in picture.source


def test_a_comparison_names_what_differs(rich):
    """Nodes only in one run, nodes whose state differs, and what else is said to differ, are marked."""
    nodes = [
        replace(n, status="completed") if n.id == "publish" else n for n in rich.nodes if n.id != "refetch"
    ]
    other = replace(rich, nodes=(*nodes, NodeView(id="new", action="f")))
    items = draw_diff(rich, other, {"fetch": "outputs", "new": "ignored"}).items
    assert items["refetch"].change == "removed" and items["new"].change == "added"
    assert items["publish"].note == "cancelled → completed" and items["fetch"].note == "other outputs"
    assert items["clean"].change == "same"


def test_the_summary_counts_what_works_not_what_holds(rich):
    """The sentence counts leaves: maps and sub-workflows that only hold others are not counted."""
    text = summary(replace(rich, status="failed"))
    assert text.startswith("Workflow pipeline, run run-1: failed; 54 nodes: ")
    assert "34 completed, 1 failed" in text and "(failed: score/2)" in text
