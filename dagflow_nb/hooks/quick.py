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
from types import FunctionType, MethodType
from typing import Any

from .looks import MISSING, REFUSED, Names, Way, can_set
from .reading import Reader, Unproved


class Proof:
    """What has to be so when a function is called, for it to only look, count and decide."""

    def __init__(self, function: FunctionType, given: tuple[Any, ...] = ()) -> None:
        self._function, self._given = function, given
        self._code = code = function.__code__
        self._parameters = code.co_varnames[: code.co_argcount]
        found = Reader(function)
        # who goes a way looks at all that lies on it
        passed = {Way(way.root, way.steps[:n]) for way in found.ways for n in range(len(way.steps))}
        passed |= found.same.keys()
        self._ways = [(w, kinds) for w, kinds in found.ways.items() if kinds is not None or w not in passed]
        self._same, self._set = list(found.same.items()), list(found.set)

    def holds(self, first: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Whether a call with these arguments only looks, counts and decides, as things are."""
        function = self._function
        if function.__code__ is not self._code:
            return False
        if self._given or first:
            named = dict(zip(self._parameters, self._given + first, strict=False)) | named
        names = Names(function, named)
        for way, kinds in self._ways:
            value = names.follow(way)
            if value is REFUSED or (kinds is not None and value is not MISSING and type(value) not in kinds):
                return False
        for way, known in self._same:
            if names.follow(way) is not known:
                return False
        return all(can_set(names.follow(way), name) for way, name in self._set)


def prove(function: Callable[..., Any]) -> Proof | None:
    """The proof that a function only looks, counts and decides; None where there is none."""
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType):
        return None
    try:
        return Proof(plain, (function.__self__,) if isinstance(function, MethodType) else ())
    except (Unproved, RecursionError):
        return None
