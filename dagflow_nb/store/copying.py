"""A run's rows as those of another run: what a fork begins with.

Functions of the writing connection, to be run as the writer's jobs. Values are not read: their rows are
copied inside of the database.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidState
from .unit import Unit, apply_units, join_inputs, split_inputs

# what may have given a node of the source new values since it was looked at
_RAN_AGAIN = (
    "select 1 from journal where run_id = ? and n > ? and (kind in ('RetryNodes', 'Reopened') "
    "or (kind in ('Answered', 'Applied') and data like '%RetryNode%')) limit 1"
)

_LOGS = """
    insert into logs (run_id, node_id, attempt, occurred_at, level, stream, message)
    select ?, t.node_id, t.attempt, t.occurred_at, t.level, t.stream, t.message from logs t left join
        (select json_extract(value, '$[0]') as id, json_extract(value, '$[1]') as n from json_each(?)) k
        on k.id = t.node_id
    where t.run_id = ? and (t.node_id is null or t.attempt <= k.n) order by t.id
"""


@dataclass(frozen=True, slots=True)
class Copy:
    """What is taken over of run `source`.

    `row`: the new run's own row. The journal is taken up to row `journal`, events up to number `events`
    but those of the course of the nodes `without`; `attempts`: how many of each node; `kept`: nodes whose
    results are taken over; `values`: which, as (namespace, key); `read`: the last row of the journal that
    had been seen. `unit` is written on top.
    """

    source: str
    row: Mapping[str, Any]
    journal: int
    events: int
    read: int
    unit: Unit
    without: Collection[str] = ()
    attempts: Mapping[str, int] = field(default_factory=dict)
    kept: Collection[str] = ()
    values: Collection[tuple[str, str]] = ()


def copy_run(connection: sqlite3.Connection, copy: Copy) -> bool:
    """Write the new run; False, and nothing is written, if the source has moved on in a way that matters."""
    new, source = copy.row["run_id"], copy.source
    if connection.execute(_RAN_AGAIN, (source, copy.read)).fetchone():
        return False
    if connection.execute("select 1 from runs where run_id = ?", (new,)).fetchone():
        raise InvalidState(f"there is already a run {new!r} in this database", culprit=new)
    names = ", ".join(copy.row)
    places = ", ".join("?" * len(copy.row))
    connection.execute(f"insert into runs ({names}) values ({places})", tuple(copy.row.values()))
    _copy(connection, "execution_trees", source, new)
    connection.execute(
        "update execution_trees set created_at = ? where run_id = ?", (copy.row["created_at"], new)
    )
    _copy(connection, "journal", source, new, "t.n <= ?", (copy.journal,))
    _cut(connection, new, copy.journal)
    _copy(
        connection,
        "events",
        source,
        new,
        "t.seq <= ? and not (t.kind glob 'Node*' and t.node_id is not null "
        "and t.node_id in (select value from json_each(?)))",
        (copy.events, json.dumps(list(copy.without))),
    )
    kept = json.dumps([[id, count] for id, count in copy.attempts.items() if count])
    of_kept = "t.node_id = json_extract(k.value, '$[0]') and t.attempt <= json_extract(k.value, '$[1]')"
    _copy(connection, "attempts", source, new, of_kept, pairs=kept)
    connection.execute(_LOGS, (new, kept, source))
    of_node = "t.node_id = k.value"
    _copy(connection, "memo", source, new, of_node, pairs=json.dumps(list(copy.kept)))
    pairs = json.dumps([list(pair) for pair in copy.values])
    of_values = "t.namespace = json_extract(k.value, '$[0]') and t.key = json_extract(k.value, '$[1]')"
    _copy(connection, "artifacts", source, new, of_values, pairs=pairs)
    apply_units(connection, [copy.unit])
    return True


def _cut(connection: sqlite3.Connection, run_id: str, last: int) -> None:
    """Leave out what the last row of a journal holds of inputs after the one of this number."""
    sql = "select n, data, asked from journal where run_id = ? order by n desc limit 1"
    for n, data, asked in connection.execute(sql, (run_id,)).fetchall():
        _, lines, events = zip(*split_inputs(n, data, asked)[: last - n + 1], strict=True)
        sql = "update journal set data = ?, asked = ? where run_id = ? and n = ?"
        connection.execute(sql, (*join_inputs(lines, events), run_id, n))


def _copy(
    connection: sqlite3.Connection,
    table: str,
    source: str,
    new: str,
    where: str = "1",
    params: tuple[Any, ...] = (),
    *,
    pairs: str | None = None,
) -> None:
    """Rows `t` of a table, for each `k` of `pairs` (JSON) where they are given."""
    columns = connection.execute("select name from pragma_table_info(?)", (table,)).fetchall()
    names = [name for (name,) in columns if name not in ("run_id", "id")]
    told = ", ".join(f"t.{name}" for name in names)
    rows = f"{table} t" if pairs is None else f"json_each(?) k cross join {table} t"
    first = (new,) if pairs is None else (new, pairs)
    connection.execute(
        f"insert into {table} (run_id, {', '.join(names)}) select ?, {told} from {rows} "
        f"where t.run_id = ? and ({where})",
        (*first, source, *params),
    )
