"""The protocol: events come out, commands and other inputs go in, effects tell the runtime what to do.

Rules kept here: nothing is changed once it has been made, and what is public (events, commands) is
frozen; nothing holds a loop, a thread or a file. `Input`s and `Effect`s are between the scheduler and
who drives it: those that each node brings are plain records, as frozen ones take five times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .model import EMPTY, NodeDef, NodeOutput, NodeRef, NodeSpec

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event carries: the run, its number in the run (from 1), and when it was (epoch seconds)."""

    run_id: str = ""
    seq: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """The run begins; its first nodes start once this is answered."""


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The run has ended."""

    success: bool
    status: str


@dataclass(frozen=True, slots=True)
class NodeStarted(Event):
    """The first attempt of a node begins."""

    node: NodeRef


@dataclass(frozen=True, slots=True)
class NodeCompleted(Event):
    """A node came to its end; `outcome.success` is False where the action itself reported a failure."""

    node: NodeRef
    outcome: NodeOutput

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outcome's outputs."""
        return self.outcome.outputs


@dataclass(frozen=True, slots=True)
class NodeFailed(Event):
    """The last attempt of a node raised; `error` is text, `exception` None after a reload."""

    node: NodeRef
    error: str
    exception: BaseException | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class NodeRetrying(Event):
    """Attempt `attempt` failed; the next one comes in `delay` seconds."""

    node: NodeRef
    attempt: int
    delay: float
    error: str


@dataclass(frozen=True, slots=True)
class NodeSkipped(Event):
    """A node will not run; `reason` says why."""

    node: NodeRef
    reason: str


@dataclass(frozen=True, slots=True)
class NodeCancelled(Event):
    """A node was cancelled, before or while it ran."""

    node: NodeRef
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class NodesAdded(Event):
    """The graph grew by these nodes; `added_by` is the node whose event was answered, if any."""

    nodes: tuple[NodeDef, ...]
    added_by: str | None = None


@dataclass(frozen=True, slots=True)
class NodeProgress(Event):
    """How far a node is: `fraction` from 0 to 1. Coalesced; not offered to hooks."""

    node: NodeRef
    fraction: float
    message: str | None = None


@dataclass(frozen=True, slots=True)
class NodeLog(Event):
    """What a node printed or logged. Coalesced; not offered to hooks."""

    node: NodeRef
    message: str
    level: str = "INFO"
    stream: str = "log"


@dataclass(frozen=True, slots=True)
class TokenStreamed(Event):
    """A piece of text a node streams. Coalesced; not offered to hooks."""

    node: NodeRef
    token: str


@dataclass(frozen=True, slots=True)
class CustomEvent(Event):
    """An event of the user's own, from `ctx.emit` or the command `EmitEvent`."""

    name: str
    data: Any = None
    node: NodeRef | None = None


@dataclass(frozen=True, slots=True)
class BranchPaused(Event):
    """A branch (None: the whole run) waits; `reason` says for what, `by` who decided it."""

    branch_id: str | None
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class BranchResumed(Event):
    """A branch (None: the whole run) goes on; `by` says who decided it, `answers` what they said.

    `automatic` is True where nobody answered in time and the form's defaults were taken.
    """

    branch_id: str | None
    by: str | None = None
    answers: Mapping[str, Any] = EMPTY
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class BranchCancelled(Event):
    """A branch (None: the whole run) was cancelled."""

    branch_id: str | None
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class CommandRejected(Event):
    """A command was refused and changed nothing; `reason` says why and what to do."""

    command: Any
    reason: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class HookFailed(Event):
    """A hook raised; the run goes on without its answer."""

    hook: str
    error: str


@dataclass(frozen=True, slots=True)
class BudgetExceeded(Event):
    """A budget is used up: the run (or the branch) pauses until it is raised."""

    budget: str
    limit: float
    used: float
    branch_id: str | None = None


ExecutionEvent = (
    RunStarted
    | RunFinished
    | NodeStarted
    | NodeCompleted
    | NodeFailed
    | NodeRetrying
    | NodeSkipped
    | NodeCancelled
    | NodesAdded
    | NodeProgress
    | NodeLog
    | TokenStreamed
    | CustomEvent
    | BranchPaused
    | BranchResumed
    | BranchCancelled
    | CommandRejected
    | HookFailed
    | BudgetExceeded
)

