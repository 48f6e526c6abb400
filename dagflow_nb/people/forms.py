"""What a person is asked: forms from texts, models and JSON schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ..core.model import Form
from ..errors import ValidationError, shorten
from .checking import properties_of, remember_model, top_of

_SCHEMA_WORDS = ("$schema", "$ref", "allOf", "anyOf", "oneOf", "$defs")
DECIMAL = "decimal"
"""The format of a `Decimal`, by which its form knows it from `float | str`."""
_TYPES = ("object", "string", "number", "integer", "boolean", "array", "null")


class _Schema(GenerateJsonSchema):
    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().decimal_schema(schema)
        number, *others = made["anyOf"]
        return {"anyOf": [{**number, "format": DECIMAL}, *others]}


def as_form(ask: Any, question: str = "") -> Form | None:
    """The form for what `ask=` takes; None where nothing is asked (None, False).

    True: only the question. A text: that question. A pydantic model (or dataclass), or a JSON schema: its
    fields. A mapping of names to types, schemas or defaults is short for a schema. A mapping of
    `question` (and `schema`): both. `ValidationError` for anything else, and for a schema that is none.

    >>> as_form({"limit": int, "approved": True}).schema["required"]
    ['limit']
    """
    if ask is None or ask is False:
        return None
    if ask is True:
        return Form(question, None, {})
    if isinstance(ask, str):
        return Form(ask or question, None, {})
    if isinstance(ask, Form):
        return replace(ask, question=question) if question and not ask.question else ask
    if isinstance(ask, type):
        return _of_model(ask, question)
    if not isinstance(ask, Mapping):
        raise ValidationError(
            f"ask takes True, a question, a pydantic model or a JSON schema, not {shorten(ask)}",
            culprit="ask",
            value=ask,
        )
    if isinstance(ask.get("question"), str) and set(ask) <= {"question", "schema"}:
        inner = as_form(ask.get("schema"), ask["question"])
        return Form(ask["question"], None, {}) if inner is None else inner
    schema = copy.deepcopy(dict(ask)) if _is_schema(ask) else _of_fields(ask)
    _check_schema(schema)
    return Form(question or str(schema.get("title", "")), schema, _defaults(schema))


def _of_model(model: type, question: str) -> Form:
    try:
        schema = TypeAdapter(model).json_schema(schema_generator=_Schema)
    except Exception as bad:  # pydantic has several errors for types without a schema
        name = model.__name__
        raise ValidationError(
            f"{name} cannot be asked for, since it has no JSON schema: {bad}", culprit=name
        ) from None
    if not _is_object(schema):
        raise ValidationError(
            f"ask takes a model with fields, not {model.__name__}: write {{'answer': {model.__name__}}}",
            culprit=model.__name__,
        )
    own = vars(model).get("__doc__") if issubclass(model, BaseModel) else None
    text = question or str(own or "").strip()
    remember_model(schema, model)
    defaults = _defaults(schema)
    if defaults is not None and issubclass(model, BaseModel):
        try:  # also those that a factory makes, which no schema tells
            made = model()
            defaults = made.model_dump(mode="json", by_alias=True)
        except Exception:  # a validator that refuses the defaults: there is no complete set of them
            defaults = None
    return Form(text, schema, defaults)


def _is_schema(given: Mapping[Any, Any]) -> bool:
    kind, properties = given.get("type"), given.get("properties")
    if not given or isinstance(kind, list) or any(word in given for word in _SCHEMA_WORDS):
        return True
    if isinstance(kind, str) and kind in _TYPES:
        return True
    return isinstance(properties, Mapping) and all(isinstance(p, Mapping | bool) for p in properties.values())


def _of_fields(given: Mapping[Any, Any]) -> dict[str, Any]:
    """A schema from names and types, schemas or defaults."""
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    required = []
    for name, value in given.items():
        if not isinstance(name, str) or not name:
            raise ValidationError(f"a form's fields have names, unlike {shorten(name)}", culprit="ask")
        if isinstance(value, Mapping):
            field = copy.deepcopy(dict(value))
        elif isinstance(value, bool | int | float | str):
            field = {**TypeAdapter(type(value)).json_schema(), "default": value}
        else:
            try:
                field = TypeAdapter(value).json_schema(schema_generator=_Schema)
            except Exception:  # neither a type nor a schema nor a plain default
                raise ValidationError(
                    f"field {name!r} of a form is a type, a JSON schema or a default, not {shorten(value)}",
                    culprit=name,
                    value=value,
                ) from None
        definitions |= field.pop("$defs", {})
        properties[name] = field
        if "default" not in field:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return schema | ({"$defs": definitions} if definitions else {})


def _check_schema(schema: dict[str, Any]) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        json.dumps(schema)
        Draft202012Validator.check_schema(schema)
    except (TypeError, ValueError) as bad:
        raise ValidationError(f"a form's JSON schema is plain JSON: {bad}", culprit="ask") from None
    except SchemaError as bad:
        place = ".".join(map(str, bad.absolute_path)) or "the schema"
        raise ValidationError(
            f"{place} is not valid in a JSON schema: {bad.message}", culprit=place, value=bad.instance
        ) from None
    if schema and not _is_object(schema):
        raise ValidationError(
            "a form's JSON schema is of type 'object': put the value under a name, as in "
            '{"type": "object", "properties": {"answer": ...}}',
            culprit="type",
            value=schema.get("type"),
        )


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type", "object") == "object" and not ("enum" in schema or "const" in schema)


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    fields = properties_of(schema)
    defaults = {name: copy.deepcopy(field["default"]) for name, field in fields.items() if "default" in field}
    return defaults if all(name in defaults for name in top_of(schema).get("required", ())) else None
