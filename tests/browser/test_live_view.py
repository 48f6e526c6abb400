"""The live view in JupyterLab and Notebook 7, driven by snapshots made by hand."""

from __future__ import annotations

import pytest

PIPELINE = """
stage = Stage(
    NodeView(id="fetch", action="fetch_data"),
    NodeView(id="clean", action="clean_rows", deps=("fetch",), max_attempts=3),
    NodeView(id="validate", action="validate", deps=("fetch",), description="Checks every row."),
    NodeView(id="report", action="write_report", deps=("clean", "validate")),
)
stage.show()
"""


@pytest.mark.parametrize("lab", [True, False], ids=["lab", "nb7"])
def test_states_change_in_the_page(notebook, lab):
    """Nodes, counts and the run's status follow the run while the page stays as it is."""
    nb = notebook(
        PIPELINE,
        "stage.set('fetch', 'running')",
        "stage.set('fetch', 'completed'); stage.set('clean', 'running', progress=0.4, message='row 40'); "
        "stage.set('validate', 'failed', started_at=1.0, finished_at=13.3, attempt=1, error='no')",
        "stage.set('clean', 'completed'); stage.set('report', 'skipped', reason='validate failed'); "
        "stage.take(error='validate gave up'); stage.finish('failed')",
        lab=lab,
    )
    nb.run(0)
    nb.node("report", "pending").wait_for()
    assert nb.view.get_attribute("data-run-status") == "running"
    nb.run(1)
    nb.node("fetch", "running").wait_for()
    nb.run(2)
    nb.node("fetch", "completed").wait_for()
    nb.node("clean", "running").wait_for()
    nb.node("validate", "failed").wait_for()
    nb.view.get_by_text("2 of 4", exact=True).wait_for()
    nb.view.scroll_into_view_if_needed()
    nb.shot(f"states-{'lab' if lab else 'nb7'}")
    nb.run(3)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=failed]")
    nb.node("report", "skipped").wait_for()
    nb.view.get_by_text("validate gave up").wait_for()
    assert nb.node("validate").get_attribute("aria-label") == "validate, failed"
    assert nb.button("Cancel run").is_disabled()
    assert not nb.page.locator(".dagflow-static").first.is_visible()


def test_buttons_call_the_controls(notebook):
    """Each button calls its control, is disabled where it makes no sense, and shows what a control raises."""
    nb = notebook(
        PIPELINE,
        "stage.run_is('paused')",
        "print(stage.calls)",
        "stage.refuse = 'not now'; stage.run_is('running')",
        "stage.refuse = None; stage.set('clean', 'failed', attempt=1, error='boom')",
        "print(stage.calls[3:])",
    )
    nb.run(0)
    nb.node("fetch").wait_for()
    assert nb.button("Resume run").is_disabled()
    nb.button("Pause run").click()
    nb.view.locator("[aria-label='Pause run']:not([aria-busy])").wait_for()
    nb.run(1)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=paused]")
    assert nb.button("Pause run").is_disabled()
    nb.button("Resume run").click()
    nb.view.locator("[aria-label='Resume run']:not([aria-busy])").wait_for()
    nb.button("Cancel run").click()
    nb.view.locator("[aria-label='Cancel run']:not([aria-busy])").wait_for()
    nb.run(2)
    assert "[('pause', None), ('resume', None), ('cancel', None)]" in nb.text(2)
    nb.run(3)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=running]")
    nb.button("Pause run").click()
    nb.view.get_by_text("ValueError: not now").wait_for()
    nb.run(4)
    nb.node("clean", "failed").click()
    assert nb.button("Retry node").is_enabled()
    nb.button("Retry node").click()
    nb.view.locator("[aria-label='Retry node']:not([aria-busy])").wait_for()
    nb.node("fetch").click()
    nb.page.wait_for_selector(".dagflow-details[data-node=fetch]")
    assert nb.button("Retry node").count() == 0
    nb.run(5)
    assert "('retry', 'clean')" in nb.text(5)


