"""`Coordinator`: runs one workflow of a `DagExecutor` on the caller's loop; `CancelToken` ends such a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from ..api.outcomes import ExecutionReport, error_of, report_of
from ..cache import Cache
from ..codec import MissingValue
from ..config import DagConfig
from ..core import messages as m
from ..core.model import RunStatus
from ..core.state import OVER
from ..errors import DagNotFound, InvalidState, SerializationError, ValidationError, shorten
from ..hooks import HookSet, make_hooks
from ..people.answers import checked_resume, time_is_over
from ..people.checking import load_checker
from ..runtime.commands import who
from ..runtime.coordinator import RunCoordinator
from ..runtime.recovery import Loaded
from .legacy import DRIVER

if TYPE_CHECKING:
    from .executor import DagExecutor


class CancelToken:
    """Cancels runs from any thread: give it to `run_parallel`, call `cancel()` when it is time.

    >>> token = CancelToken()
    >>> token.cancel("not needed any more")
    >>> token.cancelled, token.reason
    (True, 'not needed any more')
    """

    def __init__(self) -> None:
        self.cancelled = False
        self.reason: str | None = None
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the runs that have this token, and those that get it later; a second time does nothing."""
        with self._lock:
            if self.cancelled:
                return
            self.cancelled, self.reason = True, reason
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def listen(self, coordinator: RunCoordinator) -> Callable[[], None]:
        """Cancel this run when the token is cancelled; on the run's loop. Returns what ends that."""

        def tell() -> None:
            coordinator.post_from_thread(lambda at: m.CancelRun(at, self.reason, who()))

        with self._lock:
            if not self.cancelled:
                self._listeners.append(tell)
                return lambda: self._listeners.remove(tell)
        # together with the run's first input: no attempt starts
        coordinator.post(m.CancelRun(coordinator.clock.now(), self.reason, who()))
        return lambda: None

    def __repr__(self) -> str:
        return f"CancelToken(cancelled={self.cancelled})"


class BoundCache(Cache):
    """A cache that was loaded from a run: executing with it goes on with that run.

    `added` are the (namespace, key) pairs that were inserted since it was bound.
    """

    def __init__(self, initial: Cache | None = None) -> None:
        super().__init__(initial)
        self.run_id: str | None = None
        self.added: set[tuple[str, str]] = set()

    def insert(self, namespace: str, key: str, value: Any) -> None:
        """Put a value in, over an earlier one."""
        super().insert(namespace, key, value)
        self.added.add((namespace, key))


class Coordinator:
    """Runs workflows of a `DagExecutor` on the caller's loop, with hooks.

    `hooks`: `EventHook`s or functions. `event_capacity`, `command_capacity`: how much of what workers and
    other threads post may wait to be read (at least 1). `max_parallel`: attempts at once (None: what the
    executor's config says).
    """

    def __init__(
        self,
        hooks: Iterable[Any] = (),
        event_capacity: int = 100,
        command_capacity: int = 100,
        max_parallel: int | None = None,
    ) -> None:
        self.event_capacity = _count("event_capacity", event_capacity)
        self.command_capacity = _count("command_capacity", command_capacity)
        self.max_parallel = None if max_parallel is None else _count("max_parallel", max_parallel)
        self.hooks = HookSet(make_hooks(hooks))

    @classmethod
    def new_with_concurrency(
        cls, hooks: Iterable[Any], event_capacity: int, command_capacity: int, max_parallel: int
    ) -> Coordinator:
        """A coordinator with a bound on the attempts at once."""
        return cls(hooks, event_capacity, command_capacity, max_parallel)

    def __repr__(self) -> str:
        names = [hook.name for hook in self.hooks]
        capacities = f"event_capacity={self.event_capacity}, command_capacity={self.command_capacity}"
        return f"Coordinator({names}, {capacities}, max_parallel={self.max_parallel})"

    async def run_parallel(
        self,
        executor: DagExecutor,
        cache: Cache,
        dag_name: str,
        run_id: str,
        cancel: CancelToken | None = None,
    ) -> ExecutionReport:
        """Run a workflow and return its report; failures of nodes are in the report, not raised.

        The run's inputs are the cache's namespace `inputs`; what nodes return arrives in the cache under
        their ids. An unfinished `run_id` is continued with these hooks (a paused one is resumed, the
        cache's namespace `human_input` answers what was asked), a finished one is `InvalidState`. Raises
        `DagNotFound`, `ActionNotFound` or `ValidationError` for wrong use, before anything has happened.
        """
        if not isinstance(run_id, str) or not run_id.strip():
            raise ValidationError(f"run_id is a text, not {shorten(run_id)}", culprit="run_id", value=run_id)
        need("executor", executor, _executor_class())
        store = await executor._session.open()
        row = store.run_row(run_id)
        if row is not None and row["status"] in OVER:
            raise InvalidState(
                f"run {run_id!r} has ended ({row['status']}): choose another run_id", culprit=run_id
            )
        coordinator = await self._drive(executor, cache, dag_name, run_id, cancel)
        return report_of(coordinator.scheduler)

    async def _drive(
        self,
        executor: DagExecutor,
        cache: Cache,
        dag_name: str | None,
        run_id: str | None,
        cancel: CancelToken | None,
    ) -> RunCoordinator:
        """Begin a run, or go on with a stored one, and wait until it has ended or is paused."""
        need("cache", cache, Cache)
        if cancel is not None:
            need("cancel", cancel, CancelToken)
        session = executor._session
        store = await session.open()
        row = store.run_row(run_id) if run_id is not None else None
        common: dict[str, Any] = {
            "hooks": list(self.hooks),
            "capacity": (self.event_capacity, self.command_capacity),
            "record": lambda namespace, key, value: Cache.insert(cache, namespace, key, value),
        }
        token = DRIVER.set(executor)
        try:
            if run_id is None or row is None:
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
                coordinator = await self._reopen(executor, cache, dag_name, row, common)
        finally:
            DRIVER.reset(token)
        executor._last = coordinator.run_id
        stop = cancel.listen(coordinator) if cancel is not None else None
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
        return coordinator

    async def _reopen(
        self,
        executor: DagExecutor,
        cache: Cache,
        dag_name: str | None,
        row: Mapping[str, Any],
        common: Mapping[str, Any],
    ) -> RunCoordinator:
        """Take a stored run up with what the cache brings along that the run does not have yet."""
        run_id, session = row["run_id"], executor._session
        if dag_name is not None and row["dag_name"] != dag_name:
            raise InvalidState(
                f"run {run_id!r} is one of {row['dag_name']!r}, not of {dag_name!r}: choose another run_id",
                culprit=run_id,
            )
        workflow = session.workflows.get(row["dag_name"])
        config = DagConfig.merge(executor.config, workflow.config if workflow is not None else None)
        if self.max_parallel is not None:
            config = DagConfig.merge(config, {"max_parallel_nodes": self.max_parallel})
        brought = _brought_along(cache, run_id)
        inputs, answers = brought.pop("inputs", None), brought.pop("human_input", {})
        if answers:
            await asyncio.to_thread(load_checker)

        def then(loaded: Loaded) -> list[m.Input]:
            for namespace, key, value in stored_values(loaded):
                if cache.get(namespace, key, loaded) is loaded:
                    Cache.insert(cache, namespace, key, value)
            return _go_on(loaded, answers, session.clock.now())

        def before(coordinator: RunCoordinator) -> None:
            if answers and coordinator.scheduler.status is not RunStatus.PAUSED:
                coordinator.outputs.write("human_input", answers)
            for namespace, values in brought.items():
                if namespace not in coordinator.scheduler.nodes:
                    coordinator.outputs.write(namespace, values)

        return await session.reopen(
            run_id, then, config=config.settings(), inputs=inputs, before=before, **common
        )


