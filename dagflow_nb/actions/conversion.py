"""Values into the types that annotations ask for, by pydantic's rules, and errors that say what was wrong.

A converter is built once for an annotation and lets a value that already has the type through as it
is. What a secret holds never gets into a message.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import pydantic
from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from ..errors import ValidationError, did_you_mean, shorten

_CONFIG = ConfigDict(arbitrary_types_allowed=True)
_SECRETS = (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)
HIDDEN: Final = "a value that is not shown, since it may hold a secret"


class InputError(ValidationError):
    """An input does not fit its parameter; raised before the action runs, never retried.

    `node_id`, `parameter` and `expected` (the type, as text) name the place; `value` is the refused
    value, shortened to a text unless it is a number, a short text, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        node_id: str | None = None,
        parameter: str | None = None,
        expected: str | None = None,
        value: Any = None,
    ) -> None:
        self.node_id, self.parameter, self.expected = node_id, parameter, expected
        super().__init__(message, culprit=parameter, value=value)


class MissingInput(InputError, KeyError):
    """An input that is needed is not there; also a `KeyError`."""

    __str__ = Exception.__str__  # KeyError's own shows the repr of the message


def missing_input(name: str, there: Collection[str], *, node_id: str | None, what: str) -> MissingInput:
    """The error for an input `name` that is not among those that are `there`."""
    where = f"node {node_id!r}: " if node_id else ""
    hint = did_you_mean(name, there) if there else "there are no inputs"
    return MissingInput(f"{where}{what}: {hint}", node_id=node_id, parameter=name)


class Converter:
    """Checks and converts values to one annotation.

    `exact` is the class whose direct instances pass unchanged, None where there is no such class.
    """

    __slots__ = ("_pick", "_validate", "annotation", "exact")

    def __init__(
        self,
        annotation: Any,
        validate: Callable[[Any], Any],
        *,
        exact: type | None = None,
        pick: bool = False,
    ) -> None:
        self.annotation, self._validate, self.exact, self._pick = annotation, validate, exact, pick

    @classmethod
    def of(cls, annotation: Any) -> Converter | None:
        """The converter of an annotation; None where there is nothing to check, or no way to."""
        if annotation is Any or annotation is object:
            return None
        if get_origin(annotation) is collections.abc.Iterable:
            return cls._of_iterable(annotation)
        try:
            adapter, pick = _adapter(annotation)
        except Exception:  # an annotation may be anything at all; what pydantic refuses is not checked
            return None
        return cls(annotation, adapter.validate_python, exact=_exact(annotation), pick=pick)

    @classmethod
    def _of_iterable(cls, annotation: Any) -> Converter | None:
        # pydantic makes a lazy iterator of an Iterable: it can be read once and fails inside the action
        items = cls.of(list[get_args(annotation)])  # type: ignore[misc]  # the item type is a value here

        def validate(value: Any) -> Any:
            if items is not None and isinstance(value, list | tuple | set | frozenset):
                return items.convert(value)
            if not isinstance(value, Iterable):
                raise TypeError("it cannot be iterated over")
            return value

        return cls(annotation, validate)

    def convert(self, value: Any) -> Any:
        """`value` as the type; raises whatever the type's validation raises."""
        if type(value) is self.exact:
            return value
        try:
            return self._validate((value,))[0] if self._pick else self._validate(value)
        except PydanticUserError:  # a model whose own annotations cannot be resolved
            return value

    def __call__(self, value: Any, *, node_id: str | None, name: str, what: str) -> Any:
        """`value` as the type, or `InputError`: `what` says whose the value is, `name` what it is called."""
        try:
            return self.convert(value)
        except Exception as error:  # validators are the user's code: they may raise anything
            problem = self._explain(value, error, node_id, name, what)
        raise problem  # outside of the handler: pydantic's own error, which shows values, is not its context

    def _explain(self, value: Any, error: Exception, node_id: str | None, name: str, what: str) -> InputError:
        expected = type_name(self.annotation)
        secret = mentions_secret(self.annotation)
        where = f"node {node_id!r}: " if node_id else ""
        return InputError(
            f"{where}{what} takes {shorten_text(expected)}, not {HIDDEN if secret else shorten(value)}: "
            f"{_reasons(error, name, secret, 1 if self._pick else 0)}",
            node_id=node_id,
            parameter=name,
            expected=expected,
            value=None if secret else keepable(value),
        )


