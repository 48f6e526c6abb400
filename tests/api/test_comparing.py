"""Diffs and lineage of runs: what differs, what came from where, in files and in memory."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import SecretStr

from dagflow_nb import DagFlow, NodeSpec, Workflow, ref
from dagflow_nb.api.run import Run
from dagflow_nb.errors import NodeNotFound, ValidationError


@pytest.fixture(params=["file", "memory"])
def flow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DagFlow]:
    """A flow with a workflow of frames: `load` -> `clean` -> `total`, and `label`."""
    with DagFlow(":memory:" if request.param == "memory" else tmp_path / "flow.db", echo=False) as made:

        @made.action
        def load(n: int) -> dict[str, Any]:
            return {"frame": pd.DataFrame({"x": range(n), "y": 1.0}), "size": n}

        @made.action
        def clean(frame: pd.DataFrame, factor: int = 1) -> pd.DataFrame:
            return frame.assign(x=frame["x"] * factor)

        @made.action
        def total(frame: pd.DataFrame, label: str) -> str:
            return f"{label}: {frame['x'].sum()}"

        @made.action
        def shout(text: str) -> str:
            return text.upper()

        wf = Workflow("totals", inputs={"n": 3, "text": "sum", "factor": 1})
        loaded = wf.add("load", n=ref("inputs.n"))
        cleaned = wf.add("clean", frame=loaded["frame"], factor=ref("inputs.factor"))
        wf.add("total", frame=cleaned, label=wf.add("shout", text=ref("inputs.text")))
        made.add_workflow(wf)
        yield made


def rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(table[["node_id", "what", "key", "old", "new"]].itertuples(index=False, name=None))


def test_equal_runs_do_not_differ(flow: DagFlow) -> None:
    """Neither from itself nor from another run with the same inputs; the table keeps its dtypes."""
    one, two = flow.run("totals", view=False), flow.run("totals", view=False)
    for table in (one.diff(one), one.diff(two), two.diff(one.run_id)):
        assert table.empty
        columns = ["node_id", "what", "key", "old", "new", "old_duration", "new_duration", "detail"]
        assert list(table.columns) == columns and str(table["old_duration"].dtype) == "float64"


def test_changed_inputs(flow: DagFlow) -> None:
    """What they reach differs, node by node; frames are compared as frames; the older run is `old`."""
    one, two = flow.run("totals", view=False), flow.run("totals", view=False, factor=5)
    table = one.diff(two)
    assert (
        rows(table)
        == rows(two.diff(one))
        == [
            ("inputs", "inputs", "factor", 1, 5),
            ("clean", "inputs", "factor", 1, 5),
            ("clean", "outputs", "result", "DataFrame 3 x 2", "DataFrame 3 x 2"),
            ("total", "inputs", "frame", "DataFrame 3 x 2", "DataFrame 3 x 2"),
            ("total", "outputs", "result", "SUM: 3", "SUM: 15"),
        ]
    )
    frames = table.set_index(["node_id", "what"])
    detail = "column 'x': 2 of 3 cells differ, row 1: 1 -> 5"
    assert frames.loc[("clean", "outputs"), "detail"] == detail
    assert (table["new_duration"].dropna() >= 0).all() and table["new_duration"].notna().sum() == 4
    source = one.graph(two).source
    assert "clean" in source and "inputs, outputs" in source


def test_values_that_are_equal_are_not_decoded(flow: DagFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal content is seen by the database: only what differs is read back."""
    one, two = flow.run("totals", view=False), flow.run("totals", view=False, text="all")
    runs = [flow.get(run.run_id) for run in (one, two)]
    for run in runs:
        run._coordinator = run._done = None  # as in another process
    codec, decoded = flow._session.codec, list[str]()
    real = codec.decode

    def decode(self: Any, kind: str, data: Any) -> Any:
        decoded.append(kind)
        return real(kind, data)

    monkeypatch.setattr(type(codec), "decode", decode)
    found = runs[0].diff(runs[1])
    assert set(found["node_id"]) == {"inputs", "shout", "total"} and set(decoded) == {"json"}


