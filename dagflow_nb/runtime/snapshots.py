"""Snapshots of a run that is under way, every so many seconds.

One is a row of the table `snapshots` that says how each node stands, written together with everything that
durability had held back: after a crash the run goes on from there. The latest one of a run replaces its
earlier ones, so that they take no more the longer it runs.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from ..core.scheduler import Scheduler

if TYPE_CHECKING:
    from .coordinator import RunCoordinator


def state_text(scheduler: Scheduler) -> str:
    """How a run and each of its nodes stand, as the JSON text of an execution snapshot."""
    nodes = {node.id: str(node.status) for node in scheduler.nodes.values()}
    return json.dumps({"run_id": scheduler.run_id, "status": str(scheduler.status), "nodes": nodes})


class Snapshots:
    """When the next snapshot of one run is due, and what is in it.

    `every`: so many seconds, 0 for never. `hold_back`: nothing is to be written between snapshots, pauses and
    the end. `due`: it is time for one.
    """

    def __init__(self, run: RunCoordinator) -> None:
        self._run = run
        self.timer: asyncio.TimerHandle | None = None
        self._last: float | None = None
        self.every, self.hold_back, self.due = 0.0, False, False

    def configure(self, config: Any) -> None:
        """Go by the settings of the run."""
        self.every = config.cache_snapshot_interval or 0.0
        self.hold_back = config.durability == "exit" or (
            config.durability != "sync" and not config.enable_incremental_cache
        )

    def look(self) -> None:
        """Set the timer, unless a snapshot is due."""
        if not self.due:
            self.timer = self._run.loop.call_later(self.every, self._fire)

    def _fire(self) -> None:
        self.timer, self.due = None, True
        self._run.post()

    def take(self) -> tuple[Any, ...]:
        """The row of a snapshot: (dag_name, taken_at, data, taken_at of the one it replaces)."""
        self.due = False
        before, self._last = self._last, self._run.clock.now()
        return (self._run.dag_name, self._last, state_text(self._run.scheduler), before)

    def close(self) -> None:
        """No more of them."""
        if self.timer is not None:
            self.timer.cancel()
