"""Branches: a node with all its present and future descendants, paused, resumed or cancelled as one.

Rules kept here: what runs is never paused, only what has not started; a node waits as long as any
branch that holds it is paused; what is cancelled stays so; a join that has not run goes on if its rule
can hold without the branch; a branch costs its own size.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from ..errors import InvalidState, NodeNotFound
from . import messages as m
from .budget import Usage
from .endings import cancel as cancel_node, end_children
from .graph import Node, can_hold
from .model import EMPTY, Form, NodeStatus
from .state import RUN, Pause, State

_CAN_WAIT = frozenset({NodeStatus.PENDING, NodeStatus.RETRYING})
_CANCELLED = (m.NodeCancelled, m.BranchCancelled)


def pause(s: State, root: str, pause: Pause) -> None:
    """Hold a node and all that comes after it; a branch that is paused already stays as it is."""
    if root in s.pauses:
        return
    s.pauses[root] = pause
    for node in s.graph.branch(root):
        hold(s, node, root)
    s.emit(m.BranchPaused, root, pause.reason, pause.by, node=s.nodes[root])
    arm_human(s, root)


def pause_run(s: State, pause: Pause) -> None:
    """Nothing new starts until the run is resumed; what would not stop rescue beats what would."""
    if s.ending is not None or s.finishing:
        return
    before = s.pauses.get(RUN)
    if before is None or (before.kind == "failure" and pause.kind != "failure"):
        s.pauses[RUN] = pause
        s.emit(m.BranchPaused, None, pause.reason, pause.by)
        arm_human(s, RUN)


def hold(s: State, node: Node, root: str) -> None:
    """One node of a paused branch waits, if it has not started."""
    node.pauses |= {root}
    if node.status in _CAN_WAIT:
        s.set_status(node, NodeStatus.PAUSED)


def arm_human(s: State, root: str) -> None:
    """Start the clock after which `human_timeout_action` applies."""
    pause, minutes = s.pauses[root], s.config.human_wait_minutes
    pause.alarm = 0
    if minutes is not None and pause.is_human:
        pause.alarm = s.timer_number + 1
        s.timer(pause.since + 60 * minutes, "human", root, pause.alarm)


def lift(s: State, root: str, answers: Mapping[str, Any] = EMPTY) -> list[Node]:
    """A branch is held no longer, for whatever reason; returns its nodes."""
    ended = s.pauses.pop(root, None)
    if root not in s.nodes:
        return []
    members = list(s.graph.branch(root))
    for node in members:
        if root not in node.pauses:
            continue
        node.pauses -= {root}
        if node.status is NodeStatus.PAUSED:
            if answers:
                node.human = {**(node.human or {}), **answers}
                node.form = ended.form if ended is not None else None
            if not node.pauses:
                s.set_status(node, NodeStatus.PENDING)
                if node.unmet == 0:
                    s.to_judge(node)
    return members


def resume(s: State, root: str, answers: Mapping[str, Any], by: str | None, automatic: bool = False) -> None:
    """Let one paused branch go on; raises `InvalidState` or `NodeNotFound` if it is not paused."""
    if root == RUN or root not in s.pauses:
        node = s.nodes.get(root)
        if node is None:
            raise NodeNotFound(root, s.nodes)
        if node.cut or node.status is NodeStatus.CANCELLED:
            raise InvalidState(f"branch {root!r} was cancelled: it cannot be resumed", culprit=root)
        waiting = ", ".join(repr(id) for id in s.pauses if id) or "none"
        raise InvalidState(f"branch {root!r} is not paused (paused branches: {waiting})", culprit=root)
    if answers:
        s.human.update(answers)
    asked, form = s.pauses[root].kind == "ask", s.pauses[root].form
    # what is asked about a node that has ended is what comes after it
    if (asked or (form is not None and s.nodes[root].final)) and _is_refused(form, answers):
        cancel(s, s.nodes[root], "rejected", by)
        return
    if asked:
        s.nodes[root].answered = True
    lift(s, root, answers)
    s.emit(m.BranchResumed, root, by, dict(answers), automatic, node=s.nodes[root])


def _is_refused(form: Form | None, answers: Mapping[str, Any]) -> bool:
    """Whether `approved=False` says no to the node itself; it may be a field of the form, too: an answer."""
    own = form.schema.get("properties", {}) if form is not None and form.schema is not None else {}
    return answers.get("approved") is False and "approved" not in own


def resume_run(s: State, answers: Mapping[str, Any], by: str | None, automatic: bool = False) -> None:
    """The run as a whole is paused no longer."""
    del s.pauses[RUN]
    if answers:
        s.human.update(answers)
    s.emit(m.BranchResumed, None, by, dict(answers), automatic)


def cancel(s: State, root: Node, reason: str | None, by: str | None) -> None:
    """Cancel a branch: what has not started will not, what runs is stopped; joins may go on.

    Raises `InvalidState` where there is nothing left to cancel.
    """
    if root.cut:
        raise InvalidState(f"branch {root.id!r} has been cancelled already", culprit=root.id)
    if not _goes_on(s, root):
        raise InvalidState(f"branch {root.id!r} has ended: there is nothing left to cancel", culprit=root.id)
    root.cut = True
    stack, cut, seen = [root], [root], {root.id}
    while stack:
        node = stack.pop()
        for id in (*node.children, *node.dependants, *s.grown.get(node.id, ())):
            other = s.nodes.get(id)
            if other is None or id in seen:
                continue
            if other.cut or other.spec.parent == node.id or _belongs(s, other):
                seen.add(id)
                stack.append(other)
                if not other.cut:
                    other.cut = True
                    cut.append(other)
    s.emit(m.BranchCancelled, root.id, reason, by, node=root)
    text = reason or f"branch {root.id!r} was cancelled"
    for node in cut:
        if not node.final:
            cancel_node(s, node, "branch", text)
    for node in cut:
        # a join that goes on may have been held by a pause that ends here
        if node.id in s.pauses:
            lift(s, node.id)
        if node.goes_on:
            s.settling.append(node)


def _goes_on(s: State, root: Node) -> bool:
    """Whether a branch moves, or may yet grow: hooks have not answered, or somebody is waited for."""
    open_ends = {ask.node_id for ask in s.asks.values()} | s.pauses.keys()
    return any(not node.final or node.id in open_ends for node in s.graph.branch(root.id))


def _belongs(s: State, node: Node) -> bool:
    """Whether a node after one that is cut is of the cancelled branch: it cannot do without, or has ended, so
    that what follows it does; or it grew in the branch, as a planner's next round does."""
    nodes = s.nodes
    if not any(nodes[dep].cut for dep in node.spec.deps):
        return False
    return node.final or not can_hold(node, nodes) or _grew_in_it(s, node)


