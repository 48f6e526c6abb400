"""What happens in a run: the public events.

Rules kept here: everything is frozen; an event carries the run, its number in it, and its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .frozen import maker
from .model import EMPTY, NodeDef, NodeOutput, NodeRef


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

# what every node brings, and every growth
node_started = maker(NodeStarted, "node", "run_id", "seq", "at")
nodes_added = maker(NodesAdded, "nodes", "added_by", "run_id", "seq", "at")
node_completed = maker(NodeCompleted, "node", "outcome", "run_id", "seq", "at")
