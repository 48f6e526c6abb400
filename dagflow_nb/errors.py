"""Every error of the package, under one root.

An error carries its culprit as an attribute, and its message says what to do about it. Values in
messages are shortened, so that a megabyte of data never becomes a megabyte of message.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.run import Run


_BRACKETS: dict[type[Any], str] = {list: "[]", tuple: "()", dict: "{}", set: "{}"}
_DEPTH = 20


def shorten(value: object, limit: int = 80) -> str:
    """`repr(value)` in at most `limit` characters; an object whose repr fails is named by its type.

    >>> shorten(["a long text" * 1_000_000, 2], 20)
    "['a long texta lo..."
    """
    try:
        text = _beginning(value, limit, _DEPTH)
    except Exception:
        text = f"<{type(value).__name__}, whose repr fails>"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _beginning(value: Any, limit: int, depth: int) -> str:
    """`repr(value)`, or more than `limit` characters of it: a big text or collection is not written out."""
    kind = type(value)
    if kind in (str, bytes, bytearray):
        return repr(value[: limit + 1])
    brackets = _BRACKETS.get(kind)
    if not brackets or not value:
        return repr(value)
    if depth == 0:
        return "...".join(brackets)
    texts: list[str] = []
    length = 0
    for item in value.items() if kind is dict else value:
        parts = item if kind is dict else (item,)
        texts.append(": ".join(_beginning(part, limit, depth - 1) for part in parts))
        length += len(texts[-1]) + 2
        if length > limit:
            break
    alone = "," if kind is tuple and len(value) == 1 else ""
    return f"{brackets[0]}{', '.join(texts)}{alone}{brackets[1]}"


def did_you_mean(name: str, known: Iterable[str], most: int = 10) -> str:
    """A sentence that suggests the nearest known names, or lists what is there (at most so many)."""
    names = sorted({str(k) for k in known})
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    if not names:
        return "there is none yet"
    shown = ", ".join(repr(n) for n in names[:most])
    return f"there is {shown}" + (f" and {len(names) - most} more" if len(names) > most else "")


class DagError(Exception):
    """Root of the package's errors."""

    def __reduce__(self) -> Any:
        """Pickled it is made again from its message and attributes: its `__init__` takes other arguments."""
        return _again, (type(self), self.args), dict(vars(self))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the frames of the user's code, not those of the package."""
        from .notebook.tracebacks import render

        return render(self)


def tell(interrupt: BaseException, text: str) -> BaseException:
    """An interrupt that says what is to be known; in a cell without frames: where the package waited is no
    news."""
    if not interrupt.args or hasattr(interrupt, "_render_traceback_"):
        interrupt.args = (text,) if text else ()  # else who cancelled may know it by its own text
    line = f"{type(interrupt).__name__}: {text}".rstrip(": ")
    setattr(interrupt, "_render_traceback_", lambda: [line])  # noqa: B010 # IPython's
    return interrupt


def _again(kind: type[DagError], args: tuple[Any, ...]) -> DagError:
    return kind.__new__(kind, *args)


