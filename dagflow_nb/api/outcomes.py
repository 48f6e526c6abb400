"""How a run went: its report, and the outputs of its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..actions import InputError
from ..agents.rounds import in_last_round, without_told
from ..core.graph import Node, last_of
from ..core.model import NodeOutput, NodeStatus, Ref, RunStatus, map_refs
from ..errors import ExecutionTimeout, NodeExecutionError, RunCancelled, shorten, tell
from ..runtime.growth import GraphView
from ..runtime.known import Found
from ..runtime.recovery import StoredOutputs
from ..runtime.tracebacks import user_traceback
from ..runtime.values import MapOutputs, MissingReference, Values, returned

if TYPE_CHECKING:
    from .run import Run


_DEEPEST = 20  # maps and sub-workflows in each other, and no further into what actions returned


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """How a run went: counts of nodes by how they ended, and each node's outcome by its id.

    `completed_nodes` counts cached and recovered ones too; `duration` is in seconds.
    """

    run_id: str
    dag_name: str
    status: str
    success: bool
    completed_nodes: int
    failed_nodes: int
    skipped_nodes: int
    node_outcomes: Mapping[str, NodeOutput]
    error: str | None
    duration: float

    def __repr__(self) -> str:
        texts = [f"{field.name}={shorten(getattr(self, field.name), 300)}" for field in fields(self)]
        return f"ExecutionReport({', '.join(texts)})"


def report_of(scheduler: Any) -> ExecutionReport:
    """The report of a run from its scheduler."""
    count = scheduler.count
    started, ended = scheduler.started_at, scheduler.finished_at or scheduler.now
    outcomes = {}
    for node in list(scheduler.nodes.values()):
        if node.outcome is not None:
            outcomes[node.id] = node.outcome
        elif node.status is NodeStatus.FAILED:
            outcomes[node.id] = NodeOutput.failure(node.error or "failed")
    return ExecutionReport(
        run_id=scheduler.run_id,
        dag_name=scheduler.dag_name,
        status=str(scheduler.status),
        success=scheduler.status is RunStatus.COMPLETED,
        completed_nodes=count[NodeStatus.COMPLETED] + count[NodeStatus.CACHED] + count[NodeStatus.RECOVERED],
        failed_nodes=count[NodeStatus.FAILED],
        skipped_nodes=count[NodeStatus.SKIPPED],
        node_outcomes=outcomes,
        error=scheduler.error,
        duration=(ended - started) if started is not None else 0.0,
    )


def result_of(scheduler: Any, values: Values, extra: Mapping[str, Any]) -> Any:
    """What a run's workflow returns; see `Run.result`."""
    graph = GraphView(scheduler, values)

    def find(ref: Ref) -> Any:
        found = values.lookup(in_last_round(ref, graph))
        if not ref.path and isinstance(found, Mapping):
            found = dict(found)
        node = scheduler.nodes.get(ref.target)
        return _plain(found) if node is None or node.is_group else found

    def find_or_none(ref: Ref) -> Any:
        try:
            return find(ref)
        except MissingReference:
            return None

    if extra.get("result") is not None:
        return map_refs(extra["result"], find_or_none)
    # what was there for a failed node is no result: the node has its outputs if it was mended
    nodes = [n for n in list(scheduler.nodes.values()) if n.spec.parent is None and n.rescues is None]
    needed = {dep for node in nodes for dep in node.spec.deps} | set(_needed_heirs(scheduler.nodes))
    leaves = [n for n in nodes if n.id not in needed and n.spec.kind != "branch"]
    found = {}
    for node in without_told(leaves, graph):
        try:
            found[node.id] = find(Ref(node.id))
        except MissingReference:
            found[node.id] = returned(node)
    return next(iter(found.values())) if len(found) == 1 else found


def _needed_heirs(nodes: Mapping[str, Node]) -> Iterator[str]:
    """What stands for nodes that others come after, or a group is made of, and comes before these so."""
    for node in list(nodes.values()):
        if node.heir is None:
            continue
        if node.spec.parent is not None or any(node.id not in nodes[id].met for id in node.dependants):
            yield last_of(node, nodes).id


def _plain(value: Any, above: tuple[int, ...] = ()) -> Any:
    """A value that a map or sub-workflow gathered, with the outputs of its nodes as dicts."""
    if isinstance(value, StoredOutputs | Found | MapOutputs):
        value = dict(value)
    kind = type(value)
    if kind not in (dict, list, tuple) or id(value) in above or len(above) == _DEEPEST:
        return value
    above = (*above, id(value))
    if kind is dict:
        return {key: _plain(one, above) for key, one in value.items()}
    return kind(_plain(one, above) for one in value)


