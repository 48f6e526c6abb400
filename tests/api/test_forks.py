"""Forks: what the new run keeps, what runs in it, and that the old one is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb import CancelBranch, DagFlow, NodeSpec, RetryStrategy, Workflow, ref
from dagflow_nb.api.run import Run
from dagflow_nb.core.messages import NodeCompleted, NodeFailed
from dagflow_nb.errors import ActionNotFound, InvalidState, NodeExecutionError, NodeNotFound, ValidationError
from dagflow_nb.runtime.forking import Wanted, fork
from dagflow_nb.testing import Gate
from tests.flows import states


class Setting:
    """A flow whose actions say that they ran."""

    def __init__(self, database: str) -> None:
        self.flow, self.ran = DagFlow(database, echo=False), list[str]()
        flow, ran = self.flow, self.ran

        @flow.action
        def fetch(n: int = 3) -> dict[str, Any]:
            ran.append("fetch")
            return {"rows": list(range(n)), "source": "db"}

        @flow.action
        def clean(rows: list[int]) -> dict[str, Any]:
            ran.append("clean")
            return {"rows": [2 * row for row in rows], "complete": len(rows) > 2}

        @flow.action
        def label(name: str) -> str:
            ran.append("label")
            return name.upper()

        @flow.action
        def total(rows: list[int], name: str) -> str:
            ran.append("total")
            return f"{name} {sum(rows)}"

        @flow.action
        def more() -> None:
            ran.append("more")

        @flow.on_completed(action="clean")
        def complete(node: Any, outputs: Any) -> Any:
            if not outputs["complete"]:
                yield NodeSpec("more")

        self.wf = Workflow("sums", inputs={"n": 3, "name": "sum"})
        rows = self.wf.add("fetch", n=ref("inputs.n"))
        cleaned = self.wf.add("clean", rows=rows["rows"])
        name = self.wf.add("label", name=ref("inputs.name"))
        self.wf.add("total", rows=cleaned["rows"], name=name)

    def run(self, **inputs: Any) -> Run:
        run = self.flow.run(self.wf, view=False, **inputs)
        self.ran.clear()
        return run

    def fork(self, run: Any, **wanted: Any) -> Run:
        self.ran.clear()
        return self.flow.fork(run, view=False, **wanted)

    def rows_of(self, run: Run) -> dict[str, list[Any]]:
        tables = [
            "runs",
            "node_runs",
            "attempts",
            "events",
            "journal",
            "artifacts",
            "logs",
            "execution_trees",
        ]
        query = "select * from {} where run_id = ?"
        return {t: self.flow.sql(query.format(t), [run.run_id]).to_dict("records") for t in tables}


@pytest.fixture(params=["file", "memory"])
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Setting]:
    made = Setting(":memory:" if request.param == "memory" else str(tmp_path / "flow.db"))
    with made.flow:
        yield made


def total(run: Run) -> Any:
    return run.outputs["total"]["result"]


def test_a_node_and_what_comes_after_it_runs_again(setting: Setting) -> None:
    """The rest keeps its states, times, attempts and values, and the old run has no row changed."""
    run = setting.run()
    before = setting.rows_of(run)
    other = setting.fork(run, node="clean")
    assert setting.ran == ["clean", "total"] and other.result == run.result == "SUM 6"
    assert other.parent_run_id == run.run_id != other.run_id
    assert repr(setting.rows_of(run)) == repr(before)
    old, new = run.nodes().set_index("node_id"), other.nodes().set_index("node_id")
    kept = ["fetch", "label"]
    columns = ["status", "attempts", "started_at", "finished_at"]
    assert new.loc[kept, columns].equals(old.loc[kept, columns])
    assert (new.loc[["clean", "total"], "started_at"] > old["finished_at"].max()).all()
    assert list(new["attempts"]) == [1, 1, 1, 1] and len(other.attempts()) == 4
    kinds = other.events().query("node_id == 'clean'")["kind"].astype(str).tolist()
    assert kinds == ["NodeStarted", "NodeCompleted"]
    assert len(other.cache()) == len(run.cache())
    (row,) = setting.flow.runs(run_id=other.run_id).to_dict("records")
    assert (row["attempts"], row["completed"], row["parent_run_id"]) == (4, 4, run.run_id)
    assert row["duration"] < (new["finished_at"].max() - old["started_at"].min()).total_seconds()


@pytest.mark.parametrize(
    ("inputs", "ran", "result"),
    [
        ({"name": "all"}, ["label", "total"], "ALL 6"),
        ({"n": 4}, ["fetch", "clean", "total"], "SUM 12"),
        ({"n": 3, "name": "sum"}, [], "SUM 6"),
        ({"n": 2}, ["fetch", "clean", "more", "total"], "SUM 2"),
    ],
)
def test_changed_inputs(setting: Setting, inputs: dict[str, Any], ran: list[str], result: str) -> None:
    """What refers to an input that differs runs again, with what follows; equal inputs reach nothing."""
    other = setting.fork(setting.run(), inputs=inputs)
    assert sorted(setting.ran) == sorted(ran) and total(other) == result
    assert other.inputs == {"n": 3, "name": "sum", **inputs}
    assert setting.flow.runs(run_id=other.run_id)["inputs.n"].tolist() == [other.inputs["n"]]


def test_changed_outputs(setting: Setting) -> None:
    """A node has the outputs that are given in place of its own; hooks hear of it, what follows runs."""
    run = setting.run()
    other = setting.fork(run, outputs={"clean": {"complete": False}})
    assert sorted(setting.ran) == ["more", "total"]
    assert other.outputs["clean"] == {"rows": [0, 2, 4], "complete": False} and total(other) == "SUM 6"
    assert states(other)["clean"] == "recovered"
    again = setting.fork(other, outputs={"clean": {"rows": [50], "complete": True}})
    assert setting.ran == ["total"] and again.result == "SUM 50" and "more" not in again.outputs
    assert again.parent_run_id == other.run_id
    reopened = setting.flow._load(again.run_id)
    assert reopened.scheduler.nodes["clean"].outcome.outputs["rows"] == [50]


def test_every_event(setting: Setting) -> None:
    """From any event on, the run comes to the same end; what had ended by then does not run again."""
    run = setting.run(n=2)
    events = run.events()
    for at in events["seq"]:
        other = setting.fork(run, at=at)
        ended = events[(events["seq"] <= at) & (events["kind"] == "NodeCompleted")]["node_id"]
        assert set(setting.ran).isdisjoint(ended)
        assert (total(other), states(other)) == ("SUM 2", states(run))
    completed = next(e for e in run._coordinator.watch.past if isinstance(e, NodeCompleted))  # type: ignore[union-attr]  # it was driven here
    assert total(setting.fork(run, at=completed)) == "SUM 2"


def test_an_event_and_a_change(setting: Setting) -> None:
    """`at` with changed inputs: the run as it was then, with what they reach."""
    run = setting.run()
    (at,) = run.events().query("kind == 'NodeCompleted' and node_id == 'fetch'")["seq"]
    other = setting.fork(run, at=at, outputs={"fetch": {"rows": [1, 1, 1]}})
    assert "fetch" not in setting.ran and other.result == "SUM 6"
    assert other.outputs["fetch"] == {"rows": [1, 1, 1], "source": "db"}


def test_a_node_that_ran_again_later(setting: Setting) -> None:
    """Values of a later attempt are never taken for those of an earlier one."""
    run = setting.run()
    (at,) = run.events().query("kind == 'NodeCompleted' and node_id == 'clean'")["seq"]
    setting.flow.retry(run, "clean", view=False)
    other = setting.fork(run, at=at)
    assert "clean" in setting.ran and "fetch" not in setting.ran and other.result == "SUM 6"


def test_without_the_workflow(tmp_path: Path) -> None:
    """The graph comes from the database: another session needs the actions only."""
    path = str(tmp_path / "flow.db")
    one = Setting(path)
    with one.flow:
        id = one.run().run_id
    other = Setting(path)
    with other.flow:
        made = other.fork(id[:8], node="total")
        assert made.result == "SUM 6" and other.ran == ["total"] and not other.flow._session.workflows
        assert other.fork(made, inputs={"name": "x"}).result == "X 6"


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ({"at": 0}, ValidationError, "has no event 0: its events have the numbers 1 to "),
        ({"at": 1000}, ValidationError, r"has no event 1000.*run\.events\(\)"),
        ({"at": "clean"}, ValidationError, "at is the number of an event"),
        ({"at": True}, ValidationError, "at is the number of an event"),
        ({"node": "claen"}, NodeNotFound, "did you mean 'clean'"),
        ({"node": 3}, ValidationError, "node is a node's id"),
        ({"inputs": {"nam": 1}}, ValidationError, "no input 'nam': did you mean 'name'"),
        ({"inputs": 3}, ValidationError, "inputs are a mapping"),
        ({"outputs": {"claen": {}}}, NodeNotFound, "did you mean 'clean'"),
        ({"outputs": {"clean": {"row": 1}}}, ValidationError, "no output 'row': did you mean 'rows'"),
        ({"outputs": {"clean": [1]}}, ValidationError, "outputs of node 'clean' are a mapping"),
        ({"outputs": [1]}, ValidationError, "outputs map node ids"),
        ({"config": {"nonsense": 1}}, ValidationError, "nonsense"),
        ({"executor": "dusk"}, ValidationError, "dusk"),
        ({"view": "yes"}, ValidationError, "view"),
    ],
)
def test_what_is_refused(setting: Setting, wanted: dict[str, Any], error: type, text: str) -> None:
    """Each mistake is named with the way out, and no run is made."""
    run = setting.run()
    wanted = {"node": "clean"} | wanted if "executor" in wanted else wanted
    with pytest.raises(error, match=text):
        setting.flow.fork(run, **{"view": False, **wanted})
    assert len(setting.flow.runs()) == 1


def test_a_failed_run(setting: Setting) -> None:
    """Forked as it is, what failed runs again in the new run; the old one stays failed."""
    flow, broken = setting.flow, [True]

    @flow.action
    def label(name: str) -> str:
        if broken[0]:
            raise ValueError("not yet")
        return name

    run = flow.run(setting.wf, view=False, raise_on_failure=False)
    with pytest.raises(NodeExecutionError) as caught:
        setting.fork(run)
    assert caught.value.run.parent_run_id == run.run_id  # type: ignore[union-attr]  # it has one
    broken[0] = False
    other = setting.fork(run)
    assert setting.ran == ["total"] and other.result == "sum 6" and str(run.status) == "failed"
    other = setting.fork(run, node="clean", raise_on_failure=False)
    assert states(other)["label"] == "failed", "what else failed is kept"


def test_a_paused_run(setting: Setting) -> None:
    """Each of the two waits for its own answer."""
    flow = setting.flow
    wf = Workflow("asks")
    asked = wf.add("label", id="asked", name="x", ask="well?")
    wf.add("total", rows=[1], name=asked)
    run = flow.run(wf, view=False)
    other = setting.fork(run)
    assert str(other.status) == "paused" and [w.branch_id for w in other.waiting] == ["asked"]
    assert other.approve().wait().result == "X 1" and str(run.status) == "paused"
    third = setting.fork(other, node="asked")
    assert str(third.status) == "paused", "who runs again asks again"
    assert setting.fork(other, node="total").result == "X 1"
    assert run.approve().wait().result == "X 1"


def test_a_cancelled_run(setting: Setting) -> None:
    """It goes on in the fork, and only there."""
    flow, gate = setting.flow, Gate()

    @flow.action
    def clean(rows: list[int]) -> dict[str, Any]:
        gate.hold()
        return {"rows": rows, "complete": True}

    run = flow.start(setting.wf, view=False)
    gate.wait_for(1)
    run.cancel(reason="enough")
    gate.open()
    with pytest.raises(Exception, match="enough"):
        run.wait()
    assert setting.fork(run).result == "SUM 3" and str(run.status) == "cancelled"


def test_a_cancelled_branch_stays_so(setting: Setting) -> None:
    """A node of a cancelled branch cannot be run in a fork."""
    flow = setting.flow

    @flow.on_completed(node="fetch")
    def cut() -> Any:
        return CancelBranch("clean", "not wanted")

    run = flow.run(setting.wf, view=False)
    assert states(run)["clean"] == "cancelled"
    with pytest.raises(InvalidState, match="cancelled branch"):
        setting.fork(run, node="clean")
    assert states(setting.fork(run, inputs={"name": "x"}))["clean"] == "cancelled"


def test_a_run_that_is_under_way(tmp_path: Path) -> None:
    """The new run begins with what had happened by then, also where another session drives the old one."""
    path, gate = str(tmp_path / "flow.db"), Gate()
    one, two = Setting(path), Setting(path)
    with one.flow, two.flow:

        @one.flow.action
        def clean(rows: list[int]) -> dict[str, Any]:
            gate.hold()
            return {"rows": rows, "complete": True}

        run = one.flow.start(one.wf, view=False)
        gate.wait_for(1)
        one.flow._store.sync()
        other = two.fork(run.run_id)
        assert other.result == "SUM 6" and "clean" in two.ran and "fetch" not in two.ran
        mine = one.flow.fork(run, outputs={"clean": {"rows": [9], "complete": True}}, view=False)
        assert mine.result == "SUM 9" and str(run.status) == "running"
        gate.open()
        assert run.wait().result == "SUM 3"


def test_a_fork_whose_process_dies(setting: Setting) -> None:
    """It is stored in one piece before anything runs: it can be resumed."""
    run = setting.run()
    session = setting.flow._session
    wanted = Wanted(outputs={"clean": {"rows": [7]}}, inputs={"name": "late"})
    id, _ = setting.flow._engine.call(fork(session, run.run_id, wanted, check=lambda *_: None))
    assert str(setting.flow.get(id).status) == "interrupted"
    assert setting.flow.resume(id, view=False).result == "LATE 7"


def test_values_that_could_not_be_stored(setting: Setting) -> None:
    """They are shared within the process; what a person gave as input, too."""
    flow = setting.flow

    @flow.action
    def make() -> Any:
        setting.ran.append("make")
        return {"fn": lambda: 42}

    @flow.action
    def use(fn: Callable[[], int]) -> int:
        return fn()

    wf = Workflow("memory")
    wf.add("use", fn=wf.add("make")["fn"])
    run = flow.run(wf, view=False)
    assert setting.fork(run, node="use").result == 42 and setting.ran == []
    del flow._session.memory[run.run_id, "make", "fn"]
    assert setting.fork(run, node="use").result == 42 and setting.ran == ["make"]


def test_outputs_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    """They would be lost with the process, and replaced by the action's own; pickled ones are kept."""
    for allow_pickle in (False, True):
        with DagFlow(tmp_path / f"{allow_pickle}.db", echo=False, allow_pickle=allow_pickle) as flow:

            @flow.action
            def mk() -> dict[str, Any]:
                return {"o": None, "n": 1}

            @flow.action
            def use(n: int) -> int:
                return n

            wf = Workflow("w")
            wf.add("use", n=wf.add("mk", id="mk")["n"])
            run = flow.run(wf, view=False)
            outputs = {"mk": {"o": ValueError(object), "n": 2}}
            if allow_pickle:
                assert flow.fork(run, outputs=outputs, view=False).result == 2
                continue
            with pytest.raises(
                ValidationError, match="output 'o' given to node 'mk' cannot be stored"
            ) as caught:
                flow.fork(run, outputs=outputs, view=False)
            assert caught.value.culprit == "o" and len(flow.runs()) == 1


