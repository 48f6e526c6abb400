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
from .folding import Bunch, Folding, Folds, fold
from .style import TIMES, duration, fit, one_line, text_width

TITLE, SMALL = 13.0, 11.0
ICON, PAD = 30.0, 12.0
HEAD = 28.0
"""Height of a group's header."""
STACK = (212.0, 70.0)
"""The size of a box with counts by state, at least."""
LOUD = ("failed", "paused", "running", "retrying", "pending")

Shape = Literal["box", "stack", "diamond", "group"]
LineKind = Literal["needs", "grown", "rescue"]


@dataclass(slots=True)
class Item:
    """A node as it is drawn: `title` and `subtitle` fit into its size; `items` are the counts by state of
    what a stack hides, `hidden` says what; `change` is its mark (how it differs in a comparison, say), `note`
    the words for it; `fold` is `closed` or `open` where it can be opened or closed.
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
    hidden: tuple[str, ...] = ()
    change: str = ""
    note: str = ""
    fold: Literal["", "open", "closed"] = ""

    @property
    def state(self) -> str:
        """Its state; that of a stack that is no node of its own comes from what it hides."""
        return state_of(self.items) if self.items and self.view.kind == "bunch" else str(self.view.status)

    @property
    def states(self) -> set[str]:
        """Its state, or all states of what it hides where it is no node of its own."""
        return set(self.items) if self.items and self.view.kind == "bunch" else {self.state}

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

    def hidden(self) -> dict[str, list[str]]:
        """The nodes that each closed item stands for."""
        return {item.id: list(item.hidden) for item in self.items.values() if item.hidden}

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


def state_of(counts: Mapping[str, int]) -> str:
    """The state of a bunch: the one that wants most to be seen, or, if all have ended, the most common one.

    >>> state_of({"completed": 5, "running": 1}), state_of({"completed": 5, "skipped": 1})
    ('running', 'completed')
    """
    loud = next((state for state in LOUD if counts.get(state)), None)
    return loud or max(counts, key=lambda state: counts[state], default="pending")


def draw(snapshot: Snapshot, folding: Folding | None = None) -> Drawing:
    """What is to be drawn of a run, folded as somebody chose, or by itself where it is big."""
    took = ""
    if snapshot.started_at is not None:
        word = "in" if snapshot.finished_at is not None else "for"
        took = f" {word} {duration((snapshot.finished_at or snapshot.at) - snapshot.started_at)}"
    heading = f"{one_line(snapshot.dag_name)}  ·  {snapshot.status}{took}"
    return _draw(snapshot.nodes, snapshot.dag_name, heading, snapshot.at, folding, run_id=snapshot.run_id)


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
    nodes: Iterable[NodeView],
    name: str,
    heading: str,
    at: float,
    folding: Folding | None = None,
    *,
    run_id: str | None = None,
) -> Drawing:
    views = {node.id: node for node in nodes}
    folds = fold(views.values(), folding)
    hidden = folds.hidden()
    drawing = Drawing(name, heading, "", at, {}, [], {})

    def place(id: str) -> None:
        """Makes the item, after the groups that it is in."""
        parent = folds.parents.get(id)
        if id in drawing.items:
            return
        if parent is not None:
            place(parent)
        inside = hidden.get(id, [])
        if id in folds.bunches:
            item = _bunch(folds.bunches[id], inside, views)
        else:
            item = _item(views[id], parent, folds, inside, views)
        drawing.items[id] = item
        drawing.members.setdefault(parent, []).append(id)

    for id in views:
        place(folds.shown[id])
    count = len(views)
    drawing.caption = f"{count} node{'' if count == 1 else 's'}"
    if run_id:
        drawing.caption = f"run {one_line(run_id)}  ·  {drawing.caption}"
    drawing.lines = _lines(views, drawing.items, folds.shown)
    return drawing


def _counts(ids: Iterable[str], views: Mapping[str, NodeView]) -> Mapping[str, int]:
    return Counter(str(views[id].status) for id in ids)


def _bunch(bunch: Bunch, inside: list[str], views: Mapping[str, NodeView]) -> Item:
    view = NodeView(id=bunch.id, action=bunch.action, kind="bunch")
    title, action = one_line(bunch.title[:200]), one_line(bunch.action[:200])
    many = len(inside) or len(bunch.members)
    words = f"{TIMES} {many}" if action == title else f"{action} {TIMES} {many}"
    title = fit(title, 190, TITLE, bold=True)
    if bunch.opened:
        return Item(bunch.id, view, "group", bunch.parent, title, words, 0.0, 0.0, fold="open")
    return _stack(view, bunch.parent, title, words, inside, views)


def _stack(
    view: NodeView,
    parent: str | None,
    title: str,
    subtitle: str,
    inside: list[str],
    views: Mapping[str, NodeView],
) -> Item:
    """A box that stands for others: room for its title and a sign to open it, and for counts by state."""
    width = round(max(STACK[0], ICON + text_width(title, TITLE, bold=True) + 20 + PAD))
    subtitle = fit(subtitle, 130, SMALL)
    items, hidden = _counts(inside, views), tuple(inside)
    return Item(
        view.id, view, "stack", parent, title, subtitle, width, STACK[1], items, hidden, fold="closed"
    )


def _item(
    view: NodeView, parent: str | None, folds: Folds, inside: list[str], views: Mapping[str, NodeView]
) -> Item:
    label = view.id[:200]
    if parent is not None and label.startswith(f"{parent}/") and len(label) > len(parent) + 1:
        label = label[len(parent) + 1 :]
    label, action = one_line(label), one_line(view.action[:200])
    title = fit(label, 190, TITLE, bold=True)
    if inside:
        within = view.kind in ("map", "workflow")
        words = f"{action} {TIMES} {len(inside)}" if within else f"and {len(inside)} after it"
        return _stack(view, parent, title, words, inside, views)
    if view.id in folds.groups:
        subtitle = "map" if view.kind == "map" else action
        return Item(view.id, view, "group", parent, title, subtitle, 0.0, 0.0, fold="open")
    if view.kind == "branch":
        title = fit(label, 130, TITLE, bold=True)
        wide = text_width(title, TITLE, bold=True) + 22
        return Item(view.id, view, "diamond", parent, title, "", round(wide * 1.5), 58.0)
    empty = view.kind in ("map", "workflow")  # its items are not known yet
    action = f"{view.kind} of {action}" if empty else "" if action == label else action
    subtitle = fit(action, 150, SMALL)
    # 64: room for a duration, and how often it was tried, at the right end of the second line
    wide = text_width(title, TITLE, bold=True)
    mark = 22 if view.added_by is not None else 0
    width = max(wide + mark, text_width(subtitle, SMALL) + 64, text_width("completed", SMALL) + 64)
    shape: Shape = "stack" if empty else "box"
    height = 54.0 if empty else 46.0
    return Item(view.id, view, shape, parent, title, subtitle, round(ICON + width + PAD), height)


def _lines(views: Mapping[str, NodeView], items: Mapping[str, Item], shown: Mapping[str, str]) -> list[Line]:
    found: dict[tuple[str, str], LineKind] = {}

    def add(tail: str | None, head: str, kind: LineKind) -> None:
        if tail is None or tail not in views:
            return
        a, b = shown[tail], shown[head]
        if a == b or a not in items or b not in items or _inside(a, b, items) or _inside(b, a, items):
            return
        # Between two nodes growth says more than "needs"; a line that stands for several says what most are.
        if (a, b) not in found or (kind != "needs") == ((a, b) == (tail, head)):
            found[a, b] = kind

    for view in views.values():
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