_new = object.__new__
_set_run_id, _set_seq, _set_at = (vars(Event)[name].__set__ for name in ("run_id", "seq", "at"))
_set_started = vars(NodeStarted)["node"].__set__
_set_ended, _set_outcome = (vars(NodeCompleted)[name].__set__ for name in ("node", "outcome"))


def node_started(node: NodeRef, run_id: str, seq: int, at: float) -> NodeStarted:
    """The same as `NodeStarted(node, run_id=run_id, seq=seq, at=at)` in a third of its time."""
    event = _new(NodeStarted)
    _set_started(event, node)
    _set_run_id(event, run_id)
    _set_seq(event, seq)
    _set_at(event, at)
    return event


def node_completed(node: NodeRef, outcome: NodeOutput, run_id: str, seq: int, at: float) -> NodeCompleted:
    """The same as `NodeCompleted(node, outcome, run_id=run_id, seq=seq, at=at)` in a third of its time."""
    event = _new(NodeCompleted)
    _set_ended(event, node)
    _set_outcome(event, outcome)
    _set_run_id(event, run_id)
    _set_seq(event, seq)
    _set_at(event, at)
    return event


# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddNode:
    """Add one node."""

    spec: NodeSpec
    dag_name: str | None = None


@dataclass(frozen=True, slots=True)
class AddNodes:
    """Add a batch of nodes, all or none; they may depend on each other."""

    specs: Iterable[NodeSpec]
    dag_name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "specs", tuple(self.specs))


@dataclass(frozen=True, slots=True)
class SetNodeInputs:
    """Replace these inputs of a node that has not started."""

    node_id: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PauseBranch:
    """Hold a node and all that comes after it; `form` (a pydantic model, a JSON schema) is what is asked."""

    branch_id: str
    reason: str | None = None
    form: Any = None


@dataclass(frozen=True, slots=True)
class ResumeBranch:
    """Let a paused branch go on."""

    branch_id: str


@dataclass(frozen=True, slots=True)
class CancelBranch:
    """Cancel a node and all that comes after it."""

    branch_id: str
    reason: str | None = None


def _ids(node_ids: Iterable[str] | str) -> tuple[str, ...]:
    return (node_ids,) if isinstance(node_ids, str) else tuple(node_ids)


@dataclass(frozen=True, slots=True)
class EnableNodes:
    """Undo `DisableNodes` for nodes whose turn has not come."""

    node_ids: Iterable[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "node_ids", _ids(self.node_ids))


@dataclass(frozen=True, slots=True)
class DisableNodes:
    """Skip these nodes when their turn comes."""

    node_ids: Iterable[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "node_ids", _ids(self.node_ids))


@dataclass(frozen=True, slots=True)
class RetryNode:
    """Run a failed node again."""

    node_id: str


@dataclass(frozen=True, slots=True)
class SetNodeOutputs:
    """Give a failed node, or one that has not started, these outputs: it is `recovered`."""

    node_id: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Emit a `CustomEvent`."""

    name: str
    data: Any = None


ExecutorCommand = (
    AddNode
    | AddNodes
    | SetNodeInputs
    | PauseBranch
    | ResumeBranch
    | CancelBranch
    | EnableNodes
    | DisableNodes
    | RetryNode
    | SetNodeOutputs
    | EmitEvent
)

# --- inputs -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActionSettings:
    """What an action says of its nodes where they do not say it themselves.

    `cached`: results may be known already, so that `NodeStarted` waits for `AttemptStarted`.
    """

    try_count: int | None = None
    retry: Any = None
    timeout: float | None = None
    on_failure: Any = None
    failure: str | None = None
    ask: Any = None
    executor: str = "async"
    idempotent: bool = True
    retry_timeouts: bool = True
    tags: tuple[str, ...] = ()
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """The run starts, with these settings (`DagConfig`), those of its actions, and what each executor holds.

    `disabled` are nodes to be skipped when their turn comes.
    """

    at: float
    config: Any
    settings: Mapping[str, ActionSettings] = EMPTY
    pools: Mapping[str, int] = EMPTY
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The result of this attempt is not known: it has to run. Only for nodes whose results are cached;
    where it is not said, `NodeStarted` comes with the result."""

    node_id: str
    attempt: int
    at: float


@dataclass(slots=True)
class AttemptEnded:
    """An attempt came back: `outcome` for a result, else `error` (and perhaps `exception`).

    `jitter` is a random number in [0, 1) for the delay of the next attempt; `cached` marks a result
    that was found, not computed.
    """

    node_id: str
    attempt: int
    at: float
    outcome: NodeOutput | None = None
    error: str | None = None
    exception: BaseException | None = None
    retryable: bool = True
    jitter: float = 0.0
    cached: bool = False