def test_big_values_are_stored_once(setting: Setting) -> None:
    """A fork refers to what is stored already, and has it when the old run is deleted."""
    flow = setting.flow

    @flow.action
    def make() -> bytes:
        return bytes(range(256)) * 8000

    @flow.action
    def measure(data: bytes) -> int:
        return len(data)

    wf = Workflow("big")
    wf.add("measure", data=wf.add("make"))
    run = flow.run(wf, view=False)
    before = flow.sql("select sum(length(data)) as size from blobs")["size"][0]
    other = setting.fork(run, node="measure")
    assert flow.sql("select sum(length(data)) as size from blobs")["size"][0] == before > 2_000_000
    assert run.diff(other).empty
    flow.delete_runs(run)
    assert setting.fork(other.run_id, node="measure").result == 2_048_000


def test_maps_and_sub_workflows(setting: Setting) -> None:
    """An item, a map or a sub-workflow can be what runs again."""
    flow = setting.flow

    @flow.action
    def square(x: int) -> int:
        setting.ran.append(f"square {x}")
        return x * x

    inner = Workflow("inner", inputs=["x"])
    inner.add("square", id="sq", x=ref("inputs.x"))
    wf = Workflow("outer", inputs={"xs": [1, 2]})
    mapped = wf.map("square", over={"x": ref("inputs.xs")}, id="m")
    wf.add(inner, id="sub", x=mapped["result"][1])
    run = flow.run(wf, view=False)
    setting.fork(run, node="m/0")
    assert setting.ran == ["square 1", "square 4"]
    other = setting.fork(run, inputs={"xs": [1, 2, 3]})
    assert sorted(setting.ran) == ["square 1", "square 2", "square 3", "square 4"]
    assert list(other.outputs["m"]["result"]) == [1, 4, 9]
    setting.fork(run, node="sub")
    assert setting.ran == ["square 4"]


