"""`Workflow`, handles and references: what can be built, and what is refused at once."""

from __future__ import annotations

import copy
import functools
import gc
import importlib
import pickle
import time
from collections import OrderedDict
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from dagflow_nb.actions import FunctionAction, NodeAction, NodeCtx, make_action
from dagflow_nb.core.graph import find_cycle
from dagflow_nb.core.model import Form, NodeDef, NodeOutput, OnFailure, Ref, When, ref
from dagflow_nb.errors import CycleError, DependencyNotFound, NodeAlreadyExists, ValidationError
from dagflow_nb.workflow import REQUIRED, NodeHandle, Reference, Workflow, check


def fetch(source: str = "db") -> dict[str, Any]:
    return {"rows": [1, 2], "source": source}


def split(rows: list[int]) -> tuple[list[int], list[int]]:
    return rows[:1], rows[1:]


class Loader(NodeAction):
    name = "loader"

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        return NodeOutput.ok({})


# --- nodes, ids, dependencies ---------------------------------------------------------------------


def test_nodes_get_ids_from_their_actions_and_depend_on_what_they_refer_to() -> None:
    """An id is the action's name, then NAME_2; handles, references and nested ones add dependencies."""
    wf = Workflow("w")
    a = wf.add(fetch)
    b = wf.add(fetch, source="backup")
    c = wf.add("join", rows=[a["rows"], {"more": b["rows"][0]}, (b,)], whole=a, after="late")
    late = wf.add("late")
    assert [a.id, b.id, c.id, late.id] == ["fetch", "fetch_2", "join", "late"]
    assert list(wf.nodes) == ["fetch", "fetch_2", "join", "late"]
    node = wf.nodes["join"]
    assert node.deps == ("late", "fetch", "fetch_2")
    assert node.inputs == {
        "rows": [Ref("fetch", ("rows",)), {"more": Ref("fetch_2", ("rows", 0))}, (Ref("fetch_2"),)],
        "whole": Ref("fetch"),
    }
    assert wf.functions == {"fetch": fetch}
    check(wf)


def test_ids_skip_what_is_taken() -> None:
    """A generated id never meets one that was given."""
    wf = Workflow("w")
    wf.add("a", id="a_2")
    assert [wf.add("a").id, wf.add("a").id, wf.add("a").id] == ["a", "a_3", "a_4"]


def test_many_nodes_of_one_action_take_linear_time() -> None:
    """Ids of ten thousand nodes of one action are found without counting from the start each time."""
    wf = Workflow("w")
    begin = time.perf_counter()
    for _ in range(10_000):
        wf.add(fetch)
    assert len(wf.nodes) == 10_000
    assert time.perf_counter() - begin < 5


def test_references_by_text_are_bound_to_the_longest_id_also_of_later_nodes() -> None:
    """`ref("a.b.c")` means node `a.b` once that is there, `a` until then."""
    wf = Workflow("w")
    wf.add("x", id="a")
    wf.add("x", id="use", value=ref("a.b.c"), other=ref("inputs.limit.0"))
    assert wf.nodes["use"].inputs["value"] == Ref("a", ("b", "c"))
    assert wf.nodes["use"].deps == ("a",)
    assert wf.nodes["use"].inputs["other"] == Ref("inputs", ("limit", 0))
    wf.add("x", id="a.b")
    assert wf.nodes["use"].inputs["value"] == Ref("a.b", ("c",))
    assert wf.nodes["use"].deps == ("a.b",)
    assert wf.input_names == ("limit",)


def test_after_takes_handles_ids_and_references() -> None:
    """One or several of them, each counted once."""
    wf = Workflow("w")
    a, b = wf.add("a"), wf.add("b")
    wf.add("c", after=a)
    wf.add("d", after=["a", b, a["x"], "a"])
    assert wf.nodes["c"].deps == ("a",)
    assert wf.nodes["d"].deps == ("a", "b")


