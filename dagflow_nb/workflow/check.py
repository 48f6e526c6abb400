"""Whether a workflow's nodes fit together: dependencies, references, declared outputs, cycles.

All of it is linear in the number of nodes and edges, and needs no recursion.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..core.graph import find_cycle
from ..core.model import EMPTY, NodeDef, Ref, iter_refs, owner_problem
from ..errors import CycleError, DependencyNotFound, ValidationError, did_you_mean

if TYPE_CHECKING:
    from .builder import Workflow

# where a problem is: the node's id, what of it ("node", "dependency", "input", "over", "branch",
# "result"), and the name of that
Place = tuple[str, str, str]


def check(workflow: Workflow) -> None:
    """Raises the first thing that is wrong with a workflow, or with a sub-workflow it brings along.

    `DependencyNotFound` for a dependency, reference or branch to no node, `CycleError` with the cycle,
    `ValidationError` for an id that an item of a map will have, and for a reference to an output that the
    node does not declare.
    """
    seen: set[int] = set()
    todo = [workflow]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        nodes, (known, result) = one.nodes, one.fits
        # each run checks its workflow: what was found to fit, and is the same to the last node, fits
        same = len(nodes) == len(known) and all(map(operator.is_, nodes.values(), known))
        given = one.result
        if not same or not (given is result or (type(given) is Ref and given == result)):
            for error, _ in problems(nodes, given):
                raise error
            one.fits = (tuple(nodes.values()), given)
        todo.extend(one.workflows.values())


def problems(nodes: Mapping[str, NodeDef], result: Any = None) -> Iterator[tuple[ValidationError, Place]]:
    """What is wrong with these nodes, one by one, each with its place; the cycle (if any) comes last."""
    before: set[str] = set()
    in_order = True
    for node in nodes.values():
        if "/" in node.id and (taken_by := owner_problem(node.id, nodes.get)) is not None:
            error = ValidationError(f"{taken_by}: give it another one with id=...", culprit=node.id)
            yield error, (node.id, "node", node.id)
        if node.kind == "branch":
            for side in node.over.values():
                for taken in side:
                    if taken not in nodes:
                        yield _no_branch(node.id, taken, nodes), (node.id, "branch", taken)
        for what, name, value in _values(node) if node.inputs is not EMPTY or node.over is not None else ():
            for ref in iter_refs(value):
                if (wrong := _reference_problem(node.id, ref, nodes)) is not None:
                    yield wrong, (node.id, what, name)
        for dependency in node.deps:
            if dependency not in before:
                in_order = False
                if dependency not in nodes:
                    yield _no_node(node.id, dependency, nodes), (node.id, "dependency", dependency)
        before.add(node.id)
    for ref in iter_refs(result):
        if (wrong := _reference_problem("", ref, nodes)) is not None:
            yield wrong, ("", "result", "")
    # where each names only what stands before it, nobody waits for itself
    if not in_order and (cycle := find_cycle({node.id: node.deps for node in nodes.values()})):
        yield CycleError(cycle), (cycle[0], "node", cycle[0])


def _values(node: NodeDef) -> Iterator[tuple[str, str, Any]]:
    for name, value in node.inputs.items():
        yield "input", name, value
    if node.kind == "map":
        if isinstance(node.over, dict):
            for name, value in node.over.items():
                yield "over", name, value
        else:
            yield "over", "", node.over


def _no_node(node_id: str, name: str, nodes: Mapping[str, NodeDef], *more: str) -> DependencyNotFound:
    owner = next((id for id in nodes if name.startswith(f"{id}/")), None)
    hint = f"what is inside {owner!r} is not seen from outside; name {owner!r}, which has what it returns"
    return DependencyNotFound(node_id, name, [*nodes, *more], hint=hint if owner is not None else "")


def _no_branch(node_id: str, taken: str, known: Iterable[str]) -> ValidationError:
    return ValidationError(
        f"branch {node_id!r} leads to {taken!r}, which is no node here: {did_you_mean(taken, known)}",
        culprit=taken,
    )


def _reference_problem(node_id: str, ref: Ref, nodes: Mapping[str, NodeDef]) -> ValidationError | None:
    if ref.target == "inputs":
        if ref.path:
            return None
        return ValidationError(
            "a reference to an input names it: write inputs.KEY, not 'inputs' alone", culprit="inputs"
        )
    target = nodes.get(ref.target)
    if target is None:
        head = ref.target.split(".")[0]
        if node_id:
            return _no_node(node_id, head, nodes, "inputs")
        return ValidationError(
            f"the result refers to {str(ref)!r}, but there is no node {head!r}: {did_you_mean(head, nodes)}",
            culprit=str(ref),
        )
    if target.outputs is not None and ref.path and ref.path[0] not in target.outputs:
        return ValidationError(
            f"{f'node {node_id!r}' if node_id else 'the result'} refers to {str(ref)!r}, but node "
            f"{target.id!r} declares no output {str(ref.path[0])!r}: "
            f"{did_you_mean(str(ref.path[0]), target.outputs)}",
            culprit=str(ref),
        )
    return None
