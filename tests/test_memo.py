"""Memoisation: what is found again and what runs, in one process and in others; never a stale result."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dagflow_nb import DagExecutor, DagFlow, NodeExecutionError, NodeOutput, ValidationError, Workflow
from dagflow_nb.testing import Gate
from tests.flows import kinds, rows, single, states, still_clock

QUIET: dict[str, Any] = {"view": False}


@pytest.fixture
def flow() -> Any:
    with DagFlow(":memory:", echo=False) as made:
        yield made


def counting(flow: DagFlow, **settings: Any) -> tuple[Any, list[Any]]:
    """An action that counts how often it has run."""
    calls: list[Any] = []
    log = _Calls(calls)

    @flow.action(name="work", **{"cache": True, **settings})
    def work(n: Any = 1) -> Any:
        log.add(n)
        return n

    return work, calls


class _Calls:
    """A list of calls that no fingerprint depends on."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def __reduce__(self) -> Any:
        return (_Calls, ([],))

    def add(self, call: Any) -> None:
        self.calls.append(call)


def test_a_known_result_is_found(flow: DagFlow) -> None:
    """The second run takes the result: state cached, no attempt, `NodeCompleted` without `NodeStarted`."""
    work, calls = counting(flow)
    wf = single(work, inputs={"n": 5})
    first, second = flow.run(wf, **QUIET), flow.run(wf, **QUIET)
    assert calls == [5]
    assert states(first) == {"node": "completed"}
    assert states(second) == {"node": "cached"}
    assert second.result == 5
    assert "NodeStarted" in kinds(first) and "NodeStarted" not in kinds(second)
    assert kinds(second).count("NodeCompleted") == 1
    assert second.attempts().empty and len(first.attempts()) == 1
    runs = flow.runs()
    assert runs.loc[second.run_id, ["completed", "cached", "attempts"]].tolist() == [0, 1, 0]


@pytest.mark.parametrize("n", [True, 1.0, "1", [1], None, 2, {"a": 1}])
def test_other_inputs_run(flow: DagFlow, n: Any) -> None:
    """An input of another value or type is another key."""
    work, calls = counting(flow)
    flow.run(single(work, inputs={"n": 1}), **QUIET)
    run = flow.run(single(work, inputs={"n": n}), **QUIET)
    assert states(run) == {"node": "completed"}
    assert len(calls) == 2


def test_the_order_of_a_dict_does_not_matter(flow: DagFlow) -> None:
    """Equal inputs are one key, in whatever order a dict or set was filled."""
    work, calls = counting(flow)
    flow.run(single(work, inputs={"n": {"a": 1, "b": {"x", "y"}}}), **QUIET)
    flow.run(single(work, inputs={"n": {"b": {"y", "x"}, "a": 1}}), **QUIET)
    assert len(calls) == 1


def test_outputs_come_back_as_they_were(flow: DagFlow) -> None:
    """Frames, tuples by name, metadata and nothing at all come back as the first run gave them."""

    @flow.action(cache=True, outputs=("z", "a"))
    def pair() -> Any:
        return 1, pd.DataFrame({"x": range(20_000)})

    @flow.action(cache=True)
    def nothing() -> None:
        return None

    @flow.action(cache=True)
    async def outcome() -> NodeOutput:
        return NodeOutput.ok({"k": [1]}, metadata={"model": "m"})

    @flow.action
    def look(pair: Any, nothing: Any, outcome: Any) -> Any:
        return [pair[0], len(pair[1]), nothing, outcome["k"]]

    @flow.workflow
    def all_of_it() -> Any:
        return look(pair(), nothing(), outcome())

    first, second = flow.run(all_of_it, **QUIET), flow.run(all_of_it, **QUIET)
    assert first.result == second.result == [1, 20_000, None, [1]]
    assert set(states(second).values()) == {"cached", "completed"}
    assert list(second.outputs["pair"]) == ["z", "a"]
    pd.testing.assert_frame_equal(second.outputs["pair"]["a"], first.outputs["pair"]["a"])
    assert second.report.node_outcomes["outcome"].metadata == {"model": "m"}


