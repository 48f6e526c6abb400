"""`Cache`: values by namespace and key, safe to use from several threads.

A node's outputs are in the namespace of its id; `inputs` holds a run's inputs, `human_input` what a
person answered.
"""

from __future__ import annotations

import html
import json
import reprlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .core.model import Ref, map_refs
from .errors import ValidationError, did_you_mean, shorten

if TYPE_CHECKING:
    import pandas as pd

_ROWS_SHOWN = 50
_preview = reprlib.Repr()
_preview.maxother = 80
_preview.maxstring = 60
_MISSING: Any = object()


class Namespace(Mapping[str, Any]):
    """One namespace of a cache as it is now, to be read: `cache["fetch"]["rows"]`."""

    __slots__ = ("_cache", "_name")

    def __init__(self, cache: Cache, name: str) -> None:
        self._cache, self._name = cache, name

    def __getitem__(self, key: str) -> Any:
        return get_value_from_cache(self._cache, self._name, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._cache.keys(self._name))

    def __len__(self) -> int:
        return len(self._cache.keys(self._name))

    def __repr__(self) -> str:
        return shorten(dict(self), 1000)


class Cache:
    """Values by namespace and key; `initial` may hold some: a mapping of mappings, or another cache.

    >>> cache = Cache({"inputs": {"source": "database"}})
    >>> cache.insert("fetch", "rows", [1, 2])
    >>> cache.get("fetch", "rows"), cache.get("fetch", "none", 0), cache["inputs"]["source"]
    ([1, 2], 0, 'database')
    """

    __hash__ = None  # type: ignore[assignment]  # it changes: it has no hash

    def __init__(self, initial: Mapping[str, Mapping[str, Any]] | Cache | None = None) -> None:
        self._lock = threading.RLock()
        self._values: dict[str, dict[str, Any]] = {}
        given = initial.as_dict() if isinstance(initial, Cache) else {} if initial is None else initial
        if not isinstance(given, Mapping):
            raise ValidationError(
                f"a cache is made of a mapping namespace -> key -> value, not of {shorten(given)}",
                value=given,
            )
        for namespace, values in given.items():
            if not isinstance(values, Mapping):
                raise ValidationError(
                    f"namespace {shorten(namespace)} of a cache is a mapping, not {shorten(values)}",
                    culprit=namespace,
                )
            _name("namespace", namespace)
            self._values[namespace] = {_name("key", key): value for key, value in values.items()}

    def insert(self, namespace: str, key: str, value: Any) -> None:
        """Puts a value in, over an earlier one; `ValidationError` where namespace or key is no text."""
        _name("namespace", namespace)
        _name("key", key)
        with self._lock:
            self._values.setdefault(namespace, {})[key] = value

    def get(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value, or `default`."""
        with self._lock:
            values = self._values.get(namespace)
            return default if values is None else values.get(key, default)

    def delete(self, namespace: str, key: str | None = None) -> bool:
        """Removes a value, or with no key the whole namespace; False where there was none."""
        with self._lock:
            if key is None:
                return self._values.pop(namespace, None) is not None
            values = self._values.get(namespace)
            if values is None or key not in values:
                return False
            del values[key]
            if not values:
                del self._values[namespace]
            return True

    def namespaces(self) -> list[str]:
        """The namespaces, in the order in which they came."""
        with self._lock:
            return list(self._values)

    def keys(self, namespace: str) -> list[str]:
        """The keys of a namespace; none where there is no such namespace."""
        with self._lock:
            return list(self._values.get(namespace, ()))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Everything as plain dicts; the dicts are copies, the values are not."""
        with self._lock:
            return {namespace: dict(values) for namespace, values in self._values.items()}

    def to_json(self, indent: int | None = 2) -> str:
        """Everything as JSON that keeps the values' types; `from_json` reads it.

        What has no JSON form is a placeholder that says so; a secret's content is never in it.
        """
        from .codec import Codec

        plain = json.loads(Codec().dumps(self.as_dict()))
        return json.dumps(plain, indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Cache:
        """The cache that `to_json` wrote; `ValidationError` for another text.

        >>> Cache.from_json(Cache({"a": {"b": (1, 2)}}).to_json()).get("a", "b")
        (1, 2)
        """
        from .codec import Codec

        try:
            json.loads(text)
        except (ValueError, TypeError) as bad:
            raise ValidationError(f"a cache is read from JSON: {bad}", value=text) from None
        return cls(Codec().loads(text))

    def to_frame(self) -> pd.DataFrame:
        """A row a value: `namespace, key, value`."""
        import pandas as pd

        rows = self._rows()
        frame = pd.DataFrame({"namespace": [r[0] for r in rows], "key": [r[1] for r in rows]}, dtype="str")
        values = pd.Series([None] * len(rows), dtype=object)
        for row, (_, _, value) in enumerate(rows):
            values.iat[row] = value  # one by one: pandas would take lists and frames apart
        frame["value"] = values
        return frame

    def _rows(self) -> list[tuple[str, str, Any]]:
        return [(space, key, value) for space, held in self.as_dict().items() for key, value in held.items()]

    def __len__(self) -> int:
        with self._lock:
            return sum(len(values) for values in self._values.values())

    def __bool__(self) -> bool:
        return True  # an empty cache is still a cache: `cache or Cache()` keeps it

    def __getitem__(self, namespace: str) -> Mapping[str, Any]:
        """A namespace, to be read; a `KeyError` that names what there is where it is absent."""
        if namespace not in self:
            raise KeyError(f"the cache has no {namespace!r}: {did_you_mean(namespace, self.namespaces())}")
        return Namespace(self, namespace)

    def __iter__(self) -> Iterator[str]:
        return iter(self.namespaces())

    def __contains__(self, namespace: object) -> bool:
        with self._lock:
            return namespace in self._values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cache):
            return NotImplemented
        mine, theirs = self.as_dict(), other.as_dict()
        return mine.keys() == theirs.keys() and all(
            mine[n].keys() == theirs[n].keys() and all(_same(mine[n][k], theirs[n][k]) for k in mine[n])
            for n in mine
        )

    def __reduce__(self) -> Any:
        return Cache, (self.as_dict(),)

    def __repr__(self) -> str:
        counts = {namespace: len(values) for namespace, values in self.as_dict().items()}
        shown = ", ".join(f"{name}: {count}" for name, count in list(counts.items())[:10])
        more = f", and {len(counts) - 10} namespaces more" if len(counts) > 10 else ""
        return f"<Cache {shown}{more}>" if counts else "<Cache, empty>"

    def _repr_html_(self) -> str:
        rows = self._rows()
        body = "".join(
            f"<tr><td>{html.escape(space)}</td><td>{html.escape(key)}</td>"
            f"<td><code>{html.escape(preview(value))}</code></td></tr>"
            for space, key, value in rows[:_ROWS_SHOWN]
        )
        if len(rows) > _ROWS_SHOWN:
            body += f'<tr><td colspan="3">and {len(rows) - _ROWS_SHOWN} more</td></tr>'
        return f"<table><tr><th>namespace</th><th>key</th><th>value</th></tr>{body}</table>"


class ReadOnlyCache:
    """What actions and hooks see of a run's cache: `get` and nothing else."""

    __slots__ = ("_source",)

    def __init__(self, source: Any = None) -> None:
        self._source = source

    def get(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value, or `default`."""
        return default if self._source is None else self._source.get(namespace, key, default)

    def __repr__(self) -> str:
        return "<ReadOnlyCache>"


def insert_value(cache: Cache, namespace: str, key: str, value: Any) -> None:
    """Puts a value into the cache.

    >>> cache = Cache()
    >>> insert_value(cache, "inputs", "age", 30)
    >>> get_value_from_cache(cache, "inputs", "age")
    30
    """
    cache.insert(namespace, key, value)


def get_value_from_cache(cache: Cache | ReadOnlyCache, namespace: str, key: str) -> Any:
    """The value; a `KeyError` that names what there is where it is absent."""
    value = cache.get(namespace, key, _MISSING)
    if value is not _MISSING:
        return value
    if isinstance(cache, Cache):
        keys = cache.keys(namespace)
        known, what = (keys, key) if keys else (cache.namespaces(), namespace)
        raise KeyError(f"the cache has no {namespace!r} / {key!r}: {did_you_mean(what, known)}")
    raise KeyError(f"the cache has no {namespace!r} / {key!r}")


def parse_input_from_name(
    cache: Cache | ReadOnlyCache, name: str, inputs: Any = None, type: Any = None
) -> Any:
    """The value of a node's input `name`, as `type` where one is given (pydantic's rules).

    `inputs` are the node's: a mapping of names to values or references, or a list of mappings (or
    objects) with `name` and `reference` or `value`, perhaps `default`; None stands for the run's inputs.
    A missing input is an `InputError` that is also a `KeyError`.

    >>> cache = Cache({"inputs": {"years": "30"}})
    >>> parse_input_from_name(cache, "age", [{"name": "age", "reference": "inputs.years"}], int)
    30
    """
    from .actions.conversion import convert, missing_input

    if inputs is None:
        value = cache.get("inputs", name, _MISSING)
        if value is _MISSING:
            there = cache.keys("inputs") if isinstance(cache, Cache) else []
            raise missing_input(name, there, node_id=None, what=f"there is no input {name!r}")
        return convert(value, type, name=name)
    fields = _fields(inputs)
    if name not in fields:
        raise missing_input(name, fields, node_id=None, what=f"there is no input {name!r}")
    value, default = fields[name]
    try:
        value = map_refs(value, lambda reference: _follow(cache, reference))
    except LookupError as missing:
        if default is _MISSING:
            what = f"the input {name!r} has no value yet ({missing.args[0]})"
            raise missing_input(name, [n for n in fields if n != name], node_id=None, what=what) from None
        value = default
    return convert(value, type, name=name)


def serialize_cache_to_prettyjson(cache: Cache) -> str:
    """The cache as indented JSON."""
    return cache.to_json(indent=2)


def preview(value: Any) -> str:
    """A short repr, also of a large value: containers are cut before their repr is made."""
    try:
        text = " ".join(_preview.repr(value).split())
    except Exception:  # a repr is the user's code
        return shorten(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _name(what: str, name: Any) -> str:
    if not isinstance(name, str):
        raise ValidationError(f"a cache's {what} is a text, not {shorten(name)}", culprit=what, value=name)
    return name


def _same(left: Any, right: Any) -> bool:
    if left is right:
        return True
    if type(left) is not type(right):
        return bool(isinstance(left, int | float | str) and left == right)
    try:
        equals = getattr(left, "equals", None)  # frames
        if callable(equals):
            return bool(equals(right))
        result = left == right
        return bool(result.all()) if hasattr(result, "all") else bool(result)
    except Exception:  # what cannot be compared is not the same
        return False


def _fields(inputs: Any) -> dict[str, tuple[Any, Any]]:
    """Each input's name -> (value or reference, default)."""
    if isinstance(inputs, Mapping):
        return {str(name): (value, _MISSING) for name, value in inputs.items()}
    if isinstance(inputs, str) or not isinstance(inputs, Iterable):
        raise ValidationError(
            f"a node's inputs are a mapping, or a list of mappings with a name, not {shorten(inputs)}",
            culprit="inputs",
        )
    fields: dict[str, tuple[Any, Any]] = {}
    for field in inputs:
        part = field if isinstance(field, Mapping) else getattr(field, "__dict__", {})
        if not isinstance(part.get("name"), str):
            raise ValidationError(
                f"an input is a mapping with name and reference or value, not {shorten(field)}",
                culprit="inputs",
            )
        reference = part.get("reference")
        value = Ref(reference) if isinstance(reference, str) else reference
        if reference is None:
            value = part.get("value")
        default = part.get("default", _MISSING)
        if reference is None and "value" not in part and default is not _MISSING:
            value = default
        fields[part["name"]] = (value, default)
    return fields


def _follow(cache: Cache | ReadOnlyCache, reference: Ref) -> Any:
    """What a reference stands for; LookupError where it is not there."""
    known = frozenset(cache.namespaces()) if isinstance(cache, Cache) else frozenset()
    try:
        bound = reference.bind(known)
    except ValidationError:
        head, _, rest = reference.target.partition(".")
        bound = Ref(head, (*rest.split("."), *reference.path) if rest else reference.path)
    if not bound.path:
        return _returned(cache, bound.target)
    value = cache.get(bound.target, str(bound.path[0]), _MISSING)
    if value is _MISSING:
        raise LookupError(f"{bound} is not in the cache")
    for step in bound.path[1:]:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise LookupError(f"{bound} has no {step!r} in it") from None
    return value


def _returned(cache: Cache | ReadOnlyCache, node_id: str) -> Any:
    values = cache.as_dict().get(node_id) if isinstance(cache, Cache) else None
    if values is None:
        raise LookupError(f"{node_id} is not in the cache")
    return values["result"] if set(values) == {"result"} else values
