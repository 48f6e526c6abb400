"""The one loop of a run: order, capacity, what happens when it falls over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import ActionRegistry, CustomEvent, DagFlow, DatabaseError, EmitEvent, Workflow
from dagflow_nb.core.messages import Applied
from dagflow_nb.runtime.session import Session
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, kinds, rows, single, states


def wide(n: int) -> Workflow:
    """Many nodes beside each other and one after them."""
    workflow = Workflow("wide")
    workflow.add("last", after=[workflow.add("task", id=f"n{i}", inputs={"i": i}) for i in range(n)])
    return workflow


@pytest.mark.parametrize("capacity", [1, 2, 100])
def test_any_capacity_works(capacity: int) -> None:
    """The number of results that may wait to be read changes nothing of what comes out."""
    registry = ActionRegistry()

    @registry.action
    async def task(i: int) -> int:
        return i

    @registry.action
    async def last() -> str:
        return "end"

    async def main() -> Any:
        session = Session(":memory:", registry=registry, echo=False)
        coordinator = await session.begin(session.prepare(wide(50)), capacity=(capacity, 1))
        status = await coordinator.done
        await session.close()
        return status

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == "completed"


def test_the_journal_and_events_are_in_order_and_whole(tmp_path: Path) -> None:
    """Inputs are numbered without a gap, events too, and every node has its attempt and its values."""
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        async def task(i: int) -> int:
            return i

        @flow.action
        def last() -> None: ...

        run = flow.run(wide(40), view=False)
        for table, number in (("journal", "n"), ("events", "seq")):
            found = [n for (n,) in rows(flow, f"select {number} from {table} where run_id = ?", run.run_id)]
            assert sorted(found) == list(range(1, len(found) + 1)), table
        assert rows(flow, "select count(*) from attempts where status = 'completed'") == [(41,)]
        assert rows(flow, "select count(*) from artifacts where namespace like 'n%'") == [(40,)]
        first, *_, end = kinds(run)
        assert (first, end) == ("RunStarted", "RunFinished")


def test_a_store_that_cannot_write_ends_the_run_with_its_error(tmp_path: Path) -> None:
    """Where nothing can be promised any more the run stops, and who waits for it is told."""
    gate = Gate()
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        run = flow.start(single(gate.hold), view=False)
        gate.wait_for(1)
        coordinator = run._coordinator
        assert coordinator is not None
        coordinator.loop.call_soon_threadsafe(coordinator.store_failed, DatabaseError("the disk is full"))
        with pytest.raises(DatabaseError, match="disk is full"):
            run.wait(PATIENCE)
        gate.open()
        assert not flow._session.live
        assert flow.run(single(one), view=False).success


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_run_that_could_not_be_stored_is_interrupted_and_goes_on(tmp_path: Path, durability: str) -> None:
    """On a full disk nobody drives it any more, all agree on that, and with room it is stored whole."""
    path = tmp_path / "x.db"
    with DagFlow(path, echo=False, config={"durability": durability}) as flow:
        flow.action(one)
        assert flow.run(single(one), view=False).success
        connection = flow._store._writer.connection
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages}")
        wf = Workflow("big")
        wf.map(big, over={"i": list(range(20))}, id="big", limit=1)
        for _ in range(2):
            with pytest.raises(
                DatabaseError, match=r"disk is full; make room.* which runs what is not stored"
            ):
                flow.run(wf, view=False)
        runs = flow.runs(dag_name="big")
        assert list(runs.status) == [flow.get(id).status for id in runs.index] == ["interrupted"] * 2
        crashed = flow.get()
        assert crashed.snapshot().status == "interrupted" and crashed._coordinator is not None
        told = crashed._coordinator.watch.snapshot()  # by which views are left
        assert told.status == "interrupted" and "the disk is full" in str(told.error)
        connection.execute("pragma max_page_count = 1000000")
        with DagFlow(path, echo=False) as other:
            other.action(big)
            assert other.resume(runs.index[1], view=False).success
        run = flow.resume(view=False)
        assert run.run_id == runs.index[0] and run.success and len(run.result) == 20
        assert set(run.nodes().status) == set(flow.runs(dag_name="big").status) == {"completed"}


def one() -> int:
    return 1


def big(i: int) -> str:
    return str(i) * 50_000


def test_nothing_overtakes_what_waits_to_be_stored(tmp_path: Path) -> None:
    """Hooks are asked about events in their order, also where a later one is stored on the spot."""
    gate, told = Gate(), list[str]()
    with DagFlow(tmp_path / "x.db", echo=False, config={"durability": "sync"}) as flow:

        @flow.hook(CustomEvent)
        async def tell(name: str) -> None:
            told.append(name)

        run = flow.start(single(gate.hold), view=False)
        gate.wait_for(1)
        coordinator = run._coordinator
        assert coordinator is not None

        async def emit_two() -> None:
            loop, store = coordinator.loop, coordinator.store
            stored = [loop.create_future(), loop.create_future()]
            stored[1].set_result(None)
            returned, write = iter(stored), store.write

            def late(*args: Any, **more: Any) -> Any:
                write(*args, **more)
                return next(returned)

            store.write = late  # type: ignore[method-assign]
            for name in ("first", "second"):
                coordinator.post(Applied((EmitEvent(name),), coordinator.clock.now()))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            store.write = write  # type: ignore[method-assign]
            assert told == []
            stored[0].set_result(None)

        flow._engine.call(emit_two())
        gate.open()
        assert run.wait(PATIENCE).success and told == ["first", "second"]


def test_a_view_that_fails_is_closed_and_the_run_goes_on(tmp_path: Path) -> None:
    """What draws a run cannot take it along, whatever of it fails."""

    class Bad:
        def update(self, snapshot: Any) -> None:
            raise RuntimeError("update")

        def log(self, node_id: str, text: str, stream: str) -> None:
            raise RuntimeError("log")

        finish = update

    gate = Gate()

    def chatty() -> int:
        gate.hold()
        print("hello")
        return 1

    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        run = flow.start(single(chatty), view=False)
        gate.wait_for(1)
        coordinator = run._coordinator
        assert coordinator is not None
        coordinator.loop.call_soon_threadsafe(coordinator.watch.add_view, Bad())
        gate.open()
        assert run.wait(PATIENCE).success and states(run) == {"node": "completed"}
