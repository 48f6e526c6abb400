"""A workflow out of the nodes of a run: what was grown becomes part of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..core.model import EMPTY, NodeDef, Ref, map_refs
from .builder import Workflow


def grown_workflow(name: str, specs: Iterable[NodeDef], result: Any = None) -> Workflow:
    """The nodes of a run as a workflow: items of maps go back into their map, children into their
    sub-workflow, failure handlers into their node's `failure`."""
    nodes = list(specs)
    return _of(name, nodes, None, result)


def _of(name: str, specs: list[NodeDef], parent: str | None, result: Any) -> Workflow:
    workflow = Workflow(name)
    prefix = "" if parent is None else f"{parent}/"
    failures = {spec.id for spec in specs if spec.failure is not None}

    def local(ref: Ref) -> Ref:
        if parent is not None and ref.target == f"{parent}/inputs":
            return Ref("inputs", ref.path)
        return Ref(ref.target.removeprefix(prefix), ref.path)

    for spec in specs:
        if spec.parent != parent or spec.item is not None:
            continue
        if spec.id.endswith(".on_failure") and spec.id.removesuffix(".on_failure") in failures:
            continue
        inner_result = spec.result
        if spec.kind == "workflow":
            inner = _of(spec.action, specs, spec.id, spec.result)
            workflow.workflows[spec.action] = inner
            inner_result = None
        workflow.adopt(
            replace(
                spec,
                id=spec.id.removeprefix(prefix),
                deps=tuple(dep.removeprefix(prefix) for dep in spec.deps),
                inputs=map_refs(dict(spec.inputs), local) or EMPTY,
                over=map_refs(spec.over, local),
                result=inner_result,
                replaces=None,
                parent=None,
            )
        )
    if result is not None:
        workflow.result = map_refs(result, local)
    return workflow
