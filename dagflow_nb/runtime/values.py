"""What flows along the edges: outputs of nodes, inputs of the run, and references resolved to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..actions import MISSING, GivenSecret, bare, hide
from ..codec import MissingValue
from ..core.graph import Node, last_of, seen_by
from ..core.model import Extended, NodeDef, NodeOutput, NodeStatus, Ref, iter_refs, map_refs
from ..errors import DagError, ValidationError, did_you_mean, shorten
from ..store.maintain import DELETED


class MissingReference(DagError):
    """A reference leads to a value that is not there; the text says where it ends."""


class MapOutputs(Mapping[str, Any]):
    """The outputs of a map: for each key the list of the items' values, None where an item has none."""

    def __init__(self, items: Sequence[Node]) -> None:
        self._items = items

    def _keys(self) -> dict[str, None]:
        found: dict[str, None] = {}
        for item in self._items:
            if item.outcome is not None and item.outcome.success:
                found.update(dict.fromkeys(item.outcome.outputs))
        return found

    def __getitem__(self, key: str) -> list[Any]:
        values = [_output(item, key) for item in self._items]
        if self._items and all(value is MISSING for value in values):
            raise KeyError(
                f"no item of this map gave {key!r}; they gave {', '.join(self._keys()) or 'nothing'}"
            )
        return [None if value is MISSING else value for value in values]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def __repr__(self) -> str:
        return f"<outputs of {len(self._items)} items: {', '.join(self._keys())}>"


def _output(item: Node, key: str) -> Any:
    outcome = item.outcome
    if outcome is None or not outcome.success:
        return MISSING
    return outcome.outputs.get(key, MISSING)


def returned(node: Node) -> Any:
    """What a node's action returned; None where it has not ended well."""
    outcome = node.outcome
    return outcome.value if outcome is not None and outcome.success else None


