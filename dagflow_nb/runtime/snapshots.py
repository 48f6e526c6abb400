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
    """When the next snapshot of one run is due, and what is in it."""

    def __init__(self, run: RunCoordinator) -> None:
        self._run = run
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._last: float | None = None

    def look(self) -> None:
        """Set the timer, once the run's settings are known."""
        if self._timer is None and not self._due:
            config: Any = getattr(self._run.scheduler, "config", None)
            if config is not None and config.cache_snapshot_interval:
                self._timer = self._run.loop.call_later(config.cache_snapshot_interval, self._fire)

    def _fire(self) -> None:
        self._timer, self._due = None, True
        self._run.post()

    def hold_back(self) -> bool:
        """Whether nothing is to be written between snapshots, pauses and the end."""
        config: Any = getattr(self._run.scheduler, "config", None)
        if config is None or config.durability == "sync":
            return False
        return config.durability == "exit" or not config.enable_incremental_cache

    def take(self) -> tuple[Any, ...] | None:
        """The row of a snapshot that is due: (dag_name, taken_at, data, taken_at of the one it replaces)."""
        if not self._due:
            return None
        self._due = False
        before, self._last = self._last, self._run.clock.now()
        return (self._run.dag_name, self._last, state_text(self._run.scheduler), before)

    def close(self) -> None:
        """No more of them."""
        if self._timer is not None:
            self._timer.cancel()
