"""What hooks answer, as a list of commands."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, get_args

from ..core.messages import AddNode, AddNodes, ExecutorCommand
from ..core.model import NodeSpec
from ..errors import ValidationError, shorten

COMMANDS: tuple[type, ...] = get_args(ExecutorCommand)


async def commands_of(answer: Any, hook: str | None = None) -> list[Any]:
    """The commands in what a hook returned: one, a `NodeSpec` (it is added), an object with `.commands()`
    (a plan), an iterable of these (async too), or None.

    Raises `ValidationError` that names the hook and the value for anything else.
    """
    if answer is None:
        return []
    if isinstance(answer, COMMANDS):
        return [_checked(answer, hook)]
    if isinstance(answer, NodeSpec):
        return [AddNode(answer)]
    if inspect.isawaitable(answer):
        return await commands_of(await answer, hook)
    plan = getattr(answer, "commands", None)
    if callable(plan) and not isinstance(answer, type):
        return await commands_of(plan(), hook)
    found: list[Any] = []
    if isinstance(answer, AsyncIterable):
        async for item in answer:
            found += await commands_of(item, hook)
        return found
    if isinstance(answer, Iterable) and not isinstance(answer, str | bytes | bytearray | Mapping):
        for item in answer:
            found += await commands_of(item, hook)
        return found
    raise _no_command(answer, hook)


def _checked(command: Any, hook: str | None) -> Any:
    specs: tuple[Any, ...] = ()
    if isinstance(command, AddNode):
        specs = (command.spec,)
    elif isinstance(command, AddNodes):
        specs = tuple(command.specs)
    for spec in specs:
        if not isinstance(spec, NodeSpec):
            who = f"hook {hook!r}: " if hook else ""
            raise ValidationError(
                f"{who}{type(command).__name__} takes a NodeSpec, not {shorten(spec)}: write NodeSpec(...)",
                culprit=hook,
                value=spec,
            )
    return command


def _no_command(value: Any, hook: str | None) -> ValidationError:
    who = f"hook {hook!r} answered" if hook else "this is no answer of a hook:"
    known = ", ".join(command.__name__ for command in COMMANDS)
    return ValidationError(
        f"{who} {shorten(value)}: a hook returns or yields a NodeSpec, a command ({known}), "
        "an iterable of these, or nothing",
        culprit=hook,
        value=value,
    )
