"""Lineage: what a value was made of, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.graph import Node, last_of, seen_by
from ..core.model import SUCCESS_STATES, Extended, Ref, iter_refs, whole
from ..errors import DagError, NodeNotFound, ValidationError, did_you_mean, shorten
from ..history.compare import shown
from ..history.frames import COUNT, NODE_STATUS, OBJECT, TEXT, TIME, Column, frame

if TYPE_CHECKING:
    import pandas as pd

LINEAGE: dict[str, Column] = {
    "depth": COUNT,
    "node_id": TEXT,
    "key": TEXT,
    "relation": TEXT,
    "via": TEXT,
    "as_input": TEXT,
    "action": TEXT,
    "status": NODE_STATUS,
    "run_id": TEXT,
    "made_at": TIME,
    "code": TEXT,
    "value": OBJECT,
    "size_bytes": COUNT,
}
INPUTS, HUMAN = "inputs", "human_input"
_WHOLE = ("input", "item", "result", "recovered by")  # relations by which a node's value goes on
SMALL = 10_000  # bytes of a value that is decoded to be shown


class Edge(NamedTuple):
    """A value (`key` of `source`; None: all of it) or an event that went from one node into another."""

    source: str
    key: str | None
    target: str
    relation: str
    as_input: str | None = None


class Made(NamedTuple):
    """By which run a node's outputs were made, and by which code (None: not known)."""

    run_id: str
    code: str | None = None


def edges(nodes: Mapping[str, Node]) -> Iterator[Edge]:
    """All that went from node to node, in the order of the nodes it went into."""
    saved: dict[str, list[str]] = {}
    varied: dict[str, list[tuple[str | None, Ref]]] = {}  # map -> what its items differ by, looked at once
    for node in nodes.values():
        if node.rescues is not None and node.status in SUCCESS_STATES:
            saved.setdefault(node.rescues, []).append(node.id)
    for node in nodes.values():
        id, spec = node.id, node.spec
        found: list[tuple[str | None, Ref]] = _named(whole(spec.inputs, nodes), nodes)
        of_items = (
            node if spec.kind == "map" else nodes.get(spec.parent or "") if spec.item is not None else None
        )
        if of_items is not None:
            if of_items.id not in varied:
                over = of_items.spec.over
                varied[of_items.id] = _named(over if isinstance(over, Mapping) else {None: over}, nodes)
            found += varied[of_items.id]
        told: dict[Edge, None] = {}
        for name, ref in found:
            key = str(ref.path[0]) if ref.path else None
            source = nodes.get(ref.target)
            target = ref.target if source is None else seen_by(node, source, nodes).id
            told[Edge(target, key, id, "input", name)] = None
        if spec.kind == "map":
            told |= {Edge(last_of(nodes[child], nodes).id, None, id, "item"): None for child in node.children}
        elif spec.kind == "workflow":
            for ref in iter_refs(spec.result):
                target = seen_by(node, nodes[ref.target], nodes).id if ref.target in nodes else ref.target
                told[Edge(target, str(ref.path[0]) if ref.path else None, id, "result")] = None
        for key in node.human or ():
            told[Edge(HUMAN, key, id, "answer", HUMAN)] = None
        known = {edge.source for edge in told}
        if node.added_by is not None and node.added_by not in known and spec.parent is None:
            told[Edge(node.added_by, None, id, "added by")] = None
            known.add(node.added_by)
        told |= {Edge(dep, None, id, "after"): None for dep in spec.deps if dep not in known}
        told |= {Edge(other, None, id, "recovered by"): None for other in saved.get(id, ())}
        yield from told


def _named(values: Mapping[Any, Any], nodes: Mapping[str, Node]) -> list[tuple[str | None, Ref]]:
    """The references in values, each with the value's name."""
    return [(name, ref) for name, value in values.items() for ref in _sources(value, nodes)]


def _sources(value: Any, nodes: Mapping[str, Node]) -> Iterator[Ref]:
    """The references in a value; those to the inputs of a sub-workflow lead on to what these are made of."""
    for ref in iter_refs(value):
        group = nodes.get(ref.target.removesuffix("/inputs")) if ref.target.endswith("/inputs") else None
        if group is None:
            yield ref
        else:
            inputs = group.spec.inputs
            value = inputs.get(str(ref.path[0])) if ref.path else dict(inputs)
            yield from _sources(value.parts(nodes) if type(value) is Extended else value, nodes)


