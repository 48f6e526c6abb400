"""What each command does to a run.

Rules kept here: a command is checked whole before anything changes; one that is refused changes
nothing, is reported as `CommandRejected`, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..errors import DagError, did_you_mean, shorten
from . import branches, rerun, spending
from . import messages as m
from .budget import Limit
from .graph import Node
from .model import EMPTY, NodeDef, NodeOutput, NodeSpec, NodeStatus, OnFailure, When, iter_refs, map_refs

if TYPE_CHECKING:
    from .scheduler import Scheduler

_NOT_STARTED = frozenset({NodeStatus.PENDING, NodeStatus.PAUSED})


class Refused(DagError):
    """A command does not fit the state of the run; the text says why and what to do."""


class Context:
    """Who gives a command, and in answer to what.

    `node` is the node whose event is answered (or that emitted an event itself), `event` that event.
    """

    __slots__ = ("by", "event", "node")

    def __init__(self, by: str | None, node: Node | None, event: Any) -> None:
        self.by, self.node, self.event = by, node, event


def apply(
    s: Scheduler,
    command: Any,
    *,
    by: str | None,
    answering: Node | None,
    event: Any,
    source: Node | None = None,
) -> None:
    """Apply one command, or reject it."""
    handler = HANDLERS.get(type(command))
    try:
        if handler is None:
            raise Refused(f"{shorten(command)} is no command")
        if getattr(command, "dag_name", None) not in (None, s.dag_name):
            raise Refused(f"this run is of {s.dag_name!r}, not of {command.dag_name!r}")
        if s.ending is not None:
            raise Refused("the run is being ended")
        handler(s, command, Context(by, answering or source, event))
    except DagError as refused:
        s.reject(command, str(refused), by)


def find(s: Scheduler, id: Any) -> Node:
    """The node of that id; refused if there is none."""
    node = s.nodes.get(id) if isinstance(id, str) else None
    if node is None:
        raise Refused(f"there is no node {shorten(id)}: {did_you_mean(str(id), s.nodes)}")
    return node


def _add_node(s: Scheduler, command: m.AddNode, context: Context) -> None:
    grow(s, (command.spec,), context)


def _add_nodes(s: Scheduler, command: m.AddNodes, context: Context) -> None:
    grow(s, tuple(command.specs), context)


def grow(s: Scheduler, specs: tuple[Any, ...], context: Context) -> None:
    """Add a batch of nodes, all or none."""
    defs = [spec for spec in complete(s, specs, context.node)]
    for spec in defs:
        if spec.kind == "action" and spec.action not in s.settings:
            raise Refused(
                f"node {spec.id!r} needs action {spec.action!r}, which is not defined: "
                f"{did_you_mean(spec.action, s.settings)}"
            )
        if spec.replaces is not None:
            failed = s.nodes.get(spec.replaces)
            if failed is None or failed.status is not NodeStatus.FAILED:
                state = "no node of this run" if failed is None else str(failed.status)
                raise Refused(f"node {spec.id!r} replaces {spec.replaces!r}, which has not failed ({state})")
    new = s.graph.check(defs)
    if not new:
        return
    answered = context.node
    failing = answered if answered is not None and _is_failure_of(context.event, answered) else None
    depth = 0 if context.event is None else (answered.depth + 1 if answered is not None else 1)
    added = []
    for spec in new:
        # the node whose event is answered counts as a met dependency, whatever its state; so does the
        # failed node that this one stands in for
        sure = {answered.id if answered is not None else None, spec.replaces}
        met = frozenset(dep for dep in spec.deps if dep in sure)
        node = s.graph.add(spec, met)
        s.count[NodeStatus.PENDING] += 1
        s.changed.add(node.id)
        node.added_by = answered.id if answered is not None else None
        node.depth = depth
        if spec.limit is not None:
            s.slots.limits[f"map:{node.id}"] = Limit(spec.limit)
        added.append(node)
    for node in added:
        s.graph.link(node)
        guarded = s.nodes[node.spec.replaces] if node.spec.replaces is not None else failing
        if guarded is not None and not guarded.released and node.spec.parent is None:
            node.guardian = guarded.id
            guarded.rescuers.add(node.id)
        elif node.spec.replaces is not None:
            node.guardian = node.spec.replaces
    s.emit(m.NodesAdded, tuple(new), answered.id if answered is not None else None, node=answered)
    for node in added:
        s.enroll(node)
        branches.share_fate(s, node)
    spending.count_growth(s, added)


def _is_failure_of(event: Any, node: Node) -> bool:
    """Whether this event told that the node failed, so that what is added in answer may rescue it."""
    if node.status is not NodeStatus.FAILED or node.released:
        return False
    return isinstance(event, m.NodeFailed) or (isinstance(event, m.NodeCompleted) and not event.outcome.success)


def complete(s: Scheduler, specs: tuple[Any, ...], answered: Node | None) -> list[NodeDef]:
    """Full definitions from specs: ids given, dependencies of references added, references bound."""
    taken: set[str] = set()
    named: list[tuple[str, Any]] = []
    for spec in specs:
        if not isinstance(spec, NodeSpec | NodeDef):
            raise Refused(f"{shorten(spec)} is no NodeSpec")
        if isinstance(spec, NodeSpec) and not isinstance(spec.action, str):
            raise Refused(f"the action of {shorten(spec)} is not registered")
        id = spec.id if spec.id is not None else _free_id(spec.action, taken, s.nodes)
        taken.add(id)
        named.append((id, spec))
    known = {*s.nodes, *taken}
    return [
        spec if isinstance(spec, NodeDef) else _define(id, spec, known, answered) for id, spec in named
    ]


def _free_id(action: str, taken: set[str], nodes: Mapping[str, Node]) -> str:
    id, n = action, 1
    while id in taken or id in nodes:
        n += 1
        id = f"{action}_{n}"
    return id


def _define(id: str, spec: NodeSpec, known: Any, answered: Node | None) -> NodeDef:
    inputs = {str(k): map_refs(v, lambda r: r.bind(known)) for k, v in (spec.inputs or {}).items()}
    if spec.deps is not None:
        deps = [str(dep) for dep in spec.deps]
    else:
        deps = [answered.id] if answered is not None else []
    deps += [r.target for value in inputs.values() for r in iter_refs(value) if r.target != "inputs"]
    positive = isinstance(spec.timeout, int | float) and isfinite(spec.timeout) and spec.timeout > 0
    if spec.timeout is not None and not positive:
        raise Refused(f"timeout of node {id!r} is a number of seconds above 0, not {shorten(spec.timeout)}")
    tries = spec.try_count
    if tries is not None and not (isinstance(tries, int) and tries >= 1):
        raise Refused(f"try_count of node {id!r} is a number of at least 1, not {shorten(tries)}")
    return NodeDef(
        id=id,
        action=spec.action,
        deps=tuple(dict.fromkeys(deps)),
        inputs=inputs or EMPTY,
        timeout=spec.timeout,
        try_count=tries,
        when=_one_of(When, spec.when, f"when of node {id!r}"),
        on_failure=None
        if spec.on_failure is None
        else _one_of(OnFailure, spec.on_failure, f"on_failure of node {id!r}"),
        failure=spec.failure,
        cache=spec.cache,
        executor=spec.executor,
        ask=spec.ask,
        tags=tuple(spec.tags),
        replaces=spec.replaces,
    )


def _one_of(kind: Any, value: Any, what: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise Refused(f"{what} is {' or '.join(repr(str(k)) for k in kind)}, not {shorten(value)}") from None


def add_handler(s: Scheduler, node: Node) -> None:
    """Add the failure handler of a node that has failed, as `ID.on_failure`; the node waits for it."""
    settings = s.settings.get(node.spec.action)
    action = node.spec.failure or (settings.failure if settings else None)
    if action is None:
        return
    id = f"{node.id}.on_failure"
    if id in s.nodes or action not in s.settings:
        known = "it has run already" if id in s.nodes else f"no action {action!r} is defined"
        s.reject(m.AddNode(NodeSpec(action, id=id)), f"the failure handler of {node.id!r} cannot run: {known}", None)
        return
    inputs = {"error": node.error, "node_id": node.id, "inputs": dict(node.spec.inputs)}
    spec = NodeDef(id=id, action=action, deps=(node.id,), inputs=inputs, on_failure=OnFailure.CONTINUE)
    handler = s.graph.add(spec, frozenset({node.id}))
    s.graph.link(handler)
    s.count[NodeStatus.PENDING] += 1
    s.changed.add(id)
    handler.added_by, handler.depth, handler.guardian = node.id, node.depth, node.id
    node.rescuers.add(id)
    s.emit(m.NodesAdded, (spec,), node.id, node=node)
    s.enroll(handler)


def _set_inputs(s: Scheduler, command: m.SetNodeInputs, context: Context) -> None:
    node = find(s, command.node_id)
    if node.status not in _NOT_STARTED or node.attempt:
        raise Refused(f"node {node.id!r} is {node.status}: inputs are set before a node starts")
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


def _pause(s: Scheduler, command: m.PauseBranch, context: Context) -> None:
    node = find(s, command.branch_id)
    if node.cut:
        raise Refused(f"branch {node.id!r} was cancelled")
    branches.pause(s, node.id, branches.new_pause(s, command, context.by))


def _resume(s: Scheduler, command: m.ResumeBranch, context: Context) -> None:
    find(s, command.branch_id)
    branches.resume(s, command.branch_id, EMPTY, context.by)


def _cancel(s: Scheduler, command: m.CancelBranch, context: Context) -> None:
    node = find(s, command.branch_id)
    branches.cancel(s, node, command.reason, context.by)


def _enable(s: Scheduler, command: m.EnableNodes, context: Context) -> None:
    _set_disabled(s, command.node_ids, False, context)


def _disable(s: Scheduler, command: m.DisableNodes, context: Context) -> None:
    _set_disabled(s, command.node_ids, True, context)


def _set_disabled(s: Scheduler, ids: Any, disabled: bool, context: Context) -> None:
    nodes = [find(s, id) for id in ids]
    for node in nodes:
        if node.final or node.status is NodeStatus.RUNNING:
            verb = "disabled" if disabled else "enabled"
            raise Refused(f"node {node.id!r} is {node.status}: it can no longer be {verb}")
    for node in nodes:
        node.disabled = disabled
        node.cause = context.node.id if disabled and context.node is not None else None
        node.reason = "it was disabled" if disabled else None
        s.changed.add(node.id)


def _retry(s: Scheduler, command: m.RetryNode, context: Context) -> None:
    node = find(s, command.node_id)
    if node.status is not NodeStatus.FAILED:
        raise Refused(f"node {node.id!r} is {node.status}: only a failed node is retried")
    rerun.run_again(s, [node], cascade=True)
    if context.event is not None:
        # a hook that retries for ever is growth of a kind: the same budget ends it
        node.depth += 1
        spending.count_depth(s, node)


def _set_outputs(s: Scheduler, command: m.SetNodeOutputs, context: Context) -> None:
    node = find(s, command.node_id)
    if node.status is not NodeStatus.FAILED and node.status not in _NOT_STARTED:
        raise Refused(f"node {node.id!r} is {node.status}: outputs are given to a failed or a waiting node")
    if not isinstance(command.outputs, Mapping):
        raise Refused(f"outputs are a mapping of names to values, not {shorten(command.outputs)}")
    node.pauses.clear()
    s.recover(node, NodeOutput.ok(dict(command.outputs), recovered=True))


def _emit(s: Scheduler, command: m.EmitEvent, context: Context) -> None:
    if not isinstance(command.name, str) or not command.name:
        raise Refused(f"an event's name is a text, not {shorten(command.name)}")
    node = context.node
    s.emit(m.CustomEvent, command.name, command.data, node.ref if node is not None else None, node=node)


HANDLERS: dict[type, Callable[[Scheduler, Any, Context], None]] = {
    m.AddNode: _add_node,
    m.AddNodes: _add_nodes,
    m.SetNodeInputs: _set_inputs,
    m.PauseBranch: _pause,
    m.ResumeBranch: _resume,
    m.CancelBranch: _cancel,
    m.EnableNodes: _enable,
    m.DisableNodes: _disable,
    m.RetryNode: _retry,
    m.SetNodeOutputs: _set_outputs,
    m.EmitEvent: _emit,
}
