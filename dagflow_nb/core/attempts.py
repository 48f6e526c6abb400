"""What comes back from attempts: results, errors, timeouts.

Rules kept here: a result counts once, for the attempt it belongs to; an attempt that failed is followed
by another one as long as tries are left and the run does not stop.
"""

from __future__ import annotations

from ..errors import InvalidState, shorten
from . import commands, messages as m
from .endings import accuse, check_children, fail, id_taken
from .graph import Node
from .judging import open_group, tell_started
from .model import NodeOutput, NodeStatus
from .state import State

_NOT_STARTED = frozenset({NodeStatus.PENDING, NodeStatus.PAUSED})


def ended(s: State, message: m.AttemptEnded) -> None:
    """An attempt came back with a result or an error."""
    node = under_way(s, message.node_id, message.attempt)
    outcome = message.outcome
    if outcome is not None and not isinstance(outcome, NodeOutput):
        raise InvalidState(f"the outcome of an attempt is a NodeOutput, not {shorten(outcome)}")
    if node is None:
        return
    s.leave(node)
    if not node.told and not message.cached:
        tell_started(s, node)
    if outcome is None:
        error = message.error or "failed"
        attempt_failed(s, node, error, message.exception, message.retryable, message.jitter)
        return
    node.outcome = outcome
    node.spent += 1
    node.finished_at = s.now
    if outcome.success:
        s.set_status(node, NodeStatus.CACHED if message.cached else NodeStatus.COMPLETED)
        if node.error is not None:
            node.error = None
        if node.spec.kind == "branch":
            _take_way(s, node, bool(outcome.metadata.get("taken")))
    else:
        s.set_status(node, NodeStatus.FAILED)
        node.error = outcome.error or "the action reported a failure"
        s.quiet.discard(node.id)
        accuse(s, node)
    s.seq += 1
    s.send(m.node_completed(node.ref, outcome, s.run_id, s.seq, s.now), node, node)
    if s.quiet:
        s.quiet.discard(node.id)


def _take_way(s: State, node: Node, taken: bool) -> None:
    """A branch node has decided: the nodes of the other way will be skipped."""
    for id in node.spec.over.get("otherwise" if taken else "then", ()):
        other = s.nodes.get(id)
        if other is not None and other.status in _NOT_STARTED:
            commands.disable(s, other, node.id, f"{node.id!r} took the other way")


def attempt_failed(
    s: State, node: Node, error: str, exception: BaseException | None, retryable: bool, jitter: float
) -> None:
    """An attempt has failed: another one follows, or the node has failed."""
    node.spent += 1
    node.error = error
    stopping = s.stopping is not None and not s.is_urgent(node)
    if not retryable or stopping or node.is_group or node.spent >= s.tries(node):
        s.quiet.discard(node.id)
        fail(s, node, error, exception)
        return
    strategy = s.settings_of(node).retry or s.config.retry_strategy
    delay = strategy.delay(node.spent, jitter)
    s.set_status(node, NodeStatus.RETRYING)
    s.emit(m.NodeRetrying, node.ref, node.attempt, delay, error, node=node)
    s.timer(s.now + delay, "retry", node.id, node.attempt)
    if node.pauses:
        s.set_status(node, NodeStatus.PAUSED)


def timed_out(s: State, node: Node, jitter: float) -> None:
    """An attempt took too long: it counts as failed, its result no longer matters."""
    error = f"timed out after {s.timeout(node) or 0:g} s"
    s.stop_attempt(node, error)
    if not node.told:
        tell_started(s, node)
    attempt_failed(s, node, error, TimeoutError(error), s.settings_of(node).retry_timeouts, jitter)


def started(s: State, message: m.AttemptStarted) -> None:
    """A node whose result might have been known has to run."""
    node = under_way(s, message.node_id, message.attempt)
    if node is not None and not node.told and not node.is_group:
        tell_started(s, node)


def group_opened(s: State, message: m.GroupOpened) -> None:
    """A group's inputs are there, or cannot be made."""
    node = under_way(s, message.node_id, message.attempt)
    if node is None:
        return
    if not node.is_group:
        raise InvalidState(f"node {node.id!r} is neither a map nor a sub-workflow", culprit=node.id)
    error = message.error
    if error is None:
        check_children(s, node, message)
        # a map that could not open would be waited for without end
        error = id_taken(s, message)
    if error is None:
        open_group(s, node, message)
    else:
        s.leave(node)
        node.spent += 1
        fail(s, node, error, message.exception)


def under_way(s: State, id: str, attempt: int) -> Node | None:
    """The node whose attempt this is; None if it is over. Raises where it was never started."""
    node = s.nodes.get(id)
    if node is None:
        return None
    if attempt > node.attempt:
        raise InvalidState(f"attempt {attempt} of node {id!r} has not been started", culprit=id)
    return node if node.busy and node.attempt == attempt else None
