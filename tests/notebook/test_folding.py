"""What of a big graph is folded, and what stands for it."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from dagflow_nb.notebook.folding import BY, MOST, RANGE, VISIBLE, Folding, fold, revealed
from dagflow_nb.runtime.snapshot import NodeView


def plain(count: int, action: str = "f") -> list[NodeView]:
    return [NodeView(id=f"{action}{i}", action=action) for i in range(count)]


def drawn(nodes: list[NodeView], chosen: Folding | None = None) -> set[str]:
    return set(fold(nodes, chosen).shown.values())


def mapped(count: int, id: str = "m", **fields: object) -> list[NodeView]:
    items = [NodeView(id=f"{id}/{i}", action="g", parent=id) for i in range(count)]
    return [NodeView(id=id, action="g", kind="map", **fields), *items]


def test_a_small_graph_is_not_folded():
    """Up to the limit every node stands for itself; only maps with many items are closed."""
    nodes = [*plain(100), *mapped(30), *mapped(31, "big")]
    folds = fold(nodes)
    assert all(folds.shown[node.id] == node.id for node in nodes if node.parent != "big")
    assert folds.hidden() == {"big": [f"big/{i}" for i in range(31)]} and folds.groups == {"m"}


def test_a_crowd_folds_by_itself():
    """Above the limit groups are closed, the biggest first, until few enough nodes are left."""
    nodes = [*plain(250), *mapped(30), *mapped(29, "n"), NodeView(id="w", action="w", kind="workflow")]
    nodes += [NodeView(id=f"w/{i}", action=f"step{i}", parent="w") for i in range(5)]
    folds = fold(nodes)
    assert set(folds.hidden()) == {"m"} and folds.groups == {"n", "w"}
    assert len(drawn(nodes)) <= VISIBLE


def test_a_deep_crowd_keeps_its_shape():
    """Nodes of an action that lie about as deep are one box: a chain of layers stays a chain."""
    layers = [
        NodeView(id=f"{depth}-{i}", action="f", deps=(f"{depth - 1}-{i}",) if depth else ())
        for depth in range(40)
        for i in range(25)
    ]
    assert drawn(layers) == {f"::f@{depth}" for depth in range(40)}
    chain = [NodeView(id=f"n{i}", action="f", deps=(f"n{i - 1}",) if i else ()) for i in range(2000)]
    assert 10 < len(drawn(chain)) <= 60


def test_many_actions_fold_into_ranges():
    """Where no two nodes have an action in common, ranges of nodes in order of addition are one box each."""
    nodes = [NodeView(id=f"n{i}", action=f"f{i}") for i in range(10_000)]
    folds = fold(nodes)
    assert len(folds.bunches) == RANGE and folds.bunches["#1"].title == "n100 … n199"
    opened = fold(nodes, Folding(opened=("#1",)))
    assert opened.shown["n150"] == "n150" and opened.shown["n250"] == "#2" and opened.parents["n150"] == "#1"


def test_an_opened_map_opens_in_ranges():
    """A map with thousands of items opens as ranges, each of which opens again, whatever its size."""
    nodes = mapped(2500)
    assert drawn(nodes) == {"m"}
    ranges = fold(nodes, Folding(opened=("m",)))
    assert len(ranges.bunches) == 25 and ranges.bunches["m#0"].title == "0 … 99"
    opened = fold(nodes, Folding(opened=("m", "m#3")))
    assert opened.shown["m/333"] == "m/333" and opened.shown["m/400"] == "m#4"
    many = fold(mapped(25_000), Folding(opened=("m",)))
    assert len(many.bunches) == RANGE and len(many.hidden()["m#0"]) == 250


def test_a_branch_folds_into_its_root():
    """A closed branch stands for all that depends on it, was added by it, or is in something that does."""
    nodes = [
        NodeView(id="a", action="f"),
        NodeView(id="b", action="f", deps=("a",)),
        *mapped(3, deps=("b",)),
        NodeView(id="grown", action="f", added_by="m"),
        NodeView(id="beside", action="f", deps=("a",)),
    ]
    assert drawn(nodes, Folding().turned("b", closed=False)) == {"a", "b", "beside"}
    both = Folding().turned("b", closed=False).turned("a", closed=False)
    assert fold(nodes, both).hidden() == {"a": [node.id for node in nodes if node.id != "a"]}
    assert drawn(nodes, both.turned("a", closed=True)) == {"a", "b", "beside"}


def test_rules_can_be_chosen():
    """Nothing, all groups, or nodes by action: what was chosen holds until the graph is too big to draw."""
    nodes = [*plain(3), NodeView(id="g0", action="g"), *mapped(40)]
    assert len(drawn(nodes, Folding("nothing"))) == len(nodes)
    assert drawn(nodes, Folding("groups")) == {"f0", "f1", "f2", "g0", "m"}
    assert drawn(nodes, Folding("actions")) == {"::f", "::g"}
    assert len(drawn(plain(MOST), Folding("nothing"))) == MOST
    assert drawn(plain(MOST + 1), Folding("nothing")) == {"::f@0"}


def test_a_node_is_revealed_wherever_it_is():
    """Everything that hides a node is opened, step by step, and what does not hide it stays closed."""
    nodes = [*mapped(2500), *mapped(50, "n")]
    chosen = revealed(nodes, Folding(), "m/777")
    assert chosen.opened == ("m", "m#7")
    shown = fold(nodes, chosen).shown
    assert shown["m/777"] == "m/777" and shown["n/7"] == "n"
    assert revealed(nodes, chosen, "nobody") == chosen


def test_what_was_opened_first_is_closed_when_too_much_is_open():
    """However much is opened, no more than can be drawn is."""
    nodes = [node for number in range(30) for node in mapped(100, f"m{number}")]
    chosen = Folding(opened=tuple(f"m{number}" for number in range(30)))
    shown = drawn(nodes, chosen)
    assert len(shown) <= MOST and "m29/5" in shown and "m0/5" not in shown


def test_names_of_bunches_take_no_nodes_place():
    """A node whose id is what a bunch would be called keeps it."""
    nodes = [*plain(2), NodeView(id="::f", action="g")]
    folds = fold(nodes, Folding("actions"))
    assert folds.shown["::f"] == "::f" and folds.shown["f0"] == "::f'"


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_everything_is_drawn_once(data):
    """Whatever refers to whatever, each node is drawn, or in one box that is; and groups hold no loops."""
    ids = [f"n{i}" for i in range(12)]
    one = st.sampled_from([*ids, "nobody"])
    nodes = [
        NodeView(
            id=id,
            action=data.draw(st.sampled_from("fg")),
            deps=tuple(data.draw(st.lists(one, max_size=2))),
            parent=data.draw(st.none() | one),
            added_by=data.draw(st.none() | one),
            kind=data.draw(st.sampled_from(["action", "map", "workflow"])),
        )
        for id in ids
    ]
    chosen = Folding(
        data.draw(st.sampled_from(BY)), data.draw(st.frozensets(one)), tuple(data.draw(st.lists(one)))
    )
    folds = fold(nodes, chosen)
    assert set(folds.shown) == set(ids)
    for item in folds.shown.values():
        assert item in folds.bunches or folds.shown[item] == item
        above, at = [], folds.parents[item]
        while at is not None:
            assert at not in above and (at in folds.groups or folds.bunches[at].opened)
            above.append(at)
            at = folds.parents[at]
