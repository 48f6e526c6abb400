"""The JSON schema of a function's parameters, with what annotations and docstring say of them."""

from __future__ import annotations

from typing import Any

import pydantic
from pydantic import ConfigDict
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from .binding import MISSING, Binder, Parameter
from .docstrings import read_docstring


class _Open(GenerateJsonSchema):
    """Leaves open what has no JSON form, instead of refusing the whole."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # pydantic's own form

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}


def parameters_schema(name: str, binder: Binder) -> dict[str, Any]:
    """An object schema with a property for each parameter; `**kwargs` allow further ones.

    A property is described by `Annotated[..., Field(description=...)]`, else by the docstring (in Google's
    style).

    >>> def f(count: int, mode: str = "fast"): ...
    >>> parameters_schema("f", Binder(f))["required"]
    ['count']
    """
    parameters = list(binder.parameters.values())
    try:
        schema = _of_types(name, parameters, [binder.resolved(p) for p in parameters])
    except Exception:  # one annotation that pydantic cannot take: find it, and leave it open
        schema = _of_types(name, parameters, [_known(p, binder.resolved(p)) for p in parameters])
    schema["additionalProperties"] = binder.extra is not None
    for parameter, text in read_docstring(binder.function)[1].items():
        if parameter in schema["properties"]:
            schema["properties"][parameter].setdefault("description", text)
    return schema


def _known(parameter: Parameter, annotation: Any) -> Any:
    try:
        _of_types("one", [parameter], [annotation])
    except Exception:  # see above
        return MISSING
    return annotation


def _of_types(name: str, parameters: list[Parameter], annotations: list[Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for number, (parameter, annotation) in enumerate(zip(parameters, annotations, strict=True)):
        default = ... if parameter.default is MISSING else parameter.default
        # fields have names of our own, since pydantic does not take every name that a parameter may have
        field = pydantic.Field(default, alias=parameter.name)
        fields[f"p{number}"] = (Any if annotation is MISSING else annotation, field)
    config = ConfigDict(arbitrary_types_allowed=True, json_schema_extra=_without_titles)
    model = pydantic.create_model(name, __config__=config, **fields)
    schema: dict[str, Any] = model.model_json_schema(schema_generator=_Open)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return schema


def _without_titles(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
