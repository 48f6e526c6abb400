"""Every input, event and node definition comes back from its text, but for what is stored elsewhere."""

from __future__ import annotations

import json
import threading
import typing
from collections import OrderedDict
from dataclasses import fields, is_dataclass, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb.codec import (
    Codec,
    MissingValue,
    dump_defs,
    dump_event,
    dump_input,
    load_defs,
    load_event,
    load_input,
)
from dagflow_nb.config import DagConfig
from dagflow_nb.core import messages as m
from dagflow_nb.core.model import (
    EMPTY,
    Form,
    HumanTimeoutAction,
    NodeDef,
    NodeOutput,
    NodeRef,
    NodeSpec,
    NodeStatus,
    OnFailure,
    Ref,
    When,
)
from dagflow_nb.core.retry import RetryStrategy
from dagflow_nb.errors import SerializationError

CODEC = Codec()
AT = 1763936500.1234567
NODE = NodeRef("pipeline", "fetch.1", "fetch")
FORM = Form("Go on?", {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}, {"n": 3})
SPEC = NodeSpec(
    "fetch",
    "refetch",
    deps=["a", "b"],
    inputs={"x": Ref("a", ("rows", 0)), "y": [1, {"z": Ref("inputs", ("k",))}]},
    timeout=2.5,
    try_count=3,
    when="any_failed",
    replaces="a",
    ask=FORM,
    tags=["t"],
    on_failure="stop",
    failure="handler",
    cache={"ttl": 300},
    executor="process",
)
DEFS = (
    NodeDef(id="plain", action="fetch"),
    NodeDef(
        id="all",
        action="act",
        deps=("plain",),
        inputs={"x": Ref("plain"), "n": (1, {2}), "d": date(2024, 1, 1)},
        timeout=1.5,
        try_count=2,
        when=When.ONE_SUCCESS,
        on_failure=OnFailure.STOP,
        failure="handler",
        cache={"ttl": 300.0},
        executor="thread",
        ask=FORM,
        tags=("a", "b"),
        outputs=("x", "y"),
        description="ü😀",
        instructions="do",
        replaces="plain",
        kind="map",
        over={"path": Ref("plain", ("rows",)), "window": [6, 24]},
        limit=4,
        result={"a": [Ref("x")]},
        parent="group",
        item=3,
        defaults={"x": None},
    ),
    NodeDef(id="rows", action="act", kind="map", over=[{"a": 1}, {"a": 2}], outputs=()),
    NodeDef(id="rows2", action="act", kind="map", over=Ref("plain", ("frame",))),
    NodeDef(
        id="if",
        action="branch",
        kind="branch",
        inputs={"condition": Ref("all", ("ok",))},
        over={"then": ("all",), "otherwise": ("rows", "rows2")},
        cache=True,
        ask=Form(decision=True),
    ),
)
COMMANDS: tuple[Any, ...] = (
    m.AddNode(SPEC),
    m.AddNode(NodeSpec("fetch"), "other"),
    m.AddNodes([SPEC, NodeSpec("x", deps=())]),
    m.SetNodeInputs("a", {"x": Ref("b"), "t": (1,)}),
    m.PauseBranch("a", "why", FORM),
    m.PauseBranch("a", None, {"type": "object"}),
    m.ResumeBranch("a"),
    m.CancelBranch("a", "why"),
    m.EnableNodes(["a", "b"]),
    m.DisableNodes("a"),
    m.RetryNode("a"),
    m.SetNodeOutputs("a", {"x": {1}}),
    m.EmitEvent("name", {"x": date(2024, 1, 1)}),
)
ACTION_SETTINGS = MappingProxyType(
    {
        "fetch": m.ActionSettings(),
        "act": m.ActionSettings(
            3, RetryStrategy.linear(2), 5.0, OnFailure.PAUSE, "h", FORM, "dask", False, False, ("t",), True
        ),
    }
)
CONFIG = DagConfig(
    max_parallel_nodes=4,
    limits={"fetch": 2, "api": "60/min"},
    retry_strategy=RetryStrategy.exponential(jitter=0.1),
    on_failure=OnFailure.STOP,
    human_timeout_action=HumanTimeoutAction.FAIL,
    max_cost=1.5,
    branch_budgets={"a*": {"max_nodes": 3}},
    durability="sync",
)
INPUTS: tuple[Any, ...] = (
    m.Begin(AT, CONFIG, ACTION_SETTINGS, {"async": 100, "thread": 4}, ("a", "b")),
    m.Begin(AT, None),
    m.AttemptStarted("a", 2, AT),
    m.AttemptEnded("a", 1, AT, NodeOutput(returned="value")),
    m.AttemptEnded("a", 2, AT, NodeOutput(returned="none"), cached=True, jitter=0.25),
    m.AttemptEnded('größe\ud800"\\', 1, 5, NodeOutput.ok(metadata={"t": (1,)}, recovered=True)),
    m.AttemptEnded("a", 1, AT, NodeOutput.failure("no data")),
    m.AttemptEnded("a", 3, AT, error="ValueError: x\n😀", retryable=False, jitter=0.1),
    m.AttemptEnded("a", 3, AT, NodeOutput(returned="odd")),
    m.GroupOpened("a", 1, AT, 2, DEFS[:2]),
    m.GroupOpened("a", 1, AT, error="no list"),
    m.Answered(7, AT),
    m.Answered(7, 3),
    m.Answered(
        7, AT, tuple(("hook", command) for command in COMMANDS), (("other", "ValueError"),), ACTION_SETTINGS
    ),
    m.Applied(COMMANDS, AT, "user", ACTION_SETTINGS, "a"),
    m.Applied((), AT),
    m.PauseRun(AT, "why", "user"),
    m.Resume(AT, "a", {"ok": True, "when": datetime(2024, 1, 1)}, "user"),
    m.Resume(AT),
    m.Resume(AT, by="user", own={"": {}, "a": {"when": datetime(2024, 1, 1)}}),
    m.CancelRun(AT, "why", "user"),
    m.Interrupt(AT),
    m.FailRun(AT, "no disk"),
    m.Reopened(AT, CONFIG, ACTION_SETTINGS, {"dask": 8}, ("a", "b"), {"c": ("pw",)}),
    m.Reopened(AT, None),
    m.Forked(AT, ("a",), {"b": {"x": None}}),
    m.RetryNodes(AT, "a", False, "user"),
    m.UsageReported("a", AT, 10, 0.5),
    m.UsageReported("a", AT, 10.0),
    m.Tick(AT, 0.5),
)
EVENTS: tuple[Any, ...] = (
    m.RunStarted(),
    m.RunFinished(True, "completed"),
    m.NodeStarted(NODE),
    m.NodeCompleted(NODE, NodeOutput(returned="tuple")),
    m.NodeCompleted(NODE, NodeOutput.failure("why")),
    m.NodeCompleted(NODE, NodeOutput.ok(metadata={"a": {1}}, recovered=True)),
    m.NodeFailed(NODE, "error", None, 3),
    m.NodeRetrying(NODE, 1, 2.5, "error"),
    m.NodeSkipped(NODE, "why"),
    m.NodeCancelled(NODE),
    m.NodeCancelled(NODE, "why"),
    m.NodesAdded(DEFS, "a"),
    m.NodesAdded(()),
    m.NodeProgress(NODE, 0.5, "half"),
    m.NodeLog(NODE, "text\ud800", "WARNING", "stdout"),
    m.TokenStreamed(NODE, "tok"),
    m.CustomEvent("name", {"a": (1,)}, NODE),
    m.CustomEvent("name"),
    m.BranchPaused(None),
    m.BranchPaused("a", "b", "c"),
    m.BranchResumed("a", "user", {"x": (1,)}, True),
    m.BranchResumed(None),
    m.BranchCancelled("a", "why", "user"),
    *(m.CommandRejected(command, "why", "hook") for command in COMMANDS),
    m.CommandRejected("nonsense", "why"),
    m.HookFailed("hook", "error"),
    m.BudgetExceeded("max_cost", 1.0, 1.5, "a"),
)


