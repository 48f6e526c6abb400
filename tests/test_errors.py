"""Errors, and values in their messages: as Python writes them, but never more of them than is shown."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dagflow_nb.errors import (
    ActionNotFound,
    CycleError,
    DagError,
    DagNotFound,
    DatabaseError,
    DependencyNotFound,
    ExecutionTimeout,
    InvalidState,
    NodeAlreadyExists,
    NodeExecutionError,
    NodeNotFound,
    RunCancelled,
    SerializationError,
    ValidationError,
    shorten,
)

scalars = st.none() | st.booleans() | st.integers() | st.floats()
scalars |= st.text(max_size=8) | st.binary(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
    ),
)


@given(values, st.integers(min_value=10, max_value=120))
def test_a_value_is_written_as_its_repr(value: Any, limit: int) -> None:
    """What fits is the repr; of what does not the first characters stand, and dots."""
    text = repr(value)
    if not isinstance(
        value, str | bytes
    ):  # of a long text it depends on the rest which quotes stand around it
        assert shorten(value, limit) == (text if len(text) <= limit else f"{text[: limit - 3]}...")
    assert len(shorten(value, limit)) <= limit


def test_what_is_not_shown_is_not_written_out() -> None:
    """Of many items only the first are asked for their repr; what holds itself is no trouble."""
    asked = []

    class Item:
        def __repr__(self) -> str:
            asked.append(1)
            return "item"

    assert shorten([Item() for _ in range(100_000)], 20) == "[item, item, item..."
    assert shorten({"a": [(Item(),) * 100_000]}, 20) == "{'a': [(item, ite..."
    assert len(asked) < 20
    assert shorten("x" * 100_000_000, 10) == "'xxxxxx..."
    loop: list[Any] = []
    loop += [loop, loop]
    assert shorten(loop, 12) == "[[[[[[[[[..."


def test_a_repr_that_fails_is_told() -> None:
    """An object whose repr raises is named by its type, also inside of a collection."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shorten(Broken()) == "<Broken, whose repr fails>"
    assert shorten([Broken()]) == "<list, whose repr fails>"


@pytest.mark.parametrize(
    "error",
    [
        DagError("x"),
        ValidationError("m", culprit="c", value=1, file="f.yaml", line=3, fields={"a": "b"}),
        CycleError(["a", "b", "a"]),
        DependencyNotFound("a", "b", ["c"]),
        NodeAlreadyExists("a"),
        DagNotFound("d", ["e"]),
        NodeNotFound("n", ["m"]),
        ActionNotFound("f", ["ff"], "n"),
        InvalidState("x", culprit="r"),
        NodeExecutionError("n", "why", report="a report"),
        ExecutionTimeout("x"),
        RunCancelled("x"),
        SerializationError("x", culprit=1),
        DatabaseError("x", path="/p"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_pickled_and_copied_as_they_are(error: DagError) -> None:
    """With message and attributes, whatever their `__init__` takes; a run and its report do not go along."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error) and str(again) == str(error) and again.args == error.args
        expected = dict(vars(error))
        if "report" in expected:
            expected["report"] = None
        assert vars(again) == expected
