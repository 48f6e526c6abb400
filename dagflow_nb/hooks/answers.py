"""What hooks answer, as a list of commands."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import groupby
from typing import Any, get_args

from ..core.messages import AddNode, AddNodes, ExecutorCommand
from ..core.model import NodeDef, NodeSpec, iter_refs
from ..errors import ValidationError, shorten

COMMANDS: tuple[type, ...] = get_args(ExecutorCommand)
_SIMPLE = frozenset((NodeSpec, *COMMANDS))


async def commands_of(answer: Any, hook: str | None = None) -> list[Any]:
    """The commands in what a hook returned: one, a `NodeSpec` (it is added), an object with `.commands()`, a
    plan (it is made a command once the run's nodes are known, by its `.command_in(nodes)`), an iterable of
    these (async too), or None.

    Nodes that follow each other may depend on later ones: each is added once those that it names are there.
    Raises `ValidationError` that names the hook and the value for anything else.
    """
    return _arranged(await _found(answer, hook))


def commands_at_once(answer: Any, hook: str | None = None) -> list[Any] | None:
    """The same for a command, a `NodeSpec`, a list or tuple of these, or None; None for any other answer."""
    if type(answer) is NodeSpec:
        return [AddNode(answer)]
    items = answer if type(answer) in (list, tuple) else () if answer is None else (answer,)
    if not _SIMPLE.issuperset(map(type, items)):
        return None
    return _arranged([AddNode(one) if type(one) is NodeSpec else _checked(one, hook) for one in items])


def _arranged(found: list[Any]) -> list[Any]:
    if len(found) < 2:
        return found
    groups = groupby(found, lambda command: type(command) is AddNode)
    return [one for are_nodes, group in groups for one in (_in_order([*group]) if are_nodes else group)]


def _in_order(commands: list[AddNode]) -> list[AddNode]:
    places: dict[str, int] = {}
    for place, command in enumerate(commands):
        places.setdefault(_id(command.spec), place)
    after = [_named(command.spec, places) - {place} for place, command in enumerate(commands)]
    if all(before < place for place, befores in enumerate(after) for before in befores):
        return commands
    try:
        return [commands[place] for place in TopologicalSorter(dict(enumerate(after))).static_order()]
    except CycleError:  # these are refused where they are added
        return commands


def _id(spec: NodeSpec) -> str:
    """The id that the node will have, unless it is taken."""
    action = spec.action
    return spec.id or (action if isinstance(action, str) else str(getattr(action, "__name__", "")))


def _named(spec: NodeSpec, places: Mapping[str, int]) -> set[int]:
    """Where in the answer the nodes are that this one depends on."""
    named = set(spec.deps or ())
    for reference in iter_refs(dict(spec.inputs or {})):
        with suppress(ValidationError):  # it names a node that is there already
            named.add(reference.bind(places).target)
    return {places[name] for name in named if name in places}


async def _found(answer: Any, hook: str | None) -> list[Any]:
    if answer is None:
        return []
    if isinstance(answer, COMMANDS):
        return [_checked(answer, hook)]
    if isinstance(answer, NodeSpec):
        return [AddNode(answer)]
    if inspect.isawaitable(answer):
        return await _found(await answer, hook)
    if hasattr(answer, "command_in") and not isinstance(answer, type):
        return [answer]
    plan = getattr(answer, "commands", None)
    if callable(plan) and not isinstance(answer, type):
        return await _found(plan(), hook)
    found: list[Any] = []
    if isinstance(answer, AsyncIterable):
        async for item in answer:
            found += await _found(item, hook)
        return found
    if isinstance(answer, Iterable) and not isinstance(answer, str | bytes | bytearray | Mapping):
        for item in answer:
            found += await _found(item, hook)
        return found
    raise _no_command(answer, hook)


def _checked(command: Any, hook: str | None) -> Any:
    specs: tuple[Any, ...] = ()
    if isinstance(command, AddNode):
        specs = (command.spec,)
    elif isinstance(command, AddNodes):
        specs = tuple(command.specs)
    for spec in specs:
        if not isinstance(spec, NodeSpec | NodeDef):
            who = f"hook {hook!r}: " if hook else ""
            raise ValidationError(
                f"{who}{type(command).__name__} takes a NodeSpec, not {shorten(spec)}: write NodeSpec(...)",
                culprit=hook,
                value=spec,
            )
    return command


def _no_command(value: Any, hook: str | None) -> ValidationError:
    known = ", ".join(command.__name__ for command in COMMANDS)
    what = f"a NodeSpec, a Plan, a command ({known}), an iterable of these, or nothing"
    return ValidationError(
        f"hook {hook!r} answered {shorten(value)}: a hook returns or yields {what}"
        if hook
        else f"{shorten(value)} is no command: give {what}",
        culprit=hook,
        value=value,
    )