def same(one: Any, other: Any) -> bool:
    """Equal in type too, all the way down."""
    if isinstance(one, typing.Mapping) and isinstance(other, typing.Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def event_again(event: Any, **more: Any) -> Any:
    """What `event` is after it was stored with its row."""
    event = replace(event, run_id="r", seq=5, at=AT)
    node = getattr(event, "node", None)
    text = dump_event(CODEC, event)
    text.encode()
    kind = type(event).__name__
    node_id = node and node.node_id
    found = load_event(CODEC, kind, "pipeline", lambda id: "fetch", "r", 5, AT, node_id, text, **more)
    assert same(
        load_event(CODEC, kind, "pipeline", {"fetch.1": "fetch"}, "r", 5, AT, node_id, text, **more), found
    )
    return event, found


def test_no_message_is_forgotten() -> None:
    """There is a sample, and so a round trip, of every input, event and command that there is."""
    for union, samples in ((m.Input, INPUTS), (m.ExecutionEvent, EVENTS), (m.ExecutorCommand, COMMANDS)):
        assert set(typing.get_args(union)) == {type(sample) for sample in samples}


@pytest.mark.parametrize("value", INPUTS, ids=lambda value: type(value).__name__)
def test_inputs(value: Any) -> None:
    """Every input comes back equal, in text that any database holds."""
    text = dump_input(CODEC, value)
    text.encode()
    json.loads(text)
    assert same(load_input(CODEC, text), value)


@pytest.mark.parametrize("value", INPUTS, ids=lambda value: type(value).__name__)
def test_inputs_that_are_plain_are_written_as_all_others(value: Any) -> None:
    """The short way for records with nothing but scalars in them makes the same text as the general one."""
    text = dump_input(CODEC, value)
    if not isinstance(value, m.AttemptEnded | m.Forked) and text[:1] != "[":
        assert json.loads(text) == json.loads(CODEC.dumps(value))


@pytest.mark.parametrize("value", EVENTS, ids=lambda value: type(value).__name__)
def test_events(value: Any) -> None:
    """Every event comes back equal, with the run, number, time and node of its row."""
    event, found = event_again(value)
    assert same(found, event)


@pytest.mark.parametrize("kind", typing.get_args(m.Input | m.ExecutionEvent), ids=lambda k: k.__name__)
def test_every_field_is_written(kind: Any) -> None:
    """A field that is given something else than its default is written: among the samples, each one was."""
    skipped = {"run_id", "seq", "at", "node", "exception", "outcome"}
    samples = [value for value in (*INPUTS, *EVENTS) if type(value) is kind]
    for one in fields(kind):
        if one.name not in skipped:
            assert any(getattr(value, one.name) != one.default for value in samples), one.name


def test_defs() -> None:
    """Definitions of nodes come back equal: references, maps, branches, forms, defaults, what was not set."""
    assert same(load_defs(CODEC, dump_defs(CODEC, DEFS)), DEFS)
    assert load_defs(CODEC, dump_defs(CODEC, iter(()))) == ()
    found = load_defs(CODEC, dump_defs(CODEC, DEFS))[0]
    assert found.inputs is EMPTY and found.when is When.ALL_SUCCESS
    for one in fields(NodeDef):
        assert any(getattr(node, one.name) != one.default for node in DEFS), one.name


plain_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
references = st.builds(
    Ref, st.text(max_size=3), st.lists(st.text(max_size=3) | st.integers(), max_size=2).map(tuple)
)


@settings(max_examples=200)
@given(
    st.builds(
        NodeDef,
        id=st.text(min_size=1, max_size=5),
        action=st.text(min_size=1, max_size=5),
        deps=st.lists(st.text(max_size=3), max_size=3).map(tuple),
        inputs=st.just(EMPTY)
        | st.dictionaries(
            st.text(max_size=3) | st.just("$dagflow"),
            plain_values | references | st.just((1, 2)),
            max_size=3,
        ).map(lambda given: MappingProxyType(given)),
        timeout=st.none() | st.floats(0.1, 10),
        when=st.sampled_from(list(When)),
        on_failure=st.none() | st.sampled_from(list(OnFailure)),
        cache=st.none() | st.booleans() | st.just("1h"),
        tags=st.lists(st.text(max_size=3), max_size=2).map(tuple),
        outputs=st.none() | st.just(()) | st.just(("a",)),
        description=st.text(max_size=5),
    )
)
def test_plain_defs_are_written_as_all_others(node: NodeDef) -> None:
    """A definition with nothing but scalars and references has the same text as by the general way."""
    general = json.loads(CODEC.dumps(node))
    text = dump_defs(CODEC, [node])
    text.encode()
    short = [node.id, node.action, list(node.deps)]
    assert json.loads(text) == ([general] if set(general["v"]) - {"id", "action", "deps"} else [short])
    assert same(load_defs(CODEC, text), (node,))


@pytest.mark.parametrize(
    "text", ['[["a"]]', '[["a",1,[]]]', '[["a","act","b"]]', '[["a","act",[1]]]', "[[]]"]
)
def test_a_damaged_short_definition(text: str) -> None:
    """It is a graph that cannot be read."""
    with pytest.raises(SerializationError, match="damaged"):
        load_defs(CODEC, text)


def test_growth_takes_few_bytes() -> None:
    """Nodes with nothing but their edges are added in a short list; others, and odd names, as records."""
    added = m.NodesAdded((NodeDef(id="b", action="act", deps=("a",)), NodeDef(id="c", action="act")), "a")
    assert dump_event(CODEC, added) == '{"nodes":[["b","act",["a"]],["c","act",[]]],"added_by":"a"}'
    half = NodeDef(id="half \ud800", action="act", deps=("a",))
    for event in (added, replace(added, nodes=(*added.nodes, DEFS[0])), replace(added, nodes=(half,))):
        one, other = event_again(event)
        assert same(one, other)
    for text in ('{"nodes":[["b","act"]]}', '{"nodes":[["b","act",[1]]],"added_by":"a"}', "{}"):
        with pytest.raises(SerializationError, match="damaged"):
            load_event(CODEC, "NodesAdded", "d", {}, "r", 1, AT, None, text)


def test_a_definition_with_nothing_but_its_name_takes_few_bytes() -> None:
    """A graph is stored with every run."""
    nodes = [NodeDef(id="a", action="act"), NodeDef(id="b", action="act", deps=("a",))]
    assert dump_defs(CODEC, nodes) == '[["a","act",[]],["b","act",["a"]]]'
    text = dump_defs(CODEC, [*nodes, NodeDef(id="half \ud800", action="act")])
    text.encode()
    assert load_defs(CODEC, text)[:2] == tuple(nodes)


def test_the_usual_end_of_a_node_takes_few_bytes() -> None:
    """What every node brings is a short list, as it is stored for every node."""
    assert dump_input(CODEC, m.AttemptEnded("a", 1, 2.5, NodeOutput({"x": 1}))) == '["a",1,2.5,"mapping"]'
    assert dump_input(CODEC, m.Answered(7, 2.5)) == "[7,2.5]"
    added = m.AddNode(NodeSpec("act", id="b", deps=["a"])), m.AddNode(NodeSpec("act"))
    answered = m.Answered(7, 2.5, tuple(("grow", command) for command in added))
    text = '[7,2.5,["grow","act","b",["a"]],["grow","act",null,null]]'
    assert dump_input(CODEC, answered) == text and load_input(CODEC, text) == answered


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=3),
            st.builds(
                NodeSpec,
                action=st.text(min_size=1, max_size=3) | st.just(len),
                id=st.none() | st.text(max_size=3),
                deps=st.none() | st.lists(st.text(max_size=3), max_size=2),
                timeout=st.none() | st.just(1.5),
                when=st.just("all_success") | st.just("all_done"),
                tags=st.just(()) | st.just(("x",)),
                failure=st.none() | st.just("mend"),
            ),
            st.none() | st.text(max_size=2),
        ),
        max_size=3,
    )
)
def test_an_answer_that_adds_nodes_is_read_as_it_was(given: list[tuple[str, NodeSpec, str | None]]) -> None:
    """By the short way or the general one; a function is known by its name."""
    answered = m.Answered(7, 2.5, tuple((by, m.AddNode(spec, dag)) for by, spec, dag in given))
    text = dump_input(CODEC, answered)
    text.encode()
    named = [
        (by, m.AddNode(replace(spec, action="len") if spec.action is len else spec, dag))
        for by, spec, dag in given
    ]
    assert same(load_input(CODEC, text), replace(answered, commands=tuple(named)))


