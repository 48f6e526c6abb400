"""A drawing with places, painted as SVG.

The same elements serve the saved picture and the live view: each node is a `<g class="node">` with
`data-node` and `data-state`; colours stand in attributes, which the live view's style sheet overrides.
Elements are built by an XML library, never by joining texts, and `sanitise` has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .drawing import ICON, PAD, SMALL, TITLE, Drawing, Item
from .plain import Box, Geometry
from .style import (
    FONT,
    GROWN,
    INK,
    LOOKS,
    MUTED,
    PAPER,
    PLAIN,
    RESCUE,
    RULE,
    TIMES,
    Look,
    fit,
    look,
    one_line,
    text_width,
    tint,
)

NAMESPACE = "http://www.w3.org/2000/svg"
MARGIN = 16.0
_LINES = {"needs": ("#8a95a1", None), "grown": (GROWN, "5 3"), "rescue": (RESCUE, "1.5 3")}
_CHANGES = {
    "added": Look(LOOKS["completed"].ink, "M6 2v8M2 6h8"),
    "removed": Look(LOOKS["failed"].ink, "M2 6h8", dashed=True),
    "changed": Look(RESCUE, "M2 4.4c2.6-2.4 5.4 1.6 8-.6M2 8.2c2.6-2.4 5.4 1.6 8-.6"),
    "same": Look(LOOKS["skipped"].ink, "M2.4 4.4h7.2M2.4 7.6h7.2"),
}
_TAGS = frozenset(["svg", "g", "path", "rect", "text", "title"])
_PLACE = frozenset(["d", "x", "y", "rx", "width", "height", "viewBox", "transform", "text-anchor"])
_PAINT = frozenset(["class", "fill", "stroke", "stroke-width", "stroke-dasharray"])
_PENS = frozenset(["stroke-linecap", "stroke-linejoin", "font-family", "font-size", "font-weight"])
_ATTRIBUTES = _PLACE | _PAINT | _PENS | {"role", "aria-label"}
_REFERS = re.compile(r"url\s*\(|javascript:|data:|expression\s*\(", re.IGNORECASE)


def paint(drawing: Drawing, geometry: Geometry) -> str:
    """The drawing alone, for the live view: no heading, no legend."""
    width, height = geometry.width + 2 * MARGIN, geometry.height + 2 * MARGIN
    root = root_of(width, height)
    _graph(root, drawing, geometry, MARGIN, MARGIN)
    return sanitise(root)


def paint_picture(drawing: Drawing, geometry: Geometry, alt: str) -> str:
    """The drawing on paper, with a heading and a legend: a picture that stands by itself."""
    legend = _legend_entries(drawing)
    top = 56.0
    width = max(geometry.width + 2 * MARGIN, text_width(drawing.heading, 15, bold=True) + 2 * MARGIN, 320.0)
    rows = _legend_rows(legend, width - 2 * MARGIN)
    height = top + geometry.height + MARGIN + (20.0 * len(rows) + 14 if rows else 0.0)
    root = root_of(width, height)
    root.set("role", "img")
    root.set("aria-label", alt)
    add(root, "title").text = alt
    add(root, "rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=8, fill=PAPER, stroke=RULE)
    text(root, drawing.heading, MARGIN, 25, 15, INK, weight="600")
    text(root, drawing.caption, MARGIN, 42, SMALL, MUTED)
    _graph(root, drawing, geometry, MARGIN, top)
    y = top + geometry.height + MARGIN + 12
    for row in rows:
        _legend(root, row, y)
        y += 20
    return sanitise(root)


def sanitise(root: Element) -> str:
    """The text of an SVG that holds only known elements and attributes, and refers to nothing outside.

    No scripts, no foreign objects, no links, no event attributes, no styles: whatever is not on the list is
    left out, with all that is in it.
    """
    _prune(root)
    ElementTree.register_namespace("", NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def _prune(element: Element) -> None:
    for name in list(element.attrib):
        known = name in _ATTRIBUTES or name.startswith("data-")
        spoken = name.startswith(("data-", "aria-"))  # texts: never looked up, whatever they say
        if not known or (not spoken and _REFERS.search(element.attrib[name])):
            del element.attrib[name]
    for child in list(element):
        if isinstance(child.tag, str) and child.tag.removeprefix(f"{{{NAMESPACE}}}") in _TAGS:
            _prune(child)
        else:
            element.remove(child)


# --- elements ---------------------------------------------------------------------------------


def root_of(width: float, height: float) -> Element:
    """An SVG element of this size, in pixels, with nothing on it."""
    return Element(
        f"{{{NAMESPACE}}}svg",
        {
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "width": f"{width:.0f}",
            "height": f"{height:.0f}",
            "font-family": FONT,
        },
    )


def add(parent: Element, tag: str, **attributes: object) -> Element:
    """A child element; `_` in names becomes `-`, a trailing one is dropped, None leaves an attribute out."""
    child = ElementTree.SubElement(parent, f"{{{NAMESPACE}}}{tag}")
    for name, value in attributes.items():
        if value is not None:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            child.set(name.rstrip("_").replace("_", "-"), shown)
    return child


def text(
    parent: Element, words: str, x: float, y: float, size: float, fill: str, **more: str | None
) -> Element:
    """A text element; `more`: its `weight`, its `anchor`, and its `kind`, which is its class."""
    child = add(parent, "text", x=round(x, 1), y=round(y, 1), font_size=size, fill=fill, stroke="none")
    for name, value in more.items():
        if value is not None:
            child.set({"weight": "font-weight", "anchor": "text-anchor", "kind": "class"}[name], value)
    child.text = words
    return child


def icon(parent: Element, path: str, x: float, y: float) -> Element:
    """An icon whose box has its upper left corner here."""
    return add(
        parent,
        "path",
        class_="icon",
        d=path,
        transform=f"translate({x:g} {y:g})",
        fill="none",
        stroke_width=1.7,
        stroke_linecap="round",
        stroke_linejoin="round",
    )


# --- the graph --------------------------------------------------------------------------------


def _graph(root: Element, drawing: Drawing, geometry: Geometry, dx: float, dy: float) -> None:
    graph = add(root, "g", class_="graph", transform=f"translate({dx:g} {dy:g})")
    groups = [item for item in drawing.items.values() if item.shape == "group"]
    for item in groups:  # in order of addition a group comes before the groups in it
        _group(graph, drawing, item, geometry.boxes[item.id])
    for line, route in zip(drawing.lines, geometry.routes, strict=True):
        ink, dashes = _LINES[line.kind]
        edge = add(graph, "g", class_=f"edge {line.kind}", stroke=ink, fill=ink)
        edge.set("data-from", line.tail)
        edge.set("data-to", line.head)
        add(edge, "path", class_="line", d=route.line, fill="none", stroke_width=1.3, stroke_dasharray=dashes)
        if route.tip:
            add(edge, "path", class_="tip", d=route.tip, stroke="none")
    for item in drawing.items.values():
        if item.shape != "group":
            _node(graph, drawing, item, geometry.boxes[item.id])


def _look(drawing: Drawing, item: Item) -> Look:
    if item.change:
        return _CHANGES[item.change]
    return look(str(item.view.status)) if drawing.states else PLAIN


def _shell(graph: Element, drawing: Drawing, item: Item, box: Box) -> Element:
    state = str(item.view.status) if drawing.states else ""
    seen = _look(drawing, item)
    node = add(
        graph,
        "g",
        class_=f"node {item.shape}",
        transform=f"translate({box.x:g} {box.y:g})",
        stroke=seen.ink,
        fill=tint(seen.ink) if state or item.change else PAPER,
    )
    node.set("data-node", item.id)
    if state:
        node.set("data-state", state)
    if item.change:
        node.set("data-change", item.change)
    node.set("data-width", f"{box.width:g}")
    words = [one_line(item.id), one_line(item.view.action), item.note or state]
    title = add(node, "title")
    title.text = "\n".join(dict.fromkeys(word for word in words if word))
    return node


def _group(graph: Element, drawing: Drawing, item: Item, box: Box) -> None:
    node = _shell(graph, drawing, item, box)
    seen = _look(drawing, item)
    node.set("fill", tint(seen.ink, 0.035))
    add(
        node,
        "rect",
        class_="shape",
        width=box.width,
        height=box.height,
        rx=9,
        stroke_width=1,
        stroke_dasharray="4 3" if seen.dashed else None,
    )
    left = 10.0
    if seen.icon:
        icon(node, seen.icon, left, 7.5)
        left += 18
    text(node, item.title, left, 18, 12, INK, weight="600", kind="title")
    after = left + text_width(item.title, 12, bold=True) + 8
    words = fit(item.note or item.subtitle, max(0.0, box.width - after - 50), SMALL)
    text(node, words if len(words) > 2 else "", after, 18, SMALL, MUTED, kind="sub")
    took = item.took(drawing.at) if drawing.states and item.view.finished_at else ""
    text(node, took, box.width - PAD, 18, SMALL, MUTED, anchor="end", kind="time")


def _node(graph: Element, drawing: Drawing, item: Item, box: Box) -> None:
    node = _shell(graph, drawing, item, box)
    seen, view = _look(drawing, item), item.view
    dashes = "4 3" if seen.dashed else None
    if item.shape == "diamond":
        w, h = box.width, box.height
        path = f"M{w / 2:.1f},0L{w:.1f},{h / 2:.1f}L{w / 2:.1f},{h:.1f}L0,{h / 2:.1f}z"
        add(node, "path", class_="shape", d=path, stroke_width=1.3, stroke_dasharray=dashes)
        wide = text_width(item.title, TITLE, bold=True) / 1.08 + (18 if seen.icon else 0)
        left = (w - wide) / 2
        if seen.icon:
            icon(node, seen.icon, left, h / 2 - 6)
            left += 18
        text(node, item.title, left, h / 2 + 4.5, TITLE, INK, weight="600", kind="title")
        return
    w, h = box.width, box.height
    if item.shape == "stack":
        for step in (5.0, 2.5):
            add(node, "rect", class_="sheet", x=step, y=step, width=w - 5, height=h - 5, rx=8, stroke_width=1)
        w, h = w - 5, h - 5
    add(node, "rect", class_="shape", width=w, height=h, rx=8, stroke_width=1.3, stroke_dasharray=dashes)
    left = PAD
    if seen.icon:
        icon(node, seen.icon, 10, 11)
        left = ICON
    state = str(view.status) if drawing.states else ""
    sub = item.note or item.subtitle or state
    text(node, item.title, left, 20 if sub else h / 2 + 4.5, TITLE, INK, weight="600", kind="title")
    text(node, sub, left, 36, SMALL, MUTED, kind="sub" if item.subtitle and not item.note else "sub state")
    if view.added_by is not None:
        text(node, "+", w - 9, 16, TITLE, GROWN, weight="600", anchor="end", kind="mark")
    ending = "" if item.note else _ending(drawing, item)
    text(node, ending, w - 9, 36, SMALL, MUTED, anchor="end", kind="time")
    share = _share(item)
    bar = add(node, "rect", class_="bar", x=3.0, y=h - 4, width=round((w - 6) * share, 1), height=2.5, rx=1.2)
    bar.set("fill", seen.ink)
    bar.set("stroke", "none")


def _ending(drawing: Drawing, item: Item) -> str:
    """What stands at the right: how many attempts, if more than one, and how long it took."""
    if not drawing.states:
        return ""
    if item.items:
        return f"{_count_ended(item)}/{sum(item.items.values())}"
    times = f"{TIMES}{item.view.attempt}" if item.view.attempt > 1 else ""
    return " ".join(part for part in (times, item.took(drawing.at) if item.view.finished_at else "") if part)


def _count_ended(item: Item) -> int:
    return sum(count for state, count in item.items.items() if _ended(state))


def _ended(state: str) -> bool:
    return state not in ("pending", "running", "retrying", "paused")


def _share(item: Item) -> float:
    """How far a node is, as far as a bar shows it: the share of a stack's items, or its own progress."""
    if item.change:
        return 0.0
    if item.items:
        return _count_ended(item) / sum(item.items.values())
    if item.view.progress is None or _ended(str(item.view.status)):
        return 0.0
    return min(1.0, max(0.0, item.view.progress))


