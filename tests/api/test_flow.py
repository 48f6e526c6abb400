"""`DagFlow` as a user meets it: defining, running, and all that may be written wrongly."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagflow_nb import (
    ActionNotFound,
    ActionRegistry,
    Cache,
    DagConfig,
    DagError,
    DagFlow,
    DagNotFound,
    DatabaseError,
    InvalidState,
    NodeCompleted,
    NodeExecutionError,
    Plan,
    RetryNode,
    RunFinished,
    ValidationError,
    Workflow,
    ref,
)
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, kinds, rows, single, states


def one() -> int:
    """The simplest action."""
    return 1


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[DagFlow]:
    """A flow on a file with three actions and a workflow of them."""
    with DagFlow(tmp_path / "flow.db", echo=False) as flow:

        @flow.action
        def fetch(source: str = "default") -> dict[str, Any]:
            return {"rows": ["a", "", "b"], "source": source}

        @flow.action
        async def clean(rows: list[str]) -> dict[str, Any]:
            return {"rows": [row for row in rows if row]}

        @flow.action
        def count(rows: list[str]) -> int:
            return len(rows)

        @flow.workflow
        def pipeline(source: str = "default") -> Any:
            return count(clean(fetch(source)["rows"])["rows"])

        yield flow


# --- running --------------------------------------------------------------------------------------


def test_a_workflow_runs_and_tells_how(flow: DagFlow) -> None:
    """`flow.run` blocks, and the run has status, result, outputs, inputs and report."""
    run = flow.run("pipeline", source="web", view=False)
    assert run.status == "completed" and run.success and run.error is None
    assert run.result == 2
    assert run.outputs["clean"]["rows"] == ["a", "b"]
    assert run.inputs == {"source": "web"} and run.dag_name == "pipeline"
    assert run.outputs["fetch"]["source"] == "web"
    assert run.report.completed_nodes == 3 and run.report.success
    assert run.waiting == [] and run.parent_run_id is None
    assert flow.get() is run and flow.get("pipeline") is run and flow.get(run.run_id[:6]) is run


def test_an_action_stays_a_plain_function(flow: DagFlow) -> None:
    """Outside of a workflow a decorated function behaves as it did before."""

    @flow.action(retries=2)
    def double(n: int) -> int:
        return 2 * n

    @flow.action
    async def triple(n: int) -> int:
        return 3 * n

    assert double(4) == 8 and asyncio.run(triple(4)) == 12
    assert double.__wrapped__(4) == 8 and double.__name__ == "double"


@pytest.mark.parametrize("where", ["main", "thread", "coroutine", "run_async"])
def test_it_runs_wherever_it_is_called(flow: DagFlow, where: str) -> None:
    """In a script, in a thread, inside a running loop (blocking it), and awaited."""
    found: list[Any] = []

    def blocking() -> None:
        found.append(flow.run("pipeline", view=False).result)

    async def inside() -> None:
        blocking()

    async def awaited() -> None:
        found.append((await flow.run_async("pipeline", view=False)).result)

    if where == "main":
        blocking()
    elif where == "thread":
        thread = threading.Thread(target=blocking)
        thread.start()
        thread.join(PATIENCE)
    else:
        asyncio.run(inside() if where == "coroutine" else awaited())
    assert found == [2]


def test_a_thread_action_may_run_another_workflow(flow: DagFlow) -> None:
    """A nested run inside a `def` action is a run like any other."""

    @flow.action
    def outer() -> int:
        return flow.run("pipeline", view=False).result * 10

    assert flow.run(single(outer, "nested"), view=False).result == 20
    assert len(rows(flow, "select run_id from runs")) == 2


def test_an_async_action_is_told_to_await(flow: DagFlow) -> None:
    """`flow.run` on the run's own loop would never end: it says what to write, and that works."""

    @flow.action
    async def blocks() -> None:
        flow.run("pipeline", view=False)

    @flow.action
    async def waits() -> None:
        flow.get().wait()

    @flow.action
    async def awaits() -> int:
        return (await flow.run_async("pipeline", view=False)).result

    for action, text in ((blocks, "await flow.run_async"), (waits, "await it")):
        run = flow.run(single(action), view=False, raise_on_failure=False)
        assert isinstance(run.error, NodeExecutionError) and text in str(run.error)
    assert flow.run(single(awaits), view=False).result == 2


