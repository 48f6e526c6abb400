"""Plans: built as workflows are, read from JSON with all mistakes told, added to runs as one."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb import (
    ActionRegistry,
    AddNodes,
    CycleError,
    DagFlow,
    DependencyNotFound,
    NodeAlreadyExists,
    NodeSpec,
    PauseBranch,
    Plan,
    ValidationError,
    Workflow,
    ref,
)
from dagflow_nb.codec import Codec
from dagflow_nb.testing import Gate

registry = ActionRegistry()


@registry.action
def make(rows: list[int]) -> dict[str, list[int]]:
    return {"rows": rows}


@registry.action
def count(rows: list[int], scale: int = 1) -> int:
    return len(rows) * scale


@registry.action
def anything(**inputs: Any) -> dict[str, Any]:
    return inputs


@pytest.fixture
def flow() -> Iterator[DagFlow]:
    with DagFlow(":memory:", registry=registry.copy()) as flow:
        yield flow


@pytest.fixture
def start(flow: DagFlow) -> Workflow:
    """One node, `make`, whose end is answered with what a test's hook says."""
    workflow = Workflow("start")
    workflow.add("make", rows=[1, 2, 3])
    return flow.add_workflow(workflow)


# --- in a run -----------------------------------------------------------------------------------


def test_a_plan_is_added_as_one(flow: DagFlow, start: Workflow) -> None:
    """Handles and references lead from step to step and to the run's nodes; first ones follow the event."""

    @flow.on_completed(node="make")
    def grow(node: Any) -> Plan:
        plan = Plan()
        first = plan.add(count, rows=ref("make.rows"))
        plan.add("count", id="scaled", rows=[7], scale=first["result"])
        plan.add(anything, id="all", both=[first, {"in": ref("scaled.result")}])
        return plan

    run = flow.run(start, view=False)
    assert run.outputs["all"]["both"] == [3, {"in": 3}]
    nodes = run.nodes().set_index("node_id")
    assert list(nodes.loc["count", "dependencies"]) == ["make"]
    assert list(nodes.loc["scaled", "dependencies"]) == ["count"]
    assert set(nodes["added_by"].dropna()) == {"make"}
    (event,) = run.events(kind="NodesAdded")["data"]
    assert len(event["nodes"]) == 3


def test_a_map_in_a_plan_grows_as_a_workflows_does(flow: DagFlow, start: Workflow) -> None:
    """Its items are made at run time, over lists that are known then, also over a sub-workflow."""
    inner = Workflow("inner", inputs={"n": 1})
    inner.result = inner.add("count", rows=[1, 2], scale=inner.input("n"))["result"]

    @flow.on_completed(node="make")
    def grow(node: Any) -> Plan:
        plan = Plan()
        counts = plan.map("count", over={"scale": ref("make.rows")}, rows=[0, 0], limit=1)
        plan.map(inner, over=[{"n": 5}, {"n": 6}], id="inners")
        plan.add(inner, id="one", n=ref("make.rows.2"))
        plan.add("anything", id="end", counts=counts["result"], inners=ref("inners.result"), one=ref("one"))
        return plan

    run = flow.run(start, view=False)
    assert dict(run.outputs["end"]) == {"counts": [2, 4, 6], "inners": [10, 12], "one": 6}
    assert {"count/2", "inners/1/count", "one/count"} <= set(run.nodes()["node_id"])


def test_a_hooks_node_may_be_a_map(flow: DagFlow, start: Workflow) -> None:
    """`NodeSpec(over=...)` grows as a map; a limit without one is refused with what is wrong."""

    @flow.on_completed(node="make")
    def grow(node: Any) -> Any:
        yield NodeSpec("count", inputs={"rows": [1]}, over={"scale": ref("make.rows")}, limit=2)
        yield NodeSpec("count", id="wrong", inputs={"rows": [1]}, limit=2)

    run = flow.run(start, view=False)
    assert run.outputs["count"]["result"] == [1, 2, 3]
    assert "limit of node 'wrong' is for a map" in str(run.events(kind="CommandRejected")["data"][0])


