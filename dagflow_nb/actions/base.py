"""`NodeAction`, the class that users derive actions from, and what the engine sees of any action."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..core.messages import ActionSettings
from ..core.model import NodeOutput
from ..errors import ValidationError, shorten
from .binding import ENGINE_INPUTS, MISSING
from .context import NodeCtx
from .conversion import InputError
from .options import CachePolicy, Options, make_options
from .returns import OutputError, to_output


class _ClassName:
    """The name of a class as the default of its instances' `name`.

    The class itself has no `name` of it: dataclasses would take that for a field's default.
    """

    def __get__(self, instance: Any, owner: type) -> str:
        if instance is None:
            raise AttributeError("name")
        return owner.__name__


class NodeAction(ABC):
    """An action as a class: a name, and a coroutine that turns a context into an outcome.

    `name` is an attribute or a property; where a class has none it is the class's own name.
    `input_schema` and `output_schema` are JSON schemas, if there are any.

    >>> class Double(NodeAction):
    ...     name = "double"
    ...
    ...     async def execute(self, ctx):
    ...         return NodeOutput.ok({"value": 2 * ctx.get_input("value", int)})
    """

    if TYPE_CHECKING:
        # a plain attribute, a class's attribute or a property may all stand here

        @property
        def name(self) -> str:
            """The name that workflows use."""

        @property
        def input_schema(self) -> Any:
            """The JSON schema of the inputs, or None."""

        @property
        def output_schema(self) -> Any:
            """The JSON schema of the outputs, or None."""
    else:
        name = _ClassName()
        input_schema = None
        output_schema = None

    @abstractmethod
    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """The work itself; an exception is a failed attempt, `NodeOutput.failure(...)` a failed node."""

    def validate_inputs(self, inputs: Mapping[str, Any]) -> Any:
        """Asked before `execute`: raises, or returns a text or a list of texts that say what is wrong."""
        return None


class PreparedAction(NodeAction):
    """An action with its settings, as the engine uses it.

    `is_tool`: language models are told of it.
    """

    name: str
    options: Options
    is_tool: bool = False

    @property
    def settings(self) -> ActionSettings:
        """What the scheduler needs to know."""
        return self.options.settings

    @property
    def cache(self) -> CachePolicy:
        """Whether and how results are found again."""
        return self.options.cache

    def retries_on(self, error: BaseException) -> bool:
        """Whether this exception is worth another attempt."""
        return isinstance(error, self.options.retry_on) and not isinstance(error, InputError | OutputError)

    def input_problems(
        self, names: Collection[str], given_by_engine: Collection[str] = ENGINE_INPUTS
    ) -> list[tuple[str, str]]:
        """What is known to be wrong with inputs of these names, as pairs (input, text)."""
        return []

    def default_of(self, name: str) -> Any:
        """The default of the parameter `name`; `MISSING` where there is none."""
        return MISSING


class ClassAction(PreparedAction):
    """A user's `NodeAction` with settings: it validates the inputs, executes, and reads the result."""

    def __init__(self, action: NodeAction, **settings: Any) -> None:
        self.action = action
        self._given = settings
        self.options = make_options(action.name, "async", _summary(type(action)), **settings)
        self.name = self.options.name

    def __reduce__(self) -> Any:
        return _class_action, (self.action, self._given)

    @property
    def input_schema(self) -> Any:
        """The action's own."""
        return self.action.input_schema

    @property
    def output_schema(self) -> Any:
        """The action's own."""
        return self.action.output_schema

    def validate_inputs(self, inputs: Mapping[str, Any]) -> Any:
        """The action's own."""
        return self.action.validate_inputs(inputs)

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Checks the inputs, runs the action and reads what it returned."""
        await self._check_inputs(ctx)
        return to_output(await self.action.execute(ctx), self.name, self.options.outputs)

    async def _check_inputs(self, ctx: NodeCtx) -> None:
        where = f"node {ctx.node_id!r}: action {self.name!r} refuses its inputs: "
        try:
            problems = self.action.validate_inputs(ctx.inputs)
            if inspect.isawaitable(problems):
                problems = await problems
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{where}{error}", node_id=ctx.node_id) from error
        # True and False are what validators often return; only False says that something is wrong
        if problems is None or problems is True:
            return
        texts = [problems] if isinstance(problems, str) else problems
        if problems is False:
            texts = ["they are not valid"]
        elif not isinstance(texts, list | tuple | set | frozenset):
            texts = [f"validate_inputs returned {shorten(problems)}, not a text or a list of texts"]
        if any(texts):
            raise InputError(where + "; ".join(str(text) for text in texts if text), node_id=ctx.node_id)

    def input_problems(
        self, names: Collection[str], given_by_engine: Collection[str] = ENGINE_INPUTS
    ) -> list[tuple[str, str]]:
        """What the action's `input_schema` says, if it has one."""
        schema = self.action.input_schema
        if not isinstance(schema, Mapping):
            return []
        known = schema.get("properties", {})
        found = [
            (name, f"action {self.name!r} needs the input {name!r}")
            for name in schema.get("required", ())
            if name not in names and name not in given_by_engine and "default" not in known.get(name, {})
        ]
        if schema.get("additionalProperties", True) is False:
            unknown = [name for name in names if name not in known and name not in given_by_engine]
            found += [(name, f"action {self.name!r} has no input {name!r}") for name in unknown]
        return found


def _class_action(action: NodeAction, settings: dict[str, Any]) -> ClassAction:
    return ClassAction(action, **settings)


def check_action(action: NodeAction) -> NodeAction:
    """`action` itself, or `ValidationError` where its class is not written as it has to be."""
    kind = type(action).__name__
    name: Any = getattr(action, "name", None)
    if callable(name):
        raise ValidationError(
            f'{kind}.name is a method: write `name = "..."`, or put @property above it', culprit="name"
        )
    if not isinstance(name, str) or not name:
        raise ValidationError(
            f"{kind}.name is the action's name, a text, not {shorten(name)}", culprit="name"
        )
    if not inspect.iscoroutinefunction(action.execute):
        raise ValidationError(
            f"{kind}.execute is a plain def: write `async def execute(self, ctx)`", culprit="execute"
        )
    return action


def make_instance(kind: type[NodeAction]) -> NodeAction:
    """An instance of a user's class, or `ValidationError` that says why it cannot be made."""
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise ValidationError(f"class {kind.__name__} has no {missing}: write it", culprit=kind.__name__)
    try:
        return kind()
    except TypeError as error:
        raise ValidationError(
            f"class {kind.__name__} cannot be made without arguments ({error}): "
            f"register an instance, {kind.__name__}(...)",
            culprit=kind.__name__,
        ) from error


def prepared(action: NodeAction) -> PreparedAction:
    """The action with its settings: itself, or wrapped with the default settings."""
    return action if isinstance(action, PreparedAction) else ClassAction(check_action(action))


def settings_of(action: NodeAction) -> ActionSettings:
    """What the scheduler needs to know of any action.

    >>> class Nothing(NodeAction):
    ...     async def execute(self, ctx): ...
    >>> settings_of(Nothing()).executor
    'async'
    """
    return prepared(action).settings


def _summary(documented: Any) -> str:
    text = documented.__doc__ if isinstance(documented.__doc__, str) else ""
    return inspect.cleandoc(text).partition("\n\n")[0].replace("\n", " ")