def test_changed_graph_status_and_usage(flow: DagFlow) -> None:
    """Nodes and dependencies that came or went, states, errors, tokens; time only when asked for."""

    @flow.action
    def spend(ctx: Any, amount: int, fails: bool) -> None:
        ctx.report_usage(tokens=amount)
        if fails:
            raise ValueError("boom")

    def workflow(*after: str, amount: int, fails: bool) -> Workflow:
        wf = Workflow("changing")
        for id in after:
            wf.add("shout", id=id, text="x")
        wf.add("spend", id="last", amount=amount, fails=fails, after=after)
        return wf

    one = flow.run(workflow("a", "b", amount=5, fails=False), view=False)
    two = flow.run(workflow("a", "c", amount=7, fails=True), view=False, raise_on_failure=False)
    assert rows(one.diff(two)) == [
        ("b", "graph", "node", "shout", None),
        ("last", "graph", "dependencies", ["a", "b"], ["a", "c"]),
        ("last", "inputs", "amount", 5, 7),
        ("last", "inputs", "fails", False, True),
        ("last", "status", "status", "completed", "failed"),
        ("last", "usage", "tokens", 5.0, 7.0),
        ("c", "graph", "node", None, "shout"),
    ]
    assert "time" in one.diff(two, time=-1.0)["what"].tolist()
    assert "ValueError: boom" in one.diff(two).set_index("what").loc["status", "detail"]


def test_runs_of_different_workflows(flow: DagFlow) -> None:
    """They are not compared: the error names both and lists what can be."""
    other = Workflow("other")
    other.add("shout", text="x")
    one, two = flow.run("totals", view=False), flow.run(other, view=False)
    text = r"'totals' and .* 'other'.*flow\.runs\(dag_name='totals'\)"
    for compare in (one.diff, one.graph):
        with pytest.raises(ValidationError, match=text):
            compare(two)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_each_seeded_change_is_seen(data: st.DataObject) -> None:
    """Of generated outputs exactly those that were changed differ, and nothing does between equal runs."""
    frame = pd.DataFrame({"x": [1, 2]})
    kinds = st.sampled_from([1, "a", 2.5, (1, 2), [1, {"k": None}], np.arange(3), frame])
    values = data.draw(st.dictionaries(st.sampled_from("abcdef"), kinds, min_size=1))
    changed = data.draw(st.sets(st.sampled_from(sorted(values))))
    now: dict[str, Any] = values
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        def give() -> dict[str, Any]:
            return now

        wf = Workflow("seeded")
        wf.add("give")
        one, two = flow.run(wf, view=False), flow.run(wf, view=False)
        now = {key: "changed" if key in changed else value for key, value in values.items()}
        three = flow.run(wf, view=False)
        assert one.diff(two).empty and one.diff(one).empty
        table = one.diff(three)
        assert set(table["key"][table["what"] == "outputs"]) == changed


# --- lineage --------------------------------------------------------------------------------------


