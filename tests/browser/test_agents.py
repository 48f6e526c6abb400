"""A planner's gate in JupyterLab: a plan is shown, changed and approved in the details of its node."""

from __future__ import annotations

GATE = """
from dagflow_nb import DagFlow, Workflow

flow = DagFlow("sqlite:agents.db")

@flow.tool
def double(n: int) -> int:
    return 2 * n

@flow.action
def think(history=()):
    if history:
        return {"answer": history[-1]["outputs"]}
    return {"steps": [{"action": "double", "inputs": {"n": 4}}]}

flow.planner(think, gate=True)
agent = Workflow("agent")
agent.add(think)
"""


def test_a_plan_is_changed_and_approved(notebook):
    """The planner's node has the plan in its details: a wrong one is refused there, a good one runs."""
    nb = notebook(GATE, "run = flow.run(agent)", "print(run.wait().status, run.result)")
    nb.run(0)
    nb.run(1)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=paused]")
    details = nb.view.locator(".dagflow-details[data-node=think]")
    details.get_by_text("Add 1 step? double").first.wait_for()
    field = details.get_by_label("plan")
    assert '"n": 4' in field.input_value()
    assert nb.button("Resume run").is_disabled()  # who resumes the run as a whole opens no gate
    assert nb.button("Resume run").get_attribute("title") == "Approve or reject what is asked: think"
    nb.view.scroll_into_view_if_needed()
    nb.shot("agents-asked")

    field.fill('{"steps": [{"action": "duoble", "inputs": {"n": 5}}]}')
    nb.button("Approve").click()
    details.get_by_text("did you mean 'double'?").wait_for()
    nb.shot("agents-refused")
    field.fill('{"steps": [{"action": "double", "inputs": {"n": 5}}]}')
    nb.button("Approve").click()

    nb.page.wait_for_selector(".dagflow-view[data-run-status=completed]")
    for node in ("think", "double", "think_2"):
        nb.node(node, "completed").wait_for(state="attached")
    nb.shot("agents-approved")
    nb.run(2)
    assert "completed {'answer': {'result': 10}}" in nb.text(2)
