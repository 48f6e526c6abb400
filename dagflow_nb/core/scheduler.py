"""The scheduler: one input in, effects out.

Rules kept here:
- `handle` is deterministic: time and randomness arrive inside inputs, nothing else is looked at.
- An input that makes no sense raises `InvalidState` and changes nothing; a late result is ignored.
- A node's end is recorded first; its dependants are told only when the hooks have answered and the
  failure policy has been applied.
- What a node costs does not depend on the size of the graph: no scan but where a whole branch or the
  whole run is concerned.
- When nothing moves, the run ends, or is left paused, or fails with what blocks it: it never hangs.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import DagError, InvalidState, shorten
from . import branches, commands, rerun, spending
from . import messages as m
from .budget import Limit, Usage
from .graph import Graph, Node, rule_problem
from .model import (
    FINAL_STATES,
    SUCCESS_STATES,
    Form,
    NodeDef,
    NodeOutput,
    NodeStatus,
    OnFailure,
    RunStatus,
)
from .retry import RetryStrategy
from .slots import Slots
from .transitions import TRANSITIONS

MAX_CHAIN = 100
RUN = ""  # the key under which the whole run is paused


class Settings(Protocol):
    """What the scheduler reads of a run's configuration (`DagConfig` has it)."""

    @property
    def max_parallel_nodes(self) -> int | None: ...
    @property
    def enable_parallel_execution(self) -> bool: ...
    @property
    def limits(self) -> Mapping[str, int | str]: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def retry_strategy(self) -> RetryStrategy: ...
    @property
    def on_failure(self) -> OnFailure: ...
    @property
    def timeout_seconds(self) -> float | None: ...
    @property
    def human_wait_minutes(self) -> float | None: ...
    @property
    def human_timeout_action(self) -> str: ...
    @property
    def branch_budgets(self) -> Mapping[str, Mapping[str, float]]: ...
    @property
    def review_frequency(self) -> int | None: ...


@dataclass(slots=True)
class Pause:
    """Why a branch or the run waits. `kind`: ask, branch, run, failure, budget, review or decision."""

    kind: str
    since: float
    reason: str | None = None
    form: Form | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """An event the hooks have been asked about; `final`: its node's dependants are held until then."""

    event: Any
    node_id: str | None
    final: bool
    chain: int

    def without_node(self) -> Ask:
        """The same question after its node has been withdrawn."""
        return Ask(self.event, None, False, self.chain)