def test_settings_end_up_in_the_node() -> None:
    """Every setting is kept by its name, in one form."""
    wf = Workflow("w")
    wf.add(
        "a", id="n", when="all_done", timeout=3, try_count=2, on_failure=False, failure=fetch, cache="24h",
        executor="process", ask="Go on?", tags="etl", inputs={"timeout": 9, "id": 1}, x=2,
    )  # fmt: skip
    assert wf.nodes["n"] == NodeDef(
        id="n",
        action="a",
        when=When.ALL_DONE,
        timeout=3.0,
        try_count=2,
        on_failure=OnFailure.STOP,
        failure="fetch",
        cache=timedelta(hours=24),
        executor="process",
        ask=Form("Go on?", None, {}),
        tags=("etl",),
        inputs={"timeout": 9, "id": 1, "x": 2},
    )
    assert wf.functions == {"fetch": fetch}


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("timeout", [0, -1, True, "5", float("nan"), float("inf")]),
        ("try_count", [0, -1, 1.5, True, "2"]),
        ("when", ["sometimes", None, 3]),
        ("on_failure", ["explode", 3]),
        ("cache", ["often", "0s", {"ttl": -1}, {"age": 3}, 3]),
        ("executor", ["", 3]),
        ("tags", [3, [3], [""], {"a": 1}]),
        ("inputs", [3, ["a"], {3: 1}, {"": 1}]),
        ("after", [3, [3], [None], ["inputs"]]),
        ("failure", [3, "", "a\nb"]),
        ("ask", [3.5]),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_adds_nothing(setting: str, values: list[Any]) -> None:
    """The `ValidationError` names the setting, and the workflow is as it was."""
    wf = Workflow("w")
    for value in values:
        with pytest.raises(ValidationError, match="input" if setting == "inputs" else setting) as caught:
            wf.add(fetch, **{setting: value})
        if setting not in ("failure", "inputs"):
            assert caught.value.culprit == setting
    assert not wf.nodes
    assert not wf.functions


@pytest.mark.parametrize("id", ["", " a", "inputs", "human_input", "a\nb", "x" * 201, 3])
def test_a_wrong_id_is_refused(id: Any) -> None:
    """An id is a printable text that is not reserved."""
    with pytest.raises(ValidationError):
        Workflow("w").add("a", id=id)


def test_an_id_is_given_once() -> None:
    """The same id a second time is `NodeAlreadyExists`, and changes nothing."""
    wf = Workflow("w")
    wf.add("a", id="x")
    with pytest.raises(NodeAlreadyExists, match="'x'") as caught:
        wf.add("b", id="x")
    assert caught.value.node_id == "x"
    assert wf.nodes["x"].action == "a"


def test_an_input_is_given_once() -> None:
    """By name or in `inputs`, not in both."""
    with pytest.raises(ValidationError, match="twice") as caught:
        Workflow("w").add("a", inputs={"x": 1}, x=2)
    assert caught.value.culprit == "x"


def test_changing_a_list_later_does_not_change_the_workflow() -> None:
    """Plain containers are copied."""
    wf, rows = Workflow("w"), [1, {"a": [2]}]
    wf.add("a", rows=rows)
    rows.append(3)
    rows[1]["a"].append(4)  # type: ignore[index]  # a list inside a list
    assert wf.nodes["a"].inputs == {"rows": [1, {"a": [2]}]}


def test_references_where_nobody_looks_are_refused() -> None:
    """In sets, named tuples, ordered dicts and as keys they would not be seen, so that is an error."""

    class Pair(NamedTuple):
        left: Any

    wf = Workflow("w")
    a = wf.add("a")
    loop: list[Any] = []
    loop.append(loop)
    for value in ({a}, Pair(a), OrderedDict(x=[a]), {a: 1}, frozenset([ref("a")]), loop):
        with pytest.raises(ValidationError, match="'x'"):
            wf.add("b", x=value)
    wf.add("b", x=OrderedDict(y=1), y=Pair(2))


def test_a_called_coroutine_is_no_input_and_no_action() -> None:
    """An action called by mistake gives a coroutine: the error says to add it, and nothing is left open."""

    async def load() -> int:
        return 1

    wf = Workflow("w")
    with pytest.raises(ValidationError, match="coroutine"):
        wf.add("b", x=load())
    with pytest.raises(ValidationError, match="without"):
        wf.add(load())
    gc.collect()


# --- actions --------------------------------------------------------------------------------------


