"""The guide's chapter "Execution Control"."""

from __future__ import annotations

import asyncio

import pytest

from dagflow_nb import (
    ActionRegistry,
    Cache,
    CancelToken,
    Coordinator,
    DagConfig,
    DagExecutor,
    EventHook,
    InvalidState,
    NodeCompleted,
    NodeSpec,
    RunCancelled,
)


class Meter:
    """Notes how many attempts are under way at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def step(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(3):
            await asyncio.sleep(0)  # the others have their turn
        self.now -= 1


def test_coordinator_based_execution(query):
    """One call spawns workers for ready nodes, asks the hooks, applies their commands under a bound of one on
    what waits, and its run id is taken afterwards."""
    registry = ActionRegistry()

    @registry.action
    async def produce():
        return {"items": [1, 2, 3, 4, 5]}

    @registry.action
    async def square(n):
        return {"square": n * n}

    class FanOut(EventHook):
        async def handle(self, ctx, event):
            if isinstance(event, NodeCompleted) and event.node.action == "produce":
                for n in event.outputs["items"]:
                    yield NodeSpec("square", id=f"square_{n}", inputs={"n": n})

    async def main():
        async with DagExecutor(None, registry, "sqlite:workflows.db") as executor:
            executor.load_yaml_string("name: workflow_name\nnodes: [{id: produce, action: produce}]")
            cache, cancel = Cache(), CancelToken()
            coordinator = Coordinator([FanOut()], 1, 1)
            arguments = (executor, cache, "workflow_name", "run_001", cancel)
            report = await asyncio.wait_for(coordinator.run_parallel(*arguments), timeout=30)
            with pytest.raises(InvalidState, match="run_001"):
                await coordinator.run_parallel(*arguments)
            return report, cache

    report, cache = asyncio.run(main())
    assert (report.run_id, report.status, report.completed_nodes) == ("run_001", "completed", 6)
    assert [cache.get(f"square_{n}", "square") for n in range(1, 6)] == [1, 4, 9, 16, 25]
    assert query("workflows.db", "select count(*) from runs") == [(1,)]


def test_cancellation(query):
    """A run in the background ends when its token is cancelled: what runs is stopped and cleans up, what
    waits never starts, and the run can be looked at afterwards."""
    registry = ActionRegistry()
    events = []

    async def main():
        started = asyncio.Event()

        @registry.action
        async def endless():
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                events.append("cleaned up")

        @registry.action
        async def after():
            events.append("ran")

        async with DagExecutor(None, registry, "sqlite:workflows.db") as executor:
            executor.load_yaml_string(
                "name: workflow\nnodes:\n  - {id: a, action: endless}\n"
                "  - {id: b, action: after, dependencies: [a]}\n"
            )
            cancel = CancelToken()
            # spawn execution in background
            execution = asyncio.create_task(executor.execute_static_dag("workflow", Cache(), cancel))
            # cancel after some condition
            await started.wait()
            cancel.cancel("not needed any more")
            # wait for graceful shutdown
            with pytest.raises(RunCancelled, match="not needed any more") as cancelled:
                await execution
            assert cancel.cancelled
            assert cancelled.value.reason == "not needed any more"
            return cancelled.value.report, executor.get_node_state("workflow", "b").status

    report, status = asyncio.run(main())
    assert (report.status, report.success, status) == ("cancelled", False, "cancelled")
    assert events == ["cleaned up"]
    assert query("workflows.db", "select status from runs") == [("cancelled",)]
    assert query("workflows.db", "select node_id, status from attempts") == [("a", "cancelled")]


@pytest.mark.parametrize("how", ["coordinator", "config", "off", "unbounded"])
def test_parallel_execution_control(how):
    """The coordinator's or the config's bound on attempts at once holds; without one all that is ready runs;
    switched off, one node at a time."""
    registry, meter = ActionRegistry(), Meter()
    registry.action(meter.step)
    coordinator, config = Coordinator(), None
    if how == "coordinator":
        coordinator = Coordinator.new_with_concurrency(
            [],
            100,  # event channel capacity
            100,  # command channel capacity
            4,  # max parallel workers
        )
    elif how == "config":
        config = DagConfig(max_parallel_nodes=4, enable_parallel_execution=True)
    elif how == "off":
        config = DagConfig(enable_parallel_execution=False)

    async def main():
        async with DagExecutor(config, registry) as executor:
            nodes = "".join(f"  - {{id: n{i}, action: step}}\n" for i in range(20))
            executor.load_yaml_string(f"name: wide\nnodes:\n{nodes}")
            return await coordinator.run_parallel(executor, Cache(), "wide", "run_001")

    assert asyncio.run(main()).completed_nodes == 20
    assert meter.most == {"coordinator": 4, "config": 4, "off": 1, "unbounded": 20}[how]
