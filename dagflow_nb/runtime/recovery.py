"""A run out of the database: its journal replayed into a fresh scheduler, its values read on demand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..actions import FunctionAction
from ..codec import Codec, MissingValue, load_defs, load_input
from ..core import messages as m
from ..core.graph import Node, last_of, seen_by
from ..core.model import SUCCESS_STATES, NodeStatus, iter_refs, whole
from ..core.scheduler import Scheduler
from ..errors import DatabaseError
from ..store import Kept, StoredRun
from ..workflow.flatten import instantiate
from .values import MissingReference, Values, gap_in

Recall = Callable[[str, str, str], Any]


class StoredOutputs(Mapping[str, Any]):
    """Values of one namespace as they were stored: decoded when they are looked at, and kept then."""

    def __init__(
        self,
        codec: Codec,
        rows: Mapping[str, Any],
        recall: Callable[[str], Any],
        fetch: Callable[[Kept], bytearray],
    ) -> None:
        self._codec, self._rows, self._recall, self._fetch = codec, rows, recall, fetch
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            codec, data, reason = self._rows[key]
            if codec == "memory":
                value = self._recall(key)
                self._values[key] = (
                    MissingValue(reason or "it was never stored", "") if value is None else value
                )
            else:
                self._values[key] = self._codec.decode(
                    codec, self._fetch(data) if type(data) is Kept else data
                )
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def is_stored(self, key: str) -> bool:
        """Whether the value of this key is in the database."""
        return bool(self._rows[key][0] != "memory")

    def lost(self) -> list[str]:
        """Keys whose values were never stored and are not in this process either."""
        return [k for k, row in self._rows.items() if row[0] == "memory" and self._recall(k) is None]

    def __repr__(self) -> str:
        return f"<stored values: {', '.join(self._rows)}>"


@dataclass(slots=True)
class Loaded:
    """A run as it was left.

    `taken`: how many inputs its journal has; `extra`: what the flow stored beside it; `started`: the last
    attempt of each node that began, and when.
    """

    scheduler: Scheduler
    values: Values
    row: dict[str, Any]
    taken: int
    extra: dict[str, Any]
    inputs: Mapping[str, Any]
    namespaces: dict[str, Mapping[str, Any]]
    started: dict[str, tuple[int, float]]


def replay(
    stored: StoredRun,
    codec: Codec,
    recall: Recall,
    *,
    until: int | None = None,
    watch: Callable[[Scheduler, m.Input, list[m.Effect]], None] | None = None,
) -> Loaded:
    """Bring a stored run back to the state in which it was last written; raises `DatabaseError`.

    `until`: only up to the input that brought the event of this number. The values are the latest ones
    all the same: see `runtime.forking` for what that means. `watch` is told each input and its effects.
    """
    row = stored.row
    run_id = row["run_id"]
    if stored.tree is None:
        raise DatabaseError(
            f"run {run_id!r} has no nodes in the database: it was not written by this package"
        )
    asked: set[int] = set()
    started: dict[str, tuple[int, float]] = {}
    scheduler = Scheduler(
        row["dag_name"], run_id, load_defs(codec, stored.tree), listens=lambda event: event.seq in asked
    )
    taken = 0
    for n, data, text in stored.journal:
        if until is not None and scheduler.seq >= until:
            break
        taken = n
        asked.clear()
        if text:
            asked.update(map(int, text.split(",")))
        message: Any = load_input(codec, data)
        if type(message) is m.GroupOpened and message.count and message.error is None:
            spec = scheduler.nodes[message.node_id].spec
            children = tuple(child for i in range(message.count) for child in instantiate(spec, i))
            message = replace(message, children=children)
        effects = scheduler.handle(message)
        if watch is not None:
            watch(scheduler, message, effects)
        for effect in effects:
            if type(effect) is m.StartAttempt:
                started[effect.node_id] = (effect.attempt, scheduler.now)
    scheduler.asked.clear()
    scheduler.changed.clear()
    namespaces = _namespaces(stored, codec, recall)
    inputs = namespaces.get("inputs", {})
    extra = codec.loads(row["extra"]) if row.get("extra") else {}
    values = Values(scheduler.nodes, inputs, stored=True)
    # children stand after their group: its outcome is made of theirs
    for node in reversed(scheduler.nodes.values()):
        if node.outcome is None:
            continue
        if node.is_group and node.status is NodeStatus.COMPLETED:
            with contextlib.suppress(MissingReference):  # of a run whose values were deleted
                node.outcome = values.close(node)
        else:
            outputs = namespaces.get(node.id, {})
            if node.outcome.returned == "tuple":  # of which some may have been stored by hand since
                outputs = {k: outputs[k] for k in (*(node.spec.outputs or ()), *outputs) if k in outputs}
            node.outcome = replace(node.outcome, outputs=outputs)
    for seq, ask in scheduler.asks.items():
        about = scheduler.nodes.get(ask.node_id) if ask.node_id is not None else None
        if type(ask.event) is m.NodeCompleted and about is not None and about.ended == seq and about.outcome:
            # hooks that had not answered are asked again, and look at the outputs
            scheduler.asks[seq] = replace(ask, event=replace(ask.event, outcome=about.outcome))
    return Loaded(scheduler, values, row, taken, extra, inputs, namespaces, started)


def _namespaces(stored: StoredRun, codec: Codec, recall: Recall) -> dict[str, Mapping[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for namespace, key, kind, data, _, reason, _ in stored.artifacts:
        rows.setdefault(namespace, {})[key] = (kind, data, reason)
    run_id = stored.row["run_id"]
    return {
        namespace: StoredOutputs(
            codec,
            found,
            lambda key, ns=namespace: recall(run_id, ns, key),  # type: ignore[misc]  # the default binds the loop's variable
            stored.fetch,
        )
        for namespace, found in rows.items()
    }


def lost_nodes(loaded: Loaded, then: Iterable[m.Input] = ()) -> tuple[str, ...]:
    """Finished nodes that have to run again: an output that is still needed was never stored.

    Needed is what has not ended, and what the inputs `then` will run again. Goes back along the edges: a
    node that runs again needs its own inputs.
    """
    nodes = loaded.scheduler.nodes
    if not any(_lacks(node, None, nodes) for node in nodes.values() if not node.is_group):
        return ()
    again: set[str] = set()
    stack = _to_run(loaded.scheduler, then)
    while stack:
        node = stack.pop()
        for id, key in _needs(node, nodes):
            other = nodes[id]
            if other.final and id not in again and _lacks(other, key, nodes):
                again.add(id)
                stack.append(other)
    # a node that is run again by name has to have ended until then
    again -= {message.node_id for message in then if isinstance(message, m.RetryNodes)}
    return tuple(sorted(again, key=lambda id: nodes[id].position))


def _to_run(scheduler: Scheduler, then: Iterable[m.Input]) -> list[Node]:
    """What has not ended, and what these inputs will run again."""
    found = [node for node in scheduler.nodes.values() if not node.final]
    for message in then:
        if isinstance(message, m.RetryNodes):
            found += _run_again(scheduler, message.node_id)
        elif isinstance(message, m.Resume):
            found += [scheduler.nodes[id] for id in scheduler.held]
    return found


def unanswered(
    loaded: Loaded, then: Iterable[m.Input], lost: Iterable[str], actions: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Nodes that are to run and lack an answer that was never stored (a secret), with the answers' names.

    Those that come after such a node get the answer together with it.
    """
    scheduler = loaded.scheduler
    if not any(node.human for node in scheduler.nodes.values()):
        return {}
    again = {node.id for node in [*_to_run(scheduler, then), *(scheduler.nodes[id] for id in lost)]}
    found: dict[str, tuple[str, ...]] = {}
    told: set[str] = set()
    for node in scheduler.graph.in_order():
        if node.id not in again or node.id in told or not (node.answered or reads_answers(node, actions)):
            continue
        names = tuple(name for name, value in (node.human or {}).items() if gap_in(value) is not None)
        if names:
            found[node.id] = names
            told.update(other.id for other in scheduler.graph.branch(node.id))
    return found


