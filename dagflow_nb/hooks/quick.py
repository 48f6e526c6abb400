"""`prove`: does a `def` hook only look, count and decide? Then it need not be called in a thread.

What is accepted: `if`, `return`, `yield`, `pass`, assignments to local names, and of numbers also elsewhere
(`count += 1`, `state["rounds"] += 1`); in them constants, attributes, constant keys, comparisons, `and`,
`or`, `not`, `x if y else z`, `+ - * / // %`, f-strings, lists, tuples and dicts; calls of this package's
`NodeSpec`, `ref` and commands, of some builtins, and of some methods of texts and dicts. No loops, no other
calls.

Such a function is proved in two halves. Once, its syntax says which operations it makes, and on what: on
values of its own making, or on what lies at the end of a `Way`. Before each call `Proof.holds` looks whether
there lies, at that moment, what makes the operation harmless: a plain number, a text, the very class that was
seen. If not, that call is made in a thread, as that of any other `def` hook.

So what is guaranteed of a call for which the proof holds: it runs no code but its own lines, each once at
most, the interpreter's and that of this package's records; it waits for nothing, it cannot tell in which
thread it is, and it changes nothing but numbers. Not guaranteed is how long it takes with texts and numbers
of millions of digits (the time goes with their length), nor what happens where another thread puts other
values in place just between look and call, where this package's own classes have been patched, or where a
metaclass has a hash of its own. For these `calling` has the clock: a hook that was slow is called in a thread
the next time.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType
from typing import Any

from ..core.frozen import compiled
from .looks import (
    FIELD_NAMES,
    FIELDS,
    MISSING,
    REFUSED,
    Names,
    Way,
    attribute,
    builtins_of,
    can_set,
    default_of,
    item,
    layers,
    mro_of,
)
from .reading import Reader, Unproved


class Proof:
    """What has to be so when a function is called, for it to only look, count and decide.

    `holds(first, named)`: whether a call with these arguments by position and by name only looks, counts and
    decides, as things are. It is asked before each call, so it is a function that is written for this one.
    """

    def __init__(self, function: FunctionType, given: tuple[Any, ...] = ()) -> None:
        self._function = function
        self._code = code = function.__code__
        self._names: dict[str, Any] = {
            "FIELDS": FIELDS,
            "MISSING": MISSING,
            "ModuleType": ModuleType,
            "REFUSED": REFUSED,
            "attribute": attribute,
            "can_set": can_set,
            "code": code,
            "default_of": default_of,
            "function": function,
            "given": given,
            "item": item,
            "mro_of": mro_of,
            "parameters": code.co_varnames[: code.co_argcount],
        }
        self._places: dict[Way, str] = {}  # the variable that has the value at the end of a way
        self._silent: dict[str, tuple[str, list[str]]] = {}  # that says whether its class is silent
        self._now = Names(function, dict(zip(self._names["parameters"], given, strict=False)))
        self._lines = [
            "def holds(first, named):",
            f"if first{' or given' if given else ''}: named = dict(zip(parameters, given + first)) | named",
            "if function.__code__ is not code: return False",
        ]
        found = Reader(function)
        for way, known in found.same.items():
            self._need(f"{self._go(way)} is {self._constant(known)}")
        for way, kinds in found.ways.items():
            if kinds is not None:
                self._need(
                    f"type({(place := self._go(way))}) in {self._constant(kinds)} or {place} is MISSING"
                )
            elif way not in self._places:
                self._need(f"{self._go(way)} is not REFUSED")
        for way, name in found.set:
            self._need(f"can_set({self._go(way)}, {name!r})")
        self.holds: Callable[[tuple[Any, ...], dict[str, Any]], bool]
        self.holds = compiled([*self._lines, "return True"], self._names, "holds")

    def _need(self, condition: str) -> None:
        self._lines.append(f"if not ({condition}): return False")

    def _constant(self, value: Any) -> str:
        name = f"constant_{len(self._names)}"
        self._names[name] = value
        return name

    def _go(self, way: Way) -> str:
        """The variable with the value at the end of a way, `MISSING` or `REFUSED`."""
        place = self._places.get(way)
        if place is not None:
            return place
        if way.steps:
            of, (is_attribute, key) = self._go(Way(way.root, way.steps[:-1])), way.steps[-1]
            place = f"value_{len(self._places)}"
            step = self._attribute(way, of, key) if is_attribute else f"item({of}, {key!r})"
            self._lines.append(f"{place} = {step}")
        else:
            place = f"value_{len(self._places)}"
            self._lines += self._begin(place, way.root)
        self._places[way] = place
        return place

    def _attribute(self, way: Way, of: str, key: str) -> str:
        """What looks an attribute up: first where it lies as things are now, else wherever it may."""
        step = f"attribute({of}, {key!r})"
        value = self._now.follow(Way(way.root, way.steps[:-1]))
        kind = type(value)
        if kind is ModuleType:
            names = self._constant(value.__dict__)
            same = f"{of} is {self._constant(value)} and type({of}) is ModuleType"
            return f"{names}.get({key!r}, REFUSED) if {same} else {step}"
        if value is not MISSING and value is not REFUSED and (found := layers(kind, key)) is not None:
            silent, names_of = self._silence(of, kind, found)
            absent = " and ".join(f"{key!r} not in {names}" for names in names_of)
            return f"getattr({of}, {key!r}, MISSING) if {silent} and {absent} else {step}"
        return f"{of}.{key} if (type({of}), {key!r}) in FIELDS else {step}" if key in FIELD_NAMES else step

    def _silence(self, of: str, kind: type, found: dict[str, Any]) -> tuple[str, list[str]]:
        """The variable that says whether the class is the one it was and has nothing to say about attributes,
        and the names of its layers."""
        if of not in self._silent:
            name, kind_name = f"silent_{of}", self._constant(kind)
            names_of = [self._constant(names) for names in found["vars"]]
            hooks = [
                f"'{hook}' in {names}" for names in names_of for hook in ("__getattribute__", "__getattr__")
            ]
            same = f"type({of}) is {kind_name} and mro_of({kind_name}) is {self._constant(found['mro'])}"
            self._lines.append(f"{name} = {same} and not ({' or '.join(hooks)})")
            self._silent[of] = name, names_of
        return self._silent[of]

    def _begin(self, place: str, name: str) -> list[str]:
        """Lines that find what a name stands for in a call, as `Names.value` does."""
        function, code = self._function, self._code
        if name in code.co_varnames:
            begin = f"{place} = named.get({name!r}, MISSING)"
            return [begin, f"if {place} is MISSING: {place} = default_of(function, {name!r})"]
        if name in code.co_freevars:
            assert function.__closure__ is not None
            cell = self._constant(function.__closure__[code.co_freevars.index(name)])
            return [f"try: {place} = {cell}.cell_contents", f"except ValueError: {place} = MISSING"]
        names, builtins = function.__globals__, builtins_of(function)
        if type(names) is not dict or type(builtins) is not dict:
            return [f"{place} = REFUSED"]
        begin = f"{place} = {self._constant(names)}.get({name!r}, MISSING)"
        return [begin, f"if {place} is MISSING: {place} = {self._constant(builtins)}.get({name!r}, MISSING)"]


def prove(function: Callable[..., Any]) -> Proof | None:
    """The proof that a function only looks, counts and decides; None where there is none."""
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType):
        return None
    try:
        return Proof(plain, (function.__self__,) if isinstance(function, MethodType) else ())
    except (Unproved, RecursionError):
        return None
