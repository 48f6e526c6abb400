"""The guide's chapter "Migration Guide": old-style actions as they are, and what becomes of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dagflow_nb import (
    ActionRegistry,
    AddNode,
    Cache,
    Coordinator,
    DagExecutor,
    DependencyNotFound,
    EventHook,
    NodeAction,
    NodeAlreadyExists,
    NodeCompleted,
    NodeOutput,
    NodeSpec,
    insert_value,
    parse_input_from_name,
    register_action,
)

DATABASE = "sqlite:workflows.db"


def noting(*names: str) -> tuple[ActionRegistry, list[str]]:
    """A registry of actions that only note which node ran, in order."""
    registry, ran = ActionRegistry(), []
    for name in names:

        @registry.action(name=name)
        async def note(ctx):
            ran.append(ctx.node_id)
            return {"done": True}

    return registry, ran


def register(executor, **old_style):
    for name, fn in old_style.items():
        with pytest.warns(DeprecationWarning, match=name):
            register_action(executor, name, fn)


def test_old_pattern_direct_executor_access(query):
    """An old-style action adds a node and pauses the run: both happen once it has completed, and the run goes
    on when it is resumed."""
    registry, ran = noting("extra")

    async def my_action(executor, node, cache):
        # could add nodes directly
        executor.add_node("workflow", "added", "extra", [node.id])
        # could mutate state
        executor.set_paused(True)
        ran.append(node.id)
        insert_value(cache, node.id, "result", 1)

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            register(executor, my_action=my_action)
            executor.load_yaml_string("name: workflow\nnodes: [{id: a, action: my_action}]")
            cache = Cache()
            before = await executor.execute_static_dag("workflow", cache)
            assert executor.is_paused()
            assert ran == ["a"]
            return before, await executor.resume_from_pause(cache), cache

    before, after, cache = asyncio.run(main())
    assert (before.status, after.status, after.run_id) == ("paused", "completed", before.run_id)
    assert ran == ["a", "added"]
    assert cache.get("a", "result") == 1
    assert query("workflows.db", "select node_id, added_by from node_runs order by position") == [
        ("a", None),
        ("added", "a"),
    ]


class MyAction(NodeAction):
    name = "my_action"

    async def execute(self, ctx):
        # pure computation only: return data, let hooks handle control flow
        return NodeOutput.ok({"result": "computed_value", "needs_validation": True})


def test_new_pattern_pure_computation():
    """The new action only returns; a hook reads what it returned and adds the node."""
    registry, ran = noting("validate")
    registry.register(MyAction())

    class Validation(EventHook):
        async def handle(self, ctx, event):
            if isinstance(event, NodeCompleted) and event.outputs.get("needs_validation"):
                return NodeSpec("validate")

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            executor.load_yaml_string("name: workflow\nnodes: [{id: a, action: my_action}]")
            return await Coordinator([Validation()]).run_parallel(executor, Cache(), "workflow", "run_001")

    report = asyncio.run(main())
    assert (ran, report.completed_nodes) == (["validate"], 2)
    assert report.node_outcomes["a"].outputs["result"] == "computed_value"


@pytest.mark.parametrize(("value", "expected"), [(11, ["extra_step"]), (3, [])])
def test_old_pattern_in_action_control(value, expected):
    """An old-style action that adds a node only above a threshold does so only then."""
    registry, ran = noting("extra")

    async def conditional_action(executor, node, cache):
        value = parse_input_from_name(cache, "value", node.inputs, int)
        if value > 10:
            executor.add_node("workflow", "extra_step", "extra", [node.id])

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            register(executor, conditional_action=conditional_action)
            executor.load_yaml_string(
                "name: workflow\n"
                "nodes:\n"
                "  - {id: a, action: conditional_action, inputs: [{name: value, reference: inputs.value}]}\n"
            )
            cache = Cache({"inputs": {"value": value}})
            return await executor.execute_static_dag("workflow", cache)

    assert asyncio.run(main()).success
    assert ran == expected


class ConditionalHook(EventHook):
    async def handle(self, ctx, event):
        if isinstance(event, NodeCompleted):
            value = event.outcome.outputs.get("value")
            if value is not None and value > 10:
                return [AddNode(dag_name=ctx.dag_name, spec=NodeSpec("extra", id="extra_step"))]
        return []


@pytest.mark.parametrize(("value", "expected"), [(11, ["extra_step"]), (3, [])])
def test_new_pattern_hook_based_control(value, expected):
    """The same decision in a hook has the same effect."""
    registry, ran = noting("extra")

    @registry.action
    async def measure(value):
        return {"value": value}

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            executor.load_yaml_string(
                "name: workflow\n"
                "nodes: [{id: a, action: measure, inputs: [{name: value, reference: inputs.value}]}]"
            )
            cache = Cache({"inputs": {"value": value}})
            return await Coordinator([ConditionalHook()]).run_parallel(executor, cache, "workflow", "r")

    assert asyncio.run(main()).success
    assert ran == expected


class ProcessAction(NodeAction):
    name = "process"

    async def execute(self, ctx):
        return NodeOutput.ok({"processed": True})


class DynamicBuilderHook(EventHook):
    async def handle(self, ctx, event):
        if isinstance(event, NodeCompleted) and event.node.action == "process":
            return [AddNode(NodeSpec("follow_up", id="more").with_deps([event.node.node_id]), ctx.dag_name)]
        return []


def test_complete_migration_example(folder: Path, query):
    """The old system and the new one run the same YAML file to the same graph and the same results."""
    (folder / "workflow.yaml").write_text("name: workflow\nnodes:\n  - {id: a, action: process}\n")

    async def run_old():
        registry, ran = noting("follow_up")

        async def old_process_action(executor, node, cache):
            # direct executor access
            executor.add_node("workflow", "more", "follow_up", [node.id])
            cache.insert(node.id, "processed", True)

        async with DagExecutor(None, registry, "sqlite:old.db") as executor:
            # register old-style actions
            register(executor, process=old_process_action)
            executor.load_yaml_file("workflow.yaml")
            cache = Cache()
            await executor.execute_static_dag("workflow", cache)
        return ran, cache

    async def run_new():
        # 1. create action registry
        registry, ran = noting("follow_up")
        registry.register(ProcessAction())
        # 2. create hooks
        hooks = [DynamicBuilderHook()]
        # 3. create coordinator
        coordinator = Coordinator(hooks, 100, 100)
        # 4. create executor
        async with DagExecutor(None, registry, "sqlite:new.db") as executor:
            executor.load_yaml_file("workflow.yaml")
            # 5. run with coordinator
            cache = Cache()
            await coordinator.run_parallel(executor, cache, "workflow", "run_001")
        return ran, cache

    old, new = asyncio.run(run_old()), asyncio.run(run_new())
    assert old == new == (["more"], Cache({"a": {"processed": True}, "more": {"done": True}}))
    sql = "select node_id, action, status, dependencies, added_by from node_runs order by position"
    assert query("old.db", sql) == query("new.db", sql)


def test_how_dynamic_nodes_affect_execution():
    """A supervisor builds the rest of the workflow: each step runs once, after the one before, the validation
    last; the run ends when nothing is left."""
    registry, ran = noting("search", "read", "summarize", "validate_results")

    async def supervisor_step(executor, node, cache):
        # analyze the task
        task = parse_input_from_name(cache, "task", node.inputs, str)
        steps = task.split(", ")
        # build the workflow based on the analysis
        prev_node = node.id
        for i, action in enumerate(steps):
            node_id = f"step_{i}"
            # add a node for this step
            executor.add_node("agent_workflow", node_id, action, [prev_node])
            prev_node = node_id
        # add the final validation node
        executor.add_node("agent_workflow", "final_validation", "validate_results", [prev_node])

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            register(executor, supervisor_step=supervisor_step)
            executor.load_yaml_string(
                """
                name: agent_workflow
                nodes:
                  - {id: plan, action: supervisor_step, inputs: [{name: task, reference: inputs.task}]}
                """
            )
            cache = Cache({"inputs": {"task": "search, read, summarize"}})
            report = await executor.execute_static_dag("agent_workflow", cache)
            tree = await executor.store.load_execution_tree("agent_workflow")
            return report, tree

    report, tree = asyncio.run(main())
    assert ran == ["step_0", "step_1", "step_2", "final_validation"]
    assert (report.status, report.completed_nodes) == ("completed", 5)
    assert list(tree.nodes) == ["plan", *ran]
    assert {row["attempts"] for row in tree.nodes.values()} == {1}


def test_best_practices_for_dynamic_nodes():
    """Adding a node that is there, or after one that is not, raises at once and names the culprit; the action
    can go on, and what was added well is."""
    registry, ran = noting("extra")
    log: list[str] = []

    def add(executor, node_id, deps):
        # safe node addition with error handling
        try:
            executor.add_node("workflow", node_id, "extra", deps)
            log.append(f"Successfully added node: {node_id}")
        except NodeAlreadyExists as error:
            log.append(f"Node {error.node_id} already exists, skipping")
        except DependencyNotFound as error:
            log.append(f"Dependency {error.dependency} not found")

    async def grow(executor, node, cache):
        add(executor, "new", [node.id])
        add(executor, "new", [node.id])
        add(executor, "b", [])
        add(executor, "other", ["missing"])

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            register(executor, grow=grow)
            executor.load_yaml_string(
                "name: workflow\nnodes: [{id: a, action: grow}, {id: b, action: extra, dependencies: [a]}]"
            )
            # the same before the run
            add(executor, "c", ["b"])
            add(executor, "b", ["a"])
            add(executor, "d", ["missing"])
            return await executor.execute_static_dag("workflow", Cache())

    report = asyncio.run(main())
    assert log == [
        "Successfully added node: c",
        "Node b already exists, skipping",
        "Dependency missing not found",
        "Successfully added node: new",
        "Node new already exists, skipping",
        "Node b already exists, skipping",
        "Dependency missing not found",
    ]
    assert sorted(ran) == ["b", "c", "new"]
    assert report.completed_nodes == 4


@pytest.mark.parametrize("condition", [True, False])
def test_conditional_execution(condition, query):
    """An old-style branch enables one path and disables the other: that one runs, the other is skipped, and
    the way taken is the branch's output."""
    registry, ran = noting("step")
    true_path, false_path = ["true_path_node1", "true_path_node2"], ["false_path_node1", "false_path_node2"]

    async def conditional_branch(executor, node, cache):
        condition = parse_input_from_name(cache, "condition", node.inputs, bool)
        if condition:
            # execute one branch
            insert_value(cache, node.id, "branch", "true_branch")
            executor.enable_nodes(true_path)
            executor.disable_nodes(false_path)
        else:
            # execute the other branch
            insert_value(cache, node.id, "branch", "false_branch")
            executor.enable_nodes(false_path)
            executor.disable_nodes(true_path)

    nodes = [
        "  - {id: choose, action: conditional_branch, inputs: [{name: condition, reference: inputs.go}]}",
        *(
            f"  - {{id: {way}_path_node{n}, action: step, dependencies: "
            f"[{'choose' if n == 1 else f'{way}_path_node1'}]}}"
            for way in ("true", "false")
            for n in (1, 2)
        ),
    ]

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            register(executor, conditional_branch=conditional_branch)
            executor.load_yaml_string("name: workflow\nnodes:\n" + "\n".join(nodes))
            executor.disable_nodes(true_path)  # the branch enables what was disabled before
            cache = Cache({"inputs": {"go": condition}})
            return await executor.execute_static_dag("workflow", cache), cache

    report, cache = asyncio.run(main())
    taken, left = (true_path, false_path) if condition else (false_path, true_path)
    assert ran == taken
    assert (report.status, report.completed_nodes, report.skipped_nodes) == ("completed", 3, 2)
    assert cache.get("choose", "branch") == ("true_branch" if condition else "false_branch")
    skipped = query(
        "workflows.db", "select node_id from node_runs where status = 'skipped' order by position"
    )
    assert [id for (id,) in skipped] == left


