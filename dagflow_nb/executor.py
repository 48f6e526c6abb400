"""The core API, by the guide's own names: `DagExecutor` holds workflows and a database, `Coordinator` runs
one of them on the caller's loop."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .actions import ActionRegistry
from .cache import Cache
from .codec import load_defs
from .config import DagConfig
from .core import messages as m
from .core.graph import find_cycle
from .core.model import NodeDef, NodeStatus, RunStatus
from .errors import (
    CycleError,
    DagNotFound,
    DependencyNotFound,
    ExecutionTimeout,
    InvalidState,
    NodeAlreadyExists,
    NodeExecutionError,
    NodeNotFound,
    RunCancelled,
    ValidationError,
)
from .hooks import HookSet, make_hook
from .legacy import register_action
from .run import OVER, ExecutionReport, check_answers_of, report_of, time_is_over
from .runtime.coordinator import RunCoordinator
from .runtime.recovery import Loaded
from .runtime.session import Session, who
from .store import Store
from .workflow.builder import Workflow
from .workflow.grown import grown_workflow
from .workflow.yaml import load_yaml_dir, load_yaml_file, load_yaml_text


class CancelToken:
    """Cancels a run from any thread: give it to `run_parallel`, call `cancel()` when it is time."""

    def __init__(self) -> None:
        self.cancelled = False
        self.reason: str | None = None
        self._listeners: list[Any] = []

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the runs that have this token, and those that get it later."""
        if not self.cancelled:
            self.cancelled, self.reason = True, reason
            for listener in list(self._listeners):
                listener()

    def _listen(self, coordinator: RunCoordinator) -> Any:
        def tell() -> None:
            coordinator.post_from_thread(lambda at: m.CancelRun(at, self.reason, who()))

        self._listeners.append(tell)
        if self.cancelled:
            tell()
        return lambda: self._listeners.remove(tell)

    def __repr__(self) -> str:
        return f"CancelToken(cancelled={self.cancelled})"


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
    """How the latest run of a workflow went; times in seconds, `cache_hit_rate` from 0 to 1."""

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


class _BoundCache(Cache):
    """A cache that was loaded from a run: executing with it goes on with that run."""

    run_id: str | None = None


class _GuideStore:
    """`executor.store`: the database by the guide's names."""

    def __init__(self, executor: DagExecutor) -> None:
        self._executor = executor

    async def save_cache_delta(self, dag_name: str, delta: Mapping[str, Mapping[str, Any]]) -> None:
        """Store values (namespace -> key -> value) with the latest run of a workflow."""
        store = await self._executor._session.open()
        run_id = self._executor._latest(store, dag_name)
        rows = []
        codec = self._executor._session.codec
        at = self._executor._session.clock.now()
        for namespace, values in delta.items():
            for key, value in values.items():
                e = codec.encode(value)
                rows.append((namespace, key, e.codec, e.data, e.size, e.reason, at))
        await store.save_artifacts(run_id, rows)

    async def load_execution_tree(self, dag_name: str) -> ExecutionTree | None:
        """The nodes of the latest run of a workflow; None if it has never run."""
        store = await self._executor._session.open()
        found = store.latest_run_id([dag_name])
        if found is None:
            return None
        await store.flush()
        return ExecutionTree(found, {row["node_id"]: row for row in store.node_rows(found)})

    async def load_execution_state(self, dag_name: str, state: str) -> dict[str, Any] | None:
        """The latest run of a workflow that is `"active"` or `"pending"`; None if there is none."""
        if state not in ("active", "pending"):
            raise ValidationError(f"state is 'active' or 'pending', not {state!r}", culprit="state")
        store = await self._executor._session.open()
        await store.flush()
        return store.execution_state(dag_name, state)

    async def debug_print_db(self) -> None:
        """Print every table with its number of rows, and the latest runs."""
        store = await self._executor._session.open()
        await store.flush()
        connection = store.connect()
        try:
            tables = connection.execute("select name from sqlite_master where type = 'table' order by 1").fetchall()
            for (name,) in tables:
                count = connection.execute(f'select count(*) from "{name}"').fetchone()[0]
                print(f"{name}: {count} rows")
            for row in connection.execute(
                "select run_id, dag_name, status, nodes, completed, failed from runs order by created_at desc limit 20"
            ):
                print("  run", *row)
        finally:
            connection.close()


