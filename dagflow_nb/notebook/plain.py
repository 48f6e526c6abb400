"""A layered layout of our own, for machines without Graphviz and for graphs that take it too long.

Pure Python, in time proportional to the nodes and lines (and their sorting). Nodes stand in columns by
the longest way that leads to them; groups are laid out by themselves and then treated as one box.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .drawing import HEAD, ICON, PAD, SMALL, TITLE, Drawing, Item
from .style import text_width

GAP_X, GAP_Y, INSET, TIP = 52.0, 16.0, 14.0, 5.5


@dataclass(frozen=True, slots=True)
class Box:
    """Where an item is: its upper left corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """How a line runs: SVG path data of the line and of its arrow's tip."""

    line: str
    tip: str


@dataclass(frozen=True, slots=True)
class Geometry:
    """Places for all of a drawing: boxes by item id, routes in the order of its lines, the whole size.

    `engine` is who made it: `"dot"`, `"pygraphviz"` or `"plain"`.
    """

    boxes: Mapping[str, Box]
    routes: tuple[Route, ...]
    width: float
    height: float
    engine: str


@dataclass(slots=True)
class _Frame:
    """A group while it is laid out: the places in it, relative to its corner, and its size."""

    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0


def layout_plain(drawing: Drawing) -> Geometry:
    """Places for everything in `drawing`; never fails, whatever the lines are."""
    lifted = _lift(drawing)
    frames: dict[str | None, _Frame] = {}
    for group in _inner_first(drawing):
        frames[group] = _frame(drawing, group, lifted.get(group, ()), frames)
    boxes: dict[str, Box] = {}
    todo: list[tuple[str | None, float, float]] = [(None, 0.0, 0.0)]
    while todo:
        group, left, top = todo.pop()
        for id, (dx, dy) in frames[group].places.items():
            x, y = left + dx, top + dy
            width, height = _size(drawing.items[id], frames)
            boxes[id] = Box(round(x, 1), round(y, 1), round(width, 1), round(height, 1))
            if drawing.items[id].shape == "group":
                todo.append((id, x, y))
    routes = tuple(curve(boxes[line.tail], boxes[line.head]) for line in drawing.lines)
    whole = frames[None]
    ordered = {id: boxes[id] for id in drawing.items}
    return Geometry(ordered, routes, max(whole.width, 1.0), max(whole.height, 1.0), "plain")


def _lift(drawing: Drawing) -> dict[str | None, list[tuple[str, str]]]:
    """For each group the lines between its members, where lines from deeper inside count as the member's."""
    found: dict[str | None, dict[tuple[str, str], None]] = {}
    for line in drawing.lines:
        way = {group: member for member, group in _way_up(drawing, line.tail)}
        for member, group in _way_up(drawing, line.head):
            if group in way:
                if way[group] != member:
                    found.setdefault(group, {})[way[group], member] = None
                break
    return {group: list(pairs) for group, pairs in found.items()}


def _way_up(drawing: Drawing, id: str) -> Iterable[tuple[str, str | None]]:
    """`(member, group)` from an item up to the outermost group."""
    at: str | None = id
    while at is not None:
        parent = drawing.items[at].parent
        yield at, parent
        at = parent


def _inner_first(drawing: Drawing) -> list[str | None]:
    order: list[str | None] = [None]
    for group in order:
        order.extend(id for id in drawing.members.get(group, ()) if drawing.items[id].shape == "group")
    return order[::-1]


def _size(item: Item, frames: Mapping[str | None, _Frame]) -> tuple[float, float]:
    if item.shape == "group":
        return frames[item.id].width, frames[item.id].height
    return item.width, item.height


