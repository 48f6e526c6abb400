"""pandas: frames, series, indexes, and the scalars and extension arrays in them.

Rules kept here: each column is stored as the array it is, so that dtypes, time zones, categories and
missing values come back exactly; no pyarrow is needed unless a dtype is pyarrow's own; what pandas cannot
say in full (a subclass, an offset with holidays) is refused.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from .base import Family, Unsupported, library

if TYPE_CHECKING:
    from .packing import Packer, Reader


def _pandas() -> Any:
    return library("pandas")


def _values(column: Any) -> Any:
    """The array of a series or index: numpy's where the dtype is numpy's, else pandas' own."""
    return column.to_numpy() if isinstance(column.dtype, library("numpy").dtype) else column.array


def _pack_freq(value: Any) -> str | None:
    if value.freq is None:
        return None
    text = str(value.freqstr)
    if _read_freq(text) != value.freq and _read_period(text) != value.freq:
        raise Unsupported(f"has the frequency {text!r}, which its text does not say in full: set freq=None")
    return text


def _read_freq(text: str) -> Any:
    try:
        return _pandas().tseries.frequencies.to_offset(text)
    except ValueError:
        return None


def _read_period(text: str) -> Any:
    # a period's "M" is the "ME" of an index of times
    try:
        return _pandas().PeriodDtype(text).freq
    except (ValueError, TypeError):
        return None


class TimestampFamily(Family):
    """`[number since 1970, unit, zone]`; NaT is a value of its own."""

    tag, leaf = "pandas.Timestamp", True

    def pack(self, value: Any, packer: Packer) -> Any:
        zone = value.tz
        number = int(value.asm8.view("i8"))
        return [number, value.unit, None if zone is None else packer.part(zone, ".tz")]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        number, unit, zone = payload
        moment = _pandas().Timestamp(library("numpy").datetime64(number, unit))
        return moment if zone is None else moment.tz_localize("UTC").tz_convert(zone)


class TimedeltaFamily(Family):
    tag, leaf = "pandas.Timedelta", True

    def pack(self, value: Any, packer: Packer) -> Any:
        return [int(value.asm8.view("i8")), value.unit]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return _pandas().Timedelta(library("numpy").timedelta64(*payload))


class PeriodFamily(Family):
    tag, leaf = "pandas.Period", True

    def pack(self, value: Any, packer: Packer) -> Any:
        return [value.ordinal, _pack_freq(value)]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        ordinal, freq = payload
        return _pandas().Period(ordinal=ordinal, freq=freq)


class IntervalFamily(Family):
    tag = "pandas.Interval"

    def pack(self, value: Any, packer: Packer) -> Any:
        return [packer.part(value.left, ".left"), packer.part(value.right, ".right"), value.closed]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return _pandas().Interval(*payload)


class MissingFamily(Family):
    """`NA` and `NaT`."""

    tag, leaf = "pandas.missing", True

    def pack(self, value: Any, packer: Packer) -> Any:
        return "NA" if value is _pandas().NA else "NaT"

    def unpack(self, payload: Any, reader: Reader) -> Any:
        pd = _pandas()
        return {"NA": pd.NA, "NaT": pd.NaT}[payload]


