"""What is left of a run in its notebook: reloaded, without its kernel, converted, executed without a page."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from .conftest import PRELUDE, ROOT

FINISHED = """
stage = Stage(NodeView(id="fetch", action="load"), NodeView(id="clean", action="clean", deps=("fetch",)))
stage.show()
stage.set("fetch", "completed")
stage.set("clean", "failed", error="boom")
stage.finish("failed")
"""


def picture_in(document: dict) -> str:
    """The SVG of the one saved picture in a notebook's outputs."""
    found = [
        "".join(output["data"]["text/html"])
        for cell in document["cells"]
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    pictures = [html for html in found if "<img" in html]
    assert len(pictures) == 1, found
    return base64.b64decode(re.search(r"base64,([^\"]+)\"", pictures[0])[1]).decode()


def test_a_finished_run_survives_reloading(notebook, server):
    """Reloaded with its kernel the live view is back; without a kernel the picture with all colours shows."""
    nb = notebook(FINISHED, "print(stage.view.viewed)")
    nb.run(0)
    nb.node("clean", "failed").wait_for()
    nb.page.locator(".dagflow-static img").wait_for(state="attached")
    assert not nb.page.locator(".dagflow-static img").is_visible()  # the live view stands for it
    nb.run(1)
    assert "True" in nb.text(1)
    svg = picture_in(nb.save())
    assert 'data-node="clean" data-state="failed"' in svg

    nb.open_lab()
    nb.node("clean", "failed").wait_for()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=failed]")
    assert not nb.page.locator(".dagflow-static img").is_visible()

    server.stop_kernels()
    nb.open_lab()
    nb.page.locator(".dagflow-static img").wait_for()
    assert nb.view.count() == 0
    loading = nb.page.get_by_text("Loading widget")
    loading.wait_for(state="attached")
    assert not loading.is_visible()
    nb.shot("saved-lab")
    nb.open_nb7()
    nb.page.locator(".dagflow-static img").wait_for()
    assert not loading.is_visible()
    nb.shot("saved-nb7")


def test_a_run_that_goes_on_survives_reloading(notebook):
    """A page that is loaded in the middle of a run shows its present state, and follows it from there."""
    nb = notebook(
        "stage = Stage(NodeView(id='a', action='f'), NodeView(id='b', action='f'))\nstage.show()",
        "stage.set('a', 'completed'); stage.view.log('a', 'line one')",
        "stage.set('b', 'running')",
    )
    nb.run(0)
    nb.node("a").wait_for()
    nb.run(1)
    nb.node("a", "completed").wait_for()
    nb.save()
    nb.open_lab()
    nb.node("a", "completed").wait_for()
    nb.tab("Logs").click()
    nb.view.get_by_text("line one").wait_for()
    nb.tab("Graph").click()
    nb.wait_idle()
    nb.run(2)
    nb.node("b", "running").wait_for()


def test_a_second_view_starts_from_the_present(notebook):
    """The same view displayed once more shows what the first one shows, and both follow."""
    nb = notebook(
        "stage = Stage(NodeView(id='a', action='f'), NodeView(id='b', action='f'))\nstage.show()",
        "stage.set('a', 'completed')\nstage.show()",
        "stage.set('b', 'running')",
    )
    nb.run(0)
    nb.node("a").wait_for()
    nb.run(1)
    nb.view.nth(1).locator("[data-node=a][data-state=completed]").wait_for()
    nb.run(2)
    for number in (0, 1):
        nb.view.nth(number).locator("[data-node=b][data-state=running]").wait_for()


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook that was executed without any page, as a document and as a file."""
    from nbclient import NotebookClient

    asks = "print(sorted({'anywidget', 'ipywidgets'} & set(sys.modules)), stage.view._worker)"
    made = new_notebook(cells=[new_code_cell(PRELUDE + FINISHED), new_code_cell(asks)])
    path = tmp_path_factory.mktemp("headless") / "run.ipynb"
    hidden = ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    client = NotebookClient(made, timeout=60, store_widget_state=True)
    client.execute(env={**environment, "PYTHONPATH": str(ROOT)})
    nbformat.write(made, path)
    return json.loads(path.read_text()), path


def test_a_headless_run_leaves_the_picture_alone(executed):
    """Executed without a page, a notebook holds the picture and no widget that nothing could show."""
    document, _ = executed
    assert 'data-state="failed"' in picture_in(document)
    kinds = {kind for output in document["cells"][0]["outputs"] for kind in output["data"]}
    assert kinds == {"text/plain", "text/html"}
    assert document["cells"][1]["outputs"][0]["text"] == ["[] None\n"]  # no widget was even imported
    assert "Workflow pipeline, run run-1: failed" in json.dumps(document)


def test_an_exported_page_shows_the_picture(executed, context, screenshots):
    """The HTML that nbconvert makes of it shows the picture, without any network."""
    _, path = executed
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--log-level=ERROR", str(path)]
    subprocess.run(command, check=True, timeout=120)
    page = context.new_page()  # nbconvert's own page asks for scripts from elsewhere, in vain
    page.goto(path.with_suffix(".html").as_uri())
    picture = page.locator(".dagflow-static img")
    picture.wait_for()
    assert picture.evaluate("e => e.naturalWidth") > 100
    assert "1 failed" in picture.get_attribute("alt")
    page.screenshot(path=str(screenshots / "exported.png"))
    page.close()
