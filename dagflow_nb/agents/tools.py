"""Tools: actions that language models are told of, in the form that each of the usual APIs takes.

The forms are those of OpenAI's chat completions (`tools=[...]`), of Anthropic's messages (`tools=[...]`)
and of the Model Context Protocol (the `tools` of a `tools/list` result).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from html import escape
from typing import Any

from ..actions import ENGINE_INPUTS, Action, ActionRegistry, FunctionAction, as_action, make_action, prepared
from ..actions.conversion import shorten_text
from ..actions.docstrings import read_docstring
from ..errors import ActionNotFound, ValidationError, did_you_mean, shorten

STYLES = ("openai", "anthropic", "mcp")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what all three take


def make_tool(target: Any, **settings: Any) -> Action[..., Any]:
    """An action that is a tool, in the wrapper that behaves as `target`.

    `ValidationError` for a name that the APIs refuse.
    """
    made = make_action(target, **settings)
    if not _NAME.fullmatch(made.name):
        raise ValidationError(
            f"a tool's name has 1 to 64 of the characters a-z, A-Z, 0-9, _ and -, unlike {made.name!r}: "
            f"give it another one with name='...'",
            culprit="name",
            value=made.name,
        )
    # with a setting it is a copy: what is an action elsewhere does not become a tool there
    tool = prepared(as_action(made, name=made.name))
    tool.is_tool = True
    return Action(tool, made.__wrapped__)


def schema(action: Any, style: str = "openai") -> dict[str, Any]:
    """What a language model is told of an action (a function, an action, what a decorator returned).

    `style`: `"openai"`, `"anthropic"` or `"mcp"`. The description is the action's `description=`, else its
    docstring up to the first section; `ctx` and what the engine gives (`human_input`, ...) are left out.

    >>> def search(query: str, limit: int = 5) -> dict:
    ...     '''Search the web.
    ...
    ...     Args:
    ...         query: What to look for.
    ...     '''
    >>> schema(search, "anthropic")["input_schema"]["properties"]["query"]
    {'type': 'string', 'description': 'What to look for.'}
    """
    _check_style(style)
    made = prepared(as_action(action))
    about = {"name": made.name}
    if description := describe(made):
        about["description"] = description
    parameters = _parameters(made)
    if style == "openai":
        return {"type": "function", "function": {**about, "parameters": parameters}}
    return {**about, "input_schema" if style == "anthropic" else "inputSchema": parameters}


def describe(action: Any) -> str:
    """What an action is for: its `description=`, else its docstring up to the first section."""
    given: str | None = action._given.get("description")
    documented = action.fn if isinstance(action, FunctionAction) else type(action.action)
    return read_docstring(documented)[0] if given is None else given


def _check_style(style: Any) -> None:
    if style not in STYLES:
        hint = did_you_mean(style, STYLES) if isinstance(style, str) else ""
        raise ValidationError(
            f"style is {', '.join(map(repr, STYLES[:-1]))} or {STYLES[-1]!r}, not {shorten(style)}"
            f"{f': {hint}' if hint else ''}",
            culprit="style",
            value=style,
        )


def _parameters(action: Any) -> dict[str, Any]:
    # a copy: who gets it may go on with it
    found: dict[str, Any] = {"type": "object", "properties": {}, **deepcopy(action.input_schema or {})}
    found["properties"] = {k: v for k, v in found["properties"].items() if k not in ENGINE_INPUTS}
    if "required" in found:
        found["required"] = [name for name in found["required"] if name not in ENGINE_INPUTS]
        if not found["required"]:
            del found["required"]
    return found


class Tools:
    """The tools of a flow: `schemas(style)` for a language model; iterated it gives their names."""

    def __init__(self, registry: ActionRegistry) -> None:
        self._registry = registry

    def _all(self) -> dict[str, Any]:
        actions = {name: self._registry.need(name) for name in self._registry}
        return {name: action for name, action in actions.items() if getattr(action, "is_tool", False)}

    def schemas(self, style: str = "openai") -> list[dict[str, Any]]:
        """What to give as `tools=` to OpenAI's chat completions (`"openai"`) or to Anthropic's messages
        (`"anthropic"`), or as the `tools` of an MCP server's answer (`"mcp"`).

        Another style is a `ValidationError`.
        """
        _check_style(style)
        return [schema(action, style) for action in self._all().values()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __getitem__(self, name: str) -> Any:
        """The action of that tool."""
        found = self._all()
        if name not in found:
            raise ActionNotFound(name, found)
        return found[name]

    need = __getitem__

    def __reduce__(self) -> Any:
        # for a fingerprint, and for another process: the names as they are now
        return tuple, (tuple(self),)

    def __repr__(self) -> str:
        return f"<tools: {', '.join(self) or 'none yet: define one with @flow.tool'}>"

    def _repr_html_(self) -> str:
        found = self._all()
        if not found:
            return f"<div>{escape(repr(self)[1:-1])}</div>"
        cell = "<td style='text-align:left'>"
        rows = "".join(
            f"<tr>{cell}<code>{escape(Action(action)._line())}</code></td>"
            f"{cell}{escape(shorten_text(' '.join(describe(action).split()), 200))}</td></tr>"
            for action in found.values()
        )
        head = cell.replace("td", "th") + "tool</th>" + cell.replace("td", "th") + "what it does</th>"
        return f"<table class='dagflow-tools'><tr>{head}</tr>{rows}</table>"