def _frame(
    drawing: Drawing,
    group: str | None,
    pairs: Iterable[tuple[str, str]],
    frames: Mapping[str | None, _Frame],
) -> _Frame:
    ids = drawing.members.get(group, [])
    after: dict[str, list[str]] = {id: [] for id in ids}
    before: dict[str, list[str]] = {id: [] for id in ids}
    for tail, head in pairs:
        after[tail].append(head)
        before[head].append(tail)
    columns = _columns(ids, after, before)
    _untangle(columns, after, before)

    sizes = {id: _size(drawing.items[id], frames) for id in ids}
    middles: dict[str, float] = {}
    frame = _Frame()
    x = 0.0
    for column in columns:
        widest = max(sizes[id][0] for id in column)
        _stack(column, sizes, before, middles)
        for id in column:
            frame.places[id] = (x + (widest - sizes[id][0]) / 2, middles[id] - sizes[id][1] / 2)
        x += widest + GAP_X
    inset, header = (INSET, HEAD) if group is not None else (0.0, 0.0)
    top = min((y for _, y in frame.places.values()), default=0.0)
    frame.places = {id: (px + inset, y - top + inset + header) for id, (px, y) in frame.places.items()}
    bottom = max((frame.places[id][1] + sizes[id][1] for id in ids), default=0.0)
    frame.width, frame.height = max(0.0, x - GAP_X) + 2 * inset, bottom + inset
    if group is not None:
        item = drawing.items[group]
        words = text_width(item.title, TITLE, bold=True) + text_width(item.note or item.subtitle, SMALL)
        frame.width = max(frame.width, words + ICON + 2 * PAD)
    return frame


def _columns(
    ids: Iterable[str], after: Mapping[str, list[str]], before: Mapping[str, list[str]]
) -> list[list[str]]:
    """The members in columns, each right of all it depends on; what is in a cycle comes last."""
    depth = dict.fromkeys(ids, 0)
    missing = {id: len(before[id]) for id in depth}
    ready = deque(id for id, count in missing.items() if count == 0)
    done: set[str] = set()
    while ready:
        id = ready.popleft()
        done.add(id)
        for head in after[id]:
            depth[head] = max(depth[head], depth[id] + 1)
            missing[head] -= 1
            if missing[head] == 0:
                ready.append(head)
    last = max((depth[id] for id in done), default=-1) + 1
    columns: dict[int, list[str]] = {}
    for id in depth:
        columns.setdefault(depth[id] if id in done else last, []).append(id)
    return [columns[key] for key in sorted(columns)]


def _untangle(
    columns: list[list[str]], after: Mapping[str, list[str]], before: Mapping[str, list[str]]
) -> None:
    """Fewer crossings: each column is sorted by where its neighbours stand, forth, back and forth again."""
    rank: dict[str, float] = {}

    def note(column: list[str]) -> None:
        for number, id in enumerate(column):
            rank[id] = (number + 0.5) / len(column)

    def sort(column: list[str], near: Mapping[str, list[str]]) -> None:
        def wish(id: str) -> float:
            there = [rank[other] for other in near[id] if other in rank]
            return sum(there) / len(there) if there else rank[id]

        column.sort(key=wish)
        note(column)

    for column in columns:
        note(column)
    for column in columns[1:]:
        sort(column, before)
    for column in reversed(columns[:-1]):
        sort(column, after)
    for column in columns[1:]:
        sort(column, before)


def _stack(
    column: list[str],
    sizes: Mapping[str, tuple[float, float]],
    before: Mapping[str, list[str]],
    middles: dict[str, float],
) -> None:
    """One column from top to bottom, near to what its members depend on, without overlaps."""
    wishes: list[float] = []
    at = 0.0
    for id in column:
        there = [middles[other] for other in before[id] if other in middles]
        half = sizes[id][1] / 2
        wish = sum(there) / len(there) if there else at + half
        middles[id] = max(at + half, wish) if wishes else wish
        wishes.append(wish)
        at = middles[id] + half + GAP_Y
    # Pushing down alone would make columns sink: move the column back by what it was pushed on average.
    pushed = sum(middles[id] - wish for id, wish in zip(column, wishes, strict=True)) / len(column)
    for id in column:
        middles[id] -= pushed


def curve(tail: Box, head: Box, start: float = float("-inf"), end: float = float("inf")) -> Route:
    """A line that turns once, between `start` and `end`, and is level before and after."""
    x1, y1 = tail.x + tail.width, tail.y + tail.height / 2
    x2, y2 = head.x, head.y + head.height / 2
    start, end = max(start, x1), min(end, x2 - TIP)
    first = f"L{start:.1f},{y1:.1f}" * (start > x1)
    bend = max(18.0, min(90.0, abs(end - start) / 2))
    return Route(
        f"M{x1:.1f},{y1:.1f}{first}"
        f"C{start + bend:.1f},{y1:.1f} {end - bend:.1f},{y2:.1f} {end:.1f},{y2:.1f}L{x2:.1f},{y2:.1f}",
        f"M{x2 - TIP:.1f},{y2 - 3.5:.1f}L{x2:.1f},{y2:.1f}L{x2 - TIP:.1f},{y2 + 3.5:.1f}",
    )
