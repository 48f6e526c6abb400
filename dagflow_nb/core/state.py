"""The state of one run, and the small changes that everything else is made of.

Rules kept here:
- A node's state changes by the table of transitions only, and all counts and indices follow it here.
- An event that ends a node lets it settle: once its hooks have answered, at once where there are none.
- What is looked up while a run goes on is kept in an index, never searched for in the graph.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from . import messages as m
from .budget import BUDGETS, Limit, Usage
from .graph import Edges, Graph, Node
from .model import Form, NodeDef, NodeStatus, OnFailure, RunStatus
from .retry import RetryStrategy
from .slots import Slots
from .transitions import TRANSITIONS

MAX_CHAIN = 100
MAX_ANSWERS = 10_000  # of chains that branch: an answer may make several events, each of which is answered
RUN = ""  # the key under which the whole run is paused
OVER = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
NO_SETTINGS = m.ActionSettings()
# a node that starts or ends begins a new chain of answers
_NEW_CHAIN = (m.NodeStarted, m.NodeCompleted, m.NodeFailed, m.NodeRetrying, m.RunStarted)
_BREACH = (m.BranchPaused, m.BudgetExceeded)  # hooks hear of a breach, and may answer it so many times
_SPARE = 10
_PENDING, _RETRYING, _FAILED = NodeStatus.PENDING, NodeStatus.RETRYING, NodeStatus.FAILED


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
    """Why a branch or the run waits. `kind`: ask, branch, run, failure, budget, review or decision.

    `by_hand`: whoever paused it asked nobody. `alarm` is the number of the timer that ends the wait for a
    person, 0 where none runs.
    """

    kind: str
    since: float
    reason: str | None = None
    form: Form | None = None
    by: str | None = None
    alarm: int = 0
    by_hand: bool = False

    @property
    def is_human(self) -> bool:
        """Whether a person is waited for, for so long as the config says."""
        return self.kind in ("ask", "branch", "review", "decision")


@dataclass(slots=True)
class Ask:
    """An event the hooks have been asked about; `final`: its node's dependants are held until then."""

    event: Any
    node_id: str | None
    final: bool
    chain: int


