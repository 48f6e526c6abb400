"""Messages of a run as text: inputs of the scheduler (the journal), events, graphs.

Rules kept here: a message is written with the fields that differ from their defaults; outputs are not
written with it (they are artifacts of their own), nor are exceptions (their text is); the two inputs and
two events that every node brings are written by hand, as the journal is on the way of every node.
"""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from json.encoder import encode_basestring as _quoted
from typing import Any

from ..core import messages
from ..core.messages import (
    AddNode,
    Answered,
    AttemptEnded,
    Event,
    Forked,
    Input,
    NodeCompleted,
    NodesAdded,
    NodeStarted,
)
from ..core.model import EMPTY, NodeDef, NodeOutput, NodeRef, NodeSpec, Ref
from ..errors import SerializationError, shorten
from .base import SCALARS, TAG, all_str, json_of_ids, write_json
from .packing import Packer
from .records import fields_of, pack_fields, pack_plainly, plain_part, unpack_fields
from .values import Codec

_INPUTS: tuple[type, ...] = typing.get_args(Input)
_EVENTS: dict[str, type] = {kind.__name__: kind for kind in typing.get_args(messages.ExecutionEvent)}
# what stands beside an event's text in its row, or is never written
_BESIDE = ("run_id", "seq", "at", "node", "exception")
_EVENT_FIELDS = {name: fields_of(kind, _BESIDE) for name, kind in _EVENTS.items()}
_HAS_NODE = {name for name, kind in _EVENTS.items() if hasattr(kind, "node")}
_OUTCOME = f'{{"{TAG}":"NodeOutput","v":{{}}}}'
_OUTCOMES = {
    "mapping": _OUTCOME,
    **{how: _OUTCOME.replace("{}", f'{{"returned":"{how}"}}') for how in ("value", "tuple", "none")},
}
_COMPLETED = {how: f'{{"outcome":{text}}}' for how, text in _OUTCOMES.items()}


def _is_usual(outcome: NodeOutput) -> bool:
    return (
        outcome.success
        and outcome.error is None
        and not outcome.recovered
        and (outcome.metadata is EMPTY or not outcome.metadata)
        and outcome.returned in _OUTCOMES
    )


_SETTLED = SCALARS | {Ref}
_all_settled = _SETTLED.issuperset


def _is_settled(spec: Any) -> bool:
    """Whether nothing that a node's definition holds can be changed by anybody."""
    inputs, cache = spec.inputs, spec.cache
    return (
        (inputs is None or inputs is EMPTY or not inputs or _all_settled(map(type, inputs.values())))
        and type(spec.action) is str
        and spec.ask is spec.over is None
        and (cache is None or type(cache) in SCALARS)
        and (type(spec) is NodeSpec or (spec.result is None and spec.defaults is EMPTY))
    )


def are_settled(specs: Iterable[NodeDef]) -> bool:
    """Whether nothing that these definitions hold can be changed by anybody."""
    for spec in specs:  # noqa: SIM110  # mostly one, and `all` makes a generator for it
        if not _is_settled(spec):
            return False
    return True


def may_wait(message: Any) -> bool:
    """Whether an input or event is the same when it is written later: nobody can change what it holds.

    Of others, the values of users are to be written as they are now.
    """
    kind = type(message)
    if kind is NodeStarted:
        return True
    if kind is AttemptEnded or kind is NodeCompleted:
        # outputs and exceptions are not written
        outcome = message.outcome
        return outcome is not None and outcome.metadata is EMPTY
    if kind is NodesAdded:
        return are_settled(message.nodes)
    if kind is not Answered or message.settings is not EMPTY:
        return False
    for _, command in message.commands:
        if type(command) is not AddNode or not _is_settled(command.spec):
            return False
    return True


def dump_input(codec: Codec, input: Input) -> str:
    """The row of the journal for an input of the scheduler; never raises.

    An `AttemptEnded` is written without its outputs, and without its exception; of the outputs that a
    `Forked` gives the names are. The two that every node brings are lists where they say nothing unusual:
    `[node_id, attempt, at, returned]` (and `true` if it was known), and `[seq, at]` with
    `[by, action, id, deps]` for each node that is added.
    """
    if type(input) is AttemptEnded:
        return _dump_attempt(codec, input)
    if type(input) is Answered and (short := _short_answer(input)) is not None:
        return short
    if isinstance(input, Forked) and input.outputs:
        names = {id: dict.fromkeys(outputs) for id, outputs in input.outputs.items()}
        return codec.dumps(replace(input, outputs=names))
    return codec.text(lambda packer: _pack(packer, input, ""))