def _brought_along(cache: Cache, run_id: str) -> dict[str, dict[str, Any]]:
    """What a caller put into the cache; in one that was loaded from this run: since it was loaded."""
    loaded = isinstance(cache, BoundCache) and cache.run_id == run_id
    return {
        namespace: found
        for namespace, values in cache.as_dict().items()
        if (
            found := {
                key: value
                for key, value in values.items()
                if not isinstance(value, MissingValue)
                and (not loaded or (isinstance(cache, BoundCache) and (namespace, key) in cache.added))
            }
        )
    }


def stored_values(loaded: Loaded) -> Iterator[tuple[str, str, Any]]:
    """A stored run's values as (namespace, key, value), those of maps and sub-workflows too; what cannot be
    read is a `MissingValue`."""
    for namespace, values in loaded.namespaces.items():
        for key in values:
            try:
                yield namespace, key, values[key]
            except SerializationError as error:
                yield namespace, key, MissingValue(str(error))
    for node in loaded.scheduler.nodes.values():
        if node.is_group and node.outcome is not None:
            for key, value in node.outcome.outputs.items():
                yield node.id, key, value


def _go_on(loaded: Loaded, answers: Mapping[str, Any], at: float) -> list[m.Input]:
    """How a stored run is taken up by the core API."""
    scheduler = loaded.scheduler
    if scheduler.status in OVER:
        return [m.RetryNodes(at, None, True, who())]
    if scheduler.status is not RunStatus.PAUSED:
        return [m.Tick(at)]
    if not answers and time_is_over(scheduler, None, at):
        return [m.Tick(at)]  # nobody answered in time: what the config says for that applies
    # the namespace may hold what other runs and nodes were told
    return [checked_resume(scheduler, None, answers, {}, at, closed=False)]


def raise_failure(coordinator: RunCoordinator) -> None:
    """Raise what the run did not succeed for, with its report; not if it waits for a person or a budget."""
    error = error_of(coordinator.scheduler, coordinator.exceptions, ended=False)
    if error is not None:
        raise error


def need(name: str, value: Any, kind: type) -> None:
    """Raise `ValidationError` where an argument is of another kind."""
    if not isinstance(value, kind):
        raise ValidationError(f"{name} is a {kind.__name__}, not {shorten(value)}", culprit=name, value=value)


def _executor_class() -> type[DagExecutor]:
    from .executor import DagExecutor  # it is built on this module

    return DagExecutor


def _count(name: str, value: Any) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValidationError(
            f"{name} is a number of at least 1, not {shorten(value)}", culprit=name, value=value
        )
    return int(value)
