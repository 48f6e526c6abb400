"""People: what happens when they go on with a run, and when nobody answers in time.

Rules kept here: an answer is taken as it is given; nobody is waited for beyond `human_wait_minutes`,
and what then happens never leaves a run that neither moves nor waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import branches, finish, messages as m, rerun, spending
from .endings import fail
from .graph import Node
from .model import EMPTY, HumanTimeoutAction, NodeStatus
from .state import RUN, State

BY = "human_timeout_action"


def resume(s: State, message: m.Resume) -> None:
    """A branch, or the run and all its branches, goes on; failed nodes that hold the run run again."""
    late = [root for root in _time_is_over(s) if root not in s.pauses]
    for root in late:
        if _answers_for(message, root):
            s.reject(m.ResumeBranch(root), f"this answer came too late: {_nobody_answered(s)}", message.by)
    if s.ending is None:
        if message.branch_id is None:
            _resume_all(s, message)
        elif message.branch_id not in late:
            branches.resume(s, message.branch_id, message.answers, message.by)
    spending.check(s)


def _resume_all(s: State, message: m.Resume) -> None:
    if RUN in s.pauses:
        branches.resume_run(s, _answers_for(message, RUN), message.by)
    if s.held:
        rerun.run_again(s, [s.nodes[id] for id in s.held], cascade=True)
    for root in list(s.pauses):
        if root in s.pauses and root != RUN and _goes_on(s, message, root):
            branches.resume(s, root, _answers_for(message, root), message.by)


def _answers_for(message: m.Resume, root: str) -> Mapping[str, Any]:
    return message.answers if message.own is None else message.own.get(root, EMPTY)


def _goes_on(s: State, message: m.Resume, root: str) -> bool:
    """Whether a branch goes on with the run: what was asked, but not answered, waits."""
    return message.own is None or root in message.own or s.pauses[root].form is None


def _time_is_over(s: State) -> list[str]:
    """Waits that ended while no process held the run: their action comes before the resume; returns them."""
    minutes = s.config.human_wait_minutes
    over = []
    for root in list(s.pauses):
        pause = s.pauses.get(root)
        if pause is not None and pause.alarm and pause.since + 60 * (minutes or 0) <= s.now:
            pause.alarm = 0
            nobody_answered(s, root)
            over.append(root)
    return over


def _nobody_answered(s: State) -> str:
    minutes = s.config.human_wait_minutes or 0
    return f"nobody answered within {f'{minutes:g} minutes' if minutes > 1 else f'{60 * minutes:.3g} s'}"


def nobody_answered(s: State, root: str) -> None:
    """The time for an answer is over: `human_timeout_action` applies."""
    action = s.config.human_timeout_action
    late = _nobody_answered(s)
    if action == HumanTimeoutAction.AUTOPILOT:
        _autopilot(s, root, late)
    elif action == HumanTimeoutAction.CANCEL:
        if root == RUN:
            finish.cancel_run(s, late, BY)
        else:
            branches.cancel(s, s.nodes[root], late, BY)
    elif action == HumanTimeoutAction.FAIL:
        late += ": go on with flow.retry()"
        if root == RUN:
            finish.fail_run(s, late)
        else:
            _fail_branch(s, root, late)


def _autopilot(s: State, root: str, late: str) -> None:
    pause = s.pauses[root]
    form = pause.form
    if pause.kind == "decision":
        text = f"{late}, and this decision has no default: it stays paused"
        s.reject(m.ResumeBranch(root), text, None)
    elif form is not None and form.defaults is None:
        text = (
            f"{late}, and the form of {root!r} declares no default for each of its fields: "
            f"give them defaults, or answer with flow.resume()"
        )
        s.reject(m.ResumeBranch(root), text, None)
    elif root == RUN:
        branches.resume_run(s, EMPTY, "autopilot", automatic=True)
    else:
        defaults = form.defaults if form is not None and form.defaults is not None else EMPTY
        branches.resume(s, root, defaults, "autopilot", automatic=True)
    spending.check(s)


def _fail_branch(s: State, root: str, error: str) -> None:
    """The first nodes of a branch that wait fail; where none waits, the run does."""
    waiting = [node for node in s.graph.branch(root) if node.status is NodeStatus.PAUSED]
    ids = {node.id for node in waiting}
    front = [node for node in waiting if not _comes_after(node, ids)]
    for node in front:
        fail(s, node, error)
    for id in [root, *(node.id for node in front)]:
        branches.lift(s, id)
    if not front:
        finish.fail_run(s, f"branch {root!r}: {error}")


def _comes_after(node: Node, ids: set[str]) -> bool:
    return node.spec.parent in ids or any(dep in ids for dep in node.spec.deps)
