"""A run becomes another one: what the other one leaves out has never run there.

Rules kept here: what is kept keeps its state and its times; what is left out, and what was under way, is
as if it had never begun: its attempts count from the first again, and what it used up is not counted;
nothing moves before the run is taken up (`Reopened`).
"""

from __future__ import annotations

from ..errors import InvalidState
from . import commands, finish, messages as m, spending
from .graph import Node
from .growth import Context
from .model import RunStatus
from .rerun import Again, forgive, put_back
from .state import OVER, State


def fork(s: State, message: m.Forked) -> None:
    """Leave out nodes with what comes after them, and give others new outputs."""
    if s.status is RunStatus.PENDING:
        raise InvalidState(f"run {s.run_id!r} has not begun: there is nothing to leave out", culprit=s.run_id)
    targets = [s.graph[id] for id in message.nodes]
    given = [s.graph[id] for id in message.outputs]
    for node in given:
        if node.is_group:
            text = f"node {node.id!r} is a group: its outputs are those of its nodes"
            raise InvalidState(text, culprit=node.id)
    for node in (*targets, *given):
        if node.cut:
            raise InvalidState(f"node {node.id!r} is in a cancelled branch, which stays so", culprit=node.id)
    again = Again(s)
    chosen = [*targets, *given]
    again.collect(chosen, cascade=True, mend=False)
    again.withdraw()
    if other := next((node for node in given if node.id in again.gone), None):
        text = f"node {other.id!r} is left out itself: it was added for one of the nodes that run again"
        raise InvalidState(text, culprit=other.id)
    left_out = {**again.full, **again.gone}
    again.collect(put_back(s, "the run is forked"), cascade=False, mend=False)
    again.withdraw()
    _drop_questions(s, {**again.full, **again.gone})
    for node in {**again.full, **again.gone}.values():
        _take_back_usage(s, node, node.id in again.gone)
    if chosen:
        _undo_end(s)
    again.apply(asked_for=frozenset(node.id for node in chosen))
    s.graph.restart(again.gone)
    for node in again.full.values():
        node.attempt, node.used_tokens, node.used_cost = 0, 0, 0.0
        if node.id in left_out:
            node.answered, node.human = False, None
    if chosen:
        s.reviewed = min(s.reviewed, max(node.depth for node in s.nodes.values()))
        forgive(s)
    for node in given:
        commands.set_outputs(
            s, m.SetNodeOutputs(node.id, message.outputs[node.id]), Context(None, None, None)
        )
    if s.status is RunStatus.RUNNING:
        finish.leave(s, RunStatus.INTERRUPTED)
    elif chosen:
        s.status, s.finished_at = RunStatus.INTERRUPTED, None
    if s.status is RunStatus.INTERRUPTED:
        s.started_at, s.elapsed = s.now, 0.0


def _undo_end(s: State) -> None:
    """There is something to run: an end that was told, or begun, is taken back."""
    if s.status in OVER:
        s.stopping = None
    s.ending, s.finishing = None, False
    s.asks = {n: ask for n, ask in s.asks.items() if not isinstance(ask.event, m.RunFinished)}


def _drop_questions(s: State, gone: dict[str, Node]) -> None:
    """Hooks are not asked about what has not happened."""
    s.asks = {n: ask for n, ask in s.asks.items() if ask.node_id not in gone}


def _take_back_usage(s: State, node: Node, gone: bool) -> None:
    is_handler = node.rescues is not None and node.spec.replaces is None
    for usage in spending.usages(s, node):
        usage.max_tokens -= node.used_tokens
        usage.max_cost -= node.used_cost
        if gone and node.spec.parent is None and not is_handler:
            usage.max_nodes -= 1
