"""Graphs as they are in science: hundreds of nodes, each run once and after all that it depends on.

`DAGFLOW_WFINSTANCES` may name a folder of recorded workflows in WfCommons' JSON format (wfcommons.org);
without it graphs of the same shapes are made here.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow, NodeExecutionError, Workflow

FOLDER = os.environ.get("DAGFLOW_WFINSTANCES")
FILES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
Graph = dict[str, list[str]]  # task -> its parents


def read_wfcommons(path: Path) -> Graph:
    """The tasks of a recorded workflow with their parents, in the file's order."""
    workflow = json.loads(path.read_text())["workflow"]
    tasks = workflow.get("specification", workflow)["tasks"]
    key = "id" if all("id" in task for task in tasks) else "name"
    return {task[key]: list(task.get("parents", ())) for task in tasks}


def montage(width: int) -> Graph:
    """Mosaics of the sky: project each image, difference each pair that overlaps, fit, correct, add."""
    graph: Graph = {f"mProject_{i}": [] for i in range(width)}
    pairs = [(i, j) for i in range(width) for j in range(i + 1, min(i + 4, width))]
    for i, j in pairs:
        graph[f"mDiffFit_{i}_{j}"] = [f"mProject_{i}", f"mProject_{j}"]
    graph["mConcatFit"] = [f"mDiffFit_{i}_{j}" for i, j in pairs]
    graph["mBgModel"] = ["mConcatFit"]
    for i in range(width):
        graph[f"mBackground_{i}"] = [f"mProject_{i}", "mBgModel"]
    graph["mImgtbl"] = [f"mBackground_{i}" for i in range(width)]
    graph["mAdd"] = ["mImgtbl", *graph["mImgtbl"]]
    graph["mViewer"] = ["mAdd"]
    return graph


def blast(width: int) -> Graph:
    """Split, search each part, join twice."""
    graph: Graph = {"split": []}
    parts = [f"blastall_{i}" for i in range(width)]
    graph.update({part: ["split"] for part in parts})
    return {**graph, "cat_blast": parts, "cat": ["cat_blast", *parts]}


def cycles(width: int, depth: int) -> Graph:
    """Crop simulations: many short chains whose steps are gathered at every level."""
    graph: Graph = {}
    for i in range(width):
        for level in range(depth):
            graph[f"cycles_{i}_{level}"] = [f"cycles_{i}_{level - 1}"] if level else []
            graph[f"parse_{i}_{level}"] = [f"cycles_{i}_{level}"]
    for level in range(depth):
        graph[f"summary_{level}"] = [f"parse_{i}_{level}" for i in range(width)]
    graph["visualize"] = [f"summary_{level}" for level in range(depth)]
    return graph


def shuffled(graph: Mapping[str, list[str]], seed: int) -> Graph:
    """The same graph with parents that may be listed after their children."""
    ids = list(graph)
    random.Random(seed).shuffle(ids)
    return {id: graph[id] for id in ids}


MADE = {
    "montage-310": montage(60),
    "montage-1000, in any order": shuffled(montage(200), 1),
    "blast-203": blast(200),
    "blast-1703, in any order": shuffled(blast(1700), 2),
    "cycles-491, in any order": shuffled(cycles(30, 8), 3),
    "cycles-1711": cycles(95, 9),
}


def workflow_of(name: str, graph: Graph) -> Workflow:
    """A workflow whose nodes each get how deep their parents lie."""
    workflow = Workflow(name)
    for id, parents in graph.items():
        inputs = {"depths": [workflow_ref(parent) for parent in parents]}
        workflow.add("task", id=id, after=parents, inputs=inputs)
    return workflow


def workflow_ref(id: str) -> Any:
    """A reference to a node that may be added later."""
    from dagflow_nb import ref

    return ref(f"{id}.depth")


def depths(graph: Graph) -> dict[str, int]:
    """How many tasks lie before each one, on the longest way."""
    found: dict[str, int] = {}
    left = {id: len(set(parents)) for id, parents in graph.items()}
    children: dict[str, list[str]] = {id: [] for id in graph}
    for id, parents in graph.items():
        for parent in set(parents):
            children[parent].append(id)
    ready = [id for id, n in left.items() if n == 0]
    while ready:
        id = ready.pop()
        found[id] = 1 + max((found[parent] for parent in graph[id]), default=0)
        for child in children[id]:
            left[child] -= 1
            if left[child] == 0:
                ready.append(child)
    return found


@pytest.mark.parametrize("name", [*MADE, *(path.name for path in FILES)])
def test_each_task_runs_once_after_its_parents(tmp_path: Path, name: str) -> None:
    """Every node runs exactly once, after all that it depends on, and gets their outputs."""
    graph = MADE[name] if name in MADE else read_wfcommons(Path(str(FOLDER)) / name)
    order: list[str] = []
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        async def task(ctx: Any, depths: list[int]) -> dict[str, int]:
            order.append(ctx.node_id)
            return {"depth": 1 + max(depths, default=0)}

        run = flow.run(workflow_of("recorded", graph), view=False)
        assert run.status == "completed" and run.report.completed_nodes == len(graph)
        assert {id: outputs["depth"] for id, outputs in run.outputs.items()} == depths(graph)
    assert Counter(order) == Counter(graph.keys())
    place = {id: i for i, id in enumerate(order)}
    assert all(place[parent] < place[id] for id, parents in graph.items() for parent in parents)


@pytest.mark.parametrize("name", ["montage-310", "cycles-491, in any order"])
def test_a_failure_in_the_middle_is_mended_by_a_retry(tmp_path: Path, name: str) -> None:
    """What has completed does not run again; in the end each task has completed once."""
    graph = MADE[name]
    middle = sorted(graph, key=depths(graph).__getitem__)[len(graph) // 2]
    completed: list[str] = []
    broken = [middle]
    with DagFlow(tmp_path / "x.db", echo=False) as flow:

        @flow.action
        def task(ctx: Any, depths: list[int]) -> dict[str, int]:
            if ctx.node_id in broken:
                raise ValueError("a bad day")
            completed.append(ctx.node_id)
            return {"depth": 1 + max(depths, default=0)}

        with pytest.raises(NodeExecutionError) as caught:
            flow.run(workflow_of("recorded", graph), view=False)
        assert caught.value.node_id == middle and 0 < len(completed) < len(graph)
        broken.clear()
        assert flow.retry(view=False).report.completed_nodes == len(graph)
    assert Counter(completed) == Counter(graph.keys())
