"""Forms in the panel: every default is shown, and stays what it is as long as nobody touches it."""

from __future__ import annotations

ORDER = """
import datetime as dt, enum
from decimal import Decimal
from pydantic import BaseModel, Field
from dagflow_nb import DagFlow, Workflow
flow = DagFlow(":memory:")
EAST = dt.timezone(dt.timedelta(hours=5))

class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Address(BaseModel):
    street: str
    floor: int = 3

class Order(BaseModel):
    name: str
    naive: dt.datetime = dt.datetime(2026, 1, 1, 9)
    aware: dt.datetime = dt.datetime(2026, 1, 1, 9, tzinfo=EAST)
    exact: dt.datetime = dt.datetime(2026, 1, 1, 9, 0, 5, 123456)
    early: dt.time = dt.time(9, 0, tzinfo=EAST)
    later: dt.datetime = dt.datetime(2026, 1, 1, 9)
    price: Decimal = Decimal("1.50")
    rate: Decimal | None = None
    color: Color = Color.RED
    second_color: Color | None = None
    other: Address | None = None
    third: Address | None = None
    tags: list[str] | None = None
    stops: list[str] = ["Ulm", "Graz"]

@flow.action(ask=Order)
def place(human_input: Order) -> list:
    return [list(human_input)]

wf = Workflow("order")
wf.add(place)
"""


def test_untouched_defaults_are_shown_and_stay_what_they_are(notebook):
    """What the browser cannot hold (no time zone, microseconds) arrives as the model has it."""
    nb = notebook(
        ORDER,
        "run = flow.start(wf)",
        "print(dict(run.wait(30).result[0]) == dict(Order(name='x', later=dt.datetime(2026, 2, 3, 4, 5),\n"
        "    rate=Decimal('2.10'), second_color=Color.BLUE, other=Address(street='A'))) or run.result)",
    )
    nb.page.set_viewport_size({"width": 1400, "height": 1700})
    browser = nb.page.context.new_cdp_session(nb.page)
    browser.send("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    nb.run(0)
    nb.run(1)
    details = nb.view.locator(".dagflow-details[data-node=place]")
    details.get_by_label("Naive").wait_for()
    assert details.locator("textarea").count() == 0  # nothing is to be written as JSON
    shown = {"Naive": "2026-01-01T09:00", "Aware (+05:00)": "2026-01-01T09:00", "Early (+05:00)": "09:00:00"}
    shown |= {"Exact": "2026-01-01T09:00:05.123", "Price": "1.50"}
    for label, value in shown.items():
        assert details.get_by_label(label).input_value() == value
    details.get_by_label("Name").fill("x")
    details.get_by_label("Later").fill("2026-02-03T04:05:00")
    details.get_by_label("Rate").fill("2.10")
    details.get_by_label("Second color").select_option("blue")
    details.get_by_label("Other", exact=True).check()
    details.get_by_label("Street").first.fill("A")
    nb.view.screenshot(path=str(nb.screenshots / "form-defaults.png"), animations="disabled")
    nb.button("Approve").click()
    nb.node("place", "completed").wait_for(state="attached")
    nb.run(2)
    assert nb.text(2).strip() == "True"
