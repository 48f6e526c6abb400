"""The guide's chapter "Pause and Resume"."""

from __future__ import annotations

import asyncio
import json

import pytest

from dagflow_nb import (
    ActionRegistry,
    Cache,
    CancelToken,
    Coordinator,
    DagExecutor,
    EventHook,
    InvalidState,
    NodeAction,
    NodeCompleted,
    NodeOutput,
    PauseBranch,
    ValidationError,
    insert_value,
)

WORKFLOW = """
name: reviewed
nodes:
  - {id: draft, action: write}
  - {id: unrelated, action: publish, inputs: [{name: text, value: news}]}
  - {id: publish, action: publish, inputs: [{name: text, reference: draft.text}]}
"""


class HumanInterventionHook(EventHook):
    def __init__(self, form=None) -> None:
        self.intervention_required = False
        self.form = form

    async def handle(self, ctx, event):
        # check if human review is needed
        if isinstance(event, NodeCompleted) and event.outcome.outputs.get("needs_review") is True:
            self.intervention_required = True
            # pause the branch
            return [PauseBranch(event.node.node_id, "Human review required", self.form)]
        return []


class ResumeAction(NodeAction):
    name = "resume_after_review"

    async def execute(self, ctx):
        # process human input
        approval = bool(ctx.inputs.get("approval", False))
        if approval:
            return NodeOutput.ok({"action": "resume", "branch": ctx.inputs["branch_id"]})
        return NodeOutput.ok({"action": "cancel", "reason": "Not approved"})


def registry(published: list[str]) -> ActionRegistry:
    found = ActionRegistry()

    @found.action
    async def write():
        return {"text": "draft", "needs_review": True}

    @found.action
    async def publish(ctx, text, human_input=None):
        published.append(ctx.node_id)
        return {"text": text, "human_input": human_input}

    found.register(ResumeAction())
    return found


def test_implementing_pauseable_workflows_with_hooks(query):
    """A hook that sees that a review is needed pauses the branch: what comes after it waits, the rest goes
    on, the run is left paused with the reason; an action can turn a person's answer into a decision."""
    published: list[str] = []
    hook = HumanInterventionHook()

    async def main():
        async with DagExecutor(None, registry(published), "sqlite:workflows.db") as executor:
            executor.load_yaml_string(WORKFLOW)
            report = await Coordinator([hook]).run_parallel(executor, Cache(), "reviewed", "run_001")
            assert executor.is_paused()
            assert executor.get_node_state("reviewed", "publish").status == "paused"
            executor.load_yaml_string(
                """
                name: decide
                nodes:
                  - id: decision
                    action: resume_after_review
                    inputs:
                      - {name: approval, reference: inputs.approval}
                      - {name: branch_id, reference: inputs.branch}
                """
            )
            decisions = []
            for approval in (True, False):
                cache = Cache({"inputs": {"approval": approval, "branch": "draft"}})
                await executor.execute_static_dag("decide", cache)
                decisions.append(cache.as_dict()["decision"])
            return report, decisions

    report, decisions = asyncio.run(main())
    assert hook.intervention_required
    assert (report.status, report.completed_nodes, published) == ("paused", 2, ["unrelated"])
    assert decisions == [
        {"action": "resume", "branch": "draft"},
        {"action": "cancel", "reason": "Not approved"},
    ]
    assert query("workflows.db", "select status from runs where run_id = 'run_001'") == [("paused",)]
    ((data,),) = query("workflows.db", "select data from events where kind = 'BranchPaused'")
    assert json.loads(data)["reason"] == "Human review required"
    state = query("workflows.db", "select state from execution_state where run_id = 'run_001'")
    assert state == [("active",)]


