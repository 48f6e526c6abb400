"""The example notebook and real runs in JupyterLab and Notebook 7: what the page shows while they go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FIRST = Path(__file__).parents[2] / "notebooks" / "01_first_pipeline.ipynb"
# keeps, for every node, the states it had in the page, each with the time
WATCH = """() => {
  window.seen = {};
  const look = () => {
    for (const g of document.querySelectorAll(".dagflow-view [data-node][data-state]")) {
      const states = (window.seen[g.dataset.node] ??= []);
      if (states.at(-1)?.[0] !== g.dataset.state) states.push([g.dataset.state, performance.now()]);
    }
  };
  new MutationObserver(look).observe(document.body, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"] });
  look();
}"""
SLOW = """
import asyncio
from dagflow_nb import DagFlow, Workflow
flow = DagFlow(":memory:")
@flow.action
async def step(ctx):
    print("at", ctx.node_id)
    for i in range(4):
        ctx.progress(i / 4)
        await asyncio.sleep(0.1)
    return {"ok": True}
wf = Workflow("slow")
for i in range(160):
    wf.add(step, id=f"n{i}", after=[f"n{i - 4}"] if i >= 4 else [])
flow.add_workflow(wf)
"""


@pytest.mark.parametrize("lab", [True, False], ids=["lab", "nb7"])
def test_the_first_notebook_runs_and_its_graph_changes_while_it_does(shipped, page, lab):
    """Run All: nodes are seen running and then completed in the page before the run has ended."""
    nb = shipped(FIRST, lab=lab)
    nb.wait_idle()
    page.evaluate(WATCH)
    page.get_by_role("menuitem", name="Run", exact=True).first.click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    nb.node("transform_data", "completed").first.wait_for(timeout=60_000)
    page.wait_for_selector(".dagflow-view[data-run-status=failed]", timeout=60_000)
    nb.view.first.scroll_into_view_if_needed()
    nb.shot(f"first-notebook-{'lab' if lab else 'nb7'}")
    seen = page.evaluate("window.seen")
    moved = [id for id, states in seen.items() if {"running", "completed"} <= {state for state, _ in states}]
    assert len(moved) >= 3, seen
    first_done = min(at for states in seen.values() for state, at in states if state == "completed")
    last_start = max(at for states in seen.values() for state, at in states if state == "running")
    assert first_done < last_start, "the graph changed only when everything was over"


def test_a_blocked_cell_obeys_its_buttons(notebook):
    """Pause, Resume and Cancel act on a run that a cell waits for."""
    nb = notebook(SLOW, "flow.run('slow')")
    nb.wait_idle()
    nb.run(0)
    nb.run(1, wait=False)
    nb.view.locator("[data-state=running]").first.wait_for()
    nb.button("Pause run").click()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=paused]")
    nb.node("n159", "pending").wait_for(state="attached")
    nb.shot("paused-by-button")
    nb.button("Resume run").click()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=running]")
    nb.view.locator("[data-state=running]").first.wait_for()
    nb.button("Cancel run").click()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=cancelled]")
    nb.node("n159", "cancelled").wait_for(state="attached")


def test_an_interrupted_cell_leaves_a_run_that_goes_on(notebook):
    """Interrupting the kernel ends the cell with KeyboardInterrupt; `flow.resume()` finishes the run."""
    nb = notebook(SLOW, "flow.run('slow')", "print(flow.resume(view=False).status)")
    nb.wait_idle()
    nb.run(0)
    nb.run(1, wait=False)
    nb.view.locator("[data-state=running]").first.wait_for()
    kernel = next(s["kernel"]["id"] for s in server_sessions(nb) if s["path"] == nb.name)
    nb.server.ask(f"/api/kernels/{kernel}/interrupt", "POST")
    nb.page.locator(".jp-CodeCell").nth(1).get_by_text("KeyboardInterrupt").first.wait_for()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=interrupted]")
    nb.run(2)
    assert "completed" in nb.text(2)


def server_sessions(nb):
    return nb.server.ask("/api/sessions")


def test_the_saved_notebook_shows_the_graph_without_a_kernel(notebook):
    """After save, and reload with no kernel, the cell holds the picture of the ended run."""
    nb = notebook(SLOW.replace("range(160)", "range(6)"), "run = flow.run('slow')")
    nb.wait_idle()
    nb.run(0)
    nb.run(1)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=completed]")
    saved = nb.save()
    assert "dagflow-static" in json.dumps(saved["cells"][1]["outputs"])
    nb.server.stop_kernels()
    nb.open_lab()
    picture = nb.page.locator(".dagflow-static img").first
    picture.wait_for()
    assert picture.evaluate("e => e.complete && e.naturalWidth > 100")
    nb.shot("saved-without-kernel")


def test_prints_stay_in_the_cell_that_started_the_run(notebook):
    """What actions print appears below the cell that called `flow.run`, not below a later one."""
    nb = notebook(
        SLOW.replace("range(160)", "range(8)"), "run = flow.start('slow')", "print('later'); run.wait()"
    )
    nb.wait_idle()
    nb.run(0)
    nb.run(1)
    nb.run(2)
    assert "at n7" in nb.text(1)
    assert "at n7" not in nb.text(2)
