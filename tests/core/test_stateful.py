"""Generated runs: graphs, failures, growth, pauses, cancels, crashes and nonsense, in every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb.config import DagConfig
from dagflow_nb.core import messages as m
from dagflow_nb.core.model import SUCCESS_STATES, Form, NodeDef, NodeOutput, NodeSpec, RunStatus, ref
from dagflow_nb.core.retry import RetryStrategy
from dagflow_nb.core.scheduler import Scheduler
from dagflow_nb.core.state import OVER, RUN
from dagflow_nb.errors import DagError
from tests.core.driver import Driver, items
from tests.core.invariants import check, check_effects, fingerprint

RULES = ("all_success", "all_success", "all_done", "one_success", "any_failed")
POLICIES = (None, None, "continue", "pause", "stop")
LISTENS: tuple[Callable[[Any], bool], ...] = (
    lambda event: False,
    lambda event: isinstance(event, m.NodeCompleted | m.NodeFailed),
    lambda event: True,
    lambda event: isinstance(event, m.NodeFailed | m.NodeSkipped | m.RunStarted | m.BranchPaused),
)
SETTINGS = {
    "a": m.ActionSettings(),
    "tagged": m.ActionSettings(tags=("rare",)),
    "again": m.ActionSettings(try_count=3, retry=RetryStrategy.linear(1.0)),
    "slow": m.ActionSettings(timeout=2.0, retry_timeouts=False),
    "once": m.ActionSettings(idempotent=False),
    "cached": m.ActionSettings(cached=True),
    "handle": m.ActionSettings(),
}
ACTIONS = ("a", "a", "tagged", "again", "slow", "once", "cached")
# what a refused input or command may still change
VOLATILE = ("seq", "now", "_last", "asks", "answers", "wake")


class Bytes:
    """Choices read from bytes: they are quick to draw, and shrink well."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> bool:
        """Whether any are left."""
        return self.at < len(self.data)

    def pick(self, options: int) -> int:
        """A number below `options`; 0 when all bytes have been read."""
        if not self.left or options <= 1:
            self.at += 1
            return 0
        self.at += 1
        return self.data[self.at - 1] % options

    def one(self, options: Any) -> Any:
        """One of these."""
        return options[self.pick(len(options))]

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return self.pick(one_in) == one_in - 1


def graph(b: Bytes) -> list[NodeDef]:
    """A graph of a few nodes, some of them groups or branches."""
    specs: list[NodeDef] = []
    for i in range(1 + b.pick(8)):
        ids = [spec.id for spec in specs if spec.parent is None]
        deps = tuple(dict.fromkeys(b.one(ids) for _ in range(b.pick(4)))) if ids else ()
        kind = b.one(("action",) * 5 + ("map", "workflow", "branch"))
        spec = NodeDef(
            id=f"n{i}",
            action=b.one(ACTIONS),
            deps=deps,
            when=b.one(RULES),
            on_failure=b.one(POLICIES),
            failure="handle" if b.chance(6) else None,
            ask=Form("?", None, {"yes": 1} if b.chance(2) else None) if b.chance(8) else None,
            kind=kind,
            limit=1 if kind == "map" and b.chance(3) else None,
            over={"then": (), "otherwise": ()} if kind == "branch" else None,
        )
        specs.append(spec)
        if kind == "workflow":
            before: tuple[str, ...] = ()
            for k in range(b.pick(3)):
                kind = b.one(("action", "action", "map"))
                child = NodeDef(id=f"n{i}/{k}", action="a", deps=before, parent=f"n{i}", kind=kind)
                specs.append(child)
                before = (child.id,) if b.chance(2) else ()
    for i, spec in enumerate(specs):
        if spec.kind == "branch":
            after = [other.id for other in specs if spec.id in other.deps]
            ways = {"then": tuple(after[::2]), "otherwise": tuple(after[1::2])}
            specs[i] = NodeDef(id=spec.id, action=spec.action, deps=spec.deps, kind="branch", over=ways)
    return specs


def config(b: Bytes) -> dict[str, Any]:
    """Settings of a run, mostly the defaults."""
    found: dict[str, Any] = {"retry_strategy": RetryStrategy.linear(1.0)}
    for name, values in (
        ("on_failure", ("pause", "stop")),
        ("max_parallel_nodes", (1, 2)),
        ("enable_parallel_execution", (False,)),
        ("limits", ({"a": 1}, {"rare": "2/min"}, {"a": "3/s", "rare": 1})),
        ("max_attempts", (2,)),
        ("timeout_seconds", (5.0,)),
        ("max_tokens", (5,)),
        ("max_nodes", (3,)),
        ("max_iterations", (2,)),
        ("review_frequency", (2,)),
        ("branch_budgets", ({"n1*": {"max_tokens": 3}}, {"*": {"max_nodes": 2, "max_iterations": 1}})),
    ):
        if b.chance(5):
            found[name] = b.one(values)
    if b.chance(3):
        found["human_wait_minutes"] = 0.05
        found["human_timeout_action"] = b.one(("autopilot", "pause", "fail", "cancel"))
    return found


