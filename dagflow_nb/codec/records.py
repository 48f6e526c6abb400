"""The engine's own records: nodes, references, commands, inputs of the scheduler, settings.

Rules kept here: a record is written by its class name with the fields that differ from their defaults,
and made again by its constructor; the table of classes is closed, so that a text can name no other.
A value of the user's that cannot be written leaves a gap in its own place only; exceptions are not written.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import typing
from collections.abc import Callable, Mapping
from itertools import compress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..core import messages, model
from ..core.retry import RetryStrategy
from .base import SCALARS, TAG, Family, all_scalars, all_str

if TYPE_CHECKING:
    from .packing import Packer, Reader

_COMMANDS: tuple[type, ...] = typing.get_args(messages.ExecutorCommand)
_INPUTS: tuple[type, ...] = typing.get_args(messages.Input)
_OTHERS: tuple[type, ...] = (
    model.Ref, model.Extended, model.NodeRef, model.NodeOutput, model.Form, model.NodeDef, model.NodeSpec,
    messages.ActionSettings, RetryStrategy,
)  # fmt: skip
_ENUMS: tuple[type, ...] = (
    model.NodeStatus, model.RunStatus, model.When, model.OnFailure, model.HumanTimeoutAction,
)  # fmt: skip
_NONE = object()
_DEEPEST = 5  # records and tuples in each other: an answer, its command, the command's node


class _Field:
    """What the coding must know of one field of a record."""

    __slots__ = ("default", "is_mapping", "is_tuple", "name", "simple")

    def __init__(self, field: dataclasses.Field[Any]) -> None:
        self.name = field.name
        self.default = _NONE if field.default is dataclasses.MISSING else field.default
        self.simple = type(self.default) in SCALARS or self.default == ()
        # the annotation is a text: `tuple[str, ...]`, `Iterable[str] | None`
        self.is_tuple = str(field.type).startswith(("tuple[", "Iterable["))
        self.is_mapping = str(field.type).startswith("Mapping[")

    def is_default(self, value: Any) -> bool:
        """Whether a value of a `simple` field need not be written; nothing of a user's is compared."""
        default = self.default
        return type(value) is type(default) and bool(value == default)


class Fields(tuple[_Field, ...]):
    """The fields of a record class that are written; `values(record)` gives all of them at once."""

    @functools.cached_property
    def values(self) -> Callable[[Any], tuple[Any, ...]]:
        """What takes the values out of a record."""
        names = [field.name for field in self]
        if len(names) > 1:
            return operator.attrgetter(*names)
        return lambda record: tuple(getattr(record, name) for name in names)

    @functools.cached_property
    def defaults(self) -> tuple[Any, ...]:
        """Their defaults."""
        return tuple(field.default for field in self)


def fields_of(cls: Any, leave_out: tuple[str, ...] = ("exception",)) -> Fields:
    """The fields of a record class, without those that are never written."""
    return Fields(_Field(field) for field in dataclasses.fields(cls) if field.name not in leave_out)


def pack_fields(fields: Fields, record: Any, packer: Packer) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    packed: dict[str, Any] = {}
    values = fields.values(record)
    # most of them are the default itself: a record has many fields, and a graph many records
    for field, value in compress(zip(fields, values), map(operator.is_not, values, fields.defaults)):  # noqa: B905  # equally long
        if field.simple and field.is_default(value):
            continue
        name = field.name
        if field.is_tuple and type(value) is tuple:
            packed[name] = packer.slots(value)
        elif field.is_mapping and isinstance(value, Mapping):
            packed[name] = _pack_mapping(value, f".{name}", packer)
        elif name == "action" and not isinstance(value, str):
            # a function: the record is still readable, by the name of its action
            packed[name] = str(getattr(value, "name", None) or getattr(value, "__name__", "?"))
        else:
            packed[name] = packer.slot(value, f".{name}")
    return packed


def pack_plainly(fields: Fields, record: Any, depth: int = 0) -> dict[str, Any] | None:
    """The same for a record with nothing in it but scalars, tuples, mappings of scalars and references, and
    other such records; None for others. A graph has many of them, and the general way takes three times as
    long."""
    packed: dict[str, Any] = {}
    values = fields.values(record)
    for field, value in compress(zip(fields, values), map(operator.is_not, values, fields.defaults)):  # noqa: B905  # equally long
        kind = type(value)
        if kind in SCALARS:
            if not (field.simple and field.is_default(value)):
                packed[field.name] = value
        elif field.is_mapping and (kind is dict or kind is MappingProxyType):
            inputs = _plain_mapping(value)
            if inputs is None:
                return None
            packed[field.name] = inputs
        elif kind is tuple and field.is_tuple:
            items = _plain_items(value, depth)
            if items is None:
                return None
            if value != field.default:
                packed[field.name] = items
        else:
            plain = plain_part(value, depth)
            if plain is None:
                return None
            packed[field.name] = plain
    return packed


