"""Digests of values: equal content is one digest; another type, value or order that counts is another."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, SecretStr

from dagflow_nb.fingerprint import NotCacheable, content, is_big


def digest(value: Any) -> str:
    """The digest alone."""
    return content(value)[0]


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: Any
    y: Any = None


class Order(BaseModel):
    amount: int
    more: dict[str, Any] = {}


class Plain:
    def __init__(self, x: Any) -> None:
        self.x = x


NOW = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
DIFFERENT = [
    None,
    False,
    True,
    0,
    1,
    -1,
    1.0,
    -0.0,
    0.0,
    float("nan"),
    1j,
    "",
    "1",
    "True",
    b"",
    b"1",
    bytearray(b"1"),
    [],
    [1],
    [1, 2],
    [2, 1],
    [[1], 2],
    (),
    (1,),
    (1, 2),
    {},
    {"a": 1},
    {"a": True},
    {1: "a"},
    {"1": "a"},
    set(),
    {1},
    {"1"},
    frozenset({1}),
    deque([1]),
    OrderedDict(a=1, b=2),
    OrderedDict(b=2, a=1),
    range(3),
    slice(1, 2),
    2**70,
    10**5000,
    Decimal("1"),
    Decimal("1.0"),
    uuid.UUID(int=1),
    NOW,
    NOW.date(),
    NOW.time(),
    NOW.replace(tzinfo=None),
    dt.timedelta(1),
    Colour.RED,
    Colour.BLUE,
    Point(1),
    Point(1, 2),
    Point(True),
    Order(amount=1),
    Order(amount=1, more={"a": 1}),
    Plain(1),
    Plain(2),
    Plain([1]),
    np.int64(1),
    np.int32(1),
    np.float64(1),
    np.array([1, 2]),
    np.array([1.0, 2.0]),
    np.array([[1, 2]]),
    np.array([[1], [2]]),
    np.array(["a"]),
    np.array([b"a"]),
    np.array([1, 2], dtype="int32"),
    np.array([1, "a"], dtype=object),
    np.array([], dtype=float),
    np.array(["2024-01-01"], dtype="M8[D]"),
    np.array(["2024-01-01"], dtype="M8[s]"),
    pd.Series([1, 2]),
    pd.Series([1, 2], name="a"),
    pd.Series([1, 2], index=[1, 0]),
    pd.DataFrame({"a": [1, 2]}),
    pd.DataFrame({"b": [1, 2]}),
    pd.DataFrame({"a": [1.0, 2.0]}),
    pd.DataFrame({"a": [1, 2]}, index=[1, 2]),
    pd.DataFrame({"a": [1], "b": [2]}),
    pd.DataFrame({"b": [2], "a": [1]}),
    pd.DataFrame({"a": ["x", None]}),
    pd.DataFrame({"a": ["x", "y"]}),
    pd.DataFrame({"a": pd.Categorical(["x", "y"])}),
    pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
    pd.DataFrame({"a": [["x"], ["y"]]}),
    pd.DataFrame(),
    pd.Index([1, 2]),
    pd.Timestamp("2024-01-01"),
    pd.NaT,
    pd.NA,
    pl.DataFrame({"a": [1, 2]}),
    pl.DataFrame({"a": [1, None]}),
    pl.DataFrame({"a": ["x", "y"]}),
    pl.DataFrame({"b": [1, 2]}),
    pl.DataFrame({"a": [1.0, 2.0]}),
    pl.Series("a", [1, 2]),
    pl.Series("a", [[1], [2]]),
    len,
    Plain,
    NOW.isoformat,
]


def test_what_differs_has_another_digest() -> None:
    """No two of these values are taken for each other, and each has one digest."""
    digests = [digest(value) for value in DIFFERENT]
    seen: dict[str, Any] = {}
    for value, found in zip(DIFFERENT, digests, strict=True):
        assert found not in seen, (value, seen[found])
        seen[found] = value
    assert digests == [digest(value) for value in DIFFERENT]


def test_another_process_makes_the_same_digests() -> None:
    """Digests depend neither on the process nor on its hash seed."""
    program = (
        "from tests.fingerprint.test_content import DIFFERENT, digest\n"
        "print(*map(digest, [*DIFFERENT, {'a', 'b', 'c', ('d', 1)}, {frozenset('xyz'): {'p', 'q'}}]))"
    )

    def call(seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, check=True, text=True, env=env).stdout

    assert call("1") == call("2")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """A value in which types count, and the order of dicts does not."""
    if isinstance(value, dict):
        pairs = [(typed(k), typed(v)) for k, v in value.items()]
        return ("dict", tuple(sorted(pairs, key=repr)))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(typed, value))
    return (type(value).__name__, repr(value))


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES)
def test_equal_digests_mean_equal_values(some: Any, other: Any) -> None:
    """Two values have the same digest if, and only if, they are the same in content and types."""
    assert (digest(some) == digest(other)) == (typed(some) == typed(other))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=3) | st.integers(), VALUES, max_size=5), st.randoms())
def test_the_order_of_a_dict_does_not_count(value: dict[Any, Any], random: Any) -> None:
    """However a dict was filled, it has one digest."""
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


def test_how_an_array_lies_in_memory_does_not_count() -> None:
    """C order, Fortran order, a view with steps and a big-endian copy made native are one content."""
    array = np.arange(24).reshape(4, 6)
    wide = np.zeros((8, 12), dtype=array.dtype)
    wide[::2, ::2] = array
    assert digest(array) == digest(np.asfortranarray(array)) == digest(wide[::2, ::2])
    assert digest(array) != digest(array.T)


def test_how_a_frame_lies_in_memory_does_not_count() -> None:
    """One block or many, sliced or copied, the content is one; also with more than a thousand columns."""
    for columns in (3, 1200):
        numbers = np.arange(columns * 4.0).reshape(4, columns)
        names = [f"c{i}" for i in range(columns)]
        one = pd.DataFrame(numbers, columns=names)
        many = pd.DataFrame({name: numbers[:, i].copy() for i, name in enumerate(names)})
        doubled = pd.DataFrame(np.repeat(numbers, 2, axis=0), columns=names)
        sliced = doubled.iloc[::2].reset_index(drop=True)
        assert digest(one) == digest(many) == digest(sliced)
        many.iloc[3, columns - 1] += 1
        assert digest(one) != digest(many)


def test_chunks_of_polars_do_not_count() -> None:
    """A frame that was put together of pieces is the same as one made at once."""
    whole = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]})
    pieces = pl.concat([whole[:1], whole[1:]], rechunk=False)
    assert digest(whole) == digest(pieces)


def test_an_array_bigger_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hashed piece by piece has the digest of the whole."""
    array = np.arange(10_000).reshape(100, 100)
    whole, turned = digest(array), digest(array.T)
    monkeypatch.setattr("dagflow_nb.fingerprint.hashing.CHUNK", 1000)
    assert digest(array) == whole and digest(array.T) == turned


