"""The key of a result: the code that makes it and the content of its inputs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any, get_args

from ..actions import CachePolicy, FunctionAction, InputError, NodeAction, PreparedAction, bare
from ..actions.keys import call_key
from ..core.model import EMPTY, NodeDef
from ..errors import ValidationError, did_you_mean, shorten
from ..fingerprint import Code, NotCacheable, code_of, content, converting_annotations, digest_of, sorted_json
from .known import Digest, Known

log = logging.getLogger("dagflow_nb")
Refresh = frozenset[str]
Inputs = dict[str, tuple[str, str | None]]


class Key:
    """What one attempt's result depends on; `text` None: it cannot be found again, for `reason`."""

    __slots__ = ("code", "digests", "flying", "inputs", "known", "reason", "text")

    def __init__(
        self, text: str | None, code: Code | None, inputs: Inputs, reason: str | None = None
    ) -> None:
        self.text, self.code, self.inputs, self.reason = text, code, inputs, reason
        self.known: Known | None = None
        self.digests: dict[str, Digest] = {}
        self.flying: str | None = None  # what others wait for


def policy_of(spec: NodeDef, action: NodeAction) -> CachePolicy:
    """Whether a node's results are kept: what it says itself goes over what its action says."""
    own = action.cache if isinstance(action, PreparedAction) else CachePolicy()
    try:
        return own.of_node(spec.cache)
    except ValidationError:  # a key function of a node is not stored with its run
        return CachePolicy()


def make_key(
    action: NodeAction,
    policy: CachePolicy,
    values: Mapping[str, Any],
    known: Mapping[str, str] = EMPTY,
    node_id: str = "",
    code: Code | None = None,
) -> Key:
    """The key of an action with these inputs; `known` are digests of further ones. Never raises."""
    code = code_of(action) if code is None else code
    inputs: Inputs = {name: (digest, None) for name, digest in known.items()}
    try:
        if code.problem is not None:
            raise NotCacheable(code.problem)
        if policy.key is not None:
            inputs = {"key": _own_key(policy.key, action, values, node_id)}
        else:
            paths = _path_parameters(action)
            for name, value in values.items():
                digest, _, text = _read(f"input {name!r}: ", value)
                if name in paths and not isinstance(value, PurePath):
                    converted = _arguments(action, {name: value}, node_id, only=name).get(name)
                    digest = digest_of(sorted_json([digest, _read(f"input {name!r}: ", converted)[0]]))
                inputs[name] = (digest, text)
    except NotCacheable as bad:
        return Key(None, code, inputs, bad.reason)
    parts = [code.digest, {name: digest for name, (digest, _) in inputs.items()}]
    return Key(digest_of(sorted_json(parts)), code, inputs)


def _read(where: str, value: Any) -> tuple[str, bool, str | None]:
    try:
        return content(value)
    except NotCacheable as bad:
        raise NotCacheable(where + bad.reason) from None


def _own_key(
    key: Callable[..., Any], action: NodeAction, values: Mapping[str, Any], node_id: str
) -> tuple[str, str | None]:
    """What the user's function makes of the arguments; the function itself counts, too."""
    try:
        bared = {name: bare(value) for name, value in values.items()}
        made = call_key(key, _arguments(action, bared, node_id))
    except Exception as bad:
        raise NotCacheable(f"its key function raised {type(bad).__name__}: {shorten(str(bad), 200)}") from bad
    digest, _, text = _read("what its key function returned: ", made)
    return digest_of(sorted_json([digest, _read("its key function: ", key)[0]])), text


def _arguments(
    action: NodeAction, values: Mapping[str, Any], node_id: str, only: str | None = None
) -> dict[str, Any]:
    """The inputs as the action will get them: converted, with its defaults; as they are where that fails."""
    if not isinstance(action, FunctionAction) or any(hasattr(v, "__next__") for v in values.values()):
        return dict(values)
    found = dict(values)
    for name, parameter in action.parameters.items():
        if name in values and parameter.checked:
            try:
                found[name] = action.convert(name, values[name], node_id)
            except InputError:
                continue  # the attempt will say so
        elif only is None and name not in values and not parameter.required:
            found[name] = parameter.default
    return found


def _path_parameters(action: NodeAction) -> frozenset[str]:
    known = converting_annotations(action)
    return frozenset(name for name, annotation in known.items() if _is_path(annotation))


def _is_path(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return True
    return any(map(_is_path, get_args(annotation)))


def names_to_refresh(refresh: Any) -> Refresh:
    """What `refresh=` takes, as globs: True for all, or ids of nodes and names of actions (or these)."""
    if refresh is None or isinstance(refresh, bool):
        return frozenset({"*"} if refresh else ())
    given = [refresh] if isinstance(refresh, str) or not isinstance(refresh, Iterable) else list(refresh)
    names = [name if isinstance(name, str) else getattr(name, "name", None) for name in given]
    if not all(isinstance(name, str) and name for name in names):
        raise ValidationError(
            f"refresh takes True, or ids of nodes or names of actions, not {shorten(refresh)}",
            culprit="refresh",
            value=refresh,
        )
    return frozenset(map(str, names))


def check_refresh(names: Refresh, specs: Iterable[NodeDef], actions: Iterable[str], *, grows: bool) -> None:
    """Raise for a name that is none of these nodes or actions; where hooks may add nodes it is logged."""
    if not names:
        return
    specs = list(specs)
    known = {*actions, *(spec.id for spec in specs), *(spec.action for spec in specs)}
    inside = tuple(f"{spec.id}/" for spec in specs if spec.kind == "map" or spec.kind == "workflow")
    for name in sorted(names):
        if name.startswith(inside) or any(fnmatchcase(one, name) for one in known):
            continue
        text = f"refresh names {name!r}, which is neither a node nor an action: {did_you_mean(name, known)}"
        if not grows:
            raise ValidationError(text, culprit=name, value=name)
        log.warning("%s", text)
