"""One walk over a value, into JSON with tags and back.

Rules kept here: the walk ends (depth, circles and repetition are bounded); a lenient walk leaves gaps
(`MissingValue`) only in dicts, lists, tuples and the engine's own records, never inside a user's object;
reading looks classes up and imports the libraries of the tags, and runs nothing else that a text names.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from ..errors import SerializationError, shorten
from .base import (
    MANY,
    MAX_BYTES,
    MAX_DEPTH,
    SCALARS,
    TAG,
    Family,
    Unsupported,
    all_scalars,
    all_str,
    clip,
    not_storable,
    read_fault,
    read_json,
    too_big,
)
from .registry import family_named, family_of

SMALL = 512  # so many bytes are written into the JSON itself, more of them beside it
BIG_INT = 2000  # bits: beyond this the interpreter may refuse to write or read decimal digits


def has_surrogates(text: str) -> bool:
    """Whether `text` holds code points that UTF-8 cannot hold."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


class Packer:
    """Makes JSON with tags of one value.

    `blobs` collects big binary parts; with `inline` they stay in the JSON, as text. `lenient` leaves gaps,
    made by `gap(value, fault)`, instead of raising `Unsupported`. `careful` looks at each text and number,
    which is only needed where writing the JSON has failed without.
    """

    __slots__ = ("_count", "_open", "_seen", "blobs", "bytes", "careful", "gap", "inline", "lenient", "small")

    def __init__(
        self,
        *,
        inline: bool = False,
        careful: bool = False,
        small: int = SMALL,
        gap: Callable[[Any, Unsupported], Any] | None = None,
    ) -> None:
        self.inline, self.careful, self.small, self.gap = inline, careful, small, gap
        self.lenient = gap is not None
        self.blobs: list[tuple[Any, ...]] = []
        self.bytes = 0
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._count = 0

    def pack(self, value: Any) -> Any:
        """`value` as JSON with tags; raises `Unsupported`."""
        kind = type(value)
        if kind in SCALARS:
            return self._scalar(value) if self.careful else value
        if kind is list:
            return self._list(value)
        if kind is dict and self.are_plain_keys(value):
            return self._dict(value)
        family = self._family(value)
        payload = self._payload(family, value)
        return {TAG: family.tag, **payload} if family.flat else {TAG: family.tag, "v": payload}

    def part(self, value: Any, step: str | tuple[Any]) -> Any:
        """A part of a value; `step` says which, where it cannot be stored: `".name"`, or `(key,)`."""
        try:
            return self.pack(value)
        except Unsupported as fault:
            if self.lenient and not fault.whole and self.gap is not None:
                return self.gap(value, fault)
            fault.steps.append(step if type(step) is str else f"[{shorten(step[0], 40)}]")
            raise

    def slot(self, value: Any, step: str | tuple[Any]) -> Any:
        """A user's value in a record: where it cannot be stored at all, the gap is there and no wider."""
        if type(value) in SCALARS and not self.careful:
            return value
        if not self.lenient or self.gap is None:
            return self.part(value, step)
        fresh = Packer(inline=self.inline, careful=self.careful, small=self.small, gap=self.gap)
        fresh._open, fresh.bytes = self._open, self.bytes
        try:
            packed = fresh.pack(value)
        except Unsupported as fault:
            return self.gap(value, fault)
        self.bytes = fresh.bytes
        return packed

    def slots(self, items: tuple[Any, ...]) -> list[Any]:
        """The items of a tuple in a record, each a user's value."""
        if all_scalars(map(type, items)) and not self.careful:
            return list(items)
        return [self.slot(item, (i,)) for i, item in enumerate(items)]

    def parts(self, items: Any) -> list[Any]:
        """The items of a sequence, each packed."""
        if all_scalars(map(type, items)) and not self.careful:
            return list(items)
        return [self.part(item, (i,)) for i, item in enumerate(items)]

    def pairs(self, mapping: Any) -> list[list[Any]]:
        """The items of a mapping whose keys need not be texts. A key that cannot be stored is never a gap."""
        packed = []
        for key, value in mapping.items():
            lenient, self.lenient = self.lenient, False
            try:
                name = self.part(key, "'s key")
            finally:
                self.lenient = lenient
            packed.append([name, self.part(value, (key,))])
        return packed

    def binary(self, *parts: Any) -> Any:
        """Binary data (buffers of bytes, one after the other) as a payload that `Reader.binary` reads."""
        size = sum(map(len, parts))
        self.bytes += size * 4 // 3 if self.inline else size
        if self.bytes > MAX_BYTES:
            raise too_big()
        if self.inline or size < self.small:
            return base64.b64encode(b"".join(parts)).decode("ascii")
        self.blobs.append(parts)
        return {TAG: "blob", "v": len(self.blobs) - 1}

    def are_plain_keys(self, mapping: dict[Any, Any]) -> bool:
        """Whether these keys can be those of a JSON object."""
        if not all_str(map(type, mapping)) or TAG in mapping:
            return False
        return not (self.careful and self.inline and any(map(has_surrogates, mapping)))

    def _scalar(self, value: Any) -> Any:
        if type(value) is int and value.bit_length() > BIG_INT:
            return {TAG: "int", "v": hex(value)}
        if self.inline and type(value) is str and has_surrogates(value):
            return {TAG: "str", "v": self.binary(value.encode("utf-8", "surrogatepass"))}
        return value

    def _list(self, value: list[Any]) -> list[Any]:
        if not self.careful and all_scalars(map(type, value)):
            return value
        self._enter(value)
        try:
            return [self.part(item, (i,)) for i, item in enumerate(value)]
        finally:
            self._open.discard(id(value))

    def _dict(self, value: dict[str, Any]) -> dict[str, Any]:
        if not self.careful and all_scalars(map(type, value.values())):
            return value
        self._enter(value)
        try:
            return {key: self.part(item, (key,)) for key, item in value.items()}
        finally:
            self._open.discard(id(value))

    def _family(self, value: Any) -> Family:
        try:
            family = family_of(type(value))
            if family is not None:
                return family
            fault = not_storable(value)
        except Exception as bad:  # a metaclass of a user's may do anything
            fault = Unsupported(f"is of a class that cannot be looked at ({type(bad).__name__}: {clip(bad)})")
        raise fault

    def _payload(self, family: Family, value: Any) -> Any:
        lenient = self.lenient
        if not family.leaf:
            self._enter(value)
        try:
            self.lenient = lenient and family.transparent
            return family.pack(value, self)
        except Unsupported:
            raise
        except Exception as bad:
            raise read_fault(bad) from bad
        finally:
            self.lenient = lenient
            self._open.discard(id(value))

    def _enter(self, value: Any) -> None:
        if id(value) in self._open:
            raise Unsupported(f"contains itself (a {type(value).__name__})", whole=True)
        if len(self._open) >= MAX_DEPTH:
            raise Unsupported(f"is nested more than {MAX_DEPTH} levels deep", whole=True)
        self._open.add(id(value))
        self._seen.add(id(value))
        self._count += 1
        if self._count > MANY and len(self._seen) < self._count / 100:
            raise Unsupported("contains the same few objects over and over again", whole=True)


