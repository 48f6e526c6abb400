"""The words everything else is said in: ids, states, nodes, references, outcomes.

Rules kept here: everything is frozen or a plain record; ids are `str`; times are float seconds since
the epoch; states compare with plain strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any

from ..errors import ValidationError, shorten
from .frozen import maker, quick
from .refs import (
    Extended as Extended,
    Ref as Ref,
    iter_refs as iter_refs,
    map_refs as map_refs,
    ref as ref,
    whole as whole,
)


class _Empty(Mapping[str, Any]):
    """The empty mapping, hashable so that it can be a field's default."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Mapping[str, Any] = _Empty()
RESERVED_IDS = ("inputs", "human_input")


class NodeStatus(StrEnum):
    """The state of one node in a run."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    PAUSED = "paused"
    COMPLETED = "completed"
    CACHED = "cached"
    FAILED = "failed"
    RECOVERED = "recovered"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


SUCCESS_STATES = frozenset({NodeStatus.COMPLETED, NodeStatus.CACHED, NodeStatus.RECOVERED})
FINAL_STATES = SUCCESS_STATES | {NodeStatus.FAILED, NodeStatus.SKIPPED, NodeStatus.CANCELLED}


class RunStatus(StrEnum):
    """The state of a whole run."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class When(StrEnum):
    """What a node asks of its dependencies before it runs."""

    ALL_SUCCESS = "all_success"
    ALL_DONE = "all_done"
    ONE_SUCCESS = "one_success"
    ANY_FAILED = "any_failed"


