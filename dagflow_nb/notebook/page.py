"""What the live view's page is told: snapshots as small JSON records, and only what changed of them.

Pure: no widget, no thread. Nodes are told once for each topology (`node_defs`), their states as often as
they change (`PageState.delta`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..runtime.snapshot import NodeView, Snapshot
from .fields import form_fields
from .style import without_ansi

TEXT_LIMIT = 4000
LOG_TEXT = 2000
TOKEN = "token"
"""The stream of texts that come in pieces: pieces in a row are one line."""
_UNTOUCHED = {"state": "pending"}
"""What the page takes for granted of a node of which it has not been told anything."""
_OPEN = ("running", "pending", "paused")


def node_defs(snapshot: Snapshot) -> list[dict[str, Any]]:
    """What does not change of the nodes, in order of addition; fields at their defaults are left out."""
    return [
        _told(
            id=node.id,
            action=node.action,
            deps=node.deps or None,
            parent=node.parent,
            kind=None if node.kind == "action" else node.kind,
            added_by=node.added_by,
            replaces=node.replaces,
            tags=node.tags or None,
            description=_cut(node.description) or None,
            executor=node.executor if node.executor != "async" else None,
        )
        for node in snapshot.nodes
    ]


def run_record(snapshot: Snapshot) -> dict[str, Any]:
    """The run itself: status, times (epoch seconds), what it waits for."""
    return {
        "id": snapshot.run_id,
        "name": snapshot.dag_name,
        "status": str(snapshot.status),
        "at": snapshot.at,
        "started": snapshot.started_at,
        "finished": snapshot.finished_at,
        "error": _cut(snapshot.error),
        "waiting": [
            {
                "branch": waiting.branch_id,
                "reason": _cut(waiting.reason),
                "question": _cut(waiting.form.question) if waiting.form is not None else "",
                "since": waiting.since,
                "asks": waiting.asks,
                "decision": waiting.form is not None and waiting.form.decision,
                "fields": form_fields(waiting.form),
            }
            for waiting in snapshot.waiting
        ],
    }


def append_lines(lines: list[list[str]], more: Iterable[list[str]]) -> None:
    """Adds lines of log `[node_id, text, stream]`; pieces of one node's streamed text in a row are joined.

    The page does the same (`joins` in `static/base.js`).
    """
    for line in more:
        last = lines[-1] if lines else None
        if (
            last is not None
            and last[0] == line[0]
            and last[2] == line[2] == TOKEN
            and len(last[1]) < LOG_TEXT
        ):
            lines[-1] = [line[0], last[1] + line[1], TOKEN]
        else:
            lines.append(line)


class PageState:
    """What the page knows of the nodes' states; `records` has the latest of each node."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, NodeView] = {}
        self._tries: dict[str, list[list[Any]]] = {}

    def delta(self, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
        """The records of the nodes that differ from the last snapshot."""
        changed = {}
        for node in snapshot.nodes:
            old = self._seen.get(node.id)
            if old is node:
                continue
            self._seen[node.id] = node
            tries, status = self._note(node, old, snapshot.at), str(node.status)
            record = _told(
                state=status,
                attempt=node.attempt or None,
                most=node.max_attempts if node.max_attempts > 1 else None,
                ready=node.ready_at,
                started=node.started_at,
                finished=node.finished_at,
                progress=node.progress,
                tokens=node.tokens or None,
                message=_cut(node.message),
                error=_cut(node.error),
                reason=_cut(node.reason),
                disabled=node.disabled or None,
                tries=None if tries == _implied(node, status) else [list(one) for one in tries],
            )
            if record != self.records.get(node.id, _UNTOUCHED):
                changed[node.id] = record
        self.records.update(changed)
        if len(self._seen) > len(snapshot.nodes):
            here = {node.id for node in snapshot.nodes}
            for gone in self._seen.keys() - here:
                del self._seen[gone]
                self.records.pop(gone, None)
                self._tries.pop(gone, None)
        return changed

    def _note(self, node: NodeView, old: NodeView | None, at: float) -> list[list[Any]]:
        """The node's attempts as `[start, end, status]`.

        Where a snapshot knows the present attempt only, ends of earlier ones are as exact as snapshots come.
        """
        if node.earlier:
            known: list[list[Any]] = [[start, end, "failed"] for start, end in node.earlier]
            if node.began_at != node.earlier[-1][0] and node.status in (
                "running",
                "completed",
                "cached",
                "cancelled",
                "recovered",
            ):
                known.append([node.began_at or node.started_at, node.finished_at, str(node.status)])
            self._tries[node.id] = known
            return known
        status = str(node.status)
        if node.started_at is None:
            return self._tries.get(node.id, [])
        if node.id not in self._tries:
            if node.attempt <= 1 and status not in ("retrying", "pending"):
                return _implied(node, status)  # most nodes have no more: nothing is kept of them
            self._tries[node.id] = _implied(old, str(old.status)) if old is not None else []
        tries = self._tries[node.id]
        if old is not None and old.attempt > node.attempt:
            tries.clear()  # run again: its attempts are counted anew
        if tries and tries[-1][1] is None and (status != "running" or node.attempt > len(tries)):
            ended = status not in (*_OPEN, "retrying")
            tries[-1][1] = (node.finished_at if ended else None) or at
            tries[-1][2] = status if ended else "failed"
        attempt = max(node.attempt, 1)
        if attempt > len(tries) and status not in ("retrying", "pending"):
            again = old is not None and old.started_at == node.started_at
            start = at if again and tries else node.started_at
            tries.append([start, node.finished_at, status])
        return tries


def _implied(node: NodeView, status: str) -> list[list[Any]]:
    """What the page takes for a node's attempts (`triesOf` in `static/base.js`): one, of its own times."""
    return [] if node.started_at is None else [[node.started_at, node.finished_at, status]]


def _told(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _cut(text: str | None) -> str | None:
    if text is None:
        return None
    text = without_ansi(text)
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + " …"
