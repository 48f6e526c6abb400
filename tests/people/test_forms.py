"""Forms: made of questions, models and schemas; answers checked and converted."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import date, datetime
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from dagflow_nb.core.model import Form
from dagflow_nb.errors import ValidationError
from dagflow_nb.people.checking import check_answers, refuse_unknown
from dagflow_nb.people.forms import as_form


class Mode(enum.Enum):
    """A choice."""

    FAST = "fast"


class Review(BaseModel):
    """Is this right?"""

    limit: int = Field(10, ge=0)
    tags: list[str] = Field(default_factory=list)
    mode: Mode = Mode.FAST


class Required(BaseModel):
    limit: int
    day: date = date(2026, 1, 2)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: int = 1
    password: SecretStr = SecretStr("x")


class Refuses(BaseModel):
    limit: int = Field(-1, ge=0, validate_default=True)


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


@dataclasses.dataclass
class Point:
    """A point."""

    x: int
    y: int = 0


# --- forms ------------------------------------------------------------------------------------


def test_questions():
    """True, a text and a form ask without a schema; None and False ask nothing."""
    assert as_form(None) is None and as_form(False) is None
    assert as_form(True) == Form("", None, {}) and as_form(True, "why?") == Form("why?", None, {})
    assert as_form("sure?") == Form("sure?", None, {})
    form = Form("sure?", {"type": "object"})
    assert as_form(form, "other?") is form and as_form(Form(), "why?") == Form("why?")


def test_a_model():
    """Its docstring is the question, its schema the form's; the defaults are complete, factories' too."""
    form = as_form(Review)
    assert form.question == "Is this right?" and as_form(Review, "mine").question == "mine"
    assert form.schema["properties"]["limit"] == {
        "type": "integer",
        "minimum": 0,
        "default": 10,
        "title": "Limit",
    }
    assert form.defaults == {"limit": 10, "tags": [], "mode": "fast"}
    assert as_form(Required).defaults is None and as_form(Required).question == ""
    assert as_form(Refuses).defaults is None
    assert as_form(Tree).defaults is None
    assert as_form(Point).schema["required"] == ["x"]


def test_a_schema():
    """A JSON schema is copied; its defaults are complete if each required field has one."""
    schema = {
        "title": "Sure?",
        "type": "object",
        "properties": {"limit": {"type": "integer", "default": 3}, "note": {"type": "string"}},
        "required": ["limit"],
    }
    form = as_form(schema)
    assert form == Form("Sure?", schema, {"limit": 3}) and form.schema is not schema
    assert as_form({**schema, "required": ["limit", "note"]}).defaults is None
    assert as_form({"question": "q?", "schema": schema}).question == "q?"
    assert as_form({"question": "q?"}) == Form("q?", None, {})
    assert as_form({}).schema == {}


def test_names_and_types():
    """A mapping of names to types, schemas or defaults is short for a schema."""
    form = as_form(
        {"approved": bool, "limit": 10, "note": {"type": "string"}, "mode": Mode, "when": date | None}
    )
    assert form.schema["required"] == ["approved", "note", "mode", "when"] and form.defaults is None
    assert form.schema["properties"]["limit"] == {"type": "integer", "default": 10}
    assert form.schema["properties"]["mode"]["enum"] == ["fast"]
    assert as_form({"limit": 10, "ok": True}).defaults == {"limit": 10, "ok": True}
    assert as_form({"type": str}).schema["properties"] == {"type": {"type": "string"}}
    nested = as_form({"point": Review})
    assert "Mode" in nested.schema["$defs"]
    assert check_answers(nested, {"point": {"mode": "fast"}}) == {"point": {"mode": "fast"}}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "ask takes"),
        ([1], "ask takes"),
        (int, "write {'answer': int}"),
        (Mode, "Mode"),
        (pd.DataFrame, "no JSON schema"),
        ({"type": "object", "properties": {"a": {"type": "integerr"}}}, "properties.a.type"),
        ({"type": "string"}, "of type 'object'"),
        ({"type": "object", "default": {1, 2}}, "plain JSON"),
        ({"limit": [1, 2]}, "field 'limit'"),
        ({3: int}, "names"),
    ],
)
def test_what_is_no_form(wrong, message):
    """What cannot be asked is named at definition."""
    with pytest.raises(ValidationError, match=message):
        as_form(wrong)


# --- answers ----------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "limit": {"type": "integer", "minimum": 0},
        "when": {"type": "string", "format": "date-time"},
        "note": {"type": "string", "default": "none"},
        "rows": {"type": "array", "items": {"type": "integer"}},
        "password": {"type": "string", "format": "password", "minLength": 3},
    },
    "required": ["limit"],
}


def test_answers_by_schema():
    """Values that fit come back as they are, with the declared defaults and names that are not known."""
    form = as_form(SCHEMA)
    assert check_answers(form, {"limit": 3, "more": 1}) == {"limit": 3, "more": 1, "note": "none"}
    now = datetime(2026, 1, 2)
    assert check_answers(form, {"limit": 3, "when": now, "rows": (1, 2)})["when"] is now
    assert check_answers(as_form(True), {"anything": 1}) == {"anything": 1}


@pytest.mark.parametrize(
    ("answers", "field", "message"),
    [
        ({"limit": "3"}, "limit", "the answer 'limit' is '3': expected type 'integer'"),
        ({"limit": -1}, "limit", "expected minimum 0"),
        ({}, "limit", "the answer 'limit' is missing"),
        ({"limit": 1, "when": "soon"}, "when", "expected format 'date-time'"),
        ({"limit": 1, "rows": [1, "b"]}, "rows", "the answer 'rows.1' is 'b'"),
        ({"limit": object()}, "limit", "expected type 'integer'"),
        ({1: 2}, "answers", "mapping of names"),
        ([1], "answers", "mapping of names"),
    ],
)
def test_answers_that_do_not_fit_a_schema(answers, field, message):
    """The error names the field, the value and what is expected."""
    with pytest.raises(ValidationError, match=message) as found:
        check_answers(as_form(SCHEMA), answers)
    assert found.value.culprit == field


def test_approved_is_always_allowed():
    """`approved` and extra names pass, the latter unless the form forbids them."""
    closed = as_form({**SCHEMA, "additionalProperties": False})
    assert check_answers(closed, {"limit": 1, "approved": True})["approved"] is True
    with pytest.raises(ValidationError, match="the form has no 'limt': did you mean 'limit'"):
        check_answers(closed, {"limit": 1, "limt": 2})
    own = as_form({"approved": bool})
    with pytest.raises(ValidationError, match="'approved' is 3"):
        check_answers(own, {"approved": 3})
    assert check_answers(as_form(Strict), {"approved": True}, Strict)["approved"] is True
    with pytest.raises(ValidationError, match="the form has no 'limt': did you mean 'limit'"):
        check_answers(as_form(Strict), {"limt": 2}, Strict)


def test_other_rules_of_a_schema():
    """A rule over the whole of the answers is told as it is."""
    form = as_form({**SCHEMA, "minProperties": 3})
    with pytest.raises(ValidationError, match="do not fit the form"):
        check_answers(form, {"limit": 1})


def test_a_schema_elsewhere_is_not_fetched():
    """A reference to another document is refused, not followed."""
    form = as_form({"type": "object", "properties": {"a": {"$ref": "http://localhost:9/schema.json"}}})
    with pytest.raises(ValidationError, match="localhost"):
        check_answers(form, {"a": 1})


def test_answers_by_model():
    """With the live model, values are converted by its rules, and its defaults filled in."""
    found = check_answers(as_form(Review), {"limit": "3", "mode": "fast", "more": 1}, Review)
    assert found == {"limit": 3, "mode": Mode.FAST, "tags": [], "more": 1}
    assert check_answers(as_form(Point), {"x": "1"}, Point) == {"x": 1, "y": 0}
    assert check_answers(as_form(Tree), {"name": "a"}, Tree) == {"name": "a", "children": []}
    with pytest.raises(
        ValidationError, match=r"the answer 'limit': input should be a valid integer.*not 'many'"
    ) as bad:
        check_answers(as_form(Review), {"limit": "many"}, Review)
    assert bad.value.culprit == "limit" and bad.value.value == "many"
    with pytest.raises(ValidationError, match="the answer 'limit' is missing"):
        check_answers(as_form(Required), {}, Required)


def test_a_form_of_a_model_without_the_model():
    """Where the model's class is not there its stored schema checks the answers too, without conversion."""
    form = as_form({**as_form(Required).schema, "title": "made elsewhere"})
    assert check_answers(form, {"limit": 1}) == {"limit": 1, "day": "2026-01-02"}
    assert check_answers(form, {"limit": 1, "day": date(2026, 2, 3)})["day"] == date(2026, 2, 3)
    with pytest.raises(ValidationError):
        check_answers(form, {"limit": "1"})
    assert check_answers(as_form(Tree), {"name": "a"}) == {"name": "a", "children": []}


