"""A function's own lines say the same as its whole file, wherever they are enough."""

from __future__ import annotations

import ast
import asyncio
import linecache
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest

from dagflow_nb.fingerprint import source


def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


def around(a: int, b: int) -> list[Callable[..., Any]]:
    @decorated
    async def closure(x: int = 1) -> int:
        """Says something."""
        return a + x  # and why

    def text() -> str:
        return f"""
    indented {b}
"""

    def inner(c: int) -> Callable[[], int]:
        return lambda: a + b + c

    async def imported() -> int:
        await asyncio.sleep(a)
        return len(linecache.getlines(ast.__name__))

    return [closure, text, inner, imported, lambda: a, lambda: b]


class Parent:
    def method(self) -> str:
        return "parent"


class Child(Parent):
    @decorated
    def method(self) -> str:
        return super().method() + "child"


FUNCTIONS = [decorated, around, *around(1, 2), Child.method, Parent.method]


def found_in_file(code: CodeType) -> Any:
    """The function's part of the syntax tree, looked for in the whole file."""
    text = "".join(linecache.getlines(code.co_filename))
    index = source._index(text, code.co_flags & source._FUTURE)
    (node,) = [node for made, node in index[code.co_qualname] if source._same(made, code)]
    return node


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__qualname__)
def test_both_ways_find_the_same(fn: Any) -> None:
    """The own lines give what the file gives; lambdas, and texts that indentation changes, need the file."""
    code = fn.__code__
    alone = source._alone(code, linecache.getlines(code.co_filename))
    if fn.__name__ in ("<lambda>", "text"):
        assert alone is None
    else:
        assert alone is not None and ast.dump(alone) == ast.dump(found_in_file(code))


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__qualname__)
def test_a_long_file_is_not_read_for_a_short_function(fn: Any) -> None:
    """Within so many characters there are the function's own lines, or nothing."""
    found = source.tree_of(fn.__code__, 1_000)
    alone = source._alone(fn.__code__, linecache.getlines(fn.__code__.co_filename))
    assert (found is None) is (alone is None) and (alone is None or source.tree_of(fn.__code__, 10) is None)
    whole = source.tree_of(fn.__code__, 10**6)
    assert whole is not None and ast.dump(whole) == ast.dump(found_in_file(fn.__code__))


def test_lines_that_have_changed_since_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was edited after it was imported has other lines there: they are not the function's."""
    code = decorated.__code__
    lines = linecache.getlines(code.co_filename)
    assert source._alone(code, ["# a new line\n", *lines]) is None
    assert source._alone(code, [line.replace("return fn", "return 1") for line in lines]) is None