def test_actions_may_be_names_functions_and_node_actions() -> None:
    """Each is known by its name, and kept to be registered."""
    wf = Workflow("w")
    wrapped = make_action(fetch, name="get")
    assert wf.add(wrapped).id == "get"
    assert wf.add(Loader).id == "loader"
    assert wf.add(Loader, id="again").id == "again"
    assert wf.add(FunctionAction(split, name="part")).id == "part"
    assert wf.functions["get"] is wrapped
    assert isinstance(wf.functions["loader"], Loader)


class Counter:
    """A callable, and a method, with something in it."""

    __name__ = "count"

    def __init__(self, number: int) -> None:
        self.number = number

    def count(self) -> int:
        """The number."""
        return self.number

    __call__ = count


@pytest.mark.parametrize("kind", ["method", "callable", "partial"])
def test_what_holds_other_values_is_another_action(kind: str) -> None:
    """Methods of two objects, objects that are called, and partials do not stand in for each other."""

    def given(number: int) -> Any:
        counter = Counter(number)
        made = {"method": counter.count, "callable": counter, "partial": functools.partial(counter.count)}
        return made[kind]

    wf = Workflow("w")
    first = given(1)
    wf.add(first)
    wf.add(first)
    with pytest.raises(ValidationError, match="two different actions are called"):
        wf.add(given(2))


@pytest.mark.parametrize("action", [3, None, "", "a\nb", ref("a"), lambda: 1, object()])
def test_what_is_no_action_is_refused(action: Any) -> None:
    """The error says what may stand there."""
    with pytest.raises(ValidationError):
        Workflow("w").add(action)


def test_two_functions_of_one_name_are_refused_and_a_redefined_one_replaces() -> None:
    """A factory's functions differ although they look the same; a cell that is run again redefines."""

    def make(number: int) -> Any:
        def step() -> int:
            return number

        return step

    wf = Workflow("w")
    first = make(1)
    wf.add(first)
    wf.add(first)
    with pytest.raises(ValidationError, match="two different actions are called 'step'"):
        wf.add(make(2))
    cell = "def work():\n    return {}\n"
    old: dict[str, Any] = {"__name__": "__main__"}
    new: dict[str, Any] = {"__name__": "__main__"}
    exec(cell.format(1), old)
    exec(cell.format(2), new)
    wf.add(old["work"])
    wf.add(new["work"])
    assert wf.functions["work"] is new["work"]
    with pytest.raises(ValidationError, match="two different"):
        wf.add(fetch, id="f", failure=make_action(split, name="work"))


# --- handles --------------------------------------------------------------------------------------


def test_handles_and_references_refuse_every_look_at_their_value() -> None:
    """Truth, comparison, arithmetic, conversion: each error says what to write instead."""
    wf = Workflow("w")
    a = wf.add("a")
    looks: list[Any] = [
        bool, int, float, complex, len, abs, round, lambda x: x < 1, lambda x: x >= 1, lambda x: x + 1,
        lambda x: 1 + x, lambda x: x - 1, lambda x: 2 * x, lambda x: x / 2, lambda x: x // 2, lambda x: x % 2,
        lambda x: x**2, lambda x: -x, lambda x: ~x, lambda x: x & 1, lambda x: x | 1, lambda x: 1 ^ x,
        lambda x: 3 in x, lambda x: [1, 2][x], lambda x: divmod(x, 2), lambda x: x >> a, lambda x: "a" + x,
        lambda x: not x, lambda x: 1 if x else 2, range,
    ]  # fmt: skip
    for value in (a, a["rows"], wf.input("n")):
        for look in looks:
            with pytest.raises(ValidationError, match=r"only in a run.*: .*"):
                look(value)


def test_handles_are_equal_to_themselves_only_and_hashable() -> None:
    """Outside of workflow functions `==` is identity."""
    wf = Workflow("w")
    a = wf.add("a")
    assert a == a
    assert a != a["x"]
    assert a["x"] != a["x"]
    assert len({a, a}) == 1
    assert a in [1, a]
    assert f"{a}" == "<node 'a' of workflow 'w'>"


