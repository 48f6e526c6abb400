"""A run's state as rows of the store's tables.

Rules kept here: the loop only collects; rows are made when the store takes what has come together (a node
that changed several times has one), and text and bytes by the thread that writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..codec import SCALARS, dump_event, dump_input, json_of_ids
from ..codec.weight import are_heavy
from ..core import messages as m
from ..core.graph import Node
from ..core.model import NodeStatus
from ..core.scheduler import Scheduler
from ..store import Unit, join_inputs

if TYPE_CHECKING:
    from .coordinator import RunCoordinator


# Seconds between the times of values that came together, in which they are read back; of a time since 1970
# a float tells quarters of it.
STEP = 1e-6


def node_row(node: Node) -> tuple[Any, ...]:
    """A node as a row of `store.NODE_COLUMNS`."""
    spec, outcome = node.spec, node.outcome
    return (
        spec.action,
        node.status._value_,  # as `value` is a property in Python
        node.attempt - (node.status is NodeStatus.CACHED),  # what was known was not attempted
        node.ready_at,
        node.started_at,
        node.finished_at,
        node.error,
        node.reason,
        json_of_ids(spec.deps),
        node.added_by,
        spec.parent,
        spec.kind,
        node.used_tokens,
        node.used_cost,
        outcome.returned if outcome is not None else None,
        node.position,
    )


def run_row(s: Scheduler, ended: m.RunEnded | None) -> dict[str, Any]:
    """The columns of a run's own row that change while it goes on."""
    count = s.count
    row: dict[str, Any] = {
        "status": str(s.status),
        "started_at": s.started_at,
        "finished_at": s.finished_at,
        "nodes": len(s.nodes),
        "completed": count[NodeStatus.COMPLETED] + count[NodeStatus.RECOVERED],
        "failed": count[NodeStatus.FAILED],
        "skipped": count[NodeStatus.SKIPPED],
        "cached": count[NodeStatus.CACHED],
        "cancelled": count[NodeStatus.CANCELLED],
        "tokens": s.usage.max_tokens,
        "cost": s.usage.max_cost,
        "error": s.error,
        "error_node": s.error_node,
        "active_seconds": s.elapsed + (s.now - s.active_since if s.active_since is not None else 0.0),
    }
    if ended is not None:
        # what was known was not attempted
        made = sum([node.attempt for node in s.nodes.values() if not node.is_group])
        row["attempts"] = made - count[NodeStatus.CACHED]
    return row


def is_settled(outputs: Any) -> bool:
    """Whether outputs are plain values that nobody can change, so that they can be encoded later."""
    if type(outputs) is not dict:
        return False
    for key, value in outputs.items():  # noqa: SIM110  # `all` takes twice as long for one or two
        if type(key) is not str or type(value) not in SCALARS:
            return False
    return True


def event_row(event: Any, text: str) -> tuple[Any, ...]:
    """An event as a row of `events`."""
    node = getattr(event, "node", None)
    node_id = node.node_id if node is not None else getattr(event, "branch_id", None)
    return (event.seq, event.at, type(event).__name__, node_id, text)


class Piece(Unit):
    """What a run hands to the store next: it grows until the store takes it.

    Instead of rows it may hold inputs in `journal` (their numbers follow each other) and events in
    `events`, where nobody can change what they say, and (node id, outputs, time) in `artifacts`: without
    outputs, those that the node had before are not its own any more.
    """

    __slots__ = ("_first", "_grows", "_run")

    def __init__(self, run: RunCoordinator) -> None:
        super().__init__(run.run_id)
        self._run, self._first, self._grows = run, run.taken + 1, True

    def close(self) -> None:
        """The nodes that changed are put in as they stand now; called by whatever thread takes it."""
        if not self._grows:
            return
        self._grows = False
        run, nodes = self._run, self._run.scheduler.nodes
        run.taken_out(self)
        changed = run.scheduler.changed
        self.nodes = {id: None if (node := nodes.get(id)) is None else node_row(node) for id in changed}
        run.watch.changed(changed)
        changed.clear()
        run.workers.record_running(self)

    def is_big(self, artifact: tuple[Any, ...]) -> bool:
        """Whether a value takes long to encode, or is too big for its row where it has been."""
        if len(artifact) == 3:
            return artifact[1] is not None and are_heavy(artifact[1].values())
        return super().is_big(artifact)

    def encode(self) -> None:
        """Make text and bytes of what stands in it as it is."""
        codec = self._run.codec
        self.journal = self._encoded_journal()
        events: list[Any] = self.events
        for i, event in enumerate(events):
            kind = type(event)
            if kind is m.NodeStarted:
                events[i] = (event.seq, event.at, "NodeStarted", event.node.node_id, "{}")
            elif kind is m.NodeCompleted:
                text = dump_event(codec, event)
                events[i] = (event.seq, event.at, "NodeCompleted", event.node.node_id, text)
            elif kind is m.NodesAdded:
                events[i] = (event.seq, event.at, "NodesAdded", None, dump_event(codec, event))
            elif kind is not tuple:
                events[i] = event_row(event, dump_event(codec, event))
        rows: list[Any] = []
        fresh: dict[str, int] = {}  # from which row on a node's outputs are of its latest attempt
        for row in self.artifacts:
            if len(row) != 3:
                rows.append(row)
            elif row[1] is not None:
                rows += self._run.outputs.encode(*row)
            else:
                fresh[row[0]] = len(rows)
        if fresh:
            self.cleared += fresh
            rows = [row for i, row in enumerate(rows) if i >= fresh.get(row[0], 0)]
        self.artifacts = rows

    def _encoded_journal(self) -> list[Any]:
        """Inputs that wait to be encoded, and follow each other, share a row."""
        codec, rows = self._run.codec, []
        first: tuple[Any, ...] = ()
        data: list[str] = []
        asked: list[str | None] = []
        items: list[Any] = self.journal
        for n, item in enumerate(items, self._first):
            waits = type(item) is not tuple
            if not waits and type(item[3]) is str:
                if data:
                    rows.append((*first, *join_inputs(data, asked)))
                    data, asked = [], []
                rows.append(item)
                continue
            message = item if waits else item[3]
            if not data:
                first = (n, message.at, type(message).__name__)
            data.append(dump_input(codec, message))
            asked.append(None if waits else item[4])
        if data:
            rows.append((*first, *join_inputs(data, asked)))
        return rows
