"""Plans as JSON: read with everything that is wrong told at once, and written.

The errors are written for who wrote the plan, which may be a language model: each names the step and says
what to write instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any

from ..actions import FunctionAction, InputError, as_action
from ..core.model import NodeDef, Ref, iter_refs, map_refs, with_edges
from ..errors import NodeAlreadyExists, ValidationError, did_you_mean, shorten
from ..workflow.check import problems
from .plan import Plan, after_of
from .plan_schema import GIVE_UP, known_actions

_FORM = '{"steps": [{"action": "NAME", "id": "ID", "after": ["ID"], "inputs": {"NAME": VALUE}}]}'
_SETTINGS = ("when", "timeout", "try_count", "on_failure", "failure", "cache", "executor", "tags")
_KEYS = ("action", "id", "after", "inputs", "over", "limit", *_SETTINGS)
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?\s*```", re.DOTALL)
_DEFAULTS = {field.name: field.default for field in fields(NodeDef)}


def read_plan(given: Any, registry: Any, nodes: Iterable[str] = ()) -> Plan:
    """The plan; raises a `ValidationError` that tells all that is wrong."""
    registry = known_actions(registry)
    plan, wrong = Plan(), _Mistakes()
    for number, step in enumerate(_steps_of(given), 1):
        with wrong.noted(number, step):
            _add(plan, step, registry, wrong.of_step)
    # of a step with a mistake nothing follows for those that name it
    there = dict.fromkeys((*nodes, *wrong.ids))
    ids = {*there, *plan.steps}

    def bind(ref: Ref) -> Ref:
        with suppress(ValidationError):  # it is told below
            ref = ref.bind(ids)
        return ref

    steps = {
        id: with_edges(step, step.deps, map_refs(dict(step.inputs), bind), map_refs(step.over, bind))
        for id, step in plan.steps.items()
    }
    # of a run's many nodes only those that the steps name matter, as long as nothing is wrong
    named = [dep for step in steps.values() for dep in step.deps if dep in there]
    for others in (named, there):
        known = {id: NodeDef(id=id, action="") for id in others if id not in steps} | steps
        told = {(place[0], str(error.culprit)): error for error, place in problems(known)}
        if not told:
            break
    wrong.found += told.values()
    wrong.tell()
    return plan


class _Mistakes:
    """Collects what is wrong, each with its step."""

    def __init__(self) -> None:
        self.found: list[ValidationError] = []
        self.ids: list[str] = []
        self._name = ""

    def noted(self, number: int, step: Any) -> _Mistakes:
        """In this step; as a context manager."""
        id = step.get("id") if isinstance(step, Mapping) else None
        self._name = f"step {number}"
        if isinstance(id, str) and id:
            self._name = f"step {id!r}"
            self.ids.append(id)
        return self

    def of_step(self, text: str, culprit: Any = None) -> None:
        """One mistake in the step; the next ones are looked for."""
        self.found.append(ValidationError(f"{self._name}: {text}", culprit=culprit))

    def __enter__(self) -> _Mistakes:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        if isinstance(error, ValidationError):
            if type(error) is NodeAlreadyExists:
                self.found.append(NodeAlreadyExists(error.node_id, "give one of these steps another id"))
            elif type(error) is ValidationError:
                self.of_step(error.message, error.culprit)
            else:
                self.found.append(error)
            return True
        return False

    def tell(self) -> None:
        """Raise what was found: one mistake as it is, several as one error."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            lines = "".join(f"\n- {error.message}" for error in self.found)
            raise ValidationError(
                f"{len(self.found)} things are wrong with this plan:{lines}",
                culprit=[error.culprit for error in self.found],
            )


def json_in(text: str) -> str:
    """The part of a text that is meant as JSON: what stands between its code fences, if it has any."""
    found: list[str] = [] if text.lstrip().startswith(("{", "[")) else _FENCE.findall(text)
    plans = [block for block in found if '"steps"' in block]
    return next(iter(plans or found), text)


def _steps_of(given: Any) -> list[Any]:
    if isinstance(given, str):
        try:
            given = json.loads(json_in(given))
        except json.JSONDecodeError as bad:
            text = f"the plan is no JSON ({bad.msg} in line {bad.lineno}, column {bad.colno}): write {_FORM}"
            raise ValidationError(text, culprit="plan") from None
        except RecursionError:
            raise ValidationError("the plan is nested too deeply", culprit="plan") from None
    if isinstance(given, list | tuple) and given and all(isinstance(one, Mapping) for one in given):
        raise ValidationError(
            f'a plan is {_FORM}: write {{"steps": [...]}} around this list', culprit="steps"
        )
    if not isinstance(given, Mapping) or not isinstance(given.get("steps"), list | tuple):
        raise ValidationError(f"a plan is {_FORM}, not {shorten(given)}", culprit="steps")
    for key in given:
        if key != "steps":
            raise ValidationError(f"a plan has no key {key!r} but 'steps': write {_FORM}", culprit=key)
    return list(given["steps"])


