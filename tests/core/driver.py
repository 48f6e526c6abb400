"""A small deterministic driver for the scheduler: time moves by hand, attempts end when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dagflow_nb.config import DagConfig
from dagflow_nb.core import messages as m
from dagflow_nb.core.graph import Node
from dagflow_nb.core.model import NodeDef, NodeOutput, NodeStatus
from dagflow_nb.core.scheduler import Scheduler

SETTINGS = {
    "a": m.ActionSettings(),
    "b": m.ActionSettings(),
    "handle": m.ActionSettings(),
    "once": m.ActionSettings(idempotent=False),
    "cached": m.ActionSettings(cached=True),
}
OK = NodeOutput.ok({"x": 1})


def node(id: str, *deps: str, **more: Any) -> NodeDef:
    """A node of action `a` after these ids."""
    return NodeDef(id=id, deps=deps, **{"action": "a", **more})


def items(group: str, count: int) -> tuple[NodeDef, ...]:
    """The items of a map."""
    return tuple(NodeDef(id=f"{group}/{i}", action="a", parent=group, item=i) for i in range(count))


class Driver:
    """Holds what the scheduler wants done until the test does it.

    `started`: attempts under way by node; `opening`, `closing`: groups; `asked`: events whose hooks
    have not answered; `effects`: everything that came out, in order.
    """

    def __init__(
        self,
        *specs: NodeDef,
        listens: Callable[[Any], bool] = lambda event: False,
        settings: Mapping[str, m.ActionSettings] | None = None,
        pools: Mapping[str, int] | None = None,
        disabled: Iterable[str] = (),
        begin: bool = True,
        **config: Any,
    ) -> None:
        self.at = 0.0
        self.settings = {**SETTINGS, **(settings or {})}
        self.pools = {"async": 100} if pools is None else dict(pools)
        self.config = DagConfig(**config)
        self.s = Scheduler("dag", "run", specs, listens=listens)
        self.started: dict[str, int] = {}
        self.opening: dict[str, int] = {}
        self.closing: dict[str, int] = {}
        self.asked: dict[int, Any] = {}
        self.starts: list[tuple[str, int]] = []
        self.events: list[Any] = []
        self.effects: list[m.Effect] = []
        self.inputs: list[m.Input] = []
        self.wake: float | None = None
        self.ended: m.RunEnded | None = None
        if begin:
            self.send(m.Begin(self.at, self.config, self.settings, self.pools, tuple(disabled)))

    # --- inputs -------------------------------------------------------------------------------

    def send(self, message: m.Input) -> list[m.Effect]:
        """Give the scheduler an input and take note of what it wants."""
        effects = self.s.handle(message)
        self.inputs.append(message)
        if isinstance(message, m.Tick):
            self.wake = None
        if isinstance(message, m.Reopened):
            self.ended, self.wake = None, None
            for left in (self.started, self.opening, self.closing):
                left.clear()
        for effect in effects:
            self._note(effect)
        self.effects += effects
        return effects

    def _note(self, effect: m.Effect) -> None:
        if isinstance(effect, m.StartAttempt):
            assert effect.node_id not in self.started, f"{effect} while another attempt runs"
            self.started[effect.node_id] = effect.attempt
            self.starts.append((effect.node_id, effect.attempt))
        elif isinstance(effect, m.CancelAttempt):
            # a new process learns of attempts that the one before had under way
            assert self.started.pop(effect.node_id, effect.attempt) == effect.attempt
        elif isinstance(effect, m.OpenGroup):
            self.opening[effect.node_id] = effect.attempt
        elif isinstance(effect, m.CloseGroup):
            self.closing[effect.node_id] = effect.attempt
        elif isinstance(effect, m.Event):
            self.events.append(effect)
        elif isinstance(effect, m.AskHooks):
            self.asked[effect.event.seq] = effect.event
        elif isinstance(effect, m.WakeAt):
            self.wake = effect.at
        else:
            self.ended = effect

    def end(self, id: str, outcome: NodeOutput | None = None, **more: Any) -> None:
        """The attempt of a node under way ends well, or as `more` says (`error=...`)."""
        if outcome is None and "error" not in more:
            outcome = OK
        self.send(m.AttemptEnded(id, self.started.pop(id), self.at, outcome, **more))

    def fail(self, id: str, error: str = "boom", **more: Any) -> None:
        """The attempt of a node under way raises."""
        self.end(id, error=error, **more)

    def open(self, id: str, count: int = 0, **more: Any) -> None:
        """A group's inputs are there: a map gets `count` items."""
        children = items(id, count) if self.node(id).spec.kind == "map" else ()
        self.send(m.GroupOpened(id, self.opening.pop(id), self.at, count, children, **more))

    def close(self, id: str, **more: Any) -> None:
        """A group's outcome is there."""
        self.send(m.AttemptEnded(id, self.closing.pop(id), self.at, *(() if more else (OK,)), **more))

    def answer(self, kind: type | None = None, *commands: Any, id: str | None = None) -> None:
        """The hooks answer the oldest event of this kind (and about this node) that they were asked about."""
        for seq, event in self.asked.items():
            about = getattr(event, "node", None)
            if (kind is None or type(event) is kind) and (id is None or (about and about.node_id == id)):
                del self.asked[seq]
                self.send(m.Answered(seq, self.at, tuple(("hook", command) for command in commands)))
                return
        raise AssertionError(f"no hook is asked about {kind} of {id}")

    def apply(self, *commands: Any, **more: Any) -> None:
        """Commands come from outside."""
        self.send(m.Applied(commands, self.at, **more))

    def tick(self, seconds: float | None = None) -> None:
        """Time goes on by so many seconds, or to the next moment the scheduler waits for."""
        if seconds is None:
            assert self.wake is not None, "nothing is waited for"
            self.at = max(self.at, self.wake)
        else:
            self.at += seconds
        self.send(m.Tick(self.at))

    def reopen(self, then: m.Input | None = None, *, lost: Iterable[str] = (), **config: Any) -> None:
        """The process is gone; another one takes the run up, with changed settings, and does `then`."""
        if config:
            self.config = DagConfig.merge(self.config, config)
        self.send(m.Reopened(self.at, self.config, self.settings, self.pools, tuple(lost)))
        self.send(then if then is not None else m.Tick(self.at))

    def run(self, **ends: Any) -> Driver:
        """Let everything end well, but nodes named in `ends` (their outcome, or a text to raise)."""
        for _ in range(10_000):
            if self.started:
                id = next(iter(self.started))
                how = ends.get(id)
                if isinstance(how, str):
                    self.fail(id, how)
                else:
                    self.end(id, how)
            elif self.opening:
                self.open(next(iter(self.opening)), 2)
            elif self.closing:
                self.close(next(iter(self.closing)))
            elif self.asked:
                self.answer()
            elif self.wake is not None and self.ended is None:
                self.tick()
            else:
                return self
        raise AssertionError("the run does not end")

    # --- what it looks like -------------------------------------------------------------------

    def node(self, id: str) -> Node:
        """The scheduler's record of a node."""
        return self.s.nodes[id]

    @property
    def states(self) -> dict[str, str]:
        """The state of each node."""
        return {id: str(node.status) for id, node in self.s.nodes.items()}

    def kinds(self, id: str | None = None) -> list[str]:
        """The kinds of the events so far, or those about one node."""
        return [
            type(event).__name__
            for event in self.events
            if id is None or (getattr(event, "node", None) and event.node.node_id == id)
        ]

    def rejections(self) -> list[str]:
        """Why commands were refused."""
        return [event.reason for event in self.events if isinstance(event, m.CommandRejected)]


def completed(event: Any) -> bool:
    """Listens to ends that went well."""
    return isinstance(event, m.NodeCompleted)


def failed(event: Any) -> bool:
    """Listens to failures."""
    return isinstance(event, m.NodeFailed)


def everything(event: Any) -> bool:
    """Listens to every event."""
    return True


def count_states(nodes: Iterable[Node]) -> dict[NodeStatus, int]:
    """How many nodes are in each state, counted anew."""
    found = dict.fromkeys(NodeStatus, 0)
    for each in nodes:
        found[each.status] += 1
    return found