class Reader:
    """Makes the value again of JSON with tags; `blobs` are the parts that lie beside the JSON."""

    __slots__ = ("_decode", "allow_pickle", "blobs")

    def __init__(self, *, allow_pickle: bool = False, blobs: tuple[memoryview, ...] = ()) -> None:
        self.allow_pickle, self.blobs = allow_pickle, blobs
        self._decode = json.JSONDecoder(object_hook=self._hook).raw_decode

    def read(self, text: str) -> Any:
        """The value; raises whatever a damaged text leads to."""
        if TAG not in text:
            return read_json(text)
        value, end = self._decode(text)
        if end != len(text):
            raise ValueError(f"more text after position {end}")
        return value

    def binary(self, payload: Any) -> Any:
        """What `Packer.binary` was given, as bytes or a memoryview."""
        return base64.b64decode(payload, validate=True) if type(payload) is str else memoryview(payload)

    def _hook(self, found: dict[str, Any]) -> Any:
        # parts come first: the payload of a tag is made of finished values
        if TAG not in found:
            return found
        family = self._family(found[TAG])
        return family.unpack(found if family.flat else found["v"], self)

    def unpack(self, tag: object, payload: Any) -> Any:
        """The value that this payload is under that tag."""
        return self._family(tag).unpack(payload, self)

    def _family(self, tag: object) -> Family:
        family = family_named(tag)
        if family is None:
            raise SerializationError(
                f"the stored value has the tag {shorten(tag)}, which this version of dagflow_nb does not "
                "know: it was written by a newer one, or is damaged",
                culprit=tag,
            )
        return family
