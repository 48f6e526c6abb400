"""What the core API tells of workflows and runs: records by the guide's names, read from the database
or from a run that is under way."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..cache import Cache
from ..core.graph import Node
from ..core.model import NodeStatus
from ..core.scheduler import Scheduler
from ..errors import DagNotFound, NodeNotFound, ValidationError, shorten
from ..runtime.hiding import hide_secrets
from ..runtime.recovery import replay
from ..store import Kept, blobs, read
from ..store.database import MEMORY, explain, reader
from ..store.schema import inspect
from ..workflow.flatten import flatten

if TYPE_CHECKING:
    from ..runtime.session import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DagMetadata:
    """What a workflow says of itself."""

    name: str
    description: str = ""
    author: str = ""
    version: str = ""
    signature: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeState:
    """How a node stands in the latest run; times are epoch seconds."""

    status: NodeStatus
    attempts: int
    last_error: str | None
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class ExecutionMetrics:
    """How the latest run of a workflow went; times in seconds.

    `avg_node_time` and `slowest_node` are of nodes that have run (retries and the waits between them
    counted, maps and sub-workflows left out); `cache_hit_rate` is cached / cacheable nodes, 0.0 without any.
    """

    run_id: str
    total_nodes: int
    completed_nodes: int
    failed_nodes: int
    skipped_nodes: int
    retries: int
    total_time: float
    avg_node_time: float
    slowest_node: str | None
    cache_hit_rate: float


@dataclass(frozen=True, slots=True)
class ExecutionTree:
    """The nodes of a workflow's latest run: id -> a row of the table `node_runs` by column."""

    run_id: str
    nodes: Mapping[str, Mapping[str, Any]]