class Scheduler:
    """The state of one run and the only code that changes it.

    `listens(event)` tells whether any hook is to be asked about an event; the others count as answered
    at once. `changed` collects the ids of nodes whose record changed (or that are gone): who reads it
    clears it. `asked` collects the numbers of the events that hooks are asked about, for the journal.
    """

    def __init__(
        self,
        dag_name: str,
        run_id: str,
        specs: Iterable[NodeDef],
        *,
        listens: Callable[[Any], bool] = lambda event: False,
    ) -> None:
        self.dag_name, self.run_id, self.listens = dag_name, run_id, listens
        self.config: Settings
        self.settings: dict[str, m.ActionSettings] = {}
        self.graph = Graph(dag_name)
        self.nodes = self.graph.nodes
        self.status = RunStatus.PENDING
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.error: str | None = None
        self.error_node: str | None = None
        self.seq = 0
        self.asks: dict[int, Ask] = {}
        self.pauses: dict[str, Pause] = {}
        self.human: dict[str, Any] = {}
        self.usage = Usage()
        self.branch_usage: dict[str, Usage] = {}
        self.reviewed = 0
        self.changed: set[str] = set()
        self.asked: list[int] = []
        self.stopping: str | None = None  # the node whose failure stopped the run
        self.ending: RunStatus | None = None  # set once the run is cancelled or out of time
        self.finishing = False  # RunFinished has been emitted
        self.opened = False  # RunStarted has been answered
        self.elapsed = 0.0
        self.active_since: float | None = None
        self.count = dict.fromkeys(NodeStatus, 0)
        self.busy = 0
        self.slots, self.urgent = Slots(), Slots()
        self._judge: deque[str] = deque()
        self._timers: list[tuple[float, int, str, str, float]] = []
        self._timer_order = 0
        self._deadline_epoch = 0.0
        self._wake: float | None = None
        self._rated = False
        self._effects: list[m.Effect] = []
        self.now = 0.0
        self.chain = 0
        for node in [self.graph.add(spec) for spec in self.graph.check(specs)]:
            self.graph.link(node)
            self.count[NodeStatus.PENDING] += 1
            self.changed.add(node.id)

    # --- inputs -------------------------------------------------------------------------------

    def handle(self, message: m.Input) -> list[m.Effect]:
        """Take one input; returns what the runtime is to do, in order. Raises `InvalidState` unchanged."""
        self._effects = []
        handler = HANDLERS.get(type(message))
        if handler is None:
            raise InvalidState(f"the scheduler takes no {shorten(message)}", culprit=message)
        before = self.now
        # clocks may be set back while a run goes on; order within a run must not
        self.now = max(before, message.at)
        try:
            handler(self, message)
        except DagError:
            self.now = before
            raise
        if self.status is RunStatus.RUNNING and not isinstance(message, m.Reopened):
            self._move()
        return self._effects

    def _begin(self, message: m.Begin) -> None:
        if self.status is not RunStatus.PENDING:
            raise InvalidState("a run begins once", culprit=self.run_id)
        self.configure(message.config, message.settings, message.pools)
        self.status = RunStatus.RUNNING
        self.started_at = self.active_since = self.now
        for id in message.disabled:
            self.nodes[id].disabled, self.nodes[id].reason = True, "it was disabled"
        for node in self.nodes.values():
            self.enroll(node)
        self._arm_deadline()
        self.emit(m.RunStarted)
        if not self.asks:
            self._open()

    def configure(self, config: Any, settings: Mapping[str, m.ActionSettings], pools: Mapping[str, int]) -> None:
        """Take the run's settings, those of its actions, and what each executor holds."""
        self.config = config
        self.settings = dict(settings)
        total = 1 if not config.enable_parallel_execution else config.max_parallel_nodes
        limits = {f"pool:{name}": Limit(size) for name, size in pools.items()}
        limits |= {f"limit:{name}": Limit.of(most) for name, most in config.limits.items()}
        if total is not None:
            limits["total"] = Limit(total)
        for node in self.nodes.values():
            if node.spec.limit is not None:
                limits[f"map:{node.id}"] = Limit(node.spec.limit)
            node.keys = None
        self.slots.limits = self.urgent.limits = limits
        self._rated = any(limit.period is not None for limit in limits.values())

    def enroll(self, node: Node) -> None:
        """A node is part of the run from now on: its branch budgets, and its turn if nothing is unmet."""
        if self.config.branch_budgets:
            spending.enroll(self, node)
        if node.unmet == 0:
            self._judge.append(node.id)

    def _open(self) -> None:
        self.opened = True

    def _attempt_ended(self, message: m.AttemptEnded) -> None:
        node = self._running(message.node_id, message.attempt)
        if node is None:
            return
        self.leave_slot(node)
        outcome = message.outcome
        if outcome is None:
            self._attempt_failed(
                node, message.error or "failed", message.exception, message.retryable, message.jitter
            )
            return
        node.outcome = outcome
        node.spent += 1
        node.finished_at = self.now
        if outcome.success:
            self.set_status(node, NodeStatus.CACHED if message.cached else NodeStatus.COMPLETED)
            node.error = None
            if node.spec.kind == "branch":
                not_taken = "otherwise" if outcome.metadata.get("taken") else "then"
                for id in node.spec.over.get(not_taken, ()):
                    self.nodes[id].disabled = True
                    self.nodes[id].reason = f"{node.id!r} took the other way"
                    self.nodes[id].cause = node.id
                    self.changed.add(id)
        else:
            self.set_status(node, NodeStatus.FAILED)
            node.error = outcome.error or "the action reported a failure"
            self._blame(node)
        self.emit(m.NodeCompleted, node.ref, outcome, final=node)

    def _attempt_failed(
        self, node: Node, error: str, exception: BaseException | None, retryable: bool, jitter: float
    ) -> None:
        node.spent += 1
        node.error = error
        if retryable and node.spent < self.tries(node) and not self.stopping:
            settings = self.settings.get(node.spec.action)
            strategy = (settings.retry if settings else None) or self.config.retry_strategy
            delay = strategy.delay(node.spent, jitter)
            self.set_status(node, NodeStatus.RETRYING)
            self.emit(m.NodeRetrying, node.ref, node.attempt, delay, error, node=node)
            self.timer(self.now + delay, "retry", node.id, node.attempt)
            if node.pauses:
                self.set_status(node, NodeStatus.PAUSED)
            return
        self.fail(node, error, exception)

    def fail(self, node: Node, error: str, exception: BaseException | None = None) -> None:
        """A node has failed for good."""
        self.set_status(node, NodeStatus.FAILED)
        node.error, node.finished_at = error, self.now
        self._blame(node)
        self.emit(m.NodeFailed, node.ref, error, exception, max(node.attempt, 1), final=node)

    def _blame(self, node: Node) -> None:
        if self.error is None:
            self.error, self.error_node = node.error, node.id

    def tries(self, node: Node) -> int:
        """How many attempts a node has in all."""
        settings = self.settings.get(node.spec.action)
        of_action = settings.try_count if settings else None
        return node.spec.try_count or of_action or self.config.max_attempts

    def _group_opened(self, message: m.GroupOpened) -> None:
        node = self._running(message.node_id, message.attempt)
        if node is None:
            return
        self._idle(node)
        if message.error is not None:
            node.spent += 1
            self.fail(node, message.error, message.exception)
            return
        node.opened = True
        if message.children:
            for spec in message.children:
                child = self.graph.add(spec)
                self.count[NodeStatus.PENDING] += 1
                child.depth, child.added_by = node.depth, node.added_by
                child.pauses = set(node.pauses)
                if child.spec.limit is not None:
                    self.slots.limits[f"map:{child.id}"] = Limit(child.spec.limit)
            for spec in message.children:
                child = self.nodes[spec.id]
                self.graph.link(child)
                self.changed.add(child.id)
                self.enroll(child)
                if child.pauses:
                    self.set_status(child, NodeStatus.PAUSED)
        else:
            for id in node.children:
                child = self.nodes[id]
                child.unmet = self.graph.count_unmet(child)
                if child.unmet == 0 and not child.final:
                    self._judge.append(id)
        node.open_children = sum(1 for id in node.children if not self.nodes[id].released)
        if node.open_children == 0:
            self.close_group(node)

    def close_group(self, group: Node) -> None:
        """All children of a group have ended: it fails if one failed, else its outcome is asked for."""
        failed = [self.nodes[id] for id in group.children if self.nodes[id].status is NodeStatus.FAILED]
        if failed:
            group.spent += 1
            what = "items" if group.spec.kind == "map" else "nodes"
            first = failed[0]
            error = f"{len(failed)} of {len(group.children)} {what} failed; {first.id}: {first.error}"
            self.fail(group, error)
            return
        self._busy(group)
        self._effects.append(m.CloseGroup(group.id, group.attempt))

    def _answered(self, message: m.Answered) -> None:
        ask = self.asks.pop(message.seq, None)
        if ask is None:
            raise InvalidState(f"event {message.seq} waits for no answer", culprit=message.seq)
        self.settings.update(message.settings)
        self.chain = ask.chain + 1
        for hook, error in message.failures:
            self.emit(m.HookFailed, hook, error)
        answering = self.nodes.get(ask.node_id) if ask.node_id else None
        finished = isinstance(ask.event, m.RunFinished)
        for hook, command in message.commands:
            if finished:
                self.reject(command, "the run has ended: what on_complete answers changes nothing", hook)
            else:
                commands.apply(self, command, by=hook, answering=answering, event=ask.event)
        self.chain = 0
        if isinstance(ask.event, m.RunStarted):
            self._open()
        elif ask.final and answering is not None:
            self.settle(answering)
        spending.check(self)

    def _applied(self, message: m.Applied) -> None:
        self._not_over()
        self.settings.update(message.settings)
        node = self.nodes.get(message.node_id) if message.node_id else None
        for command in message.commands:
            commands.apply(self, command, by=message.by, answering=None, event=None, source=node)
        spending.check(self)

    def _usage(self, message: m.UsageReported) -> None:
        node = self.nodes.get(message.node_id)
        if node is None:
            return
        node.used_tokens += message.tokens
        node.used_cost += message.cost
        self.changed.add(node.id)
        for usage in [self.usage, *(self.branch_usage[root] for root in node.budgets)]:
            usage.max_tokens += message.tokens
            usage.max_cost += message.cost
        if not self.finishing:
            spending.check(self)

    def _tick(self, message: m.Tick) -> None:
        while self._timers and self._timers[0][0] <= self.now and self.status is RunStatus.RUNNING:
            _, _, kind, id, token = heapq.heappop(self._timers)
            if not self._stale(kind, id, token):
                self._due(kind, id, message.jitter)
        self._wake = None

    def _due(self, kind: str, id: str, jitter: float) -> None:
        if kind == "deadline":
            self._out_of_time()
        elif kind == "human":
            branches.nobody_answered(self, id)
        elif kind == "retry":
            self.make_ready(self.nodes[id])
        elif kind == "timeout":
            node = self.nodes[id]
            error = f"timed out after {self.timeout(node):g} s"
            self._effects.append(m.CancelAttempt(id, node.attempt, error))
            self.leave_slot(node)
            settings = self.settings.get(node.spec.action)
            retryable = settings.retry_timeouts if settings else True
            self._attempt_failed(node, error, TimeoutError(error), retryable, jitter)

    def _stale(self, kind: str, id: str, token: float) -> bool:
        if kind == "deadline":
            return token != self._deadline_epoch or self.status is not RunStatus.RUNNING
        if kind == "human":
            return id not in self.pauses or self.pauses[id].since != token
        if kind == "rate":
            return False
        node = self.nodes.get(id)
        wanted = NodeStatus.RETRYING if kind == "retry" else NodeStatus.RUNNING
        return node is None or node.status is not wanted or node.attempt != token

    def _pause_run(self, message: m.PauseRun) -> None:
        self._not_over()
        self.pause_run(Pause("run", self.now, message.reason, None, message.by))

    def pause_run(self, pause: Pause) -> None:
        """Nothing new starts until the run is resumed."""
        if RUN not in self.pauses and self.ending is None:
            self.pauses[RUN] = pause
            self.emit(m.BranchPaused, None, pause.reason, pause.by)
            branches.arm_human(self, RUN)

    def _resume(self, message: m.Resume) -> None:
        self._not_over()
        if message.branch_id is not None:
            branches.resume(self, message.branch_id, message.answers, message.by)
        else:
            branches.resume_all(self, message.answers, message.by)

    def _cancel_run(self, message: m.CancelRun) -> None:
        self._not_over()
        self.cancel_run(message.reason, message.by)

    def cancel_run(self, reason: str | None, by: str | None) -> None:
        """Everything that has not ended is cancelled."""
        self.end_all(RunStatus.CANCELLED, "run", reason or "the run was cancelled")
        self.error = self.error or reason
        self.emit(m.BranchCancelled, None, reason, by)

    def _fail_run(self, message: m.FailRun) -> None:
        if self.status not in _OVER:
            self.fail_run(message.error)

    def fail_run(self, error: str) -> None:
        """Everything that has not ended is cancelled, and the run has failed."""
        self.end_all(RunStatus.FAILED, "run", error)
        self.error, self.error_node = error, None

    def _out_of_time(self) -> None:
        seconds = self.config.timeout_seconds
        error = f"the run took longer than its timeout_seconds={seconds:g}"
        self.end_all(RunStatus.FAILED, "deadline", error)
        self.error, self.error_node = error, None

    def end_all(self, status: RunStatus, cause: str, reason: str) -> None:
        """Everything that has not ended is cancelled, and the run ends with `status`."""
        self.ending = status
        self.pauses.clear()
        for node in list(self.nodes.values()):
            if not node.final:
                node.pauses.clear()
                self.cancel(node, cause, reason)

    def cancel(self, node: Node, cause: str, reason: str) -> None:
        """A node that has not ended is cancelled; what runs is stopped."""
        if node.status is NodeStatus.RUNNING and not node.is_group:
            self._effects.append(m.CancelAttempt(node.id, node.attempt, reason))
            self.leave_slot(node)
        self._idle(node)
        self.set_status(node, NodeStatus.CANCELLED)
        node.cause, node.reason, node.finished_at = cause, reason, self.now
        self.emit(m.NodeCancelled, node.ref, reason, final=node)

    def skip(self, node: Node, reason: str, cause: str | None) -> None:
        """A node will not run."""
        self.set_status(node, NodeStatus.SKIPPED)
        node.reason, node.cause, node.finished_at = reason, cause, self.now
        self.emit(m.NodeSkipped, node.ref, reason, final=node)

    def _interrupt(self, message: m.Interrupt) -> None:
        if self.status in _OVER:
            raise InvalidState("the run is over", culprit=self.run_id)
        rerun.put_back(self, "interrupted")
        self._leave(RunStatus.INTERRUPTED)

    def _reopened(self, message: m.Reopened) -> None:
        rerun.reopen(self, message)
        self._arm_deadline()
        self._wake = None

    def _retry_nodes(self, message: m.RetryNodes) -> None:
        rerun.retry(self, message)

    # --- a node's way -------------------------------------------------------------------------

    def _move(self) -> None:
        """Judge whose turn has come, start what may start, and see whether anything still moves."""
        if self.opened:
            while True:
                while self._judge:
                    self._decide(self._judge.popleft())
                self._start_ready()
                if not self._judge:
                    break
        if not self._moving():
            self._come_to_rest()
        self._set_wake()

    def to_judge(self, node: Node) -> None:
        """Its turn may have come."""
        self._judge.append(node.id)

    def _decide(self, id: str) -> None:
        node = self.nodes.get(id)
        if node is None or node.unmet or node.ready or node.status is not NodeStatus.PENDING:
            return
        if self.ending is not None:
            return
        if self.stopping is not None and not self._is_urgent(node):
            self.stop(node, f"the run stops because {self.stopping!r} failed")
            return
        if node.disabled:
            self.skip(node, node.reason or "it is disabled", node.cause)
            return
        if problem := rule_problem(node, self.nodes):
            self.skip(node, *problem)
            return
        ask = node.spec.ask
        if ask is None and (settings := self.settings.get(node.spec.action)) is not None:
            ask = settings.ask
        if ask is not None and not node.answered:
            branches.pause(self, id, Pause("ask", self.now, ask.question or None, ask))
            return
        self.make_ready(node)

    def make_ready(self, node: Node) -> None:
        """A node may run as soon as a slot is free."""
        node.ready = True
        node.ready_at = self.now
        if node.keys is None:
            node.keys = self._limit_keys(node)
        (self.urgent if self._is_urgent(node) else self.slots).push(node.id, node.keys)

    def _is_urgent(self, node: Node) -> bool:
        """Whether it is there for a failed node: such a one runs although the run stops or pauses."""
        if node.guardian is not None:
            return True
        parent = node.spec.parent
        return parent is not None and self._is_urgent(self.nodes[parent])

    def _limit_keys(self, node: Node) -> tuple[str, ...]:
        if node.is_group:
            return ()
        spec, limits = node.spec, self.slots.limits
        settings = self.settings.get(spec.action, _NO_SETTINGS)
        pool = f"pool:{spec.executor or settings.executor}"
        keys = ["total", pool, f"limit:{spec.action}"]
        keys += [f"limit:{tag}" for tag in dict.fromkeys((*spec.tags, *settings.tags)) if tag != spec.action]
        parent = spec.parent
        while parent is not None:
            keys.append(f"map:{parent}")
            parent = self.nodes[parent].spec.parent
        return tuple(key for key in keys if key in limits)

    def _wanted(self, id: str) -> bool:
        node = self.nodes.get(id)
        return node is not None and node.ready and node.status in _CAN_START

    def _start_ready(self) -> None:
        if self.ending is not None:
            return
        pause = self.pauses.get(RUN)
        if pause is None or pause.kind == "failure":
            while (id := self.urgent.pop(self.now, self._wanted)) is not None:
                self._start(self.nodes[id])
        if pause is None and self.stopping is None:
            while (id := self.slots.pop(self.now, self._wanted)) is not None:
                self._start(self.nodes[id])

    def _start(self, node: Node) -> None:
        node.ready = False
        first = node.spent == 0 and node.started_at is None
        node.attempt += 1
        if node.started_at is None:
            node.started_at = self.now
        self.set_status(node, NodeStatus.RUNNING)
        self._busy(node)
        if first:
            self.emit(m.NodeStarted, node.ref, node=node)
        if node.is_group:
            self._effects.append(m.OpenGroup(node.id, node.attempt))
            return
        assert node.keys is not None
        self.slots.take(node.keys, self.now)
        self._effects.append(m.StartAttempt(node.id, node.attempt))
        seconds = self.timeout(node)
        if seconds is not None:
            self.timer(self.now + seconds, "timeout", node.id, node.attempt)

    def timeout(self, node: Node) -> float | None:
        """Seconds that one attempt of a node may take."""
        if node.spec.timeout is not None:
            return node.spec.timeout
        settings = self.settings.get(node.spec.action)
        return settings.timeout if settings else None

    def _running(self, id: str, attempt: int) -> Node | None:
        node = self.nodes.get(id)
        if node is not None and attempt > node.attempt:
            raise InvalidState(f"attempt {attempt} of node {id!r} has not been started", culprit=id)
        if node is None or node.status is not NodeStatus.RUNNING or node.attempt != attempt or not node.busy:
            return None
        return node

    def _busy(self, node: Node) -> None:
        node.busy = True
        self.busy += 1

    def _idle(self, node: Node) -> None:
        if node.busy:
            node.busy = False
            self.busy -= 1

    def leave_slot(self, node: Node) -> None:
        """A node's attempt is over or given up: its slot is free."""
        if node.busy and not node.is_group and node.keys:
            self.slots.give(node.keys)
        self._idle(node)

    def settle(self, node: Node) -> None:
        """The hooks have answered a node's end: recovery, then the policy, then its dependants."""
        if not node.final or node.released:
            return
        if node.status is NodeStatus.FAILED:
            if not node.handled and self.ending is None:
                node.handled = True
                commands.add_handler(self, node)
            if node.rescuers and self.ending is None:
                return
            if self.ending is None and not self._apply_policy(node):
                return
        self.release(node)

    def _apply_policy(self, node: Node) -> bool:
        """What a failure means for the run; False if its dependants are to be held."""
        settings = self.settings.get(node.spec.action)
        policy = node.spec.on_failure or (settings.on_failure if settings else None) or self.config.on_failure
        if policy == OnFailure.PAUSE:
            self.pause_run(Pause("failure", self.now, f"node {node.id!r} failed: {node.error}"))
            return False
        if policy == OnFailure.STOP and self.stopping is None:
            self.stopping = node.id
            reason = f"the run stops because {node.id!r} failed"
            for other in list(self.nodes.values()):
                if not other.final and not self._is_urgent(other):
                    self.stop(other, reason)
        return True

    def stop(self, node: Node, reason: str) -> None:
        """The run stops: what has not started will not."""
        if node.status is NodeStatus.RUNNING:
            return
        node.pauses.clear()
        if node.status is NodeStatus.RETRYING:
            self.cancel(node, self.stopping or "run", reason)
        else:
            self.skip(node, reason, self.stopping)

    def release(self, node: Node) -> None:
        """Tell its dependants, its group and the node it was there for that a node has ended."""
        node.released = True
        for id in node.children:
            child = self.nodes[id]
            if not child.final and node.status is NodeStatus.CANCELLED:
                self.cancel(child, node.cause or node.id, node.reason or "cancelled")
            elif not child.final:
                self.skip(child, f"{node.id!r} {node.status}", node.id)
        for id in node.dependants:
            other = self.nodes[id]
            if node.id in other.met:
                continue
            other.unmet -= 1
            if other.unmet == 0:
                self._judge.append(id)
        parent = node.spec.parent
        if parent is not None:
            group = self.nodes[parent]
            group.open_children -= 1
            if group.open_children == 0 and group.status is NodeStatus.RUNNING and self.ending is None:
                self.close_group(group)
        if node.guardian is not None:
            self._rescued(node, self.nodes[node.guardian])

    def _rescued(self, node: Node, failed: Node) -> None:
        node.guardian = None
        failed.rescuers.discard(node.id)
        if failed.status is not NodeStatus.FAILED:
            return
        outcome = node.outcome
        stands_in = node.spec.replaces == failed.id or (outcome is not None and outcome.recovered)
        if node.status in SUCCESS_STATES and stands_in and outcome is not None:
            self.recover(failed, outcome)
        elif not failed.rescuers and not failed.released:
            self.settle(failed)

    def recover(self, node: Node, outcome: NodeOutput) -> None:
        """A node gets its outputs from elsewhere; what was skipped because of it has its turn again."""
        was_failed = node.status is NodeStatus.FAILED
        for id in node.rescuers:
            self.nodes[id].guardian = None
        node.rescuers.clear()
        node.outcome = outcome if outcome.recovered else _recovered(outcome)
        node.finished_at = self.now
        self.set_status(node, NodeStatus.RECOVERED)
        if node.released:
            rerun.reset_dependants(self, node)
            node.released = False
        if was_failed:
            rerun.forgive(self)
        self.emit(m.NodeCompleted, node.ref, node.outcome, final=node)

    # --- the run's way ------------------------------------------------------------------------

    def _moving(self) -> bool:
        if self.busy or self.asks or not self.opened:
            return True
        if self.ending is not None:
            return False
        pause = self.pauses.get(RUN)
        waiting = self.count[NodeStatus.RETRYING]
        if pause is None and self.stopping is None:
            return waiting > 0 or self.slots.waiting(self._wanted) or self.urgent.waiting(self._wanted)
        if pause is None or pause.kind == "failure":
            if self.urgent.waiting(self._wanted):
                return True
            retrying = (n for n in self.nodes.values() if n.status is NodeStatus.RETRYING) if waiting else ()
            return any(self._is_urgent(node) for node in retrying)
        return False

    def _come_to_rest(self) -> None:
        left = len(self.nodes) - sum(self.count[state] for state in FINAL_STATES)
        if left == 0 and self.pauses.keys() <= {RUN} and not (self.pauses and any(True for _ in self.held())):
            self._finish()
        elif self.pauses:
            self._leave(RunStatus.PAUSED)
        else:
            self._unblock()

    def held(self) -> Iterable[Node]:
        """Failed nodes whose dependants wait for a decision."""
        return (n for n in self.nodes.values() if n.status is NodeStatus.FAILED and not n.released)

    def _unblock(self) -> None:
        """Nothing moves and nobody is waited for: rescue that waits for itself is given up, else the run fails."""
        stuck = [n for n in self.nodes.values() if n.rescuers and not n.released]
        if stuck:
            for node in stuck:
                for id in node.rescuers:
                    self.nodes[id].guardian = None
                node.rescuers.clear()
                self.settle(node)
            self._move()
            return
        blocked = [n.id for n in self.nodes.values() if not n.final]
        self.fail_run(f"nothing can move any more: {shorten(blocked)} wait for each other")
        if not self._moving():
            self._finish()

    def _finish(self) -> None:
        """Everything has ended: the hooks hear of it, then the run is over."""
        status = self.ending
        if status is None:
            status = RunStatus.FAILED if self.count[NodeStatus.FAILED] else RunStatus.COMPLETED
        if status is RunStatus.COMPLETED:
            self.error = self.error_node = None
        if not self.finishing:
            self.finishing = True
            self.pauses.clear()
            self.emit(m.RunFinished, status is RunStatus.COMPLETED, str(status))
            if self.asks:
                return
        self._leave(status)

    def _leave(self, status: RunStatus) -> None:
        self.status = status
        if self.active_since is not None:
            self.elapsed += self.now - self.active_since
            self.active_since = None
        if status in _OVER:
            self.finished_at = self.now
        self._effects.append(m.RunEnded(status, self.error, self.error_node))

    def _not_over(self) -> None:
        if self.status in _OVER or self.finishing:
            raise InvalidState(f"run {self.run_id!r} has ended ({self.status})", culprit=self.run_id)

    # --- small parts --------------------------------------------------------------------------

    def set_status(self, node: Node, status: NodeStatus) -> None:
        """Change a node's state by the table of transitions."""
        old = node.status
        if status not in TRANSITIONS[old]:
            raise AssertionError(f"node {node.id!r} cannot go from {old} to {status}")
        self.count[old] -= 1
        self.count[status] += 1
        node.status = status
        if status is not NodeStatus.RETRYING:
            node.ready = False
        self.changed.add(node.id)

    def emit(self, kind: Any, *fields: Any, final: Node | None = None, node: Node | None = None) -> None:
        """Emit an event; one that ends a node (`final`) lets it settle once it is answered."""
        self.seq += 1
        event = kind(*fields, run_id=self.run_id, seq=self.seq, at=self.now)
        about = final or node
        asks = self.listens(event)
        if asks and self.chain > MAX_CHAIN:
            asks = False
            spending.breach(self, "answers", MAX_CHAIN, self.chain)
        if asks:
            self.asks[event.seq] = Ask(event, about.id if about else None, final is not None, self._depth(event))
            self.asked.append(event.seq)
        self._effects.append(m.Emit(event, asks))
        if final is not None and not asks:
            self.settle(final)

    def _depth(self, event: Any) -> int:
        """How many answers led to this event; a node that starts or ends begins a new chain."""
        return 0 if isinstance(event, _NEW_CHAIN) else self.chain

    def reject(self, command: Any, reason: str, by: str | None) -> None:
        """A command is refused; nothing has changed."""
        self.emit(m.CommandRejected, command, reason, by)

    def add_effect(self, effect: m.Effect) -> None:
        """One more thing for the runtime to do."""
        self._effects.append(effect)

    def timer(self, at: float, kind: str, id: str, token: float) -> None:
        """Ask for a `Tick` at this time."""
        self._timer_order += 1
        heapq.heappush(self._timers, (at, self._timer_order, kind, id, token))

    def _arm_deadline(self) -> None:
        self._deadline_epoch += 1
        seconds = self.config.timeout_seconds
        if seconds is not None:
            self.timer(self.now + max(seconds - self.elapsed, 0.0), "deadline", RUN, self._deadline_epoch)

    def _set_wake(self) -> None:
        timers = self._timers
        while timers and self._stale(*timers[0][2:]):
            heapq.heappop(timers)
        at = timers[0][0] if timers else None
        if self._rated:
            free = [t for q in (self.slots, self.urgent) if (t := q.next_free(self.now)) is not None]
            at = min(free if at is None else [at, *free], default=None)
        if self.status is not RunStatus.RUNNING:
            at = None
        if at != self._wake:
            self._wake = at
            self._effects.append(m.WakeAt(at))


def _recovered(outcome: NodeOutput) -> NodeOutput:
    return NodeOutput(outcome.outputs, True, outcome.metadata, None, True, outcome.returned)


HANDLERS: dict[type, Callable[[Scheduler, Any], None]] = {
    m.Begin: Scheduler._begin,
    m.AttemptEnded: Scheduler._attempt_ended,
    m.GroupOpened: Scheduler._group_opened,
    m.Answered: Scheduler._answered,
    m.Applied: Scheduler._applied,
    m.PauseRun: Scheduler._pause_run,
    m.Resume: Scheduler._resume,
    m.CancelRun: Scheduler._cancel_run,
    m.FailRun: Scheduler._fail_run,
    m.Interrupt: Scheduler._interrupt,
    m.Reopened: Scheduler._reopened,
    m.RetryNodes: Scheduler._retry_nodes,
    m.UsageReported: Scheduler._usage,
    m.Tick: Scheduler._tick,
}
_OVER = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
_CAN_START = frozenset({NodeStatus.PENDING, NodeStatus.RETRYING})
_NO_SETTINGS = m.ActionSettings()
_NEW_CHAIN = (m.NodeStarted, m.NodeCompleted, m.NodeFailed, m.NodeRetrying, m.RunStarted)
