"""The panel beside the graph in JupyterLab: why a node failed, its values, forms, branches, and the past."""

from __future__ import annotations

RAIN = """
import struct, threading, zlib
import numpy as np, pandas as pd
from pydantic import SecretStr
from dagflow_nb import DagFlow, NodeSpec
flow = DagFlow("sqlite:rain.db")
begin, both = threading.Event(), threading.Barrier(2)

def png(pixels):
    raw = b"".join(b"\\0" + row.tobytes() for row in pixels)
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    start = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head)
    return start + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")

@flow.action
def load(key: SecretStr) -> dict:
    days = pd.date_range("2026-01-01", periods=365)
    rain = (6 + 5 * np.sin(np.arange(365) / 40) + np.arange(365) % 5).round(1)
    note = "<img src=x onerror='window.hacked=1'>"
    assert begin.wait(60)
    return {"table": pd.DataFrame({"day": days, "rain": rain, "note": note}), "raw": b"x" * 100_000_000}

@flow.action
def plot(table: pd.DataFrame) -> dict:
    pixels = np.full((120, 365, 3), 255, np.uint8)
    for x, height in enumerate(table["rain"]):
        pixels[119 - int(6 * height):, x] = (11, 99, 206)
    both.wait(60)
    return {"picture": png(pixels)}

@flow.action(retries=1, retry_strategy="immediate")
def total(table: pd.DataFrame, ctx) -> float:
    print("adding up", len(table), "days")
    if ctx.attempt == 1:
        both.wait(60)
    return sum(number(text) for text in ["1.5", "2.0", "n/a"])

def number(text):
    return float(text)

@flow.action
def report(total: float, picture: bytes) -> str:
    return f"{total} mm"

@flow.action
def mend(error: str) -> str:
    return f"told: {error}"

@flow.on_failed(node="total")
def tell(node, error):
    return NodeSpec("mend", id="tell_somebody", inputs={"error": str(error)})

@flow.workflow
def rain(key):
    table = load(key)["table"]
    return report(total(table), plot(table)["picture"])
"""
HEIGHTS = """() => { window.heights = new Set();
  new ResizeObserver(([entry]) => window.heights.add(Math.round(entry.contentRect.height)))
    .observe(document.querySelector('.dagflow-view')); }"""


