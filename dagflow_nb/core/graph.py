"""The graph of one run: node records, growth, who comes after whom.

Rules kept here: nodes are added all or none; an edge always points from a node to one that was there
before it or came in the same batch, so that a cycle can only lie within a batch; looking at a batch
costs the batch, never the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import CycleError, DependencyNotFound, NodeAlreadyExists, NodeNotFound, ValidationError
from .model import FINAL_STATES, NodeDef, NodeOutput, NodeRef, NodeStatus, When, node_id_problem


class Node:
    """A node as it stands in a run. Only the scheduler changes it.

    `unmet`: dependencies (and the group it waits to open) that have not been released yet. `released`:
    its own dependants have been told of its end. `attempt`: number of the last attempt, `spent`: how
    many count against its tries. `cut`: it belongs to a cancelled branch. `guardian`: the failed node
    that waits for this one; `rescuers`: those it waits for. `cause`: the node (or `"run"`,
    `"deadline"`) because of which it was skipped or cancelled. `depth`: how long the chain of growth
    is that made it.
    """

    __slots__ = (
        "added_by",
        "answered",
        "attempt",
        "budgets",
        "busy",
        "cause",
        "children",
        "cut",
        "dependants",
        "depth",
        "disabled",
        "error",
        "finished_at",
        "guardian",
        "handled",
        "human",
        "keys",
        "met",
        "open_children",
        "opened",
        "outcome",
        "pauses",
        "position",
        "ready",
        "ready_at",
        "reason",
        "ref",
        "released",
        "rescuers",
        "spec",
        "spent",
        "started_at",
        "status",
        "unmet",
        "used_cost",
        "used_tokens",
    )

    def __init__(self, spec: NodeDef, dag_name: str, position: int) -> None:
        self.spec = spec
        self.ref = NodeRef(dag_name, spec.id, spec.action)
        self.position = position
        self.status = NodeStatus.PENDING
        self.dependants: list[str] = []
        self.children: list[str] = []
        self.met: frozenset[str] = frozenset()
        self.unmet = 0
        self.open_children = 0
        self.opened = False
        self.attempt = self.spent = 0
        self.outcome: NodeOutput | None = None
        self.error: str | None = None
        self.reason: str | None = None
        self.cause: str | None = None
        self.added_by: str | None = None
        self.depth = 0
        self.pauses: set[str] = set()
        self.cut = self.disabled = self.answered = self.ready = self.released = False
        self.busy = self.handled = False
        self.guardian: str | None = None
        self.rescuers: set[str] = set()
        self.human: dict[str, Any] | None = None
        self.keys: tuple[str, ...] | None = None
        self.budgets: tuple[str, ...] = ()
        self.ready_at: float | None = None
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.used_tokens: float = 0
        self.used_cost: float = 0.0

    @property
    def id(self) -> str:
        """The node's id."""
        return self.spec.id

    @property
    def is_group(self) -> bool:
        """Whether it stands for its children: a map or a sub-workflow."""
        return self.spec.kind == "map" or self.spec.kind == "workflow"

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL_STATES

    def __repr__(self) -> str:
        return f"<Node {self.id} {self.status}>"