def test_iterating_gives_declared_outputs_or_a_type_error() -> None:
    """An action with declared outputs can be unpacked; else the error says what to write."""
    wf = Workflow("w")
    left, right = wf.add(make_action(split, outputs=("left", "right")), rows=[1])
    assert isinstance(left, Reference)
    assert (left.ref, right.ref) == (Ref("split", ("left",)), Ref("split", ("right",)))
    for value in (wf.add("a"), left):
        with pytest.raises(TypeError, match=r"wf\.map") as raised:
            list(value)
        assert isinstance(raised.value, ValidationError) and raised.value.culprit == str(value.ref)


def test_declared_outputs_are_the_only_ones() -> None:
    """A reference to another key is refused at once, with the nearest one named."""
    wf = Workflow("w")
    handle = wf.add(make_action(split, outputs=("left", "right")), rows=[1])
    with pytest.raises(ValidationError, match="did you mean 'right'") as caught:
        handle["rigth"]
    assert caught.value.culprit == "rigth"
    wf.add("a", x=ref("split.lef"))
    with pytest.raises(ValidationError, match="did you mean 'left'"):
        check(wf)


def test_keys_are_texts_then_texts_or_indices() -> None:
    """A handle is indexed by a text first; a slice or another handle is refused."""
    wf = Workflow("w")
    a = wf.add("a")
    assert a["rows"][-1]["x"].ref == Ref("a", ("rows", -1, "x"))
    wrong: list[Any] = [0, slice(1), None, a]
    for index in wrong:
        with pytest.raises(ValidationError):
            a[index]
    wrong = [True, slice(1), 1.5]
    for index in wrong:
        with pytest.raises(ValidationError):
            a["rows"][index]
    with pytest.raises(AttributeError, match=r"\['rows'\]"):
        a.rows  # noqa: B018  # reading it is the test


def test_a_handle_of_another_workflow_is_refused() -> None:
    """As input, in `after`, in a branch, in a result."""
    wf, other = Workflow("w"), Workflow("other")
    a = other.add("a")
    for build in (
        lambda: wf.add("b", x=[a["x"]]),
        lambda: wf.add("b", after=a),
        lambda: wf.branch(a["x"], then="b"),
        lambda: wf.branch(1, then=a),
        lambda: wf.map("b", over={"x": a}),
        lambda: setattr(wf, "result", {"x": a}),
    ):
        with pytest.raises(ValidationError, match="'other'"):
            build()
    assert not wf.nodes


def test_handles_show_themselves_with_names_escaped() -> None:
    """What users called things is no HTML."""
    wf = Workflow("<w>")
    a = wf.add("<b>", id="<i>")
    html = wf.add("c", id="d", x=a)._repr_html_() + a._repr_html_()
    assert "<i>" not in html
    assert "&lt;i&gt;" in html
    assert "&lt;b&gt;" in html


# --- maps -----------------------------------------------------------------------------------------


def test_a_map_is_one_node_over_lists_and_references() -> None:
    """Ranges, arrays and series become plain lists; references add dependencies."""
    wf = Workflow("w")
    a = wf.add("scan")
    m = wf.map(
        split,
        over={
            "path": a["files"],
            "window": (6, 24),
            "n": range(2),
            "f": np.array([1.5]),
            "s": pd.Series([1]),
            "x": [a],
        },
        limit=3,
        after="z",
        k=a["k"],
    )
    node = wf.nodes[m.id]
    assert (node.kind, node.action, node.limit, node.deps) == ("map", "split", 3, ("z", "scan"))
    assert node.over == {
        "path": Ref("scan", ("files",)),
        "window": [6, 24],
        "n": [0, 1],
        "f": [1.5],
        "s": [1],
        "x": [Ref("scan")],
    }
    assert type(node.over["f"][0]) is float
    assert wf.add("use", x=m["key"], y=m).id == "use"
    assert wf.nodes["use"].deps == ("split",)


def test_a_map_runs_over_rows() -> None:
    """A list of dicts, a DataFrame, or a reference to one; no rows are fine."""
    wf = Workflow("w")
    a = wf.add("plan")
    over = [
        wf.nodes[wf.map("x", rows).id].over
        for rows in ([{"a": 1}, {"a": a["n"]}], pd.DataFrame({"a": [1, 2]}), a["table"], ref("plan.t"), [])
    ]
    assert over == [
        [{"a": 1}, {"a": Ref("plan", ("n",))}],
        [{"a": 1}, {"a": 2}],
        Ref("plan", ("table",)),
        Ref("plan", ("t",)),
        [],
    ]


