"""polars: frames and series, in polars' own Arrow format (which needs no pyarrow).

Rules kept here: what the format does not hold exactly is refused; a panic inside polars is an error.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .base import Family, Unsupported, library

if TYPE_CHECKING:
    from .packing import Packer, Reader


def _calmly(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except Exception:
        raise
    except BaseException as bad:
        # a panic in Rust is no Exception; Ctrl-C passes
        if type(bad).__name__ != "PanicException":
            raise
        raise ValueError(f"polars failed: {bad}") from bad


def _has_objects(dtype: Any, pl: Any) -> bool:
    inner = getattr(dtype, "inner", None)
    fields = getattr(dtype, "fields", None) or ()
    return (
        dtype == pl.Object
        or (inner is not None and _has_objects(inner, pl))
        or any(_has_objects(field.dtype, pl) for field in fields)
    )


def _write(frame: Any) -> memoryview:
    pl = library("polars")
    objects = [name for name, dtype in frame.schema.items() if _has_objects(dtype, pl)]
    if objects:
        raise Unsupported(f"has columns of Python objects ({', '.join(objects[:5])}): use pandas for them")
    if frame.height and not frame.width:
        raise Unsupported("is a polars frame of rows without columns")
    file = io.BytesIO()
    _calmly(lambda: frame.write_ipc(file))
    file.seek(0)
    kept = _calmly(lambda: pl.read_ipc(file, n_rows=0).schema)
    changed = [name for name, dtype in frame.schema.items() if kept.get(name) != dtype]
    if changed:
        raise Unsupported(f"has columns that polars cannot write as they are ({', '.join(changed[:5])})")
    return file.getbuffer()


def _read(data: Any) -> Any:
    pl = library("polars")
    return _calmly(lambda: pl.read_ipc(io.BytesIO(data)))


class FrameFamily(Family):
    tag = "polars.DataFrame"

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.binary(_write(value))

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return _read(reader.binary(payload))


class SeriesFamily(Family):
    tag = "polars.Series"

    def pack(self, value: Any, packer: Packer) -> Any:
        return packer.binary(_write(value.to_frame()))

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return _read(reader.binary(payload)).to_series(0)


_FRAME, _SERIES = FrameFamily(), SeriesFamily()
FAMILIES: tuple[Family, ...] = (_FRAME, _SERIES)


def family_of(kind: type) -> Family | None:
    """Who packs a type of polars'."""
    pl: Any = sys.modules["polars"]
    return _FRAME if kind is pl.DataFrame else _SERIES if kind is pl.Series else None