def test_buttons_act_while_a_cell_blocks(notebook):
    """With kernel subshells a click reaches the run while the cell that started it is still busy."""
    nb = notebook(
        PIPELINE,
        "stage.set('fetch', 'running')\nprint('paused' if stage.called.wait(30) else 'no click came')",
    )
    nb.run(0)
    nb.node("fetch").wait_for()
    nb.run(1, wait=False)
    nb.node("fetch", "running").wait_for()
    nb.button("Pause run").click()
    nb.page.locator(".jp-RenderedText", has_text="paused").wait_for()


def test_a_kernel_that_does_not_answer_is_explained(notebook):
    """Where a click gets no answer (an older kernel, busy with a cell) the view says why, and what helps."""
    nb = notebook("LiveView._on_message = lambda self, message: None\n" + PIPELINE)
    nb.run(0)
    nb.button("Pause run").click()
    nb.view.get_by_text("flow.start(...)").wait_for()


def test_details_show_what_is_known_of_a_node(notebook):
    """Clicking a node opens its details, which follow its state; links lead to its neighbours."""
    nb = notebook(
        PIPELINE,
        "stage.set('fetch', 'completed', started_at=100.0, finished_at=100.5, attempt=1)\n"
        "stage.set('validate', 'failed', attempt=1, error='ValueError: row 3', reason='it raised')\n"
        "stage.view.log('validate', 'checking\\nrow 3 is bad', 'stderr'); stage.view.log('fetch', 'hello')",
    )
    nb.run(0)
    nb.node("validate").click()
    details = nb.view.locator(".dagflow-details[data-node=validate]")
    details.get_by_text("Checks every row.").wait_for()
    nb.run(1)
    details.get_by_text("ValueError: row 3").wait_for()
    details.get_by_text("row 3 is bad").wait_for()
    details.locator(".df-values", has_text="'a < b'").wait_for()
    details.locator(".df-values dd", has_text="failed").wait_for()
    assert details.get_by_text("hello").count() == 0
    nb.view.scroll_into_view_if_needed()
    nb.shot("details")
    details.get_by_role("button", name="fetch", exact=True).click()
    other = nb.view.locator(".dagflow-details[data-node=fetch]")
    assert "0.5 s" in other.inner_text()
    nb.node("fetch").focus()
    nb.page.keyboard.press("ArrowRight")
    nb.page.keyboard.press("Enter")
    nb.view.locator(".dagflow-details[data-node=clean], .dagflow-details[data-node=validate]").wait_for()
    nb.page.keyboard.press("Escape")
    nb.view.locator(".dagflow-details").wait_for(state="hidden")


