"""numpy: arrays and scalars.

Rules kept here: arrays are stored in numpy's own `.npy` format, which is read with pickles forbidden; an
array of objects is stored as the list of them; a subclass of `ndarray` is a different type.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from .base import Family, Unsupported, library

if TYPE_CHECKING:
    from .packing import Packer, Reader


_MAX_HEADER = 10_000  # characters; numpy's own limit for what Python's parser is given
_LENT = 65_536  # bytes: from here on an array is worth not being copied


def npy(array: Any) -> tuple[Any, ...]:
    """The array in numpy's `.npy` format, as buffers: one that is big is not copied, but lent."""
    np = library("numpy")
    file = io.BytesIO()
    if array.nbytes >= _LENT and array.dtype.names is None and array.flags.forc:
        described = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, described)
        lying = array.T if described["fortran_order"] else array
        return file.getvalue(), memoryview(lying.reshape(-1).view(np.uint8))
    version = None
    if array.dtype.names is not None:
        # any names, of any length; but what is read is bounded
        version = (3, 0)
        if len(repr(array.dtype.descr)) > _MAX_HEADER - 200:
            raise Unsupported("is a structured array of too many fields: use a DataFrame")
    np.lib.format.write_array(file, array, version, allow_pickle=False)
    return (file.getvalue(),)


def read_npy(data: Any) -> Any:
    """The array in `data`, writable: with memory of its own, or in that of `data` if it is writable."""
    np = library("numpy")
    view = memoryview(data)
    if len(view) >= _LENT and not view.readonly and (lying := _lying_in(view, np)) is not None:
        return lying
    file = io.BytesIO(data)
    array = np.lib.format.read_array(file, allow_pickle=False, max_header_size=_MAX_HEADER)
    if file.read(1):
        raise ValueError("there is more after the array's end")
    return array


def _lying_in(view: memoryview, np: Any) -> Any:
    """The array whose memory is this buffer; None where it cannot be (a long header, not aligned)."""
    file = io.BytesIO(view[:_MAX_HEADER])
    if np.lib.format.read_magic(file) != (1, 0):
        return None
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
    if dtype.hasobject or dtype.names is not None:
        return None
    array = np.frombuffer(view[file.tell() :], dtype)
    if not array.flags.aligned:
        return None
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def object_array(items: list[Any], shape: Any) -> Any:
    """An array of these objects, however alike they look."""
    np = library("numpy")
    return np.fromiter(items, dtype=object, count=len(items)).reshape(shape)


def _has_metadata(dtype: Any) -> bool:
    if dtype.metadata:
        return True
    if dtype.subdtype is not None:
        return _has_metadata(dtype.subdtype[0])
    return any(_has_metadata(field[0]) for field in (dtype.fields or {}).values())


class ArrayFamily(Family):
    """The bytes of a `.npy` file; `{"shape", "items"}` for arrays of objects or of numpy's own strings."""

    tag = "numpy.array"

    def pack(self, value: Any, packer: Packer) -> Any:
        dtype = value.dtype
        if dtype.char in "OT":
            if dtype.char == "T" and hasattr(dtype, "na_object"):
                raise Unsupported(
                    "is an array of strings with a missing value of its own: make an object array"
                )
            items = value.ravel().tolist()
            packed = {"shape": list(value.shape), "items": packer.parts(items)}
            return packed if dtype.char == "O" else {**packed, "strings": True}
        if dtype.hasobject:
            raise Unsupported("is a structured numpy array with objects in it: use a DataFrame")
        if _has_metadata(dtype):
            raise Unsupported("is a numpy array whose dtype has metadata, which no file keeps")
        return packer.binary(*npy(value))

    def unpack(self, payload: Any, reader: Reader) -> Any:
        if type(payload) is not dict:
            return read_npy(reader.binary(payload))
        array = object_array(payload["items"], payload["shape"])
        return array.astype(library("numpy").dtypes.StringDType()) if "strings" in payload else array


class ScalarFamily(Family):
    """`[dtype, number]`, or `[dtype, bytes]` where Python has no such number."""

    tag, leaf = "numpy.scalar", True

    def pack(self, value: Any, packer: Packer) -> Any:
        dtype = value.dtype
        if dtype.hasobject or _has_metadata(dtype):
            raise Unsupported("is a numpy scalar with objects or metadata in it")
        described = library("numpy").lib.format.dtype_to_descr(dtype)
        # not NaN: there are many, and JSON knows one
        if dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8 and value == value):
            return [described, value.item()]
        return [described, packer.binary(value.tobytes()), "bytes"]

    def unpack(self, payload: Any, reader: Reader) -> Any:
        np = library("numpy")
        described, value, *is_bytes = payload
        dtype = np.lib.format.descr_to_dtype(_as_descr(described))
        if dtype.hasobject:
            raise ValueError("objects are never read from bytes")
        if not is_bytes:
            return dtype.type(value)
        data = bytes(reader.binary(value))
        if not dtype.itemsize:
            return np.zeros((), dtype)[()]
        if len(data) != dtype.itemsize:
            raise ValueError("its length is not what its type says")
        return np.frombuffer(data, dtype).copy()[0]


def _as_descr(described: Any) -> Any:
    # what numpy describes by lists of tuples, JSON has as lists of lists
    if type(described) is not list:
        return described
    return [tuple(_as_field(part) for part in field) for field in described]


def _as_field(part: Any) -> Any:
    if type(part) is not list:
        return part
    if part and type(part[0]) is list:
        return _as_descr(part)
    return tuple(part)


class MaskedFamily(Family):
    tag = "numpy.masked"

    def pack(self, value: Any, packer: Packer) -> Any:
        np = library("numpy")
        return {
            "data": packer.part(np.ma.getdata(value), ".data"),
            "mask": packer.part(np.asarray(value.mask), ".mask"),
            "fill": packer.part(np.asarray(value.fill_value), ".fill_value"),
            "hard": bool(value.hardmask),
        }

    def unpack(self, payload: Any, reader: Reader) -> Any:
        np = library("numpy")
        mask = payload["mask"]
        return np.ma.MaskedArray(
            payload["data"],
            mask=mask if mask.shape else np.ma.nomask,
            fill_value=payload["fill"][()],
            hard_mask=payload["hard"],
        )


_ARRAY, _SCALAR, _MASKED = ArrayFamily(), ScalarFamily(), MaskedFamily()
FAMILIES: tuple[Family, ...] = (_ARRAY, _SCALAR, _MASKED)


def family_of(kind: type) -> Family | None:
    """Who packs a type of numpy's."""
    np: Any = sys.modules["numpy"]
    if kind is np.ndarray:
        return _ARRAY
    if kind is np.ma.MaskedArray:
        return _MASKED
    return _SCALAR if issubclass(kind, np.generic) else None
