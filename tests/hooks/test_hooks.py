"""Hooks: their parameters, filters and answers, hooks as classes, and which definition replaces which."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from graphlib import CycleError, TopologicalSorter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dagflow_nb import DagFlow
from dagflow_nb.actions import make_action
from dagflow_nb.core.messages import (
    AddNode,
    AddNodes,
    BranchPaused,
    CustomEvent,
    EmitEvent,
    ExecutionEvent,
    HookFailed,
    NodeCompleted,
    NodeFailed,
    NodeLog,
    NodesAdded,
    NodeStarted,
    PauseBranch,
    RetryNode,
    RunFinished,
    RunStarted,
)
from dagflow_nb.core.model import NodeOutput, NodeRef, NodeSpec, ref
from dagflow_nb.errors import ValidationError
from dagflow_nb.hooks import (
    CompositeHook,
    EventHook,
    HookContext,
    LoggingHook,
    commands_of,
    make_hook,
)

NODE = NodeRef("dag", "fetch_1", "fetch")
STARTED = NodeStarted(NODE, run_id="r", seq=1, at=5.0)
COMPLETED = NodeCompleted(NODE, NodeOutput.ok({"rows": 3}), run_id="r", seq=2, at=6.0)
FAILED = NodeFailed(NODE, "bad", ValueError("bad"), 2, run_id="r", seq=3, at=7.0)
BEGUN = RunStarted(run_id="r", seq=4)
ENDED = RunFinished(True, "completed", run_id="r", seq=5)
CTX = HookContext("r", "dag")


def ask(hook: Any, event: Any = COMPLETED, **filters: Any) -> list[Any]:
    return asyncio.run(make_hook(hook, **filters).ask(CTX, event))


def commands(answer: Any, hook: str | None = None) -> list[Any]:
    return asyncio.run(commands_of(answer, hook))


# --- parameters -------------------------------------------------------------------------------


def test_parameters_are_matched_by_name():
    """The context, the event, its fields and the outputs arrive under their names, in any order."""
    seen = []

    def hook(outputs, node, ctx, event, outcome, run_id, seq, at):
        seen.append((outputs, node, ctx, event, outcome, run_id, seq, at))

    assert ask(hook) == []
    assert seen == [({"rows": 3}, NODE, CTX, COMPLETED, COMPLETED.outcome, "r", 2, 6.0)]


def test_a_field_that_only_some_kinds_have():
    """It is None for the others, or the parameter's default."""
    seen = []

    def hook(node, error, attempt=7, *, outputs):
        seen.append((error, attempt, outputs))

    for event in (COMPLETED, FAILED):
        ask(hook, event, kinds=(NodeCompleted, NodeFailed))
    assert seen == [(None, 7, {"rows": 3}), ("bad", 2, None)]


def test_parameters_with_defaults_kwargs_and_positional_only():
    """A default keeps a parameter of the hook's own; `**kwargs` get all that is left."""
    seen = {}

    def hook(event, /, node, mine=3, *args, **rest):
        seen.update(rest, mine=mine, event=event, args=args)

    ask(hook, FAILED, kinds=NodeFailed)
    assert seen.pop("args") == () and seen.pop("mine") == 3 and seen.pop("event") is FAILED
    assert seen == {
        "ctx": CTX,
        "outputs": None,
        "run_id": "r",
        "seq": 3,
        "at": 7.0,
        "error": "bad",
        "exception": FAILED.exception,
        "attempt": 2,
    }


def test_an_unknown_parameter_raises_at_definition():
    """The error names it, the nearest name, and what the kinds give."""

    def hook(node, outptus):
        return None

    with pytest.raises(
        ValidationError, match=r"'hook' has a parameter 'outptus'.*did you mean 'outputs'"
    ) as found:
        make_hook(hook, kinds=(NodeStarted, NodeCompleted))
    assert found.value.culprit == "outptus" and "NodeStarted or NodeCompleted" in str(found.value)
    assert "outcome" in str(found.value) and "delay" not in str(found.value)
    with pytest.raises(ValidationError, match="any event"):
        make_hook(hook)