def test_a_plan_with_a_mistake_adds_nothing(flow: DagFlow, start: Workflow) -> None:
    """One step that does not fit the run refuses them all."""

    @flow.on_completed(node="make")
    def grow(node: Any) -> Plan:
        plan = Plan()
        plan.add("count", rows=[1])
        plan.add("count", id="b", rows=ref("nowhere.rows"))
        return plan

    run = flow.run(start, view=False)
    assert list(run.nodes()["node_id"]) == ["make"]
    assert "nowhere" in str(run.events(kind="CommandRejected")["data"][0])


def test_ids_that_nobody_chose_become_free_ones(flow: DagFlow, start: Workflow) -> None:
    """An unnamed step never clashes with a node of the run; one that was named does, and is refused."""

    @flow.on_completed(node="make")
    def grow(node: Any) -> Any:
        plan = Plan()
        again = plan.add("make", rows=[5])
        plan.add("count", rows=again["rows"])
        yield plan
        named = Plan()
        named.add("make", id="make", rows=[5])
        yield named

    run = flow.run(start, view=False)
    assert run.outputs["make_2"]["rows"] == [5] and run.outputs["count"]["result"] == 1
    assert "already a node 'make'" in str(run.events(kind="CommandRejected")["data"][0])


def test_a_plan_may_be_applied(flow: DagFlow, start: Workflow) -> None:
    """`run.apply(plan)` adds it from outside, where it comes after nothing but what it says."""
    plan = Plan()
    plan.add("count", rows=[1, 2], after="make")

    @flow.on_completed(node="make")
    def hold(node: Any) -> Any:
        return PauseBranch("make")

    run = flow.run(start, view=False)
    assert run.status == "paused"
    run.apply(plan).wait()
    run.resume().wait()
    assert run.outputs["count"]["result"] == 2


