"""What runs share: the store is opened once, runs are taken up by one, everything is given back."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow, DagNotFound, InvalidState, PauseBranch, Workflow
from dagflow_nb.codec import dump_defs, load_defs
from dagflow_nb.runtime import outline, session
from dagflow_nb.runtime.session import Session
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, single


def test_the_store_is_opened_once_however_many_ask(tmp_path: Path) -> None:
    """Callers at the same time get the same store; a failure is told to each, and may be tried again."""

    async def main() -> None:
        session = Session(str(tmp_path / "x.db"))
        stores = await asyncio.gather(*(session.open() for _ in range(10)))
        assert len({id(store) for store in stores}) == 1
        await session.close()
        (tmp_path / "nowhere").mkdir()
        missing = Session(str(tmp_path / "nowhere" / "x.db"))
        (tmp_path / "nowhere").rmdir()
        found = await asyncio.gather(*(missing.open() for _ in range(3)), return_exceptions=True)
        assert [type(error).__name__ for error in found] == ["DatabaseError"] * 3
        (tmp_path / "nowhere").mkdir()
        assert await missing.open() is missing.store
        await missing.close()

    asyncio.run(main())


def test_a_run_under_way_is_not_taken_up_twice(tmp_path: Path) -> None:
    """In one session and in two sessions of one process: `InvalidState`, and the run goes on."""
    gate = Gate()
    with DagFlow(tmp_path / "x.db", echo=False) as flow, DagFlow(tmp_path / "x.db", echo=False) as other:
        run = flow.start(single(gate.hold), view=False)
        gate.wait_for(1)
        with pytest.raises(InvalidState):
            flow.run(single(gate.hold), run_id=run.run_id, view=False)
        with pytest.raises(InvalidState, match=run.run_id):
            other.resume(run.run_id, view=False)
        gate.open()
        assert run.wait().success


def test_a_run_is_brought_back_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a journal is replayed other runs go on and nobody else takes it up; a failure leaves it free."""
    gate, begun, go = Gate(), threading.Event(), threading.Event()
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        flow.action(name="pausing")(lambda ctx: 1)
        flow.on_completed(node="first")(lambda: PauseBranch("second"))
        wf = Workflow("w")
        wf.add("pausing", id="second", after=[wf.add("pausing", id="first")])
        run = flow.run(wf, view=False)
        real = session.replay

        def slow(*args: Any) -> Any:
            begun.set()
            assert go.wait(PATIENCE)
            return real(*args)

        monkeypatch.setattr(session, "replay", slow)
        with ThreadPoolExecutor() as pool:
            again = pool.submit(flow.resume, run.run_id, view=False)
            assert begun.wait(PATIENCE)
            gate.open()
            assert flow.run(single(gate.hold), view=False).success
            with pytest.raises(InvalidState, match="under way in this session"):
                flow.retry(run.run_id, "first", view=False)
            go.set()
            assert again.result(PATIENCE).success
        monkeypatch.setattr(session, "replay", lambda *args: 1 / 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                flow.retry(run.run_id, "second", view=False)
        monkeypatch.setattr(session, "replay", real)
        assert flow.retry(run.run_id, "second", view=False).success


def test_a_run_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """Nothing to resume, an unknown run, an unknown sub-workflow."""
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        for ask in (flow.resume, flow.retry):
            with pytest.raises(DagNotFound):
                ask(view=False)
            with pytest.raises(DagNotFound, match="nope"):
                ask("nope", view=False)
        with pytest.raises(DagNotFound):
            flow.get()


def test_workflows_that_contain_each_other_are_added_together() -> None:
    """The order does not matter; with an error in one of them none is taken."""
    with DagFlow(":memory:") as flow:
        text = "name: outer\nnodes:\n  - {id: sub, workflow: inner}\n"
        from dagflow_nb.workflow.yaml import load_yaml_text

        outer, inner = load_yaml_text(text), Workflow("inner")
        with pytest.raises(DagNotFound, match="inner"):
            flow._session.add_workflows([outer])
        assert not flow.workflows
        flow._session.add_workflows([outer, inner])
        assert set(flow.workflows) == {"outer", "inner"}


@pytest.mark.parametrize("database", [":memory:", "flow.db"])
def test_what_a_file_keeps_of_the_nodes_is_made_with_the_workflow(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, before any run, where nobody can change what they hold; in memory when somebody reads."""
    made = []

    def dump(codec: Any, specs: Any) -> str:
        made.append([spec.id for spec in specs])
        return dump_defs(codec, specs)

    monkeypatch.setattr(outline, "dump_defs", dump)
    on_file = database != ":memory:"
    with DagFlow(tmp_path / database if on_file else database, echo=False) as flow:

        @flow.action
        def same(x: Any) -> Any:
            return x

        for name, value in {"plain": 1, "list": [1]}.items():
            workflow = Workflow(name)
            workflow.add(same, id=name, x=value)
            flow.add_workflow(workflow)
        assert made == [["plain"]] * on_file
        runs = [flow.run(name, view=False) for name in ("plain", "plain", "list")]
        for run in runs:
            (tree,) = flow.sql("select tree from execution_trees where run_id = ?", [run.run_id])["tree"]
            assert [node.id for node in load_defs(flow._session.codec, tree)] == list(run.outputs)
        assert sorted(made) == [["list"], ["plain"]]
