"""Whether an answer fits the form that was asked: by the model it was made of, else by its schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import pydantic
from pydantic import TypeAdapter

from ..core.model import Form
from ..errors import ValidationError, did_you_mean, shorten

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

APPROVED = "approved"
_models: WeakValueDictionary[str, type] = WeakValueDictionary()
"""The models that were asked for, by their schemas: forms are stored as schemas, but a model's own validators
are to be obeyed wherever its class is there."""


def load_checker() -> None:
    """Import what checks answers (half a second, once), where that holds up nobody: not on a run's loop."""
    import jsonschema
    import referencing

    assert jsonschema and referencing


def refuse_unknown(forms: Iterable[Form | None], answers: Mapping[str, Any]) -> None:
    """Raise `ValidationError` for a name that none of these forms has; one that allows any name allows it.

    A question without a schema takes anything, and a schema that says `additionalProperties`, too.
    """
    known: dict[str, None] = {APPROVED: None}
    asked = False
    for form in forms:
        asked, names = True, names_of(form)
        if names is None:
            return
        known |= dict.fromkeys(names)
    for name in answers:
        if name not in known:
            problem = f"the form has no {name!r}: {did_you_mean(str(name), known)}"
            if not asked:
                problem = f"nothing waits for an answer, so none is taken by the name {name!r}"
            raise ValidationError(problem, culprit=name, fields={str(name): problem})


def names_of(form: Form | None) -> list[str] | None:
    """The names of the answers that a form knows, `approved` among them; None where it takes any."""
    if form is None or form.schema is None:
        return None
    top = top_of(form.schema)
    if "properties" not in top or top.get("additionalProperties") or "patternProperties" in top:
        return None
    return [APPROVED, *properties_of(form.schema)]


def check_answers(form: Form, answers: Any, model: Any = None) -> dict[str, Any]:
    """The answers as they are to be stored, or `ValidationError` that names field, value and expectation.

    With the live `model` (a pydantic model) they are converted by its rules, else checked against the
    form's schema. `approved` is allowed always; other names the form does not know are refused only
    where it forbids them. Missing fields get their declared defaults.

    >>> check_answers(Form(schema={"properties": {"limit": {"type": "integer"}}}), {"limit": 3})
    {'limit': 3}
    """
    if not isinstance(answers, Mapping) or not all(isinstance(name, str) for name in answers):
        raise ValidationError(
            f"answers are a mapping of names to values, not {shorten(answers)}", culprit="answers"
        )
    schema = form.schema
    if model is None and schema is not None:
        model = _models.get(_key(schema))
    if isinstance(model, type) and model is not bool:
        return _by_model(model, answers)
    if schema is None:
        return dict(answers)
    fields = properties_of(schema)
    own = {k: v for k, v in answers.items() if k != APPROVED or APPROVED in fields}
    given = {k: copy.deepcopy(f["default"]) for k, f in fields.items() if "default" in f} | own
    secrets = {name for name, field in fields.items() if _is_secret(field)}
    if problems := _problems(schema, _plain(given, secrets)):
        found = [_refused(problem, fields, secrets) for problem in problems]
        told: dict[str, str] = {}
        for problem, refused in zip(reversed(problems), reversed(found), strict=True):
            told |= _told(problem, refused)
        found[0].fields = told
        raise found[0]
    kept = {k: _hide(v) if k in secrets else v for k, v in given.items()}
    return {**answers, **kept}


def remember_model(schema: Mapping[str, Any], model: type) -> None:
    """Answers to a form with this schema are checked by `model`, as long as its class is there."""
    _models[_key(schema)] = model


def _key(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True, default=repr)


def top_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the object itself: that of a model which refers to itself is one of its definitions."""
    only = schema.get("allOf", ())
    link = only[0].get("$ref") if len(only) == 1 else schema.get("$ref")
    if "properties" in schema or not isinstance(link, str):
        return schema
    found: Mapping[str, Any] = schema.get("$defs", {}).get(link.rpartition("/")[2], {})
    return found


def properties_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a form's schema by name."""
    found = top_of(schema).get("properties", {})
    return {name: field if isinstance(field, Mapping) else {} for name, field in found.items()}