def test_runs_at_the_same_time_do_not_mix(flow: DagFlow) -> None:
    """Forty runs from eight threads each give their own result."""

    @flow.action
    def square(n: int) -> int:
        return n * n

    @flow.workflow
    def squares(n: int) -> Any:
        return square(n)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: flow.run("squares", n=n, view=False).result, range(40)))
    assert results == [n * n for n in range(40)]


def test_a_cell_that_is_run_again_replaces_the_action(flow: DagFlow) -> None:
    """The later definition counts for the next run; a run under way keeps its own."""
    gate = Gate()

    @flow.action
    def first() -> None:
        gate.hold()

    @flow.action
    def second() -> str:
        return "old"

    workflow = Workflow("replaced")
    workflow.add("second", id="end", after=[workflow.add("first")])
    under_way = flow.start(workflow, view=False)
    gate.wait_for(1)

    @flow.action(name="second")
    def newer() -> str:
        return "new"

    gate.open()
    assert under_way.wait(PATIENCE).result == "old"
    assert flow.run(workflow, view=False).result == "new"


# --- wrong use ------------------------------------------------------------------------------------


def test_unknown_names_are_errors_with_a_suggestion(flow: DagFlow) -> None:
    """A workflow, run, action, executor or input that is not there is named, with what is near."""
    with pytest.raises(DagNotFound, match="did you mean 'pipeline'"):
        flow.run("pipelin", view=False)
    with pytest.raises(DagNotFound, match="no run 'nothing'"):
        flow.get("nothing")
    with pytest.raises(ValidationError, match=r"a run is named by its id, .* not by \[\]"):
        flow.get([])  # type: ignore[arg-type]
    with pytest.raises(DagNotFound, match="there is no run in this database yet"):
        flow.get()
    with pytest.raises(DagNotFound, match="no run is unfinished here"):
        flow.resume(view=False)
    with pytest.raises(ActionNotFound, match="did you mean 'fetch'") as caught:
        flow.run(single("fetchh"), view=False)
    assert caught.value.name == "fetchh" and caught.value.node_id == "node"
    with pytest.raises(ValidationError, match="executor 'gpu'"):
        flow.run(single("fetch", executor="gpu"), view=False)
    with pytest.raises(ValidationError, match="executor 'gpu'"):
        flow.run("pipeline", executor="gpu", view=False)
    with pytest.raises(ValidationError, match="did you mean 'source'"):
        flow.run("pipeline", sourc="x", view=False)
    assert rows(flow, "select count(*) from runs") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"config": {"max_parallel": 3}}, "max_parallel"),
        ({"config": {"max_parallel_nodes": 0}}, "max_parallel_nodes"),
        ({"config": {"timeout_seconds": -1}}, "timeout_seconds"),
        ({"config": 5}, "config"),
        ({"inputs": [1]}, "inputs"),
        ({"inputs": {1: 2}}, "inputs"),
        ({"run_id": ""}, "run_id"),
        ({"run_id": 5}, "run_id"),
        ({"run_id": "a\nb"}, "run_id"),
        ({"cache": {"inputs": {}}}, "cache"),
        ({"executor": 5}, "executor"),
        ({"view": "bogus"}, "view"),
    ],
)
def test_wrong_arguments_name_the_culprit_and_start_nothing(
    flow: DagFlow, arguments: dict[str, Any], culprit: str
) -> None:
    """A bad argument is a `ValidationError` that names it; no run has been made."""
    with pytest.raises(ValidationError) as caught:
        flow.run("pipeline", **{"view": False, **arguments})
    assert caught.value.culprit == culprit
    assert rows(flow, "select count(*) from runs") == [(0,)]


def test_what_can_be_known_at_the_start_is_checked_then(flow: DagFlow) -> None:
    """A missing input without default and an input that no parameter takes are errors before the run."""

    @flow.action
    def strict(needed: int) -> None: ...

    with pytest.raises(ValidationError, match="needed"):
        flow.run(single(strict), view=False)
    with pytest.raises(ValidationError, match="surplus"):
        flow.run(single(strict, needed=1, surplus=2), view=False)
    with pytest.raises(ValidationError, match="limit"):
        flow.run(Workflow("w", inputs=["limit"]), view=False)
    assert rows(flow, "select count(*) from runs") == [(0,)]


def test_a_taken_run_id_is_an_invalid_state(flow: DagFlow) -> None:
    """A run id is used once; the error names it."""
    flow.run("pipeline", run_id="mine", view=False)
    with pytest.raises(InvalidState, match="mine"):
        flow.run("pipeline", run_id="mine", view=False)
    assert flow.get("mine").status == "completed"


