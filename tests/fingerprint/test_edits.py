"""The edits of a cell: which of them make an action's results out of date, and which do not."""

from __future__ import annotations

import pytest

from dagflow_nb.fingerprint import differences
from tests.fingerprint.cells import code

CELL = '''
import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial, wraps
from statistics import mean

from pydantic import BaseModel, Field

LIMIT = 3
TABLE = {"a": [1, 2], "b": {3, 4}}
UNUSED = 1


def scaled(factor):
    def decorate(fn):
        @wraps(fn)
        def call(*args, **kwargs):
            return fn(*args, **kwargs) * factor
        return call
    return decorate


class Base:
    def share(self, x):
        return x / 2


class Cleaner(Base):
    size: int = 10

    def clean(self, x):
        """Cleans."""
        return min(x, self.size)

    @staticmethod
    def trim(x):
        return x - 1

    @property
    def wide(self):
        return self.size > 5


@dataclass
class Row:
    name: str
    count: int = 0


class Order(BaseModel):
    amount: int = Field(gt=0)


class Color(Enum):
    RED = 1


@scaled(2)
def halve(x):
    return x / 2


@lru_cache(maxsize=None)
def square(x):
    return x * x


def deep(x):
    return square(x) + LIMIT


def recurse(n):
    return 1 if n <= 0 else other(n - 1)


def other(n):
    return recurse(n)


def make(offset):
    def shift(x):
        return x + offset
    return shift


shift = make(5)
third = partial(pow, 3)
pick = [deep, halve]


def act(n: int, order: Order = None, row: Row = None, step: float = 0.5, *, kind: str = "a") -> float:
    """Does it."""
    total = deep(n) + halve(n) + shift(n) + third(2)  # a comment
    total += sum(TABLE["a"]) + math.floor(step) + mean([n])
    values = [lambda x: x + 1, lambda x: x + 2]
    cleaner = Cleaner()
    if n > 2 and kind == "a":
        total += values[0](cleaner.clean(n)) + Cleaner.trim(n) + cleaner.share(n)
    return total + recurse(2) + Color.RED.value + len(OrderedDict()) + len(pick)
'''

