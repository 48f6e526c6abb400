"""A drawing as DOT text, made with the `graphviz` package.

Everything a user's data can put into it is escaped: `<`, `>` and `&` become entities (so that nothing
is read as an HTML-like label), backslashes are doubled (so that nothing is read as an escape, and no
name can end in one that swallows its quote), line breaks and control characters become spaces.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from .drawing import SMALL, Drawing, Item, Line, draw, draw_workflow
from .style import GROWN, INK, MUTED, PAPER, PLAIN, RESCUE, look, one_line, text_width, tint

if TYPE_CHECKING:
    from ..runtime.snapshot import Snapshot

_LINE_STYLE = {
    "needs": {"color": "#7b8794"},
    "grown": {"color": GROWN, "style": "dashed"},
    "rescue": {"color": RESCUE, "style": "dotted"},
}


def snapshot_dot(snapshot: Snapshot) -> str:
    """The DOT text of a run: nodes coloured, and named, by their states."""
    return to_dot(draw(snapshot))


def workflow_dot(workflow: Any) -> str:
    """The DOT text of a workflow."""
    return to_dot(draw_workflow(workflow))


def escaped(text: str) -> str:
    r"""`text` as it may stand between the quotes of a DOT string, but for the quotes in it.

    >>> print(escaped('a<b>&\\'))
    a&lt;b&gt;&amp;\\
    """
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\\", "\\\\")


def to_dot(drawing: Drawing) -> str:
    """The DOT text of a drawing; its items have the ids `n0`, `n1`, ..., its lines `e0`, `e1`, ..."""
    import graphviz  # type: ignore[import-untyped]  # the package has no type hints

    numbers = {id: number for number, id in enumerate(drawing.items)}
    graph = graphviz.Digraph(
        escaped(drawing.name),
        graph_attr={
            "rankdir": "LR",
            "compound": "true",
            "nodesep": "0.22",
            "ranksep": "0.6",
            "bgcolor": PAPER,
            "fontname": "Helvetica,Arial,sans-serif",
            "fontcolor": MUTED,
            "fontsize": "11",
            "labeljust": "l",
            "label": escaped(" - ".join(p for p in (drawing.heading, drawing.caption) if p)),
        },
        node_attr={
            "shape": "box",
            "style": "rounded,filled",
            "fontname": "Helvetica,Arial,sans-serif",
            "fontsize": "10",
            "fontcolor": INK,
            "margin": "0.1,0.03",
        },
        edge_attr={"arrowsize": "0.7", "tailport": "e", "headport": "w"},
    )
    _members(graph, drawing, None, numbers)
    lines = Counter(line.head for line in drawing.lines)
    for number, line in enumerate(drawing.lines):
        # what needs one other alone stands next to that, and not before what needs it
        weight = {"weight": "2"} if lines[line.head] == 1 else {}
        _edges(graph, drawing, line, {"id": f"e{number}", **weight}, numbers)
    return str(graph.source)


def _members(graph: Any, drawing: Drawing, group: str | None, numbers: dict[str, int]) -> None:
    import graphviz

    for id in drawing.members.get(group, ()):
        item = drawing.items[id]
        if item.shape != "group":
            graph.node(escaped(id), label=_label(drawing, item), **_node_look(drawing, item, numbers[id]))
            continue
        inner = graphviz.Digraph(
            f"cluster_{numbers[id]}",
            graph_attr={
                **_node_look(drawing, item, numbers[id]),
                "style": "rounded,filled",
                "fillcolor": tint(_ink(drawing, item), 0.04),
                "color": tint(_ink(drawing, item), 0.5),
                "label": _label(drawing, item),
                "fontsize": str(round(SMALL) + 2),
                "margin": "12",
            },
        )
        _members(inner, drawing, id, numbers)
        graph.subgraph(inner)


def _node_look(drawing: Drawing, item: Item, number: int) -> dict[str, str]:
    ink = _ink(drawing, item)
    found = {
        "id": f"n{number}",
        "color": ink,
        "fillcolor": tint(ink) if drawing.states or item.change else PAPER,
        "tooltip": escaped(item.id),
    }
    if item.shape == "group":
        return found
    found |= {"width": f"{item.width / 72:.3f}", "height": f"{item.height / 72:.3f}"}
    if drawing.states and look(str(item.view.status)).dashed and item.shape == "box":
        found["style"] = "rounded,filled,dashed"
    if item.shape == "diamond":
        found |= {"shape": "diamond", "style": "filled", "margin": "0"}
    if item.shape == "stack":
        found |= {"peripheries": "2"}
    return found


def _ink(drawing: Drawing, item: Item) -> str:
    if item.change:
        return look(item.change).ink
    return look(str(item.view.status)).ink if drawing.states else PLAIN.ink


def _label(drawing: Drawing, item: Item) -> str:
    """The text in a node: its id, its action, and its state in words, so that colour is not alone."""
    parts = [item.title] if item.shape == "diamond" else [item.title, item.subtitle or item.title]
    if item.shape == "group":
        parts = [item.title, item.subtitle]
    if item.note:
        parts.append(item.note)
    elif drawing.states:
        state, took = str(item.view.status), item.took(drawing.at)
        parts.append(f"{state} {took}" if took and item.view.finished_at else state)
    left = "\\l" if item.shape in ("box", "stack") else "\\n"
    if item.shape == "group":
        return escaped("  ".join(parts))
    return "".join(escaped(part) + left for part in parts)


def _edges(graph: Any, drawing: Drawing, line: Line, attrs: dict[str, str], numbers: dict[str, int]) -> None:
    """A line, as an edge between two nodes that is clipped at the borders of groups.

    DOT cannot point at a group. One edge, between the nodes in their middles, is drawn; invisible ones
    keep all of the one group left of all of the other.
    """
    tails, heads = [line.tail], [line.head]
    attrs |= _LINE_STYLE[line.kind]
    if drawing.items[line.tail].shape == "group":
        tails = drawing.roots_and_leaves(line.tail)[1]
        attrs["ltail"] = f"cluster_{numbers[line.tail]}"
    if drawing.items[line.head].shape == "group":
        heads = drawing.roots_and_leaves(line.head)[0]
        attrs["lhead"] = f"cluster_{numbers[line.head]}"
    tail, head = tails[len(tails) // 2], heads[len(heads) // 2]
    _edge(graph, tail, head, attrs)
    for other in tails:
        if other != tail:
            _edge(graph, other, head, {"style": "invis"})
    for other in heads:
        if other != head:
            _edge(graph, tail, other, {"style": "invis"})


def _edge(graph: Any, tail: str, head: str, attrs: dict[str, str]) -> None:
    # Digraph.edge() would read a colon in an id as a port, hence a line of our own.
    from graphviz.quoting import attr_list, quote  # type: ignore[import-untyped]  # no hints

    graph.body.append(f"\t{quote(escaped(tail))} -> {quote(escaped(head))}{attr_list(attributes=attrs)}\n")


# --- pictures that are no graphs --------------------------------------------------------------

_UPRIGHT = re.compile(r"M([\d.]+),([\d.]+)V([\d.]+)")


def placed_dot(svg: str) -> str:
    """The rectangles, texts and upright lines of one of our SVGs as DOT nodes that have their places.

    For `layout.render(..., placed=True)`: Graphviz can write PNG and PDF, whatever is on them.
    """
    import graphviz

    root = ElementTree.fromstring(svg)
    high = float(root.get("height", "0"))
    graph = graphviz.Digraph(
        graph_attr={"pad": "0", "bgcolor": PAPER}, node_attr={"fixedsize": "true", "fontname": "Helvetica"}
    )

    def put(x: float, y: float, wide: float, tall: float, **attributes: str) -> None:
        """A node by its upper left corner; Graphviz counts from below, in points and (sizes) in inches."""
        place = {"pos": f"{x + wide / 2:.1f},{high - y - tall / 2:.1f}"}
        size = {"width": f"{wide / 72:.4f}", "height": f"{tall / 72:.4f}"}
        graph.node(f"n{len(graph.body)}", **place, **size, **attributes)

    def walk(element: ElementTree.Element, pens: dict[str, str]) -> None:
        def at(name: str) -> float:
            return float(element.get(name, "0"))

        kept = ("fill", "stroke", "data-state")
        pens = pens | {name: element.attrib[name] for name in kept if name in element.attrib}
        kind = element.tag.rpartition("}")[2]
        line = _UPRIGHT.fullmatch(element.get("d", ""))
        if kind == "rect":
            state, fill = pens.get("data-state", ""), pens["fill"]
            look = {"shape": "box", "fillcolor": fill, "color": pens.get("stroke", fill), "fontsize": "9"}
            look["label"] = state if text_width(state, 9) < at("width") - 8 else ""  # icons are not drawn
            dashed = ",dashed" if element.get("stroke-dasharray") else ""
            put(at("x"), at("y"), at("width"), at("height"), **look, style=f"filled,rounded{dashed}")
        elif line is not None:
            x, y, end = map(float, line.groups())
            put(x, y, 0.7, end - y, shape="box", label="", style="filled", color=pens["stroke"], penwidth="0")
        elif kind == "text" and element.text:
            size, middle = at("font-size"), element.get("text-anchor") == "middle"
            # wide enough for whatever font there is: a text that is wider than its table is centred
            wide = 1.3 * text_width(element.text, size, bold=True)
            x = at("x") - wide / 2 if middle else at("x")
            words = html.escape(one_line(element.text))
            cell = f'<TD ALIGN="{"CENTER" if middle else "LEFT"}">{words}</TD>'
            plain = 'BORDER="0" CELLPADDING="0" CELLSPACING="0"'
            label = f'<<TABLE {plain} WIDTH="{wide:.0f}"><TR>{cell}</TR></TABLE>>'
            look = {"shape": "plaintext", "margin": "0", "fontsize": f"{size:g}", "fontcolor": pens["fill"]}
            put(x, at("y") - 0.85 * size, wide, 1.1 * size, **look, label=label)
        for child in element:
            walk(child, pens)

    walk(root, {"fill": INK})
    return str(graph.source)
