"""`Rounds`: what the graph of a run says of a planner's rounds.

A round is a planner's node with what was added in answer to its end (its steps); the next round's node is
what is added in answer to a step's end (or, where the plan was refused, to the planner's own) with an input
`history`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..actions import HISTORY
from ..core.graph import Node
from ..core.model import Extended, NodeStatus, Ref
from ..errors import InvalidState
from .gate import asks_for_plan
from .history import entries
from .plan_schema import GIVE_UP

_HOOK = "planner "


def hook_name(action: str) -> str:
    """What the planner of an action is called among the hooks."""
    return f"{_HOOK}{action!r}"


def in_last_round(ref: Ref, graph: Any) -> Ref:
    """Where a reference to a planner's node leads once it has been asked again: to its latest round."""
    if ref.target not in graph:
        return ref
    node = graph.node(ref.target)
    rounds = Rounds(node.spec.action, graph)
    while (later := rounds.next(node)) is not None:
        node = later
    return Ref(node.id, ref.path)


def without_told(leaves: Iterable[Node], graph: Any) -> list[Node]:
    """These nodes without the steps of planners that have been asked again since, and told of them."""
    asked_again: dict[str, bool] = {}

    def is_told(node: Node) -> bool:
        if node.by is None or node.added_by not in graph:
            return False
        rounds = Rounds(graph.node(node.added_by).spec.action, graph)
        planner = rounds.planner_of(node)
        if planner is None:
            return False
        if planner.id not in asked_again:
            asked_again[planner.id] = rounds.next(planner) is not None
        return asked_again[planner.id]

    return [node for node in leaves if not is_told(node)]


def need_planners(scheduler: Any, hooks: Iterable[str], anew: Iterable[Node] = ()) -> None:
    """`InvalidState` where the rounds of a run go on by a planner that is not among these hooks.

    `anew`: nodes that are final, or were there, and are to run or to be added again.
    """
    known = set(hooks)
    missing = {pause.by: id for id, pause in scheduler.pauses.items() if asks_for_plan(pause.form)}
    open_ = (n for n in scheduler.nodes.values() if not n.final or n.ended in scheduler.asks)
    for node in (*open_, *anew):
        missing.setdefault(node.by, node.id)
    for by, id in missing.items():
        if by is not None and by not in known and by.startswith(_HOOK):
            action = by.removeprefix(_HOOK)
            raise InvalidState(
                f"the planner of {action} is not defined here, and without it nothing follows {id!r}: run "
                f"flow.planner({action}, ...) as it was, then go on",
                culprit=action.strip("'"),
            )


class Rounds:
    """What the graph of a run says of a planner's rounds."""

    def __init__(self, action: str, graph: Any) -> None:
        self.action, self.graph, self.name = action, graph, hook_name(action)

    def node(self, id: str | None) -> Node | None:
        """The node of that id, None where there is none (any more)."""
        found: Node | None = self.graph.node(id) if id is not None and id in self.graph else None
        return found

    def is_own(self, node: Node) -> bool:
        """Whether it is a planner's node, of any round."""
        return bool(node.spec.action == self.action and node.spec.kind == "action")

    def concern(self, node: Node) -> bool:
        """Whether a node has to do with these rounds: a planner's, a step, or what was to mend one."""
        return self.is_own(node) or (self.planner_of(node) or self.mended_in(node)) is not None

    def grown(self, node: Node) -> list[Node]:
        """What this planner has added in answer to a node's events."""
        found = [self.graph.node(id) for id in self.graph.grown(node.id)]
        return [other for other in found if other.by == self.name and other.spec.parent is None]

    def steps(self, planner: Node) -> list[Node]:
        """The steps of a round."""
        return [node for node in self.grown(planner) if not self._goes_on(node)]

    def _goes_on(self, node: Node) -> bool:
        """Whether what a planner added begins a round that is not the first, and is no step."""
        return node.spec.action == GIVE_UP or (self.is_own(node) and HISTORY in node.spec.inputs)

    def next(self, planner: Node) -> Node | None:
        """The planner's node of the round after this one; None where that has not begun."""
        sources = [planner]
        for step in self.steps(planner):
            menders = [self.graph.node(id) for id in self.graph.grown(step.id)]
            sources += [step, *(node for node in menders if node.rescues == step.id)]
        grown = (node for source in sources for node in self.grown(source))
        return next((node for node in grown if self._goes_on(node)), None)

    def planner_of(self, step: Node) -> Node | None:
        """The planner's node in whose round a step is; None for no step."""
        found = self.node(step.added_by) if step.by == self.name and not self._goes_on(step) else None
        return found if found is not None and self.is_own(found) else None

    def mended_in(self, node: Node) -> Node | None:
        """The planner's node in whose round the step is that this node was made to mend."""
        step = self.node(node.rescues)
        return self.planner_of(step) if step is not None else None

    def before(self, planner: Node) -> Iterator[Node]:
        """The planner's nodes of the rounds before this one, the latest first."""
        node: Node | None = planner
        while node is not None and node.by == self.name:
            source = self.node(node.added_by)
            if source is not None and not self.is_own(source):
                source = self.planner_of(source) or self.mended_in(source)
            if source is None:
                return
            yield source
            node = source

    def history(self, planner: Node, more: Iterable[Any]) -> Any:
        """What the next round is told: what this one was, as it is by now, and more.

        What an earlier round was told is not repeated, but referred to, as far as it has not changed since.
        """
        told: Any = list(more)
        parts, node, value = [told], planner, planner.spec.inputs.get(HISTORY)
        if not isinstance(value, Extended | list | tuple):
            return told
        told = Extended(Ref(f"{node.id}/inputs", (HISTORY,)), tuple(told))
        while isinstance(value, Extended | list | tuple):
            was = value.more if isinstance(value, Extended) else value
            now = [self._as_it_is(entry) for entry in was]
            parts.append(now)
            before = value.before if isinstance(value, Extended) else None
            if any(a is not b for a, b in zip(now, was, strict=True)):
                said = [entry for part in reversed(parts) for entry in part]
                told = said if before is None else Extended(before, tuple(said))
            found = self.node(before.target.removesuffix("/inputs")) if before is not None else None
            value = found.spec.inputs.get(HISTORY) if found is not None else None
        return told

    def _as_it_is(self, entry: Any) -> Any:
        """A step that had not ended when it was told of may have since."""
        if isinstance(entry, dict) and "outputs" not in entry and "error" not in entry:
            node = self.node(entry.get("id"))
            if node is not None and (now := entries(self.planner_of(node), [node])[0]) != entry:
                return now
        return entry

    def next_id(self, planner: Node) -> tuple[str, str]:
        """The id of the next round's node, and the first round's, which it is with a number."""
        first, number = planner.id, 1
        if planner.by == self.name and self._goes_on(planner):
            first, _, counted = planner.id.rpartition("_")
            number = int(counted)
        number += 1
        while f"{first}_{number}" in self.graph:  # a step may be called so
            number += 1
        return f"{first}_{number}", first

    def is_over(self, step: Node, event: Any) -> bool:
        """Whether nothing more comes of a step: it has ended, and nobody is about to mend it."""
        if step.status is not NodeStatus.FAILED:
            return step.final
        now = event.node.node_id
        waiting = step.rescuers - {now}
        if waiting:
            return False
        if now in step.rescuers:  # the last one that might mend it has just ended
            outcome = getattr(event, "outcome", None)
            if outcome is None or not outcome.success:
                return True
            return not (self.graph.node(now).spec.replaces == step.id or outcome.recovered)
        return step.handled or not self.graph.has_handler(step.id)