@pytest.mark.parametrize(
    "over",
    [3, None, "abc", {}, {"a": 3}, {"a": "abc"}, {"a": {"b": 1}}, {"a": {1, 2}}, {"a": iter([1])}, {3: [1]},
     [1, 2], [{1: 2}], {"": [1]}],
)  # fmt: skip
def test_a_wrong_over_is_refused(over: Any) -> None:
    """The error says what over takes."""
    wf = Workflow("w")
    with pytest.raises(ValidationError) as caught:
        wf.map("x", over)
    assert caught.value.culprit == "over"
    assert not wf.nodes


def test_a_parameter_is_varied_or_given() -> None:
    """Not both; and `limit` is a whole number of at least 1."""
    wf = Workflow("w")
    with pytest.raises(ValidationError, match="'a'"):
        wf.map("x", over={"a": [1]}, a=2)
    with pytest.raises(ValidationError, match="limit"):
        wf.map("x", over={"a": [1]}, limit=0)


# --- branches -------------------------------------------------------------------------------------


def test_a_branch_comes_before_both_its_sides_also_later_ones() -> None:
    """Nodes that are there get it as a dependency at once, later ones when they are added."""
    wf = Workflow("w")
    ok = wf.add("check")
    mend = wf.add("mend", x=1)
    branch = wf.branch(ok["complete"], then="report", otherwise=[mend])
    wf.add("report", y=ok)
    assert isinstance(branch, NodeHandle)
    node = wf.nodes["branch"]
    assert (node.kind, node.action, node.deps) == ("branch", "branch", ("check",))
    assert node.inputs == {"condition": Ref("check", ("complete",))}
    assert node.over == {"then": ("report",), "otherwise": ("mend",)}
    assert wf.nodes["mend"].deps == ("branch",)
    assert wf.nodes["report"].deps == ("check", "branch")
    assert wf.branch(True, then="mend").id == "branch_2"
    assert list(wf.nodes["mend"].deps) == ["branch", "branch_2"]
    check(wf)


def test_a_branch_leads_to_nodes_that_are_there_and_to_each_once() -> None:
    """A side that names no node is found by `check`; both sides with one node, or none, at once."""
    wf = Workflow("w")
    wf.add("mend")
    for wrong in ({"then": "a", "otherwise": ["a"]}, {"then": ()}, {"then": 3}):
        with pytest.raises(ValidationError):
            wf.branch(True, **wrong)
    wf.branch(True, then="mnd")
    with pytest.raises(ValidationError, match="did you mean 'mend'"):
        check(wf)


# --- sub-workflows --------------------------------------------------------------------------------


def test_a_workflow_is_a_node_of_another() -> None:
    """Its name is the id; its result's keys are what can be referred to."""
    inner = Workflow("inner", inputs=["x"])
    inner.result = {"total": inner.add("sum", x=inner.input("x"))}
    wf = Workflow("w")
    part = wf.add(inner, x=3)
    assert (wf.nodes["inner"].kind, wf.nodes["inner"].action) == ("workflow", "inner")
    assert wf.workflows == {"inner": inner}
    assert part["total"].ref == Ref("inner", ("total",))
    with pytest.raises(ValidationError, match="did you mean 'total'"):
        part["totl"]
    with pytest.raises(ValidationError, match="itself"):
        wf.add(wf)
    with pytest.raises(ValidationError, match="two different workflows"):
        wf.add(Workflow("inner"))
    with pytest.raises(ValidationError, match=r"flow\.run"):
        inner(3)


# --- the workflow itself --------------------------------------------------------------------------