class Outputs(Mapping[str, Mapping[str, Any]]):
    """The outputs of a run's nodes: `run.outputs[node_id][key]`; missing keys say what there is."""

    def __init__(self, nodes: Mapping[str, Any], what: str = "node") -> None:
        self._nodes, self._what = nodes, what

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        node = self._nodes.get(key)
        if node is None:
            raise KeyError(f"no node {key!r}; there are {shorten(list(self._nodes), 400)}")
        if node.outcome is None:
            raise KeyError(f"node {key!r} has no outputs: it is {node.status}")
        return OfNode(key, node.outcome.outputs)

    def __iter__(self) -> Iterator[str]:
        return (node.id for node in list(self._nodes.values()) if node.outcome is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<outputs of {len(self)} nodes: {shorten(list(self), 200)}>"


class OfNode(Mapping[str, Any]):
    """The outputs of one node by name."""

    def __init__(self, id: str, outputs: Mapping[str, Any]) -> None:
        self._id, self._outputs = id, outputs

    def __getitem__(self, key: str) -> Any:
        if key not in self._outputs:
            there = ", ".join(map(repr, self._outputs)) or "nothing"
            raise KeyError(f"node {self._id!r} gave no {key!r}; it gave {there}")
        return self._outputs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __eq__(self, other: object) -> bool:
        return dict(self) == (dict(other) if isinstance(other, Mapping) else other)

    __hash__ = None  # type: ignore[assignment]  # it equals dicts, which have none

    def __repr__(self) -> str:
        return shorten(dict(self), 1000)


def error_of(
    scheduler: Any, exceptions: Mapping[str, BaseException], run: Run | None = None, *, ended: bool = True
) -> BaseException | None:
    """Why a run did not succeed, as the error to raise; None if it did, or may still.

    `exceptions`: those of the actions by node id, for the `__cause__`. `ended`: it is not under way here.
    """
    status, report = scheduler.status, report_of(scheduler)
    if status is RunStatus.CANCELLED:
        why = f": {scheduler.error}" if scheduler.error else ""
        cancelled = RunCancelled(f"run {scheduler.run_id!r} was cancelled{why}", run=run, report=report)
        cancelled.reason = scheduler.error
        return cancelled
    if status is RunStatus.INTERRUPTED and ended:
        return RunCancelled(f"run {scheduler.run_id!r} was interrupted: go on with flow.resume()", run=run)
    by_failure = status is RunStatus.PAUSED and any(p.kind == "failure" for p in scheduler.pauses.values())
    if status is not RunStatus.FAILED and not by_failure:
        return None
    node_id, text = scheduler.error_node, scheduler.error or "the run failed"
    if node_id is None:
        if "timeout_seconds" in text:
            return ExecutionTimeout(f"{text}; go on with flow.resume()", run=run, report=report)
        return NodeExecutionError("", text, run=run, report=report)
    culprit = culprit_of(scheduler, node_id)
    cause = exceptions.get(culprit)
    error = NodeExecutionError(node_id, text, run=run, report=report, **_advice(scheduler, culprit, cause))
    if cause is not None:
        error.__cause__ = cause
        error.action_traceback = user_traceback(cause)
    return error


def _advice(scheduler: Any, culprit: str, cause: BaseException | None) -> dict[str, str]:
    """What to do about a node that failed, where it is not the action that is to be mended."""
    if not isinstance(cause, InputError) or cause.node_id not in scheduler.nodes:
        return {}
    value = scheduler.nodes[cause.node_id].spec.inputs.get(cause.parameter)
    if not isinstance(value, Ref) or value.target != "inputs" or not value.path:
        return {}
    name = str(value.path[0])
    start = f"flow.run({scheduler.dag_name!r}, {name}=...)"
    return {"advice": f"start again with {start}, or with flow.fork(inputs={{{name!r}: ...}})"}


def culprit_of(scheduler: Any, id: str) -> str:
    """The node inside a group because of which the group failed."""
    node = scheduler.nodes[id]
    while node.is_group:
        ended = [last_of(scheduler.nodes[id], scheduler.nodes) for id in node.children]
        failed = next((child for child in ended if child.status is NodeStatus.FAILED), None)
        if failed is None:
            break
        node = failed
    return str(node.id)


def left(interrupt: BaseException, run_id: str) -> BaseException:
    """An interrupt of who waits for a run, which does not hear of it: it says so."""
    return tell(interrupt, f"run {run_id} goes on: run.wait() waits again, run.cancel() ends it")
