"""The guide's chapter "Working with Workflows"."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from dagflow_nb import (
    ActionRegistry,
    Cache,
    Coordinator,
    DagExecutor,
    DagNotFound,
    OnFailure,
)

PIPELINE = Path(__file__).parent / "pipeline.yaml"  # the guide's own, unchanged


def actions(*, valid: bool = True) -> ActionRegistry:
    """The actions that the guide's pipeline names; each notes when it runs."""
    registry = ActionRegistry()
    registry.ran = []  # type: ignore[attr-defined]
    together = asyncio.Event()
    waiting: list[str] = []

    async def meet(id: str) -> None:
        waiting.append(id)
        if len(waiting) == 2:
            together.set()
        await together.wait()

    @registry.action
    async def validate_data(ctx, raw_data):
        registry.ran.append(f"{ctx.node_id}#{ctx.attempt}")
        if not valid:
            raise ValueError("no customer has a name")
        return {"valid_data": [row for row in raw_data if row]}

    @registry.action
    async def handle_validation_error(ctx, error, node_id, inputs):
        registry.ran.append(ctx.node_id)
        return {"told": f"{node_id}: {error}", "rows": len(inputs["raw_data"])}

    @registry.action
    async def transform_customer_data(ctx, data):
        registry.ran.append(ctx.node_id)
        return {"transformed": [row.title() for row in data]}

    @registry.action
    async def analyze_type_a(ctx, data):
        await meet(ctx.node_id)  # never returns unless both analyses are under way at once
        return {"analysis_a": len(data)}

    @registry.action
    async def analyze_type_b(ctx, data):
        await meet(ctx.node_id)
        return {"analysis_b": max(data)}

    @registry.action
    async def generate_report(ctx, analysis_a, analysis_b):
        registry.ran.append(ctx.node_id)
        return {"final_report": f"{analysis_a} customers up to {analysis_b}"}

    return registry


def run_pipeline(registry: ActionRegistry, config=None):
    cache = Cache({"inputs": {"customer_data": ["ann", "", "bob"]}})

    async def main():
        async with DagExecutor(config, registry, "sqlite:workflows.db") as executor:
            executor.load_yaml_file(PIPELINE)
            executor.validate("data_processing_pipeline")
            name = "data_processing_pipeline"
            return await asyncio.wait_for(
                Coordinator().run_parallel(executor, cache, name, "run_001"), timeout=30
            )

    return asyncio.run(main()), cache


def test_loading_workflows(folder: Path):
    """Workflows come from files and texts, several into one executor; a folder loads as a whole."""
    (folder / "workflows").mkdir()
    shutil.copy(PIPELINE, folder / "workflows" / "pipeline.yaml")
    for name in ("workflow1", "workflow2"):
        text = f"name: {name}\nnodes:\n  - {{id: a, action: act}}\n"
        (folder / f"{name}.yaml").write_text(text)
        (folder / "workflows" / f"{name}.yaml").write_text(text)
    executor = DagExecutor()
    # from a file
    assert executor.load_yaml_file("workflows/pipeline.yaml").name == "data_processing_pipeline"
    # from a string
    again = executor.load_yaml_string((folder / "workflows" / "pipeline.yaml").read_text())
    assert list(again.nodes) == list(executor.load_yaml_file("workflows/pipeline.yaml").nodes)
    # several
    executor.load_yaml_file("workflow1.yaml")
    executor.load_yaml_file("workflow2.yaml")
    assert executor.list_dags() == ["data_processing_pipeline", "workflow1", "workflow2"]
    other = DagExecutor()
    assert {w.name for w in other.load_yaml_dir("workflows")} == set(executor.list_dags())


def test_yaml_workflow_structure(query):
    """The guide's pipeline loads as it stands, with every setting, and runs: values flow by reference, both
    analyses at once, the report last."""
    executor = DagExecutor()
    nodes = executor.load_yaml_file(PIPELINE).nodes
    first = nodes["validate_input"]
    assert (first.failure, first.on_failure) == ("handle_validation_error", OnFailure.STOP)
    assert (first.timeout, first.try_count, first.outputs) == (300, 2, ("valid_data",))
    assert {id: node.deps for id, node in nodes.items()} == {
        "validate_input": (),
        "transform_data": ("validate_input",),
        "parallel_analysis_a": ("transform_data",),
        "parallel_analysis_b": ("transform_data",),
        "combine_results": ("parallel_analysis_a", "parallel_analysis_b"),
    }
    assert [node.timeout for node in nodes.values()] == [300, 600, 1800, 1800, 900]
    registry = actions()
    report, cache = run_pipeline(registry)
    assert (report.status, report.completed_nodes) == ("completed", 5)
    assert cache.get("validate_input", "valid_data") == ["ann", "bob"]
    assert cache.get("combine_results", "final_report") == "2 customers up to Bob"
    assert registry.ran == ["validate_input#1", "transform_data", "combine_results"]
    assert query("workflows.db", "select count(*) from attempts where status = 'completed'") == [(5,)]


def test_yaml_workflow_structure_on_failure(query):
    """Its first node is tried twice, then the failure handler hears of it, and the run stops."""
    registry = actions(valid=False)
    report, _ = run_pipeline(registry, {"retry_strategy": "immediate"})
    assert registry.ran == ["validate_input#1", "validate_input#2", "validate_input.on_failure"]
    assert (report.status, report.failed_nodes, report.skipped_nodes) == ("failed", 1, 4)
    assert report.node_outcomes["validate_input.on_failure"].outputs == {
        "told": "validate_input: ValueError: no customer has a name",
        "rows": 3,
    }
    reasons = query("workflows.db", "select reason from node_runs where status = 'skipped'")
    assert len(reasons) == 4
    assert all("validate_input" in reason for (reason,) in reasons)


def test_listing_and_filtering_workflows():
    """Workflows are listed, found by tags (all of them by default), and say who wrote them."""
    executor = DagExecutor()
    executor.load_yaml_file(PIPELINE)
    executor.load_yaml_string("name: other\ntags: [production]\nnodes: [{id: a, action: act}]")
    assert executor.list_dags() == ["data_processing_pipeline", "other"]
    assert executor.list_dags_by_tags(["production"]) == ["data_processing_pipeline", "other"]
    assert executor.list_dags_by_tags(["customer_data", "etl"]) == ["data_processing_pipeline"]
    assert executor.list_dags_by_tags(["etl", "missing"]) == []
    assert executor.list_dags_by_tags(["etl", "missing"], match="any") == ["data_processing_pipeline"]
    assert executor.has_dag("data_processing_pipeline")
    assert not executor.has_dag("data_processing")
    metadata = executor.get_dag_metadata("data_processing_pipeline")
    assert (metadata.author, metadata.version) == ("Engineering Team", "1.0.0")
    assert (metadata.signature, metadata.description) == (
        "unique_signature",
        "Process customer data with validation",
    )
    assert metadata.tags == ("production", "customer_data", "etl")
    with pytest.raises(DagNotFound, match="did you mean 'data_processing_pipeline'"):
        executor.get_dag_metadata("data_procesing_pipeline")
