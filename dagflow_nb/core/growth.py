"""Growth: nodes that hooks, plans and people add while the run goes on.

Rules kept here: a batch is checked whole before anything changes; the node whose event is answered
counts as a met dependency, whatever its state; what is added in answer to a failure may mend it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import isfinite
from operator import attrgetter, is_
from typing import Any

from ..errors import DagError, did_you_mean, shorten
from . import branches, messages as m, spending
from .frozen import maker
from .graph import Node
from .judging import enroll
from .model import (
    EMPTY,
    SUCCESS_STATES,
    Form,
    NodeDef,
    NodeSpec,
    NodeStatus,
    OnFailure,
    Ref,
    When,
    iter_refs,
    map_refs,
    owner_problem,
)
from .state import State


class Refused(DagError):
    """A command does not fit the state of the run; the text says why and what to do."""


@dataclass(slots=True)
class Context:
    """Who gives a command, and in answer to what.

    `node` is the node whose event is answered (or that emitted an event itself), `event` that event.
    """

    by: str | None
    node: Node | None
    event: Any


class _Known:
    """The ids that references may name: those of the run and of the batch, without a copy of either."""

    def __init__(self, nodes: Mapping[str, Node], batch: Mapping[str, Any]) -> None:
        self._nodes, self._batch = nodes, batch

    def __contains__(self, id: object) -> bool:
        return id in self._batch or id in self._nodes


def grow(
    s: State,
    specs: tuple[Any, ...],
    context: Context,
    free: Mapping[str, str] = EMPTY,
    holds: str | None = None,
    heir: bool = False,
) -> None:
    """Add a batch of nodes, all or none; `free`, `holds`, `heir`: see `AddNodes`."""
    names: dict[str, int] = {}
    new = look_over(s, specs, context.node, names, s.settings, free)
    held = None if holds is None else s.nodes.get(holds)
    if held is not None and (held.status not in SUCCESS_STATES or held.released):
        held = None  # its dependants have been told
    if not new:
        if held is not None and not specs:
            held.goes_on, held.holders = True, frozenset({held.id})
        return
    answered, event = context.node, context.event
    by, failing, depth = None, None, 0 if event is None else 1
    if answered is not None:
        by = answered.id
        if event is not None:
            depth = answered.depth + 1
        if answered.status is NodeStatus.FAILED and _is_failure_of(event, answered):
            failing = answered
    if names:
        s.names.update(names)
    met = () if by is None else (by,)
    added = s.add(new, by, depth, met if held is None else (*met, *_chain(s, held)))
    if held is not None:
        _go_on(held, added, heir)
    fresh, grown = s.fresh, None if by is None else s.grown.setdefault(by, {})
    for node in added:
        node.by = context.by
        fresh.add(node.id)
        if grown is not None:
            grown[node.id] = None
        replaces = node.spec.replaces
        guarded = failing if replaces is None else s.nodes[replaces]
        if guarded is not None and node.spec.parent is None:
            node.guardian = node.rescues = guarded.id
            guarded.rescuers |= {node.id}
    s.seq += 1
    s.send(m.nodes_added(tuple(new), by, s.run_id, s.seq, s.now), None, answered)
    for node in s.graph.in_order(added) if len(added) > 1 else added:
        enroll(s, node)
        branches.share_fate(s, node, event)
    spending.count_growth(s, added)


def _chain(s: State, held: Node) -> Iterator[str]:
    """A node that others go on for, the one that it goes on for itself, and so on."""
    node: Node | None = held
    while node is not None:
        yield node.id
        node = s.nodes.get(node.holds or "")


def _go_on(held: Node, added: list[Node], heir: bool) -> None:
    """These nodes go on for one that has ended, in place of those that did."""
    those = [node for node in added if node.spec.parent is None]
    for node in those:
        node.holds = held.id
    held.goes_on, held.holders = True, frozenset(node.id for node in those)
    if heir:
        held.heir = those[0].id


def look_over(
    s: State,
    specs: tuple[Any, ...],
    answered: Node | None,
    names: dict[str, int],
    actions: Container[str],
    free: Mapping[str, str] = EMPTY,
) -> list[NodeDef]:
    """The definitions of a batch, those that are new; raises where it does not fit, and changes nothing.

    `names`: see `complete`; `actions`: the names of those there are; `free`: see `AddNodes`.
    """
    try:
        if free:
            specs = _with_free_ids(s, specs, free, names)
        new = s.graph.check(complete(s, specs, answered, names))
        nested = False
        for spec in new:
            if spec.kind != "action" or spec.action not in actions or spec.replaces is not None:
                _check(s, spec, actions)
            if "/" in spec.id:
                nested = True
        if nested:
            _check_ids(s, new)
    except (TypeError, ValueError, AttributeError) as wrong:
        if isinstance(wrong, DagError):
            raise
        raise Refused(f"{shorten(specs)} cannot be added: {wrong}") from None
    return new


def _check(s: State, spec: NodeDef, actions: Container[str]) -> None:
    """Refuse a definition that could not run."""
    template = spec.result["template"] if spec.kind == "map" and spec.result is not None else ()
    for inner in template:
        _check(s, inner, actions)
    runs = spec.kind == "action" or (spec.kind == "map" and spec.result is None)
    if runs and spec.action not in actions:
        hint = did_you_mean(spec.action, s.settings)
        raise Refused(f"node {spec.id!r} needs action {spec.action!r}, which is not defined: {hint}")
    if spec.replaces is not None:
        failed = s.nodes.get(spec.replaces)
        if failed is None or failed.status is not NodeStatus.FAILED:
            state = "no node of this run" if failed is None else str(failed.status)
            raise Refused(f"node {spec.id!r} replaces {spec.replaces!r}, which has not failed ({state})")


def _check_ids(s: State, specs: list[NodeDef]) -> None:
    """Refuse ids that nodes of a group will have."""
    batch = {spec.id: spec for spec in specs}

    def find_spec(id: str) -> NodeDef | None:
        return batch[id] if id in batch else s.nodes[id].spec if id in s.nodes else None

    for spec in specs:
        if spec.parent is None and (problem := owner_problem(spec.id, find_spec)):
            raise Refused(f"{problem}: give the node another id")


def _is_failure_of(event: Any, node: Node) -> bool:
    """Whether this event told that the failed node failed: what is added in answer may rescue it."""
    if event is None or node.released:
        return False
    return bool(event.seq == node.ended)


def complete(s: State, specs: tuple[Any, ...], answered: Node | None, names: dict[str, int]) -> list[NodeDef]:
    """Full definitions from specs: ids given, dependencies of references added, references bound.

    `names` collects how far the numbered ids of each action have come.
    """
    taken: dict[str, Any] = {}
    named: list[tuple[str, Any]] = []
    for spec in specs:
        if type(spec) is not NodeSpec and not isinstance(spec, (NodeSpec, NodeDef)):
            raise Refused(f"{shorten(spec)} is no NodeSpec")
        if not isinstance(spec.action, str):
            raise Refused(f"the action of {shorten(spec)} is not registered")
        id = spec.id
        if id is None:
            id = _free_id(s, spec.action, taken, names)
        elif not isinstance(id, str):
            raise Refused(f"a node's id is a text, not {shorten(id)}")
        taken[id] = spec
        named.append((id, spec))
    found: list[NodeDef] = []
    for id, spec in named:
        made = spec if type(spec) is NodeDef else _define(s, id, spec, taken, answered)
        if id in s.nodes and type(spec) is not NodeDef and spec.deps is None:
            made = _as_before(s, made, spec, taken)
        found.append(made)
    return found


def _as_before(s: State, made: NodeDef, spec: NodeSpec, batch: Mapping[str, Any]) -> NodeDef:
    """A definition, or the node's own where this spec made that in answer to another event."""
    node = s.nodes[made.id]
    above = s.nodes.get(node.added_by) if node.added_by is not None else None
    before = _define(s, made.id, spec, batch, above)
    return before if before == node.spec else made


