"""Rows as SQL: the columns that are written, and statements that take many rows at once.

Rules kept here:
- A row is a tuple in the order of the columns listed here, without the run's id; what it is too short for
  is null.
- Several rows in one statement: SQLite works on it in one go, outside of Python's interpreter lock. Row by
  row the lock is handed over for each row, and a busy thread keeps it for 5 ms every time.
- What all rows say is handed over once, and null not at all: for each None Python looks for an adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from operator import itemgetter
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
_MANY = 16  # rows from which on it is worth a statement of its own that some of their values are the same


def insert_rows(connection: Connection, table: str, run_id: str, rows: list[Row]) -> None:
    """Insert rows of a run (or, for tables that keep one state, replace them); all are equally long."""
    if not rows:
        return
    first, last, count = rows[0], rows[-1], len(rows)
    once: list[int] = []
    own = [0]
    for i, value in enumerate(first[1:], 1):
        shared = value is last[i] and (value is None or count >= _MANY)
        if not shared or (count > 2 and [row[i] for row in rows].count(value) < count):
            own.append(i)
        elif value is not None:
            once.append(i)
    pick, statements = _plan(table, tuple(once), tuple(own))
    given = (run_id, *[first[i] for i in once])
    at = 0
    for size, statement in statements:
        while count - at >= size:
            connection.execute(statement, (*given, *chain.from_iterable(map(pick, rows[at : at + size]))))
            at += size


@lru_cache(maxsize=256)
def _plan(
    table: str, once: tuple[int, ...], own: tuple[int, ...]
) -> tuple[Callable[[Row], Row], list[tuple[int, str]]]:
    """What takes a row's own values out of it, and statements by how many rows they take."""
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

    pick = itemgetter(*own) if len(own) > 1 else lambda row: tuple(row[i] for i in own)
    return pick, [(size, statement(size)) for size in _CHUNKS]
