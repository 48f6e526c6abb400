"""The core API, by the guide's own names: `DagExecutor` holds workflows and a database, a `Coordinator`
runs one of them on the caller's loop."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ..actions import ActionRegistry, prepared
from ..api.outcomes import ExecutionReport, report_of
from ..cache import Cache
from ..codec import load_defs
from ..config import DagConfig
from ..core.model import NodeDef, RunStatus, iter_refs, node_id_problem
from ..errors import (
    DagNotFound,
    DependencyNotFound,
    InvalidState,
    NodeAlreadyExists,
    NodeNotFound,
    ValidationError,
    shorten,
)
from ..runtime.prepare import Prepared, check_inputs
from ..runtime.session import Session
from ..runtime.snapshots import state_text
from ..workflow.builder import Workflow
from ..workflow.flatten import flatten
from ..workflow.grown import grown_workflow
from ..workflow.yaml import load_yaml_dir, load_yaml_file, load_yaml_text
from .coordinator import BoundCache, CancelToken, Coordinator, need, raise_failure, stored_values
from .inspecting import (
    DagMetadata,
    ExecutionMetrics,
    ExecutionTree,
    GuideStore,
    NodeState,
    Records,
    metrics_of,
)
from .legacy import register_action

UNFINISHED = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.INTERRUPTED)
TO_GO_ON_WITH = (*UNFINISHED, RunStatus.FAILED, RunStatus.CANCELLED)


class DagExecutor:
    """Workflows, actions and a database, for use on the caller's own event loop.

    `config`: a `DagConfig` or a mapping of its settings; `registry`: the actions; `database` as for
    `DagFlow` (with its errors); `app_data`: what actions and hooks find as `ctx.app_data`. `store`: the
    database by the guide's names. Use it with `async with`, or `await DagExecutor.open(...)` and
    `await executor.close()`.

    >>> import asyncio
    >>> registry = ActionRegistry()
    >>> @registry.action
    ... def double(n: int) -> dict:
    ...     return {"value": 2 * n}
    >>> async def main():
    ...     async with DagExecutor(registry=registry) as executor:
    ...         executor.load_yaml_string('''
    ...             name: calculate
    ...             nodes: [{id: twice, action: double, inputs: [{name: n, reference: inputs.n}]}]
    ...         ''')
    ...         cache = Cache({"inputs": {"n": 21}})
    ...         report = await Coordinator().run_parallel(executor, cache, "calculate", "run_001")
    ...         return report.status, cache.get("twice", "value")
    >>> asyncio.run(main())
    ('completed', 42)
    """

    def __init__(
        self,
        config: DagConfig | Mapping[str, Any] | None = None,
        registry: ActionRegistry | None = None,
        database: str | os.PathLike[str] = "sqlite::memory:",
        *,
        app_data: Any = None,
    ) -> None:
        self._session = Session(database, config=config, registry=registry, app_data=app_data)
        self._records = Records(self._session)
        self._extra: dict[str, list[NodeDef]] = {}
        self._disabled: set[str] = set()
        self._last: str | None = None
        self.store = GuideStore(self._session, self._records)

    @classmethod
    async def open(cls, *args: Any, **kwargs: Any) -> DagExecutor:
        """An executor whose database is open."""
        return await cls(*args, **kwargs).__aenter__()

    async def close(self) -> None:
        """Interrupt what is under way (it can be resumed) and close the database. Again: nothing."""
        await self._session.close()

    async def __aenter__(self) -> DagExecutor:
        await self._session.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        workflows, actions = ", ".join(map(repr, self.list_dags())) or "none", len(self.registry)
        return f"<DagExecutor {self._session.database}: {actions} actions, workflows: {workflows}>"

    @property
    def registry(self) -> ActionRegistry:
        """The actions."""
        return self._session.registry

    @property
    def config(self) -> DagConfig:
        """The settings of all runs."""
        return self._session.config

    # --- workflows ----------------------------------------------------------------------------

    def add_workflow(self, wf: Workflow) -> Workflow:
        """Check a workflow and take it; the same name replaces, with the nodes that were added to it."""
        added = self._session.add_workflow(wf)
        self._extra.pop(added.name, None)
        return added

    def load_yaml_file(self, path: str | os.PathLike[str]) -> Workflow:
        """Load the workflow in a YAML file; an error names file and line, and nothing is loaded."""
        return self.add_workflow(load_yaml_file(path))

    def load_yaml_string(self, text: str) -> Workflow:
        """Load the workflow in a YAML text."""
        return self.add_workflow(load_yaml_text(text))

    def load_yaml_dir(self, path: str | os.PathLike[str]) -> list[Workflow]:
        """Load every `.yaml` and `.yml` file of a folder, all or none."""
        added = self._session.add_workflows(load_yaml_dir(path))
        for workflow in added:
            self._extra.pop(workflow.name, None)
        return added

    def list_dags(self) -> list[str]:
        """The names of the workflows."""
        return list(self._session.workflows)

    def list_dags_by_tags(self, tags: Iterable[str] | str, match: str = "all") -> list[str]:
        """The names of the workflows that have all (`match="all"`) or any (`"any"`) of these tags."""
        if match not in ("all", "any"):
            raise ValidationError(f"match is 'all' or 'any', not {shorten(match)}", culprit="match")
        wanted = {tags} if isinstance(tags, str) else set(tags)
        found = [(name, set(workflow.tags)) for name, workflow in self._session.workflows.items()]
        return [name for name, have in found if (wanted <= have if match == "all" else wanted & have)]

    def has_dag(self, name: str) -> bool:
        """Whether there is a workflow of that name."""
        return name in self._session.workflows

    def get_dag_metadata(self, name: str) -> DagMetadata:
        """What a workflow says of itself; raises `DagNotFound`."""
        w = self._session.find_workflow(name)
        return DagMetadata(w.name, w.description, w.author, w.version, w.signature, tuple(w.tags))

    def _specs(self, name: str) -> tuple[NodeDef, ...]:
        """The nodes of a workflow, those of its sub-workflows and those that were added."""
        workflow = self._session.find_workflow(name)
        return (*flatten(workflow, self._session._finder(workflow)), *self._extra.get(name, ()))

    def add_node(self, dag_name: str, node_id: str, action: str, deps: Iterable[str] = ()) -> None:
        """Add a node to a workflow, for runs that begin from now on.

        Raises `DagNotFound`, `NodeAlreadyExists`, `DependencyNotFound`, `ActionNotFound`, or
        `ValidationError` for what cannot be an id; nothing has changed then.
        """
        nodes = {spec.id: spec for spec in self._specs(dag_name)}
        if problem := node_id_problem(node_id):
            raise ValidationError(problem, culprit=node_id)
        if node_id in nodes:
            raise NodeAlreadyExists(node_id)
        needed = (deps,) if isinstance(deps, str) else tuple(dict.fromkeys(deps))
        outside = [id for id, spec in nodes.items() if spec.parent is None]
        for dep in needed:
            if dep not in outside:
                raise DependencyNotFound(node_id, dep, outside)
        self.registry.need(action, node_id)
        self._extra.setdefault(dag_name, []).append(NodeDef(id=node_id, action=action, deps=needed))

    def enable_nodes(self, ids: Iterable[str] | str) -> None:
        """Undo `disable_nodes`, for runs that begin from now on."""
        self._disabled -= set(self._known(ids))

    def disable_nodes(self, ids: Iterable[str] | str) -> None:
        """Skip these nodes when their turn comes, in runs that begin from now on; raises `NodeNotFound`."""
        self._disabled |= set(self._known(ids))

    def _known(self, ids: Iterable[str] | str) -> list[str]:
        wanted = [ids] if isinstance(ids, str) else list(ids)
        nodes = {spec.id for name in self._session.workflows for spec in self._specs(name)}
        for id in wanted:
            if id not in nodes:
                raise NodeNotFound(id, nodes)
        return wanted

    def validate(self, dag_name: str) -> None:
        """Check that a workflow can run: its graph, its actions and what they take. Raises what is wrong."""
        ready = self._prepare(dag_name, Cache(), check_inputs=False)
        values = [value for spec in ready.specs for value in (spec.inputs, spec.over)]
        refs = [ref for value in values for ref in iter_refs(value) if ref.target == "inputs"]
        check_inputs(ready.specs, ready.actions, {str(ref.path[0]): None for ref in refs if ref.path})

    def _prepare(self, dag_name: str, cache: Cache, check_inputs: bool = True) -> Prepared:
        return self._session.prepare(
            self._session.find_workflow(dag_name),
            cache=cache,
            extra_nodes=self._extra.get(dag_name, ()),
            check_inputs=check_inputs,
        )

    # --- looking ------------------------------------------------------------------------------

    def is_paused(self) -> bool:
        """Whether the latest run (of this executor; before its first one, of the database) is paused."""
        run_id = self._last or self._records.latest()
        row = self._records.run(run_id) if run_id is not None else None
        return row is not None and row["status"] == RunStatus.PAUSED

    def get_node_state(self, dag_name: str, node_id: str) -> NodeState:
        """How a node stands in the latest run of a workflow; raises `DagNotFound` or `NodeNotFound`."""
        return self._records.node_state(self._records.need_latest(dag_name), node_id)

    def get_execution_metrics(self, dag_name: str) -> ExecutionMetrics:
        """How the latest run of a workflow went; raises `DagNotFound` if it has never run."""
        return metrics_of(self._records.scheduler(self._records.need_latest(dag_name)), self._is_cached)

    def _is_cached(self, action: str) -> bool:
        found = self.registry.get(action)
        return found is not None and prepared(found).cache.on

    async def serialize_tree_to_dot(self, dag_name: str) -> str:
        """The latest run's graph, or the workflow's if it has not run, in Graphviz's language."""
        from ..notebook.picture import snapshot_picture, workflow_picture
        from ..runtime.watching import snapshot_of

        await self._session.open()
        run_id = self._records.latest(dag_name)
        if run_id is not None:
            return snapshot_picture(snapshot_of(self._records.scheduler(run_id))).source
        workflow = self._session.find_workflow(dag_name)
        if self._extra.get(dag_name):
            workflow = grown_workflow(dag_name, self._specs(dag_name))
        return workflow_picture(workflow).source

    # --- running ------------------------------------------------------------------------------

    async def execute_static_dag(
        self, dag_name: str, cache: Cache, cancel: CancelToken | None = None
    ) -> ExecutionReport:
        """Run a workflow without hooks; with a cache from `load_cache_snapshot` go on with that run.

        Raises `NodeExecutionError`, `ExecutionTimeout` or `RunCancelled` if it does not succeed. A run
        that has completed already is not run again: its report comes back.
        """
        run_id = cache.run_id if isinstance(cache, BoundCache) else None
        return await self._execute(dag_name, cache, run_id, cancel)

    async def resume_execution(self, cache: Cache, cancel: CancelToken | None = None) -> ExecutionReport:
        """Go on with the run that the cache was loaded from; with another cache, with the latest run.

        The latest run is that of this executor (or of `recover_from_snapshot`), else the latest in the
        database that has not completed. Raises as `execute_static_dag`, and `InvalidState` if there is none.
        """
        return await self._execute(None, cache, self._bound(cache), cancel)

    async def resume_from_pause(self, cache: Cache, cancel: CancelToken | None = None) -> ExecutionReport:
        """Go on with a paused run; what the cache has under `human_input` answers what was asked.

        Which run: see `resume_execution`. An answer that does not fit is a `ValidationError`, and the run
        stays paused; a run that is not paused is `InvalidState`.
        """
        run_id = self._bound(cache)
        row = self._records.run(run_id)
        if row is not None and row["status"] != RunStatus.PAUSED:
            raise InvalidState(
                f"run {run_id!r} is {row['status']}, not paused: go on with resume_execution(cache)",
                culprit=run_id,
            )
        return await self._execute(None, cache, run_id, cancel)

    def _bound(self, cache: Cache) -> str:
        run_id = cache.run_id if isinstance(cache, BoundCache) else None
        run_id = run_id or self._last or self._records.latest(None, TO_GO_ON_WITH)
        if run_id is None:
            raise InvalidState("there is no run to go on with: begin one with execute_static_dag")
        return run_id

    async def _execute(
        self, dag_name: str | None, cache: Cache, run_id: str | None, cancel: CancelToken | None
    ) -> ExecutionReport:
        if run_id is not None:
            row = self._records.run(run_id) or {}
            if row.get("status") == RunStatus.COMPLETED and dag_name in (None, row["dag_name"]):
                return report_of(self._records.scheduler(run_id))
        coordinator = await Coordinator()._drive(self, cache, dag_name, run_id, cancel)
        raise_failure(coordinator)
        return report_of(coordinator.scheduler)

    # --- snapshots ----------------------------------------------------------------------------

    async def save_cache_snapshot(self, dag_name: str, cache: Cache) -> None:
        """Store a cache with the latest run of a workflow, or by itself before its first run."""
        need("cache", cache, Cache)
        store = await self._session.open()
        cache = Cache(self._records.hidden(dag_name, cache.as_dict()))
        await store.save_snapshot(
            self._records.latest(dag_name), dag_name, "cache", cache.to_json(indent=None)
        )

    async def load_cache_snapshot(self, dag_name: str) -> Cache:
        """The cache of a workflow's latest run: inputs, outputs, human input, and what was saved by hand.

        What was saved by hand stands over what the run had stored until then. The cache is bound to that
        run: `execute_static_dag` and `resume_*` with it go on with the run. Raises `DagNotFound` if there is
        neither a run nor a snapshot.
        """
        await self._session.open()
        run_id, saved = self._records.latest(dag_name), self._records.snapshot(dag_name, "cache")
        if saved is None and run_id is None:
            raise DagNotFound(dag_name, self.list_dags(), what="run or snapshot of")
        cache = Cache()
        if run_id is not None:
            for namespace, key, value in stored_values(await self._session.load(run_id)):
                cache.insert(namespace, key, value)
        if saved is not None and saved[0] == run_id:
            newer = self._records.written_after(run_id, saved[1]) if run_id is not None else ()
            for namespace, values in Cache.from_json(saved[2]).as_dict().items():
                for key, value in values.items():
                    if (namespace, key) not in newer:
                        cache.insert(namespace, key, value)
        bound = BoundCache(cache)
        bound.run_id = run_id
        return bound

    async def save_execution_snapshot(self, dag_name: str) -> None:
        """Store where the latest run of a workflow stands; raises `DagNotFound` if it has never run."""
        store = await self._session.open()
        run_id = self._records.need_latest(dag_name)
        scheduler = self._records.scheduler(run_id)
        await store.save_snapshot(run_id, dag_name, "execution", state_text(scheduler))

    @classmethod
    async def recover_from_snapshot(
        cls, dag_name: str, registry: ActionRegistry, database: str | os.PathLike[str]
    ) -> DagExecutor:
        """An executor that goes on with a run of a workflow by `resume_execution(cache)`.

        Which run: that of the latest execution snapshot; if that has completed, or there is none, the
        latest one. The graph comes from the database. Raises `DagNotFound` if the workflow has never run.
        """
        executor = await cls.open(None, registry, database)
        try:
            executor._recover(dag_name)
        except BaseException:
            await executor.close()
            raise
        return executor

    def _recover(self, dag_name: str) -> None:
        records = self._records
        run_id = records.need_latest(dag_name)
        saved = records.snapshot(dag_name, "execution")
        if saved is not None and saved[0] is not None:
            row = records.run(saved[0])
            if row is not None and row["status"] != RunStatus.COMPLETED:
                run_id = saved[0]
        self._last = run_id
        tree = records.tree(run_id)
        if tree is not None:
            self._session.workflows[dag_name] = grown_workflow(dag_name, load_defs(self._session.codec, tree))


__all__ = [
    "CancelToken",
    "Coordinator",
    "DagExecutor",
    "DagMetadata",
    "ExecutionMetrics",
    "ExecutionTree",
    "NodeState",
    "register_action",
]
