"""Plans that wait for a person: which there are, what they may take, and what is put in their place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..core.model import NodeDef
from ..errors import DagError, InvalidState, ValidationError
from ..hooks import Hook
from ..runtime.growth import GraphView
from .gate import asks_for_plan
from .plan import Estimate, Plan
from .planner import Planner
from .rounds import Rounds

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..core.graph import Node


class Proposals:
    """The plans of a run that wait to be approved, by the ids of their planner's nodes."""

    def __init__(self, scheduler: Any, values: Any, hooks: Iterable[Hook], actions: Iterable[str]) -> None:
        view = GraphView(scheduler, values, actions=actions)
        planners = {hook.target.action: hook.target for hook in hooks if isinstance(hook.target, Planner)}
        self._open: dict[str, tuple[Planner, Rounds, Node]] = {}
        for id, pause in list(scheduler.pauses.items()) if planners else ():
            node = scheduler.nodes.get(id)
            planner = planners.get(node.spec.action) if node is not None else None
            if node is None or planner is None or not asks_for_plan(pause.form):
                continue
            rounds = Rounds(planner.action, view)
            if planner.is_open(rounds, node):
                self._open[id] = (planner, rounds, node)

    def __iter__(self) -> Any:
        return iter(self._open)

    def plan(self, id: str) -> Plan:
        """What is proposed; a plan without steps, with what is wrong, where that cannot be read any more."""
        planner, rounds, node = self._open[id]
        try:
            return planner.plan_of(rounds, node)
        except Exception as wrong:
            return Plan.unreadable(str(wrong))

    def only(self, run_id: str) -> str:
        """The one that waits; `InvalidState` where it is none, or several."""
        if len(self._open) != 1:
            names = ", ".join(map(repr, self._open)) or "none"
            raise InvalidState(
                f"{len(self._open)} plans wait to be approved ({names}): "
                + (
                    "name one with branch=..."
                    if self._open
                    else "there is nothing to put another plan in place of"
                ),
                culprit=run_id,
            )
        return next(iter(self._open))

    def checked(self, branch: str | None, answers: Mapping[str, Any]) -> dict[str, Any]:
        """The answers, after a look at the plan among them that is to take a proposal's place.

        `ValidationError` for one that is wrong, and for a proposal that cannot be added any more.
        """
        given, approved = answers.get("plan"), answers.get("approved")
        for id in self._open if branch is None else [branch]:
            if id not in self._open or approved is False:
                continue
            if branch is None and given is None and approved is None:
                continue  # the proposal waits on
            planner, rounds, node = self._open[id]
            try:
                planner.decided(rounds, node, given)
            except DagError as wrong:
                text = str(wrong)
                if given is None:
                    text = (
                        f"what {id!r} proposes cannot be added any more: {text} "
                        f"(give another plan, run.approve({id!r}, plan=...), or run.reject({id!r}))"
                    )
                raise ValidationError(text, culprit="plan", fields={"plan": text}) from None
        return dict(answers)


def estimate(plan: Plan, metrics: DataFrame) -> Estimate:
    """What a plan may take, by `flow.metrics()`: median times along its longest chain, mean usage."""
    known = {row["action"]: row for row in metrics.to_dict("records") if row["runs"]}
    ends: dict[str, float] = {}
    tokens = cost = 0.0
    left = dict(plan.steps)
    while left:
        ready = [id for id, step in left.items() if not any(dep in left for dep in step.deps)]
        for id in ready or list(left):  # those of a cycle are refused where they are added
            step = left.pop(id)
            row = known.get(step.action)
            median = row["median_duration"] if row is not None else None
            begin = max((ends[dep] for dep in step.deps if dep in ends), default=0.0)
            items = _items(step)
            turns = math.ceil(items / step.limit) if step.limit else min(items, 1)
            ends[id] = begin + (median if median is not None and median == median else 0.0) * turns
            if row is not None:
                tokens += row["tokens"] / row["runs"] * items
                cost += row["cost"] / row["runs"] * items
    unknown = tuple(dict.fromkeys(step.action for step in plan.steps.values() if step.action not in known))
    if len(unknown) == len({step.action for step in plan.steps.values()}):
        return Estimate(unknown=unknown)
    return Estimate(max(ends.values(), default=0.0), tokens, cost, unknown)


def _items(step: NodeDef) -> int:
    """How often a step's action runs, as far as that is known: a list that a node will give counts as one."""
    if step.kind != "map":
        return 1
    over = step.over
    if isinstance(over, Mapping):
        return math.prod(len(items) if isinstance(items, list | tuple) else 1 for items in over.values())
    return len(over) if isinstance(over, list | tuple) else 1
