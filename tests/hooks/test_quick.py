"""`def` hooks that provably only look, count and decide are called on the loop; all others in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import linecache
import re
import threading
import types
from collections import namedtuple
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import dagflow_nb
from dagflow_nb import DagFlow, NodeSpec
from dagflow_nb.core.messages import NodeCompleted, RetryNode
from dagflow_nb.core.model import NodeOutput, NodeRef
from dagflow_nb.hooks import EventHook, HookContext, calling, make_hook, quick
from dagflow_nb.testing import Gate

NODE = NodeRef("dag", "fetch_1", "fetch")
RAN: list[str] = []  # what of somebody's code has run
_numbers = itertools.count()


def _spy(name: str) -> Any:
    def method(self: Any, *rest: Any) -> Any:
        RAN.append(name)
        return 1 if name in ("__len__", "__hash__") else "" if name in ("__str__", "__format__") else True

    return method


_HOOKS = (
    "eq ne lt le gt ge hash bool len contains getitem iter str format add radd sub rsub mul rmul mod rmod"
)
Spy: Any = type("Spy", (), {f"__{name}__": _spy(f"__{name}__") for name in [*_HOOKS.split(), "call"]})
SPY = Spy()


class Plain:
    """An object whose attributes are just there."""

    kind = "plain"

    def __init__(self) -> None:
        self.executed, self.n, self.spy, self.limits = 3, 10, SPY, {"a": 1, "deep": {"b": [1, 2]}}

    def method(self) -> int:
        RAN.append("method")
        return 1

    @property
    def slow(self) -> int:
        RAN.append("property")
        return 1

    @property
    def __secret(self) -> int:
        RAN.append("property")
        return 1


class Slotted:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 1


class Dynamic(Plain):
    def __getattr__(self, name: str) -> Any:
        RAN.append("__getattr__")
        return 1


class Intercepting(Plain):
    def __getattribute__(self, name: str) -> Any:
        RAN.append("__getattribute__")
        return object.__getattribute__(self, name)


class Guarded(Plain):
    def __setattr__(self, name: str, value: Any) -> None:
        RAN.append("__setattr__")
        object.__setattr__(self, name, value)


class Key(str):
    """A key that is found by a text of the same hash."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        RAN.append("__eq__")
        return True


class Text(str):
    def __eq__(self, other: object) -> bool:
        RAN.append("__eq__")
        return True

    __hash__ = str.__hash__


class Stage(Enum):
    ONE = 1


Point = namedtuple("Point", "x")  # it is one of those that are not typed


def _names() -> dict[str, Any]:
    """What the functions below find around them."""
    found: dict[str, Any] = {
        name: getattr(dagflow_nb, name) for name in ("NodeSpec", "AddNodes", "RetryNode", "NodeFailed", "ref")
    }
    found |= {"d": dagflow_nb, "threading": threading, "module": types.ModuleType("module"), "Stage": Stage}
    found |= {
        "n": 3,
        "text": "abc",
        "c": [1, 2.5, SPY],
        "state": {"rounds": 0},
        "many": dict.fromkeys(range(200)),
    }
    found |= {"w": Plain(), "slotted": Slotted(), "simple": SimpleNamespace(n=1, spy=SPY), "spy": SPY}
    found |= {"dynamic": Dynamic(), "intercepting": Intercepting(), "guarded": Guarded(), "odd": Text("abc")}
    found |= {"keys": {Key("rounds"): 1}, "stage": Stage.ONE, "point": Point(1)}
    return found | {"helper": lambda *_: RAN.append("helper"), "step": lambda: None}


def cell(text: str, **names: Any) -> dict[str, Any]:
    """The names after these lines, which can be read as those of a cell."""
    file = f"<quick {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    found = {**_names(), **names}
    exec(compile(text, file, "exec"), found)
    return found