class Program:
    """One generated run, checked after every input."""

    def __init__(self, data: bytes) -> None:
        self.b = b = Bytes(data)
        self.specs, settings_, self.listens = graph(b), config(b), b.one(LISTENS)
        self.asked: list[tuple[int, ...]] = []
        self.out: list[list[m.Effect]] = []
        disabled = [self.specs[-1].id] if b.chance(8) else []
        self.d = Driver(
            *self.specs, listens=self.listens, settings=SETTINGS, pools={"async": 3}, begin=False, **settings_
        )
        self.send(m.Begin(0.0, self.d.config, self.d.settings, self.d.pools, tuple(disabled)))

    # --- steps --------------------------------------------------------------------------------

    def send(self, message: m.Input) -> bool:
        """Give an input; one that is refused has changed nothing. Returns whether it was taken."""
        s = self.d.s
        before = fingerprint(s) if self.may_be_refused(message) else None
        stopping, pause = s.stopping, s.pauses.get(RUN)
        try:
            effects = self.d.send(message)
        except DagError:
            assert before is not None, f"{message} was refused"
            assert fingerprint(s) == before
            return False
        self.asked.append(tuple(s.asked))
        s.asked.clear()
        self.out.append(effects)
        check(s, rests=not isinstance(message, m.Reopened))
        still_paused = pause is not None and s.pauses.get(RUN) is pause
        check_effects(s, effects, still_paused, stopping is not None and s.stopping == stopping)
        rejected = [e for e in effects if isinstance(e, m.CommandRejected)]
        if isinstance(message, m.Applied) and len(message.commands) == len(rejected) and before is not None:
            after = fingerprint(s)
            for name in VOLATILE:
                before.pop(name), after.pop(name)
            assert after == before, rejected
        return True

    @staticmethod
    def may_be_refused(message: m.Input) -> bool:
        """Whether this kind of input may be refused where the program gives it."""
        return not isinstance(message, m.Tick | m.Reopened)

    def some(self) -> str:
        """A node's id."""
        return str(self.b.one(list(self.d.s.nodes)))

    def command(self) -> Any:
        """A command, which may make no sense."""
        b, id = self.b, self.some()
        match b.pick(13):
            case 0 | 1:
                return m.AddNode(self.new())
            case 2:
                first = NodeSpec("a", id=f"g{b.pick(6)}", deps=[self.some()] if b.chance(2) else None)
                batch = [first, NodeSpec("a", deps=[first.id], inputs={"x": ref(f"{first.id}.x")})]
                ended = [n.id for n in self.d.s.nodes.values() if n.final and not n.released]
                holds = b.one(ended) if ended and b.chance(2) else None
                return m.AddNodes(() if b.chance(6) else batch, holds=holds, heir=b.chance(2))
            case 3:
                return m.PauseBranch(id, "because", Form("?", None, {}) if b.chance(2) else None)
            case 4:
                return m.ResumeBranch(id)
            case 5:
                return m.CancelBranch(id)
            case 6:
                return m.EnableNodes([id])
            case 7:
                return m.DisableNodes([id, self.some()])
            case 8 | 9:
                return m.RetryNode(id)
            case 10:
                return m.SetNodeOutputs(id, {"x": 2})
            case 11:
                return b.one((m.SetNodeInputs(id, {"x": ref("n0.x")}), m.EmitEvent("mine", 1)))
            case _:
                nonsense = (
                    m.AddNode(NodeSpec("nowhere")),
                    m.AddNodes([NodeSpec("a", id="c1", deps=["c2"]), NodeSpec("a", id="c2", deps=["c1"])]),
                    m.AddNodes([NodeSpec("a", id="good"), NodeSpec("a", deps=["missing"])]),
                    m.AddNode(NodeSpec("a", id="n0", timeout=3)),
                    m.AddNode(NodeSpec("a", ask="not a form")),
                    m.PauseBranch("missing"),
                    m.PauseBranch(["n0"]),  # type: ignore[arg-type]  # absurd on purpose
                    m.SetNodeOutputs(id, 5),  # type: ignore[arg-type]  # absurd on purpose
                    m.ResumeBranch(""),
                    "nonsense",
                    None,
                )
                return b.one(nonsense)

    def new(self) -> NodeSpec:
        """A node to be added."""
        b = self.b
        failed = list(self.d.s.failed)
        return NodeSpec(
            b.one(ACTIONS),
            id=f"g{b.pick(6)}" if b.chance(3) else None,
            deps=b.one((None, None, (), (self.some(),), (self.some(), self.some()))),
            when=b.one(RULES),
            replaces=b.one(failed) if failed and b.chance(2) else None,
            on_failure=b.one(POLICIES),
            failure="handle" if b.chance(6) else None,
        )

    def commands(self) -> tuple[Any, ...]:
        """A few commands, mostly none."""
        return tuple(self.command() for _ in range(max(0, self.b.pick(5) - 2)))

    def step(self) -> None:
        """One input: something that has been waited for, or something from outside."""
        b, d = self.b, self.d
        if d.s.status is not RunStatus.RUNNING:
            self.take_up()
            return
        waiting: list[Callable[[], Any]] = []
        if d.started:
            waiting += [self.end_attempt] * 3
        if d.opening:
            waiting.append(self.open_group)
        if d.closing:
            waiting.append(self.close_group)
        if d.asked:
            waiting += [self.answer] * 2
        if d.wake is not None:
            waiting.append(self.tick)
        if waiting and not b.chance(4):
            b.one(waiting)()
        else:
            others = (self.apply, self.apply, self.apply, self.outside, self.absurd, self.crash, self.use)
            b.one((*others, self.fork))()

    def end_attempt(self) -> None:
        """An attempt comes back."""
        b, d = self.b, self.d
        id = b.one(list(d.started))
        attempt = d.started[id]
        d.at += b.pick(3)
        at = d.at
        if b.chance(8):
            self.send(m.AttemptStarted(id, attempt, at))
            return
        del d.started[id]
        match b.pick(8):
            case 0 | 1 | 2 | 3:
                outcome = NodeOutput.ok({"x": 1}, metadata={"taken": b.chance(2)})
                self.send(m.AttemptEnded(id, attempt, at, outcome, cached=b.chance(4)))
            case 4:
                self.send(m.AttemptEnded(id, attempt, at, NodeOutput.ok(recovered=True)))
            case 5:
                self.send(m.AttemptEnded(id, attempt, at, NodeOutput.failure("soft")))
            case _:
                retryable = not b.chance(3)
                self.send(m.AttemptEnded(id, attempt, at, None, "boom", ValueError("boom"), retryable, 0.5))

    def open_group(self) -> None:
        """A group opens, or cannot."""
        d = self.d
        id = self.b.one(list(d.opening))
        attempt = d.opening.pop(id)
        if self.b.chance(6):
            self.send(m.GroupOpened(id, attempt, d.at, error="no inputs"))
            return
        children = items(id, self.b.pick(4)) if d.s.nodes[id].spec.kind == "map" else ()
        self.send(m.GroupOpened(id, attempt, d.at, len(children), children))

    def close_group(self) -> None:
        """A group's outcome comes, or cannot be worked out."""
        d = self.d
        id = self.b.one(list(d.closing))
        attempt = d.closing.pop(id)
        outcome = NodeOutput.ok() if not self.b.chance(6) else None
        self.send(m.AttemptEnded(id, attempt, d.at, outcome))

    def answer(self) -> None:
        """Hooks answer."""
        seq = self.b.one(list(self.d.asked))
        failures = (("bad", "boom"),) if self.b.chance(8) else ()
        commands = tuple(("hook", command) for command in self.commands())
        del self.d.asked[seq]
        self.send(m.Answered(seq, self.d.at, commands, failures))

    def tick(self) -> None:
        """Time goes on."""
        d = self.d
        d.at = max(d.at, d.wake or 0.0) if not self.b.chance(4) else d.at + 0.1
        self.send(m.Tick(d.at, 0.5))

    def apply(self) -> None:
        """Commands from outside."""
        self.send(m.Applied((self.command(),), self.d.at, "me"))

    def use(self) -> None:
        """Tokens are used."""
        self.send(m.UsageReported(self.some(), self.d.at, self.b.pick(4), 0.1))

    def outside(self) -> None:
        """A person takes a hand."""
        at, b = self.d.at, self.b
        self.send(
            b.one(
                (
                    m.PauseRun(at, "tea"),
                    m.Resume(at),
                    m.Resume(at, self.some(), {"yes": True}),
                    m.RetryNodes(at),
                    m.RetryNodes(at, self.some(), b.chance(2)),
                    m.CancelRun(at, "enough"),
                    m.FailRun(at, "disk full"),
                    m.Interrupt(at),
                )
            )
        )

    def absurd(self) -> None:
        """Late, duplicate and senseless inputs."""
        at, id = self.d.at, self.some()
        node = self.d.s.nodes[id]
        late = node.attempt - 1 if node.busy else node.attempt
        children = (NodeDef(id="odd", action="a", parent="nobody"),)
        message = self.b.one(
            (
                m.AttemptEnded(id, late, at, NodeOutput.ok()),
                m.AttemptEnded(id, node.attempt + 1, at, NodeOutput.ok()),
                m.AttemptEnded("missing", 1, at, NodeOutput.ok()),
                m.AttemptEnded(id, node.attempt, at, {"x": 1}),  # type: ignore[arg-type]  # absurd on purpose
                m.GroupOpened(id, late, at, 1, items(id, 1)),
                m.GroupOpened(id, node.attempt, at, 1, children),
                m.Answered(10_000, at, (("hook", m.CancelBranch(id)),)),
                m.Begin(at, self.d.config),
                m.UsageReported(id, at, float("nan")),
                m.UsageReported("missing", at, 1),
                m.Tick(float("inf")),
                m.Tick(at - 100),
                m.Resume(at, "missing"),
                m.RetryNodes(at, "missing"),
                "nonsense",
            )
        )
        if isinstance(message, m.AttemptEnded) and not isinstance(message.outcome, NodeOutput):
            with pytest.raises(DagError):
                self.d.s.handle(message)
            return
        if isinstance(message, m.GroupOpened) and message.children == children and node.busy:
            with pytest.raises(DagError):
                self.d.s.handle(message)
            return
        if isinstance(message, m.Tick) and message.at > at:
            with pytest.raises(DagError):
                self.d.s.handle(message)
            return
        self.send(message)

    def crash(self) -> None:
        """The process dies; another one takes the run up."""
        if self.b.chance(2):
            self.take_up()

    def fork(self) -> None:
        """From here on it is another run, which has left out some of what has happened."""
        b, s = self.b, self.d.s
        nodes = tuple(dict.fromkeys(self.some() for _ in range(b.pick(3))))
        outputs = {self.some(): {"x": 7}} if b.chance(3) else {}
        running = s.status is RunStatus.RUNNING
        if not self.send(m.Forked(self.d.at, nodes, outputs)):
            return
        assert s.status is not RunStatus.RUNNING
        for id in (*nodes, *outputs):
            assert s.nodes[id].attempt == 0 if id in s.nodes else id not in outputs
        if running or nodes or outputs:
            assert s.status is RunStatus.INTERRUPTED
        for left in (self.d.started, self.d.opening, self.d.closing):
            left.clear()
        self.d.asked = {seq: ask.event for seq, ask in s.asks.items()}

    def take_up(self) -> None:
        """The run is taken up, perhaps with more money, perhaps as another one."""
        b, d = self.b, self.d
        if b.chance(5):
            self.fork()
        if b.chance(3):
            d.config = DagConfig.merge(d.config, {"max_tokens": 50, "max_nodes": 50, "max_iterations": 9})
        d.at += b.pick(200)
        ended = [id for id, node in d.s.nodes.items() if node.status in SUCCESS_STATES]
        lost = (b.one(ended),) if ended and b.chance(6) else ()
        over = d.s.status in OVER
        self.send(m.Reopened(d.at, d.config, SETTINGS, d.pools, lost))
        then: list[m.Input] = [m.Resume(d.at), m.Resume(d.at, None, {"yes": 1}), m.Tick(d.at)]
        if over:
            then = [m.RetryNodes(d.at), m.RetryNodes(d.at, self.some(), b.chance(2)), m.Tick(d.at)]
        if not self.send(b.one(then)):
            self.send(m.Tick(d.at))

    # --- the end ------------------------------------------------------------------------------

    def finish(self) -> None:
        """With everything going well from here, the run comes to rest."""
        d = self.d
        for _ in range(2000):
            if d.s.status is not RunStatus.RUNNING:
                return
            if d.started:
                self.end_attempt()
            elif d.opening:
                self.open_group()
            elif d.closing:
                self.close_group()
            elif d.asked:
                self.answer()
            else:
                self.tick()
        raise AssertionError("the run does not come to rest")

    def replay(self) -> None:
        """The same inputs make the same run, also where nobody but the journal says what was asked."""
        asked: set[int] = set()
        s = Scheduler("dag", "run", self.specs, listens=lambda event: event.seq in asked)
        for message, numbers, effects in zip(self.d.inputs, self.asked, self.out, strict=True):
            asked.clear()
            asked.update(numbers)
            again = s.handle(message)
            # exceptions that the scheduler makes itself (timeouts) are equal in text only
            assert again == effects or repr(again) == repr(effects)
            s.asked.clear()
        assert fingerprint(s) == fingerprint(self.d.s)


@settings(max_examples=2500)
@given(st.binary(min_size=60, max_size=320))
def test_every_run_keeps_the_rules_comes_to_rest_and_replays(data: bytes) -> None:
    """Whatever happens in whatever order: all invariants hold, the run ends or rests, a replay is equal."""
    program = Program(data)
    while program.b.left:
        program.step()
    program.finish()
    program.replay()
