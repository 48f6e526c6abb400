"""The words of the codec: tags, families of types, what cannot be stored, and JSON as it is written.

Rules kept here: a tagged value is `{"$dagflow": TAG, "v": PAYLOAD}`; a user's own dict with that key is
written as pairs, so that nothing a user stores can be taken for a tag; JSON is exact (NaN, infinities,
big integers, lone surrogates); nothing is imported that the value does not bring with it.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]  # not in typeshed
from typing import TYPE_CHECKING, Any

from ..errors import SerializationError

if TYPE_CHECKING:
    from .packing import Packer, Reader

TAG = "$dagflow"
# SQLite holds at most 1e9 bytes in one row; what is beyond stays in memory
MAX_BYTES = 990_000_000
# deep enough for data, shallow enough for the interpreter's stack, when reading back too
MAX_DEPTH = 100
# from so many containers on it is checked whether they are few objects, met again and again; what 30 lists
# that hold each other twice stand for has no end
MANY = 100_000
MOST = 20_000_000

SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
CONTAINERS: frozenset[type] = frozenset({dict, list})
all_scalars = SCALARS.issuperset
all_str = frozenset({str}).issuperset
all_containers = CONTAINERS.issuperset


class Unsupported(Exception):
    """A value that cannot be stored, and why; never leaves the codec.

    `whole` says that the fault lies with the value as a whole (too deep, circular), not with one part
    of it; `secret` that it holds one, which must not be stored in any other way either.
    """

    def __init__(self, why: str, *, whole: bool = False, secret: bool = False) -> None:
        self.why, self.whole, self.secret = why, whole, secret
        self.steps: list[str] = []
        super().__init__(why)

    @property
    def reason(self) -> str:
        """Where in the value it is, and why it cannot be stored."""
        where = "".join(reversed(self.steps))
        if len(where) > 100:
            where = f"{where[:60]}...{where[-30:]}"
        return f"{where.removeprefix('.') or 'it'} {self.why}"


@dataclass(frozen=True, slots=True)
class MissingValue:
    """Stands where a value could not be written: `reason` says why, `repr` how it looked."""

    reason: str
    repr: str = ""

    def __str__(self) -> str:
        return f"<not stored: {self.reason}>"


class Family(ABC):
    """One kind of value: how it becomes JSON, and how it comes back.

    `tag` names it in the JSON; `kinds` are the exact types it takes. `leaf` marks values that hold no
    other values; `transparent` those in which a message may have a gap (a `MissingValue`) and still be read;
    `flat` those whose payload's names stand beside the tag.
    """

    tag: str
    kinds: tuple[type, ...] = ()
    leaf = False
    transparent = False
    flat = False

    def pack(self, value: Any, packer: Packer) -> Any:
        """The payload: JSON, or what `packer` makes of parts. Raises `Unsupported`."""
        raise NotImplementedError(f"{self.tag!r} is what the packer writes itself")

    @abstractmethod
    def unpack(self, payload: Any, reader: Reader) -> Any:
        """The value again; any exception means that the payload is damaged."""


def clip(text: object, limit: int = 120) -> str:
    """`str(text)` in at most `limit` characters; what cannot be shown is named by its type."""
    try:
        shown = str(text)
    except Exception:
        return f"<{type(text).__name__}>"
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


def too_big() -> Unsupported:
    """Why a value of too many bytes cannot be stored."""
    return Unsupported(f"is larger than {MAX_BYTES:,} bytes, the most that one value may have", whole=True)


def read_fault(bad: Exception) -> Unsupported:
    """Any exception while a value is read, as the reason why it cannot be stored."""
    if isinstance(bad, Unsupported):
        return bad
    if isinstance(bad, RecursionError):
        return Unsupported("is nested too deeply", whole=True)
    return Unsupported(f"could not be read ({type(bad).__name__}: {clip(bad)})")


def is_plain(value: Any) -> bool:
    """Whether `value` is JSON as it stands: exact types, `str` keys, no tag, not too deep, not circular."""
    kind = type(value)
    if kind in SCALARS:
        return True
    if kind is dict:
        if not all_str(map(type, value)) or TAG in value:
            return False
        if all_scalars(map(type, value.values())):
            return True
    elif kind is list:
        if all_scalars(map(type, value)):
            return True
    else:
        return False
    return _is_plain_nested(value)


def _parts(container: Any) -> list[Any] | None:
    """The containers right below this one; None if it, or anything right below it, is not plain."""
    items = container
    if type(container) is dict:
        if not all_str(map(type, container)) or TAG in container:
            return None
        items = container.values()
    if all_scalars(map(type, items)):
        return []
    found = [item for item in items if type(item) not in SCALARS]
    return found if all_containers(map(type, found)) else None


def _is_plain_nested(value: Any) -> bool:
    # level by level: no stack to overflow, and a level that explodes is seen as such
    level, total = [value], 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            parts = _parts(container)
            if parts is None:
                return False
            below += parts
        if not below:
            return True
        total += len(below)
        if total > MANY and len(set(map(id, below))) < len(below) / 100:
            return _is_bounded(below)
        level = below
    return False


def _is_bounded(containers: list[Any]) -> bool:
    # few objects stand for many: each is looked at once, with the number of times that it is met
    times, known = Counter(map(id, containers)), {id(found): found for found in containers}
    for _ in range(MAX_DEPTH):
        again: Counter[int] = Counter()
        below: dict[int, Any] = {}
        for key, container in known.items():
            parts = _parts(container)
            if parts is None:
                return False
            for part in parts:
                again[id(part)] += times[key]
                below[id(part)] = part
        if not below:
            return True
        if again.total() > MOST:
            return False
        times, known = again, below
    return False


def _no_default(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON type")


def _make_writer() -> Callable[[Any], str]:
    encoder = json.JSONEncoder(
        ensure_ascii=False, check_circular=False, separators=(",", ":"), default=_no_default
    )
    if c_make_encoder is None:
        return encoder.encode
    # JSONEncoder makes this object anew for every value, which costs more than writing a small dict
    chunks = c_make_encoder(None, _no_default, encode_basestring, None, ":", ",", False, False, True)
    return lambda value: "".join(chunks(value, 0))


write_json = _make_writer()


def json_of_ids(ids: tuple[str, ...]) -> str:
    """The same as `write_json` for a few texts, in a fraction of its time."""
    return f"[{','.join(map(encode_basestring, ids))}]"


CHUNK = 10_000  # items that are written in one go: no other thread of Python's runs meanwhile
_WIDE, _DEEP = 1000, 10


def json_parts(value: Any, depth: int = 0) -> Iterator[bytes]:
    """The bytes of `write_json(value)`, piece by piece where it has long lists or dicts in it."""
    kind = type(value)
    if kind in CONTAINERS and len(value) > CHUNK:
        opened = b"{" if kind is dict else b"["
        items = iter(value.items() if kind is dict else value)
        while piece := list(islice(items, CHUNK)):
            yield opened
            opened = b","
            text = write_json(dict(piece) if kind is dict else piece)
            yield text[1:-1].encode("utf-8", "surrogatepass")
        yield b"}" if kind is dict else b"]"
    elif kind in CONTAINERS and 0 < len(value) <= _WIDE and depth < _DEEP:
        opened = b"{" if kind is dict else b"["
        for key in value:
            yield opened
            opened = b","
            if kind is dict:
                yield write_json(key).encode("utf-8", "surrogatepass") + b":"
            yield from json_parts(value[key] if kind is dict else key, depth + 1)
        yield b"}" if kind is dict else b"]"
    else:
        yield write_json(value).encode("utf-8", "surrogatepass")


_scan = json.JSONDecoder().raw_decode


def read_json(text: str) -> Any:
    """The JSON in `text`, tags left as they are; raises ValueError."""
    value, end = _scan(text)
    if end != len(text):
        raise ValueError(f"more text after position {end}")
    return value


def library(name: str, package: str | None = None) -> Any:
    """The module `name`, to read a value back; raises a `SerializationError` that says what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as absent:
        root = package or name.partition(".")[0]
        raise SerializationError(
            f"this value needs {root}, which cannot be imported here ({absent}): run `pip install {root}`, "
            "restart the kernel and read it again",
            culprit=root,
        ) from absent