def test_ids_are_settled_when_nodes_are_added(flow: DagFlow, start: Workflow) -> None:
    """Whatever else is added in the same answer or by other threads meanwhile, and with sub-workflows."""
    inner = Workflow("inner", inputs=["rows"])
    inner.add("count", id="first", rows=inner.input("rows"))
    inner.add("anything", id="last", n=ref("first.result"))
    gate = Gate()

    def plan() -> Plan:
        made = Plan()
        rows = made.add("make", rows=[1, 2])
        part = made.add(inner, rows=rows["rows"])
        made.add("anything", got=part["n"], counted=made.add("count", rows=rows["rows"]))
        return made

    @flow.on_completed(node="make")
    def grow(node: Any) -> Any:
        gate.hold()
        yield NodeSpec("make", inputs={"rows": [9]})
        yield plan()
        yield NodeSpec(inner, inputs={"rows": [1]})
        yield AddNodes([NodeSpec(inner, inputs={"rows": [1]}), NodeSpec(inner, inputs={"rows": [1]})])
        yield plan()

    run = flow.start(start, view=False)
    gate.wait_for(1)
    threads = [threading.Thread(target=lambda: run.apply(plan(), plan())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gate.open()
    run.wait()
    assert run.events(kind="CommandRejected").empty
    nodes = run.nodes()
    plans = 8
    assert list(nodes["action"]).count("make") == 2 + plans
    assert list(nodes["action"]).count("inner") == 3 + plans
    given = [run.outputs[id] for id in nodes["node_id"][nodes["action"] == "anything"] if "/" not in id]
    assert given == [{"got": 2, "counted": 2}] * plans


def test_a_sub_workflow_without_an_id_may_name_one_before_it(flow: DagFlow, start: Workflow) -> None:
    """What has the id that it would have is the run's node, not itself."""
    inner = Workflow("inner", inputs=["n"])
    inner.add("anything", id="x", n=inner.input("n"))

    @flow.on_completed(node="make")
    def first(node: Any) -> Any:
        return NodeSpec(inner, inputs={"n": 1})

    @flow.on_completed(node="inner")
    def second(node: Any) -> Any:
        return NodeSpec(inner, inputs={"n": ref("inner.n")})

    run = flow.run(start, view=False)
    assert run.outputs["inner_2"] == {"n": 1}


def test_a_chosen_id_stays_though_its_plan_has_free_ones() -> None:
    """Only what nobody chose is replaced, and what names it follows."""
    plan = Plan()
    made = plan.add("make", rows=[1])
    plan.add("count", id="mine", rows=made["rows"], after=[made])
    command = plan.command_in([])
    assert command.free == {"make": "make"}
    assert [spec.id for spec in command.specs] == ["make", "mine"]


def test_an_applied_plan_is_checked_at_once(flow: DagFlow, start: Workflow) -> None:
    """Inputs that its actions do not take, of functions too, and values that do not fit are all told."""

    def half(n: int) -> float:
        return n / 2

    @flow.on_completed(node="make")
    def hold(node: Any) -> Any:
        return PauseBranch("make")

    run = flow.run(start, view=False)
    plan = Plan()
    plan.add("count", row=[1])
    plan.add(half, n="many", id="h")
    plan.map("count", over={"rows": [[1], 2]}, skale=2)
    plan.map("count", over=ref("make.rows"), id="later")
    plan.add("anything", whatever=1)
    with pytest.raises(ValidationError) as raised:
        run.apply(plan)
    for text in ("needs the input 'rows'", "no parameter 'row'", "no parameter 'skale'", "step 'h'"):
        assert text in str(raised.value)
    assert "later" not in str(raised.value) and list(run.nodes()["node_id"]) == ["make"]


# --- JSON -----------------------------------------------------------------------------------------


def test_json_is_read() -> None:
    """Only the action is needed; references are found in whatever they are nested."""
    text = """```json
    {"steps": [{"action": "make", "inputs": {"rows": [1, 2]}},
               {"action": "anything", "id": "b", "after": "make",
                "inputs": {"x": [{"y": {"ref": "make.rows"}}]}},
               {"action": "count", "id": "m", "inputs": {"rows": [1]},
                "over": {"scale": {"ref": "make.rows"}}}]}
    ```"""
    plan = Plan.from_json(text, registry)
    assert list(plan) == ["make", "b", "m"]
    assert [str(ref) for ref in [plan.steps["b"].inputs["x"][0]["y"]]] == ["make.rows"]
    assert plan.steps["b"].deps == ("make",) and plan.steps["m"].kind == "map"
    assert len(Plan.from_json({"steps": []}, registry)) == 0


WRONG: list[tuple[Any, str, type[ValidationError]]] = [
    ("{'steps': []}", r"no JSON \(.*line 1, column 2\): write", ValidationError),
    ("[]", r"a plan is \{\"steps\"", ValidationError),
    ({"steps": [], "thoughts": "x"}, "no key 'thoughts'", ValidationError),
    ({"steps": ["make"]}, 'step 1: a step is {"action"', ValidationError),
    ({"steps": [{"id": "a"}]}, "step 'a': it has no action: write one of 'make'", ValidationError),
    ({"steps": [{"action": "cuont", "id": "a"}]}, "step 'a': .*did you mean 'count'", ValidationError),
    ({"steps": [{"action": 3}]}, "step 1: there is no action 3", ValidationError),
    ({"steps": [{"action": "make", "input": {}}]}, "no key 'input': did you mean 'inputs'", ValidationError),
    ({"steps": [{"action": "make", "id": "a"}]}, "step 'a': .*needs the input 'rows'", ValidationError),
    (
        {"steps": [{"action": "count", "inputs": {"rows": [], "scal": 1}}]},
        "no parameter 'scal': did you mean 'scale'",
        ValidationError,
    ),
    (
        {"steps": [{"action": "make", "inputs": {"rows": "x"}}]},
        r"takes list\[int\], not 'x'",
        ValidationError,
    ),
    ({"steps": [{"action": "make", "inputs": [1]}]}, 'inputs are {"NAME"', ValidationError),
    ({"steps": [{"action": "anything", "inputs": {"x": {"ref": 3}}}]}, "a reference is", ValidationError),
    ({"steps": [{"action": "anything", "after": [3]}]}, "after is a list of ids", ValidationError),
    ({"steps": [{"action": "anything", "id": "a b\n"}]}, "give it another one", ValidationError),
    ({"steps": [{"action": "anything", "id": 3}]}, "its id is a text", ValidationError),
    ({"steps": [{"action": "anything", "limit": 3}]}, "limit is for a map", ValidationError),
    ({"steps": [{"action": "anything", "timeout": -3}]}, "timeout", ValidationError),
    (
        {"steps": [{"action": "anything", "id": "a"}, {"action": "anything", "id": "a"}]},
        "already a node 'a'",
        NodeAlreadyExists,
    ),
    (
        {
            "steps": [
                {"action": "anything", "id": "first"},
                {"action": "anything", "id": "b", "after": ["fisrt"]},
            ]
        },
        "'b' depends on 'fisrt'.*did you mean 'first'",
        DependencyNotFound,
    ),
    (
        {"steps": [{"action": "anything", "id": "a", "inputs": {"x": {"ref": "b.rows"}}}]},
        "'a' depends on 'b'",
        DependencyNotFound,
    ),
    (
        {
            "steps": [
                {"action": "anything", "id": "a", "after": ["b"]},
                {"action": "anything", "id": "b", "inputs": {"x": {"ref": "a"}}},
            ]
        },
        "a cycle: a -> b -> a",
        CycleError,
    ),
]


@pytest.mark.parametrize(("given", "text", "kind"), WRONG)
def test_a_mistake_names_its_step_and_what_to_write(
    given: Any, text: str, kind: type[ValidationError]
) -> None:
    """Each mistake is a `ValidationError` that a language model can mend its plan by."""
    with pytest.raises(ValidationError, match=text) as raised:
        Plan.from_json(given, registry)
    assert type(raised.value) is kind


def test_the_actions_come_from_a_registry(flow: DagFlow) -> None:
    """Also from a flow or its tools, which are fewer; anything else is refused with what to give."""
    flow.tool(name="only")(lambda x: x)
    for source in (flow, flow.registry, flow.tools):
        assert list(Plan.from_json({"steps": [{"action": "only", "inputs": {"x": 1}}]}, source)) == ["only"]
        assert Plan.json_schema(source)["properties"]
    with pytest.raises(ValidationError, match="there is no action 'make'"):
        Plan.from_json({"steps": [{"action": "make", "inputs": {"rows": []}}]}, flow.tools)
    for wrong in (None, ["make"], "make"):
        with pytest.raises(ValidationError, match=r"give flow\.registry"):
            Plan.from_json({"steps": []}, wrong)


def test_json_stands_in_prose() -> None:
    """The block between code fences that has the steps is the plan, whatever is said around it."""
    block = '```json\n{"steps": [{"action": "count", "inputs": {"rows": [1]}}]}\n```'
    said = f"Here it is:\n{block}\nIt counts.\n```\nprint('no')\n```"
    assert list(Plan.from_json(said, registry)) == ["count"]
    with pytest.raises(ValidationError, match="no JSON"):
        Plan.from_json("Here it is.", registry)


def test_mistakes_are_told_in_terms_of_the_plan(flow: DagFlow) -> None:
    """Neither the builder behind it nor an action of the planner itself is named."""
    flow.planner("make")
    with pytest.raises(NodeAlreadyExists) as raised:
        Plan.from_json({"steps": [{"action": "anything", "id": "a"}] * 2}, flow.registry)
    assert str(raised.value) == "there is already a node 'a': give one of these steps another id"
    with pytest.raises(ValidationError) as wrong:
        Plan.from_json({"steps": [{"action": "zzz"}, {"id": "b"}]}, flow.registry)
    assert "'count'" in str(wrong.value) and "gave_up" not in str(wrong.value)


def test_several_mistakes_are_told_together() -> None:
    """Each in a line of its own; a step with a mistake brings no further one to those that name it."""
    steps = [
        {"action": "cuont", "id": "a"},
        {"action": "make", "id": "b", "inputs": {"x": {"ref": "a.result"}}},
        {"action": "anything", "id": "c", "after": ["d"]},
    ]
    with pytest.raises(ValidationError, match="4 things are wrong") as raised:
        Plan.from_json({"steps": steps}, registry)
    lines = str(raised.value).splitlines()[1:]
    assert [line.split("'")[1] for line in lines] == ["a", "b", "b", "c"]


def test_nodes_of_the_run_may_be_named() -> None:
    """What a run has already is given as `nodes=`; a run's inputs need not be."""
    steps = [
        {
            "action": "count",
            "after": ["old"],
            "inputs": {"rows": {"ref": "old.x.rows"}, "scale": {"ref": "inputs.n"}},
        }
    ]
    with pytest.raises(DependencyNotFound):
        Plan.from_json({"steps": steps}, registry)
    plan = Plan.from_json({"steps": steps}, registry, nodes=["old", "old.x"])
    (spec,) = plan.command_in(["old", "old.x"]).specs
    assert str(spec.inputs and spec.inputs["rows"]) == "old.x.rows" and spec.deps == ("old",)


ids = st.text("abc.", min_size=1, max_size=3).filter(lambda id: not id.endswith("."))
literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of named and unnamed steps and maps, with references, orders and settings."""
    plan = Plan()
    handles: list[Any] = []
    for _ in range(draw(st.integers(0, 6))):
        id = draw(st.none() | ids.filter(lambda id: id not in plan))
        sources = st.sampled_from(handles) if handles else st.nothing()
        values = literals | sources | sources.map(lambda handle: [handle["key"]])
        given: dict[str, Any] = {
            "id": id,
            "inputs": draw(st.dictionaries(st.text("pqr", min_size=1, max_size=2), values, max_size=3)),
            "after": draw(st.lists(sources, max_size=2)) if handles else (),
            "when": draw(st.sampled_from(["all_success", "all_done"])),
            "try_count": draw(st.none() | st.integers(1, 3)),
            "tags": draw(st.lists(st.sampled_from(["a", "b"]), unique=True)),
        }
        if draw(st.booleans()):
            over = {"over": draw(st.lists(literals, max_size=3) | sources.map(lambda handle: handle["rows"]))}
            handles.append(plan.map("anything", over, **given))
        else:
            handles.append(plan.add("anything", **given))
    return plan


@settings(max_examples=60, deadline=None)
@given(plans())
def test_a_plan_comes_back_from_json(plan: Plan) -> None:
    """`from_json(to_json())` is an equal plan, which fits the schema; so is what the codec stores."""
    text = plan.to_json()
    assert Plan.from_json(text, registry) == plan
    codec = Codec()
    stored = codec.encode(plan)
    assert stored.codec == "json", stored.reason
    assert codec.decode(stored.codec, stored.data) == plan == pickle.loads(pickle.dumps(plan))
    open_steps = [
        {k: v for k, v in step.items() if k not in ("when", "try_count", "tags")}
        for step in json.loads(text)["steps"]
    ]
    jsonschema.validate({"steps": open_steps}, Plan.json_schema())


def test_the_schema_tells_of_the_actions() -> None:
    """With a registry each action's inputs are told, and each may be a reference instead."""
    schema = Plan.json_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"steps": [{"action": "count", "inputs": {"rows": [1], "scale": {"ref": "a.n"}}}]}
    jsonschema.validate(good, schema)
    for wrong in (
        {"action": "cuont"},
        {"action": "count", "inputs": {"row": []}},
        {"action": "make", "inputs": {"rows": 3}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"steps": [wrong]}, schema)


@pytest.mark.parametrize("value", [{1: 2}, {"ref": "x"}, float("nan"), {1, 2}, b"x", [object()]])
def test_what_has_no_json_form_is_named(value: Any) -> None:
    """It is not written as something else."""
    plan = Plan()
    plan.add("anything", id="step", x=value)
    with pytest.raises(ValidationError, match="the inputs of step 'step'"):
        plan.to_json()


def test_what_a_plan_cannot_say_in_json_is_named() -> None:
    """A sub-workflow and a question have no JSON form; a plan with a sub-workflow is not stored either."""
    inner = Workflow("inner")
    inner.add("anything")
    plan = Plan()
    plan.add(inner)
    with pytest.raises(ValidationError, match="sub-workflow 'inner'"):
        plan.to_json()
    assert Codec().encode(plan).codec == "memory"
    asking = Plan()
    asking.add("anything", ask="really?")
    with pytest.raises(ValidationError, match="ask"):
        asking.to_json()


def test_a_plan_shows_itself() -> None:
    """As a picture of its graph, in which nothing of it is markup."""
    plan = Plan()
    assert repr(plan) == "<Plan: no steps>" and plan._repr_mimebundle_() == {"text/plain": "<Plan: no steps>"}
    plan.add("count", id="<b>", rows=ref("elsewhere.rows"))
    bundle = plan._repr_mimebundle_()
    assert "data:image/svg+xml" in bundle["text/html"] and "<b>" not in bundle["text/html"]


def test_wrong_steps_are_refused_as_a_workflows_are() -> None:
    """`add` checks what `Workflow.add` checks, and has its signature."""
    import inspect

    plan = Plan()
    with pytest.raises(ValidationError, match="timeout"):
        plan.add("count", timeout=-1)
    assert len(plan) == 0
    assert inspect.signature(Plan.map) == inspect.signature(Workflow.map)