@pytest.mark.parametrize("kinds", ["NodeStarted", 3, (NodeStarted, dict), NodeLog, (NodeStarted, NodeLog)])
def test_bad_kinds_raise_at_definition(kinds):
    """Kinds are event classes that hooks are asked about."""
    with pytest.raises(ValidationError):
        make_hook(lambda event: None, kinds=kinds)


def test_unions_of_kinds():
    """A union stands for its members, without those that hooks are never asked about."""
    hook = make_hook(lambda event: None, kinds=NodeStarted | NodeFailed)
    assert hook.kinds == (NodeStarted, NodeFailed)
    assert NodeLog not in make_hook(lambda event: None, kinds=ExecutionEvent).kinds


@pytest.mark.parametrize("wrong", [{"node": 3}, {"node": ""}, {"action": 3}, {"dag": 3}, {"when": "always"}])
def test_bad_filters_raise_at_definition(wrong):
    """A filter of the wrong kind is named."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        make_hook(lambda event: None, **wrong)


def test_what_is_no_hook():
    """Neither a text nor a class that needs arguments is a hook."""

    class Needs(EventHook):
        def __init__(self, url):
            self.url = url

    with pytest.raises(ValidationError, match="'hook'"):
        make_hook("hook")
    with pytest.raises(ValidationError, match=r"give an instance, Needs\("):
        make_hook(Needs)


# --- kinds of functions -----------------------------------------------------------------------


async def _coroutine(event):
    return RetryNode("a")


def _function(event):
    return RetryNode("a")


def _generator(event):
    yield RetryNode("a")


async def _async_generator(event):
    yield RetryNode("a")


class _Callable:
    async def __call__(self, event):
        return RetryNode("a")


@pytest.mark.parametrize(
    "hook",
    [
        _coroutine,
        _function,
        _generator,
        _async_generator,
        _Callable(),
        functools.partial(_coroutine),
        functools.partial(_function),
        lambda event: _coroutine(event),
        lambda event: _generator(event),
        lambda event: _async_generator(event),
        make_action(_function),
    ],
)
def test_all_kinds_of_functions(hook):
    """Functions, coroutines and generators of both sorts answer alike."""
    assert ask(hook) == [RetryNode("a")]


def test_plain_functions_run_in_a_thread_and_async_ones_on_the_loop():
    """A slow `def` hook, or a generator, cannot hold up the loop."""
    seen = {}

    def plain(event):
        seen["plain"] = threading.current_thread()

    def generator(event):
        seen["generator"] = threading.current_thread()
        yield from ()

    async def on_loop(event):
        seen["loop"] = threading.current_thread()

    for hook in (plain, generator, on_loop):
        ask(hook)
    here = threading.current_thread()
    assert seen["plain"] is not here and seen["generator"] is not here and seen["loop"] is here


def test_what_a_hook_raises_is_raised():
    """An exception comes out of `ask`, and what was yielded before it is dropped."""

    def hook(event):
        yield RetryNode("a")
        raise KeyError("x")

    with pytest.raises(KeyError):
        ask(hook)


# --- answers ----------------------------------------------------------------------------------


def test_answers_become_commands():
    """Commands, specs, plans and iterables of these, nested too, are one list; None is nothing."""
    spec = NodeSpec("a")
    plan = SimpleNamespace(commands=lambda: [AddNodes([spec])])
    late = SimpleNamespace(command_in=lambda nodes: AddNodes([spec]))

    async def stream():
        yield spec
        yield None

    assert commands(None) == [] and commands([]) == []
    assert commands(spec) == [AddNode(spec)] and commands(RetryNode("x")) == [RetryNode("x")]
    assert commands(plan) == [AddNodes([spec])] and commands(late) == [late]
    assert commands([plan, spec, None, (EmitEvent("e"),)]) == [
        AddNodes([spec]),
        AddNode(spec),
        EmitEvent("e"),
    ]
    assert commands(stream()) == [AddNode(spec)]
    assert commands(stream()) == commands({AddNode(spec): 1}.keys())


@pytest.mark.parametrize(
    "wrong",
    ["fetch", {"action": "fetch"}, 3, True, b"x", [NodeSpec("a"), "b"], AddNode("fetch"), AddNodes(["a"])],
)
def test_wrong_answers_name_the_hook(wrong):
    """What is no command is refused with the hook's name and the value."""
    with pytest.raises(ValidationError, match="'planner'") as found:
        commands(wrong, "planner")
    assert found.value.culprit == "planner"
    with pytest.raises(ValidationError):
        commands(wrong)