def _dump_attempt(codec: Codec, ended: AttemptEnded) -> str:
    outcome, node_id, at = ended.outcome, ended.node_id, ended.at
    if (
        outcome is not None
        and ended.error is None
        and ended.retryable
        and not ended.jitter
        and type(at) is float
        and type(ended.attempt) is int
        and node_id.isascii()
        and _is_usual(outcome)
    ):
        more = ",true" if ended.cached else ""
        return f'[{_quoted(node_id)},{ended.attempt},{at!r},"{outcome.returned}"{more}]'
    if outcome is not None and outcome.outputs is not EMPTY:
        ended = replace(ended, outcome=replace(outcome, outputs=EMPTY))
    return codec.dumps(ended)


def _test_of_others(usual: Any) -> Callable[[Any], bool]:
    """What tells whether all of a node but id, action and dependencies is as in `usual`."""
    names = [field.name for field in fields_of(type(usual), ("id", "action", "deps"))]
    values = operator.attrgetter(*names)
    expected = values(usual)
    return lambda node: all(map(operator.is_, values(node), expected))


_is_usual_spec = _test_of_others(NodeSpec("usual"))
_is_usual_def = _test_of_others(NodeDef(id="usual", action="usual"))


def _short_answer(answered: Answered) -> str | None:
    seq, at = answered.seq, answered.at
    if answered.failures or answered.settings is not EMPTY or type(seq) is not int or type(at) is not float:
        return None
    text = f"[{seq},{at!r}"
    for by, command in answered.commands:
        if type(command) is not AddNode or command.dag_name is not None:
            return None
        spec = command.spec
        if type(spec) is not NodeSpec or not _is_usual_spec(spec):
            return None
        action, id, deps = spec.action, spec.id, spec.deps
        if not type(by) is type(action) is str or not (id is None or type(id) is str):
            return None
        if deps is None:
            after = "null"
        elif type(deps) is tuple and all_str(map(type, deps)):
            after = json_of_ids(deps)
        else:
            return None
        text += f",[{_quoted(by)},{_quoted(action)},{'null' if id is None else _quoted(id)},{after}]"
    return f"{text}]" if text.isascii() else None


def load_input(codec: Codec, text: str) -> Input:
    """The input that `dump_input` wrote; raises `SerializationError` where the text is damaged.

    The outputs of an `AttemptEnded` are empty and its exception is None; what could not be written is a
    `MissingValue` in its place.
    """
    found = codec.loads(text)
    if type(found) is list:
        found = _usual_input(found)
    if not isinstance(found, _INPUTS):
        raise SerializationError(
            f"a row of the journal is damaged: it holds {shorten(found)} instead of an input",
            culprit="journal",
        )
    return typing.cast(Input, found)


def _usual_input(row: list[Any]) -> Any:
    """The input that is written as a list; the list itself if it is damaged."""
    kinds = [type(part) for part in row]
    if kinds[:2] == [int, float] and all(map(_is_command, row[2:])):
        return Answered(row[0], row[1], tuple(_usual_command(*part) for part in row[2:]))
    if kinds[:4] == [str, int, float, str] and row[3] in _OUTCOMES and row[4:] in ([], [True]):
        node_id, attempt, at, returned = row[:4]
        return AttemptEnded(node_id, attempt, at, NodeOutput(returned=returned), cached=len(row) == 5)
    return row


def _is_command(part: Any) -> bool:
    if type(part) is not list or len(part) != 4:
        return False
    by, action, id, deps = part
    named = type(by) is type(action) is str and action != "" and (id is None or type(id) is str)
    return named and (deps is None or (type(deps) is list and all_str(map(type, deps))))


def _usual_command(by: str, action: str, id: str | None, deps: list[str] | None) -> tuple[str, AddNode]:
    return by, AddNode(NodeSpec(action, id, None if deps is None else tuple(deps)))


def dump_event(codec: Codec, event: Event) -> str:
    """What an event says beside its run, number, time and node, as JSON text; never raises.

    A `NodeCompleted` is written without its outputs, a `NodeFailed` without its exception; in a `NodesAdded`
    whose nodes have nothing set but their edges they are written as in `dump_defs`.
    """
    if type(event) is NodeStarted:
        return "{}"
    if type(event) is NodesAdded and (short := _short_growth(event)) is not None:
        return short
    if type(event) is NodeCompleted:
        if _is_usual(event.outcome):
            return _COMPLETED[event.outcome.returned]
        event = replace(event, outcome=replace(event.outcome, outputs=EMPTY))
    fields = _EVENT_FIELDS[type(event).__name__]
    plain = pack_plainly(fields, event)
    if plain is not None and (text := write_json(plain)).isascii():
        return text
    return codec.text(lambda packer: pack_fields(fields, event, packer))