def test_what_is_left_out_is_not_counted(setting: Setting) -> None:
    """Tokens of nodes that run again count once; the kept ones' count on."""
    flow = setting.flow

    @flow.action
    def spend(ctx: Any, amount: int) -> int:
        ctx.report_usage(tokens=amount)
        return amount

    wf = Workflow("spending")
    first = wf.add("spend", id="first", amount=10)
    wf.add("spend", id="second", amount=5, after=[first])
    run = flow.run(wf, view=False)
    other = setting.fork(run, node="second")
    assert flow.runs(run_id=other.run_id)["tokens"].tolist() == [15.0]
    assert other.nodes()["tokens"].tolist() == [10.0, 5.0]


def test_run_fork_returns_at_once(setting: Setting) -> None:
    """`run.fork` gives the new run, which goes on by itself."""
    run = setting.run()
    other = run.fork(node="total")
    assert other.wait().result == "SUM 6" and setting.ran == ["total"]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_fork_at_any_event_comes_to_the_same_end(data: st.DataObject) -> None:
    """Generated graphs with failures, retries, growth and rules: states and outputs are as in the old run."""
    size = data.draw(st.integers(1, 7), label="size")
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action(retries=1, retry_strategy=RetryStrategy.immediate())
        def work(ctx: Any, deps: list[Any], fails: int, grows: bool) -> dict[str, Any]:
            if ctx.attempt <= fails:
                raise ValueError("boom")
            return {"value": [ctx.node_id, deps], "grows": grows}

        @flow.on_completed(action="work")
        def grow(node: Any, outputs: Any) -> Any:
            if outputs["grows"]:
                grown = {"deps": [ref(f"{node.node_id}.value")], "fails": 0, "grows": False}
                yield NodeSpec("work", id=f"{node.node_id}+", inputs=grown)

        @flow.hook(NodeFailed)
        def mend(event: Any) -> Any:
            if event.node.node_id.endswith("3"):
                grown = {"deps": [], "fails": 0, "grows": False}
                yield NodeSpec("work", id="mended", deps=(), inputs=grown, replaces=event.node.node_id)

        wf = Workflow("generated")
        for i in range(size):
            before = data.draw(st.lists(st.sampled_from(range(i)), unique=True, max_size=2)) if i else []
            wf.add(
                "work",
                id=f"n{i}",
                deps=[],
                fails=data.draw(st.sampled_from([0, 0, 0, 1, 2])),
                grows=data.draw(st.booleans()),
                after=[f"n{j}" for j in before],
                when=data.draw(st.sampled_from(["all_success", "all_success", "all_done", "one_success"])),
            )
        config = {"on_failure": data.draw(st.sampled_from(["continue", "continue", "stop"]))}
        run = flow.run(wf, view=False, raise_on_failure=False, config=config)
        outputs = {id: dict(run.outputs[id]) for id in run.outputs}
        # where in the run, not which number: how many events a run has depends on timing
        at = 1 + int(run.events()["seq"].max() - 1) * data.draw(st.integers(0, 1000), label="at") // 1000
        other = flow.fork(run, at=at, view=False, raise_on_failure=False)
        if config["on_failure"] != "stop":
            assert states(other) == states(run)
            assert {id: dict(other.outputs[id]) for id in other.outputs} == outputs
        assert str(other.status) == str(run.status)
        again = flow._load(other.run_id).scheduler
        assert {id: str(n.status) for id, n in again.nodes.items()} == states(other)