def test_a_chain_of_known_results_reads_no_big_value(flow: DagFlow) -> None:
    """What depends on a big value that is known is found by its digest: the value is not decoded."""

    @flow.action(cache=True)
    def make() -> Any:
        return pd.DataFrame({"x": range(50_000)})

    @flow.action(cache=True)
    def total(frame: Any) -> int:
        return int(frame["x"].sum())

    @flow.workflow
    def chain() -> Any:
        return total(make())

    first = flow.run(chain, **QUIET)
    second = flow.run(chain, **QUIET)
    assert states(second) == {"make": "cached", "total": "cached"}
    assert second.result == first.result
    outputs: Any = second._scheduler.nodes["make"].outcome.outputs
    assert outputs.big
    assert len(second.outputs["make"]["result"]) == 50_000
    assert not outputs.big


def test_a_result_is_the_snapshot_that_was_stored(flow: DagFlow) -> None:
    """What somebody does to a result afterwards is not found by others."""

    @flow.action(cache=True)
    def make() -> Any:
        return {"items": [1, 2]}

    @flow.action
    def spoil(items: Any) -> int:
        items.append(3)
        return len(items)

    @flow.workflow
    def spoiling() -> Any:
        return spoil(make()["items"])

    assert [flow.run(spoiling, **QUIET).result for _ in range(3)] == [3, 3, 3]


def test_failures_are_not_kept(flow: DagFlow) -> None:
    """An exception, a reported failure and a recovery are never found again."""
    seen = _Calls([])

    @flow.action(cache=True)
    def breaks() -> Any:
        seen.add("breaks")
        raise RuntimeError("no")

    @flow.action(cache=True)
    def reports() -> Any:
        seen.add("reports")
        return NodeOutput.failure("no")

    @flow.action(cache=True)
    def rescue(error: str) -> Any:
        seen.add("rescue")
        return NodeOutput.ok({"x": 1}, recovered=True)

    wf = Workflow("bad")
    wf.add(breaks, id="a")
    wf.add(reports, id="b")
    wf.add(breaks, id="c", failure=rescue)
    for _ in range(2):
        flow.run(wf, raise_on_failure=False, **QUIET)
    assert sorted(seen.calls) == ["breaks"] * 4 + ["reports"] * 2 + ["rescue"] * 2
    assert rows(flow, "select count(*) from memo where made_at is not null") == [(0,)]


# --- how long, by what ------------------------------------------------------------------------


def test_time_to_live(flow: DagFlow) -> None:
    """A result is found until its time is over, by the setting of who looks; from when it was made."""
    clock = still_clock(flow)
    work, calls = counting(flow, cache="1h")
    wf = single(work)
    for seconds, count in [(0, 1), (3599, 1), (2, 2), (3000, 2)]:
        clock.advance(seconds)
        flow.run(wf, **QUIET)
        assert len(calls) == count
    flow.load_yaml_string(
        "name: y\nnodes:\n- {id: short, action: work, cache: {ttl: 100}}\n"
        "- {id: ever, action: work, cache: always}\n"
    )
    run = flow.run("y", **QUIET)
    assert sorted(states(run).values()) == ["cached", "completed"]
    flow.load_yaml_string("name: z\nnodes:\n- {id: none, action: work, cache: never}\n")
    assert states(flow.run("z", **QUIET)) == {"none": "completed"}


def test_a_hit_does_not_make_a_result_younger(flow: DagFlow) -> None:
    """The time to live is counted from when a result was computed, also for who finds it by a hit."""
    clock = still_clock(flow)
    work, calls = counting(flow, cache="100s")
    wf = single(work)
    for _ in range(5):
        flow.run(wf, **QUIET)
        clock.advance(40)
    assert len(calls) == 2


