"""Values compared: sameness, and what is said of a difference."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, strategies as st

from dagflow_nb.codec import MissingValue
from dagflow_nb.history.compare import difference, same, shown

FRAME = pd.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "c"]})
NAN = float("nan")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (NAN, float("nan"), True),
        ([1, {"x": NAN}], [1, {"x": NAN}], True),
        ({"a": 1}, {"a": 2}, False),
        ((1, 2), (1, 2, 3), False),
        (date(2024, 1, 1), date(2024, 1, 1), True),
        (np.array([1.0, NAN]), np.array([1.0, NAN]), True),
        (np.array([1, 2]), np.array([1.0, 2.0]), False),
        (np.array([[1, 2]]), np.array([1, 2]), False),
        (np.array(["NaT"], "M8[s]"), np.array(["NaT"], "M8[s]"), True),
        (np.array([1, None], object), np.array([1, None], object), True),
        (FRAME, FRAME.copy(), True),
        (FRAME, FRAME.astype({"x": float}), False),
        (FRAME, FRAME.rename(columns={"x": "z"}), False),
        (FRAME, FRAME.set_index("y"), False),
        (FRAME["x"], FRAME["x"].copy(), True),
        (FRAME["x"], FRAME["x"].rename("z"), False),
        (pl.DataFrame({"x": [1, None]}), pl.DataFrame({"x": [1, None]}), True),
        (pl.DataFrame({"x": [1]}), pl.DataFrame({"x": [2]}), False),
        (MissingValue("a", ""), MissingValue("b", ""), True),
    ],
)
def test_same(a: Any, b: Any, expected: bool) -> None:
    """The same in type and content, NaN like NaN, at any depth."""
    assert same(a, b) is expected and same(b, a) is expected


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (1, "a", "int -> str"),
        (1, 2, ""),
        ({"a": 1, "b": 1}, {"b": 2, "c": 3}, "+ key 'c'; - key 'a'; 'b': 1 -> 2"),
        ([1, 2, 3, 4], [1, 5, 6], "4 -> 3 items; item 1: 2 -> 5; and 1 more differ"),
        ("x" * 300, "x" * 250 + "y" * 51, "300 -> 301 characters; the first difference is at 250"),
        (np.zeros(3), np.zeros(4), "shape (3,) -> (4,)"),
        (np.array([1, 2, 3]), np.array([1, 4, 3]), "1 of 3 values differ; by 2 at most"),
        (np.array([1]), np.array([1.0]), "int64 -> float64"),
        (FRAME, FRAME.assign(x=[1, 5, 6]), "column 'x': 2 of 3 cells differ, row 1: 2 -> 5"),
        (FRAME, FRAME.drop(columns="y").assign(z=1), "+ column 'z'; - column 'y'"),
        (FRAME, FRAME.iloc[1:], "- 1 rows"),
        (FRAME.iloc[:2], FRAME, "+ 1 rows"),
        (FRAME, FRAME.iloc[::-1], "rows in another order"),
        (FRAME, FRAME.astype({"x": float}), "column 'x': int64 -> float64"),
        (FRAME["x"], FRAME["x"] + 1, "column 'values': 3 of 3 cells differ, row 0: 1 -> 2"),
        (
            pl.DataFrame({"x": [1, None], "y": [1, 1]}),
            pl.DataFrame({"x": [2, None], "z": [1, 1]}),
            "+ column 'z'; - column 'y'; column 'x': 1 of 2 cells differ",
        ),
        (pl.DataFrame({"x": [1]}), pl.DataFrame({"x": [1, 2]}), "1 -> 2 rows"),
    ],
)
def test_difference(old: Any, new: Any, words: str) -> None:
    """Columns, rows and cells of frames, elements of arrays, keys and items: in a line."""
    assert difference(old, new) == words


def test_big_values_are_shown_in_words() -> None:
    """A cell of the table holds what is short; frames, arrays and long values are named."""
    assert shown([1, 2]) == [1, 2] and shown(None) is None and shown(2.5) == 2.5
    assert shown(FRAME) == "DataFrame 3 x 2" and shown(np.zeros((2, 2))) == "ndarray 2 x 2"
    assert len(shown("x" * 1000)) < 250 and len(shown(list(range(1000)))) <= 200
    assert shown(MissingValue("too big", "")) == "<not stored: too big>"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_difference_is_told_of_any_two(a: Any, b: Any) -> None:
    """Of any two values it can be said whether they are the same, and how they differ, in both directions."""
    assert same(a, a) and same(a, b) is same(b, a)
    assert isinstance(difference(a, b), str) and isinstance(difference(b, a), str)
