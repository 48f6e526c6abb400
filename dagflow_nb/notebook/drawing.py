"""What is to be drawn of a run or a workflow: boxes, groups and lines, before anything has a place.

Pure: a `Snapshot` comes in, a `Drawing` comes out; `dot.py` writes it as DOT, `plain.py` and `layout.py`
give it places, `svg.py` paints it. Sizes are in pixels and depend on ids and actions only, not on
states, so that a drawing can be laid out once and painted as often as states change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..runtime.snapshot import NodeView, Snapshot
from .style import TIMES, duration, fit, one_line, text_width

MAP_LIMIT = 30
"""A map with more items than this is drawn as one node with counts."""
DRAW_LIMIT = 1500
"""More boxes than this are not drawn; the caption says how many are missing."""
TITLE, SMALL = 13.0, 11.0
ICON, PAD = 30.0, 12.0
HEAD = 28.0
"""Height of a group's header."""

Shape = Literal["box", "stack", "diamond", "group"]
LineKind = Literal["needs", "grown", "rescue"]


@dataclass(slots=True)
class Item:
    """A node as it is drawn: `title` and `subtitle` fit into its size; `items` are the counts by state of
    what a stack hides; `change` is how it differs in a comparison of two runs, `note` the words for it.
    """

    id: str
    view: NodeView
    shape: Shape
    parent: str | None
    title: str
    subtitle: str
    width: float
    height: float
    items: Mapping[str, int] = field(default_factory=dict)
    change: str = ""
    note: str = ""

    def took(self, now: float) -> str:
        """How long it took, or has been taking; empty before it starts."""
        if self.view.started_at is None:
            return ""
        return duration((self.view.finished_at or now) - self.view.started_at)


@dataclass(frozen=True, slots=True)
class Line:
    """An arrow between two items: a dependency, growth in answer to an event, or a rescue of a failure."""

    tail: str
    head: str
    kind: LineKind = "needs"


@dataclass(slots=True)
class Drawing:
    """All that is drawn. `members` lists the children of each group, of None the outermost items;
    `states` is False for a workflow that is not running; `caption` is the line under the picture.
    """

    name: str
    heading: str
    caption: str
    at: float
    items: dict[str, Item]
    lines: list[Line]
    members: dict[str | None, list[str]]
    states: bool = True

    def roots_and_leaves(self, group: str) -> tuple[list[str], list[str]]:
        """The boxes in a group (also in groups in it) that nothing in it leads to, or leads out of."""
        inside = self._boxes_in(group)
        known = set(inside)
        heads = {line.head for line in self.lines if line.tail in known}
        tails = {line.tail for line in self.lines if line.head in known}
        return [i for i in inside if i not in heads], [i for i in inside if i not in tails]

    def _boxes_in(self, group: str) -> list[str]:
        found: list[str] = []
        todo = list(reversed(self.members.get(group, ())))
        while todo:
            id = todo.pop()
            if self.items[id].shape == "group":
                todo.extend(reversed(self.members.get(id, ())))
            else:
                found.append(id)
        return found


def summary(snapshot: Snapshot) -> str:
    """One sentence on a run: what a picture's alternative text and a plain output say.

    >>> summary(Snapshot(run_id="r1", dag_name="tidy", status="completed", nodes=(
    ...     NodeView(id="a", action="f", status="completed"),)))
    'Workflow tidy, run r1: completed; 1 node: 1 completed'
    """
    counts = leaf_counts(snapshot)
    total = sum(counts.values())
    parts = ", ".join(f"{counts[state]} {state}" for state in sorted(counts))
    failed = [one_line(node.id) for node in snapshot.nodes if node.status == "failed"][:3]
    return (
        f"Workflow {one_line(snapshot.dag_name)}, run {one_line(snapshot.run_id)}: {snapshot.status}; "
        f"{total} node{'' if total == 1 else 's'}"
        + (f": {parts}" if parts else "")
        + (f" (failed: {', '.join(failed)})" if failed else "")
    )


