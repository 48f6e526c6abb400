"""Keeping the file small: deleting runs or their values, and giving free space back.

Functions of the writing connection, to be run as the writer's jobs.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress

from .blobs import sweep
from .database import MEMORY, transaction
from .owners import Owner, held_by, holder, split_owners

DELETED = "deleted to save space"
_UNUSED_CODES = (
    "delete from codes where code not in (select code from memo where code is not null) "
    "and not exists (select 1 from runs where instr(runs.code, codes.code))"
)
_TABLES = (
    "logs events attempts node_runs memo artifacts journal execution_trees snapshots execution_state runs"
)


def delete_runs(
    connection: sqlite3.Connection, run_ids: Sequence[str], values_only: bool, me: Owner, now: float
) -> int:
    """Delete runs, or only their values; all or none. Returns how many of them there were.

    A run that is being driven, by whomever, raises `InvalidState`. With `values_only` the keys of the
    values stay, marked as deleted.
    """
    there = []
    for run_id in run_ids:
        row = connection.execute("select owner from runs where run_id = ?", (run_id,)).fetchone()
        if row is None:
            continue
        there.append((run_id,))
        if row[0] == me.owner:
            raise held_by(run_id, me, "deleted", me)
        if (other := holder(connection, run_id, me, now)) is not None:
            raise held_by(run_id, other, "deleted")
    if values_only:
        connection.executemany(
            "update artifacts set codec = 'memory', value = null, hash = null, size_bytes = 0, "
            f"reason = '{DELETED}' where run_id = ?",
            there,
        )
        connection.executemany("update runs set result = null where run_id = ?", there)
        connection.executemany("delete from snapshots where run_id = ?", there)
        connection.executemany("update memo set made_at = null where run_id = ?", there)
    else:
        for table in _TABLES.split():
            connection.executemany(f"delete from {table} where run_id = ?", there)
        connection.execute(_UNUSED_CODES)
    sweep(connection, split_owners(connection, now)[0])
    return len(there)


def vacuum(connection: sqlite3.Connection, now: float) -> None:
    """Give the space of what was deleted back to the file system (not inside of a transaction)."""
    with transaction(connection):
        sweep(connection, split_owners(connection, now)[0])
    connection.execute("vacuum")
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()


def size_bytes(path: str, connection: sqlite3.Connection | None) -> int:
    """What the file takes on disk, its log included; in memory: what the database holds."""
    if path == MEMORY and connection is not None:
        pages: int = connection.execute("pragma page_count").fetchone()[0]
        return pages * int(connection.execute("pragma page_size").fetchone()[0])
    total = 0
    for name in (path, f"{path}-wal"):
        with suppress(OSError):
            total += os.path.getsize(name)
    return total