class OnFailure(StrEnum):
    """What a failed node means for the rest of the run."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"
    HALT = "stop"

    @classmethod
    def _missing_(cls, value: object) -> OnFailure | None:
        text = value.lower() if isinstance(value, str) else None
        return cls.STOP if text == "halt" else next((policy for policy in cls if policy == text), None)


class HumanTimeoutAction(StrEnum):
    """What happens when nobody answers within `human_wait_minutes`."""

    AUTOPILOT = "autopilot"
    PAUSE = "pause"
    FAIL = "fail"
    CANCEL = "cancel"


@quick
@dataclass(frozen=True, slots=True)
class NodeRef:
    """Which node of which workflow: what events carry."""

    dag_name: str
    node_id: str
    action: str


def _show(record: Any) -> str:
    """A record by its first field and by what was set beside it: `NodeSpec('fetch', id='again')`."""
    first, *others = fields(record)
    texts = [shorten(getattr(record, first.name), 200)]
    for other in others:
        value = getattr(record, other.name)
        if value is not other.default and not (isinstance(value, str) and value == other.default):
            texts.append(f"{other.name}={shorten(value, 200)}")
    return f"{type(record).__name__}({', '.join(texts)})"


@quick
@dataclass(frozen=True, slots=True)
class NodeOutput:
    """How an action ended.

    `outputs` is always a mapping; `success` is False for a failure the action reports itself; `error`
    says why; `metadata` is free. `recovered` is set by failure handlers whose outputs stand in for
    those of the failed node. `returned` tells what the action had returned: `"mapping"`, `"value"`
    (then it is `outputs["result"]`), `"tuple"` or `"none"`.

    >>> NodeOutput.ok({"rows": 3}).outputs["rows"]
    3
    >>> NodeOutput.failure("no valid data").success
    False
    """

    outputs: Mapping[str, Any] = EMPTY  # None stands for no outputs, and for no metadata
    success: bool = True
    metadata: Mapping[str, Any] = EMPTY
    error: str | None = None
    recovered: bool = False
    returned: str = "mapping"

    def __post_init__(self) -> None:
        if self.metadata is None:
            object.__setattr__(self, "metadata", EMPTY)
        if self.outputs is None:
            object.__setattr__(self, "outputs", EMPTY)
        elif type(self.outputs) is not dict and not isinstance(self.outputs, Mapping):
            raise ValidationError(
                f"outputs are a mapping of names to values, not {shorten(self.outputs)}", culprit="outputs"
            )

    def __repr__(self) -> str:
        return _show(self)

    @classmethod
    def ok(
        cls,
        outputs: Mapping[str, Any] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        recovered: bool = False,
    ) -> NodeOutput:
        """A success with these outputs."""
        return cls(
            EMPTY if outputs is None else outputs,
            metadata=EMPTY if metadata is None else metadata,
            recovered=recovered,
        )

    @classmethod
    def failure(cls, error: str, outputs: Mapping[str, Any] | None = None) -> NodeOutput:
        """A failure that the action reports itself: it is not retried."""
        return cls(EMPTY if outputs is None else outputs, success=False, error=str(error))

    @property
    def value(self) -> Any:
        """What the action returned: a bare handle or `ref("node")` stands for this."""
        if self.returned == "value":
            return self.outputs["result"]
        if self.returned == "tuple":
            return tuple(self.outputs.values())
        return None if self.returned == "none" else self.outputs


make_ref = maker(NodeRef, "dag_name", "node_id", "action")
success_of = maker(NodeOutput, "outputs", "returned")  # of outputs that are known to be a mapping


@dataclass(frozen=True, slots=True)
class Form:
    """What a person is asked: a JSON schema, and the answer to give where nobody does.

    `question` is the text to show; `schema` a JSON schema of the answers (None: anything goes);
    `defaults` the answers that AUTOPILOT gives, None where the schema declares no complete set.
    `decision`: who goes on with the whole run has not answered it; that takes its branch's name, or one of
    its answers.
    """

    question: str = ""
    schema: Mapping[str, Any] | None = None
    defaults: Mapping[str, Any] | None = None
    decision: bool = False


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDef:
    """A node as workflows and runs hold it: every setting by its name, None where it is not set.

    `kind`: `"action"`; `"map"` (one child `ID/0`, `ID/1`, ... for each combination of `over`, at most
    `limit` at once; then `action` is what the items run); `"workflow"` (children `ID/child`, inlined
    when the workflow is added; then `action` is the sub-workflow's name and `result` says what of its
    nodes is its output); `"branch"` (evaluates the condition and disables the nodes not taken).
    `parent` is the map or sub-workflow it is a child of.
    """

    id: str
    action: str
    deps: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = EMPTY
    timeout: float | None = None
    try_count: int | None = None
    when: When = When.ALL_SUCCESS
    on_failure: OnFailure | None = None
    failure: str | None = None
    cache: Any = None
    executor: str | None = None
    ask: Form | None = None
    tags: tuple[str, ...] = ()
    outputs: tuple[str, ...] | None = None
    description: str = ""
    instructions: str = ""
    replaces: str | None = None
    kind: str = "action"
    over: Any = None
    limit: int | None = None
    result: Any = None
    parent: str | None = None
    item: int | None = None
    defaults: Mapping[str, Any] = EMPTY

    def __repr__(self) -> str:
        return _show(self)


_EDGES = ("deps", "inputs", "over")
_OTHERS = tuple(field.name for field in fields(NodeDef) if field.name not in _EDGES)
_others_of, _with_edges = attrgetter(*_OTHERS), maker(NodeDef, *_OTHERS, *_EDGES)


def with_edges(node: NodeDef, deps: tuple[str, ...], inputs: Mapping[str, Any], over: Any) -> NodeDef:
    """The same as `replace(node, deps=deps, inputs=inputs, over=over)` in a fraction of its time."""
    return _with_edges(*_others_of(node), deps, inputs, over)


@quick
@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node to be added by a hook, an agent's plan or `run.apply`.

    `action`: a name or a function. `id`: None makes one from the action's name. `deps`: ids; None in
    a hook's answer means the node of the event it answers, `()` none. `inputs`: literals and
    references (`ref("node.key")`), also nested. `timeout` in seconds for each attempt, `try_count`
    the total number of attempts. `replaces`: the failed node that this one stands in for. `over`: it is a
    map, as `Workflow.map` makes it, with at most `limit` items at once.

    >>> NodeSpec("validate").with_id("check").with_deps("fetch").with_retries(2).try_count
    3
    """

    action: Any
    id: str | None = None
    deps: Iterable[str] | None = None
    inputs: Mapping[str, Any] | None = None
    timeout: float | None = None
    try_count: int | None = None
    when: str = "all_success"
    replaces: str | None = None
    ask: Any = None
    tags: Iterable[str] = ()
    on_failure: str | None = field(default=None, kw_only=True)
    failure: Any = field(default=None, kw_only=True)
    cache: Any = field(default=None, kw_only=True)
    executor: str | None = field(default=None, kw_only=True)
    over: Any = field(default=None, kw_only=True)
    limit: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        action, id, deps, tags, inputs = self.action, self.id, self.deps, self.tags, self.inputs
        named = isinstance(action, str) and action
        if not (named or callable(action) or hasattr(action, "execute")):
            raise ValidationError(
                f"NodeSpec(action=...) takes an action, its name or a function, not {shorten(action)}",
                culprit="action",
                value=action,
            )
        if id is not None and type(id) is not str and not isinstance(id, str):
            raise ValidationError(f"a node's id is a text, not {shorten(id)}", culprit="id", value=id)
        if deps is not None and type(deps) is not tuple:
            object.__setattr__(self, "deps", _texts("deps", deps))
        if type(tags) is not tuple:
            object.__setattr__(self, "tags", _texts("tags", tags))
        if inputs is not None and type(inputs) is not dict and not isinstance(inputs, Mapping):
            raise ValidationError(
                f"NodeSpec(inputs=...) takes a mapping, not {shorten(inputs)}", culprit="inputs"
            )

    def __repr__(self) -> str:
        return _show(self)

    def with_id(self, id: str) -> NodeSpec:
        """The same node under another id."""
        return replace(self, id=id)

    def with_deps(self, *deps: Any) -> NodeSpec:
        """The same node after these ids: `with_deps("a", "b")` or `with_deps(["a", "b"])`."""
        flat = [d for dep in deps for d in ([dep] if isinstance(dep, str) else dep)]
        return replace(self, deps=tuple(flat))

    def with_inputs(self, inputs: Mapping[str, Any] | None = None, **by_name: Any) -> NodeSpec:
        """The same node with these inputs in place of its own."""
        return replace(self, inputs={**(inputs or {}), **by_name})

    def with_timeout(self, seconds: float) -> NodeSpec:
        """The same node with so many seconds for each attempt."""
        return replace(self, timeout=seconds)

    def with_retries(self, n: int) -> NodeSpec:
        """The same node, tried again at most `n` times: `n + 1` attempts."""
        return replace(self, try_count=n + 1)


