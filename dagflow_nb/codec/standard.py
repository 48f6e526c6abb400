"""Values of the standard library that hold no others: one class for each kind.

Rules kept here: exact types only (a subclass is a different type, and would come back as its base); what
is read back is made by the type's own constructor, from plain data.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from .base import Family, MissingValue, Unsupported, library

if TYPE_CHECKING:
    from .packing import Packer, Reader


class _Text(Family):
    """Values that their own text says completely."""

    leaf = True

    def pack(self, value: Any, packer: Packer) -> Any:
        return str(value)

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return self.kinds[0](payload)


class DecimalFamily(_Text):
    tag, kinds = "decimal", (Decimal,)


class UuidFamily(_Text):
    tag, kinds = "uuid", (UUID,)


class DateFamily(_Text):
    tag, kinds = "date", (date,)

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return date.fromisoformat(payload)


class DatetimeFamily(Family):
    """`"2024-05-01T12:00:00"`, with `+00:00` for UTC; `[text, zone, fold]` for other zones or a fold."""

    tag, kinds, leaf = "datetime", (datetime,), True

    def pack(self, value: Any, packer: Packer) -> Any:
        zone, fold = value.tzinfo, value.fold
        if not fold and (zone is None or zone is UTC):
            return value.isoformat()
        if zone is not None and type(zone).__module__.partition(".")[0] == "pytz":
            # a pytz zone is a different object for each offset: only UTC tells which one it was
            return [
                value.astimezone(UTC).replace(tzinfo=None).isoformat(),
                packer.part(zone, ".tzinfo"),
                None,
            ]
        text = value.replace(tzinfo=None, fold=0).isoformat()
        return [text, None if zone is None else packer.part(zone, ".tzinfo"), fold]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        if type(payload) is str:
            return datetime.fromisoformat(payload)
        text, zone, fold = payload
        moment = datetime.fromisoformat(text)
        if fold is None:
            return zone.fromutc(moment)
        return moment.replace(tzinfo=zone, fold=fold)


class TimeFamily(Family):
    tag, kinds, leaf = "time", (time,), True

    def pack(self, value: Any, packer: Packer) -> Any:
        zone = value.tzinfo
        text = value.replace(tzinfo=None, fold=0).isoformat()
        return [text, None if zone is None else packer.part(zone, ".tzinfo"), value.fold]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        text, zone, fold = payload
        return time.fromisoformat(text).replace(tzinfo=zone, fold=fold)


class TimedeltaFamily(Family):
    tag, kinds, leaf = "timedelta", (timedelta,), True

    def pack(self, value: Any, packer: Packer) -> Any:
        return [value.days, value.seconds, value.microseconds]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return timedelta(*payload)


class TimezoneFamily(Family):
    tag, kinds, leaf = "timezone", (timezone,), True

    def pack(self, value: Any, packer: Packer) -> Any:
        offset, *name = value.__getinitargs__()
        return [offset.days, offset.seconds, offset.microseconds, *name]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        days, seconds, microseconds, *name = payload
        offset = timedelta(days, seconds, microseconds)
        return timezone(offset, *name) if offset or name else UTC


class ZoneFamily(Family):
    """Time zones by their names: `["zoneinfo", "Europe/Berlin"]`; also those of pytz and dateutil."""

    tag, leaf = "zone", True

    def pack(self, value: Any, packer: Packer) -> Any:
        kind, root = type(value).__name__, type(value).__module__.partition(".")[0]
        if root == "zoneinfo" and kind == "ZoneInfo" and value.key is not None:
            return ["zoneinfo", value.key]
        if root == "pytz" and isinstance(getattr(value, "zone", None), str):
            return ["pytz", value.zone]
        if root == "dateutil" and kind == "tzutc":
            return ["tzutc"]
        if root == "dateutil" and kind == "tzoffset":
            return ["tzoffset", value.tzname(None), value.utcoffset(None).total_seconds()]
        raise Unsupported("is a time zone without a name: use zoneinfo.ZoneInfo('Area/City')")

    def unpack(self, payload: Any, reader: Reader) -> Any:
        kind, *rest = payload
        if kind == "zoneinfo":
            zoneinfo = library("zoneinfo")
            try:
                return zoneinfo.ZoneInfo(*rest)
            except zoneinfo.ZoneInfoNotFoundError:
                library("tzdata")
                raise
        if kind == "pytz":
            return library("pytz").timezone(*rest)
        tz = library("dateutil.tz", "python-dateutil")
        return {"tzutc": tz.tzutc, "tzoffset": tz.tzoffset}[kind](*rest)


class PathFamily(Family):
    """`["posix", text]` or `["windows", text]`, with `"pure"` for pure paths."""

    tag, leaf = "path", True
    kinds = (PosixPath, WindowsPath, PurePosixPath, PureWindowsPath)

    def pack(self, value: Any, packer: Packer) -> Any:
        flavour = "windows" if isinstance(value, PureWindowsPath) else "posix"
        text = packer.part(str(value), "")
        return [flavour, text] if isinstance(value, Path) else [flavour, text, "pure"]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        flavour, text, *pure = payload
        cls: type[PurePath] = {"posix": PurePosixPath, "windows": PureWindowsPath}[flavour]
        # a path of the other system can only be a pure one here
        return Path(text) if not pure and issubclass(type(Path()), cls) else cls(text)


class _Bytes(Family):
    """Binary data."""

    leaf = True

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.binary(bytes(value))

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return self.kinds[0](reader.binary(payload))


class BytesFamily(_Bytes):
    tag, kinds = "bytes", (bytes,)


class BytearrayFamily(_Bytes):
    tag, kinds = "bytearray", (bytearray,)


class BlobFamily(Family):
    """A binary part beside the JSON, by its number; made by `Packer.binary`."""

    tag = "blob"

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return reader.blobs[payload]


class IntFamily(Family):
    """An integer with more digits than the interpreter writes; made by `Packer`."""

    tag = "int"

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return int(payload, 16)


class StrFamily(Family):
    """A text that UTF-8 cannot hold; made by `Packer`."""

    tag = "str"

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return str(reader.binary(payload), "utf-8", "surrogatepass")


class ComplexFamily(Family):
    tag, kinds, leaf = "complex", (complex,), True

    def pack(self, value: Any, packer: Packer) -> Any:
        return [value.real, value.imag]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return complex(*payload)


class _Bounds(Family):
    """Start, stop and step."""

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.parts([value.start, value.stop, value.step])

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return self.kinds[0](*payload)


class RangeFamily(_Bounds):
    tag, kinds = "range", (range,)


class SliceFamily(_Bounds):
    tag, kinds = "slice", (slice,)


class EllipsisFamily(Family):
    tag, kinds, leaf = "ellipsis", (EllipsisType,), True

    def pack(self, value: Any, packer: Packer) -> Any:
        return None

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return ...


class NamedTypeFamily(Family):
    """Types of modules that are not imported by everybody: the type's name, and its text."""

    tag, leaf = "named", True
    types: ClassVar[dict[str, tuple[str, ...]]] = {
        "ipaddress": (
            "IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface",
        ),
        "fractions": ("Fraction",),
    }  # fmt: skip

    def pack(self, value: Any, packer: Packer) -> Any:
        return [type(value).__module__, type(value).__name__, str(value)]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        module, name, text = payload
        if name not in self.types[module]:
            raise ValueError(f"{module}.{name} is no type of this kind")
        return getattr(library(module), name)(text)


