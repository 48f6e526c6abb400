"""A form's JSON schema as a list of simple fields, so that the page needs to know little of JSON schema.

What has no simple field (choices between types, objects with any names) is asked for as JSON text. The page
only helps to fill in: answers are checked by the run, with the schema itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.model import Form
from ..people.forms import DECIMAL

_KINDS = {"string": "text", "number": "number", "integer": "integer", "boolean": "boolean"}
_FORMATS = {"date": "date", "time": "time", "date-time": "datetime", "password": "secret", "textarea": "long"}
_LIMITS = {"minimum": "min", "maximum": "max", "minLength": "minlength", "maxLength": "maxlength"}
_LONG = 300
"""A text that may be longer than this gets several lines."""
_GIVEN = "approved"
"""What the buttons answer themselves."""
_DEEPEST = 4


def form_fields(form: Form | None) -> list[dict[str, Any]]:
    """The fields of a form, in the schema's order.

    Each is a dict with `name`, `label`, `kind`, `required`, `help`, and, where there are any, `default`
    (never that of a secret), `omit` (an untouched field is left out: the run knows its default better than
    JSON can say it), `nullable` (it may be null) and `limits` (attributes of an input element).
    Kinds: `text`, `long`, `secret`, `number`, `decimal`, `integer`, `boolean`, `date`, `time`, `datetime`;
    `enum` with `options` (and `labels`); `object` with `fields`; `list` with `item` and `least`; else `json`.

    >>> form_fields(Form(schema={"properties": {"n": {"type": "integer"}}, "required": ["n"]}))
    [{'name': 'n', 'label': 'n', 'kind': 'integer', 'required': True, 'help': ''}]
    """
    if form is None or not isinstance(form.schema, Mapping):
        return []
    fields = [field for field in _fields(form.schema, form.schema, 0) if field["name"] != _GIVEN]
    defaults = form.defaults or {}
    for field in fields:
        if "default" in field and not field["required"]:
            field["omit"] = True
        elif field["name"] in defaults and field["kind"] != "secret":
            field["default"] = defaults[field["name"]]
    return fields


def _fields(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> list[dict[str, Any]]:
    top = _resolved(schema, root)
    properties = top.get("properties")
    if not isinstance(properties, Mapping):
        return []
    required = top.get("required", ())
    return [_field(str(name), given, root, name in required, depth) for name, given in properties.items()]


def _field(name: str, given: Any, root: Mapping[str, Any], required: bool, depth: int) -> dict[str, Any]:
    schema = _resolved(given, root)
    field: dict[str, Any] = {
        "name": name,
        "label": _label(name, given, schema),
        "kind": "json",
        "required": required,
        "help": str(schema.get("description", "")),
    }
    kind = schema.get("type")
    if (options := _options(schema)) is not None:
        field |= options
    elif kind == "object" and depth < _DEEPEST and isinstance(schema.get("properties"), Mapping):
        field |= {"kind": "object", "fields": _fields(schema, root, depth + 1)}
    elif kind == "array" and depth < _DEEPEST and isinstance(schema.get("items"), Mapping):
        item = _field("", schema["items"], root, True, depth + 1)
        field |= {"kind": "list", "item": item, "least": int(schema.get("minItems", 0))}
    elif isinstance(kind, str) and kind in _KINDS:
        field |= _simple(_KINDS[kind], schema)
    if _is_nullable(given):
        field["nullable"] = True
        if field["kind"] == "boolean":
            field |= {"kind": "enum", "options": [True, False], "labels": ["yes", "no"]}
    if "default" in schema and field["kind"] != "secret":
        field["default"] = schema["default"]
    return field


def _label(name: str, given: Any, schema: Mapping[str, Any]) -> str:
    # what is referred to has the title of its kind, not of this field
    if name and schema is not given and "title" in schema and "title" not in given:
        return name.replace("_", " ").capitalize()
    return str(schema.get("title", name))


def _simple(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    limits = {_LIMITS[word]: schema[word] for word in _LIMITS if isinstance(schema.get(word), int | float)}
    if kind == "text":
        kind = _FORMATS.get(str(schema.get("format")), "text")
        if schema.get("writeOnly") is True:
            kind = "secret"
        elif kind == "text" and limits.get("maxlength", 0) > _LONG:
            kind = "long"
    elif schema.get("format") == DECIMAL:
        kind = DECIMAL
    return {"kind": kind, "limits": limits} if limits else {"kind": kind}


def _options(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """A choice of given values: an `enum`, a constant, or a `oneOf` of constants with titles."""
    if isinstance(schema.get("enum"), list):
        return {"kind": "enum", "options": list(schema["enum"])}
    if "const" in schema:
        return {"kind": "enum", "options": [schema["const"]]}
    for word in ("oneOf", "anyOf"):
        choices = schema.get(word)
        if (
            isinstance(choices, list)
            and choices
            and all(isinstance(c, Mapping) and "const" in c for c in choices)
        ):
            labels = [str(choice.get("title", choice["const"])) for choice in choices]
            return {"kind": "enum", "options": [choice["const"] for choice in choices], "labels": labels}
    return None


def _is_nullable(schema: Any) -> bool:
    return isinstance(schema, Mapping) and {"type": "null"} in schema.get("anyOf", ())


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A property's schema with references followed, "this or nothing" read as this, a decimal as a number."""
    for _ in range(10):  # a schema may refer to itself
        if not isinstance(schema, Mapping):
            return {}
        outer = {key: schema[key] for key in ("title", "description", "default") if key in schema}
        choices = [c for c in schema.get("anyOf", ()) if c != {"type": "null"}]
        decimals = [c for c in choices if isinstance(c, Mapping) and c.get("format") == DECIMAL]
        if "$ref" in schema:
            inner = _looked_up(str(schema["$ref"]), root)
        elif decimals or len(choices) == 1:
            inner = (decimals or choices)[0]
        elif isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
            inner = schema["allOf"][0]
        else:
            return schema
        schema = {**inner, **outer} if isinstance(inner, Mapping) else {}
    return {}


def _looked_up(path: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in path.removeprefix("#/").split("/"):
        if not isinstance(found, Mapping) or part not in found:
            return {}
        found = found[part]
    return found
