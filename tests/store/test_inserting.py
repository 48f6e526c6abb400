"""Rows as SQL: whatever rows of a table share or lack, what is read is what was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb.store import Store, Unit, join_inputs, schema
from dagflow_nb.store.inserting import COLUMNS, insert_rows
from dagflow_nb.store.unit import split_inputs

TEXTS = st.sampled_from(["step", "completed", "", "ä", "\x00"])
TIMES = st.one_of(st.none(), st.floats(0, 2e9))


@contextmanager
def tables() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.copy_schema(connection)
        yield connection


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TIMES, TIMES, st.one_of(st.none(), TEXTS)), max_size=150),
    st.lists(st.integers(0, 3), max_size=4, unique=True),
)
def test_rows_are_what_was_written(drawn: list[tuple[Any, ...]], alike: list[int]) -> None:
    """Any number of rows, of which any columns are the same in all, or null in some or in all."""
    rows = []
    for i, row in enumerate(drawn):
        status, started, finished, error = (drawn[0][k] if k in alike else row[k] for k in range(4))
        rows.append((f"n{i:03}", "act", 1, status, started, finished, error, None))
    with tables() as connection:
        insert_rows(connection, "attempts", "r", rows)
        found = connection.execute(f"select {COLUMNS['attempts']} from attempts").fetchall()
    assert found == [("r", *row) for row in rows]


@pytest.mark.parametrize("count", [1, 2, 16, 100, 5000])
def test_rows_that_say_the_same_are_kept_apart(count: int) -> None:
    """A table without a key of its own may get equal rows: all of them are there, in their order."""
    line = (None, None, 5.0, "INFO", "log", "again")
    with tables() as connection:
        insert_rows(connection, "logs", "r", [line] * count)
        insert_rows(connection, "logs", "r", [])
        found = connection.execute(f"select id, {COLUMNS['logs']} from logs order by id").fetchall()
    assert found == [(i + 1, "r", *line) for i in range(count)]


@given(st.lists(st.tuples(st.text("ab{}[]", min_size=1), st.one_of(st.none(), st.just("3,4"))), min_size=1))
def test_inputs_that_share_a_row_are_found_one_by_one(inputs: list[tuple[str, str | None]]) -> None:
    """Their numbers, texts and events are what they were; one alone stands as it is."""
    data, asked = zip(*inputs, strict=True)
    joined = join_inputs(data, asked)
    assert split_inputs(7, *joined) == [(7 + i, *row) for i, row in enumerate(inputs)]
    if len(inputs) == 1:
        assert joined == inputs[0]


def test_a_journal_is_read_input_by_input(database: str, with_store: Any) -> None:
    """Rows of one input, as earlier versions wrote them, and rows of several follow each other."""

    async def test(store: Store) -> None:
        await store.create_run({"run_id": "r", "dag_name": "w", "tree": "[]"})
        shared = (2, 1.0, "AttemptEnded", *join_inputs(["[2]", "[3]", "[4]"], [None, "5", None]))
        alone = [(1, 0.0, "Begin", "{}", None), (5, 2.0, "Tick", "[5]", "8")]
        store.write(Unit("r", journal=[alone[0], shared, alone[1]]))
        stored = await store.load("r")
        assert stored is not None
        first, *others = stored.journal
        assert first == (1, "{}", None)
        assert others == [(2, "[2]", None), (3, "[3]", "5"), (4, "[4]", None), (5, "[5]", "8")]

    with_store(database, test)
