"""How nodes end without a result: failed, skipped, cancelled; and how groups open and close.

Rules kept here: an end is recorded and told, never more: who depends on the node hears of it only when
it is released; a group closes once all its children have been released.
"""

from __future__ import annotations

from ..errors import InvalidState
from . import messages as m
from .graph import Node, last_of
from .model import NodeStatus
from .state import State


def fail(s: State, node: Node, error: str, exception: BaseException | None = None) -> None:
    """A node has failed for good."""
    s.set_status(node, NodeStatus.FAILED)
    node.error, node.finished_at = error, s.now
    accuse(s, node)
    s.emit(m.NodeFailed, node.ref, error, exception, max(node.attempt, 1), final=node)


def accuse(s: State, node: Node) -> None:
    """The first failure is the run's error."""
    if s.error_node is None and s.ending is None:
        s.error, s.error_node = node.error, node.id


def skip(s: State, node: Node, reason: str, cause: str | None) -> None:
    """A node will not run."""
    s.set_status(node, NodeStatus.SKIPPED)
    node.reason, node.cause, node.finished_at = reason, cause, s.now
    s.blame(node, cause)
    s.emit(m.NodeSkipped, node.ref, reason, final=node)


def cancel(s: State, node: Node, cause: str, reason: str) -> None:
    """A node that has not ended is cancelled; what runs is stopped."""
    s.stop_attempt(node, reason)
    s.set_status(node, NodeStatus.CANCELLED)
    node.cause, node.reason, node.finished_at = cause, reason, s.now
    s.blame(node, cause)
    s.emit(m.NodeCancelled, node.ref, reason, final=node)


def end_children(s: State, group: Node) -> None:
    """A group has ended: children that have not go with it."""
    for id in group.children:
        child = s.nodes[id]
        if child.final:
            continue
        if group.status is NodeStatus.CANCELLED or child.busy:
            cancel(s, child, group.cause or group.id, group.reason or f"{group.id!r} was cancelled")
        elif child.status is NodeStatus.RETRYING:
            cancel(s, child, group.id, f"{group.id!r} {group.status}")
        else:
            skip(s, child, f"{group.id!r} {group.status}", group.id)


def id_taken(s: State, message: m.GroupOpened) -> str | None:
    """Why a map cannot get its items: the id of one is that of another node; None if it can."""
    for child in message.children:
        if child.id in s.nodes:
            return (
                f"its item {child.id!r} cannot be made: there is already a node of that id; "
                f"give one of them another id"
            )
    return None


def check_children(s: State, group: Node, message: m.GroupOpened) -> None:
    """Raise where what a map is opened with does not fit; nothing has changed then."""
    if group.opened:
        raise InvalidState(f"group {group.id!r} has been opened already", culprit=group.id)
    ids = {group.id}
    for child in message.children:
        if child.parent not in ids:
            raise InvalidState(f"node {child.id!r} is no child of {group.id!r}", culprit=child.id)
        if child.id in ids:
            raise InvalidState(f"there is already a node {child.id!r}", culprit=child.id)
        if any(dep not in ids for dep in child.deps):
            text = f"node {child.id!r} depends on a node outside of {group.id!r}"
            raise InvalidState(text, culprit=child.id)
        ids.add(child.id)


def close_if_done(s: State, group: Node) -> None:
    """A group all of whose children have ended fails if one failed; else its outcome is asked for."""
    if (
        group.open_children
        or not group.opened
        or group.busy
        or s.ending is not None
        or group.status is not NodeStatus.RUNNING
    ):
        return
    ended = (last_of(s.nodes[id], s.nodes) for id in group.children)
    failed = [child for child in ended if child.status is NodeStatus.FAILED]
    if failed:
        group.spent += 1
        what = "items" if group.spec.kind == "map" else "nodes"
        first = failed[0]
        error = f"{len(failed)} of {len(group.children)} {what} failed; {first.id}: {first.error}"
        fail(s, group, error)
        return
    s.occupy(group)
    s.effects.append(m.CloseGroup(group.id, group.attempt))


def reopen_group(s: State, group: Node) -> None:
    """A group whose children run again is under way again; it closes anew when they have ended."""
    s.set_status(group, NodeStatus.PENDING)
    s.set_status(group, NodeStatus.RUNNING)
    unrelease(s, group)
    group.outcome = group.error = group.reason = group.cause = group.finished_at = None
    group.handled = False
    group.ended, group.since = 0, s.seq
    group.attempt += 1  # what an earlier closing says is out of date
    free_rescuers(s, group)


def free_rescuers(s: State, node: Node) -> None:
    """Nobody rescues this node any more: its rescuers are nodes as others are."""
    for id in node.rescuers:
        s.nodes[id].guardian = None
    node.rescuers = frozenset()


def unrelease(s: State, node: Node) -> None:
    """A node that had ended has not: its dependants and its group wait for it again."""
    if not node.released:
        return
    node.released = False
    for id in node.dependants:
        other = s.nodes[id]
        if node.id not in other.met:
            other.unmet += 1
            if other.status is NodeStatus.PENDING:
                other.ready = False
    parent = node.spec.parent
    if parent is not None:
        group = s.nodes[parent]
        group.open_children += 1
        if group.busy and group.opened:
            # it was closing: that answer is out of date
            s.leave(group)
            group.attempt += 1
