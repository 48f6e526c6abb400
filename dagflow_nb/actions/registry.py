"""`ActionRegistry`: actions by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, overload

from ..errors import ActionNotFound, ValidationError, shorten
from .base import NodeAction
from .wrapper import Action, as_action, make_action

P = ParamSpec("P")
R = TypeVar("R")
Names = list[str]  # `list` is a method of the class below


class ActionRegistry:
    """The actions that workflows may use, by name; a name that is registered again is replaced.

    >>> registry = ActionRegistry()
    >>> @registry.action(retries=2)
    ... def fetch(source: str) -> dict:
    ...     return {"rows": 3}
    >>> "fetch" in registry, registry.list()
    (True, ['fetch'])
    """

    def __init__(self) -> None:
        self._actions: dict[str, NodeAction] = {}

    @classmethod
    def of(cls, registry: ActionRegistry | None) -> ActionRegistry:
        """The registry itself, or an empty one; `ValidationError` for something else."""
        if registry is None:
            return cls()
        if not isinstance(registry, ActionRegistry):
            raise ValidationError(
                f"registry is an ActionRegistry, not {shorten(registry)}", culprit="registry", value=registry
            )
        return registry

    def register(self, action: Any, **settings: Any) -> NodeAction:
        """Registers a function, a `NodeAction` class or instance, or an `Action`; returns what `get` gives.

        Raises `ValidationError` for anything else, and for a class that is not written as it has to be.
        """
        made = as_action(action, **settings)
        self._actions[made.name] = made
        return made

    @overload
    def action(self, fn: Callable[P, R], /) -> Action[P, R]: ...
    @overload
    def action(
        self, name: str | None = None, /, **settings: Any
    ) -> Callable[[Callable[P, R]], Action[P, R]]: ...
    def action(self, fn: Any = None, /, **settings: Any) -> Any:
        """The decorator: `@registry.action`, or `@registry.action("name", retries=2, ...)`."""
        if isinstance(fn, str):
            settings["name"] = fn
        elif fn is not None:
            return self._decorate(fn, settings)
        return lambda target: self._decorate(target, settings)

    def _decorate(self, target: Any, settings: dict[str, Any]) -> Action[..., Any]:
        wrapper = make_action(target, **settings)
        self.register(wrapper)
        return wrapper

    def get(self, name: str) -> NodeAction | None:
        """The action of that name, None if there is none."""
        return self._actions.get(name)

    def need(self, name: str, node_id: str | None = None) -> NodeAction:
        """The action of that name; `ActionNotFound` suggests the nearest names."""
        found = self._actions.get(name)
        if found is None:
            raise ActionNotFound(name, self._actions, node_id)
        return found

    def contains(self, name: str) -> bool:
        """Whether there is an action of that name."""
        return name in self._actions

    def __contains__(self, name: object) -> bool:
        return name in self._actions

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._actions))

    def __len__(self) -> int:
        return len(self._actions)

    def list(self) -> Names:
        """The names, in the order of their first registration."""
        return [*self._actions]

    def copy(self) -> ActionRegistry:
        """A registry of its own with the same actions."""
        new = ActionRegistry()
        new._actions.update(self._actions)
        return new

    def update(self, other: ActionRegistry) -> None:
        """Registers all actions of `other` too."""
        if not isinstance(other, ActionRegistry):
            raise ValidationError(f"update() takes an ActionRegistry, not {shorten(other)}", value=other)
        self._actions.update(other._actions)

    def __repr__(self) -> str:
        return f"ActionRegistry({shorten(self.list(), 200)})"
