"""Preview: what would run and why, said before it does; and what then runs agrees with it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from dagflow_nb import DagFlow, ValidationError, Workflow, ref
from tests.flows import single, states, still_clock

QUIET: dict[str, Any] = {"view": False}


@pytest.fixture
def flow() -> Any:
    with DagFlow(":memory:", echo=False) as made:
        yield made


def preview(flow: DagFlow, *arguments: Any) -> dict[str, tuple[bool, str, str]]:
    """The rows by node id."""
    found = flow.preview(*arguments)
    assert list(found.columns) == ["node_id", "will_run", "reason", "detail"]
    assert found["will_run"].dtype == bool
    return {row.node_id: (row.will_run, row.reason, row.detail) for row in found.itertuples()}


def pipeline(flow: DagFlow, limit: int = 3) -> Any:
    """Two nodes whose results are kept, and one that always runs."""

    def clean(rows: list[int]) -> list[int]:
        return [row for row in rows if row < limit]

    @flow.action(cache=True)
    def fetch(n: int) -> list[int]:
        return list(range(n))

    @flow.action(cache=True)
    def tidy(rows: Any) -> Any:
        return clean(rows)

    @flow.action
    def show(rows: Any) -> int:
        return len(rows)

    @flow.workflow
    def pipe(n: int = 5) -> Any:
        return show(tidy(fetch(n)))

    return pipe


def test_before_the_first_run_everything_is_new(flow: DagFlow) -> None:
    """Without a run every node is new; and nothing has run by looking."""
    found = preview(flow, pipeline(flow))
    assert {id: row[:2] for id, row in found.items()} == dict.fromkeys(
        ["fetch", "tidy", "show"], (True, "new")
    )
    assert flow.runs().empty


def test_what_is_known_is_cached(flow: DagFlow) -> None:
    """After a run the kept results are cached; a node without `cache=` runs, and it is said why."""
    pipe = pipeline(flow)
    run = flow.run(pipe, **QUIET)
    found = preview(flow, "pipe")
    assert found["fetch"][:2] == found["tidy"][:2] == (False, "cached")
    assert run.run_id in found["fetch"][2]
    assert found["show"][:2] == (True, "not cacheable")
    assert "cache=" in found["show"][2]


def test_an_input_that_differs_is_named(flow: DagFlow) -> None:
    """The input is named, from what to what, and what depends on it runs, too."""
    flow.run(pipeline(flow), **QUIET)
    found = preview(flow, "pipe", {"n": 6})
    assert found["fetch"] == (True, "input changed", "input 'n': 5 -> 6")
    assert found["tidy"] == (True, "upstream runs", "fetch")


def test_code_that_changed_is_named(flow: DagFlow) -> None:
    """The part of the code that changed is named, from what to what."""
    flow.run(pipeline(flow), **QUIET)
    pipeline(flow, limit=4)
    found = preview(flow, "pipe")
    assert found["fetch"][:2] == (False, "cached")
    assert found["tidy"][:2] == (True, "code changed")
    assert "clean.limit: 3 -> 4" in found["tidy"][2]
    assert found["show"][:2] == (True, "upstream runs")


def test_code_of_a_node_that_always_runs(flow: DagFlow) -> None:
    """Also for a node without `cache=` it is said that its code has changed."""

    def define(step: int) -> Any:
        @flow.action(name="add")
        def add(n: int = 1) -> int:
            return n + step

        return add

    wf = single(define(1))
    flow.run(wf, **QUIET)
    define(2)
    assert preview(flow, wf)["node"] == (True, "code changed", _any("step: 1 -> 2"))


class _any:  # equal to every text that holds it
    def __init__(self, part: str) -> None:
        self.part = part

    def __eq__(self, other: object) -> bool:
        return self.part in str(other)

    def __hash__(self) -> int:
        return 0


def test_a_result_that_is_too_old(flow: DagFlow) -> None:
    """A result whose time is over is expired: how old it is, and how long it is kept."""
    clock = still_clock(flow)

    @flow.action(cache="1h")
    def work() -> int:
        return 1

    wf = single(work)
    flow.run(wf, **QUIET)
    clock.advance(3599)
    assert preview(flow, wf)["node"][:2] == (False, "cached")
    clock.advance(3601)
    assert preview(flow, wf)["node"] == (True, "expired", "computed 2 h ago, kept for 1 h")
    assert states(flow.run(wf, **QUIET)) == {"node": "completed"}


def test_what_is_not_cacheable_says_why(flow: DagFlow) -> None:
    """A key function that raises, and code that cannot be read: not cacheable, with the reason."""
    import threading

    lock = threading.Lock()

    @flow.action(cache=lambda n: 1 / n)
    def divided(n: int = 0) -> int:
        return n

    @flow.action(cache=True)
    def locked() -> bool:
        return lock.locked()

    wf = Workflow("w")
    wf.add(divided)
    wf.add(locked)
    for _ in range(2):
        found = preview(flow, wf)
        assert found["divided"] == (True, "not cacheable", _any("key function raised ZeroDivisionError"))
        assert found["locked"] == (True, "not cacheable", _any("lock"))
        flow.run(wf, **QUIET)


def test_an_action_that_is_not_there(flow: DagFlow) -> None:
    """An action that is not defined is said, with the nearest names."""
    pipeline(flow)
    wf = Workflow("w")
    wf.add("fetsch", id="a", inputs={"n": 1})
    wf.add("show", id="b", rows=[1])
    found = preview(flow, wf)
    assert found["a"] == (False, "action not found", _any("fetch"))
    assert found["b"][:2] == (True, "new")


def test_failed_results_are_not_known(flow: DagFlow) -> None:
    """A node that failed in the latest run runs again, and it is said how it ended."""

    @flow.action(cache=True)
    def breaks() -> int:
        raise RuntimeError("no")

    wf = single(breaks)
    run = flow.run(wf, raise_on_failure=False, **QUIET)
    assert preview(flow, wf)["node"] == (True, "new", f"in run {run.run_id} it was failed")


def test_maps_and_sub_workflows(flow: DagFlow) -> None:
    """Items of a map and nodes of a sub-workflow have rows of their own, the group says how many run."""

    @flow.action(cache=True)
    def double(n: int) -> int:
        return 2 * n

    inner = Workflow("inner", inputs={"n": 1})
    inner.add(double, id="d", n=ref("inputs.n"))
    wf = Workflow("outer", inputs={"items": [1, 2]})
    wf.map(double, over={"n": ref("inputs.items")}, id="m")
    wf.add(inner, id="sub", n=7)
    assert {row[1] for row in preview(flow, wf).values()} == {"new"}
    run = flow.run(wf, **QUIET)
    found = preview(flow, wf)
    assert {id: row[0] for id, row in found.items()} == dict.fromkeys(states(run), False)
    found = preview(flow, wf, {"items": [1, 2, 3]})
    assert found["m"][0] and found["m"][2] == "1 of 3 items run"
    assert [found[f"m/{i}"][0] for i in range(3)] == [False, False, True]
    assert not found["sub/d"][0]


def test_a_branch_that_is_decided_already(flow: DagFlow) -> None:
    """A condition that is known decides in the preview, too: the other way will not run."""

    @flow.action(cache=True)
    def work(n: int = 1) -> int:
        return n

    wf = Workflow("w", inputs={"n": 1})
    first = wf.add(work, id="first", n=1)
    yes, no = wf.add(work, id="yes", n=2), wf.add(work, id="no", n=3)
    wf.branch(first, then=[yes], otherwise=[no], id="way")
    run = flow.run(wf, **QUIET)
    found = preview(flow, wf)
    assert states(run)["no"] == "skipped"
    assert found["no"] == (False, "upstream runs", "'way' takes the other way")
    assert found["yes"][:2] == (False, "cached")


def test_inputs_of_the_latest_run_are_taken(flow: DagFlow) -> None:
    """An input that is required and not given is that of the latest run; without one it is an error."""

    @flow.action(cache=True)
    def double(n: int) -> int:
        return 2 * n

    wf = Workflow("w", inputs=["n"])
    wf.add(double, n=ref("inputs.n"))
    with pytest.raises(ValidationError, match="needs the input 'n'"):
        flow.preview(wf)
    flow.run(wf, n=4, **QUIET)
    assert preview(flow, wf)["double"][:2] == (False, "cached")
    assert preview(flow, wf, {"n": 5})["double"][2] == "input 'n': 4 -> 5"


def test_the_graph_in_colours(flow: DagFlow) -> None:
    """`flow.graph(workflow, preview=True)` colours the nodes by what would happen to them."""
    pipe = pipeline(flow)
    flow.run(pipe, **QUIET)
    svg = flow.graph(pipe, preview=True).svg
    assert "cached" in svg and "not cacheable" in svg
    assert "not cacheable" in flow.graph(pipe, preview=flow.preview(pipe)).svg
    assert "not cacheable" not in flow.graph(pipe).svg


# --- what then runs ---------------------------------------------------------------------------

EDITS = ("none", "body", "constant", "helper", "input", "cache")


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[list[int], int, bool]]:
    """Nodes in order: which earlier ones each reads, which of three helpers it uses, whether it is kept."""
    count = draw(st.integers(1, 6))
    return [
        (
            draw(st.lists(st.integers(0, i - 1), max_size=2, unique=True)) if i else [],
            draw(st.integers(0, 2)),
            draw(st.booleans()),
        )
        for i in range(count)
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nodes=graphs(), edits=st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 5)), max_size=4))
@example(nodes=[([], 0, False), ([0], 0, True)], edits=[("body", 1), ("body", 1)])
def test_preview_agrees_with_what_then_runs(
    nodes: list[tuple[list[int], int, bool]], edits: list[tuple[str, int]]
) -> None:
    """On generated graphs and edits: what is said to be cached is, what is said to run runs."""
    numbers = itertools.count(100)
    helpers, bodies, constants = [1, 2, 3], [0] * len(nodes), [0] * len(nodes)
    kept, given = [keep for _, _, keep in nodes], 0
    with DagFlow(":memory:", echo=False) as flow:

        def define() -> Workflow:
            made = [_helper(step) for step in helpers]
            wf = Workflow("w", inputs={"start": 0})
            for i, (sources, helper, _) in enumerate(nodes):
                act = _action(made[helper], constants[i], bodies[i] % 2 == 1)
                flow.action(name=f"a{i}", cache=kept[i])(act)
                values = [ref(f"n{j}") for j in sources] or [ref("inputs.start")]
                wf.add(f"a{i}", id=f"n{i}", values=values)
            return flow.add_workflow(wf)

        for edit, at in [("none", 0), *edits]:
            i = at % len(nodes)
            if edit == "body":
                bodies[i] += 1
            elif edit == "constant":
                constants[i] = next(numbers)
            elif edit == "helper":
                helpers[i % 3] = next(numbers)
            elif edit == "input":
                given = next(numbers)
            elif edit == "cache":
                kept[i] = not kept[i]
            wf = define()
            said = preview(flow, wf, {"start": given})
            run = flow.run(wf, {"start": given}, **QUIET)
            ran = {id: state != "cached" for id, state in states(run).items()}
            for id, (will_run, reason, detail) in said.items():
                if reason != "upstream runs":
                    assert ran[id] == will_run, (id, reason, detail)
                elif ran[id] != will_run:
                    # it was found after all: those before it gave what they had given in an earlier run
                    assert will_run and kept[int(id[1:])]
            again = preview(flow, wf, {"start": given})
            assert all(not again[f"n{i}"][0] for i in range(len(nodes)) if _all_kept(i, nodes, kept))


def _all_kept(i: int, nodes: list[tuple[list[int], int, bool]], kept: list[bool]) -> bool:
    return kept[i] and all(_all_kept(j, nodes, kept) for j in nodes[i][0])


def _helper(step: int) -> Any:
    def helper(n: int) -> int:
        return n * 31 + step

    return helper


def _action(helper: Any, constant: int, other: bool) -> Any:
    def plain(values: list[int]) -> int:
        return helper(sum(values)) + constant

    def negated(values: list[int]) -> int:
        return -helper(sum(values)) + constant

    return negated if other else plain


def test_a_file_that_has_changed_is_named(flow: DagFlow, tmp_path: Any) -> None:
    """A result that holds the path of a file which is not as it was will be made again, and why is said."""
    place = str(tmp_path / "export.csv")

    @flow.action(cache=True)
    def export() -> Any:
        Path(place).write_text("rows")
        return Path(place)

    wf = single(export)
    flow.run(wf, **QUIET)
    assert preview(flow, wf)["node"][:2] == (False, "cached")
    Path(place).write_text("other rows")
    assert preview(flow, wf)["node"] == (True, "expired", f"a file it returned has changed: {place}")
    Path(place).unlink()
    assert preview(flow, wf)["node"] == (True, "expired", f"a file it returned is gone: {place}")
    assert states(flow.run(wf, **QUIET)) == {"node": "completed"}
