"""A recorded run played again: hooks and planner for real, actions by what they gave when it was recorded."""

from __future__ import annotations

import asyncio
import difflib
import heapq
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..actions import NodeAction, NodeCtx, PreparedAction
from ..api.flow import DagFlow
from ..api.run import Run
from ..clock import Handle
from ..codec import MissingValue
from ..core import messages as m
from ..core.graph import Node
from ..core.model import NodeOutput, RunStatus
from ..errors import DagError, DagNotFound, did_you_mean
from ..runtime.attempts import Result, Talk
from ..runtime.coordinator import RunCoordinator
from ..runtime.executors import Executors
from ..runtime.memo import Memo
from . import fixtures


class PlanChanged(DagError, AssertionError):
    """The replayed run is not the recorded one; `diff` is how they differ, line by line, `run` the replay."""

    def __init__(self, message: str, diff: str, run: Run) -> None:
        self.diff, self.run = diff, run
        super().__init__(f"{message}\n{diff}")


class Recorded(Exception):  # it stands for exceptions of any name
    """An exception that an action had raised when the run was recorded."""


class NotRecorded(Exception):  # what it says is told by PlanChanged
    """An attempt was started of which nothing was recorded."""


def replay(flow: DagFlow, path: str | Path) -> Run:
    """Play a run that `run.to_fixture(path)` recorded, with the workflow and hooks of `flow` as they are now.

    No action is executed: attempts end as they did, in the same order, at the same times of a clock of its
    own; nothing waits. Hooks and planner are asked for real. The run is made in a database in memory; that
    of `flow` is not touched. Returns it if its plan (nodes, edges, inputs, how nodes ended) is the recorded
    one, else raises `PlanChanged`, an `AssertionError` that shows the difference line by line. A file that
    is no fixture is a `ValidationError`, a workflow that `flow` does not have `DagNotFound`.

        def test_the_plan_is_as_it_was():
            run = replay(flow, "tests/fixtures/pipeline.json")
            assert run.success
    """
    fixture = fixtures.read(path)
    name = fixture["workflow"]
    theirs = flow._session
    if name not in theirs.workflows:
        text = f"no workflow {name!r} to replay: {did_you_mean(name, theirs.workflows)}"
        way_out = "the graph and the hooks are those of the flow: add the workflow and define the hooks first"
        raise DagNotFound(name, message=f"{text} ({way_out})")
    inner = DagFlow(":memory:", config=theirs.config, registry=theirs.registry, echo=False)
    session, codec = inner._session, theirs.codec
    session.hooks, session.app_data, session.codec = theirs.hooks.copy(), theirs.app_data, codec
    session.workflows, session.executors = dict(theirs.workflows), _NoExecutors()
    player = Player(inner, [_step(codec, step) for step in fixture["steps"]])
    inputs = {name: _value(codec, value) for name, value in fixture["inputs"].items()}
    config = fixtures.valued(codec, fixture.get("config", {}))
    prepared = session.prepare(name, inputs, config={**config, "durability": "async"}, check_inputs=False)
    prepared.inputs = inputs
    run_id = inner._engine.call(player.play(prepared))
    run = inner._keep(inner._run_of(run_id))
    then, now = (
        [f"run: {status}", *fixtures.lines(plan)]
        for status, plan in (
            (fixture["status"], fixture["plan"]),
            (str(run.status), fixtures.plan_of(codec, run._scheduler.nodes.values())),
        )
    )
    if then != now or player.missing:
        said = difflib.unified_diff(then, now, str(path), "replayed", lineterm="", n=2)
        why = f": {player.missing}" if player.missing else ""
        text = f"the plan of {name!r} has changed since it was recorded{why}"
        raise PlanChanged(f"{text} (if that is meant, record it anew: run.to_fixture)", "\n".join(said), run)
    return run


def _value(codec: Any, found: Any) -> Any:
    """A recorded value; a text in place of one that was left out, as no action will look at it."""
    value = fixtures.valued(codec, found)
    return f"<not recorded: {value.reason}>" if isinstance(value, MissingValue) else value


def _step(codec: Any, step: Mapping[str, Any]) -> dict[str, Any]:
    """A step with its values."""
    found = dict(step)
    if "outputs" in found:
        found["outputs"] = {key: _value(codec, value) for key, value in found["outputs"].items()}
        found["metadata"] = fixtures.valued(codec, found.get("metadata", {}))
    if "input" in found:
        found["input"] = fixtures.valued(codec, found["input"])
    if "answers" in found:
        found["answers"] = fixtures.valued(codec, found["answers"])
    found["emits"] = [(name, fixtures.valued(codec, data)) for name, data in found.get("emits", ())]
    return found


