"""The JSON schema of a plan: what a language model is told to answer in."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ..actions import ENGINE_INPUTS
from ..errors import ValidationError, shorten

GIVE_UP = "planner_gave_up"  # the action of the node that fails in a planner's place: no plan has it
_REFERENCE: dict[str, Any] = {
    "type": "object",
    "description": "What another step gives: its output of that key, or with its id alone what it returned.",
    "properties": {"ref": {"type": "string", "description": "STEP.KEY, STEP, or inputs.KEY of the run"}},
    "required": ["ref"],
    "additionalProperties": False,
}
_TO_REFERENCE = {"$ref": "#/$defs/reference"}
_ID = {"type": "string", "description": "Its name, by which other steps refer to it."}
_AFTER = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Ids of steps to wait for, besides those that inputs refer to.",
}
_INPUTS = {"type": "object", "description": "By name: a value, or a reference to what another step gives."}
_OVER = {
    "type": "object",
    "description": "The action runs for each combination of these lists: parameter -> list or reference.",
    "additionalProperties": {"anyOf": [{"type": "array"}, _TO_REFERENCE]},
}


def known_actions(registry: Any) -> Any:
    """What has the actions that a plan may use: a registry, the tools of a flow, or a flow itself.

    `ValidationError` for anything else.
    """
    found = getattr(registry, "registry", registry)
    if not hasattr(found, "need"):
        raise ValidationError(
            f"a plan's actions come from an ActionRegistry: give flow.registry, or flow.tools for tools "
            f"only, not {shorten(registry)}",
            culprit="registry",
            value=registry,
        )
    return found


def plan_schema(registry: Any = None) -> dict[str, Any]:
    """The JSON schema of a plan; with the actions of a registry, or of `flow.tools`, each by its inputs."""
    definitions: dict[str, Any] = {"reference": deepcopy(_REFERENCE)}
    if registry is None:
        items = _step_schema({"type": "string"}, dict(_INPUTS), [])
    else:
        known = known_actions(registry)
        actions = {name: known.need(name) for name in known if name != GIVE_UP}
        items = {"anyOf": [_of_action(name, action, definitions) for name, action in actions.items()]}
    return {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": items}},
        "required": ["steps"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _step_schema(action: dict[str, Any], inputs: dict[str, Any], required: list[str]) -> dict[str, Any]:
    properties = {"action": action, "id": _ID, "after": _AFTER, "inputs": inputs, "over": _OVER}
    return {
        "type": "object",
        "properties": deepcopy(properties),
        "required": ["action", *required],
        "additionalProperties": False,
    }


def _of_action(name: str, action: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    own = deepcopy(action.input_schema or {"type": "object"})
    for key, value in _moved(own.pop("$defs", {}), name).items():
        definitions[f"{name}.{key}"] = value
    own = _moved(own, name)
    own["properties"] = {
        key: {"anyOf": [value, _TO_REFERENCE], **_taken(value, "description")}
        for key, value in own.get("properties", {}).items()
        if key not in ENGINE_INPUTS
    }
    # what a map goes over is no input besides: which are needed is told when the plan is read
    own.pop("required", None)
    said = {"const": name}
    if description := getattr(getattr(action, "options", None), "description", ""):
        said["description"] = description
    return _step_schema(said, {**own, "description": _INPUTS["description"]}, [])


def _taken(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {key: schema.pop(key)} if isinstance(schema, dict) and key in schema else {}


def _moved(schema: Any, name: str) -> Any:
    """The schema with its own definitions under the name of its action."""
    if isinstance(schema, dict):
        return {key: _moved_reference(key, value, name) for key, value in schema.items()}
    return [_moved(item, name) for item in schema] if isinstance(schema, list) else schema


def _moved_reference(key: str, value: Any, name: str) -> Any:
    if key == "$ref" and isinstance(value, str) and value.startswith("#/$defs/"):
        return f"#/$defs/{name}.{value.removeprefix('#/$defs/')}"
    return _moved(value, name)