def test_nodes_of_one_answer_may_depend_on_later_ones():
    """Each comes after those that it names, by id, action or reference; others stay where they are."""
    last = NodeSpec("join", deps=["second", "clean"], inputs={"x": [ref("first.rows.0")]})
    others = [NodeSpec("load", id="second", deps=["first"]), NodeSpec("clean"), NodeSpec("load", id="first")]
    found = commands([last, *others])
    assert sorted(found, key=str) == sorted((AddNode(spec) for spec in (last, *others)), key=str)
    order = [command.spec.id or command.spec.action for command in found]
    assert order.index("first") < order.index("second") < order.index("join") == 3
    assert commands([*others[::-1], last]) == [AddNode(spec) for spec in (*others[::-1], last)]
    away = [NodeSpec("a", deps=["there"], inputs={"x": ref("there.x")}), NodeSpec("b", id="z")]
    assert commands(away) == [AddNode(spec) for spec in away]
    pause = PauseBranch("b")
    assert commands([NodeSpec("b", deps=["a"]), pause, NodeSpec("a")])[1] == pause
    circle = [NodeSpec("a", id="p", deps=["q"]), NodeSpec("a", id="q", deps=["p"]), NodeSpec("a")]
    assert commands(circle) == [AddNode(spec) for spec in circle]


@given(st.lists(st.sets(st.integers(0, 7)), max_size=8))
def test_an_order_is_found_wherever_there_is_one(named):
    """For every graph without a circle no node comes before one that it names, and none is lost."""
    specs = [NodeSpec("a", id=str(n), deps=[str(d) for d in deps]) for n, deps in enumerate(named)]
    found = [command.spec for command in commands(specs)]
    assert sorted(found, key=str) == sorted(specs, key=str)
    try:
        tuple(TopologicalSorter({spec.id: set(spec.deps) - {spec.id} for spec in specs}).static_order())
    except CycleError:
        assert found == specs
    else:
        places = {spec.id: place for place, spec in enumerate(found)}
        assert all(places.get(dep, -1) <= place for place, spec in enumerate(found) for dep in spec.deps)


# --- filters ----------------------------------------------------------------------------------


def matches(event: Any, dag_name: str = "dag", /, **filters: Any) -> bool:
    return make_hook(lambda event: None, **filters).matches(event, dag_name)


def test_filters():
    """All filters have to match; an event without a node matches no node or action."""
    assert (
        matches(COMPLETED)
        and matches(COMPLETED, kinds=NodeCompleted)
        and not matches(FAILED, kinds=NodeCompleted)
    )
    assert matches(COMPLETED, node="fetch_*") and not matches(COMPLETED, node="FETCH_*")
    assert matches(COMPLETED, action="fetch") and not matches(COMPLETED, action="fet*")
    assert matches(COMPLETED, dag="d?g") and not matches(COMPLETED, "other", dag="d?g")
    assert not matches(COMPLETED, node="fetch_*", action="other")
    assert matches(COMPLETED, node=SimpleNamespace(id="fetch_1"), dag=SimpleNamespace(name="dag"))
    for event in (BEGUN, NodesAdded(()), CustomEvent("e"), BranchPaused("fetch_1"), HookFailed("h", "e")):
        assert matches(event) and not matches(event, node="*") and not matches(event, action="fetch")
    assert matches(CustomEvent("e", node=NODE), node="*")
    assert not matches(NodeLog(NODE, "text"))


def test_an_id_with_brackets_matches_itself():
    """A glob that looks like a character class still finds the id it was written as."""
    event = NodeStarted(NodeRef("d", "row[1]", "a"))
    assert matches(event, node="row[1]") and matches(event, node="row*")


def test_an_action_is_named_by_its_function():
    """`action=` takes the function or its wrapper too."""

    def fetch():
        return None

    assert matches(COMPLETED, action=fetch) and matches(COMPLETED, action=make_action(fetch))
    assert not matches(COMPLETED, action=make_action(fetch, name="other"))


