"""Going on: after an interruption, after a crash, and again after a failure.

Rules kept here: what has ended well does not run again unless it is asked for or its outputs are lost;
what was grown from the events of a node that runs again is withdrawn first; a cancelled branch stays
cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import InvalidState, NodeNotFound
from . import branches
from . import messages as m
from .graph import Node
from .model import NodeStatus, RunStatus

if TYPE_CHECKING:
    from .scheduler import Scheduler

RUN = ""
_OVER = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


def put_back(s: Scheduler, reason: str) -> list[Node]:
    """Attempts under way do not count: their nodes wait to be started again. Returns them."""
    back = []
    for node in s.nodes.values():
        if node.status is NodeStatus.RUNNING and not (node.is_group and node.opened):
            if not node.is_group:
                s.add_effect(m.CancelAttempt(node.id, node.attempt, reason))
            back.append(node)
            s.set_status(node, NodeStatus.PENDING)
        node.busy = node.ready = False
    s.busy = 0
    s.slots.clear()
    s.urgent.clear()
    return back


def reopen(s: Scheduler, message: m.Reopened) -> None:
    """A process takes the run up."""
    from .scheduler import Pause

    if s.status is RunStatus.PENDING:
        raise InvalidState(f"run {s.run_id!r} has not begun", culprit=s.run_id)
    was_over = s.status in _OVER
    died = s.status is RunStatus.RUNNING
    back = put_back(s, "its process ended")
    s.configure(message.config, message.settings, message.pools)
    s.status, s.finished_at = RunStatus.RUNNING, None
    s.ending, s.finishing = None, False
    s.active_since = s.now
    if was_over:
        s.elapsed, s.stopping, s.error, s.error_node = 0.0, None, None, None
    lost = [s.nodes[id] for id in message.lost]
    for node in lost:
        _reset(s, node)
    for node in lost:
        recount(s, node.dependants)
    for node in s.nodes.values():
        if node.status is NodeStatus.PENDING and node.unmet == 0:
            s.to_judge(node)
        elif node.status is NodeStatus.RETRYING:
            s.make_ready(node)
        elif node.is_group and node.status is NodeStatus.RUNNING and node.open_children == 0:
            s.close_group(node)
    for root in s.pauses:
        branches.arm_human(s, root)
    for node in back if died else ():
        settings = s.settings.get(node.spec.action)
        if settings is not None and not settings.idempotent and not node.is_group:
            reason = f"{node.id!r} was running when its process ended and may have done its work: decide"
            branches.pause(s, node.id, Pause("decision", s.now, reason))


def retry(s: Scheduler, message: m.RetryNodes) -> None:
    """Run failed nodes (or one node) again; after a cancelled run, what was cancelled with it too."""
    if s.status is not RunStatus.RUNNING or s.finishing:
        raise InvalidState(f"run {s.run_id!r} is not open", culprit=s.run_id)
    if message.node_id is not None:
        node = s.nodes.get(message.node_id)
        if node is None:
            raise NodeNotFound(message.node_id, s.nodes)
        if not node.final:
            raise InvalidState(f"node {node.id!r} is {node.status}: only what has ended runs again", culprit=node.id)
        if node.cut:
            raise InvalidState(f"node {node.id!r} is in a cancelled branch, which stays so", culprit=node.id)
        targets = [node]
    else:
        targets = [node for node in s.nodes.values() if _is_to_retry(node)]
    pause = s.pauses.get(RUN)
    if pause is not None and pause.kind == "failure":
        del s.pauses[RUN]
        s.emit(m.BranchResumed, None, message.by)
    run_again(s, targets, cascade=message.cascade)


def _is_to_retry(node: Node) -> bool:
    if node.cut:
        return False
    return node.status is NodeStatus.FAILED or (
        node.status is NodeStatus.CANCELLED and node.cause in ("run", "deadline")
    )


def run_again(s: Scheduler, targets: Iterable[Node], *, cascade: bool) -> None:
    """Reset these nodes and, with `cascade`, what depends on them or ended because of them."""
    again: dict[str, Node] = {}
    groups: dict[str, Node] = {}
    stack = list(targets)
    because: dict[str, list[Node]] = {}
    for node in s.nodes.values():
        if node.cause is not None and node.status in (NodeStatus.SKIPPED, NodeStatus.CANCELLED):
            because.setdefault(node.cause, []).append(node)
    while stack:
        node = stack.pop()
        if node.id in again or node.cut:
            continue
        if node.is_group and node.status is NodeStatus.FAILED and _fails_inside(s, node):
            # it failed because of its children: they run again, it waits for them
            groups[node.id] = node
        else:
            again[node.id] = node
        parent = node.spec.parent
        if parent is not None and parent not in again and s.nodes[parent].final and parent not in groups:
            groups[parent] = s.nodes[parent]
            stack.append(s.nodes[parent]) if s.nodes[parent].spec.parent else None
        if cascade:
            stack += [s.nodes[id] for id in node.dependants if s.nodes[id].final]
            stack += because.get(node.id, ())
            if parent is not None:
                stack += [s.nodes[id] for id in s.nodes[parent].dependants if s.nodes[id].final]
    gone = _grown_from(s, again)
    for id in gone:
        _forget(s, s.nodes[id])
        again.pop(id, None)
        groups.pop(id, None)
    s.graph.remove(gone)
    for node in groups.values():
        _reopen_group(s, node)
    for node in again.values():
        if node.id in s.nodes:
            _reset(s, node)
    for node in (*again.values(), *groups.values()):
        if node.id in s.nodes:
            recount(s, [node.id, *node.dependants])
    forgive(s)


def _fails_inside(s: Scheduler, group: Node) -> bool:
    return any(s.nodes[id].status is NodeStatus.FAILED for id in group.children)


def _grown_from(s: Scheduler, again: dict[str, Node]) -> set[str]:
    """Nodes that were grown from the events of these, or of each other, and a map's items."""
    gone: set[str] = set()
    if not any(n.added_by is not None or n.spec.item is not None for n in s.nodes.values()):
        return gone
    grown: dict[str, list[str]] = {}
    for node in s.nodes.values():
        if node.added_by is not None:
            grown.setdefault(node.added_by, []).append(node.id)
    stack = list(again)
    while stack:
        node = s.nodes[stack.pop()]
        following = list(grown.get(node.id, ()))
        if node.spec.kind == "map" and node.id in again:
            following += node.children
        if node.id in gone:
            following += [*node.children, *node.dependants]
        for id in following:
            if id not in gone and id != node.id:
                gone.add(id)
                stack.append(id)
    return gone


