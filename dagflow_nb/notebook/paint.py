"""A drawing with places, painted as SVG.

The same elements serve the saved picture and the live view: each node is a `<g class="node">` with
`data-node` and `data-state`; colours stand in attributes, which the live view's style sheet overrides.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from .drawing import ICON, PAD, SMALL, TITLE, Drawing, Item, Line
from .plain import Box, Geometry
from .style import (
    GROWN,
    INK,
    LOOKS,
    MARKS,
    MUTED,
    PAPER,
    PLAIN,
    RESCUE,
    RULE,
    TIMES,
    Look,
    amount,
    fit,
    look,
    one_line,
    text_width,
    tint,
)
from .svg import add, icon, root_of, sanitise, text

MARGIN = 16.0
_TOP = 56.0
ORDER = (
    *("failed", "running", "retrying", "paused", "pending"),
    *("cancelled", "skipped", "recovered", "cached", "completed"),
)
"""Of a bunch's counts those come first that want to be seen."""
_LINES = {"needs": ("#8a95a1", None), "grown": (GROWN, "5 3"), "rescue": (RESCUE, "1.5 3")}


def paint(drawing: Drawing, geometry: Geometry) -> str:
    """The drawing alone, for the live view: no heading, no legend, no tooltips (the page makes them)."""
    root = root_of(geometry.width + 2 * MARGIN, geometry.height + 2 * MARGIN)
    _Painter(drawing, geometry, tooltips=False).graph(root, MARGIN, MARGIN)
    return sanitise(root)