class DagExecutor:
    """Workflows, actions and a database, for use on the caller's own event loop.

    `config`: a `DagConfig`; `registry`: an `ActionRegistry`; `database` as for `DagFlow`. Use it with
    `async with`, or `await DagExecutor.open(...)` and `await executor.close()`.
    """

    def __init__(
        self,
        config: DagConfig | Mapping[str, Any] | None = None,
        registry: ActionRegistry | None = None,
        database: str | os.PathLike[str] = "sqlite::memory:",
        *,
        app_data: Any = None,
    ) -> None:
        self._session = Session(os.fspath(database), config=config, registry=registry, app_data=app_data)
        self._extra: dict[str, list[NodeDef]] = {}
        self._disabled: set[str] = set()
        self._last: str | None = None
        self._restored: str | None = None
        self.store = _GuideStore(self)

    @classmethod
    async def open(cls, *args: Any, **kwargs: Any) -> DagExecutor:
        """An executor whose database is open."""
        executor = cls(*args, **kwargs)
        await executor._session.open()
        return executor

    async def close(self) -> None:
        """Interrupt what is under way and close the database."""
        await self._session.close()

    async def __aenter__(self) -> DagExecutor:
        await self._session.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def registry(self) -> ActionRegistry:
        """The actions."""
        return self._session.registry

    @property
    def config(self) -> DagConfig:
        """The settings of all runs."""
        return self._session.config

    # --- workflows ----------------------------------------------------------------------------

    def add_workflow(self, workflow: Workflow) -> Workflow:
        """Check a workflow and take it."""
        return self._session.add_workflow(workflow)

    def load_yaml_file(self, path: str | os.PathLike[str]) -> Workflow:
        """Load the workflow in a YAML file."""
        return self.add_workflow(load_yaml_file(path))

    def load_yaml_string(self, text: str) -> Workflow:
        """Load the workflow in a YAML text."""
        return self.add_workflow(load_yaml_text(text))

    def load_yaml_dir(self, path: str | os.PathLike[str]) -> list[Workflow]:
        """Load every YAML file of a folder, all or none."""
        return [self.add_workflow(workflow) for workflow in load_yaml_dir(path)]

    def list_dags(self) -> list[str]:
        """The names of the workflows."""
        return list(self._session.workflows)

    def list_dags_by_tags(self, tags: Iterable[str] | str, match: str = "all") -> list[str]:
        """The names of the workflows that have all (`match="all"`) or any (`"any"`) of these tags."""
        if match not in ("all", "any"):
            raise ValidationError(f"match is 'all' or 'any', not {match!r}", culprit="match")
        wanted = {tags} if isinstance(tags, str) else set(tags)
        fits = wanted.issubset if match == "all" else lambda have: bool(wanted & set(have))
        return [name for name, workflow in self._session.workflows.items() if fits(set(workflow.tags))]

    def has_dag(self, name: str) -> bool:
        """Whether there is a workflow of that name."""
        return name in self._session.workflows

    def get_dag_metadata(self, name: str) -> DagMetadata:
        """What a workflow says of itself; raises `DagNotFound`."""
        w = self._need(name)
        return DagMetadata(w.name, w.description, w.author, w.version, w.signature, tuple(w.tags))

    def _need(self, name: str) -> Workflow:
        if name not in self._session.workflows:
            raise DagNotFound(name, self._session.workflows)
        return self._session.workflows[name]

    def _nodes_of(self, name: str) -> dict[str, NodeDef]:
        return {**self._need(name).nodes, **{spec.id: spec for spec in self._extra.get(name, ())}}

    def add_node(self, dag_name: str, node_id: str, action: str, deps: Iterable[str] = ()) -> None:
        """Add a node to a workflow before it runs; raises `NodeAlreadyExists` or `DependencyNotFound`."""
        nodes = self._nodes_of(dag_name)
        if node_id in nodes:
            raise NodeAlreadyExists(node_id)
        needed = (deps,) if isinstance(deps, str) else tuple(deps)
        for dep in needed:
            if dep not in nodes:
                raise DependencyNotFound(node_id, dep, nodes)
        self._session.registry.need(action, node_id)
        self._extra.setdefault(dag_name, []).append(NodeDef(id=node_id, action=action, deps=needed))

    def enable_nodes(self, ids: Iterable[str] | str) -> None:
        """Undo `disable_nodes`."""
        self._disabled -= set(self._known(ids))

    def disable_nodes(self, ids: Iterable[str] | str) -> None:
        """Skip these nodes when their turn comes."""
        self._disabled |= set(self._known(ids))

    def _known(self, ids: Iterable[str] | str) -> list[str]:
        wanted = [ids] if isinstance(ids, str) else list(ids)
        nodes = {id for name in self._session.workflows for id in self._nodes_of(name)}
        for id in wanted:
            if id not in nodes:
                raise NodeNotFound(id, nodes)
        return wanted

    def validate(self, dag_name: str) -> None:
        """Check that a workflow can run: its graph and its actions. Raises what is wrong."""
        nodes = self._nodes_of(dag_name)
        if cycle := find_cycle(nodes):
            raise CycleError(cycle)
        self._prepare(dag_name, Cache(), check_inputs=False)

    def _prepare(self, dag_name: str, cache: Cache, check_inputs: bool = True) -> Any:
        self._need(dag_name)
        return self._session.prepare(
            dag_name, cache=cache, extra_nodes=self._extra.get(dag_name, ()), check_inputs=check_inputs
        )

    # --- looking ------------------------------------------------------------------------------

    def is_paused(self) -> bool:
        """Whether the latest run is paused."""
        store = self._session.store
        row = store.run_row(self._last) if store is not None and self._last is not None else None
        return row is not None and row["status"] == "paused"

    def _latest(self, store: Store | None, dag_name: str) -> str:
        found = store.latest_run_id([dag_name]) if store is not None else None
        if found is None:
            raise DagNotFound(dag_name, (), what="run of")
        return found

    def get_node_state(self, dag_name: str, node_id: str) -> NodeState:
        """How a node stands in the latest run of a workflow; raises `DagNotFound` or `NodeNotFound`."""
        rows = {row["node_id"]: row for row in self._rows(dag_name)}
        row = rows.get(node_id)
        if row is None:
            raise NodeNotFound(node_id, rows)
        return NodeState(
            NodeStatus(row["status"]), row["attempts"], row["error"], row["started_at"], row["finished_at"]
        )

    def _rows(self, dag_name: str) -> list[dict[str, Any]]:
        store = self._session.store
        run_id = self._latest(store, dag_name)
        assert store is not None
        coordinator = self._session.live.get(run_id)
        if coordinator is None:
            return store.node_rows(run_id)
        return [
            {
                "node_id": node.id,
                "status": str(node.status),
                "attempts": node.attempt,
                "error": node.error,
                "started_at": node.started_at,
                "finished_at": node.finished_at,
                "kind": node.spec.kind,
            }
            for node in list(coordinator.scheduler.nodes.values())
        ]

    def get_execution_metrics(self, dag_name: str) -> ExecutionMetrics:
        """How the latest run of a workflow went; raises `DagNotFound` if it has never run."""
        store = self._session.store
        run_id = self._latest(store, dag_name)
        rows = self._rows(dag_name)
        times = {
            row["node_id"]: row["finished_at"] - row["started_at"]
            for row in rows
            if row["started_at"] is not None and row["finished_at"] is not None
        }
        states = [row["status"] for row in rows]
        started = [row["started_at"] for row in rows if row["started_at"] is not None]
        ended = [row["finished_at"] for row in rows if row["finished_at"] is not None]
        cacheable = states.count("cached")
        return ExecutionMetrics(
            run_id=run_id,
            total_nodes=len(rows),
            completed_nodes=sum(state in ("completed", "cached", "recovered") for state in states),
            failed_nodes=states.count("failed"),
            skipped_nodes=states.count("skipped"),
            retries=sum(max(0, row["attempts"] - 1) for row in rows),
            total_time=max(ended) - min(started) if started and ended else 0.0,
            avg_node_time=sum(times.values()) / len(times) if times else 0.0,
            slowest_node=max(times, key=lambda id: times[id]) if times else None,
            cache_hit_rate=1.0 if cacheable else 0.0,
        )

    async def serialize_tree_to_dot(self, dag_name: str) -> str:
        """The latest run's graph, or the workflow's if it has not run, in Graphviz's language."""
        from .notebook.picture import snapshot_picture, workflow_picture
        from .runtime.watching import snapshot_of

        store = await self._session.open()
        run_id = store.latest_run_id([dag_name])
        if run_id is None:
            return workflow_picture(self._need(dag_name)).source
        live = self._session.live.get(run_id)
        scheduler = live.scheduler if live is not None else (await self._session.load(run_id)).scheduler
        return snapshot_picture(snapshot_of(scheduler)).source

    # --- running ------------------------------------------------------------------------------

    async def execute_static_dag(
        self, dag_name: str, cache: Cache, cancel: CancelToken | None = None
    ) -> ExecutionReport:
        """Run a workflow without hooks; with a cache from `load_cache_snapshot` go on with that run.

        Raises `NodeExecutionError`, `ExecutionTimeout` or `RunCancelled` if it does not succeed.
        """
        run_id = cache.run_id if isinstance(cache, _BoundCache) else None
        return await self._execute(dag_name, cache, run_id, cancel)

    async def resume_execution(self, cache: Cache, cancel: CancelToken | None = None) -> ExecutionReport:
        """Go on with the run that the cache, or `recover_from_snapshot`, belongs to."""
        return await self._execute(None, cache, self._bound(cache), cancel)

    async def resume_from_pause(self, cache: Cache, cancel: CancelToken | None = None) -> ExecutionReport:
        """Go on with a paused run; what the cache has under `human_input` answers what was asked."""
        return await self._execute(None, cache, self._bound(cache), cancel)

    def _bound(self, cache: Cache) -> str:
        run_id = (cache.run_id if isinstance(cache, _BoundCache) else None) or self._last or self._restored
        if run_id is None:
            raise InvalidState(
                "there is no run to go on with: load its cache with load_cache_snapshot(dag_name) first"
            )
        return run_id

    async def _execute(
        self, dag_name: str | None, cache: Cache, run_id: str | None, cancel: CancelToken | None
    ) -> ExecutionReport:
        coordinator = Coordinator()
        return await coordinator._drive(self, cache, dag_name, run_id, cancel, hooks=[], raising=True)

    # --- snapshots ----------------------------------------------------------------------------

    async def save_cache_snapshot(self, dag_name: str, cache: Cache) -> None:
        """Store a cache with the latest run of a workflow (before its first run: for its next one)."""
        store = await self._session.open()
        run_id = store.latest_run_id([dag_name])
        await store.save_snapshot(run_id, dag_name, "cache", cache.to_json(indent=None))

    async def load_cache_snapshot(self, dag_name: str) -> Cache:
        """The cache of the latest run: its inputs and outputs, and what was saved by hand; bound to that run."""
        store = await self._session.open()
        await store.flush()
        cache = _BoundCache()
        saved = store.load_snapshot(dag_name, "cache")
        run_id = store.latest_run_id([dag_name])
        if saved is None and run_id is None:
            raise DagNotFound(dag_name, self._session.workflows, what="run or snapshot of")
        if saved is not None and saved[0] == run_id:
            for namespace, values in Cache.from_json(saved[2]).as_dict().items():
                for key, value in values.items():
                    cache.insert(namespace, key, value)
        if run_id is not None:
            loaded = await self._session.load(run_id)
            for namespace, found in loaded.namespaces.items():
                for key in found:
                    cache.insert(namespace, key, found[key])
            cache.run_id = run_id
        return cache

    async def save_execution_snapshot(self, dag_name: str) -> None:
        """Store where the latest run of a workflow stands, as a snapshot of its own."""
        store = await self._session.open()
        await store.flush()
        run_id = self._latest(store, dag_name)
        state = {row["node_id"]: row["status"] for row in store.node_rows(run_id)}
        await store.save_snapshot(run_id, dag_name, "execution", json.dumps({"run_id": run_id, "nodes": state}))

    @classmethod
    async def recover_from_snapshot(
        cls, dag_name: str, registry: ActionRegistry, database: str | os.PathLike[str]
    ) -> DagExecutor:
        """An executor that can go on with the latest run of a workflow; its graph comes from the database."""
        executor = await cls.open(None, registry, database)
        store = await executor._session.open()
        run_id = store.latest_run_id([dag_name])
        if run_id is None:
            await executor.close()
            raise DagNotFound(dag_name, (), what="run of")
        found = store.execution_tree(dag_name)
        if found is not None and not executor.has_dag(dag_name):
            specs = load_defs(executor._session.codec, found[1])
            executor._session.workflows[dag_name] = grown_workflow(dag_name, specs)
        executor._restored = executor._last = run_id
        return executor


