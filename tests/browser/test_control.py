"""People in the loop in JupyterLab: the form of a run that waits, Approve, Reject, and Retry node."""

from __future__ import annotations

REVIEW = """
from pydantic import BaseModel, Field, field_validator
from dagflow_nb import DagFlow, PauseBranch

flow = DagFlow("sqlite:control.db")

class Review(BaseModel):
    \"""Shall the letter go out?\"""
    greeting: str = Field(min_length=3)
    most: int = Field(2, ge=1, le=5, description="how many names at most")
    urgent: bool = False

    @field_validator("greeting")
    @classmethod
    def polite(cls, greeting):
        if greeting.startswith("Hey"):
            raise ValueError("be more polite")
        return greeting

@flow.action
def find() -> list[str]:
    return ["unparse", "main", "walk"]

@flow.on_completed(action="find")
def ask_a_person(node, outputs):
    return PauseBranch(node.node_id, f"{len(outputs['result'])} names were found", Review)

@flow.action
def write(names: list[str], human_input: dict) -> str:
    names = names[: human_input["most"]]
    return f"{human_input['greeting']}, {' and '.join(names)}{'!' if human_input['urgent'] else '.'}"

@flow.action
def send(letter: str) -> int:
    return len(letter)

@flow.workflow
def letters():
    send(write(find()))
"""


def shown_value(nb, node, name):
    """What the details panel shows for one of a node's inputs or outputs."""
    nb.node(node).click()
    return nb.view.locator(f".dagflow-details[data-node={node}] .df-values dt:text-is('{name}') + dd")


def test_a_person_fills_in_the_form_and_approves(notebook):
    """The panel has the question and the form; what is filled in arrives, and the run goes on."""
    nb = notebook(REVIEW, "run = flow.run('letters')", "print(run.status, run.outputs['write']['result'])")
    nb.run(0)
    nb.run(1)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=paused]")
    nb.node("find", "completed").wait_for(state="attached")
    nb.node("write", "paused").wait_for(state="attached")
    details = nb.view.locator(".dagflow-details[data-node=find]")
    details.get_by_text("Shall the letter go out?").wait_for()
    details.get_by_text("3 names were found").wait_for()
    details.get_by_text("how many names at most").wait_for()
    assert details.get_by_label("Most").input_value() == "2"
    nb.view.scroll_into_view_if_needed()
    nb.shot("control-asked")

    nb.button("Approve").click()  # the page knows that a greeting is required
    assert details.get_by_label("Greeting").evaluate("e => e.validity.valueMissing")
    details.locator(".df-wrong:not([hidden])").wait_for()
    details.get_by_label("Greeting").fill("Hey you")  # what it does not know, the model refuses
    nb.button("Approve").click()
    details.locator(".df-text:has(input[aria-invalid]) .df-wrong").get_by_text("be more polite").wait_for()
    assert details.get_by_label("Greeting").input_value() == "Hey you"
    nb.shot("control-refused")
    details.get_by_label("Greeting").fill("Dear all")
    details.get_by_label("Most").fill("3")
    details.get_by_label("Urgent").check()
    nb.button("Approve").click()

    nb.page.wait_for_selector(".dagflow-view[data-run-status=completed]")
    for node in ("write", "send"):
        nb.node(node, "completed").wait_for(state="attached")
    assert nb.button("Approve").count() == 0
    given = shown_value(nb, "write", "human_input")
    given.wait_for()
    assert "'greeting': 'Dear all'" in given.inner_text()
    shown_value(nb, "write", "result").get_by_text("Dear all, unparse and main and walk!").wait_for()
    nb.shot("control-approved")
    nb.run(2)
    assert "completed Dear all, unparse and main and walk!" in nb.text(2)


def test_a_person_rejects_and_the_branch_is_cancelled(notebook):
    """Reject: what has not started in the branch is cancelled, what was done stays, the run has ended."""
    nb = notebook(
        REVIEW,
        "run = flow.run('letters')",
        "print(run.wait().status, [w.branch_id for w in run.waiting])\n"
        "print(run.nodes().set_index('node_id')['status'].to_dict())",
    )
    nb.run(0)
    nb.run(1)
    nb.node("write", "paused").wait_for(state="attached")
    nb.button("Reject").click()
    for node in ("write", "send"):
        nb.node(node, "cancelled").wait_for(state="attached")
    nb.node("find", "completed").wait_for(state="attached")
    nb.page.wait_for_selector(".dagflow-view[data-run-status=completed]")
    assert nb.button("Reject").count() == 0
    nb.view.scroll_into_view_if_needed()
    nb.shot("control-rejected")
    nb.run(2)
    assert "completed []" in nb.text(2)
    assert "{'find': 'completed', 'write': 'cancelled', 'send': 'cancelled'}" in nb.text(2)


def test_an_answer_from_a_cell_and_a_cancel_are_seen_in_the_view(notebook):
    """A run that was left goes on in the view it has, whoever says so; each view shows its own run."""
    nb = notebook(
        REVIEW,
        "first = flow.run('letters')",
        "second = flow.run('letters')",
        "print(first.approve(greeting='Hello').wait().result)",
    )
    for cell in range(4):
        nb.run(cell)
    answered, waiting = nb.view.nth(0), nb.view.nth(1)
    nb.page.locator(".dagflow-view[data-run-status=completed]").wait_for()
    assert answered.get_attribute("data-run-status") == "completed"
    assert answered.get_by_role("button", name="Approve", exact=True).count() == 0
    assert waiting.get_attribute("data-run-status") == "paused"
    waiting.get_by_role("button", name="Cancel run", exact=True).click()
    nb.page.locator(".dagflow-view[data-run-status=cancelled]").wait_for()
    waiting.locator(".node[data-node='write'][data-state='cancelled']").wait_for(state="attached")
    assert waiting.get_by_role("button", name="Approve", exact=True).count() == 0
    waiting.scroll_into_view_if_needed()
    nb.shot("control-cancelled")


