"""Objects that code holds: functions and classes in them lead back to the walk, others are read by state.

Rules kept here: what `pickle` would ask an object for is what it is; what refuses that (open files, locks,
generators) cannot be read by content, and is named.
"""

from __future__ import annotations

import functools
import logging
import types
from typing import TYPE_CHECKING, Any

from ..actions import Action
from ..codec.base import TAG, Unsupported
from ..errors import shorten
from .hashing import Content
from .packages import package_of

if TYPE_CHECKING:
    from .walk import Walk


def is_builtin(value: Any) -> bool:
    """Whether it is a function of a compiled module, bound to nothing else."""
    return isinstance(value, types.BuiltinFunctionType) and isinstance(
        value.__self__, types.ModuleType | None
    )


class Reader(Content):
    """Reads values that code uses: functions, classes and objects in them lead back to the walk."""

    __slots__ = ("_walk",)

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self._walk = walk

    def of_class(self, kind: type) -> Any:
        return self._walk.class_(kind)

    def other(self, value: Any, fault: Unsupported) -> Any:
        walk = self._walk
        if isinstance(value, Action | types.FunctionType | type | types.ModuleType) or is_builtin(value):
            return {TAG: "code", "v": walk.refer(value, "")}
        if isinstance(value, types.MethodType):
            parts = [self.part(value.__func__, ".__func__"), self.part(value.__self__, ".__self__")]
            return {TAG: "method", "v": parts}
        if isinstance(value, functools.partial):
            parts = [self.part(x, s) for x, s in ((value.func, ".func"), (value.args, ".args"))]
            return {TAG: "partial", "v": [*parts, self.part(dict(value.keywords), ".keywords")]}
        if type(value).__name__ == "ValidateCallWrapper" and package_of(type(value).__module__):
            parts = [self.part(value.function, ".function"), bool(value.validate_return)]
            return {TAG: "validate_call", "v": [*parts, self.part(_config_of(value), ".config")]}
        if isinstance(value, logging.Logger):
            return {TAG: "logger", "v": value.name}
        if walk.light:
            return {TAG: "not read", "v": walk.class_(type(value))}
        return self._reduced(value, fault)

    def _reduced(self, value: Any, fault: Unsupported) -> Any:
        """Any other object by what `pickle` would ask it for: its class and its state."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as bad:
            name = type(value).__qualname__
            raise Unsupported(
                f"is a {name}, which cannot be read by content ({shorten(str(bad), 100)}): "
                "make it inside of the function, or keep it in app_data"
            ) from bad
        if isinstance(reduced, str):
            return {TAG: "name", "v": [reduced, self._named(value)]}
        make, arguments, *more = reduced
        state, items, pairs = (*more, None, None, None)[:3]
        self._enter(value)
        try:
            return {
                TAG: "object",
                "v": [
                    self.part(make, ".__reduce__"),
                    self.part(tuple(arguments), ".arguments"),
                    self.part(state, ""),
                    self.parts(list(items)) if items is not None else None,
                    self.pairs(dict(pairs)) if pairs is not None else None,
                ],
            }
        finally:
            self._open.discard(id(value))

    def _named(self, value: Any) -> list[Any]:
        """What stands by its name only: what `functools.cache` makes of a function, compiled functions."""
        wrapped = getattr(value, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType):
            settings: Any = getattr(value, "cache_parameters", dict)()
            return [type(value).__name__, settings, self._walk.function(wrapped)]
        module = getattr(value, "__module__", None) or type(value).__module__
        package = package_of(str(module))
        return [self._walk.package(package) if package is not None else str(module)]


def _config_of(wrapper: Any) -> Any:
    """The settings of what `pydantic.validate_call` has made."""
    config = getattr(wrapper, "config_wrapper", None)
    return dict(getattr(config, "config_dict", None) or {})
