"""A run's state as rows of the store's tables."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from ..core import messages as m
from ..core.graph import Node
from ..core.model import NodeStatus
from ..core.scheduler import Scheduler


@lru_cache(maxsize=4096)
def _ids(ids: tuple[str, ...]) -> str:
    """Ids as a JSON list; a node's row is written several times, and many nodes share their dependencies."""
    return json.dumps(ids)


def node_row(node: Node) -> tuple[Any, ...]:
    """A node as a row of `store.NODE_COLUMNS`."""
    spec, outcome = node.spec, node.outcome
    return (
        spec.action,
        node.status.value,
        node.attempt - (node.status is NodeStatus.CACHED),  # what was known was not attempted
        node.ready_at,
        node.started_at,
        node.finished_at,
        node.error,
        node.reason,
        _ids(spec.deps),
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
        ran = [node for node in s.nodes.values() if not node.is_group]
        row["attempts"] = sum(node.attempt - (node.status is NodeStatus.CACHED) for node in ran)
    return row