class Values:
    """Resolves references against the nodes of one run and the run's inputs.

    `stored`: the nodes come from a database, and what could not be stored of their inputs is missing.
    `hides`: some are hidden from all but the actions that they are for.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        inputs: Mapping[str, Any],
        *,
        stored: bool = False,
        hides: bool = False,
    ) -> None:
        self.nodes, self.inputs, self._stored = nodes, inputs, stored
        self.hides = hides
        self._combinations: dict[str, list[dict[str, Any]]] = {}
        # told (node id, text) once of each output that a node which ended well has not given
        self.tell: Callable[[str, str], None] | None = None
        self._told: set[tuple[str, Any]] = set()

    def lookup(self, ref: Ref, asker: Node | None = None) -> Any:
        """The value a reference stands for; raises `MissingReference`. `asker`: the node that it is for."""
        target, path = ref.target, ref.path
        if target == "inputs":
            return _dig(self.inputs, path, ref) if path else dict(self.inputs)
        node = self.nodes.get(target)
        if node is None:
            if (
                target.endswith("/inputs")
                and (group := self.nodes.get(target[: -len("/inputs")])) is not None
            ):
                value = group.spec.inputs.get(str(path[0])) if len(path) == 1 else None
                if type(value) is Extended:  # however many there are one after the other
                    return map_refs(value.parts(self.nodes), partial(self.lookup, asker=asker))
                return _dig(self.resolve(group), path, ref)
            raise MissingReference(f"{str(ref)!r} names a node that is not there any more")
        if node.heir is not None and asker is not None:
            node = seen_by(asker, node, self.nodes)
        outcome = node.outcome
        if node.spec.kind == "map" and node.status in _MAP_ENDED:
            return self._of_map(node, ref)
        if outcome is None or not (outcome.success or outcome.outputs):
            raise MissingReference(f"{str(ref)!r} is not there: node {node.id!r} is {node.status}")
        return _dig(outcome.outputs, path, ref) if path else outcome.value

    def _of_map(self, node: Node, ref: Ref) -> Any:
        items = self._items(node)
        if not ref.path:
            return [returned(item) for item in items]
        if isinstance(ref.path[0], int):
            return _dig([returned(item) for item in items], ref.path, ref)
        values = [_output(item, ref.path[0]) for item in items]
        if items and all(value is MISSING for value in values) and node.status is not NodeStatus.FAILED:
            raise MissingReference(f"{str(ref)!r} is not there: no item of {node.id!r} gave {ref.path[0]!r}")
        return _dig([None if v is MISSING else v for v in values], ref.path[1:], ref)

    def _items(self, node: Node) -> list[Node]:
        """The items of a map, or what took their place."""
        return [last_of(self.nodes[id], self.nodes) for id in node.children]

    def resolve(
        self, node: Node, default_of: Callable[[str], Any] | None = None, *, lenient: bool = False
    ) -> dict[str, Any]:
        """The inputs of a node as values.

        Where a reference leads nowhere the input's default is taken, else the input is left out if
        `default_of(name)` knows one; else `MissingReference` is raised (`lenient`: None is given).
        """
        spec = node.spec
        inputs: dict[str, Any] = {}
        lookup = partial(self.lookup, asker=node)
        for name, value in spec.inputs.items():
            try:
                inputs[name] = map_refs(value, lookup)
            except MissingReference as missing:
                if name in spec.defaults:
                    inputs[name] = spec.defaults[name]
                elif lenient:
                    inputs[name] = None
                elif default_of is None or default_of(name) is MISSING:
                    raise MissingReference(f"input {name!r} of node {spec.id!r}: {missing}") from None
                if self.tell is not None and not lenient:
                    self._tell_default(self.tell, spec.id, name, value)
            gap = None if lenient else self._gap(value, inputs.get(name))
            if gap is not None:
                raise MissingReference(f"input {name!r} of node {spec.id!r} {_why_gone(value, gap)}")
        if spec.item is not None and spec.parent is not None:
            inputs.update(self.combinations(self.nodes[spec.parent])[spec.item])
        if node.human is not None or node.answered:
            inputs["human_input"] = dict(node.human or {})
        return inputs

    def for_action(self, node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a node as its action gets them: nothing that was given in clear is hidden from it."""
        if not self.hides:
            return inputs
        written = node.spec.inputs
        return {
            name: bare(value) if type(value) is GivenSecret or type(written.get(name)) in _NESTED else value
            for name, value in inputs.items()
        }

    def _tell_default(self, tell: Callable[[str, str], None], id: str, name: str, value: Any) -> None:
        """A default stands in for an output that its node should have given: a name may be mistyped."""
        for ref in iter_refs(value):
            node = self.nodes.get(ref.target)
            node = seen_by(self.nodes[id], node, self.nodes) if node is not None else None
            outcome = node.outcome if node is not None else None
            if node is None or outcome is None or not outcome.success or not ref.path:
                continue
            key, found = ref.path[0], outcome.outputs
            if not isinstance(key, str) or key in found or (ref.target, key) in self._told:
                continue
            self._told.add((ref.target, key))
            hint = did_you_mean(key, found) if found else "it gave none"
            missing = f"{node.id!r} gave no output {key!r} ({hint})"
            tell(id, f"node {id!r}: {missing}: the default of {name!r} is used")

    def _gap(self, literal: Any, value: Any) -> MissingValue | None:
        """What is missing in an input: it as a whole, or a part of what was written down for it."""
        if type(value) is MissingValue:
            return value
        return gap_in(literal) if self._stored and isinstance(literal, dict | list | tuple) else None

    def combinations(self, node: Node) -> list[dict[str, Any]]:
        """What varies from item to item of a map: one mapping of inputs an item."""
        known = self._combinations.get(node.id)
        if known is None:
            known = self._combinations[node.id] = combine(
                node.spec, map_refs(node.spec.over, partial(self.lookup, asker=node))
            )
        return known

    def forget(self, id: str) -> None:
        """A map is opened anew."""
        self._combinations.pop(id, None)

    def close(self, node: Node) -> NodeOutput:
        """The outcome of a map or sub-workflow whose children have ended."""
        if node.spec.kind == "map":
            return NodeOutput(MapOutputs(self._items(node)))
        value = map_refs(node.spec.result, partial(self.lookup, asker=node))
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return NodeOutput(value)
        if value is None:
            return NodeOutput({}, returned="none")
        return NodeOutput({"result": value}, returned="value")


