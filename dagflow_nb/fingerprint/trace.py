"""What a walk over code has looked at, so that it need not be done again while all of that is the same.

Rules kept here: a name counts as the same only if it stands for the same object; an object that can be
changed in place is read anew each time; where in doubt the walk is done again.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

MISSING = object()


class Trace:
    """Collected during a walk; `reusable` False: something in it cannot be looked at again this way."""

    def __init__(self) -> None:
        self.reusable = True
        self._names: list[tuple[Mapping[str, Any], str, Any]] = []
        self._cells: list[tuple[Any, Any]] = []
        self._functions: list[tuple[types.FunctionType, Any, Any, tuple[Any, ...]]] = []
        self._spaces: list[tuple[Any, tuple[Any, ...]]] = []
        self._values: list[tuple[Any, str]] = []

    def name(self, space: Mapping[str, Any], name: str, value: Any) -> None:
        """A name that was looked up."""
        self._names.append((space, name, value))

    def cell(self, cell: Any, value: Any) -> None:
        """A closure's variable that was read."""
        self._cells.append((cell, value))

    def function(self, fn: types.FunctionType) -> None:
        """A function that was followed: its code, defaults and attributes."""
        self._functions.append((fn, fn.__code__, fn.__defaults__, _items(fn.__kwdefaults__ or {})))
        self._spaces.append((fn.__dict__, _items(fn.__dict__)))

    def space(self, space: Any) -> None:
        """All names of a class or module."""
        self._spaces.append((space, _items(space)))

    def value(self, value: Any, digest: str) -> None:
        """An object that can be changed in place, as it was read."""
        self._values.append((value, digest))

    def holds(self, read: Callable[[Any], str | None]) -> bool:
        """Whether all is as it was; `read(value)` gives the digest of a value."""
        try:
            return self.reusable and self._holds(read)
        except (RuntimeError, ValueError):  # another thread changes a namespace, a variable is unset by now
            return False

    def _holds(self, read: Callable[[Any], str | None]) -> bool:
        for names, name, value in self._names:
            if names.get(name, MISSING) is not value:
                return False
        for cell, value in self._cells:
            if cell.cell_contents is not value:
                return False
        for fn, code, defaults, kwdefaults in self._functions:
            same = fn.__code__ is code and fn.__defaults__ is defaults
            if not (same and _are_same(_items(fn.__kwdefaults__ or {}), kwdefaults)):
                return False
        for space, items in self._spaces:
            if len(space) * 2 != len(items) or not _are_same(_items(space), items):
                return False
        return all(read(value) == digest for value, digest in self._values)


def _items(space: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*space.keys(), *space.values())


def _are_same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