def test_when():
    """A function of the event decides, as a part of the question; the hook fails with what it raises."""

    def decide(event: Any) -> bool:
        return event.outputs["none"] if event.seq == 2 else True

    def commands(when: Any, event: Any = COMPLETED) -> list[Any]:
        return asyncio.run(make_hook(lambda event: RetryNode("x"), when=when).ask(CTX, event))

    async def later(event: Any) -> bool:
        return event.outputs["rows"] == 4

    assert commands(lambda event: event.outputs["rows"] == 3) == [RetryNode("x")]
    assert commands(lambda event: 0) == commands(later) == []
    with pytest.raises(KeyError):
        commands(decide)
    assert commands(decide, FAILED) == [RetryNode("x")]


def test_when_is_asked_once(monkeypatch):
    """Also where the hook is asked at once, and its answer is found again; a `no` is an answer, too."""
    seen: list[int] = []

    def rows(event):
        seen.append(event.outputs["rows"])
        return len(seen) != 2

    hook = make_hook(lambda node: NodeSpec("more"), when=rows)
    assert asyncio.run(hook.ask(CTX, COMPLETED)) == [AddNode(NodeSpec("more"))] and seen == [3]
    hook._when.is_proved = hook._call.is_proved = True
    monkeypatch.setattr(type(hook._call), "may", lambda self, first, named: True)
    assert hook.ask_at_once(CTX, COMPLETED) == [] and seen == [3, 3]
    found = hook.ask_at_once(CTX, COMPLETED)
    assert found == [AddNode(NodeSpec("more"))] and seen == [3, 3, 3]
    hook.keep(COMPLETED, found)
    assert asyncio.run(hook.ask(CTX, COMPLETED)) == found and seen == [3, 3, 3]


def _nothing():
    return None


def test_what_is_no_hook_is_refused(tmp_path):
    """A class that is neither hook nor event, and a filter that there is not, are named; a union is kinds."""
    with DagFlow(tmp_path / "flow.db") as flow:
        for wrong in (int, NodeSpec, "NodeCompleted"):
            with pytest.raises(ValidationError, match="a hook is a function, or an EventHook"):
                flow.hook(wrong)
        flow.hook(NodeStarted | NodeCompleted)(_nothing)
        assert [hook.kinds for hook in flow._session.hooks] == [(NodeStarted, NodeCompleted)]
        with pytest.raises(ValidationError, match="a hook has no filter 'nod': did you mean 'node'"):
            flow.on_completed(nod="x")


# --- hooks as classes -------------------------------------------------------------------------


def test_only_the_methods_that_are_written_match():
    """An EventHook is asked about what its methods are for, and about nothing else."""

    class Starts(EventHook):
        async def on_start(self, ctx):
            return NodeSpec("first")

    class Ends(EventHook):
        def on_complete(self, ctx, success):
            return EmitEvent("end", success)

    class Handles(EventHook):
        def handle(self, ctx, event):
            yield EmitEvent(type(event).__name__)

    class All(Starts, Ends, Handles):
        pass

    found = [
        [make_hook(k).matches(e, "dag") for e in (BEGUN, COMPLETED, ENDED)]
        for k in (Starts, Ends, Handles, All)
    ]
    assert found == [[True, False, False], [False, False, True], [True, True, True], [True, True, True]]
    assert ask(Starts, BEGUN) == [AddNode(NodeSpec("first"))]
    assert ask(Ends(), ENDED) == [EmitEvent("end", True)]
    assert ask(Handles, COMPLETED) == [EmitEvent("NodeCompleted")]
    assert ask(All, BEGUN) == [AddNode(NodeSpec("first")), EmitEvent("RunStarted")]
    assert ask(All, ENDED) == [EmitEvent("end", True), EmitEvent("RunFinished")]
    assert not make_hook(EventHook).matches(COMPLETED, "dag") and ask(EventHook, COMPLETED) == []


def test_filters_of_a_class_are_for_handle():
    """`on_start` is still called where kinds or node are filtered; the workflow's name filters all."""

    class Both(EventHook):
        async def on_start(self, ctx):
            return EmitEvent("start")

        async def handle(self, ctx, event):
            return EmitEvent("handle")

    hook = make_hook(Both, kinds=NodeFailed, node="fetch_*", dag="dag")
    assert [hook.matches(e, "dag") for e in (BEGUN, COMPLETED, FAILED)] == [True, False, True]
    assert asyncio.run(hook.ask(CTX, BEGUN)) == [EmitEvent("start")]
    assert not hook.matches(BEGUN, "other") and not hook.matches(FAILED, "other")


