"""Which values of a run are secrets because a parameter takes them as such, found before anything is stored.

From each such parameter the way goes back along the references: a literal becomes a secret where it stands,
an input of a sub-workflow, map or run becomes one for all who read it. What another node returns is for its
own action to hide, unless it is a plan: its steps are nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..actions import FunctionAction, NodeAction, as_action, hide, hide_items, holds_secret
from ..core.model import EMPTY, NodeDef, NodeSpec, iter_refs
from ..core.scheduler import Scheduler
from ..errors import DagError
from ..workflow.builder import Workflow
from .values import as_rows, gap_in

Memory = tuple[str, str, str]  # where a session remembers a value: run id, namespace, key
_LITERALS = ("", "literals")
_Marks = dict[str, set[str]]  # whose inputs ("" for the run's) -> names


def hide_secrets(
    specs: Iterable[NodeDef], actions: Mapping[str, NodeAction], inputs: Mapping[str, Any] = EMPTY
) -> tuple[tuple[NodeDef, ...], dict[str, Any], bool]:
    """The nodes and the run's inputs with their secrets hidden, and whether there are any."""
    old = tuple(specs)
    if not any(map(_takes_secrets, map(actions.get, _actions_of(old)))):
        return old, dict(inputs), False
    new, names = _hide_literals(old, actions)
    hides = bool(names) or any(map(operator.is_not, old, new))
    return new, hide_named(inputs, names), hides


def _hide_literals(
    specs: tuple[NodeDef, ...], actions: Mapping[str, NodeAction]
) -> tuple[tuple[NodeDef, ...], set[str]]:
    """The nodes with their secret literals hidden, and the names of the inputs that they refer to as such."""
    marks: _Marks = {}
    done = []
    for spec in reversed(specs):  # children stand after their group
        names = marks.pop(spec.id, set())
        if spec.kind == "map" and spec.result is not None:
            old = spec.result["template"]
            template, inner = _hide_literals(old, actions)
            names |= inner
            if any(map(operator.is_not, old, template)):
                spec = replace(spec, result={**spec.result, "template": template})
        elif spec.kind == "action":
            names |= secret_inputs(actions.get(spec.action), spec.inputs)
        elif spec.kind == "map":
            names |= _taken_by_items(spec, actions.get(spec.action))
        done.append(_hidden(spec, names, marks) if names else spec)
    return tuple(reversed(done)), marks.get("", set())


def _actions_of(specs: tuple[NodeDef, ...]) -> set[str]:
    found = {spec.action for spec in specs}
    for spec in specs:
        if spec.kind == "map" and spec.result is not None:
            found |= _actions_of(spec.result["template"])
    return found


def _takes_secrets(action: NodeAction | None) -> bool:
    # no parameter is called "": that asks for those of any other name
    return isinstance(action, FunctionAction) and any(map(action.is_secret, ("", *action.parameters)))


def secret_inputs(action: NodeAction | None, names: Iterable[str]) -> set[str]:
    """Those of these inputs that an action takes as secrets."""
    if not isinstance(action, FunctionAction):
        return set()
    return {name for name in names if action.is_secret(name)}