class GapFamily(Family):
    """A value that could not be written; read as `MissingValue`."""

    tag, kinds, leaf, transparent, flat = "memory", (MissingValue,), True, True, True

    def pack(self, value: Any, packer: Packer) -> Any:
        if not packer.lenient:
            raise Unsupported(f"stands for a value that was not stored ({value.reason})")
        return {"reason": packer.part(value.reason, ""), "repr": packer.part(value.repr, "")}

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return MissingValue(payload["reason"], payload["repr"])


_NAMED, _ZONE = NamedTypeFamily(), ZoneFamily()
FAMILIES: tuple[Family, ...] = (
    DecimalFamily(), UuidFamily(), DateFamily(), DatetimeFamily(), TimeFamily(), TimedeltaFamily(),
    TimezoneFamily(), PathFamily(), BytesFamily(), BytearrayFamily(), BlobFamily(), IntFamily(), StrFamily(),
    ComplexFamily(), RangeFamily(), SliceFamily(), EllipsisFamily(), GapFamily(), _NAMED, _ZONE,
)  # fmt: skip


def family_of(kind: type) -> Family | None:
    """Who packs a type of a module that is not imported by everybody."""
    module, name = kind.__module__, kind.__name__
    if name in NamedTypeFamily.types.get(module, ()) and getattr(sys.modules[module], name, None) is kind:
        return _NAMED
    return _ZONE if issubclass(kind, tzinfo) else None