def test_outputs_and_exceptions_are_left_out() -> None:
    """Outputs, which are artifacts, and exceptions are in no message, whatever they hold."""
    bad = ValueError("x")
    outputs = {"frame": pd.DataFrame({"secret_column": [1]}), "lock": threading.Lock()}
    outcome = NodeOutput.ok(outputs, metadata={"m": 1})
    for ended in (
        m.AttemptEnded("a", 1, AT, outcome),
        m.AttemptEnded("a", 1, AT, NodeOutput(outputs)),
        m.AttemptEnded("a", 1, AT, NodeOutput(outputs, success=False, error="e")),
        m.AttemptEnded("a", 1, AT, error="e", exception=bad),
    ):
        text = dump_input(CODEC, ended)
        assert "secret_column" not in text and "ValueError" not in text
        kept = ended.outcome and replace(ended.outcome, outputs=EMPTY)
        assert same(load_input(CODEC, text), replace(ended, outcome=kept, exception=None))
    assert load_input(CODEC, dump_input(CODEC, m.GroupOpened("a", 1, AT, 0, (), "e", bad))).exception is None  # type: ignore[union-attr]
    event, found = event_again(m.NodeCompleted(NODE, outcome))
    assert found.outcome == replace(outcome, outputs=EMPTY)
    assert event.outcome.outputs is outputs
    assert event_again(m.NodeFailed(NODE, "e", bad))[1].exception is None
    found = event_again(m.NodeCompleted(NODE, NodeOutput({"a": 1})), outputs_of=lambda id: {"id": id})[1]
    assert found.outputs == {"id": "fetch.1"}