class State:
    """Everything a run is made of. `Scheduler` adds the inputs that move it.

    `changed` collects the ids of nodes whose record changed (or that are gone): who reads it clears
    it. `asked` collects the numbers of the events that `listens` chose, for the journal: a replay
    that listens to just these makes the same run. `held` are failed nodes whose dependants wait for a
    decision; `because` and `grown` say what was skipped, cancelled, disabled or added on whose account.
    """

    def __init__(
        self,
        dag_name: str,
        run_id: str,
        specs: Iterable[NodeDef],
        listens: Callable[[Any], bool],
        edges: Edges | None = None,
    ) -> None:
        self.dag_name, self.run_id, self.listens = dag_name, run_id, listens
        self.config: Settings
        self.budgets: dict[str, float] = {}  # those of the run that are set
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
        self.unchecked = False  # budgets are to be looked at: what they hold has changed
        self.changed: set[str] = set()
        self.asked: list[int] = []
        self.stopping: str | None = None  # the node whose failure stopped the run
        self.ending: RunStatus | None = None  # set once the run is cancelled, given up or out of time
        self.finishing = False  # RunFinished has been emitted
        self.opened = False  # RunStarted has been answered
        self.elapsed = 0.0
        self.active_since: float | None = None
        self.count = dict.fromkeys(NodeStatus, 0)
        self.busy = 0
        self.failed: dict[str, None] = {}
        self.held: dict[str, None] = {}
        self.retrying: dict[str, None] = {}
        self.because: dict[str, dict[str, None]] = {}
        self.grown: dict[str, dict[str, None]] = {}
        self.quiet: set[str] = set()  # nodes that run again for their outputs only
        self.fresh: set[str] = set()  # nodes added by the answer that is being applied
        self.names: dict[str, int] = {}  # how far the numbered ids of each action have come
        self.slots, self.urgent = Slots(), Slots()
        self.settling: deque[Node] = deque()
        self.judging: deque[Node] = deque()
        self.timers: list[tuple[float, int, str, str, float]] = []
        self.timer_number = 0
        self.deadline = 0
        self.wake: float | None = None
        self.limits: dict[str, Limit] = {}
        self.rated = False
        self.effects: list[m.Effect] = []
        self.now = 0.0
        self.chain = 0
        self.answers = 0  # to what came of an answer, since anything else was asked
        self._keys: dict[Any, tuple[str, ...]] = {}
        if edges is not None:
            self.graph.add_first(specs, edges)
            self.count[_PENDING] += len(self.nodes)
            self.changed.update(self.nodes)
        else:
            self.add(self.graph.check(specs))

    # --- nodes --------------------------------------------------------------------------------

    def add(
        self,
        specs: list[NodeDef],
        added_by: str | None = None,
        depth: int = 0,
        met: tuple[str, ...] | None = None,
    ) -> list[Node]:
        """Add checked nodes to the graph and to the counts; `met` as in `Graph.add`."""
        added = self.graph.add(specs, met)
        self.count[_PENDING] += len(added)
        changed, seq = self.changed, self.seq
        for node in added:
            changed.add(node.id)
            node.since, node.depth, node.added_by = seq, depth, added_by
            if node.spec.limit is not None and seq:
                self.limit_map(node)
        return added

    def set_status(self, node: Node, status: NodeStatus) -> None:
        """Change a node's state by the table of transitions."""
        old = node.status
        if status not in TRANSITIONS[old]:
            raise AssertionError(f"node {node.id!r} cannot go from {old} to {status}")
        count = self.count
        count[old] -= 1
        count[status] += 1
        node.status = status
        node.ready = False
        if old is _RETRYING:
            del self.retrying[node.id]
        elif old is _FAILED:
            del self.failed[node.id]
            self.held.pop(node.id, None)
        if status is _RETRYING:
            self.retrying[node.id] = None
        elif status is _FAILED:
            self.failed[node.id] = None
        self.changed.add(node.id)

    def to_judge(self, node: Node) -> None:
        """Its turn may have come."""
        self.judging.append(node)

    def blame(self, node: Node, cause: str | None) -> None:
        """Remember on whose account a node was skipped, cancelled or disabled."""
        if cause is not None:
            self.because.setdefault(cause, {})[node.id] = None

    def is_urgent(self, node: Node) -> bool:
        """Whether it is there for a failed node: such a one runs although the run stops or pauses."""
        while node.guardian is None:
            if node.spec.parent is None:
                return False
            node = self.nodes[node.spec.parent]
        return True

    def settings_of(self, node: Node) -> m.ActionSettings:
        """What its action says of it."""
        return self.settings.get(node.spec.action, NO_SETTINGS)

    def tries(self, node: Node) -> int:
        """How many attempts a node has in all."""
        return node.spec.try_count or self.settings_of(node).try_count or self.config.max_attempts

    def timeout(self, node: Node) -> float | None:
        """Seconds that one attempt of a node may take."""
        own = node.spec.timeout
        return own if own is not None else self.settings_of(node).timeout

    # --- slots --------------------------------------------------------------------------------

    def configure(
        self, config: Settings, settings: Mapping[str, m.ActionSettings], pools: Mapping[str, int]
    ) -> None:
        """Take the run's settings, those of its actions, and what each executor holds."""
        self.config = config
        self.budgets = {name: limit for name in BUDGETS if (limit := getattr(config, name)) is not None}
        self.settings = dict(settings)
        total = 1 if not config.enable_parallel_execution else config.max_parallel_nodes
        limits = {f"pool:{name}": Limit(max(1, size)) for name, size in pools.items()}
        limits |= {f"limit:{name}": Limit.of(most) for name, most in config.limits.items()}
        if total is not None:
            limits["total"] = Limit(total)
        for key, limit in limits.items():
            if limit.period is not None and key in self.limits:
                limit.starts = self.limits[key].starts
        self.limits = limits
        for node in self.nodes.values():
            node.keys = None
            if node.spec.limit is not None:
                self.limit_map(node)
        self._keys.clear()
        self.slots.use(limits)
        self.urgent.use(limits)
        self.rated = any(limit.period is not None for limit in limits.values())

    def limit_map(self, node: Node) -> None:
        """A map has its own limit for its items."""
        key, most = f"map:{node.id}", max(1, node.spec.limit or 1)
        if key in self.limits:
            self.limits[key].most = most
        else:
            self.limits[key] = Limit(most)

    def make_ready(self, node: Node) -> None:
        """A node may run as soon as a slot is free."""
        node.ready = True
        node.ready_at = self.now
        keys = node.keys
        if keys is None:
            keys = node.keys = self._limit_keys(node)
        if node.guardian is None and node.spec.parent is None:
            self.slots.push(node, keys)
        else:
            (self.urgent if self.is_urgent(node) else self.slots).push(node, keys)

    def _limit_keys(self, node: Node) -> tuple[str, ...]:
        if node.is_group:
            return ()
        spec = node.spec
        same = (spec.action, spec.executor, spec.tags, spec.parent)
        found = self._keys.get(same)
        if found is None:
            settings = self.settings_of(node)
            keys = ["total", f"pool:{spec.executor or settings.executor}", f"limit:{spec.action}"]
            tags = dict.fromkeys((*spec.tags, *settings.tags))
            keys += [f"limit:{tag}" for tag in tags if tag != spec.action]
            parent = spec.parent
            while parent is not None:
                keys.append(f"map:{parent}")
                parent = self.nodes[parent].spec.parent
            found = self._keys[same] = tuple(key for key in keys if key in self.limits)
        return found

    def occupy(self, node: Node) -> None:
        """Something is under way for a node: its attempt, or the opening or closing of a group."""
        node.busy = True
        self.busy += 1

    def leave(self, node: Node) -> None:
        """What was under way for a node is over or given up: its slot is free."""
        if node.busy:
            node.busy = False
            self.busy -= 1
            for limit in node.slot:
                limit.running -= 1
            node.slot = ()

    def stop_attempt(self, node: Node, reason: str) -> None:
        """The attempt under way is to stop; its result will not count."""
        if node.busy and not node.is_group:
            self.effects.append(m.CancelAttempt(node.id, node.attempt, reason))
        self.leave(node)

    # --- events -------------------------------------------------------------------------------

    def emit(self, kind: Any, *fields: Any, final: Node | None = None, node: Node | None = None) -> None:
        """Emit an event; one that ends a node (`final`) lets it settle once it is answered."""
        self.seq += 1
        self.send(kind(*fields, run_id=self.run_id, seq=self.seq, at=self.now), final, node)

    def send(self, event: Any, final: Node | None, node: Node | None) -> None:
        """Send an event that has been made, and ask the hooks about it if any of them listens."""
        asks = self.listens(event) and self._may_ask(event, final, node)
        if final is not None:
            final.ended = event.seq
            if not asks:
                self.settling.append(final)
        self.effects.append(event)
        if asks:
            self.effects.append(m.AskHooks(event))

    def _may_ask(self, event: Any, final: Node | None, node: Node | None) -> bool:
        """Whether the hooks that listen are to be asked; then their answer is waited for."""
        about = final or node
        self.asked.append(event.seq)
        chain = 0 if isinstance(event, _NEW_CHAIN) else self.chain
        self.answers = self.answers + 1 if chain > 1 else 0
        if chain > MAX_CHAIN or self.answers > MAX_ANSWERS:
            self.too_many_answers(chain)
            spare = _SPARE if isinstance(event, _BREACH) else 0
            if chain > MAX_CHAIN + spare or self.answers > MAX_ANSWERS + spare:
                return False
        if about is not None and about.id in self.quiet:
            return False
        self.asks[event.seq] = Ask(event, about.id if about else None, final is not None, chain)
        return True

    def too_many_answers(self, chain: int) -> None:
        """Answers go on and on: the run pauses, and says why once."""
        pause = self.pauses.get(RUN)
        if self.ending is None and not self.finishing and (pause is None or pause.kind == "failure"):
            most, number, where = MAX_CHAIN, chain, "in a chain"
            if chain <= MAX_CHAIN:
                most, number, where = MAX_ANSWERS, self.answers, "without a node that starts or ends"
            self.pauses[RUN] = Pause("budget", self.now, f"more than {most} answers {where}")
            self.emit(m.BranchPaused, None, self.pauses[RUN].reason)
            self.emit(m.BudgetExceeded, "answers", most, number)

    def reject(self, command: Any, reason: str, by: str | None) -> None:
        """A command is refused; nothing has changed."""
        self.emit(m.CommandRejected, command, reason, by)

    # --- timers -------------------------------------------------------------------------------

    def timer(self, at: float, kind: str, id: str, token: float) -> None:
        """Ask for a `Tick` at this time."""
        self.timer_number += 1
        heapq.heappush(self.timers, (at, self.timer_number, kind, id, token))

    def stale(self, kind: str, id: str, token: float) -> bool:
        """Whether what a timer was set for is over."""
        if kind == "deadline":
            return token != self.deadline or self.finishing
        if kind == "human":
            return id not in self.pauses or self.pauses[id].alarm != token
        node = self.nodes.get(id)
        if node is None or node.attempt != token:
            return True
        if kind == "retry":
            return node.status is not NodeStatus.RETRYING or node.ready
        return not node.busy

    def set_wake(self) -> None:
        """Say when the next `Tick` is wanted, if that has changed."""
        timers = self.timers
        while timers and self.stale(*timers[0][2:]):
            heapq.heappop(timers)
        at = timers[0][0] if timers else None
        if self.rated:
            free = [t for q in (self.slots, self.urgent) if (t := q.next_free(self.now)) is not None]
            at = min(free if at is None else [at, *free], default=None)
        if self.status is not RunStatus.RUNNING:
            at = None
        if at != self.wake:
            self.wake = at
            self.effects.append(m.WakeAt(at))
