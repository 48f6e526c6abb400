"""`Hook`: one subscription, of a function or an `EventHook`, to the events that its filters let through.

Everything about a hook's parameters is worked out at its definition; `matches` only compares.
"""

from __future__ import annotations

import fnmatch
import functools
import inspect
import re
import types
from collections.abc import Callable, Iterable
from typing import Any, Union, get_args, get_origin

from ..core.messages import Event, RunFinished, RunStarted
from ..errors import ValidationError, did_you_mean, shorten
from .answers import commands_at_once, commands_of
from .arguments import KINDS, QUIET, Arguments
from .calling import Plain, caller
from .context import CompositeHook, EventHook, HookContext
from .origin import Origin, code_of, here, key_of

_METHODS = {"handle": ("ctx", "event"), "on_start": ("ctx",), "on_complete": ("ctx", "success")}


class Hook:
    """One subscription; made by `make_hook`.

    `name` is shown when it fails; `origin`, `code` and `key` tell a definition that replaces it.
    """

    def __init__(
        self,
        target: Any,
        *,
        kinds: tuple[type[Event], ...] = (),
        node: str | None = None,
        action: str | None = None,
        dag: str | None = None,
        when: Callable[[Any], Any] | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.target = target
        self.kinds, self.node, self.action, self.dag, self.when = kinds, node, action, dag, when
        self.name = _display_name(target)
        self.key, self.code = key_of(target), code_of(target)
        self.origin = here() if origin is None else origin
        self._kinds = frozenset(kinds)
        self._node = None if node is None else _glob(node)
        self._dag = None if dag is None else _glob(dag)
        # what was found, or went wrong, where the hook was asked at once: `ask` goes on with it
        self._failed: dict[tuple[str, int], Exception] = {}
        self._kept: dict[tuple[str, int], Any] = {}
        self._is_object = is_event_hook(target)
        methods = {name for name in _METHODS if self._is_object and _writes(target, name)}
        for name in methods:
            _check_method(target, name)
        self._handles = not self._is_object or "handle" in methods
        self._lifecycle: dict[type[Event], Callable[..., Any]] = {}
        if "on_start" in methods:
            self._lifecycle[RunStarted] = caller(target.on_start)
        if "on_complete" in methods:
            self._lifecycle[RunFinished] = caller(target.on_complete)
        function = target.handle if self._is_object else target
        self._call = caller(function) if self._handles else None
        self._when = None if when is None else caller(when)
        self._arguments = None if self._is_object else Arguments(function, self.name, kinds)

    @property
    def same(self) -> tuple[Any, ...]:
        """What makes two subscriptions the same one."""
        return (self.kinds, self.node, self.action, self.dag, self.when)

    def outlook(self, kind: type[Event], dag_name: str = "") -> bool | None:
        """Whether the hook is asked about events of a kind: about all, none, or (None) as `matches` says."""
        if not self.is_of(dag_name):
            return False
        if kind in self._lifecycle:
            return True
        if not self._handles or (kind not in self._kinds if self._kinds else kind in QUIET):
            return False
        is_simple = self._node is None and self.action is None
        return True if is_simple and not isinstance(self.target, CompositeHook) else None

    def matches(self, event: Any, dag_name: str = "") -> bool:
        """Whether the hook is to be asked about this event; `when` is a part of that question."""
        if type(event) in self._lifecycle:
            return self._dag is None or self._dag(dag_name)
        return self.wants(event, dag_name)

    def wants(self, event: Any, dag_name: str = "") -> bool:
        """Whether kinds, node, action and dag let the event through to the function, or to `handle`."""
        kind = type(event)
        if not self._handles or (kind not in self._kinds if self._kinds else kind in QUIET):
            return False
        if self._dag is not None and not self._dag(dag_name):
            return False
        if self._node is not None or self.action is not None:
            node = getattr(event, "node", None)
            if node is None or (self.action is not None and node.action != self.action):
                return False
            if self._node is not None and not self._node(node.node_id):
                return False
        inner = self.target.hooks if isinstance(self.target, CompositeHook) else ()
        return not inner or any(hook.wants(event, dag_name) for hook in inner)

    def is_of(self, dag_name: str) -> bool:
        """Whether runs of this workflow may ask the hook."""
        return self._dag is None or self._dag(dag_name)

    def read(self, dag_name: str) -> None:
        """Read the source of the function, and of `when`, before a run of this workflow asks it."""
        if self.is_of(dag_name):
            for call in (self._when, self._call):
                if isinstance(call, Plain):
                    call.read()

    @property
    def is_proved(self) -> bool:
        """Whether it is worth asking at once."""
        when = self._when
        return (
            isinstance(self._call, Plain)
            and self._call.is_proved
            and (when is None or (isinstance(when, Plain) and when.is_proved))
        )

    def ask_at_once(self, ctx: HookContext, event: Any) -> list[Any] | None:
        """What `ask` gives, where the function provably only looks and decides; else None, as where something
        went wrong: `ask` is to be used then. Nothing is asked twice, and nothing raised."""
        call, when, arguments = self._call, self._when, self._arguments
        if type(call) is not Plain or type(event) in self._lifecycle or self._failed:
            return None
        first, named = ((ctx, event), {}) if arguments is None else arguments.of(ctx, event)
        if not call.may(first, named):
            return None
        if when is not None and (type(when) is not Plain or not when.may((event,), {})):
            return None
        try:
            if type(when) is Plain and not when.call((event,), {}):
                return []
            answer = call.call(first, named)
            found = commands_at_once(answer, self.name)
        except Exception as error:
            self._failed[event.run_id, event.seq] = error
            return None
        if found is None:
            self.keep(event, answer)
        return found

    def keep(self, event: Any, answer: Any) -> None:
        """What the function has answered is what `ask` will find."""
        self._kept[event.run_id, event.seq] = answer

    async def ask(self, ctx: HookContext, event: Any) -> list[Any]:
        """The commands the hook answers with; what it raises, and a wrong answer, is raised here."""
        if type(event) not in self._lifecycle:
            return await self.ask_handle(ctx, event)
        commands = await self.ask_lifecycle(ctx, event)
        if self.wants(event, ctx.dag_name):
            commands += await self.ask_handle(ctx, event)
        return commands

    async def ask_lifecycle(self, ctx: HookContext, event: Any) -> list[Any]:
        """What `on_start` or `on_complete` answers, where the hook has it."""
        method = self._lifecycle.get(type(event))
        if method is None:
            return []
        more = (event.success,) if type(event) is RunFinished else ()
        return await commands_of(await method(ctx, *more), self.name)

    async def ask_handle(self, ctx: HookContext, event: Any) -> list[Any]:
        """What the function, or `handle`, answers; `matches` has been asked before."""
        error = self._failed.pop((event.run_id, event.seq), None) if self._failed else None
        if error is not None:
            raise error
        if self._kept and (event.run_id, event.seq) in self._kept:
            return await commands_of(self._kept.pop((event.run_id, event.seq)), self.name)
        if self._call is None or (self._when is not None and not await self._when(event)):
            return []
        if self._arguments is None:
            return await commands_of(await self._call(ctx, event), self.name)
        first, named = self._arguments.of(ctx, event)
        return await commands_of(await self._call(*first, **named), self.name)

    def __repr__(self) -> str:
        kinds = ", ".join(kind.__name__ for kind in self.kinds)
        filters = {"node": self.node, "action": self.action, "dag": self.dag}
        shown = [kinds] if kinds else []
        shown += [f"{name}={value!r}" for name, value in filters.items() if value is not None]
        return f"<hook {self.name}({', '.join(shown)})>"


def make_hook(
    target: Any,
    *,
    kinds: Iterable[Any] | type[Event] = (),
    node: Any = None,
    action: Any = None,
    dag: Any = None,
    when: Callable[[Any], Any] | None = None,
) -> Hook:
    """The subscription of a function, or an `EventHook` class or instance.

    `kinds`: event classes (none: all that hooks are asked about). All filters have to match: `node` is a
    glob on the id, `action` an action's name or function, `dag` a glob on the workflow's name, `when` a
    function of the event. `on_start` and `on_complete` of an `EventHook` depend on `dag` only. A parameter
    that none of the kinds gives, and anything else that is wrong, is a `ValidationError`.

    >>> make_hook(lambda node, outputs: None, node="fetch_*").name
    '<lambda>'
    """
    if isinstance(target, type) and is_event_hook(target):
        target = _instance(target)
    if not is_event_hook(target) and (isinstance(target, type) or not callable(target)):
        raise ValidationError(
            f"a hook is a function, or an EventHook class or instance, not {shorten(target)}", value=target
        )
    if when is not None and not callable(when):
        raise ValidationError(f"when= takes a function of the event, not {shorten(when)}", culprit="when")
    return Hook(
        target,
        kinds=_event_kinds(kinds),
        node=_text("node", node, "id"),
        action=_text("action", action, "name", "__name__"),
        dag=_text("dag", dag, "name"),
        when=when,
    )


def make_hooks(hooks: Iterable[Any]) -> list[Hook]:
    """The subscriptions of a list of what `make_hook` takes; raises `ValidationError` for no list."""
    if not isinstance(hooks, Iterable):
        raise ValidationError(
            f"hooks is a list of hooks, not {shorten(hooks)}: put it in [brackets]",
            culprit="hooks",
            value=hooks,
        )
    return [make_hook(hook) for hook in hooks]


def is_event_hook(target: Any) -> bool:
    """Whether `target` is a hook by its methods, not a function."""
    kind = target if isinstance(target, type) else type(target)
    return any(callable(getattr(kind, name, None)) for name in _METHODS)


def _writes(target: Any, method: str) -> bool:
    written = getattr(type(target), method, None)
    return method in getattr(target, "__dict__", ()) or (
        written is not None and written is not getattr(EventHook, method)
    )


def _check_method(target: Any, name: str) -> None:
    """A method that cannot be called as it will be is found at the definition."""
    try:
        signature = inspect.signature(getattr(target, name))
    except ValueError:  # a builtin that does not say
        return
    try:
        signature.bind(*_METHODS[name])
    except TypeError as wrong:
        kind, parameters = type(target).__name__, ", ".join(("self", *_METHODS[name]))
        raise ValidationError(
            f"{kind}.{name} cannot be called with {' and '.join(_METHODS[name])} ({wrong}): "
            f"write def {name}({parameters}), or async def",
            culprit=f"{kind}.{name}",
        ) from None


def _instance(kind: type) -> Any:
    try:
        return kind()
    except TypeError as error:
        raise ValidationError(
            f"class {kind.__name__} cannot be made without arguments ({error}): "
            f"give an instance, {kind.__name__}(...)",
            culprit=kind.__name__,
        ) from error


def _event_kinds(kinds: Any) -> tuple[type[Event], ...]:
    given = (kinds,) if isinstance(kinds, type | types.UnionType) or get_origin(kinds) is Union else kinds
    if not isinstance(given, Iterable) or isinstance(given, str):
        given = (given,)
    found: dict[type[Event], None] = {}
    for kind in given:
        if isinstance(kind, types.UnionType) or get_origin(kind) is Union:
            found |= dict.fromkeys(k for k in _event_kinds(k for k in get_args(kind) if k not in QUIET))
        elif kind in QUIET:
            raise ValidationError(
                f"hooks are not asked about {kind.__name__}: read it with `async for event in run.stream()`",
                culprit=kind.__name__,
            )
        elif isinstance(kind, type) and kind in KINDS:
            found[kind] = None
        else:
            known = [k.__name__ for k in KINDS if k not in QUIET]
            name = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
            raise ValidationError(
                f"{shorten(kind)} is no kind of event: {did_you_mean(name, known)} Kinds are classes: "
                f"{', '.join(known)}",
                culprit=name,
                value=kind,
            )
    return tuple(found)


def _text(what: str, given: Any, *attributes: str) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        for attribute in attributes:
            value = getattr(given, attribute, None)
            if isinstance(value, str) and value:
                return value
    if not isinstance(given, str) or not given:
        raise ValidationError(f"{what}= takes a text, not {shorten(given)}", culprit=what, value=given)
    return given


def _glob(pattern: str) -> Callable[[str], bool]:
    matches = re.compile(fnmatch.translate(pattern)).match
    # an id with brackets in it matches itself, whatever the pattern makes of them
    return lambda text: text == pattern or matches(text) is not None


def _display_name(target: Any) -> str:
    if isinstance(target, functools.partial):
        return _display_name(target.func)
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else type(target).__name__