def _forget(s: Scheduler, node: Node) -> None:
    """A node is withdrawn."""
    if node.status is NodeStatus.RUNNING and not node.is_group:
        s.add_effect(m.CancelAttempt(node.id, node.attempt, "withdrawn"))
        s.leave_slot(node)
    s.count[node.status] -= 1
    s.changed.add(node.id)
    s.pauses.pop(node.id, None)
    if node.guardian is not None and node.guardian in s.nodes:
        s.nodes[node.guardian].rescuers.discard(node.id)
    for seq in [seq for seq, ask in s.asks.items() if ask.node_id == node.id]:
        s.asks[seq] = s.asks[seq].without_node()


def _reset(s: Scheduler, node: Node) -> None:
    """A node is as if it had not run."""
    if node.final:
        s.set_status(node, NodeStatus.PENDING)
    _unrelease(s, node)
    node.spent = 0
    node.outcome = node.error = node.reason = node.cause = None
    node.started_at = node.finished_at = node.ready_at = None
    node.opened = node.handled = node.ready = node.disabled = False
    for id in node.rescuers:
        s.nodes[id].guardian = None
    node.rescuers.clear()
    if node.is_group and node.spec.kind == "workflow":
        for id in node.children:
            if s.nodes[id].final:
                _reset(s, s.nodes[id])
        recount(s, node.children)


def _unrelease(s: Scheduler, node: Node) -> None:
    if node.released:
        node.released = False
        parent = node.spec.parent
        if parent is not None:
            s.nodes[parent].open_children += 1


def _reopen_group(s: Scheduler, group: Node) -> None:
    """A group whose children run again is under way again."""
    if not group.final:
        return
    s.set_status(group, NodeStatus.PENDING)
    s.set_status(group, NodeStatus.RUNNING)
    _unrelease(s, group)
    group.outcome = group.error = group.finished_at = None
    group.handled = False


def reset_dependants(s: Scheduler, node: Node) -> None:
    """What was skipped because this node had failed has its turn again, now that it has outputs."""
    skipped = [
        other for other in s.nodes.values() if other.cause == node.id and other.status is NodeStatus.SKIPPED
    ]
    parent = node.spec.parent
    if parent is not None:
        s.nodes[parent].open_children += 1
        if s.nodes[parent].status is NodeStatus.FAILED:
            skipped += [s.nodes[id] for id in s.nodes[parent].dependants if s.nodes[id].final]
            _reopen_group(s, s.nodes[parent])
    node.released = False
    if skipped:
        run_again(s, skipped, cascade=True)
    recount(s, node.dependants)


def recount(s: Scheduler, ids: Iterable[str]) -> None:
    """Count anew what these nodes wait for, and judge those that wait for nothing."""
    for id in ids:
        node = s.nodes.get(id)
        if node is not None and not node.final and node.status is not NodeStatus.RUNNING:
            node.unmet = s.graph.count_unmet(node)
            if node.unmet == 0:
                s.to_judge(node)


def forgive(s: Scheduler) -> None:
    """A failure has been mended: what it meant for the run is lifted if no other failure means it too."""
    if s.stopping is not None and (
        s.stopping not in s.nodes or s.nodes[s.stopping].status is not NodeStatus.FAILED
    ):
        s.stopping = None
    pause = s.pauses.get(RUN)
    if pause is not None and pause.kind == "failure" and not any(True for _ in s.held()):
        del s.pauses[RUN]
        s.emit(m.BranchResumed, None)
    if s.error_node is not None and (
        s.error_node not in s.nodes or s.nodes[s.error_node].status is not NodeStatus.FAILED
    ):
        failed = next((n for n in s.nodes.values() if n.status is NodeStatus.FAILED), None)
        s.error, s.error_node = (failed.error, failed.id) if failed is not None else (None, None)