def hide_named(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Values by name, with those of these names hidden."""
    return {k: hide(v) if k in names else v for k, v in values.items()}


def hide_taken(action: NodeAction | None, inputs: Any) -> Any:
    """A node's inputs, with those hidden that its action takes as secrets; the same object without any."""
    names = secret_inputs(action, inputs) if isinstance(inputs, Mapping) else ()
    return hide_named(inputs, set(names)) if names else inputs


def hide_in_spec(spec: NodeSpec, action: NodeAction | None) -> NodeSpec:
    """The same of what is to be a node, also one for each row of `over`."""
    inputs, over = hide_taken(action, spec.inputs), hide_taken(action, spec.over)
    if isinstance(over, list | tuple):
        rows = [hide_taken(action, row) for row in over]
        over = rows if any(map(operator.is_not, rows, over)) else over
    return spec if inputs is spec.inputs and over is spec.over else replace(spec, inputs=inputs, over=over)


def hide_in_plans(outputs: Mapping[str, Any], actions: Mapping[str, NodeAction]) -> Mapping[str, Any]:
    """What a node gave, with the secrets hidden that are in a plan or specs; the same object without any."""
    changed = {}
    for key, value in outputs.items():
        if isinstance(value, NodeSpec):
            new: Any = _hidden_spec(value, actions)
        elif isinstance(value, list | tuple) and value and isinstance(value[0], NodeSpec):
            specs = [_hidden_spec(one, actions) for one in value]
            new = specs if any(map(operator.is_not, specs, value)) else value
        elif hasattr(type(value), "command_in"):  # a plan
            own = {name: as_action(function) for name, function in value.functions.items()}
            steps, _, hides = hide_secrets(value.steps.values(), {**actions, **own})
            new = value.with_steps(steps) if hides else value
        else:
            continue
        if new is not value:
            changed[key] = new
    return {**outputs, **changed} if changed else outputs


def _hidden_spec(spec: Any, actions: Mapping[str, NodeAction]) -> Any:
    if not isinstance(spec, NodeSpec) or isinstance(spec.action, Workflow):
        return spec
    try:
        action = actions.get(spec.action) if isinstance(spec.action, str) else as_action(spec.action)
    except DagError:  # whoever makes a node of it says so
        return spec
    return hide_in_spec(spec, action)


def hidden_literals(scheduler: Scheduler) -> dict[Memory, Any]:
    """What is hidden of the nodes' own inputs, for the memory of the session: it is nowhere else."""
    found = {
        (node.id, name): value
        for node in scheduler.nodes.values()
        for name, value in node.spec.inputs.items()
        if holds_secret(value)
    }
    return {(scheduler.run_id, *_LITERALS): found} if found else {}


def put_back(scheduler: Scheduler, memory: Mapping[Memory, Any]) -> None:
    """Give nodes that come from the database what was hidden of their own inputs, if it is remembered."""
    for (id, name), value in memory.get((scheduler.run_id, *_LITERALS), EMPTY).items():
        node = scheduler.nodes.get(id)
        if node is not None and gap_in(node.spec.inputs.get(name)) is not None:
            node.spec = replace(node.spec, inputs={**node.spec.inputs, name: value})


def _taken_by_items(spec: NodeDef, action: NodeAction | None) -> set[str]:
    """The names of a map's inputs that its items take as secrets; rows that are not known have any name."""
    names = {
        *spec.inputs,
        *(spec.over if isinstance(spec.over, Mapping) else getattr(action, "parameters", ())),
    }
    return secret_inputs(action, names)


def _hidden(spec: NodeDef, names: set[str], marks: _Marks) -> NodeDef:
    """A node with its inputs of these names hidden; where they refer to others' inputs, these are marked."""
    over, by_row = spec.over, names - spec.inputs.keys()
    reached = [value for name, value in spec.inputs.items() if name in names]
    if isinstance(over, Mapping):
        reached += [value for name, value in over.items() if name in names]
        over = {name: hide_items(value) if name in names else value for name, value in over.items()}
    elif spec.kind == "map" and by_row:
        reached.append(over)
        rows = as_rows(over)
        if isinstance(rows, list):
            over = [hide_named(row, by_row) if type(row) is dict else row for row in rows]
    for ref in iter_refs(reached):
        owner = "" if ref.target == "inputs" else ref.target.removesuffix("/inputs")
        if owner != ref.target and ref.path:
            marks.setdefault(owner, set()).add(str(ref.path[0]))
    inputs, defaults = hide_named(spec.inputs, names), hide_named(spec.defaults, names)
    return replace(spec, inputs=inputs, over=over, defaults=defaults)
