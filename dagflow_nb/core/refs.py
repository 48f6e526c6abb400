"""References to values that exist only once the run has come that far, and what may be made of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import ValidationError, shorten


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a value that exists only once the run has come that far.

    `target` is a node's id or `"inputs"`; `path` the way into it: output key first, then keys and
    indices. An empty path means what the action returned. Made from text (`ref("node.key")`) the whole
    text is the target until `bind` knows the ids.
    """

    target: str
    path: tuple[str | int, ...] = ()

    def bind(self, known: Container[str]) -> Ref:
        """The same reference with target and path told apart; the longest known id wins.

        Raises `ValidationError` where no known id begins the text.
        """
        if self.target in known or self.target == "inputs":
            return self
        parts = self.target.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            head = ".".join(parts[:cut])
            if head in known or head == "inputs":
                rest = tuple(int(p) if p.isdecimal() else p for p in parts[cut:])
                return Ref(head, rest + self.path)
        raise ValidationError(
            f"the reference {str(self)!r} names no node and no input; write NODE.KEY or inputs.KEY",
            culprit=str(self),
        )

    def __str__(self) -> str:
        return ".".join([self.target, *map(str, self.path)])

    def __repr__(self) -> str:
        return f"ref({str(self)!r})"


def ref(text: str) -> Ref:
    """A reference to `"node"`, `"node.key"`, `"node.key.sub.0"` or `"inputs.key"`.

    >>> str(ref("fetch.rows.0"))
    'fetch.rows.0'
    """
    if not isinstance(text, str) or not text:
        raise ValidationError(f"ref() takes a text such as 'node.key', not {shorten(text)}", culprit=text)
    return Ref(text)


@dataclass(frozen=True, slots=True)
class Extended:
    """A list that begins with the one that another node has as an input, and goes on with `more`.

    Lists that grow from node to node are so stored once, not once a node. `before` leads to the input:
    `Ref("ID/inputs", ("NAME",))`.
    """

    before: Ref
    more: tuple[Any, ...]

    def parts(self, nodes: Mapping[str, Any]) -> list[Any]:
        """All that it is made of, in order, with references as they are; `nodes` have a `spec` each."""
        ends, value = [self.more], self._earlier(nodes)
        while type(value) is Extended:
            ends.append(value.more)
            value = value._earlier(nodes)
        return [part for some in (value or (), *reversed(ends)) for part in some]

    def _earlier(self, nodes: Mapping[str, Any]) -> Any:
        node = nodes.get(self.before.target.removesuffix("/inputs"))
        return node.spec.inputs.get(self.before.path[0]) if node is not None else None


def whole(inputs: Mapping[str, Any], nodes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Inputs with the lists that `Extended` ones are."""
    if not any(type(value) is Extended for value in inputs.values()):
        return inputs
    return {k: v.parts(nodes) if type(v) is Extended else v for k, v in inputs.items()}


def map_refs(value: Any, fn: Callable[[Ref], Any]) -> Any:
    """`value` with every `Ref` in it (also in lists, tuples and dicts) replaced by `fn(ref)`.

    A value without references comes back as it is, not as a copy. An `Extended` becomes a list, unless `fn`
    gives a reference for what it begins with.
    """
    if isinstance(value, Ref):
        return fn(value)
    kind = type(value)
    if kind is dict:
        new = {k: map_refs(v, fn) for k, v in value.items()}
        return new if any(new[k] is not value[k] for k in new) else value
    if kind is list or kind is tuple:
        items = [map_refs(v, fn) for v in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        return items if kind is list else tuple(items)
    if kind is Extended:
        before, more = fn(value.before), map_refs(value.more, fn)
        if isinstance(before, Ref):
            return value if before == value.before and more is value.more else Extended(before, more)
        return [*(before if type(before) is list else [before]), *more]
    return value


def iter_refs(value: Any) -> Iterator[Ref]:
    """Every `Ref` in `value`, also in lists, tuples and dicts, and what an `Extended` begins with."""
    if isinstance(value, Ref):
        yield value
    elif type(value) is dict or isinstance(value, MappingProxyType):
        for item in value.values():
            yield from iter_refs(item)
    elif type(value) is list or type(value) is tuple:
        for item in value:
            yield from iter_refs(item)
    elif type(value) is Extended:
        yield value.before
        yield from iter_refs(value.more)