class ExtensionFamily(Family):
    """Extension arrays, as `{"kind": ..., ...}`; the kind is that of the dtype."""

    tag = "pandas.array"

    def pack(self, value: Any, packer: Packer) -> Any:
        pd, np = _pandas(), library("numpy")
        dtype, arrays = value.dtype, pd.arrays
        if type(value) is arrays.NumpyExtensionArray:
            return {"kind": "numpy", "values": packer.part(value.to_numpy(), "")}
        if isinstance(value, pd.Categorical):
            return {
                "kind": "category",
                "codes": packer.part(np.asarray(value.codes), ".codes"),
                "categories": packer.part(value.categories, ".categories"),
                "ordered": bool(value.ordered),
            }
        if isinstance(value, arrays.DatetimeArray):
            zone = value.tz
            naive = value if zone is None else value.tz_convert("UTC").tz_localize(None)
            return {
                "kind": "datetime",
                "values": packer.part(naive.to_numpy(), ""),
                "zone": None if zone is None else packer.part(zone, ".dt.tz"),
            }
        if isinstance(value, arrays.TimedeltaArray):
            return {"kind": "timedelta", "values": packer.part(value.to_numpy(), "")}
        if isinstance(value, arrays.PeriodArray):
            return {"kind": "period", "ordinals": packer.part(value.asi8, ""), "freq": _pack_freq(value)}
        if isinstance(value, arrays.IntervalArray):
            left, right = packer.part(value.left, ".left"), packer.part(value.right, ".right")
            return {"kind": "interval", "left": left, "right": right, "closed": value.closed}
        if isinstance(value, arrays.IntegerArray | arrays.FloatingArray | arrays.BooleanArray):
            mask = np.asarray(value.isna())
            numbers = value.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
            return {"kind": "masked", "values": packer.part(numbers, ""), "mask": packer.part(mask, "")}
        if isinstance(dtype, pd.StringDtype):
            texts = value.to_numpy(dtype=object, na_value=None).tolist()
            missing = "NA" if getattr(dtype, "na_value", pd.NA) is pd.NA else "nan"
            return {
                "kind": "string",
                "texts": packer.parts(texts),
                "storage": dtype.storage,
                "missing": missing,
            }
        if isinstance(dtype, pd.ArrowDtype):
            return {"kind": "arrow", "ipc": packer.binary(_to_arrow(value))}
        if isinstance(value, arrays.SparseArray):
            places = value.sp_index.to_int_index()
            return {
                "kind": "sparse",
                "values": packer.part(np.asarray(value.sp_values), ""),
                "places": packer.part(np.asarray(places.indices), ""),
                "length": int(places.length),
                "fill": packer.part(value.fill_value, ".fill_value"),
                "layout": value.kind,
            }
        raise Unsupported(f"is an array of dtype {str(dtype)!r}, which has no stored form: use another dtype")

    def unpack(self, payload: Any, reader: Reader) -> Any:
        pd = _pandas()
        arrays, kind = pd.arrays, payload["kind"]
        if kind == "numpy":
            return arrays.NumpyExtensionArray(payload["values"])
        if kind == "category":
            dtype = pd.CategoricalDtype(payload["categories"], payload["ordered"])
            return pd.Categorical.from_codes(payload["codes"], dtype=dtype)
        if kind == "datetime":
            naive, zone = pd.DatetimeIndex(payload["values"]), payload["zone"]
            return (naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)).array
        if kind == "timedelta":
            return pd.TimedeltaIndex(payload["values"]).array
        if kind == "period":
            return arrays.PeriodArray(payload["ordinals"], dtype=pd.PeriodDtype(payload["freq"]))
        if kind == "interval":
            return arrays.IntervalArray.from_arrays(payload["left"], payload["right"], payload["closed"])
        if kind == "masked":
            values = payload["values"]
            made = {"i": arrays.IntegerArray, "u": arrays.IntegerArray, "f": arrays.FloatingArray}
            return made.get(values.dtype.kind, arrays.BooleanArray)(values, payload["mask"])
        if kind == "string":
            return pd.array(payload["texts"], dtype=_string_dtype(payload["storage"], payload["missing"]))
        if kind == "arrow":
            return arrays.ArrowExtensionArray(_from_arrow(reader.binary(payload["ipc"])))
        if kind == "sparse":
            return _sparse(payload)
        raise ValueError(f"no array is of kind {kind!r}")


def _sparse(payload: Any) -> Any:
    cls = _pandas().arrays.SparseArray
    values, places, length = payload["values"], payload["places"], payload["length"]
    fill, layout = payload["fill"], payload["layout"]
    if hasattr(cls, "from_indices"):
        made = cls.from_indices(values, places, length, fill_value=fill, kind=layout, dtype=values.dtype)
    else:  # before pandas 3.1
        index = library("pandas._libs.sparse").IntIndex(length, places)
        index = index.to_block_index() if layout == "block" else index
        dtype = _pandas().SparseDtype(values.dtype, fill)
        made = cls(values, sparse_index=index, dtype=dtype)
    return made


