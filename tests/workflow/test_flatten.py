"""Sub-workflows put in place, and the items of maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dagflow_nb.core.model import NodeDef, Ref, ref
from dagflow_nb.errors import NodeAlreadyExists, ValidationError
from dagflow_nb.workflow import REQUIRED, Workflow, flatten, instantiate


def nothing(name: str) -> Workflow:
    raise LookupError(name)


def smoothing() -> Workflow:
    inner = Workflow("smoothing", inputs={"window": 6, "path": "none"})
    load = inner.add("load", path=inner.input("path"))
    smooth = inner.add("smooth", rows=load["rows"], window=inner.input("window"), after=load)
    inner.branch(smooth["ok"], then="save")
    inner.add("save", rows=[smooth["rows"]])
    return inner


def by_id(nodes: tuple[NodeDef, ...]) -> dict[str, NodeDef]:
    return {node.id: node for node in nodes}


def test_children_are_prefixed_and_know_only_their_siblings() -> None:
    """Ids, dependencies, references and branches; inputs of the workflow are the group's."""
    wf = Workflow("w")
    a = wf.add("scan")
    part = wf.add(smoothing(), id="part", path=a["file"], timeout=5)
    wf.add("report", x=part)
    nodes = by_id(flatten(wf, nothing))
    assert list(nodes) == ["scan", "part", "part/load", "part/smooth", "part/branch", "part/save", "report"]
    group = nodes["part"]
    assert (group.kind, group.action, group.deps, group.parent) == ("workflow", "smoothing", ("scan",), None)
    assert group.inputs == {"path": Ref("scan", ("file",)), "window": 6}
    assert group.defaults == {"path": "none", "window": 6}
    assert group.result == Ref("part/save")
    assert group.timeout == 5
    assert nodes["part/load"].inputs == {"path": Ref("part/inputs", ("path",))}
    assert nodes["part/load"].deps == ()
    assert nodes["part/smooth"].deps == ("part/load",)
    assert nodes["part/smooth"].inputs == {
        "rows": Ref("part/load", ("rows",)), "window": Ref("part/inputs", ("window",)),
    }  # fmt: skip
    assert nodes["part/branch"].over == {"then": ("part/save",), "otherwise": ()}
    assert nodes["part/save"].deps == ("part/smooth", "part/branch")
    assert {nodes[i].parent for i in nodes if i.startswith("part/")} == {"part"}
    assert nodes["report"].deps == ("part",)


def test_a_group_gives_its_result_or_its_leaves() -> None:
    """The result as it is; else the one leaf, several by their ids."""
    two = Workflow("two")
    two.add("a")
    two.add("b")
    said = Workflow("said", inputs=["x"])
    said.result = {"a": said.add("a")["k"], "x": (said.input("x"), 3)}
    wf = Workflow("w")
    wf.add(two)
    wf.add(said, x=1)
    nodes = by_id(flatten(wf, nothing))
    assert nodes["two"].result == {"a": Ref("two/a"), "b": Ref("two/b")}
    assert nodes["said"].result == {"a": Ref("said/a", ("k",)), "x": (Ref("said/inputs", ("x",)), 3)}


def test_workflows_nest() -> None:
    """Two levels: ids, parents, results and inputs are those of the right level."""
    middle = Workflow("middle", inputs=["p"])
    inner = middle.add(smoothing(), path=middle.input("p"))
    middle.add("last", x=inner)
    wf = Workflow("w")
    wf.add(middle, id="m", p=ref("inputs.file"))
    nodes = by_id(flatten(wf, nothing))
    assert nodes["m"].parent is None
    assert nodes["m/smoothing"].parent == "m"
    assert nodes["m/smoothing"].inputs["path"] == Ref("m/inputs", ("p",))
    assert nodes["m/smoothing"].result == Ref("m/smoothing/save")
    assert nodes["m/smoothing/load"].parent == "m/smoothing"
    assert nodes["m/smoothing/load"].inputs == {"path": Ref("m/smoothing/inputs", ("path",))}
    assert nodes["m/last"].deps == ("m/smoothing",)


def test_what_find_gives_goes_first() -> None:
    """A workflow that was defined again under the name is taken; else the one that was added."""
    again = Workflow("smoothing")
    again.add("other")
    wf = Workflow("w")
    wf.add(smoothing())
    assert "smoothing/other" in by_id(flatten(wf, {"smoothing": again}.__getitem__))
    assert "smoothing/load" in by_id(flatten(wf, nothing))


def test_inputs_have_to_fit() -> None:
    """A missing one without default and one that is not there are named."""
    inner = Workflow("inner", inputs=["path"])
    inner.add("load", path=inner.input("path"), extra=inner.input("extra"))
    for given, words, culprit in [
        ({}, "'path', which has no default", "path"),
        ({"path": 1, "pth": 2}, "did you mean 'path'", "pth"),
    ]:
        wf = Workflow("w")
        wf.add(inner, inputs=given)
        with pytest.raises(ValidationError, match=words) as caught:
            flatten(wf, nothing)
        assert caught.value.culprit == culprit
    wf = Workflow("w")
    wf.add(inner, path=1, extra=2)
    assert len(flatten(wf, nothing)) == 2


