"""A workflow out of the nodes of a run: what was grown becomes part of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..core.model import EMPTY, NodeDef, Ref, map_refs
from .builder import Workflow
from .naming import REQUIRED
from .yaml_dump import can_be_written


def grown_workflow(
    name: str, specs: Iterable[NodeDef], result: Any = None, inputs: Mapping[str, Any] = EMPTY
) -> Workflow:
    """The nodes of a run as a workflow: items of maps go back into their map, children into their
    sub-workflow, failure handlers into their node's `failure`. `result`: what the run's is made of.
    `inputs`: the run's, which become the defaults; what YAML cannot say of them has to be given again."""
    if inputs:  # those that it has are declared then, and what is not would have to be given
        specs = [replace(spec, inputs=_given(spec, inputs)) for spec in specs]
    made = _of(name, {spec.id: spec for spec in specs}, None, result)
    made._inputs.update({key: value if can_be_written(value) else REQUIRED for key, value in inputs.items()})
    return made


def _given(spec: NodeDef, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """A node's inputs without those that the run has not: their defaults stand for them."""
    found = dict(spec.inputs)
    for name, value in spec.inputs.items():
        if type(value) is Ref and value.target == "inputs" and value.path and value.path[0] not in inputs:
            del found[name]
            if name in spec.defaults:
                found[name] = spec.defaults[name]
    return found or EMPTY


def _of(name: str, specs: Mapping[str, NodeDef], parent: str | None, result: Any) -> Workflow:
    workflow = Workflow(name)
    prefix = "" if parent is None else f"{parent}/"
    failures = {spec.id for spec in specs.values() if spec.failure is not None}

    def local(ref: Ref) -> Ref:
        if parent is not None and ref.target == f"{parent}/inputs":
            return Ref("inputs", ref.path)
        spec = specs.get(ref.target)
        if spec is not None and spec.item is not None and spec.parent is not None:
            return Ref(spec.parent.removeprefix(prefix), (spec.item, *ref.path))
        return Ref(ref.target.removeprefix(prefix), ref.path)

    def waits_for(dep: str) -> str:
        # what was grown from a child or an item comes after all of its group
        while dep in specs and specs[dep].parent not in (parent, None):
            dep = specs[dep].parent or dep
        return dep.removeprefix(prefix)

    for spec in specs.values():
        if spec.parent != parent or spec.item is not None:
            continue
        if spec.id.endswith(".on_failure") and spec.id.removesuffix(".on_failure") in failures:
            continue
        inner_result = spec.result
        if spec.kind == "workflow":
            workflow.workflows[spec.action] = _inner(spec, specs, spec.id, spec.result)
            inner_result = None
        elif spec.kind == "map" and spec.result is not None:
            template = {child.id: child for child in spec.result["template"]}
            workflow.workflows[spec.action] = _inner(spec, template, None, spec.result["result"])
            inner_result = {"template": (), "result": None}
        workflow.adopt(
            replace(
                spec,
                id=spec.id.removeprefix(prefix),
                deps=tuple(dict.fromkeys(map(waits_for, spec.deps))),
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


def _inner(group: NodeDef, specs: Mapping[str, NodeDef], parent: str | None, result: Any) -> Workflow:
    """The sub-workflow of a group, or of a map over one, with the inputs that it is given."""
    inner = _of(group.action, specs, parent, result)
    over = [group.over] if isinstance(group.over, Mapping) else group.over
    rows = [row for row in over if isinstance(row, Mapping)] if isinstance(over, list) else []
    names = dict.fromkeys([*group.inputs, *(name for row in rows for name in row)])
    if names.keys() < set(inner.input_names):
        return inner  # not all that its nodes name is given: it declared nothing
    inner._inputs.update({name: group.defaults.get(name, REQUIRED) for name in names})
    return inner