class Player:
    """Lets attempts end in the recorded order, and does what people did in between.

    `missing` says of which attempt nothing was recorded. All of it happens on the loop of `flow`.
    """

    def __init__(self, flow: DagFlow, steps: list[dict[str, Any]]) -> None:
        self.flow, self.steps = flow, steps
        self.clock = _Clock()
        self.begun = self.clock.now()
        self.waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.given: dict[str, dict[str, Any]] = {}  # what was taken for an attempt that is about to run
        self.held: list[tuple[Any, tuple[Any, ...]]] = []  # answers of hooks that came later once
        self.missing: str | None = None

    async def play(self, prepared: Any) -> str:
        """Begin a run and play it to its end; returns its id."""
        session = self.flow._session
        session.clock = self.clock
        coordinator = await session.begin(prepared, hold=True)
        self._attach(coordinator)
        coordinator.go()
        run_id = coordinator.run_id
        await self._drive(coordinator)
        while (message := self._next_from_outside()) is not None:
            taken = message
            coordinator = await session.reopen(run_id, lambda _: [taken], before=self._attach, to_run=False)  # noqa: B023  # it is called at once
            await self._drive(coordinator)
        return run_id

    def _attach(self, coordinator: RunCoordinator) -> None:
        self.waiting.clear()
        self.held.clear()
        coordinator.actions = _Actions(self, coordinator.actions)
        coordinator.memo = _Known(self, coordinator)

        def post(*messages: Any) -> None:
            answer = messages[-1]
            ask = coordinator.scheduler.asks.get(answer.seq)
            about = fixtures.asked_about(ask.event) if ask is not None else None
            if any(about == (step.get("answered"), step.get("of")) for step in self.steps):
                self.held.append((about, messages))
            else:
                coordinator.post(*messages)

        coordinator.asking.post = post
        coordinator.asking.at_once = lambda event: None  # type: ignore[method-assign]  # of this one only

    async def _drive(self, coordinator: RunCoordinator) -> None:
        while not coordinator.done.done():
            self.waiting = {id: future for id, future in self.waiting.items() if not future.done()}
            if coordinator.is_quiet(len(self.waiting), len(self.held)):
                self._advance(coordinator)
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.0005)  # a hook is in its thread, or an attempt about to begin
        await coordinator.done
        while coordinator.run_id in self.flow._session.live:
            await asyncio.sleep(0)

    def _advance(self, coordinator: RunCoordinator) -> None:
        """Nothing moves: what was recorded next happens, or what a timer was set for."""
        if coordinator.scheduler.status is not RunStatus.RUNNING:
            return  # it is being left
        for step in list(self.steps):
            if "answered" in step:
                about = (step["answered"], step["of"])
                if (found := next((pair for pair in self.held if pair[0] == about), None)) is not None:
                    self._take(step)
                    self._answer(coordinator, found)
                    return
            elif "tick" in step:
                self._take(step)
                if self.clock.fire():
                    return
            elif "node" not in step:
                self._take(step)
                coordinator.post(self._message(step))
                return
            elif step["node"] in self.waiting:
                self._take(step)
                self.waiting.pop(step["node"]).set_result(step)
                return
        if self.held:
            self._answer(coordinator, self.held[0])
        elif not self.clock.fire() and self.waiting:
            id = next(iter(self.waiting))
            self.missing = self.missing or f"node {id!r} was started, and no result of it is recorded"
            self.waiting.pop(id).set_exception(NotRecorded(f"no result of {id!r} is recorded"))

    def _answer(self, coordinator: RunCoordinator, held: tuple[Any, tuple[Any, ...]]) -> None:
        self.held.remove(held)
        coordinator.post(*held[1])

    def _take(self, step: dict[str, Any]) -> None:
        self.steps.remove(step)
        self.clock.move(self.begun + step["at"])

    def _next_from_outside(self) -> Any:
        """What people did next with a run that had come to rest."""
        step = next((step for step in self.steps if "resume" in step or "input" in step), None)
        if step is None:
            return None
        self._take(step)
        return self._message(step)

    def _message(self, step: Mapping[str, Any]) -> Any:
        now = self.clock.now()
        if "resume" in step:
            return m.Resume(now, step["resume"], step["answers"], "recorded")
        message = step["input"]
        return type(message)(**{**{n: getattr(message, n) for n in message.__dataclass_fields__}, "at": now})

    def turn(self, id: str) -> asyncio.Future[dict[str, Any]]:
        """What was recorded of the next attempt of a node, once it is its turn."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if id in self.given:
            future.set_result(self.given.pop(id))
        else:
            self.waiting[id] = future
        return future


class _Actions(dict[str, Any]):
    """A run's actions, each with a stand-in in its place, also those that hooks bring along."""

    def __init__(self, player: Player, actions: Mapping[str, NodeAction]) -> None:
        super().__init__()
        self._player = player
        for name, action in actions.items():
            self[name] = action

    def __setitem__(self, name: str, action: Any) -> None:
        super().__setitem__(name, action if isinstance(action, _StandIn) else _StandIn(self._player, action))


