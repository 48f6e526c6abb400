"""Actions as classes, the context that actions are given, and the registry."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest

from dagflow_nb.actions import (
    ActionRegistry,
    InputError,
    NodeAction,
    NodeCtx,
    as_action,
    make_action,
    prepared,
    settings_of,
)
from dagflow_nb.cache import Cache, ReadOnlyCache
from dagflow_nb.core.model import NodeOutput
from dagflow_nb.errors import ActionNotFound, ValidationError


def double(value: int = 1) -> int:
    """Doubles a number."""
    return 2 * value


class Shout(NodeAction):
    """Shouts."""

    name = "shout"

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Shouts."""
        return NodeOutput.ok({"text": ctx.get_input("text").upper()})

    def validate_inputs(self, inputs: Any) -> Any:
        """Refuses the empty text."""
        return None if inputs.get("text") else "text is empty"


# --- classes ----------------------------------------------------------------------------------


def run(action: Any, **inputs: Any) -> NodeOutput:
    return asyncio.run(prepared(as_action(action)).execute(NodeCtx(node_id="n", inputs=inputs)))


def test_a_class_is_an_action():
    """Classes and instances are executed with their inputs validated before."""
    assert run(Shout, text="a").outputs == {"text": "A"}
    with pytest.raises(InputError, match="node 'n': action 'shout' refuses its inputs: text is empty"):
        run(Shout(), text="")
    assert settings_of(Shout()).executor == "async"
    shout = Shout()
    assert as_action(shout) is shout
    assert settings_of(as_action(shout, retries=1)).try_count == 2


@pytest.mark.parametrize("answer", ["wrong", ["wrong"], ("", "wrong"), False, ValueError("wrong"), 3])
def test_validate_inputs_may_answer_in_several_ways(answer):
    """A text, texts, False and an exception all refuse the inputs."""

    class Picky(NodeAction):
        async def execute(self, ctx):
            raise AssertionError("it must not run")

        def validate_inputs(self, inputs):
            if isinstance(answer, Exception):
                raise answer
            return answer

    with pytest.raises(InputError, match="Picky"):
        run(Picky)


@pytest.mark.parametrize("answer", [None, True, [], "", ()])
def test_validate_inputs_may_find_nothing(answer):
    """None, True and what is empty let the action run, also from an `async def`."""

    class Easy(NodeAction):
        async def execute(self, ctx):
            return {"ok": 1}

        async def validate_inputs(self, inputs):
            return answer

    assert run(Easy).outputs == {"ok": 1}


def test_names_of_classes():
    """The name is an attribute, a property, set in __init__, or else the class's own name."""

    class Plain(NodeAction):
        async def execute(self, ctx):
            return None

    class Child(Plain):
        pass

    class Property(Plain):
        @property
        def name(self):
            return "by property"

    class Given(Plain):
        def __init__(self):
            self.name = "given"

    @dataclass
    class Record(Plain):
        url: str
        name: str = "record"

    @dataclass
    class Named(Plain):
        name: str

    found = [a.name for a in (Plain(), Child(), Property(), Given(), Record("u"), Named("x"))]
    assert found == ["Plain", "Child", "by property", "given", "record", "x"]


def test_classes_that_are_not_written_right():
    """What is wrong with a class is said when it is registered."""

    class Method(Shout):
        def name(self):
            return "method"

    class Empty(Shout):
        name = ""

    class Sync(NodeAction):
        def execute(self, ctx):
            return None

    class Abstract(NodeAction):
        @abstractmethod
        def more(self):
            """More."""

    class Needs(Shout):
        def __init__(self, url):
            self.url = url

    wrong = {
        Method: "is a method",
        Empty: "name",
        Sync: "async def execute",
        Abstract: "has no execute, more",
        Needs: r"register an instance, Needs\(",
    }
    for kind, message in wrong.items():
        with pytest.raises(ValidationError, match=message):
            ActionRegistry().register(kind)
    with pytest.raises(ValidationError, match="not 3"):
        ActionRegistry().register(3)


def test_a_decorated_class_still_makes_instances():
    """Outside of workflows a class's wrapper is called as the class; an instance's says what to do."""

    @ActionRegistry().action
    class Loud(Shout):
        pass

    assert isinstance(Loud(), NodeAction) and Loud.name == "shout"
    with pytest.raises(TypeError, match="execute"):
        make_action(Shout())()


def test_schemas_of_classes():
    """A class's input schema tells what is missing or unknown at the start."""

    class Strict(Shout):
        input_schema = {  # noqa: RUF012  # as users write it
            "properties": {"text": {}, "mode": {"default": 1}},
            "required": ["text", "mode"],
            "additionalProperties": False,
        }

    action = prepared(Strict())
    assert [name for name, _ in action.input_problems({"txt"})] == ["text", "txt"]
    assert action.input_schema is Strict.input_schema and action.output_schema is None
    assert prepared(Shout()).input_problems({"anything"}) == []
    assert as_action(double).output_schema is None
    assert as_action(double, outputs="a").output_schema == {"type": "object", "properties": {"a": {}}}


