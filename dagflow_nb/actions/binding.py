"""Inputs onto parameters: what a function's signature says is worked out once, at its definition.

Annotations are resolved and their converters built at the first value that needs them; nothing is
inspected while a run is under way.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from types import SimpleNamespace
from typing import Any, Final

from ..errors import did_you_mean
from .context import NodeCtx
from .conversion import Converter, InputError, mentions_secret, missing_input


class _Missing(Enum):
    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
ENGINE_INPUTS: Final = frozenset({"human_input", "error", "node_id", "inputs"})
HISTORY: Final = "history"  # what planners are told: passed, as those are, where a parameter has that name
_UNRESOLVED: Final = object()  # no value has this as its type
_CONTEXT = re.compile(r"['\"]?(?:\w+\.)*NodeCtx['\"]?(?:\s*\|\s*None)?")


class Parameter:
    """One parameter that inputs may fill."""

    __slots__ = (
        "annotation",
        "checked",
        "converter",
        "default",
        "exact",
        "kind",
        "name",
        "required",
        "secret",
    )

    def __init__(self, parameter: inspect.Parameter) -> None:
        self.name, self.kind, self.annotation = parameter.name, parameter.kind, parameter.annotation
        self.default = MISSING if parameter.default is parameter.empty else parameter.default
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        self.required = self.default is MISSING and not variadic
        self.checked = parameter.annotation is not parameter.empty
        # direct instances of `exact` need no look at the converter
        self.exact: Any = _UNRESOLVED
        self.converter: Converter | None = None
        self.secret: bool | None = None  # not known yet


class Binder:
    """How the inputs of a node become the arguments of one function."""

    def __init__(self, function: Callable[..., Any], known: Mapping[str, Any] | None = None) -> None:
        self.function = function
        self._known = known or {}
        self.signature = _signature(function)
        self.contexts: tuple[str, ...] = ()
        self.extra: Parameter | None = None
        self.parameters: dict[str, Parameter] = {}
        positional = []
        for name, parameter in self.signature.parameters.items():
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(name)
            if parameter.kind is parameter.VAR_KEYWORD:
                self.extra = Parameter(parameter)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                continue
            elif name == "ctx" or _is_context(parameter.annotation):
                self.contexts += (name,)
            else:
                self.parameters[name] = Parameter(parameter)
        self._each = tuple(self.parameters.values())
        # a function of its context alone reads all inputs there
        self._takes_more = self.extra is not None or (bool(self.contexts) and not self._each)
        self._positional = tuple(positional)
        self._base = _innermost(function)
        self._locals = _names_around(self._base, self.signature)

    def bind(self, ctx: NodeCtx, action: str) -> dict[str, Any]:
        """The arguments by name; raises `InputError` naming node, parameter, type and value."""
        inputs = ctx.inputs
        bound: dict[str, Any] = dict.fromkeys(self.contexts, ctx) if self.contexts else {}
        if not self._each and not inputs:
            return bound
        taken = 0
        for parameter in self._each:
            name = parameter.name
            if name in inputs:
                value = inputs[name]
                if parameter.checked and type(value) is not parameter.exact:
                    value = self._convert(parameter, name, value, ctx.node_id, action)
                bound[name] = value
                taken += 1
            elif parameter.required:
                what = f"action {action!r} needs the input {name!r}, which is not there"
                raise missing_input(name, inputs.keys(), node_id=ctx.node_id, what=what)
        if taken < len(inputs):
            self._bind_rest(bound, ctx, action)
        return bound

    def _bind_rest(self, bound: dict[str, Any], ctx: NodeCtx, action: str) -> None:
        for name, value in ctx.inputs.items():
            if name in self.parameters or name in ENGINE_INPUTS or name == HISTORY:
                continue
            if not self._takes_more or name in self.contexts:
                problem = f"node {ctx.node_id!r}: {self.unknown(name, action)}"
                raise InputError(problem, node_id=ctx.node_id, parameter=name)
            if self.extra is None:
                continue
            if self.extra.checked:
                value = self._convert(self.extra, name, value, ctx.node_id, action)
            bound[name] = value

    def convert(self, name: str, value: Any, node_id: str, action: str) -> Any:
        """One input, checked and converted."""
        parameter = self.parameters[name]
        if not parameter.checked or type(value) is parameter.exact:
            return value
        return self._convert(parameter, name, value, node_id, action)

    def _convert(self, parameter: Parameter, name: str, value: Any, node_id: str, action: str) -> Any:
        if parameter.exact is _UNRESOLVED:
            self._resolve(parameter)
        converter = parameter.converter
        if converter is None:
            return value
        return converter(value, node_id=node_id, name=name, what=f"parameter {name!r} of action {action!r}")

    def _resolve(self, parameter: Parameter) -> None:
        annotation = self.resolved(parameter)
        converter = None if annotation is MISSING else Converter.of(annotation)
        parameter.converter = converter
        parameter.exact = None if converter is None else converter.exact
        # last: another thread that still sees it checked goes through `_convert` and finds the converter
        parameter.checked = converter is not None

    def resolved(self, parameter: Parameter) -> Any:
        """The annotation with its names looked up; MISSING where there is none, or a name is unknown."""
        if parameter.annotation is inspect.Parameter.empty:
            return MISSING
        if parameter.name in self._known:
            return self._known[parameter.name]
        holder = SimpleNamespace(
            __annotations__={"it": parameter.annotation},
            __type_params__=getattr(self._base, "__type_params__", ()),
        )
        try:
            names = {**_closure(self._base), **self._locals}
            known = getattr(self._base, "__globals__", {})
            hints = typing.get_type_hints(holder, known, names, include_extras=True)
        except Exception:  # an annotation may be any text at all
            return MISSING
        return hints["it"]

    def is_secret(self, name: str) -> bool:
        """Whether the parameter that takes this input is annotated as a secret, or holds one."""
        parameter = self.parameters.get(name, self.extra)
        if parameter is None:
            return False
        if parameter.secret is None:
            annotation = self.resolved(parameter)
            if annotation is MISSING and parameter.checked:
                return False  # a name in it may be defined later
            parameter.secret = annotation is not MISSING and mentions_secret(annotation)
        return parameter.secret

    def texts_resolved(self) -> dict[str, Any]:
        """What the annotations that are texts stand for, where that is known.

        A function that is sent to another process takes along the names its code uses, not these.
        """
        parameters = (*self._each, self.extra) if self.extra is not None else self._each
        found = {p.name: self.resolved(p) for p in parameters if isinstance(p.annotation, str)}
        return {name: annotation for name, annotation in found.items() if annotation is not MISSING}

    def unknown(self, name: str, action: str) -> str:
        """The text for an input that no parameter takes."""
        if name in self.contexts:
            return f"the parameter {name!r} of action {action!r} is its context: give the input another name"
        hint = did_you_mean(name, self.parameters) if self.parameters else "it takes no inputs"
        return f"action {action!r} has no parameter {name!r}: {hint}"

    def problems(
        self, names: Collection[str], given_by_engine: Collection[str], action: str
    ) -> list[tuple[str, str]]:
        """What is wrong with inputs of these names, as pairs (input, text)."""
        found = [
            (p.name, f"action {action!r} needs the input {p.name!r}")
            for p in self._each
            if p.required and p.name not in names and p.name not in given_by_engine
        ]
        for name in names:
            known = name in self.parameters or name in given_by_engine
            if not known and (not self._takes_more or name in self.contexts):
                found.append((name, self.unknown(name, action)))
        return found

    def call(self, bound: Mapping[str, Any]) -> Any:
        """Calls the function with what `bind` made."""
        if not self._positional:
            return self.function(**bound)
        named = dict(bound)
        last = max((n for n, name in enumerate(self._positional) if name in named), default=-1)
        defaults = self.signature.parameters
        first = [named.pop(name, defaults[name].default) for name in self._positional[: last + 1]]
        return self.function(*first, **named)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            return inspect.signature(function, annotation_format=Format.FORWARDREF)
        return inspect.signature(function)
    except ValueError:  # some builtins do not say: let them have all inputs
        everything = inspect.Parameter("inputs_by_name", inspect.Parameter.VAR_KEYWORD)
        return inspect.Signature([everything])


def _is_context(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return _CONTEXT.fullmatch(annotation.strip()) is not None
    return annotation is NodeCtx or any(part is NodeCtx for part in typing.get_args(annotation))


def _innermost(function: Any) -> Any:
    """The function whose text holds the annotations: under partials, methods and decorators."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, type):
            return function.__init__  # type: ignore[misc]  # it is only looked at
        elif hasattr(function, "__globals__"):
            return function
        else:
            inner = inspect.getattr_static(type(function), "__call__", None)
            return inner if hasattr(inner, "__globals__") else function


def _closure(function: Any) -> dict[str, Any]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    names: dict[str, Any] = {}
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names


def _names_around(function: Any, signature: inspect.Signature) -> dict[str, Any]:
    """Local names of the functions in which `function` is being defined that its text annotations use.

    They cannot be found later: `from __future__ import annotations` keeps no reference to them.
    """
    texts = [p.annotation for p in signature.parameters.values() if isinstance(p.annotation, str)]
    *around, _ = str(getattr(function, "__qualname__", "")).split(".<locals>.")
    if not texts or not around:
        return {}
    outer = {".<locals>.".join(around[: n + 1]) for n in range(len(around))}
    wanted: set[str] = set()
    for text in texts:
        try:
            wanted.update(compile(text.strip(), "<annotation>", "eval").co_names)
        except (SyntaxError, ValueError):
            continue
    names: dict[str, Any] = {}
    module = getattr(function, "__globals__", None)
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and not wanted <= names.keys():
        if frame.f_globals is module and frame.f_code.co_qualname in outer:
            there = frame.f_locals
            names = {name: there[name] for name in wanted if name in there} | names
        frame = frame.f_back
    return names