def _free_id(s: State, action: str, taken: Mapping[str, Any], names: dict[str, int]) -> str:
    n = names.get(action) or s.names.get(action, 1)
    id = action if n == 1 else f"{action}_{n}"
    while id in taken or id in s.nodes:
        n += 1
        id = f"{action}_{n}"
    names[action] = n
    return id


def _with_free_ids(
    s: State, specs: tuple[Any, ...], free: Mapping[str, str], names: dict[str, int]
) -> tuple[Any, ...]:
    """The batch with free ids in place of those that nobody chose and that are taken by now."""
    taken = {spec.id: spec for spec in specs}
    new: dict[str, str] = {}
    for id, name in free.items():
        if id in s.nodes:
            known = names if id in taken and taken[id].action == name else {}
            new[id] = _free_id(s, name, taken, known)
            taken[new[id]] = taken.get(id)
    if not new:
        return specs
    for spec in specs:
        head, is_child, rest = (spec.id or "").partition("/")
        if is_child and head in new:
            new[spec.id] = f"{new[head]}/{rest}"
    new |= {f"{id}/inputs": f"{other}/inputs" for id, other in new.items()}  # what children are given
    return tuple(_renamed(spec, new) for spec in specs)


def _renamed(spec: Any, new: Mapping[str, str]) -> Any:
    """A node of a batch under its new id, with the new ids of those that it names."""

    def moved(value: Any) -> Any:
        return map_refs(value, lambda r: Ref(new.get(r.target, r.target), r.path))

    def listed(ids: Any) -> Any:
        return None if ids is None else tuple(new.get(id, id) for id in ids)

    changed = {
        "id": new.get(spec.id, spec.id),
        "deps": listed(spec.deps),
        "inputs": None if spec.inputs is None else moved(dict(spec.inputs)),
        "over": moved(spec.over),
    }
    if type(spec) is NodeDef:
        if spec.kind == "branch":
            changed["over"] = {side: listed(ids) for side, ids in spec.over.items()}
        if spec.kind != "map":  # a map's template is relative to its items
            changed["result"] = moved(spec.result)
        changed["parent"] = new.get(spec.parent or "", spec.parent)
    return replace(spec, **changed)


