"""Rows as SQL: the columns that are written, and statements that take many rows at once.

Rules kept here:
- A row is a tuple in the order of the columns listed here, without the run's id; what it is too short for
  is null.
- Several rows in one statement: SQLite works on it in one go, outside of Python's interpreter lock. Row by
  row the lock is handed over for each row, and a busy thread keeps it for 5 ms every time.
- What many rows all say is handed over once, and null not at all: for each None Python looks for an adapter.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, islice
from sqlite3 import Connection
from typing import Any

Row = tuple[Any, ...]

NODE_COLUMNS = (
    "action, status, attempts, ready_at, started_at, finished_at, error, reason, dependencies, added_by, "
    "parent, kind, tokens, cost, returned, position"
)
COLUMNS = {
    "journal": "run_id, n, at, kind, data, asked",
    "events": "run_id, seq, occurred_at, kind, node_id, data",
    "node_runs": f"run_id, node_id, {NODE_COLUMNS}",
    "attempts": "run_id, node_id, action, attempt, status, started_at, finished_at, error, traceback",
    "artifacts": "run_id, namespace, key, codec, value, size_bytes, reason, updated_at, hash",
    "logs": "run_id, node_id, attempt, occurred_at, level, stream, message",
    "memo": "run_id, node_id, made_at, key, code, reason, outcome, outputs, inputs",
}
_NAMES = {table: columns.split(", ")[1:] for table, columns in COLUMNS.items()}
_APPENDED = frozenset({"journal", "events", "logs"})
_CHUNKS = (64, 16, 4, 2, 1)
_MANY = 16  # rows from which on it is worth a look which values they share
_MOST = 4096  # rows that are laid out in one go, in which no other thread of Python's runs
_EVERY = [tuple(range(width)) for width in range(30)]


def insert_rows(connection: Connection, table: str, run_id: str, rows: list[Row]) -> None:
    """Insert rows of a run (or, for tables that keep one state, replace them); all are equally long."""
    for at in range(0, len(rows), _MOST):
        _insert(connection, table, run_id, rows[at : at + _MOST])


def _insert(connection: Connection, table: str, run_id: str, rows: list[Row]) -> None:
    count = len(rows)
    once: tuple[int, ...] = ()
    own = _EVERY[len(rows[0])]
    given: tuple[Any, ...] = (run_id,)
    values = chain.from_iterable(rows)
    columns = list(zip(*rows, strict=True)) if count >= _MANY else []
    if same := [i for i, column in enumerate(columns) if i and _is_one(column)]:
        once = tuple([i for i in same if columns[i][0] is not None])
        own = tuple([i for i in own if i not in same])
        given = (run_id, *[columns[i][0] for i in once])
        values = chain.from_iterable(zip(*[columns[i] for i in own], strict=True))
    for size, statement in _statements(table, once, own):
        while count >= size:
            connection.execute(statement, (*given, *islice(values, size * len(own))))
            count -= size


def _is_one(column: tuple[Any, ...]) -> bool:
    value = column[0]
    return value is column[-1] and column.count(value) == len(column)


@lru_cache(maxsize=256)
def _statements(table: str, once: tuple[int, ...], own: tuple[int, ...]) -> list[tuple[int, str]]:
    """Statements by how many rows they take; `once`, `own`: columns by what is handed over for them."""
    names = _NAMES[table]
    columns = ", ".join(["run_id", *[names[i] for i in (*once, *own)]])
    verb = "insert" if table in _APPENDED else "insert or replace"
    given, row = (", ".join("?" * n) for n in (1 + len(once), len(own)))

    def statement(rows: int) -> str:
        if rows == 1:
            return f"{verb} into {table} ({columns}) values ({given}, {row})"
        # by `select`, as a parameter that is used again needs a number: some versions of Python warn of those
        values = ", ".join([f"({row})"] * rows)
        return f"{verb} into {table} ({columns}) select {given}, * from (values {values})"

    return [(size, statement(size)) for size in _CHUNKS]
