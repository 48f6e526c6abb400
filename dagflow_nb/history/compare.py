"""Values compared: whether two are the same, and in a few words how they differ.

Frames are compared as frames (columns, rows by their labels, cells), arrays by shape, type and elements,
mappings and lists by what is in them; NaN is the same as NaN; a value of another type is another value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ..codec import MissingValue
from ..errors import shorten

MOST = 3  # columns, keys and the like that are named; of the others the number is told
SHOWN = 200  # characters of a value that is shown as it is


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same in type and content.

    >>> same({"x": [1.0, float("nan")]}, {"x": [1.0, float("nan")]}), same(1, True)
    (True, False)
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, MissingValue):
        return True  # of neither is known what it was
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if _is_array(a):
        return a.dtype == b.dtype and a.shape == b.shape and not _differing(a, b).any()
    if hasattr(a, "equals") and hasattr(a, "dtype" if hasattr(a, "dtype") else "columns"):
        return bool(a.equals(b)) and _labels(a) == _labels(b)
    try:
        return bool(a == b)
    except Exception:
        if is_dataclass(a):
            return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
        return repr(a) == repr(b)


def difference(old: Any, new: Any) -> str:
    """How two values that are not the same differ, in a line.

    >>> difference([1, 2, 3], [1, 5])
    '3 -> 2 items; item 1: 2 -> 5'
    """
    if type(old) is not type(new):
        return f"{type(old).__name__} -> {type(new).__name__}"
    if isinstance(old, Mapping):
        return _of_mappings(old, new)
    if isinstance(old, list | tuple):
        return _of_lists(old, new)
    if _is_array(old):
        return _of_arrays(old, new)
    if _is_polars(old):
        return _of_polars(old, new)
    if hasattr(old, "equals") and hasattr(old, "index"):
        return _of_frames(old, new)
    if isinstance(old, str | bytes) and max(len(old), len(new)) > SHOWN:
        least = min(len(old), len(new))
        at = next((i for i in range(least) if old[i] != new[i]), least)
        return f"{len(old):,} -> {len(new):,} characters; the first difference is at {at:,}"
    return ""


def shown(value: Any) -> Any:
    """A value for a table's cell: as it is if it is short, else in a few words.

    >>> shown([1, 2]), shown("x" * 500)[:20]
    ([1, 2], 'xxxxxxxxxxxxxxxxxxxx')
    """
    if isinstance(value, MissingValue):
        return f"<not stored: {value.reason}>"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= SHOWN else value[:SHOWN] + "..."
    if _is_array(value) or (hasattr(value, "shape") and hasattr(value, "__len__")):
        return f"{type(value).__name__} {' x '.join(map(str, value.shape)) or 'of one value'}"
    text = shorten(value, SHOWN)
    return value if len(text) < SHOWN and isinstance(value, list | tuple | dict) else text


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "dtype") and hasattr(value, "shape")


def _is_polars(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "polars"


def _labels(value: Any) -> Any:
    names = getattr(value, "columns", None)
    return (
        list(names) if names is not None else getattr(value, "name", None),
        getattr(getattr(value, "index", None), "names", None),
    )


def _differing(a: Any, b: Any) -> Any:
    """Where two arrays of one shape differ, as an array of flags; NaN is the same as NaN."""
    import numpy as np

    if a.dtype == object or b.dtype == object:
        flags = [not same(x, y) for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)]
        return np.array(flags, dtype=bool).reshape(np.shape(a))
    with np.errstate(invalid="ignore"):
        other = np.asarray(a != b)
    if a.dtype.kind in "fcmM" and b.dtype.kind in "fcmM":
        other &= ~(_is_nan(a) & _is_nan(b))
    return other


def _is_nan(array: Any) -> Any:
    import numpy as np

    return np.isnat(array) if array.dtype.kind in "mM" else np.isnan(array)


def _some(names: list[Any], what: str) -> str:
    told = ", ".join(repr(str(name)) for name in names[:MOST])
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"{what} {told}{more}"


def _added_and_removed(old: Any, new: Any, one: str, many: str) -> list[str]:
    had, has = dict.fromkeys(old), dict.fromkeys(new)
    parts = []
    for sign, names in (("+", [n for n in has if n not in had]), ("-", [n for n in had if n not in has])):
        if names:
            parts.append(_some(names, f"{sign} {one if len(names) == 1 else many}"))
    return parts


def _of_mappings(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> str:
    parts = _added_and_removed(old, new, "key", "keys")
    changed = [key for key in old if key in new and not same(old[key], new[key])]
    for key in changed[:MOST]:
        how = difference(old[key], new[key]) or f"{shorten(old[key], 40)} -> {shorten(new[key], 40)}"
        parts.append(f"{key!r}: {how}")
    if len(changed) > MOST:
        parts.append(f"and {len(changed) - MOST} more keys differ")
    return "; ".join(parts)


def _of_lists(old: Any, new: Any) -> str:
    parts = [f"{len(old):,} -> {len(new):,} items"] if len(old) != len(new) else []
    pairs = list(zip(old, new, strict=False))
    differ = [i for i, (a, b) in enumerate(pairs) if not same(a, b)]
    if differ:
        a, b = pairs[differ[0]]
        parts.append(f"item {differ[0]}: {shorten(a, 40)} -> {shorten(b, 40)}")
        if len(differ) > 1:
            parts.append(f"and {len(differ) - 1:,} more differ")
    return "; ".join(parts)


def _of_arrays(old: Any, new: Any) -> str:
    parts = [f"{old.dtype} -> {new.dtype}"] if old.dtype != new.dtype else []
    if old.shape != new.shape:
        return "; ".join([*parts, f"shape {old.shape} -> {new.shape}"])
    differ = _differing(old, new)
    count = int(differ.sum())
    if count:
        parts.append(f"{count:,} of {differ.size:,} values differ")
        if old.dtype.kind in "iuf" and new.dtype.kind in "iuf":
            gap = abs(old[differ].astype("float64") - new[differ].astype("float64")).max()
            parts.append(f"by {gap:g} at most")
    return "; ".join(parts)


def _of_frames(old: Any, new: Any) -> str:
    """Of pandas objects: columns, rows by their labels, and cells of what both have."""
    if not hasattr(old, "columns"):
        if not hasattr(old, "to_frame") or not hasattr(old, "dtype"):
            return ""
        names = (str(old.name), str(new.name))
        renamed = [f"name {names[0]!r} -> {names[1]!r}"] if names[0] != names[1] else []
        told = _of_frames(old.rename("values").to_frame(), new.rename("values").to_frame())
        return "; ".join([*renamed, *([told] if told else [])])
    parts = _added_and_removed(list(old.columns), list(new.columns), "column", "columns")
    labels = old.index.equals(new.index)
    if not labels and old.index.is_unique and new.index.is_unique:
        added, removed = new.index.difference(old.index, False), old.index.difference(new.index, False)
        common = old.index.intersection(new.index, False)
        parts += [f"+ {len(added):,} rows"] if len(added) else []
        parts += [f"- {len(removed):,} rows"] if len(removed) else []
        if not len(added) and not len(removed):
            parts.append("rows in another order")
        old, new = old.loc[common], new.loc[common]
    elif not labels:
        parts.append(f"{len(old):,} -> {len(new):,} rows")
        least = min(len(old), len(new))
        old, new = old.iloc[:least], new.iloc[:least]
    if not (old.columns.is_unique and new.columns.is_unique):
        return "; ".join(parts)
    changed = []
    for name in old.columns:
        if name in new.columns and (told := _of_columns(old[name], new[name])):
            changed.append(f"column {str(name)!r}: {told}")
    parts += changed[:MOST]
    if len(changed) > MOST:
        parts.append(f"and {len(changed) - MOST} more columns differ")
    return "; ".join(parts)


def _of_columns(old: Any, new: Any) -> str:
    if old.dtype == new.dtype and old.equals(new):
        return ""
    parts = [f"{old.dtype} -> {new.dtype}"] if old.dtype != new.dtype else []
    a, b = old.to_numpy(dtype=object), new.to_numpy(dtype=object)
    differ = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if not same(x, y)]
    if old.dtype != new.dtype:
        differ = [i for i in differ if not _is_equal(a[i], b[i])]
    if differ:
        i = differ[0]
        parts.append(f"{len(differ):,} of {len(a):,} cells differ")
        parts.append(f"row {old.index[i]!s}: {shorten(a[i], 30)} -> {shorten(b[i], 30)}")
    return ", ".join(parts)


def _is_equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:
        return False


def _of_polars(old: Any, new: Any) -> str:
    if not hasattr(old, "columns"):
        return ""
    try:
        parts = _added_and_removed(old.columns, new.columns, "column", "columns")
        least = min(old.height, new.height)
        if old.height != new.height:
            parts.append(f"{old.height:,} -> {new.height:,} rows")
        changed = []
        for name in [name for name in old.columns if name in new.columns]:
            a, b = old[name][:least], new[name][:least]
            if a.dtype != b.dtype:
                changed.append(f"column {name!r}: {a.dtype} -> {b.dtype}")
            elif count := int(a.ne_missing(b).sum()):
                changed.append(f"column {name!r}: {count:,} of {least:,} cells differ")
        parts += changed[:MOST]
        if len(changed) > MOST:
            parts.append(f"and {len(changed) - MOST} more columns differ")
        return "; ".join(parts)
    except AttributeError:  # a lazy frame has no rows to be looked at
        return ""
