"""Two runs of a workflow compared: graph, inputs, code, outputs, states, usage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..codec import MissingValue
from ..core.graph import Node
from ..core.model import FINAL_STATES, Ref, iter_refs
from ..errors import DagError
from ..history.compare import difference, same, shown
from ..history.frames import OBJECT, SECONDS, TEXT, Column, frame
from ..runtime.values import Values

if TYPE_CHECKING:
    import pandas as pd

DIFF: dict[str, Column] = {
    "node_id": TEXT,
    "what": TEXT,
    "key": TEXT,
    "old": OBJECT,
    "new": OBJECT,
    "old_duration": SECONDS,
    "new_duration": SECONDS,
    "detail": TEXT,
}
INPUTS = "inputs"  # in place of a node's id: the run's own inputs
Same = Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs. `code(node)`: the digest of the code that made its outputs, where it is known."""

    scheduler: Any
    values: Values
    code: Callable[[Node], str | None]


def diff(
    old: Side,
    new: Side,
    equal: Same,
    *,
    changes: Callable[[str, str], str] = lambda old, new: "",
    time: float | None = None,
) -> pd.DataFrame:
    """A row for each difference.

    `equal`: (namespace, key) of stored values that are known to be the same; `changes(old, new)`: what has
    changed between two versions of code.
    """
    return frame(DIFF, [tuple(row) for row in _Diff(old, new, equal, changes, time).rows()])


def alike(old: Side, new: Side, names: Same) -> set[tuple[str, str]]:
    """Those of the values that neither run could store which are not known to differ."""
    return {name for name in names if _alike(*(_named(side, *name) for side in (old, new)))}


def _named(side: Side, namespace: str, key: str) -> Any:
    if namespace == INPUTS:
        return _get(side.values.inputs, key)
    node = side.scheduler.nodes.get(namespace)
    return ABSENT if node is None or node.outcome is None else _get(node.outcome.outputs, key)


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, MissingValue) or isinstance(b, MissingValue):
        return True  # of one of them nothing is known any more
    # locks, connections and the like are equal to themselves only: that tells nothing
    by_identity = type(a).__eq__ is object.__eq__  # type: ignore[comparison-overlap]  # types of slots differ
    return type(a) is type(b) and (by_identity or same(a, b))