@pytest.mark.parametrize(
    "settings",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"limits": {"a": "often"}},
        {"limits": {"a": 0}},
        {"limits": {"a": "0/min"}},
        {"durability": "maybe"},
        {"on_failure": "explode"},
        {"human_timeout_action": "sleep"},
        {"max_iterations": -1},
        {"max_tokens": float("nan")},
        {"timeout_seconds": float("inf")},
        {"branch_budgets": {"a*": {"max_money": 1}}},
        {"retry_strategy": "sometimes"},
        {"retry_strategy": {"linear": {"wait": 1}}},
        {"retry_strategy": {"exponential": {"multiplier": -1}}},
        {"review_frequency": 0},
        {"cache_snapshot_interval": -1},
    ],
    ids=str,
)
def test_a_bad_setting_names_field_and_value(settings: dict[str, Any]) -> None:
    """A config is checked when it is made: the error's culprit is the field, the text shows the value."""
    with pytest.raises(ValidationError) as caught:
        DagConfig(**settings)
    (field,) = settings
    assert caught.value.culprit == field and caught.value.field == field
    assert field in str(caught.value)


def test_configs_are_merged_field_by_field(flow: DagFlow) -> None:
    """The run's set fields go over the workflow's, which go over the flow's; an unset one changes nothing."""
    base = DagConfig(max_attempts=3, max_nodes=5)
    assert DagConfig.merge(base, {"max_nodes": 9}).max_attempts == 3
    assert DagConfig.merge(base, DagConfig(max_nodes=None)).max_nodes is None
    assert DagConfig.merge(base, DagConfig()).max_nodes == 5
    with pytest.raises(Exception, match="frozen"):
        base.max_nodes = 7  # type: ignore[misc]


def test_a_bad_yaml_leaves_nothing_loaded(flow: DagFlow, tmp_path: Path) -> None:
    """One bad file in a folder, or a cycle in a text: a `ValidationError`, and no workflow is there."""
    (tmp_path / "a.yaml").write_text("name: a\nnodes:\n  - {id: x, action: fetch}\n")
    (tmp_path / "b.yaml").write_text("name: b\nnodes:\n  - {id: x, workflow: not_there}\n")
    with pytest.raises(DagNotFound, match="not_there"):
        flow.load_yaml_dir(tmp_path)
    assert set(flow.workflows) == {"pipeline"}
    nodes = "".join(f"  - {{id: {a}, action: fetch, dependencies: [{b}]}}\n" for a, b in ("xy", "yx"))
    text = f"name: c\nnodes:\n{nodes}"
    with pytest.raises(ValidationError, match=r"x -> y|y -> x"):
        flow.load_yaml_string(text)
    with pytest.raises(ValidationError, match="nowhere"):
        flow.load_yaml_file(tmp_path / "nowhere.yaml")
    assert set(flow.workflows) == {"pipeline"}


def test_wrong_definitions_are_refused_at_once(flow: DagFlow) -> None:
    """A bad setting of an action, an unknown hook parameter, something that is no workflow."""
    with pytest.raises(ValidationError, match="retries"):
        flow.action(name="a", retries=-1)(lambda: None)
    with pytest.raises(ValidationError, match="retrys"):
        flow.action(name="a", retrys=1)(lambda: None)
    with pytest.raises(ValidationError, match="nonsense"):

        @flow.on_completed
        def hook(nonsense: int) -> None: ...

    with pytest.raises(ValidationError, match="Workflow"):
        flow.add_workflow("pipeline")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        flow.action(5)


def test_a_mistyped_input_in_a_mapping_is_said(flow: DagFlow, caplog: pytest.LogCaptureFixture) -> None:
    """What a mapping has too much is logged with the nearest name, and named where another one is missing."""

    def sort(n: int, how: str = "up") -> int:
        return n

    wf = Workflow("sorted", inputs={"n": 1, "how": "up"})
    wf.add(sort, n=ref("inputs.n"), how=ref("inputs.how"))
    run = flow.run(wf, {"n": 2, "hwo": "down"}, view=False)
    assert run.success and run.inputs == {"n": 2, "how": "up", "hwo": "down"}
    assert caplog.messages == ["no node of workflow 'sorted' reads the input 'hwo': did you mean 'how'?"]
    caplog.clear()
    needed = Workflow("needed", inputs=["n"])
    needed.add(sort, n=ref("inputs.n"))
    with pytest.raises(ValidationError, match=r"needs the input 'n': .*, in place of \['m'\]"):
        flow.run(needed, {"m": 1}, view=False)