def _why_gone(literal: Any, gap: MissingValue) -> str:
    if gap.reason == DELETED:
        return "is gone: the values of its run were deleted to save space; start a new run with flow.run()"
    is_input = isinstance(literal, Ref) and literal.target == "inputs" and literal.path
    how = f"{{{str(literal.path[0])!r}: ...}}" if is_input else "..."
    first = "" if is_input else "make it a run input, and "
    return (
        f"could not be stored ({gap.reason}) and is gone with its process: "
        f"{first}go on with flow.resume(inputs={how})"
    )


def gap_in(value: Any) -> MissingValue | None:
    """The first part of a value that was not stored, however deep it lies."""
    if type(value) is MissingValue:
        return value
    parts: Iterable[Any] = value.values() if isinstance(value, dict) else ()
    if isinstance(value, list | tuple):
        parts = value
    return next((gap for part in parts if (gap := gap_in(part)) is not None), None)


def combine(spec: NodeDef, over: Any) -> list[dict[str, Any]]:
    """Every combination of what a map goes over, or its rows; `ValidationError` where it is no list."""
    if isinstance(over, Mapping):
        columns = {str(name): _listed(spec, name, values) for name, values in over.items()}
        return [dict(zip(columns, items, strict=True)) for items in itertools.product(*columns.values())]
    if type(over) is GivenSecret:
        return [{name: hide(value) for name, value in row.items()} for row in combine(spec, bare(over))]
    rows = _listed(spec, None, as_rows(over))
    for row in rows:
        if not isinstance(row, Mapping) or not all(isinstance(key, str) for key in row):
            raise ValidationError(
                f"map {spec.id!r} goes over rows: each maps input names to values, unlike {shorten(row)}",
                culprit=spec.id,
                value=row,
            )
    return [dict(row) for row in rows]


def as_rows(over: Any) -> Any:
    """A frame as the list of its rows; anything else as it is."""
    if hasattr(over, "to_dict") and hasattr(over, "columns"):
        return over.to_dict("records")
    return over.to_dicts() if hasattr(over, "to_dicts") else over


def _listed(spec: NodeDef, name: Any, values: Any) -> list[Any]:
    if type(values) is GivenSecret:
        return list(map(hide, _listed(spec, name, bare(values))))
    where = f"over {name!r}" if name is not None else "over its rows"
    problem = None
    if isinstance(values, set | frozenset):
        # another process would go over it in another order, and take one item's result for another's
        problem = "a set has no order that lasts: return sorted(...)"
    elif hasattr(values, "columns"):
        problem = "a frame as the values of one input: give the reference itself as over= to go over its rows"
    elif isinstance(values, str | bytes | Mapping | Iterator) or not (
        isinstance(values, Iterable) or hasattr(values, "tolist")
    ):
        problem = f"which must be a list, not {shorten(values)} ({type(values).__name__})"
    if problem is not None:
        raise ValidationError(f"map {spec.id!r} goes {where}, {problem}", culprit=spec.id, value=values)
    return list(values)


def _dig(value: Any, path: Sequence[str | int], ref: Ref) -> Any:
    for n, step in enumerate(path):
        if type(value) is GivenSecret:
            return hide(_dig(bare(value), path[n:], ref))
        found = _step(value, step)
        if found is MISSING:
            text = f"{str(ref)!r} is not there: {step!r} cannot be found"
            if isinstance(value, Mapping):
                # the nearest of a hundred thousand would take seconds to find
                known = itertools.islice(value, 1000)
                text += f": {did_you_mean(str(step), known) if value else 'it is empty'}"
            raise MissingReference(text)
        value = found
    return value


def _step(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError, AttributeError):
        pass
    if isinstance(value, Mapping):
        return value.get(str(step), MISSING)
    if isinstance(step, str) and not step.startswith("_"):
        return getattr(value, step, MISSING)
    return MISSING


_NESTED = (dict, list, tuple)
# a map that was recovered has outputs of its own
_MAP_ENDED = frozenset({NodeStatus.COMPLETED, NodeStatus.CACHED, NodeStatus.FAILED})