_KINDS = {"ask": Form, "failure": str, "executor": str, "replaces": str}
# what stands in a spec as it will in the definition, apart from its edges
_SETTINGS = (
    "timeout",
    "try_count",
    "when",
    "on_failure",
    "failure",
    "cache",
    "executor",
    "ask",
    "tags",
    "replaces",
    "over",
    "limit",
)
_settings_of = attrgetter(*_SETTINGS)
_define_as = maker(NodeDef, "id", "action", "deps", "inputs", *_SETTINGS)
_DEFAULTS = _settings_of(NodeSpec("usual"))
_all_str = frozenset({str}).issuperset
_all_plain = frozenset({str, int, float, bool, type(None)}).issuperset


def _define(s: State, id: str, spec: NodeSpec, batch: Mapping[str, Any], answered: Node | None) -> NodeDef:
    is_usual = all(map(is_, _settings_of(spec), _DEFAULTS))
    deps = spec.deps
    if deps is None:
        deps = () if answered is None else (answered.id,)
    elif type(deps) is not tuple or not _all_str(map(type, deps)):
        deps = tuple(map(str, deps))
    inputs: Mapping[str, Any] = EMPTY
    if spec.inputs:
        inputs = dict(spec.inputs)
        if not (_all_str(map(type, inputs)) and _all_plain(map(type, inputs.values()))):
            known: Any = _Known(s.nodes, batch)
            inputs = {str(k): map_refs(v, lambda r: r.bind(known)) for k, v in inputs.items()}
            refs = [r.target for value in inputs.values() for r in iter_refs(value)]
            deps += tuple(target for target in refs if target != "inputs")
    if len(deps) > 1:
        deps = tuple(dict.fromkeys(deps))
    if is_usual:
        return _define_as(id, spec.action, deps, inputs)
    made = _define_as(id, spec.action, deps, inputs, *_checked(id, spec))
    return made if spec.over is spec.limit is None else _as_map(made, spec, _Known(s.nodes, batch))


def _as_map(made: NodeDef, spec: NodeSpec, known: Any) -> NodeDef:
    """The definition of a node that is a map."""
    limit = spec.limit
    if spec.over is None:
        raise Refused(f"limit of node {made.id!r} is for a map: give it over=..., too")
    if limit is not None and not (_is_number(limit) and isinstance(limit, int) and limit >= 1):
        raise Refused(f"limit of node {made.id!r} is a number of at least 1, not {shorten(limit)}")
    over = map_refs(spec.over, lambda r: r.bind(known))
    deps = dict.fromkeys((*made.deps, *(r.target for r in iter_refs(over) if r.target != "inputs")))
    return replace(made, deps=tuple(deps), kind="map", over=over, limit=limit)


def _checked(id: str, spec: NodeSpec) -> tuple[Any, ...]:
    """The settings of a definition from those of its spec."""
    timeout, tries, policy = spec.timeout, spec.try_count, spec.on_failure
    if timeout is not None and not (_is_number(timeout) and isfinite(timeout) and timeout > 0):
        raise Refused(f"timeout of node {id!r} is a number of seconds above 0, not {shorten(timeout)}")
    if tries is not None and not (_is_number(tries) and isinstance(tries, int) and tries >= 1):
        raise Refused(f"try_count of node {id!r} is a number of at least 1, not {shorten(tries)}")
    for name, kind in _KINDS.items():
        value = getattr(spec, name)
        if value is not None and not isinstance(value, kind):
            raise Refused(f"{name} of node {id!r} is not {shorten(value)}")
    return (
        timeout,
        tries,
        _one_of(When, spec.when, "when", id),
        None if policy is None else _one_of(OnFailure, policy, "on_failure", id),
        spec.failure,
        spec.cache,
        spec.executor,
        spec.ask,
        tuple(map(str, spec.tags)),
        spec.replaces,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_NAMES: dict[Any, dict[str, Any]] = {kind: {str(k): k for k in kind} for kind in (When, OnFailure)}


def _one_of(kind: Any, value: Any, what: str, id: str) -> Any:
    if type(value) is kind:
        return value
    known = _NAMES[kind]
    if type(value) is str and value in known:
        return known[value]
    try:
        return kind(value)
    except ValueError:
        names = " or ".join(map(repr, known))
        raise Refused(f"{what} of node {id!r} is {names}, not {shorten(value)}") from None


def find(s: State, id: Any) -> Node:
    """The node of that id; refused if there is none."""
    node = s.nodes.get(id) if isinstance(id, str) else None
    if node is None:
        # the nearest of a hundred thousand ids would take seconds to find
        raise Refused(f"there is no node {shorten(id)}: {did_you_mean(str(id), islice(s.nodes, 1000))}")
    return node