def steps(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    found = table.astype(object).where(table.notna(), None)
    names = ["depth", "node_id", "key", "relation", "via"]
    return set(found[names].itertuples(index=False, name=None))


def test_up_from_an_output(flow: DagFlow) -> None:
    """To the values, actions and runs that made it, back to the run's inputs."""
    run = flow.run("totals", view=False)
    table = run.lineage("total")
    assert steps(table) == {
        (0, "total", "result", None, None),
        (1, "clean", None, "input", "total"),
        (1, "shout", None, "input", "total"),
        (2, "load", "frame", "input", "clean"),
        (2, "inputs", "factor", "input", "clean"),
        (2, "inputs", "text", "input", "shout"),
        (3, "inputs", "n", "input", "load"),
    }
    by_key = table.set_index("key")
    assert by_key.loc["result", "value"] == "SUM: 3" and by_key.loc["n", "value"] == 3
    assert by_key.loc["frame", "value"] == "DataFrame 3 x 2" and by_key.loc["frame", "size_bytes"] > 0
    assert set(table["run_id"]) == {run.run_id} and by_key.loc["frame", "as_input"] == "frame"
    assert steps(run.lineage("load.size")) == {
        (0, "load", "size", None, None),
        (1, "inputs", "n", "input", "load"),
    }


def test_down_from_an_input(flow: DagFlow) -> None:
    """To all that it reached; `down` asks the same of a node, or of one of its outputs."""
    run = flow.run("totals", view=False)
    assert steps(run.lineage("inputs.factor")) == {
        (0, "inputs", "factor", None, None),
        (1, "clean", None, "input", "inputs"),
        (2, "total", None, "input", "clean"),
    }
    assert set(run.lineage("load.size", down=True)["node_id"]) == {"load"}
    assert set(run.lineage("load.frame", down=True)["node_id"]) == {"load", "clean", "total"}
    assert set(run.lineage("inputs")["node_id"]) == {"inputs", "load", "clean", "shout", "total"}


def test_what_a_person_answered_is_shown(flow: DagFlow) -> None:
    """As other short values are, and no secret is."""

    @flow.action(ask="Go on?")
    def listen(human_input: Any) -> bool:
        return bool(human_input["approved"])

    wf = Workflow("asking")
    wf.add(listen)
    flow.run(wf, view=False)
    run = flow.resume(view=False, approved=True, who="me", word=SecretStr("sesame"))
    table = run.lineage("listen").query("relation == 'answer'").set_index("key")["value"]
    assert (table["approved"], table["who"]) == (True, "me") and "sesame" not in str(table["word"])


def test_the_list_of_a_map_is_looked_through_once(flow: DagFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each of its items, by lineage and by preview."""
    module = importlib.import_module("dagflow_nb.api.lineage")
    other = importlib.import_module("dagflow_nb.api.preview")
    seen: list[Any] = []

    def iter_refs(value: Any) -> Any:
        seen.append(value)
        return real(value)

    real = module.iter_refs
    for one in (module, other):
        monkeypatch.setattr(one, "iter_refs", iter_refs)
    sizes = list(range(20))
    wf = Workflow("many")
    wf.map("load", over={"n": sizes}, id="each")
    run = flow.run(wf, view=False)
    run.lineage("each")
    assert sum(value == sizes for value in seen) == 1
    flow.preview(wf)
    assert sum(value == {"n": sizes} for value in seen) == 1


def test_across_forks(flow: DagFlow) -> None:
    """What a fork kept was made by the run it was kept from, over several forks."""
    one = flow.run("totals", view=False)
    two = flow.fork(one, node="clean", view=False)
    three = flow.fork(two, inputs={"text": "all"}, view=False)
    made = three.lineage("total").query("node_id != 'inputs'").set_index("node_id")["run_id"].to_dict()
    assert made == {
        "load": one.run_id,
        "clean": two.run_id,
        "shout": three.run_id,
        "total": three.run_id,
    }


def test_growth_groups_and_people(flow: DagFlow) -> None:
    """Maps, sub-workflows, answers, rescues and what hooks added are steps of their own kinds."""

    @flow.action
    def fail(x: int) -> int:
        raise ValueError("boom")

    @flow.action
    def decide(human_input: Any = None) -> str:
        return str(human_input)

    @flow.on_failed(node="bad")
    def rescue() -> Any:
        return NodeSpec("shout", id="saved", inputs={"text": "x"}, replaces="bad")

    inner = Workflow("inner", inputs=["x"])
    inner.add("shout", id="in", text=ref("inputs.x"))
    wf = Workflow("groups", inputs={"words": ["a", "b"], "word": "c"})
    mapped = wf.map("shout", over={"text": ref("inputs.words")}, id="m")
    sub = wf.add(inner, id="sub", x=ref("inputs.word"))
    wf.add("fail", id="bad", x=1)
    wf.add("decide", id="ask", ask=True, after=[mapped, sub])
    run: Run = flow.run(wf, view=False)
    run.approve(why="it is").wait()
    assert {(r[1], r[3], r[4]) for r in steps(run.lineage("ask"))} >= {
        ("human_input", "answer", "ask"),
        ("m", "after", "ask"),
        ("m/0", "item", "m"),
        ("inputs", "input", "m"),
        ("sub/in", "result", "sub"),
        ("inputs", "input", "sub/in"),
    }
    assert {(r[1], r[3]) for r in steps(run.lineage("bad"))} == {
        ("bad", None),
        ("saved", "recovered by"),
        ("bad", "added by"),
    }


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("claen", NodeNotFound, "did you mean 'clean'"),
        ("clean.reslt", ValidationError, "gave no 'reslt': did you mean 'result'"),
        ("inputs.txt", ValidationError, "no input 'txt': did you mean 'text'"),
        ("input.text", NodeNotFound, "did you mean 'inputs.text'"),
        (3, ValidationError, "takes a node's id"),
        ("", ValidationError, "takes a node's id"),
    ],
)
def test_lineage_of_what_is_not_there(what: Any, error: type, text: str, flow: DagFlow) -> None:
    """A misspelt node, output or input is named, with the nearest that is there."""
    run = flow.run("totals", view=False)
    with pytest.raises(error, match=text):
        run.lineage(what)


def test_logs_of_a_node_that_is_not_there(flow: DagFlow) -> None:
    """A node that said nothing gives an empty frame, a misspelt one is named."""
    run = flow.run("totals", view=False)
    assert run.logs("clean").empty and run.logs("nothing*").empty
    with pytest.raises(NodeNotFound, match="did you mean 'clean'"):
        run.logs("claen")
    assert run.nodes(run_id="another").empty
    with pytest.raises(ValidationError, match="no filter 'node': did you mean 'node_id'"):
        run.nodes(node="clean")


# --- with code and known results ------------------------------------------------------------------


def test_changed_code(flow: DagFlow) -> None:
    """A function that was defined anew is told, with what has changed; its node is named."""
    one = flow.run("totals", view=False)

    @flow.action
    def shout(text: str) -> str:
        return text.upper() + "!"

    two = flow.run("totals", view=False)
    table = one.diff(two)
    assert rows(table)[0][:3] == ("shout", "code", "shout")
    assert rows(table)[1:] == [
        ("shout", "outputs", "result", "SUM", "SUM!"),
        ("total", "inputs", "label", "SUM", "SUM!"),
        ("total", "outputs", "result", "SUM: 3", "SUM!: 3"),
    ]
    assert "shout" in table["detail"][0]
    codes = [run.lineage("shout")["code"][0] for run in (one, two)]
    assert None not in codes and codes[0] != codes[1]


def test_known_results(flow: DagFlow) -> None:
    """The run that made a result is named where it was found again, over forks too."""

    @flow.action(cache=True)
    def slow(n: int) -> int:
        return n + 1

    @flow.action
    def double(n: int) -> int:
        return 2 * n

    wf = Workflow("cached", inputs={"n": 1})
    wf.add("double", n=wf.add("slow", n=ref("inputs.n")))
    one, two = flow.run(wf, view=False), flow.run(wf, view=False)
    assert two.nodes()["status"].tolist() == ["cached", "completed"]
    made = two.lineage("double").set_index("node_id")["run_id"]
    assert (made["slow"], made["double"]) == (one.run_id, two.run_id)
    three = flow.fork(two, node="double", view=False)
    assert three.lineage("double").set_index("node_id")["run_id"]["slow"] == one.run_id
    four = flow.fork(two, node="slow", view=False)
    assert four.nodes()["status"].tolist() == ["completed", "completed"], "what is named runs"
    assert flow.fork(two, inputs={"n": 1}, view=False).result == two.result == 4
    (row,) = two.metrics().to_dict("records")
    assert (row["cache_hits"], row["cache_hit_rate"], row["runs"]) == (1, 1.0, 1)
    assert flow.metrics(action="slow")["cache_hit_rate"].tolist() == [3 / 5]


class Open:
    """Something that cannot be stored, with an equality of its own."""

    def __init__(self, size: int) -> None:
        self.size, self.lock = size, threading.Lock()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Open) and self.size == other.size

    __hash__ = None  # type: ignore[assignment]  # it changes


def test_values_that_could_not_be_stored(flow: DagFlow) -> None:
    """They give a row only where they are known to differ: by `==`, or by their type."""

    @flow.action
    def opened(n: int) -> dict[str, Any]:
        return {"lock": threading.Lock(), "file": Open(n), "either": threading.Lock() if n < 5 else Open(n)}

    @flow.action
    def use(lock: Any, file: Any) -> int:
        return 1

    wf = Workflow("opening", inputs={"n": 1})
    made = wf.add("opened", n=ref("inputs.n"))
    wf.add("use", lock=made["lock"], file=made["file"])
    one, two, other = (flow.run(wf, view=False, n=n) for n in (1, 1, 5))
    assert one.diff(two).empty
    found = {(row[0], row[1], row[2]) for row in rows(one.diff(other))}
    assert {
        ("opened", "outputs", "file"),
        ("opened", "outputs", "either"),
        ("use", "inputs", "file"),
    } <= found
    assert not {key for _, _, key in found} & {"lock"}


def test_lineage_shows_what_a_node_gave_as_a_whole(flow: DagFlow) -> None:
    """Where a node was passed on whole: what it returned, in short if it is big, and its stored size."""

    @flow.action
    def big(n: int) -> list[int]:
        return list(range(10_000 * n))

    wf = Workflow("whole")
    both = wf.add("load", id="pair", n=2)
    many = wf.add("big", n=1)
    wf.add("use", a=both, b=wf.add("shout", text="ab"), c=many, after=wf.add("shout", id="before", text="x"))
    flow.action(name="use")(lambda a, b, c: 1)
    table = flow.run(wf, view=False).lineage("use").set_index("node_id")
    assert table.loc["shout", "value"] == "AB" and table.loc["shout", "size_bytes"] == 4
    assert "size" in str(table.loc["pair", "value"]) and table.loc["pair", "size_bytes"] > 0
    assert str(table.loc["big", "value"]).endswith("bytes>") and table.loc["big", "size_bytes"] > 10_000
    assert table.loc["before", "size_bytes"] == 0, "nothing of it was passed on"
