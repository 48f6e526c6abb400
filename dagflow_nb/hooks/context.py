"""What hooks are given, and hooks as classes: `EventHook` and the two that come with the package."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ..core.messages import CustomEvent, ExecutionEvent, HookFailed, NodeFailed, RunFinished, RunStarted
from ..errors import shorten


class GraphView(Protocol):
    """The graph of a run as hooks see it: to be read only."""

    @property
    def nodes(self) -> Any:
        """The nodes by id."""

    def status(self, node_id: str) -> Any:
        """The state of a node."""

    def dependencies(self, node_id: str) -> Any:
        """The ids that a node waits for."""

    def descendants(self, node_id: str) -> Any:
        """The ids of all that comes after a node."""


@dataclass(frozen=True, slots=True)
class HookContext:
    """What a hook knows about the run: `cache` and `graph` are read-only, `app_data` is the flow's."""

    run_id: str = ""
    dag_name: str = ""
    app_data: Any = None
    cache: Any = None
    graph: Any = None


class EventHook:
    """A hook as a class: any of its three methods may be written, as `async def` or `def`.

    `handle` is asked about events, `on_start` before the first node, `on_complete` after the last. Each
    returns or yields commands, `NodeSpec`s, or nothing.

    >>> class Alert(EventHook):
    ...     async def handle(self, ctx, event):
    ...         if isinstance(event, NodeFailed):
    ...             print(event.node.node_id, event.error)
    """

    async def handle(self, ctx: HookContext, event: ExecutionEvent) -> Any:
        """What is to be done about an event."""

    async def on_start(self, ctx: HookContext) -> Any:
        """What is to be done before the first node starts."""

    async def on_complete(self, ctx: HookContext, success: bool) -> Any:
        """Told when the run has ended; commands come too late then."""


class SomeFailed(Exception):
    """Some of the hooks that were asked as one have failed: `errors` by name; `answers` are the others'."""

    def __init__(self, answers: list[Any], errors: list[tuple[str, Exception]]) -> None:
        super().__init__("; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in errors))
        self.answers, self.errors = answers, errors


class CompositeHook(EventHook):
    """Several hooks as one: each is asked in turn, their answers come one after the other.

    `hooks` are what `flow.hook` takes: `EventHook` classes and instances, functions. One that fails takes no
    other's answer with it.
    """

    def __init__(self, hooks: Iterable[Any] = ()) -> None:
        from .subscription import Hook, make_hooks

        self.hooks: tuple[Hook, ...] = tuple(make_hooks(hooks))

    async def handle(self, ctx: HookContext, event: ExecutionEvent) -> list[Any]:
        """What all of them answer."""
        asked = [hook for hook in self.hooks if hook.wants(event, ctx.dag_name)]
        return await _answers_of(asked, lambda hook: hook.ask_handle(ctx, event))

    async def on_start(self, ctx: HookContext) -> list[Any]:
        """What all of them answer."""
        event = RunStarted(run_id=ctx.run_id)
        return await _answers_of(self.hooks, lambda hook: hook.ask_lifecycle(ctx, event))

    async def on_complete(self, ctx: HookContext, success: bool) -> list[Any]:
        """What all of them answer."""
        event = RunFinished(success, "completed" if success else "failed", run_id=ctx.run_id)
        return await _answers_of(self.hooks, lambda hook: hook.ask_lifecycle(ctx, event))

    def __repr__(self) -> str:
        return f"CompositeHook({[hook.name for hook in self.hooks]})"


async def _answers_of(hooks: Iterable[Any], ask: Callable[[Any], Awaitable[list[Any]]]) -> list[Any]:
    answers: list[Any] = []
    errors: list[tuple[str, Exception]] = []
    for hook in hooks:
        try:
            answers += await ask(hook)
        except SomeFailed as some:
            answers += some.answers
            errors += [(f"{hook.name}: {name}", error) for name, error in some.errors]
        except Exception as error:
            errors.append((hook.name, error))
    if errors:
        raise SomeFailed(answers, errors)
    return answers


class LoggingHook(EventHook):
    """Logs each event in one line, by default with the logger "dagflow_nb" at level INFO.

    What nodes return is not logged.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self.logger = logging.getLogger("dagflow_nb") if logger is None else logger
        self.level = level

    def __repr__(self) -> str:
        return f"LoggingHook({self.logger.name!r}, {logging.getLevelName(self.level)})"

    async def handle(self, ctx: HookContext, event: ExecutionEvent) -> None:
        """Logs the event."""
        if not self.logger.isEnabledFor(self.level):
            return
        words = [ctx.dag_name, ctx.run_id, type(event).__name__]
        node = getattr(event, "node", None)
        branch = getattr(event, "branch_id", None)
        words += [node.node_id] if node is not None else [str(branch)] if branch is not None else []
        words += _details(event)
        self.logger.log(self.level, "%s", " ".join(_one_line(word) for word in words if word))


def _details(event: ExecutionEvent) -> list[str]:
    if isinstance(event, RunFinished):
        return [event.status]
    if isinstance(event, CustomEvent):
        return [event.name]
    if isinstance(event, HookFailed):
        return [event.hook, event.error]
    if isinstance(event, NodeFailed):
        return [f"(attempt {event.attempt})", event.error]
    outcome = getattr(event, "outcome", None)
    if outcome is not None:
        return [] if outcome.success else ["failed:", str(outcome.error)]
    text = getattr(event, "error", None) or getattr(event, "reason", None)
    return [str(text)] if text else []


def _one_line(text: str) -> str:
    # a node's id or an error is data: it must not be able to write log lines of its own
    return text if text.isprintable() and len(text) <= 300 else shorten(text, 300)