def define(body: str, parameters: str = "ctx, event, outputs", **names: Any) -> Any:
    """A function of these lines."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return cell(f"def hook({parameters}):\n{lines}", **names)["hook"]


def completed(outputs: Any = None) -> NodeCompleted:
    return NodeCompleted(NODE, NodeOutput.ok(outputs or {"rows": 3, "table": SPY}), run_id="r", seq=2, at=6.0)


def arguments(event: Any = None, app_data: Any = None) -> dict[str, Any]:
    event = event or completed()
    outputs = getattr(event, "outputs", None)
    return {"ctx": HookContext("r", "dag", app_data), "event": event, "outputs": outputs}


def holds(function: Any, event: Any = None, app_data: Any = None) -> bool:
    """Whether a call would be made on the loop."""
    proof = quick.prove(function)
    return proof is not None and proof.holds((), arguments(event, app_data))


ACCEPTED = [
    "pass",
    "'''Says something.'''\nreturn None",
    "if w.executed < w.n:\n    return d.NodeSpec('step', id=f'n{w.executed}', deps=[event.node.node_id])",
    "if outputs['rows'] > 2:\n    return NodeSpec('big', inputs={'a': outputs['table'], 'b': ref('x.rows')})",
    "if isinstance(event, NodeFailed) and event.attempt < 3:\n    return RetryNode(event.node.node_id)",
    "if isinstance(event, (NodeFailed, d.NodeCompleted)):\n    return NodeSpec(step)",
    "node = event.node\nname = node.action if node.action != 'x' else node.node_id\nreturn NodeSpec(name)",
    "yield NodeSpec('a')\nif not event.outcome.success:\n    return\nyield NodeSpec('b').with_id(text)",
    "return AddNodes([NodeSpec('a', id='a'), NodeSpec('b', deps=('a',), timeout=1.5 * n)])",
    "c[0] += 1\nif c[0] < n:\n    return NodeSpec('step', id=f'n{c[0]:03d}')",
    "state['rounds'] += 1\nreturn None if state['rounds'] > 3 else [NodeSpec('again')]",
    "w.executed += 1\nspy.x = 1\nsimple.n -= 1\nslotted.n += 1\nw.seen = True",
    "global n\nn += 1\nif n % 2 == 0 or n // 2 >= 10 and -n < 0:\n    return NodeSpec('even')",
    "if event.node.node_id.startswith(('a', 'fetch')) and 'fetch' in event.node.action.lower():\n    return",
    "if outputs.get('rows', 0) > 2 and 'rows' in outputs and len(outputs) < 9:\n    return [NodeSpec('a')]",
    "if event.node.action in ('fetch', 'load') and event.node.node_id not in {'a', 'b'}:\n    return []",
    "if w.limits['deep']['b'][-1] == 2 and w.kind is not None:\n    return NodeSpec('a', tags=['x'])",
    "if ctx.app_data is None or ctx.run_id == 'r':\n    return NodeSpec('a', inputs={**outputs, 'x': spy})",
    "count: int = int('3') + len(text)\nreturn NodeSpec('a', id=str(min(count, 5)), try_count=abs(count))",
    "return outputs['missing'].further",  # Python's own error
    "return unknown",
    "return NodeSpec()",
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_a_function_that_only_looks_counts_and_decides_is_proved(body: str) -> None:
    """Plain statements about plain values: the call may be made on the loop, and runs nobody's code."""
    function = define(body)
    RAN.clear()
    assert holds(function) and not RAN
    with contextlib.suppress(KeyError, NameError, TypeError):
        list(function(**arguments()) or ())
    assert not RAN


