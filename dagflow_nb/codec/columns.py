"""pandas: the arrays that columns and indexes are made of, and the scalars in them.

Rules kept here: an array is stored as what it is, so that dtypes, time zones, categories and missing values
come back exactly; no pyarrow is needed unless a dtype is pyarrow's own.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .base import CHUNK, Family, Unsupported, library, write_json

if TYPE_CHECKING:
    from .packing import Packer, Reader


def pandas() -> Any:
    return library("pandas")


def pack_freq(value: Any, read: Callable[[str], Any]) -> str | None:
    if value.freq is None:
        return None
    text = str(value.freqstr)
    try:
        same = read(text) == value.freq
    except (ValueError, TypeError):
        same = False
    if not same:
        raise Unsupported(f"has the frequency {text!r}, which its text does not say in full: set freq=None")
    return text


def offset_of(text: str) -> Any:
    return pandas().tseries.frequencies.to_offset(text)


def period_of(text: str) -> Any:
    # a period's "M" is the "ME" of an index of times
    return pandas().PeriodDtype(text).freq


class TimestampFamily(Family):
    """`[number since 1970, unit, zone]`; NaT is a value of its own."""

    tag, leaf = "pandas.Timestamp", True

    def pack(self, value: Any, packer: Packer) -> Any:
        zone = value.tz
        number = int(value.asm8.view("i8"))
        return [number, value.unit, None if zone is None else packer.part(zone, ".tz")]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        number, unit, zone = payload
        moment = pandas().Timestamp(library("numpy").datetime64(number, unit))
        return moment if zone is None else moment.tz_localize("UTC").tz_convert(zone)


class TimedeltaFamily(Family):
    tag, leaf = "pandas.Timedelta", True

    def pack(self, value: Any, packer: Packer) -> Any:
        return [int(value.asm8.view("i8")), value.unit]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return pandas().Timedelta(library("numpy").timedelta64(*payload))


class PeriodFamily(Family):
    tag, leaf = "pandas.Period", True

    def pack(self, value: Any, packer: Packer) -> Any:
        return [value.ordinal, pack_freq(value, period_of)]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        ordinal, freq = payload
        return pandas().Period(ordinal=ordinal, freq=freq)


class IntervalFamily(Family):
    tag = "pandas.Interval"

    def pack(self, value: Any, packer: Packer) -> Any:
        return [packer.part(value.left, ".left"), packer.part(value.right, ".right"), value.closed]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return pandas().Interval(*payload)


class MissingFamily(Family):
    """`NA` and `NaT`."""

    tag, leaf = "pandas.missing", True

    def pack(self, value: Any, packer: Packer) -> Any:
        return "NA" if value is pandas().NA else "NaT"

    def unpack(self, payload: Any, reader: Reader) -> Any:
        pd = pandas()
        return {"NA": pd.NA, "NaT": pd.NaT}[payload]


class ExtensionFamily(Family):
    """Extension arrays, as `{"kind": ..., ...}`; the kind is that of the dtype."""

    tag = "pandas.array"

    def pack(self, value: Any, packer: Packer) -> Any:
        pd, np = pandas(), library("numpy")
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
            return {
                "kind": "period",
                "ordinals": packer.part(value.asi8, ""),
                "freq": pack_freq(value, period_of),
            }
        if isinstance(value, arrays.IntervalArray):
            left, right = packer.part(value.left, ".left"), packer.part(value.right, ".right")
            return {"kind": "interval", "left": left, "right": right, "closed": value.closed}
        if isinstance(value, arrays.IntegerArray | arrays.FloatingArray | arrays.BooleanArray):
            mask = np.asarray(value.isna())
            numbers = value.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
            return {"kind": "masked", "values": packer.part(numbers, ""), "mask": packer.part(mask, "")}
        if isinstance(dtype, pd.StringDtype):
            missing = "NA" if getattr(dtype, "na_value", pd.NA) is pd.NA else "nan"
            chunks = (value[start : start + CHUNK] for start in range(0, len(value), CHUNK))
            texts = (chunk.to_numpy(dtype=object, na_value=None).tolist() for chunk in chunks)
            packed = {"kind": "string", "storage": dtype.storage, "missing": missing}
            if len(value) <= CHUNK or packer.inline:
                return {**packed, "texts": packer.parts(list(itertools.chain(*texts)))}
            lines = (
                write_json(packer.parts(some)).encode("utf-8", "surrogatepass") + b"\n" for some in texts
            )
            return {**packed, "lines": packer.binary(*lines)}
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
        pd = pandas()
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
            dtype = _string_dtype(payload["storage"], payload["missing"])
            if "texts" in payload:
                return pd.array(payload["texts"], dtype=dtype)
            lines = io.BytesIO(reader.binary(payload["lines"]))
            texts = (reader.read(str(line, "utf-8", "surrogatepass").rstrip("\n")) for line in lines)
            return dtype.construct_array_type()._concat_same_type([pd.array(t, dtype=dtype) for t in texts])
        if kind == "arrow":
            return arrays.ArrowExtensionArray(_from_arrow(reader.binary(payload["ipc"])))
        if kind == "sparse":
            return _sparse(payload)
        raise ValueError(f"no array is of kind {kind!r}")


def _sparse(payload: Any) -> Any:
    cls = pandas().arrays.SparseArray
    values, places, length = payload["values"], payload["places"], payload["length"]
    fill, layout = payload["fill"], payload["layout"]
    if hasattr(cls, "from_indices"):
        made = cls.from_indices(values, places, length, fill_value=fill, kind=layout, dtype=values.dtype)
    else:  # before pandas 3.1
        index = library("pandas._libs.sparse").IntIndex(length, places)
        index = index.to_block_index() if layout == "block" else index
        dtype = pandas().SparseDtype(values.dtype, fill)
        made = cls(values, sparse_index=index, dtype=dtype)
    return made


def _string_dtype(storage: str, missing: str) -> Any:
    pd = pandas()
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


_SCALARS: dict[str, Family] = {
    "Timestamp": TimestampFamily(),
    "Timedelta": TimedeltaFamily(),
    "Period": PeriodFamily(),
    "Interval": IntervalFamily(),
}
_EXTENSION, _MISSING = ExtensionFamily(), MissingFamily()
FAMILIES: tuple[Family, ...] = (*_SCALARS.values(), _EXTENSION, _MISSING)


def family_of(kind: type) -> Family | None:
    """Who packs an array or a scalar of pandas' own."""
    pd: Any = sys.modules["pandas"]
    known = _SCALARS.get(kind.__name__)
    if known is not None and getattr(pd, kind.__name__, None) is kind:
        return known
    if kind is type(pd.NA) or kind is type(pd.NaT):
        return _MISSING
    return _EXTENSION if issubclass(kind, pd.api.extensions.ExtensionArray) else None