def test_tabs_show_the_same_run(notebook):
    """Timeline, table and logs follow the run; tabs are reached by clicks and by arrow keys."""
    nb = notebook(
        PIPELINE,
        "stage.set('fetch', 'running')\n"
        "stage.set('fetch', 'retrying', error='OSError: gone')\n"
        "stage.set('fetch', 'running')\n"
        "stage.set('fetch', 'completed')\n"
        "stage.view.log('fetch', 'one\\n\\x1b[31mtwo\\x1b[0m'); stage.view.log('clean', 'three', 'stderr')\n"
        "stage.set('clean', 'running', progress=0.25, message='row 25')",
        "for token in ('To', ' be', ', or', ' not'):\n"
        "    stage.view.log('clean', token, 'token'); stage.view.update(stage.take())",
    )
    nb.run(0)
    nb.node("fetch").wait_for()
    nb.tab("Timeline").click()
    nb.run(1)
    nb.view.locator(".df-lane[data-row=clean]").wait_for()
    assert nb.view.locator(".df-lane[data-row=fetch] .df-span").count() == 2
    assert nb.view.locator(".df-lane[data-row=fetch] .df-span[data-state=failed]").count() == 1
    nb.view.scroll_into_view_if_needed()
    nb.shot("timeline")
    nb.tab("Timeline").focus()
    nb.page.keyboard.press("ArrowRight")
    nb.view.locator("tr[data-row=clean]", has_text="25 % row 25").wait_for()
    assert nb.tab("Table").get_attribute("aria-selected") == "true"
    search = nb.view.get_by_role("searchbox", name="Filter nodes")
    search.click()
    nb.page.keyboard.type("dd")  # JupyterLab's keys for deleting a cell
    nb.view.get_by_text("No node fits.").wait_for()
    assert nb.page.locator(".jp-CodeCell").count() == 3
    search.fill("clean")
    nb.view.locator("tr[data-row=fetch]").wait_for(state="hidden")
    nb.shot("table")
    nb.tab("Logs").click()
    log = nb.view.get_by_role("log")
    log.get_by_text("three").wait_for()
    assert log.inner_text().split() == ["fetch", "one", "fetch", "two", "clean", "three"]
    nb.shot("logs")
    nb.tab("Graph").click()
    assert nb.node("clean").is_visible()
    nb.run(2)
    nb.node("clean").click()
    nb.view.locator(".df-last-lines").get_by_text("To be, or not").wait_for()
    nb.tab("Logs").click()
    assert log.locator(".df-log-line", has_text="To be, or not").count() == 1


def test_a_question_is_answered_with_a_form(notebook):
    """A run that waits shows its question at once; Approve sends the filled-in answers, Reject the branch."""
    nb = notebook(
        PIPELINE,
        """
form = Form(question="Publish the report?", schema={"required": ["reviewer"], "properties": {
    "reviewer": {"type": "string", "title": "Reviewer"},
    "share": {"type": "number", "title": "Share", "default": 0.5, "description": "Of all readers"},
    "copies": {"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "Copies"},
    "urgent": {"type": "boolean", "title": "Urgent"},
    "channel": {"$ref": "#/$defs/Channel"},
}, "$defs": {"Channel": {"enum": ["web", "paper"], "title": "Channel"}}})
stage.set("report", "paused", reason="needs a person")
stage.run_is("paused", waiting=(Waiting("report", "needs a person", form, 1.0),))
""",
        "stage.refuse = 'share: too much'",
        "print(stage.calls)",
        "stage.run_is('running', waiting=())",
    )
    nb.run(0)
    nb.run(1)
    details = nb.view.locator(".dagflow-details[data-node=report]")
    details.get_by_text("Publish the report?").wait_for()
    nb.button("Approve").click()  # refused by the page: a field is required
    details.get_by_label("Reviewer").fill("Ada")
    details.get_by_label("Copies").fill("3")
    details.get_by_label("Urgent").check()
    details.get_by_label("Channel").select_option("paper")
    nb.view.scroll_into_view_if_needed()
    nb.shot("question")
    nb.button("Approve").click()
    nb.view.locator(".df-main:not([aria-busy])").wait_for()
    nb.run(2)
    nb.button("Reject").click()
    nb.view.get_by_text("share: too much").wait_for()
    nb.run(3)
    # the run itself knows the default of what was left as it is
    answers = "{'reviewer': 'Ada', 'copies': 3, 'urgent': True, 'channel': 'paper'}"
    assert f"[('approve', 'report', {answers}), ('reject', 'report')]" in nb.text(3)
    nb.run(4)
    details.get_by_text("Publish the report?").wait_for(state="detached")


def test_a_question_to_the_whole_run_is_shown_without_a_node(notebook):
    """A run that waits as a whole shows its reason and buttons without any node being selected."""
    nb = notebook(
        PIPELINE,
        "stage.run_is('paused', waiting=(Waiting(None, 'max_tokens is used up'),))",
        "print(stage.calls)",
    )
    nb.run(0)
    nb.run(1)
    nb.view.locator(".dagflow-details").get_by_text("max_tokens is used up").wait_for()
    nb.button("Approve").click()
    nb.view.locator(".df-main:not([aria-busy])").wait_for()
    nb.run(2)
    assert "[('approve', None, {})]" in nb.text(2)