def test_a_workflow_that_contains_itself_is_refused() -> None:
    """The chain is named; two uses of one workflow are none."""
    a, b = Workflow("a"), Workflow("b")
    a.add(b)
    b.add(a)
    with pytest.raises(ValidationError, match="a -> b -> a"):
        flatten(a, nothing)
    wf = Workflow("w")
    wf.add(smoothing(), id="one")
    wf.add(smoothing(), id="two")
    assert len(flatten(wf, nothing)) == 10


def test_ids_of_children_may_not_meet_others() -> None:
    """A node that is called as a child would be is `NodeAlreadyExists`."""
    wf = Workflow("w")
    wf.add(smoothing(), id="part")
    wf.add("x", id="part/load")
    with pytest.raises(NodeAlreadyExists, match="part/load"):
        flatten(wf, nothing)


def test_an_item_of_a_map_over_an_action_is_one_node() -> None:
    """Set as the map is, without its dependencies."""
    wf = Workflow("w")
    a = wf.add("scan")
    wf.map("smooth", over={"path": a["files"]}, id="m", timeout=3, try_count=2, tags="t", window=6, limit=4)
    node = by_id(flatten(wf, nothing))["m"]
    (item,) = instantiate(node, 3)
    expected = NodeDef(id="m/3", action="smooth", parent="m", item=3, inputs={"window": 6})
    assert item == replace(expected, timeout=3.0, try_count=2, tags=("t",))


def test_an_item_of_a_map_over_a_workflow_is_a_group() -> None:
    """The template's nodes under `ID/index`, with their own inputs; nested groups and maps too."""
    inner = Workflow("inner", inputs={"path": "x", "window": 6})
    sub = inner.add(smoothing(), path=inner.input("path"))
    inner.map(smoothing(), over={"window": [1, inner.input("window")]}, id="each", path=sub["p"])
    inner.result = {"s": sub, "w": inner.input("window")}
    wf = Workflow("w")
    wf.map(inner, over={"path": ["a", "b"]}, id="m")
    nodes = by_id(flatten(wf, nothing))
    assert list(nodes) == ["m"]
    map_node = nodes["m"]
    assert (map_node.kind, map_node.action, map_node.inputs) == ("map", "inner", {"window": 6})
    group, *children = instantiate(map_node, 1)
    assert (group.id, group.kind, group.action) == ("m/1", "workflow", "inner")
    assert (group.parent, group.item) == ("m", 1)
    assert group.result == {"s": Ref("m/1/smoothing"), "w": Ref("m/1/inputs", ("window",))}
    made = {node.id: node for node in children}
    assert list(made)[:2] == ["m/1/smoothing", "m/1/smoothing/load"]
    assert made["m/1/smoothing"].parent == "m/1"
    assert made["m/1/smoothing"].inputs["path"] == Ref("m/1/inputs", ("path",))
    assert made["m/1/smoothing"].result == Ref("m/1/smoothing/save")
    assert made["m/1/smoothing/load"].parent == "m/1/smoothing"
    assert made["m/1/smoothing/load"].inputs == {"path": Ref("m/1/smoothing/inputs", ("path",))}
    each = made["m/1/each"]
    assert each.over == {"window": [1, Ref("m/1/inputs", ("window",))]}
    assert each.deps == ("m/1/smoothing",)
    inner_group, first, *_ = instantiate(each, 0)
    assert (inner_group.id, inner_group.parent) == ("m/1/each/0", "m/1/each")
    assert inner_group.result == Ref("m/1/each/0/save")
    assert first.inputs == {"path": Ref("m/1/each/0/inputs", ("path",))}


@pytest.mark.parametrize(
    ("over", "problem"),
    [
        ({"pth": [1]}, "did you mean 'path'"),
        ([{"path": 1}, {"window": 1}], "'path', which has no default"),
        ({"window": [1]}, "'path', which has no default"),
        (ref("scan.rows"), None),
        ([], None),
        ([{"path": 1}], None),
    ],
)
def test_what_items_are_given_has_to_fit(over: Any, problem: str | None) -> None:
    """As far as it is known before the run: parameters and rows that are written down."""
    inner = Workflow("inner", inputs={"path": REQUIRED, "window": 6})
    inner.add("load", path=inner.input("path"), window=inner.input("window"))
    wf = Workflow("w")
    wf.add("scan")
    wf.map(inner, over)
    if problem is None:
        assert flatten(wf, nothing)[1].result["template"][0].id == "load"
    else:
        with pytest.raises(ValidationError, match=problem):
            flatten(wf, nothing)


def test_what_is_found_is_checked() -> None:
    """A sub-workflow with a mistake is refused before anything is made of it."""
    inner = Workflow("inner")
    inner.add("a", after="b")
    wf = Workflow("w")
    wf.add(inner)
    with pytest.raises(ValidationError, match="'b'"):
        flatten(wf, nothing)
