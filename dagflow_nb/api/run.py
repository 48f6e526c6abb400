"""`Run`: what one holds of a run, whether it goes on here, is done, or lies in the database."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..agents.plan import Plan
from ..agents.proposal import Proposals, estimate
from ..agents.steps import check_plan
from ..core import messages as m
from ..core.model import RunStatus
from ..core.state import OVER
from ..errors import DagError, InvalidState, ValidationError, shorten
from ..hooks.origin import Origin, cell_now
from ..people.answers import checked_resume, commands_in, need_node
from ..runtime.commands import who
from ..runtime.coordinator import RunCoordinator
from ..runtime.engine import TICK, wait, wait_async
from ..runtime.forking import Wanted
from ..runtime.keying import Refresh
from ..runtime.recovery import Loaded
from ..runtime.snapshot import Snapshot, Waiting
from ..runtime.values import Values
from ..runtime.watching import snapshot_of, waiting_of
from .looking import Looking
from .outcomes import ExecutionReport, Outputs, error_of, left, report_of, result_of

if TYPE_CHECKING:
    from .flow import DagFlow


class Run(Looking):
    """One run: look at it, wait for it, control it from any thread.

    Made by `flow.run`, `flow.start` and `flow.get`; never by hand.
    """

    def __init__(self, flow: DagFlow, run_id: str, *, coordinator: RunCoordinator | None = None) -> None:
        self._flow = flow
        self.run_id = run_id
        self._coordinator = coordinator
        self._loaded: Loaded | None = None
        self._done: concurrent.futures.Future[RunStatus] | None = None
        self._lock = threading.Lock()
        self._raise = True
        self._view: Any = None
        self._shown_in: Origin | None = None
        if coordinator is not None:
            self._attach(coordinator)

    def _attach(self, coordinator: RunCoordinator) -> None:
        """Follow a coordinator; called on its loop."""
        done: concurrent.futures.Future[RunStatus] = concurrent.futures.Future()

        def finish(future: asyncio.Future[RunStatus]) -> None:
            error = future.exception() if not future.cancelled() else InvalidState("the run was dropped")
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(future.result())

        self._coordinator, self._loaded = coordinator, None
        self._done = done
        coordinator.done.add_done_callback(finish)

    def _forget(self) -> None:
        """What is known of it is in the database from now on, or nowhere."""
        self._coordinator = self._done = self._loaded = None

    # --- state --------------------------------------------------------------------------------

    @property
    def _live(self) -> bool:
        return self._done is not None and not self._done.done()

    def _state(self) -> tuple[Any, Values, dict[str, Any]]:
        """The scheduler, its values, and what the flow stored beside them."""
        coordinator = self._coordinator
        if coordinator is not None and not self._went_on_elsewhere(coordinator):
            return coordinator.scheduler, coordinator.values, coordinator.extra
        with self._lock:
            loaded = self._loaded
            if loaded is None or loaded.scheduler.status not in OVER:
                # a run that has not ended may go on in another process
                loaded = self._loaded = self._flow._load(self.run_id)
        return loaded.scheduler, loaded.values, loaded.extra

    def _went_on_elsewhere(self, coordinator: RunCoordinator) -> bool:
        """Whether a run that was left here has been taken up by another process."""
        scheduler, flow = coordinator.scheduler, self._flow
        if self._live or scheduler.status in OVER or coordinator.crash is not None:
            return False
        if flow._closed or flow._engine.is_here():
            return False
        row = flow._run_row(self.run_id)
        if row is None or (row["status"], row["nodes"]) == (str(scheduler.status), len(scheduler.nodes)):
            return False
        self._forget()
        return True

    @property
    def _scheduler(self) -> Any:
        return self._state()[0]

    @property
    def dag_name(self) -> str:
        """The workflow's name."""
        return str(self._scheduler.dag_name)

    @property
    def status(self) -> RunStatus:
        """`pending`, `running`, `paused`, `completed`, `failed`, `cancelled` or `interrupted`."""
        status = RunStatus(self._scheduler.status)
        if self._coordinator is not None and self._coordinator.crash is not None:
            return RunStatus.INTERRUPTED  # however far it came here, an earlier moment of it is stored
        if status in (RunStatus.RUNNING, RunStatus.PENDING) and self._coordinator is None:
            return RunStatus(self._flow._stored_status(self.run_id) or status)
        if status is RunStatus.RUNNING and self._done is not None and self._done.done():
            return RunStatus.INTERRUPTED
        return status

    @property
    def success(self) -> bool:
        """Whether it has ended, and well."""
        return self.status is RunStatus.COMPLETED

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The run's inputs by name."""
        return dict(self._state()[1].inputs)

    @property
    def outputs(self) -> Outputs:
        """`run.outputs[node_id][key]`."""
        return Outputs(self._scheduler.nodes)

    @property
    def result(self) -> Any:
        """What the workflow returns: the structure its function returned, else what its leaf returned, else
        `{leaf id: what it returned}`; of a planner what it returned last; None for what did not end well.

        What an action returned as a mapping is a dict, whether the run has just ended, lies in the database
        or found the values known; big ones are read for it.
        """
        return result_of(*self._state())

    @property
    def error(self) -> BaseException | None:
        """Why it did not succeed, as the exception that `flow.run` raises; None if it did, or goes on."""
        return self._error()

    @property
    def parent_run_id(self) -> str | None:
        """The run it was forked from."""
        row = self._flow._run_row(self.run_id)
        return row.get("parent_run_id") if row is not None else None

    @property
    def report(self) -> ExecutionReport:
        """The counts and outcomes so far."""
        return report_of(self._scheduler)

    @property
    def waiting(self) -> list[Waiting]:
        """What it waits for: `branch_id` (None: the whole run), `reason`, `form`, `since`."""
        return list(waiting_of(self._scheduler))

    @property
    def proposal(self) -> Plan | None:
        """The plan of a planner with `gate=True` that waits for `approve` or `reject`, with an `estimate`.

        One that cannot be read any more (its actions have changed since) has no steps, and a `problem`. The
        estimate is made of how the plan's actions did before (`flow.metrics()`). Of several the first one
        (`approve()` adds them all, unless one is named); None where none waits.
        """
        proposals = self._proposals()
        for id in proposals:
            plan = proposals.plan(id)
            if plan.problem is None:
                plan.estimate = estimate(plan, self._flow._history.metrics())
            return plan
        return None

    def _proposals(self) -> Proposals:
        scheduler, values, _ = self._state()
        session = self._flow._session
        return Proposals(
            scheduler, values, () if scheduler.status in OVER else session.hooks, session.registry
        )

    def snapshot(self) -> Snapshot:
        """The run as it stands, for views."""
        coordinator = self._coordinator
        if coordinator is not None and self._live:
            return snapshot_of(coordinator.scheduler)
        return replace(snapshot_of(self._scheduler), status=str(self.status))

    # --- waiting ------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until it has ended or is paused, at most `timeout` seconds (then `TimeoutError`).

        Raises as `flow.run` does if it did not succeed.
        """
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            raise ValidationError(
                f"timeout is a number of seconds or None, not {shorten(timeout)}",
                culprit="timeout",
                value=timeout,
            )
        if self._done is not None:
            if self._flow._engine.is_here():
                raise InvalidState("a run cannot be waited for on the loop that it needs: await it")
            try:
                if timeout is None:
                    wait(self._done)
                else:
                    self._done.result(timeout)
            except KeyboardInterrupt as error:
                raise left(error, self.run_id) from None
            except concurrent.futures.TimeoutError:
                if not self._done.done():
                    raise TimeoutError(f"run {self.run_id!r} goes on after {timeout:g} seconds") from None
                raise
        end = None if timeout is None else time.monotonic() + timeout
        while self._is_driven_elsewhere():
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"run {self.run_id!r} goes on after {timeout:g} seconds")
            time.sleep(TICK)
        return self._checked()

    def _is_driven_elsewhere(self) -> bool:
        return self._done is None and self.status in (RunStatus.RUNNING, RunStatus.PENDING)

    def __await__(self) -> Generator[Any, None, Run]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> Run:
        try:
            if self._done is not None:
                await wait_async(self._done)
        except asyncio.CancelledError as error:
            raise left(error, self.run_id) from None
        while self._is_driven_elsewhere():
            await asyncio.sleep(TICK)
        return self._checked()

    def _checked(self) -> Run:
        error = self._error() if self._raise else None
        if error is not None:
            raise error
        return self

    def _error(self) -> BaseException | None:
        coordinator = self._coordinator
        if coordinator is not None and coordinator.crash is not None:
            return coordinator.crash
        strict_error = coordinator.strict_error if coordinator is not None else None
        # a cancellation may have come before it
        if strict_error is not None and not self._live and self._scheduler.status is RunStatus.FAILED:
            return strict_error
        exceptions = coordinator.exceptions if coordinator is not None else {}
        return error_of(self._scheduler, exceptions, self, ended=not self._live)

    async def stream(self) -> AsyncIterator[Any]:
        """Each event of the run until it has ended or is paused.

        First those that have happened already (the last 10,000, and of logs, progress and tokens the last
        1,000), then each as it happens; of a run that does not go on here, those that are stored. `event.seq`
        tells where in the run it is.
        """
        coordinator = self._coordinator
        if coordinator is None:
            for event in await asyncio.to_thread(self._flow._events_of, self.run_id):
                yield event
            return
        if not self._live:
            for event in coordinator.watch.so_far():
                yield event
            return
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue()
        end = object()

        def put(event: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop of who listened is gone
                loop.call_soon_threadsafe(queue.put_nowait, event)

        def subscribe() -> None:
            for event in coordinator.watch.so_far():
                put(event)
            stops.append(coordinator.watch.listen(put))
            if coordinator.done.done():
                put(end)
            else:
                coordinator.done.add_done_callback(lambda _: put(end))

        stops: list[Callable[[], None]] = []
        coordinator.loop.call_soon_threadsafe(subscribe)
        try:
            while (event := await queue.get()) is not end:
                yield event
        finally:
            for stop in stops:
                coordinator.loop.call_soon_threadsafe(stop)

    # --- control ------------------------------------------------------------------------------

    def _takes_inputs(self) -> bool:
        """Whether the run is under way here; one that is just being left is waited for, some milliseconds."""
        coordinator, done = self._coordinator, self._done
        if not self._live or coordinator is None or done is None:
            return False
        left = coordinator.scheduler.status not in (RunStatus.PENDING, RunStatus.RUNNING)
        if left and not self._flow._engine.is_here():
            concurrent.futures.wait([done], timeout=10.0)
        return self._live

    def _tell(self, make: Callable[[float], m.Input], *, to_run: bool = True) -> Run:
        """Give a live run an input, or take a stored one up with it."""
        if self._takes_inputs() and self._coordinator is not None:
            self._coordinator.post_from_thread(make)
            return self
        now = self._flow._session.clock.now
        return self._flow._reopen(self, lambda loaded: [make(now())], to_run=to_run, needs_planners=to_run)

    def _refresh(self, names: Refresh) -> None:
        """From now on these nodes of a live run do not take known results."""
        coordinator = self._coordinator
        if coordinator is not None and names:
            coordinator.memo.refresh |= names

    def _need_branch(self, branch: str | None, verb: str) -> None:
        scheduler = self._scheduler
        if scheduler.status in OVER:
            raise InvalidState(
                f"run {self.run_id!r} has ended ({scheduler.status}): there is nothing to {verb}",
                culprit=self.run_id,
            )
        if branch is not None:
            hint = "; answers are given by name, such as comment='fine'" if verb == "resume" else ""
            need_node(scheduler.nodes, branch, hint)

    def pause(self, branch: str | None = None, reason: str | None = None) -> Run:
        """Hold a branch, or the whole run: what runs ends, nothing new starts."""
        self._need_branch(branch, "pause")
        by = who()
        if branch is None:
            return self._tell(lambda at: m.PauseRun(at, reason, by))
        return self.apply(m.PauseBranch(branch, reason))

    def resume(self, branch: str | None = None, **human_input: Any) -> Run:
        """Let a branch, or the run with all its branches, go on; what was asked is answered by keyword.

        The answers are checked by the form of what waits: `ValidationError` names the field, also one that
        no form knows. Where several branches wait, each form gets the answers that it knows, and its own
        defaults. A plan that a planner proposes (`gate=True`) waits on, unless its branch is named or
        `approved=` or `plan=` is given. `approved=False` cancels a node that asks (`ask=`), unless its form
        has that field.
        """
        return self._resume(branch, human_input)

    def _resume(self, branch: str | None, answers: Mapping[str, Any]) -> Run:
        scheduler = self._scheduler
        if self._live or scheduler.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
            self._need_branch(branch, "resume")
        answers = self._proposals().checked(branch, answers)
        if not self._takes_inputs():
            return self._flow._resume_stored(self, branch, answers)
        checked = checked_resume(scheduler, branch, answers, self._models(), 0.0)
        return self._tell(lambda at: replace(checked, at=at))

    def _models(self) -> Mapping[str, Any]:
        return self._coordinator.growth.models if self._coordinator is not None else {}

    def approve(
        self,
        branch: str | Plan | None = None,
        plan: Plan | str | Mapping[str, Any] | None = None,
        **human_input: Any,
    ) -> Run:
        """`resume` with `approved=True`: of one branch, or of all that wait, each as it is proposed. With
        `plan` that one takes the place of the proposal.

        The plan is a `Plan`, or its JSON; one that is wrong is a `ValidationError`, and the run goes on
        waiting.
        """
        if isinstance(branch, Plan) or (isinstance(branch, Mapping) and "steps" in branch):
            branch, plan = None, branch
        if plan is None:
            return self._resume(branch, {"approved": True, **human_input})
        # a form of the user's may have a field of this name
        if branch is None and len(self.waiting) != 1:
            branch = self._proposals().only(self.run_id)
        return self._resume(branch, {"approved": True, **human_input, "plan": plan})

    def reject(self, branch: str | None = None, reason: str | None = None) -> Run:
        """Cancel the branch that waits; None: the one that does, or the run, where it waits as a whole."""
        self._need_branch(branch, "reject")
        found = self.waiting
        waiting = [w.branch_id for w in found if w.branch_id is not None]
        if branch is None and found and not waiting:
            return self.cancel(None, reason or "rejected")
        if branch is None:
            if len(waiting) != 1:
                names = ", ".join(map(repr, waiting))
                raise InvalidState(
                    f"{len(waiting)} branches wait ({names}): name the one to reject"
                    if waiting
                    else f"run {self.run_id!r} waits for nobody: there is nothing to reject",
                    culprit=self.run_id,
                )
            branch = waiting[0]
        return self.cancel(branch, reason or "rejected")

    def cancel(self, branch: str | None = None, reason: str | None = None) -> Run:
        """Cancel a branch, or the whole run; what runs is stopped.

        A branch is all that comes after a node, or grew from it: also what follows on nodes that have ended.
        A join that has not ended, and whose `when` can hold without the branch, goes on, and what comes after
        it. A planner's first node with its rounds is one branch.
        """
        self._need_branch(branch, "cancel")
        by = who()
        if branch is None:
            return self._tell(lambda at: m.CancelRun(at, reason, by), to_run=False)
        node = self._scheduler.nodes[branch]
        if node.cut:
            raise InvalidState(f"branch {branch!r} has been cancelled already", culprit=branch)
        return self.apply(m.CancelBranch(branch, reason))

    def retry(self, node: str | None = None) -> Run:
        """Run what failed (or `node`) again, with what comes after it; returns at once."""
        return self._flow._retry(self, node, cascade=True)

    def fork(
        self,
        *,
        at: Any = None,
        node: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Run:
        """A new run that begins with what this one has, but for what is to be different; see `flow.fork`.

        Returns at once; this run is left as it is.
        """
        return self._flow._fork(self, Wanted(at, node, inputs, outputs))

    def apply(self, *commands: Any) -> Run:
        """Apply commands to the run: what is refused is reported as `CommandRejected`.

        A `Plan` whose steps have inputs that their actions do not take, or lack some, is a `ValidationError`.
        """
        checked = [found for command in commands for found in commands_in(command)]
        self._need_branch(None, "change")
        for command in checked:
            if isinstance(command, Plan):
                check_plan(command, self._flow._session.registry)
        by = who()

        def make(at: float, coordinator: RunCoordinator) -> m.Input:
            growth = coordinator.growth
            ready = tuple(growth.ready(command) for command in checked)
            return m.Applied(ready, at, by, growth.new_settings())

        live = self._coordinator
        if self._takes_inputs() and live is not None:
            live.post_from_thread(lambda at: make(at, live))
            return self
        only_cut = all(isinstance(command, m.CancelBranch) for command in checked)
        return self._flow._apply_stored(self, make, needs_planners=not only_cut)

    # --- as text and picture -------------------------------------------------------------------

    def __repr__(self) -> str:
        try:
            scheduler = self._scheduler
        except DagError as error:
            return f"<Run {self.run_id}: {error}>"
        counts = ", ".join(f"{n} {state}" for state, n in scheduler.count.items() if n)
        return f"<Run {self.run_id} of {scheduler.dag_name!r}: {self.status} ({counts or 'no nodes'})>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        text = repr(self)
        if self._shown_in is not None and self._shown_in == cell_now():
            return {"text/plain": text}
        try:
            bundle = dict(self.graph()._repr_mimebundle_())
        except DagError:
            return {"text/plain": text}
        return {**bundle, "text/plain": text}
