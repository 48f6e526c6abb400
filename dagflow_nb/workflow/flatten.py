"""Sub-workflows put in place: one flat tuple of nodes, children as `ID/child` under their group.

A group node keeps its inputs; a child's reference to `inputs.KEY` becomes one to `ID/inputs`; children
depend on their siblings only. What a map over a workflow runs for each item is kept in the map's
`result` as a template, of which `instantiate` makes the nodes of one item.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.model import NodeDef, Ref, When, map_refs
from ..errors import NodeAlreadyExists, ValidationError, did_you_mean
from .builder import Workflow
from .check import check
from .naming import REQUIRED

Find = Callable[[str], Workflow]


def flatten(workflow: Workflow, find: Find) -> tuple[NodeDef, ...]:
    """The nodes of `workflow` with its sub-workflows' nodes, which `find` gives by name, put in place.

    A group's `result` is its sub-workflow's, else its one leaf or `{leaf id: ...}`. Defaults of the
    sub-workflow's inputs are filled in. A map over a workflow gets `result = {"template": nodes,
    "result": structure}`, both relative to an item. Where `find` raises `LookupError`, the workflow
    that was added with the node is taken. `ValidationError` for an input that the sub-workflow needs or
    does not have, and for a workflow that contains itself (the chain is named).

    >>> inner = Workflow("inner", inputs=["x"])
    >>> _ = inner.add("step", x=inner.input("x"))
    >>> outer = Workflow("outer")
    >>> _ = outer.add(inner, id="part", x=1)
    >>> [node.id for node in flatten(outer, {}.__getitem__)]
    ['part', 'part/step']
    """
    return tuple(_Flattener(find).nodes_of(workflow, "", None, ()))


class _Flattener:
    def __init__(self, find: Find) -> None:
        self._find = find
        self._checked: set[int] = set()

    def nodes_of(
        self, workflow: Workflow, prefix: str, parent: str | None, chain: tuple[str, ...]
    ) -> Sequence[NodeDef]:
        """Its nodes and all below them, with `prefix` before their ids."""
        if workflow.name in chain:
            way = " -> ".join([*chain[chain.index(workflow.name) :], workflow.name])
            raise ValidationError(
                f"a workflow cannot contain itself: {way}; take one of these sub-workflows out",
                culprit=workflow.name,
            )
        if id(workflow) not in self._checked:
            self._checked.add(id(workflow))
            check(workflow)
        if not prefix and parent is None and all(map(_is_plain, workflow.nodes.values())):
            return workflow.fits[0]
        chain = (*chain, workflow.name)
        nodes: dict[str, NodeDef] = {}
        for node in workflow.nodes.values():
            plain = _is_plain(node) and not prefix and parent is None
            for made in [node] if plain else self._place(node, workflow, prefix, parent, chain):
                if made.id in nodes:
                    raise NodeAlreadyExists(made.id)
                nodes[made.id] = made
        return list(nodes.values())

    def _place(
        self, node: NodeDef, owner: Workflow, prefix: str, parent: str | None, chain: tuple[str, ...]
    ) -> list[NodeDef]:
        moved = move(node, prefix, parent)
        if node.kind == "workflow":
            inner = self._workflow(node, owner)
            children = self.nodes_of(inner, f"{moved.id}/", moved.id, chain)
            group = _with_defaults(moved, inner, [set(node.inputs)])
            return [replace(group, result=_shift(result_of(inner), f"{moved.id}/")), *children]
        if node.kind == "map" and node.result is not None:
            inner = self._workflow(node, owner)
            template = tuple(self.nodes_of(inner, "", None, chain))
            result = {"template": template, "result": result_of(inner)}
            return [replace(_with_defaults(moved, inner, _given_to_items(node)), result=result)]
        return [moved]

    def _workflow(self, node: NodeDef, owner: Workflow) -> Workflow:
        try:
            return self._find(node.action)
        except LookupError:
            inner = owner.workflows.get(node.action)
            if inner is None:
                raise
            return inner


def _is_plain(node: NodeDef) -> bool:
    return node.kind == "action" and node.parent is None


def _shift(value: Any, prefix: str) -> Any:
    return map_refs(value, lambda ref: Ref(f"{prefix}{ref.target}", ref.path)) if prefix else value


def move(node: NodeDef, prefix: str, parent: str | None) -> NodeDef:
    """`node` with `prefix` before its id and all the ids it names, as a child of `parent`.

    A map's template stays as it is: it is relative to its items.
    """
    if not prefix:
        return node if parent == node.parent else replace(node, parent=parent)
    if node.kind == "branch":
        over: Any = {side: tuple(prefix + taken for taken in ids) for side, ids in node.over.items()}
    else:
        over = _shift(node.over, prefix)
    return replace(
        node,
        id=prefix + node.id,
        deps=tuple(prefix + dep for dep in node.deps),
        inputs=_shift(dict(node.inputs), prefix),
        over=over,
        result=node.result if node.kind == "map" else _shift(node.result, prefix),
        parent=parent if node.parent is None else prefix + node.parent,
    )


def _given_to_items(node: NodeDef) -> list[set[str]]:
    """The input names that items get: one set for all of them, or one for each row that is known."""
    common = set(node.inputs)
    if isinstance(node.over, Mapping):
        return [common | set(node.over)]
    if isinstance(node.over, list):
        return [common | set(row) for row in node.over if isinstance(row, Mapping)]
    return []


def _with_defaults(node: NodeDef, inner: Workflow, given: Iterable[Collection[str]]) -> NodeDef:
    """The group with its sub-workflow's defaults, after a look at what it is given."""
    known = inner.input_names
    for names in given:
        for name in names:
            if name not in known:
                raise ValidationError(
                    f"node {node.id!r} gives workflow {inner.name!r} an input {name!r}, which it does not "
                    f"have: {did_you_mean(name, known)}",
                    culprit=name,
                )
        for name in known if inner.inputs else ():
            if inner.inputs.get(name, REQUIRED) is REQUIRED and name not in names:
                mistyped = "" if name in inner.inputs else f" ({did_you_mean(name, inner.inputs)})"
                raise ValidationError(
                    f"node {node.id!r} has to give workflow {inner.name!r} its input {name!r}, which has no "
                    f"default: add {name}=...{mistyped}",
                    culprit=name,
                )
    defaults = {name: default for name, default in inner.inputs.items() if default is not REQUIRED}
    if not defaults:
        return node
    there = {*node.inputs, *(node.over if isinstance(node.over, Mapping) else ())}
    missing = {name: default for name, default in defaults.items() if name not in there}
    return replace(node, inputs={**node.inputs, **missing}, defaults={**defaults, **node.defaults})


def result_of(workflow: Workflow) -> Any:
    """What a workflow gives: its `result`, else what its one leaf returned, or `{leaf id: ...}`."""
    if workflow.result is not None:
        return workflow.result
    leaves = leaves_of(workflow.nodes.values())
    return Ref(leaves[0]) if len(leaves) == 1 else {leaf: Ref(leaf) for leaf in leaves}


def leaves_of(nodes: Iterable[NodeDef]) -> list[str]:
    """The ids of the nodes that no other one depends on, in order."""
    nodes = list(nodes)
    needed = {dep for node in nodes for dep in node.deps}
    return [node.id for node in nodes if node.id not in needed]


def instantiate(node: NodeDef, index: int) -> tuple[NodeDef, ...]:
    """The nodes of item `index` of a map, which `flatten` has prepared.

    Over an action: one node `ID/index`, set as the map is. Over a workflow: the group `ID/index` with
    the map's inputs, and the template's nodes as its children. The item's own values of `over` are
    left to the caller; they go over `inputs`.

    >>> instantiate(NodeDef(id="m", action="smooth", kind="map", over={"w": [1, 2]}), 1)[0].id
    'm/1'
    """
    item_id = f"{node.id}/{index}"
    item = replace(
        node,
        id=item_id,
        deps=(),
        when=When.ALL_SUCCESS,
        kind="action",
        over=None,
        limit=None,
        result=None,
        replaces=None,
        parent=node.id,
        item=index,
    )
    if node.result is None:
        return (item,)
    prefix = f"{item_id}/"
    group = replace(item, kind="workflow", result=_shift(node.result["result"], prefix))
    return (group, *(move(child, prefix, item_id) for child in node.result["template"]))