def _string_dtype(storage: str, missing: str) -> Any:
    pd = _pandas()
    if missing == "NA":
        if storage == "pyarrow":
            library("pyarrow")
        return pd.StringDtype(storage)
    if storage == "pyarrow":
        try:
            library("pyarrow")
        except Exception:
            storage = "python"  # the dtype `str` is the same with either
    return pd.StringDtype(storage, na_value=library("numpy").nan)


def _to_arrow(array: Any) -> bytes:
    pa, file = library("pyarrow"), io.BytesIO()
    table = pa.table({"values": pa.chunked_array(array.__arrow_array__())})
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _from_arrow(data: Any) -> Any:
    pa = library("pyarrow")
    with pa.ipc.open_file(pa.py_buffer(data)) as file:
        return file.read_all()["values"]


def _index(values: Any, name: Any) -> Any:
    # pandas guesses the type of objects unless it is told
    return _pandas().Index(values, dtype=values.dtype, name=name)


class IndexFamily(Family):
    """Every kind of index; a `MultiIndex` by its levels and codes."""

    tag = "pandas.Index"

    def pack(self, value: Any, packer: Packer) -> Any:
        pd, np = _pandas(), library("numpy")
        names = packer.parts(list(value.names))
        if isinstance(value, pd.RangeIndex):
            return {"range": [value.start, value.stop, value.step], "names": names}
        if isinstance(value, pd.MultiIndex):
            levels = [packer.part(level, ".levels") for level in value.levels]
            codes = [packer.part(np.asarray(code), ".codes") for code in value.codes]
            return {"levels": levels, "codes": codes, "names": names}
        packed = {"values": packer.part(_values(value), ""), "names": names}
        if isinstance(value, pd.DatetimeIndex | pd.TimedeltaIndex):
            packed["freq"] = _pack_freq(value)
        return packed

    def unpack(self, payload: Any, reader: Reader) -> Any:
        pd, names = _pandas(), payload["names"]
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
        series = _pandas().Series(values, payload["index"], dtype=values.dtype, name=payload["name"])
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
        if len(value.columns) > 1 and isinstance(only, library("numpy").dtype) and only.kind != "O":
            packed["block"] = packer.part(value.to_numpy(), "")
            return packed
        packed["arrays"] = [
            packer.part(_values(value.iloc[:, place]), f"[{name!r}]")
            for place, name in enumerate(value.columns)
        ]
        return packed

    def unpack(self, payload: Any, reader: Reader) -> Any:
        pd, index, columns = _pandas(), payload["index"], payload["columns"]
        if "block" in payload:
            frame = pd.DataFrame(payload["block"], index, columns)
        else:
            made = {
                place: pd.Series(values, index, dtype=values.dtype)
                for place, values in enumerate(payload["arrays"])
            }
            if len(made) != len(columns):
                raise ValueError("there are not as many columns as names")
            frame = pd.DataFrame(made, index)
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


_SCALARS: dict[str, Family] = {
    "Timestamp": TimestampFamily(),
    "Timedelta": TimedeltaFamily(),
    "Period": PeriodFamily(),
    "Interval": IntervalFamily(),
}
_TABLES: dict[str, Family] = {"DataFrame": FrameFamily(), "Series": SeriesFamily()}
_INDEX, _EXTENSION, _MISSING = IndexFamily(), ExtensionFamily(), MissingFamily()
FAMILIES: tuple[Family, ...] = (*_SCALARS.values(), *_TABLES.values(), _INDEX, _EXTENSION, _MISSING)


def family_of(kind: type) -> Family | None:
    """Who packs a type of pandas' own; subclasses made elsewhere are not."""
    pd: Any = sys.modules["pandas"]
    known = _TABLES.get(kind.__name__) or _SCALARS.get(kind.__name__)
    if known is not None and getattr(pd, kind.__name__, None) is kind:
        return known
    if kind is type(pd.NA) or kind is type(pd.NaT):
        return _MISSING
    if issubclass(kind, pd.Index):
        return _INDEX
    return _EXTENSION if issubclass(kind, pd.api.extensions.ExtensionArray) else None