class ValidationError(DagError, ValueError):
    """Something was written wrongly: a workflow, a setting, an argument, an answer.

    `culprit` is what is at fault (a name, an id, a field), `file` and `line` where it stands if it
    came from a file, `value` the value that was refused. Of answers to a form `fields` tells what is wrong
    with each field, by its path (`"address.street"`); the key `""` is for the form as a whole.
    """

    def __init__(
        self,
        message: str,
        *,
        culprit: Any = None,
        value: Any = None,
        file: str | None = None,
        line: int | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self.culprit, self.value, self.file, self.line = culprit, value, file, line
        self.fields: dict[str, str] = dict(fields or {})
        self.message = message
        place = f"{file or '<text>'}:{line}: " if line is not None else f"{file}: " if file else ""
        super().__init__(place + message)

    @property
    def field(self) -> Any:
        """The same as `culprit`: the field that holds the refused value."""
        return self.culprit


class CycleError(ValidationError):
    """Dependencies form a circle; `cycle` lists its node ids, the first one again at the end."""

    def __init__(self, cycle: Iterable[str], **where: Any) -> None:
        self.cycle = list(cycle)
        way = " -> ".join(self.cycle)
        super().__init__(
            f"the dependencies form a cycle: {way}; remove one of these dependencies",
            culprit=self.cycle,
            **where,
        )


class DependencyNotFound(ValidationError):
    """A node depends on one that is not there; `node_id` and `dependency` name both."""

    def __init__(
        self, node_id: str, dependency: str, known: Iterable[str] = (), hint: str = "", **where: Any
    ) -> None:
        self.node_id, self.dependency = node_id, dependency
        super().__init__(
            f"node {node_id!r} depends on {dependency!r}, which is no node here: "
            f"{hint or did_you_mean(dependency, (id for id in known if id != node_id))}",
            culprit=dependency,
            **where,
        )


class NodeAlreadyExists(ValidationError):
    """An id is taken by a different node; `node_id` names it."""

    def __init__(self, node_id: str, hint: str = "give one of them another id", **where: Any) -> None:
        self.node_id = node_id
        super().__init__(f"there is already a node {node_id!r}: {hint}", culprit=node_id, **where)


class DagNotFound(DagError, LookupError):
    """No workflow or run of that name; `name` is what was asked for."""

    def __init__(
        self, name: str, known: Iterable[str] = (), what: str = "workflow", message: str | None = None
    ) -> None:
        self.name = self.culprit = name
        super().__init__(message or f"no {what} {name!r}: {did_you_mean(name, known)}")


class NodeNotFound(DagError, LookupError):
    """No node of that id; `node_id` is what was asked for."""

    def __init__(self, node_id: str, known: Iterable[str] = ()) -> None:
        self.node_id = self.culprit = node_id
        super().__init__(f"no node {node_id!r}: {did_you_mean(node_id, known)}")


class ActionNotFound(DagError, LookupError):
    """No action of that name is registered; `name` is what was asked for, `node_id` who asked."""

    def __init__(self, name: str, known: Iterable[str] = (), node_id: str | None = None) -> None:
        self.name = self.culprit = name
        self.node_id = node_id
        who = f"node {node_id!r} needs action" if node_id else "no action"
        is_ = ", which is not defined" if node_id else ""
        super().__init__(
            f"{who} {name!r}{is_}: {did_you_mean(name, known)} "
            f"(define it with @flow.action, or name the function's action)"
        )


class InvalidState(DagError):
    """What was asked does not fit the state things are in; `culprit` names the run or node."""

    def __init__(self, message: str, *, culprit: Any = None) -> None:
        self.culprit = culprit
        super().__init__(message)


class _RunError(DagError):
    """Common part of the errors that say how a run ended: `run` is the `Run`, `report` its report."""

    run: Run | None
    report: Any
    action_traceback: str | None = None  # of the action's own frames

    def __init__(self, message: str, *, run: Run | None = None, report: Any = None) -> None:
        self.run, self.report = run, report
        super().__init__(message)

    def __reduce__(self) -> Any:
        """In another process there is no run."""
        again, arguments, state = super().__reduce__()
        return again, arguments, state | {"run": None, "report": None}

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the action's own frames, then this error in one line."""
        above = [self.action_traceback.rstrip(), ""] if self.action_traceback else []
        return [*above, f"{type(self).__name__}: {self}"]


_ADVICE = ("go on with ", "start a new run")  # what an error says that tells the way out itself


class NodeExecutionError(_RunError):
    """A node failed and with it the run; the action's own exception is the `__cause__`."""

    def __init__(
        self,
        node_id: str,
        error: str,
        *,
        run: Run | None = None,
        report: Any = None,
        advice: str = "mend the action, then go on with flow.retry()",
    ) -> None:
        self.node_id = self.culprit = node_id
        self.error = error
        text = f"node {node_id!r} failed: {error.removeprefix(f'node {node_id!r}: ')}" if node_id else error
        if run is not None and node_id and not any(known in error for known in _ADVICE):
            text += f" ({advice})"
        super().__init__(text, run=run, report=report)


class ExecutionTimeout(_RunError):
    """The run took longer than its `timeout_seconds`; it can be resumed."""

    node_id: str | None = None


class RunCancelled(_RunError):
    """The run was cancelled; `reason` says why, if a reason was given."""

    node_id: str | None = None
    reason: str | None = None


class SerializationError(DagError):
    """A value cannot be stored or read back; `culprit` says which."""

    def __init__(self, message: str, *, culprit: Any = None) -> None:
        self.culprit = culprit
        super().__init__(message)


class DatabaseError(DagError):
    """The database file cannot be used; `path` names it."""

    def __init__(self, message: str, *, path: str | None = None) -> None:
        self.path = self.culprit = path
        super().__init__(message)


class ModelError(DagError):
    """A language model gave no answer, and will not: `endpoint`, `model`, `status` (HTTP's, or None)."""

    def __init__(self, message: str, *, endpoint: str, model: str, status: int | None = None) -> None:
        self.endpoint, self.model, self.status, self.culprit = endpoint, model, status, model
        super().__init__(message)


class ModelUnavailable(ModelError):
    """A language model gave no answer now: another attempt may get one."""


class WrongModelAnswer(ModelError):
    """A language model answered in another form than it was asked for: another attempt may get that."""
