"""What the store takes in and gives back: plain records of rows, and how they change the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from sqlite3 import Connection
from typing import Any

from .blobs import INLINE, Kept, hash_of, keep
from .inserting import Row, insert_rows

FEW = 100  # rows that are written in a moment: some ten nodes

RUN_COLUMNS = (
    "run_id",
    "dag_name",
    "status",
    "created_at",
    "started_at",
    "finished_at",
    "active_seconds",
    "nodes",
    "completed",
    "failed",
    "skipped",
    "cached",
    "cancelled",
    "attempts",
    "tokens",
    "cost",
    "parent_run_id",
    "owner",
    "error_node",
    "version",
    "error",
    "inputs",
    "result",
    "config",
    "settings",
    "code",
    "extra",
)


@dataclass(slots=True)
class Unit:
    """What some inputs of a run's scheduler changed: written in one piece or not at all.

    `journal`: rows (n, at, kind, data, asked), of one input or, with number, time and kind of the first, of
    several that follow each other (`join_inputs`). `events`: (seq, occurred_at, kind, node_id, data).
    `nodes`: node id -> row of `NODE_COLUMNS`, None for a node that was withdrawn; `attempts`: (node_id,
    action, attempt, status, started_at, finished_at, error, traceback); `artifacts`: (namespace, key,
    codec, data, size_bytes, reason, updated_at): these three replace what is there. `data` is bytes, a tuple
    of buffers that make them up, or the `Kept` that stands for them. `logs`: (node_id,
    attempt, occurred_at, level, stream, message). `cleared`: namespaces whose earlier artifacts go
    first. `run`: changed columns of the run's own row. `snapshot`: (dag_name, taken_at, data, taken_at of the
    one that it replaces) of the kind `"execution"`. `memo`: (node_id, made_at, key, code, reason,
    outcome, outputs, inputs). `codes`: (code, parts).

    A unit of a class of its own may be given to `Store.write` while it grows: who made it adds to it
    holding `Store.taking`; who takes it out of the queue holds that lock too and calls `close`.
    """

    run_id: str
    journal: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    nodes: dict[str, Row | None] = field(default_factory=dict)
    attempts: list[Row] = field(default_factory=list)
    artifacts: list[Row] = field(default_factory=list)
    logs: list[Row] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    run: dict[str, Any] | None = None
    snapshot: Row | None = None
    memo: list[Row] = field(default_factory=list)
    codes: list[Row] = field(default_factory=list)

    def close(self) -> None:
        """Nothing is added from now on; holding `Store.taking`."""

    def encode(self) -> None:
        """Make rows of what stands in it as objects; on the thread that writes it."""

    def is_light(self) -> bool:
        """Whether it is encoded and written in a moment."""
        rows = (self.journal, self.events, self.nodes, self.attempts, self.artifacts, self.logs, self.memo)
        few = sum(map(len, rows)) + len(self.codes) <= FEW
        return few and self.snapshot is None and not any(map(self.is_big, self.artifacts))

    def is_big(self, artifact: Row) -> bool:
        """Whether a value is too big for its row."""
        return bool(artifact[4] > INLINE)


def join_inputs(data: Sequence[str], asked: Sequence[str | None]) -> tuple[str, str | None]:
    """Inputs that follow each other as `data` and `asked` of one row of the journal: a line for each."""
    return "\n".join(data), "\n".join([events or "" for events in asked]) if any(asked) else None


def split_inputs(n: int, data: Any, asked: str | None) -> list[tuple[int, Any, str | None]]:
    """The inputs in one row of the journal: (n, data, asked) of each."""
    lines = data.split("\n") if type(data) is str else [data]
    events = asked.split("\n") if asked else [""] * len(lines)
    return [(n + i, line, events[i] or None) for i, line in enumerate(lines)]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What is needed to take a run up again.

    `row`: the run's row by column; `tree`: its nodes at the start (JSON text); `journal`: (n, data, asked)
    of each input, in order; `artifacts`: (namespace, key, codec, data, size_bytes, reason, updated_at), as
    they were stored, not decoded; where `data` is a `Kept`, `fetch` gets it.
    """

    row: dict[str, Any]
    tree: str | None
    journal: list[Row]
    artifacts: list[Row]
    fetch: Callable[[Kept], bytearray]


def _in_order(rows: list[Row]) -> list[Row]:
    """Rows by node, later ones last: so are their tables kept, and neighbours share a page."""
    rows.sort(key=itemgetter(0))
    return rows


def apply_units(connection: Connection, units: Collection[Unit]) -> None:
    """Write units in order, inside of the transaction that the caller has begun."""
    of_run: dict[str, list[Unit]] = {}
    for unit in units:
        of_run.setdefault(unit.run_id, []).append(unit)
    for run_id in sorted(of_run):
        _apply(connection, run_id, of_run[run_id])