def test_a_node_that_always_asks_is_answered_while_others_run(notebook):
    """A question is in the panel, and is answered there, while the cell still waits for the run."""
    nb = notebook(
        """
import threading
from dagflow_nb import DagFlow, Workflow
flow = DagFlow(":memory:")
answered = threading.Event()

@flow.action
def work() -> str:
    return "in time" if answered.wait(60) else "too late"

@flow.action(ask={"colour": {"enum": ["red", "blue"], "title": "Colour"}})
def paint(human_input: dict) -> str:
    answered.set()
    return human_input["colour"]

wf = Workflow("painting")
wf.add(work)
wf.add(paint)
""",
        "print(flow.run(wf).result)",
    )
    nb.run(0)
    nb.run(1, wait=False)
    nb.node("work", "running").wait_for(state="attached")
    nb.node("paint", "paused").click()
    details = nb.view.locator(".dagflow-details[data-node=paint]")
    details.get_by_label("Colour").select_option("blue")
    nb.button("Approve").click()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=completed]")
    nb.page.locator(".jp-OutputArea-output").get_by_text("'paint': 'blue'").wait_for()
    assert "{'work': 'in time', 'paint': 'blue'}" in nb.text(1)


def test_a_failed_node_is_retried_once_its_cell_is_mended(notebook):
    """Retry node runs the action as it is defined now; what was skipped because of it runs too."""
    nb = notebook(
        """
from dagflow_nb import DagFlow
flow = DagFlow("sqlite:retry.db")

@flow.action
def read() -> list[str]:
    return ["1", "2", "x"]

@flow.action
def total(rows: list[str]) -> int:
    return sum(int(row) for row in rows)

@flow.action
def report(total: int) -> str:
    return f"the total is {total}"

@flow.workflow
def sums():
    return report(total(read()))
""",
        "run = flow.run('sums', raise_on_failure=False)",
        """
@flow.action
def total(rows: list[str]) -> int:
    return sum(int(row) for row in rows if row.isdigit())
""",
        "print(run.wait().status, run.result)\nprint(run.nodes().set_index('node_id')['attempts'].to_dict())",
    )
    nb.run(0)
    nb.run(1)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=failed]")
    nb.node("report", "skipped").wait_for(state="attached")
    nb.node("total", "failed").click()
    details = nb.view.locator(".dagflow-details[data-node=total]")
    details.get_by_text("invalid literal for int()").first.wait_for()
    nb.view.scroll_into_view_if_needed()
    nb.shot("control-failed")
    nb.run(2)
    nb.button("Retry node").click()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=completed]")
    for node in ("total", "report"):
        nb.node(node, "completed").wait_for(state="attached")
    details.locator(".df-error").wait_for(state="detached")
    nb.view.scroll_into_view_if_needed()
    nb.shot("control-retried")
    nb.run(3)
    assert "completed the total is 3" in nb.text(3)
    assert "{'read': 1, 'total': 2, 'report': 1}" in nb.text(3)


STEPS = """
import threading
from dagflow_nb import DagFlow, PauseBranch, Workflow

flow = DagFlow(":memory:")
gates = [threading.Event() for _ in range(3)]

@flow.action
def step(n: int) -> int:
    gates[n].wait(60)
    return n

@flow.on_completed(node="s1")
def hold(node):
    return PauseBranch("s1")

wf = Workflow("steps")
for n in range(3):
    wf.add(step, id=f"s{n}", after=[f"s{n - 1}"] * (n > 0), n=n)
"""


def test_who_pauses_by_hand_is_asked_nothing(notebook):
    """A run or branch that was paused by hand can be resumed, and no more; what a hook asks is a question."""
    nb = notebook(
        STEPS,
        "run = flow.start(wf)",
        "gates[0].set()",
        "gates[1].set(); gates[2].set()",
        "print(run.wait().status)",
    )
    nb.run(0)
    nb.run(1)
    nb.node("s0", "running").wait_for(state="attached")
    nb.button("Pause run").click()
    strip = nb.view.locator(".df-questions")
    strip.get_by_text("Paused: the run (paused by hand)").wait_for()
    nb.button("Resume run").click()  # also while what runs is still to end
    strip.wait_for(state="hidden")
    nb.button("Pause run").click()
    strip.wait_for()
    nb.run(2)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=paused]")
    assert nb.view.locator(".dagflow-details").is_hidden() and nb.button("Approve").count() == 0
    nb.view.scroll_into_view_if_needed()
    nb.shot("paused-by-hand")
    nb.node("s2").click()
    nb.button("Pause branch").click()
    strip.get_by_role("button", name="s2", exact=True).wait_for()
    assert nb.button("Approve").count() == 0
    nb.button("Resume branch").click()
    nb.node("s2", "pending").wait_for(state="attached")
    nb.button("Resume run").click()
    nb.node("s1", "running").wait_for(state="attached")

    nb.run(3)
    strip.get_by_text("Waiting for an answer:").wait_for()  # a hook has asked
    strip.get_by_role("button", name="s1", exact=True).click()
    details = nb.view.locator(".dagflow-details[data-node=s1]")
    nb.button("Resume branch").wait_for()
    nb.button("Approve").click()
    nb.page.wait_for_selector(".dagflow-view[data-run-status=completed]")
    assert details.is_visible() and details.locator(".df-row button:visible").count() == 0
    nb.shot("approved")
    nb.run(4)
    assert nb.text(4).strip() == "completed"