# what is edited -> (old, new, must it run again)
EDITS: dict[str, tuple[str, str, bool]] = {
    "a comment": ("# a comment", "# another one", False),
    "a comment more": ("    cleaner = Cleaner()", "    # so\n    cleaner = Cleaner()", False),
    "blank lines": ("    cleaner = Cleaner()", "\n\n    cleaner = Cleaner()", False),
    "spaces": ("min(x, self.size)", "min( x,self.size )", False),
    "over two lines": ('if n > 2 and kind == "a":', 'if (n > 2\n            and kind == "a"):', False),
    "quotes": ('kind == "a"', "kind == 'a'", False),
    "indentation": (
        "def trim(x):\n        return x - 1",
        "def trim(x):\n            return x - 1",
        False,
    ),
    "the docstring": ('"""Does it."""', '"""Does it well."""', False),
    "no docstring": ('    """Does it."""\n', "", False),
    "the docstring of a method": ('"""Cleans."""', '"""Cleans up."""', False),
    "the order of definitions": ("UNUSED = 1\n", "\n\nUNUSED = 1\nOTHER = 2\n", False),
    "a global that is not used": ("UNUSED = 1", "UNUSED = 2", False),
    "the body": ("total = deep(n)", "total = 1 + deep(n)", True),
    "a constant in the body": ("recurse(2)", "recurse(3)", True),
    "1 becomes True": ("RED = 1", "RED = True", True),
    "the type of a constant": ("x - 1", "x - 1.0", True),
    "a default": ("step: float = 0.5", "step: float = 0.6", True),
    "a keyword's default": ('kind: str = "a"', 'kind: str = "b"', True),
    "how a default is written": ("step: float = 0.5", "step: float = 1 / 2", False),
    "an annotation that converts an input": ("act(n: int", "act(n: float", True),
    "an annotation taken away": ("act(n: int", "act(n", True),
    "the annotation of what is returned": (") -> float:", ") -> int:", False),
    "an annotation of a helper": ("def deep(x)", "def deep(x: int)", False),
    "a helper's body": ("return square(x) + LIMIT", "return square(x) - LIMIT", True),
    "a helper's helper": ("return x * x", "return x * x * x", True),
    "a helper's comment": ("return x * x", "return x * x  # so", False),
    "a global constant": ("LIMIT = 3", "LIMIT = 4", True),
    "how a constant is written": ("LIMIT = 3", "LIMIT = 1 + 2", False),
    "in a global dict": ('"a": [1, 2]', '"a": [1, 3]', True),
    "the order of a global dict": (
        '{"a": [1, 2], "b": {3, 4}}',
        '{"b": {4, 3}, "a": [1, 2]}',
        False,
    ),
    "a closure's variable": ("shift = make(5)", "shift = make(6)", True),
    "a closure's code": ("return x + offset", "return x - offset", True),
    "a decorator's argument": ("@scaled(2)", "@scaled(3)", True),
    "a decorator's code": ("**kwargs) * factor", "**kwargs) / factor", True),
    "a decorator taken away": ("@scaled(2)\n", "", True),
    "a partial's argument": ("partial(pow, 3)", "partial(pow, 4)", True),
    "an alias of an import": ("import math", "import math as m", False),
    "an alias of an imported function": ("import mean", "import mean as average", False),
    "another function under the same name": ("import mean", "import median as mean", True),
    "an import that is not used": ("import math\n", "import math\nimport json\n", False),
    "a method": ("min(x, self.size)", "max(x, self.size)", True),
    "a static method": ("return x - 1", "return x - 2", True),
    "a class constant": ("size: int = 10", "size: int = 11", True),
    "a method of a base": ("self, x):\n        return x / 2", "self, x):\n        return x / 3", True),
    "a property": ("self.size > 5", "self.size > 6", True),
    "a field of a dataclass": ("count: int = 0", "count: int = 1", True),
    "a new field of a dataclass": ("count: int = 0", "count: int = 0\n    more: str = ''", True),
    "the type of a model's field": ("amount: int", "amount: float", True),
    "a bound of a model's field": ("Field(gt=0)", "Field(gt=1)", True),
    "an enum's value": ("RED = 1", "RED = 2", True),
    "a circle of functions": ("return recurse(n)", "return 1 + recurse(n)", True),
    "the order of two lambdas": (
        "[lambda x: x + 1, lambda x: x + 2]",
        "[lambda x: x + 2, lambda x: x + 1]",
        True,
    ),
    "functions in a list": ("pick = [deep, halve]", "pick = [deep, square]", True),
    "the setting of a cache around a helper": ("maxsize=None", "maxsize=10", True),
}  # fmt: skip


def edited(old: str, new: str) -> str:
    """The cell with this edit, and what is called otherwise then."""
    assert old in CELL
    text = CELL.replace(old, new, 1)
    if " as m\n" in new + "\n":
        text = text.replace("math.floor", "m.floor")
    if new.endswith(" as average"):
        text = text.replace("mean([n])", "average([n])")
    return text


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_seen_or_not(edit: str) -> None:
    """An edit that can change a result changes the code's digest, any other does not."""
    old, new, again = EDITS[edit]
    before, after = code(CELL), code(edited(old, new))
    assert before.problem is None and after.problem is None
    assert (before.digest != after.digest) == again
    assert bool(differences(before.parts, after.parts)) == again


@pytest.mark.parametrize("edit", [name for name, (_, _, again) in EDITS.items() if again])
def test_an_edit_is_seen_without_source(edit: str) -> None:
    """Where there is no source the bytecode tells: an edit that can change a result is seen there too."""
    old, new, _ = EDITS[edit]
    before, after = code(CELL, source=False), code(edited(old, new), source=False)
    assert before.problem is None and after.problem is None
    assert before.digest != after.digest


def test_the_table_is_long_enough() -> None:
    """There are at least 30 edits, of both kinds."""
    assert len(EDITS) >= 30
    assert 12 <= sum(again for _, _, again in EDITS.values()) <= len(EDITS) - 12


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("a global constant", ["global LIMIT: 3 -> 4"]),
        ("a helper's body", ["function deep changed"]),
        ("a method", ["function Cleaner.clean changed"]),
        ("a default", ["default act(step): 0.5 -> 0.6"]),
        ("a closure's variable", ["closure make.shift.offset: 5 -> 6"]),
    ],
)
def test_what_has_changed_is_named(edit: str, said: list[str]) -> None:
    """The part that has changed is named, with its values where they are short."""
    old, new, _ = EDITS[edit]
    found = differences(code(CELL).parts, code(edited(old, new)).parts)
    assert found == said
