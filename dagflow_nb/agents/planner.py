"""`Planner`: the hook that turns what an action returns into nodes, and asks it again once these have ended.

Nothing that counts is kept here: which rounds there were, and what came of them, is read from the graph each
time, so that a run goes on rightly in another process, after a retry and in a fork. A round is a planner's
node with what was added in answer to its end (its steps); the next round's node is what is added in answer to
a step's end (or, where the plan was refused, to the planner's own) with an input `history`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..actions import HISTORY, ActionRegistry
from ..core.graph import Node
from ..core.messages import (
    AddNodes,
    BranchResumed,
    CustomEvent,
    EmitEvent,
    NodeCancelled,
    NodeCompleted,
    NodeFailed,
    NodeSkipped,
    ResumeBranch,
    SetNodeOutputs,
)
from ..core.model import NodeDef, NodeStatus, When
from ..errors import DagError, ValidationError
from ..hooks import EventHook, HookContext, SomeFailed
from ..hooks.calling import caller
from .gate import PLAN, asking, json_of, question_of
from .history import entries, is_call, is_told, refused
from .plan import Plan
from .plan_schema import GIVE_UP
from .reading import read_plan_of
from .rounds import Rounds, hook_name
from .steps import check_plan

KINDS = (NodeCompleted, NodeFailed, NodeSkipped, NodeCancelled, BranchResumed, CustomEvent)
REPLAN = "replan"  # the event that a step has failed for good: what depends on it has been skipped
MOST_REFUSED = 3
"""How many plans in a row may be wrong; the next one is the last."""
_ENDED_WITH = ("run", "deadline")  # the causes of a cancellation that ends the run


def planner_gave_up(error: str) -> None:
    """Fails: a planner has given one wrong plan after the other, or it has failed itself."""
    raise ValidationError(error, culprit="plan")


class Planner(EventHook):
    """Turns what `action` returns into nodes; see `DagFlow.planner`."""

    def __init__(
        self,
        action: str,
        registry: Callable[[], ActionRegistry],
        until: Callable[[Any], Any] | None,
        gate: bool,
    ) -> None:
        self.action, self._registry, self.gate = action, registry, gate
        self._until = None if until is None else caller(until)  # the user's: it must not hold the loop
        self.__name__ = hook_name(action)
        self._open: dict[tuple[str, str], list[str]] = {}  # what may go on of rounds, to look at few steps

    def __repr__(self) -> str:
        return f"<planner of {self.action!r}{', with a gate' if self.gate else ''}>"

    async def handle(self, ctx: HookContext, event: Any) -> list[Any]:
        """What is to be added about an event, if anything."""
        rounds = Rounds(self.action, ctx.graph)
        if isinstance(event, BranchResumed):
            node = rounds.node(event.branch_id)
        else:
            node = rounds.node(event.node.node_id) if event.node is not None else None
        if node is None or node.cause in _ENDED_WITH or not rounds.concern(node):
            return []
        try:
            return await self._answer(ctx.run_id, rounds, node, event)
        except Exception as error:
            raise SomeFailed(
                self._stopped(rounds, node, event, error), [(f"after {node.id!r}", error)]
            ) from None

    async def _answer(self, run_id: str, rounds: Rounds, node: Node, event: Any) -> list[Any]:
        if isinstance(event, BranchResumed):
            if node.id in node.pauses or not self.is_open(rounds, node):
                return []
            # what was approved is added; a branch that somebody had paused just goes on
            is_next = PLAN in event.answers or not await self._is_done(node)
            return self._decided(rounds, node, event) if is_next else []
        if isinstance(event, CustomEvent):
            return self._ended(run_id, rounds, node, event) if event.name == REPLAN else []
        if rounds.is_own(node):
            ended = isinstance(event, NodeCompleted) and event.outcome.success
            is_next = ended and not rounds.grown(node) and not await self._is_done(node)
            return self._planned(rounds, node) if is_next else []
        return self._ended(run_id, rounds, node, event)

    def is_open(self, rounds: Rounds, node: Node) -> bool:
        """Whether this is a planner's node that has ended well and of whose plan nothing was added yet."""
        done = node.outcome is not None and node.outcome.success and node.final and not node.cut
        return done and rounds.is_own(node) and not rounds.grown(node)

    async def _is_done(self, node: Node) -> bool:
        assert node.outcome is not None
        return self._until is not None and bool(await self._until(node.outcome.outputs))

    def _planned(self, rounds: Rounds, node: Node) -> list[Any]:
        """A planner's node has given a plan, a wrong one, or none."""
        try:
            plan = self.plan_of(rounds, node)
            commands = self.checked(rounds, node, plan) if plan else []
        except DagError as wrong:
            return self._refused(rounds, node, str(wrong))
        if not commands or not self.gate:
            return commands
        # somebody may have paused this very branch: now it waits for an answer
        first = [ResumeBranch(node.id)] if node.id in node.pauses else []
        return [*first, *asking(node, plan, question_of(plan))]

    def plan_of(self, rounds: Rounds, node: Node) -> Plan:
        """What the planner's node proposes; `ValidationError` where it is wrong."""
        assert node.outcome is not None
        return read_plan_of(node.outcome, _offered(self._registry(), self.action), rounds.graph.nodes)

    def checked(self, rounds: Rounds, node: Node, plan: Plan) -> list[AddNodes]:
        """The command that adds a plan; `ValidationError` where the run would refuse it."""
        for step in plan.steps.values():
            if step.action in (self.action, GIVE_UP):
                raise ValidationError(
                    f"step {step.id!r}: {step.action!r} is of the planner, which is asked again by itself "
                    f"once the steps have ended: leave this step out",
                    culprit=step.id,
                )
        command = replace(plan.command_in(rounds.graph, root=node.id), holds=node.id)
        problem = rounds.graph.problem(command, node.id)
        if problem is not None:
            raise ValidationError(problem, culprit=node.id)
        return [command]

    def _decided(self, rounds: Rounds, node: Node, event: BranchResumed) -> list[Any]:
        """Somebody has approved the proposal, perhaps with another plan in its place."""
        try:
            return self.decided(rounds, node, event.answers.get(PLAN))
        except DagError as wrong:
            return asking(node, self.readable(rounds, node), str(wrong))

    def decided(self, rounds: Rounds, node: Node, given: Any) -> list[AddNodes]:
        """What adds the proposal, or what was `given` in its place: a `Plan`, or its JSON.

        `ValidationError` where that is wrong, or the proposal cannot be added any more.
        """
        proposed = self.readable(rounds, node) if given is not None else self.plan_of(rounds, node)
        if given is None or (proposed is not None and given == json_of(proposed)):
            plan = proposed
        elif isinstance(given, Plan):
            plan = check_plan(given, self._registry())
        else:
            plan = Plan.from_json(given, self._registry(), nodes=rounds.graph.nodes)
        return [] if plan is None or not (plan or plan.problem) else self.checked(rounds, node, plan)

    def readable(self, rounds: Rounds, node: Node) -> Plan | None:
        """What is proposed; None where that cannot be read any more, as its actions have changed."""
        try:
            return self.plan_of(rounds, node)
        except Exception:  # it is told when somebody approves it
            return None

    def _stopped(self, rounds: Rounds, node: Node, event: Any, error: Exception) -> list[Any]:
        """The planner itself has failed: the run does not end as if its agent had come to an end."""
        why = f"{type(error).__name__}: {error}"
        if isinstance(event, BranchResumed):
            return asking(node, self.readable(rounds, node), f"the planner failed: {why}")
        planner = node if rounds.is_own(node) else rounds.planner_of(node) or rounds.mended_in(node)
        if planner is None or rounds.next(planner) is not None:
            return []
        text = (
            f"the planner of {self.action!r} failed after {node.id!r} ({why}): mend it (until=, or what the "
            f"action gives), define it again with flow.planner(), then go on with "
            f"flow.retry(node={planner.id!r})"
        )
        return [self._give_up(rounds, planner, text)]

    def _refused(self, rounds: Rounds, node: Node, error: str) -> list[Any]:
        """The plan is wrong: the action is told so, but not for ever."""
        told = rounds.history(node, refused(node, error))
        in_row = 1
        for earlier in rounds.before(node):
            if rounds.steps(earlier):
                break
            in_row += 1
        if in_row <= MOST_REFUSED:
            return [self._again(rounds, node, [node], told)]
        text = (
            f"{node.id!r} gave a wrong plan, the {in_row}th in a row: {error} "
            f"(mend its action, then go on with flow.retry(node={node.id!r}))"
        )
        return [self._give_up(rounds, node, text)]

    def _give_up(self, rounds: Rounds, node: Node, text: str) -> AddNodes:
        """The node that fails in the place of the next round's."""
        id, name = rounds.next_id(node)
        spec = NodeDef(id=id, action=GIVE_UP, deps=(node.id,), inputs={"error": text}, try_count=1)
        return AddNodes([spec], free={id: name}, holds=node.id, heir=True)

    def _ended(self, run_id: str, rounds: Rounds, node: Node, event: Any) -> list[Any]:
        """A step has ended, or what was to mend it: the next round begins once all have, or one failed."""
        planner = rounds.planner_of(node) or rounds.mended_in(node)
        if planner is None or planner.cut or self._is_waited_for(run_id, rounds, planner, node, event):
            return []
        if rounds.next(planner) is not None:
            return []
        steps = rounds.steps(planner)
        # of what ended after this event its own event tells: what is added in answer to which is no chance
        over = [one for one in steps if rounds.is_over(one, event) and is_told(one, event)]
        if calls := [one for one in over if one.status is NodeStatus.FAILED and is_call(one.spec)]:
            # what went wrong is the call's answer: models are told so, and mend it themselves
            return [SetNodeOutputs(one.id, {"error": one.error}) for one in calls]
        failed = [one.id for one in over if one.status is NodeStatus.FAILED]
        if failed and not isinstance(event, CustomEvent):
            # first what the failure means for the rest takes its course
            return [EmitEvent(REPLAN, {"planner": planner.id, "failed": failed})]
        if not failed and len(over) < len(steps):
            return []
        self._open.pop((run_id, planner.id), None)
        told = rounds.history(planner, entries(planner, steps, event))
        return [self._again(rounds, planner, over, told)]

    def _is_waited_for(self, run_id: str, rounds: Rounds, planner: Node, node: Node, event: Any) -> bool:
        """Whether a step has ended well while another one of its round has not, by a look at few of them.

        What is kept are the steps that have not been seen to end: each is looked at once, so that the ends of
        many cost no look at all of them each time. A round whose steps run again is looked at as a whole.
        """
        if node.status is NodeStatus.FAILED or rounds.planner_of(node) is not planner:
            return False
        key = (run_id, planner.id)
        if key not in self._open:
            self._open[key] = [one.id for one in rounds.steps(planner)]
        left = self._open[key]
        while left:
            one = rounds.node(left[-1])
            if one is not None and rounds.planner_of(one) is planner and not is_told(one, event):
                return True
            left.pop()
        del self._open[key]
        return False

    def _again(self, rounds: Rounds, node: Node, after: list[Node], history: Any) -> AddNodes:
        """What adds the node of the next round, set as the one before."""
        inputs = {**rounds.graph.inputs(node.id), HISTORY: history}
        id, name = rounds.next_id(node)
        spec = replace(
            node.spec,
            id=id,
            deps=tuple(one.id for one in after),
            inputs=inputs,
            when=When.ALL_DONE,
            replaces=None,
            parent=None,
            item=None,
        )
        return AddNodes([spec], free={id: name}, holds=node.id, heir=True)


def _offered(registry: ActionRegistry, planner: str) -> ActionRegistry:
    """The actions that a planner may use: the tools that its model is offered, if it is, else all."""
    offers = getattr(getattr(registry.get(planner), "action", None), "offers", None)
    if offers is None:
        return registry
    known = ActionRegistry()
    for name in offers:
        known.register(registry.need(name))
    return known
