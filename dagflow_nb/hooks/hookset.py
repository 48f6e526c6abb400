"""`HookSet`: the hooks of a flow, in which a definition that is run again replaces the earlier one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from .subscription import Hook

_THROWAWAY = ("<lambda>", "_")


class HookSet:
    """Hooks in the order in which they are asked.

    A hook defined again under the same name replaces the earlier one. Several made by one piece of code
    (a factory, a loop) add up, until the cell that made them is run again; so do lambdas, and functions
    called `_`. A run keeps the hooks it started with: `copy` gives it those.
    """

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._lock = threading.Lock()
        self._hooks: tuple[Hook, ...] = ()
        for hook in hooks:
            self.add(hook)

    def add(self, hook: Hook) -> Hook:
        """Adds a hook in place of those it replaces; returns it."""
        with self._lock:
            self._hooks = (*(old for old in self._hooks if not _replaces(hook, old)), hook)
        return hook

    def discard(self, hook: Hook) -> None:
        """Removes a hook, if it is there."""
        with self._lock:
            self._hooks = tuple(old for old in self._hooks if old is not hook)

    def read(self, dag_name: str) -> None:
        """Read the source of the hooks that runs of this workflow may ask."""
        for hook in self._hooks:
            hook.read(dag_name)

    def copy(self) -> HookSet:
        """A set of its own with the same hooks."""
        new = HookSet()
        new._hooks = self._hooks
        return new

    def __iter__(self) -> Iterator[Hook]:
        return iter(self._hooks)

    def __len__(self) -> int:
        return len(self._hooks)

    def __contains__(self, hook: object) -> bool:
        return hook in self._hooks

    def __repr__(self) -> str:
        return f"HookSet({list(self._hooks)})"


def _replaces(new: Hook, old: Hook) -> bool:
    if new.target is old.target and new.same == old.same:
        return True  # asking the same twice about an event is never meant
    if new.key.rpartition(".")[2] != old.key.rpartition(".")[2]:
        return False
    same_cell_again = new.origin.cell == old.origin.cell and new.origin.execution != old.origin.execution
    if new.name in _THROWAWAY:
        return same_cell_again
    if new.code is old.code:
        return same_cell_again
    return new.key == old.key or same_cell_again
