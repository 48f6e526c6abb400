"""A run made by hand, for cells of test notebooks: drives a `LiveView` without an engine behind it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from dagflow_nb.core.model import Form
from dagflow_nb.notebook.view import LiveView
from dagflow_nb.runtime.snapshot import NodeView, Snapshot, Waiting

__all__ = ["Form", "LiveView", "NodeView", "Stage", "Waiting"]


class Stage:
    """Nodes whose states are set one by one; what buttons ask for is kept in `calls`."""

    def __init__(self, *nodes: NodeView, name: str = "pipeline", run_id: str = "run-1") -> None:
        self.nodes = {node.id: node for node in nodes}
        self.calls: list[tuple[Any, ...]] = []
        self.called = threading.Event()
        self.refuse: str | None = None
        start = time.time()
        self.snapshot = Snapshot(
            run_id=run_id, dag_name=name, status="running", at=start, started_at=start, topology=1
        )
        self.view = LiveView(self)

    def show(self) -> None:
        self.view.show(self.take())

    def take(self, **changes: Any) -> Snapshot:
        changes.setdefault("at", time.time())
        self.snapshot = replace(self.snapshot, nodes=tuple(self.nodes.values()), **changes)
        return self.snapshot

    def set(self, id: str, status: str, **changes: Any) -> None:
        """Gives a node a new state, with the times that belong to it."""
        node, now = self.nodes[id], time.time()
        if status == "running":
            changes.setdefault("started_at", node.started_at or now)
            changes.setdefault("attempt", node.attempt + 1)
        elif status not in ("pending", "retrying", "paused"):
            changes.setdefault("finished_at", now)
        self.nodes[id] = replace(node, status=status, **changes)
        self.view.update(self.take())

    def add(self, *nodes: NodeView) -> None:
        self.nodes |= {node.id: node for node in nodes}
        self.view.update(self.take(topology=self.snapshot.topology + 1))

    def run_is(self, status: str, **changes: Any) -> None:
        self.view.update(self.take(status=status, **changes))

    def finish(self, status: str = "completed") -> None:
        last = self.take(status=status, finished_at=time.time())
        self.view.finish(lambda: last)

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        self.called.set()
        if self.refuse:
            raise ValueError(self.refuse)

    def look(self, node: str) -> dict[str, Any]:
        status = self.nodes[node].status
        return {"inputs": {"source": "a < b"}, "outputs": {"state": status}, "code": "def work(source): ..."}

    def pause(self, branch: str | None = None) -> None:
        self._called("pause", branch)

    def resume(self, branch: str | None = None) -> None:
        self._called("resume", branch)

    def cancel(self, branch: str | None = None) -> None:
        self._called("cancel", branch)

    def retry(self, node: str) -> None:
        self._called("retry", node)

    def approve(self, branch: str | None, answers: dict[str, Any]) -> None:
        self._called("approve", branch, answers)

    def reject(self, branch: str | None) -> None:
        self._called("reject", branch)