def parse(what: Any, scheduler: Any, inputs: Iterable[str]) -> tuple[str, str | None]:
    """A node, one of its outputs (`"node.key"`), or an input of the run (`"inputs.name"`)."""
    if not isinstance(what, str) or not what:
        raise ValidationError(
            f"lineage() takes a node's id, 'node.key' or 'inputs.name', not {shorten(what)}", culprit=what
        )
    nodes = scheduler.nodes
    try:
        ref = Ref(what).bind(nodes)
    except ValidationError:
        raise NodeNotFound(what, [*nodes, *(f"inputs.{name}" for name in inputs)]) from None
    if ref.target == INPUTS:
        name = str(ref.path[0]) if ref.path else None
        if name is not None and name not in inputs:
            raise ValidationError(
                f"the run has no input {name!r}: {did_you_mean(name, inputs)}", culprit=name
            )
        return INPUTS, name
    key = str(ref.path[0]) if ref.path else None
    outcome = nodes[ref.target].outcome
    if key is not None and (outcome is None or key not in outcome.outputs):
        known = () if outcome is None else tuple(outcome.outputs)
        raise ValidationError(
            f"node {ref.target!r} gave no {key!r}: {did_you_mean(key, known)}", culprit=key, value=what
        )
    return ref.target, key


def trace(
    start: str, key: str | None, nodes: Mapping[str, Node], *, down: bool
) -> Iterator[tuple[int, Edge]]:
    """The edges that lead to `start`, or with `down` away from it, nearest first: (how far, edge)."""
    near: dict[str, list[Edge]] = {}
    for edge in edges(nodes):
        near.setdefault(edge.source if down else edge.target, []).append(edge)
    seen, level, depth = {start}, [start], 0
    while level:
        depth += 1
        following = []
        for id in level:
            for edge in near.get(id, ()):
                if down and depth == 1 and key is not None and edge.key not in (None, key):
                    continue
                yield depth, edge
                reached = edge.target if down else edge.source
                if reached not in seen:
                    seen.add(reached)
                    following.append(reached)
        level = following


def lineage(
    what: Any,
    scheduler: Any,
    inputs: Mapping[str, Any],
    stored: Mapping[tuple[str, str], tuple[int, float]],
    made: Callable[[Node], Made],
    *,
    down: bool | None,
) -> pd.DataFrame:
    """The table; `stored`: (namespace, key) -> (bytes, when), `made`: who made a node's outputs."""
    start, key = parse(what, scheduler, inputs)
    nodes: Mapping[str, Node] = scheduler.nodes
    down = start == INPUTS if down is None else down
    rows: list[tuple[Any, ...]] = []

    def tell(depth: int, id: str, key: str | None, edge: Edge | None, via: str | None) -> None:
        node = nodes.get(id)
        values: Mapping[str, Any] = {}
        if id == INPUTS:
            values = inputs
        elif id == HUMAN and edge is not None:  # what this node was answered
            values = nodes[edge.target].human or {}
        elif node is not None and node.outcome:
            values = node.outcome.outputs
        size, at = stored.get((id, key or ""), (0, None))
        value = _shown(values, key, size)
        if key is None and edge is not None and edge.relation in _WHOLE and not down and node is not None:
            size, value = _whole(node, stored)
        made_by = made(node) if node is not None else Made(scheduler.run_id)
        rows.append(
            (
                depth,
                id,
                key,
                edge.relation if edge is not None else None,
                via,
                edge.as_input if edge is not None else None,
                node.spec.action if node is not None else None,
                str(node.status) if node is not None else None,
                made_by.run_id,
                node.finished_at if node is not None else at,
                made_by.code,
                value,
                size,
            )
        )

    outcome = nodes[start].outcome if start in nodes else None
    first = [key] if key is not None else list(outcome.outputs) if outcome is not None else [None]
    for name in first or [None]:
        tell(0, start, name, None, None)
    for depth, edge in trace(start, key, nodes, down=down):
        if down:
            tell(depth, edge.target, None, edge, edge.source)
        else:
            tell(depth, edge.source, edge.key, edge, edge.target)
    return frame(LINEAGE, rows)


def _whole(node: Node, stored: Mapping[tuple[str, str], tuple[int, float]]) -> tuple[int, Any]:
    """The stored size of all that a node gave, and what it returned, if that is short."""
    outcome = node.outcome
    if outcome is None or not (outcome.success or outcome.outputs):
        return 0, None
    size = sum(stored[node.id, key][0] for key in outcome.outputs if (node.id, key) in stored)
    if size > SMALL:
        return size, f"<{size:,} bytes>"
    try:
        return size, shown(outcome.value)
    except DagError as error:
        return size, f"<cannot be read: {error}>"


def _shown(values: Mapping[str, Any], key: str | None, size: int) -> Any:
    if key is None or key not in values:
        return None
    if size > SMALL:
        return f"<{size:,} bytes>"
    try:
        return shown(values[key])
    except DagError as error:
        return f"<cannot be read: {error}>"
