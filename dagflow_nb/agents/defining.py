"""The part of `DagFlow` that language models work with: tools and planners."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..definitions import Definitions
from .tools import Tools, make_tool


class Agents(Definitions):
    """The part of `DagFlow` that takes definitions, those for language models among them."""

    def tool(self, fn: Any = None, /, **settings: Any) -> Any:
        """Register an action that language models are told of: `@flow.tool`, with the settings of
        `@flow.action`.

        `flow.tools.schemas(style)` gives its JSON schema: the parameters by their annotations, described by
        the docstring (`Args:` in Google's style) or by `Annotated[..., Field(description="...")]`.
        `ValidationError` for a name that the APIs refuse.

        >>> from dagflow_nb import DagFlow
        >>> with DagFlow(":memory:") as flow:
        ...     @flow.tool
        ...     def search(query: str) -> list[str]:
        ...         '''Search the web.'''
        ...         return [f"about {query}"]
        ...     flow.tools.schemas("mcp")[0]["inputSchema"]["required"]
        ['query']
        """
        if isinstance(fn, str):
            settings["name"], fn = fn, None
        if fn is None:
            return partial(self._define, settings, make=make_tool)
        return self._define(settings, fn, make=make_tool)

    @property
    def tools(self) -> Tools:
        """The tools: `flow.tools.schemas("openai" | "anthropic" | "mcp")`; iterated it gives their names."""
        return Tools(self._session.registry)
