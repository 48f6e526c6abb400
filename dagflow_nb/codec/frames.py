"""pandas: frames, series and indexes.

Rules kept here: each column is stored as the array it is; labels, names, `attrs` and flags come back too;
what pandas cannot say in full (a subclass, an offset with holidays) is refused.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from . import columns
from .base import Family, library
from .columns import offset_of, pack_freq, pandas

if TYPE_CHECKING:
    from .packing import Packer, Reader


_SPREAD = 100_000  # cells


def _values(column: Any) -> Any:
    """The array of a series or index: numpy's where the dtype is numpy's, else pandas' own."""
    return column.to_numpy() if isinstance(column.dtype, library("numpy").dtype) else column.array


def _index(values: Any, name: Any) -> Any:
    # pandas guesses the type of objects unless it is told
    return pandas().Index(values, dtype=values.dtype, name=name)


class IndexFamily(Family):
    """Every kind of index; a `MultiIndex` by its levels and codes."""

    tag = "pandas.Index"

    def pack(self, value: Any, packer: Packer) -> Any:
        pd, np = pandas(), library("numpy")
        names = packer.parts(list(value.names))
        if isinstance(value, pd.RangeIndex):
            return {"range": [value.start, value.stop, value.step], "names": names}
        if isinstance(value, pd.MultiIndex):
            levels = [packer.part(level, ".levels") for level in value.levels]
            codes = [packer.part(np.asarray(code), ".codes") for code in value.codes]
            return {"levels": levels, "codes": codes, "names": names}
        packed = {"values": packer.part(_values(value), ""), "names": names}
        if isinstance(value, pd.DatetimeIndex | pd.TimedeltaIndex):
            packed["freq"] = pack_freq(value, offset_of)
        return packed

    def unpack(self, payload: Any, reader: Reader) -> Any:
        pd, names = pandas(), payload["names"]
        if "range" in payload:
            return pd.RangeIndex(*payload["range"], name=names[0])
        if "levels" in payload:
            levels, codes = payload["levels"], payload["codes"]
            return pd.MultiIndex(levels=levels, codes=codes, names=names)
        index = _index(payload["values"], names[0])
        if payload.get("freq") is not None:
            index.freq = payload["freq"]
        return index


class SeriesFamily(Family):
    tag = "pandas.Series"

    def pack(self, value: Any, packer: Packer) -> Any:
        return {
            "values": packer.part(_values(value), ".values"),
            "index": packer.part(value.index, ".index"),
            "name": packer.part(value.name, ".name"),
            **_pack_extras(value, packer),
        }

    def unpack(self, payload: Any, reader: Reader) -> Any:
        values = payload["values"]
        series = pandas().Series(values, payload["index"], dtype=values.dtype, name=payload["name"])
        return _unpack_extras(series, payload)


class FrameFamily(Family):
    """Column by column; as one block where all columns have the same numpy dtype."""

    tag = "pandas.DataFrame"

    def pack(self, value: Any, packer: Packer) -> Any:
        packed = {
            "index": packer.part(value.index, ".index"),
            "columns": packer.part(value.columns, ".columns"),
            **_pack_extras(value, packer),
        }
        dtypes = set(value.dtypes)
        only = dtypes.pop() if len(dtypes) == 1 else None
        uniform = len(value.columns) > 1 and isinstance(only, library("numpy").dtype) and only.kind != "O"
        # one that does not lie in one block would be copied for it
        if uniform and (value.size < _SPREAD or getattr(value._mgr, "nblocks", 1) == 1):
            packed["block"] = packer.part(value.to_numpy(), "")
            return packed
        packed["arrays"] = [
            packer.part(_values(value.iloc[:, place]), f"[{name!r}]")
            for place, name in enumerate(value.columns)
        ]
        return packed

    def unpack(self, payload: Any, reader: Reader) -> Any:
        pd, index, columns = pandas(), payload["index"], payload["columns"]
        if "block" in payload:
            frame = pd.DataFrame(payload["block"], index, columns, copy=False)
        else:
            made = {
                place: pd.Series(values, index, dtype=values.dtype, copy=False)
                for place, values in enumerate(payload["arrays"])
            }
            if len(made) != len(columns):
                raise ValueError("there are not as many columns as names")
            frame = pd.DataFrame(made, index, copy=False)
            frame.columns = columns
        return _unpack_extras(frame, payload)


def _pack_extras(value: Any, packer: Packer) -> dict[str, Any]:
    extras = {}
    if value.attrs:
        extras["attrs"] = packer.part(value.attrs, ".attrs")
    if not value.flags.allows_duplicate_labels:
        extras["unique"] = True
    return extras


def _unpack_extras(value: Any, payload: dict[str, Any]) -> Any:
    if "unique" in payload:
        value = value.set_flags(allows_duplicate_labels=False)
    value.attrs = payload.get("attrs", {})
    return value


_TABLES: dict[str, Family] = {"DataFrame": FrameFamily(), "Series": SeriesFamily()}
_INDEX = IndexFamily()
FAMILIES: tuple[Family, ...] = (*_TABLES.values(), _INDEX, *columns.FAMILIES)


def family_of(kind: type) -> Family | None:
    """Who packs a type of pandas' own; subclasses made elsewhere are not."""
    pd: Any = sys.modules["pandas"]
    known = _TABLES.get(kind.__name__)
    if known is not None and getattr(pd, kind.__name__, None) is kind:
        return known
    return _INDEX if issubclass(kind, pd.Index) else columns.family_of(kind)
