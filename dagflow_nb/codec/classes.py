"""Objects of classes: enums, named tuples, dataclasses; and those whose class is gone.

Rules kept here: a class is stored by its module and name, with the fields; reading looks it up in the
modules that are *already imported*, in their dictionaries, and takes it only if it is a class of that
kind. So a database cannot make this process import or call what it names: no module is imported, and no
`__init__`, validator or `__setstate__` runs (only the defaults of fields that the class has got since).
Where the class is not there, or its fields do not fit any more, the value is read as `Unknown`, which
shows what was stored and is written again as it was.
"""

from __future__ import annotations

import dataclasses
import sys
from abc import abstractmethod
from collections.abc import Callable
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any

from ..errors import shorten
from .base import Family, Unsupported

if TYPE_CHECKING:
    from .packing import Packer, Reader

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: the class was made by a class statement


class Unknown:
    """An object whose class is not defined here, or has other fields now.

    `class_name` is `"module:Class"`, `fields` what was stored; each field is an attribute as well.

    >>> order = Unknown("dataclass", "shop:Order", {"class": "shop:Order", "fields": {"id": 3}})
    >>> order.id, order
    (3, Unknown(shop:Order, id=3))
    """

    def __init__(self, tag: str, class_name: str, payload: dict[str, Any]) -> None:
        self.class_name = class_name
        self._tag, self._payload = tag, payload
        fields = payload.get("fields")
        if isinstance(fields, dict):
            self.fields: dict[str, Any] = {str(name): value for name, value in fields.items()}
        else:
            self.fields = {name: value for name, value in payload.items() if name != "class"}

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(
            f"{self.__dict__.get('class_name', 'this object')} has no stored field {name!r}; its class is "
            "not defined here: import its module, or run the cell that defines it, and read the value again"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unknown):
            return NotImplemented
        return (self._tag, self._payload) == (other._tag, other._payload)

    def __hash__(self) -> int:
        return hash((self._tag, self.class_name))

    def __repr__(self) -> str:
        shown = "".join(f", {name}={shorten(value)}" for name, value in self.fields.items())
        return f"Unknown({self.class_name}{shown})"


def find_class(name: object) -> type | None:
    """The class `"module:Outer.Inner"`, if its module is imported and holds it; runs no code."""
    if type(name) is not str:
        return None
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        # dictionaries, not getattr: a module's __getattr__ or a metaclass could run anything
        names = getattr(found, "__dict__", None) if isinstance(found, type) else _module_names(found)
        if names is None or part not in names:
            return None
        found = names[part]
    return found if isinstance(found, type) else None


def _module_names(module: Any) -> dict[str, Any] | None:
    try:
        names = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return None
    return names if type(names) is dict else None


def name_class(cls: type, fits: Callable[[type], bool]) -> str:
    """The name under which `find_class` finds `cls`, or the class that has taken its place in a cell."""
    name = f"{cls.__module__}:{cls.__qualname__}"
    found = find_class(name)
    if found is cls or (found is not None and fits(found)):
        return name
    where = "inside a function" if "<locals>" in cls.__qualname__ else "where its module does not hold it"
    raise Unsupported(
        f"is of class {cls.__qualname__!r}, which is defined {where}, so that it could not be found again: "
        "define it at the top of a cell or module"
    )


def _is_enum(cls: type) -> bool:
    return issubclass(cls, Enum)


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and type(getattr(cls, "_fields", None)) is tuple


def _is_dataclass(cls: type) -> bool:
    return dataclasses.is_dataclass(cls)


def _is_builtin_below(cls: type) -> bool:
    # an object of such a class has more state than its attributes
    return any(base is not object and not base.__flags__ & _HEAP_TYPE for base in cls.__mro__)


class OfClass(Family):
    """A family whose payload is `{"class": NAME, ...}`, and whose class may be gone."""

    @abstractmethod
    def fits(self, cls: type) -> bool:
        """Whether `cls` is a class of this kind."""

    @abstractmethod
    def restore(self, cls: Any, payload: dict[str, Any]) -> Any:
        """The object, of a class that fits; any exception means that its fields do not."""

    def unpack(self, payload: Any, reader: Reader) -> Any:
        name = payload["class"]
        cls = find_class(name)
        if cls is not None and self.fits(cls):
            try:
                return self.restore(cls, payload)
            except Exception:
                pass  # the class has changed since
        return Unknown(self.tag, name, payload)


