"""`History`: the stored runs as DataFrames.

Only what is asked for is read, and only what is read is decoded. Without one certain run the rows come
newest first; those of one run come in their order. `limit` keeps the newest ones either way.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..core.model import NodeDef, NodeOutput
from ..errors import DagError, DatabaseError
from ..store.owners import live_owners
from . import frames
from .filters import Where, limit_of, moment, texts
from .frames import Category, frame, inferred
from .query import run_query
from .summaries import metrics_frame, storage_frame

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")
# A run that is under way for nobody has been interrupted; that is seen here and not written.
_RUNS = """with r as (
    select *, rowid as number, case
        when status = 'running' and (owner is null or owner not in ({live})) then 'interrupted'
        when status = 'pending' and owner is not null and owner not in ({live}) then 'interrupted'
        else status end as shown
    from runs
)"""
_LIVE_COUNT = (
    "case when r.shown in ('running', 'interrupted') "
    "then (select count(*) from {table} x where x.run_id = r.run_id{condition}) else r.{column} end"
)


def _count(column: str, *statuses: str) -> str:
    # The counts in a run's row are brought up to date now and then; while it runs they are counted.
    condition = f" and x.status in ({', '.join(map(repr, statuses))})"
    return _LIVE_COUNT.format(table="node_runs", condition=condition, column=column)


_RUN_COLUMNS = ", ".join(
    [
        "r.run_id, r.dag_name, r.shown, r.started_at, r.finished_at, r.finished_at - r.started_at, r.nodes",
        _count("completed", "completed", "recovered"),
        _count("failed", "failed"),
        _count("skipped", "skipped"),
        _count("cached", "cached"),
        _LIVE_COUNT.format(table="attempts", condition="", column="attempts"),
        "r.tokens, r.cost, r.inputs, r.error, r.parent_run_id",
        _count("cancelled", "cancelled"),
        "r.error_node, r.created_at, r.active_seconds",
    ]
)
_NODE_TIME = "coalesce(n.started_at, n.finished_at, n.ready_at, r.created_at)"


class Values(Protocol):
    """What is needed of a codec."""

    def decode(self, codec: str, data: bytes | None) -> Any:
        """The value of stored bytes."""

    def loads(self, text: str) -> Any:
        """The value of stored JSON text."""


class History:
    """DataFrames over a store.

    `connect` gives a new reading connection; `sync` brings what is queued into the database first;
    `memory_values(run_id, namespace, key)` gives values that could not be stored while this process
    still has them. `run_id`: only this run.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        codec: Values,
        *,
        sync: Callable[[], object] | None = None,
        run_id: str | None = None,
        memory_values: Callable[[str, str, str], Any] | None = None,
    ) -> None:
        self._connect, self._codec, self._sync = connect, codec, sync
        self._run_id, self._memory_values = run_id, memory_values

    # --- frames -------------------------------------------------------------------------------

    def runs(
        self,
        *,
        dag_name: Any = None,
        status: Any = None,
        since: Any = None,
        limit: Any = None,
        run_id: Any = None,
    ) -> DataFrame:
        """A row a run, its id in the index, and a column `inputs.NAME` for each input; newest first.

        `dag_name`, `run_id`: a text, also with `*`, or a list; `status`: a `RunStatus`; `since`: a datetime,
        ISO text, `"7d"` or a timedelta; `limit`: that many at most.
        """
        where = Where()
        self._of_runs(where, dag_name, status, run_id)
        where.since("coalesce(r.started_at, r.created_at)", since)
        rows = self._read(
            f"select {_RUN_COLUMNS} from r where {where.sql()} "
            "order by r.created_at desc, r.number desc limit ?",
            [*where.params, limit_of(limit)],
        )
        at = list(frames.RUNS).index("inputs")
        inputs = [self._mapping(row[at]) for row in rows]
        table = frame(frames.RUNS, [(*r[:at], i, *r[at + 1 :]) for r, i in zip(rows, inputs, strict=True)])
        for name in dict.fromkeys(name for given in inputs for name in given):
            table[f"inputs.{name}"] = inferred([given.get(name) for given in inputs])
        return table.set_index("run_id")

    def nodes(
        self,
        *,
        run_id: Any = None,
        node_id: Any = None,
        action: Any = None,
        status: Any = None,
        kind: Any = None,
        dag_name: Any = None,
        since: Any = None,
        limit: Any = None,
    ) -> DataFrame:
        """A row a node; `waited` is from being ready to the start, `duration` from there to the end."""
        where = Where()
        single = self._of_runs(where, dag_name, None, run_id)
        self._words(where, "status", "n.status", status, frames.NODE_STATUS)
        self._words(where, "kind", "n.kind", kind, frames.NODE_KIND)
        where.matches("node_id", "n.node_id", node_id)
        where.matches("action", "n.action", action)
        where.since(_NODE_TIME, since)
        order = "n.position desc, n.node_id desc" if single else f"{_NODE_TIME} desc, n.position desc"
        rows = self._read(
            "select n.run_id, n.node_id, n.action, n.status, n.attempts, n.started_at, n.finished_at, "
            "n.finished_at - n.started_at, max(0.0, n.started_at - n.ready_at), n.error, n.dependencies, "
            "n.added_by, n.tokens, n.cost, n.reason, n.kind, n.parent, n.ready_at "
            f"from node_runs n join r on r.run_id = n.run_id where {where.sql()} order by {order} limit ?",
            [*where.params, limit_of(limit)],
            reverse=single,
        )
        at = list(frames.NODES).index("dependencies")
        return frame(frames.NODES, [(*r[:at], json.loads(r[at] or "[]"), *r[at + 1 :]) for r in rows])

    def attempts(
        self,
        *,
        run_id: Any = None,
        node_id: Any = None,
        action: Any = None,
        status: Any = None,
        dag_name: Any = None,
        since: Any = None,
        limit: Any = None,
    ) -> DataFrame:
        """A row an attempt of a node, with its error and traceback."""
        where = Where()
        single = self._of_runs(where, dag_name, None, run_id)
        self._words(where, "status", "a.status", status, frames.ATTEMPT_STATUS)
        where.matches("node_id", "a.node_id", node_id)
        where.matches("action", "a.action", action)
        where.since("coalesce(a.started_at, a.finished_at)", since)
        rows = self._read(
            "select a.run_id, a.node_id, a.action, a.attempt, a.status, a.started_at, a.finished_at, "
            "a.finished_at - a.started_at, a.error, a.traceback "
            f"from attempts a join r on r.run_id = a.run_id where {where.sql()} "
            "order by coalesce(a.started_at, a.finished_at) desc, a.node_id desc, a.attempt desc limit ?",
            [*where.params, limit_of(limit)],
            reverse=single,
        )
        return frame(frames.ATTEMPTS, rows)

    def events(
        self,
        *,
        run_id: Any = None,
        node_id: Any = None,
        kind: Any = None,
        dag_name: Any = None,
        status: Any = None,
        since: Any = None,
        limit: Any = None,
    ) -> DataFrame:
        """A row an event; `data` is a dict of its fields. `kind`: a class of event or its name."""
        where = Where()
        single = self._of_runs(where, dag_name, status, run_id)
        self._words(where, "kind", "e.kind", kind, frames.EVENT_KIND)
        where.matches("node_id", "e.node_id", node_id)
        where.since("e.occurred_at", since)
        order = "e.seq desc" if single else "e.occurred_at desc, e.seq desc"
        rows = self._read(
            "select e.run_id, e.seq, e.occurred_at, e.kind, e.node_id, e.data "
            f"from events e join r on r.run_id = e.run_id where {where.sql()} order by {order} limit ?",
            [*where.params, limit_of(limit)],
            reverse=single,
        )
        return frame(frames.EVENTS, [(*row[:5], self._mapping(row[5])) for row in rows])

    def cache(
        self,
        *,
        run_id: Any = None,
        namespace: Any = None,
        key: Any = None,
        dag_name: Any = None,
        status: Any = None,
        since: Any = None,
        limit: Any = None,
        values: bool = True,
    ) -> DataFrame:
        """A row a stored value: inputs, outputs, human input. With `values=False` they are not read.

        A value that could not be stored is shown while this process has it, else as a text with the reason.
        """
        where = Where()
        single = self._of_runs(where, dag_name, status, run_id)
        where.matches("namespace", "a.namespace", namespace)
        where.matches("key", "a.key", key)
        where.since("a.updated_at", since)
        rows = self._read(
            f"select a.run_id, a.namespace, a.key, {'a.value' if values else 'null'}, a.codec, a.size_bytes, "
            f"a.updated_at, a.reason from artifacts a join r on r.run_id = a.run_id where {where.sql()} "
            "order by a.updated_at desc, a.namespace desc, a.key desc limit ?",
            [*where.params, limit_of(limit)],
            reverse=single,
        )
        if values:
            rows = [(*row[:3], self._value(row), *row[4:]) for row in rows]
        return frame(frames.CACHE, rows)

    def logs(
        self,
        *,
        run_id: Any = None,
        node_id: Any = None,
        level: Any = None,
        dag_name: Any = None,
        status: Any = None,
        since: Any = None,
        limit: Any = None,
    ) -> DataFrame:
        """A row a line that actions printed or logged; `level` in any case."""
        where = Where()
        single = self._of_runs(where, dag_name, status, run_id)
        where.matches("node_id", "l.node_id", node_id)
        if level is not None:
            where.matches("level", "upper(l.level)", [word.upper() for word in texts("level", level)])
        where.since("l.occurred_at", since)
        rows = self._read(
            "select l.run_id, l.node_id, l.attempt, l.occurred_at, l.level, l.stream, l.message "
            f"from logs l join r on r.run_id = l.run_id where {where.sql()} "
            "order by l.occurred_at desc, l.id desc limit ?",
            [*where.params, limit_of(limit)],
            reverse=single,
        )
        return frame(frames.LOGS, rows)

    # --- sums ---------------------------------------------------------------------------------

    def metrics(
        self,
        *,
        action: Any = None,
        run_id: Any = None,
        dag_name: Any = None,
        status: Any = None,
        since: Any = None,
        limit: Any = None,
    ) -> DataFrame:
        """A row an action, in alphabetical order.

        `runs`: how many nodes ran it; `median_duration`, `p95_duration` in seconds; `failures`, `retries`,
        `cache_hits`; `tokens`, `cost`. `status`: of the runs that count; `limit`: only so many of the
        newest nodes count.
        """
        where = Where()
        self._of_runs(where, dag_name, status, run_id)
        where.matches("action", "n.action", action)
        where.since(_NODE_TIME, since)
        # A map's own node says what its items run, and these have rows of their own.
        where.add("coalesce(n.kind, 'action') = 'action' and n.action is not null")
        rows = self._read(
            "select n.action, n.status, n.attempts, n.finished_at - n.started_at, n.tokens, n.cost "
            f"from node_runs n join r on r.run_id = n.run_id where {where.sql()} "
            f"order by {_NODE_TIME} desc limit ?",
            [*where.params, limit_of(limit)],
        )
        return metrics_frame(rows)

    def storage(self) -> DataFrame:
        """What takes how many bytes; it adds up to the size of the database and its log."""
        return self._with_connection(storage_frame)

    def sql(self, query: str, params: Any = ()) -> DataFrame:
        """The rows of a query. Reading only: anything else, or a mistake, is a `ValidationError`.

        Times are epoch seconds here: `select run_id, datetime(started_at, 'unixepoch') from runs`.
        """
        return self._with_connection(lambda connection: run_query(connection, query, params))

    def run_ids(self, *, dag_name: Any = None, older_than: Any = None, status: Any = None) -> list[str]:
        """Ids of runs that nobody drives, newest first; `older_than`: made before that (as `since`)."""
        where = Where()
        self._of_runs(where, dag_name, status, None)
        if older_than is not None:
            where.add("r.created_at < ?", moment(older_than, where.now, "older_than"))
        where.add("(r.owner is null or r.owner not in ({live}))")
        order = "r.created_at desc, r.number desc"
        rows = self._read(f"select r.run_id from r where {where.sql()} order by {order}", where.params)
        return [str(row[0]) for row in rows]

    # --- how ----------------------------------------------------------------------------------

    def _with_connection(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._sync is not None:
            self._sync()
        with closing(self._connect()) as connection:
            try:
                return work(connection)
            except sqlite3.Error as error:
                raise DatabaseError(f"the history cannot be read: {error}") from error

    def _read(self, select: str, params: Iterable[Any], *, reverse: bool = False) -> list[Sequence[Any]]:
        """Rows of a query over `r`, the runs with the status to show in `r.shown`."""

        def work(connection: sqlite3.Connection) -> list[Sequence[Any]]:
            live = ", ".join(_quoted(owner) for owner in live_owners(connection, time.time())) or "''"
            sql = f"{_RUNS} {select}".replace("{live}", live)
            rows = connection.execute(sql, tuple(params)).fetchall()
            return rows[::-1] if reverse else rows

        return self._with_connection(work)

    def _of_runs(self, where: Where, dag_name: Any, status: Any, run_id: Any) -> bool:
        """Conditions on the run; True if they leave no more than one."""
        if self._run_id is not None:
            where.add("r.run_id = ?", self._run_id)
        where.matches("dag_name", "r.dag_name", dag_name)
        where.matches("status", "r.shown", status, frames.RUN_STATUS.known)
        where.matches("run_id", "r.run_id", run_id)
        if run_id is None:
            return self._run_id is not None
        wanted = texts("run_id", run_id)
        return self._run_id is not None or (len(wanted) == 1 and not set(wanted[0]) & {"*", "?"})

    def _words(self, where: Where, field: str, column: str, value: Any, words: Category) -> None:
        """A condition on a column of few words; a word that neither we nor the database know is refused."""
        if value is None:
            return
        allowed = words.known
        if any(word not in allowed for word in texts(field, value)):
            table = {"n": "node_runs", "a": "attempts", "e": "events"}[column[0]]
            found = self._read(f"select distinct {column} from {table} {column[0]}", ())
            allowed = (*allowed, *(str(row[0]) for row in found if row[0] is not None))
        where.matches(field, column, value, allowed)

    def _mapping(self, text: str | None) -> dict[str, Any]:
        """A stored mapping; what cannot be read is a mapping that says so."""
        if not text:
            return {}
        try:
            found = self._codec.loads(text)
        except DagError as error:
            return {"error": f"<cannot be read: {error}>"}
        return {k: _readable(v) for k, v in found.items()} if hasattr(found, "keys") else {"value": found}

    def _value(self, row: Sequence[Any]) -> Any:
        run_id, namespace, key, data, codec, _, _, reason = row
        if codec == "memory":
            found = None if self._memory_values is None else self._memory_values(run_id, namespace, key)
            return f"<not stored: {reason or 'no reason was given'}>" if found is None else found
        try:
            return self._codec.decode(codec, data)
        except DagError as error:
            return f"<cannot be read: {error}>"


def _readable(value: Any) -> Any:
    """Records of the engine as plain mappings of what they say: outputs stand in the cache, not here."""
    if isinstance(value, NodeOutput):
        said = {"success": value.success, "error": value.error, "recovered": value.recovered or None}
        return {k: v for k, v in said.items() if v is not None} | dict(value.metadata)
    if isinstance(value, NodeDef):
        return {"id": value.id, "action": value.action, "deps": list(value.deps)}
    if is_dataclass(value) and type(value).__module__.startswith("dagflow_nb.core"):
        fields = {name: _readable(getattr(value, name)) for name in value.__dataclass_fields__}
        return {"type": type(value).__name__, **{k: v for k, v in fields.items() if v not in (None, (), {})}}
    if type(value) is tuple or type(value) is list:
        return [_readable(item) for item in value]
    return value


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
