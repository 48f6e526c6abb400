"""`Codec`: values to bytes, and values inside messages to text.

Rules kept here: encoding never raises and never hangs; what it makes is a snapshot; what cannot be
encoded is said, with the reason; pickle is neither written nor read unless `allow_pickle=True`.
"""

from __future__ import annotations

import base64
import itertools
import json
import reprlib
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SerializationError, shorten
from .base import (
    CONTAINERS,
    MAX_BYTES,
    TAG,
    Unsupported,
    clip,
    is_plain,
    json_parts,
    read_fault,
    too_big,
    write_json,
)
from .classes import OfClass
from .packing import Packer, Reader
from .pickling import pickled, unpickled
from .registry import family_of
from .weight import are_heavy

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"DFNB1"
BIG = 1_000_000  # bytes: from here on a value may be lent instead of copied


class Parts(tuple[Any, ...]):
    """Buffers that are a value's bytes, one after the other; some are the value's own memory.

    They are good as long as the value does not change: write them first.
    """

    __slots__ = ()


class Encoded(NamedTuple):
    """How one value is stored.

    `codec`: `"json"` (plain or with tags), `"bundle"` (JSON with binary parts: frames, nested arrays),
    `"npy"`, `"bytes"`, `"pickle"` (only where that is allowed) or `"memory"`: not stored, then `data` is
    None and `reason` says why. `size` is in bytes. `data` is `Parts` only where that was asked for.
    """

    codec: str
    data: bytes | Parts | None
    size: int
    reason: str | None


_CONSTANTS = {None: b"null", True: b"true", False: b"false"}
_SHORT_INT = 2**63


