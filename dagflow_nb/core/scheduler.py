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
from collections.abc import Callable, Iterable, Mapping
from math import inf, isfinite
from typing import Any

from ..errors import DagError, InvalidState, shorten
from . import (
    attempts,
    branches,
    commands,
    finish,
    forking,
    human,
    judging,
    messages as m,
    recovery,
    rerun,
    spending,
)
from .graph import Edges, Node
from .growth import Context
from .model import EMPTY, NodeDef, RunStatus
from .state import OVER, RUN, Ask, Pause, State

# what a node's own course brings; other events stay true when it runs again
_OF_ITS_COURSE = (
    m.NodeStarted,
    m.NodeCompleted,
    m.NodeFailed,
    m.NodeRetrying,
    m.NodeSkipped,
    m.NodeCancelled,
    m.NodesAdded,
)


class Scheduler(State):
    """The state of one run and the only code that changes it.

    `listens(event)` tells whether any hook is to be asked about an event; the others count as answered
    at once. `edges`: those of nodes that are known to fit together; None: they are checked.

    >>> from dagflow_nb import DagConfig
    >>> scheduler = Scheduler("hello", "run-1", [NodeDef(id="greet", action="greet")])
    >>> effects = scheduler.handle(m.Begin(0.0, DagConfig()))
    >>> [type(effect).__name__ for effect in effects]
    ['RunStarted', 'NodeStarted', 'StartAttempt']
    """

    def __init__(
        self,
        dag_name: str,
        run_id: str,
        specs: Iterable[NodeDef],
        *,
        listens: Callable[[Any], bool] = lambda event: False,
        edges: Edges | None = None,
    ) -> None:
        super().__init__(dag_name, run_id, specs, listens, edges)

    def handle(self, message: m.Input) -> list[m.Effect]:
        """Take one input; returns what the runtime is to do, in order.

        Raises `InvalidState`, or another `DagError`, for an input that does not fit; nothing has
        changed then. A run that is paused or over takes nothing but `Reopened` and `Forked`; late results
        are ignored.
        """
        handler = HANDLERS.get(type(message))
        if handler is None:
            raise InvalidState(f"the scheduler takes no {shorten(message)}", culprit=message)
        at = message.at
        if not -inf < at < inf:
            raise InvalidState(f"an input comes at a time in seconds, not at {at}", culprit=message)
        before = self.now
        effects = self.effects = []
        # clocks may be set back while a run goes on; order within a run must not
        if at > before:
            self.now = at
        try:
            handler(self, message)
        except DagError:
            self.now = before
            raise
        if self.status is RunStatus.RUNNING and handler is not Scheduler._reopened:
            self._move()
        self._last = self.now
        return effects

    _last = 0.0

    def _move(self) -> None:
        """Settle what has ended, judge whose turn has come, start what may start, until all is quiet."""
        settling, to_judge, slots, urgent = self.settling, self.judging, self.slots, self.urgent
        while True:
            while settling:
                recovery.settle(self, settling.popleft())
            if self.unchecked:
                spending.check(self)
            if self.opened:
                while to_judge:
                    judging.decide(self, to_judge.popleft())
                if settling:
                    continue
                if slots.length or urgent.length:
                    judging.start_ready(self)
            if self.busy or self.asks or finish.is_moving(self) or not finish.come_to_rest(self):
                break
        if self.timers or self.rated or self.wake is not None:
            self.set_wake()

    # --- inputs -------------------------------------------------------------------------------

    def _begin(self, message: m.Begin) -> None:
        if self.status is not RunStatus.PENDING:
            raise InvalidState("a run begins once", culprit=self.run_id)
        disabled = [self.graph[id] for id in message.disabled]
        self.configure(message.config, message.settings, message.pools)
        self.status = RunStatus.RUNNING
        self.started_at = self.active_since = self.now
        for node in disabled:
            commands.disable(self, node, None, "it was disabled")
        for node in self.graph.in_order() if self.config.branch_budgets else self.nodes.values():
            judging.enroll(self, node)
        self._arm_deadline()
        self.emit(m.RunStarted)
        self.opened = not self.asks

    def _answered(self, message: m.Answered) -> None:
        if self.status is not RunStatus.RUNNING:
            self._must_run(finishing=True)
        ask = self.asks.pop(message.seq, None)
        if ask is None:
            raise InvalidState(f"event {message.seq} waits for no answer", culprit=message.seq)
        if message.settings is not EMPTY:
            self.settings.update(message.settings)
        about = self.nodes.get(ask.node_id or "")
        if about is not None and about.holders and type(ask.event) is m.BranchResumed:
            about.holders -= {about.id}  # it does not wait for this answer any more
        self.chain = ask.chain + 1
        for hook, error in message.failures:
            self.emit(m.HookFailed, hook, error)
        about = self._asked_about(ask)
        for hook, command in message.commands:
            # the answer itself may let it run again, which the rest of the answer takes into account
            node = about if about is not None and self.nodes.get(about.id) is about else None
            if self.finishing:
                text = "the run has ended: what on_complete answers changes nothing"
                self.reject(command, text, hook)
            elif node is None and ask.node_id is not None and isinstance(ask.event, _OF_ITS_COURSE):
                self.reject(command, f"node {ask.node_id!r} runs again: this answer is out of date", hook)
            else:
                commands.apply(self, command, Context(hook, node, ask.event))
        self.chain = 0
        self.fresh.clear()
        about = self.nodes.get(ask.node_id or "")  # commands may have withdrawn it
        if about is not None:
            if (ask.final and about.ended == message.seq) or (about.goes_on and about.final):
                self.settling.append(about)
            if about.holds is not None and about.holds in self.nodes:
                self.settling.append(self.nodes[about.holds])
        elif type(ask.event) is m.RunStarted:
            self.opened = True
        spending.check(self)

    def _asked_about(self, ask: Ask) -> Node | None:
        """The node whose event is answered, if it has not been withdrawn or run again since."""
        node = self.nodes.get(ask.node_id) if ask.node_id is not None else None
        return node if node is not None and ask.event.seq > node.since else None

    def _applied(self, message: m.Applied) -> None:
        self._must_run()
        self.settings.update(message.settings)
        node = self.nodes.get(message.node_id) if message.node_id is not None else None
        for command in message.commands:
            commands.apply(self, command, Context(message.by, node, None))
        self.fresh.clear()
        spending.check(self)

    def _usage(self, message: m.UsageReported) -> None:
        node = self.nodes.get(message.node_id)
        tokens, cost = message.tokens, message.cost
        for amount in (tokens, cost):
            if not isinstance(amount, int | float) or not isfinite(amount) or amount < 0:
                raise InvalidState(f"usage is a number of at least 0, not {shorten(amount)}", culprit=message)
        if node is None:
            return
        node.used_tokens += tokens
        node.used_cost += cost
        self.changed.add(node.id)
        for usage in spending.usages(self, node):
            usage.max_tokens += tokens
            usage.max_cost += cost
        if self.status is RunStatus.RUNNING:
            spending.check(self)

    def _tick(self, message: m.Tick) -> None:
        if self.status is not RunStatus.RUNNING:
            return
        self.wake = None
        while self.timers and self.timers[0][0] <= self.now:
            _, _, kind, id, token = heapq.heappop(self.timers)
            if self.stale(kind, id, token):
                continue
            if kind == "deadline":
                finish.out_of_time(self)
            elif kind == "human":
                self.pauses[id].alarm = 0
                human.nobody_answered(self, id)
            elif kind == "retry":
                self.make_ready(self.nodes[id])
            else:
                attempts.timed_out(self, self.nodes[id], message.jitter)

    def _pause_run(self, message: m.PauseRun) -> None:
        self._must_run()
        branches.pause_run(self, Pause("run", self.now, message.reason, None, message.by))

    def _resume(self, message: m.Resume) -> None:
        self._must_run()
        human.resume(self, message)

    def _cancel_run(self, message: m.CancelRun) -> None:
        self._must_run()
        finish.cancel_run(self, message.reason, message.by)

    def _fail_run(self, message: m.FailRun) -> None:
        if self.status in OVER or self.ending is not None:
            return  # how it ends has been decided
        self._must_run(finishing=True)
        finish.fail_run(self, message.error)

    def _interrupt(self, message: m.Interrupt) -> None:
        self._must_run(finishing=True)
        rerun.put_back(self, "interrupted")
        finish.leave(self, RunStatus.INTERRUPTED)

    def _reopened(self, message: m.Reopened) -> None:
        rerun.reopen(self, message, self._last)
        self._arm_deadline()
        self.wake = None

    def _retry_nodes(self, message: m.RetryNodes) -> None:
        self._must_run()
        if self.ending is not None:
            raise InvalidState(f"run {self.run_id!r} is being ended", culprit=self.run_id)
        rerun.retry(self, message)

    def _must_run(self, finishing: bool = False) -> None:
        """Raise unless the run is under way here, and has not told its end already."""
        if self.status in OVER or (self.finishing and not finishing):
            raise InvalidState(f"run {self.run_id!r} has ended ({self.status})", culprit=self.run_id)
        if self.status is not RunStatus.RUNNING:
            raise InvalidState(
                f"run {self.run_id!r} is {self.status}: it is to be taken up first", culprit=self.run_id
            )

    def _arm_deadline(self) -> None:
        """The run's time starts to run, or goes on; what it has used is `elapsed`."""
        self.deadline += 1
        seconds = self.config.timeout_seconds
        if seconds is not None:
            self.timer(self.now + max(seconds - self.elapsed, 0.0), "deadline", RUN, self.deadline)


HANDLERS: Mapping[type, Callable[[Scheduler, Any], None]] = {
    m.Begin: Scheduler._begin,
    m.AttemptStarted: attempts.started,
    m.AttemptEnded: attempts.ended,
    m.GroupOpened: attempts.group_opened,
    m.Answered: Scheduler._answered,
    m.Applied: Scheduler._applied,
    m.PauseRun: Scheduler._pause_run,
    m.Resume: Scheduler._resume,
    m.CancelRun: Scheduler._cancel_run,
    m.FailRun: Scheduler._fail_run,
    m.Interrupt: Scheduler._interrupt,
    m.Reopened: Scheduler._reopened,
    m.Forked: forking.fork,
    m.RetryNodes: Scheduler._retry_nodes,
    m.UsageReported: Scheduler._usage,
    m.Tick: Scheduler._tick,
}
