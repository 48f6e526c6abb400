"""Places for drawings, by each engine and by our own layout."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb.notebook import layout as layouts
from dagflow_nb.notebook.drawing import Drawing, draw
from dagflow_nb.notebook.layout import EngineFailed, layout, render
from dagflow_nb.notebook.plain import Box, Geometry, layout_plain
from dagflow_nb.runtime.snapshot import NodeView

from .conftest import run_of


def boxes_overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def assert_tidy(drawing: Drawing, geometry: Geometry) -> None:
    """Every item has a place on the canvas, in its group, beside its siblings, right of what it needs."""
    assert list(geometry.boxes) == list(drawing.items)
    assert len(geometry.routes) == len(drawing.lines)
    for group, ids in drawing.members.items():
        for number, id in enumerate(ids):
            box = geometry.boxes[id]
            assert box.x >= -0.5 and box.x + box.width <= geometry.width + 0.5
            assert box.y >= -0.5 and box.y + box.height <= geometry.height + 0.5
            if group is not None:
                outer = geometry.boxes[group]
                assert outer.x <= box.x and box.x + box.width <= outer.x + outer.width
                assert outer.y <= box.y and box.y + box.height <= outer.y + outer.height
            assert not any(boxes_overlap(box, geometry.boxes[other]) for other in ids[:number])


@pytest.mark.parametrize("engine", ["dot", "pygraphviz", "plain"])
def test_each_engine_gives_everything_a_place(rich, hostile, engine, monkeypatch):
    """Whoever lays out: all boxes and lines have places, groups hold their members, nothing overlaps."""
    monkeypatch.setenv("DAGFLOW_LAYOUT", engine)
    for run in (rich, hostile):
        drawing = draw(run)
        geometry = layout(drawing)
        if engine != "plain" and geometry.engine != engine:
            pytest.skip(f"{engine} is not installed here")
        assert geometry.engine == engine
        assert_tidy(drawing, geometry)
    clean, fetch = layout(draw(rich)).boxes["clean"], layout(draw(rich)).boxes["fetch"]
    assert clean.x > fetch.x + fetch.width


def test_what_needs_one_node_alone_stands_next_to_it():
    """Nodes that follow on one node stand in the column after it, though what needs them comes much later."""
    drawing = draw(
        run_of(
            NodeView(id="start", action="f"),
            NodeView(id="step", action="f", deps=("start",)),
            NodeView(id="next", action="f", deps=("step",)),
            *(NodeView(id=f"side{n}", action="f", deps=("start",)) for n in range(3)),
            NodeView(id="end", action="f", deps=("next", "side0", "side1", "side2")),
        )
    )
    boxes = layout(drawing).boxes
    middle = {id: round(box.x + box.width / 2) for id, box in boxes.items()}
    assert middle["step"] == middle["side0"] == middle["side1"] == middle["side2"] < middle["next"]


def test_engines_are_tried_in_turn(rich, monkeypatch):
    """Without the program pygraphviz is asked, then our own layout: there is always a picture."""
    asked = []

    def missing(source: str, format: str, engine: str, *, limit: float) -> bytes:
        asked.append(engine)
        raise EngineFailed("not here")

    monkeypatch.setattr(layouts, "render", missing)
    assert layout(draw(rich)).engine == "plain"
    assert asked == ["dot", "pygraphviz"]


def test_an_engine_that_is_out_of_time_is_not_followed_by_the_same_one(rich, monkeypatch):
    """The engines share an algorithm: after a time-out the simpler layout is used at once."""
    asked = []

    def slow(source: str, format: str, engine: str, *, limit: float) -> bytes:
        asked.append(engine)
        raise EngineFailed("out of time", slow=True)

    monkeypatch.setattr(layouts, "render", slow)
    assert layout(draw(rich)).engine == "plain"
    assert asked == ["dot"]


@pytest.mark.parametrize(
    "answer", [b"", b"no svg", b"<svg/>", b'<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>']
)
def test_a_strange_answer_is_as_good_as_none(rich, monkeypatch, answer):
    """What is no SVG, or lacks nodes, is not used."""
    monkeypatch.setattr(layouts, "render", lambda *args, **options: answer)
    assert layout(draw(rich)).engine == "plain"


def test_a_program_that_hangs_is_stopped(rich, monkeypatch, tmp_path):
    """Graphviz gets so many seconds and no more."""

    def hanging(command: list[str], **options: object) -> None:
        assert options["timeout"] == 0.5
        raise subprocess.TimeoutExpired(command, 0.5)

    monkeypatch.setattr(subprocess, "run", hanging)
    monkeypatch.setattr(layouts.shutil, "which", lambda name: "/usr/bin/dot")
    with pytest.raises(EngineFailed, match=r"dot took longer than 0\.5 s") as failed:
        render("digraph {}", "svg", "dot", limit=0.5)
    assert failed.value.slow


def test_a_program_that_is_missing_or_broken_says_so(monkeypatch, tmp_path):
    """The reason why an engine cannot be used is in its error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineFailed, match="no program 'dot'"):
        render("digraph {}", "svg", "dot")
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'Format: svg not recognized' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(EngineFailed, match="Format: svg not recognized"):
        render("digraph {}", "svg", "dot")


def graphs() -> st.SearchStrategy[Iterable[NodeView]]:
    """Runs with any lines (circles too), with groups in groups."""

    @st.composite
    def build(make: st.DrawFn) -> list[NodeView]:
        size = make(st.integers(1, 14))
        ids = [f"n{i}" for i in range(size)]
        parents = [make(st.sampled_from([None, *ids[:i]])) if i else None for i in range(size)]
        return [
            NodeView(
                id=id,
                action="f",
                deps=tuple(make(st.lists(st.sampled_from(ids), max_size=3))),
                parent=parents[i],
                kind=make(st.sampled_from(["action", "map", "workflow", "branch"])),
            )
            for i, id in enumerate(ids)
        ]

    return build()


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_our_own_layout_always_works(nodes):
    """Whatever the lines and groups are, circles included, everything has a place and nothing overlaps."""
    drawing = draw(run_of(*nodes))
    assert_tidy(drawing, layout_plain(drawing))


def test_our_own_layout_is_quick():
    """A thousand nodes with some three thousand lines take it well under two seconds."""
    nodes = [
        NodeView(id=f"n{i}", action="f", deps=tuple(f"n{j}" for j in {i // 2, i // 3, i - 1} if 0 <= j < i))
        for i in range(1000)
    ]
    drawing = draw(run_of(*nodes))
    begun = time.perf_counter()
    layout_plain(drawing)
    assert time.perf_counter() - begun < 2


def test_items_of_a_map_stand_in_their_order(monkeypatch):
    """Whatever order an engine gives them, items that no line tells apart stand from first to last."""
    monkeypatch.setenv("DAGFLOW_LAYOUT", "pygraphviz")
    items = [NodeView(id=f"m/{number}", action="f", parent="m") for number in range(4)]
    geometry = layout(draw(run_of(NodeView(id="m", action="f", kind="map"), *items)))
    tops = [geometry.boxes[item.id].y for item in items]
    assert tops == sorted(tops)
