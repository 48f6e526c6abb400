"""From what users pass as inputs to what nodes hold: handles become `Ref`s, containers are copied."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sized
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ..core.model import Ref
from ..errors import ValidationError, shorten
from .handles import Lazy

if TYPE_CHECKING:
    from .builder import Workflow

_ATOMS = frozenset({str, int, float, bool, type(None), bytes})


def lower(value: Any, workflow: Workflow, where: str) -> Any:
    """`value` with handles and references (also in lists, tuples and dicts) as `Ref`s.

    Plain containers are copied, so that changing them later does not change the workflow. `where`
    names the input in errors.
    """
    try:
        return _lower(value, workflow, where)
    except RecursionError:
        raise ValidationError(f"{where} contains itself, or is nested too deeply", culprit=where) from None


def _lower(value: Any, workflow: Workflow, where: str) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, Lazy):
        return value.ref_in(workflow)
    if kind is list:
        return [_lower(item, workflow, where) for item in value]
    if kind is tuple:
        return tuple(_lower(item, workflow, where) for item in value)
    if kind is dict:
        for key in value:
            if isinstance(key, Lazy):
                raise ValidationError(f"{where}: {key!r} cannot be the key of a dict", culprit=where)
        return {key: _lower(item, workflow, where) for key, item in value.items()}
    if isinstance(value, Mapping | list | tuple | set | frozenset) and _hides_reference(value):
        raise ValidationError(
            f"{where}: a reference inside a {kind.__name__} is not seen; put it into a plain list, tuple "
            f"or dict",
            culprit=where,
        )
    if inspect.iscoroutine(value):
        value.close()
        raise ValidationError(
            f"{where} is a coroutine: the action was called, not added; write wf.add(action, ...) and "
            f"pass the handle",
            culprit=where,
        )
    return value


def _hides_reference(value: Any) -> bool:
    if isinstance(value, Lazy | Ref):
        return True
    if isinstance(value, Mapping):
        return any(_hides_reference(item) for pair in value.items() for item in pair)
    return isinstance(value, list | tuple | set | frozenset) and any(map(_hides_reference, value))


def lower_over(over: Any, workflow: Workflow, where: str) -> Any:
    """`over` of a map: a dict of parameter -> list or `Ref`; or a `Ref` to rows, or a list of dicts."""
    if isinstance(over, Lazy | Ref):
        return _lower(over, workflow, where)
    if isinstance(over, Mapping):
        for parameter in over:
            if not isinstance(parameter, str) or not parameter:
                raise ValidationError(
                    f"{where}: a parameter is named by a text, not {shorten(parameter)}", culprit="over"
                )
        if not over:
            raise ValidationError(f"{where} names no parameter: write over={{'item': [...]}}", culprit="over")
        return {name: _items(items, workflow, f"{where}, {name!r},") for name, items in over.items()}
    rows = _records(over)
    if rows is None:
        raise ValidationError(
            f"{where} is a mapping of parameters to lists or references, a list of dicts, a DataFrame, or a "
            f"reference to one, not {shorten(over)}",
            culprit="over",
            value=over,
        )
    for row in rows:
        if isinstance(row, Lazy | Ref):
            continue
        if not isinstance(row, Mapping) or not all(isinstance(key, str) for key in row):
            raise ValidationError(
                f"{where}: each row is a dict of parameters, not {shorten(row)}; for one parameter write "
                f"over={{'item': [...]}}",
                culprit="over",
                value=row,
            )
    return [_lower(dict(row) if isinstance(row, Mapping) else row, workflow, where) for row in rows]


def _records(over: Any) -> list[Any] | None:
    if isinstance(over, list | tuple):
        return list(over)
    if hasattr(over, "columns") and hasattr(over, "to_dicts"):  # polars
        return list(over.to_dicts())
    if hasattr(over, "columns") and hasattr(over, "to_dict"):  # pandas
        return list(over.to_dict("records"))
    return None


def _items(items: Any, workflow: Workflow, where: str) -> Any:
    if isinstance(items, Lazy | Ref):
        return _lower(items, workflow, where)
    if isinstance(items, str | bytes | Mapping | set | frozenset) or not isinstance(items, Sized):
        instead = "write a list"
        if isinstance(items, str):
            instead = "write [text] for one item, or a handle or ref('node.key') for a reference"
        elif isinstance(items, set | frozenset):
            instead = "write sorted(...), so that the items have an order"
        raise ValidationError(
            f"{where} takes a list or a reference, not {shorten(items)}: {instead}",
            culprit="over",
            value=items,
        )
    if hasattr(items, "tolist") and getattr(items, "ndim", 0) == 1:  # numpy and pandas: plain items
        items = items.tolist()
    return [_lower(item, workflow, where) for item in items]


def same(a: Any, b: Any) -> bool:
    """Whether two values say the same: types count (`1` is not `1.0`), the order of keys does not.

    >>> same({"a": [1, (2,)]}, {"a": [1, (2,)]}), same(1, True)
    (True, False)
    """
    if a is b:
        return True
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return len(a) == len(b) and all(key in b and same(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return bool(a == b or (a != a and b != b))
    if is_dataclass(a) and not isinstance(a, type):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    try:
        return bool(a == b)
    except Exception:  # arrays and frames have no single truth
        return False
