"""The fingerprint of an action's code, and the digest of a value.

What is costly is done once: source is read and parsed once for each code object, and a walk over code is
only done again where something that it has looked at is another object, or was changed in place.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..actions import ClassAction, FunctionAction, NodeAction
from ..actions.binding import MISSING
from ..codec.base import is_plain
from .hashing import Content, NotCacheable, digest_of, packed_digest, sorted_json
from .objects import Reader
from .packages import package_of_file
from .source import source_of
from .trace import Trace
from .walk import Part, Walk, shown


@dataclass(frozen=True, slots=True)
class Code:
    """An action's code: one digest, and the parts that it is made of.

    `parts`: `"function clean"`, `"class Cleaner"`, `"global LIMIT"`, `"default fetch(n)"`,
    `"closure fetch.scale"`, `"annotation n"`, `"package numpy"`; what is `""` ties them together.
    `problem` says why no result may be found by it, or is None.
    """

    digest: str
    parts: Mapping[str, Part]
    problem: str | None = None


_annotations: weakref.WeakKeyDictionary[NodeAction, dict[str, Any]] = weakref.WeakKeyDictionary()


def code_of(action: NodeAction, *, light: bool = False) -> Code:
    """The fingerprint of an action's code as it is now; never raises: see `Code.problem`.

    `light`: of the values that it uses only constants are read; to tell edits, not to find results.

    >>> def double(n: int, factor: int = 2) -> int:
    ...     return factor * n
    >>> before = code_of(FunctionAction(double))
    >>> def double(n: int, factor: int = 3) -> int:
    ...     # another factor
    ...     return factor * n
    >>> differences(before.parts, code_of(FunctionAction(double)).parts)
    ['default double(factor): 2 -> 3']
    """
    traces = _traces[light]
    traced = traces.get(action) if isinstance(action, FunctionAction) else None
    if traced is not None and traced[0].holds(_read):
        return traced[1]
    inner = action.action if isinstance(action, ClassAction) else action
    if isinstance(inner, FunctionAction):
        module = str(getattr(inner.fn, "__module__", "__main__"))
    else:
        module = type(inner).__module__
    walk = Walk(module, light=light)
    problem: str | None
    try:
        walk.action(action, converting_annotations(action))
    except NotCacheable as bad:
        problem = bad.reason
    except RecursionError:
        problem = "its code uses itself too deeply to be read"
    except Exception as bad:  # a metaclass or a __reduce__ of a user's may do anything
        problem = f"its code cannot be read ({type(bad).__name__}: {bad})"
    else:
        problem = None
    parts = walk.finish()
    pairs = [[label, part.digest] for label, part in sorted(parts.items())]
    code = Code(digest_of(sorted_json([_VERSION, action.name, pairs])), parts, problem)
    if isinstance(action, FunctionAction) and problem is None:
        traces[action] = (walk.trace, code)
    return code


def read_source(action: NodeAction) -> None:
    """Read the source of an action's function now, before its file may be edited; never raises."""
    if isinstance(action, FunctionAction):
        code = getattr(action.fn, "__code__", None)
        if code is not None and package_of_file(code.co_filename) is None:
            with suppress(Exception):
                source_of(code, action.fn.__doc__)


def _read(value: Any) -> str | None:
    walk = Walk("")
    try:
        digest, _ = packed_digest(lambda: Reader(walk), value)
    except NotCacheable:
        return None
    return None if walk.parts else digest


_Traces = weakref.WeakKeyDictionary[FunctionAction, tuple[Trace, Code]]
_traces: dict[bool, _Traces] = {False: weakref.WeakKeyDictionary(), True: weakref.WeakKeyDictionary()}
_VERSION = 1  # of how fingerprints are made: another one finds no older results


def converting_annotations(action: NodeAction) -> dict[str, Any]:
    """The annotations that convert an action's inputs, texts looked up."""
    if not isinstance(action, FunctionAction):
        return {}
    known = _annotations.get(action)
    if known is None:
        binder = action._binder
        parameters = [*binder.parameters.values(), *([binder.extra] if binder.extra is not None else [])]
        known = {p.name: found for p in parameters if (found := binder.resolved(p)) is not MISSING}
        _annotations[action] = known
    return known


def content(value: Any) -> tuple[str, bool, str | None]:
    """A value's digest, whether a file's state is part of it, and how it looks where it is short.

    Raises `NotCacheable` with the reason.

    >>> content({"a": 1, "b": 2})[0] == content({"b": 2, "a": 1})[0]
    True
    >>> content(1)[0] == content(True)[0]
    False
    """
    if is_plain(value):
        return packed_digest(Content, value)[0], False, shown("", value)
    walk = Walk("__main__")
    digest, paths = packed_digest(lambda: Reader(walk), value)
    if walk.parts:  # functions and classes of one's own are in it
        parts = [[label, part.digest] for label, part in sorted(walk.finish().items())]
        digest = digest_of(sorted_json([digest, parts]))
    return digest, paths or walk.paths, shown("", value)


def files_in(value: Any) -> dict[str, list[int]]:
    """The files that paths in a value lead to, with their `file_facts`; folders are not looked into.

    Never raises: what cannot be read is left out.
    """
    if is_plain(value):
        return {}
    reader = Reader(Walk("__main__"))
    with suppress(Exception):  # a __reduce__ of a user's may do anything
        reader.pack(value)
    return reader.files


def differences(old: Mapping[str, Part], new: Mapping[str, Part]) -> list[str]:
    """What has changed between two versions of an action's code, each in a few words.

    A function that only uses something else that has changed is not named.
    """
    found = []
    for label in sorted({*old, *new}):
        before, after = old.get(label), new.get(label)
        if before == after or not label:
            continue
        if before is None or after is None:
            found.append(f"{label} {'is new' if before is None else 'is gone'}")
        elif before.shown is not None and after.shown is not None:
            found.append(f"{label}: {before.shown} -> {after.shown}")
        elif before.digest != after.digest:
            found.append(f"{label} changed")
    return found or (["its definition changed"] if old.get("") != new.get("") else [])
