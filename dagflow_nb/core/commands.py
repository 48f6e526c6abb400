"""What each command does to a run.

Rules kept here: a command is checked whole before anything changes; one that is refused changes
nothing, is reported as `CommandRejected`, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import DagError, shorten
from . import branches, messages as m, recovery, rerun, spending
from .graph import Node
from .growth import Context, Refused, find, grow
from .model import EMPTY, Form, NodeOutput, NodeStatus, iter_refs, map_refs
from .state import Pause, State

_NOT_STARTED = frozenset({NodeStatus.PENDING, NodeStatus.PAUSED})
_TAKES_OUTPUTS = _NOT_STARTED | {NodeStatus.FAILED, NodeStatus.RETRYING}
# pauses that wait for a decision about their root alone
_ABOUT_ROOT = ("ask", "decision")


def apply(s: State, command: Any, context: Context) -> None:
    """Apply one command, or reject it."""
    handler = HANDLERS.get(type(command))
    try:
        if handler is None:
            raise Refused(f"{shorten(command)} is no command")
        if getattr(command, "dag_name", None) not in (None, s.dag_name):
            raise Refused(f"this run is of {s.dag_name!r}, not of {command.dag_name!r}")
        if s.ending is not None:
            raise Refused("the run is being ended")
        handler(s, command, context)
    except DagError as refused:
        s.reject(command, str(refused), context.by)


def _add_node(s: State, command: m.AddNode, context: Context) -> None:
    grow(s, (command.spec,), context)


def _add_nodes(s: State, command: m.AddNodes, context: Context) -> None:
    grow(s, tuple(command.specs), context, command.free, command.holds, command.heir)


def _set_inputs(s: State, command: m.SetNodeInputs, context: Context) -> None:
    node = find(s, command.node_id)
    if node.status not in _NOT_STARTED or node.started_at is not None:
        hint = f" (give RetryNode({node.id!r}) first)" if node.status is NodeStatus.FAILED else ""
        raise Refused(f"node {node.id!r} is {node.status}: inputs are set before a node starts{hint}")
    if not isinstance(command.inputs, Mapping):
        raise Refused(f"inputs are a mapping of names to values, not {shorten(command.inputs)}")
    inputs = {str(k): map_refs(v, lambda r: r.bind(s.nodes)) for k, v in command.inputs.items()}
    for value in inputs.values():
        for reference in iter_refs(value):
            if reference.target != "inputs" and reference.target not in node.spec.deps:
                raise Refused(
                    f"{str(reference)!r} is no dependency of {node.id!r}: give a value, "
                    f"or add a node that depends on {reference.target!r}"
                )
    node.spec = replace(node.spec, inputs={**node.spec.inputs, **inputs})
    s.changed.add(node.id)


def _pause(s: State, command: m.PauseBranch, context: Context) -> None:
    node = find(s, command.branch_id)
    if node.cut:
        raise Refused(f"branch {node.id!r} was cancelled")
    if command.form is not None and not isinstance(command.form, Form):
        raise Refused(f"a form is a pydantic model or a JSON schema, not {shorten(command.form)}")
    by_hand = context.event is None and command.form is None
    pause = Pause("branch", s.now, command.reason, command.form, context.by, by_hand=by_hand)
    branches.pause(s, node.id, pause)


def _resume(s: State, command: m.ResumeBranch, context: Context) -> None:
    find(s, command.branch_id)
    branches.resume(s, command.branch_id, EMPTY, context.by)


def _cancel(s: State, command: m.CancelBranch, context: Context) -> None:
    branches.cancel(s, find(s, command.branch_id), command.reason, context.by)


def _enable(s: State, command: m.EnableNodes, context: Context) -> None:
    _set_disabled(s, command.node_ids, False, context)


def _disable(s: State, command: m.DisableNodes, context: Context) -> None:
    _set_disabled(s, command.node_ids, True, context)


def _set_disabled(s: State, ids: Any, disabled: bool, context: Context) -> None:
    nodes = [find(s, id) for id in ids]
    for node in nodes:
        if node.status not in _NOT_STARTED or node.started_at is not None:
            verb = "disabled" if disabled else "enabled"
            raise Refused(f"node {node.id!r} is {node.status}: it can no longer be {verb}")
    by = context.node.id if disabled and context.node is not None else None
    for node in nodes:
        disable(s, node, by, "it was disabled") if disabled else enable(s, node)


def disable(s: State, node: Node, by: str | None, reason: str) -> None:
    """A node will be skipped when its turn comes, on account of `by`."""
    node.disabled, node.disabled_by, node.reason = True, by, reason
    s.blame(node, by)
    s.changed.add(node.id)
    if node.ready:
        node.ready = False  # it waits for a slot: its turn has come already
        s.to_judge(node)


def enable(s: State, node: Node) -> None:
    """A node will not be skipped after all."""
    node.disabled, node.disabled_by, node.reason = False, None, None
    s.changed.add(node.id)


def _retry(s: State, command: m.RetryNode, context: Context) -> None:
    node = find(s, command.node_id)
    if node.status is not NodeStatus.FAILED or node.cut:
        state = "in a cancelled branch" if node.cut else str(node.status)
        raise Refused(f"node {node.id!r} is {state}: only a failed node is retried")
    rerun.run_again(s, [node], cascade=True)
    if context.event is not None:
        # a hook that retries for ever is growth of a kind: the same budget ends it
        node.depth += 1
        spending.count_depth(s, node)


def set_outputs(s: State, command: m.SetNodeOutputs, context: Context) -> None:
    """A node gets its outputs from outside: it is `recovered`."""
    node = find(s, command.node_id)
    if node.status not in _TAKES_OUTPUTS or node.cut:
        state = "in a cancelled branch" if node.cut else str(node.status)
        raise Refused(f"node {node.id!r} is {state}: outputs are given to a failed or a waiting node")
    if not isinstance(command.outputs, Mapping):
        raise Refused(f"outputs are a mapping of names to values, not {shorten(command.outputs)}")
    recovery.recover(s, node, NodeOutput.ok(dict(command.outputs), recovered=True))
    if node.id in s.pauses and s.pauses[node.id].kind in _ABOUT_ROOT:
        # what was asked about it has been decided
        branches.resume(s, node.id, EMPTY, context.by)


def _emit(s: State, command: m.EmitEvent, context: Context) -> None:
    if not isinstance(command.name, str) or not command.name:
        raise Refused(f"an event's name is a text, not {shorten(command.name)}")
    node = context.node
    s.emit(m.CustomEvent, command.name, command.data, node.ref if node is not None else None, node=node)


HANDLERS: dict[type, Callable[[State, Any, Context], None]] = {
    m.AddNode: _add_node,
    m.AddNodes: _add_nodes,
    m.SetNodeInputs: _set_inputs,
    m.PauseBranch: _pause,
    m.ResumeBranch: _resume,
    m.CancelBranch: _cancel,
    m.EnableNodes: _enable,
    m.DisableNodes: _disable,
    m.RetryNode: _retry,
    m.SetNodeOutputs: set_outputs,
    m.EmitEvent: _emit,
}