def leaf_counts(snapshot: Snapshot) -> dict[str, int]:
    """How many nodes are in each state, without the maps and sub-workflows that only hold others."""
    parents = {node.parent for node in snapshot.nodes}
    return dict(Counter(str(node.status) for node in snapshot.nodes if node.id not in parents))


def draw(snapshot: Snapshot) -> Drawing:
    """What is to be drawn of a run."""
    took = ""
    if snapshot.started_at is not None:
        word = "in" if snapshot.finished_at is not None else "for"
        took = f" {word} {duration((snapshot.finished_at or snapshot.at) - snapshot.started_at)}"
    heading = f"{one_line(snapshot.dag_name)}  ·  {snapshot.status}{took}"
    return _draw(snapshot.nodes, snapshot.dag_name, heading, snapshot.at, run_id=snapshot.run_id)


def draw_workflow(workflow: Any, marks: Mapping[str, tuple[str, str]] | None = None) -> Drawing:
    """What is to be drawn of a workflow (anything with a `name` and `nodes`): no node has a state yet.

    `marks` colours nodes by id: `(look, note)`, where the look is a state's name (`style.LOOKS`) or one of
    `style.MARKS`, and the note stands in the node, in a few words: `{"fetch": ("run", "code changed")}`.
    """
    nodes = workflow.nodes
    defs = list(nodes.values() if isinstance(nodes, Mapping) else nodes)
    views = [
        NodeView(
            id=d.id,
            action=str(d.action),
            deps=tuple(d.deps),
            parent=d.parent,
            kind=d.kind,
            replaces=d.replaces,
            tags=tuple(d.tags),
            description=d.description,
        )
        for d in defs
    ]
    drawing = _draw(views, workflow.name, one_line(workflow.name), 0.0)
    drawing.states = False
    for item in drawing.items.values():
        if marks and item.id in marks:
            _mark(item, *marks[item.id])
    return drawing


def _mark(item: Item, change: str, note: str) -> None:
    item.change, item.note = change, note
    item.width = max(item.width, text_width(one_line(note), SMALL) + ICON + PAD)


def draw_diff(a: Snapshot, b: Snapshot, changes: Mapping[str, str] | None = None) -> Drawing:
    """Run `a` and run `b` in one drawing: what came, what went, and whose state changed.

    `changes` says in a few words what else differs, by node id (say, "outputs").
    """
    before, after = {n.id: n for n in a.nodes}, {n.id: n for n in b.nodes}
    nodes = [*b.nodes, *(node for node in a.nodes if node.id not in after)]
    drawing = _draw(nodes, b.dag_name, f"{one_line(a.run_id)}  →  {one_line(b.run_id)}", b.at)
    for item in drawing.items.values():
        old, new = before.get(item.id), after.get(item.id)
        if old is None or new is None:
            _mark(item, "added" if new else "removed", f"only in the {'second' if new else 'first'}")
        elif old.status != new.status:
            _mark(item, "changed", f"{old.status} → {new.status}")
        elif changes and item.id in changes:
            _mark(item, "changed", f"other {changes[item.id]}")
        else:
            _mark(item, "same", "same")
    return drawing


def _draw(
    nodes: Iterable[NodeView], name: str, heading: str, at: float, *, run_id: str | None = None
) -> Drawing:
    views = {node.id: node for node in nodes}
    children: dict[str, list[str]] = {}
    for view in views.values():
        if view.parent in views and view.parent != view.id:
            children.setdefault(view.parent, []).append(view.id)
    crowded = len(views) > DRAW_LIMIT
    closed = {
        id
        for id, inside in children.items()
        if crowded or (views[id].kind == "map" and len(inside) > MAP_LIMIT)
    }

    shown: dict[str, str] = {}  # node id -> the item that stands for it
    hidden_in: dict[str, Counter[str]] = {}
    for id in views:
        shown[id] = _stands_for(id, views, closed)
        if shown[id] != id:
            hidden_in.setdefault(shown[id], Counter())[str(views[id].status)] += 1
    visible = [id for id in views if shown[id] == id]
    missing = max(0, len(visible) - DRAW_LIMIT)
    items: dict[str, Item] = {}
    members: dict[str | None, list[str]] = {}
    for id in visible[:DRAW_LIMIT]:
        opened = id in children and id not in closed
        parent = views[id].parent if views[id].parent in items else None
        items[id] = _item(views[id], parent, opened, hidden_in.get(id, {}))
        members.setdefault(parent, []).append(id)
    for id, item in items.items():
        if item.shape == "group" and not members.get(id):
            item.shape = "stack"

    count = len(views)
    caption = f"{count} node{'' if count == 1 else 's'}"
    caption = f"run {one_line(run_id)}  ·  {caption}" if run_id else caption
    if missing:
        caption += f"  ·  {missing} of them not drawn"
    lines = _lines(views, items, shown)
    return Drawing(name, heading, caption, at, items, lines, members)