def test_a_reference_to_an_input_that_is_neither_declared_nor_given_is_refused(flow: DagFlow) -> None:
    """Where inputs are declared, in sub-workflows too; one that is given, or of a workflow that declares
    none, is as good as declared."""

    @flow.action
    def load(path: str = "default.csv", sep: str = ",") -> str:
        return path

    def make(name: str, declared: Any) -> Workflow:
        wf = Workflow(name, inputs=declared)
        wf.add(load, path=ref("inputs.pth"))
        return wf

    wf = make("one", {"path": "2026.csv"})
    for attempt in (flow.run, flow.preview):
        with pytest.raises(ValidationError, match=r"'inputs\.pth'.*neither.*did you mean 'path'\?") as caught:
            attempt(wf, {"path": "x.csv"})
        assert caught.value.culprit == "pth"
    assert flow.run(wf, pth="y.csv", view=False).result == "y.csv"
    assert not flow.preview(wf).empty  # with the latest run's
    assert flow.run(make("open", None), view=False).result == "default.csv"
    outer = Workflow("outer")
    outer.add(wf)
    with pytest.raises(ValidationError, match=r"its input 'pth'.*did you mean 'path'\?"):
        flow.run(outer, view=False)


def test_what_settings_and_hooks_name_in_vain_is_told(
    flow: DagFlow, caplog: pytest.LogCaptureFixture
) -> None:
    """Limits, budgets of branches, hooks' actions, each with the nearest name; what may be meant is not."""

    @flow.action(tags=["api"])
    def tick(x: int = 0) -> int:
        return x

    @flow.action
    def grown() -> None:
        """It is in no workflow, and a hook may add it."""

    flow.on_completed(action="tock")(lambda node: None)
    flow.on_completed(action="tuck", dag="other")(lambda node: None)
    inner = Workflow("inner")
    inner.add(tick, tags=["deep"])
    wf = Workflow("ticks")
    wf.add(tick)
    wf.map(inner, over=[{}], id="each")
    limits = dict.fromkeys(("tick", "grown", "api", "deep", "tik"), 1)
    budgets = {glob: {"max_nodes": 9} for glob in ("ti*", "each/0", "eech")}
    flow.run(wf, view=False, config={"limits": limits, "branch_budgets": budgets})
    assert [text.partition(" of workflow 'ticks' is called so")[::2] for text in caplog.messages] == [
        ("a hook names 'tock', and no action", ": did you mean 'tick'?"),
        ("limits names 'tik', and no action or tag", ": did you mean 'tick'?"),
        ("branch_budgets names 'eech', and no node", ": did you mean 'each'?"),
    ]


# --- strict ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"), [(ValueError("hook"), ValueError), (RetryNode("nobody"), ValidationError)]
)
def test_a_strict_flow_raises_what_a_hook_raises(answer: Any, kind: type[Exception]) -> None:
    """`strict=True`: a failing hook and a refused command end the run and are raised."""
    with DagFlow(":memory:", echo=False, strict=True) as flow:

        @flow.on_completed(node="node")
        def hook() -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        workflow = single(one)
        workflow.add(one, id="after", after=["node"])
        with pytest.raises(kind):
            flow.run(workflow, view=False)
        assert isinstance(flow.get().error, kind) and flow.get().status == "failed"


def test_a_strict_flow_stores_the_failure_of_a_hook_on_the_last_node() -> None:
    """What a hook raises when nothing is left to run makes the run `failed`, in the database too."""
    with DagFlow(":memory:", echo=False, strict=True) as flow:

        @flow.on_completed
        def hook() -> None:
            raise KeyError("too late")

        with pytest.raises(KeyError, match="too late"):
            flow.run(single(one), view=False)
        assert list(flow.runs()["status"]) == ["failed"] and "too late" in flow.runs()["error"].iloc[0]
        assert list(flow.nodes()["status"]) == ["completed"]