HOSTILE = """
bad = '<img src=x onerror="window.hacked=1">"];evil[label="\\\\'
script = "</text><script>window.hacked=1</script>"
stage = Stage(
    NodeView(id=bad, action=script, description=script, tags=(script,)),
    NodeView(id="a:b", action="x<y>&z", deps=(bad,)),
    NodeView(id="constructor", action="__proto__", deps=(bad,)),
    name=script, run_id=bad,
)
stage.show()
"""


def test_hostile_texts_are_only_texts(notebook):
    """Ids, names, errors, logs and questions full of markup appear as they are, and do nothing."""
    nb = notebook(
        HOSTILE,
        "stage.set(bad, 'failed', error=script, reason=script, message=bad)\n"
        "stage.view.log(bad, script)\n"
        "form = Form(question=script, schema={'properties': {bad: {'type': 'string', 'title': script}}})\n"
        "stage.run_is('paused', waiting=(Waiting('a:b', script, form, 1.0),))",
        "stage.finish('failed')",
    )
    nb.run(0)
    nb.node("a:b", "pending").wait_for()
    nb.run(1)
    nb.view.locator(".node[data-state=failed]").wait_for()
    nb.view.locator(".dagflow-details").get_by_text(
        "</text><script>window.hacked=1</script>"
    ).first.wait_for()
    nb.view.locator(".node[data-state=failed]").click()
    for name in ("Timeline", "Table", "Logs"):
        nb.tab(name).click()
    nb.run(2)
    assert nb.page.evaluate("window.hacked") is None
    assert nb.view.locator("script, img").count() == 0
    assert nb.view.locator(".node").count() == 3


def test_new_nodes_appear_in_the_graph(notebook):
    """Nodes that a run adds are drawn, and what was there keeps its state."""
    nb = notebook(
        PIPELINE,
        "stage.set('fetch', 'completed')\n"
        "stage.add(NodeView(id='refetch', action='fetch_data', deps=('validate',), added_by='validate'),\n"
        "          NodeView(id='tiles', action='tile', kind='map', deps=('fetch',)),\n"
        "          *[NodeView(id=f'tiles/{i}', action='tile', parent='tiles') for i in range(3)])",
        "stage.add(*[NodeView(id=f'tiles/{i}', action='tile', parent='tiles', status='completed') "
        "for i in range(3, 60)])",
        "stage.set('tiles/0', 'completed')",
    )
    nb.run(0)
    nb.node("fetch").wait_for()
    nb.run(1)
    nb.node("refetch", "pending").wait_for()
    nb.node("tiles/2").wait_for()
    assert nb.node("fetch", "completed").count() == 1
    assert nb.view.locator(".edge.grown").count() == 1
    nb.view.scroll_into_view_if_needed()
    nb.shot("grown")
    nb.run(2)
    nb.node("tiles").locator(".time", has_text="57/60").wait_for()
    assert nb.node("tiles/2").count() == 0
    nb.run(3)
    nb.node("tiles").locator(".time", has_text="58/60").wait_for()
    nb.node("tiles").click()
    nb.view.locator(".df-items tr").nth(59).wait_for(state="attached")
    nb.view.scroll_into_view_if_needed()
    nb.shot("map")


APART = """() => [...document.querySelectorAll('.dagflow-view .node')].flatMap((g) => {
  const box = g.querySelector('.shape').getBoundingClientRect();
  const texts = [...g.querySelectorAll('text')].filter((t) => t.textContent);
  const at = texts.map((t) => t.getBoundingClientRect());
  const across = (a, b) => a.left < b.right && b.left < a.right
    && a.top < b.bottom - 3 && b.top < a.bottom - 3;
  return texts.filter((t, i) => at[i].right > box.right
    || at.some((other, j) => i < j && across(at[i], other)))
    .map((t) => `${g.dataset.node}: ${t.textContent}`);
})"""


