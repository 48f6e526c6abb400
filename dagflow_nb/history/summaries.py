"""What takes the space."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

from .frames import STORAGE, frame

if TYPE_CHECKING:
    from pandas import DataFrame

_WORDS = {
    "artifacts": "values",
    "blobs": "big values",
    "blob_holds": "big values under way",
    "node_runs": "nodes",
    "execution_trees": "workflows",
    "execution_state": "states",
}


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
