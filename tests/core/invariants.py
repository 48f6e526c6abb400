"""What must hold between any two inputs, and a fingerprint of everything a scheduler knows."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from dagflow_nb.core import messages as m
from dagflow_nb.core.budget import Limit, Usage
from dagflow_nb.core.graph import Graph, Node
from dagflow_nb.core.model import NodeStatus, RunStatus
from dagflow_nb.core.scheduler import Scheduler
from dagflow_nb.core.slots import Slots
from dagflow_nb.core.state import OVER, RUN
from tests.core.driver import count_states

# not part of what it will do; `nodes` are told with the graph
_SKIP = {"listens", "effects", "changed", "asked", "config", "nodes"}


def fingerprint(s: Scheduler) -> dict[str, Any]:
    """Everything that bears on what the scheduler will do, comparable with `==`."""
    found = {name: _plain(value) for name, value in vars(s).items() if name not in _SKIP}
    found["nodes"] = {node.id: _told(node) for node in s.nodes.values()}
    return found


def _told(node: Node) -> dict[str, Any]:
    return {k: _plain(v) for k, v in vars(node).items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, Node):
        return value.id
    if isinstance(value, dict):
        return [(k, _plain(v)) for k, v in value.items()]
    if isinstance(value, list | deque | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, Graph):
        return [(k, _plain(v)) for k, v in vars(value).items() if k != "nodes"]
    if isinstance(value, Slots):
        # entries that are no longer ready, and queues without any, mean nothing
        ready = {keys: [e for e in queue.nodes if e[1].ready] for keys, queue in value.queues.items()}
        return [(keys, _plain(entries)) for keys, entries in ready.items() if entries]
    if isinstance(value, Limit):
        return (value.most, value.period, value.running, tuple(value.starts))
    if isinstance(value, Usage):
        return (value.max_tokens, value.max_cost, value.max_nodes, value.max_iterations, value.base)
    return repr(value)


def check(s: Scheduler, rests: bool = True) -> None:
    """Everything that holds between two inputs; `rests`: the last one was to let the run move on."""
    nodes = s.nodes
    assert s.count == count_states(nodes.values())
    assert s.busy == sum(node.busy for node in nodes.values())
    assert set(s.failed) == {n.id for n in nodes.values() if n.status is NodeStatus.FAILED}
    assert set(s.retrying) == {n.id for n in nodes.values() if n.status is NodeStatus.RETRYING}
    assert set(s.held) <= set(s.failed)
    _check_slots(s)
    _check_pauses(s)
    for node in nodes.values():
        _check_node(s, node)
    if s.status is RunStatus.RUNNING and rests:
        _check_rest(s)


def _check_node(s: Scheduler, node: Node) -> None:
    nodes = s.nodes
    assert node.unmet == s.graph.count_unmet(node), node
    assert node.open_children == sum(not nodes[id].released for id in node.children), node
    assert not (node.released and not node.final), node
    assert not (node.busy and node.status is not NodeStatus.RUNNING), node
    assert node.attempt >= node.spent - node.is_group, node
    if node.ready:
        assert node.status in (NodeStatus.PENDING, NodeStatus.RETRYING), node
    if node.status is NodeStatus.RUNNING and s.status is not RunStatus.RUNNING:
        assert node.is_group and node.opened, node
    if node.cut and not node.final:
        raise AssertionError(f"{node} belongs to a cancelled branch")
    if node.guardian is not None:
        assert nodes[node.guardian].status is NodeStatus.FAILED, node
    for id in node.holders:
        assert (id == node.id or nodes[id].holds == node.id) and not nodes[id].released, node
    if node.holders:
        assert node.final and node.goes_on, node
    assert node.heir is None or nodes[node.heir].holds == node.id, node
    for id in node.rescuers:
        assert nodes[id].guardian == node.id, node
    if node.status is NodeStatus.FAILED and s.status is RunStatus.PAUSED and not node.released:
        assert node.id in s.held or node.rescuers or s.ending, node


def _check_slots(s: Scheduler) -> None:
    for slots in (s.slots, s.urgent):
        assert slots.length == sum(len(queue.nodes) for queue in slots.queues.values())
    used: Counter[str] = Counter()
    for node in s.nodes.values():
        if node.busy and not node.is_group:
            used.update(node.keys or ())
    for key, limit in s.limits.items():
        assert limit.running == used[key], (key, limit, used)
        if limit.period is None:
            assert limit.running <= limit.most, (key, limit)
        else:
            assert len([at for at in limit.starts if at + limit.period > s.now]) <= limit.most


def _check_pauses(s: Scheduler) -> None:
    holds: dict[str, set[str]] = {id: set() for id in s.nodes}
    for root in s.pauses:
        if root != RUN:
            for node in s.graph.branch(root):
                holds[node.id].add(root)
    for node in s.nodes.values():
        assert set(node.pauses) == holds[node.id], (node, node.pauses, holds[node.id])
        if node.pauses:
            assert node.status not in (NodeStatus.PENDING, NodeStatus.RETRYING), node
        if node.status is NodeStatus.PAUSED:
            assert node.pauses, node


def _check_rest(s: Scheduler) -> None:
    """A run under way waits for something that will come."""
    waits = s.busy or s.asks or s.wake is not None
    assert waits, f"{s.run_id} is running and waits for nothing"


def check_effects(s: Scheduler, effects: list[m.Effect], paused: bool, stopped: bool) -> None:
    """What may start, may start; `paused`, `stopped`: the run was before this input and still is."""
    for effect in effects:
        if isinstance(effect, m.StartAttempt | m.OpenGroup):
            node = s.nodes.get(effect.node_id)
            if node is None or node.attempt != effect.attempt:
                continue
            assert not node.cut and not (node.disabled and node.status is NodeStatus.RUNNING), node
            if paused or stopped:
                assert node.rescues is not None or node.spec.parent is not None, node
        if isinstance(effect, m.RunEnded):
            assert s.status not in (RunStatus.RUNNING, RunStatus.PENDING)
            if s.status in OVER:
                assert all(node.final for node in s.nodes.values())
                assert all(node.released for node in s.nodes.values()), s.nodes
