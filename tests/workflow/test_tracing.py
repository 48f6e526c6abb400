"""Workflows from functions: what a traced function makes, and what it cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dagflow_nb.actions import TRACER, NodeAction, NodeCtx, make_action
from dagflow_nb.core.model import NodeOutput, Ref
from dagflow_nb.errors import ValidationError
from dagflow_nb.workflow import REQUIRED, NodeHandle, Reference, Workflow, build_from_function, check


@make_action
def fetch(source: str = "db", limit: int = 10) -> dict[str, Any]:
    return {"rows": [source] * limit}


@make_action
async def clean(ctx: NodeCtx, rows: list[str], *, strict: bool = False) -> dict[str, Any]:
    return {"rows": rows}


def halve(rows: list[str]) -> tuple[list[str], list[str]]:
    return rows, rows


split = make_action(halve, name="split", outputs=("left", "right"))


def test_calls_become_nodes_and_parameters_inputs() -> None:
    """Positional arguments are bound by the action's signature, the context left out."""

    def pipeline(source: str, limit: int = 5) -> Any:
        """Fetches and cleans."""
        rows = fetch(source, limit=limit)
        done = clean(rows["rows"], strict=True)
        return {"rows": done["rows"], "all": (done, [rows])}

    wf = build_from_function(pipeline, tags=["etl"])
    check(wf)
    assert (wf.name, wf.description, wf.tags) == ("pipeline", "Fetches and cleans.", ("etl",))
    assert dict(wf.inputs) == {"source": REQUIRED, "limit": 5}
    source, limit = Ref("inputs", ("source",)), Ref("inputs", ("limit",))
    assert wf.nodes["fetch"].inputs == {"source": source, "limit": limit}
    assert wf.nodes["clean"].inputs == {"rows": Ref("fetch", ("rows",)), "strict": True}
    assert wf.nodes["clean"].deps == ("fetch",)
    assert wf.result == {"rows": Ref("clean", ("rows",)), "all": (Ref("clean"), [Ref("fetch")])}
    assert wf.functions == {"fetch": fetch, "clean": clean}
    assert TRACER.get() is None


def test_a_parameter_named_wf_gets_the_workflow() -> None:
    """For maps, ids and everything a call cannot say; it is no input."""

    def pipeline(wf: Workflow, folder: Any = "data", /, *, n: int = 1) -> Any:
        handle = wf.map(fetch, over={"source": folder["files"]}, limit=n) if False else wf.add(fetch, id="f")
        wf.add(split, id="s", after=handle, timeout=3, rows=folder)
        return wf

    wf = build_from_function(pipeline)
    assert dict(wf.inputs) == {"folder": "data", "n": 1}
    assert list(wf.nodes) == ["f", "s"]
    assert wf.result is None


def test_declared_outputs_unpack_and_settings_stay_inputs() -> None:
    """Keywords of a call are inputs, whatever they are called."""

    @make_action
    def work(id: str, timeout: int, after: Any) -> None: ...

    def pipeline() -> Any:
        left, right = split([1])
        work(id="x", timeout=3, after=left)
        return left, right

    wf = build_from_function(pipeline)
    assert wf.nodes["work"].inputs == {"id": "x", "timeout": 3, "after": Ref("split", ("left",))}
    assert wf.result == (Ref("split", ("left",)), Ref("split", ("right",)))


def test_looking_at_a_value_is_refused_with_what_to_write() -> None:
    """In `if`, `for`, comparisons, arithmetic and f-strings; nothing is left switched on afterwards."""

    def in_if() -> None:
        if fetch():
            pass

    def in_for() -> None:
        for _ in fetch()["rows"]:
            pass

    def in_comparison(n: int) -> None:
        n > 3  # noqa: B015  # comparing is the test

    def in_equality(n: int) -> None:
        n == 3  # noqa: B015  # comparing is the test

    def in_inequality() -> None:
        fetch() != 3  # noqa: B015  # comparing is the test

    def in_arithmetic(n: int) -> None:
        fetch(limit=n + 1)

    def in_text(source: str) -> None:
        fetch(f"{source}.csv")

    def in_membership() -> None:
        _ = 3 in fetch()

    def in_list(n: int) -> None:
        _ = n in [1, 2]

    for function in (
        in_if, in_for, in_comparison, in_equality, in_inequality, in_arithmetic, in_text, in_membership,
        in_list,
    ):  # fmt: skip
        with pytest.raises(ValidationError, match="only in a run"):
            build_from_function(function)
    with pytest.raises(TypeError, match=r"wf\.map"):
        build_from_function(in_for)
    assert TRACER.get() is None
    assert fetch("a", 1) == {"rows": ["a"]}


