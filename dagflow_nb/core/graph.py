"""The graph of one run: node records, growth, who comes after whom.

Rules kept here: nodes are added all or none; an edge always points from a node to one that was there
before it or came in the same batch, so that a cycle can only lie within a batch; looking at a batch
costs the batch, never the graph; `unmet` and `open_children` are exact at every moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import CycleError, DependencyNotFound, NodeAlreadyExists, NodeNotFound, ValidationError
from .budget import Limit
from .model import (
    FINAL_STATES,
    SUCCESS_STATES,
    Form,
    NodeDef,
    NodeOutput,
    NodeStatus,
    When,
    make_ref,
    node_id_problem,
)

_NONE: frozenset[str] = frozenset()
_GROUPS = frozenset({"map", "workflow"})


class Node:
    """A node as it stands in a run. Only the scheduler changes it.

    `unmet`: dependencies (and the group it waits to open) that have not been released. `released`: its
    own dependants have been told of its end. `attempt`: number of the last attempt, `spent`: how many
    count against its tries. `cut`: it belongs to a cancelled branch. `guardian`: the failed node that
    waits for this one, `rescuers`: those it waits for, `rescues`: the failed node it was made for.
    `goes_on`: it has ended, and others go on for it before its dependants are told; `holders`: those it
    waits for, `holds`: the node that this one goes on for, `heir`: the one that took its place.
    `cause`: the node (or `"branch"`, `"run"`, `"deadline"`) because of which it was skipped or
    cancelled. `depth`: how long the chain of growth is that made it; `by`: the hook (or person) that added
    it. `ended`: number of the event that told its end; `since`: events about it up to this number are out
    of date. `told`: `NodeStarted` has been emitted. `slot`: the limits that its attempt under way has taken.
    """

    # What most nodes never change stays on the class: making a node costs only what differs.
    status: NodeStatus = NodeStatus.PENDING
    is_group = False
    children: Sequence[str] = ()
    # in the order in which they came; a dict once it grows, as one of very many may be taken out
    dependants: tuple[str, ...] | dict[str, None] = ()
    met: tuple[str, ...] = ()
    unmet = 0
    open_children = 0
    opened = False
    attempt = 0
    spent = 0
    outcome: NodeOutput | None = None
    error: str | None = None
    reason: str | None = None
    cause: str | None = None
    added_by: str | None = None
    by: str | None = None
    depth = 0
    pauses: frozenset[str] = _NONE
    cut = False
    disabled = False
    disabled_by: str | None = None
    answered = False
    ready = False
    released = False
    busy = False
    handled = False
    gone = False
    ended = 0
    since = 0
    guardian: str | None = None
    rescues: str | None = None
    rescuers: frozenset[str] = _NONE
    goes_on = False
    holders: frozenset[str] = _NONE
    holds: str | None = None
    heir: str | None = None
    human: dict[str, Any] | None = None
    form: Form | None = None  # by which `human` was asked for
    asks_again = False
    keys: tuple[str, ...] | None = None
    budgets: tuple[str, ...] = ()
    ready_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    used_tokens: float = 0
    used_cost: float = 0.0
    told = False
    slot: tuple[Limit, ...] = ()

    def __init__(self, spec: NodeDef, dag_name: str, position: int) -> None:
        self.spec = spec
        self.id = spec.id
        self.ref = make_ref(dag_name, spec.id, spec.action)
        self.position = position
        if spec.kind in _GROUPS:
            self.is_group = True
            self.children = []

    def growing(self) -> dict[str, None]:
        """Its dependants, to be changed."""
        dependants = self.dependants
        if type(dependants) is not dict:
            dependants = self.dependants = dict.fromkeys(dependants)
        return dependants

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL_STATES

    def __repr__(self) -> str:
        return f"<Node {self.id} {self.status}>"


def _show_attributes() -> None:
    """Python keeps the attributes of instances without a dict for each as long as they are those that the
    first instances had; a graph makes all of its nodes before one of them runs."""
    node = Node(NodeDef(id="first", action="first"), "", 0)
    of_most = "unmet keys ready ready_at slot attempt started_at status busy told outcome spent finished_at"
    for name in (
        *of_most.split(),
        "ended",
        "released",
        "depth",
        "added_by",
        "by",
        "since",
        "met",
        "reason",
        "error",
        "dependants",
    ):
        setattr(node, name, getattr(node, name))


_show_attributes()


class Edges:
    """How many others each of some nodes waits for, and which wait for it, by their order; for nodes that fit
    together by themselves. Made once for all runs of a workflow."""

    __slots__ = ("dependants", "unmet")

    def __init__(self, specs: Sequence[NodeDef]) -> None:
        after: dict[str, list[str]] = {spec.id: [] for spec in specs}
        unmet = []
        for spec in specs:
            deps = spec.deps if len(spec.deps) < 2 else dict.fromkeys(spec.deps)
            unmet.append(len(deps))
            for dep in deps:
                after[dep].append(spec.id)
        self.unmet = tuple(unmet)
        self.dependants = tuple(map(tuple, after.values()))


class Graph:
    """All nodes of a run by id, in the order they were added; `version` counts changes of the topology."""

    def __init__(self, dag_name: str) -> None:
        self.dag_name = dag_name
        self.nodes: dict[str, Node] = {}
        self.version = 0
        self._position = 0
        self._attempts: dict[str, int] = {}

    def __getitem__(self, id: str) -> Node:
        try:
            return self.nodes[id]
        except KeyError:
            raise NodeNotFound(id, self.nodes) from None

    def __contains__(self, id: object) -> bool:
        return id in self.nodes

    def __len__(self) -> int:
        return len(self.nodes)

    def check(self, specs: Iterable[NodeDef]) -> list[NodeDef]:
        """The nodes of a batch that are new; raises without a change if the batch does not fit.

        A node that is there already with an equal definition is left out. Raises `ValidationError`
        or one of its children naming the culprit.
        """
        nodes = self.nodes
        batch: dict[str, NodeDef] = {}
        in_order, nested = True, False
        for spec in specs:
            id = spec.id
            if problem := node_id_problem(id):
                raise ValidationError(problem, culprit=id)
            if id in batch or id in nodes:
                if spec != (batch.get(id) or nodes[id].spec):
                    raise NodeAlreadyExists(id)
                continue
            for dep in spec.deps:
                if dep not in batch and dep not in nodes:
                    in_order = False
            if spec.parent is not None:
                nested = True
                if spec.parent not in batch:
                    in_order = False
            batch[id] = spec
        if not in_order:
            # who comes before its dependencies may also wait for itself, or for nobody
            for spec in batch.values():
                for dep in spec.deps:
                    if dep not in batch and dep not in nodes:
                        raise DependencyNotFound(spec.id, dep, [*nodes, *batch])
            if cycle := find_cycle({id: spec.deps for id, spec in batch.items()}):
                raise CycleError(cycle)
        for spec in batch.values() if nested else ():
            if spec.parent is not None and (fault := _parent_fault(spec, batch)):
                raise ValidationError(fault, culprit=spec.id)
        return list(batch.values())

    def add_first(self, specs: Iterable[NodeDef], edges: Edges) -> None:
        """Add nodes that fit together, and their edges, to an empty graph."""
        nodes, dag_name, position = self.nodes, self.dag_name, 0
        for spec, unmet, dependants in zip(specs, edges.unmet, edges.dependants, strict=True):
            position += 1
            node = nodes[spec.id] = Node(spec, dag_name, position)
            node.unmet = unmet
            if dependants:
                node.dependants = dependants
            if spec.parent is not None:
                self._join(nodes[spec.parent], node)
        self._position = position
        self.version += 1

    def _join(self, group: Node, child: Node) -> None:
        assert isinstance(group.children, list)
        group.children.append(child.id)
        group.open_children += 1
        if not group.opened:
            child.unmet += 1

    def add(self, specs: Sequence[NodeDef], met: tuple[str, ...] | None = None) -> list[Node]:
        """Add checked nodes and their edges; dependencies in `met` count as met anyway, and for those that
        are added while a run goes on (`met` is not None) the node that each one replaces."""
        nodes, position, dag_name, past = self.nodes, self._position, self.dag_name, self._attempts
        added = []
        for spec in specs:
            position += 1
            node = nodes[spec.id] = Node(spec, dag_name, position)
            added.append(node)
            if past and spec.id in past:
                # results of an earlier node of that id may still come: attempts go on counting
                node.attempt = past[spec.id]
            if met is not None:
                node.met = met if spec.replaces is None else (*met, spec.replaces)
        self._position = position
        self.version += 1
        for node in added:
            spec = node.spec
            deps = spec.deps
            if len(deps) > 1:
                deps = tuple(dict.fromkeys(deps))
            unmet = len(deps)
            for dep in deps:
                other = nodes[dep]
                dependants = other.dependants
                (dependants if type(dependants) is dict else other.growing())[spec.id] = None
                if other.released or dep in node.met:
                    unmet -= 1
            if unmet:
                node.unmet = unmet
            if spec.parent is not None:
                self._join(nodes[spec.parent], node)
        return added

    def count_unmet(self, node: Node) -> int:
        """How many dependencies have not been released yet, the group it waits for included."""
        nodes, met = self.nodes, node.met
        deps = dict.fromkeys(node.spec.deps)
        unmet = sum(1 for dep in deps if dep not in met and not nodes[dep].released)
        parent = node.spec.parent
        return unmet + (1 if parent is not None and not nodes[parent].opened else 0)

    def remove(self, ids: Iterable[str]) -> None:
        """Take nodes out; those that depend on them, and children, must be among them."""
        gone = dict.fromkeys(ids)
        groups: dict[str, None] = {}
        for id in gone:
            node = self.nodes.pop(id)
            node.gone, node.ready = True, False
            spec = node.spec
            if node.attempt:
                self._attempts[id] = node.attempt
            for dep in spec.deps:
                if dep in self.nodes:
                    self.nodes[dep].growing().pop(id, None)
            if spec.parent is not None:
                groups[spec.parent] = None
                if not node.released and spec.parent in self.nodes:
                    self.nodes[spec.parent].open_children -= 1
        for id in groups:
            if id in self.nodes:
                group = self.nodes[id]
                group.children = [child for child in group.children if child not in gone]
        if gone:
            self.version += 1

    def restart(self, ids: Iterable[str]) -> None:
        """Nodes that are gone have never been there: no result of theirs will come, attempts count anew."""
        for id in ids:
            self._attempts.pop(id, None)

    def branch(self, root: str) -> Iterator[Node]:
        """A node and all its present descendants, each once; a group's children belong to it."""
        nodes, seen, stack = self.nodes, {root}, [root]
        while stack:
            node = nodes[stack.pop()]
            yield node
            for ids in (node.children, node.dependants):
                for id in ids:
                    if id not in seen:
                        seen.add(id)
                        stack.append(id)

    def in_order(self, some: Iterable[Node] | None = None) -> Iterator[Node]:
        """These nodes (None: all), each after those of its dependencies and groups that are among them."""
        nodes = self.nodes
        ids = dict.fromkeys(nodes if some is None else (node.id for node in some))
        left = {}
        for id in ids:
            spec = nodes[id].spec
            above = (*spec.deps, spec.parent) if spec.parent is not None else spec.deps
            left[id] = sum(1 for other in above if other in ids)
        stack = [id for id, count in reversed(left.items()) if count == 0]
        while stack:
            node = nodes[stack.pop()]
            yield node
            for after in (node.children, node.dependants):
                for id in after:
                    if id in left:
                        left[id] -= 1
                        if left[id] == 0:
                            stack.append(id)