def test_inputs_are_names_or_defaults() -> None:
    """Names are required, a mapping gives defaults; anything else is refused."""
    assert dict(Workflow("w", inputs=["a", "b"]).inputs) == {"a": REQUIRED, "b": REQUIRED}
    assert dict(Workflow("w", inputs={"a": None, "b": REQUIRED}).inputs) == {"a": None, "b": REQUIRED}
    assert dict(Workflow("w", inputs="a").inputs) == {"a": REQUIRED}
    wrong: list[Any] = [3, [3], ["a", "a"], {3: 1}, [""], {"a": ref("x")}]
    for inputs in wrong:
        with pytest.raises(ValidationError):
            Workflow("w", inputs=inputs)
    assert pickle.loads(pickle.dumps(REQUIRED)) is REQUIRED
    assert copy.deepcopy(REQUIRED) is REQUIRED


def test_what_a_workflow_says_of_itself_is_checked() -> None:
    """Names are texts, a version may be a number, the config is checked by its own rules."""
    wf = Workflow("w", version=1.5, tags="a", config={"max_parallel_nodes": 2})  # type: ignore[arg-type]  # kind
    assert (wf.version, wf.tags) == ("1.5", ("a",))
    assert wf.config is not None
    assert wf.config.max_parallel_nodes == 2
    wrong: list[dict[str, Any]] = [
        {"name": ""}, {"name": 3}, {"name": "a\nb"}, {"author": 3j}, {"tags": 3}, {"config": {"nope": 1}},
        {"config": 3},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(ValidationError):
            Workflow(**{"name": "w", **arguments})


def test_equality_is_about_what_they_say() -> None:
    """Types count, order of nodes counts, objects that cannot be compared are equal to themselves only."""

    def build(value: Any) -> Workflow:
        wf = Workflow("w", inputs={"x": 1})
        wf.add("a", id="n", v=value)
        return wf

    frame = pd.DataFrame({"a": [1]})
    assert build(1) == build(1)
    assert build(float("nan")) == build(float("nan"))
    assert build(1) != build(1.0)
    assert build(1) != build(True)
    assert build([1]) != build((1,))
    assert build(frame) == build(frame)
    assert build(frame) != build(frame.copy())
    assert build(1) != 3
    assert hash(build(1)) == hash(build(2))


def test_a_result_is_set_from_handles() -> None:
    """Handles become references, text references are bound, and check finds those to nowhere."""
    wf = Workflow("w")
    a = wf.add("a")
    wf.result = {"x": a["x"], "y": [ref("a.y.0"), 3]}
    assert wf.result == {"x": Ref("a", ("x",)), "y": [Ref("a", ("y", 0)), 3]}
    wf.result = ref("b.x")
    with pytest.raises(ValidationError, match="'b'"):
        check(wf)


def test_describe_says_more() -> None:
    """Description, instructions, outputs and defaults, for a node that is there."""
    wf = Workflow("w")
    a = wf.add("a", x=wf.input("x"))
    handle = wf.describe(a, description="d", instructions="i", outputs=["o"], defaults={"x": 3})
    node = wf.nodes["a"]
    assert (node.description, node.instructions, node.outputs, node.defaults) == ("d", "i", ("o",), {"x": 3})
    assert [part.ref for part in handle] == [Ref("a", ("o",))]
    with pytest.raises(ValidationError, match="'b'"):
        wf.describe("b")


def test_repr_is_one_line() -> None:
    """Name, number of nodes, inputs."""
    wf = Workflow("w", inputs=["a"])
    wf.add("x")
    assert repr(wf) == "<Workflow 'w': 1 node, inputs a>"


# --- check ----------------------------------------------------------------------------------------


def test_check_finds_unknown_dependencies_and_references() -> None:
    """Each with the nearest name."""
    for arguments in ({"after": "fetsh"}, {"x": ref("fetsh.rows")}, {"x": ref("fetsh")}):
        wf = Workflow("w")
        wf.add("fetch")
        wf.add("use", **arguments)
        with pytest.raises(DependencyNotFound, match="did you mean 'fetch'") as caught:
            check(wf)
        assert (caught.value.node_id, caught.value.dependency) == ("use", "fetsh")
    wf = Workflow("w")
    wf.add("use", x=ref("input.rows"))
    with pytest.raises(DependencyNotFound, match="did you mean 'inputs'"):
        check(wf)
    wf = Workflow("w")
    wf.add("use", x=ref("inputs"))
    with pytest.raises(ValidationError, match=r"inputs\.KEY"):
        check(wf)


def test_check_says_that_what_is_inside_of_a_group_is_not_seen() -> None:
    """The items of a map, by a dependency or a reference, are named by the map."""
    for arguments in ({"after": ["all/0"]}, {"n": ref("all/0.rows")}):
        wf = Workflow("w")
        wf.map("fetch", over={"n": [1]}, id="all")
        wf.add("load", **arguments)
        with pytest.raises(DependencyNotFound, match="what is inside 'all' is not seen from outside"):
            check(wf)


def test_check_finds_the_cycle_and_names_it() -> None:
    """In the order of the edges, first node again at the end; also of a node with itself."""
    wf = Workflow("w")
    wf.add("x", id="a")
    wf.add("x", id="b", after=["a", "d"])
    wf.add("x", id="c", after="b")
    wf.add("x", id="d", after="c")
    wf.add("x", id="e", after="d")
    with pytest.raises(CycleError, match="b -> c -> d -> b") as caught:
        check(wf)
    assert caught.value.cycle == ["b", "c", "d", "b"]
    assert find_cycle({"a": ["a"]}) == ["a", "a"]
    assert find_cycle({"a": ["x"], "b": ["a", "a"]}) is None


def test_check_is_fast_and_needs_no_recursion() -> None:
    """A chain of 20,000 nodes that closes on itself is no problem."""
    deps = {f"n{i}": [f"n{i - 1}"] for i in range(20_000)}
    deps["n0"] = ["n19999"]
    begin = time.perf_counter()
    cycle = find_cycle(deps)
    assert cycle is not None
    assert len(cycle) == 20_001
    assert time.perf_counter() - begin < 2


def test_ids_of_a_maps_items_are_refused() -> None:
    """At `add` where the map is there, at `check` (and so by YAML) where it comes later; both are named."""
    wf = Workflow("w")
    wf.map("step", over={"x": [1, 2]}, id="m")
    with pytest.raises(ValidationError, match=r"'m/0' is the id of an item of the map 'm'"):
        wf.add("step", id="m/0", x=9)
    wf.add("step", id="m/0-fix", x=9)
    check(wf)
    later = Workflow("w")
    later.add("step", id="m/0", x=9)
    later.map("step", over={"x": [1, 2]}, id="m")
    with pytest.raises(ValidationError, match=r"'m/0' is the id of an item of the map 'm'"):
        check(later)


def test_an_id_with_a_dot_takes_references_over() -> None:
    """A reference by text means the longest id there is, also one that comes after it was looked at."""
    wf = Workflow("w")
    wf.add("make", id="plan")
    wf.add("use", id="use", x=ref("plan.t.u"))
    assert (wf.nodes["use"].inputs["x"], wf.nodes["use"].deps) == (Ref("plan", ("t", "u")), ("plan",))
    wf.add("make", id="plan.t")
    assert (wf.nodes["use"].inputs["x"], wf.nodes["use"].deps) == (Ref("plan.t", ("u",)), ("plan.t",))
    wf.add("use", id="early", x=ref("later.v"))
    assert wf.nodes["early"].deps == ()
    wf.add("make", id="later")
    assert wf.nodes["early"].deps == ("later",)


def test_what_was_found_to_fit_is_looked_at_again_once_it_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a node is added, or refers to another one now, or the result is new; else it is not."""
    looks: list[int] = []
    module = importlib.import_module("dagflow_nb.workflow.check")
    real = module.problems

    def problems(nodes: Any, result: Any = None) -> Any:
        looks.append(len(nodes))
        return real(nodes, result)

    monkeypatch.setattr(module, "problems", problems)
    wf = Workflow("w")
    first = wf.add("act", id="first")
    wf.add("act", id="second", x=ref("first.out"))
    for _ in range(3):
        check(wf)
    assert looks == [2]
    wf.add("act", id="third", after=["nobody"])
    for _ in range(2):
        with pytest.raises(DependencyNotFound, match="nobody"):
            check(wf)
    wf.add("act", id="nobody")
    check(wf)
    wf.result = first["out"]
    check(wf)
    wf.add("act", id="first.out")  # `second` refers to this one now
    check(wf)
    assert looks == [2, 3, 3, 4, 4, 5]