def test_gaps_in_inputs() -> None:
    """An input of a node that cannot be written is a `MissingValue`, in its own place only."""
    explodes: Any = 1
    for _ in range(90):
        explodes = [explodes, explodes]
    circle: dict[str, Any] = {}
    circle["me"] = circle
    inputs = {
        "lock": threading.Lock(),
        "nested": [1, {"f": print}],
        "circle": circle,
        "explodes": explodes,
        "secret": pydantic.SecretStr("s3cr3t"),
        "in_object": Form(schema={"x": print}),
        "fine": (1,),
        "frame": pd.DataFrame({"a": [1, 2]}),
        "array": np.arange(1000),
    }
    answered = m.Answered(
        1, AT, (("h", m.AddNodes([NodeSpec("a", inputs=inputs), SPEC])), ("h", COMMANDS[0]))
    )
    text = dump_input(CODEC, answered)
    assert "s3cr3t" not in text
    found: Any = load_input(CODEC, text)
    assert same(found.commands[1], answered.commands[1]) and same(found.commands[0][1].specs[1], SPEC)
    kept = found.commands[0][1].specs[0].inputs
    gaps = [kept["lock"], kept["nested"][1]["f"], kept["circle"], kept["explodes"], kept["secret"]]
    assert all(isinstance(gap, MissingValue) and gap.reason for gap in gaps)
    assert "contains itself" in kept["circle"].reason and "secret" in kept["secret"].reason
    assert kept["fine"] == (1,) and kept["frame"].equals(inputs["frame"]) and kept["array"].sum() == 499500
    assert isinstance(kept["in_object"].schema["x"], MissingValue)
    again = load_input(CODEC, dump_input(CODEC, found))
    assert again.commands[0][1].specs[0].inputs["lock"] == kept["lock"]  # type: ignore[union-attr]
    defs = load_defs(CODEC, dump_defs(CODEC, [NodeDef(id="a", action="b", inputs=inputs, over=print), *DEFS]))
    assert same(defs[1:], DEFS) and isinstance(defs[0].over, MissingValue)
    assert isinstance(defs[0].inputs["lock"], MissingValue)


