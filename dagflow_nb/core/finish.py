"""How a run comes to rest: ended, paused, or with nothing that can move.

Rules kept here: a run that can neither move nor end fails and names what blocks it; hooks hear of the
end once; what is paused stays so, also in a run that is over and may be taken up again.
"""

from __future__ import annotations

from ..errors import shorten
from . import branches, messages as m, recovery
from .endings import cancel
from .model import FINAL_STATES, RunStatus
from .state import OVER, RUN, State


def is_moving(s: State) -> bool:
    """Whether anything that is under way, or that time brings, may move the run."""
    if s.busy or s.asks or not s.opened:
        return True
    if s.ending is not None:
        return False
    pause = s.pauses.get(RUN)
    if pause is None and s.stopping is None:
        return bool(s.retrying) or s.slots.waiting() or s.urgent.waiting()
    if pause is None or pause.kind == "failure":
        return s.urgent.waiting() or any(s.is_urgent(s.nodes[id]) for id in s.retrying)
    return False


def come_to_rest(s: State) -> bool:
    """Nothing moves: end, pause, or find out what blocks. True if something moves again."""
    left = len(s.nodes) - sum(s.count[state] for state in FINAL_STATES)
    if s.ending is not None or s.finishing or (left == 0 and not s.held and _may_end(s)):
        if recovery.let_go(s):
            return True
        finish(s)
        return False
    if s.held and RUN not in s.pauses:
        branches.pause_run(s, recovery.failure_pause(s, s.nodes[next(iter(s.held))]))
        return True
    if s.pauses:
        leave(s, RunStatus.PAUSED)
        return False
    if recovery.give_up_rescue(s):
        return True
    blocked = [node.id for node in s.nodes.values() if not node.final]
    fail_run(s, f"nothing can move any more: {shorten(blocked)} wait for each other")
    return True


def _may_end(s: State) -> bool:
    """Whether no pause is about a decision that the ended nodes leave open."""
    if s.stopping is not None:
        return True
    return all(root == RUN or pause.kind == "budget" for root, pause in s.pauses.items())


def finish(s: State) -> None:
    """Everything has ended: the hooks hear of it, then the run is over."""
    status = s.ending
    if status is None:
        status = RunStatus.FAILED if s.failed else RunStatus.COMPLETED
    if status is RunStatus.COMPLETED:
        s.error = s.error_node = None
    if not s.finishing:
        s.finishing = True
        s.pauses.pop(RUN, None)
        s.emit(m.RunFinished, status is RunStatus.COMPLETED, str(status))
        if s.asks:
            return
    leave(s, status)


def leave(s: State, status: RunStatus) -> None:
    """The run is over for this process."""
    s.status = status
    if s.active_since is not None:
        s.elapsed += s.now - s.active_since
        s.active_since = None
    if status in OVER:
        s.finished_at = s.now
    s.effects.append(m.RunEnded(status, s.error, s.error_node))


def end_all(s: State, status: RunStatus, cause: str, reason: str) -> None:
    """Everything that has not ended is cancelled, and the run ends with `status`."""
    s.ending = status
    s.pauses.pop(RUN, None)
    for id in s.failed:
        s.settling.append(s.nodes[id])
    for node in list(s.nodes.values()):
        if not node.final:
            cancel(s, node, cause, reason)


def cancel_run(s: State, reason: str | None, by: str | None) -> None:
    """Everything that has not ended is cancelled."""
    if s.ending is not None:
        return
    end_all(s, RunStatus.CANCELLED, "run", reason or "the run was cancelled")
    if reason is not None:
        s.error, s.error_node = reason, None
    s.emit(m.BranchCancelled, None, reason, by)


def fail_run(s: State, error: str, cause: str = "run") -> None:
    """Everything that has not ended is cancelled, and the run has failed."""
    end_all(s, RunStatus.FAILED, cause, error)
    s.error, s.error_node = error, None


def out_of_time(s: State) -> None:
    """The run's deadline is there."""
    seconds = s.config.timeout_seconds or 0
    fail_run(s, f"the run took longer than its timeout_seconds={seconds:g}", "deadline")
