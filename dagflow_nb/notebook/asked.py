"""What the page of a live view asks for, and the answers: buttons, details of a node, the run's past.

Pure but for the controls it calls: a message comes in, a message goes out. What a control raises is told
to the page, and raised nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ValidationError, shorten
from .past import past_record
from .showing import shown
from .style import one_line, without_ansi

TRACEBACK, CODE = 20_000, 20_000
"""Characters that are shown of an attempt's traceback (its end) and of an action's source (its beginning)."""
VALUES = 50
"""Inputs, or outputs, of one node that are shown."""


def answer(controls: Any, message: Mapping[str, Any]) -> dict[str, Any] | None:
    """The message that answers one of the page's; None for what asks nothing."""
    kind = message.get("kind")
    if kind == "do":
        return {"kind": "done", "id": message.get("id"), **_do(controls, message)}
    if kind == "look":
        return {"kind": "look", "node": str(message.get("node")), **_look(controls, str(message.get("node")))}
    if kind == "past":
        return {"kind": "past", **_past(controls)}
    return None


def _past(controls: Any) -> dict[str, Any]:
    try:
        return past_record(controls.past())
    except Exception as problem:
        return {"problem": one_line(f"the past of this run cannot be read: {problem}")}


def _do(controls: Any, message: Mapping[str, Any]) -> dict[str, Any]:
    what, branch = message.get("what"), message.get("branch")
    answers = dict(message.get("answers") or {})
    calls: dict[str, Callable[[], object]] = {
        "pause": lambda: controls.pause(branch),
        "resume": lambda: controls.resume(branch),
        "cancel": lambda: controls.cancel(branch),
        "retry": lambda: controls.retry(str(message["node"])),
        "approve": lambda: controls.approve(branch, answers),
        "reject": lambda: controls.reject(branch),
    }
    try:
        if what not in calls:
            raise ValueError(f"the page asked for {shorten(what)}, which is no control")
        calls[what]()
    except ValidationError as problem:
        told: dict[str, Any] = {"error": f"{type(problem).__name__}: {problem}"}
        fields = {name: one_line(text) for name, text in problem.fields.items()}
        return told | ({"fields": fields} if fields else {})
    except Exception as problem:
        return {"error": f"{type(problem).__name__}: {problem}"}
    return {"error": None}


def _look(controls: Any, node: str) -> dict[str, Any]:
    look = getattr(controls, "look", None)
    try:
        found = look(node) if look is not None else {}
    except Exception as problem:  # nothing depends on these: say so in their place
        return {"problem": one_line(f"{type(problem).__name__}: {problem}")}
    told: dict[str, Any] = {part: _values(found[part]) for part in ("inputs", "outputs") if part in found}
    told["attempts"] = [_attempt(row) for row in found.get("attempts", ())]
    if found.get("code"):
        told["code"] = _start(found["code"], CODE)
    return told


def _values(values: Mapping[Any, Any]) -> dict[str, Any]:
    names = list(values)
    told = {one_line(name): _one(values, name) for name in names[:VALUES]}
    if len(names) > VALUES:
        told["…"] = {"kind": "text", "text": "", "note": f"and {len(names) - VALUES:,} more"}
    return told


def _one(values: Mapping[Any, Any], name: Any) -> dict[str, Any]:
    try:
        value = values[name]
    except Exception as problem:  # a stored value that cannot be read any more
        return {"kind": "text", "text": "", "note": one_line(f"cannot be read: {problem}")}
    return shown(value)


def _attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("attempt", "status", "started_at", "finished_at")
    told = {name: row[name] for name in names}
    for name in ("error", "traceback"):
        text = row.get(name)
        if text:
            told[name] = _end(without_ansi(text), TRACEBACK)
    return told


def _start(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\n… {len(text) - most:,} more characters"


def _end(text: str, most: int) -> str:
    # what was raised stands at the end
    return text if len(text) <= most else f"{len(text) - most:,} characters before this …\n{text[-most:]}"