def test_resume_from_pause(query):
    """A paused run goes on with what a person put into the cache: it is checked by the form, reaches the
    nodes that waited, and is stored; what had finished does not run again."""
    published: list[str] = []
    schema = {
        "type": "object",
        "properties": {"approval": {"type": "string", "enum": ["approved", "declined"]}},
        "required": ["approval"],
    }

    async def main():
        async with DagExecutor(None, registry(published), "sqlite:workflows.db") as executor:
            executor.load_yaml_string(WORKFLOW)
            cache = Cache()
            hooks = [HumanInterventionHook(schema)]
            await Coordinator(hooks).run_parallel(executor, cache, "reviewed", "run_001")
            # check if the workflow is paused
            assert executor.is_paused()
            # update the cache with human input: first one that does not fit
            insert_value(cache, "human_input", "approval", "perhaps")
            with pytest.raises(ValidationError, match="approval"):
                await executor.resume_from_pause(cache)
            assert executor.is_paused()
            insert_value(cache, "human_input", "approval", "approved")
            # resume execution
            report = await executor.resume_from_pause(cache, CancelToken())
            assert not executor.is_paused()
            with pytest.raises(InvalidState, match="not paused"):
                await executor.resume_from_pause(cache)
            return report, cache

    report, cache = asyncio.run(main())
    assert (report.run_id, report.status, report.completed_nodes) == ("run_001", "completed", 3)
    assert published == ["unrelated", "publish"]
    assert cache.get("publish", "human_input") == {"approval": "approved"}
    sql = "select value from artifacts where namespace = 'human_input' and key = 'approval'"
    assert query("workflows.db", sql) == [(b'"approved"',)]


def test_resume_from_pause_in_another_process():
    """Nobody owns a paused run: an executor made later on the same file finds it paused and goes on with
    it."""
    published: list[str] = []

    async def first():
        async with DagExecutor(None, registry(published), "sqlite:workflows.db") as executor:
            executor.load_yaml_string(WORKFLOW)
            await Coordinator([HumanInterventionHook()]).run_parallel(
                executor, Cache(), "reviewed", "run_001"
            )

    async def later():
        executor = DagExecutor(None, registry(published), "sqlite:workflows.db")
        assert executor.is_paused()
        cache = await executor.load_cache_snapshot("reviewed")
        insert_value(cache, "human_input", "approval", "approved")
        report = await executor.resume_from_pause(cache)
        await executor.close()
        return report, cache

    asyncio.run(first())
    report, cache = asyncio.run(later())
    assert (report.status, published) == ("completed", ["unrelated", "publish"])
    assert cache.get("publish", "human_input") == {"approval": "approved"}
    assert cache.get("draft", "text") == "draft"


def test_checkpoint_and_recovery(query):
    """A snapshot says where a run stands; an executor recovered from it has the graph, grown nodes too, and
    goes on from there without the workflow being loaded."""
    published: list[str] = []

    async def main():
        found = registry(published)
        async with DagExecutor(None, found, "sqlite:workflows.db") as executor:
            executor.load_yaml_string(WORKFLOW)
            await Coordinator([HumanInterventionHook()]).run_parallel(
                executor, Cache(), "reviewed", "run_001"
            )
            # save execution state
            await executor.save_execution_snapshot("reviewed")
        # recover from checkpoint
        executor = await DagExecutor.recover_from_snapshot("reviewed", found, "sqlite:workflows.db")
        try:
            assert executor.has_dag("reviewed")
            # continue execution from last checkpoint
            cache = Cache()
            return await executor.resume_execution(cache), cache
        finally:
            await executor.close()

    report, cache = asyncio.run(main())
    assert (report.run_id, report.status, report.completed_nodes) == ("run_001", "completed", 3)
    assert published == ["unrelated", "publish"]
    assert cache.get("publish", "text") == "draft"
    assert cache.get("draft", "text") == "draft"
    ((kind, data),) = query("workflows.db", "select kind, data from snapshots")
    assert kind == "execution"
    assert json.loads(data)["nodes"] == {"draft": "completed", "unrelated": "completed", "publish": "paused"}
    assert query("workflows.db", "select status from runs") == [("completed",)]
