"""Branches: a node with all its present and future descendants, paused, resumed or cancelled as one.

Rules kept here: what runs is never paused, only what has not started; a node waits as long as any
branch that holds it is paused; what is cancelled stays so; a branch costs its own size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidState, NodeNotFound, shorten
from . import messages as m
from .graph import Node, can_hold
from .model import EMPTY, Form, NodeStatus

if TYPE_CHECKING:
    from .scheduler import Pause, Scheduler

RUN = ""
_CAN_WAIT = frozenset({NodeStatus.PENDING, NodeStatus.RETRYING})
# kinds of pauses in which a person is waited for
_HUMAN = frozenset({"ask", "branch", "review", "decision"})


def new_pause(s: Scheduler, command: m.PauseBranch, by: str | None) -> Pause:
    """The pause that a command asks for."""
    from .scheduler import Pause

    if command.form is not None and not isinstance(command.form, Form):
        raise InvalidState(f"a form is a pydantic model or a JSON schema, not {shorten(command.form)}")
    return Pause("branch", s.now, command.reason, command.form, by)


def pause(s: Scheduler, root: str, pause: Pause) -> None:
    """Hold a node and all that comes after it; a branch that is paused already stays as it is."""
    if root in s.pauses:
        return
    s.pauses[root] = pause
    for node in s.graph.branch(root):
        hold(s, node, root)
    s.emit(m.BranchPaused, root, pause.reason, pause.by, node=s.nodes[root])
    arm_human(s, root)


def hold(s: Scheduler, node: Node, root: str) -> None:
    """One node of a paused branch waits, if it has not started."""
    node.pauses.add(root)
    if node.status in _CAN_WAIT:
        s.set_status(node, NodeStatus.PAUSED)


def arm_human(s: Scheduler, root: str) -> None:
    """Start the clock after which `human_timeout_action` applies."""
    pause = s.pauses[root]
    if s.config.human_wait_minutes is not None and pause.kind in _HUMAN:
        s.timer(pause.since + 60 * s.config.human_wait_minutes, "human", root, pause.since)


def resume(
    s: Scheduler, root: str, answers: Mapping[str, Any], by: str | None, automatic: bool = False
) -> None:
    """Let one paused branch go on; raises `InvalidState` or `NodeNotFound` if it is not paused."""
    if root not in s.pauses:
        node = s.nodes.get(root)
        if node is None:
            raise NodeNotFound(root, s.nodes)
        if node.cut or node.status is NodeStatus.CANCELLED:
            raise InvalidState(f"branch {root!r} was cancelled: it cannot be resumed", culprit=root)
        waiting = ", ".join(repr(id) for id in s.pauses if id) or "none"
        raise InvalidState(f"branch {root!r} is not paused (paused branches: {waiting})", culprit=root)
    pause = s.pauses.pop(root)
    if answers:
        s.human.update(answers)
    if pause.kind == "ask":
        s.nodes[root].answered = True
    if root in s.nodes:
        for node in s.graph.branch(root):
            node.pauses.discard(root)
            if node.status is NodeStatus.PAUSED:
                if answers:
                    node.human = {**(node.human or {}), **answers}
                if not node.pauses:
                    s.set_status(node, NodeStatus.PENDING)
                    if node.unmet == 0:
                        s.to_judge(node)
    s.emit(m.BranchResumed, root, by, dict(answers), automatic, node=s.nodes.get(root))


def resume_all(s: Scheduler, answers: Mapping[str, Any], by: str | None) -> None:
    """Let the run and all its branches go on; after a pause because a node failed, that is run again."""
    from . import rerun

    pause = s.pauses.pop(RUN, None)
    if pause is not None:
        if answers:
            s.human.update(answers)
        s.emit(m.BranchResumed, None, by, dict(answers), False)
        held = list(s.held())
        if held:
            rerun.run_again(s, held, cascade=True)
    for root in list(s.pauses):
        resume(s, root, answers, by)
    from .spending import check

    check(s)


def nobody_answered(s: Scheduler, root: str) -> None:
    """The time for an answer is over: `human_timeout_action` applies."""
    pause = s.pauses[root]
    action = str(s.config.human_timeout_action)
    minutes = s.config.human_wait_minutes or 0
    late = f"nobody answered within {minutes:g} minutes"
    if action == "autopilot":
        form = pause.form
        if form is None and pause.kind == "decision":
            s.reject(m.ResumeBranch(root), f"{late}, and this decision has no default: it stays paused", None)
        elif form is not None and form.defaults is None:
            s.reject(
                m.ResumeBranch(root),
                f"{late}, and the form of {root!r} declares no default for each of its fields: "
                f"give them defaults, or answer with flow.resume()",
                None,
            )
        elif root == RUN:
            s.pauses.pop(RUN)
            s.emit(m.BranchResumed, None, "autopilot", {}, True)
        else:
            resume(s, root, form.defaults if form and form.defaults else EMPTY, "autopilot", automatic=True)
    elif action == "cancel" and root == RUN:
        s.cancel_run(late, "human_timeout_action")
    elif action == "cancel":
        cancel(s, s.nodes[root], late, "human_timeout_action")
    elif action == "fail":
        _fail_branch(s, root, late)


def _fail_branch(s: Scheduler, root: str, error: str) -> None:
    """The nodes of a branch that wait for nothing but the answer fail."""
    s.pauses.pop(root)
    if root == RUN:
        s.fail_run(error)
        return
    members = list(s.graph.branch(root))
    for node in members:
        node.pauses.discard(root)
        if node.status is NodeStatus.PAUSED and not node.pauses:
            s.set_status(node, NodeStatus.PENDING)
    front = [n for n in members if n.status is NodeStatus.PENDING and n.unmet == 0]
    for node in front:
        s.fail(node, error)
    if not front:
        s.fail_run(f"branch {root!r}: {error}")


def cancel(s: Scheduler, root: Node, reason: str | None, by: str | None) -> None:
    """Cancel a branch: what has not started will not, what runs is stopped; joins may go on.

    Raises `InvalidState` where there is nothing left to cancel.
    """
    if root.cut:
        raise InvalidState(f"branch {root.id!r} has been cancelled already", culprit=root.id)
    if all(node.final for node in s.graph.branch(root.id)):
        raise InvalidState(f"branch {root.id!r} has ended: there is nothing left to cancel", culprit=root.id)
    root.cut = True
    stack, cut = [root], [root]
    while stack:
        node = stack.pop()
        for id in (*node.children, *node.dependants):
            other = s.nodes[id]
            if other.cut:
                continue
            if id in node.children or not can_hold(other, s.nodes):
                other.cut = True
                stack.append(other)
                cut.append(other)
    text = reason or f"branch {root.id!r} was cancelled"
    s.pauses.pop(root.id, None)
    s.emit(m.BranchCancelled, root.id, reason, by, node=root)
    for node in cut:
        node.pauses.clear()
        s.pauses.pop(node.id, None)
        if not node.final:
            s.cancel(node, "branch", text)


def share_fate(s: Scheduler, node: Node) -> None:
    """A new node under a paused or cancelled branch waits or is cancelled with it."""
    parent = node.spec.parent
    above = [s.nodes[id] for id in (*node.spec.deps, *((parent,) if parent else ()))]
    if any(other.cut for other in above) and (s.nodes[parent].cut if parent else not can_hold(node, s.nodes)):
        node.cut = True
        s.cancel(node, "branch", "it belongs to a branch that was cancelled")
        return
    for other in above:
        for root in other.pauses:
            hold(s, node, root)

