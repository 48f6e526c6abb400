"""The frames: their columns and dtypes, filters, order, and what they show of runs in any state."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.api.types import is_float_dtype, is_integer_dtype

from dagflow_nb.codec import Codec
from dagflow_nb.core.messages import NodeCompleted
from dagflow_nb.core.model import NodeStatus, RunStatus
from dagflow_nb.errors import DatabaseError, ValidationError
from dagflow_nb.history import History, history, queries as q
from dagflow_nb.history.filters import Where, moment
from dagflow_nb.store import Store, Unit

CODEC = Codec()
T0 = 1_700_000_000.0

COLUMNS = {
    "runs": "dag_name status started_at finished_at duration nodes completed failed skipped cached attempts "
    "tokens cost inputs error parent_run_id",
    "nodes": "run_id node_id action status attempts started_at finished_at duration waited error "
    "dependencies added_by tokens cost",
    "attempts": "run_id node_id action attempt status started_at finished_at duration error traceback",
    "events": "run_id seq occurred_at kind node_id data",
    "cache": "run_id namespace key value codec size_bytes updated_at",
    "logs": "run_id node_id attempt occurred_at level stream message",
}
FRAMES = list(COLUMNS)
TEXT = ("run_id", "dag_name", "node_id", "action", "error", "parent_run_id", "added_by", "traceback")
TEXT += ("namespace", "key", "codec", "level", "stream", "message")


class Opened:
    """A store on a loop of its own thread, as a flow has one, and its history."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: Store) -> None:
        self.loop, self.store = loop, store
        self.memory: dict[tuple[str, str, str], Any] = {}
        self.history = self.of()

    def of(self, run_id: str | None = None) -> History:
        return History(
            self.store.connect,
            CODEC,
            sync=self.store.sync,
            run_id=run_id,
            memory_values=lambda *key: self.memory.get(key),
        )

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def write(self, *units: Unit) -> None:
        async def main() -> None:
            for unit in units:
                self.store.write(unit)

        self.call(main())

    def new_run(self, run_id: str, at: float, **row: Any) -> None:
        inputs = CODEC.dumps(row.pop("inputs", {}))
        self.call(
            self.store.create_run(
                {"run_id": run_id, "dag_name": "d", "created_at": at, "inputs": inputs, **row}
            )
        )