@pytest.mark.parametrize("model", [None, Strict])
@pytest.mark.parametrize("given", ["hunter2", SecretStr("hunter2")])
def test_secret_answers_become_secrets(given: Any, model: Any):
    """What is asked as a password is kept as a secret, so that it is never written."""
    found = check_answers(as_form(Strict), {"password": given}, model)
    assert found["password"] == SecretStr("hunter2") and "hunter2" not in repr(found)


def test_refused_secrets_are_not_shown():
    """An error about a password does not say what was given."""
    for form, answers, model in (
        (as_form(SCHEMA), {"limit": 1, "password": "pw"}, None),
        (as_form(Strict), {"password": ["pw"]}, Strict),
    ):
        with pytest.raises(ValidationError, match="'password'") as found:
            check_answers(form, answers, model)
        assert "pw" not in str(found.value) + repr(vars(found.value)) and found.value.__context__ is None


def test_each_problem_is_told_beside_its_field():
    """What is wrong is told by the path of its field, for schemas and for models alike, all of it at once."""
    schema = {
        "type": "object",
        "properties": {
            "limit": {"type": "integer", "maximum": 5},
            "home": {"type": "object", "properties": {"street": {"type": "string", "minLength": 2}}},
            "name": {"type": "string"},
        },
        "required": ["name"],
    }
    with pytest.raises(ValidationError) as bad:
        check_answers(as_form(schema), {"limit": 7, "home": {"street": "x"}})
    assert bad.value.fields == {
        "limit": "at most 5",
        "home.street": "at least 2 characters",
        "name": "this is required",
    }
    with pytest.raises(ValidationError) as bad:
        check_answers(as_form(Review), {"limit": -1, "tags": 3}, Review)
    assert set(bad.value.fields) == {"limit", "tags"}