def plain_part(value: Any, depth: int = 0) -> Any:
    """A scalar, tuple or record in JSON with tags, None where it is not plain."""
    kind = type(value)
    if kind is tuple:
        items = _plain_items(value, depth)
        return None if items is None else {TAG: "tuple", "v": items}
    if kind in _STATES:
        return {TAG: kind.__name__, "v": value.value}
    fields = _PLAIN.get(kind)
    if fields is None or depth > _DEEPEST:
        return None
    packed = pack_plainly(fields, value, depth + 1)
    return None if packed is None else {TAG: kind.__name__, "v": packed}


def _plain_mapping(value: Mapping[Any, Any]) -> dict[str, Any] | None:
    if not value:
        return {}
    if not all_str(map(type, value)) or TAG in value:
        return None
    if all_scalars(map(type, value.values())):
        return dict(value)
    packed: dict[str, Any] = {}
    for key, item in value.items():
        if type(item) in SCALARS:
            packed[key] = item
            continue
        part = _plain_ref(item) if type(item) is model.Ref else None
        if part is None:
            return None
        packed[key] = part
    return packed


def _plain_ref(ref: model.Ref) -> dict[str, Any] | None:
    """As `plain_part` has it, in a third of its time: most inputs are references."""
    if type(ref.target) is not str or type(ref.path) is not tuple or not all_scalars(map(type, ref.path)):
        return None
    part: dict[str, Any] = {"target": ref.target}
    if ref.path:
        part["path"] = list(ref.path)
    return {TAG: "Ref", "v": part}


def _plain_items(items: tuple[Any, ...], depth: int) -> list[Any] | None:
    if all_scalars(map(type, items)):
        return list(items)
    if depth > _DEEPEST:
        return None
    packed = []
    for item in items:
        part = item if type(item) in SCALARS else plain_part(item, depth + 1)
        if part is None and item is not None:
            return None
        packed.append(part)
    return packed


def unpack_fields(fields: Fields, payload: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments."""
    given = dict(payload)
    for field in fields:
        if field.is_tuple and type(given.get(field.name)) is list:
            given[field.name] = tuple(given[field.name])
    return given


def _pack_mapping(value: Mapping[Any, Any], step: str, packer: Packer) -> Any:
    try:
        plain = dict(value)
    except Exception:
        # the record needs a mapping: it gets one, with the gap in it
        return {"(unreadable)": packer.slot(value, step)}
    if not packer.are_plain_keys(plain):
        return packer.slot(plain, step)
    return {key: packer.slot(item, f"{step}[{key!r}]") for key, item in plain.items()}


class RecordFamily(Family):
    """One record class of the engine."""

    transparent = True

    def __init__(self, cls: type) -> None:
        self.tag = cls.__name__
        self.kinds = (cls,)
        self.cls: Any = cls
        self.fields = fields_of(cls)

    def pack(self, value: Any, packer: Packer) -> Any:
        return pack_fields(self.fields, value, packer)

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return self.cls(**unpack_fields(self.fields, payload))


class StateFamily(Family):
    """One of the engine's enums, by its value."""

    leaf = True

    def __init__(self, cls: type) -> None:
        self.tag = cls.__name__
        self.kinds = (cls,)
        self.cls: Any = cls

    def pack(self, value: Any, packer: Packer) -> Any:
        return value.value

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return self.cls(payload)


class ConfigFamily(Family):
    """A `DagConfig`, by the settings that were set."""

    tag, transparent = "DagConfig", True

    def pack(self, value: Any, packer: Packer) -> Any:
        return {name: packer.part(setting, f".{name}") for name, setting in value.settings().items()}

    def unpack(self, payload: Any, reader: Reader) -> Any:
        from ..config import DagConfig  # it brings pydantic along, which values need not

        return DagConfig(**payload)


class PlanFamily(Family):
    """A `Plan`, by its steps and which of their ids nobody chose."""

    tag, transparent = "Plan", True

    def pack(self, value: Any, packer: Packer) -> Any:
        steps, unnamed = value.parts()
        return {"steps": packer.slots(steps), "unnamed": list(unnamed)}

    def unpack(self, payload: Any, reader: Reader) -> Any:
        from ..agents.plan import Plan  # it brings actions along, which values need not

        return Plan.of_parts(payload["steps"], payload["unnamed"])


_CONFIG, _PLAN = ConfigFamily(), PlanFamily()
FAMILIES: tuple[Family, ...] = (
    *(RecordFamily(cls) for cls in (*_OTHERS, *_COMMANDS, *_INPUTS)),
    *(StateFamily(cls) for cls in _ENUMS),
    _CONFIG,
    _PLAN,
)


_STATES = frozenset(_ENUMS)
# classes that are imported only where there is one: by module and name
_LATE = {("dagflow_nb.config", "DagConfig"): _CONFIG, ("dagflow_nb.agents.plan", "Plan"): _PLAN}
_PLAIN = {family.cls: family.fields for family in FAMILIES if isinstance(family, RecordFamily)}


def family_of(kind: type) -> Family | None:
    """Who packs a class of this package that is not in the table of types."""
    return _LATE.get((kind.__module__, kind.__name__))