class UnknownFamily(Family):
    """Written again as the object was that it stands for."""

    tag, kinds = "unknown", (Unknown,)

    def pack(self, value: Any, packer: Packer) -> Any:
        return [value._tag, {name: packer.part(part, f".{name}") for name, part in value._payload.items()}]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        tag, stored = payload
        return reader.unpack(tag, stored)


class EnumFamily(OfClass):
    """By the member's name; a combination of flags by its value."""

    tag = "enum"

    def fits(self, cls: type) -> bool:
        return _is_enum(cls)

    def pack(self, value: Any, packer: Packer) -> Any:
        packed = {"class": name_class(type(value), _is_enum), "name": value._name_}
        try:
            packed["value"] = packer.pack(value._value_)
        except Unsupported as fault:
            if fault.secret or isinstance(value, Flag):
                raise
        return packed

    def restore(self, cls: Any, payload: dict[str, Any]) -> Any:
        if issubclass(cls, Flag):
            return cls(payload["value"])
        return cls._member_map_[payload["name"]]


class NamedTupleFamily(OfClass):
    tag = "namedtuple"

    def fits(self, cls: type) -> bool:
        return _is_named_tuple(cls)

    def pack(self, value: Any, packer: Packer) -> Any:
        cls = type(value)
        if getattr(value, "__dict__", None):
            raise Unsupported("is a named tuple with more attributes than its fields: make a dataclass of it")
        names = zip(cls._fields, tuple.__iter__(value), strict=True)
        return {
            "class": name_class(cls, _is_named_tuple),
            "fields": {name: packer.part(part, f".{name}") for name, part in names},
        }

    def restore(self, cls: Any, payload: dict[str, Any]) -> Any:
        fields = payload["fields"]
        if tuple(fields) != cls._fields:
            raise ValueError("other fields")
        return tuple.__new__(cls, fields.values())


class DataclassFamily(OfClass):
    """All that the object holds, also what is no field; put back without calling `__init__`.

    Fields that the class has got since take their defaults; a stored field that it has lost, or a new one
    without a default, makes it `Unknown`.
    """

    tag = "dataclass"

    def fits(self, cls: type) -> bool:
        return _is_dataclass(cls) and not _is_builtin_below(cls)

    def pack(self, value: Any, packer: Packer) -> Any:
        cls = type(value)
        if _is_builtin_below(cls):
            raise Unsupported(f"is of class {cls.__qualname__!r}, a dataclass on top of a built-in type")
        payload: dict[str, Any] = {"class": name_class(cls, self.fits)}
        names = [field.name for field in dataclasses.fields(cls)]
        fields: dict[str, Any] = {}
        more: dict[str, Any] = {}
        for name in (*names, *(name for name in _attributes(value) if name not in names)):
            try:
                part = object.__getattribute__(value, name)
            except AttributeError:
                continue  # a field with init=False that was never set
            (fields if name in names else more)[name] = part
        payload["fields"] = {name: packer.part(part, f".{name}") for name, part in fields.items()}
        if more:
            payload["more"] = {name: packer.part(part, f".{name}") for name, part in more.items()}
        return payload

    def restore(self, cls: Any, payload: dict[str, Any]) -> Any:
        stored = dict(payload["fields"])
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if not stored.keys() <= fields.keys():
            raise ValueError("fields have gone")
        for name, field in fields.items():
            if name in stored or not field.init:
                continue
            if field.default is not dataclasses.MISSING:
                stored[name] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                stored[name] = field.default_factory()
            else:
                raise ValueError("a field without a default was added")
        made = object.__new__(cls)
        for name, part in (*stored.items(), *payload.get("more", {}).items()):
            object.__setattr__(made, name, part)
        return made


def _attributes(value: Any) -> list[str]:
    names = list(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    # what Generic[...] and weak references leave behind is no part of the value
    return [name for name in names if name not in ("__orig_class__", "__weakref__", "__dict__")]


_ENUM, _NAMED_TUPLE, _DATACLASS = EnumFamily(), NamedTupleFamily(), DataclassFamily()
FAMILIES: tuple[Family, ...] = (_ENUM, _NAMED_TUPLE, _DATACLASS, UnknownFamily())


def family_of(kind: type) -> Family | None:
    """Who packs objects of a user's class; None for a class of no known kind."""
    if _is_enum(kind):
        return _ENUM
    if _is_dataclass(kind):
        return _DATACLASS
    return _NAMED_TUPLE if _is_named_tuple(kind) else None