# --- the context ------------------------------------------------------------------------------


class Recorder:
    """A channel that remembers."""

    cancelled = True

    def __init__(self) -> None:
        self.said: list[Any] = []

    def log(self, *what: Any) -> None:
        """Remembers."""
        self.said.append(("log", *what))

    def progress(self, *what: Any) -> None:
        """Remembers."""
        self.said.append(("progress", *what))

    def emit(self, *what: Any) -> None:
        """Remembers."""
        self.said.append(("emit", *what))

    def stream(self, *what: Any) -> None:
        """Remembers."""
        self.said.append(("stream", *what))

    def usage(self, *what: Any) -> None:
        """Remembers."""
        self.said.append(("usage", *what))


def test_what_a_context_says():
    """Logs, progress, events, tokens and usage go to the channel in one form."""
    channel = Recorder()
    ctx = NodeCtx("d", "n", "a", "r", 2, {}, None, None, channel)
    ctx.log("hello")
    ctx.log(3, level=30)
    ctx.progress(0.5, "half")
    ctx.progress(7)
    ctx.emit("found", {"rows": 1})
    ctx.stream("tok")
    ctx.report_usage(tokens=10, cost=0.5)
    assert ctx.cancelled is True
    assert channel.said == [
        ("log", "hello", "INFO"),
        ("log", "3", "WARNING"),
        ("progress", 0.5, "half"),
        ("progress", 1.0, None),
        ("emit", "found", {"rows": 1}),
        ("stream", "tok"),
        ("usage", 10, 0.5),
    ]
    for wrong in (
        lambda: ctx.progress("much"),
        lambda: ctx.progress(float("nan")),
        lambda: ctx.emit(""),
        lambda: ctx.report_usage(tokens=-1),
        lambda: ctx.report_usage(cost="much"),
        lambda: ctx.report_usage(tokens=True),
    ):
        with pytest.raises(ValidationError):
            wrong()
    assert len(channel.said) == 7


def test_a_context_without_a_channel():
    """An action can be tested by itself: what it says goes nowhere."""
    ctx = NodeCtx()
    for say in (
        lambda: ctx.log("a"),
        lambda: ctx.progress(1),
        lambda: ctx.emit("a"),
        lambda: ctx.stream("a"),
    ):
        say()
    ctx.report_usage(1)
    assert ctx.cancelled is False and ctx.attempt == 1 and ctx.cache.get("a", "b", 3) == 3


def test_a_context_is_frozen():
    """Neither its fields nor its inputs can be set."""
    ctx = NodeCtx(node_id="n", action="a", inputs={"x": 1})
    with pytest.raises(FrozenInstanceError):
        ctx.node_id = "m"
    with pytest.raises(FrozenInstanceError):
        del ctx.node_id
    with pytest.raises(TypeError):
        ctx.inputs["y"] = 2
    assert repr(ctx) == "NodeCtx(node_id='n', action='a', attempt=1, inputs=['x'])"


def test_inputs_of_a_context():
    """They are read with a type, and a missing one names those there are."""
    ctx = NodeCtx(
        node_id="n", inputs={"count": "3", "none": None}, cache=ReadOnlyCache(Cache({"a": {"b": 1}}))
    )
    assert ctx.get_input("count") == "3" and ctx.get_input("count", int) == 3
    assert ctx.get_input_opt("nothing") is None and ctx.get_input_opt("none", int) is None
    assert ctx.get_input_opt("count", int) == 3 and ctx.cache.get("a", "b") == 1
    with pytest.raises(KeyError, match="node 'n': there is no input 'cuont': did you mean 'count'"):
        ctx.get_input("cuont")
    with pytest.raises(InputError, match="node 'n': input 'count' takes list"):
        ctx.get_input("count", list[int])


# --- the registry -----------------------------------------------------------------------------


def test_the_registry():
    """Actions are found by name; a name registered again is replaced; copies are apart."""
    actions = ActionRegistry()
    shout = Shout()
    assert actions.register(shout) is shout and actions.get("shout") is shout
    assert "shout" in actions and actions.contains("shout") and not actions.contains("x")
    assert actions.get("x") is None and actions.list() == ["shout"] and len(actions) == 1
    other = actions.copy()
    actions.register(double, name="shout")
    assert actions.get("shout").name == "shout" and actions.get("shout") is not shout
    assert other.get("shout") is shout and [*actions] == ["shout"]

    @actions.action("named", timeout=3)
    def something():
        return None

    assert something.name == "named" and actions.get("named") is something.action
    with pytest.raises(ActionNotFound, match="did you mean 'named'"):
        actions.need("namde", "n")
    assert actions.need("named") is something.action
    other.update(actions)
    assert other.list() == ["shout", "named"]
    assert repr(other) == "ActionRegistry(['shout', 'named'])"
    with pytest.raises(ValidationError):
        other.update({"a": 1})
