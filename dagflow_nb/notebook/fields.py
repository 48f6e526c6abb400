"""A form's JSON schema as a list of simple fields, so that the page needs to know little of JSON schema.

What has no simple field (nested objects, lists, choices between types) is asked for as JSON text. The page
only helps to fill in: answers are checked by the run, with the schema itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.model import Form

_KINDS = {"string": "text", "number": "number", "integer": "integer", "boolean": "boolean"}
_GIVEN = "approved"
"""What the buttons answer themselves."""


def form_fields(form: Form | None) -> list[dict[str, Any]]:
    """The fields of a form, in the schema's order.

    Each is a dict with `name`, `label`, `kind` (`text`, `number`, `integer`, `boolean`, `date`, `enum` or
    `json`), `required`, `help`, and, where there are any, `options` and `default`.

    >>> form_fields(Form(schema={"properties": {"n": {"type": "integer"}}, "required": ["n"]}))
    [{'name': 'n', 'label': 'n', 'kind': 'integer', 'required': True, 'help': ''}]
    """
    if form is None or not isinstance(form.schema, Mapping):
        return []
    properties = form.schema.get("properties")
    if not isinstance(properties, Mapping):
        return []
    required = form.schema.get("required", ())
    defaults = form.defaults or {}
    found = []
    for name, property in properties.items():
        if name == _GIVEN:
            continue
        field = _field(str(name), _resolved(property, form.schema), name in required)
        if name in defaults:
            field["default"] = defaults[name]
        found.append(field)
    return found


def _field(name: str, schema: Mapping[str, Any], required: bool) -> dict[str, Any]:
    field: dict[str, Any] = {
        "name": name,
        "label": str(schema.get("title", name)),
        "kind": "json",
        "required": required,
        "help": str(schema.get("description", "")),
    }
    kind = schema.get("type")
    if isinstance(schema.get("enum"), list):
        field |= {"kind": "enum", "options": list(schema["enum"])}
    elif "const" in schema:
        field |= {"kind": "enum", "options": [schema["const"]]}
    elif isinstance(kind, str) and kind in _KINDS:
        field["kind"] = "date" if schema.get("format") == "date" else _KINDS[kind]
    if "default" in schema:
        field["default"] = schema["default"]
    return field


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A property's schema with references followed, and "this or nothing" read as this."""
    for _ in range(10):  # a schema may refer to itself
        if not isinstance(schema, Mapping):
            return {}
        outer = {key: schema[key] for key in ("title", "description", "default") if key in schema}
        choices = [c for c in schema.get("anyOf", ()) if c != {"type": "null"}]
        if "$ref" in schema:
            inner = _looked_up(str(schema["$ref"]), root)
        elif len(choices) == 1:
            inner = choices[0]
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
