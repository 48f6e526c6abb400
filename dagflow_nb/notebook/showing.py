"""A value as the small thing that a page shows of it: a text, a table, or an image.

Rules kept here: nothing that a value is made of is written out to be cut afterwards, so that 100 MB cost
what 1 kB costs; what is left out is counted in a note; nothing that comes out of here can execute
(no HTML, no SVG); a value whose own code raises is told by its type and that error.

The page gets dicts: `{"kind": "text", "text", "note"}`, `{"kind": "table", "columns", "rows", "note"}` or
`{"kind": "image", "mime", "data" (base64), "note"}`.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

from ..codec import MissingValue
from ..core.model import Ref
from .style import TIMES, without_ansi

TEXT, CELL = 2000, 80
"""Characters that are shown of a value, and of a table's cell."""
ROWS, COLUMNS, ITEMS, DEPTH = 8, 12, 20, 4
IMAGE_BYTES, IMAGE_SIDE = 1_500_000, 1600
HEAVY = 10_000_000
"""Bytes of an object of an unknown kind (as Python counts them) beyond which its repr is not made."""
_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_BRACKETS: dict[type[Any], tuple[str, str]] = {
    list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("frozenset({", "})")
}  # fmt: skip


def shown(value: Any) -> dict[str, Any]:
    """What the page shows of a value; never raises.

    >>> shown([1, 2, 3])
    {'kind': 'text', 'text': '[1, 2, 3]'}
    >>> shown("x" * 5_000_000)["note"]
    '5,000,000 characters'
    """
    try:
        found = _image(value) or _table(value) or {"kind": "text", "text": brief(value, TEXT)}
        note = found.pop("note", None) or _size(value)
    except Exception as problem:  # code of the user's own: a repr, a column, a picture
        return {"kind": "text", "text": type(value).__name__, "note": f"cannot be shown: {_named(problem)}"}
    return {**found, "note": note} if note else found


def brief(value: Any, most: int = CELL) -> str:
    """About `repr(value)` in at most `most` characters and one: what is too much is never written out.

    >>> brief({"rows": list(range(1000))}, 30)
    "{'rows': [0, 1, 2, 3, 4, 5, 6,…"
    """
    text = without_ansi(_text(value, most, DEPTH))
    return text if len(text) <= most else text[:most] + "…"


# --- texts ------------------------------------------------------------------------------------


def _text(value: Any, most: int, depth: int) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= most else str(value[:most])) + ("" if len(value) <= most else "…")
    if isinstance(value, bytes | bytearray | memoryview):
        return repr(bytes(value[:100])) + ("" if len(value) <= 100 else "…")
    if isinstance(value, int) and value.bit_length() > 4000:
        return f"an integer of {value.bit_length():,} bits"
    if isinstance(value, MissingValue):
        return f"not stored: {value.reason}"
    if isinstance(value, Ref):
        return f"→ {value}"
    for kind, brackets in _BRACKETS.items():
        if isinstance(value, kind) and not hasattr(value, "_fields"):
            return _listed((_text(item, most, depth - 1) for item in value), most, *brackets, depth)
    if isinstance(value, Mapping):
        pairs = (f"{_text(k, CELL, 1)}: {_text(value[k], most, depth - 1)}" for k in value)
        return _listed(pairs, most, "{", "}", depth)
    if is_dataclass(value) and not isinstance(value, type):
        named = ((field.name, getattr(value, field.name, None)) for field in fields(value) if field.repr)
        return _named_fields(value, named, most, depth)
    if _is_pydantic(value):
        declared = type(value).model_fields.items()
        named = ((name, getattr(value, name, None)) for name, field in declared if field.repr)
        return _named_fields(value, named, most, depth)
    if _has(value, "numpy", "ndarray") and value.dtype.hasobject:
        return f"array({_text(value.ravel()[:ITEMS].tolist(), most, depth)}, dtype={value.dtype})"
    if sys.getsizeof(value, 0) > HEAVY and not _has(value, "numpy", "ndarray"):
        return f"<{type(value).__name__}>"
    try:
        return str(repr(value))
    except Exception as problem:
        return f"<{type(value).__name__}: its repr raised {_named(problem)}>"


def _listed(texts: Iterable[str], most: int, opening: str, closing: str, depth: int) -> str:
    if depth <= 0:
        return f"{opening}…{closing}"
    found: list[str] = []
    length = 0
    for text in islice(texts, most):
        found.append(text)
        length += len(text) + 2
        if length > most:
            return f"{opening}{', '.join(found)}, …"
    if len(found) == 1 and opening == "(":
        closing = ",)"
    return f"{opening}{', '.join(found)}{closing}"


def _named_fields(value: Any, named: Iterable[tuple[str, Any]], most: int, depth: int) -> str:
    texts = (f"{name}={_text(field, most, depth - 1)}" for name, field in named)
    return _listed(texts, most, f"{type(value).__name__}(", ")", depth)