def test_visualization_and_debugging(folder: Path):
    """The graph is Graphviz text that `dot` draws, metrics name the slowest node, and a node tells its state,
    its attempts and its last error."""
    registry, _ = noting("step")

    @registry.action(retries=1, retry_strategy="immediate")
    async def fail():
        raise ValueError("no rows")

    async def main():
        async with DagExecutor(None, registry, DATABASE) as executor:
            executor.load_yaml_string(
                "name: workflow_name\nnodes:\n  - {id: first, action: step}\n"
                "  - {id: node_id, action: fail, dependencies: [first]}\n"
                "  - {id: after, action: step, dependencies: [node_id]}\n"
            )
            planned = await executor.serialize_tree_to_dot("workflow_name")
            await Coordinator().run_parallel(executor, Cache(), "workflow_name", "run_001")
            # generate DOT graph for visualization
            dot_graph = await executor.serialize_tree_to_dot("workflow_name")
            # execution metrics, and one node
            metrics = executor.get_execution_metrics("workflow_name")
            return planned, dot_graph, metrics, executor.get_node_state("workflow_name", "node_id")

    planned, dot_graph, metrics, node_state = asyncio.run(main())
    for dot in (planned, dot_graph):
        assert dot.startswith("digraph")
        assert all(name in dot for name in ("first", "node_id", "after"))
        assert dot.count("->") == 2
    assert "failed" in dot_graph and "failed" not in planned
    (folder / "workflow.dot").write_text(dot_graph)
    assert metrics.avg_node_time >= 0
    assert metrics.slowest_node in ("first", "node_id")
    assert f"Cache hit rate: {metrics.cache_hit_rate * 100.0:.2f}%" == "Cache hit rate: 0.00%"
    assert (metrics.total_nodes, metrics.completed_nodes, metrics.failed_nodes) == (3, 1, 1)
    assert (metrics.skipped_nodes, metrics.retries) == (1, 1)
    assert node_state.status == "failed"
    assert node_state.attempts == 2
    assert node_state.last_error == "ValueError: no rows"
    assert node_state.finished_at >= node_state.started_at