@pytest.mark.parametrize("kind", [NodeCompleted, RunFinished])
def test_a_strict_flow_stores_the_refusal_of_a_command_on_the_last_event(kind: type) -> None:
    """What is refused when nothing is left to run makes the run `failed`, in the database too."""
    with DagFlow(":memory:", echo=False, strict=True) as flow:

        @flow.hook(kind)
        def hook() -> Any:
            return RetryNode("nobody")

        with pytest.raises(ValidationError, match="a command was refused"):
            flow.run(single(one), view=False)
        assert list(flow.runs()["status"]) == ["failed"]
        assert "a command was refused" in flow.runs()["error"].iloc[0]
        assert list(flow.nodes()["status"]) == ["completed"]


# --- databases ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["with space.db", "größe 数.db", "a%20b?.db", "#x.db", "it's.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    """Spaces, umlauts and signs that mean something in URLs are part of the name."""
    for database in (tmp_path / name, f"sqlite:{tmp_path / name}"):
        with DagFlow(database, echo=False) as flow:
            assert flow.run(single(one), view=False).success
    assert (tmp_path / name).exists()
    with closing(sqlite3.connect(tmp_path / name)) as connection:
        assert len(connection.execute("select * from runs").fetchall()) == 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """No folder is made by surprise: the error names it, where it is named."""
    with pytest.raises(DatabaseError, match="nowhere"):
        DagFlow(tmp_path / "nowhere" / "x.db", echo=False)


def test_no_file_is_made_before_it_is_needed(tmp_path: Path) -> None:
    """A session looks at the file that it is given, and makes one with its first run."""
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        flow.action(one)
        assert not (tmp_path / "x.db").exists()
        flow.run(single(one), view=False)
        assert (tmp_path / "x.db").exists()


def test_a_file_that_cannot_be_used_is_refused_where_it_is_named_and_untouched(tmp_path: Path) -> None:
    """A text file, another program's database, and one of a newer version are left as they are."""
    text = tmp_path / "notes.txt"
    text.write_text("my notes, which are longer than a hundred characters, " * 10)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("create table mine (x)")
    connection.close()
    newer = tmp_path / "newer.db"
    with DagFlow(newer, echo=False) as flow:
        flow.run(single(one), view=False)
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("pragma user_version = 9999")
    for path in (text, other, newer):
        before = path.read_bytes()
        with pytest.raises(DatabaseError, match=path.name):
            DagFlow(path, echo=False)
        assert path.read_bytes() == before


@pytest.mark.parametrize("database", ["postgres://localhost/x", "mysql:abc", ""])
def test_other_databases_are_refused(database: str) -> None:
    """Only SQLite: another scheme is a `ValidationError` at once."""
    with pytest.raises(ValidationError):
        DagFlow(database)


def test_in_memory_everything_works() -> None:
    """`:memory:` keeps runs as long as the flow lives."""
    for name in (":memory:", "sqlite::memory:", "sqlite:///:memory:"):
        with DagFlow(name, echo=False) as flow:
            run = flow.run(single(one), view=False)
            assert flow.get(run.run_id).result == 1
            assert rows(flow, "select count(*) from runs") == [(1,)]
            assert "RunFinished" in kinds(run)


# --- closing --------------------------------------------------------------------------------------


def test_close_is_idempotent_and_says_so_afterwards(flow: DagFlow) -> None:
    """A closed flow refuses to run, says what to do, and can be closed again."""
    run = flow.run("pipeline", view=False)
    flow.close()
    flow.close()
    assert run.result == 2 and run.status == "completed"
    with pytest.raises(InvalidState, match="closed"):
        flow.run("pipeline", view=False)


def test_a_flow_closed_before_its_first_run_leaves_no_thread() -> None:
    """Nothing is started before it is needed, and closing ends what was."""
    before = set(threading.enumerate())
    DagFlow(":memory:").close()
    assert set(threading.enumerate()) <= before
    with DagFlow(":memory:", echo=False) as flow:
        flow.run(single(one), view=False)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)  # it is told to end, and not waited for: an action may hang in it
        assert not thread.is_alive(), thread


def test_closing_interrupts_what_is_under_way_and_it_can_be_resumed(tmp_path: Path) -> None:
    """A run under way is left `interrupted`; a new flow on the file goes on with it."""
    gate = Gate()
    flow = DagFlow(tmp_path / "x.db", echo=False)

    @flow.action
    def slow() -> int:
        gate.hold()
        return 1

    run = flow.start(single(slow), view=False)
    gate.wait_for(1)
    flow.close()
    assert run.status == "interrupted"
    gate.open()
    with DagFlow(tmp_path / "x.db", echo=False) as again:
        again.action(slow)
        assert again.get(run.run_id).status == "interrupted"
        assert again.resume(view=False).result == 1


