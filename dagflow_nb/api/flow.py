"""`DagFlow`: a notebook session. Actions, hooks, workflows and a database, and the runs they make.

No logic of its own: definitions go into the `Session`, runs live on the `Engine`'s loop.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import glob
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..actions import ActionRegistry
from ..agents.defining import Agents
from ..cache import Cache
from ..config import DagConfig
from ..core import messages as m
from ..core.model import RunStatus
from ..errors import DagError, InvalidState
from ..hooks import make_hooks
from ..people.answers import checked_resume, need_node, time_is_over
from ..people.checking import load_checker
from ..runtime.commands import who
from ..runtime.coordinator import RunCoordinator
from ..runtime.engine import Engine, at_exit, wait_async
from ..runtime.keying import Refresh, check_refresh, names_to_refresh
from ..runtime.prepare import check_given_again, check_run_id
from ..runtime.recovery import Loaded
from ..runtime.session import Session
from ..workflow.builder import Workflow
from .blocking import STOP_WITHIN, Blocking
from .controls import check_view
from .forks import Forks
from .records import Records
from .run import Run

_open: dict[str, weakref.ref[DagFlow]] = {}
_latest: weakref.ref[DagFlow] | None = None


def latest_flow() -> DagFlow | None:
    """The `DagFlow` that was made last in this process, if it is still there."""
    return _latest() if _latest is not None else None


class DagFlow(Agents, Records, Forks, Blocking):
    """One notebook session on one database.

    `database`: `"sqlite:PATH"`, a path, or `":memory:"`. `config`: a `DagConfig` or a mapping, for all
    runs. `registry`: actions that are defined already. `hooks`: functions or `EventHook`s. `executors`:
    name -> `concurrent.futures.Executor`, Dask client or Dask address, for `executor=` of actions.
    `app_data`: what actions and hooks find as `ctx.app_data`. `allow_pickle`: values that have no other
    form are pickled. `echo`: what actions print also appears in the cell. `strict`: refused commands and
    failing hooks raise. A file that is no database of this package, that is damaged or of a newer version,
    and a folder that is not there raise `DatabaseError` at once; nothing is written before it is needed.

    In IPython a new one on a file that an older one has open takes over its actions, hooks, workflows
    and live runs, so that the first cell may be run again; if that file is gone, it begins anew.

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
        executors: Mapping[str, Any] | None = None,
        app_data: Any = None,
        allow_pickle: bool = False,
        echo: bool = True,
        strict: bool = False,
    ) -> None:
        global _latest
        self._session = Session(
            database,
            config=config,
            registry=registry,
            hooks=make_hooks(hooks),
            executors=executors,
            app_data=app_data,
            allow_pickle=allow_pickle,
            echo=echo,
            strict=strict,
        )
        self._engine = Engine(self._session)
        self._runs: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
        self._last: Run | None = None
        self._closed = False
        self._warned = False
        self._heir: DagFlow | None = None
        path = self._session.database
        older = _open[path]() if path in _open else None
        if older is not None and older._session.store is not None and older._session.store.is_lost:
            with contextlib.suppress(DagError):
                older.close()  # or its log would get into the way of the new file's
        if older is not None and not older._closed and path != ":memory:" and "IPython" in sys.modules:
            self._take_over(older)
        if path != ":memory:":
            _open[path] = weakref.ref(self)
        _latest = weakref.ref(self)
        at_exit(self, DagFlow.close)

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
        refresh: Any = False,
        cache: Cache | None = None,
        raise_on_failure: bool = True,
        **inputs_by_name: Any,
    ) -> Run:
        """Start a run and return at once; the `Run` can be awaited, waited for and controlled."""
        coroutine = self._launch(
            workflow, inputs, run_id, config, executor, refresh, cache, raise_on_failure, inputs_by_name, view
        )
        return self._show(self._engine.call(coroutine), view)

    def _launch(
        self,
        workflow: str | Workflow,
        inputs: Mapping[str, Any] | None,
        run_id: str | None,
        config: DagConfig | Mapping[str, Any] | None,
        executor: Any,
        refresh: Any,
        cache: Cache | None,
        raise_on_failure: bool,
        by_name: Mapping[str, Any],
        view: bool | str,
        made: list[Run] | None = None,
    ) -> Any:
        check_view(view)
        check_run_id(run_id)
        prepared = self._session.prepare(
            workflow, inputs, config=config, executor=executor, cache=cache, by_name=by_name
        )
        again = names_to_refresh(refresh)
        check_refresh(again, prepared.specs, prepared.actions, grows=bool(self._session.hooks))
        context = contextvars.copy_context()

        async def launch() -> Run:
            # with a view the run begins once that is in the cell, above all that actions print; where a run
            # is returned that goes on, its id may be told to another process
            hold, stored = view is not False, made is None
            coordinator = await self._session.begin(
                prepared, run_id=run_id, context=context, hold=hold, stored=stored, refresh=again
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
        refresh: Any = False,
        cache: Cache | None = None,
        raise_on_failure: bool = True,
        **inputs_by_name: Any,
    ) -> Run:
        """Run a workflow and wait until it has ended or is paused.

        `inputs`, or keywords: the run's inputs. `run_id`: its id (a taken one is `InvalidState`). `view`:
        `"auto"` (the live graph in a notebook, a bar in a terminal), True or False. `config`: settings that
        go over the workflow's and the flow's. `executor`: for actions that name none. `cache`: a `Cache`
        with inputs to start from. `refresh`: True, or node ids or action names (globs) to run although their
        results are known. `raise_on_failure`: a run that did not succeed raises `NodeExecutionError`,
        `ExecutionTimeout` or `RunCancelled`. An interrupt stops the attempts, leaves the run `interrupted`
        and resumable, and is raised again.
        """
        made: list[Run] = []
        coroutine = self._launch(
            workflow,
            inputs,
            run_id,
            config,
            executor,
            refresh,
            cache,
            raise_on_failure,
            inputs_by_name,
            view,
            made,
        )
        try:
            run = self._engine.call(coroutine)
        except KeyboardInterrupt:
            raise self._stop(made) from None
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
        refresh: Any = False,
        cache: Cache | None = None,
        raise_on_failure: bool = True,
        **inputs_by_name: Any,
    ) -> Run:
        """The same as `run`, awaited: the caller's loop stays free."""
        made: list[Run] = []
        coroutine = self._launch(
            workflow,
            inputs,
            run_id,
            config,
            executor,
            refresh,
            cache,
            raise_on_failure,
            inputs_by_name,
            view,
            made,
        )
        launched = self._engine.submit(coroutine)
        try:
            return await self._show(await wait_async(launched), view)
        except BaseException as error:
            launched.cancel()
            if not self._engine.closed:
                await wait_async(self._engine.submit(self._interrupt(made)))
            self._told(error, made)
            raise

    # --- finding and going on -----------------------------------------------------------------

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
        refresh: Any = False,
        raise_on_failure: bool = True,
        **human_input: Any,
    ) -> Run:
        """Go on with a run that was paused, interrupted or cancelled, or that failed, and wait for it.

        None: the latest unfinished run of this flow's workflows, whoever began it, else of the database.
        `branch`: only this one goes on. `answers`, or keywords: what was asked for, as in `Run.resume` (a
        proposed plan waits for its own). `inputs`: run inputs that could not be stored (secrets); `fork`
        changes others. A completed run is returned as it is. The graph is in the database: actions and
        planners must be defined, the workflow not. `refresh`: as in `run`.
        """
        again = names_to_refresh(refresh)
        found = self._unfinished() if run is None else self.get(run)
        self._check_refresh(found, again)
        found._raise = raise_on_failure
        given = {**(answers or {}), **human_input}
        if found._takes_inputs():
            if config is not None or inputs or executor is not None:
                raise InvalidState(
                    f"run {found.run_id!r} is under way: pause it first to change config, inputs or executor",
                    culprit=found.run_id,
                )
            found._refresh(again)
            found._resume(branch, given)
        elif found.status is RunStatus.COMPLETED:
            return found
        else:
            self._resume_stored(
                found,
                branch,
                given,
                config=config,
                executor=executor,
                inputs=inputs,
                refresh=again,
                in_view=False,
            )
        self._last = found
        return self._block(found, view)

    def _resume_stored(
        self, run: Run, branch: str | None, answers: Mapping[str, Any], **settings: Any
    ) -> Run:
        clock, models = self._session.clock, run._models()
        if answers:
            load_checker()  # here, not on the loop that all runs share

        def then(loaded: Loaded) -> list[m.Input]:
            scheduler, at = loaded.scheduler, clock.now()
            check_given_again(loaded, settings.get("inputs"), self._session.codec)
            if scheduler.status in (RunStatus.FAILED, RunStatus.CANCELLED):
                if branch is not None or answers:
                    checked_resume(scheduler, branch, answers, models, at)
                return [m.RetryNodes(at, None, True, who())]
            going_on = scheduler.status is not RunStatus.PAUSED
            if going_on and branch is None and not answers:
                return [m.Tick(at)]
            if not answers and time_is_over(scheduler, branch, at):
                return [m.Tick(at)]  # nobody answered in time: what the config says for that applies
            return [checked_resume(scheduler, branch, answers, models, at)]

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
        refresh: Any = False,
        raise_on_failure: bool = True,
    ) -> Run:
        """Run failed nodes (or `node`) again in the same run, with the actions as they are now, and wait.

        `run`: as in `get`. With `cascade` also what depends on them and what was skipped or cancelled because
        of them; nodes that were grown from their events are withdrawn first, and hooks are asked again.
        `node` runs even if its result is known; others with `cache=` only where `refresh` names them.
        """
        found = self.get(run)
        found._raise = raise_on_failure
        again = names_to_refresh(refresh)
        self._check_refresh(found, again)
        self._retry(
            found, node, cascade=cascade, config=config, executor=executor, refresh=again, in_view=False
        )
        return self._block(found, view)

    def _retry(
        self, run: Run, node: str | None, *, cascade: bool, refresh: Refresh = frozenset(), **settings: Any
    ) -> Run:
        scheduler, by = run._scheduler, who()
        if node is not None:
            if not need_node(scheduler.nodes, node).final:
                text = f"node {node!r} is {scheduler.nodes[node].status}: it has not ended"
                raise InvalidState(text, culprit=node)
            refresh = refresh | {glob.escape(node), f"{glob.escape(node)}/*"}
        if run._takes_inputs():
            run._refresh(refresh)
            return run._tell(lambda at: m.RetryNodes(at, node, cascade, by))
        if run.status is RunStatus.COMPLETED and node is None:
            return run
        again = m.RetryNodes(self._session.clock.now(), node, cascade, by)
        return self._reopen(run, lambda loaded: [again], refresh=refresh, **settings)

    def _apply_stored(
        self, run: Run, make: Callable[[float, RunCoordinator], m.Input], needs_planners: bool
    ) -> Run:
        """Give commands to a run that lies in the database."""
        now = self._session.clock.now
        after = lambda c: [make(now(), c)]  # noqa: E731
        return self._reopen(run, lambda loaded: [], after=after, needs_planners=needs_planners)

    def _reopen(
        self,
        run: Run,
        then: Callable[[Loaded], list[m.Input]],
        *,
        after: Callable[[RunCoordinator], list[m.Input]] | None = None,
        in_view: bool = True,
        needs_planners: bool = True,
        **settings: Any,
    ) -> Run:
        """Take up a stored run; `needs_planners`: those of the rounds that go on have to be defined."""
        context = contextvars.copy_context()

        def checked(loaded: Loaded) -> list[m.Input]:
            inputs = then(loaded)
            if needs_planners:
                self._need_planners(loaded.scheduler, inputs)
            return inputs

        async def reopen() -> None:
            coordinator = await self._session.reopen(
                run.run_id, checked, context=context, before=run._attach, **settings
            )
            if after is not None:
                coordinator.post(*after(coordinator))
            if in_view and run._view is not None:
                coordinator.watch.add_view(run._view)

        self._engine.call(reopen())
        self._runs[run.run_id] = run
        return run

    # --- end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Interrupt what is under way (it can be resumed), close the database. Again: nothing."""
        if self._closed or self._heir is not None:
            return
        self._closed = True
        if (self._session.store is not None or self._session.live) and not self._engine.is_gone:
            future = self._engine.submit(self._session.close())
            if self._engine.is_here():  # who waits for a run hears of its end before the loop stops
                future.add_done_callback(lambda closed: self._engine.close())
                return
            try:
                future.result(STOP_WITHIN)
            except concurrent.futures.TimeoutError:
                # an async action that blocks the loop must not keep the interpreter from exiting
                text = f"{self!r} did not close within {STOP_WITHIN:g} s"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
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
