"""Pictures of a run: what changed is looked at only, and what waits is named."""

from __future__ import annotations

from typing import Any

from dagflow_nb import DagFlow, Workflow
from dagflow_nb.api.controls import Controls
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, single


class Drawn:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.snapshots: list[Any] = []
        self.logs: list[tuple[str, str, str]] = []
        self.last: Any = None

    def update(self, snapshot: Any) -> None:
        self.snapshots.append(snapshot)

    def log(self, node_id: str, text: str, stream: str) -> None:
        self.logs.append((node_id, text, stream))

    def finish(self, last: Any) -> None:
        self.last = last()


def test_a_view_gets_the_last_state_and_what_was_printed() -> None:
    """Whatever was left out on the way, the end is drawn; prints reach the view of their node."""
    gate, view = Gate(), Drawn()

    def chatty(ctx: Any) -> int:
        gate.hold()
        print("hello")
        ctx.progress(0.25, "a quarter")
        return 1

    with DagFlow(":memory:", echo=False) as flow:
        run = flow.start(single(chatty), view=False)
        gate.wait_for(1)
        coordinator = run._coordinator
        assert coordinator is not None
        coordinator.loop.call_soon_threadsafe(coordinator.watch.add_view, view)
        gate.open()
        run.wait(PATIENCE)
        assert view.last.status == "completed" and view.last.counts() == {"completed": 1}
        assert view.logs == [("node", "hello", "stdout")]
        (node,) = view.last.nodes
        assert node.progress == 0.25 and node.message == "a quarter" and node.attempt == 1


def test_a_run_that_is_taken_up_remembers_what_has_failed(tmp_path: Any) -> None:
    """Another process goes on with a run: its view has the attempts that failed before, with their times."""
    broken = True

    def act() -> int:
        if broken:
            raise OSError("no")
        return 1

    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        failed = flow.run(single(act), view=False, raise_on_failure=False)
        assert failed.status == "failed"
    broken = False
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        flow.action(act)
        run = flow.retry(failed.run_id, view=False)
        coordinator = run._coordinator
        assert coordinator is not None
        (live,) = coordinator.watch.snapshot().nodes
        (stored,) = Controls(run).snapshot().nodes
        first, second = run.attempts().to_dict("records")
        for node in (live, stored):
            ((began, ended),) = node.earlier
            assert abs(began - first["started_at"].timestamp()) < 1e-3
            assert abs(ended - first["finished_at"].timestamp()) < 1e-3
            assert node.began_at is not None and abs(node.began_at - second["started_at"].timestamp()) < 1e-3


def test_a_snapshot_says_what_waits_and_how_far_a_map_is() -> None:
    """A map's progress counts its items; what waits has its form and since when."""

    def act(v: Any = None) -> Any:
        return v

    workflow = Workflow("w")
    workflow.map(act, {"v": [1, 2, 3]}, id="all")
    workflow.add(act, id="asks", ask="go on?")
    with DagFlow(":memory:", echo=False) as flow:
        snapshot = flow.run(workflow, view=False).snapshot()
        nodes = {node.id: node for node in snapshot.nodes}
        assert nodes["all"].progress == 1.0 and nodes["all"].message == "3 of 3"
        (waiting,) = snapshot.waiting
        assert waiting.branch_id == "asks" and waiting.form.question == "go on?" and waiting.since > 0
        assert snapshot.status == "paused" and snapshot.topology > 0
