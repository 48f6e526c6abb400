"""`History`: the stored runs as DataFrames.

Only what is asked for is read, and only what is read is decoded. Without one certain run the rows come
newest run first, and the newest of a run first; those of one run come in their order. `limit` keeps the
newest ones either way.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..codec.base import TAG
from ..core.model import NodeDef, NodeOutput
from ..errors import DagError, DatabaseError, ValidationError, did_you_mean
from ..store.blobs import Kept, fetch
from ..store.owners import split_owners
from . import frames, queries
from .filters import Where, limit_of, moment, texts
from .frames import Category, frame, inferred
from .metrics import failure_types, metrics_frame
from .queries import Query
from .query import run_query
from .summaries import storage_frame

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")


class Values(Protocol):
    """What is needed of a codec."""

    def decode(self, codec: str, data: bytes | bytearray | None) -> Any:
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

    def runs(self, **filters: Any) -> DataFrame:
        """A row a run, its id in the index, and a column `inputs.NAME` for each input; newest first.

        `duration`: from its start to its end; `unpaused_seconds`: of these, those in which it was neither
        paused nor left, which is what `timeout_seconds` limits.

        Filters, here and below: `run_id`, `dag_name`: a text, also with `*`, or a list; `status`: a
        `RunStatus` (of the run, where the frame has no status of its own); `since`: a datetime, ISO text,
        `"7d"` or a timedelta; `limit`: that many rows at most. An unknown one is a `ValidationError`.
        """
        rows = self._rows(queries.RUNS, filters)
        at = list(frames.RUNS).index("inputs")
        inputs = [self._mapping(row[at]) for row in rows]
        names = dict.fromkeys(name for given in inputs for name in given)
        more = {f"inputs.{name}": inferred([given.get(name) for given in inputs]) for name in names}
        return frame(frames.RUNS, rows, {"inputs": inputs}, more=more, index="run_id")

    def nodes(self, **filters: Any) -> DataFrame:
        """A row a node; `waited` is from being ready to the start, `duration` from there to the end.

        More filters: `node_id`, `action`, `status` (a `NodeStatus`), `kind` (action, map, workflow, branch).
        """
        rows = self._rows(queries.NODES, filters)
        at = list(frames.NODES).index("dependencies")
        known: dict[str | None, list[str]] = {None: []}
        for row in rows:
            if row[at] not in known:
                known[row[at]] = json.loads(row[at])
        return frame(frames.NODES, rows, {"dependencies": [known[row[at]][:] for row in rows]})

    def attempts(self, **filters: Any) -> DataFrame:
        """A row an attempt of a node, with its error and traceback.

        More filters: `node_id`, `action`, `status` (running, completed, failed, cancelled, interrupted).
        """
        return frame(frames.ATTEMPTS, self._rows(queries.ATTEMPTS, filters))

    def events(self, **filters: Any) -> DataFrame:
        """A row an event; `data` is a dict of its fields.

        More filters: `node_id`, `kind`: a class of event or its name.
        """
        rows = self._rows(queries.EVENTS, filters)
        return frame(frames.EVENTS, rows, {"data": [self._mapping(row[5]) for row in rows]})

    def cache(self, *, values: bool = True, **filters: Any) -> DataFrame:
        """A row a stored value: inputs, outputs, human input. With `values=False` they are not read.

        More filters: `namespace` (a node's id, `inputs`, `human_input`), `key`. A value that could not be
        stored is shown while this process has it, else as a text with the reason.
        """
        rows = self._rows(queries.CACHE, filters, queries.with_values if values else None)
        if not values:
            return frame(frames.CACHE, rows)
        found = self._with_connection(lambda c: [self._value(c, row) for row in rows])
        return frame(frames.CACHE, [row[:-2] for row in rows], {"value": found})

    def logs(self, **filters: Any) -> DataFrame:
        """A row a line that actions and hooks printed or logged.

        More filters: `node_id`, `level` (in any case).
        """
        if filters.get("level") is not None:
            filters["level"] = [word.upper() for word in texts("level", filters["level"])]
        return frame(frames.LOGS, self._rows(queries.LOGS, filters))

    # --- sums ---------------------------------------------------------------------------------

    def metrics(self, by: str = "action", **filters: Any) -> DataFrame:
        """A row an action, in alphabetical order; with `by="node"` a row a node's id.

        `runs`: how many nodes ran it; `median_duration`, `p95_duration` in seconds (retries and the waits
        between them counted); `failures`, `retries`, `cache_hits`; `tokens`, `cost`; `total_duration`,
        `median_waited` (for a free slot); `cache_hit_rate`; `failures_by_type`: exception -> how often, of
        attempts that were retried too. More filters: `node_id`, `action`; `status` is of the runs, `limit`
        of the newest nodes.
        """
        if by not in ("action", "node"):
            raise ValidationError(f"by is 'action' or 'node', not {by!r}", culprit="by", value=by)
        rows = self._rows(queries.METRICS, filters)
        return metrics_frame(rows, by, self._failures(rows))

    def _failures(self, rows: Sequence[Sequence[Any]]) -> dict[tuple[str, str], dict[str, int]]:
        """What went wrong in the attempts of these nodes: (run, node) -> kind of failure -> how often."""
        tried = [(row[8], row[1]) for row in rows if row[3] > 1 or row[2] in ("failed", "recovered")]
        if not tried:
            return {}
        found = self._with_connection(
            lambda c: c.execute(
                "select a.run_id, a.node_id, a.error from json_each(?) k cross join attempts a "
                "where a.run_id = json_extract(k.value, '$[0]') "
                "and a.node_id = json_extract(k.value, '$[1]') and a.status = 'failed'",
                (json.dumps(tried),),
            ).fetchall()
        )
        return failure_types(found)

    def equal_values(self, run_id: str, other: str) -> set[tuple[str, str]]:
        """(namespace, key) of the values that two runs have stored with the same content."""
        sql = (
            "select a.namespace, a.key from artifacts a join artifacts b on b.run_id = ? "
            "and b.namespace = a.namespace and b.key = a.key and b.codec = a.codec "
            "and b.value is a.value and b.hash is a.hash where a.run_id = ? and a.codec <> 'memory'"
        )
        rows = self._with_connection(lambda c: c.execute(sql, (other, run_id)).fetchall())
        return {(str(namespace), str(key)) for namespace, key in rows}

    def unstored_values(self, run_id: str, other: str) -> set[tuple[str, str]]:
        """(namespace, key) of the values of which two runs could store neither."""
        sql = (
            "select a.namespace, a.key from artifacts a join artifacts b on b.run_id = ? "
            "and b.namespace = a.namespace and b.key = a.key and b.codec = 'memory' "
            "where a.run_id = ? and a.codec = 'memory'"
        )
        rows = self._with_connection(lambda c: c.execute(sql, (other, run_id)).fetchall())
        return {(str(namespace), str(key)) for namespace, key in rows}

    def attempt_times(self) -> list[Sequence[Any]]:
        """Of each attempt of the run: (node_id, status, started_at, finished_at, error), in no order."""
        sql = "select node_id, status, started_at, finished_at, error from attempts where run_id = ?"
        return self._with_connection(lambda c: c.execute(sql, (self._run_id,)).fetchall())

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
        self._of_runs(where, {"dag_name": dag_name, "status": status})
        if older_than is not None:
            where.add("r.created_at < ?", moment(older_than, where.now, "older_than"))
        where.add("(r.owner is null or r.owner not in ({live}))")
        order = "r.created_at desc, r.rowid desc"
        rows = self._read(f"select r.run_id from runs r where {where.sql()} order by {order}", where.params)
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

    def _read(self, sql: str, params: Iterable[Any]) -> list[Sequence[Any]]:
        """Rows of a query in which `{live}` stands for the owners that are alive."""

        def work(connection: sqlite3.Connection) -> list[Sequence[Any]]:
            dead = ", ".join(map(_quoted, split_owners(connection, time.time())[1]))
            # who has come since is alive, and what the dead have left does not change any more
            live = f"select owner from owners where owner not in ({dead})"
            return connection.execute(sql.replace("{live}", live), tuple(params)).fetchall()

        return self._with_connection(work)

    def _rows(
        self, query: Query, filters: dict[str, Any], around: Callable[[str], str] | None = None
    ) -> list[Sequence[Any]]:
        """The rows of a frame; `around` changes its SQL."""
        for name in filters:
            if name not in query.filters:
                raise ValidationError(
                    f"{query.name}() has no filter {name!r}: {did_you_mean(name, query.filters)}",
                    culprit=name,
                )
        where = Where()
        single = self._of_runs(where, filters, "status" not in query.words)
        for name, column in query.texts.items():
            where.matches(name, column, filters.get(name))
        for name, (column, words) in query.words.items():
            self._words(where, name, column, filters.get(name), words)
        since = filters.get("since")
        where.since(query.moment, since)
        if since is not None and query.table is not None and query.follows:
            where.since("coalesce(r.finished_at, 9e99)", since)
        sql = query.sql(where, single=single)
        limit = limit_of(filters.get("limit"))
        rows = self._read(sql if around is None else around(sql), [*where.params, limit])
        return rows[::-1] if single else rows

    def _of_runs(self, where: Where, filters: dict[str, Any], status: bool = True) -> bool:
        """Conditions on the run; True if they leave no more than one."""
        run_id = filters.get("run_id")
        if self._run_id is not None:
            where.add("r.run_id = ?", self._run_id)
        where.matches("dag_name", "r.dag_name", filters.get("dag_name"))
        if status:
            where.matches("status", queries.SHOWN, filters.get("status"), frames.RUN_STATUS.known)
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
            found = self._read(f"select distinct {column} from {queries.words_table(column)}", ())
            allowed = (*allowed, *(str(row[0]) for row in found if row[0] is not None))
        where.matches(field, column, value, allowed)

    def _mapping(self, text: str | None) -> dict[str, Any]:
        """A stored mapping; what cannot be read is a mapping that says so."""
        if not text or text == "{}":
            return {}
        try:
            found = self._codec.loads(text)
            if TAG not in text and type(found) is dict:
                return found  # plain JSON throughout
        except DagError as error:
            return {"error": f"<cannot be read: {error}>"}
        return {k: _readable(v) for k, v in found.items()} if hasattr(found, "keys") else {"value": found}

    def _value(self, connection: sqlite3.Connection, row: Sequence[Any]) -> Any:
        run_id, namespace, key, _, codec, size, _, reason, data, hash = row
        if codec == "memory":
            found = None if self._memory_values is None else self._memory_values(run_id, namespace, key)
            return f"<not stored: {reason or 'no reason was given'}>" if found is None else found
        try:
            return self._codec.decode(codec, data if hash is None else fetch(connection, Kept(hash, size)))
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