def test_why_a_node_failed_is_two_clicks_away(notebook):
    """The panel has the error, traceback, prints, values and code of a node; an old run has its past."""
    nb = notebook(
        RAIN,
        "run = flow.start('rain', key=SecretStr('hunter2'))",
        "begin.set()\ntry: run.wait(30)\nexcept Exception: pass",
        "flow.close()\nflow = DagFlow('sqlite:rain.db')\n_ = flow.get('rain').view()",
    )
    nb.page.set_viewport_size({"width": 1400, "height": 1150})
    nb.run(0)
    nb.run(1)
    nb.page.evaluate(HEIGHTS)
    nb.run(2)
    nb.page.wait_for_selector(".dagflow-view[data-run-status=failed]")
    nb.node("tell_somebody", "completed").wait_for(state="attached")
    assert len(nb.page.evaluate("[...window.heights]")) == 1  # the cell has not moved

    nb.view.locator(".df-strip").get_by_role("button", name="total").click()
    details = nb.view.locator(".dagflow-details[data-node=total]")
    trace = details.get_by_label("Traceback")
    trace.get_by_text("could not convert string to float: 'n/a'").wait_for()
    assert "in number" in trace.inner_text() and "dagflow_nb" not in trace.inner_text()
    details.locator(".df-last-lines").get_by_text("adding up 365 days").first.wait_for()
    assert details.get_by_role("table", name="Attempts").locator("tr").count() == 2
    details.get_by_text("Code of the action").click()
    details.locator("pre", has_text="def total(table").wait_for()
    nb.view.scroll_into_view_if_needed()
    details.evaluate("e => e.scrollTop = 0")
    nb.view.screenshot(path=str(nb.screenshots / "panel-failed.png"), animations="disabled")

    details.get_by_role("button", name="load", exact=True).click()
    values = nb.view.locator(".dagflow-details[data-node=load] .df-values")
    table = values.get_by_role("region", name="Table table")
    table.get_by_text("2026-01-08").wait_for()
    values.get_by_text("365 rows × 3 columns").wait_for()  # noqa: RUF001 (as it is shown)
    values.get_by_text("100 MB").wait_for()
    assert "**********" in values.last.inner_text() and "hunter2" not in nb.view.inner_text()
    nb.node("plot").click()
    picture = nb.view.locator(".dagflow-details[data-node=plot] .df-values img").first
    picture.wait_for()
    assert picture.evaluate("e => e.naturalWidth") == 365
    nb.view.screenshot(path=str(nb.screenshots / "panel-values.png"), animations="disabled")
    assert nb.page.evaluate("window.hacked") is None

    nb.run(3)  # the same run out of the database, as another session would see it
    old = nb.view.nth(1)
    old.locator(".node[data-node=tell_somebody][data-state=completed]").wait_for(state="attached")
    old.scroll_into_view_if_needed()
    slider = old.get_by_role("slider", name="Moment of the run")
    slider.focus()
    nb.page.keyboard.press("Home")
    old.locator(".node[data-node=tell_somebody][data-state=absent]").wait_for(state="attached")
    assert old.get_attribute("data-run-status") == "failed" and "was running" in old.inner_text()
    details = old.locator(".dagflow-details")
    old.locator(".node[data-node=plot]").click()
    details.get_by_text("It had not begun at this moment.").wait_for()
    assert details.locator(".df-values").count() == 0
    old.locator(".node[data-node=load]").click()
    details.get_by_text("It had no outputs yet at this moment.").wait_for()
    assert "inputs.key" in details.locator(".df-values").inner_text()
    slider.focus()
    nb.page.keyboard.press("ArrowRight")
    old.locator(".node[data-node=load][data-state=completed]").wait_for(state="attached")
    old.locator(".node[data-node=total][data-state=running]").wait_for(state="attached")
    assert old.locator(".edge.df-absent").count() == 1
    details.get_by_role("region", name="Table table").wait_for()  # what it had given by then
    old.locator(".node[data-node=total]").click()
    details.get_by_text("It had no outputs yet at this moment.").wait_for()
    assert "adding up" in details.inner_text() and "could not convert" not in details.inner_text()
    assert details.get_by_role("table", name="Attempts").count() == 0
    assert details.locator(".df-row button:visible").count() == 0  # nothing can be done about what was
    old.screenshot(path=str(nb.screenshots / "panel-slider.png"), animations="disabled")
    details.get_by_role("button", name="Close details").click()
    old.get_by_role("tab", name="Timeline").click()
    assert old.locator(".df-lane").count() == 3
    slider.focus()
    nb.page.keyboard.press("End")
    old.locator(".df-lane[data-row=tell_somebody]").wait_for()
    assert old.locator(".df-lane[data-row=total] .df-span[data-state=failed]").count() == 2
    old.screenshot(path=str(nb.screenshots / "panel-timeline.png"), animations="disabled")
    old.get_by_label("Rows of the timeline").select_option("slot")
    old.locator(".df-lane[data-row='thread 2']").wait_for()
    old.get_by_role("tab", name="Table").click()
    old.get_by_role("button", name="Took").click()
    assert old.locator("th[aria-sort=ascending]").inner_text().startswith("Took")
    took = old.locator("section tbody tr:not([hidden])").first
    assert took.get_attribute("data-row") == "report"  # it never ran
    old.get_by_label("Only one state").select_option("failed")
    assert old.locator("section tbody tr:not([hidden])").count() == 1
    took = old.locator("section tbody tr:not([hidden])")
    took.focus()
    nb.page.keyboard.press("Enter")
    old.locator(".dagflow-details[data-node=total]").get_by_text("could not convert").first.wait_for()


