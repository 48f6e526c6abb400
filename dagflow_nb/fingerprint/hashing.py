"""Content of values as short digests: equal content gives the same digest, in every process.

Rules kept here: types count (1, True and 1.0 differ), the order of dicts and sets does not; nothing that
differs between processes goes in (no id, no hash()); arrays and columns are read where they lie, in
chunks, and copied only where their memory is not in one piece; what cannot be read by content is refused
with the reason, never guessed.

The walk is the codec's: what it can store, this can hash.
"""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePath
from stat import S_ISREG
from typing import Any

from xxhash import xxh3_128

from ..codec.base import SCALARS, TAG, Unsupported, is_plain
from ..codec.classes import OfClass
from ..codec.packing import Packer
from ..codec.registry import family_of

CHUNK = 1 << 26  # bytes that are hashed at a time, so that other threads have their turn
MANY_COLUMNS = 1000  # from so many on, columns of one dtype are taken as one array
BIG = 1 << 18  # bytes from which on a value is hashed in a thread


class NotCacheable(Exception):
    """What cannot be read by content, so that no result may be found by it; `reason` says what and why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def sorted_json(packed: Any) -> bytes:
    """JSON with the keys of objects in order, as ASCII."""
    return _write(packed).encode("ascii")


_write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def digest_of(data: bytes) -> str:
    """128 bits of these bytes, as 32 hexadecimal digits (XXH3)."""
    return xxh3_128(data).hexdigest()


class Content(Packer):
    """Reads one value (or several that belong together) into what `digest` makes short.

    `paths`: a path was met, whose file counts too, so that the digest holds for this moment only. `files`:
    those that are files, as `file_facts` has them.
    """

    __slots__ = ("files", "paths")

    def __init__(self, *, careful: bool = False) -> None:
        super().__init__(inline=True, careful=careful)
        self.paths = False
        self.files: dict[str, list[int]] = {}

    def pack(self, value: Any) -> Any:
        """`value` as JSON in which everything big stands by its digest; raises `Unsupported`."""
        kind = type(value)
        if kind in SCALARS:
            return self._scalar(value) if self.careful else value
        if kind is list or kind is dict:
            return super().pack(value)
        direct = _direct(kind)
        if direct is not None:
            return {TAG: kind.__name__, "v": direct(self, value)}
        if kind is OrderedDict:  # equal only in the same order
            return {TAG: "ordereddict", "v": Packer.pairs(self, value)}
        if kind is set or kind is frozenset:
            return {TAG: kind.__name__, "v": sorted(_write(self.part(item, ".item")) for item in value)}
        try:
            packed = super().pack(value)
        except Unsupported as fault:
            if fault.steps or fault.whole or fault.secret:
                raise
            return self.other(value, fault)
        if isinstance(value, PurePath):
            packed["file"] = self.file(value)
        elif isinstance(family_of(kind), OfClass):
            packed["code"] = self.of_class(kind)
        return packed

    def other(self, value: Any, fault: Unsupported) -> Any:
        """What the codec does not know."""
        raise fault

    def of_class(self, kind: type) -> Any:
        """What the class of a value adds to it."""
        return None

    def file(self, path: Any) -> Any:
        """The size and the time of the last change of a file; None where there is none."""
        self.paths = True
        found = _stat(path)
        if found is None:
            return None
        if S_ISREG(found.st_mode):
            self.files[str(path)] = _facts(found)
        return _facts(found)

    def binary(self, data: Any) -> Any:
        """Binary data by its digest."""
        return digest_of(data)

    def pairs(self, mapping: Any) -> Any:
        """The items of a mapping, in an order that does not depend on how they were put in."""
        return sorted(super().pairs(mapping), key=lambda pair: _write(pair[0]))

    # --- arrays and frames --------------------------------------------------------------------

    def array(self, array: Any) -> Any:
        """dtype, shape and the digest of the items in C order."""
        if array.dtype.hasobject or array.dtype.char == "T":
            items = self.parts(array.ravel().tolist())
            return [array.dtype.str, list(array.shape), digest_of(sorted_json(items))]
        hasher = xxh3_128()
        _feed(hasher, array)
        return [_dtype(array.dtype), list(array.shape), hasher.hexdigest()]

    def frame(self, frame: Any) -> Any:
        """A pandas frame column by column; columns of numpy's dtypes are hashed as one stream."""
        np: Any = sys.modules["numpy"]
        hasher = xxh3_128()
        kinds: list[Any] = []
        dtypes = list(frame.dtypes)
        if len(dtypes) > MANY_COLUMNS and _simple(dtypes[0], np) and len(set(dtypes)) == 1:
            kinds = [_dtype(dtypes[0]), len(dtypes)]
            _feed(hasher, frame.to_numpy().T)
        else:
            for place, dtype in enumerate(dtypes):
                column = frame.iloc[:, place]
                if _simple(dtype, np):
                    kinds.append(_dtype(dtype))
                    _feed(hasher, column.to_numpy())
                else:
                    kinds.append(self.part(column.array, f"[{frame.columns[place]!r}]"))
            if len(dtypes) > MANY_COLUMNS and len(set(map(str, kinds))) == 1:
                kinds = [kinds[0], len(dtypes)]
        return {
            "kinds": kinds,
            "data": hasher.hexdigest(),
            "rows": len(frame),
            "index": self.part(frame.index, ".index"),
            "columns": self.part(frame.columns, ".columns"),
            "attrs": self.part(frame.attrs, ".attrs"),
            "unique": not frame.flags.allows_duplicate_labels,
        }

    def polars_frame(self, frame: Any) -> Any:
        """A polars frame column by column."""
        columns = [self.part(frame.to_series(i), f"[{name!r}]") for i, name in enumerate(frame.columns)]
        return [list(frame.shape), columns]

    def polars_series(self, series: Any) -> Any:
        """Numbers without gaps where they lie; else what polars writes."""
        series, dtype = series.rechunk(), series.dtype
        if not series.null_count() and (dtype.is_numeric() or dtype.is_temporal()):
            numbers = series.to_physical()
            if numbers.dtype.is_integer() or numbers.dtype.is_float():
                return [series.name, str(dtype), self.array(numbers.to_numpy())]
        if str(dtype) == "String":  # as their bytes lie, which is not as polars keeps them
            gaps, lengths = series.is_null().cast(int), series.str.len_bytes().fill_null(0)
            text = (series.fill_null("").str.join("").to_list() or [""])[0] or ""
            arrays = [self.array(part.to_numpy()) for part in (gaps, lengths)]
            return [series.name, "String", *arrays, digest_of(text.encode())]
        return [series.name, str(dtype), Packer.pack(self, series)]