_HINTS = {
    "generator": "make a list of it",
    "async_generator": "collect its items into a list",
    "coroutine": "await it and return the result",
    "function": "return a name or plain data instead",
    "builtin_function_or_method": "return a name or plain data instead",
    "method": "return a name or plain data instead",
    "module": "return a name or plain data instead",
    "type": "return its name instead",
    "memoryview": "make bytes of it",
    "map": "make a list of it",
    "filter": "make a list of it",
    "zip": "make a list of it",
    "dict_keys": "make a list of it",
    "dict_values": "make a list of it",
    "dict_items": "make a list of it",
    "lock": "make it inside the action that needs it",
    "TextIOWrapper": "return its path instead",
    "BufferedReader": "return its path instead",
    "LazyFrame": "collect() it first",
}


_PLAIN_BASES = SCALARS | CONTAINERS | {tuple, set, bytes}


def not_storable(value: Any) -> Unsupported:
    """Why a value of no known family cannot be stored, with the way out."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    hint = _HINTS.get("type" if issubclass(kind, type) else kind.__name__)
    if hint is None:
        base = next((base.__name__ for base in kind.__mro__[1:] if base in _PLAIN_BASES), None)
        hint = "return its data (a dict, a dataclass, an array), or open the flow with allow_pickle=True"
        if base is not None:
            hint = f"a subclass of {base}: return {base}(...) of it"
    return Unsupported(f"is of type {clip(name)}, which has no stored form ({hint})")