def test_gaps_elsewhere() -> None:
    """Answers, emitted data, metadata and refused commands may hold anything: the rest is readable."""

    class Model(pydantic.BaseModel):
        x: int

    def act() -> None:
        """An action that was never given a name."""

    found: Any = event_again(m.CommandRejected(m.AddNode(NodeSpec(act)), "why"))[1]
    assert found.command.spec.action == "act"
    found = event_again(m.CommandRejected(threading.Lock(), "why"))[1]
    assert isinstance(found.command, MissingValue) and found.reason == "why"
    found = event_again(m.CustomEvent("n", {"x": [print], "y": 1}, NODE))[1]
    assert isinstance(found.data["x"][0], MissingValue) and found.data["y"] == 1
    found = load_input(CODEC, dump_input(CODEC, m.Applied((m.PauseBranch("a", None, Model),), AT)))
    assert isinstance(found.commands[0].form, MissingValue)
    found = load_input(CODEC, dump_input(CODEC, m.Resume(AT, answers={"x": print, "y": 2})))
    assert isinstance(found.answers["x"], MissingValue) and found.answers["y"] == 2
    odd = NodeOutput.ok(metadata={"x": print, 1: (2,)})
    found = load_input(CODEC, dump_input(CODEC, m.AttemptEnded("a", 1, AT, odd)))
    assert isinstance(found.outcome.metadata["x"], MissingValue) and found.outcome.metadata[1] == (2,)
    ordered = NodeSpec("a", inputs=OrderedDict(x=1))
    assert load_input(CODEC, dump_input(CODEC, m.Applied((m.AddNode(ordered),), AT))).commands[
        0
    ].spec.inputs == {"x": 1}  # type: ignore[union-attr]