_Direct = Callable[[Content, Any], Any]
_DIRECT: dict[tuple[str, str], _Direct] = {
    ("numpy", "ndarray"): Content.array,
    ("pandas", "DataFrame"): Content.frame,
    ("polars", "DataFrame"): Content.polars_frame,
    ("polars", "Series"): Content.polars_series,
}


def _direct(kind: type) -> _Direct | None:
    module = kind.__module__
    if type(module) is not str:
        return None
    root = module.partition(".")[0]
    found = _DIRECT.get((root, kind.__name__))
    if found is not None and getattr(sys.modules.get(root), kind.__name__, None) is kind:
        return found
    return None


def _simple(dtype: Any, np: Any) -> bool:
    return isinstance(dtype, np.dtype) and not dtype.hasobject and dtype.char != "T"


def _dtype(dtype: Any) -> str:
    return str(dtype.str) if dtype.names is None else repr(dtype.descr)


def _feed(hasher: Any, array: Any) -> None:
    """Hash the items of an array in C order."""
    np: Any = sys.modules["numpy"]
    if array.nbytes == 0:
        return
    if array.flags.c_contiguous:
        view = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, len(view), CHUNK):
            hasher.update(view[start : start + CHUNK])
    elif array.nbytes <= CHUNK or array.ndim == 0 or len(array) == 1:
        hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    else:
        rows = max(1, CHUNK * len(array) // array.nbytes)
        for start in range(0, len(array), rows):
            _feed(hasher, array[start : start + rows])


def file_facts(path: str) -> list[int] | None:
    """The size of a file in bytes and the time of its last change in ns; None where there is no file."""
    found = _stat(path)
    return _facts(found) if found is not None and S_ISREG(found.st_mode) else None


def _facts(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns]


def _stat(path: Any) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def packed_digest(make: Callable[[], Content], value: Any, where: str = "") -> tuple[str, bool]:
    """The digest of a value, and whether the state of a file is part of it; raises `NotCacheable`.

    `make` gives a fresh walk; `where` names the value in the reason.
    """
    reader = make()
    try:
        packed = value if is_plain(value) else reader.pack(value)
        try:
            return digest_of(sorted_json(packed)), reader.paths
        except (ValueError, TypeError):  # numbers of thousands of digits, keys that do not compare
            reader = make()
            reader.careful = True
            return digest_of(sorted_json(reader.pack(value))), reader.paths
    except NotCacheable as bad:
        raise NotCacheable(f"{where}{bad.reason}") from None
    except Unsupported as fault:
        raise NotCacheable(f"{where}{_why(fault)}") from None
    except RecursionError:
        raise NotCacheable(f"{where}it is nested too deeply") from None


def _why(fault: Unsupported) -> str:
    if fault.secret:
        return f"{fault.reason}: a secret is in no key; say by cache=lambda ...: what counts instead"
    return fault.reason


def is_big(value: Any, room: int = BIG) -> bool:
    """Whether hashing this value takes so long that it should not happen on the event loop."""
    return _weigh(value, room, 0) > room


def _weigh(value: Any, room: int, depth: int) -> int:
    kind = type(value)
    if kind in SCALARS:
        return len(value) if kind is str else 16
    if kind in (bytes, bytearray, memoryview):
        return len(value)
    if kind in (list, tuple, set, frozenset, dict):
        items = value.values() if kind is dict else value
        total = 32 * len(items)
        if depth > 8:
            return total
        for item in items:
            if total > room:
                break
            total += _weigh(item, room, depth + 1)
        return total
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if hasattr(value, "columns"):  # a frame: its cells
        shape = getattr(value, "shape", (0, 0))
        return int(shape[0]) * int(shape[1]) * 8 if len(shape) == 2 else room + 1
    state = getattr(value, "__dict__", None)
    return 64 + (_weigh(state, room, depth + 1) if type(state) is dict and depth < 8 else 0)