def _by_model(model: type, answers: Mapping[str, Any]) -> dict[str, Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    fields = properties_of(adapter.json_schema())
    own = {k: v for k, v in answers.items() if k != APPROVED or APPROVED in fields}
    problem = None
    try:
        made = adapter.validate_python(own)
    except pydantic.ValidationError as bad:
        problem = _explain(bad, fields)
    if problem is not None:
        raise problem  # outside of the handler: pydantic's error shows values, also of secrets
    return {**answers, **adapter.dump_python(made, by_alias=True)}


def _explain(bad: pydantic.ValidationError, fields: Mapping[str, Any]) -> ValidationError:
    texts, culprit, value = [], None, None
    told: dict[str, str] = {}
    for found in bad.errors(include_url=False, include_context=False):
        place = ".".join(map(str, found["loc"]))
        top = str(found["loc"][0]) if found["loc"] else ""
        why = found["msg"].removeprefix("Value error, ")
        why = why[0].lower() + why[1:]
        told.setdefault(place, "this is required" if found["type"] == "missing" else why)
        secret = top == "" or _is_secret(fields.get(top, {}))
        if found["type"] == "missing":
            texts.append(f"the answer {place!r} is missing")
        elif found["type"] == "extra_forbidden":
            texts.append(f"the form has no {place!r}: {did_you_mean(place, fields)}")
        else:
            shown = "" if secret else f", not {shorten(found['input'])}"
            texts.append(f"the answer {place!r}: {why}{shown}" if place else f"the answers: {why}")
        if culprit is None:
            culprit, value = top or "answers", None if secret else found["input"]
    return ValidationError("; ".join(texts), culprit=culprit, value=value, fields=told)


def _problems(schema: Mapping[str, Any], answers: Any) -> list[Any]:
    from referencing.exceptions import Unresolvable

    try:
        return sorted(_validator(json.dumps(schema)).iter_errors(answers), key=_depth)
    except Unresolvable as bad:
        raise ValidationError(
            f"the form's JSON schema refers to {shorten(bad.ref)}, which it does not define", culprit="$ref"
        ) from None


@lru_cache(maxsize=64)
def _validator(schema: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator, FormatChecker
    from referencing import Registry

    checker = FormatChecker()

    # jsonschema itself checks this format only where a further package is installed
    @checker.checks("date-time", raises=ValueError)
    def is_date_time(value: object) -> bool:
        return not isinstance(value, str) or datetime.fromisoformat(value) is not None

    # a registry of our own: jsonschema's would fetch references to other documents from the network
    own: Registry[Any] = Registry()
    return Draft202012Validator(json.loads(schema), format_checker=checker, registry=own)


def _plain(answers: Mapping[str, Any], secrets: set[str]) -> Any:
    """The answers as JSON would hold them: dates as text, enums by value, secrets as what they hold."""
    from pydantic_core import to_jsonable_python

    open_values = {k: _reveal(v) if k in secrets else v for k, v in answers.items()}
    try:
        return to_jsonable_python(open_values)
    except Exception:  # a value with no JSON form: let the schema say what it wants instead
        return open_values


def _refused(error: Any, fields: Mapping[str, Any], secrets: set[str]) -> ValidationError:
    path = [str(part) for part in error.absolute_path]
    field = ".".join(path)
    if not field:
        if error.validator == "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            names = ", ".join(map(repr, missing))
            return ValidationError(f"the answer {names} is missing", culprit=missing[0])
        if error.validator == "additionalProperties":
            name = next(name for name in error.instance if name not in fields)
            return ValidationError(f"the form has no {name!r}: {did_you_mean(name, fields)}", culprit=name)
        return ValidationError(f"the answers do not fit the form: {error.message}", culprit="answers")
    expected = f"{error.validator} {shorten(error.validator_value)}"
    if path[0] in secrets:
        return ValidationError(f"the answer {field!r} does not fit: expected {expected}", culprit=path[0])
    return ValidationError(
        f"the answer {field!r} is {shorten(error.instance)}: expected {expected}",
        culprit=path[0],
        value=error.instance,
    )


_WORDS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "uniqueItems": "each only once",
    "type": "must be of type {}",
    "format": "must be a {}",
    "pattern": "must match {}",
    "enum": "must be one of {}",
    "const": "must be {}",
    "multipleOf": "must be a multiple of {}",
}


def _told(error: Any, refused: ValidationError) -> dict[str, str]:
    """A problem beside the field that has it: its path -> a few words."""
    path = [str(part) for part in error.absolute_path]
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return {".".join([*path, name]): "this is required" for name in missing}
    words = _WORDS.get(error.validator)
    if not path or words is None:
        return {".".join(path): refused.message}
    value = error.validator_value
    return {".".join(path): words.format(", ".join(map(str, value)) if isinstance(value, list) else value)}


def _depth(error: Any) -> tuple[int, str]:
    return len(error.absolute_path), str(error.json_path)


def _is_secret(field: Mapping[str, Any]) -> bool:
    return field.get("format") == "password" or field.get("writeOnly") is True


def _reveal(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, pydantic.SecretStr | pydantic.SecretBytes) else value


def _hide(value: Any) -> Any:
    return pydantic.SecretStr(value) if isinstance(value, str) else value
