"""Units that look like those of a run, a clock to turn by hand, and a look into a file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from dagflow_nb.store import Unit


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def make_unit(run_id: str, i: int, *, status: str = "completed", value: bytes = b'"v"') -> Unit:
    """One input's worth of rows: journal, two events, node, attempt, value, log line, all numbered `i`."""
    at, node = 1_700_000_000.0 + i, f"node_{i}"
    return Unit(
        run_id,
        journal=[(i, at, "AttemptEnded", f'{{"node_id": "{node}"}}', None)],
        events=[(2 * i, at, "NodeStarted", node, "{}"), (2 * i + 1, at, "NodeCompleted", node, "{}")],
        nodes={node: node_row(status, at, i)},
        attempts=[(node, "act", 1, status, at, at + 1, None, None)],
        artifacts=[(node, "result", "json", value, len(value), None, at)],
        logs=[(node, 1, at, "INFO", "stdout", f"line {i}")],
        run={"completed": i + 1},
    )


def node_row(status: str = "completed", at: float = 1_700_000_000.0, position: int = 0) -> tuple[Any, ...]:
    """A row of `node_runs` without its key."""
    times = (at, at + 0.5, at + 1.5)
    return ("act", status, 1, *times, None, None, "[]", None, None, "action", 0.0, 0.0, "mapping", position)


def query(path: str | Path, sql: str, *params: Any) -> list[Any]:
    """Rows of a database file, read by a connection of our own."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, params).fetchall()