REFUSED = {
    "sleeps": "import time\ntime.sleep(1)",
    "calls a module's function": "threading.Event().wait()",
    "calls a global function": "return helper(event)",
    "calls a method": "return w.method()",
    "prints": "print(event)",
    "opens a file": "return open('x').read()",
    "loops": "while n > 3:\n    pass",
    "loops over something": "for name in outputs['rows']:\n    yield NodeSpec('a')",
    "comprehends": "return [NodeSpec('a') for _ in outputs]",
    "defines": "def inner():\n    return helper()\nreturn inner()",
    "makes a lambda": "return (lambda: 1)()",
    "recurses": "return hook(ctx, event, outputs)",
    "imports": "import socket",
    "opens a context": "with w:\n    return None",
    "tries": "try:\n    return None\nexcept ValueError:\n    return None",
    "raises": "raise StopIteration",
    "asserts": "assert spy == 1",
    "deletes": "del state['rounds']",
    "unpacks": "a, b = spy",
    "matches": "match spy:\n    case 1:\n        return None",
    "yields from": "yield from spy",
    "awaits an answer": "x = yield\nreturn x",
    "assigns in an expression": "return (x := spy)",
    "computes a power": "return 9 ** n",
    "shifts": "return 1 << n",
    "repeats a text": "return text * n",
    "formats by percent": "return text % n",
    "widens": "return f'{n:{w.n}}'",
    "widens by much": "return f'{n:99999d}'",
    "rounds to the left": "return round(n, -9999999)",
    "looks up a computed key": "return state[event.node.node_id]",
    "stores an object": "state['event'] = event",
    "stores a text": "w.last = event.node.node_id",
    "stores where a method says": "w.method().x = 1",
    "spreads arguments": "return NodeSpec(*c)",
    "spreads named arguments": "return NodeSpec('a', **state)",
    "spreads a list": "return [*spy]",
    "sorts": "return sorted(c)",
    "asks another class": "return isinstance(event, Stage)",
    "gets an attribute by name": "return getattr(w, 'slow')",
    "uses an attribute that a class calls otherwise": "return w.__secret",
    "takes what a parameter is": "return event(1)",
    "appends": "c.append(1)",
    "sets a node's id to an object": "return NodeSpec('a', id=[spy])",
    "compares lists": "return [spy] == [1]",
    "evaluates": "return eval('1')",
    "warns": "return ~True",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_whatever_else_a_function_does_keeps_it_in_a_thread(body: str) -> None:
    """What is not known to be harmless is not proved, whatever it looks at."""
    assert not holds(define(body))


TREACHEROUS = """
spy == 1 | spy < 1 | spy + 1 | 1 + spy | not spy | spy and 1 | f'{spy}' | len(spy) | str(spy) | -spy
spy['a'] | 'a' in spy | spy in ('a',) | spy() | spy.x() | 1 if spy else 2 | {spy: 1} | w.spy == 1
c[2] > 1 | simple.spy + 1 | outputs['table'] == 1 | outputs.get('table', 0) < 1 | outputs.get('x', spy) < 1
(spy if n else 1) > 1 | event.outcome.outputs['table'] > 1 | w.slow | dynamic.n | intercepting.n | w.method.x
point.x | stage.value | Stage.ONE | keys['rounds'] | 'rounds' in keys | {**keys, 'rounds': 1} | odd == 'abc'
many['x'] | module.x | NodeSpec('a', deps=spy) | NodeSpec(spy) | NodeSpec('a', inputs=spy) | min(spy, 1)
ctx.app_data.x | spy['a']['b'] | NodeSpec('a').with_inputs(spy) | text.startswith(spy) | w.limits == spy
text.upper | NodeSpec('a').with_inputs(keys, rounds=1) | NodeSpec('a').with_inputs(inputs=keys)
"""


@pytest.mark.parametrize("expression", re.split(r" \| |\n", TREACHEROUS.strip()))
def test_values_that_are_not_plain_are_left_to_the_thread(expression: str) -> None:
    """A property, a class with a say in the matter, somebody's operator: nothing of it runs on the loop."""
    function = define(f"return {expression}")
    RAN.clear()
    assert not holds(function, app_data=Dynamic()) and not RAN


@pytest.mark.parametrize("body", ["guarded.n += 1", "event.seq += 1", "w.slow += 1", "keys['rounds'] = 1"])
def test_numbers_are_set_only_where_nobody_hears_of_it(body: str) -> None:
    """`__setattr__`, a property or a frozen record: such a call is made in a thread."""
    function = define(body)
    RAN.clear()
    assert not holds(function) and not RAN


def test_carrying_an_object_is_no_look_at_it() -> None:
    """Objects may be handed on and compared by `is`, whatever they are."""
    function = define(
        "x = spy\nif x is not None and outputs['table'] is x:\n    return NodeSpec('a', inputs={'x': x})"
    )
    RAN.clear()
    assert holds(function)
    assert function(**arguments()).inputs["x"] is SPY and not RAN


def test_a_proof_is_about_the_values_of_the_moment() -> None:
    """What is bound to something else after the definition is looked at again before each call."""
    function = define("if w.executed < n:\n    return NodeSpec('a')")
    RAN.clear()
    proof, names = quick.prove(function), function.__globals__
    assert proof is not None and proof.holds((), arguments())
    for name, other in {"n": SPY, "w": Dynamic(), "NodeSpec": lambda *_: None}.items():
        before, names[name] = names[name], other
        assert not proof.holds((), arguments()), name
        names[name] = before
        assert proof.holds((), arguments())
    names["w"].executed = SPY
    assert not proof.holds((), arguments())
    names["w"].executed = 1
    assert proof.holds((), arguments())
    Plain.executed = property(_spy("property"))  # type: ignore[attr-defined]
    try:
        assert not proof.holds((), arguments())
    finally:
        del Plain.executed  # type: ignore[attr-defined]
    for name in ("__getattr__", "__getattribute__"):
        setattr(Plain, name, _spy(name))
        try:
            assert not proof.holds((), arguments())
        finally:
            delattr(Plain, name)
        assert proof.holds((), arguments())
    assert not RAN
    function.__code__ = define("return helper()").__code__
    assert not proof.holds((), arguments())


def test_a_module_that_has_got_another_class_is_no_plain_one() -> None:
    """Its attributes may be anybody's code then."""

    class Spying(types.ModuleType):
        @property
        def limit(self) -> int:
            RAN.append("property")
            return 1

    module = types.ModuleType("module")
    module.limit = 3  # type: ignore[attr-defined]
    proof = quick.prove(define("if module.limit > 2:\n    return NodeSpec('a')", module=module))
    RAN.clear()
    assert proof is not None and proof.holds((), arguments())
    module.__class__ = Spying
    assert not proof.holds((), arguments()) and not RAN


def test_a_builtin_of_another_meaning_is_no_builtin() -> None:
    """A name counts for what it stands for."""
    assert holds(define("return len(text) < 2"))
    assert not holds(define("return len(text) < 2", len=lambda _: 1))
    shadowed = define("return len(text) < 2")
    proof = quick.prove(shadowed)
    shadowed.__globals__["len"] = lambda _: 1
    assert proof is not None and not proof.holds((), arguments())


def test_variables_around_it_defaults_and_lambdas_count_as_globals_do() -> None:
    """Closures, defaults, keyword-only parameters, lambdas and methods are read alike."""
    limit: Any = 3

    def around(event, least=0, *, most=9):
        if least < limit < most:
            return NodeSpec("a")

    proof, given = quick.prove(around), {"event": completed()}
    assert proof is not None and proof.holds((), given)
    assert not proof.holds((), {**given, "least": SPY})
    around.__kwdefaults__["most"] = SPY
    assert not proof.holds((), given)
    around.__kwdefaults__["most"] = 9
    limit = SPY
    assert not proof.holds((), given)

    class Growing(EventHook):
        def __init__(self, most: Any) -> None:
            self.most, self.rounds = most, 0

        def handle(self, ctx, event):
            self.rounds += 1
            if self.rounds < self.most:
                return NodeSpec("a")

    for most, expected in ((5, True), (SPY, False)):
        handle = quick.prove(Growing(most).handle)
        assert handle is not None
        assert handle.holds((HookContext(), completed()), {}) is expected
    short = quick.prove(cell("short = lambda event: NodeSpec(event.node.node_id)")["short"])
    assert short is not None and short.holds((), {"event": completed()})


def test_what_has_no_source_or_is_no_plain_function_is_not_proved() -> None:
    """Without the very lines that run there is no proof."""
    names: dict[str, Any] = {}
    exec("def hook(event):\n    return None", names)
    assert quick.prove(names["hook"]) is None
    function = define("return NodeSpec('a')")
    assert quick.prove(functools.partial(function)) is None
    assert quick.prove(Plain().method) is None
    assert quick.prove(print) is None
    assert quick.prove(define("return None", "*events")) is None
    linecache.cache[function.__code__.co_filename] = (1, None, ["def hook(ctx, event, outputs): pass\n"], "")
    assert quick.prove(function) is None
    assert quick.prove(define("\n".join(["x = 1"] * 5_000))) is None


# --- where it is called ------------------------------------------------------------------------


@pytest.fixture
def on_loop(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a `def` hook was made on the loop, not in a thread for hooks."""
    seen: list[bool] = []
    call = calling.Plain.call

    def watched(self: Any, first: Any, named: Any) -> Any:
        seen.append(not threading.current_thread().name.startswith("dagflow-hook"))
        return call(self, first, named)

    monkeypatch.setattr(calling.Plain, "call", watched)
    monkeypatch.setattr(calling, "READ_AT", 1)
    return seen


def ask(hook: Any, *events: Any) -> list[Any]:
    async def main() -> list[Any]:
        return [await hook.ask(HookContext("r", "dag"), event) for event in events]

    return asyncio.run(main())


def test_a_proved_hook_is_called_on_the_loop_once_it_has_been_read(on_loop: list[bool]) -> None:
    """The first calls are made in a thread, where the source is read at last; the answers are the same."""
    calling.READ_AT = 3
    hook = make_hook(define("return RetryNode(event.node.node_id)"))
    assert ask(hook, *[completed()] * 5) == [[RetryNode("fetch_1")]] * 5
    assert on_loop == [False, False, False, True, True]


def test_one_that_is_not_proved_stays_in_a_thread(on_loop: list[bool]) -> None:
    """However quick it is."""
    hook = make_hook(define("helper()"))
    ask(hook, completed(), completed(), completed())
    assert on_loop == [False, False, False]


def test_a_single_value_that_is_not_plain_sends_that_call_to_a_thread(on_loop: list[bool]) -> None:
    """The proof is asked for each call."""
    hook = make_hook(define("if outputs['rows'] < 3:\n    return RetryNode('a')"))
    events = [completed({"rows": rows}) for rows in (1, 2, SPY, 3)]
    assert [len(answer) for answer in ask(hook, *events)] == [1, 1, 1, 0]
    assert on_loop == [False, True, False, True]


def test_a_hook_that_was_slow_is_called_in_a_thread_until_it_is_quick_again(
    on_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock has the last word, as texts may be very long."""
    now = iter([0, 0.0001, 1, 1.0001, 2, 2.5, 3, 3.5, 4, 4.0001, 5, 5.0001])
    monkeypatch.setattr(calling, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    hook = make_hook(define("return RetryNode('a')"))
    ask(hook, *[completed()] * 6)
    assert on_loop == [False, True, True, False, False, True]


def test_errors_and_yields_are_the_same_on_the_loop(on_loop: list[bool]) -> None:
    """What it raises is raised, what it yields are its commands, and Python's own errors are its own."""
    hook = make_hook(
        define("yield RetryNode('a')\nif outputs['rows'] > 2:\n    yield RetryNode(outputs['name'])")
    )
    few, many = completed({"rows": 1}), completed({"rows": 3})
    assert ask(hook, few, few) == [[RetryNode("a")]] * 2
    with pytest.raises(KeyError, match="name"):
        ask(hook, many)
    assert on_loop == [False, True, True]


@pytest.mark.parametrize("late", [False, True])
def test_growth_by_a_proved_hook_is_growth(on_loop: list[bool], late: bool) -> None:
    """A run in which a `def` hook adds one node after the other; where it was not there yet when the workflow
    was added, its first call is made in a thread."""
    flow = DagFlow("sqlite::memory:", echo=False)
    count = 0
    workflow = dagflow_nb.Workflow("growing")
    workflow.add("step", id="n0")

    @flow.action
    def step():
        return {"ok": True}

    if late:
        flow.add_workflow(workflow)

    @flow.on_completed(action="step")
    def grow(event):
        nonlocal count
        count += 1
        if count < 10 and event.outputs["ok"]:
            return NodeSpec("step", id=f"n{count}", deps=[event.node.node_id])

    if not late:
        flow.add_workflow(workflow)

    async def main() -> Any:
        return await flow.run_async("growing", view=False)

    run = asyncio.run(main())
    assert run.status == "completed" and len(run.outputs) == 10
    assert on_loop == [not late] + [True] * 9
    flow.close()


def test_a_slow_hook_beside_a_proved_one_holds_nothing_up(on_loop: list[bool]) -> None:
    """While one hook waits in its thread the loop goes on."""
    gate = Gate()
    slow, fast = make_hook(lambda event: gate.hold()), make_hook(define("return RetryNode('a')"))

    async def main() -> None:
        waiting = asyncio.ensure_future(slow.ask(HookContext(), completed()))
        for _ in range(3):
            assert await fast.ask(HookContext(), completed()) == [RetryNode("a")]
        assert not waiting.done() and on_loop.count(True) == 2
        gate.open()
        await waiting

    asyncio.run(main())


# --- whatever is written -----------------------------------------------------------------------

_ATOMS = st.sampled_from(
    ["1", "-2", "0.5", "'a'", "None", "True", "n", "text", "w.n", "c[0]", "spy", "w.spy"]
)
_LOOKS = [
    "c[2]",
    "outputs['rows']",
    "outputs['table']",
    "event.node.node_id",
    "w.slow",
    "w.limits",
    "keys",
    "odd",
]
_LOOKS += [
    "dynamic.x",
    "x",
    "state['rounds']",
    "outputs.get('table', n)",
    "simple.spy",
    "w.missing",
    "ctx.app_data",
]


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = "{} + {}|{} - {}|{} * {}|{} % {}|{} < {}|{} == {}|{} in {}|{} is {}|{} and {}|{} or {}|[{}, {}]"
    two += "|({}, {})|{{{}: {}}}|{}.get({})|min({}, {})|{} in ({}, 1)|{}.startswith({})|NodeSpec({}, id={})"
    one = "not {}|-{}|len({})|str({})|int({})|bool({})|{}.x|{}.n|{}['a']|{}[0]|NodeSpec('a', deps={})"
    one += (
        "|NodeSpec('a', inputs={})|NodeSpec('a', inputs={{'x': {}}})|isinstance({}, str)|{}.lower()|{{**{}}}"
    )
    return st.one_of(
        st.builds(
            str.format, st.sampled_from(two.split("|")), inner.map("({})".format), inner.map("({})".format)
        ),
        st.builds(str.format, st.sampled_from(one.split("|")), inner.map("({})".format)),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        inner.map(lambda text: text if '"' in text else f'f"{{({text}):>4}}"'),
    )


EXPRESSIONS = st.recursive(_ATOMS | st.sampled_from(_LOOKS), _grown, max_leaves=6)
LINES = st.one_of(
    EXPRESSIONS.map("x = {}".format),
    EXPRESSIONS.map("yield {}".format),
    st.builds("if {}:\n    x = {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds(
        "{} = {}".format,
        st.sampled_from(["w.n", "c[0]", "w.limits", "guarded.n", "state['rounds']"]),
        EXPRESSIONS,
    ),
    st.builds(
        "{} += {}".format,
        st.sampled_from(["x", "w.n", "c[0]", "c[2]", "w.slow", "state['rounds']"]),
        EXPRESSIONS,
    ),
)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=4))
def test_no_call_for_which_a_proof_holds_runs_code_of_anybody(lines: list[str]) -> None:
    """Random functions over plain and treacherous values: neither the proof nor the call runs any method."""
    function = define("\n".join(["x = None", *lines]))
    RAN.clear()
    proof = quick.prove(function)
    is_harmless = proof is not None and proof.holds((), arguments())
    assert not RAN
    if is_harmless:
        with contextlib.suppress(Exception):
            list(function(**arguments()) or ())
        assert not RAN, lines