@dataclass(frozen=True, slots=True)
class GroupOpened:
    """The inputs of a map or sub-workflow are there; or `error` says why not.

    A map gets `children` now: the nodes of its `count` items (a journal may leave them out and make
    them anew from the count).
    """

    node_id: str
    attempt: int
    at: float
    count: int = 0
    children: tuple[NodeDef, ...] = ()
    error: str | None = None
    exception: BaseException | None = None


@dataclass(slots=True)
class Answered:
    """All hooks have been asked about event `seq`.

    `commands` are pairs (hook's name, command), `failures` pairs (hook's name, error); `settings` those
    of actions that the commands name and that were not known before.
    """

    seq: int
    at: float
    commands: tuple[tuple[str, Any], ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, ActionSettings] = EMPTY


@dataclass(frozen=True, slots=True)
class Applied:
    """Commands from outside of the run's hooks (`run.apply`, `ctx.emit`, buttons)."""

    commands: tuple[Any, ...]
    at: float
    by: str | None = None
    settings: Mapping[str, ActionSettings] = EMPTY
    node_id: str | None = None


@dataclass(frozen=True, slots=True)
class PauseRun:
    """Nothing new starts; what runs ends."""

    at: float
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """A branch, or with None the run and all its branches, goes on with these answers."""

    at: float
    branch_id: str | None = None
    answers: Mapping[str, Any] = EMPTY
    by: str | None = None


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Everything that has not ended is cancelled."""

    at: float
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class FailRun:
    """The run cannot go on: everything that has not ended is cancelled, and the run has failed."""

    at: float
    error: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The process gives the run up: attempts under way stop and do not count."""

    at: float


@dataclass(frozen=True, slots=True)
class Reopened:
    """A process takes the run up again: what was running when it was left runs again.

    `config` replaces the run's settings; `settings` are those of the actions as they are defined now.
    `lost` are finished nodes whose needed outputs were never stored: they run again too. Nothing moves
    before the next input (`Resume`, `RetryNodes`, `Applied` or a mere `Tick`).
    """

    at: float
    config: Any
    settings: Mapping[str, ActionSettings] = EMPTY
    pools: Mapping[str, int] = EMPTY
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryNodes:
    """Run failed nodes (or `node_id`) again, and with `cascade` what comes after them."""

    at: float
    node_id: str | None = None
    cascade: bool = True
    by: str | None = None


@dataclass(frozen=True, slots=True)
class UsageReported:
    """A node used so many tokens and so much money since its last report."""

    node_id: str
    at: float
    tokens: float = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has come for something that was asked for by `WakeAt`."""

    at: float
    jitter: float = 0.0


Input = (
    Begin
    | AttemptStarted
    | AttemptEnded
    | GroupOpened
    | Answered
    | Applied
    | PauseRun
    | Resume
    | CancelRun
    | FailRun
    | Interrupt
    | Reopened
    | RetryNodes
    | UsageReported
    | Tick
)

# --- effects ----------------------------------------------------------------------------------


@dataclass(slots=True)
class StartAttempt:
    """Start this attempt of this node; its slot is taken."""

    node_id: str
    attempt: int


@dataclass(slots=True)
class CancelAttempt:
    """Stop this attempt and forget its result."""

    node_id: str
    attempt: int
    reason: str


@dataclass(slots=True)
class OpenGroup:
    """Resolve the inputs of a map or sub-workflow, then say `GroupOpened`."""

    node_id: str
    attempt: int


@dataclass(slots=True)
class CloseGroup:
    """All children have ended well: work out the group's outcome, then say `AttemptEnded`."""

    node_id: str
    attempt: int


@dataclass(slots=True)
class Emit:
    """An event to record and show; with `ask` the hooks are to be asked, then say `Answered`."""

    event: Any
    ask: bool = False


@dataclass(slots=True)
class WakeAt:
    """Say `Tick` at this time (None: no more); replaces the time said before."""

    at: float | None


@dataclass(slots=True)
class RunEnded:
    """The run is over for this process: ended, or paused or interrupted and to be taken up again."""

    status: str
    error: str | None = None
    node_id: str | None = None


Effect = StartAttempt | CancelAttempt | OpenGroup | CloseGroup | Emit | WakeAt | RunEnded