class _Diff:
    def __init__(
        self, old: Side, new: Side, equal: Same, changes: Callable[[str, str], str], time: float | None
    ) -> None:
        self.old, self.new, self.equal, self.changes, self.time = old, new, equal, changes, time

    def rows(self) -> Iterator[list[Any]]:
        yield from self._of_inputs()
        was, now = self.old.scheduler.nodes, self.new.scheduler.nodes
        for id in {**was, **now}:
            a, b = was.get(id), now.get(id)
            if a is None or b is None:
                actions = [None if node is None else node.spec.action for node in (a, b)]
                detail = "added" if a is None else "removed"
                yield self._row(id, "graph", "node", actions[0], actions[1], detail)
                continue
            for what, key, x, y, detail in self._of_node(a, b):
                yield self._row(id, what, key, x, y, detail)

    def _row(self, id: str, what: str, key: str, old: Any, new: Any, detail: str = "") -> list[Any]:
        sides = (self.old, self.new)
        durations = [_duration(side.scheduler.nodes.get(id)) for side in sides]
        return [id, what, key, shown(old), shown(new), *durations, detail or None]

    def _of_inputs(self) -> Iterator[list[Any]]:
        was, now = self.old.values.inputs, self.new.values.inputs
        for key in {**was, **now}:
            if (INPUTS, key) not in self.equal and (found := _compared(_get(was, key), _get(now, key))):
                yield self._row(INPUTS, "inputs", key, *found)

    def _of_node(self, a: Node, b: Node) -> Iterator[tuple[str, str, Any, Any, str]]:
        if a.spec.action != b.spec.action:
            yield "graph", "action", a.spec.action, b.spec.action, ""
        if set(a.spec.deps) != set(b.spec.deps):
            added = [f"+ {dep}" for dep in b.spec.deps if dep not in a.spec.deps]
            removed = [f"- {dep}" for dep in a.spec.deps if dep not in b.spec.deps]
            yield "graph", "dependencies", list(a.spec.deps), list(b.spec.deps), ", ".join(added + removed)
        was, now = self.old.code(a), self.new.code(b)
        if was is not None and now is not None and was != now and a.spec.action == b.spec.action:
            yield "code", a.spec.action, was, now, self.changes(was, now)
        if _has_run(a) and _has_run(b):
            yield from self._of_node_inputs(a, b)
        if a.status != b.status:
            yield "status", "status", str(a.status), str(b.status), b.error or b.reason or ""
        elif a.error != b.error:
            yield "status", "error", a.error, b.error, ""
        if not (a.is_group and b.is_group):  # a group's outputs are those of its nodes
            yield from self._of_outputs(a, b)
        for key in ("tokens", "cost"):
            used = [getattr(node, f"used_{key}") for node in (a, b)]
            if used[0] != used[1]:
                yield "usage", key, used[0], used[1], ""
        before, after = _duration(a), _duration(b)
        if None not in (self.time, before, after) and abs(after - before) > self.time:  # type: ignore[operator]  # none of them is None
            yield "time", "duration", before, after, ""

    def _of_node_inputs(self, a: Node, b: Node) -> Iterator[tuple[str, str, Any, Any, str]]:
        if not self._may_differ(a, b):
            return
        was, now = (_resolved(side.values, node) for side, node in ((self.old, a), (self.new, b)))
        for key in {**was, **now}:
            ref = a.spec.inputs.get(key)
            if isinstance(ref, Ref) and ref == b.spec.inputs.get(key) and self._is_equal(ref):
                continue
            if found := _compared(_get(was, key), _get(now, key)):
                yield "inputs", key, *found

    def _may_differ(self, a: Node, b: Node) -> bool:
        """Whether the inputs of a node are to be looked at: not if all they are made of is the same."""
        if a.human != b.human or a.spec.item is not None or b.spec.item is not None:
            return True
        if a.spec.inputs != b.spec.inputs:
            return True
        return not all(self._is_equal(ref) for ref in iter_refs(a.spec.inputs))

    def _is_equal(self, ref: Ref) -> bool:
        """Whether what a reference leads to is known to be the same in both runs."""
        nodes = [side.scheduler.nodes.get(ref.target) for side in (self.old, self.new)]
        if any(node is not None and node.heir is not None for node in nodes):
            return False  # what took its place may differ
        if ref.path and (ref.target, str(ref.path[0])) in self.equal:
            return True
        found = [node.outcome for node in nodes if node is not None and not node.is_group]
        if ref.path or len(found) < 2 or None in found:
            return False
        keys = [set(outcome.outputs) for outcome in found]
        return keys[0] == keys[1] and all((ref.target, key) in self.equal for key in keys[0])

    def _of_outputs(self, a: Node, b: Node) -> Iterator[tuple[str, str, Any, Any, str]]:
        was, now = (node.outcome.outputs if node.outcome is not None else {} for node in (a, b))
        for key in {**was, **now}:
            if (a.id, key) not in self.equal and (found := _compared(_get(was, key), _get(now, key))):
                yield "outputs", key, *found


class _Absent:
    def __repr__(self) -> str:
        return "<absent>"


ABSENT = _Absent()


def _get(values: Mapping[str, Any], key: str) -> Any:
    try:
        return values.get(key, ABSENT)
    except DagError as error:
        return f"<cannot be read: {error}>"


def _compared(old: Any, new: Any) -> tuple[Any, Any, str] | None:
    """Two values and how they differ; None if they do not."""
    if old is ABSENT or new is ABSENT:
        detail = "added" if old is ABSENT else "removed"
        return (None if old is ABSENT else old), (None if new is ABSENT else new), detail
    return None if same(old, new) else (old, new, difference(old, new))


def _resolved(values: Values, node: Node) -> dict[str, Any]:
    try:
        return values.resolve(node, lenient=True)
    except DagError:
        return {}


def _has_run(node: Node) -> bool:
    return node.status in FINAL_STATES and node.started_at is not None


def _duration(node: Node | None) -> float | None:
    if node is None or node.started_at is None or node.finished_at is None:
        return None
    return node.finished_at - node.started_at


def words(table: pd.DataFrame) -> dict[str, str]:
    """What differs of each node, in a few words: `{"clean": "inputs, outputs"}`."""
    found: dict[str, dict[str, None]] = {}
    for id, what in zip(table["node_id"], table["what"], strict=True):
        found.setdefault(str(id), {})[str(what)] = None
    return {id: ", ".join(kinds) for id, kinds in found.items() if id != INPUTS}