class Graph:
    """All nodes of a run by id, in the order they were added; `version` counts changes of the topology."""

    def __init__(self, dag_name: str) -> None:
        self.dag_name = dag_name
        self.nodes: dict[str, Node] = {}
        self.version = 0
        self._position = 0

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
        batch: dict[str, NodeDef] = {}
        for spec in specs:
            if problem := node_id_problem(spec.id):
                raise ValidationError(problem, culprit=spec.id)
            other = batch.get(spec.id) or (self.nodes[spec.id].spec if spec.id in self.nodes else None)
            if other is not None and other != spec:
                raise NodeAlreadyExists(spec.id)
            if other is None:
                batch[spec.id] = spec
        for spec in batch.values():
            for dep in (*spec.deps, *((spec.parent,) if spec.parent else ())):
                if dep not in batch and dep not in self.nodes:
                    raise DependencyNotFound(spec.id, dep, [*self.nodes, *batch])
        if cycle := find_cycle(batch):
            raise CycleError(cycle)
        return list(batch.values())

    def add(self, spec: NodeDef, met: frozenset[str] = frozenset()) -> Node:
        """Add one checked node; dependencies in `met` count as met whatever their state."""
        node = Node(spec, self.dag_name, self._position)
        self._position += 1
        self.version += 1
        node.met = met
        self.nodes[spec.id] = node
        if spec.parent is not None:
            self.nodes[spec.parent].children.append(spec.id)
        return node

    def link(self, node: Node) -> None:
        """Tell its dependencies of a node that was added, and count those it waits for."""
        nodes = self.nodes
        for dep in node.spec.deps:
            nodes[dep].dependants.append(node.id)
        node.unmet = self.count_unmet(node)

    def count_unmet(self, node: Node) -> int:
        """How many dependencies have not been released yet, the group it waits for included."""
        nodes, met = self.nodes, node.met
        unmet = sum(1 for dep in node.spec.deps if dep not in met and not nodes[dep].released)
        parent = node.spec.parent
        return unmet + (1 if parent is not None and not nodes[parent].opened else 0)

    def remove(self, ids: set[str]) -> None:
        """Take nodes out; those that depend on them must be among them."""
        touched = set()
        for id in ids:
            spec = self.nodes.pop(id).spec
            touched.update(spec.deps, (spec.parent,) if spec.parent else ())
        for id in touched & self.nodes.keys():
            node = self.nodes[id]
            node.dependants = [d for d in node.dependants if d not in ids]
            node.children = [c for c in node.children if c not in ids]
        self.version += 1

    def branch(self, root: str) -> Iterator[Node]:
        """A node and all its present descendants, each once; a group's children belong to it."""
        nodes, seen, stack = self.nodes, {root}, [root]
        while stack:
            node = nodes[stack.pop()]
            yield node
            for id in (*node.children, *node.dependants):
                if id not in seen:
                    seen.add(id)
                    stack.append(id)


def find_cycle(batch: Mapping[str, NodeDef]) -> list[str] | None:
    """The ids of one cycle within these nodes, its first id again at the end; None if there is none."""
    done: set[str] = set()
    for start in batch:
        if start in done:
            continue
        path: dict[str, Iterator[str]] = {start: iter(batch[start].deps)}
        while path:
            id, ahead = next(reversed(path.items()))
            following = next((d for d in ahead if d in batch and d not in done), None)
            if following is None:
                done.add(id)
                del path[id]
            elif following in path:
                ids = list(path)
                cycle = ids[ids.index(following) :]
                # the path runs from dependants to dependencies; people read it the other way round
                return [following, *reversed(cycle)]
            else:
                path[following] = iter(batch[following].deps)
    return None


def rule_problem(node: Node, nodes: Mapping[str, Node]) -> tuple[str, str | None] | None:
    """Why a node whose dependencies have all ended does not run, with the one to blame; None if it runs.

    A dependency in a cancelled branch counts as cancelled, one in `met` as whatever the rule wants.
    """
    rule = node.spec.when
    if rule is When.ALL_DONE or not node.spec.deps:
        return None
    success = failed = False
    blame: Node | None = None
    for dep in node.spec.deps:
        other = nodes[dep]
        if dep in node.met:
            success = failed = True
        elif other.cut:
            blame = other
        elif other.status in _SUCCESS:
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
    return None if failed else ("none of its dependencies failed", node.spec.deps[0])


def _said(node: Node) -> str:
    if node.cut or node.status is NodeStatus.CANCELLED:
        return "was cancelled"
    return {"failed": "failed", "skipped": "was skipped"}.get(node.status, f"is {node.status}")


def can_hold(node: Node, nodes: Mapping[str, Node]) -> bool:
    """Whether the rule of a join can still hold although some of its dependencies are cut off."""
    rule = node.spec.when
    open_deps = [d for d in node.spec.deps if not nodes[d].cut]
    if rule is When.ALL_DONE:
        return True
    if rule is When.ALL_SUCCESS:
        return len(open_deps) == len(node.spec.deps)
    return bool(open_deps)


_SUCCESS = frozenset({NodeStatus.COMPLETED, NodeStatus.CACHED, NodeStatus.RECOVERED})
