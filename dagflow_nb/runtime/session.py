"""What runs share: a database, actions, hooks, workflows; for `DagFlow`'s own loop and `DagExecutor`'s."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..actions import ActionRegistry, NodeAction, as_action, prepared
from ..cache import Cache
from ..clock import Clock, SystemClock
from ..codec import Codec, dump_defs
from ..codec.weight import are_heavy
from ..config import DagConfig
from ..core import messages as m
from ..core.graph import Graph
from ..core.model import EMPTY, NodeDef
from ..core.scheduler import Scheduler
from ..errors import DagNotFound, InvalidState, ValidationError
from ..hooks import Hook, HookSet
from ..store import MEMORY, Store, Unit, parse_database
from ..store.schema import inspect
from ..workflow.builder import Workflow
from ..workflow.flatten import flatten
from . import prepare
from .coordinator import RunCoordinator
from .executors import Executors
from .hiding import hidden_literals, hide_secrets, put_back
from .keying import Refresh
from .known import Results
from .outline import Outline
from .prepare import Prepared
from .recovery import Loaded, lost_nodes, replay, unanswered
from .rows import STEP
from .run_cache import RunCache, Stored
from .values import Values
from .warm_up import warm_up

log = logging.getLogger("dagflow_nb")
_told: set[str] = set()  # databases whose note has been told in this process
MOST_IN_ROW = 10_000  # bytes of an input that are also kept in the run's own row


class Session:
    """Actions, hooks, workflows, and the runs that are under way here.

    `live`: coordinators of runs by id. `memory`: values that could not be stored, by (run id,
    namespace, key), kept as long as the process lives.
    """

    def __init__(
        self,
        database: str | os.PathLike[str],
        *,
        config: DagConfig | Mapping[str, Any] | None = None,
        registry: ActionRegistry | None = None,
        hooks: Iterable[Any] = (),
        executors: Mapping[str, Any] | None = None,
        app_data: Any = None,
        allow_pickle: bool = False,
        echo: bool = True,
        strict: bool = False,
        clock: Clock | None = None,
    ) -> None:
        warm_up()
        self.database = parse_database(database)
        if self.database != MEMORY:
            inspect(self.database)  # what cannot be used is said where it is named; nothing is made yet
        self.config = DagConfig.of(config) or DagConfig()
        self.registry = ActionRegistry.of(registry)
        self.hooks = HookSet()
        for hook in hooks:
            self.hooks.add(hook)
        self.executors = Executors(executors)
        self.app_data, self.echo, self.strict = app_data, echo, strict
        self.codec = Codec(allow_pickle=allow_pickle)
        self.clock: Clock = clock or SystemClock()
        self.workflows: dict[str, Workflow] = {}
        self.live: dict[str, RunCoordinator] = {}
        self._taken_up: set[str] = set()  # runs that are being brought back
        self.memory: dict[tuple[str, str, str], Any] = {}
        self.store: Store | None = None
        self.results = Results(self)
        self._auto: dict[str, Any] = {}
        self._outlines: dict[str, Outline] = {}
        self._opening: asyncio.Task[None] | None = None

    # --- definitions --------------------------------------------------------------------------

    def add_workflow(self, workflow: Workflow) -> Workflow:
        """Check a workflow and take it, with the sub-workflows and functions it brings along."""
        if not isinstance(workflow, Workflow):
            raise ValidationError(
                f"a Workflow is added, not {type(workflow).__name__}: make one with Workflow(name)",
                culprit=workflow,
            )
        specs = flatten(workflow, self._finder(workflow))
        prepare.check_functions(workflow, self.registry, self._auto)
        self.workflows[workflow.name] = workflow
        self._take_functions(workflow)
        prepare.read_sources(self._outline(workflow.name, specs).kinds, self.registry)
        self.hooks.read(workflow.name)
        return workflow

    def add_workflows(self, workflows: list[Workflow]) -> list[Workflow]:
        """Take several workflows, which may contain each other: all, or with an error in one, none."""
        together = {workflow.name: workflow for workflow in workflows}
        for workflow in workflows:
            flatten(workflow, self._finder(workflow, together))
        self.workflows.update(together)
        return [self.add_workflow(workflow) for workflow in workflows]

    def _take_functions(self, workflow: Workflow) -> None:
        for name, inner in workflow.workflows.items():
            self.workflows.setdefault(name, inner)
            self._take_functions(inner)
        for name, function in workflow.functions.items():
            # what a decorator registered stays; what came along with a workflow is replaced by the newer one
            if name not in self.registry or (name in self._auto and self._auto[name] is not function):
                made = as_action(function)
                if made.name == name:
                    self.registry.register(made)
                else:
                    self.registry.register(function, name=name)
                self._auto[name] = function

    def actions(self, to_run: Iterable[NodeDef] = ()) -> dict[str, NodeAction]:
        """Every action that is defined, by name; the functions of these nodes are looked for first."""
        prepare.find_late(to_run, self.registry)
        return {name: prepared(self.registry.need(name)) for name in self.registry}

    def _finder(
        self, workflow: Workflow | None = None, together: Mapping[str, Workflow] = EMPTY
    ) -> Callable[[str], Workflow]:
        def find(name: str) -> Workflow:
            known = {**self.workflows, **together, **(workflow.workflows if workflow is not None else {})}
            if name not in known:
                raise DagNotFound(name, known)
            return known[name]

        return find

    def find_workflow(self, workflow: str | Workflow) -> Workflow:
        """A workflow by its name, or as it is."""
        if isinstance(workflow, Workflow):
            if self.workflows.get(workflow.name) is not workflow:
                self.add_workflow(workflow)
            return workflow
        if not isinstance(workflow, str):
            raise prepare.no_workflow(workflow)
        if workflow not in self.workflows:
            raise DagNotFound(workflow, self.workflows)
        return self.workflows[workflow]

    # --- beginning ----------------------------------------------------------------------------

    def prepare(
        self,
        workflow: str | Workflow,
        inputs: Mapping[str, Any] | None = None,
        *,
        config: DagConfig | Mapping[str, Any] | None = None,
        executor: Any = None,
        cache: Cache | None = None,
        by_name: Mapping[str, Any] | None = None,
        extra_nodes: Iterable[NodeDef] = (),
        check_inputs: bool = True,
    ) -> Prepared:
        """Everything a run of this workflow needs, checked; raises before anything has happened."""
        found = self.find_workflow(workflow)
        prepare.check_given(inputs, cache)
        specs = flatten(found, self._finder(found))
        if more := tuple(extra_nodes):
            specs = tuple(Graph(found.name).check((*specs, *more)))
        self._take_functions(found)
        outline = self._outline(found.name, specs)
        specs, kinds = outline.specs, outline.kinds
        actions = self.actions(kinds)
        prepare.check_actions(kinds, actions)
        settings = prepare.settings_with(actions, self.executor_name(executor))
        needed = prepare.check_executors(kinds, settings, self.executors)
        cached = cache.as_dict() if cache is not None else {}
        merged: dict[str, Any] = {}
        if check_inputs:
            merged = prepare.gather_inputs(
                found, kinds, dict(inputs or {}), by_name or {}, cached.get("inputs", {})
            )
            prepare.check_inputs(kinds, actions, merged)
        specs, merged, hides = hide_secrets(specs, actions, merged)
        full = DagConfig.merge(DagConfig.merge(self.config, found.config), config)
        prepare.tell_unmatched(found.name, full, specs, actions, self.hooks)
        codes = prepare.codes_of(kinds, actions)
        return Prepared(
            found, outline, specs, full, merged, actions, settings, codes, Cache(cached), needed, hides
        )

    def executor_name(self, executor: Any) -> str | None:
        return executor if executor is None or isinstance(executor, str) else self.executors.add(executor)

    async def _open_executors(self, names: set[str]) -> None:
        """Connect to what the nodes need, before the run begins."""
        if any(map(self.executors.is_slow_to_open, names)):
            await asyncio.to_thread(self.executors.open_all, names)

    async def open(self) -> Store:
        """The store, opened on the running loop by the first who needs it; anew where its loop was closed."""
        while self.store is None or self.store.is_left:
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open_store())
            await asyncio.shield(self._opening)
        return self.store

    async def _open_store(self) -> None:
        try:
            store = await (Store.open(self.database) if self.store is None else self.store.moved())
            store.on_error = self._store_failed
            self.store = store
            if store.note is not None and store.path not in _told:
                _told.add(store.path)
                log.warning(store.note)
        finally:
            self._opening = None

    def _store_failed(self, run_id: str, error: BaseException) -> bool:
        coordinator = self.live.get(run_id)
        if coordinator is not None:
            coordinator.store_failed(error)
        return coordinator is not None

    async def begin(
        self,
        prepared: Prepared,
        *,
        run_id: str | None = None,
        context: contextvars.Context | None = None,
        hooks: Iterable[Hook] | None = None,
        capacity: tuple[int, int] = (100, 100),
        max_parallel: int | None = None,
        parent: str | None = None,
        record: Callable[[str, str, Any], None] | None = None,
        disabled: Iterable[str] = (),
        hold: bool = False,
        stored: bool = False,
        refresh: Refresh = frozenset(),
    ) -> RunCoordinator:
        """A new run, begun at once, or with `hold` when told to `go`; `stored`: once its row is committed."""
        store = await self.open()
        await self._open_executors(prepared.executors)
        wait = stored or run_id is not None or prepared.config.durability == "sync"
        run_id = run_id or uuid.uuid4().hex[:12]
        if run_id in self.live:
            raise InvalidState(f"run {run_id!r} is under way in this session", culprit=run_id)
        name = prepared.workflow.name
        scheduler = Scheduler(name, run_id, prepared.specs, edges=prepared.outline.edges)
        rows = await self._encoded_apart(run_id, {**prepared.cache.as_dict(), "inputs": prepared.inputs})
        await store.create_run(
            {
                "run_id": run_id,
                "dag_name": name,
                "status": "pending",
                "nodes": len(prepared.specs),
                "tree": prepared.outline.text(self.codec)
                if prepared.specs is prepared.outline.specs
                else dump_defs(self.codec, prepared.specs),
                "inputs": self.codec.dumps(self.in_short(prepared.inputs, rows)),
                "config": self.codec.dumps(prepared.config.settings()),
                "parent_run_id": parent,
                "extra": self.codec.dumps({"result": prepared.workflow.result}),
                "code": json.dumps({name: code.digest for name, code in prepared.codes.items()}),
            },
            rows,
            wait=wait,
        )
        if codes := self.results.new_codes(prepared.codes.values()):
            store.write(Unit(run_id, codes=codes))
        values = Values(scheduler.nodes, prepared.inputs, hides=prepared.hides)
        cache = RunCache(scheduler, prepared.inputs, prepared.cache)
        coordinator = self._coordinator(
            scheduler, values, prepared.actions, cache, context, hooks, capacity, 0, record, refresh
        )
        coordinator.extra = {"result": prepared.workflow.result}
        config = prepared.config
        if max_parallel is not None:
            config = DagConfig.merge(config, {"max_parallel_nodes": max_parallel})
        pools = self.executors.sizes()
        skipped = tuple(id for id in disabled if id in scheduler.nodes)
        coordinator.prepare_start(m.Begin(self.clock.now(), config, prepared.settings, pools, skipped))
        if not hold:
            coordinator.go()
        return coordinator

    async def _encoded_apart(
        self, run_id: str, given: Mapping[str, Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """The rows of several namespaces; what takes long is encoded in a thread."""

        def make() -> list[tuple[Any, ...]]:
            return [row for name, values in given.items() for row in self.encoded(run_id, name, values)]

        heavy = are_heavy(value for values in given.values() for value in values.values())
        return await asyncio.to_thread(make) if heavy else make()

    def encoded(self, run_id: str, namespace: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Values as rows of the table `artifacts`, to be written before the values change.

        What cannot be stored is remembered in the process. Their times keep their order.
        """
        rows, at = [], self.clock.now()
        for key, value in values.items():
            e = self.codec.encode(value, lend=True)
            if e.codec == "memory":
                self.memory[run_id, namespace, key] = value
            rows.append((namespace, key, e.codec, e.data, e.size, e.reason, at))
            at += STEP
        return rows

    def in_short(self, inputs: Mapping[str, Any], rows: Iterable[tuple[Any, ...]] = ()) -> dict[str, Any]:
        """The inputs for the run's own row: what is big stands there by its type and size only.

        `rows`: of those that have been encoded already.
        """
        short = {}
        known = {row[1]: (row[2], row[4]) for row in rows if row[0] == "inputs"}
        for name, value in inputs.items():
            if name in known:
                codec, size = known[name]
            else:
                codec, _, size, _ = self.codec.encode(value, lend=True)
            big = size > MOST_IN_ROW or codec not in ("json", "memory")
            short[name] = f"<{type(value).__name__}, {size:,} bytes>" if big else value
        return short

    def _outline(self, name: str, specs: tuple[NodeDef, ...]) -> Outline:
        """What is known of these nodes, and of the same ones the next time."""
        known = self._outlines.get(name)
        if known is None or not known.is_of(specs):
            codec = self.codec if self.database != MEMORY else None  # there, only who reads needs their text
            known = self._outlines[name] = Outline(specs, codec)
        return known

    def _coordinator(
        self,
        scheduler: Scheduler,
        values: Values,
        actions: dict[str, Any],
        cache: RunCache,
        context: contextvars.Context | None,
        hooks: Iterable[Hook] | None,
        capacity: tuple[int, int],
        taken: int,
        record: Callable[[str, str, Any], None] | None,
        refresh: Refresh,
    ) -> RunCoordinator:
        run_id = scheduler.run_id
        assert self.store is not None
        coordinator = RunCoordinator(
            scheduler,
            self.store,
            self.codec,
            values,
            actions=actions,
            hooks=list(self.hooks if hooks is None else hooks),
            cache=cache,
            clock=self.clock,
            executors=self.executors,
            record=record,
            remember=lambda namespace, key, value: self.memory.__setitem__((run_id, namespace, key), value),
            taken=taken,
            app_data=self.app_data,
            echo=self.echo,
            strict=self.strict,
            capacity=capacity,
            context=context,
            results=self.results,
            refresh=refresh,
        )
        coordinator.growth.find_workflow = self._finder()
        coordinator.growth.find_action = self.registry.get
        self.live[run_id] = coordinator
        self._taken_up.discard(run_id)
        coordinator.done.add_done_callback(lambda _: self._left(coordinator))
        return coordinator

    def _left(self, coordinator: RunCoordinator) -> None:
        self.live.pop(coordinator.run_id, None)
        if coordinator.values.hides:
            self.memory |= hidden_literals(coordinator.scheduler)

    # --- going on -----------------------------------------------------------------------------

    def recall(self, run_id: str, namespace: str, key: str) -> Any:
        """A value that could not be stored, if it was made in this process; else None."""
        return self.memory.get((run_id, namespace, key))

    async def load(self, run_id: str) -> Loaded:
        """A stored run as it was left; `DagNotFound` if there is none."""
        store = await self.open()
        stored = await store.load(run_id)
        if stored is None:
            raise DagNotFound(run_id, store.match_run_ids(""), what="run")
        # a long journal takes seconds: other runs go on meanwhile
        return await asyncio.to_thread(replay, stored, self.codec, self.recall)

    async def reopen(
        self,
        run_id: str,
        then: Callable[[Loaded], list[m.Input]],
        *,
        config: DagConfig | Mapping[str, Any] | None = None,
        executor: Any = None,
        inputs: Mapping[str, Any] | None = None,
        context: contextvars.Context | None = None,
        hooks: Iterable[Hook] | None = None,
        capacity: tuple[int, int] = (100, 100),
        record: Callable[[str, str, Any], None] | None = None,
        before: Callable[[RunCoordinator], None] | None = None,
        to_run: bool = True,
        refresh: Refresh = frozenset(),
    ) -> RunCoordinator:
        """Take a stored run up: claim it, replay it, and go on with the inputs that `then(loaded)` gives.

        Without `to_run` nothing of it is to run (it is cancelled): its actions need not be there.
        """
        store = await self.open()
        if run_id in self.live or run_id in self._taken_up:
            raise InvalidState(f"run {run_id!r} is under way in this session", culprit=run_id)
        if store.run_row(run_id) is None:
            raise DagNotFound(run_id, store.match_run_ids(""), what="run")
        self._taken_up.add(run_id)
        try:
            beat_at = await store.claim(run_id)
            loaded = await self.load(run_id)
            scheduler = loaded.scheduler
            nodes = scheduler.nodes.values()
            still = [node.spec for node in nodes if not node.final or node.status == "failed"]
            actions = await asyncio.to_thread(self.actions, still if to_run else ())
            settings = prepare.settings_with(actions, self.executor_name(executor))
            if to_run:
                prepare.check_actions(still, actions)
                await self._open_executors(prepare.check_executors(still, settings, self.executors))
            base = DagConfig.of(self.codec.loads(loaded.row["config"]))
            at = self.clock.now()
            more = then(loaded)
            put_back(scheduler, self.memory)
            if inputs:
                specs = [node.spec for node in scheduler.nodes.values()]
                inputs = hide_secrets(specs, actions, inputs)[1]
            merged = {**loaded.inputs, **(inputs or {})}
            values = Values(scheduler.nodes, merged, stored=True, hides=True)
            current = DagConfig.merge(getattr(scheduler, "config", base), config)
            sizes = self.executors.sizes()
            begin: m.Input = m.Begin(at, current, settings, sizes)
            if scheduler.status != "pending":
                lost = await asyncio.to_thread(lost_nodes, loaded, more)
                asked = unanswered(loaded, more, lost, actions)
                begin = m.Reopened(at, current, settings, sizes, lost, asked)
            cache = RunCache(scheduler, merged, Stored(loaded.namespaces))
            coordinator = self._coordinator(
                scheduler, values, actions, cache, context, hooks, capacity, loaded.taken, record, refresh
            )
        except BaseException:
            self._taken_up.discard(run_id)
            await store.release(run_id)
            raise
        if to_run:
            earlier = json.loads(loaded.row.get("code") or "{}")
            known, codes = prepare.codes_to_go_on(loaded, more, still, actions)
            new = self.results.new_codes(codes.values())
            unit = Unit(run_id, run={"code": json.dumps(known)}, codes=new)
            unit.logs += prepare.say_what_changed(run_id, earlier, codes, self.clock.now())
            store.write(unit)
        coordinator.extra = loaded.extra
        coordinator.workers.left = loaded.started, max(scheduler.now, beat_at or 0.0)
        coordinator.watch.recall(store)
        if inputs:
            store.write(Unit(run_id, artifacts=coordinator.outputs.encode("inputs", dict(inputs))))
        if before is not None:
            before(coordinator)
        coordinator.prepare_start(begin, *more, reopened=True)
        coordinator.go()
        return coordinator

    async def close(self, *, keeps_memory: bool = False) -> None:
        """Interrupt what is under way (it can be resumed), close the database (or leave one in memory)."""
        for coordinator in list(self.live.values()):
            coordinator.go()
            coordinator.post(m.Interrupt(self.clock.now()))
        waiting = [c.done for c in self.live.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=10.0)
        await self.executors.close()
        self.results.close()
        if self.store is not None and not (keeps_memory and self.database == ":memory:"):
            store, self.store = self.store, None
            await store.close()