def reads_answers(node: Node, actions: Mapping[str, Any]) -> bool:
    """Whether a node's action is given what a person answered before it; a function that names it is."""
    action = actions.get(node.spec.action)
    if node.is_group or action is None:
        return False
    return not isinstance(action, FunctionAction) or action.takes("human_input")


def _lacks(node: Node, key: str | None, nodes: Mapping[str, Node]) -> bool:
    """Whether this output of a node (None: any) is lost; of a map: of one of its items."""
    if node.is_group:
        inner = key if node.spec.kind == "map" else None
        return any(_lacks(last_of(nodes[id], nodes), inner, nodes) for id in node.children)
    outputs = node.outcome.outputs if node.outcome is not None else None
    lost = outputs.lost() if isinstance(outputs, StoredOutputs) else ()
    return bool(lost) if key is None else key in lost


def _run_again(scheduler: Scheduler, node_id: str | None) -> list[Node]:
    if node_id is None:
        return [node for node in scheduler.nodes.values() if node.status not in SUCCESS_STATES]
    return list(scheduler.graph.branch(node_id)) if node_id in scheduler.nodes else []


def _needs(node: Node, nodes: Mapping[str, Node]) -> set[tuple[str, str | None]]:
    """The outputs that a node needs, as (node id, key or None for all); a group needs its children's."""
    spec = node.spec
    values = [whole(spec.inputs, nodes), spec.over, spec.result if spec.kind == "workflow" else None]
    found: set[tuple[str, str | None]] = set()
    for ref in (ref for value in values for ref in iter_refs(value)):
        first = ref.path[0] if ref.path else None
        target = nodes.get(ref.target)
        id = ref.target.removesuffix("/inputs") if target is None else seen_by(node, target, nodes).id
        found.add((id, first if isinstance(first, str) else None))
    if node.is_group:
        found.update((last_of(nodes[id], nodes).id, None) for id in node.children)
    return {(id, key) for id, key in found if id in nodes}