def test_an_exception_goes_through_and_leaves_nothing_behind() -> None:
    """The function's own error is what is raised."""

    def broken() -> None:
        fetch()
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        build_from_function(broken)
    assert TRACER.get() is None
    handle = Workflow("w").add("a")
    assert handle != 3


def test_functions_that_cannot_describe_a_workflow_are_refused() -> None:
    """Async ones, generators, `*args`, `**kwargs`, classes, lambdas without a name."""

    async def coroutine() -> None: ...

    async def async_generator() -> Any:
        yield 1

    def generator() -> Iterator[int]:
        yield 1

    def stars(*files: str) -> None: ...

    def double(**options: str) -> None: ...

    def returns_coroutine() -> Any:
        return coroutine()

    for function, words in [
        (coroutine, "plain def"),
        (async_generator, "plain def"),
        (generator, "yields"),
        (stars, r"\*files"),
        (double, r"\*\*options"),
        (returns_coroutine, "coroutine"),
        (lambda: None, "name="),
        (Workflow, "function"),
        (3, "function"),
    ]:
        with pytest.raises(ValidationError, match=words):
            build_from_function(function)  # type: ignore[arg-type]  # refused at run time
    assert build_from_function(lambda: fetch(), name="one").result == Ref("fetch")


def test_arguments_that_have_no_place_are_refused() -> None:
    """Too many by position, or one twice."""

    class Custom(NodeAction):
        name = "custom"

        async def execute(self, ctx: NodeCtx) -> NodeOutput:
            return NodeOutput.ok()

    custom = make_action(Custom)

    def too_many() -> None:
        fetch("a", 1, 2)

    def twice() -> None:
        fetch("a", source="b")

    def keyword_only() -> None:
        clean([], True)

    def of_a_class() -> None:
        custom(1)

    for function, words in [
        (too_many, "got 3 inputs by position: its inputs are source, limit"),
        (twice, "'source' twice"),
        (keyword_only, "its inputs are rows"),
        (of_a_class, "none by position"),
    ]:
        with pytest.raises(ValidationError, match=words):
            build_from_function(function)

    def by_name() -> Any:
        return custom(x=1)

    assert build_from_function(by_name).nodes["custom"].inputs == {"x": 1}


def test_a_workflow_called_inside_is_a_node() -> None:
    """By position or name, with its inputs; a workflow function inside another is traced apart."""

    def inner(rows: Any, strict: bool = False) -> Any:
        return {"rows": clean(rows=rows, strict=strict)["rows"]}

    part = build_from_function(inner)

    def outer() -> Any:
        rows = fetch()
        nested = build_from_function(lambda: fetch(limit=1), name="nested")
        one, two = part(rows["rows"], strict=True), nested()
        return one["rows"], two

    wf = build_from_function(outer)
    assert [(n.id, n.kind) for n in wf.nodes.values()] == [
        ("fetch", "action"), ("inner", "workflow"), ("nested", "workflow"),
    ]  # fmt: skip
    assert wf.nodes["inner"].inputs == {"rows": Ref("fetch", ("rows",)), "strict": True}
    assert set(wf.workflows) == {"inner", "nested"}
    assert wf.result == (Ref("inner", ("rows",)), Ref("nested"))


def test_what_the_parameters_are() -> None:
    """References into the run's inputs, that go deeper by key."""
    seen: list[Any] = []

    def pipeline(config: Any) -> Any:
        seen.extend([config, fetch(source=config["db"]["url"])])

    wf = build_from_function(pipeline, name="named", description="d", version="2")
    assert isinstance(seen[0], Reference)
    assert isinstance(seen[1], NodeHandle)
    assert wf.nodes["fetch"].inputs == {"source": Ref("inputs", ("config", "db", "url"))}
    assert (wf.name, wf.description, wf.version, wf.input_names) == ("named", "d", "2", ("config",))