def _size(value: Any) -> str | None:
    """How much there is of what is not shown whole."""
    if isinstance(value, str):
        return f"{len(value):,} characters" if len(value) > TEXT else None
    if isinstance(value, bytes | bytearray):
        return _bytes(len(value)) if len(value) > 100 else None
    if _has(value, "numpy", "ndarray"):
        return f"{f' {TIMES} '.join(map(str, value.shape))} {value.dtype}, {_bytes(value.nbytes)}"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return f"{len(value):,} items" if len(value) > ITEMS else None
    own = sys.getsizeof(value, 0)
    return _bytes(own) if own > HEAVY else None


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def _named(problem: BaseException) -> str:
    try:
        return f"{type(problem).__name__}: {str(problem)[:200]}"
    except Exception:  # an error whose text raises in its turn
        return type(problem).__name__


# --- tables -----------------------------------------------------------------------------------


def _table(value: Any) -> dict[str, Any] | None:
    """The first rows and columns of a frame (pandas or polars) or series."""
    pandas = _has(value, "pandas", "DataFrame", "Series")
    if not pandas and not _has(value, "polars", "DataFrame", "Series"):
        return None
    rows = value.shape[0]
    frame = value if len(value.shape) == 2 else value.to_frame()
    columns = frame.shape[1]
    if pandas:
        head = frame.iloc[:ROWS, :COLUMNS]
        names = ["", *head.columns]
        cells = [[index, *row] for index, row in zip(head.index, head.itertuples(index=False), strict=True)]
        size = int(frame.memory_usage(index=True, deep=False).sum())
    else:
        head = frame[:, :COLUMNS].head(ROWS)
        names = list(head.columns)
        cells = [list(row) for row in head.rows()]
        size = int(frame.estimated_size())
    return {
        "kind": "table",
        "columns": [_cell(name) for name in names],
        "rows": [[_cell(cell) for cell in row] for row in cells],
        "note": f"{_counted(rows, 'row')} {TIMES} {_counted(columns, 'column')}, {_bytes(size)}",
    }


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _cell(value: Any) -> str:
    if isinstance(value, date | timedelta | Decimal | UUID):
        return str(value).removesuffix(" 00:00:00")
    return without_ansi(value[:CELL]) if isinstance(value, str) else brief(value)


# --- images -----------------------------------------------------------------------------------


def _image(value: Any) -> dict[str, Any] | None:
    """A picture: its bytes, a PIL image, a matplotlib figure, or what offers itself as one to IPython."""
    if isinstance(value, bytes):
        return _encoded(value, f"{_bytes(len(value))}")
    if _has(value, "PIL.Image", "Image"):
        return _of_pil(value)
    if _has(value, "matplotlib.figure", "Figure"):
        return _of_figure(value)
    if isinstance(value, type):
        return None
    for name in ("_repr_png_", "_repr_jpeg_"):
        method: Callable[[], Any] | None = getattr(value, name, None)
        made = method() if callable(method) else None
        if isinstance(made, tuple) and made:  # with metadata
            made = made[0]
        if isinstance(made, str) and len(made) <= 2 * IMAGE_BYTES:
            made = base64.b64decode(made, validate=True)
        if isinstance(made, bytes) and (found := _encoded(made, type(value).__name__)) is not None:
            return found
    return None


def _encoded(data: bytes, note: str) -> dict[str, Any] | None:
    mime = next((mime for start, mime in _IMAGES.items() if data.startswith(start)), None)
    if mime is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        mime = "image/webp"
    if mime is None:
        return None
    kind = mime.partition("/")[2].upper()
    if len(data) > IMAGE_BYTES:
        return {
            "kind": "text",
            "text": f"{kind} image",
            "note": f"{_bytes(len(data))}: too big to be shown here",
        }
    return {
        "kind": "image",
        "mime": mime,
        "data": base64.b64encode(data).decode("ascii"),
        "note": note if note.endswith(kind) else f"{kind}, {note}",
    }


def _of_pil(image: Any) -> dict[str, Any] | None:
    wide, high = image.size
    factor = -(-max(wide, high) // IMAGE_SIDE)
    if factor > 1:
        image = image.reduce(factor) if image.mode not in ("1", "P") else image.convert("RGBA").reduce(factor)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I"):
        image = image.convert("RGB")
    to = io.BytesIO()
    image.save(to, "PNG")
    return _encoded(to.getvalue(), f"{wide} {TIMES} {high} pixels")


def _of_figure(figure: Any) -> dict[str, Any] | None:
    inches = max(1e-6, *figure.get_size_inches())
    to = io.BytesIO()
    figure.savefig(to, format="png", dpi=min(figure.dpi, IMAGE_SIDE / inches))
    return _encoded(to.getvalue(), "figure")


# --- kinds, without importing what they come from ---------------------------------------------


def _has(value: Any, module: str, *names: str) -> bool:
    """Whether a value is of a class of a library; one that is not imported has no values."""
    there = sys.modules.get(module)
    kinds = tuple(kind for name in names if isinstance(kind := getattr(there, name, None), type))
    return bool(kinds) and isinstance(value, kinds)


def _is_pydantic(value: Any) -> bool:
    return _has(value, "pydantic", "BaseModel")
