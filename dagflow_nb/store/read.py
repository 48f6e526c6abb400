"""Questions to the database that the engine asks: what to take up again, which run is meant.

Functions of a reading connection; times are epoch seconds, values come undecoded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from operator import itemgetter
from typing import Any

from ..core.model import RunStatus
from .blobs import Kept, fetch
from .inserting import COLUMNS, Row
from .owners import holder
from .unit import StoredRun, split_inputs

UNFINISHED = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.INTERRUPTED)


def _dicts(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def run_row(connection: sqlite3.Connection, run_id: str, now: float) -> dict[str, Any] | None:
    """A run's row by column, with `owner_alive` beside it; None if there is no such run."""
    before: dict[str, Any] | None = None
    while rows := _dicts(connection.execute("select * from runs where run_id = ?", (run_id,))):
        row = rows[0]
        alive = holder(connection, run_id, None, now) is not None
        # one that ended, or was taken up, between the two looks has not been left
        if alive or row["owner"] is None or row == before:
            return {**row, "owner_alive": alive}
        before = row
    return None


def node_rows(connection: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    """The rows of a run's nodes by column, in the order in which the nodes were added."""
    sql = "select * from node_runs where run_id = ? order by position, node_id"
    return _dicts(connection.execute(sql, (run_id,)))


def attempt_rows(
    connection: sqlite3.Connection, run_id: str, node_id: str | None = None
) -> list[dict[str, Any]]:
    """The attempts of a run (or of one of its nodes) by column, in their order."""
    sql = (
        "select * from attempts where run_id = ? and node_id = coalesce(?, node_id) order by node_id, attempt"
    )
    return _dicts(connection.execute(sql, (run_id, node_id)))


def retried_rows(connection: sqlite3.Connection, run_id: str) -> list[tuple[str, str, float, float | None]]:
    """The attempts of those nodes of a run of which one has failed, in order: (node_id, status, times)."""
    sql = (
        "select node_id, status, started_at, finished_at from attempts where run_id = ? and node_id in "
        "(select node_id from attempts where run_id = ? and status = 'failed') order by node_id, attempt"
    )
    return connection.execute(sql, (run_id, run_id)).fetchall()


def last_logs(connection: sqlite3.Connection, run_id: str, most: int) -> list[tuple[str, str, str]]:
    """The last lines of log of a run, oldest first: (node_id, message, stream)."""
    sql = "select node_id, message, stream from logs where run_id = ? order by id desc limit ?"
    return connection.execute(sql, (run_id, most)).fetchall()[::-1]


_stored_at = itemgetter(6)  # of a row of `artifacts`


def load(
    connection: sqlite3.Connection, run_id: str, now: float, fetch: Callable[[Kept], bytearray] | None
) -> StoredRun | None:
    """What is needed to take a run up again; None if there is no such run.

    `fetch` gets big values; None: the values are not read at all.
    """
    row = run_row(connection, run_id, now)
    if row is None:
        return None
    tree = connection.execute("select tree from execution_trees where run_id = ?", (run_id,)).fetchone()
    sql = "select n, data, asked from journal where run_id = ? order by n"
    journal = [row for rows in connection.execute(sql, (run_id,)) for row in split_inputs(*rows)]
    columns = COLUMNS["artifacts"].removeprefix("run_id, ")
    sql = f"select {columns} from artifacts where run_id = ?"
    found = connection.execute(sql, (run_id,)).fetchall() if fetch is not None else []
    found.sort(key=_stored_at)
    artifacts = [row[:-1] if row[-1] is None else _by_reference(row) for row in found]
    return StoredRun(row, None if tree is None else tree[0], journal, artifacts, fetch or _no_value)


def _no_value(kept: Kept) -> bytearray:
    raise LookupError(f"the run was read without its values ({kept.size} bytes)")


def _by_reference(row: Row) -> Row:
    namespace, key, codec, _, size, *rest, hash = row
    return (namespace, key, codec, Kept(hash, size), size, *rest)


def latest_run_id(
    connection: sqlite3.Connection, dag_names: Collection[str] | None, statuses: Collection[str] | None
) -> str | None:
    """The run made last, of these workflows and in one of these states (None: any)."""
    where, params = ["1"], []
    for column, wanted in (("dag_name", dag_names), ("status", statuses)):
        if wanted is not None:
            where.append(f"{column} in ({', '.join('?' * len(wanted))})")
            params += [str(value) for value in wanted]
    found = connection.execute(
        f"select run_id from runs where {' and '.join(where)} order by created_at desc, rowid desc limit 1",
        params,
    ).fetchone()
    return None if found is None else str(found[0])


def match_run_ids(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """The ids of runs that begin with `prefix`, newest first; an exact match alone."""
    rows = connection.execute(
        "select run_id from runs where run_id >= :p and substr(run_id, 1, length(:p)) = :p "
        "order by created_at desc, rowid desc",
        {"p": prefix},
    ).fetchall()
    found = [str(row[0]) for row in rows]
    return [prefix] if prefix in found else found


def artifact(
    connection: sqlite3.Connection, run_id: str, namespace: str, key: str
) -> tuple[str, bytes | bytearray | None, str | None] | None:
    """One stored value: (codec, data, reason); None if there is none."""
    row: Row | None = connection.execute(
        "select codec, value, reason, hash, size_bytes from artifacts "
        "where run_id = ? and namespace = ? and key = ?",
        (run_id, namespace, key),
    ).fetchone()
    if row is None:
        return None
    codec, value, reason, hash, size = row
    return codec, value if hash is None else fetch(connection, Kept(hash, size)), reason


def artifact_keys(
    connection: sqlite3.Connection, run_id: str, namespace: str | None
) -> list[tuple[str, str]]:
    """The (namespace, key) pairs of a run's stored values, those of a namespace as they were stored."""
    rows = connection.execute(
        "select namespace, key from artifacts where run_id = :r and (:n is null or namespace = :n) "
        "order by namespace, updated_at, key",
        {"r": run_id, "n": namespace},
    ).fetchall()
    return [(str(a), str(b)) for a, b in rows]


def load_snapshot(
    connection: sqlite3.Connection, dag_name: str, kind: str
) -> tuple[str | None, float, str] | None:
    """The latest snapshot of a workflow: (run id, when it was taken, data); None if there is none."""
    row: Row | None = connection.execute(
        "select run_id, taken_at, data from snapshots where dag_name = ? and kind = ? "
        "order by taken_at desc, id desc limit 1",
        (dag_name, kind),
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def execution_tree(connection: sqlite3.Connection, dag_name: str) -> tuple[str, str] | None:
    """The nodes of a workflow's latest run at its start: (run id, JSON text); None if it never ran."""
    row: Row | None = connection.execute(
        "select run_id, tree from execution_trees where dag_name = ? "
        "order by created_at desc, rowid desc limit 1",
        (dag_name,),
    ).fetchone()
    return None if row is None else (row[0], row[1])


def execution_state(connection: sqlite3.Connection, dag_name: str, state: str) -> dict[str, Any] | None:
    """The latest run of a workflow that is `"active"` or `"pending"`, as a row by column; None if none is."""
    rows = _dicts(
        connection.execute(
            "select * from execution_state where dag_name = ? and state = ? order by updated_at desc limit 1",
            (dag_name, state),
        )
    )
    return rows[0] if rows else None


def find_memo(connection: sqlite3.Connection, key: str, not_before: float) -> tuple[Row, list[Row]] | None:
    """The latest result under this key: (run id, node id, made_at, outcome, outputs), and its values as
    (key, codec, data, size_bytes), a `Kept` as the data of big ones; None if there is none that was made
    after `not_before`."""
    row: Row | None = connection.execute(
        "select run_id, node_id, made_at, outcome, outputs from memo "
        "where key = ? and made_at > ? order by made_at desc limit 1",
        (key, not_before),
    ).fetchone()
    if row is None:
        return None
    values = connection.execute(
        "select key, codec, value, size_bytes, hash from artifacts where run_id = ? and namespace = ? "
        "order by updated_at",
        (row[0], row[1]),
    ).fetchall()
    return row, [(k, c, v if h is None else Kept(h, size), size) for k, c, v, size, h in values]


def memo_rows(connection: sqlite3.Connection, run_id: str) -> dict[str, dict[str, Any]]:
    """What the results of a run's nodes depended on, by node id, as rows by column."""
    rows = _dicts(connection.execute("select * from memo where run_id = ?", (run_id,)))
    return {row["node_id"]: row for row in rows}


def memo_maker(connection: sqlite3.Connection, key: str, made_at: float) -> str | None:
    """The run in which the result that was known was computed; None if it is not there any more."""
    row = connection.execute(
        "select m.run_id from memo m join node_runs n on n.run_id = m.run_id and n.node_id = m.node_id "
        "join runs r on r.run_id = m.run_id where m.key = ? and m.made_at = ? and n.status <> 'cached' "
        "order by r.created_at limit 1",
        (key, made_at),
    ).fetchone()
    return None if row is None else str(row[0])


def newest_memo(connection: sqlite3.Connection, key: str) -> float | None:
    """When the latest result under this key was computed; None if there is none."""
    row = connection.execute(
        "select max(made_at) from memo where key = ? and made_at is not null", (key,)
    ).fetchone()
    return None if row is None else row[0]


def has_results(connection: sqlite3.Connection, code: str) -> bool:
    """Whether results of this code are known, whatever their inputs were."""
    sql = "select 1 from memo where code = ? and key is not null and made_at is not null limit 1"
    return connection.execute(sql, (code,)).fetchone() is not None


def code_parts(connection: sqlite3.Connection, code: str) -> str | None:
    """The parts of an action's code (JSON text) by its digest; None if they are not known."""
    row: Row | None = connection.execute("select parts from codes where code = ?", (code,)).fetchone()
    return None if row is None else str(row[0])
