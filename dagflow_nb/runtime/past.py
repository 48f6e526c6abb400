"""A run's past: the states it went through, out of its journal.

The journal is replayed once; each moment holds only the nodes that changed then, so that a run of 10,000
events stays small, and any moment is reached by laying the changes over each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..codec import Codec
from ..core.scheduler import Scheduler
from ..store import StoredRun
from .recovery import replay


@dataclass(frozen=True, slots=True)
class Change:
    """A node at a moment; `status` is None where it is gone. Times are epoch seconds."""

    node_id: str
    status: str | None
    attempt: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    text: str | None = None
    """Its error, or the reason why it was skipped, cancelled or waits."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What changed at `at` (epoch seconds), when the run's events had come to number `seq`."""

    at: float
    seq: int
    status: str
    changes: tuple[Change, ...]


def moments(stored: StoredRun, codec: Codec) -> list[Moment]:
    """The moments of a run at which something changed, oldest first; the first one holds all its nodes.

    Values are not needed: `stored` may be loaded without them.
    """
    found: list[Moment] = []
    known: dict[str, Change] = {}

    def seen(scheduler: Scheduler) -> None:
        ids = scheduler.changed if found else scheduler.nodes
        changes = tuple([new for id in ids if (new := _change(scheduler, id)) != known.get(id)])
        scheduler.changed.clear()
        status = str(scheduler.status)
        if not changes and found and found[-1].status == status:
            return
        known.update((change.node_id, change) for change in changes)
        found.append(Moment(scheduler.now, scheduler.seq, status, changes))

    replay(stored, codec, _nothing, watch=lambda scheduler, message, effects: seen(scheduler))
    return found


def _change(scheduler: Scheduler, id: str) -> Change:
    node = scheduler.nodes.get(id)
    if node is None:
        return Change(id, None)
    text = node.error or node.reason
    return Change(id, node.status.value, node.attempt, node.started_at, node.finished_at, text)


def _nothing(run_id: str, namespace: str, key: str) -> Any:
    return None