def test_a_path_counts_by_its_file(tmp_path: Path) -> None:
    """A `Path` counts by name, size and time of its file; the digest holds for this moment only."""
    file = tmp_path / "x"
    absent, moment, _ = content(file)
    assert moment
    file.write_text("one")
    os.utime(file, (1, 1))
    first = digest(file)
    os.utime(file, (2, 2))
    assert len({absent, first, digest(file), digest(str(file))}) == 4
    assert content({"deep": [file]})[1]


def circle() -> list[Any]:
    """A list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"key": SecretStr("x")}, "secret"),
        (circle(), "itself"),
        ((i for i in range(3)), "generator"),
        ({"deep": [sys.stdout]}, "deep"),
        (Point(sys._getframe()), "frame"),
    ],
)
def test_what_cannot_be_read_is_refused(value: Any, why: str) -> None:
    """What has no content to be read is refused, with the place and the reason."""
    with pytest.raises(NotCacheable, match=why):
        content(value)


def test_what_is_hashed_beside_the_loop() -> None:
    """Big values are known as such without looking at all of them."""
    assert (
        is_big(np.zeros(1 << 20))
        and is_big(pd.DataFrame({"a": range(100_000)}))
        and is_big(["x" * 100] * 10_000)
    )
    assert not any(
        map(is_big, [1, "a", [1, 2], {"a": {"b": [1]}}, np.zeros(10), pd.DataFrame({"a": [1]}), Plain(1)])
    )
