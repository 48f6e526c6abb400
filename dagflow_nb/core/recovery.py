"""From a node's end to its dependants: handlers, rescue, the failure policy, release.

Rules kept here: a node's end is recorded first; its dependants are told only when the hooks have
answered, who may mend a failure has tried, and the failure policy has been applied; a failure that is
mended, however late, takes back what it meant for the rest.
"""

from __future__ import annotations

from . import branches, messages as m, rerun
from .endings import close_if_done, end_children, fail, free_rescuers, skip
from .graph import Node
from .judging import enroll
from .model import FINAL_STATES, SUCCESS_STATES, NodeDef, NodeOutput, NodeSpec, NodeStatus, OnFailure
from .state import RUN, Pause, State


def settle(s: State, node: Node) -> None:
    """A node has ended: recovery, then the policy, then its dependants; nothing while hooks are asked."""
    status = node.status
    if node.released or node.gone or status not in FINAL_STATES or node.ended in s.asks:
        return
    if status is NodeStatus.FAILED and s.ending is None:
        if not node.handled:
            node.handled = True
            add_handler(s, node)
        if node.rescuers or not apply_policy(s, node):
            return
    if node.goes_on and goes_on(s, node):
        return
    release(s, node)


def goes_on(s: State, node: Node) -> bool:
    """Whether an ended node's dependants wait for what goes on for it, or for what hooks say about that."""
    if s.ending is not None or s.stopping is not None or node.cut:
        return False
    if node.holders:
        return True
    for ask in s.asks.values():
        if ask.node_id == node.id:
            return True
        other = s.nodes.get(ask.node_id or "")
        if other is not None and other.holds == node.id:
            return True
    return False


def add_handler(s: State, node: Node) -> None:
    """Add the failure handler of a node that has failed, as `ID.on_failure`; the node waits for it."""
    action = node.spec.failure or s.settings_of(node).failure
    if action is None:
        return
    id = f"{node.id}.on_failure"
    if id in s.nodes or action not in s.settings:
        known = f"there is already a node {id!r}" if id in s.nodes else f"no action {action!r} is defined"
        text = f"the failure handler of {node.id!r} cannot run: {known}"
        s.reject(m.AddNode(NodeSpec(action, id=id)), text, None)
        return
    inputs = {"error": node.error, "node_id": node.id, "inputs": dict(node.spec.inputs)}
    spec = NodeDef(id=id, action=action, deps=(node.id,), inputs=inputs, on_failure=OnFailure.CONTINUE)
    (handler,) = s.add([spec], node.id, node.depth, (node.id,))
    handler.guardian = handler.rescues = node.id
    s.grown.setdefault(node.id, {})[id] = None
    node.rescuers |= {id}
    s.emit(m.NodesAdded, (spec,), node.id, node=node)
    enroll(s, handler)
    branches.share_fate(s, handler)


def apply_policy(s: State, node: Node) -> bool:
    """What a failure means for the run; False if its dependants are to be held."""
    policy = node.spec.on_failure or s.settings_of(node).on_failure or s.config.on_failure
    if policy == OnFailure.STOP and s.stopping is None:
        stop(s, node)
    elif policy == OnFailure.PAUSE and s.stopping is None:
        s.held[node.id] = None
        branches.pause_run(s, failure_pause(s, node))
        return False
    return True


def failure_pause(s: State, node: Node) -> Pause:
    """The pause that a failure means."""
    return Pause("failure", s.now, f"node {node.id!r} failed: {node.error}")


def stop(s: State, failed: Node) -> None:
    """Nothing new starts and what has not started is skipped; that beats a pause for another failure."""
    s.stopping = failed.id
    reason = f"the run stops because {failed.id!r} failed"
    for other in list(s.nodes.values()):
        if other.final or other.status is NodeStatus.RUNNING or s.is_urgent(other):
            continue
        if other.status is NodeStatus.RETRYING:
            fail(s, other, other.error or reason)
        else:
            skip(s, other, reason, failed.id)
    for id in list(s.held):
        del s.held[id]
        s.settling.append(s.nodes[id])
    pause = s.pauses.get(RUN)
    if pause is not None and pause.kind == "failure":
        branches.resume_run(s, {}, None)


def release(s: State, node: Node) -> None:
    """Tell its dependants, its group and the node it was there for that a node has ended."""
    node.released = True
    nodes, judging = s.nodes, s.judging
    if node.children:
        end_children(s, node)
    id = node.id
    for dependant in node.dependants:
        other = nodes[dependant]
        if other.met and id in other.met:
            continue
        other.unmet -= 1
        if other.unmet == 0:
            judging.append(other)
    parent = node.spec.parent
    if parent is not None:
        group = nodes[parent]
        group.open_children -= 1
        if group.open_children == 0:
            close_if_done(s, group)
    if node.guardian is not None:
        _rescued(s, node, nodes[node.guardian])
    if node.holds is not None and (held := nodes.get(node.holds)) is not None and id in held.holders:
        held.holders -= {id}
        if not held.holders:
            s.settling.append(held)


def _rescued(s: State, node: Node, failed: Node) -> None:
    node.guardian = None
    failed.rescuers -= {node.id}
    if failed.status is not NodeStatus.FAILED:
        return
    outcome = node.outcome
    if node.status in SUCCESS_STATES and outcome is not None and s.ending is None:
        stands_in = node.spec.replaces == failed.id
        is_handler = node.spec.replaces is None and node.rescues == failed.id
        if stands_in or (is_handler and outcome.recovered):
            recover(s, failed, outcome)
            return
    if not failed.rescuers and not failed.released:
        s.settling.append(failed)


def recover(s: State, node: Node, outcome: NodeOutput) -> None:
    """A node gets its outputs from elsewhere; what was skipped because of it has its turn again."""
    was_stopping = s.stopping == node.id
    free_rescuers(s, node)
    returned = outcome.returned
    if returned == "mapping" and tuple(outcome.outputs) == ("result",):
        returned = "value"  # it stands in for what an action returned as it is
    node.outcome = NodeOutput(outcome.outputs, True, outcome.metadata, None, True, returned)
    node.finished_at = s.now
    s.set_status(node, NodeStatus.RECOVERED)
    if was_stopping:
        s.stopping = None
    if node.released:
        rerun.give_turn(s, node)
    rerun.forgive(s)
    s.emit(m.NodeCompleted, node.ref, node.outcome, final=node)


def give_up_rescue(s: State) -> bool:
    """Nothing moves: rescue that waits for what waits for it is given up. False if there is none."""
    stuck = [node for id in s.failed if (node := s.nodes[id]).rescuers and not node.released]
    for node in stuck:
        free_rescuers(s, node)
        s.settling.append(node)
    return let_go(s) or bool(stuck)


def let_go(s: State) -> bool:
    """Nothing goes on for ended nodes any more: their dependants are told. False if there are none."""
    left = [node for node in s.nodes.values() if node.goes_on and node.final and not node.released]
    for node in left:
        node.goes_on, node.holders = False, frozenset()
        s.settling.append(node)
    return bool(left)