def _add(plan: Plan, step: Any, registry: Any, note: Any) -> None:
    if not isinstance(step, Mapping):
        raise ValidationError(f'a step is {{"action": "NAME", ...}}, not {shorten(step)}', culprit="steps")
    for key in step:
        if key not in _KEYS:
            note(f"a step has no key {shorten(key)}: {did_you_mean(str(key), _KEYS)}", key)
    if "action" not in step:
        raise ValidationError(f"it has no action: {_listed(registry)}", culprit="action")
    action = step["action"]
    if not isinstance(action, str) or action not in registry:
        names = _names(registry)
        hint = did_you_mean(action, names) if isinstance(action, str) else _listed(registry)
        note(f"there is no action {shorten(action)}: {hint}", action)
    id, after = step.get("id"), step.get("after") or ()
    if id is not None and not isinstance(id, str):
        raise ValidationError(f"its id is a text, not {shorten(id)}", culprit="id")
    if not isinstance(after, str | list | tuple) or not all(isinstance(one, str) for one in after):
        raise ValidationError(f'after is a list of ids (["ID"]), not {shorten(after)}', culprit="after")
    inputs = step.get("inputs") or {}
    if not isinstance(inputs, Mapping):
        raise ValidationError(f'inputs are {{"NAME": VALUE}}, not {shorten(inputs)}', culprit="inputs")
    inputs, over = _with_refs(dict(inputs)), _with_refs(step.get("over"))
    settings = {key: step[key] for key in _SETTINGS if step.get(key) is not None}
    if isinstance(action, str) and action in registry:
        _check_inputs(registry.need(action), inputs, over, note)
    build: Any = plan.add if over is None else plan.map
    if over is not None:
        settings |= {"over": over, "limit": step.get("limit")}
    elif step.get("limit") is not None:
        note("limit is for a map: give it over, too, or leave it out", "limit")
    build(str(action), id=id, after=after, inputs=inputs, **settings)


def _listed(registry: Iterable[str]) -> str:
    names = ", ".join(map(repr, _names(registry)[:20]))
    return f"write one of {names}" if names else "there are no actions"


def _names(registry: Iterable[str]) -> list[str]:
    """The actions that a plan may use."""
    return [name for name in registry if name != GIVE_UP]


def _with_refs(value: Any) -> Any:
    """The value with a `Ref` for each `{"ref": "step.key"}` in it."""
    if isinstance(value, Mapping):
        if value.keys() == {"ref"}:
            if not isinstance(value["ref"], str) or not value["ref"]:
                raise ValidationError(
                    f'a reference is {{"ref": "step.key"}}, not {shorten(dict(value))}', culprit="ref"
                )
            return Ref(value["ref"])
        return {key: _with_refs(item) for key, item in value.items()}
    return [_with_refs(item) for item in value] if isinstance(value, list | tuple) else value


def check_plan(plan: Plan, registry: Any) -> Plan:
    """A plan that was built, after a look at what JSON is looked at for when it is read.

    `ValidationError` tells all that is wrong with the inputs of its steps. Actions that are not in the
    registry are left to the run, which may know them.
    """
    wrong, functions = _Mistakes(), plan._workflow.functions
    for number, (id, step) in enumerate(plan.steps.items(), 1):
        if step.kind == "workflow" or step.result is not None:
            continue
        with wrong.noted(number, {"id": id}):
            if step.action in functions:
                _check_inputs(as_action(functions[step.action]), dict(step.inputs), step.over, wrong.of_step)
            elif step.action in registry:
                _check_inputs(registry.need(step.action), dict(step.inputs), step.over, wrong.of_step)
    wrong.tell()
    return plan


def _check_inputs(action: Any, inputs: dict[str, Any], over: Any, note: Any) -> None:
    """Note inputs that are missing, that nobody takes, and values that are known not to fit."""
    given = [{**inputs, **(over if isinstance(over, Mapping) else {})}]
    if isinstance(over, list):
        given = [{**inputs, **row} for row in over if isinstance(row, Mapping)]
    elif over is not None and not isinstance(over, Mapping):
        given = []  # its rows say what the items get
    told: dict[str, Any] = {}
    for names in given:
        if hasattr(action, "input_problems"):
            told |= {text: culprit for culprit, text in action.input_problems(names)}
    if isinstance(action, FunctionAction):
        for key, value in inputs.items():
            if action.takes(key) and not any(iter_refs(value)) and not action.is_secret(key):
                try:
                    action.convert(key, value)
                except InputError as bad:
                    told[bad.message] = key
    takes = f" (it takes {shorten(list(getattr(action, 'parameters', ())), 200)})" if told else ""
    for text, culprit in told.items():
        note(f"{text}{takes if 'has no parameter' in text else ''}", culprit)


# --- writing ----------------------------------------------------------------------------------------


def write_plan(plan: Plan, indent: int | None) -> str:
    """The plan as text."""
    if plan._workflow.workflows:
        name = next(iter(plan._workflow.workflows))
        raise ValidationError(f"the sub-workflow {name!r} in this plan has no JSON form", culprit=name)
    steps = [_written(step) for step in plan.steps.values()]
    return json.dumps({"steps": steps}, indent=indent, ensure_ascii=False)


def _written(step: NodeDef) -> dict[str, Any]:
    if step.ask is not None:
        raise ValidationError(f"step {step.id!r}: ask has no JSON form", culprit="ask")
    said: dict[str, Any] = {"action": step.action, "id": step.id}
    if after := after_of(step):
        said["after"] = list(after)
    if step.inputs:
        said["inputs"] = as_json(dict(step.inputs), f"the inputs of step {step.id!r}")
    if step.kind == "map":
        said["over"] = as_json(step.over, f"over of step {step.id!r}")
    for name in ("limit", *_SETTINGS):
        value = getattr(step, name)
        if value != _DEFAULTS[name]:
            said[name] = as_json(value, f"{name} of step {step.id!r}")
    return said


def as_json(value: Any, where: str) -> Any:
    """A value with references as `{"ref": "step.key"}`; `ValidationError` where it has no JSON form."""
    if isinstance(value, Ref):
        return {"ref": str(value)}
    if (
        value is None
        or isinstance(value, bool | int | str)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value) and value.keys() != {"ref"}:
        return {key: as_json(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, where) for item in value]
    what = (
        "it would be read as a reference" if isinstance(value, Mapping) and "ref" in value else "it has none"
    )
    raise ValidationError(f"{where}: {shorten(value)} cannot be written as JSON: {what}", culprit=where)