def _grew_in_it(s: State, node: Node) -> bool:
    """Whether a node was added by one that is cut, and depends on nothing else."""
    above = s.nodes.get(node.added_by) if node.added_by is not None else None
    return above is not None and above.cut and all(s.nodes[dep].cut for dep in node.spec.deps)


def share_fate(s: State, node: Node, event: Any = None) -> None:
    """A new node under a paused or cancelled branch waits or is cancelled with it; `event`: the one that it
    answers. What is to follow on the cancellation itself goes on, if its rule allows it."""
    parent, nodes = node.spec.parent, s.nodes
    ids = node.spec.deps if parent is None else (*node.spec.deps, parent)
    for id in ids:
        other = nodes[id]
        if other.cut or other.pauses:
            break
    else:
        return
    above = [nodes[id] for id in ids]
    if any(other.cut for other in above) and (
        (parent is not None and s.nodes[parent].cut)
        or not can_hold(node, s.nodes)
        or (type(event) not in _CANCELLED and _grew_in_it(s, node))
    ):
        node.cut = True
        cancel_node(s, node, "branch", "it belongs to a branch that was cancelled")
        end_children(s, node)
    for other in above:
        if other.pauses:
            for root in sorted(other.pauses):
                hold(s, node, root)


def enroll(s: State, node: Node) -> None:
    """A node counts for the budgeted branches above it, and may itself be the root of one."""
    roots = dict.fromkeys(root for dep in node.spec.deps for root in s.nodes[dep].budgets)
    if node.spec.parent is not None:
        roots.update(dict.fromkeys(s.nodes[node.spec.parent].budgets))
    if any(fnmatchcase(node.id, glob) for glob in s.config.branch_budgets):
        roots[node.id] = None
        s.branch_usage.setdefault(node.id, Usage(base=node.depth))
    node.budgets = tuple(roots)