@pytest.mark.parametrize("database", [":memory:", "flow.db"])
def test_from_the_middle_of_inputs_that_were_stored_together(database: str, tmp_path: Path) -> None:
    """Many quick nodes share a row of the journal: a fork takes of it what had happened by then."""
    with DagFlow(database if database == ":memory:" else tmp_path / database, echo=False) as flow:
        ran = []

        @flow.action
        async def step(n: int) -> int:
            ran.append(n)
            return n

        wf = Workflow("wide")
        last = [wf.add(step, id=f"n{n}", n=n) for n in range(20)]
        wf.add(step, id="end", n=99, after=last)
        run = flow.run(wf, view=False)
        lines = (
            "select length(data) - length(replace(data, char(10), '')) + 1 as n from journal where run_id = ?"
        )
        (held,) = flow.sql(f"select max(n) as n from ({lines})", [run.run_id])["n"]
        events = run.events()
        ends = events[events["kind"] == "NodeCompleted"]
        for many in (1, 7, 19):
            ran.clear()
            other = flow.fork(run, at=ends["seq"].iloc[many - 1], view=False)
            assert len(ran) == 21 - many and held >= 20
            assert states(other) == states(run) and other.outputs["n3"]["result"] == 3
            again = flow.fork(other, node="end", view=False)
            assert states(again) == states(run) and again.events()["seq"].is_unique


def test_a_fork_that_cannot_go_on_is_not_stored(tmp_path: Path) -> None:
    """What failed runs again in a fork: an action that is not defined here is named before there is one."""
    with DagFlow(tmp_path / "flow.db", echo=False) as flow:
        wf = Workflow("w")
        wf.add(flow.action(lambda: 1 / 0, name="bad"))
        flow.run(wf, view=False, raise_on_failure=False)
    with DagFlow(tmp_path / "flow.db", echo=False) as flow:
        with pytest.raises(ActionNotFound, match="'bad'"):
            flow.fork(flow.get(), view=False)
        assert len(flow.runs()) == 1
        flow.action(lambda: 2, name="bad")
        assert flow.fork(flow.get(), view=False).result == 2
