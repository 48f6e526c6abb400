"""What a planner's action gave, as a plan: a `Plan`, its JSON, tool calls, `NodeSpec`s; nothing is no step.

The forms of tool calls are those of OpenAI's chat completions (`tool_calls`, arguments as JSON text) and
responses, of Anthropic's messages (`tool_use` among the blocks of the content), and of the Model Context
Protocol (the params of `tools/call`, or the whole request).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.model import NodeOutput, NodeSpec
from ..errors import ValidationError, shorten
from .plan import Plan
from .steps import check_plan, json_in

CALL = "tool_call"  # the tag of a node that is a tool call; with a colon before the call's id, if it has one
_TO_END = '(to end, give {"steps": []}, or the answer as a dict: {"answer": ...})'
_BLOCKS = frozenset({"text", "thinking", "redacted_thinking", "reasoning", "message"})
_SETTINGS = (
    "when",
    "timeout",
    "try_count",
    "on_failure",
    "failure",
    "cache",
    "executor",
    "ask",
    "tags",
    "limit",
)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call: `id` (None where the style has none), the tool's `name`, its `arguments` as they came."""

    id: str | None
    name: Any
    arguments: Any


def read_plan_of(outcome: NodeOutput, registry: Any, nodes: Iterable[str]) -> Plan:
    """The plan in what an action gave; `ValidationError` tells all that is wrong with it."""
    found = _said(outcome)
    if found is None:
        return Plan()
    if isinstance(found, Plan):
        return check_plan(found, registry)
    if isinstance(found, str | Mapping):
        try:
            return Plan.from_json(found, registry, nodes=nodes)
        except ValidationError as wrong:
            if isinstance(found, Mapping) or wrong.culprit not in ("plan", "steps"):
                raise
            raise ValidationError(f"{wrong.message} {_TO_END}", culprit="plan") from None
    if all(isinstance(one, NodeSpec) for one in found):
        return check_plan(_of_specs(found), registry)
    calls = calls_in(found)
    if calls is None:
        is_bare = all(isinstance(one, Mapping) and "action" in one for one in found)
        hint = ': write {"steps": [...]} around these steps' if is_bare else ""
        raise ValidationError(
            f"a planner's action returns a Plan, its JSON, tool calls or NodeSpecs, not {shorten(found)}"
            f"{hint} {_TO_END}",
            culprit="plan",
            value=found,
        )
    steps = [_step_of(call, number) for number, call in enumerate(calls, 1)]
    return Plan.from_json({"steps": steps}, registry, nodes=nodes)


def calls_of(outcome: NodeOutput) -> list[Call]:
    """The tool calls in what an action gave; none where it gave its plan in another form."""
    found = _said(outcome)
    return calls_in(found) or [] if isinstance(found, list | tuple) else []


def _said(outcome: NodeOutput) -> Any:
    """The part of an outcome that is the plan: a text, a mapping, a list, a `Plan`; None for no step."""
    if outcome.returned == "none":
        return None
    if outcome.returned == "value":
        value = _plain(outcome.outputs["result"])
        if isinstance(value, str):
            value = _of_text(value)
        return _in_mapping(value) if isinstance(value, Mapping) else _listed(value)
    return _in_mapping(outcome.outputs)


def _in_mapping(given: Mapping[str, Any]) -> Any:
    if "steps" in given:
        return {"steps": given["steps"]}
    if _call_of(given) is not None:
        return [given]
    for key in ("plan", "tool_calls", "content", "result", "text"):
        value = _plain(given.get(key))
        if isinstance(value, str) and (key == "plan" or (key == "text" and _is_plan(value))):
            return value
        if isinstance(value, Plan) or (isinstance(value, Mapping) and "steps" in value):
            return value if isinstance(value, Plan) else {"steps": value["steps"]}
        if isinstance(value, list | tuple) and value and (key == "plan" or calls_in(value)):
            return value
    return None


def _listed(value: Any) -> Any:
    """What was returned as it is, in a list if it is one step."""
    if isinstance(value, NodeSpec):
        return [value]
    if value is None or isinstance(value, Plan | str | list | tuple):
        return value
    # an answer of another kind (a number, a frame) is no step
    return None


def _plain(value: Any) -> Any:
    """Objects of the APIs' own libraries (pydantic models) as what they stand for."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) and not isinstance(value, type) else value


def _of_text(text: str) -> Any:
    """What a text stands for that is a JSON object without steps, as is given as a dict; else the text."""
    try:
        found = json.loads(json_in(text))
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) and "steps" not in found else text


def _is_plan(text: str) -> bool:
    """Whether a text is meant as a plan, and no answer in words."""
    begin = json_in(text).lstrip()
    return begin.startswith(("{", "```")) and '"steps"' in begin


def calls_in(found: Iterable[Any]) -> list[Call] | None:
    """The tool calls of a list, without the text between them; None where something else is among them."""
    calls = []
    for one in found:
        call = _call_of(one) if isinstance(one, Mapping) else None
        if call is not None:
            calls.append(call)
        elif not (isinstance(one, Mapping) and one.get("type") in _BLOCKS):
            return None
    return calls


def _call_of(given: Mapping[str, Any]) -> Call | None:
    id = given.get("id")
    function = given.get("function")
    if isinstance(function, Mapping):
        return Call(id, function.get("name"), function.get("arguments"))
    if given.get("type") == "function_call":
        return Call(given.get("call_id", id), given.get("name"), given.get("arguments"))
    if given.get("type") == "tool_use":
        return Call(id, given.get("name"), given.get("input"))
    params = given.get("params")
    if given.get("method") == "tools/call" and isinstance(params, Mapping):
        return Call(None if id is None else str(id), params.get("name"), params.get("arguments"))
    if "name" in given and "arguments" in given:
        return Call(id, given["name"], given["arguments"])
    return None


def arguments_of(call: Call) -> Any:
    """A call's arguments; `ValueError` where they are no JSON."""
    given = call.arguments
    if given is None or given == "":
        return {}
    return json.loads(given) if isinstance(given, str) else given


def _step_of(call: Call, number: int) -> dict[str, Any]:
    try:
        inputs = arguments_of(call)
    except ValueError as bad:
        raise ValidationError(
            f"step {number}: the arguments of the call of {call.name!r} are no JSON ({bad}): write an object",
            culprit=call.name,
        ) from None
    tag = CALL if call.id is None else f"{CALL}:{call.id}"
    return {"action": call.name, "inputs": inputs, "tags": [tag]}


def _of_specs(specs: Iterable[NodeSpec]) -> Plan:
    plan = Plan()
    for spec in specs:
        settings = {
            name: getattr(spec, name) for name in _SETTINGS if name != "limit" or spec.over is not None
        }
        build: Any = plan.add if spec.over is None else plan.map
        over = {} if spec.over is None else {"over": spec.over}
        handle = build(spec.action, id=spec.id, after=spec.deps or (), inputs=spec.inputs, **over, **settings)
        if spec.replaces is not None:
            plan._workflow.adopt(replace(plan._workflow.nodes[handle.id], replaces=spec.replaces))
    return plan