def test_an_async_action_may_close_its_flow(tmp_path: Path) -> None:
    """Its run is left `interrupted`, and who waits for it hears of that."""
    flow = DagFlow(tmp_path / "x.db", echo=False)

    @flow.action
    async def closes() -> None:
        flow.close()
        await asyncio.sleep(PATIENCE)

    run = flow.start(single(closes), view=False)
    with pytest.raises(DagError, match="interrupted"):
        run.wait(PATIENCE)
    assert run.status == "interrupted"


def test_who_waits_for_a_run_of_a_closed_flow_is_told(tmp_path: Path) -> None:
    """A thread inside `flow.run` does not go on as if the run had succeeded."""
    gate = Gate()
    flow = DagFlow(tmp_path / "x.db", echo=False)
    caught: list[BaseException] = []

    @flow.action
    def slow() -> None:
        gate.hold()

    def work() -> None:
        try:
            flow.run(single(slow), view=False)
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    gate.wait_for(1)
    flow.close()
    thread.join(PATIENCE)
    gate.open()
    assert len(caught) == 1 and "interrupted" in str(caught[0])


# --- what actions print ---------------------------------------------------------------------------


@pytest.mark.parametrize("echo", [True, False])
def test_prints_are_kept_for_each_node_and_echoed_if_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], echo: bool
) -> None:
    """Concurrent actions do not mix; with `echo` whole lines appear; the streams are restored."""
    before = sys.stdout, sys.stderr
    with DagFlow(tmp_path / "x.db", echo=echo) as flow:

        @flow.action
        def talk(name: str) -> None:
            for i in range(20):
                print(name, end="")
                print("", i)
            print("to stderr", file=sys.stderr)
            print("unfinished", end="")

        @flow.action
        async def talk_async(name: str) -> None:
            for i in range(20):
                print(name, end="")
                await asyncio.sleep(0)
                print("", i)

        workflow = Workflow("talks")
        for name in ("a", "b", "c"):
            workflow.add(talk, id=name, name=name)
            workflow.add(talk_async, id=name * 2, name=name * 2)
        run = flow.run(workflow, view=False)
        assert (sys.stdout, sys.stderr) == before
        for name in ("a", "bb"):
            sql = "select message from logs where run_id = ? and node_id = ? and stream = 'stdout'"
            text = "\n".join(message for (message,) in rows(flow, sql, run.run_id, name))
            expected = [f"{name} {i}" for i in range(20)] + (["unfinished"] if len(name) == 1 else [])
            assert text.splitlines() == expected
    out, err = capsys.readouterr()
    if echo:
        lines = out.splitlines()
        assert [line for line in lines if line.startswith("cc")] == [f"cc {i}" for i in range(20)]
        assert lines.count("unfinished") == 3 and err.count("to stderr") == 3
    else:
        assert out == "" and err == ""


def test_prints_outside_of_actions_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """What the main thread prints while a run goes on belongs to no node."""
    gate = Gate()
    with DagFlow(":memory:", echo=False) as flow:
        run = flow.start(single(gate.hold, "quiet"), view=False)
        gate.wait_for(1)
        print("from the cell")
        gate.open()
        run.wait(PATIENCE)
        assert rows(flow, "select count(*) from logs") == [(0,)]
    assert capsys.readouterr().out == "from the cell\n"


