"""Frames of sums: what actions cost, and what takes the space."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .frames import METRICS, STORAGE, frame

if TYPE_CHECKING:
    from pandas import DataFrame

_WORDS = {
    "artifacts": "values",
    "node_runs": "nodes",
    "execution_trees": "workflows",
    "execution_state": "states",
}
_RAN = frozenset({"completed", "failed", "recovered"})


def metrics_frame(rows: Sequence[Sequence[Any]]) -> DataFrame:
    """Sums by action, in alphabetical order, of rows (action, status, attempts, duration, tokens, cost)."""
    import numpy as np

    by_action: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        by_action.setdefault(row[0], []).append(row)
    found = []
    for action in sorted(by_action):
        nodes = by_action[action]
        # A cached node took no time of its action's; durations of cancelled ones say nothing.
        durations = [n[3] for n in nodes if n[3] is not None and n[1] in _RAN and n[2]]
        median, p95 = np.percentile(durations, [50, 95]) if durations else (None, None)
        found.append(
            (
                action,
                sum(1 for n in nodes if n[2] and n[1] != "cached"),
                median,
                p95,
                sum(1 for n in nodes if n[1] == "failed" or (n[1] == "recovered" and n[2])),
                sum(n[2] - 1 for n in nodes if n[2] > 1),
                sum(1 for n in nodes if n[1] == "cached"),
                sum(n[4] or 0 for n in nodes),
                sum(n[5] or 0 for n in nodes),
            )
        )
    return frame(METRICS, found)


def storage_frame(connection: sqlite3.Connection) -> DataFrame:
    """What takes how many bytes: text and values by table, free pages, the log, and the rest."""

    def one(sql: str) -> Any:
        return connection.execute(sql).fetchone()

    tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
    rows: list[tuple[str, int, int]] = []
    for (table,) in tables:
        if table.startswith("sqlite_"):
            continue
        columns = connection.execute("select name, type from pragma_table_info(?)", (table,)).fetchall()
        # Numbers are counted with the overhead: they take between nothing and 8 bytes.
        text = [
            f"coalesce(length(cast({name} as blob)), 0)" for name, kind in columns if kind.lower() == "text"
        ]
        blobs = [f"coalesce(length({name}), 0)" for name, kind in columns if kind.lower() == "blob"]
        total = " + ".join([*text, *blobs]) or "0"
        count, size = one(f"select count(*), coalesce(sum({total}), 0) from {table}")
        rows.append((_WORDS.get(table, table), count, size))
    page = one("pragma page_size")[0]
    pages, free = one("pragma page_count")[0], one("pragma freelist_count")[0]
    rows.sort(key=lambda row: -row[2])
    rest = max(0, (pages - free) * page - sum(size for _, _, size in rows))
    rows += [("indexes and overhead", 0, rest), ("free space (flow.vacuum)", 0, free * page)]
    files = {row[1]: row[2] for row in connection.execute("pragma database_list").fetchall()}
    if (path := files["main"]) and os.path.exists(f"{path}-wal"):
        rows.append(("write-ahead log", 0, os.path.getsize(f"{path}-wal")))
    return frame(STORAGE, rows)
