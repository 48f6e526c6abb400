"""Sums: what actions and nodes cost, and how well a run used its time.

The longest chain of a run is found as in the critical path method (Kelley and Walker, 1959), but backwards
along what did happen: from the node that ended last to the one it waited for longest, and so on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.judging import is_cacheable
from ..core.model import NodeStatus
from .frames import METRICS, RUN_METRICS, frame

if TYPE_CHECKING:
    from pandas import DataFrame

_RAN = frozenset({"completed", "failed", "recovered"})


def failure_type(error: str | None) -> str:
    """What kind of failure an error's text tells of: an exception's name, `timeout`, or `failure`.

    >>> failure_type("ValueError: no rows"), failure_type("timed out after 3 s"), failure_type("no rows")
    ('ValueError', 'timeout', 'failure')
    """
    text = error or ""
    if text.startswith("timed out"):
        return "timeout"
    found = re.match(r"([A-Z]\w*(?:\.\w+)*)(?::|$)", text)
    return found[1] if found else "failure"


def failure_types(rows: Iterable[Sequence[Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """(run, node) -> kind of failure -> how often, of rows (run_id, node_id, error) of failed attempts."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for run_id, node_id, error in rows:
        kinds, kind = found.setdefault((run_id, node_id), {}), failure_type(error)
        kinds[kind] = kinds.get(kind, 0) + 1
    return found


def added_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by name, those that occur most first."""
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def percentiles(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The median and the 95th percentile; None where there is no value."""
    import numpy as np

    if not values:
        return None, None
    median, p95 = np.percentile(values, [50, 95])
    return float(median), float(p95)


