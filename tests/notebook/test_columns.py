"""The columns that Graphviz put boxes into: their order, and the lines from one to the next."""

from __future__ import annotations

import re

import pytest

from dagflow_nb.notebook import layout as layouts
from dagflow_nb.notebook.columns import Columns
from dagflow_nb.notebook.drawing import Drawing, draw
from dagflow_nb.notebook.layout import layout
from dagflow_nb.notebook.plain import Box
from dagflow_nb.runtime.snapshot import NodeView

from .conftest import run_of


def drawing_of(*nodes: NodeView) -> Drawing:
    return draw(run_of(*nodes))


FAN = drawing_of(
    NodeView(id="a", action="f"),
    NodeView(id="b", action="f", deps=("a",)),
    NodeView(id="wide", action="a_longer_name_than_others", deps=("a",)),
    NodeView(id="c", action="f", deps=("b", "wide")),
    NodeView(id="d", action="f", deps=("a", "c")),
)
PLACES = {
    "a": Box(0, 50, 100, 40),
    "b": Box(150, 0, 100, 40),
    "wide": Box(140, 100, 120, 40),
    "c": Box(300, 50, 100, 40),
    "d": Box(450, 50, 100, 40),
}


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


def test_a_line_to_the_next_column_turns_between_the_columns():
    """A line leaves its box level, turns where no box of either column is, and arrives level."""
    route = Columns(FAN, PLACES).route(PLACES, "b", "c")
    assert route is not None
    assert route.line.startswith("M250.0,20.0L260.0,20.0C")  # the wide box below ends at 260
    assert numbers(route.line)[-2:] == [(294.5, 70.0), (300.0, 70.0)]
    assert all(260 <= x <= 300 for x, _ in numbers(route.line)[1:])


def test_a_line_that_goes_further_is_left_to_graphviz():
    """Only lines from a column to the next one are drawn anew."""
    columns = Columns(FAN, PLACES)
    assert columns.route(PLACES, "a", "d") is None
    assert columns.route(PLACES, "c", "a") is None
    near = PLACES | {"d": Box(405, 50, 100, 40)}
    assert Columns(FAN, near).route(near, "c", "d") is None, "there is no room to turn"


def test_lines_to_a_group_end_at_its_border():
    """A group begins where its first column does: lines from the column before lead to the group's side."""
    drawing = drawing_of(
        NodeView(id="a", action="f"),
        NodeView(id="m", action="f", kind="map", deps=("a",)),
        NodeView(id="m/0", action="f", parent="m"),
    )
    places = {"a": Box(0, 0, 100, 40), "m": Box(140, 0, 130, 90), "m/0": Box(155, 40, 100, 40)}
    route = Columns(drawing, places).route(places, "a", "m")
    assert route is not None and numbers(route.line)[-1] == (140.0, 45.0)


def svg_of(boxes: list[tuple[int, int]], line: str) -> bytes:
    """What Graphviz would write of boxes at these corners, and of one line."""
    nodes = "".join(
        f'<g id="n{n}"><polygon points="{x},{y} {x + 50},{y} {x + 50},{y + 20} {x},{y + 20}"/></g>'
        for n, (x, y) in enumerate(boxes)
    )
    return f'''<svg xmlns="http://www.w3.org/2000/svg"><g transform="translate(0 0)">{nodes}
        <g id="e0"><path d="{line}"/><polygon points="0,0 1,0 1,1"/></g></g></svg>'''.encode()


@pytest.mark.parametrize("upside_down", [False, True])
def test_what_was_defined_first_stands_higher(upside_down, monkeypatch):
    """Of a layout and its mirror image, with the same crossings, the one in the nodes' order is taken."""
    drawing = drawing_of(
        NodeView(id="a", action="f"),
        NodeView(id="b", action="f"),
        NodeView(id="c", action="f"),
        NodeView(id="last", action="f", deps=("a",)),
    )
    svg = svg_of([(0, 0), (0, 40), (80, 80), (160, 40)], "M50,10C60,10 70,15 160,50")
    if upside_down:
        svg = svg_of([(0, 80), (0, 40), (80, 0), (160, 40)], "M50,90C60,90 70,85 160,50")
    monkeypatch.setenv("DAGFLOW_LAYOUT", "dot")
    monkeypatch.setattr(layouts, "render", lambda *args, **settings: svg)
    found = layout(drawing)
    assert [found.boxes[id].y for id in drawing.items] == [0, 40, 80, 40]
    assert numbers(found.routes[0].line)[:3] == [(50, 10), (60, 10), (70, 15)]