class Unreadable(typing.Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> typing.Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


def test_unreadable_parts() -> None:
    """A mapping that cannot be read, or a circle among commands, leaves a gap in its own place only."""
    circle: list[Any] = []
    circle.append(circle)
    spec = NodeSpec("a", inputs=Unreadable())
    found: Any = load_input(CODEC, dump_input(CODEC, m.Applied((m.AddNode(spec), circle, COMMANDS[0]), AT)))
    assert isinstance(found.commands[0].spec.inputs["(unreadable)"], MissingValue)
    assert isinstance(found.commands[1], MissingValue) and same(found.commands[2], COMMANDS[0])
    resumed = event_again(m.BranchResumed("a", answers=Unreadable()))[1]
    assert isinstance(resumed.answers["(unreadable)"], MissingValue)


def test_config_keeps_what_was_set() -> None:
    """A `DagConfig` comes back with the settings that were set, and no others as set."""
    found: Any = load_input(CODEC, dump_input(CODEC, m.Reopened(AT, CONFIG)))
    assert found.config == CONFIG
    assert found.config.model_fields_set == CONFIG.model_fields_set
    assert CODEC.loads(CODEC.dumps({"c": DagConfig()}))["c"].settings() == {}


def test_records_as_values() -> None:
    """The engine's own records are values too: in outputs they keep their types, or stay in memory."""
    value = {"specs": [SPEC], "defs": DEFS, "state": NodeStatus.CACHED, "out": NodeOutput.ok({"a": (1,)})}
    stored = CODEC.encode(value)
    assert same(CODEC.decode(stored.codec, stored.data), value)
    assert CODEC.encode(NodeSpec("a", inputs={"f": print})).reason == (
        ".inputs['f'] is of type builtin_function_or_method, which has no stored form "
        "(return a name or plain data instead)"
    ).removeprefix(".")


node_ids = st.text(st.characters(exclude_categories=()), min_size=1, max_size=6)
times = st.floats(0, 2e9) | st.integers(0, 10)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        m.AttemptEnded,
        node_ids,
        st.integers(1, 5),
        times,
        st.none()
        | st.builds(
            NodeOutput,
            success=st.booleans(),
            error=st.none() | node_ids,
            recovered=st.booleans(),
            returned=st.sampled_from(["mapping", "value", "none", "tuple"]),
            metadata=st.just(EMPTY) | st.dictionaries(node_ids, st.integers()),
        ),
        st.none() | node_ids,
        st.none(),
        st.booleans(),
        st.floats(0, 1, exclude_max=True),
        st.booleans(),
    )
)
def test_every_attempt_comes_back(ended: m.AttemptEnded) -> None:
    """An attempt's end comes back, whether it is written by hand or not."""
    text = dump_input(CODEC, ended)
    text.encode()
    assert same(load_input(CODEC, text), ended)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[1]",
        "[true,2.5]",
        "[1,2.5,3]",
        "[1,2.5,[]]",
        '[1,2.5,["h","act","b"]]',
        '[1,2.5,["h","act","b",null,null]]',
        '[1,2.5,["h","","b",null]]',
        '[1,2.5,["h",1,"b",null]]',
        '[1,2.5,[null,"act","b",null]]',
        '[1,2.5,["h","act",1,null]]',
        '[1,2.5,["h","act","b","a"]]',
        '[1,2.5,["h","act","b",[1]]]',
        '["a",1,2.5]',
        '["a",1,2.5,"odd"]',
        '["a",1,2.5,"mapping",false]',
        '["a",1,2.5,"mapping",true,true]',
        '{"$dagflow":"Begin","v":{}}',
        '{"$dagflow":"Begin","v":{"at":1,"more":2}}',
        '{"$dagflow":"Ref","v":{"target":"a"}}',
        '{"$dagflow":"Nothing","v":{}}',
        '{"$dagflow":"AttemptEnded","v":{"node_id":"a"}}',
        '{"$dagflow":"Begin"',
        "null",
        '{"$dagflow":"OnFailure","v":"never"}',
        '{"$dagflow":"Tick","v":{"at":{"$dagflow":"DagConfig","v":{"x":1}}}}',
    ],
)
def test_damaged_messages(text: str) -> None:
    """A damaged row is a `SerializationError`, whatever it is read as."""
    with pytest.raises(SerializationError):
        load_input(CODEC, text)
    if text[:1] != "[":
        with pytest.raises(SerializationError):
            load_defs(CODEC, text)
    with pytest.raises(SerializationError):
        load_event(CODEC, "NodeSkipped", "d", lambda id: "a", "r", 1, AT, "n", text)


def test_unknown_event_or_node() -> None:
    """An event of a kind that is not known, or of a node that is not, is a `SerializationError`."""
    with pytest.raises(SerializationError, match="newer version"):
        load_event(CODEC, "NodeEaten", "d", {}, "r", 1, AT, "n", "{}")
    with pytest.raises(SerializationError, match="NodeStarted"):
        load_event(CODEC, "NodeStarted", "d", {}, "r", 1, AT, "n", "{}")