class Coordinator:
    """Runs workflows of a `DagExecutor` on the caller's loop, with hooks.

    `event_capacity`, `command_capacity`: how much of what workers and other threads post may wait to be
    read (at least 1). `max_parallel`: attempts at once (None: what the executor's config says).
    """

    def __init__(
        self,
        hooks: Iterable[Any] = (),
        event_capacity: int = 100,
        command_capacity: int = 100,
        max_parallel: int | None = None,
    ) -> None:
        for name, value in (("event_capacity", event_capacity), ("command_capacity", command_capacity)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValidationError(f"{name} is a number of at least 1, not {value!r}", culprit=name, value=value)
        if max_parallel is not None and (not isinstance(max_parallel, int) or max_parallel < 1):
            raise ValidationError(f"max_parallel is a number of at least 1, not {max_parallel!r}", culprit="max_parallel")
        self.event_capacity, self.command_capacity = event_capacity, command_capacity
        self.max_parallel = max_parallel
        self.hooks = HookSet([make_hook(hook) for hook in hooks])

    @classmethod
    def new_with_concurrency(
        cls, hooks: Iterable[Any], event_capacity: int, command_capacity: int, max_parallel: int
    ) -> Coordinator:
        """A coordinator with a bound on the attempts at once."""
        return cls(hooks, event_capacity, command_capacity, max_parallel)

    async def run_parallel(
        self,
        executor: DagExecutor,
        cache: Cache,
        dag_name: str,
        run_id: str,
        cancel: CancelToken | None = None,
    ) -> ExecutionReport:
        """Run a workflow and return its report; failures of nodes are in the report, not raised.

        An unfinished `run_id` is continued, a finished one is `InvalidState`. Raises `DagNotFound`,
        `ActionNotFound` or `ValidationError` for wrong use.
        """
        return await self._drive(executor, cache, dag_name, run_id, cancel, hooks=list(self.hooks), raising=False)

    async def _drive(
        self,
        executor: DagExecutor,
        cache: Cache,
        dag_name: str | None,
        run_id: str | None,
        cancel: CancelToken | None,
        *,
        hooks: list[Any],
        raising: bool,
    ) -> ExecutionReport:
        session = executor._session
        store = await session.open()
        row = store.run_row(run_id) if run_id is not None else None
        common: dict[str, Any] = {"hooks": hooks, "capacity": self.event_capacity, "record": _recorder(cache)}
        if row is None:
            if dag_name is None:
                raise DagNotFound(str(run_id), (), what="run")
            prepared = executor._prepare(dag_name, cache)
            coordinator = await session.begin(
                prepared,
                run_id=run_id,
                max_parallel=self.max_parallel,
                disabled=executor._disabled,
                **common,
            )
        else:
            if dag_name is not None and row["dag_name"] != dag_name:
                raise InvalidState(
                    f"run {run_id!r} is one of {row['dag_name']!r}, not of {dag_name!r}: choose another run_id",
                    culprit=run_id,
                )
            if row["status"] == RunStatus.COMPLETED or (not raising and row["status"] in OVER):
                raise InvalidState(
                    f"run {run_id!r} has ended ({row['status']}): choose another run_id", culprit=run_id
                )
            assert run_id is not None
            config = {"max_parallel_nodes": self.max_parallel} if self.max_parallel is not None else None
            coordinator = await session.reopen(
                run_id, lambda loaded: _go_on(loaded, cache, session.clock.now()), config=config, **common
            )
        executor._last = coordinator.run_id
        stop = cancel._listen(coordinator) if cancel is not None else None
        try:
            await asyncio.shield(coordinator.done)
        except asyncio.CancelledError:
            if not coordinator.done.done():
                coordinator.post(m.Interrupt(session.clock.now()))
                await asyncio.wait({coordinator.done})
            raise
        finally:
            if stop is not None:
                stop()
        report = report_of(coordinator.scheduler)
        if raising:
            _raise(coordinator, report)
        return report


def _recorder(cache: Cache) -> Any:
    return cache.insert if isinstance(cache, Cache) else None


def _go_on(loaded: Loaded, cache: Cache, at: float) -> list[m.Input]:
    """How a stored run is taken up by the core API."""
    scheduler = loaded.scheduler
    if scheduler.status in (RunStatus.FAILED, RunStatus.CANCELLED):
        return [m.RetryNodes(at, None, True, who())]
    if scheduler.status is not RunStatus.PAUSED:
        return [m.Tick(at)]
    answers = dict(cache.as_dict().get("human_input", {}))
    if not answers and time_is_over(scheduler, None, at):
        return [m.Tick(at)]
    return [m.Resume(at, None, check_answers_of(scheduler, None, answers, {}), who())]


def _raise(coordinator: RunCoordinator, report: ExecutionReport) -> None:
    scheduler = coordinator.scheduler
    if scheduler.status is RunStatus.CANCELLED:
        error = RunCancelled(f"run {scheduler.run_id!r} was cancelled", report=report)
        error.reason = scheduler.error
        raise error
    if scheduler.status is not RunStatus.FAILED:
        return
    if scheduler.error_node is None:
        text = scheduler.error or "failed"
        raise ExecutionTimeout(text, report=report) if "timeout_seconds" in text else NodeExecutionError(
            "", text, report=report
        )
    raise NodeExecutionError(
        scheduler.error_node, scheduler.error or "failed", report=report
    ) from coordinator.exceptions.get(scheduler.error_node)


__all__ = [
    "CancelToken",
    "Coordinator",
    "DagExecutor",
    "DagMetadata",
    "ExecutionMetrics",
    "NodeState",
    "register_action",
]
