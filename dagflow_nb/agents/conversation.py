"""What a language model is told: messages in the form of chat completions, steps of a plan among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import shorten

Message = dict[str, Any]
_MOST = 50_000  # characters of one value


def problems_with(inputs: Mapping[str, Any]) -> list[str]:
    """What is wrong with `prompt`, `messages` and `history` as inputs."""
    found = []
    prompt, messages, history = (inputs.get(name) for name in ("prompt", "messages", "history"))
    if prompt is None and not messages:
        found.append("it needs a prompt, or messages")
    if prompt is not None and not isinstance(prompt, str) and not _are_mappings(prompt):
        found.append(f"prompt is a text, not {shorten(prompt)}")
    if messages is not None:
        if not _are_mappings(messages):
            found.append(f"messages is a list of dicts with role and content, not {shorten(messages)}")
        else:
            for message in messages:
                if not isinstance(message.get("role"), str):
                    found.append(
                        f"a message has a role ('user', 'assistant', ...), unlike {shorten(message)}"
                    )
    if history is not None and not _are_mappings(history):
        found.append(f"history is a list of steps, not {shorten(history)}")
    return found


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def conversation(inputs: Mapping[str, Any], system: str | None) -> list[Message]:
    """The messages that these inputs stand for: what was said, what is asked now, and what was done since.

    `system` comes first, unless `messages` begin with one of their own.
    """
    said: list[Message] = [dict(message) for message in inputs.get("messages") or ()]
    if system is not None and not any(message["role"] in ("system", "developer") for message in said):
        said.insert(0, {"role": "system", "content": system})
    if inputs.get("prompt") is not None:
        said.append({"role": "user", "content": inputs["prompt"]})
    return said + _steps(inputs.get("history") or (), _open_calls(said))


def _open_calls(messages: Iterable[Message]) -> set[str]:
    """The ids of the tool calls that the messages ask for and do not answer."""
    asked = {call.get("id") for message in messages for call in message.get("tool_calls") or ()}
    return asked - {message.get("tool_call_id") for message in messages}


def _steps(history: Iterable[Mapping[str, Any]], asked: set[str]) -> list[Message]:
    """What was done, step by step: the calls of one answer in one message, before what came of them; steps
    that were no calls in words.

    `asked`: the calls that are in the conversation already.
    """
    said: list[Message] = []
    lines: list[str] = []
    calls: list[dict[str, Any]] = []
    asked_by = None
    for step in history:
        call = step.get("tool_call_id")
        if call is None:
            lines.append(_in_words(step))
            continue
        if call in asked:
            asked.remove(call)
        else:
            if asked_by is None or step.get("asked_by") != asked_by:
                said += _as_user(lines)
                asked_by, calls = step.get("asked_by"), []
                said.append({"role": "assistant", "content": step.get("text"), "tool_calls": calls})
            function = {"name": step.get("action"), "arguments": text_of(step.get("inputs") or {})}
            calls.append({"id": call, "type": "function", "function": function})
        said.append({"role": "tool", "tool_call_id": call, "content": _outcome(step)})
    return said + _as_user(lines)


def _as_user(lines: list[str]) -> list[Message]:
    """The lines as one message; they are taken."""
    text = "\n".join(lines)
    lines.clear()
    return [{"role": "user", "content": f"What has been done since:\n{text}"}] if text else []


def _in_words(step: Mapping[str, Any]) -> str:
    given = "".join(
        f" {word} {text_of(step[key])}"
        for key, word in (("inputs", "with"), ("over", "over"))
        if step.get(key)
    )
    return f"- {step.get('id')} ({step.get('action')}){given}: {_outcome(step)}"


def _outcome(step: Mapping[str, Any]) -> str:
    if step.get("error") is not None:
        return f"error: {step['error']}"
    if "outputs" not in step:
        return f"({step.get('status') or 'it has not ended yet'})"
    outputs = step["outputs"]
    if isinstance(outputs, Mapping) and outputs.keys() == {"result"}:
        outputs = outputs["result"]
    return text_of(outputs)


def text_of(value: Any) -> str:
    """A value for a language model: a text as it is, else JSON; what has none by its `str`.

    >>> text_of({"rows": [1, 2]}), text_of("done")
    ('{"rows": [1, 2]}', 'done')
    """
    if not isinstance(value, str):
        from pydantic_core import to_jsonable_python

        value = json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)
    if len(value) > _MOST:
        value = f"{value[:_MOST]}... ({len(value) - _MOST:,} characters more)"
    return str(value)
