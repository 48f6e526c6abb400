"""What a planner is told of its rounds so far: the input `history` of its action.

Each entry is a dict: `id`, `action`, `inputs` (as the plan gave them, references as `{"ref": "step.key"}`),
`status`, and `outputs`, or `error` for what did not end well; `over` for a map. A step that was a tool call
has its `tool_call_id`, in `asked_by` the id of the planner's node that asked for it, and in `text` what that
wrote beside its calls, if anything. A plan that was refused is told of by an entry for each of its tool
calls, or one for the planner, with the status `refused`. Outputs are references: they are stored once, by
the node that gave them; so are the entries, by the node that was told first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.graph import Node
from ..core.model import SUCCESS_STATES, NodeDef, NodeStatus, Ref
from ..errors import ValidationError, shorten
from .reading import CALL, arguments_of, calls_of
from .steps import as_json

REFUSED = "refused"


def entries(planner: Node | None, steps: Iterable[Node], event: Any = None) -> list[dict[str, Any]]:
    """The entries of the steps of a planner's round; what has ended after the event, if one is given, as
    still running."""
    return [
        _entry(planner, step, event is not None and step.final and not is_told(step, event)) for step in steps
    ]


def is_told(step: Node, event: Any) -> bool:
    """Whether a step has ended by an event, and not after it: hooks hear of that later.

    What is skipped for a failure is so at once with it.
    """
    return step.final and (step.status is NodeStatus.SKIPPED or step.ended <= event.seq)


def _of_call(planner: Node | None, call: str | None) -> dict[str, Any]:
    """What an entry says of the tool call that its step was."""
    if call is None:
        return {}
    said: dict[str, Any] = {"tool_call_id": call}
    if planner is not None:
        said["asked_by"] = planner.id
        text = planner.outcome.outputs.get("text") if planner.outcome is not None else None
        if isinstance(text, str) and text:
            said["text"] = Ref(planner.id, ("text",))
    return said


def _entry(planner: Node | None, node: Node, runs: bool) -> dict[str, Any]:
    spec, outcome = node.spec, node.outcome
    entry = {
        "id": node.id,
        "action": spec.action,
        "inputs": _shown(dict(spec.inputs)),
        "status": str(node.status),
    }
    if spec.kind == "map":
        entry["over"] = _shown(spec.over)
    entry |= _of_call(planner, call_id(spec))
    if runs:
        return entry | {"status": str(NodeStatus.RUNNING)}
    if node.status is NodeStatus.RECOVERED and outcome is not None and is_call(spec) and node.error:
        entry["error"] = node.error
    elif node.status in SUCCESS_STATES and outcome is not None:
        entry["outputs"] = {key: Ref(node.id, (key,)) for key in outcome.outputs}
    elif node.status is NodeStatus.FAILED:
        entry["error"] = node.error or "it failed"
    elif node.final:
        entry["error"] = f"it was {node.status}" + (f": {node.reason}" if node.reason else "")
    return entry


def refused(node: Node, error: str) -> list[dict[str, Any]]:
    """The entries of a plan that this planner's node gave, and that was refused."""
    if node.outcome is not None and (calls := calls_of(node.outcome)):
        made = []
        for call in calls:
            try:
                inputs = arguments_of(call)
            except ValueError:
                inputs = call.arguments
            entry = {
                "id": None,
                "action": call.name,
                "inputs": _shown(inputs),
                "status": REFUSED,
                "error": error,
            }
            made.append(entry | _of_call(node, call.id))
        return made
    return [{"id": node.id, "action": node.spec.action, "inputs": {}, "status": REFUSED, "error": error}]


def call_id(spec: NodeDef) -> str | None:
    """The id of the tool call that a step was; None for another step."""
    return next((tag.removeprefix(f"{CALL}:") for tag in spec.tags if tag.startswith(f"{CALL}:")), None)


def is_call(spec: NodeDef) -> bool:
    """Whether a step was a tool call."""
    return any(tag.partition(":")[0] == CALL for tag in spec.tags)


def _shown(value: Any) -> Any:
    """An input as it was written down; what has no JSON form (a frame, a secret) as a short text."""
    try:
        return as_json(value, "")
    except ValidationError:
        if isinstance(value, dict):
            return {str(key): _shown(item) for key, item in value.items()}
        return [_shown(item) for item in value] if isinstance(value, list | tuple) else shorten(value)
