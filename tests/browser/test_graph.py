"""The graph of big runs in the page: folded, opened, searched, and light and dark."""

from __future__ import annotations

BIG = """
import time
from dataclasses import replace
nodes = [NodeView(id="fetch", action="fetch", status="completed", attempt=1, started_at=1.0, finished_at=3.4)]
nodes += [NodeView(id="tiles", action="tile", kind="map", deps=("fetch",), status="running", started_at=3.4)]
states = ["completed"] * 700 + ["failed"] * 3 + ["running"] * 16 + ["pending"] * 281
nodes += [NodeView(id=f"tiles/{i}", action="tile", parent="tiles", status=s) for i, s in enumerate(states)]
states = ["completed"] * 420 + ["pending"] * 80
nodes += [NodeView(id=f"clean-{i}", action="clean", deps=("fetch",), status=s) for i, s in enumerate(states)]
states = ["running"] * 9 + ["pending"] * 486
nodes += [NodeView(id=f"fit-{i}", action="fit_model", deps=(f"clean-{i}",), status=s)
          for i, s in enumerate(states)]
nodes += [NodeView(id="merge", action="merge", deps=("tiles",)),
          NodeView(id="report", action="write_report", deps=("merge", *(f"fit-{i}" for i in range(495))))]
stage = Stage(*nodes, name="satellite")
stage.show()
"""


def test_a_big_graph_folds_opens_and_is_searched(notebook):
    """2,000 nodes are a handful of boxes with counts; a click opens one, a search opens what hides a node."""
    nb = notebook(
        BIG,
        "for i in range(420, 430):\n"
        "    stage.nodes[f'clean-{i}'] = replace(stage.nodes[f'clean-{i}'], status='failed')\n"
        "stage.view.update(stage.take())",
    )
    nb.page.emulate_media(reduced_motion="reduce")  # what glides can be missed by a click
    nb.run(0)
    nb.node("report").wait_for()
    assert nb.view.locator(".node").count() == 6
    clean = nb.view.locator(".node", has=nb.page.get_by_text("clean", exact=True))
    assert clean.get_attribute("data-state") == "pending"
    clean.locator(".time", has_text="420/500").wait_for()
    nb.run(1)
    clean.locator(".count[data-state=failed]", has_text="10").wait_for()
    clean.locator(".time", has_text="430/500").wait_for()
    assert clean.get_attribute("data-state") == "failed"
    nb.view.scroll_into_view_if_needed()
    nb.shot("folded-light")

    nb.node("tiles").locator(".sign").click()
    nb.view.get_by_text("700 … 799", exact=True).click()
    nb.node("tiles/701", "failed").wait_for()
    assert nb.node("tiles/650").count() == 0
    nb.node("tiles").locator("> .sign").click()
    nb.node("tiles/701").wait_for(state="detached")

    find = nb.view.get_by_role("searchbox", name="Find a node")
    find.fill("clean-42")
    nb.view.get_by_text("11 found").wait_for()
    find.press("Enter")
    find.press("Enter")
    nb.node("clean-420", "failed").wait_for()
    nb.page.wait_for_selector(".dagflow-details[data-node=clean-420]")
    nb.shot("found")

    nb.view.get_by_role("combobox", name="Collapse").select_option("actions")
    nb.node("clean-420").wait_for(state="detached")
    lift = "getComputedStyle(document.querySelector('.dagflow-view')).getPropertyValue('--df-lift')"
    assert nb.page.evaluate(lift) == "0%"
    nb.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    assert nb.page.evaluate(lift) == "42%"
