"""`LateAction`: an action whose function is looked for only when a run starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..core.model import NodeOutput
from .base import NodeAction, prepared
from .context import NodeCtx
from .function import FunctionAction
from .wrapper import as_action


class LateAction(NodeAction):
    """Stands for a function of which only the place is known: workflows can be looked at without it.

    `find()` gives the function, or raises `ValidationError` saying what is missing; the session asks when
    a run starts.
    """

    def __init__(self, name: str, find: Callable[[], Any]) -> None:
        self._name = name
        self._find = find

    @property
    def name(self) -> str:
        """The name that workflows use."""
        return self._name

    def resolve(self) -> NodeAction:
        """The action itself, under this name."""
        return as_action(self._find(), name=self._name)

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Looks for the function and runs it: a hook may name an action that no run has asked for yet."""
        made = prepared(await asyncio.to_thread(self.resolve))
        if isinstance(made, FunctionAction) and not made.is_async:
            return await asyncio.to_thread(made.invoke, ctx)
        return await made.execute(ctx)
