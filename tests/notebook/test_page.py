"""What the page is told: records, differences, forms."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from enum import Enum

from pydantic import BaseModel, Field

from dagflow_nb.core.model import Form
from dagflow_nb.notebook.fields import form_fields
from dagflow_nb.notebook.page import TEXT_LIMIT, PageState, node_defs, run_record
from dagflow_nb.people.forms import as_form
from dagflow_nb.runtime.snapshot import NodeView, Waiting

from .conftest import run_of


def after(snapshot, id, at, **changes):
    """The snapshot at a later moment, with one node changed."""
    nodes = tuple(replace(node, **changes) if node.id == id else node for node in snapshot.nodes)
    return replace(snapshot, nodes=nodes, at=at)


def test_only_what_changed_is_told():
    """Nodes that have not begun are taken for granted; then only those are told whose records differ."""
    page = PageState()
    run = run_of(NodeView(id="a", action="f"), NodeView(id="b", action="f"))
    assert page.delta(run) == {}
    assert page.delta(run) == {}
    assert page.delta(after(run, "b", 121.0, message="half", progress=0.5)) == {
        "b": {"state": "pending", "message": "half", "progress": 0.5}
    }
    assert "a" not in page.records


def test_nodes_that_are_gone_are_forgotten():
    """A node that a retry withdrew leaves no record behind."""
    page = PageState()
    run = run_of(
        NodeView(id="a", action="f", status="running"), NodeView(id="b", action="f", status="failed")
    )
    page.delta(run)
    page.delta(replace(run, nodes=run.nodes[:1]))
    assert set(page.records) == {"a"}


def test_attempts_are_told_apart():
    """Each attempt has its own start, end and outcome, as far as snapshots show them."""
    page = PageState()
    run = run_of(NodeView(id="a", action="f"))
    steps = [
        (101.0, {"status": "running", "attempt": 1, "started_at": 101.0}),
        (103.0, {"status": "retrying", "error": "no"}),
        (105.0, {"status": "running", "attempt": 2}),
        (106.0, {"status": "running", "attempt": 2, "progress": 0.5}),
        (107.5, {"status": "completed", "finished_at": 107.0}),
    ]
    for at, changes in steps:
        run = after(run, "a", at, **changes)
        page.delta(run)
    assert page.records["a"]["tries"] == [[101.0, 103.0, "failed"], [105.0, 107.0, "completed"]]

    run = after(run, "a", 110.0, status="running", attempt=1, started_at=110.0, finished_at=None)
    page.delta(run)
    assert "tries" not in page.records["a"]  # the run was told to retry it: one attempt, as long as its node


def test_attempts_that_nobody_saw_are_told_too():
    """A node that came and went between two snapshots, or was over before the first, has its bar."""
    page = PageState()
    done = NodeView(id="a", action="f", status="failed", attempt=3, started_at=101.0, finished_at=104.0)
    page.delta(run_of(done, NodeView(id="b", action="f", status="cached")))
    assert "tries" not in page.records["a"] and "tries" not in page.records["b"]
    assert page.records["a"]["started"] == 101.0 and page.records["a"]["finished"] == 104.0
    page.delta(run_of(NodeView(id="c", action="f", status="pending", started_at=101.0)))
    assert page.records["c"]["tries"] == []  # else its times would stand for an attempt


def test_descriptions_are_told_once_and_short():
    """What does not change is told apart from states; long texts are cut, escape sequences taken out."""
    node = NodeView(
        id="a", action="f", deps=("b",), kind="map", tags=("t",), description="\x1b[1m" + "x" * 9000
    )
    (told,) = node_defs(run_of(node))
    assert told["deps"] == ("b",) and told["kind"] == "map" and told["tags"] == ("t",)
    assert len(told["description"]) == TEXT_LIMIT + 2 and "parent" not in told


def test_the_run_is_told_with_what_it_waits_for():
    """Status, times, and each question with its fields; all of it is JSON."""
    form = Form("Really?", {"properties": {"why": {"type": "string"}}, "required": ["why"]}, None)
    told = run_record(run_of(waiting=(Waiting("a", "check", form, 5.0), Waiting(None, "budget"))))
    json.dumps(told)
    assert told["status"] == "running" and told["name"] == "pipeline"
    assert told["waiting"][0]["question"] == "Really?" and told["waiting"][0]["fields"][0]["name"] == "why"
    assert told["waiting"][1] == {
        "branch": None,
        "reason": "budget",
        "question": "",
        "since": 0.0,
        "asks": True,
        "decision": False,
        "fields": [],
    }


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    x: int


class Answer(BaseModel):
    name: str = Field(description="Your name")
    count: int | None = None
    share: float = 0.5
    sure: bool
    colour: Colour = Colour.BLUE
    inner: Inner | None = None
    home: Inner
    tags: list[str] = []
    approved: bool = True


def test_a_models_schema_becomes_simple_fields():
    """Optional types, references and enums of a pydantic model are read as a person would."""
    fields = {f["name"]: f for f in form_fields(Form(schema=Answer.model_json_schema()))}
    kinds = {name: field["kind"] for name, field in fields.items()}
    assert kinds == {
        "name": "text",
        "count": "integer",
        "share": "number",
        "sure": "boolean",
        "colour": "enum",
        "inner": "object",
        "home": "object",
        "tags": "list",
    }
    assert fields["name"] == {
        "name": "name",
        "label": "Name",
        "kind": "text",
        "required": True,
        "help": "Your name",
    }
    assert fields["colour"]["options"] == ["red", "blue"] and fields["colour"]["default"] == "blue"
    assert fields["share"]["default"] == 0.5 and not fields["count"]["required"]
    assert fields["inner"]["label"] == "Inner" and fields["inner"]["nullable"]


class Order(BaseModel):
    second_colour: Colour | None = None
    other_home: Inner | None = None
    price: Decimal = Decimal("1.50")
    rate: Decimal | None = Field(None, ge=0)
    either: float | str = 3.0
    made: list[str] = Field(default_factory=lambda: ["a"])


def test_optional_fields_keep_their_names_and_decimals_are_numbers():
    """The label is the field's, not its type's; a default is left out where the run knows it itself."""
    fields = {f["name"]: f for f in form_fields(as_form(Order))}
    assert fields["second_colour"]["label"] == "Second colour"
    assert fields["other_home"]["label"] == "Other home"
    assert [fields[name]["kind"] for name in ("price", "rate", "either")] == ["decimal", "decimal", "json"]
    assert fields["price"]["default"] == "1.50" and fields["rate"]["limits"] == {"min": 0}
    assert fields["price"]["omit"] and "omit" not in fields["made"] and fields["made"]["default"] == ["a"]


def test_nested_forms_and_limits_become_fields():
    """Objects hold fields, lists their item; limits, titled choices, nullable and secret fields are told."""
    schema = {
        "properties": {
            "home": {"$ref": "#/$defs/Home"},
            "names": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "size": {"oneOf": [{"const": 1, "title": "small"}, {"const": 2, "title": "large"}]},
            "sure": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "key": {"type": "string", "format": "password", "default": "hunter2"},
            "text": {"type": "string", "maxLength": 1000},
            "at": {"type": "string", "format": "date-time"},
        },
        "$defs": {"Home": {"type": "object", "title": "Home", "properties": {"x": {"type": "integer"}}}},
    }
    fields = {f["name"]: f for f in form_fields(Form(schema=schema, defaults={"key": "hunter2"}))}
    assert fields["home"]["label"] == "Home" and fields["home"]["fields"][0]["kind"] == "integer"
    assert fields["names"]["item"]["kind"] == "text" and fields["names"]["least"] == 2
    assert fields["share"]["limits"] == {"min": 0, "max": 1}
    assert fields["size"]["options"] == [1, 2] and fields["size"]["labels"] == ["small", "large"]
    assert fields["sure"]["nullable"] and fields["sure"]["options"] == [True, False]
    assert fields["key"]["kind"] == "secret" and "hunter2" not in json.dumps(fields)
    assert fields["text"]["kind"] == "long" and fields["at"]["kind"] == "datetime"


def test_strange_schemas_become_fields_or_nothing():
    """A schema that refers to itself or to nowhere, or is no object, does no harm."""
    loop = {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert form_fields(Form(schema=loop))[0]["kind"] == "json"
    assert (
        form_fields(Form(schema={"properties": {"a": {"$ref": "#/nowhere"}, "b": True}}))[1]["kind"] == "json"
    )
    assert (
        form_fields(Form(schema={"properties": {"d": {"type": "string", "format": "date"}}}))[0]["kind"]
        == "date"
    )
    assert form_fields(Form(schema={"properties": {"c": {"const": 1}}}))[0]["options"] == [1]
    assert form_fields(Form(schema={"type": "array"})) == form_fields(Form()) == form_fields(None) == []
    assert form_fields(Form(schema={"properties": {"a": {}}}, defaults={"a": 2}))[0]["default"] == 2
