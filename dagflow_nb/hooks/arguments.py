"""The parameters of hook functions: matched by name with what an event has, once, at the definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any, get_args

from ..core.messages import Event, ExecutionEvent, NodeLog, NodeProgress, TokenStreamed
from ..errors import ValidationError, did_you_mean
from .context import HookContext

KINDS: tuple[type[Event], ...] = get_args(ExecutionEvent)
QUIET = frozenset({NodeProgress, NodeLog, TokenStreamed})  # these are shown, hooks are not asked about them
_ALWAYS = ("ctx", "event", "outputs", "run_id", "seq", "at")


class Arguments:
    """How an event becomes the arguments of a hook function: parameters are matched by name."""

    def __init__(self, function: Callable[..., Any], hook: str, kinds: tuple[type[Event], ...]) -> None:
        asked = kinds or tuple(kind for kind in KINDS if kind not in QUIET)
        own = [field.name for kind in asked for field in fields(kind)]
        allowed = dict.fromkeys((*_ALWAYS, *own))
        self._everything: tuple[str, ...] = ()
        self._first: list[tuple[str, Any]] = []
        self._named: list[tuple[str, Any]] = []
        self._plans: dict[type[Event], Any] = {}
        for name, parameter in _parameters(function):
            if parameter.kind is parameter.VAR_KEYWORD:
                self._everything = tuple(allowed)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                continue
            elif name in allowed:
                place = self._first if parameter.kind is parameter.POSITIONAL_ONLY else self._named
                place.append((name, parameter.default))
            elif parameter.default is parameter.empty:
                what = " or ".join(kind.__name__ for kind in kinds) if kinds else "any event"
                near = did_you_mean(name, allowed)
                hint = f"{near} " if near.endswith("?") else ""
                raise ValidationError(
                    f"hook {hook!r} has a parameter {name!r}, which {what} does not give: "
                    f"{hint}A hook's parameters may be {', '.join(allowed)}, or have a default",
                    culprit=name,
                )
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                self._first.append((name, parameter.default))
        taken = {name for name, _ in (*self._first, *self._named)}
        self._everything = tuple(name for name in self._everything if name not in taken)

    def of(self, ctx: HookContext, event: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments by position and by name; a field that the event lacks takes the default, or None."""
        kind = type(event)
        plan = self._plans.get(kind)
        if plan is None:
            plan = self._plans[kind] = self._plan(kind)
        named = plan[0].copy()
        if "ctx" in named:
            named["ctx"] = ctx
        if "event" in named:
            named["event"] = event
        for name, get in plan[1]:
            named[name] = get(event)
        if not self._first:
            return (), named
        return tuple([named.pop(name) for name, _ in self._first]), named

    def _plan(self, kind: type[Event]) -> tuple[dict[str, Any], list[tuple[str, Callable[[Any], Any]]]]:
        """All arguments for events of a kind, as far as they are known before; and what gets the others."""
        everything = [(name, inspect.Parameter.empty) for name in self._everything]
        known = {
            name: None if default is inspect.Parameter.empty else default
            for name, default in (*self._first, *self._named, *everything)
        }
        fields = [name for name in known if any(name in vars(base) for base in kind.__mro__)]
        return known, [(name, attrgetter(name)) for name in fields]


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, inspect.Parameter]]:
    try:
        yield from inspect.signature(function).parameters.items()
    except ValueError:  # a builtin that does not say: give it the event
        yield "event", inspect.Parameter("event", inspect.Parameter.POSITIONAL_ONLY)