def _parent_fault(spec: NodeDef, batch: Mapping[str, NodeDef]) -> str | None:
    parent = batch.get(spec.parent or "")
    if parent is None:
        return f"node {spec.id!r} is a child of {spec.parent!r}, which is not added together with it"
    if parent.kind not in ("map", "workflow"):
        return f"node {spec.id!r} is a child of {parent.id!r}, which is neither a map nor a sub-workflow"
    return None


def find_cycle(deps: Mapping[str, Iterable[str]]) -> list[str] | None:
    """One cycle of node ids, each before the one that depends on it and the first again at the end, or None.

    >>> find_cycle({"a": ["c"], "b": ["a"], "c": ["b"]})
    ['a', 'b', 'c', 'a']
    """
    done: set[str] = set()
    for start, of in deps.items():
        if start in done:
            continue
        if done.issuperset(of):  # most come after those that they depend on
            done.add(start)
            continue
        path: dict[str, Iterator[str]] = {start: iter(deps[start])}
        while path:
            id = next(reversed(path))
            following = next((d for d in path[id] if d in deps and d not in done), None)
            if following is None:
                done.add(id)
                del path[id]
            elif following in path:
                ids = list(path)
                cycle = ids[ids.index(following) :]
                # the path runs from dependants to dependencies; people read it the other way round
                return [following, *reversed(cycle)]
            else:
                path[following] = iter(deps[following])
    return None


