"""Building a workflow from a function that describes it: called once, its calls to actions become nodes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..core.model import Ref
from ..errors import ValidationError, shorten
from .builder import Workflow
from .handles import TRACED, NodeHandle, Reference
from .naming import REQUIRED

if TYPE_CHECKING:
    from ..config import DagConfig

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

# the workflow whose function is being called
_CURRENT: ContextVar[Workflow | None] = ContextVar("dagflow_nb_current_workflow", default=None)


def build_from_function(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    author: str = "",
    version: str = "",
    signature: str = "",
    tags: Iterable[str] | str = (),
    config: DagConfig | Mapping[str, Any] | None = None,
) -> Workflow:
    """The workflow that `fn` describes.

    `fn` is called once. Its parameters are references to the run's inputs, their defaults the inputs'
    defaults; one named `wf` gets the `Workflow`. Calls to actions add nodes and give handles; what it
    returns (handles and references, also in tuples, lists and dicts) becomes the workflow's `result`.
    `name`: None takes the function's; `description`: None takes its docstring. `ValidationError` for
    what cannot describe a workflow (an async function, a generator, `*args`); an exception of the
    function goes through as it is.
    """
    parameters = _parameters(fn)
    if name is None:
        name = getattr(fn, "__name__", "")
        if not name or name == "<lambda>":
            raise ValidationError("a lambda has no name of its own: give name='...'", culprit="name")
    workflow = Workflow(
        name,
        description=(inspect.getdoc(fn) or "") if description is None else description,
        author=author,
        version=version,
        signature=signature,
        tags=tags,
        inputs={
            key: REQUIRED if p.default is p.empty else p.default
            for key, p in parameters.items()
            if key != "wf"
        },
        config=config,
    )
    by_position: list[Any] = []
    by_name: dict[str, Any] = {}
    for key, parameter in parameters.items():
        value = workflow if key == "wf" else Reference(workflow, Ref("inputs", (key,)))
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            by_position.append(value)
        else:
            by_name[key] = value
    returned = _call(workflow, lambda: fn(*by_position, **by_name))
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise ValidationError(
            f"workflow function {name!r} returned a coroutine: it describes the workflow and is a plain "
            f"def that calls actions without await",
            culprit=name,
        )
    if returned is not workflow:
        workflow.result = returned
    return workflow


def _call(workflow: Workflow, describe: Callable[[], Any]) -> Any:
    from ..actions import TRACER

    def trace(action: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NodeHandle:
        return workflow.add(action, inputs={**bind_positional(action, args, kwargs), **kwargs})

    tracer, traced, current = TRACER.set(trace), TRACED.set(True), _CURRENT.set(workflow)
    try:
        return describe()
    finally:
        _CURRENT.reset(current)
        TRACED.reset(traced)
        TRACER.reset(tracer)


def _parameters(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    if not callable(fn) or inspect.isclass(fn):
        raise ValidationError(f"a workflow is described by a function, not by {shorten(fn)}", culprit=fn)
    name = getattr(fn, "__name__", shorten(fn))
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise ValidationError(
            f"workflow function {name!r} is async: it only describes the workflow and is called once, so "
            f"write a plain def (actions may be async)",
            culprit=name,
        )
    if inspect.isgeneratorfunction(fn):
        raise ValidationError(
            f"workflow function {name!r} yields: it describes the workflow once; return the handles instead",
            culprit=name,
        )
    parameters = dict(inspect.signature(fn).parameters)
    for key, parameter in parameters.items():
        if parameter.kind in _VARIADIC:
            star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise ValidationError(
                f"workflow function {name!r} has {star}{key}: name each input of the run as a parameter",
                culprit=key,
            )
    return parameters


def bind_positional(action: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Positional arguments by the names of the action's parameters (the context is none of them)."""
    if not args:
        return {}
    inner = getattr(action, "action", action)
    if not hasattr(inner, "signature"):
        inner = getattr(inner, "action", inner)
    signature = getattr(inner, "signature", None)  # an action written as a class mostly names no inputs
    parameters = signature.parameters.items() if isinstance(signature, inspect.Signature) else ()
    names = [key for key, p in parameters if p.kind in _POSITIONAL and not _is_context(p)]
    return _by_name(inner.name, names, args, kwargs)


def _by_name(name: str, names: list[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if len(args) > len(names):
        there = f"its inputs are {', '.join(names)}" if names else "it takes none by position"
        raise ValidationError(
            f"{name}() got {len(args)} inputs by position: {there}", culprit=name, value=args
        )
    bound = dict(zip(names, args, strict=False))
    for key in bound:
        if key in kwargs:
            raise ValidationError(f"{name}() got input {key!r} twice: by position and by name", culprit=key)
    return bound


def _is_context(parameter: inspect.Parameter) -> bool:
    hint = parameter.annotation
    text = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
    return parameter.name == "ctx" or text.rpartition(".")[2] == "NodeCtx"


def call_workflow(inner: Workflow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NodeHandle:
    """What calling a workflow means: inside a workflow function a node, elsewhere a mistake."""
    outer = _CURRENT.get()
    if outer is None:
        raise ValidationError(
            f"a workflow is run by flow.run({inner.name!r}, ...), not by calling it; inside a workflow "
            f"function a call adds it as a node",
            culprit=inner.name,
        )
    return outer.add(inner, inputs={**_by_name(inner.name, list(inner.inputs), args, kwargs), **kwargs})
