"""The protocol: events come out, commands and other inputs go in, effects tell the runtime what to do.

Rules kept here: nothing is changed once it has been made, and what is public (events, commands) is
frozen; nothing holds a loop, a thread or a file. `Input`s and `Effect`s are between the scheduler and
who drives it: those that each node brings are plain records, which are made in the least time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ValidationError, shorten
from .events import (
    BranchCancelled as BranchCancelled,
    BranchPaused as BranchPaused,
    BranchResumed as BranchResumed,
    BudgetExceeded as BudgetExceeded,
    CommandRejected as CommandRejected,
    CustomEvent as CustomEvent,
    Event as Event,
    ExecutionEvent as ExecutionEvent,
    HookFailed as HookFailed,
    NodeCancelled as NodeCancelled,
    NodeCompleted as NodeCompleted,
    NodeFailed as NodeFailed,
    NodeLog as NodeLog,
    NodeProgress as NodeProgress,
    NodeRetrying as NodeRetrying,
    NodesAdded as NodesAdded,
    NodeSkipped as NodeSkipped,
    NodeStarted as NodeStarted,
    RunFinished as RunFinished,
    RunStarted as RunStarted,
    TokenStreamed as TokenStreamed,
    node_completed as node_completed,
    node_started as node_started,
    nodes_added as nodes_added,
)
from .frozen import quick
from .model import EMPTY, NodeDef, NodeOutput, NodeSpec

# --- commands ---------------------------------------------------------------------------------


@quick
@dataclass(frozen=True, slots=True)
class AddNode:
    """Add one node."""

    spec: NodeSpec
    dag_name: str | None = None


@dataclass(frozen=True, slots=True)
class AddNodes:
    """Add a batch of nodes, all or none; they may depend on each other.

    `free`: the ids among theirs that nobody chose, each with what is numbered in its place if it is taken
    when they are added. `holds`: a node that has ended, and that these go on for: its dependants wait for
    them too (without any: for the answer to what the node asks). `heir`: the first of them takes its place
    for its dependants.
    """

    specs: Iterable[NodeSpec | NodeDef]
    dag_name: str | None = None
    free: Mapping[str, str] = EMPTY
    holds: str | None = None
    heir: bool = False

    def __post_init__(self) -> None:
        specs = self.specs
        if isinstance(specs, str | NodeSpec) or not isinstance(specs, Iterable):
            raise ValidationError(
                f"AddNodes takes a list of NodeSpecs, not {shorten(specs)}", culprit="specs", value=specs
            )
        object.__setattr__(self, "specs", tuple(specs))


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
    """Cancel a node and all that comes after it, also through what has ended; see `Run.cancel` for joins."""

    branch_id: str
    reason: str | None = None


def _ids(node_ids: Iterable[str] | str) -> tuple[str, ...]:
    if not isinstance(node_ids, Iterable):
        raise ValidationError(
            f"node_ids is a list of ids, not {shorten(node_ids)}", culprit="node_ids", value=node_ids
        )
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
    """A branch, or with None the run and all its branches, goes on with these answers.

    `own`: what goes on with the run, each with the answers that are for it; what is not named there goes on
    only where nothing is asked. None: everything, with `answers`.
    """

    at: float
    branch_id: str | None = None
    answers: Mapping[str, Any] = EMPTY
    by: str | None = None
    own: Mapping[str, Mapping[str, Any]] | None = None


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
    `lost` are finished nodes whose needed outputs were never stored: they run again too. `unanswered`: nodes
    that ask again before they run, with the names of the answers that were never stored. Nothing moves
    before the next input (`Resume`, `RetryNodes`, `Applied` or a mere `Tick`).
    """

    at: float
    config: Any
    settings: Mapping[str, ActionSettings] = EMPTY
    pools: Mapping[str, int] = EMPTY
    lost: tuple[str, ...] = ()
    unanswered: Mapping[str, tuple[str, ...]] = EMPTY


@dataclass(frozen=True, slots=True)
class Forked:
    """The run goes on as another one, in which `nodes` and what comes after them have not run.

    `outputs` are given to these nodes (id -> name -> value) in place of their own; what comes after them
    has not run either. What was under way has not begun. Nothing moves before `Reopened`.
    """

    at: float
    nodes: tuple[str, ...] = ()
    outputs: Mapping[str, Mapping[str, Any]] = EMPTY


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
    | Forked
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
class AskHooks:
    """Ask the hooks about this event, which comes before it, then say `Answered`."""

    event: Any


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


# an event is an effect too: it is to be recorded and shown
Effect = ExecutionEvent | AskHooks | StartAttempt | CancelAttempt | OpenGroup | CloseGroup | WakeAt | RunEnded