def _stands_for(id: str, views: Mapping[str, NodeView], closed: set[str]) -> str:
    """The item that is drawn for a node: itself, or the outermost closed group it is in."""
    found, seen = id, {id}
    parent = views[id].parent
    while parent is not None and parent in views and parent not in seen:
        seen.add(parent)
        if parent in closed:
            found = parent
        parent = views[parent].parent
    return found


def _item(view: NodeView, parent: str | None, opened: bool, items: Mapping[str, int]) -> Item:
    shape: Shape = "box"
    if opened:
        shape = "group"
    elif view.kind == "branch":
        shape = "diamond"
    elif view.kind in ("map", "workflow"):
        shape = "stack"
    label = view.id[:200]
    if parent is not None and label.startswith(f"{parent}/") and len(label) > len(parent) + 1:
        label = label[len(parent) + 1 :]
    label, action = one_line(label), one_line(view.action[:200])
    if shape == "stack":
        action = f"{action} {TIMES} {sum(items.values())}" if items else f"{view.kind} of {action}"
    elif shape == "group" and view.kind == "map":
        action = "map"
    elif action == label:
        action = ""
    title, subtitle = fit(label, 190, TITLE, bold=True), fit(action, 150, SMALL)
    wide = text_width(title, TITLE, bold=True)
    if shape == "diamond":
        title = fit(label, 130, TITLE, bold=True)
        wide = text_width(title, TITLE, bold=True) + 22
        return Item(view.id, view, shape, parent, title, "", round(wide * 1.5), 58.0)
    # 56: room for a duration, and how often it was tried, at the right end of the second line
    height = 54.0 if shape == "stack" else 46.0
    mark = 14 if view.added_by is not None else 0
    width = max(wide + mark, text_width(subtitle, SMALL) + 56, text_width("completed", SMALL) + 56)
    return Item(view.id, view, shape, parent, title, subtitle, round(ICON + width + PAD), height, items)


def _lines(views: Mapping[str, NodeView], items: Mapping[str, Item], shown: Mapping[str, str]) -> list[Line]:
    found: dict[tuple[str, str], LineKind] = {}

    def add(tail: str | None, head: str, kind: LineKind) -> None:
        if tail is None or tail not in views:
            return
        a, b = shown[tail], shown[head]
        if a == b or a not in items or b not in items or _inside(a, b, items) or _inside(b, a, items):
            return
        if kind == "needs":
            found.setdefault((a, b), kind)
        else:
            found[a, b] = kind

    for view in views.values():
        if view.id not in items:
            continue  # what a closed group hides depends on what the group depends on
        holder = views.get(view.parent) if view.parent is not None else None
        above = holder.deps if holder is not None else ()
        for dep in view.deps:
            if dep not in above:
                add(dep, view.id, "needs")
        if holder is None:
            if view.replaces:
                add(view.replaces, view.id, "rescue")
            elif view.id.endswith(".on_failure"):
                add(view.id.removesuffix(".on_failure"), view.id, "rescue")
            else:
                add(view.added_by, view.id, "grown")
    return [Line(tail, head, kind) for (tail, head), kind in found.items()]


def _inside(id: str, group: str, items: Mapping[str, Item]) -> bool:
    parent = items[id].parent
    while parent is not None:
        if parent == group:
            return True
        parent = items[parent].parent
    return False