def _short_growth(added: NodesAdded) -> str | None:
    by, nodes = added.added_by, ""
    for node in added.nodes:
        row = _short_def(node)
        if row is None:
            return None
        id, action, deps = row
        nodes += f",[{_quoted(id)},{_quoted(action)},{json_of_ids(deps)}]"
    if type(by) is not str or not nodes:
        return None
    text = f'{{"nodes":[{nodes[1:]}],"added_by":{_quoted(by)}}}'
    return text if text.isascii() else None


def load_event(
    codec: Codec,
    kind: str,
    dag_name: str,
    action_of: Callable[[str], str] | Mapping[str, str],
    run_id: str,
    seq: int,
    at: float,
    node_id: str | None,
    text: str,
    *,
    outputs_of: Callable[[str], Mapping[str, Any]] | None = None,
) -> Any:
    """The event that `dump_event` wrote, with what stood beside it in its row.

    `action_of` gives a node's action by its id; `outputs_of` a node's outputs, for `NodeCompleted` (without
    it they are empty). Raises `SerializationError` where the text is damaged or the kind is unknown.
    """
    cls = _EVENTS.get(kind)
    if cls is None:
        raise SerializationError(
            f"no event is called {shorten(kind)}: a newer version wrote it", culprit=kind
        )
    fields = codec.loads(text)
    try:
        given = unpack_fields(_EVENT_FIELDS[kind], fields)
        if cls is NodesAdded:
            given["nodes"] = nodes = _nodes_of(given["nodes"])
            if None in nodes:
                raise ValueError("it adds something that is no node")
        if kind in _HAS_NODE:
            given["node"] = None
            if node_id is not None:
                find = action_of if callable(action_of) else action_of.__getitem__
                given["node"] = NodeRef(dag_name, node_id, find(node_id))
        if cls is NodeCompleted and outputs_of is not None and node_id is not None:
            given["outcome"] = replace(given["outcome"], outputs=outputs_of(node_id))
        return cls(run_id=run_id, seq=seq, at=at, **given)
    except Exception as bad:
        raise SerializationError(
            f"event {seq} of run {run_id!r} ({kind}) is damaged and cannot be read: {bad}", culprit=kind
        ) from bad


def dump_defs(codec: Codec, defs: Iterable[NodeDef]) -> str:
    """A graph's nodes as JSON text; never raises. What cannot be written leaves a gap: see `MissingValue`.

    One of which only these are set is a list `[id, action, deps]`.
    """
    nodes = list(defs)

    def pack(packer: Packer) -> list[Any]:
        if packer.careful:
            return [packer.slot(node, (node.id,)) for node in nodes]
        return [_short_def(node) or _pack(packer, node, (node.id,)) for node in nodes]

    return codec.text(pack)


def _short_def(node: NodeDef) -> tuple[Any, ...] | None:
    id, action, deps = node.id, node.action, node.deps
    plain = type(id) is type(action) is str and type(deps) is tuple and all_str(map(type, deps))
    return (id, action, deps) if plain and _is_usual_def(node) else None


def _pack(packer: Packer, record: Any, step: str | tuple[Any]) -> Any:
    plain = None if packer.careful else plain_part(record)
    return packer.slot(record, step) if plain is None else plain


def load_defs(codec: Codec, text: str) -> tuple[NodeDef, ...]:
    """The nodes that `dump_defs` wrote; raises `SerializationError` where the text is damaged."""
    found = codec.loads(text)
    nodes = _nodes_of(found if type(found) is list else [None])
    if not all(isinstance(node, NodeDef) for node in nodes):
        raise SerializationError("the stored graph is damaged: it is no list of nodes", culprit="graph")
    return nodes


def _nodes_of(rows: Iterable[Any]) -> tuple[Any, ...]:
    """Nodes that are written as lists are made again, None in place of what is damaged."""
    return tuple(_usual_def(row) if type(row) is list else row for row in rows)


def _usual_def(row: list[Any]) -> NodeDef | None:
    """The node that is written as a list; None if that is damaged."""
    if len(row) != 3 or not type(row[0]) is type(row[1]) is str:
        return None
    id, action, deps = row
    if type(deps) is not list or not all_str(map(type, deps)):
        return None
    return NodeDef(id=id, action=action, deps=tuple(deps))