def _texts(what: str, given: Any) -> tuple[Any, ...]:
    if not isinstance(given, Iterable):
        raise ValidationError(
            f"NodeSpec({what}=...) takes a list of texts, not {shorten(given)}", culprit=what, value=given
        )
    return (given,) if isinstance(given, str) else tuple(given)


def owner_problem(id: str, kinds: Callable[[str], NodeDef | None]) -> str | None:
    """Why a node that is no child may not be called so: a group's own nodes will be, or are; else None.

    `kinds(id)`: the definition of the node of that id. Items of a map are `ID/0`, `ID/1`, ..., the nodes of
    an item that is a workflow `ID/0/...`, the inputs of a sub-workflow `ID/inputs`.
    """
    at = id.find("/")
    while at > 0:
        owner = kinds(id[:at])
        if owner is not None:
            first, _, more = id[at + 1 :].partition("/")
            if owner.kind == "map" and first.isdecimal() and (not more or owner.result is not None):
                return f"{id!r} is the id of an item of the map {owner.id!r}"
            if owner.kind == "workflow" and (first, more) == ("inputs", ""):
                return f"{id!r} names the inputs of the sub-workflow {owner.id!r}"
        at = id.find("/", at + 1)
    return None


def node_id_problem(id: object) -> str | None:
    """Why `id` cannot be a node's id, or None if it can.

    Ids are shown, stored and used in references: they are texts without control characters, not
    empty, at most 200 characters, and not one of the reserved ids.
    """
    if not isinstance(id, str):
        return f"a node's id is a text, not {shorten(id)}"
    if id.isidentifier() and id.isascii() and len(id) <= 200 and id not in RESERVED_IDS:
        return None
    if not id or id != id.strip():
        return f"a node's id is not empty and has no spaces at its ends, unlike {shorten(id)}"
    if id in RESERVED_IDS:
        return f"{id!r} is a reserved id (it names the run's {id.replace('_', ' ')})"
    if len(id) > 200:
        return f"a node's id has at most 200 characters, {shorten(id)} has {len(id)}"
    if not id.isprintable():
        return f"a node's id is printable text, unlike {shorten(id)}"
    return None
