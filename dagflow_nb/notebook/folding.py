"""What of a big graph is folded: which nodes stand for others, so that no more are drawn than can be seen.

Pure. Three kinds of folds: a closed map or sub-workflow stands for what is in it; a closed branch is a node
that stands for all that comes after it; a bunch stands for nodes of one action, or for a range of nodes.
What a person chose comes first; above `VISIBLE` nodes the rest is folded until few are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from ..runtime.snapshot import NodeView

MAP_LIMIT = 30
"""A map with more items than this is closed unless somebody opens it."""
VISIBLE = 300
"""More nodes than this are not drawn unless somebody wants them."""
MOST = 1500
"""More than this are never drawn: of what was opened the earliest is closed again."""
FEW = 60
"""As many bunches as a crowd is made into, or about so many."""
RANGE = 100
"""A bunch with more nodes than this opens as ranges of so many."""

By = Literal["auto", "nothing", "groups", "actions"]
BY: tuple[By, ...] = get_args(By)


@dataclass(frozen=True, slots=True)
class Folding:
    """What a person chose: how nodes are folded, what was closed, and what was opened (the earliest first).

    `by`: `auto`, `nothing`, `groups` (all maps and sub-workflows are closed) or `actions` (nodes of the same
    action are one). `closed` and `opened` are ids of drawn items.
    """

    by: By = "auto"
    closed: frozenset[str] = frozenset()
    opened: tuple[str, ...] = ()

    def turned(self, id: str, closed: bool) -> Folding:
        """The same with this item opened, if it is closed, or closed."""
        opened = tuple(one for one in self.opened if one != id)
        if closed:
            return replace(self, closed=self.closed - {id}, opened=(*opened, id))
        return replace(self, closed=self.closed | {id}, opened=opened)


@dataclass(slots=True)
class Bunch:
    """Nodes that are one box, or, where it is `opened`, one group."""

    id: str
    title: str
    action: str
    parent: str | None
    opened: bool
    members: list[str]


@dataclass(slots=True)
class Folds:
    """Which item stands for which node (`shown`), the bunches by id, and the group that holds each item."""

    shown: dict[str, str]
    bunches: dict[str, Bunch]
    parents: dict[str, str | None]
    groups: set[str]
    """Maps and sub-workflows that are drawn open."""

    def hidden(self) -> dict[str, list[str]]:
        """The nodes that each closed item stands for, but for itself."""
        found: dict[str, list[str]] = {}
        for id, item in self.shown.items():
            if id != item:
                found.setdefault(item, []).append(id)
        return found


def fold(nodes: Iterable[NodeView], chosen: Folding | None = None) -> Folds:
    """What stands for what among these nodes."""
    graph = _Graph({node.id: node for node in nodes})
    chosen = chosen or Folding()
    opened = list(chosen.opened)
    while True:
        found = _Folder(graph, chosen, set(opened)).fold()
        if not opened or len(set(found.shown.values())) <= MOST:
            return found
        del opened[0]


def revealed(nodes: Iterable[NodeView], chosen: Folding, id: str) -> Folding:
    """`chosen` with everything opened that hides a node."""
    nodes = list(nodes)
    for _ in range(20):  # folds are nested, but not deeply
        item = fold(nodes, chosen).shown.get(id, id)
        if item == id:
            break
        chosen = chosen.turned(item, closed=True)
    return chosen


class _Graph:
    """The nodes, what is in each group, and what comes after each node."""

    def __init__(self, views: Mapping[str, NodeView]) -> None:
        self.views = views
        self.children: dict[str, list[str]] = {}
        self.parent: dict[str, str | None] = {}
        for id, view in views.items():
            parent = view.parent if view.parent in views and view.parent != id else None
            self.parent[id] = parent if parent is not None and not self._in(parent, id) else None
            if self.parent[id] is not None:
                self.children.setdefault(str(parent), []).append(id)
        self._after: dict[str, list[str]] | None = None

    def _in(self, id: str, group: str) -> bool:
        """Whether a node is in a group, however deep."""
        at = self.parent.get(id)
        while at is not None and at != group:
            at = self.parent.get(at)
        return at is not None

    def after(self, root: str) -> list[str]:
        """All that depends on a node, was added because of it, or is in something that does."""
        if self._after is None:
            self._after = {}
            for id, view in self.views.items():
                for before in {*view.deps, view.added_by, view.replaces, self.parent[id]}:
                    if before is not None:
                        self._after.setdefault(before, []).append(id)
        seen, todo = {root}, [root]
        while todo:
            for id in self._after.get(todo.pop(), ()):
                if id not in seen:
                    seen.add(id)
                    todo.append(id)
        return [id for id in self.views if id in seen and id != root]

    def depth(self) -> dict[str, int]:
        """How many nodes are before each one, on the longest way; what is in a cycle lies at 0."""
        after: dict[str, list[str]] = {}
        missing: dict[str, int] = {}
        for id, view in self.views.items():
            before = {one for one in (*view.deps, view.added_by) if one in self.views and one != id}
            missing[id] = len(before)
            for one in before:
                after.setdefault(str(one), []).append(id)
        found = dict.fromkeys(self.views, 0)
        ready = [id for id, count in missing.items() if count == 0]
        for id in ready:
            for later in after.get(id, ()):
                found[later] = max(found[later], found[id] + 1)
                missing[later] -= 1
                if missing[later] == 0:
                    ready.append(later)
        return found


@dataclass(slots=True)
class _Folder:
    graph: _Graph
    chosen: Folding
    opened: set[str]
    closed: set[str] = field(default_factory=set)
    branch: dict[str, str] = field(default_factory=dict)
    bunched: dict[str, str] = field(default_factory=dict)
    bunches: dict[str, Bunch] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)

    def fold(self) -> Folds:
        self.close_branches()
        self.close_groups()
        shown = self.stand_ins()
        limit = MOST if self.chosen.by == "nothing" else VISIBLE
        crowded = len(set(shown.values())) > limit
        if crowded:
            self.close_more(shown, limit)
            shown = self.stand_ins()
            crowded = len(set(shown.values())) > limit
        if crowded or self.chosen.by == "actions" or any(id in self.opened for id in self.graph.children):
            for group, ids in self.containers(shown).items():
                self.bunch(group, ids, crowded)
            shown = self.stand_ins()
        groups = {id for id in self.graph.children if shown[id] == id and id not in self.closed}
        opened = {bunch.id for bunch in self.bunches.values() if bunch.opened}
        parents = {id: self.holder(id, groups | opened) for id in opened.union(shown.values())}
        return Folds(shown, self.bunches, parents, groups)

    def holder(self, id: str, drawn: set[str]) -> str | None:
        """The innermost group that is drawn around an item."""
        at = self.parents.get(id, self.graph.parent.get(id))
        while at is not None and at not in drawn:
            at = self.graph.parent.get(at)
        return at

    def close_branches(self) -> None:
        for root in self.graph.views:
            if root in self.chosen.closed and root not in self.graph.children:
                for id in self.graph.after(root):
                    self.branch.setdefault(id, root)

    def close_groups(self) -> None:
        for id, inside in self.graph.children.items():
            big = self.graph.views[id].kind == "map" and len(inside) > MAP_LIMIT
            wanted = self.chosen.by == "groups" or (big and self.chosen.by != "nothing")
            if id in self.chosen.closed or (wanted and id not in self.opened):
                self.closed.add(id)

    def close_more(self, shown: Mapping[str, str], limit: int) -> None:
        """Closes groups, those with the most in them first, until few enough nodes are left."""
        count = len(set(shown.values()))
        inside: Counter[str] = Counter()
        for id in set(shown.values()):
            at = self.graph.parent.get(id)
            while at is not None:
                inside[at] += 1
                at = self.graph.parent[at]
        for id, many in inside.most_common():
            if count <= limit:
                break
            if id not in self.opened and id not in self.closed:
                self.closed.add(id)
                count -= many

    def stand_ins(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for id in self.graph.views:
            found[id] = self.stand_in(id)
        return found

    def stand_in(self, id: str) -> str:
        """The outermost of what hides a node, or the node itself."""
        seen: set[str] = set()
        at, item = id, id
        while at not in seen:
            seen.add(at)
            if at in self.branch:
                at = item = self.branch[at]
                continue
            parent = self.graph.parent[at]
            if parent is None:
                break
            if parent in self.closed:
                item = parent
            at = parent
        return self.bunched.get(item, item)

    def containers(self, shown: Mapping[str, str]) -> dict[str | None, list[str]]:
        """The items in each open group, of None the outermost, in order of addition."""
        found: dict[str | None, list[str]] = {}
        for id in self.graph.views:
            if shown[id] == id:
                found.setdefault(self.graph.parent[id], []).append(id)
        return found

    def bunch(self, group: str | None, ids: list[str], crowded: bool) -> None:
        """Bunches what may be bunched of one group: by action, and if need be by how deep it lies."""
        free = [id for id in ids if id in self.closed or id not in self.graph.children]
        if group is not None and self.graph.views[group].kind == "map":  # it is a bunch already
            if len(free) > RANGE:
                self.ranges(free, group, group)
            return
        kinds: dict[str, list[str]] = {}
        if self.chosen.by == "actions":
            for id in free:
                kinds.setdefault(self.graph.views[id].action, []).append(id)
        elif crowded:
            kinds = self.kinds(free)
        if len(kinds) > VISIBLE or (crowded and len(kinds) == len(free)):
            if len(free) > RANGE:
                self.ranges(free, group, group or "")
            return
        for key, same in kinds.items():
            if len(same) > 1:
                action = self.graph.views[same[0]].action
                self.add(self.key(f"{group or ''}::{key}"), action, action, same, group)

    def kinds(self, ids: list[str]) -> dict[str, list[str]]:
        """Nodes of the same action that lie about as deep: few bunches that still show the graph's shape."""
        views, depth = self.graph.views, self.graph.depth()
        width = 1
        while True:
            found: dict[str, list[str]] = {}
            for id in ids:
                found.setdefault(f"{views[id].action}@{depth[id] // width}", []).append(id)
            if len(found) <= FEW or width > len(views):
                return found
            width *= 2

    def ranges(self, ids: list[str], parent: str | None, key: str) -> None:
        """Ranges of `RANGE` nodes, or of as many as make `RANGE` ranges."""
        size = max(RANGE, -(-len(ids) // RANGE))
        for start in range(0, len(ids), size):
            some = ids[start : start + size]
            first, last = (one.removeprefix(f"{parent}/") for one in (some[0], some[-1]))
            title = f"{first} … {last}" if len(some) > 1 else first
            kinds = {self.graph.views[id].action for id in some}
            action = kinds.pop() if len(kinds) == 1 else f"{len(kinds)} actions"
            self.add(self.key(f"{key}#{start // size}"), title, action, some, parent)

    def add(self, key: str, title: str, action: str, ids: list[str], parent: str | None) -> None:
        bunch = Bunch(key, title, action, parent, key in self.opened, ids)
        self.bunches[key] = bunch
        self.parents[key] = parent
        if not bunch.opened:
            self.bunched.update(dict.fromkeys(ids, key))
        elif len(ids) > RANGE:
            self.ranges(ids, key, key)
        else:
            self.parents.update(dict.fromkeys(ids, key))

    def key(self, wish: str) -> str:
        while wish in self.graph.views or wish in self.bunches:  # an id may say anything
            wish += "'"
        return wish