@lru_cache(maxsize=128)
def _cached_converter(annotation: Any) -> Converter | None:
    return Converter.of(annotation)


def convert(value: Any, type: Any, *, name: str, node_id: str | None = None) -> Any:
    """`value` as `type` by pydantic's rules, or `InputError`; None as `type` leaves it as it is.

    >>> convert("3", int, name="count")
    3
    """
    if type is None:
        return value
    try:
        converter = _cached_converter(type)
    except TypeError:  # an annotation that cannot be hashed
        converter = Converter.of(type)
    if converter is None:
        return value
    return converter(value, node_id=node_id, name=name, what=f"input {name!r}")


def keepable(value: Any) -> Any:
    """`value` if it is a number, a short text or None, else a short text that shows it.

    Errors are kept, sent to other processes and stored: they do not hold on to data.
    """
    small = value is None or type(value) in (bool, int, float) or (type(value) is str and len(value) <= 80)
    return value if small else shorten(value)


def shorten_text(text: str, limit: int = 80) -> str:
    """`text` in at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _adapter(annotation: Any) -> tuple[TypeAdapter[Any], bool]:
    """pydantic's adapter, and whether values have to be put into a tuple for it."""
    try:
        return TypeAdapter(annotation, config=_CONFIG), False
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
    try:
        return TypeAdapter(annotation), False
    except PydanticSchemaGenerationError:
        # a plain dataclass with fields of any class takes the configuration only from what is around it
        return TypeAdapter(tuple[annotation], config=_CONFIG), True


def _exact(annotation: Any) -> type | None:
    if not isinstance(annotation, type) or get_origin(annotation) is not None:
        return None
    config = getattr(annotation, "model_config", None) or getattr(annotation, "__pydantic_config__", None)
    again = isinstance(config, dict) and config.get("revalidate_instances", "never") != "never"
    return None if again else annotation


def _reasons(error: Exception, name: str, secret: bool, skip: int) -> str:
    if not isinstance(error, pydantic.ValidationError):
        return type(error).__name__ if secret else f"{type(error).__name__}: {shorten_text(str(error), 200)}"
    found = error.errors(include_url=False, include_context=False)
    reasons = []
    for item in found[:3]:
        path = ".".join([name, *map(str, item["loc"][skip:])])
        own = item["type"] in ("value_error", "assertion_error")
        why = "it is refused" if own and secret else item["msg"][0].lower() + item["msg"][1:]
        shown = ""
        if path != name:
            # the input of a missing field is what it is missing from
            value = "" if secret or item["type"] == "missing" else f" = {shorten(item['input'], 40)}"
            shown = f"{path}{value}: "
        reasons.append(shown + shorten_text(why, 200))
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(reasons) + more


def type_name(annotation: Any) -> str:
    """An annotation as a person would write it.

    >>> type_name(dict[str, Annotated[int, "positive"] | None])
    'dict[str, int | None]'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is ...:
        return "..."
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Union or origin is types.UnionType:
        return " | ".join(type_name(argument) for argument in arguments)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None:
        inside = ", ".join(type_name(a) if not isinstance(a, list) else "[...]" for a in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inside}]"
    name = getattr(annotation, "__name__", None)
    return name if isinstance(name, str) else repr(annotation).removeprefix("typing.")


def _classes(annotation: Any, seen: set[int]) -> Iterator[type]:
    """The classes that an annotation is made of, also those of the fields of its models."""
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    for argument in get_args(annotation):
        yield from _classes(argument, seen)
    if not isinstance(annotation, type):
        return
    yield annotation
    if issubclass(annotation, pydantic.BaseModel):
        for field in annotation.model_fields.values():
            yield from _classes(field.annotation, seen)
    elif dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation):
        try:
            hints = typing.get_type_hints(annotation)
        except Exception:  # names that cannot be resolved
            return
        for hint in hints.values():
            yield from _classes(hint, seen)


def mentions_secret(annotation: Any) -> bool:
    """Whether a value of this type may hold a `SecretStr` or another secret of pydantic's."""
    return any(issubclass(found, _SECRETS) for found in _classes(annotation, set()))
