"""What decorating a function gives: `Action`, which behaves as the function.

Only while a workflow function is traced (`TRACER` is set) a call goes to the tracer instead.
"""

from __future__ import annotations

import html
import types
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar, cast

from ..errors import ValidationError, shorten
from .base import ClassAction, NodeAction, check_action, make_instance
from .conversion import shorten_text, type_name
from .function import FunctionAction, find

P = ParamSpec("P")
R = TypeVar("R")

TRACER: ContextVar[Callable[[Action[..., Any], tuple[Any, ...], dict[str, Any]], Any] | None] = ContextVar(
    "dagflow_tracer", default=None
)
# what `inspect` reads to tell a function, and that it is `async`
_OF_FUNCTIONS = frozenset(
    {"__code__", "__defaults__", "__kwdefaults__", "__globals__", "__closure__", "__type_params__"}
)


class Action(Generic[P, R]):
    """A function (or `NodeAction` class or instance) that is an action: still callable as it was.

    `action` is what is registered, `name` its name, `__wrapped__` the function itself.

    >>> def double(value: int) -> int:
    ...     return 2 * value
    >>> Action(FunctionAction(double))(4)
    8
    """

    def __init__(self, action: NodeAction, target: Callable[P, R] | None = None) -> None:
        inner: Any = action.action if isinstance(action, ClassAction) else action
        fn = target if target is not None else action.fn if isinstance(action, FunctionAction) else inner
        self.action = action
        self.__wrapped__ = cast("Callable[P, R]", fn)
        self.__name__ = str(getattr(fn, "__name__", action.name))
        self.__qualname__ = str(getattr(fn, "__qualname__", self.__name__))
        self.__module__ = str(getattr(fn, "__module__", None))
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__annotations__ = dict(getattr(fn, "__annotations__", {}))

    @property
    def name(self) -> str:
        """The name that workflows use."""
        return self.action.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function; while a workflow is traced, makes a node instead."""
        tracer = TRACER.get()
        if tracer is not None:
            return cast(R, tracer(self, args, kwargs))
        if not callable(self.__wrapped__):
            raise TypeError(
                f"action {self.name!r} is a {type(self.__wrapped__).__name__}: outside of a workflow "
                "it is run with `await wrapper.action.execute(NodeCtx(inputs={...}))`"
            )
        return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name in _OF_FUNCTIONS or not name.startswith("__"):
            return getattr(self.__dict__.get("__wrapped__"), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> Any:
        if find(self.__module__, self.__qualname__) is self:
            return self.__qualname__
        return Action, (self.action, self.__wrapped__)

    def _line(self) -> str:
        if not isinstance(self.action, FunctionAction):
            return f"{self.name}(...)"
        signature = self.action.signature
        parameters = [str(p.name) for p in signature.parameters.values()]
        returns = signature.return_annotation
        kind = returns if isinstance(returns, str) else type_name(returns)
        end = "" if returns is signature.empty else f" -> {kind}"
        return f"{self.name}({', '.join(parameters)}){end}"

    def __repr__(self) -> str:
        return f"<action {self._line()}>"

    def _repr_html_(self) -> str:
        options = getattr(self.action, "options", None)
        description = getattr(options, "description", "")
        about = f"<div>{html.escape(shorten_text(description, 300))}</div>" if description else ""
        return f"<div><b>action</b> <code>{html.escape(self._line())}</code>{about}</div>"


def function_of(action: Any) -> Any:
    """The function, or the user's own object, that an action was made of.

    >>> function_of(FunctionAction(len, name="length")) is len
    True
    """
    if isinstance(action, FunctionAction):
        return action.fn
    return action.action if isinstance(action, ClassAction) else action


def as_action(obj: Any, **settings: Any) -> NodeAction:
    """The action that `obj` stands for: a function, a `NodeAction` class or instance, or an `Action`.

    `settings` are those of `FunctionAction`. A `NodeAction` without settings comes back as it is.

    >>> as_action(len, name="length").name
    'length'
    """
    if isinstance(obj, Action):
        obj = obj.action
    if isinstance(obj, type) and issubclass(obj, NodeAction):
        obj = make_instance(obj)
    if isinstance(obj, FunctionAction):
        return obj.with_settings(**settings) if settings else obj
    if isinstance(obj, ClassAction):
        return ClassAction(obj.action, **{**obj._given, **settings}) if settings else obj
    if isinstance(obj, NodeAction):
        check_action(obj)
        return ClassAction(obj, **settings) if settings else obj
    if not callable(obj):
        raise ValidationError(
            f"an action is a function, or a NodeAction class or instance, not {shorten(obj)}", value=obj
        )
    return FunctionAction(obj, **settings)


def make_action(obj: Any, **settings: Any) -> Action[..., Any]:
    """What a decorator returns for `obj`: its action in the thin wrapper that behaves as `obj`."""
    action = as_action(obj, **settings)
    if isinstance(obj, Action):
        obj = obj.__wrapped__
    return Action(action, None if isinstance(action, FunctionAction) else obj)
