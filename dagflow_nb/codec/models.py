"""pydantic: models, URLs, and secrets, which are never written.

Rules kept here: those of `classes`; pydantic is not imported here: a value of its own brings it along.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..errors import shorten
from .base import Family, Unsupported
from .classes import OfClass, find_class, name_class

if TYPE_CHECKING:
    from .packing import Packer, Reader

_URLS = frozenset({"_BaseUrl", "_BaseMultiHostUrl", "Url", "MultiHostUrl"})
_SECRETS = frozenset({"SecretStr", "SecretBytes", "Secret", "_SecretField", "_SecretBase"})


def _is_secret(cls: type) -> bool:
    return any(b.__name__ in _SECRETS and str(b.__module__).startswith("pydantic") for b in cls.__mro__)


def _is_url(cls: type) -> bool:
    # since pydantic 2.10 the URLs of models are classes of Python, before they were those of pydantic_core
    return any(b.__name__ in _URLS and str(b.__module__).startswith("pydantic") for b in cls.__mro__)


def _is_model(cls: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


class ModelFamily(OfClass):
    """pydantic models, as `copy` and `pickle` hold them: the state, not what a validator would make of it.

    A validator is not run on reading: what is stored was valid, and validators need not be idempotent.
    """

    tag = "pydantic"

    def fits(self, cls: type) -> bool:
        return _is_model(cls)

    def pack(self, value: Any, packer: Packer) -> Any:
        cls: Any = type(value)
        generic = cls.__pydantic_generic_metadata__
        payload: dict[str, Any] = {}
        if generic["origin"] is not None:
            payload["args"] = [_name_argument(argument) for argument in generic["args"]]
            cls = generic["origin"]
        payload["class"] = name_class(cls, _is_model)
        known = type(value).model_fields
        state = dict(object.__getattribute__(value, "__dict__"))
        parts = {
            "fields": {name: state.pop(name) for name in known if name in state},
            "more": state,
            "extra": value.__pydantic_extra__,
            "private": value.__pydantic_private__,
        }
        for group, members in parts.items():
            if members or group == "fields":
                payload[group] = {name: packer.part(part, f".{name}") for name, part in members.items()}
        payload["set"] = sorted(value.__pydantic_fields_set__)
        return payload

    def restore(self, cls: Any, payload: dict[str, Any]) -> Any:
        if "args" in payload:
            arguments = tuple(_find_argument(name) for name in payload["args"])
            cls = cls[arguments if len(arguments) > 1 else arguments[0]]
        stored = dict(payload["fields"])
        if not stored.keys() <= cls.model_fields.keys():
            raise ValueError("fields have gone")
        for name, field in cls.model_fields.items():
            if name not in stored:
                if field.is_required():
                    raise ValueError("a field without a default was added")
                stored[name] = field.get_default(call_default_factory=True)
        private = {
            name: attribute.get_default()
            for name, attribute in cls.__private_attributes__.items()
            if attribute.default_factory is not None
            or type(attribute.default).__name__ != "PydanticUndefinedType"
        }
        private.update(payload.get("private", {}))
        extra = payload.get("extra")
        if cls.model_config.get("extra") == "allow":
            extra = extra or {}
        model: Any = sys.modules["pydantic"].BaseModel
        made = cls.__new__(cls)
        model.__setstate__(
            made,
            {
                "__dict__": {**stored, **payload.get("more", {})},
                "__pydantic_extra__": extra,
                "__pydantic_fields_set__": set(payload["set"]),
                "__pydantic_private__": private if cls.__private_attributes__ else None,
            },
        )
        return made


def _name_argument(argument: Any) -> str:
    if not isinstance(argument, type) or hasattr(argument, "__origin__"):
        raise Unsupported(f"is a generic model of {shorten(argument)}: use a subclass with a name of its own")
    return name_class(argument, lambda cls: True)


def _find_argument(name: str) -> type:
    found = find_class(name)
    if found is None:
        raise ValueError("its type's argument has gone")
    return found


class UrlFamily(OfClass):
    """pydantic's URLs, by their text."""

    tag, leaf = "url", True

    def fits(self, cls: type) -> bool:
        return _is_url(cls)

    def pack(self, value: Any, packer: Packer) -> Any:
        return {"class": name_class(type(value), _is_url), "text": str(value)}

    def restore(self, cls: Any, payload: dict[str, Any]) -> Any:
        return cls(payload["text"])


class SecretFamily(Family):
    """Never written, by nobody."""

    tag, leaf = "secret", True

    def pack(self, value: Any, packer: Packer) -> Any:
        raise Unsupported(f"is a secret ({type(value).__name__}): secrets are never written", secret=True)

    def unpack(self, payload: Any, reader: Reader) -> Any:
        raise ValueError("no secret was ever written")


_MODEL, _URL, _SECRET = ModelFamily(), UrlFamily(), SecretFamily()
FAMILIES: tuple[Family, ...] = (_MODEL, _URL)


def family_of(kind: type) -> Family | None:
    """Who packs a class of pydantic's, or one that is built on it."""
    if _is_secret(kind):
        return _SECRET
    if _is_model(kind):
        return _MODEL
    return _URL if _is_url(kind) else None


def is_secret(value: Any) -> bool:
    """Whether `value` is a pydantic secret."""
    return _is_secret(type(value))