def test_the_streams_still_are_streams_inside_actions(tmp_path: Path) -> None:
    """`sys.stdout` has encoding, `isatty`, `writable` and a descriptor where the real one has."""
    import subprocess

    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        def look() -> dict[str, Any]:
            print("a", "b", sep="\n", flush=True)
            sys.stdout.writelines(["c\n", "d\n"])
            return {
                "encoding": sys.stdout.encoding,
                "writable": sys.stdout.writable(),
                "tty": sys.stdout.isatty(),
                "closed": sys.stdout.closed,
            }

        found = flow.run(single(look), view=False).outputs["node"]
        assert found == {
            "encoding": sys.stdout.encoding,
            "writable": True,
            "tty": sys.stdout.isatty(),
            "closed": False,
        }
        assert "".join(f"{m}\n" for (m,) in rows(flow, "select message from logs")).split() == list("abcd")
    code = "from dagflow_nb import *\nimport subprocess, sys\nf = DagFlow(':memory:')\n" + (
        "def call() -> int:\n"
        "    return subprocess.run([sys.executable, '-c', 'print(7)'], stdout=sys.stdout).returncode\n"
        "w = Workflow('w'); w.add(call); print(f.run(w, view=False).result)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["7", "0"], done.stderr


# --- what a flow is given -------------------------------------------------------------------------


def test_a_registry_hooks_and_app_data_may_be_given() -> None:
    """`DagFlow(registry=, hooks=, app_data=)`: all of it is used."""
    registry = ActionRegistry()
    seen: list[str] = []

    @registry.action
    def ask(ctx: Any) -> Any:
        return ctx.app_data["x"]

    def hook(event: Any) -> None:
        seen.append(type(event).__name__)

    with DagFlow(":memory:", registry=registry, hooks=[hook], app_data={"x": 5}, echo=False) as flow:
        assert flow.run(single("ask"), view=False).result == 5
    assert seen == ["RunStarted", "NodeStarted", "NodeCompleted", "RunFinished"]


def test_inputs_may_come_from_a_cache(flow: DagFlow) -> None:
    """`cache=` gives inputs to start from; what is given beside it goes over them."""
    cache = Cache()
    cache.insert("inputs", "source", "cache")
    assert flow.run("pipeline", cache=cache, view=False).outputs["fetch"]["source"] == "cache"
    again = flow.run("pipeline", {"source": "mapping"}, cache=cache, view=False)
    assert again.outputs["fetch"]["source"] == "mapping"


def test_an_executor_may_be_given(flow: DagFlow) -> None:
    """`executor=` (a pool) runs the actions that name none of their own."""

    @flow.action
    def where() -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        assert flow.run(single(where), executor=pool, view=False).result.startswith("mine")
        assert not flow.run(single(where), view=False).result.startswith("mine")
    with DagFlow(":memory:", echo=False, executors={"small": ThreadPoolExecutor(1, "named")}) as other:
        other.action(where)
        assert other.run(single("where", executor="small"), view=False).result.startswith("named")


def test_worker_processes_run_functions_of_a_cell(flow: DagFlow) -> None:
    """`executor="process"`: results, prints and exceptions come back from there."""
    import os

    @flow.action(executor="process")
    def where(fail: bool = False) -> int:
        import os

        if fail:
            raise ValueError("over there")
        return os.getpid()

    assert flow.run(single(where), view=False).result != os.getpid()
    run = flow.run(single(where, fail=True), view=False, raise_on_failure=False)
    assert isinstance(run.error.__cause__, ValueError) and states(run) == {"node": "failed"}


def test_refresh_names_what_is_there(flow: DagFlow) -> None:
    """A node's id, an action's name, a glob, an item of a map; other names are refused with the nearest."""
    flow.action(name="rated", cache=True)(one)
    wf = Workflow("to_refresh")
    wf.add("rated", id="rates")
    wf.map("rated", over=[{}, {}], id="m")
    for name in ("rates", "rated", "rat*", "m/1", "m/*"):
        run = flow.run(wf, view=False, refresh=[name])
    for again in (
        lambda: flow.run(wf, view=False, refresh=["rate"]),
        lambda: flow.retry(run, view=False, refresh="rate"),
        lambda: flow.resume(run, view=False, refresh="rate"),
        lambda: flow.fork(run, view=False, refresh="rate"),
    ):
        with pytest.raises(ValidationError, match=r"'rate', which is neither a node nor an action: did you"):
            again()


def test_what_hooks_may_add_can_be_refreshed(flow: DagFlow, caplog: pytest.LogCaptureFixture) -> None:
    """Where hooks may add a node of that name nothing is refused, but logged."""
    flow.hook(lambda ctx: None)
    assert flow.run(single(one), view=False, refresh="grown").success
    assert "refresh names 'grown', which is neither a node nor an action" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda flow, run: flow.graph(run.dag_name, preview="yes"), "preview is True, False or"),
        (lambda flow, run: flow.retry(run, ["a"], view=False), "named by its id, not by"),
        (lambda flow, run: run.table(["a"]), "named by its id, not by"),
        (lambda flow, run: run.wait(timeout="x"), "timeout is a number of seconds"),
        (lambda flow, run: DagFlow(None), "database is a path"),  # type: ignore[arg-type]  # it is wrong
        (lambda flow, run: run.to_fixture("no/folder/x.json"), "there is no folder"),
        (lambda flow, run: run.to_fixture(3), "written to a path"),
        (lambda flow, run: flow.fork(run, at=[1, 2], view=False), "at is the number of an event"),
        (lambda flow, run: flow.run(one, view=False), "'one' is no workflow but an action"),
        (lambda flow, run: flow.run(flow.action(one), view=False), "'one' is no workflow but an action"),
        (lambda flow, run: flow.run(Plan(), view=False), r"adds nodes to a run: run.apply\(plan\)"),
        (lambda flow, run: flow.run(3, view=False), "a Workflow, or the name of one, is run, not 3"),
        (lambda flow, run: flow.load_yaml_file("no.yaml"), "no YAML file is in"),
        (lambda flow, run: flow.load_yaml_file("no/no.yaml"), "there is no folder 'no'"),
    ],
)
def test_wrong_arguments_are_told(
    flow: DagFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any, words: str
) -> None:
    """What is given where something else is wanted is a `ValidationError` that says what is wanted."""
    monkeypatch.chdir(tmp_path)
    run = flow.run(single(one), view=False)
    with pytest.raises(ValidationError, match=words):
        wrong(flow, run)


