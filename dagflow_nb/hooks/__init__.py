"""Hooks: the policy of a run. They are asked about events, and answer with commands.

`make_hook` makes a `Hook` of a function or an `EventHook`, `make_hooks` several; `HookSet` holds a
flow's hooks.
"""

from .answers import commands_of
from .context import CompositeHook, EventHook, GraphView, HookContext, LoggingHook, SomeFailed
from .hookset import HookSet
from .subscription import Hook, make_hook, make_hooks

__all__ = [
    "CompositeHook",
    "EventHook",
    "GraphView",
    "Hook",
    "HookContext",
    "HookSet",
    "LoggingHook",
    "SomeFailed",
    "commands_of",
    "make_hook",
    "make_hooks",
]