def test_a_node_may_say_that_its_result_is_kept(flow: DagFlow) -> None:
    """`.add(cache=True)` keeps the results of an action that does not say so."""
    work, calls = counting(flow, cache=None)
    wf = single(work, cache=True)
    flow.run(wf, **QUIET)
    assert states(flow.run(wf, **QUIET)) == {"node": "cached"}
    flow.run(single(work, "other"), **QUIET)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "key",
    [
        lambda n: n % 10,
        lambda inputs: inputs["n"] % 10,
        lambda given: given["n"] % 10,
        lambda **all: all["n"] % 10,
    ],
)
def test_a_key_function_says_what_counts(flow: DagFlow, key: Any) -> None:
    """A key function gets the arguments by name, converted and with defaults; its result is the key."""
    seen = _Calls([])

    @flow.action(cache=key)
    def work(n: int = 3) -> Any:
        seen.add(n)
        return n

    for inputs in ({"n": "13"}, {"n": 3}, {}, {"n": 4}):
        flow.run(single(work, inputs=inputs), **QUIET)
    assert seen.calls == [13, 4]


def test_another_key_function_finds_nothing_of_the_first(flow: DagFlow) -> None:
    """What the key function is counts, too: an edited one starts anew."""
    work, calls = counting(flow, cache=lambda n: n % 10)
    flow.run(single(work, inputs={"n": 13}), **QUIET)
    work, calls = counting(flow, cache=lambda n: n)
    flow.run(single(work, inputs={"n": 3}), **QUIET)
    assert calls == [3]


def test_a_key_function_that_raises_is_said(flow: DagFlow, caplog: pytest.LogCaptureFixture) -> None:
    """A key function that raises makes the node run, each time; it is said once, and in the run's log."""
    work, calls = counting(flow, cache=lambda n: 1 / 0)
    with caplog.at_level(logging.WARNING, "dagflow_nb"):
        first, _ = flow.run(single(work), **QUIET), flow.run(single(work), **QUIET)
    assert len(calls) == 2
    assert caplog.text.count("its key function raised ZeroDivisionError") == 1
    assert "not cacheable" in first.logs()["message"].iloc[0]


def test_a_key_function_of_wrong_parameters_is_refused(flow: DagFlow) -> None:
    """A key function that asks for what the action does not have is refused when it is defined."""
    with pytest.raises(ValidationError, match=r"'m'.*'n'"):
        counting(flow, cache=lambda n, m: n)


def test_paths_count_by_their_file(flow: DagFlow, tmp_path: Path) -> None:
    """A `Path`, also one that an annotation makes of a text, counts by its file's size and time."""
    seen = _Calls([])

    @flow.action(cache=True)
    def read(path: Path) -> str:
        seen.add(path)
        return path.read_text()

    file = tmp_path / "x.txt"
    for text, stamp in [("one", 1), ("one", 1), ("two", 2), ("three", 2)]:
        file.write_text(text)
        os.utime(file, (stamp, stamp))
        for given in (file, str(file)):
            assert flow.run(single(read, inputs={"path": given}), **QUIET).result == text
    assert len(seen.calls) == 6


# --- what cannot be kept ----------------------------------------------------------------------


class _Refuses:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("it holds a connection")