class Checked(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def _in_order(self) -> Checked:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def test_a_models_own_validators_hold_also_for_its_stored_form():
    """A form that comes back as a schema is checked by its model, if that is defined in this process."""
    form = Form("?", json.loads(json.dumps(as_form(Checked).schema)))
    with pytest.raises(ValidationError, match="low is above high") as bad:
        check_answers(form, {"low": 2, "high": 1})
    assert bad.value.fields == {"": "low is above high"}
    assert check_answers(form, {"low": 1, "high": 2}) == {"low": 1, "high": 2}


def test_names_that_no_form_has_are_refused():
    """An unknown name is refused with the nearest one, unless a form takes any name."""
    closed, other = as_form({"limit": int}), as_form({"note": str})
    refuse_unknown([closed, other], {"limit": 1, "note": "x", "approved": True})
    with pytest.raises(ValidationError, match="limit"):
        refuse_unknown([closed], {"limits": 1})
    for free in (as_form("sure?"), as_form({"type": "object"}), None):
        refuse_unknown([closed, free], {"limits": 1})
    with pytest.raises(ValidationError, match=r"nothing waits for an answer, .* name 'refesh'"):
        refuse_unknown([], {"approved": True, "refesh": True})
    refuse_unknown([as_form({**closed.schema, "additionalProperties": True})], {"limits": 1})