def short_json(value: Any) -> bytes | None:
    """The JSON of a plain value that most outputs are; None where it takes more to make it."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value).encode() if len(value) < 100 and value.isascii() else None
    if kind is int:
        return b"%d" % value if -_SHORT_INT < value < _SHORT_INT else None
    return _CONSTANTS[value] if kind is bool or value is None else None


class Codec:
    """Turns values into bytes and back, keeping their types; thread-safe.

    `allow_pickle`: what has no stored form of its own is pickled (by cloudpickle), and such values are
    read again. Reading a pickle runs whatever code it holds: only for databases that you trust.

    >>> from datetime import date
    >>> codec = Codec()
    >>> stored = codec.encode({"day": date(2024, 5, 1), "rows": (1, 2)})
    >>> codec.decode(stored.codec, stored.data)
    {'day': datetime.date(2024, 5, 1), 'rows': (1, 2)}
    >>> codec.encode(print).codec
    'memory'
    """

    __slots__ = ("_reader", "allow_pickle")

    def __init__(self, *, allow_pickle: bool = False) -> None:
        self.allow_pickle = allow_pickle
        self._reader = Reader(allow_pickle=allow_pickle)

    def encode(self, value: Any, *, lend: bool = False) -> Encoded:
        """`value` as bytes, a snapshot of this moment. Never raises: see `Encoded` for `"memory"`.

        `lend`: what is big may come as `Parts`, without a copy of it being made.
        """
        text = short_json(value)
        if text is not None:
            return _new(Encoded, ("json", text, len(text), None))
        try:
            if not is_plain(value):
                return self._encode(value, lend)
            if type(value) in CONTAINERS and are_heavy((value,)):
                return _encoded("json", tuple(json_parts(value)), lend)
            data = write_json(value).encode("utf-8", "surrogatepass")
            size = len(data)
            if size <= MAX_BYTES:
                return _new(Encoded, ("json", data, size, None))
            raise too_big()
        except ValueError:  # an integer with more digits than may be written
            try:
                return self._encode(value, lend)
            except Exception as bad:
                return self._otherwise(value, bad)
        except Exception as bad:
            return self._otherwise(value, bad)

    def _encode(self, value: Any, lend: bool) -> Encoded:
        if type(value) is bytes:
            if len(value) > MAX_BYTES:
                raise too_big()
            return Encoded("bytes", value, len(value), None)
        alone = type(value).__name__ == "ndarray"  # then its bytes are stored as other tools read them
        packer = Packer(small=0) if alone else Packer()
        packed = packer.pack(value)
        try:
            head = tuple(json_parts(packed))
        except ValueError:
            packer = Packer(careful=True)
            packed = packer.pack(value)
            head = tuple(json_parts(packed))
        if not packer.blobs:
            return _encoded("json", head, lend)
        if alone and packed == {TAG: "numpy.array", "v": {TAG: "blob", "v": 0}}:
            return _encoded("npy", packer.blobs[0], lend)
        return _encoded("bundle", _bundle(head, packer.blobs), lend)

    def _otherwise(self, value: Any, bad: Exception) -> Encoded:
        fault = read_fault(bad)
        reason = fault.reason
        if self.allow_pickle and not fault.secret:
            try:
                data = pickled(value)
                return Encoded("pickle", data, len(data), None)
            except Exception as again:
                reason = f"{reason}; pickling failed too ({clip(again)})"
        return Encoded("memory", None, 0, _printable(reason))

    def decode(self, codec: str, data: bytes | bytearray | None) -> Any:
        """The value that `encode` stored so. A `bytearray` is taken over: arrays may lie in it afterwards.

        Raises `SerializationError`: the bytes are damaged, or were never stored (`"memory"`); a library is
        not installed; it is a pickle, and those are not allowed.
        """
        if codec == "memory" or data is None:
            raise SerializationError(
                "this value was not stored, it was only in the memory of the process that made it: "
                "run the node that makes it again",
                culprit=codec,
            )
        try:
            if codec == "json":
                text = data.decode("utf-8", "surrogatepass") if not isinstance(data, str) else data
                return self._reader.read(text)
            if codec == "bundle":
                return self._unbundle(memoryview(data))
            if codec == "bytes":
                return bytes(data)
            if codec == "npy":
                from .arrays import read_npy

                return read_npy(data)
            if codec == "pickle":
                return unpickled(data, self.allow_pickle)
        except Exception as bad:
            raise _unreadable(bad, codec) from bad
        raise SerializationError(
            f"this value is stored as {shorten(codec)}, which this version of dagflow_nb does not know: "
            "read it with the version that wrote it",
            culprit=codec,
        )

    def _unbundle(self, data: memoryview) -> Any:
        if data[: len(MAGIC)] != MAGIC:
            raise ValueError("it does not begin as it should")
        start = len(MAGIC) + 8
        end = start + int.from_bytes(data[len(MAGIC) : start], "little")
        sizes = json.loads(bytes(data[start:end]))
        if min(sizes) < 0 or sum(sizes) != len(data) - end:
            raise ValueError("its length is not what it should be")
        parts, start = [], end
        for size in sizes:
            parts.append(data[start : start + size])
            start += size
        reader = Reader(allow_pickle=self.allow_pickle, blobs=tuple(parts[1:]))
        return reader.read(str(parts[0], "utf-8", "surrogatepass"))

    def dumps(self, value: Any) -> str:
        """`value` as JSON text, for messages. Never raises.

        What cannot be written leaves `{"$dagflow": "memory", "reason": ..., "repr": ...}` in its place, which
        `loads` reads as a `MissingValue`.
        """
        return self.text(lambda packer: packer.slot(value, ""), value)

    def text(self, pack: Callable[[Packer], Any], plain: Any = None) -> str:
        """JSON text of what `pack` makes with a lenient packer; `plain` is tried first, as it is."""
        try:
            if plain is not None and is_plain(plain):
                packed = plain
            else:
                packed = pack(Packer(inline=True, gap=self._gap))
            text = write_json(packed)
            # SQLite holds UTF-8, which has no lone surrogates
            if text.isascii() or text.encode():
                return text
        except ValueError:  # an integer with too many digits, a text with surrogates
            pass
        except Exception as bad:  # the stack is used up
            return write_json(self._gap(None, read_fault(bad)))
        return write_json(pack(Packer(inline=True, careful=True, gap=self._gap)))

    def loads(self, text: str | bytes) -> Any:
        """The value that `dumps` wrote; raises `SerializationError` where the text is damaged."""
        try:
            return self._reader.read(text if isinstance(text, str) else text.decode())
        except Exception as bad:
            raise _unreadable(bad, "text") from bad

    def _gap(self, value: Any, fault: Unsupported) -> Any:
        if self.allow_pickle and not fault.secret:
            try:
                return {TAG: "pickle", "v": base64.b64encode(pickled(value)).decode("ascii")}
            except Exception:
                pass  # then there is a gap
        shown = f"<{type(value).__name__} with a secret>" if fault.secret else _shown(value, fault)
        # a lone surrogate in either would not fit into the text
        return {TAG: "memory", "reason": _printable(fault.reason), "repr": _printable(shown)}


_new = tuple.__new__


_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 3, 100, 200


def _shown(value: Any, fault: Unsupported) -> str:
    # the repr of what explodes would never end, and that of a dataclass shows all that is in it
    try:
        if fault.whole or isinstance(family_of(type(value)), OfClass):
            return f"<{type(value).__qualname__}>"
        return clip(_REPR.repr(value), 200)
    except Exception:
        return "<an object whose repr fails>"


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _unreadable(bad: Exception, codec: str) -> SerializationError:
    if isinstance(bad, SerializationError):
        return bad
    return SerializationError(
        f"a stored value ({codec}) is damaged and cannot be read ({type(bad).__name__}: {clip(bad)}): "
        "run the node that makes it again",
        culprit=codec,
    )


def _encoded(codec: str, parts: tuple[Any, ...], lend: bool) -> Encoded:
    size = sum(map(len, parts))
    if size > MAX_BYTES:
        raise too_big()
    return Encoded(codec, Parts(parts) if lend and size >= BIG else b"".join(parts), size, None)


def _bundle(head: tuple[bytes, ...], blobs: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    # magic, length of the list of sizes, that list, the JSON, the blobs; the first one where it is aligned
    lengths = [sum(map(len, parts)) for parts in (head, *blobs)]
    sizes = json.dumps(lengths).encode()
    sizes += b" " * (-(len(MAGIC) + 8 + len(sizes) + lengths[0]) % 64)
    return MAGIC, len(sizes).to_bytes(8, "little"), sizes, *head, *itertools.chain(*blobs)
