"""Containers of the standard library: one class for each kind.

Rules kept here: exact types only; order is kept; in a message the items of tuples and mappings may be gaps.
"""

from __future__ import annotations

import collections
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.model import EMPTY
from .base import Family, Unsupported

if TYPE_CHECKING:
    from .packing import Packer, Reader


class _Items(Family):
    """Containers that their constructor makes of a list."""

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.parts(value)

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return self.kinds[0](payload)


class TupleFamily(_Items):
    tag, kinds, transparent = "tuple", (tuple,), True


class SetFamily(_Items):
    tag, kinds = "set", (set,)


class FrozensetFamily(_Items):
    tag, kinds = "frozenset", (frozenset,)


class DequeFamily(Family):
    tag, kinds = "deque", (collections.deque,)

    def pack(self, value: Any, packer: Packer) -> Any:
        return [packer.parts(value), value.maxlen]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return collections.deque(*payload)


class _Pairs(Family):
    """Mappings, as pairs."""

    transparent = True

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.pairs(value)

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return self.kinds[0]((key, value) for key, value in payload)


class DictFamily(_Pairs):
    """A dict whose keys are not all texts, or one that has the tag's key."""

    tag, kinds = "dict", (dict,)


class OrderedDictFamily(_Pairs):
    tag, kinds = "ordereddict", (collections.OrderedDict,)


class CounterFamily(_Pairs):
    tag, kinds = "counter", (collections.Counter,)

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return collections.Counter({key: value for key, value in payload})


class DefaultdictFamily(_Pairs):
    """With one of the plain types, or nothing, as its factory."""

    tag, kinds = "defaultdict", (collections.defaultdict,)
    factories: ClassVar[dict[str, type]] = {
        kind.__name__: kind for kind in (list, dict, set, tuple, str, int, float, bool, frozenset)
    }

    def pack(self, value: Any, packer: Packer) -> Any:
        factory = value.default_factory
        if factory is not None and self.factories.get(getattr(factory, "__name__", "")) is not factory:
            raise Unsupported("is a defaultdict that makes its values by a function: make a dict of it")
        return [None if factory is None else factory.__name__, packer.pairs(value)]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        name, pairs = payload
        factory = None if name is None else self.factories[name]
        return collections.defaultdict(factory, ((key, value) for key, value in pairs))


class MappingProxyFamily(Family):
    tag, kinds, transparent = "mappingproxy", (MappingProxyType,), True

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.part(dict(value), "")

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return MappingProxyType(payload)


class EmptyFamily(Family):
    """The engine's own empty mapping."""

    tag, kinds, leaf = "empty", (type(EMPTY),), True

    def pack(self, value: Any, packer: Packer) -> Any:
        return None

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return EMPTY


class NamespaceFamily(Family):
    tag, kinds = "namespace", (SimpleNamespace,)

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.part(vars(value), "")

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return SimpleNamespace(**payload)


FAMILIES: tuple[Family, ...] = (
    TupleFamily(), SetFamily(), FrozensetFamily(), DequeFamily(), DictFamily(), OrderedDictFamily(),
    CounterFamily(), DefaultdictFamily(), MappingProxyFamily(), EmptyFamily(), NamespaceFamily(),
)  # fmt: skip