@contextmanager
def opened(database: str) -> Iterator[Opened]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    found = Opened(loop, asyncio.run_coroutine_threadsafe(Store.open(database), loop).result())
    try:
        yield found
    finally:
        found.call(found.store.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def new_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, to be copied: making one waits for the disk several times."""
    path = tmp_path_factory.mktemp("history") / "new.db"
    with opened(str(path)):
        pass
    return path


@pytest.fixture(params=["file", "memory"])
def flow(request: pytest.FixtureRequest, new_file: Path, tmp_path: Path) -> Iterator[Opened]:
    """An open store without runs."""
    database = ":memory:" if request.param == "memory" else str(shutil.copy(new_file, tmp_path / "x.db"))
    with opened(database) as found:
        yield found


def node(status: str, position: int, at: float | None, **changes: Any) -> tuple[Any, ...]:
    """A row of `node_runs`: ready at `at`, started 0.5 s later, 2 s long."""
    times = (None, None, None) if at is None else (at, at + 0.5, at + 2.5)
    values = {
        "action": "act",
        "status": status,
        "attempts": 0 if at is None else 1,
        "ready_at": times[0],
        "started_at": times[1],
        "finished_at": times[2],
        "error": None,
        "reason": None,
        "dependencies": "[]",
        "added_by": None,
        "parent": None,
        "kind": "action",
        "tokens": 0.0,
        "cost": 0.0,
        "returned": "mapping",
        "position": position,
        **changes,
    }
    return tuple(values.values())


def value(namespace: str, key: str, what: Any, at: float) -> tuple[Any, ...]:
    stored = CODEC.encode(what)
    return (namespace, key, stored.codec, stored.data, stored.size, stored.reason, at)


@pytest.fixture
def two_runs(flow: Opened) -> Opened:
    """An older run `r1` of `etl` that failed, and a newer one `r2` of `report` that is completed."""
    flow.new_run("r1", T0, dag_name="etl", inputs={"source": "a.csv", "rows": 3})
    flow.new_run(
        "r2", T0 + 100, dag_name="report", inputs={"rows": 5, "day": date(2024, 5, 1)}, parent_run_id="r1"
    )
    flow.write(
        Unit(
            "r1",
            events=[
                (1, T0, "RunStarted", None, "{}"),
                (2, T0 + 1, "NodeStarted", "fetch", "{}"),
                (3, T0 + 3, "NodeFailed", "fetch", '{"error": "boom", "attempt": 2}'),
            ],
            nodes={
                "fetch": node(
                    "failed", 0, T0, action="fetch", attempts=2, error="boom", tokens=7.0, cost=0.5
                ),
                "load": node("skipped", 1, None, dependencies='["fetch"]', reason="fetch failed"),
            },
            attempts=[
                ("fetch", "fetch", 1, "failed", T0 + 0.5, T0 + 1.0, "boom", "Traceback ..."),
                ("fetch", "fetch", 2, "failed", T0 + 1.5, T0 + 2.5, "boom", "Traceback ..."),
            ],
            artifacts=[value("inputs", "rows", 3, T0)],
            logs=[
                ("fetch", 1, T0 + 0.7, "INFO", "stdout", "one"),
                ("fetch", 2, T0 + 1.7, "ERROR", "log", "two"),
            ],
            run={
                "status": "failed",
                "started_at": T0,
                "finished_at": T0 + 3,
                "nodes": 2,
                "failed": 1,
                "skipped": 1,
                "attempts": 2,
                "tokens": 7.0,
                "cost": 0.5,
                "error": "boom",
            },
        ),
        Unit(
            "r2",
            events=[
                (1, T0 + 100, "RunStarted", None, "{}"),
                (2, T0 + 103, "RunFinished", None, '{"success": true, "status": "completed"}'),
            ],
            nodes={
                "a": node("completed", 0, T0 + 100),
                "b": node("cached", 1, T0 + 101, added_by="a", dependencies='["a"]', attempts=0),
            },
            attempts=[("a", "act", 1, "completed", T0 + 100.5, T0 + 102.5, None, None)],
            artifacts=[
                value("a", "frame", pd.DataFrame({"x": [1, 2]}), T0 + 102),
                value("a", "list", [1, 2], T0 + 102.5),
                value("b", "lambda", lambda: 1, T0 + 103),
            ],
            logs=[("a", 1, T0 + 101, "INFO", "stdout", "three")],
            run={
                "status": "completed",
                "started_at": T0 + 100,
                "finished_at": T0 + 103,
                "nodes": 2,
                "completed": 1,
            },
        ),
    )
    for run_id in ("r1", "r2"):
        flow.call(flow.store.release(run_id))
    return flow


def check_columns(name: str, table: pd.DataFrame) -> None:
    wanted = COLUMNS[name].split()
    assert list(table.columns)[: len(wanted)] == wanted
    for column, dtype in table.dtypes.items():
        word = str(column)
        if word.endswith("_at"):
            assert str(dtype).startswith("datetime64[") and str(dtype).endswith(", UTC]"), word
        elif word in ("duration", "waited", "tokens", "cost", "unpaused_seconds"):
            assert is_float_dtype(dtype), word
        elif word in ("status", "kind"):
            assert isinstance(dtype, pd.CategoricalDtype), word
        elif word in ("value", "data", "inputs", "dependencies"):
            assert str(dtype) == "object", word
        elif word in TEXT or word in ("reason", "parent", "error_node"):
            assert dtype == pd.Series(["text"]).dtype, word
        elif not word.startswith("inputs."):
            assert is_integer_dtype(dtype), word


@pytest.mark.parametrize("name", FRAMES)
def test_columns_and_dtypes(name: str, two_runs: Opened) -> None:
    """Each frame has its columns, in order, with their dtypes; more columns come after them."""
    table = getattr(two_runs.history, name)()
    assert len(table) > 0
    check_columns(name, table)


@pytest.mark.parametrize("name", FRAMES)
def test_empty_frames_keep_columns_and_dtypes(name: str, two_runs: Opened) -> None:
    """No row, whether nothing matches or nothing is there, is no reason for another shape."""
    full = getattr(two_runs.history, name)()
    empty = getattr(two_runs.history, name)(dag_name="nothing")
    assert len(empty) == 0
    check_columns(name, empty)
    fixed = [c for c in full.columns if not c.startswith("inputs.")]
    assert list(empty.columns) == fixed
    assert dict(empty.dtypes) == dict(full[fixed].dtypes)
    assert list(empty.index.names) == list(full.index.names)
    assert len(getattr(two_runs.history, name)(limit=0)) == 0


@pytest.mark.parametrize("name", FRAMES)
def test_frames_without_any_run(name: str, flow: Opened) -> None:
    """A new database gives empty frames."""
    check_columns(name, getattr(flow.history, name)())


def test_runs(two_runs: Opened) -> None:
    """A row a run, newest first, its id in the index, its inputs as a dict and as columns."""
    table = two_runs.history.runs()
    assert table.index.name == "run_id" and list(table.index) == ["r2", "r1"]
    r1 = table.loc["r1"]
    assert (r1.dag_name, r1.status, r1.duration, r1.error) == ("etl", "failed", 3.0, "boom")
    assert (r1.nodes, r1.completed, r1.failed, r1.skipped, r1.cached, r1.attempts) == (2, 0, 1, 1, 0, 2)
    assert (r1.tokens, r1.cost) == (7.0, 0.5)
    assert r1.started_at == pd.Timestamp(T0, unit="s", tz="UTC")
    assert r1.inputs == {"source": "a.csv", "rows": 3}
    assert table.loc["r2", "inputs"] == {"rows": 5, "day": date(2024, 5, 1)}
    assert table.loc["r2", "parent_run_id"] == "r1" and pd.isna(r1.parent_run_id)
    assert list(table["inputs.rows"]) == [5, 3] and is_integer_dtype(table["inputs.rows"].dtype)
    assert table.loc["r1", "inputs.source"] == "a.csv" and pd.isna(table.loc["r2", "inputs.source"])
    assert table.loc["r2", "inputs.day"] == date(2024, 5, 1)


def test_nodes(two_runs: Opened) -> None:
    """A row a node: waiting and running in seconds, dependencies as a list, who added it."""
    table = two_runs.history.nodes().set_index("node_id")
    fetch = table.loc["fetch"]
    assert (fetch.status, fetch.attempts, fetch.duration, fetch.waited) == ("failed", 2, 2.0, 0.5)
    assert (fetch.error, fetch.tokens, fetch.cost, fetch.dependencies) == ("boom", 7.0, 0.5, [])
    load = table.loc["load"]
    assert load.dependencies == ["fetch"] and load.reason == "fetch failed"
    assert pd.isna(load.started_at) and pd.isna(load.duration) and pd.isna(load.waited)
    assert table.loc["b", "added_by"] == "a" and pd.isna(table.loc["a", "added_by"])


def test_order(two_runs: Opened) -> None:
    """Over runs the newest comes first; within one run things come as they happened, the newest kept."""
    history = two_runs.history
    assert list(history.nodes().node_id) == ["b", "a", "fetch", "load"]
    assert list(history.nodes(run_id="r1").node_id) == ["fetch", "load"]
    assert list(history.events().run_id) == ["r2", "r2", "r1", "r1", "r1"]
    assert history.events().occurred_at.is_monotonic_decreasing
    assert list(history.events(run_id="r1").seq) == [1, 2, 3]
    assert list(two_runs.of("r1").events().seq) == [1, 2, 3]
    assert list(history.events(run_id="r1", limit=2).seq) == [2, 3]
    assert list(history.logs(limit=2).message) == ["three", "two"]
    assert list(history.logs(run_id="r1").message) == ["one", "two"]
    assert list(history.attempts(run_id="r1").attempt) == [1, 2]
    assert list(history.attempts(limit=1).run_id) == ["r2"]
    assert list(history.runs(limit=1).index) == ["r2"]
    assert list(history.cache(run_id="r2").key) == ["frame", "list", "lambda"]


def test_a_history_of_one_run(two_runs: Opened) -> None:
    """With a run of its own a history shows nothing else, whatever it is asked for."""
    mine = two_runs.of("r1")
    for name in FRAMES[1:]:
        assert set(getattr(mine, name)().run_id) == {"r1"}, name
    assert list(mine.runs().index) == ["r1"]
    assert len(mine.nodes(run_id="r2")) == 0


FILTERS: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("runs", {"dag_name": "etl"}, ["r1"]),
    ("runs", {"dag_name": ["etl", "report"]}, ["r2", "r1"]),
    ("runs", {"dag_name": "re*"}, ["r2"]),
    ("runs", {"status": "failed"}, ["r1"]),
    ("runs", {"status": RunStatus.COMPLETED}, ["r2"]),
    ("runs", {"status": {"failed", "completed"}}, ["r2", "r1"]),
    ("runs", {"since": datetime.fromtimestamp(T0 + 50, UTC)}, ["r2"]),
    ("runs", {"since": datetime.fromtimestamp(T0 + 50, UTC).isoformat()}, ["r2"]),
    ("runs", {"run_id": "r1"}, ["r1"]),
    ("runs", {"run_id": ["r1", "r2"], "limit": 1}, ["r2"]),
    ("nodes", {"action": "fetch"}, ["fetch"]),
    ("nodes", {"status": NodeStatus.SKIPPED}, ["load"]),
    ("nodes", {"status": ["cached", "failed"]}, ["b", "fetch"]),
    ("nodes", {"node_id": "f?tch"}, ["fetch"]),
    ("nodes", {"dag_name": "etl", "limit": 1}, ["fetch"]),
    ("nodes", {"kind": "map"}, []),
    ("nodes", {"since": datetime.fromtimestamp(T0 + 50, UTC)}, ["b", "a"]),
    ("attempts", {"status": "completed"}, ["a"]),
    ("attempts", {"action": "fetch", "run_id": "r1"}, ["fetch", "fetch"]),
    ("events", {"kind": "NodeFailed"}, ["fetch"]),
    ("events", {"kind": NodeCompleted}, []),
    ("events", {"node_id": "fetch", "kind": ["NodeStarted", "NodeFailed"]}, ["fetch", "fetch"]),
    ("cache", {"namespace": "a"}, ["a", "a"]),
    ("cache", {"namespace": "a", "key": "list"}, ["a"]),
    ("cache", {"status": "failed"}, ["inputs"]),
    ("logs", {"level": "error"}, ["fetch"]),
    ("logs", {"level": ["INFO", "error"], "run_id": "r1"}, ["fetch", "fetch"]),
    ("logs", {"node_id": "a", "status": "completed"}, ["a"]),
]


@pytest.mark.parametrize(("name", "filters", "expected"), FILTERS)
def test_filters(name: str, filters: dict[str, Any], expected: list[Any], two_runs: Opened) -> None:
    """Each filter keeps what it names; several are all to hold."""
    table = getattr(two_runs.history, name)(**filters)
    column = {"cache": "namespace"}.get(name, "node_id")
    assert list(table.index if name == "runs" else table[column]) == expected


@pytest.mark.parametrize(
    ("name", "filters", "text"),
    [
        ("runs", {"status": "complete"}, "did you mean 'completed'"),
        ("nodes", {"status": "runing"}, "did you mean 'running'"),
        ("attempts", {"status": "complted"}, "did you mean 'completed'"),
        ("events", {"kind": "NodeFailled"}, "did you mean 'NodeFailed'"),
        ("runs", {"status": 3}, "give a text"),
        ("nodes", {"node_id": ["a", 3]}, "give a text"),
        ("runs", {"since": "yesterday"}, "time span such as '7d'"),
        ("runs", {"since": 7}, "time span such as '7d'"),
        ("runs", {"limit": -1}, "number of rows"),
        ("runs", {"limit": "3"}, "number of rows"),
        ("runs", {"limit": True}, "number of rows"),
        ("runs", {"dagname": "etl"}, r"runs\(\) has no filter 'dagname': did you mean 'dag_name'"),
        ("nodes", {"node": "a"}, "did you mean 'node_id'"),
        ("logs", {"levle": "INFO"}, "did you mean 'level'"),
        ("cache", {"name_space": "a"}, "did you mean 'namespace'"),
        ("metrics", {"acton": "a"}, "did you mean 'action'"),
    ],
)
def test_filters_that_make_no_sense(name: str, filters: dict[str, Any], text: str, two_runs: Opened) -> None:
    """A misspelt word or a wrong type is a `ValidationError` that names the filter and helps."""
    with pytest.raises(ValidationError, match=text) as caught:
        getattr(two_runs.history, name)(**filters)
    assert caught.value.culprit == next(iter(filters))


def test_a_state_that_only_the_database_knows(two_runs: Opened) -> None:
    """Words that somebody else has written are shown, and can be asked for."""
    two_runs.call(two_runs.store.claim("r1"))
    two_runs.write(Unit("r1", attempts=[("x", "act", 1, "exploded", T0, T0, None, None)]))
    table = two_runs.history.attempts(status="exploded")
    assert list(table.status) == ["exploded"]
    assert "completed" in table.status.cat.categories


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time spans count back from now; moments without a zone are local, pandas' ones too."""
    assert moment("7d", T0) == T0 - 7 * 86400
    assert moment("12h", T0) == T0 - 43200
    assert moment(" 1.5 m ", T0) == T0 - 90
    assert moment(timedelta(hours=1), T0) == T0 - 3600
    naive = datetime(2024, 5, 31, 8)
    assert moment(naive, T0) == moment("2024-05-31 08:00", T0) == naive.timestamp()
    assert moment(pd.Timestamp(naive), T0) == naive.timestamp()
    assert moment("2024-05-31T08:00:00+02:00", T0) == 1717135200.0
    assert moment(date(2024, 5, 31), T0) == moment("2024-05-31", T0) == datetime(2024, 5, 31).timestamp()


def test_events_have_their_data(two_runs: Opened) -> None:
    """The fields of an event are a dict."""
    failed = two_runs.history.events(kind="NodeFailed").iloc[0]
    assert failed["data"] == {"error": "boom", "attempt": 2}
    assert two_runs.history.events(kind="RunStarted").iloc[0]["data"] == {}


def test_values(two_runs: Opened) -> None:
    """Values keep their type; those that could not be stored are shown as long as the process has them."""
    history = two_runs.history
    table = history.cache(run_id="r2").set_index("key")
    pd.testing.assert_frame_equal(table.loc["frame", "value"], pd.DataFrame({"x": [1, 2]}))
    assert table.loc["list", "value"] == [1, 2]
    assert table.loc["lambda", "codec"] == "memory"
    assert table.loc["lambda", "value"].startswith("<not stored: ")
    assert table.loc["lambda", "reason"] in table.loc["lambda", "value"]
    two_runs.memory["r2", "b", "lambda"] = 42
    assert history.cache(namespace="b").iloc[0]["value"] == 42
    bare = history.cache(run_id="r2", values=False)
    assert bare.value.isna().all() and list(bare.key) == list(table.index)


def test_values_that_are_all_text(two_runs: Opened) -> None:
    """A column of objects is one, whatever is in it."""
    two_runs.call(two_runs.store.claim("r1"))
    two_runs.write(Unit("r1", artifacts=[value("t", "a", "text", T0), value("t", "b", "more", T0)]))
    table = two_runs.history.cache(namespace="t")
    assert table.value.dtype == object and sorted(table.value) == ["more", "text"]


def test_values_that_cannot_be_read(two_runs: Opened) -> None:
    """One damaged value, input or event does not spoil the frame."""
    two_runs.call(two_runs.store.claim("r2"))
    two_runs.write(
        Unit(
            "r2",
            events=[(3, T0 + 104, "CustomEvent", None, "{broken")],
            artifacts=[("a", "list", "json", b"{broken", 7, None, T0 + 110)],
            run={"inputs": "{broken"},
        )
    )
    history = two_runs.history
    assert history.cache(key="list").iloc[0]["value"].startswith("<cannot be read: ")
    assert history.events(limit=1).iloc[0]["data"]["error"].startswith("<cannot be read: ")
    assert "<cannot be read" in history.runs().loc["r2", "inputs"]["error"]
    assert len(history.cache(run_id="r2")) == 3


def test_only_what_is_asked_for_is_decoded(two_runs: Opened) -> None:
    """Filters and limits hold before values are decoded."""
    decoded: list[str] = []

    class Counting:
        def decode(self, codec: str, data: bytes | None) -> Any:
            decoded.append(codec)

        def loads(self, text: str) -> Any:
            raise AssertionError("no text is asked for")

    history = History(two_runs.store.connect, Counting(), sync=two_runs.store.sync)
    history.cache(key="list")
    history.cache(run_id="r1", limit=1)
    history.cache(values=False)
    history.nodes()
    assert decoded == ["json", "json"]


def test_runs_that_nobody_drives_any_more(flow: Opened) -> None:
    """Running or pending without a live owner is shown as interrupted, unwritten; counts are of the nodes."""
    flow.new_run("mine", T0, status="running", started_at=T0)
    flow.new_run("dead", T0 + 1, status="running")
    flow.new_run("dead pending", T0 + 2)
    flow.new_run("free", T0 + 3, status="running")
    flow.new_run("free pending", T0 + 4)
    flow.new_run("paused", T0 + 5, status="paused")
    flow.write(
        Unit(
            "dead",
            nodes={"a": node("completed", 0, T0), "b": node("running", 1, T0), "c": node("failed", 2, T0)},
        )
    )
    for run_id in ("free", "free pending", "paused"):
        flow.call(flow.store.release(run_id))
    flow.store.sync()
    connection = flow.store._writer.connection
    with flow.store._writer.lock:
        connection.execute("insert into owners values ('gone', 'elsewhere', 1, '?', 0, 0)")
        connection.execute("update runs set owner = 'gone' where run_id like 'dead%'")
    table = flow.history.runs()
    assert dict(table.status) == {
        "mine": "running",
        "dead": "interrupted",
        "dead pending": "interrupted",
        "free": "interrupted",
        "free pending": "interrupted",
        "paused": "paused",
    }
    assert pd.isna(table.loc["mine", "duration"])
    assert (table.loc["dead", "completed"], table.loc["dead", "failed"]) == (1, 1)
    assert list(flow.history.runs(status="interrupted").index) == [
        "free pending",
        "free",
        "dead pending",
        "dead",
    ]
    assert list(flow.history.nodes(dag_name="d", run_id="dead").status) == ["completed", "running", "failed"]
    row = flow.store.run_row("dead")
    assert row is not None and row["status"] == "running"


def test_a_run_that_begins_during_a_look_is_under_way(flow: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has come since it was looked who is alive has not left its run."""
    flow.new_run("mine", T0, status="running", started_at=T0)
    flow.store.sync()
    split = history.split_owners

    def then_another(*args: Any) -> Any:
        found = split(*args)
        connection = flow.store._writer.connection
        with flow.store._writer.lock:
            connection.execute("insert into owners values ('new', 'elsewhere', 1, '?', 0, 0)")
            connection.execute("update runs set owner = 'new'")
        return found

    monkeypatch.setattr(history, "split_owners", then_another)
    assert list(flow.history.runs().status) == ["running"]


def test_ids_of_runs_to_delete(two_runs: Opened) -> None:
    """By workflow and age, without those that somebody drives."""
    history = two_runs.history
    assert history.run_ids() == ["r2", "r1"]
    assert history.run_ids(dag_name="etl") == ["r1"]
    assert history.run_ids(older_than=datetime.fromtimestamp(T0 + 50, UTC)) == ["r1"]
    assert history.run_ids(older_than="30d", status="completed") == ["r2"]
    two_runs.call(two_runs.store.claim("r1"))
    assert history.run_ids() == ["r2"]
    with pytest.raises(ValidationError, match="older_than"):
        history.run_ids(older_than="old")


def test_metrics(flow: Opened) -> None:
    """A row an action: durations of what ran, what failed, was retried, was found in the cache."""
    flow.new_run("r", T0)
    nodes = {
        f"n{i}": node("completed", i, T0, finished_at=T0 + 0.5 + i, tokens=2.0, cost=0.25)
        for i in range(1, 12)
    }
    flow.write(
        Unit(
            "r",
            nodes={
                **nodes,
                "hit": node("cached", 20, T0, attempts=0),
                "bad": node("failed", 21, T0, action="other", attempts=3),
                "saved": node("recovered", 22, T0, action="other", attempts=1),
                "skipped": node("skipped", 23, None, action="other"),
                "group": node("completed", 24, T0, kind="map"),
            },
        )
    )
    table = flow.history.metrics()
    assert list(table.columns)[:9] == [
        "action",
        "runs",
        "median_duration",
        "p95_duration",
        "failures",
        "retries",
        "cache_hits",
        "tokens",
        "cost",
    ]
    act, other = (row for _, row in table.iterrows())
    assert (act.action, act.runs, act.median_duration, act.p95_duration) == ("act", 11, 6.0, 10.5)
    assert (act.failures, act.retries, act.cache_hits, act.tokens, act.cost) == (0, 0, 1, 22.0, 2.75)
    assert (other.action, other.runs, other.failures, other.retries) == ("other", 2, 2, 2)
    assert list(flow.history.metrics(action="other").action) == ["other"]
    empty = flow.history.metrics(dag_name="nothing")
    assert dict(empty.dtypes) == dict(table.dtypes) and len(empty) == 0


def test_storage(two_runs: Opened) -> None:
    """What takes how many bytes adds up to what the database takes."""
    two_runs.call(two_runs.store.claim("r1"))
    two_runs.write(Unit("r1", artifacts=[value("x", "big", "x" * 200_000, T0)]))
    table = two_runs.history.storage()
    assert list(table.columns) == ["what", "rows", "size_bytes"]
    assert table.iloc[0]["what"] == "big values" and table.iloc[0]["size_bytes"] > 200_000
    rows = dict(zip(table.what, table.rows, strict=True))
    assert (rows["values"], rows["nodes"], rows["events"], rows["runs"]) == (5, 4, 5, 2)
    with closing(two_runs.store.connect()) as connection:
        pages = connection.execute("pragma page_count").fetchone()[0]
    total = table.size_bytes.sum()
    log = Path(f"{two_runs.store.path}-wal")
    assert total == pages * 4096 + (log.stat().st_size if log.exists() else 0)


def test_sql(two_runs: Opened) -> None:
    """Any reading query gives a frame."""
    sql = two_runs.history.sql
    table = sql("select run_id, nodes from runs where dag_name = ? order by 1", ("etl",))
    assert table.to_dict("list") == {"run_id": ["r1"], "nodes": [2]}
    assert list(sql("select * from runs where 0").columns)[:2] == ["run_id", "dag_name"]
    assert len(sql("select * from runs where 0")) == 0
    assert sql("select count(*) as n from events where run_id = :run", {"run": "r1"}).n[0] == 3
    assert sql("select ? as x", "text").x[0] == "text"
    assert sql("with t as (select 1 as a union all select 2) select sum(a) as s from t").s[0] == 3
    assert "run_id" in list(sql("pragma table_info(runs)").name)
    assert list(sql("select 1 as a, 2 as a").columns) == ["a", "a"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("delete from runs", "only reads"),
        ("insert into runs (run_id) values ('x')", "only reads"),
        ("update runs set status = 'x'", "only reads"),
        ("drop table runs", "only reads"),
        ("create table x (a)", "only reads"),
        ("create temp table x (a)", "only reads"),
        ("attach database 'x.db' as x", "only reads"),
        ("vacuum into 'x.db'", "only reads"),
        ("pragma user_version = 7", "only reads"),
        ("pragma query_only = 0", "only reads"),
        ("pragma writable_schema", "only reads"),
        ("begin", "only reads"),
        ("select load_extension('x')", "only reads"),
        ("with x as (select 1) delete from runs", "only reads"),
        ("select 1; select 2", "one statement"),
        ("select 1; drop table runs", "one statement"),
        ("select * from run", "no such table 'run': did you mean 'runs'"),
        ("select statuss from runs", "no such column 'statuss': did you mean 'status'"),
        ("select r.statuss from runs r", "no such column 'statuss': did you mean 'status'"),
        ("selekt", "syntax error"),
        ("select ?", "a value for each"),
        ("", "a query as text"),
        ("-- nothing", "only reads"),
        (7, "a query as text"),
    ],
)
def test_sql_that_is_refused(query: Any, text: str, two_runs: Opened, tmp_path: Path) -> None:
    """What writes, and what is wrong, is a `ValidationError` that says why; nothing changes."""
    with pytest.raises(ValidationError, match=text) as caught:
        two_runs.history.sql(query)
    assert caught.value.culprit == "query"
    assert list(two_runs.history.runs().index) == ["r2", "r1"]
    assert not Path("x.db").exists()
    two_runs.call(two_runs.store.claim("r1"))
    two_runs.write(Unit("r1", run={"status": "running"}))
    assert two_runs.history.runs().loc["r1", "status"] == "running"


def test_reading_while_writing(flow: Opened) -> None:
    """Frames can be read at any time, from any thread: never a locked database, nothing half."""
    flow.new_run("r", T0)
    failed: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                nodes = flow.history.nodes(run_id="r")
                assert list(nodes.node_id) == [f"n{i}" for i in range(len(nodes))]
                assert len(flow.history.events(run_id="r")) >= len(nodes)
                assert list(flow.history.runs().index) == ["r"]
        except BaseException as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for i in range(300):
        flow.write(
            Unit(
                "r",
                events=[(i, T0 + i, "NodeCompleted", f"n{i}", "{}")],
                nodes={f"n{i}": node("completed", i, T0 + i)},
            )
        )
    stop.set()
    for thread in readers:
        thread.join()
    assert failed == []
    assert len(flow.history.nodes()) == 300


def test_an_interrupt_while_reading_loses_nothing(flow: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C hits whoever asks for a frame, never the writing that comes before it."""
    flow.new_run("r", T0)
    writer = flow.store._writer
    commit = writer._commit

    def interrupted(units: list[Unit]) -> None:
        signal.raise_signal(signal.SIGINT)
        commit(units)

    async def write() -> None:
        flow.store._queue.extend(Unit("r", events=[(i, T0, "RunStarted", None, "{}")]) for i in range(5))

    flow.call(write())
    monkeypatch.setattr(writer, "_commit", interrupted)
    # a shell may have told what runs in its background to take no notice of interrupts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            flow.history.events()
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(writer, "_commit", commit)
    assert len(flow.history.events()) == 5


def test_a_database_that_cannot_be_read(tmp_path: Path) -> None:
    """An error of SQLite is a `DatabaseError`."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "empty.db")

    with pytest.raises(DatabaseError, match="cannot be read"):
        History(connect, CODEC).runs()


def test_text_before_pandas_3(two_runs: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older pandas holds text as objects, and what is missing stays missing."""
    monkeypatch.setattr(pd, "__version__", "2.3.0")
    table = two_runs.history.nodes(run_id="r1")
    assert table.error.dtype == object
    assert list(table.error) == ["boom", None]


@pytest.mark.parametrize("name", FRAMES)
def test_frames_survive_many_types_of_filters(name: str, two_runs: Opened) -> None:
    """Runs, handles and classes stand for their names."""

    class Run:
        run_id = "r1"

    frame: Callable[..., pd.DataFrame] = getattr(two_runs.history, name)
    assert len(frame(run_id=Run())) == len(frame(run_id="r1"))
    assert json.dumps(list(frame(run_id=()).columns))
    assert len(frame(run_id=[])) == 0


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("query", [q.RUNS, q.NODES, q.ATTEMPTS, q.EVENTS, q.CACHE, q.LOGS, q.METRICS])
def test_nothing_is_read_that_was_not_asked_for(query: q.Query, single: bool, two_runs: Opened) -> None:
    """Runs come in order by an index, their rows by the run's key; at most one run's rows are sorted."""
    where = Where()
    if single:
        where.add("r.run_id = ?", "r1")
    sql = query.sql(where, single=single).replace("{live}", "''")
    with closing(two_runs.store.connect()) as connection:
        plan = [row[3] for row in connection.execute(f"explain query plan {sql}", [*where.params, 3])]
    assert not any(step.startswith("SCAN") and step != "SCAN r USING INDEX runs_created" for step in plan)
    if not single:
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_values_of_other_rows_are_not_read(two_runs: Opened) -> None:
    """A limit keeps the values of what it leaves out from being read."""
    sql = q.with_values(q.CACHE.sql(Where(), single=False))
    inner = sql.partition(" from (")[2]
    assert "value" not in inner.replace("null as value", "")
    assert list(two_runs.history.cache(limit=1)["key"]) == ["lambda"]
