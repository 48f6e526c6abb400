"""`FunctionAction`: a function as an action."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ..core.model import NodeOutput, OnFailure
from ..core.retry import RetryStrategy
from ..errors import ValidationError, shorten
from .base import PreparedAction, _summary
from .binding import ENGINE_INPUTS, MISSING, Binder, Parameter
from .context import NodeCtx
from .keys import check_key
from .options import make_options
from .returns import to_output


class FunctionAction(PreparedAction):
    """A `def` or `async def` as an action: its parameters are the inputs, what it returns the outputs.

    The settings are those of the decorator: `retries` further attempts (of exceptions in `retry_on`, with
    the delays of `retry_strategy`), `timeout` seconds for each attempt, `cache` (True, `"24h"`, a timedelta
    or a function that makes the key), `executor` (a name; None: the loop for `async def`, a thread for
    `def`), `outputs` (names for a returned tuple), `on_failure`, `failure` (an action that handles the
    failure), `tags`, `idempotent` (False: never run again unasked after a crash), `ask` (a person is asked
    first), `description` (None: the docstring's first paragraph). A bad one is a `ValidationError`.

    >>> def add(left: int, right: int = 1) -> int:
    ...     return left + right
    >>> FunctionAction(add, retries=2).invoke(NodeCtx(inputs={"left": "3"})).outputs
    {'result': 4}
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        retries: int | None = None,
        retry_strategy: RetryStrategy | str | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = Exception,
        timeout: float | None = None,
        cache: Any = None,
        executor: str | None = None,
        outputs: Iterable[str] | str | None = None,
        on_failure: OnFailure | str | None = None,
        failure: Any = None,
        tags: Iterable[str] | str = (),
        idempotent: bool = True,
        ask: Any = None,
        description: str | None = None,
    ) -> None:
        if not callable(fn):
            raise ValidationError(f"an action is a function, not {shorten(fn)}", culprit="fn", value=fn)
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            called = name or function_name(fn)
            raise ValidationError(
                f"action {called!r} yields, but an action's result is what it returns: return a list of the "
                "values, and send what is to be seen meanwhile with ctx.stream or ctx.emit",
                culprit=called,
                value=fn,
            )
        self.fn = fn
        self.is_async = _is_async(fn)
        self._given = {
            "name": name,
            "retries": retries,
            "retry_strategy": retry_strategy,
            "retry_on": retry_on,
            "timeout": timeout,
            "cache": cache,
            "executor": executor,
            "outputs": tuple(outputs) if isinstance(outputs, list) else outputs,
            "on_failure": on_failure,
            "failure": failure,
            "tags": tags if isinstance(tags, str) or not isinstance(tags, Iterable) else tuple(tags),
            "idempotent": idempotent,
            "ask": ask,
            "description": description,
        }
        own = function_name(fn)
        self.options = make_options(own, "async" if self.is_async else "thread", _summary(fn), **self._given)
        self.name = self.options.name
        self._outputs = self.options.outputs
        self._binder = Binder(fn)
        key = self.options.cache.key
        if key is not None and self._binder.extra is None:
            check_key(key, self._binder.parameters, f"action {self.name!r}: ")
        self._schema: dict[str, Any] | None = None

    def with_settings(self, **settings: Any) -> FunctionAction:
        """The same function with these settings put over its own."""
        return FunctionAction(self.fn, **{**self._given, **settings})

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters that inputs may fill, by name."""
        return self._binder.parameters

    def takes(self, name: str) -> bool:
        """Whether there is a parameter of this name."""
        return name in self._binder.parameters

    def is_secret(self, name: str) -> bool:
        """Whether the input of this name is taken as a secret (`SecretStr`, or a model that has one)."""
        return self._binder.is_secret(name)

    @property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return self._binder.signature

    def bind(self, ctx: NodeCtx) -> dict[str, Any]:
        """The arguments by name, checked and converted; raises `InputError` before anything has run."""
        return self._binder.bind(ctx, self.name)

    def convert(self, name: str, value: Any, node_id: str = "") -> Any:
        """One input as its parameter gets it; raises `InputError`."""
        return self._binder.convert(name, value, node_id, self.name)

    def call(self, bound: dict[str, Any]) -> Any:
        """Calls the function with arguments from `bind`, positional-only ones by position."""
        return self._binder.call(bound)

    def to_output(self, returned: Any) -> NodeOutput:
        """The outcome that a returned value stands for; raises `OutputError` where it cannot be one."""
        return to_output(returned, self.name, self._outputs)

    def invoke(self, ctx: NodeCtx) -> NodeOutput:
        """Runs the action here and now: binds, calls, reads the result; for threads and processes."""
        if self.is_async:
            return asyncio.run(self.execute(ctx))
        return self.to_output(self.begin(ctx))

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """The same on the running loop; a `def` is simply called, and blocks the loop meanwhile."""
        returned = self.begin(ctx)
        return self.to_output(await returned if self.is_async else returned)

    def begin(self, ctx: NodeCtx) -> Any:
        """Binds and calls; what an `async def` gives back is to be awaited."""
        return self._binder.call(self._binder.bind(ctx, self.name))

    def input_problems(
        self, names: Collection[str], given_by_engine: Collection[str] = ENGINE_INPUTS
    ) -> list[tuple[str, str]]:
        """Missing inputs without default, and inputs that no parameter takes, as pairs (input, text)."""
        return self._binder.problems(names, given_by_engine, self.name)

    def default_of(self, name: str) -> Any:
        """The default of the parameter `name`; `MISSING` where there is none."""
        parameter = self._binder.parameters.get(name)
        return MISSING if parameter is None else parameter.default

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON schema of the parameters; what has no JSON form is left open."""
        if self._schema is None:
            from .schema import parameters_schema

            self._schema = parameters_schema(self.name, self._binder)
        return self._schema

    @property
    def output_schema(self) -> dict[str, Any] | None:
        """An object with the declared outputs, None where none are declared."""
        if self._outputs is None:
            return None
        return {"type": "object", "properties": {name: {} for name in self._outputs}}

    def __reduce__(self) -> Any:
        # the decorator's wrapper has taken the function's name in its module, so that pickle, which
        # looks functions up by name, would not find the function itself
        module, name = getattr(self.fn, "__module__", None), getattr(self.fn, "__qualname__", None)
        if getattr(find(module, name), "action", None) is self:
            return _from_module, (module, name)
        given = {k: v for k, v in self._given.items() if v is not None}
        return _from_function, (self.fn, given, self._binder.texts_resolved())

    def __repr__(self) -> str:
        return f"FunctionAction({self.name!r})"


def find(module: Any, qualname: Any) -> Any:
    """What a loaded module other than `__main__` has under this qualified name; None if nothing."""
    if not isinstance(module, str) or module == "__main__" or not isinstance(qualname, str):
        return None
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def function_name(fn: Any) -> str:
    """What a function, partial or callable object is called."""
    if isinstance(fn, functools.partial):
        return function_name(fn.func)
    name = getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__name__


def _is_async(fn: Any) -> bool:
    call = inspect.getattr_static(type(fn), "__call__", None)
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call)


def _from_module(module: str, qualname: str) -> FunctionAction:
    import importlib

    importlib.import_module(module)
    action: FunctionAction = find(module, qualname).action
    return action


def _from_function(fn: Callable[..., Any], settings: dict[str, Any], known: dict[str, Any]) -> FunctionAction:
    action = FunctionAction(fn, **settings)
    action._binder = Binder(fn, known)
    return action