def metrics_frame(
    rows: Sequence[Sequence[Any]], by: str, failures: Mapping[tuple[str, str], Mapping[str, int]]
) -> DataFrame:
    """A row an action (or node) from rows (action, node_id, status, attempts, duration, waited, tokens, cost,
    run_id, error)."""
    groups: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        groups.setdefault(row[0] if by == "action" else row[1], []).append(row)
    columns = {"action": METRICS["action"]} if by == "action" else {"node_id": METRICS["action"]}
    columns |= {name: kind for name, kind in METRICS.items() if name != "action"}
    found = []
    for name in sorted(groups):
        nodes = groups[name]
        # A cached node took no time of its action's; durations of cancelled ones say nothing.
        durations = [n[4] for n in nodes if n[4] is not None and n[2] in _RAN and n[3]]
        ran = sum(1 for n in nodes if n[3] and n[2] != "cached")
        hits = sum(1 for n in nodes if n[2] == "cached")
        found.append(
            (
                name,
                ran,
                *percentiles(durations),
                sum(1 for n in nodes if n[2] == "failed" or (n[2] == "recovered" and n[3])),
                sum(n[3] - 1 for n in nodes if n[3] > 1),
                hits,
                sum(n[6] or 0 for n in nodes),
                sum(n[7] or 0 for n in nodes),
                sum(durations),
                percentiles([n[5] for n in nodes if n[5] is not None])[0],
                hits / (hits + ran) if hits else 0.0,
                added_up(failures[n[8], n[1]] for n in nodes if (n[8], n[1]) in failures) if failures else {},
            )
        )
    return frame(columns, found)


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """How many of these spans of time overlap at most.

    >>> most_at_once([(0, 2), (1, 3), (3, 4)])
    2
    """
    turns = sorted(turn for begin, end in spans for turn in ((begin, 1), (end, -1)))
    most = now = 0
    for _, change in turns:
        now += change
        most = max(most, now)
    return most


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of these spans of time lasts.

    >>> covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
    4.0
    """
    total, until = 0.0, -math.inf
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def run_metrics(s: Any, status: str, attempts: Sequence[Sequence[Any]]) -> DataFrame:
    """The one row of a run, from its scheduler and rows (node_id, status, started_at, finished_at, error)."""
    since = s.started_at if s.started_at is not None else math.inf
    here = [node for node in s.nodes.values() if node.started_at is not None and node.started_at >= since]
    ran = [node for node in here if not node.is_group and node.status is not NodeStatus.CACHED]
    spans = [(row[2], row[3] if row[3] is not None else s.now) for row in attempts if (row[2] or 0) >= since]
    times = {
        n.id: n.finished_at - n.started_at for n in ran if n.finished_at is not None and n.status in _RAN
    }
    busy, active = sum(end - begin for begin, end in spans), covered(spans)
    ended = s.finished_at if s.finished_at is not None else max((end for _, end in spans), default=None)
    duration = ended - since if ended is not None and s.started_at is not None else None
    most = most_at_once(spans)
    path = critical_path({node.id: node for node in here})
    hits = s.count[NodeStatus.CACHED]
    cacheable = sum(
        node.status is NodeStatus.CACHED or is_cacheable(node.spec.cache, s.settings_of(node))
        for node in s.nodes.values()
        if node.spec.kind == "action" and (node.attempt or node.status is NodeStatus.CACHED)
    )
    failed = [row for row in attempts if row[1] == "failed" and (row[2] or 0) >= since]
    row = {
        "run_id": s.run_id,
        "dag_name": s.dag_name,
        "status": status,
        "duration": duration,
        "active_seconds": active,
        "idle_seconds": None if duration is None else max(0.0, duration - active),
        "busy_seconds": busy,
        "parallelism": busy / active if active else None,
        "most_at_once": most,
        "parallel_efficiency": busy / active / most if active and most else None,
        "critical_path": path,
        "critical_seconds": sum(times.get(id, 0.0) for id in path),
        "waited": sum(max(0.0, n.started_at - n.ready_at) for n in ran if n.ready_at is not None),
        **dict(zip(("median_duration", "p95_duration"), percentiles(list(times.values())), strict=True)),
        "slowest_node": max(times, key=lambda id: times[id], default=None),
        "nodes": len(s.nodes),
        "runs": len(ran),
        "failures": s.count[NodeStatus.FAILED],
        "failures_by_type": added_up(failure_types((s.run_id, r[0], r[4]) for r in failed).values()),
        "retries": sum(max(0, node.attempt - 1) for node in ran),
        "cache_hits": hits,
        "cache_hit_rate": hits / cacheable if cacheable else 0.0,
        "tokens": s.usage.max_tokens,
        "cost": s.usage.max_cost,
    }
    return frame(RUN_METRICS, [tuple(row[name] for name in RUN_METRICS)])


def critical_path(nodes: Mapping[str, Any]) -> list[str]:
    """The ids of the chain of nodes that made the run as long as it was, in order.

    `nodes`: id -> a record with `spec` (`deps`, `parent`), `children`, `is_group`, `added_by`, `started_at`,
    `finished_at`. Of a map or sub-workflow the item that ended last counts.
    """

    def last(ids: Iterable[str], seen: set[str]) -> Any:
        best = None
        for id in ids:
            node = nodes.get(id)
            if node is None or id in seen:
                continue
            seen.add(id)
            if node.is_group:
                inside = last(node.children, seen)
                found = inside if inside is not None else last(_before(node, nodes), seen)
            elif node.started_at is None or node.finished_at is None:
                found = last(_before(node, nodes), seen)  # it did not run: what it waited for counts
            else:
                found = node
            if found is not None and (best is None or found.finished_at > best.finished_at):
                best = found
        return best

    path: list[str] = []
    seen: set[str] = set()
    node = last(nodes, set())
    while node is not None and node.id not in seen:
        seen.add(node.id)
        path.append(node.id)
        node = last(_before(node, nodes), set(seen))
    return path[::-1]


def _before(node: Any, nodes: Mapping[str, Any]) -> list[str]:
    """What a node had to wait for: its dependencies, those of its groups, and who added it."""
    ids = [*node.spec.deps]
    if node.added_by is not None:
        ids.append(node.added_by)
    parent = nodes.get(node.spec.parent) if node.spec.parent is not None else None
    return ids + (_before(parent, nodes) if parent is not None else [])
