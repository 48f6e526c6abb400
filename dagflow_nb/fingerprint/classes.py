"""What a class of one's own does: its methods, constants, fields and bases.

Rules kept here: what dataclasses, enums and pydantic make of a class is left out, what they make it of
counts; annotations count, as they may make fields.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import types
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .walk import Walk

# what classes have that says nothing about what they do, or is made from what does
_LEFT_OUT = frozenset({
    "__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__", "__slots__",
    "__slotnames__",
    "__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__",
    "__abstractmethods__", "_abc_impl", "__match_args__", "__parameters__", "__orig_bases__",
    "__signature__", "__dataclass_fields__", "__dataclass_params__", "__classcell__", "__subclasshook__",
    "_is_protocol", "__protocol_attrs__", "__non_callable_proto_members__", "model_fields",
    "model_computed_fields", "__class_vars__", "__private_attributes__",
})  # fmt: skip
_OF_ENUMS = re.compile(r"_[a-z0-9_]+_|__new__|__reduce_ex__|__repr__|__str__|__format__")
_OF_FIELDS = frozenset({
    "annotation", "default", "default_factory", "alias", "alias_priority", "validation_alias", "metadata",
    "frozen", "validate_default", "init", "init_var", "kw_only", "discriminator",
})  # fmt: skip


def class_parts(walk: Walk, cls: type, name: str) -> list[Any]:
    """What the class is made of, in a fixed order, as references to parts of `walk`."""
    refs: list[Any] = [["bases", [walk.class_(base) for base in cls.__bases__]], walk.class_(type(cls))]
    is_enum, is_data = issubclass(cls, Enum), "__dataclass_fields__" in cls.__dict__
    for key, value in sorted(cls.__dict__.items()):
        if key in _LEFT_OUT or key.startswith("__pydantic"):
            continue
        if is_enum and _OF_ENUMS.fullmatch(key):
            continue
        if is_data and isinstance(value, types.FunctionType) and value.__code__.co_filename == "<string>":
            continue
        refs.append([key, _member(walk, value, f"{name}.{key}")])
    refs += _fields(walk, cls, name)
    return refs


def _member(walk: Walk, value: Any, name: str) -> Any:
    kind = type(value)
    if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
        return "slot"
    if isinstance(value, staticmethod | classmethod):
        return [kind.__name__, walk.refer(value.__func__, name)]
    if kind is property:
        return ["property", *(walk.refer(f, name) for f in (value.fget, value.fset, value.fdel) if f)]
    if isinstance(value, functools.cached_property):
        return ["cached_property", walk.refer(value.func, name)]
    if isinstance(value, Enum):
        return ["member", walk.refer(value._value_, f"constant {name}")]
    return walk.refer(value, f"constant {name}")


def _fields(walk: Walk, cls: Any, name: str) -> list[Any]:
    """What a dataclass or a pydantic model makes of its annotations."""
    found: list[Any] = []
    if "__dataclass_fields__" in cls.__dict__:
        for f in dataclasses.fields(cls):
            facts = {"type": f.type, "default": f.default, "factory": f.default_factory}
            facts = {k: v for k, v in facts.items() if v is not dataclasses.MISSING}
            flags = [f.name, f.init, f.repr, f.hash, f.compare, f.kw_only]
            found.append([*flags, walk.value_of(facts, f"field {name}.{f.name}")])
        found.append(repr(cls.__dataclass_params__))
    elif "__pydantic_fields__" in cls.__dict__ or "model_fields" in cls.__dict__:
        for key, field in cls.__pydantic_fields__.items():
            slots = [s for s in type(field).__slots__ if s in _OF_FIELDS]
            facts = {slot: getattr(field, slot, None) for slot in slots}
            found.append([key, walk.value_of(facts, f"field {name}.{key}")])
        found.append(walk.value_of(dict(cls.model_config), f"config {name}"))
    else:
        known = annotations_of(cls)
        if known:
            found.append([[k, walk.refer(v, f"annotation {name}.{k}")] for k, v in sorted(known.items())])
    return found


def annotations_of(obj: Any) -> dict[str, Any]:
    """The annotations of a function, or of a class itself; none where they cannot be made."""
    try:
        found = vars(obj).get("__annotations__") if isinstance(obj, type) else obj.__annotations__
        if found is None and sys.version_info >= (3, 14):
            from annotationlib import Format, get_annotations

            found = get_annotations(obj, format=Format.FORWARDREF)
    except Exception:  # an annotation may be any expression
        return {}
    return dict(found or {})
