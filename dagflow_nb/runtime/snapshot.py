"""What views see of a run: plain records, made by the coordinator, read by anyone, changed by nobody."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..core.model import Form


@dataclass(slots=True)  # a frozen one takes three times as long to make, of which the run would pay for
class NodeView:
    """One node as it stands; times are epoch seconds, `progress` is from 0 to 1.

    `ready_at`: since when it only waited for a slot. `earlier`: begin and end of the attempts that failed;
    `began_at`: when the present one began, where there are earlier ones.
    """

    id: str
    action: str
    status: str = "pending"
    deps: tuple[str, ...] = ()
    parent: str | None = None
    kind: str = "action"
    added_by: str | None = None
    attempt: int = 0
    max_attempts: int = 1
    ready_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    earlier: tuple[tuple[float, float], ...] = ()
    began_at: float | None = None
    executor: str | None = None
    error: str | None = None
    reason: str | None = None
    progress: float | None = None
    message: str | None = None
    tokens: float = 0
    disabled: bool = False
    replaces: str | None = None
    tags: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a run waits for: a branch (None: the whole run), why, what is asked, and since when.

    `asks`: a person is waited for; False where it was only paused (by hand, a failure or a budget).
    """

    branch_id: str | None
    reason: str | None = None
    form: Form | None = None
    since: float = 0.0
    asks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run as it stands: its nodes in the order they were added.

    `topology` changes when nodes or edges do: a view lays the graph out again only then.
    """

    run_id: str
    dag_name: str
    status: str = "pending"
    at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    nodes: tuple[NodeView, ...] = ()
    topology: int = 0
    waiting: tuple[Waiting, ...] = ()
    error: str | None = None

    def counts(self) -> dict[str, int]:
        """How many nodes are in each state that occurs."""
        return dict(Counter(str(node.status) for node in self.nodes))
