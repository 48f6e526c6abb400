"""What stands for a value that exists only once a workflow runs: handles of nodes, references into them.

They can be passed on as inputs, indexed, and nothing else: whatever would have to look at the value
says what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn

from ..core.model import Ref
from ..errors import ValidationError, did_you_mean, shorten

if TYPE_CHECKING:
    from .builder import Workflow

# True while a workflow function is being called: there a comparison is always a mistake
TRACED: ContextVar[bool] = ContextVar("dagflow_nb_traced", default=False)

_LOOK = (
    "to choose between nodes write wf.branch(reference, then=..., otherwise=...); "
    "else look at it inside an action"
)
_COMPUTE = "compute it inside an action, and pass this on as the action's input"


class NoValueYet(ValidationError, TypeError):
    """A handle or reference was used as the value that it stands for; `culprit` is what it refers to."""


def _refuses(what: str, instead: str) -> Callable[..., Any]:
    def method(self: Lazy, *_: object) -> NoReturn:
        raise NoValueYet(
            f"{self._title()} has its value only in a run, so {what} cannot work here: {instead}",
            culprit=str(self.ref),
        )

    return method


def _refuses_if_traced(what: str) -> Callable[..., Any]:
    refuse = _refuses(what, _LOOK)

    def method(self: Lazy, *other: object) -> Any:
        return refuse(self) if TRACED.get() else NotImplemented

    return method


class Lazy:
    """Common part of `NodeHandle` and `Reference`: what it refers to, and what cannot be done with it.

    `ref` is the reference as nodes hold it. Two of them are equal only if they are the same object;
    while a workflow function is traced `==` raises, as every other look at the value does.
    """

    __slots__ = ("__weakref__", "_outputs", "_workflow", "ref")

    ref: Ref

    def __init__(self, workflow: Workflow, ref: Ref, outputs: tuple[str, ...] | None = None) -> None:
        self._workflow = workflow
        self.ref = ref
        self._outputs = outputs

    def _title(self) -> str:
        return repr(self)

    def ref_in(self, workflow: Workflow) -> Ref:
        """The reference, for a node of `workflow`; `ValidationError` if it belongs to another one."""
        if self._workflow is not workflow:
            raise ValidationError(
                f"{self._title()} belongs to workflow {self._workflow.name!r} and cannot be used in "
                f"{workflow.name!r}: add the node there, or add the whole workflow as a node "
                f"(wf.add(other_workflow)) and use its handle",
                culprit=str(self.ref),
            )
        return self.ref

    def __iter__(self) -> Iterator[Reference]:
        if self._outputs is None:
            raise NoValueYet(
                f"{self._title()} has its value only in a run, so it cannot be iterated or unpacked here: "
                f"write wf.map(action, over={{'item': ...}}) for a node for each item, declare the "
                f"action's outputs=('a', 'b') to unpack it, or loop inside an action",
                culprit=str(self.ref),
            )
        return iter([Reference(self._workflow, Ref(self.ref.target, (key,))) for key in self._outputs])

    def __getattr__(self, name: str) -> NoReturn:
        hint = "" if name.startswith("_") else f"; for an output write [{name!r}]"
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def __format__(self, spec: str) -> str:
        if TRACED.get():
            _refuses("a text with it (an f-string)", _COMPUTE)(self)
        return format(repr(self), spec)

    __hash__ = object.__hash__
    __bool__ = _refuses("a truth value (if, while, and, or, not)", _LOOK)
    __eq__ = _refuses_if_traced("== or `in` with it")
    __ne__ = _refuses_if_traced("!=")
    __lt__ = _refuses("<", _LOOK)
    __le__ = _refuses("<=", _LOOK)
    __gt__ = _refuses(">", _LOOK)
    __ge__ = _refuses(">=", _LOOK)
    __contains__ = _refuses("`in`", _LOOK)
    __len__ = _refuses("len()", _COMPUTE)
    __int__ = _refuses("int()", _COMPUTE)
    __index__ = _refuses("use as an index", _COMPUTE)
    __float__ = _refuses("float()", _COMPUTE)
    __complex__ = _refuses("complex()", _COMPUTE)
    __add__ = __radd__ = _refuses("+", _COMPUTE)
    __sub__ = __rsub__ = _refuses("-", _COMPUTE)
    __mul__ = __rmul__ = _refuses("*", _COMPUTE)
    __matmul__ = __rmatmul__ = _refuses("@", _COMPUTE)
    __truediv__ = __rtruediv__ = _refuses("/", _COMPUTE)
    __floordiv__ = __rfloordiv__ = _refuses("//", _COMPUTE)
    __mod__ = __rmod__ = _refuses("%", _COMPUTE)
    __divmod__ = __rdivmod__ = _refuses("divmod()", _COMPUTE)
    __pow__ = __rpow__ = _refuses("**", _COMPUTE)
    __lshift__ = __rlshift__ = _refuses("<<", _COMPUTE)
    __rshift__ = __rrshift__ = _refuses(">>", f"{_COMPUTE}; for an order of nodes write after=...")
    __and__ = __rand__ = _refuses("&", _COMPUTE)
    __or__ = __ror__ = _refuses("|", _COMPUTE)
    __xor__ = __rxor__ = _refuses("^", _COMPUTE)
    __neg__ = _refuses("unary -", _COMPUTE)
    __pos__ = _refuses("unary +", _COMPUTE)
    __invert__ = _refuses("~", _COMPUTE)
    __abs__ = _refuses("abs()", _COMPUTE)
    __round__ = _refuses("round()", _COMPUTE)


class Reference(Lazy):
    """A part of what a node will return, or an input of the run; `["key"]` and `[0]` go deeper."""

    __slots__ = ()

    def __getitem__(self, key: str | int) -> Reference:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise ValidationError(
                f"a reference goes deeper by a key or an index, not by {shorten(key)}: {_COMPUTE}",
                culprit=str(self.ref),
                value=key,
            )
        return Reference(self._workflow, Ref(self.ref.target, (*self.ref.path, key)))

    def __repr__(self) -> str:
        return f"<reference {str(self.ref)!r} in workflow {self._workflow.name!r}>"


class NodeHandle(Lazy):
    """A node of a workflow: stands for what its action will return; `["key"]` for one of its outputs.

    `id` is the node's id. Passed as an input, it makes the other node come after this one.
    """

    __slots__ = ()

    @property
    def id(self) -> str:
        """The node's id."""
        return self.ref.target

    def __getitem__(self, key: str) -> Reference:
        if not isinstance(key, str):
            raise ValidationError(
                f'an output is named by a text, not by {shorten(key)}: write ["name"] first (what is no '
                f'mapping is ["result"], so for instance handle["result"][0])',
                culprit=self.id,
                value=key,
            )
        if self._outputs is not None and key not in self._outputs:
            raise ValidationError(
                f"node {self.id!r} declares no output {key!r}: {did_you_mean(key, self._outputs)}",
                culprit=key,
            )
        return Reference(self._workflow, Ref(self.id, (key,)))

    def __repr__(self) -> str:
        return f"<node {self.id!r} of workflow {self._workflow.name!r}>"

    def _repr_html_(self) -> str:
        node = self._workflow.nodes[self.id]
        after = f", after {', '.join(escape(dep) for dep in node.deps)}" if node.deps else ""
        inputs = f", inputs {', '.join(escape(str(key)) for key in node.inputs)}" if node.inputs else ""
        return (
            f"<code>{escape(self.id)}</code>: node of workflow <b>{escape(self._workflow.name)}</b>, "
            f"{'map over' if node.kind == 'map' else node.kind} <code>{escape(node.action)}</code>"
            f"{after}{inputs}"
        )
