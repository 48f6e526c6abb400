"""`DagFlow`: a notebook session. Actions, hooks, workflows and a database, and the runs they make.

No logic of its own: definitions go into the `Session`, runs live on the `Engine`'s loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import os
import reprlib
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

from .actions import Action, ActionRegistry, FunctionAction, make_action
from .cache import Cache
from .config import DagConfig
from .core import messages as m
from .core.model import Ref, RunStatus
from .errors import DagNotFound, InvalidState, ValidationError, did_you_mean
from .hooks import make_hook
from .run import Run, check_answers_of, time_is_over
from .runtime.coordinator import RunCoordinator
from .runtime.engine import Engine, at_exit, wait_async
from .runtime.recovery import Loaded
from .runtime.session import Session, who
from .store import Store
from .workflow.builder import Workflow
from .workflow.tracing import build_from_function
from .workflow.yaml import load_yaml_dir, load_yaml_file, load_yaml_text

if TYPE_CHECKING:
    import pandas as pd

    from .history import History
    from .notebook.picture import Picture

BIG = 5_000_000_000  # bytes of a database from which on a warning is given
STOP_WITHIN = 15.0  # seconds that a run, or all of a flow, has to stop in
_SETTINGS = tuple(inspect.signature(FunctionAction).parameters)[1:]
_open: dict[str, weakref.ref[DagFlow]] = {}
_latest: weakref.ref[DagFlow] | None = None


def latest_flow() -> DagFlow | None:
    """The `DagFlow` that was made last in this process, if it is still there."""
    return _latest() if _latest is not None else None


class DagFlow:
    """One notebook session on one database.

    `database`: `"sqlite:PATH"`, a path, or `":memory:"`. `config`: a `DagConfig` or a mapping, for all
    runs. `registry`: actions that are defined already. `hooks`: functions or `EventHook`s. `executors`:
    name -> `concurrent.futures.Executor`, for `executor=` of actions. `app_data`: what actions and
    hooks find as `ctx.app_data`. `allow_pickle`: values that have no other form are pickled. `echo`: what
    actions print also appears in the cell. `strict`: refused commands and failing hooks raise.

    In IPython a new one on a file that an older one has open takes over its actions, hooks, workflows
    and live runs, so that the first cell may be run again.

    >>> with DagFlow(":memory:") as flow:
    ...     @flow.action
    ...     def double(n: int) -> int:
    ...         return 2 * n
    ...     @flow.workflow
    ...     def calculate(n=4):
    ...         return double(n)
    ...     flow.run("calculate", n=21, view=False).result
    42
    """

    def __init__(
        self,
        database: str | os.PathLike[str] = "sqlite:dagflow.db",
        *,
        config: DagConfig | Mapping[str, Any] | None = None,
        registry: ActionRegistry | None = None,
        hooks: Iterable[Any] = (),
        executors: Mapping[str, Executor] | None = None,
        app_data: Any = None,
        allow_pickle: bool = False,
        echo: bool = True,
        strict: bool = False,
    ) -> None:
        global _latest
        self._engine = Engine()
        self._session = Session(
            os.fspath(database),
            config=config,
            registry=registry,
            hooks=[make_hook(hook) for hook in hooks],
            executors=executors,
            app_data=app_data,
            allow_pickle=allow_pickle,
            echo=echo,
            strict=strict,
        )
        self._runs: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
        self._last: Run | None = None
        self._closed = False
        self._warned = False
        self._heir: DagFlow | None = None
        path = self._session.database
        older = _open[path]() if path in _open else None
        if older is not None and not older._closed and path != ":memory:" and "IPython" in sys.modules:
            self._take_over(older)
        if path != ":memory:":
            _open[path] = weakref.ref(self)
        _latest = weakref.ref(self)
        at_exit(self, DagFlow.close)
        self._session.closer = weakref.WeakMethod(self.close)

    def _take_over(self, older: DagFlow) -> None:
        """Go on with what an older flow on the same file has."""
        from IPython import get_ipython

        if get_ipython() is None:
            return
        mine, theirs = self._session, older._session
        for name in theirs.registry:
            if name not in mine.registry:
                mine.registry.register(theirs.registry.need(name))
        theirs.registry = mine.registry
        theirs.config, theirs.echo, theirs.strict = mine.config, mine.echo, mine.strict
        theirs.app_data = mine.app_data if mine.app_data is not None else theirs.app_data
        theirs.executors.update(mine.executors)
        for hook in mine.hooks:
            theirs.hooks.add(hook)
        self._session, self._engine = theirs, older._engine
        self._runs, self._last = older._runs, older._last
        for run in list(self._runs.values()):
            run._flow = self
        older._heir = self

    # --- definitions --------------------------------------------------------------------------

    def action(self, fn: Any = None, /, **settings: Any) -> Any:
        """Register an action: `@flow.action`, or `@flow.action(name=..., retries=2, timeout=30, ...)`.

        Settings: `name`, `retries`, `retry_strategy`, `retry_on`, `timeout` (seconds an attempt), `cache`,
        `executor`, `outputs`, `on_failure`, `failure`, `tags`, `idempotent`, `ask`, `description`. Returns
        a thin wrapper that behaves as the function. The same name replaces an earlier action; runs under
        way keep theirs. Raises `ValidationError` for a bad setting.
        """
        if isinstance(fn, str):
            settings["name"], fn = fn, None
        if fn is None:
            return partial(self._define, settings)
        return self._define(settings, fn)

    def _define(self, settings: dict[str, Any], target: Any) -> Action[..., Any]:
        for name in settings:
            if name not in _SETTINGS:
                raise ValidationError(
                    f"an action has no setting {name!r}: {did_you_mean(name, _SETTINGS)}", culprit=name
                )
        made = make_action(target, **settings)
        self._session.registry.register(made)
        self._session._auto.pop(made.name, None)
        return made

    def hook(
        self,
        *kinds: Any,
        node: str | None = None,
        action: Any = None,
        dag: str | None = None,
        when: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Register a hook for every event, or for these kinds: `@flow.hook(NodeRetrying, node="fetch*")`.

        `node`: glob on the id; `action`: its name; `dag`: glob on the workflow; `when(event)`: all have to
        match. Also for an `EventHook` class or instance. Parameters are matched by name: `ctx`, `event`,
        `outputs`, the event's own fields; an unknown one raises `ValidationError`.
        """
        filters = {"node": node, "action": action, "dag": dag, "when": when}
        if len(kinds) == 1 and not _is_event(kinds[0]) and not any(f is not None for f in filters.values()):
            return self._subscribe((), filters, kinds[0])
        return partial(self._subscribe, kinds, filters)

    def _subscribe(self, kinds: tuple[Any, ...], filters: dict[str, Any], target: Any) -> Any:
        self._session.hooks.add(make_hook(target, kinds=kinds, **filters))
        return target

    def _on(self, kind: Any, fn: Any, filters: dict[str, Any]) -> Any:
        if fn is None:
            return partial(self._subscribe, (kind,), filters)
        return self._subscribe((kind,), filters, fn)

    def on_started(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook for `NodeStarted`; filters `node=`, `action=`, `dag=`, `when=`."""
        return self._on(m.NodeStarted, fn, filters)

    def on_completed(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook for `NodeCompleted`; filters `node=`, `action=`, `dag=`, `when=`."""
        return self._on(m.NodeCompleted, fn, filters)

    def on_failed(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook for `NodeFailed`; filters `node=`, `action=`, `dag=`, `when=`."""
        return self._on(m.NodeFailed, fn, filters)

    def on_run_started(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook that is asked before a run's first node is scheduled, once a run."""
        return self._on(m.RunStarted, fn, filters)

    def on_run_finished(self, fn: Any = None, /, **filters: Any) -> Any:
        """A hook that is told of a run's end (`success`, `status`); what it answers changes nothing."""
        return self._on(m.RunFinished, fn, filters)

    def workflow(self, fn: Any = None, /, **settings: Any) -> Any:
        """Make a workflow of a function that describes it: `@flow.workflow`, or with `name=`, `tags=`, ...

        The function is called once: calls to actions inside it become nodes. Returns the `Workflow`.
        """
        if isinstance(fn, str):
            settings["name"], fn = fn, None
        if fn is None:
            return lambda target: self.add_workflow(build_from_function(target, **settings))
        return self.add_workflow(build_from_function(fn, **settings))

    def add_workflow(self, workflow: Workflow) -> Workflow:
        """Check a workflow and take it; the same name replaces. Raises `ValidationError`."""
        return self._session.add_workflow(workflow)

    def load_yaml_file(self, path: str | os.PathLike[str]) -> Workflow:
        """Load the workflow in a YAML file; an error names file and line, and nothing is loaded."""
        return self.add_workflow(load_yaml_file(path))

    def load_yaml_string(self, text: str) -> Workflow:
        """Load the workflow in a YAML text."""
        return self.add_workflow(load_yaml_text(text))

    def load_yaml_dir(self, path: str | os.PathLike[str]) -> list[Workflow]:
        """Load every `.yaml` and `.yml` file of a folder, all or none."""
        return self._session.add_workflows(load_yaml_dir(path))

    def to_yaml(self, name: str | Workflow) -> str:
        """A workflow as YAML; loading it gives an equal workflow."""
        from .workflow.yaml import dump_yaml

        return dump_yaml(self._session.find_workflow(name))

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """The workflows by name."""
        return dict(self._session.workflows)

    @property
    def actions(self) -> list[str]:
        """The names of the actions."""
        return list(self._session.registry)

    @property
    def config(self) -> DagConfig:
        """The settings of all runs of this flow."""
        return self._session.config

    # --- running ------------------------------------------------------------------------------

    def start(
        self,
        workflow: str | Workflow,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        view: bool | str = "auto",
        config: DagConfig | Mapping[str, Any] | None = None,
        executor: Any = None,
        cache: Cache | None = None,
        raise_on_failure: bool = True,
        **inputs_by_name: Any,
    ) -> Run:
        """Start a run and return at once; the `Run` can be awaited, waited for and controlled."""
        coroutine = self._launch(
            workflow, inputs, run_id, config, executor, cache, raise_on_failure, inputs_by_name, view
        )
        return self._show(self._engine.call(coroutine), view)

    def _launch(
        self,
        workflow: str | Workflow,
        inputs: Mapping[str, Any] | None,
        run_id: str | None,
        config: DagConfig | Mapping[str, Any] | None,
        executor: Any,
        cache: Cache | None,
        raise_on_failure: bool,
        by_name: Mapping[str, Any],
        view: bool | str,
        made: list[Run] | None = None,
    ) -> Any:
        from .notebook.bar import check_view

        check_view(view)
        if run_id is not None and (not isinstance(run_id, str) or not run_id.strip()):
            raise ValidationError(f"run_id is a text, not {run_id!r}", culprit="run_id")
        prepared = self._session.prepare(
            workflow, inputs, config=config, executor=executor, cache=cache, by_name=by_name
        )
        context = contextvars.copy_context()

        async def launch() -> Run:
            # with a view the run begins once that is in the cell, above all that actions print
            coordinator = await self._session.begin(
                prepared, run_id=run_id, context=context, hold=view is not False
            )
            run = Run(self, coordinator.run_id, coordinator=coordinator)
            run._raise = raise_on_failure
            if made is not None:
                made.append(run)
            return self._keep(run)

        return launch()

    def run(
        self,
        workflow: str | Workflow,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        view: bool | str = "auto",
        config: DagConfig | Mapping[str, Any] | None = None,
        executor: Any = None,
        cache: Cache | None = None,
        raise_on_failure: bool = True,
        **inputs_by_name: Any,
    ) -> Run:
        """Run a workflow and wait until it has ended or is paused.

        `inputs`, or keywords: the run's inputs. `run_id`: its id (a taken one is `InvalidState`). `view`:
        `"auto"` (the live graph in a notebook, a bar in a terminal), True or False. `config`: settings that
        go over the workflow's and the flow's. `executor`: for actions that name none. `cache`: a `Cache`
        with inputs to start from. `raise_on_failure`: a run that did not succeed raises
        `NodeExecutionError`, `ExecutionTimeout` or `RunCancelled`. An interrupt stops the attempts, leaves
        the run `interrupted` and resumable, and is raised again.
        """
        made: list[Run] = []
        coroutine = self._launch(
            workflow, inputs, run_id, config, executor, cache, raise_on_failure, inputs_by_name, view, made
        )
        try:
            run = self._engine.call(coroutine)
        except KeyboardInterrupt:
            self._stop(made)
            raise
        return self._block(run, view)

    async def run_async(
        self,
        workflow: str | Workflow,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        view: bool | str = "auto",
        config: DagConfig | Mapping[str, Any] | None = None,
        executor: Any = None,
        cache: Cache | None = None,
        raise_on_failure: bool = True,
        **inputs_by_name: Any,
    ) -> Run:
        """The same as `run`, awaited: the caller's loop stays free."""
        made: list[Run] = []
        coroutine = self._launch(
            workflow, inputs, run_id, config, executor, cache, raise_on_failure, inputs_by_name, view, made
        )
        launched = self._engine.submit(coroutine)
        try:
            return await self._show(await wait_async(launched), view)
        except BaseException:
            launched.cancel()
            if not self._engine.closed:
                await wait_async(self._engine.submit(self._interrupt(made)))
            raise

    def _block(self, run: Run, view: bool | str) -> Run:
        try:
            return self._show(run, view).wait()
        except KeyboardInterrupt:
            self._stop([run])
            raise

    def _stop(self, runs: list[Run]) -> None:
        """Interrupt what is still under way of these runs, and wait until it has stopped."""
        future = self._engine.submit(self._interrupt(runs))
        try:
            future.result(STOP_WITHIN)
        except concurrent.futures.TimeoutError:
            names = ", ".join(run.run_id for run in runs)
            warnings.warn(f"run {names} did not stop within {STOP_WITHIN:g} s", RuntimeWarning, stacklevel=4)

    async def _interrupt(self, runs: list[Run]) -> None:
        for run in runs:
            coordinator = run._coordinator
            if coordinator is not None and not coordinator.done.done():
                coordinator.go()
                coordinator.post(m.Interrupt(coordinator.clock.now()))
                await asyncio.wait([coordinator.done])

    def _keep(self, run: Run) -> Run:
        self._runs[run.run_id] = run
        self._last = run
        return run

    def _show(self, run: Run, view: bool | str) -> Run:
        """Draw a run in this cell while it goes on; one that was held for that begins now."""
        coordinator = run._coordinator
        try:
            chosen = None if view is False else self._display(run, view)
            if chosen is not None and coordinator is not None and run._live:
                coordinator.loop.call_soon_threadsafe(coordinator.watch.add_view, chosen)
            elif chosen is not None:
                chosen.finish(run.snapshot())
        finally:
            if coordinator is not None and run._live:
                coordinator.loop.call_soon_threadsafe(coordinator.go)
        return run

    def _display(self, run: Run, view: bool | str) -> Any:
        from .notebook.bar import choose_view

        chosen = choose_view(view, _Controls(run))
        if chosen is not None:
            chosen.show(run.snapshot())
            run._shown, run._view = True, chosen
        return chosen

    # --- finding and going on -----------------------------------------------------------------

    def get(self, run: Run | str | None = None) -> Run:
        """A run of this database: by id or its unambiguous beginning, by workflow (its latest), or the latest."""
        if isinstance(run, Run):
            return run
        if run is None:
            if self._last is not None:
                return self._last
            found = self._store.latest_run_id(None)
            if found is None:
                raise DagNotFound("(the latest)", (), what="run")
            return self._run_of(found)
        if run in self._runs:
            return self._runs[run]
        matches = self._store.match_run_ids(run) if isinstance(run, str) and run else []
        if len(matches) == 1:
            return self._run_of(matches[0])
        latest = self._store.latest_run_id([run]) if isinstance(run, str) else None
        if latest is not None:
            return self._run_of(latest)
        if len(matches) > 1:
            raise ValidationError(
                f"{len(matches)} runs begin with {run!r}: {', '.join(matches[:5])}; write more of the id", culprit=run
            )
        raise DagNotFound(str(run), [*self._store.match_run_ids("")[:50], *self._session.workflows], what="run")

    def _run_of(self, run_id: str) -> Run:
        known = self._runs.get(run_id)
        if known is None:
            known = self._runs[run_id] = Run(self, run_id)
        return known

    def resume(
        self,
        run: Run | str | None = None,
        *,
        branch: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        answers: Mapping[str, Any] | None = None,
        config: DagConfig | Mapping[str, Any] | None = None,
        view: bool | str = "auto",
        executor: Any = None,
        raise_on_failure: bool = True,
        **human_input: Any,
    ) -> Run:
        """Go on with a run that was paused, interrupted or cancelled, or that failed, and wait for it.

        None: the latest unfinished run of this flow's workflows, else of the database. `branch`: only this
        one goes on. `answers`, or keywords: what was asked for, checked by the form. `inputs`: run inputs
        that could not be stored (secrets). A completed run is returned as it is. The graph comes from the
        database: the actions must be defined, the workflow need not be loaded.
        """
        found = self._unfinished() if run is None else self.get(run)
        found._raise = raise_on_failure
        given = {**(answers or {}), **human_input}
        if found._takes_inputs():
            if config is not None or inputs or executor is not None:
                raise InvalidState(
                    f"run {found.run_id!r} is under way: config, inputs and executor can be changed once it is paused",
                    culprit=found.run_id,
                )
            found._resume(branch, given)
        elif found.status is RunStatus.COMPLETED:
            return found
        else:
            self._resume_stored(found, branch, given, config=config, executor=executor, inputs=inputs)
        self._last = found
        return self._block(found, view)

    def _unfinished(self) -> Run:
        states = ("pending", "running", "paused", "interrupted", "failed", "cancelled")
        names = list(self._session.workflows)
        found = self._store.latest_run_id(names, statuses=states) if names else None
        found = found or self._store.latest_run_id(None, statuses=states)
        if found is None:
            raise DagNotFound("(the latest unfinished)", (), what="run")
        return self._run_of(found)

    def _resume_stored(
        self, run: Run, branch: str | None, answers: Mapping[str, Any], **settings: Any
    ) -> Run:
        clock = self._session.clock
        models = run._models()

        def then(loaded: Loaded) -> list[m.Input]:
            scheduler = loaded.scheduler
            at = clock.now()
            if scheduler.status in (RunStatus.FAILED, RunStatus.CANCELLED):
                if branch is not None or answers:
                    check_answers_of(scheduler, branch, answers, models)
                return [m.RetryNodes(at, None, True, who())]
            going_on = scheduler.status is not RunStatus.PAUSED
            if going_on and branch is None and not answers:
                return [m.Tick(at)]
            if not answers and time_is_over(scheduler, branch, at):
                return [m.Tick(at)]  # nobody answered in time: what the config says for that applies
            return [m.Resume(at, branch, check_answers_of(scheduler, branch, answers, models), who())]

        return self._reopen(run, then, **settings)

    def retry(
        self,
        run: Run | str | None = None,
        node: str | None = None,
        *,
        cascade: bool = True,
        config: DagConfig | Mapping[str, Any] | None = None,
        view: bool | str = "auto",
        executor: Any = None,
        raise_on_failure: bool = True,
    ) -> Run:
        """Run failed nodes (or `node`) again in the same run, with the actions as they are now, and wait.

        With `cascade` also what depends on them and what was skipped or cancelled because of them; nodes
        that were grown from their events are withdrawn first, and hooks are asked again.
        """
        found = self.get(run)
        found._raise = raise_on_failure
        self._retry(found, node, cascade=cascade, config=config, executor=executor)
        return self._block(found, view)

    def _retry(self, run: Run, node: str | None, *, cascade: bool, **settings: Any) -> Run:
        scheduler = run._scheduler
        if node is not None and node not in scheduler.nodes:
            from .errors import NodeNotFound

            raise NodeNotFound(node, scheduler.nodes)
        if node is not None and not scheduler.nodes[node].final:
            raise InvalidState(f"node {node!r} is {scheduler.nodes[node].status}: it has not ended", culprit=node)
        by = who()
        clock = self._session.clock
        if run._takes_inputs():
            return run._tell(lambda at: m.RetryNodes(at, node, cascade, by))
        if run.status is RunStatus.COMPLETED and node is None:
            return run
        return self._reopen(run, lambda loaded: [m.RetryNodes(clock.now(), node, cascade, by)], **settings)

    def _apply_stored(self, run: Run, make: Callable[[float, RunCoordinator], m.Input]) -> Run:
        """Give commands to a run that lies in the database."""
        clock = self._session.clock
        self._reopen(run, lambda loaded: [], after=lambda c: [make(clock.now(), c)])
        return run

    def _reopen(
        self,
        run: Run,
        then: Callable[[Loaded], list[m.Input]],
        *,
        after: Callable[[RunCoordinator], list[m.Input]] | None = None,
        **settings: Any,
    ) -> Run:
        context = contextvars.copy_context()

        async def reopen() -> Run:
            coordinator = await self._session.reopen(run.run_id, then, context=context, before=run._attach, **settings)
            if after is not None:
                coordinator.post(*after(coordinator))
            return run

        self._engine.call(reopen())
        self._runs[run.run_id] = run
        return run

    def _load(self, run_id: str) -> Loaded:
        return self._engine.call(self._session.load(run_id))

    def _run_row(self, run_id: str) -> dict[str, Any] | None:
        self._store.sync()
        return self._store.run_row(run_id)

    def _stored_status(self, run_id: str) -> str | None:
        """The status in the database; `interrupted` where nobody drives what should be under way."""
        row = self._run_row(run_id)
        if row is None:
            return None
        if row["status"] in ("running", "pending") and not row["owner_alive"]:
            return "interrupted"
        return str(row["status"])

    # --- looking ------------------------------------------------------------------------------

    @property
    def _store(self) -> Store:
        store = self._session.store
        if store is None:
            store = self._engine.call(self._session.open())
        if not self._warned and store.size_bytes() > BIG:
            self._warned = True
            warnings.warn(
                f"the database has {store.size_bytes() / 1e9:.1f} GB: flow.delete_runs(older_than='30d') and "
                f"flow.vacuum() make it smaller",
                ResourceWarning,
                stacklevel=3,
            )
        return store

    @property
    def _history(self) -> History:
        from .history import History

        store = self._store
        return History(store.connect, self._session.codec, sync=store.sync, memory_values=self._session.recall)

    def runs(self, **filters: Any) -> pd.DataFrame:
        """A row a run, newest first. Filters: `dag_name`, `status`, `since`, `limit`, `run_id`."""
        return self._history.runs(**filters)

    def nodes(self, **filters: Any) -> pd.DataFrame:
        """A row a run's node."""
        return self._history.nodes(**filters)

    def attempts(self, **filters: Any) -> pd.DataFrame:
        """A row an attempt."""
        return self._history.attempts(**filters)

    def events(self, **filters: Any) -> pd.DataFrame:
        """A row an event."""
        return self._history.events(**filters)

    def cache(self, **filters: Any) -> pd.DataFrame:
        """A row a stored value: inputs, outputs, human input."""
        return self._history.cache(**filters)

    def logs(self, **filters: Any) -> pd.DataFrame:
        """A row a line that actions printed or logged."""
        return self._history.logs(**filters)

    def metrics(self, **filters: Any) -> pd.DataFrame:
        """A row an action: runs, durations, failures, retries, cache hits, tokens, cost."""
        return self._history.metrics(**filters)

    def storage(self) -> pd.DataFrame:
        """What takes how many bytes in the database."""
        return self._history.storage()

    def sql(self, query: str, params: Any = ()) -> pd.DataFrame:
        """The result of a query; reading only."""
        return self._history.sql(query, params)

    def delete_runs(
        self,
        run: Run | str | None = None,
        *,
        dag_name: str | None = None,
        older_than: Any = None,
        values_only: bool = False,
    ) -> int:
        """Delete runs (`run`, or all of a workflow, or older than `"30d"`), or only their values; how many."""
        if run is None and dag_name is None and older_than is None:
            raise ValidationError(
                "delete_runs() needs to know which: a run, dag_name= or older_than= (such as '30d')", culprit="run"
            )
        if run is not None:
            ids = [self.get(run).run_id]
        else:
            ids = self._history.run_ids(dag_name=dag_name, older_than=older_than)
        return self._engine.call(self._store.delete_runs(ids, values_only=values_only))

    def vacuum(self) -> None:
        """Give the space of what was deleted back to the file system."""
        self._engine.call(self._store.vacuum())

    def graph(self, workflow: str | Workflow) -> Picture:
        """A workflow's picture."""
        from .notebook.picture import workflow_picture

        return workflow_picture(self._session.find_workflow(workflow))

    def _grown_yaml(self, run: Run) -> str:
        from .workflow.grown import grown_workflow
        from .workflow.yaml import dump_yaml

        scheduler = run._scheduler
        return dump_yaml(grown_workflow(scheduler.dag_name, [n.spec for n in list(scheduler.nodes.values())]))

    # --- end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Interrupt what is under way (it can be resumed), close the database. Again: nothing."""
        if self._closed or self._heir is not None:
            return
        self._closed = True
        if self._session.store is not None or self._session.live:
            future = self._engine.submit(self._session.close())
            try:
                if self._engine.is_here():
                    return
                future.result(STOP_WITHIN)
            except concurrent.futures.TimeoutError:
                # an async action that blocks the loop must not keep the interpreter from exiting
                warnings.warn(f"{self!r} did not close within {STOP_WITHIN:g} s", RuntimeWarning, stacklevel=2)
            finally:
                self._engine.close()
        else:
            self._engine.close()
        path = self._session.database
        if path in _open and _open[path]() is self:
            del _open[path]

    def __enter__(self) -> DagFlow:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        s = self._session
        size = ""
        if s.store is not None and not self._closed:
            size = f", {s.store.size_bytes() / 1e6:.1f} MB"
        state = ", closed" if self._closed else f", {len(s.live)} live runs" if s.live else ""
        return (
            f"<DagFlow {s.database}{size}: {len(s.registry)} actions, {len(s.hooks)} hooks, "
            f"{len(s.workflows)} workflows{state}>"
        )

    def _repr_html_(self) -> str:
        from html import escape

        s = self._session
        rows = [
            ("database", repr(self)[1:-1]),
            ("actions", ", ".join(s.registry) or "none yet: define one with @flow.action"),
            ("hooks", ", ".join(hook.name for hook in s.hooks) or "none"),
            ("workflows", ", ".join(s.workflows) or "none yet: flow.load_yaml_file(...) or @flow.workflow"),
        ]
        body = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
        return f"<table class='dagflow-flow'>{body}</table>"


class _Controls:
    """What a view's buttons do to a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def pause(self) -> object:
        return self._run.pause(reason="paused by hand")

    def resume(self, branch: str | None = None, answers: dict[str, Any] | None = None) -> object:
        return self._again(lambda: self._run._resume(branch, answers or {}))

    def cancel(self) -> object:
        return self._run.cancel(reason="cancelled by hand")

    def retry(self, node: str) -> object:
        return self._again(lambda: self._run.retry(node))

    def approve(self, branch: str | None, answers: dict[str, Any]) -> object:
        return self._again(lambda: self._run._resume(branch, {"approved": True, **answers}))

    def reject(self, branch: str | None) -> object:
        return self._again(lambda: self._run.reject(branch))

    def values(self, node: str) -> dict[str, dict[str, str]]:
        """A node's inputs and outputs as short texts; an input that is not there yet as it is written."""
        scheduler, values, _ = self._run._state()
        found = scheduler.nodes[node]
        spec = found.spec.inputs
        written = {name: str(v) if isinstance(v, Ref) else _brief(v) for name, v in spec.items()}
        there = {name: _brief(value) for name, value in values.resolve(found, lambda name: None).items()}
        outputs = found.outcome.outputs if found.outcome is not None else {}
        return {"Inputs": written | there, "Outputs": {str(k): _brief(v) for k, v in outputs.items()}}

    def _again(self, act: Callable[[], Run]) -> Run:
        """A run that was left goes on in the view it has."""
        run = act()
        coordinator = run._coordinator
        if coordinator is not None and run._view is not None and run._live:
            coordinator.loop.call_soon_threadsafe(coordinator.watch.add_view, run._view)
        return run


def _brief(value: Any) -> str:
    """`repr(value)`, without the middle of what is long: big values are not written out to be cut then."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 300
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 20
    return short.repr(value)


def _is_event(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, m.Event)