class Records:
    """Questions to a session's database, also before it is opened; none of them waits for a loop."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection | None]:
        store, path = self._session.store, self._session.database
        if store is not None:
            store.sync()
            connection = store.connect()
        elif path == MEMORY or not os.path.exists(path):
            yield None
            return
        else:
            inspect(path)  # a file of another program is refused before it is read
            connection = reader(path)
        try:
            yield connection
        except sqlite3.Error as error:
            raise explain(error, path) from error
        finally:
            connection.close()

    def _ask(self, question: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        with self._connection() as connection:
            if connection is None or not connection.execute("pragma user_version").fetchone()[0]:
                return otherwise
            return question(connection)

    def latest(self, dag_name: str | None = None, statuses: Collection[str] | None = None) -> str | None:
        """The run made last, of this workflow and in one of these states; None if there is none."""
        names = None if dag_name is None else [dag_name]
        return self._ask(lambda c: read.latest_run_id(c, names, statuses), None)

    def need_latest(self, dag_name: str) -> str:
        """The run of a workflow made last; raises `DagNotFound` if it has never run."""
        found = self.latest(dag_name)
        if found is None:
            raise DagNotFound(dag_name, self._ask(_ran, ()), what="run of")
        return found

    def run(self, run_id: str) -> dict[str, Any] | None:
        """A run's row by column; None if there is no such run."""
        return self._ask(lambda c: read.run_row(c, run_id, self._session.clock.now()), None)

    def node_rows(self, run_id: str) -> list[dict[str, Any]]:
        """The rows of a run's nodes by column."""
        return self._ask(lambda c: read.node_rows(c, run_id), [])

    def state(self, dag_name: str, state: str) -> dict[str, Any] | None:
        """The latest run of a workflow that is `"active"` or `"pending"`, as a row by column."""
        return self._ask(lambda c: read.execution_state(c, dag_name, state), None)

    def node_state(self, run_id: str, node_id: str) -> NodeState:
        """How a node of a run stands; raises `NodeNotFound`."""
        live = self._session.live.get(run_id)
        if live is not None:
            nodes = live.scheduler.nodes
            if node_id not in nodes:
                raise NodeNotFound(node_id, nodes)
            node = nodes[node_id]
            return NodeState(node.status, node.attempt, node.error, node.started_at, node.finished_at)
        rows = {row["node_id"]: row for row in self.node_rows(run_id)}
        if node_id not in rows:
            raise NodeNotFound(node_id, rows)
        row = rows[node_id]
        times = row["started_at"], row["finished_at"]
        return NodeState(NodeStatus(row["status"]), row["attempts"], row["error"], *times)

    def print_tables(self) -> None:
        """Print every table with its number of rows, and the latest runs."""
        self._ask(_print_tables, None)

    def tree(self, run_id: str) -> str | None:
        """The nodes of a run at its start, as JSON text."""

        def question(connection: sqlite3.Connection) -> str | None:
            sql = "select tree from execution_trees where run_id = ?"
            found = connection.execute(sql, (run_id,)).fetchone()
            return None if found is None else str(found[0])

        return self._ask(question, None)

    def snapshot(self, dag_name: str, kind: str) -> tuple[str | None, float, str] | None:
        """The latest snapshot of a workflow: (run id, when it was taken, data)."""
        return self._ask(lambda c: read.load_snapshot(c, dag_name, kind), None)

    def written_after(self, run_id: str, at: float) -> set[tuple[str, str]]:
        """The (namespace, key) pairs of a run's values that were stored later than `at`."""
        sql = "select namespace, key from artifacts where run_id = ? and updated_at > ?"
        return self._ask(lambda c: {(row[0], row[1]) for row in c.execute(sql, (run_id, at))}, set())

    def _blob(self, kept: Kept) -> bytearray:
        return self._ask(lambda c: blobs.fetch(c, kept), bytearray())

    def hidden(self, dag_name: str, values: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Values by namespace and key, with those hidden that a workflow's actions take as secrets."""
        session = self._session
        if dag_name not in session.workflows or "inputs" not in values:
            return dict(values)
        specs = flatten(session.find_workflow(dag_name), session._finder())
        return {**values, "inputs": hide_secrets(specs, session.actions(), values["inputs"])[1]}

    def scheduler(self, run_id: str) -> Scheduler:
        """A run as it stands: under way here, or replayed."""
        live = self._session.live.get(run_id)
        if live is not None:
            return live.scheduler
        stored = self._ask(lambda c: read.load(c, run_id, self._session.clock.now(), self._blob), None)
        if stored is None:
            raise DagNotFound(run_id, (), what="run")
        return replay(stored, self._session.codec, self._session.recall).scheduler


def _ran(connection: sqlite3.Connection) -> tuple[str, ...]:
    return tuple(row[0] for row in connection.execute("select distinct dag_name from runs"))


def _print_tables(connection: sqlite3.Connection) -> None:
    tables = connection.execute("select name from sqlite_master where type = 'table' order by 1").fetchall()
    for (name,) in tables:
        count = connection.execute(f'select count(*) from "{name}"').fetchone()[0]
        print(f"{name}: {count} rows")
    latest = "select run_id, dag_name, status, nodes, completed from runs order by created_at desc limit 20"
    for run_id, dag_name, status, nodes, completed in connection.execute(latest):
        print(f"  run {run_id} of {dag_name!r}: {status}, {completed} of {nodes} nodes completed")


def metrics_of(scheduler: Scheduler, is_cached: Callable[[str], bool]) -> ExecutionMetrics:
    """The metrics of a run; `is_cached(action)` tells whether an action's results are kept."""
    nodes = list(scheduler.nodes.values())
    ran = [node for node in nodes if node.spec.kind == "action"]
    times = {
        node.id: node.finished_at - node.started_at
        for node in ran
        if node.started_at is not None and node.finished_at is not None
    }
    ends = [node.finished_at for node in nodes if node.finished_at is not None]
    begun = scheduler.started_at
    hits = scheduler.count[NodeStatus.CACHED]
    cacheable = sum(node.status is NodeStatus.CACHED or _is_cacheable(node, is_cached) for node in ran)
    count = scheduler.count
    return ExecutionMetrics(
        run_id=scheduler.run_id,
        total_nodes=len(nodes),
        completed_nodes=count[NodeStatus.COMPLETED] + hits + count[NodeStatus.RECOVERED],
        failed_nodes=count[NodeStatus.FAILED],
        skipped_nodes=count[NodeStatus.SKIPPED],
        retries=sum(max(0, node.attempt - 1) for node in ran),
        total_time=max(ends) - begun if ends and begun is not None else 0.0,
        avg_node_time=sum(times.values()) / len(times) if times else 0.0,
        slowest_node=max(times, key=lambda id: times[id], default=None),
        cache_hit_rate=hits / cacheable if cacheable else 0.0,
    )


def _is_cacheable(node: Node, is_cached: Callable[[str], bool]) -> bool:
    said = node.spec.cache
    return is_cached(node.spec.action) if said is None else said not in (False, "never")


class GuideStore:
    """`executor.store`: the database by the guide's names."""

    def __init__(self, session: Session, records: Records) -> None:
        self._session, self._records = session, records

    async def save_cache_delta(self, dag_name: str, delta: Mapping[str, Mapping[str, Any]]) -> None:
        """Store values (namespace -> key -> value) with the latest run of a workflow.

        Before its first run they are added to the snapshot that `load_cache_snapshot` gives. A run that
        another process drives raises `InvalidState`.
        """
        values = self._records.hidden(dag_name, Cache(delta).as_dict())
        store = await self._session.open()
        run_id = self._records.latest(dag_name)
        if run_id is None:
            saved = self._records.snapshot(dag_name, "cache")
            cache = Cache() if saved is None else Cache.from_json(saved[2])
            for namespace, key, value in _flat(values):
                cache.insert(namespace, key, value)
            await store.save_snapshot(None, dag_name, "cache", cache.to_json(indent=None))
            return
        rows = [row for ns, found in values.items() for row in self._session.encoded(run_id, ns, found)]
        await store.save_artifacts(run_id, rows)

    async def load_execution_tree(self, dag_name: str) -> ExecutionTree | None:
        """The nodes of the latest run of a workflow, grown ones too; None if it has never run."""
        run_id = self._records.latest(dag_name)
        if run_id is None:
            return None
        return ExecutionTree(run_id, {row["node_id"]: row for row in self._records.node_rows(run_id)})

    async def load_execution_state(self, dag_name: str, state: str) -> dict[str, Any] | None:
        """The latest run of a workflow that is `"active"` (begun, not ended) or `"pending"`, else None."""
        if state not in ("active", "pending"):
            raise ValidationError(f"state is 'active' or 'pending', not {shorten(state)}", culprit="state")
        return self._records.state(dag_name, state)

    async def debug_print_db(self) -> None:
        """Print every table with its number of rows, and the latest runs."""
        self._records.print_tables()


def _flat(values: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    for namespace, found in values.items():
        for key, value in found.items():
            yield namespace, key, value