def test_answers_that_are_not_given_by_name(flow: DagFlow) -> None:
    """A mapping in the place of the branch is told how answers are given."""
    run = flow.run(single(one, ask="fine?"), view=False)
    with pytest.raises(ValidationError, match="answers are given by name"):
        run.approve({"user": "x"})  # type: ignore[arg-type]  # it is wrong
    assert run.approve().wait().success


def test_a_fork_at_a_row_of_the_events(flow: DagFlow) -> None:
    """A row of the frame stands for its event."""
    run = flow.run(single(one), view=False)
    row = run.events().iloc[2]
    forks = [flow.fork(run, at=at, view=False) for at in (row, int(row.seq))]
    assert states(forks[0]) == states(forks[1])


def delete(database: Path, *ends: str) -> None:
    """What a user does in a file browser."""
    for end in ends:
        database.with_name(database.name + end).unlink()


def first_cell(database: Path) -> DagFlow:
    """A flow with one workflow."""
    flow = DagFlow(database, echo=False)

    @flow.action
    def two() -> int:
        return 2

    @flow.workflow
    def pair() -> Any:
        return two()

    return flow


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let an open file be deleted")
def test_a_deleted_database_is_said_before_a_run_is_lost(tmp_path: Path) -> None:
    """The next run and the frames say that the file is gone and what to do; doing so begins a new file."""
    database = tmp_path / "flow.db"
    with first_cell(database) as flow:
        flow.run("pair", view=False)
        delete(database, "", "-wal", "-shm")
        for act in (lambda: flow.run("pair", view=False), flow.runs, flow.resume):
            with pytest.raises(DatabaseError, match=r"is gone.*flow\.close\(\).*new DagFlow"):
                act()
    assert not database.exists()
    with first_cell(database) as flow:
        again = flow.run("pair", view=False)
        assert list(flow.runs().index) == [again.run_id]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let an open file be deleted")
@pytest.mark.parametrize("ends", [("", "-wal", "-shm"), ("",)])
def test_the_first_cell_begins_anew_where_the_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: tuple[str, ...]
) -> None:
    """In IPython a new flow goes on with an older one's session, but not if that has lost its file."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))
    database = tmp_path / "flow.db"
    first = first_cell(database)
    run = first.run("pair", view=False)
    second = first_cell(database)
    assert second.get(run.run_id) is run
    delete(database, *ends)
    third = first_cell(database)
    again = third.run("pair", view=False)
    first.close()
    second.close()
    assert list(third.runs().index) == [again.run_id]
    third.close()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("select run_id from runs").fetchall() == [(again.run_id,)]


def test_help_shows_the_settings_that_there_are() -> None:
    """Decorators that name a misspelt setting themselves show the right ones with their defaults."""

    def defaults(method: Any) -> dict[str, Any]:
        return {name: p.default for name, p in list(inspect.signature(method).parameters.items())[1:]}

    action = defaults(DagFlow.action)
    assert list(action)[:2] == ["name", "retries"] and action["retry_on"] is Exception
    assert (action["tags"], action["idempotent"], action["timeout"]) == ((), True, None)
    assert defaults(DagFlow.tool) == action and list(defaults(DagFlow.workflow))[:2] == [
        "name",
        "description",
    ]
    assert list(defaults(DagFlow.on_completed)) == ["fn", "node", "action", "dag", "when"]