def last_of(node: Node, nodes: Mapping[str, Node]) -> Node:
    """The node that stands for this one: itself, or the last of those that took its place."""
    while node.heir is not None and node.heir in nodes:
        node = nodes[node.heir]
    return node


def seen_by(asker: Node, node: Node, nodes: Mapping[str, Node]) -> Node:
    """The node that stands for this one where another comes after it; those that go on for it see itself."""
    return node if node.heir is None or node.id in asker.met else last_of(node, nodes)


def rule_problem(node: Node, nodes: Mapping[str, Node]) -> tuple[str, str | None] | None:
    """Why a node whose dependencies have all ended does not run, with the one to blame; None if it runs.

    A dependency in a cancelled branch counts as cancelled, one in `met` as whatever the rule wants.
    """
    deps = node.spec.deps
    rule = node.spec.when
    if not deps or rule is When.ALL_DONE:
        return None
    success = failed = False
    blame: Node | None = None
    met = node.met
    for dep in deps:
        other = nodes[dep]
        if other.heir is not None:
            other = last_of(other, nodes)
        if dep in met:
            success = failed = True
        elif other.cut:
            blame = other
        elif other.status in SUCCESS_STATES:
            success = True
        else:
            failed = failed or other.status is NodeStatus.FAILED
            blame = other
    if rule is When.ALL_SUCCESS:
        if blame is None:
            return None
        return f"its dependency {blame.id!r} {_said(blame)}", blame.id
    if rule is When.ONE_SUCCESS:
        return None if success else ("none of its dependencies succeeded", blame.id if blame else None)
    return None if failed else ("none of its dependencies failed", deps[0])


def _said(node: Node) -> str:
    if node.cut or node.status is NodeStatus.CANCELLED:
        return "was cancelled"
    return {"failed": "failed", "skipped": "was skipped"}.get(node.status, f"is {node.status}")


def can_hold(node: Node, nodes: Mapping[str, Node]) -> bool:
    """Whether the rule of a join can still hold although some of its dependencies are cut off."""
    rule = node.spec.when
    if rule is When.ALL_DONE:
        return True
    cut = [nodes[dep].cut for dep in node.spec.deps]
    return not any(cut) if rule is When.ALL_SUCCESS else not all(cut)