TRAVEL = """
import datetime, enum, threading
from typing import Literal
from pydantic import BaseModel, Field, model_validator
from dagflow_nb import DagFlow, Workflow
flow = DagFlow(":memory:")
gate = threading.Event()

class Address(BaseModel):
    street: str = Field(min_length=2)
    town: str = "Ulm"

class Trip(BaseModel):
    \"\"\"Shall the trip be booked?\"\"\"
    name: str = Field(description="As in the passport")
    day: datetime.date = datetime.date(2026, 12, 1)
    people: int = Field(2, ge=1, le=9)
    share: float | None = None
    class_: Literal["first", "second"] = Field("second", alias="class", title="Class")
    home: Address
    stops: list[str] = ["Ulm", "Graz"]
    quiet: bool = True

    @model_validator(mode="after")
    def not_too_far(self):
        if len(self.stops) > self.people:
            raise ValueError("more stops than people")
        return self

@flow.action(ask=Trip)
def book(human_input: dict) -> dict:
    return human_input

@flow.action
def pay(trip: dict) -> str:
    return "paid"

@flow.action
def wait() -> str:
    gate.wait(60)
    return "waited"

@flow.action
def after(text: str) -> str:
    return text

wf = Workflow("travel")
b = wf.add(book)
wf.add(pay, trip=b)
w = wf.add(wait)
wf.add(after, id="late", text=w)
wf.add(after, id="later", text=w)
"""


def test_a_form_of_many_fields_and_the_branches_of_a_run(notebook):
    """Nested fields, lists, dates and choices are filled in, errors beside them; branches are steered."""
    nb = notebook(
        TRAVEL,
        "run = flow.start(wf)",
        "gate.set(); run.wait(30)\n"
        "print(run.outputs['book'], {n.id: n.status for n in run.snapshot().nodes})",
    )
    nb.page.set_viewport_size({"width": 1400, "height": 1150})
    nb.run(0)
    nb.run(1)
    details = nb.view.locator(".dagflow-details[data-node=book]")
    details.get_by_text("Shall the trip be booked?").wait_for()
    assert details.get_by_label("Day").input_value() == "2026-12-01"
    nb.button("Approve").click()
    missing = details.locator(".df-text:has([aria-invalid]) > .df-wrong:not([hidden])")
    assert missing.count() == 2  # the name, and the street in the home
    details.get_by_label("Name").fill("Ada <b>Lovelace</b>")
    details.get_by_label("Street").fill("Münsterplatz 1")
    details.get_by_label("Class").select_option("first")
    nb.button("Add to Stops").click()
    nb.page.keyboard.type("Wien")
    nb.button("Approve").click()
    details.get_by_role("alert").get_by_text("more stops than people").wait_for()
    details.evaluate("e => e.scrollTop = 0")
    nb.view.screenshot(path=str(nb.screenshots / "panel-form.png"), animations="disabled")
    nb.button("Remove Stops 1").click()
    nb.button("Approve").click()
    nb.node("pay", "completed").wait_for(state="attached")

    nb.node("late").click()
    nb.button("Pause branch").click()
    nb.node("late", "paused").wait_for(state="attached")
    nb.button("Resume branch").click()
    nb.node("late", "pending").wait_for(state="attached")
    nb.node("later").focus()  # the same with the keyboard
    nb.page.keyboard.press("Enter")
    nb.view.locator(".dagflow-details[data-node=later]").wait_for()
    nb.button("Cancel branch").focus()
    nb.page.keyboard.press("Enter")
    nb.node("later", "cancelled").wait_for(state="attached")
    nb.page.keyboard.press("Escape")
    nb.view.locator(".dagflow-details").wait_for(state="hidden")
    assert nb.page.evaluate("document.activeElement.dataset.node") == "later"
    nb.run(2)
    told = nb.text(2)
    assert "'name': 'Ada <b>Lovelace</b>'" in told and "'stops': ['Graz', 'Wien']" in told
    assert "'class': 'first'" in told and "'street': 'Münsterplatz 1'" in told and "datetime.date(" in told
    assert "'late': 'completed', 'later': 'cancelled'" in told