def test_texts_stay_in_their_boxes_and_off_each_other(notebook):
    """A long id fits into its box; the name of a state gives way to tokens and times beside it."""
    nb = notebook(
        """
import time
start = time.time()
stage = Stage(
    NodeView(id="agent", action="agent"),
    NodeView(id="an extremely long id that nobody wants to read, with a MIXED @END", action="agent_of_all"),
    NodeView(id="quick", action="quick"),
)
stage.show()
""",
        "for id in list(stage.nodes): stage.set(id, 'running', started_at=start - 75)",
        "for id in list(stage.nodes):\n"
        "    stage.set(id, 'completed', attempt=3 - len(id) % 2, tokens=0 if id == 'quick' else 120,\n"
        "              started_at=start - (0.01 if id == 'quick' else 75), finished_at=start)",
        "stage.add(NodeView(id='next', action='agent', deps=('agent',)))",
    )
    nb.run(0)
    nb.node("agent", "pending").wait_for()
    assert nb.page.evaluate(APART) == []
    nb.run(1)
    nb.node("agent", "running").wait_for()
    nb.node("agent").locator(".time", has_text="01:1").wait_for()
    assert nb.page.evaluate(APART) == []
    nb.run(2)
    nb.node("agent").locator(".time", has_text="120 tok").wait_for()
    assert nb.page.evaluate(APART) == []
    assert nb.node("agent").locator(".state").text_content() == ""
    assert nb.node("quick").locator(".state").text_content() == "completed"
    nb.view.scroll_into_view_if_needed()
    nb.shot("texts")
    nb.run(3)  # laid out anew, by the kernel, with all there is to tell
    nb.node("next").wait_for()
    assert nb.page.evaluate(APART) == []


def test_a_thousand_nodes_stay_smooth(notebook):
    """While states of 1,000 nodes change ten times a second the page is hardly ever busy for long."""
    nb = notebook(
        """
import time
from dataclasses import replace
wide = 25
stage = Stage(*[NodeView(id=f"n{i}", action="work",
                         deps=tuple(f"n{j}" for j in (i - wide, i - wide + 1) if 0 <= j < i - i % wide))
                for i in range(1000)])
def change(ids, **changes):
    for i in ids:
        stage.nodes[f"n{i}"] = replace(stage.nodes[f"n{i}"], **changes)
stage.show()
""",
        """
for step in range(40):
    change(range(wide * step, wide * step + wide), status="running", started_at=time.time(), attempt=1)
    if step:
        change(range(wide * step - wide, wide * step), status="completed", finished_at=time.time())
    stage.view.update(stage.take())
    time.sleep(0.1)
""",
    )
    nb.run(0)
    nb.view.locator(".node").nth(39).wait_for()
    assert nb.view.locator(".node").count() == 40  # by itself the graph shows a box for each layer
    nb.view.get_by_role("combobox", name="Collapse").select_option("nothing")
    nb.node("n999").wait_for(timeout=40_000)
    nb.run(1, wait=False)
    nb.node("n100", "completed").wait_for()  # what starting a cell costs the front end is over by now
    nb.page.evaluate(
        "() => { window.tasks = []; new PerformanceObserver(list => list.getEntries().forEach("
        "entry => window.tasks.push(Math.round(entry.duration)))).observe({entryTypes: ['longtask']}); }"
    )
    nb.node("n974", "completed").wait_for()
    tasks = nb.page.evaluate("window.tasks")
    nb.view.scroll_into_view_if_needed()
    nb.shot("thousand")
    over = [task for task in tasks if task > 100]
    assert len(over) <= 4, f"tasks of more than 50 ms, of some 35 patches: {tasks}"