@pytest.mark.parametrize(("n", "why"), [(threading.Lock(), "lock"), (_Refuses(), "it holds a connection")])
def test_inputs_that_cannot_be_read(
    flow: DagFlow, n: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An input that cannot be read by content makes the node run, and it is said why."""
    seen = _Calls([])

    @flow.action
    def give() -> Any:
        return n

    @flow.action(cache=True)
    def take(n: Any) -> int:
        seen.add(1)
        return 1

    @flow.workflow
    def giving() -> Any:
        return take(give())

    with caplog.at_level(logging.WARNING, "dagflow_nb"):
        for _ in range(2):
            flow.run(giving, **QUIET)
    assert len(seen.calls) == 2
    assert why in caplog.text and caplog.text.count("input 'n'") == 1


def test_outputs_that_cannot_be_stored_are_not_kept(flow: DagFlow, caplog: pytest.LogCaptureFixture) -> None:
    """A result that has no stored form is not found again, and that is said."""

    @flow.action(cache=True)
    def lock() -> Any:
        return threading.Lock()

    with caplog.at_level(logging.WARNING, "dagflow_nb"):
        runs = [flow.run(single(lock), **QUIET) for _ in range(2)]
    assert [states(run)["node"] for run in runs] == ["completed", "completed"]
    assert caplog.text.count("cannot be stored") == 1
    assert rows(flow, "select distinct made_at, key from memo") == [(None, None)]


def test_code_that_cannot_be_read_is_said(flow: DagFlow, caplog: pytest.LogCaptureFixture) -> None:
    """A closure over an open file or a lock makes an action not cacheable; the reason names it."""
    lock = threading.Lock()

    @flow.action(cache=True)
    def guarded() -> int:
        with lock:
            return 1

    with caplog.at_level(logging.WARNING, "dagflow_nb"):
        runs = [flow.run(single(guarded), **QUIET) for _ in range(2)]
    assert [states(run)["node"] for run in runs] == ["completed", "completed"]
    assert "closure" in caplog.text and "lock" in caplog.text


# --- refresh, retry ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refresh", "again"),
    [(False, ""), (True, "ab"), ("a", "a"), (["a", "b"], "ab"), ("wo*", "ab"), (["b", "wo*"], "ab")],
)
def test_refresh(flow: DagFlow, refresh: Any, again: str) -> None:
    """`refresh` runs what it names although its result is known, and keeps the new one."""
    work, calls = counting(flow)
    wf = Workflow("two")
    wf.add(work, id="a", n=1)
    wf.add(work, id="b", n=2)
    flow.run(wf, **QUIET)
    run = flow.run(wf, refresh=refresh, **QUIET)
    assert {id for id, state in states(run).items() if state == "completed"} == set(again)
    assert len(calls) == 2 + len(again)
    assert set(states(flow.run(wf, **QUIET)).values()) == {"cached"}


def test_refresh_takes_names(flow: DagFlow) -> None:
    """What `refresh` cannot be is refused before anything runs."""
    work, calls = counting(flow)
    with pytest.raises(ValidationError, match="refresh takes"):
        flow.run(single(work), refresh=3, **QUIET)
    assert calls == []


def test_a_node_that_is_retried_by_name_runs(flow: DagFlow) -> None:
    """`retry(node=...)` runs a good node again although its result is known; the others are looked up."""
    work, calls = counting(flow)

    @flow.action(cache=True)
    def after(n: int) -> int:
        return n + 1

    @flow.workflow
    def chain() -> Any:
        return after(work(1))

    run = flow.run(chain, **QUIET)
    flow.retry(run, "work", **QUIET)
    assert len(calls) == 2
    assert states(run) == {"work": "completed", "after": "cached"}


@pytest.mark.parametrize("database", [":memory:", "work.db"])
def test_values_of_a_node_that_ran_again_are_not_found_under_its_old_key(
    tmp_path: Path, database: str
) -> None:
    """A node that runs again with other code replaces its values; nobody finds them under the old key."""
    flow = DagFlow(database if database == ":memory:" else tmp_path / database, echo=False)

    def define(step: int) -> Any:
        @flow.action(name="add", cache=True)
        def add(n: int) -> int:
            return n + step

        return add

    wf = single(define(1), inputs={"n": 1})
    run = flow.run(wf, **QUIET)
    assert run.result == 2
    define(10)
    assert flow.retry(run, "node", **QUIET).result == 11
    define(1)
    assert flow.run(wf, **QUIET).result == 2
    define(10)
    assert flow.run(wf, **QUIET).result == 11
    flow.close()


def test_a_global_that_was_changed_in_place_is_seen(flow: DagFlow) -> None:
    """A container that the code uses counts by its content at that moment."""
    table = {"a": 1}

    @flow.action(cache=True)
    def look() -> int:
        return table["a"]

    assert flow.run(single(look), **QUIET).result == 1
    table["a"] = 2
    assert flow.run(single(look), **QUIET).result == 2
    table["a"] = 1
    run = flow.run(single(look), **QUIET)
    assert (run.result, states(run)) == (1, {"node": "cached"})


# --- deleting ---------------------------------------------------------------------------------


def test_deleting_runs_leaves_nothing_dangling(flow: DagFlow) -> None:
    """What a deleted run made is found in a run that had taken it, with all its values, else not at all."""

    @flow.action(cache=True)
    def make() -> Any:
        return pd.DataFrame({"x": range(20_000)})

    first, second = flow.run(single(make), **QUIET), flow.run(single(make), **QUIET)
    flow.delete_runs(first)
    third = flow.run(single(make), **QUIET)
    assert states(third) == {"node": "cached"}
    assert len(third.result) == len(second.result) == 20_000
    flow.delete_runs(second, values_only=True)
    flow.delete_runs(third)
    assert states(flow.run(single(make), **QUIET)) == {"node": "completed"}
    flow.delete_runs(dag_name="single")
    assert rows(flow, "select count(*) from memo") == rows(flow, "select count(*) from codes") == [(0,)]


# --- one at a time ----------------------------------------------------------------------------


class _Gate(Gate):
    """A gate that no fingerprint depends on."""

    def __reduce__(self) -> Any:
        return (_Gate, ())


def test_a_shared_key_is_computed_once(flow: DagFlow) -> None:
    """Nodes and runs that want the same key at the same time wait for the one that computes it."""
    gate = _Gate()

    @flow.action(cache=True)
    def slow(n: int) -> list[int]:
        gate.hold()
        return [n]

    wf = Workflow("twins")
    wf.add(slow, id="a", n=1)
    wf.add(slow, id="b", n=1)
    wf.add(slow, id="c", n=2)
    runs = [flow.start(wf, **QUIET) for _ in range(3)]
    gate.wait_for(2)
    gate.open()
    for run in runs:
        run.wait(20)
    found = [state for run in runs for state in states(run).values()]
    assert gate.passed == 2
    assert sorted(found) == ["cached"] * 7 + ["completed"] * 2
    assert all(run.outputs["b"]["result"] == [1] for run in runs)
    assert "NodeStarted" in kinds(runs[0])


def test_who_waits_for_a_key_that_fails_computes_it(flow: DagFlow) -> None:
    """When the one that computes a key fails, or is cancelled, the next one does it."""
    gate, seen = _Gate(), _Calls([])

    @flow.action(cache=True)
    async def slow() -> int:
        seen.add(1)
        if len(seen.calls) == 1:
            await gate.hold_async()
            raise RuntimeError("the first one fails")
        return 1

    first = flow.start(single(slow), raise_on_failure=False, **QUIET)
    gate.wait_for(1)
    second = flow.start(single(slow), **QUIET)
    third = flow.start(single(slow), **QUIET)
    third.cancel()
    gate.open()
    first.wait(20)
    assert second.wait(20).result == 1
    assert len(seen.calls) == 2
    assert states(first) == {"node": "failed"}


def test_a_cancelled_computation_frees_its_key(flow: DagFlow) -> None:
    """Cancelling the run that computes a key lets those that wait compute it."""
    gate, seen = _Gate(), _Calls([])

    @flow.action(cache=True)
    async def slow() -> int:
        seen.add(1)
        if len(seen.calls) == 1:
            await gate.hold_async()
        return 1

    first = flow.start(single(slow), raise_on_failure=False, **QUIET)
    gate.wait_for(1)
    second = flow.start(single(slow), **QUIET)
    first.cancel()
    assert second.wait(20).result == 1
    assert states(first) == {"node": "cancelled"}


# --- other processes, other executors ---------------------------------------------------------


def test_another_process_finds_the_result(tmp_path: Path) -> None:
    """Another process, with another hash seed, finds what the first one made; an edit is seen there."""
    script = tmp_path / "work.py"
    text = """
        import sys
        from dagflow_nb import DagFlow, Workflow
        NAMES = {"x", "y", "z", "w"}
        def helper(n): return len(NAMES) * n
        flow = DagFlow(sys.argv[1])
        @flow.action(cache=True)
        def work(n: int = 2, more: frozenset = frozenset("abc")):
            return helper(n)
        wf = Workflow("w"); wf.add(work, id="node")
        run = flow.run(wf, view=False)
        print(run.result, run.snapshot().nodes[0].status)
        flow.close()
    """

    def call(seed: str, text: str) -> str:
        script.write_text(textwrap.dedent(text))
        command = [sys.executable, str(script), str(tmp_path / "x.db")]
        return subprocess.run(
            command, capture_output=True, check=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout.strip()

    assert call("1", text) == "8 completed"
    assert call("2", text) == "8 cached"
    assert call("3", text.replace("* n", "* n  # a comment")) == "8 cached"
    assert call("4", text.replace('"w"}', '"v"}')) == "8 completed"


def test_results_of_worker_processes_are_kept(flow: DagFlow) -> None:
    """An action in a worker process is looked up here: a known result starts no process."""

    @flow.action(cache=True, executor="process")
    def far(n: int) -> int:
        import os

        return os.getpid()

    first, second = (flow.run(single(far, inputs={"n": 1}), **QUIET) for _ in range(2))
    assert states(second) == {"node": "cached"}
    assert first.result == second.result != os.getpid()


def test_a_run_with_known_results_is_resumed(tmp_path: Path) -> None:
    """What a run has found is its own: another flow goes on with it, the source may be gone."""
    path = tmp_path / "x.db"
    broken = [True]

    def define(flow: DagFlow) -> Workflow:
        @flow.action(cache=True)
        def make() -> Any:
            return pd.DataFrame({"x": range(20_000)})

        @flow.action
        def count(frame: Any) -> int:
            if broken[0]:
                raise RuntimeError("not yet")
            return len(frame)

        wf = Workflow("w")
        wf.add(count, frame=wf.add(make))
        return wf

    with DagFlow(path) as flow:
        wf = define(flow)
        first = flow.run(wf, raise_on_failure=False, **QUIET)
        second = flow.run(wf, raise_on_failure=False, **QUIET)
        assert states(second) == {"make": "cached", "count": "failed"}
        flow.delete_runs(first)
    broken[0] = False
    with DagFlow(path) as flow:
        define(flow)
        run = flow.resume(second.run_id, **QUIET)
        assert run.result == 20_000
        assert states(run) == {"make": "cached", "count": "completed"}


async def _executor_rate() -> list[float]:
    found = []
    async with DagExecutor() as executor:

        @executor.registry.action(cache=True)
        def work() -> int:
            return 1

        wf = Workflow("w")
        wf.add(work, id="a")
        wf.add(work, id="b", after=["a"])
        executor.add_workflow(wf)
        from dagflow_nb import Cache

        for _ in range(2):
            cache = Cache()
            await executor.execute_static_dag("w", cache)
            found.append(executor.get_execution_metrics("w").cache_hit_rate)
            assert cache.get("b", "result") == 1
    return found


def test_the_hit_rate() -> None:
    """`cache_hit_rate` is hits / cacheable nodes; a hit's outputs arrive in the caller's cache."""
    import asyncio

    assert asyncio.run(_executor_rate()) == [0.5, 1.0]


def test_hooks_see_known_results(flow: DagFlow) -> None:
    """Hooks are asked about a known result as about any other, and may grow the graph by it."""
    work, _ = counting(flow)
    seen = []

    @flow.on_completed
    def look(node: Any, outputs: Any) -> None:
        seen.append((node.node_id, outputs["result"]))

    for _ in range(2):
        flow.run(single(work), **QUIET)
    assert seen == [("node", 1)] * 2


def test_an_error_keeps_its_traceback(flow: DagFlow) -> None:
    """A node with `cache=` fails as any other does."""

    @flow.action(cache=True)
    def breaks() -> Any:
        raise KeyError("deep")

    with pytest.raises(NodeExecutionError) as caught:
        flow.run(single(breaks), **QUIET)
    assert isinstance(caught.value.__cause__, KeyError)


def test_code_that_changed_since_is_said(flow: DagFlow, caplog: pytest.LogCaptureFixture) -> None:
    """Going on with a run says which nodes ended well with other code than there is now, and what to do."""

    def define(step: int, broken: bool) -> None:
        @flow.action
        def first() -> int:
            return step

        @flow.action
        def second(n: int) -> int:
            if broken:
                raise RuntimeError("no")
            return n

    define(1, True)
    wf = Workflow("w")
    wf.add("second", n=wf.add("first"))
    run = flow.run(wf, raise_on_failure=False, **QUIET)
    define(2, False)
    with caplog.at_level(logging.WARNING, "dagflow_nb"):
        assert flow.retry(run, **QUIET).result == 1
        assert "the code of 'first' has changed" in caplog.text
        caplog.clear()
        assert flow.retry(run, "first", **QUIET).result == 2
        assert flow.retry(run, "second", **QUIET).result == 2
    assert "has changed" not in caplog.text


def exporting(flow: DagFlow, folder: Path) -> Workflow:
    """An action that writes a file and returns where it is, within other things; and one that reads it."""
    place = str(folder)

    @flow.action(cache=True)
    def export(day: str) -> Any:
        path = Path(place) / "export.csv"
        path.write_text("the data of " + day)
        return {"files": [path], "folder": path.parent, "later": path.with_name("later.csv")}

    @flow.action
    def load(found: Any) -> str:
        return str(found["files"][0].read_text())

    @flow.workflow
    def report(day: str) -> Any:
        return load(export(day))

    return report


@pytest.mark.parametrize("stored", [False, True])
def test_a_file_that_was_returned_must_be_as_it_was(tmp_path: Path, stored: bool) -> None:
    """A result with the path of a file is found while that has its size and time, and not without it."""
    database = str(tmp_path / "flows.db") if stored else ":memory:"
    folder = tmp_path / "made"
    folder.mkdir()
    with DagFlow(database, echo=False) as flow:
        report = exporting(flow, folder)
        assert flow.run(report, day="mon", **QUIET).result == "the data of mon"
        (folder / "later.csv").write_text("neither a new file nor what is in a folder counts")
        again = flow.run(report, day="mon", **QUIET)
        assert states(again)["export"] == "cached"
        flow.run(report, day="tue", **QUIET)
        run = flow.run(report, day="mon", **QUIET)
        assert states(run)["export"] == "completed"
        assert run.result == "the data of mon"
    with DagFlow(database, echo=False) as flow:
        report = exporting(flow, folder)
        if stored:
            assert states(flow.run(report, day="mon", **QUIET))["export"] == "cached"
        else:
            flow.run(report, day="mon", **QUIET)
        (folder / "export.csv").unlink()
        run = flow.run(report, day="mon", **QUIET)
        assert states(run)["export"] == "completed"
        assert run.result == "the data of mon"


def test_a_file_among_big_outputs_must_be_as_it_was(flow: DagFlow, tmp_path: Path) -> None:
    """The same for a path that lies within a big value, and one that comes from a cached result."""
    place = str(tmp_path / "big.csv")

    @flow.action(cache=True, outputs=("rows", "path"))
    def make() -> Any:
        Path(place).write_text("x")
        return [Path(place), *range(5000)], 1

    first, second = flow.run(single(make), **QUIET), flow.run(single(make), **QUIET)
    assert states(first) == {"node": "completed"} and states(second) == {"node": "cached"}
    assert states(flow.run(single(make), **QUIET)) == {"node": "cached"}
    Path(place).write_text("another")
    assert states(flow.run(single(make), **QUIET)) == {"node": "completed"}


@pytest.mark.parametrize("size", [1, 50_000])
def test_what_cannot_be_read_here_is_not_known(tmp_path: Path, size: int) -> None:
    """A result that was pickled is no result where pickles are not allowed: the node runs."""
    found = []
    for allowed in (True, True, False):
        with DagFlow(str(tmp_path / "flows.db"), echo=False, allow_pickle=allowed) as flow:

            @flow.action(cache=True)
            def make(size: int) -> Any:
                text = "x" * size
                return lambda: text

            @flow.action
            def use(made: Any) -> int:
                return len(made())

            @flow.workflow
            def both(size: int) -> Any:
                return use(make(size))

            said = preview_reason(flow, both, size)
            run = flow.run(both, size=size, **QUIET)
            assert run.result == size
            found.append((said, states(run)["make"]))
    assert found == [("new", "completed"), ("cached", "cached"), ("new", "completed")]


def preview_reason(flow: DagFlow, workflow: Workflow, size: int) -> str:
    """What the preview says of the first node."""
    return str(flow.preview(workflow, {"size": size}).reason[0])