def test_a_method_may_be_given_to_the_instance():
    """Also a method that was set on the object counts as written; so do objects with such methods."""
    hook = EventHook()
    hook.handle = lambda ctx, event: EmitEvent("set")
    assert ask(hook) == [EmitEvent("set")]

    class Duck:
        async def handle(self, ctx, event):
            return EmitEvent("duck")

    assert ask(Duck) == ask(Duck()) == [EmitEvent("duck")]


def test_a_method_that_cannot_be_called_is_found_at_the_definition():
    """With other parameters than it will be given, it is refused with what is right; names are free."""

    class NoContext(EventHook):
        async def handle(self, event):
            return None

    class NoSuccess(EventHook):
        def on_complete(self, ctx):
            return None

    class Keyword(EventHook):
        def on_start(self, *, ctx):
            return None

    for kind, right in (
        (NoContext, r"NoContext.handle .*write def handle\(self, ctx, event\)"),
        (NoSuccess, r"NoSuccess.on_complete .*write def on_complete\(self, ctx, success\)"),
        (Keyword, r"Keyword.on_start .*write def on_start\(self, ctx\)"),
    ):
        for hook in (kind, kind()):
            with pytest.raises(ValidationError, match=right) as found:
                make_hook(hook)
            assert found.value.culprit.startswith(kind.__name__)

    class Free(EventHook):
        def handle(self, context, what, more=1):
            return EmitEvent("free")

        def on_start(self, *everything, **more):
            return None

    assert ask(Free) == [EmitEvent("free")]


def test_composite():
    """Each hook of a composite is asked, the answers come one after the other."""

    class Starts(EventHook):
        async def on_start(self, ctx):
            return EmitEvent("start")

    class Both(EventHook):
        async def handle(self, ctx, event):
            return EmitEvent(type(event).__name__)

        async def on_complete(self, ctx, success):
            return EmitEvent("end", success)

    composite = CompositeHook([Starts, Both(), make_action(_function)])
    assert ask(composite) == [EmitEvent("NodeCompleted"), RetryNode("a")]
    assert ask(composite, BEGUN) == [EmitEvent("start"), EmitEvent("RunStarted"), RetryNode("a")]
    assert ask(composite, ENDED) == [EmitEvent("end", True), EmitEvent("RunFinished"), RetryNode("a")]
    assert asyncio.run(composite.on_complete(CTX, False)) == [EmitEvent("end", False)]
    only_start = make_hook(CompositeHook([Starts]))
    assert not only_start.matches(COMPLETED, "dag") and only_start.matches(BEGUN, "dag")
    assert repr(composite) == "CompositeHook(['Starts', 'Both', '_function'])"


def test_logging(caplog):
    """Each event is one line, whatever is in its texts, and without what nodes return."""
    caplog.set_level(logging.INFO, "dagflow_nb")
    evil = NodeRef("dag", "a\nERROR forged", "a")
    events = (
        COMPLETED,
        FAILED,
        BEGUN,
        ENDED,
        NodeStarted(evil),
        BranchPaused(None, "why"),
        BranchPaused("b"),
    )
    for event in (
        *events,
        HookFailed("h", "e"),
        CustomEvent("mine"),
        NodeCompleted(NODE, NodeOutput.failure("no")),
    ):
        ask(LoggingHook, event)
    assert [record.getMessage() for record in caplog.records] == [
        "dag r NodeCompleted fetch_1",
        "dag r NodeFailed fetch_1 (attempt 2) bad",
        "dag r RunStarted",
        "dag r RunFinished completed",
        "dag r NodeStarted 'a\\nERROR forged'",
        "dag r BranchPaused why",
        "dag r BranchPaused b",
        "dag r HookFailed h e",
        "dag r CustomEvent mine",
        "dag r NodeCompleted fetch_1 failed: no",
    ]
    caplog.clear()
    ask(LoggingHook(level=logging.DEBUG))
    assert caplog.records == []