# --- the legend -------------------------------------------------------------------------------


def _legend_entries(drawing: Drawing) -> list[tuple[str, str]]:
    """`(kind, words)`: states with their counts, or changes, and the kinds of lines beside the usual one."""
    entries: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    for item in drawing.items.values():
        if item.shape == "group" and not item.change:
            continue
        inside = item.items if item.items and not item.change else {item.change or str(item.view.status): 1}
        for state, count in inside.items():
            counts[state] = counts.get(state, 0) + count
    if drawing.states or any(item.change for item in drawing.items.values()):
        known: Iterable[str] = [*LOOKS, *_CHANGES]
        entries += [(state, f"{state} {counts[state]}") for state in known if state in counts]
    kinds = {line.kind for line in drawing.lines}
    if "grown" in kinds:
        entries.append(("grown", "added while running"))
    if "rescue" in kinds:
        entries.append(("rescue", "failure handling"))
    return entries


def _legend_rows(entries: list[tuple[str, str]], width: float) -> list[list[tuple[float, str, str]]]:
    rows: list[list[tuple[float, str, str]]] = []
    x = width + 1
    for kind, words in entries:
        wide = text_width(words, SMALL) + (44 if kind in _LINES else 34)
        if x + wide > width and (not rows or x > 0):
            rows.append([])
            x = 0.0
        rows[-1].append((x, kind, words))
        x += wide
    return rows


def _legend(root: Element, row: list[tuple[float, str, str]], y: float) -> None:
    for x, kind, words in row:
        left = MARGIN + x
        if kind in _LINES:
            ink, dashes = _LINES[kind]
            sample = f"M{left:g},{y - 4:g}h20"
            add(root, "path", d=sample, stroke=ink, stroke_width=1.5, stroke_dasharray=dashes)
            text(root, words, left + 25, y, SMALL, MUTED)
            continue
        seen = _CHANGES.get(kind) or look(kind)
        entry = add(root, "g", stroke=seen.ink)
        icon(entry, seen.icon, left, y - 10)
        text(root, words, left + 17, y, SMALL, MUTED)