def _apply(connection: Connection, run_id: str, units: list[Unit]) -> None:
    journal: list[Row] = []
    events: list[Row] = []
    logs: list[Row] = []
    nodes: dict[str, Row | None] = {}
    attempts: list[Row] = []
    artifacts: list[Row] = []
    run: dict[str, Any] = {}
    memo: dict[str, Row] = {}
    for unit in units:
        journal += unit.journal
        events += unit.events
        nodes.update(unit.nodes)
        attempts += unit.attempts
        if unit.cleared:
            insert_artifacts(connection, run_id, artifacts)
            artifacts = []
            cleared = [(run_id, namespace) for namespace in unit.cleared]
            connection.executemany("delete from artifacts where run_id = ? and namespace = ?", cleared)
            connection.executemany("delete from memo where run_id = ? and node_id = ?", cleared)
            for namespace in unit.cleared:
                memo.pop(namespace, None)
        artifacts += unit.artifacts
        logs += unit.logs
        if unit.run:
            run.update(unit.run)
        for row in unit.memo:
            memo[row[0]] = row
        if unit.codes:
            connection.executemany("insert or ignore into codes (code, parts) values (?, ?)", unit.codes)
    insert_rows(connection, "journal", run_id, journal)
    insert_rows(connection, "events", run_id, events)
    insert_rows(
        connection,
        "node_runs",
        run_id,
        _in_order([(id, *row) for id, row in nodes.items() if row is not None]),
    )
    if gone := [(run_id, node_id) for node_id, row in nodes.items() if row is None]:
        connection.executemany("delete from node_runs where run_id = ? and node_id = ?", gone)
    insert_rows(connection, "attempts", run_id, _in_order(attempts))
    insert_artifacts(connection, run_id, artifacts)
    insert_rows(connection, "memo", run_id, list(memo.values()))
    insert_rows(connection, "logs", run_id, logs)
    if run:
        update_run(connection, run_id, run)
    for unit in units:
        if unit.snapshot is not None:
            _write_snapshot(connection, run_id, *unit.snapshot)


def _write_snapshot(
    connection: Connection, run_id: str, dag_name: str, at: float, data: str, instead: float | None
) -> None:
    of_run = "run_id = ? and kind = 'execution' and taken_at = ?"
    connection.execute(f"delete from snapshots where {of_run}", (run_id, instead))
    connection.execute(
        "insert into snapshots (run_id, dag_name, kind, taken_at, data) values (?, ?, 'execution', ?, ?)",
        (run_id, dag_name, at, data),
    )


_data, _size = itemgetter(3), itemgetter(4)


def insert_artifacts(connection: Connection, run_id: str, rows: Iterable[Row]) -> None:
    """Insert or replace artifacts of a run; big values go where they are stored once."""
    small: list[Row] = []
    ordered = _in_order(list(rows))
    if max(map(_size, ordered), default=0) <= INLINE and Kept not in set(map(type, map(_data, ordered))):
        small, ordered = ordered, []
    for row in ordered:
        data = row[3]
        if type(data) is not Kept and (data is None or row[4] <= INLINE):
            small.append(row)
            continue
        insert_rows(connection, "artifacts", run_id, small)
        small = []
        if type(data) is Kept:
            hash = data.hash
        else:
            parts = data if isinstance(data, tuple) else (data,)
            hash = hash_of(parts)
            keep(connection, hash, parts)
        insert_rows(connection, "artifacts", run_id, [(*row[:3], None, *row[4:], hash)])
    insert_rows(connection, "artifacts", run_id, small)


def update_run(connection: Connection, run_id: str, changes: dict[str, Any]) -> None:
    """Change columns of a run's row; an unknown column raises `KeyError`."""
    for column in changes:
        if column not in RUN_COLUMNS:
            raise KeyError(f"the runs table has no column {column!r}")
    assignments = ", ".join(f"{column} = ?" for column in changes)
    connection.execute(f"update runs set {assignments} where run_id = ?", (*changes.values(), run_id))


def _clean(value: Any) -> Any:
    """The nearest value that SQLite can hold."""
    if value is None or isinstance(value, (bytes, bytearray, memoryview, float, tuple)):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else float(min(max(value, -(2**1000)), 2**1000))
    try:
        return float(value)
    except (TypeError, ValueError):
        return _clean(str(value))


def clean_unit(unit: Unit) -> Unit:
    """The same unit with everything that SQLite cannot hold made into something that it can.

    Lone surrogates become escapes, integers of more than 64 bits floats, other objects numbers or text.
    """

    def row(values: Row) -> Row:
        return tuple(_clean(value) for value in values)

    return Unit(
        _clean(unit.run_id),
        [row(r) for r in unit.journal],
        [row(r) for r in unit.events],
        {_clean(k): None if r is None else row(r) for k, r in unit.nodes.items()},
        [row(r) for r in unit.attempts],
        [row(r) for r in unit.artifacts],
        [row(r) for r in unit.logs],
        [_clean(namespace) for namespace in unit.cleared],
        None if unit.run is None else {k: _clean(v) for k, v in unit.run.items()},
        None if unit.snapshot is None else row(unit.snapshot),
        [row(r) for r in unit.memo],
        [row(r) for r in unit.codes],
    )