class _StandIn(PreparedAction):
    """Ends as an action's attempts ended when they were recorded."""

    def __init__(self, player: Player, action: PreparedAction) -> None:
        self.name, self.options = action.name, action.options
        self._player, self._action = player, action

    def default_of(self, name: str) -> Any:
        """The action's own."""
        return self._action.default_of(name)

    def retries_on(self, error: BaseException) -> bool:
        """As it was recorded."""
        return getattr(error, "retryable", False)

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Waits for its turn, says what the action had said, and ends as it had."""
        step = await self._player.turn(ctx.node_id)
        if used := step.get("usage"):
            ctx.report_usage(used["tokens"], used["cost"])
        for name, data in step["emits"]:
            ctx.emit(name, data)
        if "outputs" not in step:
            kind, _, text = str(step["error"]).partition(": ")
            error = type(kind if text and kind.isidentifier() else "Recorded", (Recorded,), {})(text or kind)
            error.retryable = step.get("retryable", True)
            raise error
        return _outcome(step)


class _Known(Memo):
    """Nodes whose results were known when they were recorded are `cached` again; nothing is looked up."""

    def __init__(self, player: Player, coordinator: RunCoordinator) -> None:
        super().__init__(coordinator, coordinator.memo.results)
        self._player = player

    def begin(self, own: Talk, node: Node, action: NodeAction) -> None:
        """An attempt of a node whose result may be known: it was, or the attempt runs."""
        own.task = self._run.loop.create_task(self._decide(own, node, action))

    async def _decide(self, own: Talk, node: Node, action: NodeAction) -> None:
        step = await self._player.turn(node.id)
        if step.get("cached"):
            self._end(own, _outcome(step))
        else:
            self._player.given[node.id] = step
            self._start(own, node, action, None)

    def _end(self, own: Talk, outcome: NodeOutput) -> None:
        own.result = self._run.workers._with_rows(own, Result(outcome, None, None))
        self._run.post(m.AttemptEnded(own.node_id, own.attempt, self._run.clock.now(), outcome, cached=True))


def _outcome(step: Mapping[str, Any]) -> NodeOutput:
    return NodeOutput(
        step["outputs"],
        step.get("success", True),
        step["metadata"],
        step.get("error"),
        step.get("recovered", False),
        step.get("returned", "mapping"),
    )


class _NoExecutors(Executors):
    """No action runs, so that none is needed, whatever it is called."""

    def check(self, name: str, node_id: str) -> None:
        """Each is fine."""

    def is_slow_to_open(self, name: str) -> bool:
        """None is opened."""
        return False


class _Clock:
    """Time that goes from one recorded moment to the next."""

    def __init__(self) -> None:
        self._at = 1_700_000_000.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        """The time in epoch seconds."""
        return self._at

    def move(self, at: float) -> None:
        """It is later now; never earlier."""
        self._at = max(self._at, at)

    def call_at(self, loop: asyncio.AbstractEventLoop, at: float, fn: Callable[[], None]) -> Handle:
        """Remember what is asked for."""
        timer = _Timer(fn)
        heapq.heappush(self._timers, (at, next(self._numbers), timer))
        return timer

    def fire(self) -> bool:
        """The next moment that was asked for has come; False if there is none."""
        while self._timers:
            at, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.move(at)
                timer.fn()
                return True
        return False


class _Timer:
    def __init__(self, fn: Callable[[], None]) -> None:
        self.fn, self.cancelled = fn, False

    def cancel(self) -> None:
        """It is not wanted any more."""
        self.cancelled = True
