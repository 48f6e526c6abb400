"""Looking at a value without running anybody's code: is it as plain as it was taken to be?

A way (`Way`) leads from a name of a function by attributes and keys to a value. `follow` goes it only where
each step is a mere look: a field of this package's records, a name in a module, a key of a plain dict, an
index of a list, or an attribute that lies in an object of a class which has nothing to say about it (no
property, no `__getattr__`, no `__getattribute__`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from operator import attrgetter
from types import FunctionType, MemberDescriptorType, ModuleType, SimpleNamespace
from typing import Any, Final, get_args

from ..core.events import ExecutionEvent, NodeCompleted
from ..core.model import EMPTY, NodeDef, NodeOutput, NodeRef, NodeSpec
from .context import HookContext

MISSING: Final = object()  # there is nothing: Python's own error is what the function would get
REFUSED: Final = object()  # to look there might run somebody's code

EVENTS: frozenset[type] = frozenset(get_args(ExecutionEvent))
NUMBERS: frozenset[type] = frozenset({bool, int, float})
ATOMS: frozenset[type] = NUMBERS | {str, type(None)}
SEQUENCES: frozenset[type] = frozenset({list, tuple, set, frozenset})
DICTS: frozenset[type] = frozenset({dict, type(EMPTY)})

_RECORDS = (*EVENTS, HookContext, NodeRef, NodeOutput, NodeDef, NodeSpec)
FIELDS = frozenset((kind, field.name) for kind in _RECORDS for field in fields(kind)) | {
    (NodeCompleted, "outputs")
}
FIELD_NAMES = frozenset(name for _, name in FIELDS)
_INERT = ATOMS | SEQUENCES | DICTS  # as an attribute of a class these are found as they are
_MOST = 100  # keys of a dict that are looked over
_PACKAGE = sys.modules[__name__.partition(".")[0]]
# what a class says of itself, whatever its metaclass makes of the question
mro_of = _mro = type.__dict__["__mro__"].__get__
_vars = type.__dict__["__dict__"].__get__
builtins_of = attrgetter("__builtins__")  # of a function; not every typeshed knows it


@dataclass(frozen=True, slots=True)
class Way:
    """`root` is a name; a step is `(True, attribute)` or `(False, key)`."""

    root: str
    steps: tuple[tuple[bool, Any], ...] = ()

    def to(self, is_attribute: bool, key: Any) -> Way:
        """The way that goes one step further."""
        return Way(self.root, (*self.steps, (is_attribute, key)))


class Names:
    """What the names of a function stand for, in a call with these arguments."""

    __slots__ = ("_arguments", "_function")

    def __init__(self, function: FunctionType, arguments: dict[str, Any]) -> None:
        self._function, self._arguments = function, arguments

    def value(self, name: str) -> Any:
        """The value of a parameter, a variable of a function around it, a global, a builtin; or `MISSING`."""
        function = self._function
        code = function.__code__
        if name in self._arguments:
            return self._arguments[name]
        if name in code.co_varnames:
            return default_of(function, name)
        if name in code.co_freevars:
            assert function.__closure__ is not None
            try:
                return function.__closure__[code.co_freevars.index(name)].cell_contents
            except ValueError:  # it is not set yet
                return MISSING
        names = function.__globals__
        builtins = builtins_of(function)
        if type(names) is not dict or type(builtins) is not dict:
            return REFUSED
        return names[name] if name in names else builtins.get(name, MISSING)

    def follow(self, way: Way) -> Any:
        """The value at the end of the way, `MISSING` or `REFUSED`."""
        value = self.value(way.root)
        for is_attribute, key in way.steps:
            value = attribute(value, key) if is_attribute else item(value, key)
        return value


def default_of(function: FunctionType, name: str) -> Any:
    """The default of a parameter; `MISSING` where there is none, and for other local names."""
    code, defaults = function.__code__, function.__defaults__ or ()
    place = code.co_varnames.index(name) - (code.co_argcount - len(defaults))
    if 0 <= place < len(defaults):
        return defaults[place]
    return (function.__kwdefaults__ or {}).get(name, MISSING)


def attribute(value: Any, name: str) -> Any:
    """`value.name`, where no code but the interpreter's own is asked for it; else `REFUSED`."""
    if value is MISSING or value is REFUSED:
        return value
    kind = type(value)
    if (kind, name) in FIELDS:
        return getattr(value, name)
    if kind is ModuleType:
        found = value.__dict__.get(name, REFUSED)
        # this package's names are imported when they are asked for
        return getattr(value, name, REFUSED) if found is REFUSED and value is _PACKAGE else found
    if kind in ATOMS:
        return REFUSED if hasattr(kind, name) else MISSING
    return getattr(value, name, MISSING) if _is_silent(kind, name) else REFUSED


def can_set(value: Any, name: str) -> bool:
    """Whether `value.name = ...` does just that."""
    return _is_silent(type(value), name, "__setattr__")


def _is_silent(kind: type, name: str, setter: str | None = None) -> bool:
    """Whether objects of this class have nothing in between them and their attribute."""
    found = MISSING
    for base in _mro(kind):
        if base is object:  # what is there has names that nobody asks for
            continue
        names = _vars(base)
        if found is MISSING:
            found = names.get(name, MISSING)
        if base is SimpleNamespace:  # it does what Python does by itself
            continue
        if "__getattribute__" in names or "__getattr__" in names or (setter is not None and setter in names):
            return False
    return found is MISSING or type(found) is MemberDescriptorType or type(found) in _INERT


def layers(kind: type, name: str) -> dict[str, Any] | None:
    """What has to stay as it is for `attribute` to find `name` in a class's objects themselves: what it is
    made of (`mro`), and that the names there (`vars`) are others. None where it is found in another way."""
    names = [_vars(base) for base in _mro(kind) if base is not object]
    if kind in ATOMS or (kind, name) in FIELDS or not names or any(name in one for one in names):
        return None
    return {"mro": _mro(kind), "vars": names} if _is_silent(kind, name) else None


def item(value: Any, key: Any) -> Any:
    """`value[key]` of a plain container, for a text or a number; else `REFUSED`."""
    if value is MISSING or value is REFUSED:
        return value
    kind = type(value)
    if kind in DICTS:
        # keys that are somebody's objects might be compared with this one
        is_plain = len(value) <= _MOST and ATOMS.issuperset(map(type, value))
        return value.get(key, MISSING) if is_plain else REFUSED
    if kind is list or kind is tuple or kind is str:
        try:
            return value[key]
        except (IndexError, TypeError):
            return MISSING
    return MISSING if kind in ATOMS else REFUSED