def paint_picture(drawing: Drawing, geometry: Geometry, alt: str) -> str:
    """The drawing on paper, with a heading and a legend: a picture that stands by itself."""
    legend = _legend_entries(drawing)
    width = max(geometry.width + 2 * MARGIN, text_width(drawing.heading, 15, bold=True) + 2 * MARGIN, 320.0)
    rows = _legend_rows(legend, width - 2 * MARGIN)
    height = _TOP + geometry.height + MARGIN + (20.0 * len(rows) + 14 if rows else 0.0)
    root = root_of(width, height)
    root.set("role", "img")
    root.set("aria-label", alt)
    add(root, "title").text = alt
    add(root, "rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=8, fill=PAPER, stroke=RULE)
    text(root, drawing.heading, MARGIN, 25, 15, INK, weight="600")
    text(root, drawing.caption, MARGIN, 42, SMALL, MUTED)
    _Painter(drawing, geometry, tooltips=True).graph(root, MARGIN, _TOP)
    y = _TOP + geometry.height + MARGIN + 12
    for row in rows:
        _legend(root, row, y)
        y += 20
    return sanitise(root, themed=True)


class _Painter:
    def __init__(self, drawing: Drawing, geometry: Geometry, *, tooltips: bool) -> None:
        self.drawing, self.geometry, self.tooltips = drawing, geometry, tooltips

    def graph(self, root: Element, dx: float, dy: float) -> None:
        """All of it, its upper left corner at `(dx, dy)`: groups below lines below nodes."""
        graph = add(root, "g", class_="graph", transform=f"translate({dx:g} {dy:g})")
        items = self.drawing.items.values()
        for item in items:  # in order of addition a group comes before the groups in it
            if item.shape == "group":
                self.group(graph, item, self.geometry.boxes[item.id])
        for line, route in zip(self.drawing.lines, self.geometry.routes, strict=True):
            ink, dashes = _LINES[line.kind]
            pen = {"fill": "none", "stroke": ink, "stroke_width": 1.3}
            drawn = route.line if dashes else route.line + route.tip
            paths = [add(graph, "path", class_=f"edge {line.kind}", d=drawn, **pen, stroke_dasharray=dashes)]
            if dashes:
                paths.append(add(graph, "path", class_=f"tip {line.kind}", d=route.tip, **pen))
            for path in paths:
                path.set("data-from", line.tail)
                path.set("data-to", line.head)
                if self.tooltips and self.dead(line):
                    path.set("opacity", "0.35")
        for item in items:
            if item.shape == "diamond":
                self.diamond(graph, item, self.geometry.boxes[item.id])
            elif item.shape != "group":
                self.box(graph, item, self.geometry.boxes[item.id])

    def look(self, item: Item) -> Look:
        if item.change:
            return look(item.change)
        return look(item.state) if self.drawing.states else PLAIN

    def state(self, item: Item) -> str:
        return item.state if self.drawing.states else ""

    def dead(self, line: Line) -> bool:
        """Whether nothing comes along this line any more: its path has failed, or was left out."""
        items, lost = self.drawing.items, {"skipped", "cancelled"}
        failed = set() if line.kind == "rescue" else {"failed"}
        return self.drawing.states and (
            items[line.head].states <= lost or items[line.tail].states <= lost | failed
        )

    def shell(self, graph: Element, item: Item, box: Box, share: float = 0.1) -> Element:
        ink, state = self.look(item).ink, self.state(item)
        fill = tint(ink, share) if state or item.change or item.shape == "group" else PAPER
        node = add(graph, "g", class_=f"node {item.shape}", stroke=ink, fill=fill)
        node.set("data-node", item.id)
        if state:
            node.set("data-state", state)
        if item.change:
            node.set("data-change", item.change)
        node.set("data-box", f"{box.x:g} {box.y:g} {box.width:g} {box.height:g}")
        if item.fold and not self.tooltips:
            node.set("data-fold", item.fold)
        if self.tooltips:
            name = item.title if item.view.kind == "bunch" else item.id
            by = f"added by {one_line(item.view.added_by)}" if item.view.added_by else ""
            words = [one_line(name), one_line(item.view.action), item.note or state, by]
            add(node, "title").text = "\n".join(dict.fromkeys(word for word in words if word))
        return node

    def group(self, graph: Element, item: Item, box: Box) -> None:
        node, seen = self.shell(graph, item, box, 0.035), self.look(item)
        self.rect(node, "shape", box, 0, dashed=seen.dashed, pen=1.0)
        left = box.x + 10
        if seen.icon:
            icon(node, seen.icon, left, box.y + 7.5)
            left += 18
        text(node, item.title, left, box.y + 18, 12, INK, weight="600", kind="title")
        after = left + text_width(item.title, 12, bold=True) + 8
        words = fit(item.note or item.subtitle, max(0.0, box.x + box.width - after - 50), SMALL)
        text(node, words if len(words) > 2 else "", after, box.y + 18, SMALL, MUTED, kind="sub")
        took = item.took(self.drawing.at) if self.state(item) and item.view.finished_at else ""
        right = box.x + box.width - PAD
        if item.fold and not self.tooltips:
            self.sign(node, item, right - 11, box.y + 6)
            right -= 20
        text(node, took, right, box.y + 18, SMALL, MUTED, anchor="end", kind="time")

    def diamond(self, graph: Element, item: Item, box: Box) -> None:
        node, seen = self.shell(graph, item, box), self.look(item)
        x, y = box.x + box.width / 2, box.y + box.height / 2
        path = f"M{x:.1f},{box.y:.1f}L{box.x + box.width:.1f},{y:.1f}"
        path += f"L{x:.1f},{box.y + box.height:.1f}L{box.x:.1f},{y:.1f}z"
        dashes = "4 3" if seen.dashed else None
        add(node, "path", class_="shape", d=path, stroke_width=1.3, stroke_dasharray=dashes)
        left = x - (text_width(item.title, TITLE, bold=True) / 1.08 + (18 if seen.icon else 0)) / 2
        if seen.icon:
            icon(node, seen.icon, left, y - 6)
            left += 18
        text(node, item.title, left, y + 4.5, TITLE, INK, weight="600", kind="title")

    def box(self, graph: Element, item: Item, box: Box) -> None:
        node, seen = self.shell(graph, item, box), self.look(item)
        x, y = box.x, box.y
        if item.shape == "stack":
            box = Box(x, y, box.width - 5, box.height - 5)
            self.rect(node, "sheet", box, 5, pen=1.0)
            self.rect(node, "sheet", box, 2.5, pen=1.0)
        self.rect(node, "shape", box, 0, dashed=seen.dashed)
        left, right = x + PAD, x + box.width - 9
        if seen.icon:
            icon(node, seen.icon, x + 10, y + 11)
            left = x + ICON
        if item.fold and not self.tooltips:
            self.sign(node, item, right - 13, y + 7)
            right -= 20
        state = "" if item.note or item.subtitle else self.state(item)
        sub = item.note or item.subtitle or state
        middle = y + (20 if sub else box.height / 2 + 4.5)
        text(node, item.title, left, middle, TITLE, INK, weight="600", kind="title")
        kind = "sub" if item.subtitle and not item.note else "sub state"
        ending = "" if item.note else self.ending(item)
        room = x + box.width - 9 - left - (text_width(ending, SMALL) + 6 if ending else 0)
        words = fit(sub, room, SMALL)
        # the icon tells a state, too: half of its name says less than none. The page does the same.
        if words != sub and (state or text_width(words, SMALL) > room):
            words = ""
        text(node, words, left, y + 36, SMALL, MUTED, kind=kind)
        if item.view.added_by is not None:
            text(node, "+", right, y + 16, TITLE, GROWN, weight="600", anchor="end", kind="mark")
        text(node, ending, x + box.width - 9, y + 36, SMALL, MUTED, anchor="end", kind="time")
        if item.items and self.drawing.states and not item.change:
            self.counts(node, item, box)
        elif share := _share(item):
            self.bar(node, "bar", x + 3, y + box.height - 4, (box.width - 6) * share, seen.ink)

    def counts(self, node: Element, item: Item, box: Box) -> None:
        """How many of what is hidden are in which state: in numbers, and as a bar. The page does the same."""
        counts = add(node, "g", class_="counts")
        left, end, total = box.x + PAD, box.x + box.width - 6, sum(item.items.values())
        for state in (state for state in ORDER if item.items.get(state)):
            words = amount(item.items[state])
            wide = 15 + 6.6 * len(words) + 9
            if left + wide > end:
                break
            one = add(counts, "g", class_="count", stroke=look(state).ink)
            one.set("data-state", state)
            icon(one, look(state).icon, left, box.y + 44)
            text(one, words, left + 15, box.y + 54, SMALL, MUTED)
            left += wide
        left = box.x + 3
        for state in (state for state in reversed(ORDER) if state != "pending" and state in item.items):
            wide = (box.width - 6) * item.items[state] / total
            self.bar(counts, "part", left, box.y + box.height - 5, wide, look(state).ink, state)
            left += wide

    def bar(
        self, node: Element, kind: str, x: float, y: float, wide: float, ink: str, state: str = ""
    ) -> None:
        bar = add(node, "rect", class_=kind, x=x, y=y, width=round(wide, 1), height=2.5)
        bar.set("fill", ink)
        bar.set("stroke", "none")
        if state:
            bar.set("data-state", state)

    def sign(self, node: Element, item: Item, x: float, y: float) -> None:
        """What one clicks on to open or close it; only in the page."""
        sign = add(node, "g", class_="sign")
        add(sign, "rect", x=x, y=y, width=14, height=14, rx=3, stroke_width=1)
        path = f"M{x + 3.5:.1f} {y + 7:.1f}h7" + (
            f"M{x + 7:.1f} {y + 3.5:.1f}v7" if item.fold == "closed" else ""
        )
        add(sign, "path", d=path, fill="none", stroke_width=1.4)

    def rect(
        self, node: Element, kind: str, box: Box, shift: float, *, dashed: bool = False, pen: float = 1.3
    ) -> None:
        place = {"x": box.x + shift, "y": box.y + shift, "width": box.width, "height": box.height, "rx": 8}
        dashes = "4 3" if dashed else None
        add(node, "rect", class_=kind, **place, stroke_width=pen, stroke_dasharray=dashes)

    def ending(self, item: Item) -> str:
        """What stands at the right: how many attempts, if more than one, and how long it took."""
        if not self.drawing.states:
            return ""
        if item.items:
            return f"{_count_ended(item)}/{sum(item.items.values())}"
        times = f"{TIMES}{item.view.attempt}" if item.view.attempt > 1 else ""
        tokens = f"{amount(item.view.tokens)} tok" if item.view.tokens else ""
        took = item.took(self.drawing.at) if item.view.finished_at else ""
        return "\u2002".join(part for part in (times, tokens, took) if part)


def _count_ended(item: Item) -> int:
    return sum(count for state, count in item.items.items() if _ended(state))


def _ended(state: str) -> bool:
    return state not in ("pending", "running", "retrying", "paused")


def _share(item: Item) -> float:
    """How far a node says that it is."""
    if item.change or item.view.progress is None or _ended(str(item.view.status)):
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
        if not item.change and not drawing.states:
            continue
        inside = item.items if item.items and not item.change else {item.change or item.state: 1}
        for state, count in inside.items():
            counts[state] = counts.get(state, 0) + count
    entries += [(kind, f"{kind} {counts[kind]}") for kind in (*LOOKS, *MARKS) if kind in counts]
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
        seen = look(kind)
        icon(add(root, "g", stroke=seen.ink), seen.icon, left, y - 10)
        text(root, words, left + 17, y, SMALL, MUTED)
